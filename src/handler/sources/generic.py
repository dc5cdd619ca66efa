"""The last resort: a message that no other source reads becomes a trigger that describes it in words.

Nobody connects a publisher to a pager without a reason. Direct invocations were not published, and are not read.
"""

import re
from typing import Any

from handler.alert import GENERIC, Alert, Ignored, Status
from handler.envelope import Record
from handler.outcome import SkipReason
from handler.pagerduty.severity import Severity, parse_severity
from handler.pagerduty.text import truncate
from handler.sources.aws import Arn, Home, filled
from handler.sources.words.headline import headline
from handler.sources.words.identity import digest_of, incident_in, location_in
from handler.sources.words.links import links_in_message
from handler.sources.words.news import skip_reason
from handler.sources.words.severity import severity_in_heading, severity_word
from handler.sources.words.states import GOOD, PROGRESS, states_of
from handler.sources.words.text import first_line

MAX_NAME_CHARACTERS = 255
MIN_NAME_CHARACTERS = 3
"""A shorter part of an ARN may stand in a text by chance."""
_IDENTITIES = ("dedup_key", "dedupKey", "deduplication_key", "incident_key", "incidentKey")
"""Fields by which a sender decides what belongs together. An `id` may be the message's own, or a constant."""
_URGENT = ("CRITICAL", "WARNING")
"""States that are severities, as monitoring systems have them."""
_NO_TEXT = "A message without text"


def recognises(record: Record) -> bool:
    """Return whether it was published, rather than passed to the function directly."""
    return bool(record.topic_arn or record.detail_type or record.event_source or record.message_id)


def parse(record: Record) -> list[Alert | Ignored]:
    """Return a trigger with the whole message; a resolve or nothing for good news; nothing for progress."""
    is_event = bool(record.detail_type or record.event_source)
    subject, text = first_line(record.subject), headline(record.payload)
    states = states_of(record.payload)
    if is_event:
        text = _with_state_and_resource(text, states - GOOD - PROGRESS, Arn.of(_first_resource(record)).resource)
        name = record.detail_type.strip() or record.event_source.strip() or "An event"
    else:
        name = subject or text or _NO_TEXT
    severity = _severity(record, subject, text, states)
    reason = skip_reason(
        subject or (record.payload if isinstance(record.payload, str) else ""),
        text,
        states,
        detail_type=record.detail_type if record.event_source.startswith("aws.") else "",
        is_urgent=parse_severity(severity) in (Severity.CRITICAL, Severity.ERROR),
    )
    identity = _identity(record, states)
    if reason is SkipReason.IN_PROGRESS or (reason and not identity):
        return [Ignored(reason, truncate(name, MAX_NAME_CHARACTERS))]
    own_id = "" if is_event or subject or text else f":{record.message_id}"  # nothing says that two of them are one
    alert = Alert(
        fingerprint=f"{GENERIC}:{identity or digest_of(record) + own_id}",
        name=name[:MAX_NAME_CHARACTERS],
        status=Status.RESOLVED if reason else Status.FIRING,
        observed_at=record.published_at,
        origin=GENERIC,
        severity_word=severity,
        summary=name if not text or text in name else text if name in text else f"{name}: {text}",
        links=links_in_message(record.payload),
        details={
            **filled({"subject": record.subject, "topic": record.topic_arn}),
            "resources": list(record.resources),
            "message": record.payload,
        },
        **(_around_event(record) if is_event else _around_message(record)),
    )
    return [alert]


def _first_resource(record: Record) -> str:
    return next((resource for resource in sorted(record.resources) if resource.strip()), "")


def _severity(record: Record, subject: str, text: str, states: set[str]) -> str:
    """Return the severity word of a message: a field, its subject or first words, or a state that is one."""
    word = severity_word(record.payload) or severity_in_heading(subject) or severity_in_heading(text)
    return word or next((state.lower() for state in _URGENT if state in states), "")


def _around_event(record: Record) -> dict[str, Any]:
    """Return the fields of an alert that an event's frame tells: where it happened, and of what kind it is."""
    home = Home.of(record)
    labels = {"event_source": record.event_source, "detail_type": record.detail_type}
    return {
        "location": _first_resource(record) or location_in(record.payload) or record.event_source,
        "component": record.event_source,
        "group": home.account,
        "class_": record.detail_type,
        "labels": {**filled(labels), **home.labels},
    }


def _around_message(record: Record) -> dict[str, Any]:
    """Return the fields of an alert that the path of a message tells: its topic, or its queue."""
    home, topic = Home.of(record), Arn.of(record.topic_arn).resource
    queue = Arn.of(record.queue_arn).resource
    return {
        "location": location_in(record.payload) or topic or record.topic_arn or queue,
        "component": topic or queue,
        "group": home.account,
        "labels": {**filled({"topic": topic}), **home.labels},
    }


def _with_state_and_resource(text: str, states: set[str], resource: str) -> str:
    """Return the text of an event with its bad state and its resource, unless it has them."""
    lower = text.lower()
    state = next((state for state in states if len(states) == 1 and state != "ERROR"), "")
    if state and text and state.lower().replace("_", " ") not in lower.replace("_", " "):
        text = f"{state}: {text}"
    last = re.split("[:/]", resource)[-1]
    if resource and (last if len(last) > MIN_NAME_CHARACTERS else resource).lower() not in lower:
        text = f"{text} ({resource})" if text else resource
    return text


def _identity(record: Record, states: set[str]) -> str:
    """Return what the sender calls the subject of several messages; an incident's id only beside its state."""
    payload = record.payload
    if not isinstance(payload, dict):
        return ""
    named = next((text for name in _IDENTITIES if isinstance(text := payload.get(name), str) and text.strip()), "")
    incident = incident_in(payload) if states and not named else ""
    return named or (f"{record.event_source or record.topic_arn}#{incident}" if incident else "")
