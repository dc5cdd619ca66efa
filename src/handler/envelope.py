"""Unwraps an invocation: SNS, EventBridge, SQS, and this function's own dead letters, in any nesting. Knows no alert.

The models hold only what is read, and are applied record by record, so that one bad record never fails its siblings.
What another function could not process is never opened: it is an alert about that function.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AliasChoices, BeforeValidator, Field

from handler.errors import InvalidAlertError, NotAnAlertError
from handler.redaction import redacted
from handler.validation import (
    Instant,
    LooseName,
    LooseTexts,
    Model,
    Object,
    parse_model,
    parse_text,
    text_of,
    well_formed,
)

MAX_NESTING = 20
"""Real paths nest at most five deep; each redrive of an unreadable record adds two."""
LEEWAY = timedelta(seconds=5)
"""By how much a time inside a message may be later than the outermost wrapping's: clocks differ."""
_MAX_TEXTS = 3
"""How often JSON may be nested as text in JSON."""
_PRINTED = ("{'", "[{'")
"""How an object or a list begins that Python printed instead of encoding it as JSON."""
_MAX_PRINTED_CHARACTERS = 262_144
_PROTOCOLS = frozenset(
    (
        *("default", "email", "email-json", "http", "https", "lambda", "sms", "sqs", "application", "firehose"),
        *("ADM", "APNS", "APNS_SANDBOX", "APNS_VOIP", "APNS_VOIP_SANDBOX", "BAIDU", "GCM", "MACOS", "MACOS_SANDBOX"),
        *("MPNS", "WNS"),
    )
)
"""Keys of a message for several protocols: https://docs.aws.amazon.com/sns/latest/api/API_Publish.html"""
_SINK_ATTRIBUTES = {"error_type", "RULE_ARN"}
"""Attributes of a dead letter, ours or EventBridge's: with one of these, the attributes say nothing about the alert."""
_AROUND = frozenset(("message", "body", "event", "payload", "data", "content", "alarm", "record"))
"""Names under which people put a whole message into their own object."""
_INGESTION_TIME = AliasChoices("ingestion-time", "ingestion_time", "ingestionTime")


class Wrapping(StrEnum):
    """The kinds of wrapping."""

    SNS = "sns"
    EVENTBRIDGE = "eventbridge"
    SQS = "sqs"
    FOREIGN = "foreign"
    """Added by the template's rule for the event bus of other accounts."""
    OTHER = "other"


def _named_texts(attributes: Any) -> dict[str, str]:
    """Return message attributes of any type as texts: SNS has `Value`, SQS `stringValue` or `binaryValue`."""
    named = attributes.items() if isinstance(attributes, dict) else ()
    texts = {}
    for name, attribute in named:
        keys = ("Value", "stringValue", "StringValue", "binaryValue", "BinaryValue")
        values = [attribute[key] for key in keys if key in attribute] if isinstance(attribute, dict) else []
        texts[name] = text_of(next((value for value in values if value is not None), ""))
    return texts


Attributes = Annotated[dict[str, str], BeforeValidator(_named_texts)]


class SnsNotification(Model):
    """An SNS notification."""

    MessageId: LooseName = ""
    TopicArn: LooseName = ""
    Subject: LooseName = ""
    Message: str | dict[str, Any]
    Timestamp: Instant = None
    MessageAttributes: Attributes = Field(default_factory=dict)


class EventBridgeEvent(Model):
    """An EventBridge event, or the message of a notification rule."""

    id: LooseName = ""
    source: LooseName = ""
    account: LooseName = ""
    region: LooseName = ""
    time: Instant = None
    ingestion_time: Instant = Field(None, validation_alias=_INGESTION_TIME)
    resources: LooseTexts = Field(default_factory=list)
    detail_type: LooseName = Field("", validation_alias=AliasChoices("detail-type", "detailType"))
    detail: Any


class SqsAttributes(Model):
    """SQS's attributes of a message."""

    SentTimestamp: Instant = None


class SqsRecord(Model):
    """An SQS message as Lambda passes it on."""

    messageId: LooseName = ""
    body: str
    attributes: Annotated[SqsAttributes, BeforeValidator(lambda value: value if isinstance(value, dict) else {})] = (
        Field(default_factory=SqsAttributes)
    )
    messageAttributes: Attributes = Field(default_factory=dict)
    eventSourceARN: LooseName = ""


class FailedInvocation(Model):
    """The record of a failed invocation that Lambda sends to a destination.

    https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    """

    requestContext: Object = Field(default_factory=dict)

    @property
    def function_name(self) -> str:
        """The name of the function that failed; empty where the record does not have it."""
        parts = text_of(self.requestContext.get("functionArn")).split(":")
        return parts[6] if len(parts) > 6 else ""


@dataclass(frozen=True, slots=True)
class Record:
    """A message without its wrappings, and the facts that these contained.

    Attributes:
        payload: the message: a JSON value where it is JSON, else the text. Routing keys in it are hidden.
        published_at: when it was first published, in UTC: by the innermost wrapping that has a time.
        message_id: of the innermost wrapping.
        detail_type: EventBridge's, empty where it did not come that way.
        attributes: the message's attributes as text.
        queue_arn: of the SQS queue whose message this is, where nothing but SQS wraps it; empty otherwise. By this
            the publisher's own queue messages are told apart from what others publish.
        latest: no time inside the message counts for later; None where nothing is known.
        wrappings: what was around it, outermost first.
    """

    payload: Any
    published_at: datetime
    message_id: str = ""
    topic_arn: str = ""
    subject: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    detail_type: str = ""
    event_source: str = ""
    account: str = ""
    region: str = ""
    resources: tuple[str, ...] = ()
    queue_arn: str = ""
    latest: datetime | None = None
    wrappings: tuple[Wrapping, ...] = ()
    topic_arns: tuple[str, ...] = ()

    def is_foreign(self, foreign_topic_arn: str) -> bool:
        """Return whether it came by the topic or the event bus that other accounts may use."""
        return Wrapping.FOREIGN in self.wrappings or (bool(foreign_topic_arn) and foreign_topic_arn in self.topic_arns)

    @property
    def is_failed_invocation(self) -> bool:
        """Whether a function's dead-letter queue or topic has it: Lambda adds what went wrong as attributes."""
        return "ErrorMessage" in self.attributes and bool({"ErrorCode", "RequestID"} & self.attributes.keys())

    @property
    def is_direct(self) -> bool:
        """Whether it came as the body of an SQS message, or was handed to the function as it is."""
        return not {Wrapping.SNS, Wrapping.EVENTBRIDGE} & set(self.wrappings)


def split(event: Any) -> list[Any]:
    """Return the records of an invocation as they came; EventBridge Pipes sends a bare list."""
    if isinstance(event, list):
        return event
    if isinstance(event, Mapping) and isinstance(event.get("Records"), list):
        return list(event["Records"])
    return [event]


def unwrap(raw: Any, arrived_at: datetime, function_name: str = "") -> Record:
    """Unwrap one record.

    Args:
        raw: the record as it came, with all its wrappings.
        arrived_at: in UTC; it counts as the time of publishing where no wrapping has one.
        function_name: of this function; its own on-failure records are opened, those of others are not.

    Raises:
        InvalidAlertError: a wrapping is damaged; the message names the field.
        NotAnAlertError: there is nothing inside, or more wrappings than any real path has.
    """
    latest = arrived_at + LEEWAY
    return unwrap_further(Record(payload=well_formed(raw), published_at=arrived_at, latest=latest), function_name)


def unwrap_further(record: Record, function_name: str = "") -> Record:
    """Unwrap what is still wrapped inside a record; raises the same errors as `unwrap`."""
    for _ in range(MAX_NESTING + 1):
        inner = _unwrap_once(record, function_name)
        if inner is None:
            return _without_routing_keys(record)
        record = inner
    raise NotAnAlertError(f"more than {MAX_NESTING} envelopes inside one another: send the alert itself")


def _unwrap_once(record: Record, function_name: str) -> Record | None:
    """Remove one wrapping, or return None if there is none; facts of an outer wrapping are kept."""
    payload = record.payload
    if not isinstance(payload, Mapping) or record.is_failed_invocation:
        return None
    match payload:
        case {"eventSource": "aws:sqs"}:
            return _open_sqs(record, payload)
        case {"EventSource": "aws:sns"} | {"Sns": {"Message": _}}:
            return _open_sns(record, payload.get("Sns"))
        case {"Message": _} if _is_notification(payload):
            return _open_sns(record, payload)
        case {"detail-type": _, "detail": _} | {"source": _, "detailType": _, "detail": _}:
            return _open_event(record, payload)
        case {"requestContext": Mapping(), "requestPayload": inner}:
            return _afresh(record, inner) if _is_own(record, payload, function_name) else None
        case {"error": _, "record": inner}:
            return _afresh(record, inner) if is_dead_letter(payload) and record.is_direct else None
        case {"foreign": Mapping() as inner} if len(payload) == 1:
            return _inside(record, Wrapping.FOREIGN, inner)
        case {"Records": [inner]}:  # a whole invocation of one record
            return _inside(record, Wrapping.OTHER, inner)
        case _:
            return _open_object(record, payload)


def _open_object(record: Record, payload: Mapping[str, Any]) -> Record | None:
    """Open a message for several protocols, or an object that an input transformer or relay put around one."""
    if "default" in payload and payload.keys() <= _PROTOCOLS:
        said = payload.get("lambda", payload["default"])
        return _inside(record, Wrapping.OTHER, _content(said) if isinstance(said, str) else said)
    if is_message(payload) or "alert" in payload or any(_tells_of_a_failure(name) for name in payload):
        return None
    inside = [inner for name, value in payload.items() if is_message(inner := _inner(name, value, record))]
    if len(inside) != 1:
        return None
    times = {name: payload[name] for name in _INGESTION_TIME.choices if isinstance(name, str) and name in payload}
    return _inside(record, Wrapping.OTHER, {**inside[0], **times})


def _inner(name: str, value: Any, record: Record) -> Any:
    """Return what may be a message inside an object: an event under any name, others under the usual names."""
    if isinstance(value, dict) and "detail" in value:
        return value
    if record.detail_type or name.lower() not in _AROUND:
        return None
    return _content(value) if isinstance(value, str) else value


def _tells_of_a_failure(name: str) -> bool:
    lower = name[:100].lower()
    return any(word in lower for word in ("error", "fail", "exception"))


def is_message(value: Any) -> bool:
    """Return whether an object is itself a message of a known kind."""
    match value:
        case {"detail-type": _, "detail": _} | {"source": _, "detailType": _, "detail": _}:
            return True
        case {"AlarmName": _, "NewStateValue": _} | {"alarmArn": _, "alarmData": _}:
            return True
        case {"EventSource": "aws:sns"} | {"eventSource": "aws:sqs"} | {"Sns": {"Message": _}}:
            return True
        case {"event_action": str(), "payload": dict()} | {"event_action": str(), "dedup_key": _}:
            return True
        case {"alerts": [{"labels": _}, *_]}:
            return True
        case {"Message": _}:
            return _is_notification(value)
        case _:
            return False


def _is_notification(value: Mapping[str, Any]) -> bool:
    """Return whether an object is an SNS notification; queues and emulators omit optional fields."""
    kind = value.get("Type", "Notification")
    return kind == "Notification" and ("Type" in value or {"TopicArn", "MessageId"} <= value.keys())


def is_dead_letter(value: Any) -> bool:
    """Return whether this is a dead letter of this function, of a record that could not be read."""
    return isinstance(value, Mapping) and value.keys() == {"error", "record"} and isinstance(value["error"], str)


def _is_own(record: Record, payload: Mapping[str, Any], function_name: str) -> bool:
    """Return whether an on-failure record is this function's own."""
    failed = parse_model(FailedInvocation, payload, "on-failure record").function_name
    if failed and function_name:
        return failed == function_name
    return record.is_direct and (not failed or failed.endswith("publisher"))  # `<stack>-publisher`, by the template


def without_dead_letters(raw: Any) -> Any:
    """Return a record without this function's dead letters around it, so that they do not nest."""
    match raw:
        case {"eventSource": "aws:sqs", "body": str(body)}:
            letter = parse_text(body)
        case _:
            letter = raw
    return without_dead_letters(letter["record"]) if is_dead_letter(letter) else redacted(raw)


def _content(text: str) -> Any:
    """Return the JSON value in a text, even if it was encoded more than once; else the text."""
    value = parse_text(text)
    if value == text and text.lstrip()[:3].startswith(_PRINTED) and len(text) <= _MAX_PRINTED_CHARACTERS:
        return _printed(text)
    for _ in range(_MAX_TEXTS):
        if not isinstance(value, str) or value[:1] not in ("{", "[", '"'):
            break
        inner = parse_text(value)
        if inner == value:
            break
        value = inner
    return value


def _printed(text: str) -> Any:
    """Return the value that Python printed, as `str(event)` does; else the text."""
    import ast

    try:
        return parse_text(json.dumps(ast.literal_eval(text.strip())))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def _open_sqs(record: Record, payload: Mapping[str, Any]) -> Record:
    sqs = parse_model(SqsRecord, payload, "SQS record")
    content = _content(sqs.body)
    # this function's own messages are objects: in a text that is JSON again, a redrive would not see what to strip
    is_direct_body = not record.wrappings and isinstance(parse_text(sqs.body), dict)
    of_sink = bool(_SINK_ATTRIBUTES & sqs.messageAttributes.keys())
    of_sink |= isinstance(content, dict) and content.get("Type") == "Notification"  # SNS's own dead letter
    if _is_of_foreign_rule(sqs.messageAttributes):
        content = {"foreign": content}
    return _inside(
        record,
        Wrapping.SQS,
        content,
        sent_at=sqs.attributes.SentTimestamp,
        message_id=sqs.messageId,
        attributes={} if of_sink else sqs.messageAttributes,
        queue_arn=sqs.eventSourceARN if is_direct_body else "",
    )


def _is_of_foreign_rule(attributes: Mapping[str, str]) -> bool:
    """Return whether EventBridge could not deliver an event of the bus that other accounts may use.

    Its dead letter is the event as it came, without what the rule puts around it, and names the rule:
    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html
    """
    kind, _, rule = attributes.get("RULE_ARN", "").rpartition(":")[2].partition("/")
    return kind == "rule" and rule.partition("/")[0].endswith("-foreign") and "/" in rule


def _open_sns(record: Record, notification: Any) -> Record:
    if not isinstance(notification, Mapping):
        raise InvalidAlertError("SNS record: Sns: not an object")
    sns = parse_model(SnsNotification, notification, "SNS record")
    return _inside(
        record,
        Wrapping.SNS,
        _content(sns.Message) if isinstance(sns.Message, str) else sns.Message,
        sent_at=sns.Timestamp,
        message_id=sns.MessageId or record.message_id,
        topic_arn=sns.TopicArn,
        topic_arns=(*record.topic_arns, sns.TopicArn),
        subject=sns.Subject,
        attributes=sns.MessageAttributes,
    )


def _open_event(record: Record, payload: Mapping[str, Any]) -> Record:
    event = parse_model(EventBridgeEvent, payload, "EventBridge event")
    detail, more = event.detail, payload.get("additionalAttributes")
    detail = _content(detail) if isinstance(detail, str) else detail  # an input transformer writes it as a text
    if more and isinstance(detail, dict):  # a notification rule's, which spells `detailType` and knows more
        detail = {"additionalAttributes": more, **detail}
    return _inside(
        record,
        Wrapping.EVENTBRIDGE,
        detail,
        sent_at=event.ingestion_time or event.time,
        message_id=event.id or record.message_id,
        detail_type=event.detail_type,
        event_source=event.source,
        account=event.account,
        region=event.region,
        resources=tuple(event.resources),
    )


def _afresh(record: Record, payload: Any) -> Record:
    """Return the content of a dead letter; nothing around it is about the alert."""
    return Record(
        payload=payload,
        published_at=record.published_at,
        latest=record.latest,
        wrappings=(*record.wrappings, Wrapping.OTHER),
        topic_arns=record.topic_arns,
    )


def _inside(
    record: Record, wrapping: Wrapping, payload: Any, sent_at: datetime | None = None, queue_arn: str = "", **said: Any
) -> Record:
    """Return the content of a wrapping, with the wrapping's facts."""
    published_at, latest = record.published_at, record.latest
    is_known_better = wrapping is Wrapping.SQS and not record.is_direct
    if sent_at and not is_known_better:
        published_at = min(sent_at, latest) if latest else sent_at
        if not record.wrappings:
            latest = published_at + LEEWAY
    return replace(
        record,
        payload=payload,
        published_at=published_at,
        latest=latest,
        queue_arn=queue_arn,
        wrappings=(*record.wrappings, wrapping),
        **said,
    )


def _without_routing_keys(record: Record) -> Record:
    payload, subject, attributes = redacted([record.payload, record.subject, dict(record.attributes)])
    return replace(record, payload=payload, subject=subject, attributes=attributes)
