"""What is sent to PagerDuty: the event bodies of the Events API v2, within its limits, made from an alert.

The limits are those of https://developer.pagerduty.com/docs/send-alert-event and
https://developer.pagerduty.com/docs/send-change-event. Knows no routing key: the client adds it.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from handler.alert import Alert, Image, Link, Severity, Status
from handler.errors import InvalidDedupKeyError

MAX_SUMMARY_CHARACTERS = 1024
MAX_DEDUP_KEY_CHARACTERS = 255
MAX_EVENT_BYTES = 512_000
MAX_FIELD_CHARACTERS = 1024
"""Of the payload's short fields, for which PagerDuty names no limit: enough to read, and no event grows by them."""
ROUTING_KEY_CHARACTERS = 32
ELLIPSIS = "…"

# What of labels and annotations becomes a link or an image, and how it is called there.
_LINKS = {"runbook_url": "Runbook", "dashboard_url": "Dashboard", "grafana_url": "Grafana"}
_IMAGES = {"image_url": "Snapshot", "snapshot_url": "Snapshot", "snapshot": "Snapshot"}
# Where the affected system is told by a label, most telling first.
_LOCATION_LABELS = ("instance", "host", "hostname", "node", "pod", "service", "job", "cluster", "namespace")
_COMPONENT_LABELS = ("component", "service", "job")
_GROUP_LABELS = ("group", "cluster", "namespace")
_SUMMARY_ANNOTATIONS = ("summary", "description", "message")
_NOT_IN_A_URL = re.compile(r"[\s\x00-\x1f\x7f]")


class Action(StrEnum):
    """What an event asks of PagerDuty; the `event_type` of `EventsPublished`."""

    TRIGGER = "trigger"
    ACKNOWLEDGE = "acknowledge"
    RESOLVE = "resolve"
    CHANGE = "change_event"


ACTION_OF_STATUS = {
    Status.FIRING: Action.TRIGGER,
    Status.ACKNOWLEDGED: Action.ACKNOWLEDGE,
    Status.RESOLVED: Action.RESOLVE,
}


class EventLink(BaseModel):
    """A link on the incident."""

    href: str
    text: str | None = None


class EventImage(BaseModel):
    """An image on the incident, served by https."""

    src: str
    href: str | None = None
    alt: str | None = None


class Payload(BaseModel):
    """The payload of a trigger or (without severity) of a change event."""

    model_config = ConfigDict(populate_by_name=True)

    summary: str = Field(min_length=1, max_length=MAX_SUMMARY_CHARACTERS)
    source: str = Field(min_length=1)
    severity: Severity | None = None
    timestamp: datetime | None = None
    component: str | None = None
    group: str | None = None
    class_: str | None = Field(None, serialization_alias="class")
    custom_details: dict[str, Any] | None = None


class Event(BaseModel):
    """One event. `dedup_key` is required on acknowledge and resolve, and unknown to change events."""

    action: Action = Field(exclude=True)
    dedup_key: str | None = None
    payload: Payload | None = None
    links: list[EventLink] | None = None
    images: list[EventImage] | None = None
    client: str | None = None
    client_url: str | None = None

    def body(self) -> dict[str, Any]:
        """Give the request body without the routing key, cut to the API's size limit.

        Raises:
            InvalidDedupKeyError: missing where it is required, blank, or longer than 255 characters.
        """
        if self.dedup_key is not None and not (
            self.dedup_key.strip() and len(self.dedup_key) <= MAX_DEDUP_KEY_CHARACTERS
        ):
            length = len(self.dedup_key) if self.dedup_key.strip() else "only blank"
            raise InvalidDedupKeyError(f"dedup key of {length} characters: has to have 1 to {MAX_DEDUP_KEY_CHARACTERS}")
        if self.dedup_key is None and self.action in (Action.ACKNOWLEDGE, Action.RESOLVE):
            raise InvalidDedupKeyError(
                f"{self.action} without a dedup key: PagerDuty cannot tell which incident is meant"
            )
        body: dict[str, Any] = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        if self.action is not Action.CHANGE:
            body["event_action"] = str(self.action)
        return cut_to_size(body)

    @classmethod
    def of(cls, alert: Alert, default_severity: Severity) -> Self:
        """Make the event of an alert. An acknowledge and a resolve carry the dedup key alone."""
        if alert.is_change:
            return cls(
                action=Action.CHANGE,
                payload=Payload(
                    summary=_summary(alert),
                    source=_location(alert),
                    timestamp=alert.starts_at or alert.observed_at,
                    custom_details=_details(alert) or None,
                ),
                links=_links(alert) or None,
                images=_images(alert) or None,
            )
        action = ACTION_OF_STATUS[alert.status]
        if action is not Action.TRIGGER:
            return cls(action=action, dedup_key=dedup_key_of(alert))
        return cls(
            action=action,
            dedup_key=dedup_key_of(alert),
            payload=Payload(
                summary=_summary(alert),
                source=_location(alert),
                severity=alert.severity or default_severity,
                timestamp=alert.starts_at or alert.observed_at,
                component=_short(alert.component or _first(alert.labels, _COMPONENT_LABELS)) or None,
                group=_short(alert.group or _first(alert.labels, _GROUP_LABELS)) or None,
                class_=_short(alert.class_ or alert.labels.get("class") or alert.name),
                custom_details=_details(alert) or None,
            ),
            links=_links(alert) or None,
            images=_images(alert) or None,
            client=_short(alert.client or "PagerDuty Publisher"),
            client_url=next((url for url in (alert.client_url, alert.generator_url) if _is_url(url)), None),
        )


def dedup_key_of(alert: Alert) -> str:
    """Give the alert's identity at PagerDuty: its fingerprint, where that fits.

    A longer one keeps a readable prefix and ends in its own SHA-256, so that two long ones never fall together.
    """
    key = alert.fingerprint
    if len(key) <= MAX_DEDUP_KEY_CHARACTERS:
        return key
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{key[: MAX_DEDUP_KEY_CHARACTERS - len(digest) - 1]}-{digest}"


def truncate(text: str, limit: int) -> str:
    """Cut a text to `limit` characters, the last of which is an ellipsis where there is room for one."""
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


def _summary(alert: Alert) -> str:
    said = " ".join(
        (alert.summary if alert.summary.strip() else _first(alert.annotations, _SUMMARY_ANNOTATIONS)).split()
    )
    if not said:
        return truncate(_name(alert), MAX_SUMMARY_CHARACTERS)
    return truncate(said if alert.name in said else f"{alert.name}: {said}", MAX_SUMMARY_CHARACTERS)


def _name(alert: Alert) -> str:
    """Give the alert's name, or where it came from if its name is blank: PagerDuty refuses a blank."""
    return alert.name if alert.name.strip() else f"An alert of {alert.origin}"


def _location(alert: Alert) -> str:
    host = urlsplit(alert.generator_url).hostname if _is_url(alert.generator_url) else None
    told = alert.location if alert.location.strip() else _first(alert.labels, _LOCATION_LABELS)
    return _short(told or host or _name(alert))


def _first(labels: Mapping[str, str], names: Iterable[str]) -> str:
    return next((labels[name] for name in names if labels.get(name, "").strip()), "")


def _short(text: str) -> str:
    return truncate(text, MAX_FIELD_CHARACTERS)


def _details(alert: Alert) -> dict[str, Any]:
    details: dict[str, Any] = {
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "starts_at": alert.starts_at.isoformat() if alert.starts_at else None,
        "ends_at": alert.ends_at.isoformat() if alert.ends_at else None,
        "classification": dict(alert.classification) if alert.classification else None,
    }
    details = {name: value for name, value in details.items() if value}
    rest = {name: value for name, value in alert.details.items() if name not in details}
    return {**details, **{name: value for name, value in rest.items() if value not in (None, "", {}, [])}}


def _named_urls(alert: Alert, names: Mapping[str, str]) -> list[tuple[str, str]]:
    """Give the URLs that annotations or labels have under these names, with what each is called."""
    return [(alert.annotations.get(key) or alert.labels.get(key) or "", text) for key, text in names.items()]


def _links(alert: Alert) -> list[EventLink]:
    named = [Link(url, text) for url, text in [*_named_urls(alert, _LINKS), (alert.generator_url, "Source")]]
    links: dict[str, Link] = {}
    for link in (*alert.links, *named):
        if _is_url(link.href):
            links.setdefault(link.href, link)
    return [EventLink(href=link.href, text=link.text or None) for link in links.values()]


def _images(alert: Alert) -> list[EventImage]:
    named = [Image(url, alt=text) for url, text in _named_urls(alert, _IMAGES)]
    images: dict[tuple[str, str], Image] = {}
    for image in (*alert.images, *named):
        if _is_url(image.src, "https"):
            images.setdefault((image.src, image.href), image)
    return [
        EventImage(src=image.src, href=image.href if _is_url(image.href) else None, alt=image.alt or None)
        for image in images.values()
    ]


def _is_url(text: str, *schemes: str) -> bool:
    try:
        parts = urlsplit(text)
        is_written_well = not _NOT_IN_A_URL.search(text)
        return is_written_well and parts.scheme in (schemes or ("http", "https")) and bool(parts.hostname)
    except ValueError:
        return False


def size_of(body: Mapping[str, Any]) -> int:
    """Give the size of a body in bytes, as it is sent."""
    return len(encode(body))


def encode(body: Mapping[str, Any]) -> bytes:
    """Give the bytes that are sent."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


_ROUTING_KEY_BYTES = len('"routing_key":"",') + ROUTING_KEY_CHARACTERS
_CUT_NOTE = "This event was larger than PagerDuty's limit of 512,000 bytes: its longest values were cut."


def cut_to_size(body: dict[str, Any], limit: int = MAX_EVENT_BYTES) -> dict[str, Any]:
    """Give a body of at most `limit` bytes with its routing key: longest values first, labels and links last.

    Only custom details are cut: everything else is short by its own limits, or by where it comes from.
    """
    limit -= _ROUTING_KEY_BYTES
    if size_of(body) <= limit:
        return body
    details = dict(body.get("payload", {}).get("custom_details") or {})
    labels = details.pop("labels", None)

    def with_details(kept: Mapping[str, Any], kept_labels: Any, event: Mapping[str, Any] = body) -> dict[str, Any]:
        shown = {"truncated": _CUT_NOTE, **({"labels": kept_labels} if kept_labels else {}), **kept}
        shown["truncated"] = _CUT_NOTE  # whatever the details have under that name
        return {**event, "payload": {**event.get("payload", {}), "custom_details": shown}}

    candidates: Sequence[Callable[[int], dict[str, Any]]] = (
        lambda longest: with_details(_shorten(details, longest), labels),
        lambda longest: with_details({}, _shorten(labels, longest)),
    )
    for candidate in candidates:
        if size_of(candidate(0)) <= limit:
            return candidate(_largest(lambda longest, make=candidate: size_of(make(longest)) <= limit, limit))  # type: ignore[misc]
    without_urls = {name: value for name, value in body.items() if name not in ("links", "images", "client_url")}
    return with_details({}, None, without_urls)


def _shorten(value: Any, longest: int) -> Any:
    match value:
        case str():
            return truncate_bytes(value, longest)
        case dict():
            return {key: _shorten(inner, longest) for key, inner in value.items()}
        case list():
            return [_shorten(inner, longest) for inner in value]
        case _:
            return value


def _largest(fits: Callable[[int], bool], upper: int) -> int:
    """Find the largest number in [0, upper] that fits, by halving; 0 is known to fit."""
    low, high = 0, upper
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
