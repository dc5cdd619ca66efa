"""What operators are told of, as it is gathered: from an invocation's reports, the index, and the dead-letter queue."""

import json
from dataclasses import dataclass, field
from typing import Any, cast

from handler.operators.reporter import Reporter
from handler.operators.reports import OperatorReports
from handler.sources.reader import Reader
from local.simulator.faults import Fault, FaultKind
from tests.lab.dynamodb import TABLE
from tests.lab.sqs import DEAD_LETTER_URL
from tests.lab.world import World, make_world, native

TOPIC = "arn:aws:sns:us-east-1:000000000000:operators"


@dataclass
class FakeSNS:
    """What was published to operators."""

    published: list[dict[str, Any]] = field(default_factory=list)

    def publish(self, **message: Any) -> None:
        self.published.append(message)


@dataclass
class Bench:
    """The reports to operators on a world.

    Attributes:
        made: the reporters that were made.
        problems: what did not work.
    """

    world: World = field(default_factory=make_world)
    sns: FakeSNS = field(default_factory=FakeSNS)
    made: list[Reporter] = field(default_factory=list)
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
        )

    def make_reporter(self) -> Reporter:
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


def test_nothing_is_made_for_what_is_delivered() -> None:
    """An environment that only pages makes no further client: neither what was accepted nor what waits briefly."""
    bench = Bench()
    bench.operators.report_deferred(bench.world.publish(native()))
    bench.world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=429))
    bench.operators.report_deferred(bench.world.publish(native("f-2")))
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
