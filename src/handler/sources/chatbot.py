"""Custom notifications of Amazon Q Developer in chat applications, formerly AWS Chatbot.

Shape: https://docs.aws.amazon.com/chatbot/latest/adminguide/custom-notifs.html. A thread is one incident.
"""

import re
from typing import Any

from handler.alert import Alert, Ignored, Status
from handler.envelope import Record
from handler.outcome import SkipReason
from handler.sources.aws import Arn, filled
from handler.sources.words.identity import digest_of
from handler.sources.words.links import links_in_message
from handler.sources.words.severity import severity_word
from handler.sources.words.states import GOOD, state_word
from handler.sources.words.text import first_line
from handler.validation import text_of

ORIGIN = "chatbot"
_EMOJI = re.compile(r":[a-z0-9_+-]{1,50}:\s?")


def parse(record: Record) -> list[Alert | Ignored]:
    """Return the notification as an alert; it resolves if its `eventType` is a good state."""
    content, metadata = _object(record.payload, "content"), _object(record.payload, "metadata")
    context = _object(metadata, "additionalContext")
    title = _line(content, "title") or _line(metadata, "summary")
    description = _line(content, "description")
    summary = ": ".join(dict.fromkeys(part for part in (title, description) if part))
    name = title or description or "Custom notification"
    thread = _line(metadata, "threadId")
    is_good = bool({state_word(text) for text in (_line(metadata, "eventType"), _line(context, "status"))} & GOOD)
    if is_good and not thread:
        return [Ignored(SkipReason.NOTICE, name)]
    topic = Arn.of(record.topic_arn)
    related = metadata.get("relatedResources")
    location = (
        next((text for resource in related if (text := text_of(resource))), "") if isinstance(related, list) else ""
    )
    return [
        Alert(
            fingerprint=f"{record.topic_arn or ORIGIN}#{thread}" if thread else f"{ORIGIN}:{digest_of(record)}",
            name=name,
            status=Status.RESOLVED if is_good else Status.FIRING,
            observed_at=record.published_at,
            origin=ORIGIN,
            labels=filled(
                {
                    **{key: text_of(value) for key, value in context.items()},
                    "event_type": _line(metadata, "eventType"),
                    "topic": topic.resource,
                    "account": topic.account,
                    "region": topic.region,
                }
            ),
            severity_word=severity_word(context) or severity_word(metadata) or severity_word(content),
            summary=summary or name,
            location=location or topic.resource,
            component=topic.resource,
            group=topic.account,
            links=links_in_message(content),
            details={"message": record.payload},
        )
    ]


def _object(value: Any, name: str) -> dict[str, Any]:
    inner = value.get(name) if isinstance(value, dict) else None
    return inner if isinstance(inner, dict) else {}


def _line(value: dict[str, Any], name: str) -> str:
    return first_line(_EMOJI.sub("", text_of(value.get(name))).replace("*", ""))
