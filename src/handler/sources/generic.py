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
from handler.sources.words.severity import severity_in_heading, severity_word
from handler.sources.words.states import ENDED, GOOD, PROGRESS, state_word, states_of
from handler.sources.words.text import first_line

MAX_NAME_CHARACTERS = 255
MIN_NAME_CHARACTERS = 3
"""A shorter part of an ARN may stand in a text by chance."""
_IDENTITIES = ("dedup_key", "dedupKey", "deduplication_key", "incident_key", "incidentKey")
"""Fields by which a sender decides what belongs together. An `id` may be the message's own, or a constant."""
_GOOD_WORDS = (
    *("ok", "resolved", "recovered", "recovery", "cleared", "closed", "restored", "solved", "fixed", "success", "up"),
    "passed",
)
_GOOD_HEADING = rf"\W{{0,5}}(?:{'|'.join(_GOOD_WORDS)})\b\W{{0,3}}(?:\Z|[:\]\u2013-])"
_GOOD_BRACKET = rf"\[\W{{0,5}}(?:{'|'.join(_GOOD_WORDS)})\W{{0,3}}\]"
_URGENT = ("CRITICAL", "WARNING")
"""States that are severities, as monitoring systems have them."""
_BAD_WORDS = ("fail", "error", "unsuccessful", "denied", "expir", "revoke", "down", "critical", "crash", "timed out")
_DOUBTFUL_WORDS = (
    "high",
    "low",
    "warn",
    "alert",
    "alarm",
    "firing",
    "problem",
    "degraded",
    "unhealthy",
    "lost",
    "missing",
)
_NO_TEXT = "A message without text"


def recognises(record: Record) -> bool:
    """Return whether it was published, rather than passed to the function directly."""
    return bool(record.topic_arn or record.detail_type or record.event_source or record.message_id)


def parse(record: Record) -> list[Alert | Ignored]:
    """Return a trigger with the whole message; a resolve or nothing for good news; nothing for progress."""
    kind = next((text.strip() for text in (record.detail_type, record.event_source) if text.strip()), "")
    is_event = bool(record.detail_type or record.event_source)
    subject, text = first_line(record.subject), headline(record.payload)
    states = states_of(record.payload)
    listed = next((resource for resource in sorted(record.resources) if resource.strip()), "")
    if is_event:
        text = _with_state_and_resource(text, states - GOOD - PROGRESS, Arn.of(listed).resource)
    name = (kind or "An event") if is_event else subject or text or _NO_TEXT
    severity = severity_word(record.payload) or severity_in_heading(subject) or severity_in_heading(text)
    severity = severity or next((state.lower() for state in _URGENT if state in states), "")
    reason = _reason(record, severity, states, text)
    identity = _identity(record, states)
    if reason is SkipReason.IN_PROGRESS or (reason and not identity):
        return [Ignored(reason, truncate(name, MAX_NAME_CHARACTERS))]
    home, topic = Home.of(record), Arn.of(record.topic_arn)
    own_id = "" if is_event or subject or text else f":{record.message_id}"  # nothing says that two of them are one
    common: dict[str, Any] = {
        "fingerprint": f"{GENERIC}:{identity or digest_of(record) + own_id}",
        "name": name[:MAX_NAME_CHARACTERS],
        "status": Status.RESOLVED if reason else Status.FIRING,
        "observed_at": record.published_at,
        "origin": GENERIC,
        "severity_word": severity,
        "summary": name if not text or text in name else text if name in text else f"{name}: {text}",
        "links": links_in_message(record.payload),
        "details": {
            **filled({"subject": record.subject, "topic": record.topic_arn}),
            "resources": list(record.resources),
            "message": record.payload,
        },
    }
    location = location_in(record.payload)
    if is_event:
        labels = {"event_source": record.event_source, "detail_type": record.detail_type}
        return [
            Alert(
                **common,
                location=listed or location or record.event_source,
                component=record.event_source,
                group=home.account,
                class_=record.detail_type,
                labels={**filled(labels), **home.labels},
            )
        ]
    return [
        Alert(
            **common,
            location=location or topic.resource or record.topic_arn or Arn.of(record.queue_arn).resource,
            component=topic.resource or Arn.of(record.queue_arn).resource,
            group=home.account,
            labels={**filled({"topic": topic.resource}), **home.labels},
        )
    ]


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


def _is_good_line(line: str) -> bool:
    """Return whether a headline has a good state in brackets, such as `[shop] [✅ Up]`, and nothing bad."""
    lower = line[:200].lower()
    return not any(word in lower for word in (*_BAD_WORDS, *_DOUBTFUL_WORDS)) and bool(re.search(_GOOD_BRACKET, lower))


def _identity(record: Record, states: set[str]) -> str:
    """Return what the sender calls the subject of several messages; an incident's id only beside its state."""
    payload = record.payload
    if not isinstance(payload, dict):
        return ""
    named = next((text for name in _IDENTITIES if isinstance(text := payload.get(name), str) and text.strip()), "")
    incident = incident_in(payload) if states and not named else ""
    return named or (f"{record.event_source or record.topic_arn}#{incident}" if incident else "")


def _reason(record: Record, severity: str, states: set[str], text: str) -> SkipReason | None:
    """Return why a message needs no trigger, or None if it needs one.

    A message is good news or progress only if all its states are. A heading about a failure pages too, unless a state
    says that something is over. An urgent message is never mere progress.
    """
    heading = first_line(record.subject) or (record.payload if isinstance(record.payload, str) else "")
    start = heading[:21].lower()
    if any(word in start for word in _GOOD_WORDS) and re.match(_GOOD_HEADING, start):
        return SkipReason.NOTICE
    if not states - GOOD and _is_good_line(heading or text):
        return SkipReason.NOTICE
    kind = record.detail_type.lower()
    if not states and record.event_source.startswith("aws.") and not any(word in kind for word in _BAD_WORDS):
        states = {state_word(record.detail_type.rpartition(" ")[2])} & GOOD
    if not states & ENDED and any(word in heading[:200].lower() for word in _BAD_WORDS):
        return None
    if states and states <= GOOD:
        return SkipReason.NOTICE
    is_urgent = parse_severity(severity) in (Severity.CRITICAL, Severity.ERROR)
    if states and states <= GOOD | PROGRESS and not is_urgent:
        return SkipReason.IN_PROGRESS
    return None
