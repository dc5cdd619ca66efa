"""How several things are done at the same time: on threads in Lambda, one after the other in tests."""

from collections.abc import Callable, Iterable
from typing import Protocol


class MapConcurrently(Protocol):
    """Calls a function for each of several things, as the built-in `map` does, but perhaps at the same time."""

    def __call__[A, B](self, function: Callable[[A], B], things: Iterable[A], /) -> Iterable[B]:
        """Return the results in the order of the things."""
        ...
