"""The forms of the vendor's answers, and those of what stands before the vendor."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Mapping

    JSON = Mapping[str, Any]

__all__ = [
    "done",
    "envelope",
    "error",
    "list_of",
    "not_found",
    "page",
    "page_of",
    "refused",
    "throttled",
    "with_json",
    "wrong_parameter",
]

_HTML = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center></body></html>"
_dumps = functools.partial(json.dumps, default=float)  # amounts, in v3


def with_json(status: int, payload: JSON) -> web.Response:
    """Answer in JSON."""
    return web.json_response(payload, status=status, dumps=_dumps)


def error(code: int, data: JSON, message: str) -> dict[str, Any]:
    """Give the envelope of a v2 error."""
    return {"code": code, "data": data, "message": message}


def refused(status: int, code: int, message: str, **data: str) -> web.Response:
    """Refuse in v2's words: the code may have five digits."""
    return with_json(status, error(code, data, message))


def not_found(what: str) -> web.Response:
    """Refuse in v2's words."""
    return refused(404, 404, "Not Found Error", errMsg=what)


def done(data: object) -> web.Response:
    """Answer in the envelope of v2."""
    return with_json(200, {"code": 200, "data": data, "message": "Success"})


def list_of(items: list[dict[str, Any]], total: int, limit: int, offset: int) -> web.Response:
    """Answer with one page of a v2 list."""
    return done({"list": items, "pagination": {"totalCount": total, "limit": limit, "offset": offset}})


def envelope(status: int, data: object, message: str) -> web.Response:
    """Answer in the envelope of v3."""
    return with_json(status, {"code": status, "data": data, "meta": {"message": message}})


def wrong_parameter(name: str, message: str) -> web.Response:
    """Refuse a query parameter in v3's words."""
    return envelope(422, {"errMsg": {name: {"0": [message]}}}, "Parameter Error")


def page_of(items: list[dict[str, Any]], total: int, limit: int, offset: int) -> web.Response:
    """Answer with one page of a v3 list."""
    meta = {"message": "SUCCESS", "pagination": {"totalCount": total, "limit": limit, "offset": offset}}
    return with_json(200, {"code": 200, "data": items, "meta": meta})


def throttled(headers: dict[str, str], wait: float) -> web.Response:
    """Refuse a request in the words of the framework beneath."""
    text = f"Request was throttled. Expected available in {wait:.0f} seconds."
    return web.json_response({"detail": text}, status=429, headers=headers)


def page(status: int, title: str) -> web.Response:
    """Answer as a proxy does."""
    return web.Response(status=status, text=_HTML.format(title), content_type="text/html")
