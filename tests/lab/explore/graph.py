"""Visits every state that can be reached from a start, those nearest to it first, and counts the ways through them."""

from array import array
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

MAX_STATES = 4_000_000
"""More are a mistake in what is explored, or take more memory than a machine has."""


class Violation(AssertionError):
    """An invariant does not hold; the message has the shortest schedule that shows it."""


@dataclass(frozen=True, slots=True)
class Explored:
    """The extent of an exploration without a violation.

    Attributes:
        states: the number of different states.
        schedules: in how many ways an end can be reached.
        ends: the number of different end states.
        requests_at_most: the most requests to PagerDuty that one schedule makes.
    """

    states: int
    schedules: int
    ends: int
    requests_at_most: int


class Move[State: Hashable](NamedTuple):
    """What leads from one state to the next: who does what."""

    who: str
    what: str
    state: State


def explore[State: Hashable](
    start: State,
    moves: Callable[[State], Iterable[Move[State]]],
    check_end: Callable[[State], None],
    requests: Callable[[State], int],
) -> Explored:
    """Visit every state.

    Args:
        start: the first state.
        moves: returns what can happen in a state; raises Violation if something of it is wrong.
        check_end: raises Violation if a state in which nothing can happen is wrong.
        requests: returns how many requests have been made in a state.

    Raises:
        Violation: the first that was found, with the shortest schedule that leads to it.
    """
    graph = Graph()
    graph.add(start)
    found = deque([start])
    visited = ends = requests_at_most = 0
    while found:
        state = found.popleft()
        requests_at_most = max(requests_at_most, requests(state))
        follow: list[int] = []
        try:
            for move in moves(state):
                following = len(graph)
                follow.append(graph.add(move.state, visited, f"  {move.who:8} {move.what}"))
                if follow[-1] == following:
                    found.append(move.state)
            if not follow:
                ends += 1
                check_end(state)
            if visited > MAX_STATES:
                raise Violation("no end in sight")
        except Violation as violation:
            raise Violation(f"{violation}\n{graph.schedule_to(visited)}") from None
        graph.visited(follow)
        visited += 1
    try:
        schedules = graph.count_schedules()
    except RoundForEver as round_for_ever:
        [number] = round_for_ever.args
        raise Violation(f"goes round for ever\n{graph.schedule_to(number)}") from None
    return Explored(visited, schedules, ends, requests_at_most)


class Graph:
    """States, what led to each first, and what follows it. There are millions, so a state costs few bytes."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._texts: dict[str, str] = {}
        self._came_from = array("l")
        self._steps: list[str] = []
        self._follow = array("l")
        self._begins = array("l", [0])

    def __len__(self) -> int:
        """Return the number of states that were found."""
        return len(self._came_from)

    def add(self, state: Hashable, came_from: int = -1, step: str = "") -> int:
        """Return the number of a state; it is new if that was the length.

        Args:
            state: what is where, and what has gone wrong so far.
            came_from: the number of the state before.
            step: what led from there to here.
        """
        number = self._numbers.setdefault(state, len(self))
        if number == len(self):
            self._came_from.append(came_from)
            self._steps.append(self._texts.setdefault(step, step))
        return number

    def visited(self, follow: Iterable[int]) -> None:
        """Note what follows the state that is next in turn."""
        self._follow.extend(follow)
        self._begins.append(len(self._follow))

    def schedule_to(self, number: int) -> str:
        """Return what leads to a state, a line for each step."""
        steps: list[str] = []
        while number > 0:
            steps.append(self._steps[number])
            number = self._came_from[number]
        return "\n".join(reversed(steps))

    def count_schedules(self) -> int:
        """Count the ways from the start to an end.

        Raises:
            RoundForEver: a schedule never ends.
        """
        ways: list[int | None] = [None] * len(self)
        is_open = bytearray(len(self))
        stack = [0]
        while stack:
            number = stack[-1]
            follow = self._after(number)
            if ways[number] is not None:
                stack.pop()
            elif is_open[number]:
                ways[number] = sum(ways[after] or 0 for after in follow) or 1
                is_open[number] = False
                stack.pop()
            else:
                is_open[number] = True
                for after in follow:
                    if is_open[after]:
                        raise RoundForEver(number)
                    if ways[after] is None:
                        stack.append(after)
        return ways[0] or 0

    def _after(self, number: int) -> Iterable[int]:
        if number + 1 >= len(self._begins):
            return ()  # found, and not visited
        return self._follow[self._begins[number] : self._begins[number + 1]]


class RoundForEver(Exception):
    """A schedule never ends; the argument is the number of a state of it."""
