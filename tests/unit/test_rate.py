"""The limit's arithmetic."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.rate import PERIOD_MS, SEGMENT_MS, SEGMENTS, WINDOW_MS, Limit, Priority, Window, interval_ms, segment_of

NOW = 1_795_405_200_000
LIMIT = Limit.of(120)


def full(turns: int = LIMIT.all, now: int = NOW, **more: int) -> Window:
    """Give a window in which all turns were taken just now."""
    return Window(segment_of(now), {segment_of(now): turns}, **more)


def test_a_tenth_of_the_limit_is_kept_for_criticals() -> None:
    """Enough for a burst of ten, and more than nine tenths are left for the rest."""
    assert Limit(120, 110) == LIMIT
    assert LIMIT.lesser * 60_000 / PERIOD_MS >= 0.9 * 120


@pytest.mark.parametrize("a_minute", [0.5, 1, 1.9, 2, 12, 1000])
def test_a_limit_has_a_turn_for_everybody_and_is_never_more_than_asked(a_minute: float) -> None:
    """Head-room never takes the last turn; a fraction is rounded down, to one at the least."""
    limit = Limit.of(a_minute)
    assert 1 <= limit.lesser <= limit.all <= max(1, a_minute)


def test_a_turn_counts_for_a_whole_minute_and_less_than_two_seconds_more() -> None:
    """Whenever in its segment it was taken."""
    for taken_at in (NOW, NOW + 1, NOW + SEGMENT_MS - 1):
        window = full(1, taken_at)
        assert window.at(segment_of(taken_at + WINDOW_MS)).used == 1
        assert window.at(segment_of(taken_at + WINDOW_MS + 2 * SEGMENT_MS)).used == 0


def test_time_does_not_go_back() -> None:
    """An execution whose clock is behind sees the window as the others do."""
    assert full().at(segment_of(NOW) - 10) == full()


@pytest.mark.parametrize(
    ("used", "priority", "has_turn"),
    [
        (109, Priority.LATER, True),
        (109, Priority.TRIGGER, True),
        (110, Priority.TRIGGER, False),
        (110, Priority.CRITICAL, True),
        (119, Priority.CRITICAL, True),
        (120, Priority.CRITICAL, False),
    ],
)
def test_head_room_is_for_criticals_alone(used: int, priority: Priority, has_turn: bool) -> None:
    """What lesser ones leave."""
    assert full(used).has_turn(LIMIT, priority, NOW, has_place=False) is has_turn


def test_a_resolve_stands_in_the_line_where_there_is_one() -> None:
    """Triggers go first when turns are short; who has stood in the line goes when there is a turn."""
    window = Window(segment_of(NOW), {}, line_until=NOW + 1)
    assert not window.has_turn(LIMIT, Priority.LATER, NOW, has_place=False)
    assert window.has_turn(LIMIT, Priority.LATER, NOW, has_place=True)
    assert window.has_turn(LIMIT, Priority.TRIGGER, NOW, has_place=False)
    assert window.has_turn(LIMIT, Priority.LATER, NOW + 1, has_place=False)


def test_nobody_has_a_turn_while_pagerduty_refuses() -> None:
    """Not even a critical one."""
    window = Window(segment_of(NOW), {}, blocked_until=NOW + 30_000)
    assert not window.has_turn(LIMIT, Priority.CRITICAL, NOW + 29_999, has_place=True)
    assert window.has_turn(LIMIT, Priority.CRITICAL, NOW + 30_000, has_place=True)
    assert window.looks_at(LIMIT, NOW + 600, NOW) >= NOW + 30_000


def test_the_first_in_the_line_looks_when_the_first_turn_comes_free() -> None:
    """As do all for whom a turn comes free in that burst; the next ones a period later."""
    free_at = (segment_of(NOW) + SEGMENTS) * SEGMENT_MS
    places = [NOW + place * interval_ms(LIMIT) for place in range(1, 121)]
    assert {full().looks_at(LIMIT, place, NOW) for place in places} == {free_at}


def test_who_is_far_back_looks_half_way() -> None:
    """Those ahead may have lost interest: but never more than once in a period."""
    place = NOW + 10 * PERIOD_MS
    looks_at = full().looks_at(LIMIT, place, NOW)
    assert NOW + 4 * PERIOD_MS < looks_at < NOW + 6 * PERIOD_MS
    assert full().looks_at(LIMIT, NOW + round(1.5 * PERIOD_MS), NOW) == NOW + PERIOD_MS


@given(
    st.dictionaries(st.integers(segment_of(NOW) - SEGMENTS + 1, segment_of(NOW)), st.integers(0, 50)),
    st.integers(-100_000, 10_000_000),
)
def test_whoever_is_sent_away_looks_again_later_and_not_much_too_late(counts: dict[int, int], ahead: int) -> None:
    """In the future, and at the latest a period after the place in the line."""
    window = Window(segment_of(NOW), counts)
    looks_at = window.looks_at(LIMIT, NOW + ahead, NOW)
    assert NOW < looks_at <= NOW + max(0, ahead) * 2 + 2 * PERIOD_MS
