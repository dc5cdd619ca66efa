"""What is put on the two queues, and that it comes back as what it was."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from botocore.exceptions import EndpointConnectionError
from mypy_boto3_sqs.client import SQSClient

from handler import sources
from handler.alert import (
    Alert,
    Image,
    Link,
    Status,
)
from handler.envelope import Record, unwrap
from handler.errors import (
    InvalidAlertError,
    PagerDutyApiError,
    PublisherErrorReason,
    QueueUnavailableError,
)
from handler.messages import Progress
from handler.queues import Queues, carried
from tests.lab.clock import NOW
from tests.lab.sqs import DEAD_LETTER_URL, RETRY_URL, FakeSQS, Message

NOW_AT = datetime.fromtimestamp(NOW, UTC)
ERROR = PagerDutyApiError(400, "Event object is invalid", ["'payload.summary' is missing"])


def full_alert(**fields: Any) -> Alert:
    """Return an alert that has everything."""
    given: dict[str, Any] = {
        "fingerprint": "f-1",
        "name": "CPU \N{PILE OF POO}",
        "status": Status.RESOLVED,
        "observed_at": datetime(2026, 11, 23, 3, 40, 1, 123456, tzinfo=UTC),
        "origin": "cloudwatch",
        "labels": {"severity": "critical", "ä": "ö"},
        "annotations": {"summary": "CPU at 97 %"},
        "starts_at": datetime(2026, 11, 23, 3, 0, tzinfo=UTC),
        "ends_at": datetime(2026, 11, 23, 3, 30, tzinfo=UTC),
        "generator_url": "https://example.org/g",
        "classification": {"severity": "error", "confidence": 0.95, "recommendations": ["a"]},
        "severity_word": "error",
        "summary": "line\x00 and \x0b control",
        "location": "db-1",
        "component": "postgres",
        "group": "prod",
        "class_": "cpu",
        "client": "Amazon CloudWatch",
        "client_url": "https://example.org",
        "links": (Link("https://example.org/l", "Link"),),
        "images": (Image("https://example.org/i", "https://example.org", "alt"),),
        "details": {"trigger": {"Threshold": 90.5}},
    }
    return Alert(**{**given, **fields})


def small_alert() -> Alert:
    return Alert(fingerprint="f-2", name="CPU", status=Status.FIRING, observed_at=NOW_AT, origin="native")


@pytest.fixture
def sqs() -> FakeSQS:
    return FakeSQS()


@pytest.fixture
def queues(sqs: FakeSQS) -> Queues:
    return Queues(cast(SQSClient, sqs), RETRY_URL, DEAD_LETTER_URL)


def read_back(message: Message, queues: Queues) -> tuple[list[Any], Progress]:
    """Read a message as an invocation would."""
    record = unwrap(message.as_record(), datetime(2027, 1, 1, tzinfo=UTC))
    progress = queues.progress_of(record)
    found = sources.parse(record)
    return [carried(alert, progress) for alert in found if isinstance(alert, Alert)], progress


@pytest.mark.parametrize("alert", [full_alert(), small_alert()], ids=["full", "small"])
def test_a_deferred_delivery_comes_back_as_what_it_was(sqs: FakeSQS, queues: Queues, alert: Alert) -> None:
    """The same alert for the same target, in the native format, with the message it came in."""
    alert = replace(alert, message_id="m-1")
    queues.defer(alert, Progress(target="production"), 1, NOW)
    [message] = sqs.retries
    progress = Progress(target="production", message_id="m-1", waiting_since=NOW_AT, failures=1)
    assert read_back(message, queues) == ([alert], progress)
    assert message.content.keys() <= {"alert", "classification", "delivery"}


@pytest.mark.parametrize("alert", [full_alert(), small_alert()], ids=["full", "small"])
def test_a_dead_letter_comes_back_as_a_fresh_delivery(sqs: FakeSQS, queues: Queues, alert: Alert) -> None:
    """Earlier failures are forgotten: a redrive means that something was fixed."""
    queues.dead_letter(alert, "production", ERROR, attempts=7)
    [message] = sqs.dead_letters
    assert read_back(message, queues) == ([alert], Progress(target="production"))


def test_the_first_time_on_the_queue_is_remembered(sqs: FakeSQS, queues: Queues) -> None:
    """It starts the day after which a delivery is given up; later ones do not move it."""
    queues.defer(small_alert(), Progress(waiting_since=NOW_AT, failures=2), 1, NOW + 60)
    _, progress = read_back(sqs.retries[0], queues)
    assert progress == Progress(waiting_since=NOW_AT, failures=3)


def test_a_large_alert_is_compressed_on_the_retry_queue(sqs: FakeSQS, queues: Queues) -> None:
    """1 MiB of text that JSON escapes would be six times as much in ASCII, and SQS would refuse it."""
    alert = full_alert(details={"text": "\N{PILE OF POO}" * 250_000})
    queues.defer(alert, Progress(target="production"), 1, NOW)
    [message] = sqs.retries
    record = unwrap(message.as_record(), NOW_AT)
    assert len(message.body) < 1_000_000
    [found] = sources.parse(unwrap(queues.rest_of(record), NOW_AT))
    assert found == alert


def test_a_large_dead_letter_is_cut_and_stays_readable(sqs: FakeSQS, queues: Queues) -> None:
    """The longest texts go; the name and the error stay."""
    queues.dead_letter(full_alert(details={"text": "\N{PILE OF POO}" * 250_000}), "production", ERROR)
    [message] = sqs.dead_letters
    assert len(message.body) < 1_000_000
    assert message.content["alert"]["alert_name"].startswith("CPU")
    assert (message.content["error"], "truncated" in message.content) == (str(ERROR), True)


@pytest.mark.parametrize(("delay", "seconds"), [(-1, 0), (0, 0), (0.1, 1), (29.01, 30), (900, 900), (5000, 900)])
def test_the_delay_is_whole_seconds_within_what_sqs_allows(
    sqs: FakeSQS, queues: Queues, delay: float, seconds: int
) -> None:
    """Never earlier than asked for, where SQS can."""
    queues.defer(small_alert(), Progress(), delay, NOW)
    assert sqs.retries[0].delay_seconds == seconds


def test_a_dead_letter_says_what_went_wrong(sqs: FakeSQS, queues: Queues) -> None:
    """In its body as readable JSON, and in attributes that the console shows."""
    queues.dead_letter(small_alert(), "production", ERROR, attempts=3)
    [message] = sqs.dead_letters
    assert message.content["error"] == str(ERROR)
    assert message.content["delivery"] == {"target": "production"}
    assert message.content["alert"]["alert_name"] == "CPU"
    assert message.attributes == {
        "error_type": "bad_request",
        "error": str(ERROR),
        "attempts": "3",
        "alert_name": "CPU",
    }
    assert message.delay_seconds == 0


def test_an_alert_without_a_target_is_dead_lettered_without_one(sqs: FakeSQS, queues: Queues) -> None:
    """A redrive looks for targets anew."""
    queues.dead_letter(small_alert(), "", ERROR)
    assert "delivery" not in sqs.dead_letters[0].content


@pytest.mark.parametrize(
    "text", ["\x00\x01\x1b[31m", "ümläut \N{PILE OF POO}", "x" * 5000, "\ufffe", "tab\tand\nline"], ids=ascii
)
def test_an_error_of_any_text_can_be_dead_lettered(sqs: FakeSQS, queues: Queues, text: str) -> None:
    """SQS refuses most control characters: the attribute goes without them, the body has them escaped."""
    queues.dead_letter(small_alert(), "", PagerDutyApiError(400, text))
    [message] = sqs.dead_letters
    assert message.attributes["error"].startswith("PagerDuty answered 400")
    assert len(message.attributes["error"]) <= 1024
    assert message.content["error"].endswith(text)


RECORDS: list[Any] = [
    {"EventSource": "aws:sns", "Sns": {"Message": "\x00 no alert \ud800"}},
    "a text",
    None,
    [1, 2],
    {"nested": {"deep": True}},
]


@pytest.mark.parametrize("record", RECORDS, ids=repr)
def test_a_record_that_could_not_be_read_is_dead_lettered_as_it_came(sqs: FakeSQS, queues: Queues, record: Any) -> None:
    """Word for word, beside its error."""
    queues.dead_letter_record(record, InvalidAlertError("native alert: alert_name: Field required"))
    [message] = sqs.dead_letters
    assert message.content == {"record": record, "error": "native alert: alert_name: Field required"}
    assert message.attributes["error_type"] == "invalid_alert"


def test_a_dead_lettered_record_comes_back_as_that_record(sqs: FakeSQS, queues: Queues) -> None:
    """A redrive publishes it again, as it came."""
    record = {"EventSource": "aws:sns", "Sns": {"TopicArn": "arn", "Message": json.dumps(NATIVE)}}
    queues.dead_letter_record(record, InvalidAlertError("whatever"))
    [alert], progress = read_back(sqs.dead_letters[0], queues)
    assert (alert.fingerprint, progress) == ("f-3", Progress())


NATIVE = {"alert": {"fingerprint": "f-3", "alert_name": "CPU", "status": "firing"}}


@pytest.mark.parametrize(
    "error",
    ["InternalError", "AWS.SimpleQueueService.NonExistentQueue", EndpointConnectionError(endpoint_url="https://sqs")],
)
@pytest.mark.parametrize(
    "put",
    [
        lambda queues: queues.defer(small_alert(), Progress(), 1, NOW),
        lambda queues: queues.dead_letter(small_alert(), "", ERROR),
        lambda queues: queues.dead_letter_record({}, ERROR),
    ],
    ids=["defer", "dead_letter", "dead_letter_record"],
)
def test_a_queue_that_takes_nothing_in_is_an_error_of_its_own(
    sqs: FakeSQS, queues: Queues, error: Any, put: Callable[[Queues], None]
) -> None:
    """The invocation has to fail then, for the alert to be kept."""
    sqs.fail(error)
    with pytest.raises(QueueUnavailableError, match="stays where it came from") as raised:
        put(queues)
    assert raised.value.reason is PublisherErrorReason.QUEUE_UNAVAILABLE
    assert (error if isinstance(error, str) else "EndpointConnectionError") in str(raised.value)


OWN = "arn:aws:sqs:us-east-1:000000000000:retry"


def received(payload: Any, queue_arn: str = OWN) -> Record:
    return Record(payload=payload, published_at=NOW_AT, queue_arn=queue_arn)


@pytest.mark.parametrize("payload", [None, "text", [], {}, {"delivery": None}, {"delivery": "other"}, {"delivery": []}])
def test_what_says_nothing_of_its_delivery_has_not_begun(queues: Queues, payload: Any) -> None:
    """An alert of somebody else may have a field of that name."""
    assert queues.progress_of(received(payload)) == Progress()


@pytest.mark.parametrize(
    "queue_arn",
    ["", "arn:aws:sqs:us-east-1:000000000000:other", "arn:aws:sqs:us-east-1:111111111111:retry", "retry", ":retry"],
)
def test_what_others_publish_has_no_state_of_ours(queues: Queues, queue_arn: str) -> None:
    """Neither a target, nor that it was sent already, nor the rest of another message."""
    payload = {"delivery": {"target": "production", "was_sent_unclaimed": True}, "rest": "x"}
    assert queues.progress_of(received(payload, queue_arn)) == Progress()
    assert queues.rest_of(received(payload, queue_arn)) is None


@pytest.mark.parametrize(
    ("written", "field"),
    [({"failures": -1}, "failures"), ({"failures": "many"}, "failures"), ({"was_sent_unclaimed": "x"}, "was_sent")],
)
def test_a_damaged_state_is_named(queues: Queues, written: dict[str, Any], field: str) -> None:
    """It goes to the dead letters with the field's name."""
    with pytest.raises(InvalidAlertError, match=f"delivery: {field}"):
        queues.progress_of(received({"alert": {}, "delivery": written}))
