"""How many calls each kind of delivery makes: what AWS bills, and what a storm multiplies."""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from benchmarks.calls import KINDS, Calls, Function, fresh_function
from benchmarks.messages import native, with_alerts
from benchmarks.tls import authority
from handler.pagerduty.connections import tls_context


@dataclass(frozen=True)
class Expected:
    """Calls of an invocation with one alert."""

    puts: int = 0
    updates: int = 0
    reads: int = 0
    puts_on_queues: int = 0
    secrets: int = 0
    requests: int = 0

    @classmethod
    def of(cls, calls: Calls) -> "Expected":
        assert calls.aws.keys() <= {"PutItem", "UpdateItem", "BatchGetItem", "SendMessage", "BatchGetSecretValue"}
        counted = calls.aws.get
        return cls(
            puts=counted("PutItem", 0),
            updates=counted("UpdateItem", 0),
            reads=counted("BatchGetItem", 0),
            puts_on_queues=counted("SendMessage", 0),
            secrets=counted("BatchGetSecretValue", 0),
            requests=calls.pagerduty,
        )


MAX_LOG_BYTES = {"trigger": 1280, "duplicate": 740, "resolve": 1130, "deferred by our limit": 910}
"""Of what the function prints; with the alert of the benchmarks. Before, a trigger took 1,823."""
EXPECTED = {
    # targets; claim, permit refused, first permit of its half second, settle
    "trigger, of a new environment": Expected(puts=2, updates=2, secrets=1, requests=1),
    # claim, permit, settle
    "trigger": Expected(puts=2, updates=1, requests=1),
    "trigger, after ten quiet seconds": Expected(puts=2, updates=1, requests=1),
    "trigger, after a quiet minute": Expected(puts=2, updates=1, requests=1),
    # the records of all targets are read before the claim
    "acknowledge": Expected(reads=1, puts=2, updates=1, requests=1),
    "resolve": Expected(reads=1, puts=2, updates=1, requests=1),
    "change event": Expected(puts=2, updates=1, requests=1),
    # the refused claim says all
    "duplicate": Expected(puts=1),
    "superseded": Expected(puts=1),
    # claim, permit refused, release into waiting, and the wake-up that one in a storm sends
    "deferred by our limit": Expected(puts=2, updates=2, puts_on_queues=1),
    # claim, permit, everybody held back, release, wake-up
    "deferred by PagerDuty's 429": Expected(puts=2, updates=3, puts_on_queues=1, requests=1),
    # claim, a permit for each of four requests, the key suspended, release, wake-up
    "deferred by PagerDuty's 503": Expected(puts=2, updates=6, puts_on_queues=1, requests=4),
    # claim, permit, release
    "dead-lettered by PagerDuty's 400": Expected(puts=2, updates=1, puts_on_queues=1, requests=1),
    "dead-lettered: invalid": Expected(puts_on_queues=1),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_makes_its_calls_and_no_more(kind: str) -> None:
    """Whoever adds or saves one says so here; a warm trigger takes three of DynamoDB's at most, a resolve four."""
    assert Expected.of(KINDS[kind]()) == EXPECTED[kind]


@pytest.fixture
def function() -> Iterator[Function]:
    with fresh_function() as function:
        yield function


def test_more_alerts_in_an_invocation_read_nothing_more(function: Function) -> None:
    """Three writes and one request each; the targets are read once."""
    calls = function.invoke(*(native(f"alert-{number}") for number in range(10)))
    first_permit = 1
    assert Expected.of(calls) == Expected(puts=20, updates=10 + first_permit, secrets=1, requests=10)


def test_no_connection_is_made_anew_for_an_invocation(function: Function) -> None:
    """The clients of the init and their connections serve every invocation: one to each service they called."""
    for number in range(5):
        function.invoke(native(f"alert-{number}"))
    dynamodb, secrets_manager, pagerduty = 1, 1, 1
    assert function.counted.connections == dynamodb + secrets_manager + pagerduty


@pytest.mark.parametrize("kind", MAX_LOG_BYTES)
def test_a_delivery_writes_two_short_lines_of_log(kind: str) -> None:
    """One for people and one with all metrics: CloudWatch Logs bills each byte, and 26 more for each line."""
    calls = KINDS[kind]()
    assert calls.log_lines == 2
    assert calls.log_bytes <= MAX_LOG_BYTES[kind]


def test_authorities_are_loaded_once_for_pagerduty_and_a_few_times_for_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes 20 ms of CPU each time; botocore does it for every connection, so that these are bounded."""
    loaded: list[ssl.SSLContext] = []
    load = ssl.SSLContext.load_verify_locations
    tls_context.cache_clear()
    with authority() as trusted, monkeypatch.context() as patched:

        def count(context: ssl.SSLContext, *of: Any, **given: Any) -> None:
            loaded.append(context)
            load(context, *(of or ([] if given else [trusted.bundle])), **given)

        patched.setattr(ssl.SSLContext, "load_verify_locations", count)
        patched.setattr(ssl.SSLContext, "load_default_certs", lambda context: count(context))
        with fresh_function(trusted.server_context(), **trusted.environment()) as function:
            calls = function.handle(with_alerts(60, "alert"))
            assert calls.pagerduty == 60
            dynamodb, secrets_manager, pagerduty = function.app.CONNECTIONS, 1, 1
            assert len(loaded) <= dynamodb + secrets_manager + pagerduty
            assert function.counted.connections <= dynamodb + secrets_manager + function.app.CONCURRENT_DELIVERIES
    tls_context.cache_clear()


def test_a_delivery_fits_into_one_write_unit(function: Function) -> None:
    """A record over 1 KB would cost two with each write."""
    for number in range(5):
        calls = function.invoke(native(f"alert-{number}"))
        assert calls.write_units == calls.aws["UpdateItem"] + calls.aws["PutItem"]
