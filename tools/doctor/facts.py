"""What is known of an account, and which of its alarms reach the stack, others, or nobody."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from handler.targets.target import TargetSet
from tools.stack import Stack

_CHILD = re.compile(r"""(?:ALARM|OK|INSUFFICIENT_DATA)\s*\(\s*["']?([^"')]+)["']?\s*\)""")
_SCALING = ("autoscaling", "application-autoscaling")


@dataclass(frozen=True, slots=True)
class Rule:
    """An EventBridge rule of the stack.

    Attributes:
        parameter: the template's parameter that switches it; empty where it has none.
    """

    name: str
    is_enabled: bool
    reads_alarms: bool
    parameter: str


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription to a topic."""

    protocol: str
    endpoint: str
    is_confirmed: bool


_NOT_READ = (Subscription("", "", is_confirmed=True),)


@dataclass
class Facts:
    """What was read of the account.

    Attributes:
        prefix: how the names of the alarms begin that are looked at.
        alarms: all of the account and region that begin so.
        tags: by ARN, of the alarms that name the stack.
        topics: subscriptions by topic; None for one that does not exist.
        own_alarms: names of the alarms that watch the stack itself.
        siblings: the operators' topics of other publishers, with their stacks' names: their doctor looks at these.
        loops: what Lambda does about recursive loops; empty where it was not read.
        takes_retries: whether the retry queue feeds the function; None where it was not read.
        skipped: what could not be read, and why.
    """

    stack: Stack
    prefix: str = ""
    alarms: list[Mapping[str, Any]] = field(default_factory=list)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    topics: dict[str, list[Subscription] | None] = field(default_factory=dict)
    rules: list[Rule] = field(default_factory=list)
    own_alarms: set[str] = field(default_factory=set)
    siblings: dict[str, str] = field(default_factory=dict)
    operator_topic: str = ""
    targets: TargetSet | None = None
    dead_letters: int = 0
    loops: str = ""
    takes_retries: bool | None = None
    skipped: list[str] = field(default_factory=list)

    @property
    def takes_all_alarms(self) -> bool:
        """Whether a rule pages for every alarm, with or without an action."""
        return any(rule.reads_alarms and rule.is_enabled for rule in self.rules)

    def delivers(self, action: str) -> bool:
        """Return whether an alarm's action leads to the function."""
        function = self.stack.function_arn
        if action == function or action.startswith(f"{function}:"):
            return True
        return any(
            subscription.is_confirmed
            and (subscription.endpoint == function or subscription.endpoint.startswith(f"{function}:"))
            for subscription in self.topics.get(action) or ()
        )

    def leads_here(self, alarm: Mapping[str, Any]) -> bool:
        """Return whether an ALARM action of an alarm leads to the function."""
        return any(map(self.delivers, actions_of(alarm)))

    def reaches_others(self, alarm: Mapping[str, Any]) -> bool:
        """Return whether an ALARM action leads to somebody else; a topic that was not read counts as one that does."""
        for action in actions_of(alarm):
            if not is_topic(action):
                return True
            if action == self.stack.topic_arn or region_of(action) != self.stack.region:
                continue
            subscriptions = self.topics.get(action, _NOT_READ) or ()
            if any(each.is_confirmed for each in subscriptions):
                return True
        return False

    @cached_property
    def concerned(self) -> list[Mapping[str, Any]]:
        """The alarms for people: not publishers' own, not those of scaling, not the parts of a composite."""
        parts = {name for alarm in self.alarms for name in _CHILD.findall(alarm.get("AlarmRule") or "")}
        return [
            alarm
            for alarm in self.alarms
            if alarm["AlarmName"] not in self.own_alarms
            and not (actions_of(alarm) and self.siblings.keys() >= set(actions_of(alarm)))
            and not (alarm["AlarmName"] in parts and not alarm.get("AlarmActions"))
            and not any(action.split(":")[2:3] and action.split(":")[2] in _SCALING for action in actions_of(alarm))
        ]

    @cached_property
    def wired(self) -> list[Mapping[str, Any]]:
        """The alarms that reach the function by an action of theirs, or by the rule."""
        return [alarm for alarm in self.concerned if self.takes_all_alarms or self.leads_here(alarm)]

    @cached_property
    def others(self) -> list[Mapping[str, Any]]:
        """The alarms that reach somebody else, and have no action that leads here."""
        return [
            alarm
            for alarm in self.concerned
            if not self.takes_all_alarms
            and not self.leads_here(alarm)
            and not any(map(self.delivers, alarm.get("OKActions") or ()))
            and self.reaches_others(alarm)
        ]

    @cached_property
    def stranded(self) -> list[Mapping[str, Any]]:
        """The alarms that reach nobody; also those of which only the OK action leads here."""
        reaching = {alarm["AlarmArn"] for alarm in (*self.wired, *self.others)}
        return [alarm for alarm in self.concerned if alarm["AlarmArn"] not in reaching]


def actions_of(alarm: Mapping[str, Any]) -> list[str]:
    """Return the ARNs that an alarm notifies in state ALARM."""
    return list(alarm.get("AlarmActions") or ())


def names_of(alarms: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the names of alarms."""
    return tuple(alarm["AlarmName"] for alarm in alarms)


def region_of(arn: str) -> str:
    """Return an ARN's region; empty if it has none."""
    parts = arn.split(":")
    return parts[3] if len(parts) > 3 else ""


def is_topic(action: str) -> bool:
    """Return whether an action is a topic of SNS."""
    return action.split(":")[2:3] == ["sns"]


def topics_of(alarm: Mapping[str, Any]) -> list[str]:
    """Return the topics that an alarm notifies in state ALARM."""
    return [action for action in actions_of(alarm) if is_topic(action)]
