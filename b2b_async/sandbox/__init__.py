"""A local, pretend B2B Edition over real HTTP, for demos and tests. It shares nothing with the client.

It has the vendor's envelope, its authentication rules, its limiter with the headers as far as they are known,
a small store with real behaviour, faults on demand, and a ledger of what it really did::

    async with Sandbox(quota="150/3s", faults=Faults({"503": 0.1})) as sandbox:
        client = Client(Credentials(sandbox.access_token, sandbox.store_hash), base_url=sandbox.url)
"""

from b2b_async.sandbox.faults import FAULTS, Faults
from b2b_async.sandbox.ledger import Entry
from b2b_async.sandbox.server import Sandbox
from b2b_async.sandbox.store import Company, Order, Product, Store, User
from b2b_async.sandbox.throttle import SlidingLog

__all__ = ["FAULTS", "Company", "Entry", "Faults", "Order", "Product", "Sandbox", "SlidingLog", "Store", "User"]
