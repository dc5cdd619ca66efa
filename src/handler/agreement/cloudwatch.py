"""Reads alarms, their time series and tags, and mute rules from CloudWatch."""

from collections.abc import Collection, Mapping
from itertools import batched
from typing import TYPE_CHECKING, Any, Literal

from botocore.exceptions import ClientError

from handler.agreement.alarm import Alarm
from handler.agreement.aws import is_unknown_operation, pages

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch.client import CloudWatchClient

ALARM_TYPES: list[Literal["MetricAlarm", "CompositeAlarm", "LogAlarm"]] = ["MetricAlarm", "CompositeAlarm", "LogAlarm"]
"""DescribeAlarms returns metric alarms alone unless asked for the others; composite alarms need the permission on `*`:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarms.html"""
ALARMS_A_PAGE = 100
"""The most that DescribeAlarms returns, and takes names of, at a time."""


class Alarms:
    """The alarms of this account and region. Every method raises botocore's errors.

    Args:
        client: allowed DescribeAlarms, DescribeAlarmContributors, ListAlarmMuteRules, GetAlarmMuteRule and
            ListTagsForResource.
    """

    def __init__(self, client: "CloudWatchClient") -> None:
        self._client = client

    def in_alarm(self, position: str) -> tuple[list[Alarm], str]:
        """Return a page of the alarms in ALARM and the position of the next.

        The position is empty before the first page and after the last.
        """
        more: dict[str, Any] = {"NextToken": position} if position else {}
        page = self._client.describe_alarms(
            AlarmTypes=ALARM_TYPES, StateValue="ALARM", MaxRecords=ALARMS_A_PAGE, **more
        )
        return _alarms(page), page.get("NextToken", "")

    def named(self, names: Collection[str]) -> dict[str, Alarm]:
        """Return the alarms with these names, by name. One that does not exist is absent."""
        found: dict[str, Alarm] = {}
        for some in batched(sorted(names), ALARMS_A_PAGE, strict=False):
            page = self._client.describe_alarms(AlarmNames=list(some), AlarmTypes=ALARM_TYPES, MaxRecords=ALARMS_A_PAGE)
            found |= {alarm.name: alarm for alarm in _alarms(page)}
        return found

    def time_series_of(self, alarm: Alarm) -> list[Alarm]:
        """Return the time series in ALARM of an alarm that sums them up; of any other, the alarm itself.

        A region that cannot list time series also returns the alarm itself, which is then left alone.
        """
        if not alarm.sums_up:
            return [alarm]
        try:
            return [
                alarm.time_series(each)
                for page in pages(self._client.describe_alarm_contributors, AlarmName=alarm.name)
                for each in page.get("AlarmContributors", [])
            ]
        except ClientError as error:
            if is_unknown_operation(error):
                return [alarm]
            raise

    def tags(self, alarm: Alarm) -> dict[str, str]:
        """Return the tags that the alarm's own notification would carry: none unless their propagation is enabled."""
        propagation = (alarm.described.get("ActionConfiguration") or {}).get("AlarmTagsPropagation") or {}
        if not propagation.get("Enabled"):
            return {}
        tags = self._client.list_tags_for_resource(ResourceARN=alarm.arn).get("Tags", [])
        included, excluded = propagation.get("IncludedTagKeys"), propagation.get("ExcludedTagKeys") or ()
        return {
            tag["Key"]: tag["Value"]
            for tag in tags
            if tag["Key"] not in excluded and (not included or tag["Key"] in included)
        }

    def muted(self) -> set[str]:
        """Return the names of the alarms that a mute rule mutes now; none in a region without mute rules."""
        try:
            rules = [
                summary.get("AlarmMuteRuleArn", "").rpartition(":")[2]
                for page in pages(self._client.list_alarm_mute_rules, Statuses=["ACTIVE"])
                for summary in page.get("AlarmMuteRuleSummaries", [])
            ]
        except ClientError as error:
            if is_unknown_operation(error):
                return set()
            raise
        muted: set[str] = set()
        for name in rules:
            rule = self._client.get_alarm_mute_rule(AlarmMuteRuleName=name)
            muted.update((rule.get("MuteTargets") or {}).get("AlarmNames", []))
        return muted


def _alarms(page: Mapping[str, Any]) -> list[Alarm]:
    return [Alarm.of(each) for kind in ALARM_TYPES for each in page.get(f"{kind}s", [])]
