"""Takes the wrappings off an invocation: SNS, EventBridge, SQS, dead letters, in any nesting. Knows no alert format.

The shapes are Powertools' models, relaxed where AWS itself (or `sam local generate-event`) leaves a field out, and
applied record by record, so that one bad record never fails its siblings.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools.utilities.parser.models import (
    EventBridgeModel,
    SnsNotificationModel,
    SqsAttributesModel,
    SqsRecordModel,
)
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from handler.errors import InvalidAlertError, NotAnAlertError
from handler.validation import parse_model, parse_text, well_formed

MAX_NESTING = 20
"""Five is what a road to this function has; each redrive of a record that still cannot be read adds two."""


_WHEN_USED = ConfigDict(defer_build=True)
"""Put a model together when it is first used: an execution environment meets one kind of wrapping, mostly."""


class SnsAttribute(BaseModel):
    """A message attribute, of which only the value is of interest."""

    model_config = _WHEN_USED

    Type: str = "String"
    Value: Any = ""


class SnsNotification(SnsNotificationModel):
    """An SNS notification whose URLs may be anything or absent."""

    model_config = _WHEN_USED

    Type: str = "Notification"  # type: ignore[assignment]
    MessageId: str = ""
    Message: str
    UnsubscribeUrl: str | None = None  # type: ignore[assignment]
    SigningCertUrl: str | None = None  # type: ignore[assignment]
    MessageAttributes: dict[str, SnsAttribute] | None = None  # type: ignore[assignment]
    Timestamp: datetime | None = None  # type: ignore[assignment]


class EventBridgeEvent(EventBridgeModel):
    """An EventBridge event of which only the detail is required."""

    model_config = _WHEN_USED

    version: str = "0"
    id: str = ""
    source: str = ""
    account: str = ""
    region: str = ""
    time: datetime | None = None  # type: ignore[assignment]
    resources: list[str] = Field(default_factory=list)
    detail_type: str = Field("", validation_alias=AliasChoices("detail-type", "detailType"))
    detail: Any


class SqsAttributes(SqsAttributesModel):
    """An SQS record's attributes, all optional."""

    model_config = _WHEN_USED

    ApproximateReceiveCount: str = "1"
    ApproximateFirstReceiveTimestamp: datetime | None = None  # type: ignore[assignment]
    SenderId: str = ""
    SentTimestamp: datetime | None = None  # type: ignore[assignment]


class SqsRecord(SqsRecordModel):
    """An SQS record of which only the body is required."""

    model_config = _WHEN_USED

    messageId: str = ""
    receiptHandle: str = ""
    body: str
    attributes: SqsAttributes = Field(default_factory=SqsAttributes)
    messageAttributes: dict[str, Any] = Field(default_factory=dict)
    md5OfBody: str = ""
    eventSourceARN: str = ""
    awsRegion: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """What was inside the wrappings, and what they said of it.

    Attributes:
        payload: the message: a JSON value where it is JSON, else the text.
        published_at: when it was put on the topic, bus or queue, or arrived here, in UTC.
        detail_type: EventBridge's, empty where it did not come that way.
        attributes: the SNS message's attributes as text.
        queue_arn: of the SQS queue whose message this is, where nothing but SQS wraps it; empty otherwise. What the
            publisher wrote on its own queue is told from what others publish by this.
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


def split(event: Any) -> list[Any]:
    """Give the records of an invocation, each as it came; an invocation that is not a batch is one record."""
    if isinstance(event, Mapping) and isinstance(event.get("Records"), list):
        return list(event["Records"])
    return [event]


def unwrap(raw: Any, arrived_at: datetime) -> Record:
    """Take every wrapping off one record that arrived at this time.

    Raises:
        InvalidAlertError: a wrapping is damaged; the message names the field.
        NotAnAlertError: there is nothing inside, or more wrappings than any real road has.
    """
    record = Record(payload=well_formed(raw), published_at=arrived_at)
    for _ in range(MAX_NESTING + 1):
        inner = _unwrap_once(record)
        if inner is None:
            return record
        record = inner
    raise NotAnAlertError(f"more than {MAX_NESTING} envelopes inside one another: send the alert itself")


def _unwrap_once(record: Record) -> Record | None:
    """Take one wrapping off, or give None where the payload is bare. What an outer wrapping said is kept."""
    payload = record.payload
    if not isinstance(payload, Mapping):
        return None
    match payload:
        case {"eventSource": "aws:sqs"}:
            sqs = parse_model(SqsRecord, payload, "SQS record")
            return replace(
                record,
                payload=parse_text(sqs.body),
                published_at=_utc(sqs.attributes.SentTimestamp) or record.published_at,
                message_id=sqs.messageId,
            )
        case {"EventSource": "aws:sns"}:
            return _open_sns(record, payload.get("Sns"))
        case {"Type": "Notification", "TopicArn": str(), "Message": _}:
            return _open_sns(record, payload)
        case {"detail-type": _, "detail": _} | {"notificationRuleArn": _, "detailType": _, "detail": _}:
            return _open_event(record, payload)
        case {"requestContext": Mapping(), "requestPayload": inner}:  # a Lambda on-failure record
            return Record(payload=inner, published_at=record.published_at)
        case {"error": _, "record": inner}:  # a dead letter of our own, of a record that could not be read
            return Record(payload=inner, published_at=record.published_at)
        case {"Records": [inner]}:  # a whole invocation of one record, inside an SQS body
            return replace(record, payload=inner)
        case {"Records": [_, _, *_]}:
            raise NotAnAlertError("several records inside one message: send each as a message of its own")
        case _:
            return None


def without_dead_letters(raw: Any) -> Any:
    """Take off what earlier stays in the dead-letter queue have put around a record, so that they do not pile up."""
    match raw:
        case {"eventSource": "aws:sqs", "body": str(body)}:
            letter = parse_text(body)
        case _:
            letter = raw
    match letter:
        case {"error": _, "record": inner}:
            return without_dead_letters(inner)
        case _:
            return raw


def _open_event(record: Record, payload: Mapping[str, Any]) -> Record:
    event = parse_model(EventBridgeEvent, payload, "EventBridge event")
    detail, more = event.detail, payload.get("additionalAttributes")
    if more and isinstance(detail, dict):  # a notification rule's, which spells `detailType` and knows more
        detail = {"additionalAttributes": more, **detail}
    return replace(
        record,
        payload=detail,
        published_at=_utc(event.time) or record.published_at,
        message_id=event.id or record.message_id,
        detail_type=event.detail_type,
        event_source=event.source,
        account=event.account,
        region=event.region,
        resources=tuple(event.resources),
    )


def _open_sns(record: Record, notification: Any) -> Record:
    if not isinstance(notification, Mapping):
        raise InvalidAlertError("SNS record: Sns: not an object")
    # a copy: Powertools' model renames keys in the dict that it is given
    sns = parse_model(SnsNotification, dict(notification), "SNS record")
    return replace(
        record,
        payload=parse_text(sns.Message),
        published_at=_utc(sns.Timestamp) or record.published_at,
        message_id=sns.MessageId or record.message_id,
        topic_arn=sns.TopicArn,
        subject=sns.Subject or "",
        attributes={name: str(attribute.Value) for name, attribute in (sns.MessageAttributes or {}).items()},
    )


def _utc(instant: datetime | None) -> datetime | None:
    if instant is None:
        return None
    try:
        return instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)
    except OverflowError:  # in UTC it is outside the years 1 to 9999
        return None
