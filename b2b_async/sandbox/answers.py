"""The forms of the vendor's answers, and those of what stands before the vendor."""

from __future__ import annotations

from typing import Any

from aiohttp import web

_HTML = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center></body></html>"


def with_json(status: int, payload: dict[str, Any]) -> web.Response:
    """Answer in JSON."""
    return web.json_response(payload, status=status)


def error(code: int, data: dict[str, str], message: str) -> dict[str, Any]:
    """Give the envelope of a v2 error."""
    return {"code": code, "data": data, "message": message}


def envelope(status: int, data: dict[str, str], message: str) -> web.Response:
    """Answer in the envelope of a v3 error."""
    return with_json(status, {"code": status, "data": data, "meta": {"message": message}})


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
