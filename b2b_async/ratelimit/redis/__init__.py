"""The limiter shared by several processes and hosts, over Redis or Valkey (extra ``redis``)."""

from b2b_async.ratelimit.redis.limiter import RedisRateLimiter

__all__ = ["RedisRateLimiter"]
