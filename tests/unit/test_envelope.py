"""The envelope: every wrapping comes off, a damaged one is named, and nothing but a PublishError is ever raised."""

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler import sources
from handler.alert import Alert, Ignored
from handler.envelope import (
    LEEWAY,
    MAX_NESTING,
    Record,
    split,
    unwrap,
)
from handler.errors import InvalidAlertError, NotAnAlertError, PublishError
from handler.validation import parse_text
from tests.lab.alerts import (
    ARRIVED_AT,
    json_values,
    sample,
    shown,
)

TOPIC = "arn:aws:sns:eu-west-1:123456789012:lamplight-alerts"
SENT_AT = datetime(2026, 11, 23, 7, 0, tzinfo=UTC)
ALARM = {"AlarmName": "till-is-silent", "NewStateValue": "ALARM"}
ALARM_TEXT = json.dumps(ALARM)
PAYLOAD: dict[str, Any] = {"alert": {"alert_name": "Slow", "status": "firing"}}


OWN_ARN = "arn:aws:lambda:eu-west-1:123456789012:function:publisher:$LATEST"


def opened(raw: Any) -> Record:
    return unwrap(raw, ARRIVED_AT, "publisher")


def sns(message: Any = None, **fields: Any) -> dict[str, Any]:
    """Make an SNS record of the least that SNS ever sends."""
    text = message if isinstance(message, str) else json.dumps(PAYLOAD if message is None else message)
    return {"EventSource": "aws:sns", "Sns": {"TopicArn": TOPIC, "Message": text, **fields}}


def sqs(body: Any = None, **fields: Any) -> dict[str, Any]:
    text = body if isinstance(body, str) else json.dumps(PAYLOAD if body is None else body)
    return {"eventSource": "aws:sqs", "messageId": "m-1", "body": text, **fields}


def event(detail: Any = None, **fields: Any) -> dict[str, Any]:
    return {"detail-type": "Alert", "source": "lamplight", "detail": PAYLOAD if detail is None else detail, **fields}


def by_rule(detail: Any = None, **fields: Any) -> dict[str, Any]:
    """Make the message of a notification rule of the developer tools."""
    detail = PAYLOAD if detail is None else detail
    return {"detailType": "Alert", "source": "lamplight", "notificationRuleArn": TOPIC, "detail": detail, **fields}


def on_failure(payload: Any) -> dict[str, Any]:
    """Make the record of Lambda's on-failure destination."""
    return {
        "version": "1.0",
        "timestamp": "2026-11-23T07:00:00.000Z",
        "requestContext": {"functionArn": OWN_ARN, "condition": "RetriesExhausted", "approximateInvokeCount": 3},
        "requestPayload": payload,
        "responseContext": {"statusCode": 200},
        "responsePayload": {"errorMessage": "queue out of reach"},
    }


def dead_letter(record: Any) -> dict[str, Any]:
    return {"record": record, "error": "not an alert"}


def notification() -> dict[str, Any]:
    return {"Type": "Notification", **sns()["Sns"]}


# --- Splitting --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("invocation", "records"),
    [
        ({"Records": [1, 2]}, [1, 2]),
        ({"Records": []}, []),
        ({"Records": "none"}, [{"Records": "none"}]),
        (PAYLOAD, [PAYLOAD]),
        (None, [None]),
        ([1, 2], [1, 2]),
    ],
)
def test_an_invocation_that_is_no_batch_is_one_record(invocation: Any, records: list[Any]) -> None:
    assert split(invocation) == records


# --- Unwrapping -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        PAYLOAD,
        sns(),
        event(),
        sns(event()),
        sns(by_rule()),
        sqs(),
        sqs(sns()),
        sqs({"Records": [sns()]}),
        sqs(notification()),
        sqs(event()),
        sqs(on_failure({"Records": [sns()]})),
        sqs(on_failure({"Records": [sns(event())]})),
        sqs(on_failure(event())),
        sqs(dead_letter(sns())),
        sqs(dead_letter(sqs())),
        sqs(dead_letter(PAYLOAD)),
    ],
    ids=[
        "direct",
        "sns",
        "eventbridge",
        "eventbridge in sns",
        "notification rule in sns",
        "sqs, raw delivery",
        "sns record in sqs",
        "sns invocation in sqs",
        "sns notification in sqs",
        "eventbridge in sqs",
        "sns in on-failure in sqs",
        "eventbridge in sns in on-failure in sqs",
        "eventbridge in on-failure in sqs",
        "sns in dead letter",
        "sqs in dead letter",
        "direct in dead letter",
    ],
)
def test_every_nesting_comes_off(raw: Any) -> None:
    assert opened(raw).payload == PAYLOAD


def test_what_sns_says_is_kept() -> None:
    record = opened(
        sns(
            MessageId="m-2",
            Subject="Slow",
            Timestamp="2026-11-23T07:00:00.000Z",
            MessageAttributes={
                "severity": {"Type": "String", "Value": "critical"},
                "count": {"Type": "Number", "Value": 3},
            },
        )
    )

    assert (record.topic_arn, record.subject, record.message_id) == (TOPIC, "Slow", "m-2")
    assert record.published_at == SENT_AT
    assert record.attributes == {"severity": "critical", "count": "3"}


def test_what_eventbridge_says_is_kept() -> None:
    record = opened(
        event(id="e-1", account="123456789012", region="eu-west-1", time="2026-11-23T07:00:00Z", resources=["arn:x"])
    )

    assert (record.detail_type, record.event_source, record.message_id) == ("Alert", "lamplight", "e-1")
    assert (record.account, record.region, record.resources) == ("123456789012", "eu-west-1", ("arn:x",))
    assert record.published_at == SENT_AT


def test_a_notification_rule_says_what_eventbridge_says_and_more() -> None:
    """As https://docs.aws.amazon.com/dtconsole/latest/userguide/concepts.html has it."""
    fields = {"account": "123456789012", "region": "eu-west-1", "time": "2026-11-23T07:00:00Z", "resources": ["arn:a"]}
    more = {"failedStage": "Production"}

    by_both = opened(event({"state": "FAILED"}, **fields)), opened(by_rule({"state": "FAILED"}, **fields))
    assert by_both[0] == by_both[1]
    told = opened(by_rule({"state": "FAILED"}, additionalAttributes=more)).payload
    assert told == {"state": "FAILED", "additionalAttributes": more}
    assert opened(by_rule("text", additionalAttributes=more)).payload == "text"


def test_what_the_queue_says_is_kept_until_something_inside_knows_better() -> None:
    """A message may wait in a queue for hours: the time that counts is the one inside."""
    raw = sqs(attributes={"SentTimestamp": "1795417200000"})
    late = sqs(sns(Timestamp="2026-11-23T07:00:00.000Z"), attributes={"SentTimestamp": "1795449600000"})

    assert opened(raw).published_at == SENT_AT
    assert opened(raw).message_id == "m-1"
    assert opened(late).published_at == SENT_AT


@pytest.mark.parametrize(
    "raw",
    [
        PAYLOAD,
        sns(),
        sns(Timestamp=None),
        sns(Timestamp="soon"),
        sns(TimeStamp="2026-11-23T07:00:00Z"),
        event(),
        event(time=None),
        event(time="soon"),
        sqs(),
        sqs(attributes={"SentTimestamp": "soon"}),
    ],
)
def test_without_a_time_the_arrival_counts(raw: Any) -> None:
    assert opened(raw).published_at == ARRIVED_AT


@pytest.mark.parametrize(
    "time", ["2026-11-23T07:00:00", "2026-11-23T08:00:00+01:00", "2026-11-23T07:00:00.000000Z", 1795417200]
)
def test_times_become_utc(time: Any) -> None:
    assert opened(sns(Timestamp=time)).published_at == SENT_AT
    assert opened(event(time=time)).published_at == SENT_AT


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_that_utc_cannot_express_counts_as_none(time: str) -> None:
    assert opened(sns(Timestamp=time)).published_at == ARRIVED_AT


def test_the_urls_of_sam_local_generate_event_are_no_hindrance() -> None:
    """`sam local generate-event sns notification` says EXAMPLE where a URL belongs."""
    record = opened(sns(SigningCertUrl="EXAMPLE", UnsubscribeUrl="EXAMPLE", Signature="EXAMPLE", Subject=None))

    assert (record.payload, record.subject) == (PAYLOAD, "")


def test_an_eventbridge_event_may_have_no_version() -> None:
    """`sam local generate-event cloudwatch scheduled-event` leaves it out."""
    assert "version" not in event()
    assert opened(event()).payload == PAYLOAD


def test_unwrapping_changes_nothing_of_the_record() -> None:
    """The record goes to the dead-letter queue as it came."""
    for name in ("native-sns-firing", "native-sqs-sns", "native-eventbridge-firing"):
        (record,) = split(sample(name))
        opened(record)

        assert split(sample(name)) == [record]

    bare, kept = (json.loads(sample("native-sqs-sns")["Records"][0]["body"]) for _ in range(2))
    opened(bare)
    assert bare == kept


# --- Texts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ("[1]", [1]),
        ("12", 12),
        ("null", None),
        ("", ""),
        ("Good morning", "Good morning"),
        ('{"a": 1', '{"a": 1'),
        ("{'a': 1}", "{'a': 1}"),
        ('{"a": NaN, "b": [Infinity, -Infinity]}', {"a": "NaN", "b": ["Infinity", "-Infinity"]}),
        ('{"a": 1e999}', {"a": "Infinity"}),
        (r'{"a": "half \ud83d of a pair"}', {"a": "half ? of a pair"}),
        (r'{"a\udd25": "\ud83d\udd25"}', {"a?": "🔥"}),
        ("half \ud83d", "half \ud83d"),
    ],
)
def test_a_text_is_its_json_or_itself(text: str, value: Any) -> None:
    """What comes out can be sent on: Python's NaN is no JSON, and half a surrogate pair is no UTF-8."""
    assert parse_text(text) == value


@pytest.mark.parametrize(
    "raw",
    [
        {"a": float("nan"), "b": "\ud83d"},
        {"EventSource": "aws:sns", "Sns": {"TopicArn": TOPIC, "Message": '{"a": NaN, "b": "\\ud83d"}'}},
        {"detail-type": "x\ud83d", "source": "\ud83d", "detail": {"a": float("nan"), "b": "\ud83d"}},
        sqs(r'{"Type": "Notification", "TopicArn": "\ud83d", "Message": "{\"a\": NaN, \"b\": \"\\ud83d\"}"}'),
    ],
    ids=["direct", "sns", "eventbridge", "sqs"],
)
def test_nothing_of_a_record_is_beyond_utf8_or_json(raw: Any) -> None:
    record = opened(raw)

    assert record.payload == {"a": "NaN", "b": "?"}
    for said in (record.topic_arn, record.detail_type, record.event_source):
        said.encode()


# --- What is damaged --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        ({"EventSource": "aws:sns"}, "Sns"),
        ({"EventSource": "aws:sns", "Sns": "text"}, "Sns"),
        ({"EventSource": "aws:sns", "Sns": {"TopicArn": TOPIC}}, "Message"),
        (sns(Message=["hunter2"]), "Message"),
        ({"eventSource": "aws:sqs"}, "body"),
        ({"eventSource": "aws:sqs", "body": {"hunter2": 1}}, "body"),
    ],
)
def test_a_damaged_wrapping_is_named_without_its_values(raw: Any, field: str) -> None:
    with pytest.raises(InvalidAlertError, match=field) as refused:
        opened(raw)

    assert "hunter2" not in shown(refused.value)


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize("raw", [nested(101), sns(nested(101)), sqs(sns(nested(500))), [[nested(100)]]])
def test_what_is_nested_too_deeply_is_no_alert(raw: Any) -> None:
    """Pydantic writes no more than 254 levels, so an event of it could not be sent."""
    with pytest.raises(NotAnAlertError, match="nested too deeply"):
        opened(raw)


def test_what_json_itself_cannot_read_for_its_depth_is_a_text() -> None:
    assert isinstance(opened(sns("[" * 100_000 + "]" * 100_000)).payload, str)


def test_envelopes_inside_one_another_come_off_up_to_a_bound() -> None:
    """Each redrive of a record that cannot be read yet adds two: a fixed function has to read it still."""
    raw: Any = PAYLOAD
    for _ in range(MAX_NESTING):
        raw = dead_letter(raw)

    assert opened(raw).payload == PAYLOAD
    with pytest.raises(NotAnAlertError, match=f"more than {MAX_NESTING} envelopes"):
        opened(dead_letter(raw))


def test_a_list_of_messages_of_known_kinds_is_read_one_by_one() -> None:
    ok = {**ALARM, "NewStateValue": "OK"}
    found = sources.parse(opened(sns([ALARM, {"AlarmName": "till-is-dark", "NewStateValue": 7}, event(), ok])))

    assert [type(each) for each in found] == [Alert, InvalidAlertError, Alert, Alert]


def test_a_list_with_anything_else_in_it_is_one_message() -> None:
    (found,) = sources.parse(opened(sns([ALARM, {"note": 1}])))

    assert isinstance(found, Alert)
    assert found.origin == "generic"


def test_several_records_in_one_message_are_read_one_by_one() -> None:
    """Damage to one does not affect the others."""
    found = sources.parse(opened(sqs({"Records": [sns(), {"EventSource": "aws:sns"}, sqs(), {"user": "x"}]})))

    assert [type(each) for each in found] == [Alert, InvalidAlertError, Alert, Alert]


# --- What counts as the time ------------------------------------------------------------------------------------------

FUTURE = "2026-12-24T00:00:00Z"


def at(**fields: Any) -> str:
    """Return an instant as text, so much after SENT_AT."""
    return (SENT_AT + timedelta(**fields)).isoformat()


@pytest.mark.parametrize(
    ("raw", "published_at"),
    [
        (sns(Timestamp=FUTURE), ARRIVED_AT + LEEWAY),
        (event(time=FUTURE), ARRIVED_AT + LEEWAY),
        (event(**{"time": FUTURE, "ingestion-time": at()}), SENT_AT),
        ({"ingestion_time": at(seconds=1), "event": event(time=FUTURE)}, SENT_AT + timedelta(seconds=1)),
        (sns(event(time=FUTURE), Timestamp=at()), SENT_AT + LEEWAY),
        (sns(event(time=at(minutes=-9)), Timestamp=at()), SENT_AT - timedelta(minutes=9)),
        (sns(sqs(attributes={"SentTimestamp": FUTURE}), Timestamp=at()), SENT_AT),
        (sns(sqs(attributes={"SentTimestamp": at(hours=-1)}), Timestamp=at()), SENT_AT),
        (sns(sqs(sns(Timestamp=FUTURE), attributes={"SentTimestamp": FUTURE}), Timestamp=at()), SENT_AT + LEEWAY),
        (sqs(sns(Timestamp=FUTURE), attributes={"SentTimestamp": at()}), SENT_AT + LEEWAY),
        (sqs(dead_letter(sqs(attributes={"SentTimestamp": at(hours=-1)}))), SENT_AT - timedelta(hours=1)),
    ],
)
def test_no_time_inside_counts_for_later_than_the_outermost_wrapping(raw: Any, published_at: datetime) -> None:
    """Otherwise a publisher could date a resolve years ahead, and mute an alert until then."""
    assert opened(raw).published_at == published_at


def test_a_time_of_the_alert_itself_is_bound_too() -> None:
    alarm = {"AlarmName": "a", "NewStateValue": "OK", "StateChangeTime": FUTURE, "AlarmArn": "arn"}
    for message in ({"alert": {**PAYLOAD["alert"], "observed_at": FUTURE}}, alarm):
        (alert,) = sources.parse(opened(sns(message, Timestamp=at())))
        assert isinstance(alert, Alert)
        assert alert.observed_at == SENT_AT + LEEWAY


# --- Whose queue, whose failure ---------------------------------------------------------------------------------------

QUEUE = "arn:aws:sqs:eu-west-1:123456789012:retry"


@pytest.mark.parametrize(
    "inside",
    [sns(), event(), sqs(eventSourceARN=QUEUE), {"Records": [sqs(eventSourceARN=QUEUE)]}, dead_letter(PAYLOAD)],
)
def test_only_the_direct_body_of_a_queue_is_the_queues(inside: Any) -> None:
    """Whoever may publish to the queue's topic is not trusted with the publisher's own state."""
    assert opened(sqs(eventSourceARN=QUEUE)).queue_arn == QUEUE
    assert opened(sqs(inside, eventSourceARN=QUEUE)).queue_arn == ""
    assert opened(sns(sqs(eventSourceARN=QUEUE))).queue_arn == ""
    assert opened(sqs(json.dumps(json.dumps(PAYLOAD)), eventSourceARN=QUEUE)).queue_arn == ""


def failed(name: str, payload: Any) -> dict[str, Any]:
    """Make the on-failure record of another function."""
    record = on_failure(payload)
    return {**record, "requestContext": {**record["requestContext"], "functionArn": OWN_ARN.replace("publisher", name)}}


@pytest.mark.parametrize(
    "raw",
    [
        sns(failed("importer", {"Records": [sns()]})),
        sqs(failed("importer", event())),
        sns(dead_letter(sns())),
        sns({**dead_letter(sns()), "function": "importer"}),
        sqs({**dead_letter(sns()), "function": "importer"}),
        sns({"Records": [sns()]}, MessageAttributes={n: {"Value": "x"} for n in ("ErrorMessage", "RequestID")}),
        sns(event(), MessageAttributes={n: {"Value": "x"} for n in ("ErrorMessage", "ErrorCode")}),
        sqs(PAYLOAD, messageAttributes={n: {"stringValue": "x"} for n in ("ErrorMessage", "RequestID")}),
        sns({"requestContext": {"functionArn": OWN_ARN}, "KinesisBatchInfo": {"streamArn": "arn"}}),
    ],
)
def test_what_another_function_could_not_process_is_never_opened(raw: Any) -> None:
    """Its content may be an alarm of this morning, long over."""
    (alert,) = sources.parse(opened(raw))

    assert isinstance(alert, Alert)
    assert alert.origin == "lambda"
    assert "Slow" not in alert.name


def test_the_dead_letter_of_a_topics_subscription_is_opened() -> None:
    """SNS names its errors as Lambda does, and puts the notification itself into the queue."""
    attributes = {name: {"stringValue": "x"} for name in ("ErrorMessage", "ErrorCode", "RequestID")}

    assert opened(sqs(notification(), messageAttributes=attributes)).payload == PAYLOAD


def test_the_attributes_of_a_dead_letter_say_nothing_of_the_alert() -> None:
    for name in ("error_type", "RULE_ARN"):
        assert opened(sqs(messageAttributes={name: {"stringValue": "x"}})).attributes == {}


@pytest.mark.parametrize(
    ("rule", "is_foreign"),
    [
        ("rule/stack-foreign/stack-ForeignEvents-1A", True),
        ("rule/stack-ForeignEvents-foreign", False),
        ("rule/stack-foreign", False),
        ("rule/orders/of-foreign", False),
        ("other/stack-foreign/rule", False),
        ("", False),
    ],
)
def test_what_eventbridge_could_not_deliver_from_the_foreign_bus_stays_foreign(rule: str, is_foreign: bool) -> None:
    """Its dead letter has the event without the mark that the rule puts around it, and names the rule."""
    arn = f"arn:aws:events:us-east-1:000000000000:{rule}"
    record = opened(sqs(event(), messageAttributes={"RULE_ARN": {"stringValue": arn}}))

    assert record.payload == PAYLOAD
    assert record.is_foreign("") is is_foreign


# --- What publishers make of a message --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        json.dumps(json.dumps(PAYLOAD)),
        json.dumps(json.dumps(json.dumps(PAYLOAD))),
        {"default": json.dumps(PAYLOAD)},
        {"default": json.dumps(PAYLOAD), "sqs": "other", "email": "other"},
        {"default": "other", "lambda": json.dumps(PAYLOAD)},
        {"stage": "production", "event": event()},
        {"stage": "production", "message": ALARM_TEXT},
        {"Sns": {"Message": ALARM_TEXT}},
        {"MessageId": "m-2", "TopicArn": "arn:aws:sns:eu-west-1:123456789012:old", "Message": ALARM_TEXT},
        {"Type": "Notification", "Message": ALARM_TEXT},
        {"source": "lamplight", "detailType": "Alert", "detail": PAYLOAD},
        {"source": "lamplight", "detail-type": "Alert", "detail": json.dumps(PAYLOAD)},
    ],
)
def test_what_publishers_put_around_an_alert_comes_off(message: Any) -> None:
    assert opened(sns(message)).payload in (PAYLOAD, ALARM)


@pytest.mark.parametrize(
    "around", [lambda webhook: {"message": webhook}, lambda webhook: {"body": json.dumps(webhook)}]
)
def test_a_webhook_that_a_relay_puts_into_an_object_is_read_alert_by_alert(around: Callable[[Any], Any]) -> None:
    alerts = [{"status": status, "labels": {"alertname": status}} for status in ("firing", "resolved")]
    found = sources.parse(opened(sns(around({"receiver": "sns", "status": "firing", "alerts": alerts}))))

    assert [(alert.origin, str(alert.status)) for alert in found if isinstance(alert, Alert)] == [
        ("alertmanager", "firing"),
        ("alertmanager", "resolved"),
    ]


@pytest.mark.parametrize(
    "message",
    [
        {"default": "x", "colour": "red"},
        {"one": event(), "two": event()},
        {"input": ALARM_TEXT, "status": "FAILED"},
        {"message": ALARM_TEXT, "failureReason": "no paper"},
        {"Type": "SubscriptionConfirmation", "TopicArn": "arn", "MessageId": "m", "Message": "Confirm"},
    ],
)
def test_what_only_resembles_a_wrapping_stays(message: Any) -> None:
    assert opened(sns(message)).payload == message


@pytest.mark.parametrize("make", [str, lambda value: f"  {value}\n", lambda value: str([value])])
def test_an_object_that_python_printed_is_read(make: Callable[[Any], str]) -> None:
    """A publisher wrote `str(alarm)`, not `json.dumps(alarm)`: its quotes are single ones, and it has None and True."""
    alarm = {**ALARM, "AlarmDescription": None, "ActionsEnabled": True}
    assert opened(sns(make(alarm))).payload in (alarm, [alarm])
    assert opened(sqs(make(alarm))).payload in (alarm, [alarm])


@pytest.mark.parametrize(
    "text",
    ["{'a'", "{'a': open('x')}", "{'a': b'b'}", "{'a': {1, 2}}", "{'a': " + "[" * 5000, "{'a': " + "-" * 9999 + "1}"],
)
def test_what_only_looks_printed_stays_a_text(text: str) -> None:
    assert opened(sns(text)).payload == text


def test_the_message_may_be_an_object() -> None:
    assert opened({"EventSource": "aws:sns", "Sns": {"TopicArn": TOPIC, "Message": PAYLOAD}}).payload == PAYLOAD


def test_raw_delivery_keeps_the_attributes() -> None:
    attributes = {
        "severity": {"stringValue": "critical", "dataType": "String", "stringListValues": []},
        "attempt": {"stringValue": "3", "dataType": "Number"},
        "blob": {"binaryValue": "AgME", "dataType": "Binary"},
    }

    record = opened(sqs("Disk is full", messageAttributes=attributes))
    assert record.attributes == {"severity": "critical", "attempt": "3", "blob": "AgME"}


KEY = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    "message",
    [
        {"routing_key": KEY, "dedup_key": f"a/{KEY}"},
        {"details": [{"service_key": KEY}], KEY: 1},
        f"routing_key: {KEY}\nseverity: critical",
        f"Routing key = '{KEY}' {KEY}",
        {"text": json.dumps({"text": json.dumps({"routing_key": KEY})})},
        f"post to https://events.pagerduty.com/integration/{KEY}/enqueue",
    ],
)
def test_a_routing_key_in_a_message_is_hidden(message: Any) -> None:
    record = opened(sns(message, Subject=f"for {KEY}", MessageAttributes={"routing_key": {"Value": KEY}}))

    assert KEY not in str(record)


def test_the_routing_key_of_a_message_queue_is_none() -> None:
    assert opened(sns({"routing_key": "orders.created"})).payload == {"routing_key": "orders.created"}


@pytest.mark.parametrize(
    ("raw", "shape"),
    [
        (None, "a JSON NoneType"),
        (12, "a JSON int"),
        ([PAYLOAD], "a JSON list"),
        ({}, "the keys (none)"),
        ({"Records": []}, "the keys Records"),
        ({"user": "hunter2", "password": "hunter2"}, "the keys password, user"),
        ("hunter2", "a text that is not JSON"),
        (" ", "an empty message"),
        (sqs(dead_letter({"user": "hunter2"})), "the keys user"),
        (sqs(on_failure({"user": "hunter2"})), "the keys user"),
    ],
)
def test_a_direct_invocation_that_no_source_knows_is_described_by_its_shape_alone(raw: Any, shape: str) -> None:
    """Redriven or not. The dead-letter queue has it; the log gets no values, for those may be secrets."""
    with pytest.raises(NotAnAlertError) as refused:
        sources.parse(opened(raw))

    assert shape in str(refused.value)
    assert "hunter2" not in shown(refused.value)


# --- Any JSON at all --------------------------------------------------------------------------------------------------

ENVELOPE_KEYS = st.sampled_from(
    [
        *("EventSource", "Sns", "TopicArn", "Message", "Timestamp", "MessageAttributes", "Type"),
        *("eventSource", "body", "attributes", "Records", "requestContext", "requestPayload", "error", "record"),
        *("detail-type", "detail", "source", "time", "resources", "alarmName", "state", "value", "configuration"),
        *("AlarmName", "NewStateValue", "AlarmArn", "StateChangeTime", "Trigger", "Metrics"),
        *("alert", "classification", "alert_name", "status", "labels", "starts_at", "links", "details"),
    ]
)
ENVELOPE_WORDS = st.sampled_from(
    ["aws:sns", "aws:sqs", "Notification", "Alert", "CloudWatch Alarm State Change", "firing", "ALARM", "OK"]
)
anything = st.recursive(
    json_values | ENVELOPE_WORDS | st.text(max_size=5) | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(ENVELOPE_KEYS, inner, max_size=6)
        | inner.map(lambda value: json.dumps(value))
    ),
    max_leaves=20,
)
wrapped = st.recursive(
    anything | st.fixed_dictionaries({"alert": st.dictionaries(ENVELOPE_KEYS, anything)}),
    lambda inner: st.one_of(inner.map(sns), inner.map(sqs), inner.map(event), inner.map(dead_letter)),
    max_leaves=3,
)


def assert_published_or_refused(raw: Any) -> None:
    """Let only a PublishError be raised."""
    found: sources.Parsed = []
    with suppress(PublishError):
        found = sources.parse(opened(raw))
    assert all(isinstance(each, Alert | Ignored) for each in found)


@given(wrapped)
def test_any_record_gives_alerts_or_a_publish_error(raw: Any) -> None:
    """Nothing else is ever raised, so that a record ends published, ignored or on the dead-letter queue."""
    assert_published_or_refused(raw)
