"""CloudWatch alarms, as SNS notifications and as EventBridge state changes.

Both roads give the same fingerprint, the alarm's ARN, so that an alarm wired to both pages once.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import BaseModel, BeforeValidator, Field

from handler.alert import Alert, Ignored, Link, Status
from handler.envelope import Record, parse_model
from handler.errors import InvalidAlertError
from handler.outcome import SkipReason
from handler.sources.aws import Arn, console_url, filled
from handler.sources.fields import Instant, Name, Object, Objects, Text

ORIGIN = "cloudwatch"
CLIENT = "Amazon CloudWatch"
DETAIL_TYPE = "CloudWatch Alarm State Change"
_STATUS = {"ALARM": Status.FIRING, "OK": Status.RESOLVED}
INSUFFICIENT_DATA = "INSUFFICIENT_DATA"


class SnsTrigger(BaseModel):
    """What a metric alarm watches; a composite alarm has none, metric maths has only `Metrics`."""

    MetricName: Text = ""
    Namespace: Text = ""
    Dimensions: Objects = Field(default_factory=list)
    Metrics: Objects = Field(default_factory=list)


class SnsAlarm(BaseModel):
    """The message that CloudWatch publishes to a topic."""

    AlarmName: Name
    AlarmArn: Text = ""
    AlarmDescription: Text = ""
    AWSAccountId: Text = ""
    Region: Text = ""
    NewStateValue: str
    NewStateReason: Text = ""
    OldStateValue: Text = ""
    StateChangeTime: Instant = None
    Trigger: Annotated[SnsTrigger, BeforeValidator(lambda value: value if isinstance(value, dict) else {})] = Field(
        default_factory=SnsTrigger
    )


class AlarmState(BaseModel):
    """A state as EventBridge gives it."""

    value: str
    reason: Text = ""
    timestamp: Instant = None
    actionsSuppressedBy: Text = ""


class AlarmConfiguration(BaseModel):
    """The part of an alarm's configuration that is shown."""

    description: Text = ""
    metrics: Objects = Field(default_factory=list)


class AlarmStateChange(BaseModel):
    """The detail of EventBridge's state change."""

    alarmName: Name
    state: AlarmState
    previousState: Object = Field(default_factory=dict)
    configuration: AlarmConfiguration = Field(default_factory=AlarmConfiguration)
    muteDetail: Object = Field(default_factory=dict)


def recognises(record: Record) -> bool:
    """Recognise EventBridge's alarm state change, or an object with an alarm's name and new state."""
    if record.detail_type:
        return record.detail_type == DETAIL_TYPE
    return isinstance(record.payload, dict) and {"AlarmName", "NewStateValue"} <= record.payload.keys()


def parse(record: Record) -> list[Alert | Ignored]:
    """Give the alarm as an alert: ALARM fires, OK resolves; INSUFFICIENT_DATA and muted alarms are left alone."""
    return [_from_event(record) if record.detail_type else _from_sns(record)]


def _from_sns(record: Record) -> Alert | Ignored:
    alarm = parse_model(SnsAlarm, record.payload, "CloudWatch alarm")
    if alarm.NewStateValue == INSUFFICIENT_DATA:
        return Ignored(SkipReason.INSUFFICIENT_DATA, alarm.AlarmName)
    metric: dict[str, Any] = next(
        (m["MetricStat"]["Metric"] for m in alarm.Trigger.Metrics if _has_metric(m, "MetricStat", "Metric")), {}
    )
    dimensions = alarm.Trigger.Dimensions or metric.get("Dimensions")
    return _alert(
        name=alarm.AlarmName,
        arn=alarm.AlarmArn.strip() or _arn(record.topic_arn, alarm.AWSAccountId, alarm.Region, alarm.AlarmName),
        state=alarm.NewStateValue,
        previous=alarm.OldStateValue,
        reason=alarm.NewStateReason,
        description=alarm.AlarmDescription,
        observed_at=alarm.StateChangeTime or record.published_at,
        namespace=alarm.Trigger.Namespace or str(metric.get("Namespace") or ""),
        metric=alarm.Trigger.MetricName or str(metric.get("MetricName") or ""),
        dimensions=_named(dimensions),
        details={"trigger": record.payload.get("Trigger")} if record.payload.get("Trigger") else {},
    )


def _from_event(record: Record) -> Alert | Ignored:
    change = parse_model(AlarmStateChange, record.payload, "CloudWatch alarm state change")
    if change.state.value == INSUFFICIENT_DATA:
        return Ignored(SkipReason.INSUFFICIENT_DATA, change.alarmName)
    if change.state.value == "ALARM" and (change.muteDetail or change.state.actionsSuppressedBy):
        return Ignored(SkipReason.SUPPRESSED, change.alarmName)
    metric: dict[str, Any] = next(
        (m["metricStat"]["metric"] for m in change.configuration.metrics if _has_metric(m, "metricStat", "metric")), {}
    )
    arn = next((r for r in record.resources if ":alarm:" in r), "")
    return _alert(
        name=change.alarmName,
        arn=arn or _arn("", record.account, record.region, change.alarmName),
        state=change.state.value,
        previous=str(change.previousState.get("value") or ""),
        reason=change.state.reason,
        description=change.configuration.description,
        observed_at=change.state.timestamp or record.published_at,
        namespace=str(metric.get("namespace") or ""),
        metric=str(metric.get("name") or ""),
        dimensions=_named(metric.get("dimensions")),
        details={"metrics": change.configuration.metrics} if change.configuration.metrics else {},
    )


def _has_metric(metric: Mapping[str, Any], stat: str, inner: str) -> bool:
    return isinstance(metric.get(stat), dict) and isinstance(metric[stat].get(inner), dict)


def _named(dimensions: Any) -> dict[str, str]:
    """Give dimensions by name: SNS lists them, EventBridge has an object."""
    if isinstance(dimensions, dict):
        return {str(name): str(value) for name, value in dimensions.items()}
    listed = [d for d in dimensions if isinstance(d, dict)] if isinstance(dimensions, list) else []
    lowered = [{str(key).lower(): value for key, value in dimension.items()} for dimension in listed]
    return {str(d["name"]): str(d["value"]) for d in lowered if {"name", "value"} <= d.keys()}


def _arn(topic_arn: str, account: str, region: str, alarm_name: str) -> str:
    """Build the alarm's ARN where the message lacks it.

    An alarm notifies topics of its own region only, so the topic's ARN tells the region; the message may give it as a
    long name ("US East (N. Virginia)").
    """
    topic = topic_arn.split(":")
    partition = "aws"
    if len(topic) == 6:
        partition, region, account = topic[1], topic[3], account or topic[4]
    return f"arn:{partition}:cloudwatch:{region}:{account}:alarm:{alarm_name}"


def _alert(
    *,
    name: str,
    arn: str,
    state: str,
    previous: str,
    reason: str,
    description: str,
    observed_at: datetime,
    namespace: str,
    metric: str,
    dimensions: Mapping[str, str],
    details: Mapping[str, Any],
) -> Alert:
    if state not in _STATUS:
        raise InvalidAlertError("CloudWatch alarm: state: none of ALARM, OK, INSUFFICIENT_DATA")
    known = Arn.of(arn)
    # the console's own fragment: the alarm's name percent-encoded, slashes too
    fragment = f"alarmsV2:alarm/{quote(name, safe='')}"
    console = console_url("cloudwatch/home", region=known.region, partition=known.partition, fragment=fragment)
    shown = {"state": state, "previous_state": previous, "reason": reason, "description": description}
    return Alert(
        fingerprint=arn,
        name=name,
        status=_STATUS[state],
        observed_at=observed_at,
        origin=ORIGIN,
        labels={
            **dimensions,
            **filled({"namespace": namespace, "metric": metric, "account": known.account, "region": known.region}),
            "alertname": name,
        },
        starts_at=observed_at,
        severity_word=dimensions.get("severity", ""),
        summary=f"{name}: {reason}" if reason else name,
        location=", ".join(dimensions.values()) or arn,
        component=namespace,
        group=known.account,
        class_=metric,
        client=CLIENT,
        client_url=console,
        links=(Link(console, "Alarm in the CloudWatch console"),),
        details={**filled(shown), **details},
    )
