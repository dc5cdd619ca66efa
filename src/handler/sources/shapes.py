"""Recognises messages by their shape. The checks are cheap, and none imports a source."""

import re
from collections.abc import Callable

from handler.envelope import Record

_NATIVE_KEYS = ("alert_name", "status", "fingerprint", "labels", "annotations")
_WEBHOOK_KEYS = {"receiver", "groupKey", "groupLabels", "commonLabels", "commonAnnotations", "truncatedAlerts"}
ALERT_NAMES = ("alertname", "alertName", "AlertName", "alert_name")
_HEADINGS = ("Alerts Firing:", "Alerts Resolved:")
_GRAFANA_HEADINGS = ("**Firing**", "**Resolved**")
_SUBJECT_STARTS = ("[FIRING", "[RESOLVED")
_STATE_IN_SUBJECT = r"(?:^|[\s\[(|-])(?:FIRING|RESOLVED)(?::\s?\d{1,5})?\s?[:\])]"
"""A state elsewhere in a subject, in capitals: `[prod] FIRING: DiskFull`."""
_GRAFANA_STATES = {"alerting", "ok", "no_data", "nodata", "error", "pending", "paused", "firing", "resolved", "normal"}


def has(*keys: str) -> Callable[[Record], bool]:
    """Return a check whether a message is no EventBridge event and an object with all these keys."""
    wanted = frozenset(keys)

    def has_keys(record: Record) -> bool:
        return not record.detail_type and isinstance(record.payload, dict) and record.payload.keys() >= wanted

    return has_keys


def is_failure(record: Record) -> bool:
    """Return whether it is something that another function could not process."""
    match record.payload:
        case {"requestContext": {"functionArn": _}} | {"error": _, "record": _}:
            return not record.detail_type
        case _:
            return record.is_failed_invocation


def is_native(record: Record) -> bool:
    """Return whether it is the native format: an alert with at least one of its field names."""
    match record.payload:
        case {"alert": dict() as alert} if not record.detail_type:
            return not alert or not alert.keys().isdisjoint(_NATIVE_KEYS)
        case _:
            return False


def is_webhook(record: Record) -> bool:
    """Return whether it is Alertmanager's webhook: a list `alerts` with its other keys, or entries like its own.

    A relay may send the entries alone, as a list or one by one.
    """
    match record.payload:
        case {"alerts": list(entries)} as payload if not record.event_source.startswith("aws."):
            return bool(_WEBHOOK_KEYS & payload.keys()) or any(
                isinstance(entry, dict) and bool({"labels", "fingerprint"} & entry.keys()) for entry in entries
            )
        case ({"labels": {"alertname": str()}} as entry) | [{"labels": {"alertname": str()}} as entry, *_]:
            return str(entry.get("status", "firing")).lower() in ("firing", "resolved") and not record.detail_type
        case _:
            return False


def is_flat_alert(record: Record) -> bool:
    """Return whether a template wrote one alert, or a list of them, as a flat object: a name, a state, and labels."""
    entries = record.payload if isinstance(record.payload, list) else [record.payload]
    return bool(entries) and not record.event_source.startswith("aws.") and all(map(_is_flat, entries))


def _is_flat(value: object) -> bool:
    match value:
        case {"status": str(status)} | {"state": str(status)} if status.strip().lower() in ("firing", "resolved"):
            return isinstance(value, dict) and any(isinstance(value.get(name), str) for name in ALERT_NAMES)
        case _:
            return False


def is_damaged_webhook(record: Record) -> bool:
    """Return whether it is Alertmanager's webhook, but no valid JSON."""
    text = record.payload
    return (
        isinstance(text, str)
        and text.lstrip().startswith("{")
        and '"alerts"' in text
        and ('"labels"' in text or '"fingerprint"' in text)
        and not record.event_source.startswith("aws.")
    )


def is_alertmanager_text(record: Record) -> bool:
    """Return whether it is a text by Alertmanager's or Grafana's templates, or a PagerDuty event in YAML."""
    text = record.payload
    if not isinstance(text, str) or record.event_source.startswith("aws."):
        return False
    is_event = any(f"\n{key}:" in f"\n{text}" for key in ("routing_key", "dedup_key", "service_key"))
    return (
        record.subject.strip().upper().startswith(_SUBJECT_STARTS)
        or re.search(_STATE_IN_SUBJECT, record.subject) is not None
        or text.lstrip().startswith(_GRAFANA_HEADINGS)
        or ("Labels:\n - " in text and any(heading in text for heading in _HEADINGS))
        or (is_event and "\n" in text.strip())
    )


def is_managed_grafana(record: Record) -> bool:
    """Return whether it is the JSON of Grafana or Amazon Managed Grafana: a state, and a text or rule."""
    match record.payload:
        case (
            {"state": str(state), "body": _}
            | {"state": str(state), "ruleName": _}
            | {"state": str(state), "alert_uid": _}
            | {"state": str(state), "title": str(), "message": str()}
        ) if not record.detail_type:
            return state.strip().lower() in _GRAFANA_STATES
        case _:
            return False


def is_approval(record: Record) -> bool:
    """Return whether it asks for the approval of a CodePipeline action."""
    match record.payload:
        case {"approval": {"pipelineName": _, "actionName": _}}:
            return True
        case _:
            return False


def is_rds_event(record: Record) -> bool:
    """Return whether it is one of the RDS events, whose detail-types are many."""
    return record.detail_type.startswith("RDS ") and record.detail_type.endswith(" Event")


def is_rds_message(record: Record) -> bool:
    """Return whether it is what an RDS event subscription publishes."""
    match record.payload:
        case {"Event Source": _, "Event ID": str(event_id)} if not record.detail_type:
            return "RDS-EVENT-" in event_id
        case _:
            return False


def is_autoscaling_message(record: Record) -> bool:
    """Return whether it is what an Auto Scaling group publishes."""
    match record.payload:
        case {"Event": str(event)} if not record.detail_type:
            return event.startswith("autoscaling:")
        case _:
            return False


def is_backup_text(record: Record) -> bool:
    """Return whether it is what a backup vault publishes: a text, with attributes."""
    is_job = record.attributes.get("EventType") in ("BACKUP_JOB", "COPY_JOB", "RESTORE_JOB")
    return is_job and isinstance(record.payload, str) and not record.detail_type


def is_pagerduty_body(record: Record) -> bool:
    """Return whether it is a body of PagerDuty's Events API, or the payload of its CloudWatch integration."""
    match record.payload:
        case {"event_action": str(), "payload": dict()} | {"event_action": str(), "dedup_key": _}:
            return True
        case {"event_action": str(), "routing_key": _} | {"event_type": str(), "service_key": _}:
            return True
        case {"routing_key": _, "payload": {"summary": str()} as payload}:
            return "severity" not in payload  # a change event; with a severity it is an alert without its action
        case {"NewStateValue": str()}:
            return not record.detail_type
        case _:
            return False


def is_custom_notification(record: Record) -> bool:
    """Return whether it is a custom notification for Chatbot."""
    match record.payload:
        case {"source": "custom", "content": dict()}:
            return True
        case _:
            return False
