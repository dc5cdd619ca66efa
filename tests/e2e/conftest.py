"""The deployed stack that the end-to-end tests share; each test uses alerts of its own."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from local.simulator.incidents import Incident
from local.simulator.pagerduty import PagerDuty, Request
from local.simulator.server import SimulatorServer
from local.stack import (
    STACK_NAME,
    Emulator,
    await_until,
    deploy,
    parameters_for,
)

PATIENCE_SECONDS = 90.0


@dataclass(frozen=True)
class Deployed:
    """The stack, and ways to talk to it."""

    emulator: Emulator
    pagerduty: PagerDuty
    outputs: Mapping[str, str]

    def publish(self, message: Any, **more: Any) -> None:
        """Publish a message to the alert topic."""
        text = message if isinstance(message, str) else json.dumps(message)
        self.emulator.client("sns").publish(TopicArn=self.outputs["AlertTopicArn"], Message=text, **more)

    def invoke(self, event: Any) -> Any:
        """Invoke the function directly and return its answer."""
        answer = self.emulator.client("lambda").invoke(
            FunctionName=self.outputs["PublisherFunctionArn"], Payload=json.dumps(event).encode()
        )
        return json.loads(answer["Payload"].read())

    def incident(self, dedup_key: str, state: str) -> Incident:
        """Wait for an incident to be in a state, and return it."""

        def look() -> Incident | None:
            found = [i for i in self.pagerduty.incidents if i.dedup_key == dedup_key and i.state == state]
            return found[-1] if found else None

        return await_until(look, PATIENCE_SECONDS, f"incident {dedup_key} to be {state}")

    def requests(self, dedup_key: str) -> list[Request]:
        """Return the requests that PagerDuty received for a dedup key."""
        return [request for request in self.pagerduty.requests if request.dedup_key == dedup_key]

    def dead_letter(self, containing: str) -> dict[str, Any]:
        """Wait for a dead letter with this text in its body, take it off the queue and return it."""
        sqs = self.emulator.client("sqs")
        url = self.outputs["DeadLetterQueueUrl"]

        def look() -> dict[str, Any] | None:
            messages: Sequence[dict[str, Any]] = sqs.receive_message(
                QueueUrl=url,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["All"],
                MaxNumberOfMessages=10,
                VisibilityTimeout=0,
            ).get("Messages", [])
            for message in messages:
                if containing in message["Body"]:
                    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                    return message
            return None

        return await_until(look, PATIENCE_SECONDS, f"a dead letter with {containing!r}")

    def dropped(self) -> float:
        """Return how many invocations Lambda took for a loop and dropped; the stack's alarm watches this metric."""
        now = datetime.now(UTC)
        points = self.emulator.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/Lambda",
            MetricName="RecursiveInvocationsDropped",
            Dimensions=[{"Name": "FunctionName", "Value": self.outputs["PublisherFunctionArn"].rpartition(":")[2]}],
            StartTime=now - timedelta(hours=1),
            EndTime=now + timedelta(hours=1),
            Period=60,
            Statistics=["Sum"],
        )["Datapoints"]
        return float(sum(point["Sum"] for point in points))

    def forget(self, prefix: str) -> None:
        """Delete the table's items whose id begins like this."""
        dynamodb, name = self.emulator.client("dynamodb"), self.outputs["DedupTableName"]
        for item in dynamodb.scan(TableName=name)["Items"]:
            if item["id"]["S"].startswith(prefix):
                dynamodb.delete_item(TableName=name, Key={"id": item["id"]})

    def log_lines(self) -> list[dict[str, Any]]:
        """Return the function's log, each line as what it says."""
        events = self.emulator.client("logs").filter_log_events(logGroupName=f"/aws/lambda/{STACK_NAME}-publisher")
        return [json.loads(e["message"]) for e in events["events"] if e["message"].startswith("{")]


@pytest.fixture(scope="session")
def stack(emulator: Emulator) -> Iterator[Deployed]:
    """The stack, deployed by `sam deploy` from the built template."""
    with SimulatorServer() as simulator:
        yield Deployed(emulator, simulator.pagerduty, deploy(emulator, parameters_for(simulator.url)))


@pytest.fixture(scope="module")
def own_emulator() -> Iterator[Emulator]:
    """An emulator of this file's own, for another stack: its alarms and dead letters are not the shared account's."""
    with Emulator() as emulator:
        yield emulator


@pytest.fixture(autouse=True)
def is_left_sound(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that fails PagerDuty leaves it sound, and the routing key open, also where it fails itself."""
    yield
    if "stack" in request.fixturenames:
        stack: Deployed = request.getfixturevalue("stack")
        stack.pagerduty.set_faults()
        stack.forget("permits#")


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    """A fingerprint of this test's own."""
    return f"{request.node.name}/{uuid4().hex[:8]}"
