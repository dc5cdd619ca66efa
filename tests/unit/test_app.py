"""The Lambda function, imported as Lambda would; only its publisher is replaced, by one on fakes."""

import gc
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from threading import Barrier, Event
from types import ModuleType, SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qs

import pytest

from handler.agreement.agreement import Agreement
from handler.agreement.comparison import Comparison
from handler.agreement.wiring import Scope
from handler.delivery.drainer import Drained
from handler.delivery.record import Order
from handler.delivery.table import Place
from handler.errors import QueueUnavailableError, SettingsError
from handler.health import HealthCheck
from handler.messages import WakeUp
from handler.metrics import SERVICE
from handler.report import Report
from handler.schedules import DRAIN, HEALTH_CHECK
from handler.sources.reader import Reader
from local.simulator.faults import Fault, FaultKind
from tests.lab.clock import Clock
from tests.lab.cloudwatch import FUNCTION, PREFIX, TOPIC, FakeCloudWatch, described
from tests.lab.dynamodb import TABLE
from tests.lab.parts import make_client
from tests.lab.secrets import OTHER_KEY, ROUTING_KEY, target_secret
from tests.lab.sns import FakeSNS
from tests.lab.standin import Answering, Request, Response, say_yes, serve
from tests.lab.wire import DirectPool
from tests.lab.world import World, make_world, native

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "DEDUP_TABLE_NAME": "dedup",
    "RETRY_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/000000000000/retry",
    "DEAD_LETTER_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/000000000000/dead-letter",
}


@dataclass
class Context:
    """What Lambda says of an invocation."""

    function_name: str = "publisher"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = FUNCTION
    aws_request_id: str = "request-1"

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


def import_app(monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> ModuleType:
    """Import the function anew in an environment."""
    for name, value in {**ENVIRONMENT, **environment}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delitem(sys.modules, "handler.app", raising=False)
    try:
        return importlib.import_module("handler.app")
    finally:  # the tests' own garbage is collected, even where init failed
        gc.unfreeze()
        gc.enable()


@dataclass
class Function:
    """The function with its publisher on fakes."""

    app: ModuleType
    world: World
    read: Callable[[], str]
    output: str = ""

    def invoke(self, event: Any) -> Any:
        self.app.logger.registered_handler.stream = sys.stdout  # Powertools keeps that of the first import
        try:
            return self.app.lambda_handler(event, Context())
        finally:
            self.output += self.read()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log lines; metrics are not among them."""
        return [line for line in map(json.loads, self.output.splitlines()) if "_aws" not in line]

    @property
    def metrics(self) -> list[dict[str, Any]]:
        return [line for line in map(json.loads, self.output.splitlines()) if "_aws" in line]


def use(app: ModuleType, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the function work on a world."""
    client = make_client(DirectPool(world.pagerduty, world.clock), world.clock)
    check = HealthCheck(
        world.targets, client, world.table, world.limiter, world.clock, world.publisher.queues.count_dead_letters
    )
    parts = replace(
        app.parts,
        targets=world.targets,
        table=world.table,
        queues=world.publisher.queues,
        publisher=world.publisher,
        drainer=replace(world.drainer, record_at_once=app.parts.drainer.record_at_once),
        health_check=check,
    )
    monkeypatch.setattr(app, "parts", parts)


@pytest.fixture
def function(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Function]:
    app = import_app(monkeypatch, {})
    world = make_world()
    use(app, world, monkeypatch)
    # deadlines come from the real clock
    world.clock.now = app.time.time()
    yield Function(app, world, lambda: capsys.readouterr().out)
    sys.modules.pop("handler.app", None)


def sns(*messages: Any) -> dict[str, Any]:
    return {
        "Records": [
            {
                "EventSource": "aws:sns",
                "EventVersion": "1.0",
                "EventSubscriptionArn": "arn",
                "Sns": {"MessageId": str(number), "TopicArn": "arn", "Message": json.dumps(message)},
            }
            for number, message in enumerate(messages)
        ]
    }


def sqs(*messages: Any) -> dict[str, Any]:
    return {
        "Records": [
            {
                "messageId": f"m-{number}",
                "receiptHandle": "r",
                "body": json.dumps(message),
                "attributes": {"SentTimestamp": "1795405200000"},
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:retry",
            }
            for number, message in enumerate(messages)
        ]
    }


def eventbridge(detail: Any, detail_type: str = "Alert") -> dict[str, Any]:
    return {
        "version": "0",
        "id": "e-1",
        "source": "my.app",
        "account": "000000000000",
        "region": "us-east-1",
        "time": "2026-11-23T03:40:01Z",
        "resources": [],
        "detail-type": detail_type,
        "detail": detail,
    }


@pytest.mark.parametrize(
    "event",
    [sns(native()), eventbridge(native()), native(), sns(eventbridge(native())), sqs(native()), sqs(sns(native()))],
    ids=["sns", "eventbridge", "direct", "eventbridge in sns", "sqs", "sns in sqs"],
)
def test_every_path_leads_to_pagerduty(function: Function, event: Any) -> None:
    """The alert is the same, whatever it was wrapped in."""
    answer = function.invoke(event)
    assert function.world.states == {"f-1": "triggered"}
    if "batchItemFailures" in answer:
        assert answer == {"batchItemFailures": []}
    else:
        assert [result["outcome"] for result in answer["results"]] == ["accepted"]


def test_every_record_of_a_batch_is_published(function: Function) -> None:
    """Not only the first, and not only the last."""
    function.invoke(sns(*(native(f"f-{number}") for number in range(5))))
    assert len(function.world.pagerduty.incidents) == 5


@pytest.mark.parametrize("wrap", [sns, sqs])
def test_the_bare_list_of_a_pipe_is_a_batch(function: Function, wrap: Callable[..., Any]) -> None:
    """EventBridge Pipes sends the records without an object around them."""
    answer = function.invoke(wrap(native("f-1"), native("f-2"))["Records"])
    assert [result["outcome"] for result in answer["results"]] == ["accepted", "accepted"]
    assert function.world.states == {"f-1": "triggered", "f-2": "triggered"}


def test_a_pipe_tries_again_if_an_alert_would_be_lost(function: Function) -> None:
    """Nothing reads a partial batch response there, so the invocation fails, after every record was tried."""
    function.world.sqs.fail("InternalError")
    function.world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=400, dedup_key="f-1"))
    with pytest.raises(ExceptionGroup, match="neither be sent nor kept"):
        function.invoke(sqs(native("f-1"), native("f-2"))["Records"])
    assert function.world.states == {"f-2": "triggered"}


def test_a_bad_record_does_not_harm_its_siblings(function: Function) -> None:
    """It goes to the dead letters, and the invocation succeeds."""
    answer = function.invoke(sns(native("f-1"), {"alert": {}}, native("f-2")))
    assert [result["outcome"] for result in answer["results"]] == ["accepted", "rejected", "accepted"]
    assert len(function.world.sqs.dead_letters) == 1


def test_no_records_are_no_error(function: Function) -> None:
    """There is nothing to do."""
    assert function.invoke({"Records": []}) == {"results": []}


def test_an_invocation_fails_if_an_alert_would_be_lost(function: Function) -> None:
    """After every record has been tried; Lambda invokes it again, and duplicates are skipped then."""
    function.world.sqs.fail("InternalError")
    function.world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=400, dedup_key="f-1"))
    with pytest.raises(ExceptionGroup, match="neither be sent nor kept") as raised:
        function.invoke(sns(native("f-1"), native("f-2")))
    assert [type(error) for error in raised.value.exceptions] == [QueueUnavailableError]
    assert function.world.states == {"f-2": "triggered"}


def test_of_a_queues_batch_only_what_would_be_lost_comes_back(function: Function) -> None:
    """A partial batch response: the others are done."""
    function.world.sqs.fail("InternalError")
    function.world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=400, dedup_key="f-1"))
    answer = function.invoke(sqs(native("f-0"), native("f-1"), native("f-2")))
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m-1"}]}
    assert function.world.states == {"f-0": "triggered", "f-2": "triggered"}


def test_a_whole_batch_that_would_be_lost_comes_back(function: Function) -> None:
    """Without an error of the invocation: that would be retried as a whole, whatever the answer says."""
    function.world.sqs.fail("InternalError")
    function.world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=400, count=None))
    answer = function.invoke(sqs(native("f-0"), native("f-1")))
    assert [failure["itemIdentifier"] for failure in answer["batchItemFailures"]] == ["m-0", "m-1"]


@pytest.mark.parametrize("wrap", [sns, sqs])
def test_a_mistake_of_ours_is_a_dead_letter(function: Function, wrap: Callable[..., Any]) -> None:
    """Its siblings are delivered, and the log has the traceback without the routing key."""
    broken = function.world.pagerduty.handle

    def fail_on_the_first(*request: Any) -> Any:
        function.world.pagerduty.handle = broken  # type: ignore[method-assign]
        raise ZeroDivisionError(f"a bug of a library, on {request[0]}")

    function.world.pagerduty.handle = fail_on_the_first  # type: ignore[method-assign,assignment]
    function.invoke(wrap(native("f-1"), native("f-2")))
    assert function.world.states == {"f-2": "triggered"}
    [letter] = function.world.sqs.dead_letters
    assert letter.attributes["error_type"] == "internal"
    assert "ZeroDivisionError" in letter.content["error"]
    assert "native" not in letter.content["error"]
    assert any("Traceback" in line.get("exception", "") for line in function.lines)
    assert ROUTING_KEY not in function.output
    # the claim of it is still held; when its lease has ended, the dead letter can be put back
    function.world.clock.advance(60)
    function.world.publish(letter.as_record())
    assert function.world.states == {"f-1": "triggered", "f-2": "triggered"}


def test_a_delivery_is_one_log_line(function: Function) -> None:
    """JSON, with what an operator asks for, and with the request's id."""
    function.invoke(sns(native()))
    [line] = function.lines
    assert line["level"] == "INFO"
    assert line["message"] == "accepted"
    assert line["service"] == "pagerduty-publisher"
    assert line["function_request_id"] == "request-1"
    assert {name: line[name] for name in ("outcome", "event_type", "target", "dedup_key", "severity", "status")} == {
        "outcome": "accepted",
        "event_type": "trigger",
        "target": "production",
        "dedup_key": "f-1",
        "severity": "critical",
        "status": "202",
    }


@pytest.mark.parametrize(
    ("faults", "outcome"),
    [
        ([], "accepted"),
        ([Fault(FaultKind.STATUS, status=400, body={"message": f"bad key {ROUTING_KEY}"})], "deferred"),
        ([Fault(FaultKind.STATUS, status=503, count=None, body={"errors": [ROUTING_KEY]})], "deferred"),
        ([Fault(FaultKind.RESET, count=None)], "deferred"),
        ([Fault(FaultKind.STATUS, status=429)], "deferred"),
    ],
    ids=["accepted", "400", "503", "reset", "429"],
)
def test_the_routing_key_is_nowhere_but_in_the_request(function: Function, faults: list[Fault], outcome: str) -> None:
    """Not in the log, the metrics, the answer, the queues or the table."""
    function.world.pagerduty.set_faults(*faults)
    answer = function.invoke(sns(native()))
    assert [line["outcome"] for line in function.lines] == [outcome]
    queues = [message.body + str(message.attributes) for each in function.world.sqs.queues.values() for message in each]
    assert ROUTING_KEY not in function.output + json.dumps(answer) + str(function.world.dynamodb.tables) + str(queues)


def test_an_error_is_logged_as_one(function: Function) -> None:
    """With its type, for the log's queries."""
    function.world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=401))
    function.invoke(sns(native()))
    [line] = function.lines
    assert line["level"] == "ERROR"
    assert [error["type"] for error in line["errors"]] == ["unauthorized"]


def test_the_health_check_is_answered_logged_and_measured(function: Function) -> None:
    """A line and an answer that say the same; unhealthy is an error in the log, and none of the invocation."""
    world = function.world
    answer = function.invoke(HEALTH_CHECK)
    [line] = function.lines
    assert (answer["healthy"], answer["tracked"]) == (True, 0)
    assert (line["level"], line["message"], line["targets"]) == ("INFO", "healthy", {"production": "healthy"})
    assert [blob["Healthy"] for blob in function.metrics if "Healthy" in blob] == [[1.0]]
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=400))
    assert function.invoke(HEALTH_CHECK)["healthy"] is False
    assert function.lines[-1]["level"] == "ERROR"
    assert (world.sqs.dead_letters, world.pagerduty.incidents) == ([], ())


@pytest.mark.parametrize("event", [{"health_check": False}, {**HEALTH_CHECK, "Records": []}, None, []])
def test_the_health_check_runs_only_when_a_schedule_asks_for_it(function: Function, event: Any) -> None:
    """Anything else is a record, and never mistaken for it."""
    assert "healthy" not in function.invoke(event)


# --- after the health check: CloudWatch's alarms, and the heartbeat ---

ALARM = f"{PREFIX}db-cpu"


def in_state(state: str, clock: Clock, *names: str) -> list[dict[str, Any]]:
    """Return alarms that have been in a state for two minutes."""
    since = datetime.fromtimestamp(clock(), UTC) - timedelta(minutes=2)
    return [described(name, state, StateUpdatedTimestamp=since, StateTransitionedTimestamp=since) for name in names]


@pytest.fixture
def cloudwatch(function: Function, monkeypatch: pytest.MonkeyPatch) -> FakeCloudWatch:
    """Let the function compare these alarms with its records."""
    fake = FakeCloudWatch()
    world = function.world

    agreement = Agreement(
        cast(Any, fake),
        cast(Any, world.dynamodb),
        cast(Any, FakeSNS()),
        table=TABLE,
        topic_arn=TOPIC,
        function_arn=FUNCTION,
        scope=Scope.WIRED,
        reader=Reader(),
        clock=world.clock,
        report=pytest.fail,
    )
    comparison = Comparison(agreement, targets=world.targets, report=pytest.fail)
    monkeypatch.setattr(function.app, "parts", replace(function.app.parts, comparison_of=lambda _: comparison))
    return fake


def test_an_alarm_whose_notification_was_lost_pages_and_its_end_without_an_action_resolves(
    function: Function, cloudwatch: FakeCloudWatch
) -> None:
    """And nothing is doubled by comparing again."""
    world = function.world
    cloudwatch.alarms = in_state("ALARM", world.clock, "db-cpu")
    assert function.invoke(HEALTH_CHECK)["agreed"] == {"no_record": 1}
    assert world.states[ALARM] == "triggered"
    assert "agreed" not in function.invoke(HEALTH_CHECK)
    world.clock.advance(20)
    cloudwatch.alarms = in_state("OK", world.clock, "db-cpu")
    assert function.invoke(HEALTH_CHECK)["agreed"] == {"alarm_is_ok": 1}
    assert world.states[ALARM] == "resolved"
    assert "agreed" not in function.invoke(HEALTH_CHECK)


def test_an_alarm_that_can_neither_be_sent_nor_kept_does_not_keep_others_from_their_page(
    function: Function, cloudwatch: FakeCloudWatch
) -> None:
    """It is compared again in five minutes."""
    world = function.world
    cloudwatch.alarms = in_state("ALARM", world.clock, "a", "b")
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=400, count=2))  # the health check's, and that of `a`
    world.sqs.fail("ServiceUnavailable", after=1, times=1)  # after the count of the dead letters
    assert function.invoke(HEALTH_CHECK)["agreed"] == {"no_record": 1}
    assert world.states == {ALARM.replace("db-cpu", "b"): "triggered"}
    assert any("compared again" in line["message"] for line in function.lines)


def test_only_a_health_check_without_a_problem_sends_the_heartbeat(
    function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes wrong with the heartbeat itself is logged."""
    problems = ["", "heartbeat: example.com answers 404: check HeartbeatUrl"]
    heartbeat = SimpleNamespace(beat=lambda: problems.pop(0))
    monkeypatch.setattr(function.app, "parts", replace(function.app.parts, heartbeat=heartbeat))
    function.invoke(HEALTH_CHECK)
    function.invoke(HEALTH_CHECK)
    assert [line["message"] for line in function.lines if line["level"] == "ERROR"] == [
        "heartbeat: example.com answers 404: check HeartbeatUrl"
    ]
    function.world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=400))
    function.invoke(HEALTH_CHECK)
    assert problems == []


# --- the wiring: on clients of AWS, which ask a server on this machine ---


@dataclass
class Services:
    """AWS, PagerDuty and a dead man's switch on this machine.

    Attributes:
        targets: the secrets of targets, by name.
        refused: operations that AWS refuses.
        requests: what was asked.
    """

    url: str = ""
    targets: dict[str, str] = field(default_factory=lambda: {"pagerduty/production": target_secret()})
    refused: set[str] = field(default_factory=set)
    requests: list[Request] = field(default_factory=list)
    _answer: Answering = field(default_factory=lambda: say_yes(0, 0))

    def answer(self, request: Request) -> Response:
        self.requests.append(request)
        if request.operation in self.refused:
            return Response(400, b"{}")
        if request.operation == "BatchGetSecretValue":
            found = [{"Name": name, "SecretString": text} for name, text in self.targets.items()]
            return Response(200, json.dumps({"SecretValues": found}).encode())
        return self._answer(request)

    def bodies(self, operation: str) -> list[bytes]:
        """Return the bodies of an operation's requests."""
        return [each.body for each in self.requests if operation in names_of(each)]


def names_of(request: Request) -> list[str]:
    """Return the operation of a request to AWS: a service names it in a header, in the path, or in the body."""
    in_body = parse_qs(request.body.decode("latin-1")).get("Action", [])
    return [request.operation, request.path.rpartition("/")[2], *in_body]


@pytest.fixture
def services() -> Iterator[Services]:
    services = Services()
    with serve(services.answer) as services.url:
        yield services
    sys.modules.pop("handler.app", None)


OPERATOR_TOPIC = "arn:aws:sns:us-east-1:000000000000:operators"


def import_on(services: Services, monkeypatch: pytest.MonkeyPatch, **settings: str) -> ModuleType:
    """Import the function, with its clients asking this server."""
    urls = {"AWS_ENDPOINT_URL": services.url, "PAGERDUTY_BASE_URL": services.url}
    return import_app(monkeypatch, {**urls, **settings})


def test_what_is_not_configured_is_not_made(function: Function) -> None:
    """No comparison, no heartbeat, no reports: a schedule costs what it is asked for."""
    parts = function.app.parts
    assert (parts.comparison_of, parts.heartbeat, parts.operators) == (None, None, None)


def test_the_comparison_is_wired(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads this stack's targets and CloudWatch."""
    app = import_on(services, monkeypatch, AGREE_WITH_CLOUDWATCH="wired", ALERT_TOPIC_ARN=TOPIC)
    assert services.requests == []
    comparison = app.parts.comparison_of(FUNCTION)
    assert list(comparison.run(app.time.time() + 60)) == []
    assert app.parts.comparison_of(FUNCTION) is comparison
    assert services.bodies("BatchGetSecretValue")
    assert services.bodies("ListAlarmMuteRules")


def test_the_heartbeat_is_wired(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks for the URL that is set."""
    app = import_on(services, monkeypatch, HEARTBEAT_URL=f"{services.url}/ping/1")
    assert app.parts.heartbeat.beat() == ""
    assert [request.path for request in services.requests] == ["/ping/1"]


def test_reports_to_operators_are_wired(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has waited for long is published to their topic, with the stack's name in the commands."""
    services.refused = {"BatchGetItem"}
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "shop-publisher")
    app = import_on(services, monkeypatch, OPERATOR_TOPIC_ARN=OPERATOR_TOPIC)
    assert services.requests == []
    app.parts.operators.report_waiting([Place(Order.CRITICAL, 0, "production#orders-db")])
    [published] = [parse_qs(body.decode()) for body in services.bodies("Publish")]
    assert published["TopicArn"] == [OPERATOR_TOPIC]
    assert "orders-db" in published["Subject"][0]
    assert "STACK=shop " in published["Message"][0]


def test_a_copy_of_what_is_sent_without_a_record_names_all_targets(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the table is out a critical alert is sent; its copy updates the record of the same targets later."""
    services.refused = {"GetItem", "BatchGetItem", "PutItem", "UpdateItem", "Query"}
    services.targets = {
        "pagerduty/a": target_secret("a", match=["alertname=~.*"]),
        "pagerduty/b": target_secret("b", OTHER_KEY, match=["alertname=~.*"]),
    }
    app = import_on(services, monkeypatch)
    results = app.lambda_handler(sns(native()), Context())["results"]
    assert [result["outcome"] for result in results] == ["accepted", "accepted"]
    kept = [json.loads(json.loads(body)["MessageBody"])["delivery"] for body in services.bodies("SendMessage")]
    assert sorted((each["target"], each["routed_to"]) for each in kept) == [("a", ["a", "b"]), ("b", ["a", "b"])]


# --- reports to operators ---


@dataclass
class FakeOperators:
    """Records what operators are to learn, in order."""

    calls: list[tuple[str, Any]] = field(default_factory=list)

    def note(self, reports: Sequence[Report]) -> None:
        self.calls.append(("note", [report.outcome for report in reports]))

    def report_noted(self) -> None:
        self.calls.append(("report_noted", None))

    def report_dead_letters(self) -> None:
        self.calls.append(("report_dead_letters", None))

    def report_waiting(self, places: Sequence[Place]) -> None:
        self.calls.append(("report_waiting", [place.identity for place in places]))


@pytest.fixture
def operators(function: Function, monkeypatch: pytest.MonkeyPatch) -> FakeOperators:
    fake = FakeOperators()
    monkeypatch.setattr(function.app, "parts", replace(function.app.parts, operators=fake))
    return fake


def test_every_report_of_an_invocation_is_noted_and_reported_when_it_ends(
    function: Function, operators: FakeOperators
) -> None:
    """Also of one that fails."""
    function.invoke(sns(native("f-1"), native("f-2")))
    assert operators.calls == [("note", ["accepted"]), ("note", ["accepted"]), ("report_noted", None)]
    operators.calls.clear()
    function.world.sqs.fail("InternalError")
    with pytest.raises(ExceptionGroup):
        function.invoke(sns({"alert": {}}))
    assert operators.calls == [("note", ["rejected"]), ("report_noted", None)]


def test_the_schedule_reports_dead_letters_and_what_waits_before_it_drains(
    function: Function, operators: FakeOperators
) -> None:
    """What it then sends is noted too."""
    world = function.world
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=429, retry_after="1"))
    function.invoke(sns(native()))
    world.pagerduty.set_faults()
    world.clock.advance(2)
    operators.calls.clear()
    function.invoke(DRAIN)
    assert operators.calls == [
        ("report_dead_letters", None),
        ("report_waiting", ["production#f-1"]),
        ("note", ["accepted"]),
        ("report_noted", None),
    ]


# --- threads ---


def test_what_runs_at_the_same_time_is_waited_for_even_if_one_raises(function: Function) -> None:
    """An environment that is frozen in the middle of a delivery would finish it late."""
    done: list[int] = []
    go_on = Event()

    def work(number: int) -> int:
        if number == 0:
            raise ZeroDivisionError
        go_on.wait(timeout=10) if number == 1 else go_on.set()
        done.append(number)
        return number

    concurrently = function.app.map_on(function.app.DELIVERY_THREADS)
    with pytest.raises(ZeroDivisionError):
        concurrently(work, [0, 1, 2])
    assert sorted(done) == [1, 2]
    assert concurrently(work, [2, 3, 1]) == [2, 3, 1]


def test_metrics_are_written_once_an_invocation(function: Function) -> None:
    """Gathered over its records, also when it fails."""
    function.invoke(sns(native("f-1"), native("f-2")))
    published = [blob["EventsPublished"] for blob in function.metrics if "EventsPublished" in blob]
    assert published == [[1.0, 1.0]]
    function.output = ""
    function.world.sqs.fail("InternalError")
    with pytest.raises(ExceptionGroup):
        function.invoke(sns({"alert": {}}))
    errors = {blob["error_type"] for blob in function.metrics if "PublishErrors" in blob}
    assert errors == {"invalid_alert", "queue_unavailable"}


def test_what_is_wrong_with_a_target_is_logged_and_counted(
    function: Function, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its secret's name and without its key."""
    app = function.app
    world = make_world({"pagerduty/bad": target_secret("bad", "short-key"), "pagerduty/good": target_secret("good")})
    world.clock.now = function.world.clock.now
    use(app, world, monkeypatch)
    function.invoke(sns(native()))
    [problem] = world.problems
    app.telemetry.record_error(problem)
    app.metrics.flush()
    function.output += capsys.readouterr().out
    line = next(line for line in function.lines if line["level"] == "ERROR")
    assert "pagerduty/bad" in line["message"]
    assert "short-key" not in function.output
    assert [blob["error_type"] for blob in function.metrics if "PublishErrors" in blob] == ["invalid_target"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PAGERDUTY_TIMEOUT", "soon"),
        ("PAGERDUTY_MAX_RETRIES", "-1"),
        ("PAGERDUTY_RATE_LIMIT", "0"),
        ("PAGERDUTY_BASE_URL", "http://example.org"),
        ("PAGERDUTY_CACHE_TTL", "24 hours"),
        ("DEDUP_TABLE_NAME", ""),
        ("LOG_LEVEL", "LOUD"),
    ],
)
def test_a_bad_setting_stops_the_import(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """And the error names it."""
    with pytest.raises(SettingsError, match=f"setting: {name}"):
        import_app(monkeypatch, {name: value})


def test_a_bad_log_level_is_named_by_the_first_import_of_a_process() -> None:
    """Powertools reads it too when it makes a logger, and names no setting."""
    environment = {**os.environ, **ENVIRONMENT, "LOG_LEVEL": "LOUD", "PYTHONPATH": os.pathsep.join(sys.path)}
    started = subprocess.run([sys.executable, "-c", "import handler.app"], env=environment, capture_output=True)
    assert started.returncode == 1
    assert b"SettingsError: setting: LOG_LEVEL" in started.stderr


def test_the_import_asks_aws_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It makes the clients, and connects to nobody: the endpoint of this test is not there."""
    app = import_app(monkeypatch, {"PAGERDUTY_BASE_URL": "http://127.0.0.1:9"})
    assert app.parts.publisher
    assert app.logger.service == SERVICE


def test_in_lambda_the_import_prepares_the_first_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads the targets and connects to the table; that nobody answers harms nothing."""
    operations: set[str] = set()

    def refuse(request: Request) -> Response:
        operations.add(request.operation)
        return Response(400, b"{}")

    with serve(refuse) as endpoint:
        of_lambda = {"AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand", "PAGERDUTY_BASE_URL": endpoint}
        assert import_app(monkeypatch, {"AWS_ENDPOINT_URL": endpoint, **of_lambda}).parts.publisher
    assert operations == {"BatchGetSecretValue", "GetItem"}


def test_what_waits_is_sent_when_the_schedule_or_a_wake_up_asks_for_it(function: Function) -> None:
    """Both end in the same: accepted, out of the index, one log line each."""
    world = function.world
    for ask in (DRAIN, sqs({"drain": True, "target": "production"})):
        world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=429, retry_after="1"))
        function.invoke(sns(native(f"f-{len(world.states)}")))
        world.pagerduty.set_faults()
        world.clock.advance(2)
        function.output = ""
        answer = function.invoke(ask)
        assert answer in ({"drained": 1}, {"batchItemFailures": []})
        assert [line["outcome"] for line in function.lines] == ["accepted"]
        assert list(world.table.all_waiting()) == []
    assert world.states == {"f-0": "triggered", "f-1": "triggered"}


def test_no_routing_key_waits_for_the_end_of_anothers_backlog(
    function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits at several targets sends their wake-ups at once, and SQS may put these in one batch."""
    together = Barrier(2)
    drained: list[tuple[str, int]] = []

    def run(_: Any, __: float, wake_up: WakeUp, ___: Any, *, wake_ups: int) -> Drained:
        together.wait(timeout=10)
        drained.append((wake_up.target, wake_ups))
        return Drained()

    app_parts = function.app.parts
    monkeypatch.setattr(function.app, "parts", replace(app_parts, drainer=SimpleNamespace(run=run)))
    answer = function.invoke(sqs({"drain": True, "target": "a"}, {"drain": True, "target": "b"}))
    assert answer == {"batchItemFailures": []}
    assert sorted(drained) == [("a", 2), ("b", 2)]


def test_a_drainer_that_fails_unexpectedly_fails_no_batch(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its alerts would be published again, and its wake-ups would become dead letters."""

    def run(*_: Any, **__: Any) -> Drained:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(function.app, "parts", replace(function.app.parts, drainer=SimpleNamespace(run=run)))
    assert function.invoke(sqs({"drain": True, "target": "a"})) == {"batchItemFailures": []}
    assert [line["reason"] for line in function.lines if "reason" in line] == ["internal"]


@pytest.mark.parametrize("service", ["dynamodb", "secrets"])
@pytest.mark.parametrize("asks", [lambda: DRAIN, lambda: sqs({"drain": True, "target": "production"})])
def test_a_drainer_without_table_or_secrets_is_reported_and_does_not_fail(
    function: Function, service: str, asks: Callable[[], Any]
) -> None:
    """The schedule starts the next one; a wake-up that failed would come back and become a dead letter."""
    world = function.world
    (world.dynamodb if service == "dynamodb" else world.secrets).fail("InternalServerError")
    assert function.invoke(asks()) in ({"drained": 0}, {"batchItemFailures": []})
    assert [line["level"] for line in function.lines] == ["ERROR"]


def test_a_drainer_that_is_killed_has_logged_what_it_sent(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    """Log line and metrics are written after each batch; nothing else would ever write them."""
    world = function.world
    world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=429, retry_after="1"))
    function.invoke(sns(native()))
    world.clock.advance(2)
    told: list[str] = []

    def die(_: float) -> None:
        told.append(function.read())
        raise SystemExit

    app_parts = function.app.parts
    dying = replace(app_parts, drainer=replace(app_parts.drainer, sleep=die))
    monkeypatch.setattr(function.app, "parts", dying)
    with pytest.raises(SystemExit):
        function.invoke(DRAIN)
    function.output = told[0]
    assert [line["outcome"] for line in function.lines] == ["accepted"]
    assert any("EventsPublished" in line for line in function.metrics)


def test_only_this_stacks_queue_can_wake_a_drainer(function: Function) -> None:
    """Elsewhere the same words are a message like any other."""
    elsewhere = sqs({"drain": True})
    elsewhere["Records"][0]["eventSourceARN"] = "arn:aws:sqs:us-east-1:000000000000:other"
    function.invoke(elsewhere)
    assert [line["outcome"] for line in function.lines] == ["accepted"]


def test_an_aws_service_that_hangs_leaves_time_for_the_rest(function: Function) -> None:
    """All attempts of one call time out within half an invocation; botocore's own read timeout is longer than one."""
    config = function.app.AWS_CLIENT_CONFIG
    whole = (config.connect_timeout + config.read_timeout) * config.retries["total_max_attempts"]
    assert whole <= Context().get_remaining_time_in_millis() / 1000 / 2
