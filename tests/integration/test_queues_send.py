"""The queues on a real SQS API."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from handler.alert import Alert, Status
from handler.errors import PagerDutyApiError, QueueUnavailableError
from handler.messages import Progress
from handler.queues import Queues
from local.stack import Emulator, await_until

ALERT = Alert(
    fingerprint="f-1",
    name="CPU ü",
    status=Status.FIRING,
    observed_at=datetime(2026, 11, 23, 3, 40, 1, tzinfo=UTC),
    origin="native",
)


@pytest.fixture
def sqs(emulator: Emulator) -> Any:
    return emulator.client("sqs")


@pytest.fixture
def queues(sqs: Any) -> Queues:
    """Two queues of each test's own."""
    retry, dead = (sqs.create_queue(QueueName=f"{name}-{uuid4().hex}")["QueueUrl"] for name in ("retry", "dead"))
    return Queues(sqs, retry, dead)


def receive(sqs: Any, url: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sqs.receive_message(
        QueueUrl=url, MessageAttributeNames=["All"], AttributeNames=["All"]
    ).get("Messages", [])
    return found


def test_a_deferred_delivery_is_delayed(sqs: Any, queues: Queues) -> None:
    """It is not to be had before its time."""
    queues.defer(ALERT, Progress(target="production"), 899.5, 0.0)
    counted = sqs.get_queue_attributes(QueueUrl=queues.retry_url, AttributeNames=["All"])["Attributes"]
    assert counted["ApproximateNumberOfMessagesDelayed"] == "1"
    assert receive(sqs, queues.retry_url) == []


def test_a_deferred_delivery_comes_back(sqs: Any, queues: Queues) -> None:
    """In the native format, with its target."""
    queues.defer(ALERT, Progress(target="production"), 0, 0.0)
    [message] = await_until(lambda: receive(sqs, queues.retry_url), 5, "the message")
    content = json.loads(message["Body"])
    assert content["alert"]["alert_name"] == "CPU ü"
    assert content["delivery"] == {
        "target": "production",
        "waiting_since": "1970-01-01T00:00:00Z",
        "failures": 1,
    }


def test_a_dead_letter_has_its_error_in_attributes(sqs: Any, queues: Queues) -> None:
    """SQS takes what PagerDuty said, whatever characters are in it."""
    queues.dead_letter(ALERT, "production", PagerDutyApiError(400, "schön \x00\x1b \N{PILE OF POO}"), attempts=1)
    [message] = await_until(lambda: receive(sqs, queues.dead_letter_url), 5, "the dead letter")
    attributes = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
    assert attributes == {
        "error_type": "bad_request",
        "error": "PagerDuty answered 400: sch?n ?? ?",
        "attempts": "1",
        "alert_name": "CPU ?",
    }
    assert json.loads(message["Body"])["error"] == "PagerDuty answered 400: schön \x00\x1b \N{PILE OF POO}"


def test_a_queue_that_is_not_there_is_an_error_of_its_own(sqs: Any, queues: Queues) -> None:
    """The invocation fails, and the alert stays where it came from."""
    sqs.delete_queue(QueueUrl=queues.dead_letter_url)
    with pytest.raises(QueueUnavailableError, match="NonExistentQueue"):
        queues.dead_letter(ALERT, "", PagerDutyApiError(400))
