"""The event bodies of PagerDuty's Events API v2, within its limits.

The limits are those of https://developer.pagerduty.com/docs/send-alert-event and
https://developer.pagerduty.com/docs/send-change-event. Knows no routing key; the client adds it.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from handler.pagerduty.errors import InvalidDedupKeyError
from handler.pagerduty.severity import SeverityWord
from handler.pagerduty.text import shorten

MAX_SUMMARY_CHARACTERS = 1024
MAX_DEDUP_KEY_CHARACTERS = 255
MAX_EVENT_BYTES = 512_000
ROUTING_KEY_CHARACTERS = 32
_MAX_CONTENT_BYTES = MAX_EVENT_BYTES - len('"routing_key":"",') - ROUTING_KEY_CHARACTERS


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
        if len(encoded) <= _MAX_CONTENT_BYTES:
            return encoded
        return encode(cut_to_size(json.loads(encoded), _MAX_CONTENT_BYTES))

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


def size_of(body: Mapping[str, Any]) -> int:
    """Return the size of a body in bytes, as it is sent."""
    return len(encode(body))


def encode(body: Mapping[str, Any]) -> bytes:
    """Return the JSON bytes that are sent."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


_CUT_NOTE = f"This event was larger than PagerDuty's limit of {MAX_EVENT_BYTES:,} bytes: its longest values were cut."


def cut_to_size(body: dict[str, Any], limit: int) -> dict[str, Any]:
    """Cut a body to at most `limit` bytes: longest values first, labels last.

    Only custom details are cut: everything else has limits of its own.
    """
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
            return candidate(_largest(partial(_fits, candidate, limit), limit))
    without_urls = {name: value for name, value in body.items() if name not in ("links", "images", "client_url")}
    return with_details({}, None, without_urls)


def _fits(candidate: Callable[[int], Mapping[str, Any]], limit: int, longest: int) -> bool:
    return size_of(candidate(longest)) <= limit


def _largest(fits: Callable[[int], bool], upper: int) -> int:
    """Find the largest number in [0, upper] that fits, by halving; 0 is known to fit."""
    low, high = 0, upper
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
