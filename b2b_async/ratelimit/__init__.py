"""Rate limiting: the quota of a store, shared with all its other integrations. Start reading in ``quota.py``."""

from b2b_async.ratelimit.feedback import QuotaFeedback
from b2b_async.ratelimit.limiter import RateLimiter
from b2b_async.ratelimit.quota import EndpointSnapshot, Lane, Quota, QuotaSnapshot

__all__ = ["EndpointSnapshot", "Lane", "Quota", "QuotaFeedback", "QuotaSnapshot", "RateLimiter"]
