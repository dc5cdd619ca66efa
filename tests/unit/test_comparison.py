"""The comparison as an invocation runs it: with time left to publish, and never an error."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

from handler.agreement.agreement import Agreement, Disagreement
from handler.agreement.comparison import PUBLISHING_SECONDS, Comparison
from handler.agreement.decisions import AlarmDecision, AlarmVerdict, Why
from handler.agreement.routing import Routing
from tests.lab.world import World, make_world

FOUND = [Disagreement(name, AlarmDecision(AlarmVerdict.PAGE, Why.NO_RECORD), {}) for name in ("a", "b", "c")]


@dataclass
class FakeAgreement:
    """Finds the same at each run, on two pages; notes what it was asked."""

    asked: list[tuple[tuple[str, ...], float]] = field(default_factory=list)

    def run(self, routing: Routing, deadline: float) -> Iterator[list[Disagreement]]:
        self.asked.append((tuple(routing.names()), deadline))
        yield FOUND[:2]
        yield FOUND[2:]


@dataclass
class Bench:
    """A comparison on fakes.

    Attributes:
        problems: what was reported.
    """

    world: World = field(default_factory=make_world)
    agreement: FakeAgreement = field(default_factory=FakeAgreement)
    problems: list[str] = field(default_factory=list)
    comparison: Comparison = field(init=False)

    def __post_init__(self) -> None:
        agreement = cast(Agreement, self.agreement)
        self.comparison = Comparison(agreement, targets=self.world.targets, report=self.problems.append)


def test_each_disagreement_is_found_and_time_is_left_to_publish_the_last_page() -> None:
    """For the targets that are read at each run."""
    bench = Bench()
    assert list(bench.comparison.run(1000.0)) == FOUND
    assert bench.agreement.asked == [(("production",), 1000.0 - PUBLISHING_SECONDS)]


def test_targets_that_cannot_be_read_are_reported_and_raise_nothing() -> None:
    """The health check has its answer; five minutes later there is another run."""
    bench = Bench()
    bench.world.secrets.fail("InternalServiceError")
    assert list(bench.comparison.run(1000.0)) == []
    [problem] = bench.problems
    assert problem.startswith("alarms and records could not be compared: ")
    assert bench.agreement.asked == []
