"""Time and randomness that only a test moves."""

from dataclasses import dataclass, field

NOW = 1795405201.0
"""2026-11-23T03:40:01Z."""


@dataclass
class Clock:
    """Seconds that pass only when told to; `sleep` makes them pass and remembers for how long."""

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
    """Return a random number from the middle."""
    return 0.5
