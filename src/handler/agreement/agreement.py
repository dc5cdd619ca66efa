"""One comparison: first the alarms in ALARM that have no incident, then the open incidents whose alarm has ended."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import batched
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from handler.agreement.alarm import Alarm, notification
from handler.agreement.aws import code_of, in_words
from handler.agreement.cloudwatch import ALARMS_A_PAGE, Alarms
from handler.agreement.decisions import (
    AlarmDecision,
    AlarmVerdict,
    Why,
    decide_ended,
    decide_firing,
    left_alone,
    state_of_series,
)
from handler.agreement.records import AlarmRecord, Records
from handler.agreement.routing import Routing
from handler.agreement.wiring import Scope, Wiring
from handler.alert import Alert
from handler.errors import PublishError, TableThrottledError
from handler.mapping import dedup_key_of
from handler.sources.reader import Reader

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch.client import CloudWatchClient
    from mypy_boto3_dynamodb.client import DynamoDBClient
    from mypy_boto3_sns.client import SNSClient

UNWANTED_SECONDS = 900
"""How long an alarm that no target takes is left alone, unless its state changes; then its tags are read again."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """An alarm on which CloudWatch and the records disagree.

    Attributes:
        name: of the alarm.
        decision: whether to page or to resolve, and why.
        message: the notification that does so when it is published.
    """

    name: str
    decision: AlarmDecision
    message: Mapping[str, Any]


class Agreement:
    """Compares the alarms of this account and region with the records, again and again.

    Args:
        cloudwatch: `Alarms` lists the permissions that it needs.
        dynamodb: `Records` lists those.
        sns: `Wiring` lists those.
        table: the name of the table of records.
        topic_arn: this stack's topic for alerts.
        function_arn: this function's, without a version or alias.
        scope: which alarms are compared.
        reader: reads a notification as this function does.
        clock: epoch seconds.
        report: called with one sentence about what could not be read.
    """

    def __init__(
        self,
        cloudwatch: "CloudWatchClient",
        dynamodb: "DynamoDBClient",
        sns: "SNSClient",
        *,
        table: str,
        topic_arn: str,
        function_arn: str,
        scope: Scope,
        reader: Reader,
        clock: Callable[[], float],
        report: Callable[[str], None],
    ) -> None:
        self._alarms = Alarms(cloudwatch)
        self._records = Records(dynamodb, table, clock)
        self._wiring = Wiring(sns, topic_arn=topic_arn, function_arn=function_arn, scope=scope, clock=clock)
        self._function_arn = function_arn
        self._reader = reader
        self._clock = clock
        self._report = report
        self._position = ""
        self._unwanted: dict[str, tuple[float, datetime]] = {}
        self.left: Counter[Why] = Counter()
        """How many alarms and incidents the last run left alone, by reason."""

    def run(self, routing: Routing, deadline: float) -> Iterator[list[Disagreement]]:
        """Yield what to publish, a page of alarms at a time, until all are compared or the deadline is near.

        The next run begins where this one was cut short. Never raises botocore's errors: what cannot be read now is
        read five minutes later. `deadline` is in epoch seconds.
        """
        self.left = Counter()
        try:
            muted = self._alarms.muted()
            yield from self._to_page(routing, muted, deadline)
            yield from self._to_resolve(routing, muted, deadline)
        except (ClientError, BotoCoreError) as error:
            if isinstance(error, ClientError) and "NextToken" in code_of(error):
                self._position = ""
            self._report_not_compared(in_words(error))

    def _report_not_compared(self, why: str) -> None:
        self._report(f"alarms and records could not be compared: {why}")

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)

    def _parse(self, message: Mapping[str, Any]) -> Alert | None:
        """Return CloudWatch's notification as the alert that would be published, or None if none would be."""
        try:
            parsed = self._reader.read(message, self._now())
        except PublishError:
            return None
        return next((found for found in parsed if isinstance(found, Alert)), None)

    # --- alarms in ALARM without an incident ---

    def _to_page(self, routing: Routing, muted: Collection[str], deadline: float) -> Iterator[list[Disagreement]]:
        """Yield the alarms to page for, from where the last run was cut short."""
        while self._clock() < deadline:
            alarms, next_position = self._alarms.in_alarm(self._position)
            yield self._to_page_of(self._candidates(alarms, muted), routing)
            # after the page is published: a run that is killed reads it again
            self._position = next_position
            if not next_position:
                return

    def _candidates(self, alarms: Sequence[Alarm], muted: Collection[str]) -> list[tuple[Alarm, str]]:
        """Return what to compare with records, each an alarm or a time series with its dedup key; count the others."""
        candidates = []
        for described in alarms:
            is_wired = self._wiring.is_wired(described)
            for alarm in self._alarms.time_series_of(described) if is_wired else [described]:
                why = left_alone(alarm, self._now(), is_wired=is_wired, is_muted=alarm.name in muted)
                if not why and self._is_unwanted(alarm):
                    why = Why.NO_TARGET
                alert = None if why else self._parse(notification(alarm))
                if alert:
                    candidates.append((alarm, dedup_key_of(alert)))
                else:
                    self.left[why or Why.UNREADABLE] += 1
        return candidates

    def _to_page_of(self, candidates: Sequence[tuple[Alarm, str]], routing: Routing) -> list[Disagreement]:
        """Return the alarms that no record knows of and a target takes; count the others."""
        try:
            records = self._records.read(routing.names(), dict.fromkeys(key for _, key in candidates))
        except TableThrottledError as error:
            self._report_not_compared(str(error))
            return []
        found = []
        for alarm, key in candidates:
            decision = decide_firing(alarm, records.get(key, ()))
            if decision.verdict is AlarmVerdict.PAGE:
                message = notification(alarm, self._alarms.tags(alarm))
                alert = self._parse(message)
                if alert and routing.pages(alert):
                    found.append(Disagreement(alarm.name, decision, message))
                    continue
                self._unwanted[alarm.fingerprint] = (self._clock() + UNWANTED_SECONDS, alarm.since)
                decision = AlarmDecision(AlarmVerdict.LEAVE, Why.NO_TARGET)
            self.left[decision.why] += 1
        return found

    def _is_unwanted(self, alarm: Alarm) -> bool:
        """Return whether no target took this state of the alarm a short time ago."""
        until, since = self._unwanted.get(alarm.fingerprint, (0.0, alarm.since))
        return self._clock() < until and since == alarm.since

    # --- open incidents whose alarm has ended ---

    def _to_resolve(self, routing: Routing, muted: Collection[str], deadline: float) -> Iterator[list[Disagreement]]:
        """Yield the incidents to resolve; their records tell which alarms to read."""
        if self._clock() >= deadline:
            return
        _, partition, _, region, account, *_ = self._function_arn.split(":")
        prefix = f"arn:{partition}:cloudwatch:{region}:{account}:alarm:"
        by_key: dict[str, list[AlarmRecord]] = {}
        for record in self._records.unresolved(prefix, deadline):
            if routing.resolves(record.target):
                by_key.setdefault(record.dedup_key, []).append(record)
        for keys in batched(sorted(by_key), ALARMS_A_PAGE, strict=False):
            if self._clock() >= deadline:
                return
            alarms = self._alarms.named({name for key in keys for name, _ in by_key[key][0].subjects})
            firing = {alarm.name: self._firing_series(alarm) for alarm in alarms.values()}
            ended = (self._to_resolve_of(by_key[key], alarms, firing, muted) for key in keys)
            yield [disagreement for disagreement in ended if disagreement]

    def _firing_series(self, alarm: Alarm) -> set[str]:
        """Return the ids of an alarm's time series in ALARM: the empty one where the whole alarm is."""
        return {each.contributor for each in self._alarms.time_series_of(alarm)} if alarm.state == "ALARM" else set()

    def _to_resolve_of(
        self,
        records: Sequence[AlarmRecord],
        alarms: Mapping[str, Alarm],
        firing: Mapping[str, Collection[str]],
        muted: Collection[str],
    ) -> Disagreement | None:
        """Return how to resolve one incident, or None if it has not ended at any target; count those left alone.

        Args:
            records: of one dedup key, one for each target. One resolve reaches all of them.
            alarms: those that exist, by name.
            firing: the ids of the time series in ALARM, by the alarm's name.
            muted: the names of muted alarms.
        """
        now = self._now()
        subjects = records[0].subjects
        name, contributor = next((subject for subject in subjects if subject[0] in alarms), subjects[0])
        alarm = alarms.get(name)
        if alarm and contributor:
            alarm = state_of_series(alarm, contributor, firing[name], now)
        found: AlarmDecision | None = None
        for record in records:
            decision = decide_ended(alarm, record, now, self._reader.when_undetermined, is_muted=name in muted)
            if decision.verdict is AlarmVerdict.RESOLVE:
                found = decision
            else:
                self.left[decision.why] += 1
        if not found:
            return None
        gone = Alarm(arn=records[0].dedup_key, name=name, state="OK", since=now, reason="The alarm was deleted")
        return Disagreement(name, found, notification(replace(alarm or gone, state="OK", contributor=contributor)))
