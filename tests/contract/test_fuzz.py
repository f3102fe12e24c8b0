"""schemathesis asks the sandbox whatever the contract allows, and some that it does not: no 5xx comes of it."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import pytest
from contract import openapi
from contract.calls import store
from hypothesis import HealthCheck, assume, given, settings
from requests import Request

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import schemathesis

if TYPE_CHECKING:
    from collections.abc import Callable

    from b2b_async.sandbox import Sandbox

GOOD, BAD = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE
LONGEST_URL = 8_000
"""Characters. Beyond 8,190 bytes of a request line aiohttp refuses it by itself, before the sandbox sees it."""


@pytest.mark.heavy
@pytest.mark.parametrize("version", ["v3", "v2"])
def test_nothing_the_contract_allows_breaks_the_sandbox(
    version: openapi.Version, live_sandbox: Callable[..., Sandbox]
) -> None:
    """Every operation, with good and with bad requests; whatever is answered has an envelope."""
    sandbox = live_sandbox(store(), quota="100000/1s")
    signed = {"X-Auth-Token": sandbox.access_token, "X-Store-Hash": sandbox.store_hash}
    headers = signed if version == "v3" else {"authToken": sandbox.legacy_token}
    described = openapi.mended(version)
    del described["security"]  # who does not sign as the vendor wants it is answered with 500 on purpose
    statuses = set()
    asked = 0
    for found in schemathesis.openapi.from_dict(described).get_all_operations():
        operation = found.ok()
        raw = described["paths"][operation.path][operation.method.lower()]
        kinds = {parameter["schema"]["type"] for parameter in raw.get("parameters", ())}
        for mode in (GOOD, BAD) if "requestBody" in raw or kinds - {"string"} else (GOOD,):  # any string is a string

            @settings(max_examples=10, deadline=None, database=None, suppress_health_check=list(HealthCheck))
            @given(case=operation.as_strategy(generation_mode=mode))
            def ask(case: schemathesis.Case) -> None:
                nonlocal asked
                base_url = f"{sandbox.url}/api/{version}/io"
                assume(len(Request(**case.as_transport_kwargs(base_url)).prepare().url or "") < LONGEST_URL)
                answer = case.call(base_url=base_url, headers=headers)
                asked += 1
                statuses.add(answer.status_code)
                assert answer.status_code < 500, case.as_curl_command()
                assert "code" in answer.json()

            ask()

    assert asked >= 100
    assert {200, 404} <= statuses
