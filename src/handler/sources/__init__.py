"""Finds the source that reads a record: by EventBridge's detail-type, else by the shape of the message.

Each source is a module with a function `parse`, imported only when a record is of its kind: an execution environment
meets few of them. A new source is a module, a function that imports it, and a line in one of the tables below.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from handler.alert import (
    Alert,
    Ignored,
    Status,
    Undetermined,
    WhenUndetermined,
)
from handler.envelope import Record, unwrap_further
from handler.errors import InvalidAlertError, NotAnAlertError
from handler.outcome import SkipReason

type Found = Alert | Ignored | Undetermined | InvalidAlertError
"""What a source finds in a record; an error stands for an entry that is damaged while its siblings are not."""

type Parsed = list[Alert | Ignored | InvalidAlertError]
"""What a record holds: alerts, what needs nothing sent, and damaged entries."""

TARGETS_ATTRIBUTE = "targets"
MAX_TARGETS = 20
"""How many targets one message may name."""
MAX_NAME_CHARACTERS = 1024
MAX_SHOWN_NAME_CHARACTERS = 256
ACCOUNT_LABEL = "account"
ACCOUNT_NAME_LABEL = "account_name"


class Source(Protocol):
    """What a source module offers."""

    def parse(self, record: Record) -> Iterable[Found]:
        """Return the record's alerts; raise InvalidAlertError naming the field where it is damaged."""
        ...


class Fallback(Source, Protocol):
    """A source that decides by itself, with a table of its own, whether a record is of its kind."""

    def recognises(self, record: Record) -> bool:
        """Return whether this source reads the record."""
        ...


type Load[S: Source] = Callable[[], S]
"""Imports a source."""


def parse(
    record: Record,
    when_undetermined: WhenUndetermined = WhenUndetermined.IGNORE,
    account_names: Mapping[str, str] | None = None,
) -> Parsed:
    """Return what a record holds, with what its SNS attributes ask for.

    Args:
        record: the record, without its wrappings.
        when_undetermined: what becomes of an alert whose source cannot tell whether it fires.
        account_names: names of AWS accounts by their ids, for the label `account_name`.

    Raises:
        InvalidAlertError: recognised, but a field is missing or wrong.
        NotAnAlertError: it came by no topic, bus or queue, and no source recognises it.
    """
    match record.payload:
        case {"Records": [_, _, *_] as several}:
            records = (replace(record, payload=each) for each in several)
            return [found for each in records for found in _parse_one(each, when_undetermined, account_names)]
    source = source_of(record)
    if source is None:
        what = f"{_shape(record)} is of no known source, and came by no topic, bus or queue"
        raise NotAnAlertError(f"not an alert: {what}")
    try:
        determined = [_determine(found, when_undetermined) for found in source.parse(record)]
    except InvalidAlertError as invalid:
        raise InvalidAlertError(_with_name(str(invalid), record.payload)) from None
    return [_finish(found, record, account_names or {}) if isinstance(found, Alert) else found for found in determined]


def _with_name(problem: str, payload: Any) -> str:
    """Add the alert's name, where it has one, to what is wrong with it."""
    match payload:
        case {"alert": {"alert_name": str(name)}} | {"AlarmName": str(name)} | {"alarmName": str(name)}:
            shown = " ".join(name.split())[:MAX_SHOWN_NAME_CHARACTERS]
            return f"{problem} (alert {shown!r})" if shown else problem
        case _:
            return problem


def _parse_one(record: Record, when: WhenUndetermined, account_names: Mapping[str, str] | None) -> Parsed:
    """Return what one of several records in a message holds; damage to it does not affect the others."""
    try:
        return parse(unwrap_further(record), when, account_names)
    except (InvalidAlertError, NotAnAlertError) as damaged:
        return [InvalidAlertError(str(damaged))]


def source_of(record: Record) -> Source | None:
    """Return the source that reads a record, or None where nothing does; no other source is imported."""
    known = DETAIL_TYPES.get(record.detail_type)
    if known is not None:
        return known()
    for has_shape, load in SHAPES:
        if has_shape(record):
            return load()
    for load_fallback in FALLBACKS:
        fallback = load_fallback()
        if fallback.recognises(record):
            return fallback
    return None


def _determine(found: Found, when: WhenUndetermined) -> Alert | Ignored | InvalidAlertError:
    if not isinstance(found, Undetermined):
        return found
    match when:
        case WhenUndetermined.IGNORE:
            return Ignored(SkipReason.INSUFFICIENT_DATA, found.alert.name)
        case WhenUndetermined.TRIGGER:
            return replace(found.alert, status=Status.FIRING)
        case WhenUndetermined.RESOLVE:
            return replace(found.alert, status=Status.RESOLVED)


def _finish(alert: Alert, record: Record, account_names: Mapping[str, str]) -> Alert:
    """Add what the message around the alert says: severity, labels and targets where the alert names none."""
    labels = {name: value for name, value in record.attributes.items() if name != TARGETS_ATTRIBUTE}
    targets = alert.targets or target_names(record.attributes.get(TARGETS_ATTRIBUTE, ""))
    if len(targets) > MAX_TARGETS:
        raise InvalidAlertError(f"targets: {len(targets)} names: a message may name at most {MAX_TARGETS}")
    account_name = account_names.get(alert.labels.get(ACCOUNT_LABEL, ""))
    if account_name:
        labels[ACCOUNT_NAME_LABEL] = account_name
    return replace(
        alert,
        name=alert.name[:MAX_NAME_CHARACTERS],
        observed_at=min(alert.observed_at, record.latest) if record.latest else alert.observed_at,
        labels={**labels, **alert.labels},
        severity_word=alert.severity_word or record.attributes.get("severity", ""),
        targets=targets,
        message_id=record.message_id,
    )


def target_names(text: str) -> tuple[str, ...]:
    """Read the names of targets: separated by commas, or a JSON list (SNS calls that a String.Array)."""
    try:
        listed = json.loads(text)
    except (ValueError, RecursionError):
        listed = None
    names = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else text.split(",")
    return tuple(dict.fromkeys(name.strip() for name in names if name.strip()))


def _shape(record: Record) -> str:
    """Describe a payload without its values, which may be secrets."""
    payload: Any = record.payload
    if isinstance(payload, dict):
        return f"a JSON object with the keys {', '.join(sorted(map(str, payload))[:8]) or '(none)'}"
    if isinstance(payload, str):
        return "a text that is not JSON" if payload.strip() else "an empty message"
    return f"a JSON {type(payload).__name__}"


# --- The modules ------------------------------------------------------------------------------------------------------


def _failures() -> Source:
    from handler.sources import failures

    return failures


def _native() -> Source:
    from handler.sources import native

    return native


def _cloudwatch() -> Source:
    from handler.sources import cloudwatch

    return cloudwatch


def _alertmanager() -> Source:
    from handler.sources import alertmanager

    return alertmanager


def _guardduty() -> Source:
    from handler.sources import guardduty

    return guardduty


def _securityhub() -> Source:
    from handler.sources import securityhub

    return securityhub


def _health() -> Source:
    from handler.sources import health

    return health


def _codepipeline() -> Source:
    from handler.sources import codepipeline

    return codepipeline


def _codebuild() -> Source:
    from handler.sources import codebuild

    return codebuild


def _codedeploy() -> Source:
    from handler.sources import codedeploy

    return codedeploy


def _ecs() -> Source:
    from handler.sources import ecs

    return ecs


def _rds() -> Source:
    from handler.sources import rds

    return rds


def _autoscaling() -> Source:
    from handler.sources import autoscaling

    return autoscaling


def _backup() -> Source:
    from handler.sources import backup

    return backup


def _pagerduty_body() -> Source:
    from handler.sources import pagerduty_body

    return pagerduty_body


def _chatbot() -> Source:
    from handler.sources import chatbot

    return chatbot


def _catalog() -> Fallback:
    from handler.sources import catalog

    return catalog


def _notices() -> Fallback:
    from handler.sources import notices

    return notices


def _generic() -> Fallback:
    from handler.sources import generic

    return generic


# --- By detail-type ---------------------------------------------------------------------------------------------------

DETAIL_TYPES: dict[str, Load[Source]] = {
    "Lambda Function Invocation Result - Failure": _failures,
    "Lambda Function Invocation Result - Success": _failures,
    "Alert": _native,
    "CloudWatch Alarm State Change": _cloudwatch,
    "CloudWatch Alarm Contributor State Change": _cloudwatch,
    "CloudWatch Alarm Configuration Change": _cloudwatch,
    "GuardDuty Finding": _guardduty,
    "Security Hub Findings - Imported": _securityhub,
    "Security Hub Findings - Custom Action": _securityhub,
    "Findings Imported V2": _securityhub,
    "AWS Health Event": _health,
    "AWS Health Abuse Event": _health,
    "CodePipeline Pipeline Execution State Change": _codepipeline,
    "CodePipeline Stage Execution State Change": _codepipeline,
    "CodePipeline Action Execution State Change": _codepipeline,
    "CodeBuild Build State Change": _codebuild,
    "CodeBuild Build Phase Change": _codebuild,
    "CodeDeploy Deployment State-change Notification": _codedeploy,
    "CodeDeploy Instance State-change Notification": _codedeploy,
    "ECS Deployment State Change": _ecs,
    "ECS Service Action": _ecs,
    "ECS Task State Change": _ecs,
    "ECS Container Instance State Change": _ecs,
    "EC2 Instance Launch Unsuccessful": _autoscaling,
    "EC2 Instance Launch Successful": _autoscaling,
    "EC2 Instance Terminate Unsuccessful": _autoscaling,
    "EC2 Instance Terminate Successful": _autoscaling,
    "EC2 Instance-launch Lifecycle Action": _autoscaling,
    "EC2 Instance-terminate Lifecycle Action": _autoscaling,
    "EC2 Auto Scaling Instance Refresh Started": _autoscaling,
    "EC2 Auto Scaling Instance Refresh Succeeded": _autoscaling,
    "EC2 Auto Scaling Instance Refresh Failed": _autoscaling,
    "EC2 Auto Scaling Instance Refresh Cancelled": _autoscaling,
    "EC2 Auto Scaling Instance Refresh Checkpoint Reached": _autoscaling,
    "EC2 Auto Scaling Instance Refresh Rollback Started": _autoscaling,
    "EC2 Auto Scaling Instance Refresh Rollback Succeeded": _autoscaling,
    "EC2 Auto Scaling Instance Refresh Rollback Failed": _autoscaling,
    "Backup Job State Change": _backup,
    "Copy Job State Change": _backup,
    "Restore Job State Change": _backup,
    "Backup Vault State Change": _backup,
    "Backup Plan State Change": _backup,
    "Recovery Point Change": _backup,
    "Recovery Point State Change": _backup,
    "Region Setting State Change": _backup,
}
"""The sources of EventBridge's events."""


# --- By shape ---------------------------------------------------------------------------------------------------------


def _keys(*keys: str) -> Callable[[Record], bool]:
    """Return whether a message that came by no event is an object with all these keys."""
    wanted = frozenset(keys)

    def has_keys(record: Record) -> bool:
        return not record.detail_type and isinstance(record.payload, dict) and record.payload.keys() >= wanted

    return has_keys


def _is_failure(record: Record) -> bool:
    """Return whether it is what another function could not process; nothing inside is an alert of its own."""
    match record.payload:
        case {"requestContext": {"functionArn": _}} | {"error": _, "record": _}:
            return not record.detail_type
        case _:
            return record.is_failed_invocation


def _is_native(record: Record) -> bool:
    return not record.detail_type and isinstance(record.payload, dict) and isinstance(record.payload.get("alert"), dict)


_SIGNS = {"receiver", "groupKey", "groupLabels", "commonLabels", "commonAnnotations", "truncatedAlerts"}
_HEADINGS = ("Alerts Firing:", "Alerts Resolved:")
_GRAFANA_HEADINGS = ("**Firing**", "**Resolved**")
_SUBJECTS = ("[FIRING", "[RESOLVED")
_GRAFANA_STATES = {"alerting", "ok", "no_data", "nodata", "error", "pending", "paused", "firing", "resolved", "normal"}


def _is_webhook(record: Record) -> bool:
    """Return whether it is Alertmanager's webhook: a list `alerts` with its other keys, or entries like its own."""
    match record.payload:
        case {"alerts": list(entries)} as payload if not record.event_source.startswith("aws."):
            return bool(_SIGNS & payload.keys()) or any(
                isinstance(entry, dict) and bool({"labels", "fingerprint"} & entry.keys()) for entry in entries
            )
        case _:
            return False


def _is_damaged_webhook(record: Record) -> bool:
    text = record.payload
    return (
        isinstance(text, str)
        and text.lstrip().startswith("{")
        and '"alerts"' in text
        and ('"labels"' in text or '"fingerprint"' in text)
        and not record.event_source.startswith("aws.")
    )


def _is_alertmanager_text(record: Record) -> bool:
    """Return whether subject or heading is of Alertmanager's or Grafana's templates, or it is an event in YAML."""
    text = record.payload
    if not isinstance(text, str) or record.event_source.startswith("aws."):
        return False
    is_event = any(f"\n{key}:" in f"\n{text}" for key in ("routing_key", "dedup_key", "service_key"))
    return (
        record.subject.strip().upper().startswith(_SUBJECTS)
        or text.lstrip().startswith(_GRAFANA_HEADINGS)
        or ("Labels:\n - " in text and any(heading in text for heading in _HEADINGS))
        or (is_event and "\n" in text.strip())
    )


def _is_managed_grafana(record: Record) -> bool:
    """Return whether it is Amazon Managed Grafana's JSON: a state beside a text or a rule."""
    match record.payload:
        case {"state": str(state), "body": _} | {"state": str(state), "ruleName": _} if not record.detail_type:
            return state.strip().lower() in _GRAFANA_STATES
        case _:
            return False


def _is_approval(record: Record) -> bool:
    match record.payload:
        case {"approval": {"pipelineName": _, "actionName": _}}:
            return True
        case _:
            return False


def _is_rds_event(record: Record) -> bool:
    return record.detail_type.startswith("RDS ") and record.detail_type.endswith(" Event")


def _is_rds_message(record: Record) -> bool:
    match record.payload:
        case {"Event Source": _, "Event ID": str(event_id)} if not record.detail_type:
            return "RDS-EVENT-" in event_id
        case _:
            return False


def _is_autoscaling_message(record: Record) -> bool:
    match record.payload:
        case {"Event": str(event)} if not record.detail_type:
            return event.startswith("autoscaling:")
        case _:
            return False


def _is_backup_text(record: Record) -> bool:
    is_job = record.attributes.get("EventType") in ("BACKUP_JOB", "COPY_JOB", "RESTORE_JOB")
    return is_job and isinstance(record.payload, str) and not record.detail_type


def _is_pagerduty_body(record: Record) -> bool:
    """Return whether it is a body of PagerDuty's Events API, or the payload of its CloudWatch integration."""
    match record.payload:
        case {"event_action": str(), "payload": dict()} | {"event_action": str(), "dedup_key": _}:
            return True
        case {"event_action": str(), "routing_key": _} | {"event_type": str(), "service_key": _}:
            return True
        case {"NewStateValue": str()}:
            return not record.detail_type
        case _:
            return False


def _is_custom_notification(record: Record) -> bool:
    match record.payload:
        case {"source": "custom", "content": dict()}:
            return True
        case _:
            return False


SHAPES: tuple[tuple[Callable[[Record], bool], Load[Source]], ...] = (
    (_is_failure, _failures),
    (_is_native, _native),
    (_keys("AlarmName", "NewStateValue"), _cloudwatch),
    (_keys("alarmArn", "alarmData"), _cloudwatch),
    (_is_webhook, _alertmanager),
    (_is_damaged_webhook, _alertmanager),
    (_is_alertmanager_text, _alertmanager),
    (_is_managed_grafana, _alertmanager),
    (_is_approval, _codepipeline),
    (_keys("deploymentId", "applicationName", "deploymentGroupName", "status"), _codedeploy),
    (_keys("deploymentId", "instanceId", "instanceStatus"), _codedeploy),
    (_is_rds_event, _rds),
    (_is_rds_message, _rds),
    (_is_autoscaling_message, _autoscaling),
    (_keys("LifecycleTransition", "AutoScalingGroupName"), _autoscaling),
    (_is_backup_text, _backup),
    (_is_pagerduty_body, _pagerduty_body),
    (_is_custom_notification, _chatbot),
)
"""The sources of everything else, tried in this order; the checks are cheap and import nothing."""

FALLBACKS: tuple[Load[Fallback], ...] = (_notices, _catalog, _generic)
"""Asked in this order where no table names a source; `generic` is the last resort."""
