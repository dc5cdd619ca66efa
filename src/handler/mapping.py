"""Maps an alert to a PagerDuty event: its action, dedup key, summary, details, links and images."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from handler.alert import Alert, Image, Link, Status, without_written_breaks
from handler.pagerduty.client import HEALTH_DEDUP_KEY
from handler.pagerduty.events import (
    MAX_DEDUP_KEY_CHARACTERS,
    MAX_SUMMARY_CHARACTERS,
    Action,
    Event,
    EventImage,
    EventLink,
    Payload,
)
from handler.pagerduty.severity import Severity
from handler.pagerduty.text import truncate

MAX_FIELD_CHARACTERS = 1024
"""The limit for the payload's short fields. PagerDuty documents none; this one keeps events small."""

# labels and annotations that become links or images, with the text for each
_LINKS = {"runbook_url": "Runbook", "dashboard_url": "Dashboard", "grafana_url": "Grafana"}
_IMAGES = dict.fromkeys(("grafana_snapshot", "image_url", "snapshot_url", "snapshot"), "Snapshot")
_COMPONENT_LABELS = ("component", "service", "job")
_GROUP_LABELS = ("group", "cluster", "namespace")
_SUMMARY_ANNOTATIONS = ("summary", "description", "message")
_NAMED_HOST = re.compile(r"(?<![\w-])[\w-]++(?:\.[\w-]++)++")
_NAMED_URL = re.compile(r"https?://[^\s\\]++")
_IDNA = re.compile(r"[a-z0-9.-]+")
_IPV4 = re.compile(r"\d+(?:\.\d+){3}")
_DIRECTIONS = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Characters that change the direction in which a text is shown: a reader sees another than is there."""
_FULL_STOPS = str.maketrans(dict.fromkeys("\u3002\uff0e\uff61", "."))
"""What browsers take for a dot in a host: https://url.spec.whatwg.org/#idna"""
_NOT_IN_A_URL = re.compile(rf"[\s\x00-\x1f\x7f]|{_DIRECTIONS.pattern}")

ACTION_OF_STATUS = {
    Status.FIRING: Action.TRIGGER,
    Status.ACKNOWLEDGED: Action.ACKNOWLEDGE,
    Status.RESOLVED: Action.RESOLVE,
}


def action_of(alert: Alert) -> Action:
    """Return the action that the alert asks for."""
    return Action.CHANGE if alert.is_change else ACTION_OF_STATUS[alert.status]


def event_of(alert: Alert, default_severity: Severity) -> Event:
    """Return the event that an alert asks for. Acknowledge and resolve carry only the dedup key."""
    if alert.is_change:
        return Event(
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
        return Event(action=action, dedup_key=dedup_key_of(alert))
    return Event(
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
        client_url=_url(alert.client_url) or _url(alert.generator_url) or None,
    )


def dedup_key_of(alert: Alert) -> str:
    """Return the alert's identity at PagerDuty: its fingerprint, if that is short enough.

    A longer one keeps a readable prefix and ends in its own SHA-256, so two long ones never become the same. The health
    check's key is taken: it resolves that one every five minutes.
    """
    key = alert.fingerprint
    if key.strip() == HEALTH_DEDUP_KEY:
        key = f"alert/{key}"
    if len(key) <= MAX_DEDUP_KEY_CHARACTERS:
        return key
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{key[: MAX_DEDUP_KEY_CHARACTERS - len(digest) - 1]}-{digest}"


def _summary(alert: Alert) -> str:
    text = alert.summary if alert.summary.strip() else _first(alert.annotations, _SUMMARY_ANNOTATIONS)
    said = " ".join(without_written_breaks(text).split())
    if not said:
        return truncate(_name(alert), MAX_SUMMARY_CHARACTERS)
    return truncate(said if alert.name in said else f"{alert.name}: {said}", MAX_SUMMARY_CHARACTERS)


def _name(alert: Alert) -> str:
    """Return the alert's name, or its origin if the name is blank: PagerDuty refuses blank texts."""
    return alert.name if alert.name.strip() else f"An alert of {alert.origin}"


def _location(alert: Alert) -> str:
    return _short(alert.source if alert.source.strip() else _name(alert))


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
    """Return the URLs in annotations or labels with these names, and the text for each."""
    found = ((alert.annotations.get(key) or alert.labels.get(key), text) for key, text in names.items())
    return [(url, text) for url, text in found if url]


def _links(alert: Alert) -> list[EventLink]:
    named = [Link(url, text) for url, text in [*_named_urls(alert, _LINKS), (alert.generator_url, "Source")]]
    links: dict[str, EventLink] = {}
    for link in (*alert.links, *named):
        if href := _url(link.href):
            links.setdefault(href, EventLink(href=href, text=_honest(link.text, href) or None))
    return list(links.values())


def _images(alert: Alert) -> list[EventImage]:
    named = [Image(url, alt=text) for url, text in _named_urls(alert, _IMAGES)]
    images: dict[tuple[str, str], EventImage] = {}
    for image in (*alert.images, *named):
        src, href = _url(image.src), _url(image.href)
        if src.lower().startswith("https:"):
            images.setdefault((src, href), EventImage(src=src, href=href or None, alt=image.alt or None))
    return list(images.values())


def _url(text: str) -> str:
    """Return an http or https URL without user info, which PagerDuty would show; empty for anything else.

    A host with a backslash is refused, because browsers end the host there and Python does not. A host outside ASCII is
    shown as DNS
    has it: its letters may look like those of another.
    """
    try:
        parts = urlsplit(text)
        host = parts.netloc.rpartition("@")[2]
        if parts.scheme not in ("http", "https") or not parts.hostname or "\\" in host or _NOT_IN_A_URL.search(text):
            return ""
        port = "" if parts.port is None else f":{parts.port}"  # raises for what is none
        if not host.isascii():
            name = parts.hostname.encode("idna").decode()
            if not _IDNA.fullmatch(name):
                return ""
            host = name + port
    except ValueError:
        return ""
    return text if host == parts.netloc else parts._replace(netloc=host).geturl()


def _honest(text: str, href: str) -> str:
    """Return a link's text; if it names a host other than the link's, put the link's own host in front."""
    text = _short(_DIRECTIONS.sub("", text))
    host = _host_of(href)
    others = [named for named in _hosts_in(text) if named != host and not host.endswith(f".{named}")]
    return f"{host}: {text}" if others else text


def _hosts_in(text: str) -> list[str]:
    """Return the hosts that a reader may see in a text: of URLs, domains and IPv4 addresses."""
    folded = unicodedata.normalize("NFKC", text).translate(_FULL_STOPS).lower()
    seen = folded if folded.isascii() else "".join(sign for sign in folded if unicodedata.category(sign) != "Cf")
    return [
        *map(_host_of, _NAMED_URL.findall(seen)),
        *(found for found in _NAMED_HOST.findall(seen) if _is_host(found)),
    ]


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or url
    except ValueError:
        return url


def _is_host(text: str) -> bool:
    last = text.rpartition(".")[2]
    return (len(last) > 1 and last.isalpha()) or last.startswith("xn--") or _IPV4.fullmatch(text) is not None
