"""The states that an exploration has found: by number, in the order of their distance from the start."""

from array import array
from collections.abc import Hashable, Iterable


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
