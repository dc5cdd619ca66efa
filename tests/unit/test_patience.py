"""What hangs costs an invocation its patience once, however much the invocation has to do."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from handler.messages import WakeUp
from handler.targets.secrets import MAX_AGE_SECONDS, RETRY_SECONDS
from local.simulator.faults import Fault, FaultKind
from tests.lab.clock import NOW, Clock
from tests.lab.deliveries import drain_until_done, message, waiting
from tests.lab.failures import Failures
from tests.lab.world import INVOCATION_SECONDS, World, make_world

PATIENCE_SECONDS = 10.0
"""What a call of DynamoDB costs that hangs: three attempts of three seconds, and the pauses between them."""
ALERTS = 100
BATCH = 10
WAKE_UP = WakeUp(target="production")


class Hanging(Failures):
    """Calls that are never answered."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.calls = 0

    def strike(self, operation: str) -> None:
        self.calls += 1
        self.clock.advance(PATIENCE_SECONDS)
        raise ReadTimeoutError(endpoint_url="https://dynamodb.us-east-1.amazonaws.com")


def group(status: str, at: float = 0.0) -> dict[str, Any]:
    """Return the SNS record of a message of Alertmanager with very many alerts."""
    alerts = [
        {
            "status": status,
            "labels": {"alertname": "LampTooHot", "instance": f"lamp-{number}", "severity": "critical"},
            "annotations": {},
            "startsAt": "2026-11-23T03:00:00Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "fingerprint": f"f-{number}",
        }
        for number in range(ALERTS)
    ]
    webhook = {"receiver": "pagerduty", "status": status, "version": "4", "alerts": alerts}
    published_at = datetime.fromtimestamp(NOW + at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    sns = {"Message": json.dumps(webhook), "MessageId": f"{status}-{at}", "Timestamp": published_at, "TopicArn": "a"}
    return {"EventSource": "aws:sns", "Sns": sns}


def come_back(world: World) -> None:
    """Publish what is on the retry queue, until nothing is; then drain."""
    for _ in range(20):
        for retry in world.sqs.retries[:]:
            world.sqs.retries.remove(retry)
            if "drain" not in retry.content:
                world.clock.advance(1)
                world.publish(retry.as_record())
        if not world.sqs.retries:
            break
    drain_until_done(world)


PAGERDUTY = {
    "well": None,
    "slow": Fault(FaultKind.ANSWER, count=None, delay_seconds=0.3),
    "hanging": Fault(FaultKind.ANSWER, count=None, delay_seconds=60.0),
    "failing": Fault(FaultKind.STATUS, status=503, count=None),
}


@pytest.mark.parametrize("pagerduty", PAGERDUTY)
@pytest.mark.parametrize("status", ["firing", "resolved"])
def test_a_message_of_a_hundred_alerts_ends_in_time_while_the_table_hangs(status: str, pagerduty: str) -> None:
    """Each alert is accepted or on the retry queue before the deadline, and all is well when the table is back."""
    world = make_world()
    if status == "resolved":
        world.publish(group("firing"))
        world.clock.advance(120)
    if fault := PAGERDUTY[pagerduty]:
        world.pagerduty.set_faults(fault)
    hanging = world.dynamodb.failures = Hanging(world.clock)
    began_at = world.clock()
    reports = world.publish(group(status, at=120.0))
    assert world.clock() - began_at <= INVOCATION_SECONDS
    assert hanging.calls == 1
    assert len(reports) == ALERTS
    assert {report.outcome for report in reports} <= {"accepted", "deferred"}
    assert all(report.lost is None for report in reports)
    world.dynamodb.failures = Failures()
    world.pagerduty.set_faults()
    world.clock.advance(120)
    come_back(world)
    assert set(world.states.values()) == {"triggered" if status == "firing" else "resolved"}
    assert len(world.states) == ALERTS
    assert world.sqs.dead_letters == []


@pytest.mark.parametrize("pagerduty", PAGERDUTY)
@pytest.mark.parametrize("status", ["firing", "resolved"])
def test_a_batch_of_ten_ends_in_time_while_the_table_hangs(status: str, pagerduty: str) -> None:
    """Ten messages share an invocation, and its deadline."""
    world = make_world()
    if status == "resolved":
        for number in range(BATCH):
            world.publish_one(message(f"f-{number}"))
        world.clock.advance(120)
    if fault := PAGERDUTY[pagerduty]:
        world.pagerduty.set_faults(fault)
    hanging = world.dynamodb.failures = Hanging(world.clock)
    began_at = world.clock()
    deadline = began_at + INVOCATION_SECONDS
    for number in range(BATCH):
        [report] = world.publisher.publish(message(f"f-{number}", status, at=120.0), deadline)
        assert report.outcome in ("accepted", "deferred")
        assert report.lost is None
    assert world.clock() <= deadline
    assert hanging.calls == 1
    world.dynamodb.failures = Failures()
    world.pagerduty.set_faults()
    world.clock.advance(120)
    come_back(world)
    assert set(world.states.values()) == {"triggered" if status == "firing" else "resolved"}
    assert len(world.states) == BATCH


@pytest.mark.parametrize("knows", [False, True], ids=["cold", "warm"])
def test_a_message_of_a_hundred_alerts_ends_in_time_while_the_secrets_hang(*, knows: bool) -> None:
    """A new execution environment puts them on the retry queue; one that knows the targets sends them."""
    world = make_world()
    if knows:
        world.targets.read()
        world.clock.advance(MAX_AGE_SECONDS)
    hanging = world.secrets.failures = Hanging(world.clock)
    began_at = world.clock()
    reports = world.publish(group("firing"))
    assert world.clock() - began_at <= INVOCATION_SECONDS
    assert hanging.calls == 1
    assert {report.outcome for report in reports} == {"accepted" if knows else "deferred"}
    world.secrets.failures = Failures()
    world.clock.advance(RETRY_SECONDS)
    come_back(world)
    assert len(world.states) == ALERTS
    assert world.sqs.dead_letters == []


def test_a_drainer_that_meets_a_table_that_hangs_ends_in_time() -> None:
    """What waits goes on waiting, and is sent when the table is back."""
    world = make_world(rate_limit=1)
    for number in range(BATCH):
        world.publish_one(message(f"f-{number}"))
    assert len(waiting(world)) == BATCH - 1
    hanging = world.dynamodb.failures = Hanging(world.clock)
    began_at = world.clock()
    world.drainer.run(world.targets.read(), began_at + INVOCATION_SECONDS, WAKE_UP)
    assert world.clock() - began_at <= INVOCATION_SECONDS
    assert hanging.calls == 1
    world.dynamodb.failures = Failures()
    world.clock.advance(120)
    drain_until_done(world)
    assert len(world.states) == BATCH
