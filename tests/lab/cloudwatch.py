"""CloudWatch alarms as AWS describes them, and a fake of CloudWatch."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.lab.clock import NOW
from tests.lab.failures import client_error

REGION, ACCOUNT = "eu-west-1", "123456789012"
TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:alerts"
OTHER_TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:others"
FUNCTION = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:publisher"
PREFIX = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:"
SINCE = datetime.fromtimestamp(NOW, UTC) - timedelta(minutes=10)
"""When an alarm changed its state, unless a test says otherwise."""


def described(name: str = "late", state: str = "ALARM", **more: Any) -> dict[str, Any]:
    """Return an alarm as DescribeAlarms does."""
    return {
        "AlarmName": name,
        "AlarmArn": f"{PREFIX}{name}",
        "AlarmDescription": "Labels wait for more than five minutes",
        "ActionsEnabled": True,
        "AlarmActions": [TOPIC],
        "OKActions": [],
        "StateValue": state,
        "StateReason": "Threshold Crossed: 418.0 > 300.0",
        "StateUpdatedTimestamp": SINCE,
        "StateTransitionedTimestamp": SINCE,
        "MetricName": "ApproximateAgeOfOldestMessage",
        "Namespace": "AWS/SQS",
        "Dimensions": [{"Name": "QueueName", "Value": "parcel-labels"}],
        "Threshold": 300.0,
        **more,
    }


def put_alarm(cloudwatch: Any, name: str, **more: Any) -> None:
    """Create a metric alarm with a client of CloudWatch, without actions unless `more` names some."""
    settings: dict[str, Any] = {
        "Namespace": "Shop",
        "MetricName": "Latency",
        "Statistic": "Average",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 0.5,
        "ComparisonOperator": "GreaterThanThreshold",
    }
    cloudwatch.put_metric_alarm(AlarmName=name, **{**settings, **more})


@dataclass
class FakeCloudWatch:
    """Alarms, mute rules and tags; every call is counted, and fails on demand."""

    alarms: list[dict[str, Any]] = field(default_factory=list)
    muted: list[str] = field(default_factory=list)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    contributors: list[dict[str, Any]] | None = None
    """Of the alarm `sum`; None where CloudWatch does not know the operation."""
    calls: list[str] = field(default_factory=list)
    errors: dict[str, Exception] = field(default_factory=dict)

    def _called(self, operation: str) -> None:
        self.calls.append(operation)
        if operation in self.errors:
            raise self.errors[operation]

    def describe_alarms(
        self,
        *,
        AlarmTypes: Sequence[str],
        MaxRecords: int,
        StateValue: str = "",
        AlarmNames: Sequence[str] | None = None,
        NextToken: str = "0",
    ) -> dict[str, Any]:
        self._called("DescribeAlarms")
        assert set(AlarmTypes) == {"MetricAlarm", "CompositeAlarm", "LogAlarm"}
        assert MaxRecords <= 100
        assert AlarmNames is None or 1 <= len(AlarmNames) <= 100
        found = [
            alarm
            for alarm in self.alarms
            if (not StateValue or alarm["StateValue"] == StateValue)
            and (AlarmNames is None or alarm["AlarmName"] in AlarmNames)
        ]
        start = int(NextToken)
        more = {"NextToken": str(start + MaxRecords)} if len(found) > start + MaxRecords else {}
        return {"MetricAlarms": found[start : start + MaxRecords], "CompositeAlarms": [], **more}

    def describe_alarm_contributors(self, *, AlarmName: str, NextToken: str = "0") -> dict[str, Any]:
        self._called("DescribeAlarmContributors")
        assert AlarmName == "sum"
        if self.contributors is None:
            raise client_error("UnknownOperationException", "DescribeAlarmContributors")
        start = int(NextToken)
        more = {"NextToken": str(start + 2)} if len(self.contributors) > start + 2 else {}
        return {"AlarmContributors": self.contributors[start : start + 2], **more}

    def list_alarm_mute_rules(self, *, Statuses: Sequence[str], NextToken: str = "") -> dict[str, Any]:
        self._called("ListAlarmMuteRules")
        assert Statuses == ["ACTIVE"]
        arn = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm-mute-rule:night"
        return {"AlarmMuteRuleSummaries": [{"AlarmMuteRuleArn": arn}] if self.muted else []}

    def get_alarm_mute_rule(self, *, AlarmMuteRuleName: str) -> dict[str, Any]:
        self._called("GetAlarmMuteRule")
        assert AlarmMuteRuleName == "night"
        return {"MuteTargets": {"AlarmNames": self.muted}}

    def list_tags_for_resource(self, *, ResourceARN: str) -> dict[str, Any]:
        self._called("ListTagsForResource")
        return {"Tags": [{"Key": key, "Value": value} for key, value in self.tags.get(ResourceARN, {}).items()]}
