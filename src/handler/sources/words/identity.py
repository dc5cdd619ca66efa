"""What identifies a message of no known shape, and where it happened."""

import hashlib
import json
from typing import Any

from handler.envelope import Record
from handler.sources.words.fields import all_fields, fields_near_top, plain_name
from handler.validation import text_of

PLACES = ("resource", "host", "hostname", "instance", "server", "service", "application", "app", "bucket", "cluster")
_MIN_UNIQUE_CHARACTERS = 16
"""An id with as many characters is a thing's own, such as a UUID."""
_INCIDENTS = ("incident", "issue", "problem", "ticket", "alertgroup", "alert")


def incident_in(payload: Any) -> str:
    """Return the id of the incident or alert that a message is about, with its kind; empty if it names none.

    A short id of an alert may be its definition's, which several hosts share: it counts together with the host that the
    message names, and not without one.
    """
    for name, value, is_own in all_fields(payload):
        kind, inner = name.removesuffix("id"), value
        if kind in _INCIDENTS and isinstance(value, dict):
            inner = next((deeper for key, deeper in value.items() if plain_name(key) == "id"), None)
        elif name == kind:
            continue
        text = text_of(inner).strip() if is_own and kind in _INCIDENTS and isinstance(inner, str | int) else ""
        location = location_in(payload) if kind == "alert" else ""
        if text and (kind != "alert" or location or len(text) >= _MIN_UNIQUE_CHARACTERS):
            return ":".join(filter(None, (kind, text, location)))
    return ""


def location_in(payload: Any) -> str:
    """Return the host, service or resource that a message is about; empty if it names none."""
    found: dict[str, str] = {}
    for name, value in fields_near_top(payload):
        if name in PLACES and isinstance(value, str | int) and (text := text_of(value).strip()):
            found.setdefault(name, text)
    return next((found[name] for name in PLACES if name in found), "")


def digest_of(record: Record) -> str:
    """Return the SHA-256 of a message's content: the identity of a message that has no other.

    An event has the same one on every path. What differs between two deliveries of a message is not part of it.
    """
    is_event = bool(record.detail_type or record.event_source)
    if is_event:
        around: list[Any] = [record.event_source, record.detail_type, record.account, record.region]
        around.append(sorted(record.resources))
    else:
        around = [record.topic_arn, record.subject, dict(record.attributes)]
    text = json.dumps([around, record.payload], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
