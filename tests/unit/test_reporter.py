"""The second path: every dead letter and late critical alert is reported once, with its content and without keys."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from handler.alert import Alert, Ignored
from handler.errors import TableUnavailableError
from handler.operators.entries import LATE_AFTER_SECONDS, Entry, Kind, WaitingAlert
from handler.operators.message import MAX_SUBJECT, compose
from handler.operators.reporter import Reporter
from handler.operators.state import (
    LETTERS_ID,
    MAX_ENTRIES,
    MAX_LETTERS,
    STATE_ID,
    Seen,
    State,
    after_sending,
    dump,
    load,
    step,
)
from handler.outcome import DeferReason, Deferred, SkipReason
from handler.pagerduty.events import Action
from handler.pagerduty.severity import Severity
from handler.report import Report
from handler.sources.reader import Reader
from tests.lab.alerts import AN_ALERT, parse
from tests.lab.clock import NOW, Clock
from tests.lab.dynamodb import TABLE, FakeDynamoDB
from tests.lab.failures import client_error
from tests.lab.secrets import target_secret
from tests.lab.sns import FakeSNS
from tests.lab.world import make_world, native

KEY = "0123456789abcdef0123456789abcdef"
TOPIC = "arn:aws:sns:eu-west-1:123456789012:operators"


@dataclass
class Bench:
    """The operators' reports, on fakes."""

    clock: Clock = field(default_factory=Clock)
    dynamodb: FakeDynamoDB = field(default_factory=FakeDynamoDB)
    sns: FakeSNS = field(default_factory=FakeSNS)
    said: list[str] = field(default_factory=list)
    waiting: dict[str, WaitingAlert] = field(default_factory=dict)
    ended: dict[str, WaitingAlert] = field(default_factory=dict)
    letters: list[dict[str, Any]] = field(default_factory=list)
    reads: int = 0

    def operators(self) -> Reporter:
        return Reporter(
            cast(Any, self.dynamodb),
            cast(Any, self.sns),
            table=TABLE,
            topic_arn=TOPIC,
            clock=self.clock,
            redact=lambda text: text.replace(KEY, "[redacted]"),
            report=self.said.append,
            reader=Reader(),
            stack="publisher",
        )

    def wait(self, key: str, since: float | None = None) -> None:
        """Let a critical alert wait."""
        alert = replace(
            AN_ALERT,
            fingerprint=key,
            name=f"name of {key}",
            summary=f"summary of {key}",
            generator_url="https://prometheus.example.com/graph",
            location="orders-db-1",
        )
        self.waiting[f"production#{key}"] = WaitingAlert(alert=alert, since=self.clock() if since is None else since)

    def die(self, name: str = "OrdersDatabaseHighCPU", error: str = "PagerDuty answered 400", **alert: Any) -> None:
        """Put a dead letter into the queue."""
        body = {"alert": {"fingerprint": name, "alert_name": name, "status": "firing", **alert}, "error": error}
        letter = {
            "MessageId": f"m-{len(self.letters)}",
            "Body": json.dumps({**body, "delivery": {"target": "production"}}),
            "Attributes": {"SentTimestamp": str(int(NOW * 1000))},
            "MessageAttributes": {"error_type": {"StringValue": "bad_request"}},
        }
        self.letters.append(letter)

    def look_at_letters(self, operators: Reporter) -> None:
        """Run the schedule's look at the dead-letter queue."""

        def read(at_most: int) -> Sequence[Any]:
            self.reads += 1
            return self.letters[:at_most]

        operators.report_dead_letters(len(self.letters), read, lambda alert, target: (target, Severity.CRITICAL))

    def end(self, key: str, ending: str = "") -> None:
        """Let it wait no longer."""
        del self.waiting[f"production#{key}"]
        self.ended[f"production#{key}"] = WaitingAlert(ending=ending)

    def look(self, operators: Reporter, minutes: int = 1) -> None:
        """Run the schedule so often, a minute apart."""
        for _ in range(minutes):
            self.clock.advance(60)
            self.look_at_letters(operators)
            self.look_now(operators)

    def look_now(self, operators: Reporter) -> None:
        """Run the schedule."""
        late = [
            key for key, waiting in self.waiting.items() if self.clock() - (waiting.since or 0) >= LATE_AFTER_SECONDS
        ]
        records = {**self.waiting, **self.ended}
        operators.report_waiting(late, lambda asked: {key: records[key] for key in asked if key in records})

    @property
    def subjects(self) -> list[str]:
        return [message["Subject"] for message in self.sns.published]

    @property
    def last(self) -> str:
        return str(self.sns.published[-1]["Message"])


@pytest.fixture
def bench() -> Bench:
    return Bench()


def deferred(at: float, name: str = AN_ALERT.name) -> Report:
    identity = AN_ALERT.fingerprint if name == AN_ALERT.name else name
    return Report(
        result=Deferred(
            reason=DeferReason.TABLE_UNAVAILABLE, delay_seconds=30, error=TableUnavailableError("DynamoDB")
        ),
        alert=replace(AN_ALERT, fingerprint=identity, name=name, observed_at=datetime.fromtimestamp(at, UTC)),
        action=Action.TRIGGER,
        target="production",
        severity=Severity.CRITICAL,
    )


# --- Dead letters -------------------------------------------------------------------------------------------------


def test_a_dead_letter_is_reported_with_its_content(bench: Bench) -> None:
    """Name, summary, severity, place, target, error and link: enough to act on without opening anything."""
    bench.die(summary="CPU at 97 %", location="orders-db-1", generator_url="https://prometheus.example.com/g")
    bench.look_at_letters(bench.operators())
    assert bench.subjects == ["Dead letter: OrdersDatabaseHighCPU"]
    assert bench.sns.published[-1]["TopicArn"] == TOPIC
    assert bench.last.splitlines() == [
        "DEAD LETTERS: 1",
        "They could not be delivered and are kept for 14 days. Fix the cause, then: make redrive",
        "",
        "CRITICAL  OrdersDatabaseHighCPU",
        "  OrdersDatabaseHighCPU: CPU at 97 %",
        "  place   orders-db-1",
        "  target  production",
        f"  since   {datetime.fromtimestamp(NOW, UTC):%Y-%m-%d %H:%M:%S} UTC",
        "  error   bad_request: PagerDuty answered 400",
        "  link    https://prometheus.example.com/g",
        "",
        "To trace an alert: make trace STACK=publisher NAME=...   To check the setup: make doctor STACK=publisher",
    ]


def test_a_dead_letter_is_reported_once(bench: Bench) -> None:
    """By whatever environment runs the schedule, although it stays in the queue, and others come and go."""
    bench.die("first")
    bench.look(bench.operators(), 3)
    bench.die("second")
    bench.look(bench.operators(), 3)
    bench.letters[0], bench.letters[1] = bench.letters[1], bench.letters[0]
    bench.look(bench.operators(), 150)
    assert bench.subjects == ["Dead letter: first", "Dead letter: second"]


def test_a_queue_that_does_not_change_is_read_once_an_hour(bench: Bench) -> None:
    """Reading hides dead letters from a redrive; one that took another's place is found all the same."""
    bench.look(bench.operators(), 10)
    assert bench.reads == 0
    bench.die("first")
    bench.look(bench.operators(), 50)
    assert bench.reads == 1
    bench.letters.clear()
    bench.die("second")
    bench.letters[0]["MessageId"] = "other"
    bench.look(bench.operators(), 12)
    assert bench.reads == 2
    assert bench.subjects[1:] == ["Dead letter: second"]
    bench.letters.clear()
    bench.look(bench.operators())
    bench.die("third")
    bench.letters[0]["MessageId"] = "third"
    bench.look(bench.operators(), 1)
    assert bench.subjects[2:] == ["Dead letter: third"]


def test_what_somebody_else_holds_is_reported_when_it_is_released(bench: Bench) -> None:
    """`make redrive DRY_RUN=1` hides dead letters for a while; the queue still counts them."""
    bench.die("seen")
    bench.die("held")
    held = bench.letters.pop()
    operators = bench.operators()
    read = bench.letters.copy()
    operators.report_dead_letters(2, lambda at_most: read, lambda alert, target: (target, None))
    bench.letters.append(held)
    bench.look(operators, 2)
    assert bench.subjects == ["Dead letter: seen", "Dead letter: held"]


def test_more_dead_letters_than_can_be_remembered_are_counted(bench: Bench) -> None:
    bench.die("first")
    operators = bench.operators()
    bench.look_at_letters(operators)
    bench.clock.advance(60)
    operators.report_dead_letters(MAX_LETTERS + 1, lambda at_most: pytest.fail("read"), lambda *_: ("", None))
    assert f"DEAD LETTERS: {MAX_LETTERS}" in bench.last
    bench.clock.advance(60)
    operators.report_dead_letters(MAX_LETTERS + 1, lambda at_most: pytest.fail("read"), lambda *_: ("", None))
    assert len(bench.sns.published) == 2


def test_no_routing_key_leaves_by_this_path(bench: Bench) -> None:
    """Neither in the message nor in the table, whatever an alert or an error says."""
    for _ in range(2):
        bench.die(f"name {KEY}", f"error {KEY}", summary=f"summary {KEY}")
        bench.look_at_letters(bench.operators())
    state = load(bench.dynamodb.tables[TABLE][STATE_ID])
    assert KEY not in str(bench.sns.published)
    assert "[redacted]" in bench.last
    assert state.entries
    assert KEY not in str(state)


def test_a_storm_is_one_message_a_minute(bench: Bench) -> None:
    """A thousand dead letters in ten minutes, and a schedule that runs too often: eleven messages, which count all."""
    told = 0
    for number in range(1000):
        bench.die(f"alert {number}")
        bench.look_at_letters(bench.operators())
        bench.clock.advance(0.6)
    bench.look(bench.operators(), 2)
    for message in bench.sns.published:
        [heading] = [line for line in message["Message"].splitlines() if line.startswith("DEAD LETTERS")]
        count = int(heading.rpartition(" ")[2])
        told += count
        entries = message["Message"].count("\n  target  ")
        assert entries == min(count, MAX_ENTRIES)
        assert (f"and {count - entries} more" in message["Message"]) == (count > entries)
    assert told == 1000
    assert len(bench.sns.published) == 11


def test_what_could_not_be_published_is_published_a_minute_later(bench: Bench) -> None:
    bench.sns.error = client_error("Throttled", "Publish")
    bench.die()
    operators = bench.operators()
    with pytest.raises(ClientError, match="Throttled"):
        bench.look_at_letters(operators)
    bench.sns.error = None
    bench.look(operators)
    assert bench.subjects == ["Dead letter: OrdersDatabaseHighCPU"]
    bench.look(operators, 5)
    assert len(bench.sns.published) == 1


@pytest.mark.parametrize("error", ["ProvisionedThroughputExceededException", "ResourceNotFoundException"])
def test_without_the_table_an_environment_reports_by_itself(bench: Bench, error: str) -> None:
    """Still at most once a minute, and each once."""
    bench.dynamodb.fail(error)
    operators = bench.operators()
    for number in range(3):
        bench.die(f"alert {number}")
        bench.look_at_letters(operators)
    assert bench.subjects == ["Dead letter: alert 0"]
    bench.die("alert 3")
    bench.look(operators)
    assert bench.subjects[1:] == ["PagerDuty Publisher: 3 dead letters"]


def test_several_environments_at_a_time_lose_nothing(bench: Bench) -> None:
    """Another one writes between each read and write: all entries are told."""
    operators, other = bench.operators(), bench.operators()
    put = bench.dynamodb.put_item
    meanwhile = [deferred(NOW - 200, "a"), deferred(NOW - 200, "b")]

    def put_after_another(**arguments: Any) -> Any:
        if meanwhile:
            other.report_deferred([meanwhile.pop()])
        return put(**arguments)

    bench.dynamodb.put_item = put_after_another  # type: ignore[method-assign]
    operators.report_deferred([deferred(NOW - 200, "c")])
    bench.look(operators, 3)
    told = "\n".join(message["Message"] for message in bench.sns.published)
    assert all(told.count(f"CRITICAL  {name}\n") == 1 for name in "abc")


# --- Late ones ----------------------------------------------------------------------------------------------------


def test_a_critical_that_waits_for_two_minutes_is_reported_once_and_its_end_too(bench: Bench) -> None:
    """Within three minutes, with what the record's body says of it."""
    operators = bench.operators()
    bench.wait("orders-db")
    bench.look(operators)
    assert bench.sns.published == []
    bench.look(operators)
    assert bench.subjects == ["Not accepted by PagerDuty: name of orders-db"]
    for part in (
        "CRITICAL  name of orders-db",
        "summary of orders-db",
        "orders-db-1",
        "https://prometheus.example.com",
    ):
        assert part in bench.last
    bench.look(operators, 10)
    assert len(bench.sns.published) == 1
    bench.end("orders-db", "accepted at 04:10:00 UTC")
    bench.look(operators)
    assert bench.subjects[1:] == ["PagerDuty Publisher: 1 no longer waiting, 0 still"]
    assert "state   accepted at " in bench.last
    bench.look(operators, 3)
    assert len(bench.sns.published) == 2


def test_a_thousand_that_wait_are_a_digest_a_minute(bench: Bench) -> None:
    """And their recovery is told when it is over, not one by one."""
    operators = bench.operators()
    for number in range(1000):
        bench.wait(f"k-{number}", since=bench.clock() + number * 0.1)
    bench.look(operators, 6)
    news = len(bench.sns.published)
    assert news <= 3
    counted = [
        int(line.split()[2]) for m in bench.sns.published for line in m["Message"].splitlines() if "NOT ACC" in line
    ]
    assert sum(counted) == 1000
    for number in range(1000):
        bench.end(f"k-{number}", "accepted at 04:10:00 UTC")
        if number % 200 == 0:
            bench.look(operators)
    bench.look(operators)
    assert bench.subjects[news:] == ["PagerDuty Publisher: 1000 no longer waiting, 0 still"]


def test_a_recovery_that_drags_on_is_reported_in_between(bench: Bench) -> None:
    operators = bench.operators()
    bench.wait("a")
    bench.wait("b")
    bench.look(operators, 2)
    bench.end("a", "accepted at 04:10:00 UTC")
    bench.look(operators, 12)
    assert bench.subjects[1:] == ["PagerDuty Publisher: 1 no longer waiting, 1 still"]
    assert "Still not accepted: 1 critical." in bench.last


def test_one_that_ended_otherwise_is_not_called_accepted(bench: Bench) -> None:
    operators = bench.operators()
    for key in ("resolved", "dead"):
        bench.wait(key)
    bench.look(operators, 2)
    bench.end("resolved", "resolved at its source before it was accepted")
    bench.end("dead")
    bench.look(operators, 12)
    text = "\n".join(message["Message"] for message in bench.sns.published[1:])
    assert "state   resolved at its source before it was accepted" in text
    assert "state   not accepted as far as is known: see make trace" in text


def test_one_that_waits_outside_of_the_table_is_reported_once(bench: Bench) -> None:
    """While the table is out alerts wait on the retry queue, and come by every half minute."""
    operators = bench.operators()
    operators.report_deferred([deferred(bench.clock() - 60)])
    assert bench.sns.published == []
    for _ in range(10):
        bench.clock.advance(60)
        operators.report_deferred([deferred(NOW - 60)])
        bench.look_now(operators)
    assert bench.subjects == ["Not accepted by PagerDuty: CheckoutErrorRate"]
    bench.ended["production#checkout-error-rate"] = WaitingAlert(ending="accepted at 04:10:00 UTC")
    bench.look(operators)
    assert bench.subjects[1:] == ["PagerDuty Publisher: 1 no longer waiting, 0 still"]


def test_one_whose_record_cannot_be_read_is_reported_by_its_key(bench: Bench) -> None:
    bench.waiting["production#orders-db"] = WaitingAlert(since=bench.clock())
    bench.look(bench.operators(), 2)
    assert bench.subjects == ["Not accepted by PagerDuty: orders-db"]
    assert "CRITICAL  orders-db" in bench.last


# --- Nothing comes back --------------------------------------------------------------------------------------------


def test_a_report_pages_nobody(bench: Bench) -> None:
    """Not even where somebody subscribes the function to the operators' topic: no report leads to another one."""
    bench.die()
    bench.look_at_letters(bench.operators())
    [message] = bench.sns.published
    attributes = {n: {"Type": "String", "Value": a["StringValue"]} for n, a in message["MessageAttributes"].items()}
    notification = {"TopicArn": TOPIC, "Message": message["Message"], "MessageAttributes": attributes}
    [found] = parse({"Records": [{"EventSource": "aws:sns", "Sns": notification}]})
    assert found == Ignored(SkipReason.NOTICE, "notice")
    [found] = parse({"Records": [{"EventSource": "aws:sns", "Sns": {**notification, "MessageAttributes": {}}}]})
    assert isinstance(found, Alert)


# --- Pure -----------------------------------------------------------------------------------------------------------


@given(st.text(min_size=1, max_size=300), st.sampled_from(Kind), st.integers(1, 3))
def test_a_subject_is_short_plain_text(name: str, kind: Kind, count: int) -> None:
    """Fewer than 100 characters of ASCII on one line, whatever the alert is called."""
    state = State(counts={kind: count}, entries=(Entry(kind=kind, name=name),))
    subject, text = compose(state)
    assert 0 < len(subject) <= MAX_SUBJECT
    assert all(" " <= letter <= "~" for letter in subject)
    assert subject[0] != " "
    assert text


def test_a_state_survives_the_table() -> None:
    entry = Entry(kind=Kind.DEAD_LETTER, name="Größe", summary="s", since=1.5)
    state, _ = step(State(rev=3), Seen(entries=[entry], more={Kind.LATE: 3}, late=frozenset({b"12345678"})), 99.0)
    assert load(cast(Any, dump(state))) == state
    assert load(None) == State()


@given(st.lists(st.integers(0, 40), min_size=1, max_size=20), st.lists(st.integers(1, 200), min_size=20, max_size=20))
def test_every_entry_is_counted_once_and_messages_are_a_minute_apart(sizes: list[int], pauses: list[int]) -> None:
    """However they come, and although more come between a message's decision and its end."""
    state, now, told, sent_at = State(), 1000.0, 0, 0.0
    for size, pause in zip(sizes, pauses, strict=False):
        state, is_due = step(state, Seen(entries=[Entry(kind=Kind.DEAD_LETTER, name="n")] * size), now)
        if is_due:
            assert now - sent_at >= 60
            sent_at, sent = now, state
            told += sent.counts[Kind.DEAD_LETTER]
            state, again = step(state, Seen(entries=[Entry(kind=Kind.DEAD_LETTER, name="m")]), now)
            assert not again
            state = after_sending(state, sent)
            assert state.counts[Kind.DEAD_LETTER] == 1
            assert [entry.name for entry in state.entries] == ["m"] * (len(sent.entries) < MAX_ENTRIES)
            told -= 1
        now += pause
    assert told + state.counts.get(Kind.DEAD_LETTER, 0) == sum(sizes)


def test_a_target_called_operators_harms_no_report() -> None:
    """An alert with the fingerprint `state` would have had the id of what was reported."""
    world = make_world({"pagerduty/operators": target_secret("operators")})
    for own in (STATE_ID, LETTERS_ID):
        for number, labels in enumerate([{}, {"change_event": "true"}]):
            world.publish(native(own.rpartition("#")[2], labels=labels, minute=number))
    assert {STATE_ID, LETTERS_ID}.isdisjoint(world.dynamodb.tables[TABLE])
    assert not any(identity.startswith("##") for identity in world.dynamodb.tables[TABLE])
    assert len(world.requests) == 4
