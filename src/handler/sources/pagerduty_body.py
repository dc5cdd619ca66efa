"""Bodies of PagerDuty's Events API, and the payload of its CloudWatch integration.

Shapes: https://developer.pagerduty.com/docs/send-alert-event,
https://developer.pagerduty.com/docs/send-change-event (without an action), their predecessor
https://developer.pagerduty.com/docs/events-api-v1-overview and
https://support.pagerduty.com/main/docs/aws-cloudwatch-integration-guide. Routing keys in them were redacted when the
message was unwrapped.
"""

import re
from collections.abc import Mapping
from typing import Any

from handler.alert import CHANGE_EVENT_LABEL, Alert, Image, Link, Status, Undetermined
from handler.envelope import Record
from handler.errors import InvalidAlertError
from handler.sources.aws import Arn, filled
from handler.sources.words.headline import headline
from handler.sources.words.identity import digest_of
from handler.sources.words.links import links_in_message
from handler.sources.words.text import first_line
from handler.validation import text_of

ORIGIN = "pagerduty"
_ACTIONS = {
    "trigger": Status.FIRING,
    "acknowledge": Status.ACKNOWLEDGED,
    "resolve": Status.RESOLVED,
}
_STATES = {"ALARM": Status.FIRING, "OK": Status.RESOLVED}
_HEADING = r"(?:ALARM|OK|INSUFFICIENT_DATA)\s?:\s?"


def parse(record: Record) -> list[Alert | Undetermined]:
    """Return the alert that a body asks for; raise InvalidAlertError for an unknown action."""
    body: Mapping[str, Any] = record.payload
    if "event_action" in body:
        return [_of_events_api(body, record)]
    if "payload" in body:
        return [_of_change_events_api(body, record)]
    if "event_type" in body:
        return [_of_events_api_v1(body, record)]
    return [_of_cloudwatch_integration(body, record)]


def _status(body: Mapping[str, Any], field: str) -> Status:
    action = text_of(body.get(field)).strip().lower()
    if action not in _ACTIONS:
        raise InvalidAlertError(f"PagerDuty event: {field}: none of {', '.join(_ACTIONS)}")
    return _ACTIONS[action]


def _of_events_api(body: Mapping[str, Any], record: Record) -> Alert:
    status = _status(body, "event_action")
    payload = next((entry for entry in (body.get("payload"),) if isinstance(entry, dict)), {})
    summary = first_line(_text(payload, "summary")) or headline(payload) or first_line(record.subject)
    details = payload.get("custom_details")
    return Alert(
        fingerprint=_key(body, "dedup_key", status, record),
        name=_text(payload, "class") or summary or "PagerDuty event",
        status=status,
        observed_at=record.published_at,
        origin=ORIGIN,
        labels=_labels(record, details),
        severity_word=_text(payload, "severity"),
        summary=summary,
        location=_text(payload, "source"),
        component=_text(payload, "component"),
        group=_text(payload, "group"),
        class_=_text(payload, "class"),
        client=_text(body, "client"),
        client_url=_text(body, "client_url"),
        links=tuple(Link(_text(entry, "href"), _text(entry, "text")) for entry in _objects(body, "links")),
        images=tuple(
            Image(_text(entry, "src"), _text(entry, "href"), _text(entry, "alt")) for entry in _objects(body, "images")
        ),
        details={"custom_details": details, "message": body},
    )


def _of_change_events_api(body: Mapping[str, Any], record: Record) -> Alert:
    """Return the change event of a body without an action."""
    payload = body["payload"]
    summary = first_line(_text(payload, "summary")) or "PagerDuty change event"
    details = payload.get("custom_details")
    return Alert(
        fingerprint=f"{ORIGIN}:{digest_of(record)}#{record.message_id}",
        name=summary,
        status=Status.RESOLVED,
        observed_at=record.published_at,
        origin=ORIGIN,
        labels={**_labels(record, details), CHANGE_EVENT_LABEL: "true"},
        summary=summary,
        location=_text(payload, "source"),
        links=tuple(Link(_text(entry, "href"), _text(entry, "text")) for entry in _objects(body, "links")),
        details={"custom_details": details, "message": body},
    )


def _of_events_api_v1(body: Mapping[str, Any], record: Record) -> Alert:
    status = _status(body, "event_type")
    summary = first_line(_text(body, "description")) or headline(body.get("details")) or first_line(record.subject)
    contexts = _objects(body, "contexts")
    return Alert(
        fingerprint=_key(body, "incident_key", status, record),
        name=summary or "PagerDuty event",
        status=status,
        observed_at=record.published_at,
        origin=ORIGIN,
        labels=_labels(record, body.get("details")),
        summary=summary,
        client=_text(body, "client"),
        client_url=_text(body, "client_url"),
        links=tuple(Link(href, _text(entry, "text")) for entry in contexts if (href := _text(entry, "href"))),
        images=tuple(Image(src, _text(entry, "href")) for entry in contexts if (src := _text(entry, "src"))),
        details={"custom_details": body.get("details"), "message": body},
    )


def _of_cloudwatch_integration(body: Mapping[str, Any], record: Record) -> Alert | Undetermined:
    """Return the alert of a payload in the format of PagerDuty's CloudWatch integration, which need not name an alarm.

    Without a name the subject after `ALARM:` and `OK:` is one: that is what both messages have in common.
    """
    state = _text(body, "NewStateValue").upper()
    subject = first_line(record.subject)
    about = re.sub(f"^{_HEADING}", "", subject, flags=re.IGNORECASE)
    name = _text(body, "AlarmName") or _text(body, "incident_key") or about
    summary = first_line(_text(body, "NewStateReason")) or headline({**body, "NewStateValue": None})
    topic = Arn.of(record.topic_arn)
    alert = Alert(
        fingerprint=f"{record.topic_arn or ORIGIN}#{name}" if name else f"{ORIGIN}:{digest_of(record)}",
        name=name or summary or "CloudWatch integration",
        status=_STATES.get(state, Status.FIRING),
        observed_at=record.published_at,
        origin=ORIGIN,
        labels=_labels(record, None),
        severity_word=_text(body, "severity"),
        summary=f"{about or name}: {summary}" if (about or name) and summary else about or name or summary,
        location=topic.resource,
        component=topic.resource,
        group=topic.account,
        links=links_in_message(body),
        details={"message": body},
    )
    return Undetermined(alert) if state == "INSUFFICIENT_DATA" else alert


def _key(body: Mapping[str, Any], field: str, status: Status, record: Record) -> str:
    key = _text(body, field)
    if key:
        return key
    if status is not Status.FIRING:
        raise InvalidAlertError(f"PagerDuty event: {field}: missing: nothing says what to {status}")
    return f"{ORIGIN}:{digest_of(record)}"


def _labels(record: Record, details: Any) -> dict[str, str]:
    topic = Arn.of(record.topic_arn)
    texts = {name: text_of(value) for name, value in details.items()} if isinstance(details, dict) else {}
    return {**filled(texts), **filled({"topic": topic.resource, "account": topic.account, "region": topic.region})}


def _text(value: Any, name: str) -> str:
    return text_of(value.get(name)).strip() if isinstance(value, dict) else ""


def _objects(body: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    listed = body.get(name)
    return [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
