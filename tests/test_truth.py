"""What the client says of a call is what happened: against the sandbox's ledger, under every fault at once."""

from __future__ import annotations

from typing import Any

import pytest
from truth import CALL, Told, judge, measure

from b2b_async import AmbiguousOutcomeError, RetryPolicy, ServerError, VerificationResult, _policy, _transport
from b2b_async.errors import Answer
from b2b_async.middleware import status
from b2b_async.sandbox import FAULTS, Entry

ABSENT, FAILED = (
    VerificationResult(operation="x", result=result, error=None, request_id=None, after=9.0)
    for result in ("absent", "failed")
)
POST = "/api/v2/io/companies/1/user/1002/orders"
PUT = "/api/v3/io/customers/1001/orders/b2b"


@pytest.mark.heavy
@pytest.mark.parametrize("seed", [1, 2])
async def test_no_word_is_untrue_when_every_fault_is_mixed(seed: int) -> None:
    """A quarter of all requests goes wrong in some way; the large run is in benchmarks/truth.py."""
    report = await measure(1000, seed=seed)

    assert report.clean, report.examples
    assert report.worth, report
    assert report.outcomes["POST cancelled, unknown"] + report.outcomes["PUT cancelled, unknown"] > 5, report


TWICE = ("answered-twice", "answered-twice-late", "502", "503")
"""Answers that come twice, among some that say no."""
GUARDS: dict[str, list[tuple[Any, str, Any]]] = {
    "nothing is sent where something has arrived": [
        (_transport, "_is_out_of_step", lambda _protocol: False),
        (_transport._Body, "has_left", True),
    ],
    "an answer belongs to its request": [(_transport._LastAnswers, "belongs", lambda *_args, **_options: True)],
    "only the envelope says yes": [(status, "_says_yes", lambda _request, _envelope: True)],
    "304 is no answer": [(_policy, "_MEANINGS", {**_policy._MEANINGS, 304: _policy.Meaning(outcome="rejected")})],
    "a status that may have acted": [
        (status, "meaning_of", lambda *_args, **_options: _policy.Meaning(outcome="rejected"))
    ],
}


@pytest.mark.heavy
@pytest.mark.parametrize("guard", GUARDS)
async def test_the_truth_test_notices_that_a_guard_is_missing(monkeypatch: pytest.MonkeyPatch, guard: str) -> None:
    """A judge that finds nothing wrong must be one that could."""
    for owner, name, instead in GUARDS[guard]:
        monkeypatch.setattr(owner, name, instead)
    kinds = TWICE if "arrived" in guard or "belongs" in guard else FAULTS
    report = await measure(1500, seed=3, kinds=kinds)
    assert not report.clean


@pytest.mark.heavy
async def test_no_word_is_untrue_with_the_default_policy() -> None:
    """Then calls also end by their attempts and by the budget."""
    report = await measure(1000, seed=3, part=0.5, retry=RetryPolicy())

    assert report.clean, report.examples
    assert report.outcomes["PUT unknown"] > 0


def told(outcome: str, method: str = "PUT", error: Any = None, seconds: float = 1.0) -> Told:
    """Give what a client might say."""
    return Told(method=method, path=PUT if method == "PUT" else POST, outcome=outcome, error=error, seconds=seconds)


def entry(method: str = "PUT", **changes: Any) -> Entry:
    """Give what might have happened."""
    return Entry(number=1, method=method, path=PUT if method == "PUT" else POST, **changes)


def unknown(**changes: Any) -> Any:
    """Give an ambiguous error."""
    error = AmbiguousOutcomeError("x")
    vars(error).update(changes)
    return error


@pytest.mark.parametrize(
    ("word", "entries", "fault"),
    [
        (told("succeeded"), [], "lies"),
        (told("applied"), [entry()], "lies"),
        (told("rejected"), [entry(applied=True)], "lies"),
        (told("not_sent"), [entry()], "lies"),
        (told("succeeded", "POST"), [entry("POST", applied=True), entry("POST", applied=True)], "doubles"),
        (told("succeeded", "POST"), [entry("POST", applied=True), entry("POST", repeated=True)], "doubles"),
        (told("foreign", error=KeyError()), [], "foreign"),
        (told("succeeded", seconds=CALL + 0.06), [entry(applied=True)], "late"),
        (told("unknown", error=ServerError("x", answer=Answer(status=500))), [entry(fault="500")], "unjustified"),
        (told("unknown", "POST", error=unknown()), [entry("POST", fault="500")], "unjustified"),
        (
            told("unknown", "POST", error=unknown(verifications=(ABSENT,))),
            [entry("POST", fault="429", status=429)],
            "unjustified",
        ),
        (
            told("unknown", "POST", error=unknown(verifications=(FAILED, ABSENT))),
            [entry("POST", fault="500-after", applied=True)],
            "missed",
        ),
    ],
)
def test_the_judge_sees_what_is_wrong(word: Told, entries: list[Entry], fault: str) -> None:
    """Or its verdict would be worth nothing."""
    report = judge([word], entries)

    assert not report.clean
    assert getattr(report, fault) == 1
    assert report.examples


@pytest.mark.parametrize(
    ("word", "entries"),
    [
        (told("succeeded"), [entry(fault="reset-after", applied=True), entry(applied=True)]),
        (told("rejected"), [entry(fault="envelope-400", status=200)]),
        (
            told("unknown", "POST", error=unknown(verifications=(FAILED,))),
            [entry("POST", fault="500-after", applied=True)],
        ),
    ],
)
def test_the_judge_lets_the_truth_pass(word: Told, entries: list[Entry]) -> None:
    """A PUT may be carried out twice, and an unknown may be either."""
    assert judge([word], entries).clean
