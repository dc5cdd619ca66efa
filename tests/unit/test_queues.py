"""What is put on the two queues, and that it comes back as what it was."""

import json
from collections.abc import Callable
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
from handler.envelope import unwrap
from handler.errors import (
    InvalidAlertError,
    PagerDutyApiError,
    PublisherErrorReason,
    QueueUnavailableError,
)
from handler.outcome import DeferReason, Deferred
from handler.queues import Hop, Queues, hop_of
from tests.lab.clock import NOW
from tests.lab.sqs import DEAD_LETTER_URL, RETRY_URL, FakeSQS, Message

NOW_AT = datetime.fromtimestamp(NOW, UTC)
ERROR = PagerDutyApiError(400, "Event object is invalid", ["'payload.summary' is missing"])


def full_alert(**fields: Any) -> Alert:
    """Give an alert that has everything."""
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


def read_back(message: Message) -> tuple[list[Any], Hop]:
    """Read a message as an invocation would."""
    record = unwrap(message.as_record(), datetime(2027, 1, 1, tzinfo=UTC))
    return sources.parse(record), hop_of(record.payload)


@pytest.mark.parametrize("alert", [full_alert(), small_alert()], ids=["full", "small"])
def test_a_deferred_delivery_comes_back_as_what_it_was(sqs: FakeSQS, queues: Queues, alert: Alert) -> None:
    """The same alert for the same target, in the native format."""
    queues.defer(alert, Hop(target="production"), Deferred(reason=DeferReason.BUSY, delay_seconds=1), NOW)
    [message] = sqs.retries
    assert read_back(message) == ([alert], Hop(target="production", waiting_since=NOW_AT))
    assert message.content.keys() <= {"alert", "classification", "delivery"}


@pytest.mark.parametrize("alert", [full_alert(), small_alert()], ids=["full", "small"])
def test_a_dead_letter_comes_back_as_a_fresh_delivery(sqs: FakeSQS, queues: Queues, alert: Alert) -> None:
    """The failures of before are forgotten: a redrive means that something was mended."""
    queues.bury(alert, Hop(target="production", failures=7, failing_since=NOW_AT), ERROR)
    [message] = sqs.dead_letters
    assert read_back(message) == ([alert], Hop(target="production"))


@pytest.mark.parametrize(
    ("reason", "counts"),
    [
        (DeferReason.FAILED, True),
        (DeferReason.TABLE_UNAVAILABLE, True),
        (DeferReason.RATE_LIMIT, False),
        (DeferReason.BUSY, False),
    ],
)
def test_failures_are_counted_and_waiting_is_not(
    sqs: FakeSQS, queues: Queues, reason: DeferReason, counts: bool
) -> None:
    """The first failure starts the day after which it is given up; later ones do not move it."""
    fresh = Hop(target="production", waiting_since=NOW_AT)
    failed = fresh.model_copy(update={"failures": 2, "failing_since": NOW_AT})
    for hop in (fresh, failed):
        queues.defer(small_alert(), hop, Deferred(reason=reason, delay_seconds=1), NOW + 60)
    hops = [read_back(message)[1] for message in sqs.retries]
    if counts:
        since = datetime.fromtimestamp(NOW + 60, UTC)
        assert hops == [
            fresh.model_copy(update={"failures": 1, "failing_since": since}),
            failed.model_copy(update={"failures": 3}),
        ]
    else:
        assert hops == [fresh, failed]


@pytest.mark.parametrize(("delay", "seconds"), [(-1, 0), (0, 0), (0.1, 1), (29.01, 30), (900, 900), (5000, 900)])
def test_the_delay_is_whole_seconds_within_what_sqs_allows(
    sqs: FakeSQS, queues: Queues, delay: float, seconds: int
) -> None:
    """Never earlier than asked for, where SQS can."""
    queues.defer(small_alert(), Hop(), Deferred(reason=DeferReason.RATE_LIMIT, delay_seconds=delay), NOW)
    assert sqs.retries[0].delay_seconds == seconds


def test_a_dead_letter_says_what_went_wrong(sqs: FakeSQS, queues: Queues) -> None:
    """In its body as readable JSON, and in attributes that the console shows."""
    queues.bury(small_alert(), Hop(target="production", failures=2), ERROR)
    [message] = sqs.dead_letters
    assert message.content["error"] == str(ERROR)
    assert message.content["delivery"] == {"target": "production"}
    assert message.content["alert"]["alert_name"] == "CPU"
    assert message.attributes == {"error_type": "bad_request", "error": str(ERROR), "attempts": "3"}
    assert message.delay_seconds == 0


def test_an_alert_without_a_target_is_buried_without_one(sqs: FakeSQS, queues: Queues) -> None:
    """A redrive looks for targets anew."""
    queues.bury(small_alert(), Hop(), ERROR)
    assert "delivery" not in sqs.dead_letters[0].content


@pytest.mark.parametrize(
    "text", ["\x00\x01\x1b[31m", "ümläut \N{PILE OF POO}", "x" * 5000, "\ufffe", "tab\tand\nline"], ids=ascii
)
def test_an_error_of_any_text_can_be_buried(sqs: FakeSQS, queues: Queues, text: str) -> None:
    """SQS refuses most control characters: the attribute goes without them, the body has them escaped."""
    queues.bury(small_alert(), Hop(), PagerDutyApiError(400, text))
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
def test_a_record_that_could_not_be_read_is_buried_as_it_came(sqs: FakeSQS, queues: Queues, record: Any) -> None:
    """Word for word, beside its error."""
    queues.bury_record(record, InvalidAlertError("native alert: alert_name: Field required"))
    [message] = sqs.dead_letters
    assert message.content == {"record": record, "error": "native alert: alert_name: Field required"}
    assert message.attributes["error_type"] == "invalid_alert"


def test_a_buried_record_comes_back_as_that_record(sqs: FakeSQS, queues: Queues) -> None:
    """A redrive gives it another chance, as it came."""
    record = {"EventSource": "aws:sns", "Sns": {"TopicArn": "arn", "Message": json.dumps(NATIVE)}}
    queues.bury_record(record, InvalidAlertError("whatever"))
    [alert], hop = read_back(sqs.dead_letters[0])
    assert (alert.fingerprint, hop) == ("f-3", Hop())


NATIVE = {"alert": {"fingerprint": "f-3", "alert_name": "CPU", "status": "firing"}}


@pytest.mark.parametrize(
    "error",
    ["InternalError", "AWS.SimpleQueueService.NonExistentQueue", EndpointConnectionError(endpoint_url="https://sqs")],
)
@pytest.mark.parametrize(
    "put",
    [
        lambda queues: queues.defer(small_alert(), Hop(), Deferred(reason=DeferReason.BUSY, delay_seconds=1), NOW),
        lambda queues: queues.bury(small_alert(), Hop(), ERROR),
        lambda queues: queues.bury_record({}, ERROR),
    ],
    ids=["defer", "bury", "bury_record"],
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


@pytest.mark.parametrize("payload", [None, "text", [], {}, {"delivery": None}, {"delivery": "other"}, {"delivery": []}])
def test_what_is_no_message_of_ours_has_not_begun(payload: Any) -> None:
    """An alert of somebody else may have a field of that name."""
    assert hop_of(payload) == Hop()


@pytest.mark.parametrize(
    ("said", "field"),
    [({"failures": -1}, "failures"), ({"failures": "many"}, "failures")],
)
def test_a_damaged_hop_is_named(said: dict[str, Any], field: str) -> None:
    """It goes to the dead letters with the field's name."""
    with pytest.raises(InvalidAlertError, match=f"delivery: {field}"):
        hop_of({"alert": {}, "delivery": said})
