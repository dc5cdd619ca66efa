"""What was explored, or the shortest path to a violation."""

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
    """

    states: int
    schedules: int
    ends: int
    requests_at_most: int
