"""An alarm as CloudWatch describes it, and the notification that CloudWatch would publish about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from handler.sources.cloudwatch import SUMS_UP_CONTRIBUTORS

_WATCHED = ("MetricName", "Namespace", "Statistic", "Period", "Threshold", "ComparisonOperator", "Metrics")
"""What a notification's `Trigger` and DescribeAlarms call alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """An alarm, or one time series of an alarm over several, with its present state.

    Attributes:
        state: ALARM, OK or INSUFFICIENT_DATA.
        since: when the state last changed, in UTC.
        actions: the ARNs that it notifies of ALARM.
        is_suppressed: whether another alarm suppresses the actions of this composite alarm.
        described: its entry in the answer of DescribeAlarms.
        contributor: the id of the time series; empty for the whole alarm.
        attributes: what tells the time series from the alarm's others, such as `{"endpoint": "/api"}`.
    """

    arn: str
    name: str
    state: str
    since: datetime
    reason: str = ""
    actions: tuple[str, ...] = ()
    actions_enabled: bool = True
    is_suppressed: bool = False
    described: Mapping[str, Any] = field(default_factory=dict)
    contributor: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of its alert, as in `sources.cloudwatch`."""
        return f"{self.arn}#{self.contributor}" if self.contributor else self.arn

    @property
    def sums_up(self) -> bool:
        """Whether it only sums up its time series, each of which has a notification and an incident of its own."""
        return not self.contributor and self.reason.endswith(SUMS_UP_CONTRIBUTORS)

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> "Alarm":
        """Return the alarm of an entry in the answer of DescribeAlarms."""
        # StateUpdatedTimestamp moves with the evaluation too; notifications carry the time of the transition
        since = described.get("StateTransitionedTimestamp") or described["StateUpdatedTimestamp"]
        return cls(
            arn=described["AlarmArn"],
            name=described["AlarmName"],
            state=described["StateValue"],
            since=since.astimezone(UTC),
            reason=described.get("StateReason") or "",
            actions=tuple(described.get("AlarmActions") or ()),
            actions_enabled=described.get("ActionsEnabled", True),
            is_suppressed=bool(described.get("ActionsSuppressedBy")),
            described=described,
        )

    def time_series(self, described: Mapping[str, Any]) -> "Alarm":
        """Return one of its time series in ALARM, of an entry in the answer of DescribeAlarmContributors."""
        return replace(
            self,
            contributor=described["ContributorId"],
            attributes=described.get("ContributorAttributes") or {},
            since=(described.get("StateTransitionedTimestamp") or self.since).astimezone(UTC),
            reason=described.get("StateReason") or "",
        )


def notification(alarm: Alarm, tags: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the message that CloudWatch would publish to a topic about the alarm's state."""
    described = alarm.described
    account = alarm.arn.split(":")[4] if alarm.arn.count(":") >= 5 else ""
    trigger = {name: described[name] for name in _WATCHED if described.get(name) not in (None, "")}
    if described.get("Dimensions"):
        trigger["Dimensions"] = [{"name": each["Name"], "value": each["Value"]} for each in described["Dimensions"]]
    return {
        "AlarmName": alarm.name,
        "AlarmArn": alarm.arn,
        "AlarmDescription": described.get("AlarmDescription") or "",
        "AWSAccountId": account,
        "NewStateValue": alarm.state,
        "NewStateReason": alarm.reason,
        "StateChangeTime": alarm.since.isoformat(timespec="milliseconds"),
        **({"Trigger": trigger} if trigger else {}),
        **({"AlarmTags": dict(tags)} if tags else {}),
        **({"AlarmContributorId": alarm.contributor} if alarm.contributor else {}),
        **({"AlarmContributorAttributes": dict(alarm.attributes)} if alarm.attributes else {}),
    }
