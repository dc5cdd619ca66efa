"""The result of a health check, as it is logged, counted and answered."""

from dataclasses import dataclass, field
from typing import Any

from handler.errors import PublishError
from handler.pagerduty.client import Attempt
from handler.version import VERSION


@dataclass(slots=True)
class HealthReport:
    """What a health check found.

    Attributes:
        targets: for each enabled target's name, what is wrong with it, or None. A target whose routing key had no
            permit left is not in it: its limit is in use, which proves more than a request would.
        problems: what is wrong beside that.
        reported: what is wrong with secrets; logged and counted when they were read.
        tracked: how many dedup keys the table holds; None where it could not be asked.
        waiting: for each target's name, how many deliveries wait, and the oldest one's milliseconds.
        dead_letters: how many there are; None where the queue could not be asked.
        attempts: the requests that were made.
    """

    targets: dict[str, PublishError | None] = field(default_factory=dict)
    problems: list[PublishError] = field(default_factory=list)
    tracked: int | None = None
    waiting: dict[str, tuple[int, float]] = field(default_factory=dict)
    dead_letters: int | None = None
    attempts: list[Attempt] = field(default_factory=list)
    reported: list[PublishError] = field(default_factory=list)

    @property
    def errors(self) -> list[PublishError]:
        """All problems."""
        return [*self.reported, *self.unreported]

    @property
    def unreported(self) -> list[PublishError]:
        """The problems that were not counted yet."""
        return [*self.problems, *(error for error in self.targets.values() if error)]

    def fields(self) -> dict[str, Any]:
        """Return the fields of the log line and of the answer."""
        return {
            "version": VERSION,
            "healthy": not self.errors,
            "targets": {name: str(error) if error else "healthy" for name, error in self.targets.items()},
            "problems": [str(problem) for problem in (*self.problems, *self.reported)],
            "tracked": self.tracked,
            **({"dead_letters": self.dead_letters} if self.dead_letters else {}),
            **({"waiting": {name: count for name, (count, _) in self.waiting.items()}} if self.waiting else {}),
        }
