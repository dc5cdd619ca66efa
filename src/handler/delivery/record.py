"""The record of one alert at one target, and what it is made of.

A record holds the newest observation of the alert, who is sending it, whether an incident may be open, and whether the
delivery waits. Times are epoch milliseconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from handler.alert import Status
from handler.pagerduty.severity import Severity

DAY_MS = 86_400_000
RESOLVED_DAYS = 15
"""How long the end of an alert is remembered: SQS keeps dead letters for 14 days, and a redriven trigger must not
reopen what has ended."""
OPEN_DAYS = 30
"""How long an incident that may be open is remembered."""


TIE_MS = 1000
TIE_OF_WHOLE_SECONDS_MS = 1500


def compare(one: int, other: int) -> int:
    """Return 1 where one publishing time is newer than the other, -1 where it is older, 0 for a tie.

    Sources and carriers have clocks of their own; times less than a second apart have no order, nor do
    times less than 1.5 s apart where one of them has whole seconds.
    """
    has_whole_seconds = one % 1000 == 0 or other % 1000 == 0
    if abs(one - other) < (TIE_OF_WHOLE_SECONDS_MS if has_whole_seconds else TIE_MS):
        return 0
    return 1 if one > other else -1


class Order(IntEnum):
    """In which order waiting deliveries go out; the first part of the index's sort key."""

    CRITICAL = 0
    """Critical triggers."""
    TRIGGER = 1
    FOLLOWING = 2
    """Resolves, acknowledges and change events; where both wait, they alternate with triggers."""
    REPEAT = 3
    """The same state again, or a changed summary: behind everything else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One state of one alert for one target.

    Attributes:
        identity: the record's key: see `handler.identity`.
        at: when the state was published.
        message_id: of the message it came in; empty where there was none.
        urgency: of the severity, 0 for info to 3 for critical; counts for firing alone.
        summary: a digest of what a firing alert says.
        is_change: sent once, and never again.
        is_generic: of an unknown source: only the same message again is a duplicate.
        routed_to: the names of all targets that this state goes to, where it is more than one.
    """

    identity: str
    status: Status
    at: int
    message_id: str = ""
    urgency: int = 0
    summary: str = ""
    is_change: bool = False
    is_generic: bool = False
    routed_to: frozenset[str] = frozenset()

    @property
    def order(self) -> Order:
        """Its order among waiting deliveries, if it is new."""
        if self.is_change or self.status is not Status.FIRING:
            return Order.FOLLOWING
        return Order.CRITICAL if self.urgency >= Severity.CRITICAL.urgency else Order.TRIGGER


@dataclass(frozen=True, slots=True)
class Waiting:
    """A place among the waiting deliveries.

    Attributes:
        order: the class.
        due: since when it waits; of a repeat, from when on it may go out.
    """

    order: Order
    due: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is known of an alert at a target.

    Attributes:
        rev: raised by one with each write; 0 for a record of an earlier version.
        status: of the newest observation.
        at: when that was published.
        message_ids: of the newest firing, acknowledgement and resolve.
        owner: who is sending, while `lease_until` is in the future. A lease without an owner is a pause.
        open: an incident may be open: a trigger may have reached PagerDuty, and no resolve was accepted since.
        triggered: PagerDuty accepted a trigger, and no resolve since.
        delivered_at: when PagerDuty accepted the newest observation, or it became unnecessary; None before.
        urgency: of the newest firing.
        summary: digest of the newest firing's.
        summary_sent_at: when a changed summary was last sent.
        fired_at: when the newest firing was published; 0 where none is known.
        acknowledge: an acknowledgement that follows the trigger when that is accepted: its publishing time.
        again: while this state was being sent, a trigger was accepted without the record: this state must be sent once
            more.
        routed_to: the targets that the newest trigger went to, where it was more than one.
        waiting: its place, while it waits.
        waiting_since: when it began to wait; kept over the sending, so that a delivery never loses its place.
        body: the alert, compressed, while it waits.
        failing_since: when its first failure was, of a delivery that has failed.
        tries: how often a drainer claimed it without an answer.
        expires_at: from when on the record counts as absent; None while it waits.
        is_damaged: it cannot be read. A new arrival takes its place; what waits in it can only be dead-lettered.
    """

    status: Status
    at: int
    rev: int = 0
    message_ids: Mapping[Status, str] = field(default_factory=dict)
    owner: str | None = None
    lease_until: int = 0
    open: bool = False
    triggered: bool = False
    delivered_at: int | None = None
    urgency: int = 0
    summary: str = ""
    summary_sent_at: int | None = None
    fired_at: int = 0
    acknowledge: int | None = None
    again: bool = False
    routed_to: frozenset[str] = frozenset()
    waiting: Waiting | None = None
    waiting_since: int | None = None
    body: bytes | None = None
    failing_since: int | None = None
    tries: int = 0
    expires_at: int | None = None
    is_damaged: bool = False

    def is_absent(self, now: int) -> bool:
        """Whether it has expired, and counts as if it were not there."""
        return self.expires_at is not None and self.expires_at <= now

    def is_leased(self, now: int) -> bool:
        """Whether somebody is sending it, or a failure holds it back."""
        return self.lease_until > now

    def needs_delivery(self) -> bool:
        """Whether the newest observation has not been accepted yet."""
        return self.delivered_at is None

    def can_be_drained(self, now: int) -> bool:
        """Whether what waits may be sent now, or is to end otherwise."""
        if self.is_damaged:
            return True
        if self.waiting is None or self.is_leased(now):
            return False
        return self.waiting.order is not Order.REPEAT or self.waiting.due <= now


class Keeping(NamedTuple):
    """How long records are kept, in milliseconds after their last change."""

    ttl_ms: int

    def expires_at(self, record: Record, now: int, *, is_change: bool = False) -> int | None:
        """Return when a record expires; None while its delivery waits."""
        if record.waiting:
            return None
        if is_change:
            return now + self.ttl_ms
        days = OPEN_DAYS if record.open or record.needs_delivery() else RESOLVED_DAYS
        return now + max(self.ttl_ms, days * DAY_MS)
