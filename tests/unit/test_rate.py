"""The limit's arithmetic."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.delivery.rate import (
    AFTER_YOU_MS,
    PERIOD_MS,
    SEGMENT_MS,
    SEGMENTS,
    WINDOW_MS,
    Limit,
    Priority,
    Window,
    interval_ms,
    segment_of,
)

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
    assert window.looks_at(LIMIT, Priority.TRIGGER, NOW + 600, NOW) >= NOW + 30_000


def place(number: int) -> int:
    """Give a place in the line, the first of which is 1."""
    return NOW + number * interval_ms(LIMIT)


def test_the_first_in_the_line_look_when_the_first_turns_come_free() -> None:
    """As do all for whom a turn comes free in that burst: head-room that was used up is for criticals again."""
    free_at = (segment_of(NOW) + SEGMENTS) * SEGMENT_MS
    assert {full().looks_at(LIMIT, Priority.TRIGGER, place(number), NOW) for number in range(1, 111)} == {free_at}
    assert full().looks_at(LIMIT, Priority.TRIGGER, place(111), NOW) > free_at


def test_everybody_comes_with_the_turn_that_is_theirs() -> None:
    """Turns that were taken one after the other come free one after the other; nobody is sent for the first few."""
    taken = {segment_of(NOW) - number: 1 for number in range(120)}
    looks_at = [
        Window(segment_of(NOW), taken).looks_at(LIMIT, Priority.TRIGGER, place(number), NOW) for number in range(1, 111)
    ]
    assert looks_at == [(segment_of(NOW) - number + SEGMENTS) * SEGMENT_MS for number in range(109, -1, -1)]


def test_who_has_passed_the_place_comes_with_the_next_turn() -> None:
    """It was given to somebody else, who was early."""
    assert full().looks_at(LIMIT, Priority.TRIGGER, NOW - 10_000, NOW) == full().looks_at(
        LIMIT, Priority.TRIGGER, place(1), NOW
    )


def test_who_is_far_back_looks_half_way_when_turns_come_free() -> None:
    """Those ahead may have lost interest: a moment after those whose turns they are."""
    free_at = (segment_of(NOW) + SEGMENTS) * SEGMENT_MS
    for periods, looks_in in ((0, 0), (1, 0), (2, 1), (3, 1), (10, 5)):
        number = 1 + periods * LIMIT.lesser
        waits = looks_in * PERIOD_MS + (AFTER_YOU_MS if periods else 0)
        assert full().looks_at(LIMIT, Priority.TRIGGER, place(number), NOW) == free_at + waits


def test_a_critical_one_comes_when_the_next_turns_are_free_wherever_it_stands() -> None:
    """It passes a thousand warnings; and the head-room is its own."""
    free_at = (segment_of(NOW) + SEGMENTS) * SEGMENT_MS
    assert {full().looks_at(LIMIT, Priority.CRITICAL, place(n), NOW) for n in (1, 120, 121, 1000)} == {free_at}


def test_a_resolve_behind_a_line_looks_soon_where_turns_are_left_over() -> None:
    """It let triggers go first, and there were none."""
    window = full(10, line_until=place(20))
    assert window.looks_at(LIMIT, Priority.LATER, place(21), NOW) == NOW + SEGMENT_MS


@given(
    st.dictionaries(st.integers(segment_of(NOW) - SEGMENTS + 1, segment_of(NOW)), st.integers(0, 50)),
    st.integers(-100_000, 10_000_000),
)
def test_whoever_is_sent_away_looks_again_later_and_not_much_too_late(counts: dict[int, int], ahead: int) -> None:
    """In the future, and at the latest a period after the place in the line."""
    window = Window(segment_of(NOW), counts)
    looks_at = window.looks_at(LIMIT, Priority.TRIGGER, NOW + ahead, NOW)
    assert NOW < looks_at <= NOW + max(0, ahead) * 2 + 2 * PERIOD_MS
