"""CloudWatch alarms: as SNS notifications, as EventBridge events, and as the direct action of an alarm on the function.

On every path the fingerprint is the alarm's ARN, plus the contributor's id if the alarm watches several time series. An
alarm that uses all paths therefore pages once. Shapes:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html and
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-actions-Lambda.html
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import AliasChoices, BeforeValidator, Field

from handler.alert import (
    Alert,
    Ignored,
    Link,
    Status,
    Undetermined,
)
from handler.envelope import Record
from handler.errors import InvalidAlertError
from handler.outcome import SkipReason
from handler.sources.aws import Arn, Home, filled
from handler.sources.links import links_in
from handler.validation import (
    Instant,
    Model,
    Name,
    Object,
    Objects,
    OrEmpty,
    Text,
    parse_model,
    parse_text,
    text_of,
)

ORIGIN = "cloudwatch"
CLIENT = "Amazon CloudWatch"
CONFIGURATION_CHANGE = "CloudWatch Alarm Configuration Change"
_STATUS = {"ALARM": Status.FIRING, "OK": Status.RESOLVED}
INSUFFICIENT_DATA = "INSUFFICIENT_DATA"
_LEVEL_IN_NAME = re.compile(r"(?<![A-Za-z0-9])(?:sev[-_ ]?([0-5])|p([0-5]))(?![A-Za-z0-9]|\.\d)", re.IGNORECASE)
_LEVEL = re.compile(r"(?<![A-Za-z0-9])(?:[Ss][Ee][Vv][-_ ]?([0-5])|P([0-5]))(?![A-Za-z0-9]|\.\d)")
"""A severity as people write it: SEV1, sev-2, P3. In a description, a lower-case p usually means a percentile."""
_NAMED_LEVEL = re.compile(
    r"\b(?:severity|priority)[*_`]{0,3}\s{0,3}[:=]\s{0,3}[*_`]{0,3}([A-Za-z0-9-]{2,20})\b", re.IGNORECASE
)
_WORD_IN_NAME = re.compile(
    r"\[\s?(critical|warning)\s?\]|^(critical|warning)(?:\s?[:|]|\s-\s)|[-_./ :|](critical|warning)$", re.IGNORECASE
)
"""A word for it in a name: in brackets, at the beginning with a sign behind it, or at the end."""
SUMS_UP_CONTRIBUTORS = ("time series evaluated to ALARM", "contributors evaluated to ALARM")
"""How the reason ends in the summary notification of an alarm that also notifies for each contributor:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-limits.html"""


def _named(given: Any) -> dict[str, str]:
    """Return dimensions or tags by name, from an object or a list of names (or keys) and values."""
    if isinstance(given, dict):
        return {str(name): str(value) for name, value in given.items() if value is not None}
    listed = [entry for entry in given if isinstance(entry, dict)] if isinstance(given, list) else []
    lowered = [{str(key).lower(): value for key, value in entry.items()} for entry in listed]
    pairs = [(entry.get("name", entry.get("key")), entry.get("value")) for entry in lowered]
    return {str(name): str(value) for name, value in pairs if name is not None and value is not None}


Named = Annotated[dict[str, str], BeforeValidator(_named)]
Tags = Annotated[
    Named, Field(default_factory=dict, validation_alias=AliasChoices("tags", "Tags", "alarmTags", "AlarmTags"))
]


class SnsTrigger(Model):
    """What a metric alarm watches; a composite alarm has none, metric math has only `Metrics`."""

    MetricName: Text = ""
    Namespace: Text = ""
    Dimensions: Named = Field(default_factory=dict)
    Metrics: Objects = Field(default_factory=list)


class SnsAlarm(Model):
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
    Trigger: Annotated[SnsTrigger, OrEmpty] = Field(default_factory=SnsTrigger)
    AlarmContributorId: Text = ""
    AlarmContributorAttributes: Named = Field(default_factory=dict)
    tags: Tags


class AlarmState(Model):
    """A state as in EventBridge events and the direct action."""

    value: str
    reason: Text = ""
    timestamp: Instant = None
    actionsSuppressedBy: Text = ""


class AlarmConfiguration(Model):
    """The part of an alarm's configuration that is used."""

    description: Text = ""
    metrics: Objects = Field(default_factory=list)


class AlarmContributor(Model):
    """One of the time series of an alarm that watches several."""

    id: Text = ""
    attributes: Named = Field(default_factory=dict)


class AlarmChange(Model):
    """The detail of EventBridge's events; the direct action calls it `alarmData`."""

    alarmName: Name
    operation: Text = ""
    state: AlarmState
    previousState: Object = Field(default_factory=dict)
    configuration: AlarmConfiguration = Field(default_factory=AlarmConfiguration)
    alarmContributor: AlarmContributor = Field(default_factory=AlarmContributor)
    muteDetail: Object = Field(default_factory=dict)
    tags: Tags


class DirectAction(Model):
    """The event with which an alarm invokes a function."""

    alarmArn: Text = ""
    accountId: Text = ""
    region: Text = ""
    alarmData: AlarmChange


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChange:
    """An alarm's change of state, whichever path it came by.

    Attributes:
        arn: the alarm's.
        state: ALARM, OK or INSUFFICIENT_DATA, as CloudWatch says.
        previous: the state before; empty where the message does not say.
        contributor: the time series that changed; empty for an alarm with one.
        details: what else the message says, for the incident's details.
    """

    name: str
    arn: str
    state: str
    previous: str
    reason: str
    description: str
    observed_at: datetime
    namespace: str
    metric: str
    dimensions: Mapping[str, str]
    contributor: AlarmContributor
    tags: Mapping[str, str]
    details: Mapping[str, Any]


def parse(record: Record) -> list[Alert | Ignored | Undetermined]:
    """Return the alarm as an alert: ALARM fires; OK and deletion resolve; muted and summary messages are ignored."""
    if record.detail_type:
        change = parse_model(AlarmChange, record.payload, "CloudWatch alarm")
        arn = next((r for r in record.resources if ":alarm:" in r), "")
        arn = arn or _arn(Home.of(record), change.alarmName)
        if record.detail_type == CONFIGURATION_CHANGE:
            return [_from_configuration_change(change, arn, record.published_at)]
        return [_from_change(change, arn, record.published_at)]
    if "alarmData" in record.payload:
        action = parse_model(DirectAction, record.payload, "CloudWatch alarm action")
        arn = action.alarmArn.strip() or _arn(
            Home.of(record, account=action.accountId, region=action.region), action.alarmData.alarmName
        )
        return [_from_change(action.alarmData, arn, record.published_at)]
    return [_from_sns(record)]


def _from_sns(record: Record) -> Alert | Ignored | Undetermined:
    alarm = parse_model(SnsAlarm, record.payload, "CloudWatch alarm")
    metric = _first_metric(alarm.Trigger.Metrics, "MetricStat", "Metric")
    # an alarm notifies topics of its own region only; the message may have a long name, "US East (N. Virginia)"
    region = Arn.of(record.topic_arn).region or alarm.Region
    home = Home.of(record, account=alarm.AWSAccountId, region=region)
    change = StateChange(
        name=alarm.AlarmName,
        arn=alarm.AlarmArn.strip() or _arn(home, alarm.AlarmName),
        state=alarm.NewStateValue,
        previous=alarm.OldStateValue,
        reason=alarm.NewStateReason,
        description=alarm.AlarmDescription,
        observed_at=alarm.StateChangeTime or record.published_at,
        namespace=alarm.Trigger.Namespace or str(metric.get("Namespace") or ""),
        metric=alarm.Trigger.MetricName or str(metric.get("MetricName") or ""),
        dimensions=alarm.Trigger.Dimensions or _named(metric.get("Dimensions")),
        contributor=AlarmContributor(id=alarm.AlarmContributorId, attributes=alarm.AlarmContributorAttributes),
        tags=alarm.tags,
        details={"trigger": record.payload.get("Trigger")},
    )
    return _alert_of(change)


def _from_change(change: AlarmChange, arn: str, published_at: datetime) -> Alert | Ignored | Undetermined:
    if change.state.value != "OK" and (change.muteDetail or change.state.actionsSuppressedBy):
        return Ignored(SkipReason.SUPPRESSED, change.alarmName)
    metric = _first_metric(change.configuration.metrics, "metricStat", "metric")
    state_change = StateChange(
        name=change.alarmName,
        arn=arn,
        state=change.state.value,
        previous=str(change.previousState.get("value") or ""),
        reason=change.state.reason,
        description=change.configuration.description,
        observed_at=change.state.timestamp or published_at,
        namespace=str(metric.get("namespace") or ""),
        metric=str(metric.get("name") or ""),
        dimensions=_named(metric.get("dimensions")),
        contributor=change.alarmContributor,
        tags=change.tags,
        details={"metrics": change.configuration.metrics},
    )
    return _alert_of(state_change)


def _from_configuration_change(change: AlarmChange, arn: str, published_at: datetime) -> Alert | Ignored | Undetermined:
    """Resolve the incident of a deleted alarm, which will never report OK. Ignore other configuration changes."""
    if change.operation != "delete" or change.state.value == "OK":
        return Ignored(SkipReason.NOTICE, change.alarmName)
    # the event's time has whole seconds, so it may be earlier than a state change in the same second
    deleted_at = max(published_at, change.state.timestamp or published_at)
    state = AlarmState(value="OK", reason="The alarm was deleted", timestamp=deleted_at)
    return _from_change(change.model_copy(update={"state": state}), arn, published_at)


def _first_metric(metrics: list[dict[str, Any]], stat: str, inner: str) -> dict[str, Any]:
    """Return the first metric of an alarm; for metric math and anomaly detection that is one of the inputs."""
    found = (m[stat][inner] for m in metrics if isinstance(m.get(stat), dict) and isinstance(m[stat].get(inner), dict))
    return next(found, {})


def _arn(home: Home, alarm_name: str) -> str:
    """Build the alarm's ARN where the message lacks it."""
    return home.arn("cloudwatch", f"alarm:{alarm_name}")


def _severity_word(name: str, description: str, tags: Mapping[str, str], watched: Mapping[str, str]) -> str:
    """Return the severity from the tags, the dimensions, a JSON description, or a word such as SEV1."""
    stated = parse_text(description) if description.lstrip().startswith("{") else None
    inner = [value for value in stated.values() if isinstance(value, dict)] if isinstance(stated, dict) else []
    for named in (tags, watched, *([stated, *inner] if isinstance(stated, dict) else [])):
        by_name = {str(key).lower(): value for key, value in named.items()}
        words = {key: text_of(by_name.get(key)).strip() for key in ("severity", "priority", "sev")}
        if key := next(filter(words.get, words), ""):
            return f"{key[0]}{words[key]}" if key != "severity" and words[key].isdecimal() else words[key]
    found = _LEVEL_IN_NAME.search(name) or _LEVEL.search(description)
    if found:
        return f"p{found[2]}" if found[2] else f"sev{found[1]}"
    in_words = _NAMED_LEVEL.search(description) or _WORD_IN_NAME.search(name)
    return next(filter(None, in_words.groups())) if in_words else ""


def _alert_of(change: StateChange) -> Alert | Ignored | Undetermined:
    if change.state != INSUFFICIENT_DATA and change.state not in _STATUS:
        raise InvalidAlertError("CloudWatch alarm: state: none of ALARM, OK, INSUFFICIENT_DATA")
    if change.state == "ALARM" and not change.contributor.id and change.reason.endswith(SUMS_UP_CONTRIBUTORS):
        return Ignored(SkipReason.TOLD_BY_CONTRIBUTORS, change.name)
    home = Arn.of(change.arn).home
    # as the console builds it: the alarm's name percent-encoded, including slashes
    fragment = f"alarmsV2:alarm/{quote(change.name, safe='')}"
    console = home.console("cloudwatch/home", fragment)
    watched = change.contributor.attributes or change.dimensions
    series = f" ({', '.join(change.contributor.attributes.values())})" if change.contributor.attributes else ""
    state_details = {
        "state": change.state,
        "previous_state": change.previous,
        "reason": change.reason,
        "description": change.description,
    }
    alert = Alert(
        fingerprint=f"{change.arn}#{change.contributor.id}" if change.contributor.id else change.arn,
        name=change.name,
        status=_STATUS.get(change.state, Status.FIRING),
        observed_at=change.observed_at,
        origin=ORIGIN,
        labels={
            **change.tags,
            **change.dimensions,
            **change.contributor.attributes,
            **filled({"namespace": change.namespace, "metric": change.metric}),
            **home.labels,
            "alertname": change.name,
        },
        starts_at=change.observed_at,
        severity_word=_severity_word(change.name, change.description, change.tags, watched),
        summary=f"{change.name}{series}: {change.reason}" if change.reason else f"{change.name}{series}",
        location=", ".join(watched.values()) or change.arn,
        component=change.namespace,
        group=home.account,
        class_=change.metric,
        client=CLIENT,
        client_url=console,
        links=(Link(console, "Alarm in the CloudWatch console"), *links_in(change.description)),
        details={
            **filled(state_details),
            **({"contributor": change.contributor.model_dump()} if change.contributor.id else {}),
            **{key: value for key, value in change.details.items() if value},
        },
    )
    return Undetermined(alert) if change.state == INSUFFICIENT_DATA else alert
