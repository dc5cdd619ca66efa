"""Time and randomness under a test's control."""

from dataclasses import dataclass, field

NOW = 1795405201.0
"""2026-11-23T03:40:01Z."""


@dataclass
class Clock:
    """A clock that only tests and `sleep` advance; it records how long was slept."""

    now: float = NOW
    naps: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds


def half() -> float:
    """Return 0.5, as a random number."""
    return 0.5
