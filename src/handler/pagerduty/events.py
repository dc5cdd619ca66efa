"""The event bodies of PagerDuty's Events API v2, within its limits.

The limits are those of https://developer.pagerduty.com/docs/send-alert-event and
https://developer.pagerduty.com/docs/send-change-event. Knows no routing key; the client adds it.
"""

import json
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from handler.pagerduty.errors import InvalidDedupKeyError
from handler.pagerduty.severity import SeverityWord
from handler.pagerduty.size import cut_to_size, encode

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
