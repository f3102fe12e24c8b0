"""The vendor's contract: two OpenAPI files as they are, and what has to be mended before anything can keep them.

Known to be wrong in the files, as answers of the vendor's show:

- times that are strings of Unix seconds are called ``format: time``, which is ``12:30:00Z``;
- an order's ``companyId`` cannot be null by the schema; orders of shoppers without a company are listed, too;
- parameters say ``allowEmptyValue``, which OpenAPI has deprecated.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs
from openapi_core import OpenAPI
from openapi_core.testing import MockRequest, MockResponse
from werkzeug.datastructures import ImmutableMultiDict

if TYPE_CHECKING:
    from collections.abc import Mapping

Version = Literal["v2", "v3"]
HOST = "https://api-b2b.bigcommerce.com"
HERE = Path(__file__).parent
METHODS = ("get", "put", "post", "delete")


@attrs.frozen
class Answer:
    """An example answer of the contract."""

    version: Version
    method: str
    path: str
    status: int
    payload: Any
    name: str


def as_it_is(version: Version) -> dict[str, Any]:
    """Read a file."""
    contract: dict[str, Any] = json.loads((HERE / f"openapi-{version}.json").read_text())
    return contract


def mended(version: Version) -> dict[str, Any]:
    """Read a file, without its faults."""
    contract = as_it_is(version)
    _mend(contract)
    return contract


def _mend(node: Any) -> None:
    if isinstance(node, list):
        for inner in node:
            _mend(inner)
    elif isinstance(node, dict):
        node.pop("allowEmptyValue", None)
        if node.get("format") == "time":
            del node["format"]
        properties = node.get("properties", {})
        if "bcOrderId" in properties and "companyId" in properties:
            properties["companyId"]["nullable"] = True
        for inner in node.values():
            _mend(inner)


@cache
def validator(version: Version) -> OpenAPI:
    """Give what validates requests and answers."""
    return OpenAPI.from_dict(mended(version))


def operations(version: Version) -> list[tuple[Version, str, str]]:
    """List version, method and path of all operations."""
    paths = as_it_is(version)["paths"]
    return [(version, method.upper(), path) for path, item in paths.items() for method in item if method in METHODS]


def examples() -> list[Answer]:
    """List all example answers."""
    found: list[Answer] = []
    for version in ("v3", "v2"):
        for _, method, path in operations(version):
            for status, answer in as_it_is(version)["paths"][path][method.lower()]["responses"].items():
                content = answer.get("content", {}).get("application/json", {})
                named = content.get("examples", {})
                payloads = {key: example["value"] for key, example in named.items()}
                if "example" in content:
                    payloads["example"] = content["example"]
                found += [Answer(version, method, path, int(status), value, key) for key, value in payloads.items()]
    return found


def sample(version: Version, method: str, path: str) -> Any:
    """Make an answer of the examples that the fields of a schema have."""
    paths = as_it_is(version)["paths"]
    assert path in paths, f"{path} is not in openapi-{version}.json: the contract of a new endpoint belongs there"
    answer = paths[path][method.lower()]["responses"]["200"]
    return _sample(answer["content"]["application/json"]["schema"])


def _sample(schema: Any) -> Any:
    if "example" in schema:
        return schema["example"]
    made: Any = None
    for part in schema.get("allOf", ()):
        inner = _sample(part)
        made = _joined(made, inner)
    if "properties" in schema:
        made = _joined(made, {name: _sample(inner) for name, inner in schema["properties"].items()})
    if "items" in schema:
        inner = _sample(schema["items"])
        made = _joined(made, inner if isinstance(inner, list) else [inner])
    if made is None:
        empty = {"string": "1", "integer": 1, "number": 1, "boolean": True, "object": {}, "array": []}
        made = schema.get("default", schema.get("enum", [empty.get(schema.get("type"))])[0])
    return made


def _joined(one: Any, other: Any) -> Any:
    if isinstance(one, dict) and isinstance(other, dict):
        return {**one, **{name: _joined(one.get(name), value) for name, value in other.items()}}
    if isinstance(one, list) and isinstance(other, list) and one and other:
        return [_joined(one[0], other[0])]
    return one if other is None else other


def check(
    version: Version,
    *,
    method: str,
    path: str,
    query: list[tuple[str, str]],
    headers: Mapping[str, str],
    body: bytes,
    status: int,
    answer: bytes,
) -> None:
    """Validate a request and its answer; raises what is wrong."""
    request = MockRequest(
        HOST,
        method.lower(),
        path,
        args=ImmutableMultiDict(query),  # type: ignore[arg-type]
        headers=dict(headers),
        data=body or None,
        content_type="application/json",
    )
    validator(version).validate_request(request)
    validator(version).validate_response(request, MockResponse(answer, status_code=status))
