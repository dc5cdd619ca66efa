"""How many calls each kind of delivery makes: what AWS bills, and what a storm multiplies."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from benchmarks.calls import KINDS, Calls, Function, fresh_function
from benchmarks.messages import native


@dataclass(frozen=True)
class Expected:
    """Calls of an invocation with one alert."""

    updates: int = 0
    reads: int = 0
    puts_on_queues: int = 0
    secrets: int = 0
    requests: int = 0

    @classmethod
    def of(cls, calls: Calls) -> "Expected":
        assert calls.aws.keys() <= {"UpdateItem", "GetItem", "SendMessage", "BatchGetSecretValue"}
        counted = calls.aws.get
        return cls(
            counted("UpdateItem", 0),
            counted("GetItem", 0),
            counted("SendMessage", 0),
            counted("BatchGetSecretValue", 0),
            calls.pagerduty,
        )


EXPECTED = {
    # targets, circuit; claim, turn refused, first turn of its half second, settle
    "trigger, of a new environment": Expected(updates=4, reads=1, secrets=1, requests=1),
    # claim, turn, settle
    "trigger": Expected(updates=3, requests=1),
    "trigger, after ten quiet seconds": Expected(updates=3, requests=1),
    # and the circuit, which is read again after half a minute
    "trigger, after a quiet minute": Expected(updates=3, reads=1, requests=1),
    "acknowledge": Expected(updates=3, requests=1),
    "resolve": Expected(updates=3, requests=1),
    "change event": Expected(updates=3, requests=1),
    # the refused claim says all
    "duplicate": Expected(updates=1),
    "superseded": Expected(updates=1),
    # claim, turn refused, a place in the line (two writes for who is first), release
    "deferred by our limit": Expected(updates=5, puts_on_queues=1),
    # claim, turn, everybody held back, release
    "deferred by PagerDuty's 429": Expected(updates=4, puts_on_queues=1, requests=1),
    # claim, a turn for each of four requests, release
    "deferred by PagerDuty's 503": Expected(updates=6, puts_on_queues=1, requests=4),
    # claim, turn, release
    "dead-lettered by PagerDuty's 400": Expected(updates=3, puts_on_queues=1, requests=1),
    "dead-lettered: invalid": Expected(puts_on_queues=1),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_makes_its_calls_and_no_more(kind: str) -> None:
    """Whoever adds or saves one says so here; a warm trigger may take three of DynamoDB's at most."""
    assert Expected.of(KINDS[kind]()) == EXPECTED[kind]


@pytest.fixture
def function() -> Iterator[Function]:
    with fresh_function() as function:
        yield function


def test_the_circuit_is_read_once_in_thirty_seconds(function: Function) -> None:
    """However many alerts there are."""
    reads = []
    for number in range(13):
        reads.append(function.invoke(native(f"alert-{number}")).aws.get("GetItem", 0))
        function.clock.advance(5)
    assert reads == [1, 0, 0, 0, 0, 0] * 2 + [1]


def test_more_alerts_in_an_invocation_read_nothing_more(function: Function) -> None:
    """Three writes and one request each; targets and circuit are read once."""
    calls = function.invoke(*(native(f"alert-{number}") for number in range(10)))
    first_turn = 1
    assert Expected.of(calls) == Expected(updates=30 + first_turn, reads=1, secrets=1, requests=10)


def test_no_connection_is_made_anew_for_an_invocation(function: Function) -> None:
    """The clients of the init and their connections serve every invocation: one to each service they called."""
    for number in range(5):
        function.invoke(native(f"alert-{number}"))
    dynamodb, secrets_manager, pagerduty = 1, 1, 1
    assert function.counted.connections == dynamodb + secrets_manager + pagerduty


def test_a_delivery_fits_into_one_write_unit(function: Function) -> None:
    """A record over 1 KB would cost two with each write."""
    for number in range(5):
        calls = function.invoke(native(f"alert-{number}"))
        assert calls.write_units == calls.aws["UpdateItem"]
