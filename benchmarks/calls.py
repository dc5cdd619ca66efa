"""The calls that each kind of delivery makes, counted: the function itself, on clients of AWS that talk to a counter.

Time stands still while a kind is played, so that the counts are the same every time.
"""

import base64
import importlib
import io
import json
import os
import re
import ssl
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import partial
from math import ceil
from types import ModuleType
from typing import Any
from unittest.mock import patch

from botocore.exceptions import ClientError

from benchmarks.messages import Context, native, over_sns
from handler import schedules
from local.simulator.faults import Fault, FaultKind
from local.simulator.pagerduty import PagerDuty
from local.stack import aws_environment
from tests.lab.clock import Clock
from tests.lab.dynamodb import TABLE, FakeDynamoDB
from tests.lab.secrets import FakeSecrets
from tests.lab.sqs import DEAD_LETTER_URL, RETRY_URL, FakeSQS
from tests.lab.standin import SECRET, SECRET_NAME, Request, Response, serve

WRITE_UNIT_BYTES = 1024
READ_UNIT_BYTES = 4096
"""https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/on-demand-capacity-mode.html"""
QUIET_SECONDS = 10.0
LONG_QUIET_SECONDS = 60.0
"""Shorter than the targets are kept."""
_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class Calls:
    """What one invocation used.

    Attributes:
        aws: AWS's calls, by name.
        pagerduty: requests to PagerDuty.
        write_units: of DynamoDB, which bills a refused condition too.
        read_units: of DynamoDB.
        log_bytes: what it printed: the log and the metrics.
        log_lines: in so many lines.
        metrics: the metrics it wrote, each with its dimensions; CloudWatch bills those.
    """

    aws: Mapping[str, int]
    pagerduty: int
    write_units: float
    read_units: float
    log_bytes: int
    log_lines: int
    metrics: frozenset[str]

    @property
    def dynamodb(self) -> int:
        """Calls of DynamoDB."""
        return sum(
            self.aws.get(name, 0)
            for name in ("UpdateItem", "GetItem", "PutItem", "BatchGetItem", "Query", "Scan", "TransactWriteItems")
        )

    @property
    def sqs(self) -> int:
        """Calls of SQS by the function; Lambda's own come on top for what returns."""
        return self.aws.get("SendMessage", 0) + self.aws.get("GetQueueAttributes", 0)

    @property
    def secrets_manager(self) -> int:
        """Calls of Secrets Manager."""
        return self.aws.get("BatchGetSecretValue", 0) + self.aws.get("GetSecretValue", 0)


class Counted:
    """AWS and PagerDuty stand-ins that keep state and count requests."""

    def __init__(self, clock: Clock) -> None:
        self.pagerduty = PagerDuty(clock)
        self.connections = 0
        self._dynamodb = FakeDynamoDB(TABLE)
        self._sqs = FakeSQS()
        self._services = {
            "SendMessage": self._sqs,
            "GetQueueAttributes": self._sqs,
            "BatchGetSecretValue": FakeSecrets({SECRET_NAME: SECRET}),
        }
        self.forget()

    def forget(self) -> None:
        """Count from nothing."""
        self.aws: Counter[str] = Counter()
        self.requests = 0
        self.write_units = 0.0
        self.read_units = 0.0

    def count_connection(self) -> None:
        """Count one more connection."""
        self.connections += 1

    def answer(self, request: Request) -> Response:
        """Answer a request."""
        if not request.operation:
            self.requests += 1
            said = self.pagerduty.handle("POST", request.path, request.body)
            return Response(said.status or 500, json.dumps(said.body).encode())
        self.aws[request.operation] += 1
        arguments = json.loads(request.body, object_hook=_with_bytes)
        service = self._services.get(request.operation, self._dynamodb)
        before = self._size(arguments)
        try:
            method = getattr(service, _WORD.sub("_", request.operation).lower())
            status, answer = 200, method(**arguments)
        except ClientError as error:
            said_wrong: Any = error.response
            status = 400
            answer = {**said_wrong, "__type": f"aws#{said_wrong['Error']['Code']}", "message": "refused"}
            answer.pop("Error")
        self._meter(request.operation, arguments, max(before, self._size(arguments)))
        return Response(status, json.dumps(answer).encode())

    def _size(self, arguments: Mapping[str, Any]) -> int:
        """Return the approximate size of a call's item in bytes, as DynamoDB counts it."""
        [requested] = arguments.get("RequestItems", {TABLE: {}}).values()
        key: Any = arguments.get("Key") or arguments.get("Item") or next(iter(requested.get("Keys", [])), {})
        item = self._dynamodb.tables[TABLE].get(key.get("id", {}).get("S", ""), {})
        return sum(len(name) + sum(len(str(value)) for value in typed.values()) for name, typed in item.items())

    def _meter(self, operation: str, arguments: Mapping[str, Any], size: int) -> None:
        if operation in ("GetItem", "BatchGetItem"):
            [requested] = arguments.get("RequestItems", {TABLE: arguments}).values()
            share = 1.0 if requested.get("ConsistentRead") else 0.5
            self.read_units += max(1, ceil(size / READ_UNIT_BYTES)) * share
        elif operation in ("Query", "Scan"):
            self.read_units += 0.5  # of what fits into 4 KB
        elif operation in ("UpdateItem", "PutItem"):
            self.write_units += max(1, ceil(size / WRITE_UNIT_BYTES))


def _with_bytes(value: dict[str, Any]) -> dict[str, Any]:
    """Return an attribute of DynamoDB's with its bytes, which JSON writes in base64."""
    return {"B": base64.b64decode(value["B"])} if value.keys() == {"B"} else value


class Function:
    """The function, freshly imported, against stand-ins that count."""

    def __init__(self, app: ModuleType, counted: Counted, clock: Clock) -> None:
        self.app = app
        self.counted = counted
        self.clock = clock

    @property
    def pagerduty(self) -> PagerDuty:
        """The PagerDuty it sends to."""
        return self.counted.pagerduty

    def invoke(self, *alerts: Any) -> Calls:
        """Invoke it with these alerts in one message each and return what that used."""
        return self.handle(over_sns(*alerts))

    def handle(self, event: Any) -> Calls:
        """Invoke it with an event and return what that used."""
        self.counted.forget()
        printed = io.StringIO()
        with redirect_stdout(printed):
            self.app.logger.registered_handler.stream = printed  # Powertools keeps that of the first import
            self.app.lambda_handler(event, Context())
        lines = printed.getvalue()
        return Calls(
            aws=dict(self.counted.aws),
            pagerduty=self.counted.requests,
            write_units=self.counted.write_units,
            read_units=self.counted.read_units,
            log_bytes=len(lines.encode()),
            log_lines=len(lines.splitlines()),
            metrics=frozenset(_metrics(lines)),
        )

    def warm_up(self) -> None:
        """Send an alert, so that targets are known, and permits are being taken."""
        self.invoke(native("warm-up"))


def _metrics(lines: str) -> Iterator[str]:
    """Return each metric that was written, with its dimensions."""
    for blob in map(json.loads, lines.splitlines()):
        for directive in blob.get("_aws", {}).get("CloudWatchMetrics", []):
            for names in directive["Dimensions"]:
                dimensions = ",".join(f"{name}={blob[name]}" for name in sorted(names))
                yield from (f"{metric['Name']}{{{dimensions}}}" for metric in directive["Metrics"])


@contextmanager
def fresh_function(tls: ssl.SSLContext | None = None, **settings: str) -> Iterator[Function]:
    """Import the function anew, on clients of its own, with these settings; over TLS with a server's context."""
    clock = Clock(float(int(time.time())))
    counted = Counted(clock)
    with serve(counted.answer, counted.count_connection, tls) as endpoint:
        environment = {
            **aws_environment(endpoint),
            "AWS_LAMBDA_FUNCTION_NAME": "publisher",
            "PAGERDUTY_BASE_URL": endpoint,
            "DEDUP_TABLE_NAME": TABLE,
            "RETRY_QUEUE_URL": RETRY_URL,
            "DEAD_LETTER_QUEUE_URL": DEAD_LETTER_URL,
            **settings,
        }
        sys.modules.pop("handler.app", None)
        with patch.dict(os.environ, environment), patch("time.time", clock):
            try:
                yield Function(importlib.import_module("handler.app"), counted, clock)
            finally:
                sys.modules.pop("handler.app", None)


def _of_status(status: str, minute: int) -> dict[str, Any]:
    return native("alert", status=status, observed_at=f"2026-11-23T03:{minute:02d}:00Z")


def first_invocation() -> Calls:
    """The first trigger of a new execution environment."""
    with fresh_function() as function:
        return function.invoke(_of_status("firing", 40))


def trigger() -> Calls:
    """A trigger, a moment after another alert of the same routing key."""
    with fresh_function() as function:
        function.warm_up()
        return function.invoke(_of_status("firing", 40))


def trigger_after(quiet_seconds: float) -> Calls:
    """A trigger when there has been no other for so long."""
    with fresh_function() as function:
        function.warm_up()
        function.clock.advance(quiet_seconds)
        return function.invoke(_of_status("firing", 40))


def duplicate() -> Calls:
    """The same trigger again."""
    with fresh_function() as function:
        function.invoke(_of_status("firing", 40))
        return function.invoke(_of_status("firing", 40))


def acknowledge() -> Calls:
    """The acknowledgement of a trigger."""
    with fresh_function() as function:
        function.invoke(_of_status("firing", 40))
        return function.invoke(_of_status("acknowledged", 41))


def resolve() -> Calls:
    """The resolve of a trigger."""
    with fresh_function() as function:
        function.invoke(_of_status("firing", 40))
        return function.invoke(_of_status("resolved", 41))


def superseded() -> Calls:
    """A trigger that comes after its own resolve."""
    with fresh_function() as function:
        function.invoke(_of_status("resolved", 41))
        return function.invoke(_of_status("firing", 40))


def change_event() -> Calls:
    """A change event."""
    with fresh_function() as function:
        function.warm_up()
        return function.invoke(native("change", labels={"change_event": "true", "service": "checkout"}))


def deferred_by_the_limit() -> Calls:
    """A trigger that has to wait for a permit."""
    with fresh_function(PAGERDUTY_RATE_LIMIT="1") as function:
        function.warm_up()
        return function.invoke(_of_status("firing", 40))


def deferred_by_429() -> Calls:
    """A trigger that PagerDuty refuses for its own limit."""
    with fresh_function() as function:
        function.warm_up()
        function.pagerduty.set_faults(Fault(FaultKind.STATUS, status=429))
        return function.invoke(_of_status("firing", 40))


def deferred_by_an_outage() -> Calls:
    """A trigger that PagerDuty answers with 503, as often as it is tried."""
    with fresh_function() as function:
        function.warm_up()
        function.pagerduty.set_faults(Fault(FaultKind.STATUS, status=503, count=None))
        return function.invoke(_of_status("firing", 40))


def dead_lettered() -> Calls:
    """A trigger that PagerDuty refuses for good."""
    with fresh_function() as function:
        function.warm_up()
        function.pagerduty.set_faults(Fault(FaultKind.STATUS, status=400))
        return function.invoke(_of_status("firing", 40))


def invalid() -> Calls:
    """A native alert without a name."""
    with fresh_function() as function:
        function.warm_up()
        return function.invoke({"alert": {"status": "firing"}})


KINDS: Mapping[str, Callable[[], Calls]] = {
    "trigger, of a new environment": first_invocation,
    "trigger": trigger,
    "trigger, after ten quiet seconds": partial(trigger_after, QUIET_SECONDS),
    "trigger, after a quiet minute": partial(trigger_after, LONG_QUIET_SECONDS),
    "duplicate": duplicate,
    "superseded": superseded,
    "acknowledge": acknowledge,
    "resolve": resolve,
    "change event": change_event,
    "deferred by our limit": deferred_by_the_limit,
    "deferred by PagerDuty's 429": deferred_by_429,
    "deferred by PagerDuty's 503": deferred_by_an_outage,
    "dead-lettered by PagerDuty's 400": dead_lettered,
    "dead-lettered: invalid": invalid,
}


def count_all() -> dict[str, Calls]:
    """Play each kind once."""
    return {kind: play() for kind, play in KINDS.items()}


@dataclass(frozen=True, slots=True)
class Idle:
    """What the two schedules of a stack use each time that nothing happens.

    Attributes:
        check: the health check, of one target.
        drain: the look for what waits.
    """

    check: Calls
    drain: Calls


def idle() -> Idle:
    """Play both schedules in an environment that has run them before."""
    with fresh_function(OPERATOR_TOPIC_ARN="arn:aws:sns:us-east-1:000000000000:operators") as function:
        function.handle(schedules.HEALTH_CHECK)
        function.clock.advance(LONG_QUIET_SECONDS)
        return Idle(check=function.handle(schedules.HEALTH_CHECK), drain=function.handle(schedules.DRAIN))
