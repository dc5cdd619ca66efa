"""The rate limit's arithmetic: a rolling window in segments, and when whoever waits looks again. Pure.

All times are epoch milliseconds. A turn counts from the segment it was taken in until the whole minute after that
segment has passed, and one segment more for what is still on its way: so no rolling minute has more requests than the
limit, and nearly all of it can be used.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from math import ceil, floor

WINDOW_MS = 60_000
"""PagerDuty limits requests in a rolling minute: https://developer.pagerduty.com/docs/events-api-v2-overview"""
SEGMENT_MS = 500
SEGMENTS = WINDOW_MS // SEGMENT_MS + 2
"""In how many segments a turn counts: its own, those of a minute, and one."""
PERIOD_MS = SEGMENTS * SEGMENT_MS
AFTER_YOU_MS = 1000
"""How long those in front have to take their turns: what SQS rounds a delay to."""
_HEAD_ROOM = 12
"""One turn in so many is kept for critical triggers."""


class Priority(IntEnum):
    """Who goes first when turns are short."""

    LATER = 0
    """Resolves, acknowledges, change events: they stand in the line where there is one."""
    TRIGGER = 1
    CRITICAL = 2
    """Critical triggers have the head-room."""


@dataclass(frozen=True, slots=True)
class Limit:
    """How many turns there are in a period.

    Attributes:
        all: for critical triggers.
        lesser: for everything else.
    """

    all: int
    lesser: int

    @classmethod
    def of(cls, a_minute: float) -> "Limit":
        """Give the limit that never exceeds so many requests in a rolling minute."""
        turns = max(1, floor(a_minute))
        return cls(turns, turns - min(ceil(turns / _HEAD_ROOM), turns - 1))

    def of_priority(self, priority: Priority) -> int:
        """Give how many turns of a period this priority may use."""
        return self.all if priority is Priority.CRITICAL else self.lesser


@dataclass(frozen=True, slots=True)
class Window:
    """The turns of one routing key.

    Attributes:
        segment: the latest one that a turn was taken in.
        counts: turns taken, by segment; those that no longer count are left out when the window rolls on.
        blocked_until: PagerDuty refused a request: no turns before this.
        line_until: until when the turns to come are spoken for by those who wait.
    """

    segment: int
    counts: Mapping[int, int] = field(default_factory=dict)
    blocked_until: int = 0
    line_until: int = 0

    @property
    def used(self) -> int:
        """How many turns count."""
        return sum(self.counts.values())

    def at(self, segment: int) -> "Window":
        """Give the window as it is when time has come to a segment; never goes back."""
        if segment <= self.segment:
            return self
        counts = {taken: turns for taken, turns in self.counts.items() if taken > segment - SEGMENTS}
        return Window(segment, counts, self.blocked_until, self.line_until)

    def has_turn(self, limit: Limit, priority: Priority, now: int, *, has_place: bool) -> bool:
        """Whether a turn can be taken; `has_place` says that the taker has stood in the line."""
        if self.blocked_until > now or self.used >= limit.of_priority(priority):
            return False
        return priority is not Priority.LATER or has_place or self.line_until <= now

    def looks_at(self, limit: Limit, priority: Priority, turn_at: int, now: int) -> int:
        """Give when to look again for somebody whose turn, in the line, comes at `turn_at`.

        Turns come free as they were taken, in bursts: this is when as many will have come free as are ahead in the
        line. Who is a period or more behind them looks with an earlier burst, half-way, and a moment after those whose
        burst it is: of those ahead many may have lost interest meanwhile, and turns would be left over. Critical
        triggers look with the next burst wherever they stand.
        """
        freed = [(taken + SEGMENTS) * SEGMENT_MS for taken in sorted(self.counts) for _ in range(self.counts[taken])]
        idle = limit.of_priority(priority) - len(freed)
        begins_at = max(now, self.blocked_until)
        turns = [begins_at] * idle + freed[max(0, -idle) :]
        ahead = max(0, ceil((turn_at - now) / interval_ms(limit)) - 1)
        periods, place = divmod(ahead, len(turns))
        free_at = turns[place]
        if periods and priority is not Priority.CRITICAL:
            free_at += periods // 2 * PERIOD_MS + AFTER_YOU_MS
        return max(free_at, begins_at, now + SEGMENT_MS)


def segment_of(now: int) -> int:
    """Give the segment of an instant."""
    return now // SEGMENT_MS


def interval_ms(limit: Limit) -> int:
    """Give how far apart two turns are on average: what each who waits adds to the line."""
    return ceil(PERIOD_MS / limit.lesser)
