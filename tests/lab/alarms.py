"""CloudWatch alarms for a fleet: their states over time, what they notify, and the health check that compares them."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from typing import Any, cast

from handler.agreement.agreement import Agreement
from handler.agreement.comparison import Comparison
from handler.agreement.wiring import Scope
from handler.sources.reader import Reader
from tests.lab.clock import NOW
from tests.lab.dynamodb import TABLE
from tests.lab.fleet import Environment, Fleet, Misfortune

ACCOUNT, REGION = "000000000000", "us-east-1"
TOPIC_ARN = f"arn:aws:sns:{REGION}:{ACCOUNT}:alerts"
FUNCTION_ARN = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:publisher"
CHECK_SECONDS = 300.0
TIE_SECONDS = 2.5
"""Times this close are a tie if one has whole seconds: 1.5 s, and what cutting to a whole second takes off."""
CHECK_TIME_SECONDS = 57.0
AFTER_SECONDS = 2 * CHECK_SECONDS + 240.0
"""How long a run goes on after the last change: two comparisons, and a redelivery."""


@dataclass(frozen=True)
class Change:
    """An alarm goes to another state.

    Attributes:
        at: in seconds after the beginning.
        state: ALARM, OK or INSUFFICIENT_DATA.
        delays: how long each delivery of its notification takes; none where it is lost, or the alarm has no action.
    """

    at: float
    state: str
    delays: Sequence[float] = ()


@dataclass(frozen=True)
class Alarm:
    """An alarm's life.

    Attributes:
        changes: each to another state; the first goes to ALARM.
        precision: of the time by which DescribeAlarms and notifications know a change, in seconds.
        by: the path of its notifications: `sns` or `eventbridge`.
        quiet: seconds (begin, end) in which its actions are disabled: it notifies nobody, and says so.
        deleted_at: when it is deleted; infinite where it is not.
    """

    name: str
    changes: Sequence[Change]
    precision: float = 0.001
    by: str = "sns"
    quiet: tuple[float, float] = (0.0, 0.0)
    deleted_at: float = float("inf")

    @property
    def arn(self) -> str:
        """Its ARN, which is its dedup key."""
        return f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{self.name}"

    @property
    def ties(self) -> int:
        """How many changes followed another within the time in which clocks tell no order: these may end either way."""
        return sum(later.at - change.at < TIE_SECONDS for change, later in pairwise(self.changes))

    def is_quiet(self, at: float) -> bool:
        """Return whether its actions are disabled."""
        return self.quiet[0] <= at < self.quiet[1]

    def newest(self, at: float) -> Change | None:
        """Return the change that it is in the state of."""
        return next((change for change in reversed(self.changes) if change.at <= at), None)

    def time_of(self, change: Change) -> datetime:
        """Return when CloudWatch says that a change was."""
        return datetime.fromtimestamp((NOW + change.at) // self.precision * self.precision, UTC)

    def described(self, at: float) -> dict[str, Any] | None:
        """Return it as DescribeAlarms does."""
        change = self.newest(at)
        if change is None or at >= self.deleted_at:
            return None
        since = self.time_of(change)
        return {
            "AlarmName": self.name,
            "AlarmArn": self.arn,
            "StateValue": change.state,
            "StateReason": "Threshold Crossed",
            "StateUpdatedTimestamp": since,
            "StateTransitionedTimestamp": since,
            "ActionsEnabled": not self.is_quiet(at),
            "AlarmActions": [TOPIC_ARN],
            "OKActions": [],
        }

    def event_of(self, number: int) -> dict[str, Any]:
        """Return the invocation that the notification of one of its changes brings."""
        change = self.changes[number]
        at, message_id = self.time_of(change), f"{self.name}-{number}"
        if self.by == "eventbridge":
            return {
                "version": "0",
                "id": message_id,
                "detail-type": "CloudWatch Alarm State Change",
                "source": "aws.cloudwatch",
                "account": ACCOUNT,
                "region": REGION,
                "time": f"{datetime.fromtimestamp(NOW + change.at, UTC):%Y-%m-%dT%H:%M:%SZ}",
                "resources": [self.arn],
                "detail": {
                    "alarmName": self.name,
                    "state": {"value": change.state, "reason": "Threshold Crossed", "timestamp": _text(at)},
                },
            }
        message = {
            "AlarmName": self.name,
            "AlarmArn": self.arn,
            "AWSAccountId": ACCOUNT,
            "NewStateValue": change.state,
            "NewStateReason": "Threshold Crossed",
            "StateChangeTime": _text(at),
        }
        sns = {
            "Type": "Notification",
            "MessageId": message_id,
            "TopicArn": TOPIC_ARN,
            "Message": json.dumps(message),
            "Timestamp": f"{datetime.fromtimestamp(NOW + change.at, UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z",
        }
        return {"Records": [{"EventSource": "aws:sns", "EventVersion": "1.0", "Sns": sns}]}


def _text(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "+0000"


@dataclass
class _CloudWatch:
    """The alarms as one environment reads them."""

    environment: Environment

    def describe_alarms(
        self, *, StateValue: str = "", AlarmNames: Sequence[str] | None = None, **_: Any
    ) -> dict[str, Any]:
        fleet = cast(AlarmFleet, self.environment.fleet)
        self.environment.execution.call(0.02)
        found = [alarm.described(fleet.seconds) for alarm in fleet.alarms]
        self.environment.execution.call(0.02)
        return {
            "MetricAlarms": [
                alarm
                for alarm in found
                if alarm
                and StateValue in ("", alarm["StateValue"])
                and (AlarmNames is None or alarm["AlarmName"] in AlarmNames)
            ]
        }

    def list_alarm_mute_rules(self, **_: Any) -> dict[str, Any]:
        return {}


class AlarmFleet(Fleet):
    """A fleet whose alerts are CloudWatch alarms, with the health check's comparison every five minutes.

    Args:
        alarms: each with its changes of state.
        phase: when the first comparison is, in seconds.
    """

    def __init__(
        self, alarms: Sequence[Alarm], *, phase: float, seed: int, misfortune: Misfortune | None = None, **more: Any
    ) -> None:
        super().__init__([], seed=seed, misfortune=misfortune, **more)
        self.alarms = alarms
        self.phase = phase
        self.compared: Counter[str] = Counter()
        """How many messages the comparisons published, by reason."""
        self._comparisons: dict[Environment, Comparison] = {}

    @property
    def ends_at(self) -> float:
        """When nothing more is to be expected."""
        ends = [
            max(alarm.changes[-1].at, alarm.quiet[1], alarm.deleted_at if alarm.deleted_at < float("inf") else 0.0)
            for alarm in self.alarms
        ]
        outages = [window.ends + AFTER_SECONDS for window in self.misfortune.table]
        return max([*ends, *outages]) + AFTER_SECONDS

    def run(self, seconds: float = 0.0) -> None:
        """Let everything happen, until every change has been compared twice."""
        for alarm in self.alarms:
            for number, change in enumerate(alarm.changes):
                if alarm.is_quiet(change.at):
                    continue
                for delay in change.delays:
                    self._plan(change.at + delay, partial(self._invoke, alarm.event_of(number), 0))
        at = self.phase
        while at < self.ends_at:
            self._plan(at, lambda: self._start(self._compare, 0))
            at += CHECK_SECONDS
        super().run(seconds or self.ends_at + CHECK_SECONDS)

    def _compare(self, environment: Environment) -> None:
        """Compare alarms with records, as `app.agree` does."""
        comparison = self._comparisons.setdefault(environment, _comparison(self, environment))
        for disagreement in comparison.run(environment.clock() + CHECK_TIME_SECONDS):
            self.compared[str(disagreement.decision.why)] += 1
            environment.publish(dict(disagreement.message))


def _comparison(fleet: AlarmFleet, environment: Environment) -> Comparison:
    def report(_: str) -> None:
        fleet.compared["not compared"] += 1

    agreement = Agreement(
        cast(Any, _CloudWatch(environment)),
        cast(Any, environment.dynamodb),
        cast(Any, None),
        table=TABLE,
        topic_arn=TOPIC_ARN,
        function_arn=FUNCTION_ARN,
        scope=Scope.ALL,
        reader=Reader(),
        clock=environment.clock,
        report=report,
    )
    return Comparison(agreement, targets=environment.parts.targets, report=report)


@dataclass
class Verdicts:
    """What is wrong after a run: each a sentence."""

    fleet: AlarmFleet
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for alarm in self.fleet.alarms:
            self.wrong += [*self._doubled(alarm), *self._at_the_end(alarm)]
        self.wrong += [f"unexpected: {error!r}" for error in self.fleet.unexpected]
        if self.fleet.waiting:
            self.wrong.append(f"waits: {self.fleet.waiting}")

    def _doubled(self, alarm: Alarm) -> Iterator[str]:
        """Yield where there were more incidents than ALARMs; also where one came back that a person resolved."""
        if self.fleet.misfortune.table:
            return  # what is sent without a record is resolved again when the table is back
        opened = [i.opened_at - NOW for i in self.fleet.pagerduty.incidents if i.dedup_key == alarm.arn]
        began = [change.at for change in alarm.changes if change.state == "ALARM"]
        if len(opened) > len(began) + alarm.ties:
            yield f"{alarm.name}: ALARM at {began}, incidents at {[round(at, 1) for at in opened]}"

    def _at_the_end(self, alarm: Alarm) -> Iterator[str]:
        """Yield where the incident is not as its alarm."""
        states = {incident.dedup_key: str(incident.state) for incident in self.fleet.pagerduty.incidents}
        is_open = states.get(alarm.arn, "resolved") != "resolved"
        by_hand = any(key == alarm.arn for _, key in self.fleet.misfortune.persons)
        newest = alarm.changes[-1].state
        is_quiet = alarm.is_quiet(self.fleet.ends_at)
        if alarm.deleted_at < float("inf"):
            right = {False}
        elif newest == "INSUFFICIENT_DATA" or is_quiet:
            right = {True, False}
        else:
            right = {newest == "ALARM"}
        if by_hand:
            right |= {False}
        if is_open not in right:
            yield f"{alarm.name}: {newest} at the end, its incident is {states.get(alarm.arn)}"
