"""What runs apart from the path of a page: reports to operators, the comparison with alarms, the heartbeat."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import pytest

from handler.rounds import Rounds
from handler.settings import Settings
from local.simulator.faults import Fault, FaultKind
from tests.lab.clock import Clock
from tests.lab.dynamodb import TABLE
from tests.lab.sqs import DEAD_LETTER_URL, RETRY_URL
from tests.lab.world import World, make_world, native

TOPIC = "arn:aws:sns:us-east-1:000000000000:operators"
ALERTS = "arn:aws:sns:us-east-1:000000000000:alerts"
FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:stack-publisher"
ALARM = "arn:aws:cloudwatch:us-east-1:000000000000:alarm:db-cpu"


@dataclass
class Aws:
    """The services that only the rounds use: what was published to operators, and the alarms that there are."""

    world: World
    published: list[dict[str, Any]] = field(default_factory=list)
    alarms: list[dict[str, Any]] = field(default_factory=list)
    made: list[str] = field(default_factory=list)

    def client(self, name: str) -> Any:
        self.made.append(name)
        return self.world.dynamodb if name == "dynamodb" else self

    def publish(self, **message: Any) -> None:
        self.published.append(message)

    def describe_alarms(self, *, StateValue: str = "", AlarmNames: Any = None, **_: Any) -> dict[str, Any]:
        found = [alarm for alarm in self.alarms if StateValue in ("", alarm["StateValue"])]
        return {"MetricAlarms": [a for a in found if AlarmNames is None or a["AlarmName"] in AlarmNames]}

    def list_alarm_mute_rules(self, **_: Any) -> dict[str, Any]:
        return {}


@dataclass
class Bench:
    world: World
    aws: Aws
    rounds: Rounds
    problems: list[str]


def make_bench(**settings: str) -> Bench:
    world = make_world()
    aws, problems = Aws(world), cast(list[str], [])
    given = {
        "DEDUP_TABLE_NAME": TABLE,
        "RETRY_QUEUE_URL": RETRY_URL,
        "DEAD_LETTER_QUEUE_URL": DEAD_LETTER_URL,
        "OPERATOR_TOPIC_ARN": TOPIC,
        "ALERT_TOPIC_ARN": ALERTS,
        "AGREE_WITH_CLOUDWATCH": "wired",
        **settings,
    }
    rounds = Rounds(
        Settings.from_environment(given),
        "stack-publisher",
        make_client=aws.client,
        targets=world.targets,
        table=world.table,
        queues=world.publisher.queues,
        publish=world.publisher.publish,
        report=problems.append,
        clock=world.clock,
    )
    return Bench(world, aws, rounds, problems)


def test_nothing_is_made_for_what_is_delivered() -> None:
    """An environment that only pages makes no further client."""
    bench = make_bench()
    bench.rounds.note(bench.world.publish(native()))
    bench.world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=429))
    bench.rounds.note(bench.world.publish(native("f-2")))
    assert bench.aws.made == []


def test_operators_are_notified_of_dead_letters_with_their_content_and_whoever_wrote_them() -> None:
    """By name, with the error and the target, over SNS; the queue is left as it was."""
    bench = make_bench()
    world = bench.world
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=400))
    world.publish(native())
    bench.rounds.look_at_dead_letters()
    [message] = bench.aws.published
    assert "DatabaseHighCPU" in message["Subject"]
    assert "CRITICAL  DatabaseHighCPU" in message["Message"]
    assert "target  production" in message["Message"]
    assert "bad_request" in message["Message"]
    world.sqs.send_message(QueueUrl=DEAD_LETTER_URL, MessageBody=json.dumps(native("f-2", labels={})))
    world.clock.advance(61)
    for _ in range(3):
        bench.rounds.look_at_dead_letters()
        world.clock.advance(61)
    [_, message] = bench.aws.published
    assert "ERROR  DatabaseHighCPU" in message["Message"]
    assert "target  production" in message["Message"]
    assert world.sqs.held == set()
    assert len(world.sqs.dead_letters) == 2


def test_dead_letters_of_many_pages_are_read_and_released() -> None:
    """Ten at a time: as many as SQS returns."""
    bench = make_bench()
    for number in range(35):
        text = json.dumps(native(f"f-{number}"))
        bench.world.sqs.send_message(QueueUrl=DEAD_LETTER_URL, MessageBody=text)
    bench.rounds.look_at_dead_letters()
    [message] = bench.aws.published
    assert "DEAD LETTERS: 35" in message["Message"]
    assert bench.world.sqs.held == set()


def test_a_dead_letter_queue_that_fails_disturbs_nobody() -> None:
    bench = make_bench()
    bench.world.sqs.send_message(QueueUrl=DEAD_LETTER_URL, MessageBody=json.dumps(native()))
    for after in (0, 1):
        bench.world.sqs.fail("ServiceUnavailable", after=after, times=1)
        bench.rounds.look_at_dead_letters()
        assert bench.aws.published == []
    bench.rounds.look_at_dead_letters()
    assert len(bench.aws.published) == 1


def test_operators_are_notified_of_a_critical_alert_that_waits_for_two_minutes_and_of_its_end() -> None:
    """As the schedule's drainer sees it in the index."""
    bench = make_bench()
    world = bench.world
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=503, count=None))
    world.publish(native())
    bench.rounds.look(list(world.table.all_waiting()))
    assert bench.aws.published == []
    world.clock.advance(121)
    bench.rounds.look(list(world.table.all_waiting()))
    bench.rounds.look(list(world.table.all_waiting()))
    [message] = bench.aws.published
    assert "DatabaseHighCPU" in message["Message"]
    world.pagerduty.set_faults()
    world.drain()
    world.clock.advance(61)
    bench.rounds.look(list(world.table.all_waiting()))
    assert "NO LONGER WAITING" in bench.aws.published[-1]["Message"]


def alarm(state: str, clock: Clock) -> dict[str, Any]:
    since = datetime.fromtimestamp(clock(), UTC) - timedelta(minutes=2)
    return {
        "AlarmArn": ALARM,
        "AlarmName": "db-cpu",
        "StateValue": state,
        "StateReason": "Threshold Crossed",
        "StateUpdatedTimestamp": since,
        "StateTransitionedTimestamp": since,
        "ActionsEnabled": True,
        "AlarmActions": [ALERTS],
    }


def test_an_alarm_whose_notification_was_lost_pages_and_its_end_without_an_action_resolves() -> None:
    """And nothing is doubled by looking again."""
    bench = make_bench()
    world = bench.world
    bench.aws.alarms = [alarm("ALARM", world.clock)]
    assert bench.rounds.agree(FUNCTION, world.clock() + 50) == {"no_record": 1}
    assert world.states == {ALARM: "triggered"}
    assert bench.rounds.agree(FUNCTION, world.clock() + 50) == {}
    world.clock.advance(300)
    bench.aws.alarms = [alarm("OK", world.clock)]
    assert bench.rounds.agree(FUNCTION, world.clock() + 50) == {"alarm_is_ok": 1}
    assert world.states == {ALARM: "resolved"}
    assert bench.rounds.agree(FUNCTION, world.clock() + 50) == {}
    assert len(world.requests) == 2


def test_agreement_can_be_switched_off() -> None:
    """Then CloudWatch is asked for nothing."""
    bench = make_bench(AGREE_WITH_CLOUDWATCH="off")
    bench.aws.alarms = [alarm("ALARM", bench.world.clock)]
    assert bench.rounds.agree(FUNCTION, bench.world.clock() + 50) == {}
    assert bench.aws.made == []


@pytest.fixture
def switch() -> Iterator[tuple[str, list[str]]]:
    """A dead man's switch: its address, and the requests it got."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(200 if self.path == "/ping" else 404)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", paths
        server.shutdown()
        thread.join()


def test_the_heartbeat_is_one_request(switch: tuple[str, list[str]]) -> None:
    """What goes wrong with it is reported, without its address."""
    address, paths = switch
    bench = make_bench(HEARTBEAT_URL=f"{address}/ping")
    bench.rounds.beat()
    assert (paths, bench.problems) == (["/ping"], [])
    bench = make_bench(HEARTBEAT_URL=f"{address}/gone")
    bench.rounds.beat()
    assert len(bench.problems) == 1
    assert "/gone" not in bench.problems[0]


def test_without_an_address_there_is_no_heartbeat() -> None:
    bench = make_bench()
    bench.rounds.beat()
    assert bench.problems == []
