"""What is reported to operators, as it is collected: from invocations, the index, and the dead-letter queue."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from botocore.exceptions import EndpointConnectionError

from handler.operators.reporter import Reporter
from handler.operators.reports import READING_SECONDS, OperatorReports
from handler.operators.state import STATE_ID
from handler.sources.reader import Reader
from local.simulator.faults import Fault, FaultKind
from tests.lab.dynamodb import TABLE
from tests.lab.secrets import ROUTING_KEY
from tests.lab.sns import FakeSNS
from tests.lab.sqs import DEAD_LETTER_URL
from tests.lab.world import World, make_world, native

TOPIC = "arn:aws:sns:us-east-1:000000000000:operators"


@dataclass
class Bench:
    """The reports to operators on a world.

    Attributes:
        made: the reporters that were made.
        make_error: raised instead of making one.
        problems: what did not work.
    """

    world: World = field(default_factory=make_world)
    sns: FakeSNS = field(default_factory=FakeSNS)
    made: list[Reporter] = field(default_factory=list)
    make_error: Exception | None = None
    problems: list[str] = field(default_factory=list)
    operators: OperatorReports = field(init=False)

    def __post_init__(self) -> None:
        world = self.world
        self.operators = OperatorReports(
            self.make_reporter,
            targets=world.targets,
            table=world.table,
            queues=world.publisher.queues,
            clock=world.clock,
            report=self.problems.append,
        )

    def make_reporter(self) -> Reporter:
        if self.make_error:
            raise self.make_error
        reporter = Reporter(
            cast(Any, self.world.dynamodb),
            cast(Any, self.sns),
            table=TABLE,
            topic_arn=TOPIC,
            clock=self.world.clock,
            redact=self.world.targets.redact,
            report=self.problems.append,
            reader=Reader(function_name="stack-publisher"),
            stack="stack",
        )
        self.made.append(reporter)
        return reporter

    def note_late(self) -> None:
        """Note an alert of two minutes ago that neither PagerDuty nor the table takes: it is on the retry queue."""
        seen_at = datetime.fromtimestamp(self.world.clock() - 120, UTC).isoformat()
        self.world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=503, count=None))
        self.world.dynamodb.fail("InternalServerError")
        self.operators.note(self.world.publish(native("outside", observed_at=seen_at)))
        self.world.dynamodb.heal()


def test_nothing_is_made_for_what_is_delivered() -> None:
    """An environment that only pages makes no further client: neither what was accepted nor what waits briefly."""
    bench = Bench()
    bench.operators.note(bench.world.publish(native()))
    bench.operators.report_noted()
    bench.world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=429))
    bench.operators.note(bench.world.publish(native("f-2")))
    bench.operators.report_noted()
    assert bench.made == []


def test_operators_are_notified_of_dead_letters_with_their_content_and_whoever_wrote_them() -> None:
    """By name, with the error and the target, over SNS; the queue is left as it was."""
    bench = Bench()
    world = bench.world
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=400))
    world.publish(native())
    bench.operators.report_dead_letters()
    [message] = bench.sns.published
    assert "DatabaseHighCPU" in message["Subject"]
    assert "CRITICAL  DatabaseHighCPU" in message["Message"]
    assert "target  production" in message["Message"]
    assert "bad_request" in message["Message"]
    world.sqs.send_message(QueueUrl=DEAD_LETTER_URL, MessageBody=json.dumps(native("f-2", labels={})))
    world.clock.advance(61)
    for _ in range(3):
        bench.operators.report_dead_letters()
        world.clock.advance(61)
    [_, message] = bench.sns.published
    assert "ERROR  DatabaseHighCPU" in message["Message"]
    assert "target  production" in message["Message"]
    assert world.sqs.held == set()
    assert len(world.sqs.dead_letters) == 2


def test_dead_letters_of_many_pages_are_read_and_released() -> None:
    """Ten at a time: as many as SQS returns."""
    bench = Bench()
    for number in range(35):
        text = json.dumps(native(f"f-{number}"))
        bench.world.sqs.send_message(QueueUrl=DEAD_LETTER_URL, MessageBody=text)
    bench.operators.report_dead_letters()
    [message] = bench.sns.published
    assert "DEAD LETTERS: 35" in message["Message"]
    assert bench.world.sqs.held == set()


def test_a_dead_letter_queue_that_fails_disturbs_nobody() -> None:
    bench = Bench()
    bench.world.sqs.send_message(QueueUrl=DEAD_LETTER_URL, MessageBody=json.dumps(native()))
    for after in (0, 1):
        bench.world.sqs.fail("ServiceUnavailable", after=after, times=1)
        bench.operators.report_dead_letters()
        assert bench.sns.published == []
    bench.operators.report_dead_letters()
    assert len(bench.sns.published) == 1


def test_operators_are_notified_of_a_critical_alert_that_waits_for_two_minutes_and_of_its_end() -> None:
    """As the schedule's drainer sees it in the index."""
    bench = Bench()
    world = bench.world
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=503, count=None))
    world.publish(native())
    bench.operators.report_waiting(list(world.table.all_waiting()))
    assert bench.sns.published == []
    world.clock.advance(121)
    bench.operators.report_waiting(list(world.table.all_waiting()))
    bench.operators.report_waiting(list(world.table.all_waiting()))
    [message] = bench.sns.published
    assert "DatabaseHighCPU" in message["Message"]
    world.pagerduty.set_faults()
    world.drain()
    world.clock.advance(61)
    bench.operators.report_waiting(list(world.table.all_waiting()))
    assert "NO LONGER WAITING" in bench.sns.published[-1]["Message"]


def fail_table(bench: Bench) -> None:
    """Let the table be out: what is due is published without it."""
    bench.world.dynamodb.fail(EndpointConnectionError(endpoint_url="https://dynamodb.example"))


def fail_topic(bench: Bench) -> None:
    bench.sns.error = EndpointConnectionError(endpoint_url="https://sns.example")


def fail_both(bench: Bench) -> None:
    fail_table(bench)
    fail_topic(bench)


def damage_state(bench: Bench) -> None:
    item: Any = {"id": {"S": STATE_ID}, "rev": {"N": "7"}, "content": {"B": b"x"}, "late": {"B": b""}}
    bench.world.dynamodb.put_item(TableName=TABLE, Item=item)


def plant_bug(bench: Bench) -> None:
    bench.sns.error = RuntimeError(f"a bug that shows {ROUTING_KEY}")


def break_factory(bench: Bench) -> None:
    bench.make_error = TypeError("an unexpected keyword")


HARMS = [fail_table, fail_topic, fail_both, damage_state, plant_bug, break_factory]


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("method", ["report_noted", "report_waiting", "report_dead_letters"])
def test_nothing_is_raised(method: str, harm: Callable[[Bench], None]) -> None:
    """What fails, the reporter's making included, is reported without a routing key, and ends no invocation."""
    bench = Bench()
    world = bench.world
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=503, count=None))
    world.publish(native())
    world.clock.advance(121)
    places = list(world.table.all_waiting())
    world.sqs.send_message(QueueUrl=DEAD_LETTER_URL, MessageBody=json.dumps(native("f-2")))
    bench.note_late()
    harm(bench)
    match method:
        case "report_noted":
            bench.operators.report_noted()
        case "report_waiting":
            bench.operators.report_waiting(places)
        case _:
            bench.operators.report_dead_letters()
    assert bench.problems or bench.sns.published
    assert ROUTING_KEY not in str(bench.problems)


def test_an_alert_that_cannot_be_compared_ends_no_invocation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what decides whether a reporter is needed runs guarded."""
    bench = Bench()
    bench.note_late()

    def fail() -> float:
        raise ZeroDivisionError

    monkeypatch.setattr(bench.operators, "_clock", fail)
    bench.operators.report_noted()
    assert bench.problems == ["a report to operators failed: ZeroDivisionError: "]


def test_a_critical_alert_that_waits_outside_of_the_table_is_reported_once() -> None:
    """While the table is out, the index does not have it; the invocation that defers it reports it."""
    bench = Bench()
    bench.note_late()
    bench.operators.report_noted()
    bench.world.dynamodb.calls.clear()
    bench.operators.report_noted()
    assert bench.world.dynamodb.calls == []
    [message] = bench.sns.published
    assert message["TopicArn"] == TOPIC
    assert message["Subject"] == "Not accepted by PagerDuty: DatabaseHighCPU"
    assert "state   table_unavailable" in message["Message"]


def test_dead_letters_are_read_for_a_bounded_time() -> None:
    """What waits is sent after that, and an invocation ends; the next one reads again."""
    bench = Bench()
    sqs = bench.world.sqs
    for number in range(35):
        sqs.send_message(QueueUrl=DEAD_LETTER_URL, MessageBody=json.dumps(native(f"f-{number}")))
    receive = sqs.receive_message

    def receive_slowly(**arguments: Any) -> Any:
        bench.world.clock.advance(READING_SECONDS / 2 + 1)
        return receive(**arguments)

    sqs.receive_message = receive_slowly  # type: ignore[method-assign]
    bench.operators.report_dead_letters()
    [message] = bench.sns.published
    assert "DEAD LETTERS: 20" in message["Message"]
    assert sqs.held == set()
