"""No secret gets out: every way to fail is failed at the most talkative log level, and all that is left is searched."""

import contextlib
import itertools
import json
import logging
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import pytest
from aws_lambda_powertools.logging.filters import SuppressFilter
from botocore.exceptions import EndpointConnectionError

from handler.errors import PublishError, SettingsError
from handler.metrics import SERVICE
from handler.pagerduty.client import REDACTED, Attempt, PagerDutyClient
from handler.pagerduty.events import Action
from handler.settings import Settings
from local.simulator.faults import Fault, FaultKind
from tests.lab.alerts import shown
from tests.lab.failures import Failures
from tests.lab.secrets import target_secret
from tests.lab.wire import BASE_URL
from tests.lab.world import World, make_world, native
from tests.unit.test_app import (
    Context,
    eventbridge,
    import_app,
    sns,
    sqs,
    use,
)
from tools.leaks import leaks_of, texts

ROOT = Path(__file__).parents[2]
KEY = "5ec7e75ec7e75ec7e75ec7e75ec7e75e"
"""A routing key of these tests alone, so that it is found wherever it should not be."""
FIRING = native("f-1", generator_url=BASE_URL)


# --- Every way to fail ------------------------------------------------------------------------------------------------


@dataclass
class Stage:
    """The function on a world of its own, and everything that came out of it."""

    app: ModuleType
    world: World
    printed: Callable[[], str]
    records: list[logging.LogRecord]

    def invoke(self, event: Any) -> Any:
        """Invoke the function as Lambda would, and print what Lambda would print of an error."""
        # Powertools keeps those of the first import
        self.app.logger.registered_handler.stream = sys.stdout
        self.app.logger.registered_formatter.json_serializer = self.app.serialize
        self.app.logger.setLevel("DEBUG")
        for problem in self.world.problems:
            self.app.telemetry.record_error(problem)
        try:
            print(json.dumps(self.app.lambda_handler(event, Context())))
        except Exception as error:  # noqa: BLE001
            traceback.print_exception(error)
            print(shown(error))
        finally:
            for problem in self.world.problems:
                self.app.telemetry.record_error(problem)
                print(shown(problem))
            self.world.problems.clear()
            self.app.metrics.flush()

    def everything(self) -> str:
        """Return all that anybody but PagerDuty and Secrets Manager could read."""
        queues = {url: [(m.body, m.attributes) for m in messages] for url, messages in self.world.sqs.queues.items()}
        others = [f"{record.name} {record.getMessage()} {record.__dict__}" for record in self.records]
        return "\n".join([self.printed(), str(self.world.dynamodb.tables), str(queues), *others])


class Listener(logging.Handler):
    """Keeps the records of all loggers."""

    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__(logging.DEBUG)
        self.records = records

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Stage]]:
    """Make stages at LOG_LEVEL=DEBUG, with whatever else the process logs at DEBUG kept too."""
    records: list[logging.LogRecord] = []
    listener = Listener(records)
    listener.addFilter(SuppressFilter(SERVICE))  # as Powertools does with the handlers that Lambda has set
    root = logging.getLogger()
    level = root.level
    kept = logging.getLogger(SERVICE).level
    root.addHandler(listener)
    root.setLevel(logging.DEBUG)
    app = import_app(monkeypatch, {"LOG_LEVEL": "DEBUG"})

    def printed() -> str:
        said = capfd.readouterr()
        return said.out + said.err

    def make(secrets: dict[str, str] | None = None, **settings: Any) -> Stage:
        given = {"pagerduty/production": target_secret(routing_key=KEY)} if secrets is None else secrets
        world = make_world(given, on_attempt=app.telemetry.log_attempt_with_body, **settings)
        world.clock.now = app.time.time()
        use(app, world, monkeypatch)
        return Stage(app, world, printed, records)

    yield make
    root.removeHandler(listener)
    root.setLevel(level)
    logging.getLogger(SERVICE).setLevel(kept or logging.INFO)
    sys.modules.pop("handler.app", None)


BODIES: list[Any] = [
    None,
    {"message": f"bad key {KEY}", "errors": [f"'routing_key' {KEY} is invalid"]},
    f"<html>{KEY}</html>",
]
FAULTS = [
    Fault(kind, status=status, body=body, count=None, retry_after=retry_after, delay_seconds=delay)
    for kind, status, body, retry_after, delay in itertools.chain(
        itertools.product([FaultKind.STATUS], [400, 401, 403, 404, 429, 500, 503, 302, 200], BODIES, [None], [0.0]),
        itertools.product([FaultKind.STATUS], [429], [BODIES[1]], [KEY], [0.0]),
        itertools.product([FaultKind.GARBAGE], [None, 202, 400, 500], [None, BODIES[2]], [None], [0.0]),
        itertools.product([FaultKind.RESET, FaultKind.ACCEPT_THEN_DROP], [None], [None], [None], [0.0]),
        itertools.product([FaultKind.ANSWER], [None], [None], [None], [0.0, 99.0]),
    )
]
OUTAGES = [out for number in (1, 2, 3) for out in itertools.combinations(["dynamodb", "sqs", "secrets"], number)]
OUTAGE = EndpointConnectionError(endpoint_url="https://aws.example")


@pytest.mark.parametrize(
    "fault", FAULTS, ids=lambda f: f"{f.kind}-{f.status}-{type(f.body).__name__}-{f.delay_seconds}"
)
def test_no_answer_of_pagerduty_gets_the_key_out(stage: Callable[..., Stage], fault: Fault) -> None:
    """Every kind of fault of the simulator, with answers that say the key."""
    it = stage()
    it.world.pagerduty.set_faults(fault)
    it.invoke(sns(FIRING, native("f-2", "resolved")))
    everything = it.everything()
    assert "f-1" in everything
    assert KEY not in everything


def test_every_kind_of_fault_is_tried() -> None:
    """A new one of the simulator has to be added above."""
    assert {fault.kind for fault in FAULTS} == set(FaultKind)


@pytest.mark.parametrize("error", ["ThrottlingException", "ResourceNotFoundException", "AccessDeniedException", OUTAGE])
@pytest.mark.parametrize("out", OUTAGES, ids="+".join)
@pytest.mark.parametrize("was_warm", [True, False], ids=["warm", "cold"])
def test_no_outage_of_aws_gets_the_key_out(
    stage: Callable[..., Stage], out: tuple[str, ...], error: Any, was_warm: bool
) -> None:
    """DynamoDB, SQS and Secrets Manager out, alone and together, with PagerDuty refusing too."""
    it = stage()
    if was_warm:
        it.invoke(sns(native("f-0")))
    for name in out:
        getattr(it.world, name).failures = Failures(error)
    it.world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=400, body=BODIES[1], count=None))
    it.world.clock.advance(600)
    it.invoke(sns(FIRING, eventbridge(native("f-2", "resolved")), {"alert": {}}))
    it.invoke(sqs(native("f-3")))
    everything = it.everything()
    assert "f-1" in everything or "neither be sent nor kept" in everything
    assert KEY not in everything


SECRETS = {
    "the key as the name": target_secret(KEY, KEY),
    "the key within the name": target_secret(f"prod-{KEY}", KEY),
    "the key as the URL's host": target_secret(routing_key=KEY, url=f"https://{KEY}.example.org"),
    "the key as user info": target_secret(routing_key=KEY, url=f"https://{KEY}@events.pagerduty.com"),
    "the key as a query": target_secret(routing_key=KEY, url=f"https://events.pagerduty.com?key={KEY}"),
    "the key as a path": target_secret(routing_key=KEY, url=f"{BASE_URL}/{KEY}"),
    "the key as a matcher": target_secret(routing_key=KEY, match=[KEY]),
    "the key in a broken matcher": target_secret(routing_key=KEY, match=[f'severity=~"({KEY}"']),
    "the key as a group of a matcher": target_secret(routing_key=KEY, match=[f'severity=~"(?P={KEY})"']),
    "the key as a severity": target_secret(routing_key=KEY, default_severity=KEY, severity_threshold=KEY),
    "the key as the type": json.dumps({"name": "a", "type": KEY, "format": KEY, "headers": {"routing_key": KEY}}),
    "the key in headers that are a text": json.dumps({"name": "a", "type": "pagerduty", "headers": KEY}),
    "the key as a field": json.dumps({"name": "a", "type": "pagerduty", "headers": {KEY: KEY}, KEY: KEY}),
    "a key of 33 characters": target_secret(routing_key=f"{KEY}x"),
    "a key of 64 characters": target_secret(routing_key=KEY + KEY),
    "keys in a list": json.dumps({"name": "a", "type": "pagerduty", "headers": {"routing_key": [KEY]}}),
    "text": f"routing_key={KEY}",
    "half of the JSON": target_secret(routing_key=KEY)[:-1],
    "a list": json.dumps([KEY]),
    "only the key": json.dumps(KEY),
}


@pytest.mark.parametrize("bad", list(SECRETS.values()), ids=list(SECRETS))
@pytest.mark.parametrize("has_good", [True, False], ids=["beside a good one", "alone"])
def test_no_broken_secret_gets_the_key_out(stage: Callable[..., Stage], bad: str, has_good: bool) -> None:
    """A key put where none belongs is not told by the error that says so, nor by what goes on without it."""
    it = stage({"pagerduty/bad": bad} | ({"pagerduty/good": target_secret("good")} if has_good else {}))
    it.world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=503, count=2))
    it.invoke(sns(FIRING))
    it.invoke(sqs(FIRING))
    everything = it.everything()
    assert "f-1" in everything
    assert KEY not in everything


@pytest.mark.parametrize("error", [ValueError, TypeError, KeyError, RuntimeError, ZeroDivisionError])
def test_a_bug_that_reveals_the_key_does_not_get_it_out(stage: Callable[..., Stage], error: type[Exception]) -> None:
    """Whatever a library puts into its error: the traceback in the log has the key taken out."""
    it = stage()

    def fail(method: str, path: str, body: bytes) -> NoReturn:
        raise error(f"cannot send {body.decode()}") from error(f"because of {KEY}")

    it.world.pagerduty.handle = fail  # type: ignore[method-assign]
    it.invoke(sns(FIRING))
    everything = it.everything()
    assert "Traceback" in everything
    assert REDACTED in everything
    assert KEY not in everything


def test_debug_shows_each_request_without_the_key(stage: Callable[..., Stage]) -> None:
    """Method, address, dedup key, attempt, status, time and body; one line each, beside that of the delivery."""
    it = stage()
    it.world.pagerduty.set_faults(Fault(FaultKind.STATUS, status=503))
    it.invoke(sns(native("f-1", annotations={"summary": f"somebody put {KEY} in here"})))
    lines = [json.loads(line) for line in it.printed().splitlines() if line.startswith('{"level"')]
    requests = [line for line in lines if line["message"] == "request"]
    assert [line["level"] for line in lines] == ["DEBUG", "DEBUG", "INFO"]
    said = ("method", "url", "dedup_key", "attempt", "status")
    assert [[line[name] for name in said] for line in requests] == [
        ["POST", f"{BASE_URL}/v2/enqueue", "f-1", 1, "503"],
        ["POST", f"{BASE_URL}/v2/enqueue", "f-1", 2, "202"],
    ]
    assert all(line["api_ms"] >= 0 for line in requests)
    body = json.loads(requests[0]["body"])
    assert body["event_action"] == "trigger"
    assert body["payload"]["summary"] == f"DatabaseHighCPU: somebody put {REDACTED} in here"
    assert "routing_key" not in body


def test_nothing_else_logs_requests_at_debug(stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch) -> None:
    """The loggers of boto3 and urllib3, which would show secrets as they come and go, stay quiet."""
    it = stage()
    for name in ("boto3", "botocore", "botocore.parsers", "botocore.endpoint", "urllib3", "urllib3.connectionpool"):
        assert logging.getLogger(name).getEffectiveLevel() == logging.WARNING
    it.invoke(sns(FIRING))
    assert {record.name.partition(".")[0] for record in it.records} & {"boto3", "botocore", "urllib3"} == set()


def test_at_info_no_request_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor put together; and at DEBUG its body only where that is set."""
    told: list[Any] = []

    class Client(PagerDutyClient):
        def __init__(self, **given: Any) -> None:
            told.append(given["on_attempt"])
            super().__init__(**given)

    monkeypatch.setattr("handler.pagerduty.client.PagerDutyClient", Client)
    import_app(monkeypatch, {"LOG_LEVEL": "INFO"})
    app = import_app(monkeypatch, {"LOG_LEVEL": "DEBUG"})
    assert told == [None, app.telemetry.log_attempt]
    app = import_app(monkeypatch, {"LOG_LEVEL": "DEBUG", "LOG_BODIES": "ENABLED"})
    sys.modules.pop("handler.app", None)
    assert told[2:] == [app.telemetry.log_attempt_with_body]


def test_a_body_is_shown_only_if_asked_for_by_a_second_setting(stage: Callable[..., Stage]) -> None:
    """An alert may hold what a log should not."""
    it = stage()
    attempt = Attempt(Action.TRIGGER, "202", 1.0, body=lambda: "what the alert says")
    it.app.logger.setLevel("DEBUG")
    it.app.logger.registered_handler.stream = sys.stdout
    it.app.telemetry.log_attempt(attempt)
    assert "what the alert says" not in it.printed()
    it.app.telemetry.log_attempt_with_body(attempt)
    assert "what the alert says" in it.printed()


@pytest.mark.parametrize("name", list(Settings.model_fields))
@pytest.mark.parametrize("value", [KEY, f"https://{KEY}@events.pagerduty.com", f"https://events.pagerduty.com?{KEY}"])
def test_no_bad_setting_gets_a_secret_out(name: str, value: str) -> None:
    """A key put into the wrong setting is not told by the error that names the setting."""
    required = {"DEDUP_TABLE_NAME": "t", "RETRY_QUEUE_URL": "r", "DEAD_LETTER_QUEUE_URL": "d"}
    with contextlib.suppress(SettingsError):
        Settings.from_environment({**required, name: value})
        return
    with pytest.raises(SettingsError, match=name) as stopped:
        Settings.from_environment({**required, name: value})
    assert KEY not in shown(stopped.value)


def test_no_error_of_ours_takes_a_key() -> None:
    """The ones there are take what a person may read: their messages are made in one place each."""
    kinds = [PublishError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    assert all("key" not in kind.__init__.__code__.co_varnames for kind in kinds if "__init__" in vars(kind))


# --- The repository ---------------------------------------------------------------------------------------------------


def test_neither_a_file_nor_a_commit_holds_a_secret() -> None:
    """Nothing that looks like a routing key, an AWS key or a private key, but for the known fakes."""
    lines = {line: place for place, text in texts(ROOT, "HEAD") for line in text.splitlines()}
    found = {f"{place}: {kind}" for line, place in lines.items() for kind, _ in leaks_of(line)}
    assert found == set()


@pytest.mark.parametrize(
    "secret", ["AKIA" + "Q3EGP2LMZKX7T4W9", "R" + "f3a91c07b52d48e6a9107cc3be5d21f", "9f3a" * 4 + "1c07b52d48e6a910"]
)
def test_a_secret_would_be_found(secret: str) -> None:
    """As a value, in a line of JSON."""
    assert [text for _, text in leaks_of(f'  "routing_key": "{secret}",')] == [secret]


@pytest.mark.parametrize(
    "path", sorted([*ROOT.glob("requirements/*.txt"), ROOT / "src/requirements.txt"]), ids=lambda p: p.name
)
def test_every_pin_has_its_version_and_hashes_and_no_registry(path: Path) -> None:
    """So that what is installed is what was looked at, from whichever registry it comes."""
    text = path.read_text()
    assert "://" not in text
    pins = re.split(r"\n(?=\S)", re.sub(r"(?m)^ *#.*\n?", "", text).strip())
    assert pins
    assert [
        pin
        for pin in pins
        if not re.match(r"[\w.\-\[\],]+==\S+( ; .+)? \\\n( +--hash=sha256:[0-9a-f]{64}( \\\n)?)+\s*$", pin)
    ] == []


def test_every_check_that_checkov_leaves_out_has_a_reason() -> None:
    """Beside it, in the file that leaves it out."""
    lines = [line for line in (ROOT / ".checkov.yaml").read_text().splitlines() if "CKV" in line]
    assert lines
    assert [line for line in lines if not re.fullmatch(r"  - CKV2?_AWS_\d+ # .{30,}", line)] == []
