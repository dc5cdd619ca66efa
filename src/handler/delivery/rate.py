"""The rate limit's arithmetic: a rolling window in segments, and which permits are left for whom. Pure.

All times are epoch milliseconds. A permit counts from the segment it was taken in until the whole minute after that
segment has passed, and one segment more for what is still on its way: so no rolling minute has more requests than the
limit, and nearly all of it can be used.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, floor
from typing import NamedTuple

WINDOW_MS = 60_000
"""PagerDuty limits requests in a rolling minute: https://developer.pagerduty.com/docs/events-api-v2-overview"""
SEGMENT_MS = 500
SEGMENTS = WINDOW_MS // SEGMENT_MS + 2
"""In how many segments a permit counts: its own, those of a minute, and one."""
PERIOD_MS = SEGMENTS * SEGMENT_MS
KEPT_WHEN_PACED = 2
"""How many permits stay free while a large backlog is paced, if some come free soon."""
SOON_MS = 1500
_HEAD_ROOM = 12
"""One permit in this many is kept for critical triggers."""


class Limit(NamedTuple):
    """How many permits there are in a period.

    Attributes:
        all: for critical triggers.
        lesser: for everything else.
    """

    all: int
    lesser: int

    @classmethod
    def of(cls, a_minute: float) -> "Limit":
        """Return the limit for this many requests in any rolling minute."""
        permits = max(1, floor(a_minute))
        return cls(permits, permits - min(ceil(permits / _HEAD_ROOM), permits - 1))

    @property
    def kept(self) -> int:
        """How many permits are kept for critical triggers."""
        return self.all - self.lesser

    @property
    def large_backlog(self) -> int:
        """A backlog of more than this, two minutes of permits, is paced."""
        return 2 * self.all

    @property
    def interval_ms(self) -> float:
        """How far apart permits come free on average."""
        return PERIOD_MS / self.all


@dataclass(frozen=True, slots=True)
class Window:
    """The permits of one routing key.

    Attributes:
        segment: the latest one that a permit was taken in.
        counts: permits taken, by segment; those that no longer count are left out when the window rolls on.
        blocked_until: PagerDuty refused a request for its own limit: no permits before this.
        drain_until: until then a drainer is running, or was woken.
        probe_at: the key is suspended (PagerDuty out of reach, or the key refused), and one request may try it from
            then on; None where it is not.
        probe_ms: how far apart such requests are.
    """

    segment: int
    counts: Mapping[int, int] = field(default_factory=dict)
    blocked_until: int = 0
    drain_until: int = 0
    probe_at: int | None = None
    probe_ms: int = 0

    @property
    def used(self) -> int:
        """The number of permits that count."""
        return sum(self.counts.values())

    def at(self, segment: int) -> "Window":
        """Return the window as it is in a later segment; never goes back."""
        if segment <= self.segment:
            return self
        counts = {taken: permits for taken, permits in self.counts.items() if taken > segment - SEGMENTS}
        return Window(segment, counts, self.blocked_until, self.drain_until, self.probe_at, self.probe_ms)

    def free_at(self, limit: int, now: int) -> int:
        """Return when a permit comes free under this limit: `now` where one is."""
        over = self.used - limit + 1
        for taken in sorted(self.counts):
            if over <= 0:
                break
            over -= self.counts[taken]
            now = max(now, (taken + SEGMENTS) * SEGMENT_MS)
        return max(now, self.blocked_until)

    def free_soon(self, now: int) -> int:
        """Return how many permits come free within the next one and a half seconds."""
        segment = segment_of(now + SOON_MS)
        return sum(permits for taken, permits in self.counts.items() if taken <= segment - SEGMENTS)


def may_drain(window: Window, limit: Limit, backlog: int, now: int, paced_until: float, taken: int = 0) -> bool:
    """Whether a drainer may take a permit for what is not critical, after `taken` others.

    A small backlog goes in bursts, with the head-room kept for critical triggers. A large one is paced, so that a
    permit comes free every half second, and few have to be kept; so is the end of a large one.
    """
    free = limit.all - window.used - taken
    if backlog <= limit.large_backlog and free > limit.kept:
        return True
    kept = min(KEPT_WHEN_PACED if window.free_soon(now) >= 2 else limit.kept, limit.kept)
    return now >= paced_until and taken == 0 and free - 1 >= kept


def segment_of(now: int) -> int:
    """Return the segment of an instant."""
    return now // SEGMENT_MS
