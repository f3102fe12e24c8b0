"""b2b-async: the asyncio client for BigCommerce B2B Edition that is safe and fast under a shared quota.

The public names are those of ``b2b_async._api`` and ``b2b_async.errors``; modules with an underscore are machinery.
Importing the package loads nothing yet, so that the command can catch Ctrl-C from its first line on.
"""

from b2b_async._version import __version__ as __version__

TYPE_CHECKING = False
if TYPE_CHECKING:  # with __getattr__ in sight, type checkers would take any name for one of the package
    from b2b_async import client as client
    from b2b_async import errors as errors
    from b2b_async import events as events
    from b2b_async import ids as ids
    from b2b_async import ratelimit as ratelimit
    from b2b_async import v2 as v2
    from b2b_async import v3 as v3
    from b2b_async._api import *  # noqa: F403 -- its __all__ says what
else:
    from b2b_async._lazy import facade

    # v2 is not among the names of "import *": it warns when it is imported.
    __getattr__, __dir__ = facade(
        __name__, "_api", ("client", "errors", "events", "ids", "ratelimit", "v2", "v3"), also=("v3",)
    )
