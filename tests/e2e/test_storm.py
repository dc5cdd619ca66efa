"""A storm on the deployed stack, with the function's processes killed on the way."""

import json
import os
import random
import signal
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local.simulator.pagerduty import RateLimit
from local.simulator.server import SimulatorServer
from local.stack import (
    Emulator,
    await_until,
    deploy,
    parameters_for,
)
from tests.e2e.conftest import Deployed

ALERTS = 60
RESOLVED = 20
CRITICAL = 5
LIMIT = 60
KILLS = 6
FUNCTION_SECONDS = 30
"""A drainer keeps eleven of an invocation's seconds for what it sends last, and for the queues."""
STARTED_AT = datetime.now(UTC) - timedelta(minutes=5)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds the function's processes in /proc")


@pytest.fixture
def stormy(own_emulator: Emulator) -> Iterator[Deployed]:
    """A stack of its own, whose PagerDuty enforces a limit, and whose redeliveries do not take minutes.

    Lambda stops what it takes for a loop: chains are short without `RecursiveLoop: Allow`.
    """
    with SimulatorServer() as simulator:
        simulator.pagerduty.set_limit(RateLimit(LIMIT))
        name = "pagerduty-publisher-storm"
        parameters = parameters_for(simulator.url, TargetPrefix="storm/", PagerDutyRateLimit=str(LIMIT))
        stack = Deployed(own_emulator, simulator.pagerduty, deploy(own_emulator, parameters, stack_name=name))
        functions, function = own_emulator.client("lambda"), stack.outputs["PublisherFunctionArn"]
        functions.update_function_configuration(FunctionName=function, Timeout=FUNCTION_SECONDS)
        functions.put_function_recursion_config(FunctionName=function, RecursiveLoop="Terminate")
        own_emulator.client("sqs").set_queue_attributes(
            QueueUrl=stack.outputs["RetryQueueUrl"],
            Attributes={"VisibilityTimeout": str(FUNCTION_SECONDS + 2)},
        )
        yield stack


def message(number: int, status: str, minute: int) -> str:
    """Make a native message of one alert of the storm."""
    severity = "critical" if number < CRITICAL else "warning"
    alert: dict[str, Any] = {
        "fingerprint": f"storm/{number}",
        "alert_name": f"Storm{number}",
        "status": status,
        "labels": {"severity": severity},
        "observed_at": (STARTED_AT + timedelta(minutes=minute)).isoformat(),
    }
    return json.dumps({"alert": alert})


def test_a_storm_with_killed_processes_ends_as_the_alerts_say(stormy: Deployed) -> None:
    """Twice each and shuffled, through a function that is killed again and again: nothing lost, nothing wrong.

    More requests than PagerDuty takes in a minute: the rest waits for the next one, and none is refused.
    """
    chance = random.Random(7)
    messages = [message(number, "firing", 0) for number in range(ALERTS)]
    messages += [message(number, "resolved", 1) for number in range(ALERTS - RESOLVED, ALERTS)]
    messages *= 2
    chance.shuffle(messages)
    sqs, queue = stormy.emulator.client("sqs"), stormy.outputs["RetryQueueUrl"]
    for start in range(0, len(messages), 10):
        batch = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(messages[start : start + 10])]
        assert sqs.send_message_batch(QueueUrl=queue, Entries=batch).get("Failed", []) == []

    pagerduty, killed = stormy.pagerduty, 0
    expected = {f"storm/{n}": "triggered" if n < ALERTS - RESOLVED else "resolved" for n in range(ALERTS)}

    def is_settled() -> bool:
        nonlocal killed
        # a kill each time some more requests have come through, and so somewhere within a delivery
        if killed < KILLS and len(pagerduty.requests) >= 5 * (killed + 1):
            processes = stormy.emulator.function_processes()
            if processes:
                os.kill(chance.choice(processes), signal.SIGKILL)
                killed += 1
        states = {incident.dedup_key: str(incident.state) for incident in pagerduty.incidents}
        # a resolve that overtook its trigger leaves no incident at all
        return (
            all(
                states.get(key) == state or (state == "resolved" and key not in states)
                for key, state in expected.items()
            )
            and is_empty()
        )

    def is_empty() -> bool:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        names.append("ApproximateNumberOfMessagesDelayed")
        attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
        return not any(int(value) for value in attributes.values())

    await_until(is_settled, 240, "the storm to be over")
    assert killed == KILLS
    assert [request.status for request in pagerduty.requests if not request.accepted] == []
    assert max(pagerduty.peak.values()) <= LIMIT
    opened = [incident.dedup_key for incident in pagerduty.incidents]
    assert len(opened) == len(set(opened)), "an incident was opened again by a late trigger"
    letters = sqs.receive_message(QueueUrl=stormy.outputs["DeadLetterQueueUrl"], VisibilityTimeout=0)
    assert letters.get("Messages", []) == []
    assert stormy.dropped() == 0
