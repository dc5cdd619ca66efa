"""The event bodies of PagerDuty's Events API v2, within its limits.

The limits are those of https://developer.pagerduty.com/docs/send-alert-event and
https://developer.pagerduty.com/docs/send-change-event. Knows no routing key; the client adds it.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from handler.pagerduty.errors import InvalidDedupKeyError
from handler.pagerduty.severity import SeverityWord

MAX_SUMMARY_CHARACTERS = 1024
MAX_DEDUP_KEY_CHARACTERS = 255
MAX_EVENT_BYTES = 512_000
ROUTING_KEY_CHARACTERS = 32
ELLIPSIS = "…"


class Action(StrEnum):
    """The action that an event asks for; the `event_type` of the metric `EventsPublished`."""

    TRIGGER = "trigger"
    ACKNOWLEDGE = "acknowledge"
    RESOLVE = "resolve"
    CHANGE = "change_event"


class _Model(BaseModel):
    """A model that is put together when it is first used."""

    model_config = ConfigDict(defer_build=True, populate_by_name=True)


class EventLink(_Model):
    """A link on the incident."""

    href: str
    text: str | None = None


class EventImage(_Model):
    """An image on the incident, served by https."""

    src: str
    href: str | None = None
    alt: str | None = None


class Payload(_Model):
    """The payload of a trigger or (without severity) of a change event."""

    summary: str = Field(min_length=1, max_length=MAX_SUMMARY_CHARACTERS)
    source: str = Field(min_length=1)
    severity: SeverityWord | None = None
    timestamp: datetime | None = None
    component: str | None = None
    group: str | None = None
    class_: str | None = Field(None, serialization_alias="class")
    custom_details: dict[str, Any] | None = None


class Event(_Model):
    """One event. Acknowledge and resolve require a `dedup_key`; change events have none."""

    action: Action = Field(exclude=True)
    dedup_key: str | None = None
    payload: Payload | None = None
    links: list[EventLink] | None = None
    images: list[EventImage] | None = None
    client: str | None = None
    client_url: str | None = None

    def body(self) -> dict[str, Any]:
        """Return the request body without the routing key, cut to the API's size limit.

        Raises:
            InvalidDedupKeyError: missing where it is required, blank, or longer than 255 characters.
        """
        body: dict[str, Any] = json.loads(self.encoded())
        return body

    def encoded(self) -> bytes:
        """Return the request body as JSON bytes."""
        self._check_dedup_key()
        whole = self.model_dump_json(by_alias=True, exclude_none=True).encode()
        action = "" if self.action is Action.CHANGE else f'"event_action":"{self.action}"'
        separator = "," if action and whole != b"{}" else ""
        encoded = b"".join((b"{", action.encode(), separator.encode(), whole[1:]))
        if len(encoded) + _ROUTING_KEY_BYTES <= MAX_EVENT_BYTES:
            return encoded
        return encode(cut_to_size(json.loads(encoded)))

    def _check_dedup_key(self) -> None:
        key = self.dedup_key
        if key is None:
            if self.action in (Action.ACKNOWLEDGE, Action.RESOLVE):
                raise InvalidDedupKeyError(
                    f"{self.action} without a dedup key: PagerDuty cannot tell which incident is meant"
                )
        elif not (key.strip() and len(key) <= MAX_DEDUP_KEY_CHARACTERS):
            length = len(key) if key.strip() else "only blank"
            raise InvalidDedupKeyError(f"dedup key of {length} characters: has to have 1 to {MAX_DEDUP_KEY_CHARACTERS}")


def truncate(text: str, limit: int) -> str:
    """Cut a text to `limit` characters, the last of which is an ellipsis if there is room."""
    if len(text) <= limit:
        return text
    return text[:limit] if limit <= len("...") else text[: limit - 1] + ELLIPSIS


def truncate_bytes(text: str, limit: int) -> str:
    """Cut a text to `limit` bytes of UTF-8 without splitting a character, ending in an ellipsis where it fits."""
    encoded = text.encode()
    if len(encoded) <= limit:
        return text
    room = limit - len(ELLIPSIS.encode())
    if room < 0:
        return "." * limit
    return encoded[:room].decode(errors="ignore") + ELLIPSIS


def size_of(body: Mapping[str, Any]) -> int:
    """Return the size of a body in bytes, as it is sent."""
    return len(encode(body))


def encode(body: Mapping[str, Any]) -> bytes:
    """Return the JSON bytes that are sent."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


_ROUTING_KEY_BYTES = len('"routing_key":"",') + ROUTING_KEY_CHARACTERS
_CUT_NOTE = "This event was larger than PagerDuty's limit of 512,000 bytes: its longest values were cut."


def cut_to_size(body: dict[str, Any], limit: int = MAX_EVENT_BYTES) -> dict[str, Any]:
    """Cut a body to at most `limit` bytes including its routing key: longest values first, labels last.

    Only custom details are cut: everything else has limits of its own.
    """
    limit -= _ROUTING_KEY_BYTES
    if size_of(body) <= limit:
        return body
    details = dict(body.get("payload", {}).get("custom_details") or {})
    labels = details.pop("labels", None)

    def with_details(kept: Mapping[str, Any], kept_labels: Any, event: Mapping[str, Any] = body) -> dict[str, Any]:
        details = {"truncated": _CUT_NOTE, **({"labels": kept_labels} if kept_labels else {}), **kept}
        details["truncated"] = _CUT_NOTE  # replaces a detail with that name
        return {**event, "payload": {**event.get("payload", {}), "custom_details": details}}

    candidates: Sequence[Callable[[int], dict[str, Any]]] = (
        lambda longest: with_details(shorten(details, longest), labels),
        lambda longest: with_details({}, shorten(labels, longest)),
    )
    for candidate in candidates:
        if size_of(candidate(0)) <= limit:
            return candidate(_largest(lambda longest, make=candidate: size_of(make(longest)) <= limit, limit))  # type: ignore[misc]
    without_urls = {name: value for name, value in body.items() if name not in ("links", "images", "client_url")}
    return with_details({}, None, without_urls)


def shorten(value: Any, longest: int, most: int | None = None) -> Any:
    """Return a JSON value with every text cut to this many bytes, and every list to its first `most` entries."""
    match value:
        case str():
            return truncate_bytes(value, longest)
        case Mapping():
            return {key: shorten(inner, longest, most) for key, inner in value.items()}
        case Sequence():
            return [shorten(inner, longest, most) for inner in value[:most]]
        case _:
            return value


def _largest(fits: Callable[[int], bool], upper: int) -> int:
    """Find the largest number in [0, upper] that fits, by halving; 0 is known to fit."""
    low, high = 0, upper
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
