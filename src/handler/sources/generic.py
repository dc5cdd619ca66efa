"""The last resort: whatever came by a topic, a bus or a queue and is of no other source, as a trigger.

Nobody wires something to a pager for nothing. A direct invocation came by no such road and is left alone.
"""

import json
from typing import Any

from handler.alert import Alert, Status
from handler.envelope import Record
from handler.pagerduty.events import truncate
from handler.sources.aws import Arn, filled

ORIGIN = "generic"
_HEADLINES = ("title", "summary", "subject", "message", "description", "text", "name")
"""Where a JSON object mostly says what it is about, most telling first."""
MAX_NAME_CHARACTERS = 255


def recognises(record: Record) -> bool:
    """Recognise all that was published rather than handed to the function."""
    return bool(record.topic_arn or record.detail_type or record.event_source or record.message_id)


def parse(record: Record) -> list[Alert]:
    """Give a trigger that shows the whole message."""
    if record.detail_type or record.event_source:
        return [_from_event(record)]
    return [_from_message(record)]


def _from_message(record: Record) -> Alert:
    topic = Arn.of(record.topic_arn)
    subject, said = record.subject.strip(), _headline(record.payload)
    headline = subject or said or "A message without text"
    return _alert(
        record,
        # what varies from one message to the next, such as a time, keeps out of the key where there is a subject
        fingerprint=f"{record.topic_arn or 'sqs'}#{subject or said or record.message_id}",
        name=headline,
        summary=f"{headline}: {said}" if said and said != headline else headline,
        location=topic.resource or record.topic_arn,
        component=topic.resource,
        group=topic.account,
        labels=filled({"topic": topic.resource, "account": topic.account, "region": topic.region}),
    )


def _from_event(record: Record) -> Alert:
    resources = sorted(record.resources)
    place = "" if resources else f"{record.account}:{record.region}:"
    said = _headline(record.payload)
    kind = next((text.strip() for text in (record.detail_type, record.event_source) if text.strip()), "An event")
    return _alert(
        record,
        fingerprint=f"{place}{record.event_source}#{record.detail_type}#{','.join(resources)}",
        name=kind,
        summary=f"{kind}: {said}" if said else kind,
        location=next((resource for resource in resources if resource.strip()), record.event_source),
        component=record.event_source,
        group=record.account,
        class_=record.detail_type,
        labels=filled(
            {
                "event_source": record.event_source,
                "detail_type": record.detail_type,
                "account": record.account,
                "region": record.region,
            }
        ),
    )


def _alert(record: Record, *, name: str, **fields: Any) -> Alert:
    payload = record.payload
    severity = payload.get("severity") if isinstance(payload, dict) else None
    return Alert(
        name=truncate(name, MAX_NAME_CHARACTERS),
        status=Status.FIRING,
        observed_at=record.published_at,
        origin=ORIGIN,
        severity_word=severity if isinstance(severity, str) else "",
        details={
            **filled({"subject": record.subject, "topic": record.topic_arn}),
            "resources": list(record.resources),
            "message": payload,
        },
        **fields,
    )


def _headline(payload: Any) -> str:
    """Give the first line of a text, or what a JSON object says under the usual names, or its beginning."""
    if isinstance(payload, dict):
        said = (payload[name] for name in _HEADLINES if isinstance(payload.get(name), str))
        return next((line for text in said if (line := _first_line(text))), "") or _beginning(payload)
    return _first_line(payload) if isinstance(payload, str) else _beginning(payload)


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0].strip()


def _beginning(value: Any) -> str:
    return (
        truncate(json.dumps(value, ensure_ascii=False), MAX_NAME_CHARACTERS) if value not in (None, "", {}, []) else ""
    )
