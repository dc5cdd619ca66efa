"""The rate limit's arithmetic: how long a permit counts, and how many are left for whom."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.delivery.rate import (
    PERIOD_MS,
    SEGMENT_MS,
    SEGMENTS,
    WINDOW_MS,
    Limit,
    Window,
    may_drain,
    segment_of,
)

NOW = 1_795_405_200_000
LIMIT = Limit.of(120)


def window(*ages_ms: int, now: int = NOW) -> Window:
    """Return the window in which permits of these ages were taken; those that no longer count are left out."""
    taken = [segment_of(now - age) for age in ages_ms if segment_of(now - age) > segment_of(now) - SEGMENTS]
    return Window(segment_of(now), {segment: taken.count(segment) for segment in taken})


@pytest.mark.parametrize(
    ("a_minute", "permits", "lesser"),
    [(120, 120, 110), (120.9, 120, 110), (60, 60, 55), (12, 12, 11), (2, 2, 1), (1, 1, 1), (0.5, 1, 1)],
)
def test_a_twelfth_is_kept_for_critical_triggers(a_minute: float, permits: int, lesser: int) -> None:
    """At least one where there are two, and something is always left for the others."""
    limit = Limit.of(a_minute)
    assert (limit.all, limit.lesser, limit.kept) == (permits, lesser, permits - lesser)


def test_a_permit_counts_for_a_minute_and_hardly_more() -> None:
    """Wherever in its segment it was taken: never less than a minute and a segment, and at most a second more."""
    assert WINDOW_MS + SEGMENT_MS <= PERIOD_MS <= WINDOW_MS + 2 * SEGMENT_MS
    for offset in (0, SEGMENT_MS - 1):
        taken_at = NOW + offset
        taken = Window(segment_of(taken_at), {segment_of(taken_at): 1})
        ends = next(at for at in range(taken_at, taken_at + 70_000) if taken.at(segment_of(at)).used == 0)
        assert WINDOW_MS + SEGMENT_MS < ends - taken_at <= PERIOD_MS


def test_time_does_not_go_back() -> None:
    """An execution whose clock is behind sees the window as it was left."""
    later = window(0, 1000)
    assert later.at(later.segment - 5) == later


def test_what_is_reported_beside_the_permits_stays() -> None:
    """A window that rolls on keeps the pause, the drainer and the probe."""
    full = replace(window(0), blocked_until=1, drain_until=2, probe_at=3, probe_ms=4)
    assert full.at(full.segment + 2 * SEGMENTS) == replace(full, segment=full.segment + 2 * SEGMENTS, counts={})


@given(st.lists(st.integers(0, PERIOD_MS), max_size=30), st.integers(1, 12))
def test_when_a_permit_comes_free(ages: list[int], limit: int) -> None:
    """Then there is one, and a moment before there is none."""
    current = window(*ages)
    free_at = current.free_at(limit, NOW)
    assert current.at(segment_of(free_at)).used < limit
    if free_at > NOW:
        assert current.at(segment_of(free_at - 1)).used >= limit


def test_no_permit_comes_free_during_a_pause() -> None:
    """Not even where there are some."""
    assert replace(Window(segment_of(NOW)), blocked_until=NOW + 7).free_at(1, NOW) == NOW + 7


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=100), st.integers(1, 8))
def test_no_rolling_minute_has_more_permits_than_the_limit(gaps: list[int], limit: int) -> None:
    """Taken greedily by one that asks at any times."""
    now, current, taken = NOW, Window(segment_of(NOW)), []
    for gap in gaps:
        now += gap
        current = current.at(segment_of(now))
        if current.used < limit:
            counts = {**current.counts, current.segment: current.counts.get(current.segment, 0) + 1}
            current = replace(current, counts=counts)
            taken.append(now)
    for start in taken:
        assert sum(start <= at <= start + WINDOW_MS for at in taken) <= limit


def test_a_small_backlog_goes_in_a_burst() -> None:
    """Down to what is kept for critical triggers, however the drainer was paced before."""
    for used in range(LIMIT.all + 1):
        busy = window(*[0] * used)
        for backlog in (1, LIMIT.large_backlog):
            assert may_drain(busy, LIMIT, backlog, NOW, paced_until=NOW + 1) is (used < LIMIT.lesser), used


def test_a_large_backlog_is_paced() -> None:
    """One at a time, and no more are kept than are needed, for some come free soon."""
    backlog = LIMIT.large_backlog + 1
    free_soon = window(*[PERIOD_MS - SEGMENT_MS] * 117)
    assert not may_drain(free_soon, LIMIT, backlog, NOW, paced_until=NOW + 1)
    assert may_drain(free_soon, LIMIT, backlog, NOW, paced_until=NOW)
    almost_full = window(*[PERIOD_MS - SEGMENT_MS] * 118)
    assert not may_drain(almost_full, LIMIT, backlog, NOW, paced_until=NOW)


def test_a_large_backlog_keeps_the_head_room_while_none_comes_free_soon() -> None:
    """After a burst, which all ends at once, critical triggers would have nothing for most of a minute."""
    for used in range(LIMIT.all + 1):
        paced = may_drain(window(*[0] * used), LIMIT, LIMIT.large_backlog + 1, NOW, paced_until=NOW)
        assert paced is (used < LIMIT.lesser), used


def test_a_limit_of_one_is_drained() -> None:
    """Nothing is kept then."""
    assert may_drain(window(), Limit.of(1), 1000, NOW, paced_until=0)
    assert may_drain(window(), Limit.of(1), 1, NOW, paced_until=0)
