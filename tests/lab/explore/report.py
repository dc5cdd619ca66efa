"""What was explored, and the shortest path to a violation."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass


class Violation(AssertionError):
    """An invariant does not hold; the message has the shortest schedule that shows it."""


@dataclass(frozen=True, slots=True)
class Explored:
    """The extent of an exploration without a violation.

    Attributes:
        states: how many different ones.
        schedules: in how many ways an end can be reached.
        ends: how many different ones.
        requests_at_most: that one schedule makes.
        is_complete: whether every state was visited; otherwise a schedule counts as far as it was followed.
    """

    states: int
    schedules: int
    ends: int
    requests_at_most: int
    is_complete: bool = True


@dataclass(frozen=True, slots=True)
class Cause[State: Hashable]:
    """How a state was reached first: who did what in which state."""

    who: str
    what: str
    state: State


def schedule_to[State: Hashable](state: State, came_from: Mapping[State, Cause[State] | None]) -> str:
    """Return what leads to a state, a line for each step."""
    lines: list[str] = []
    cause = came_from[state]
    while cause:
        lines.append(f"  {cause.who:8} {cause.what}")
        cause = came_from[cause.state]
    return "\n".join(reversed(lines))


def count_schedules[State: Hashable](start: State, follow: Mapping[State, Sequence[State]]) -> int:
    """Count the ways from the start to an end.

    Raises:
        RoundForEver: a schedule never ends.
    """
    ways: dict[State, int] = {}
    open_states: set[State] = set()
    stack = [start]
    while stack:
        state = stack[-1]
        if state in ways:
            stack.pop()
        elif state in open_states:
            ways[state] = sum(ways[after] for after in follow.get(state, ())) or 1
            open_states.remove(state)
            stack.pop()
        else:
            open_states.add(state)
            for after in follow.get(state, ()):
                if after in open_states:
                    raise RoundForEver(state)
                if after not in ways:
                    stack.append(after)
    return ways[start]


class RoundForEver(Exception):
    """A schedule never ends; the argument is a state of it."""
