"""Claim, send, settle: every interleaving of a few deliveries of one alert, with crashes and failures.

What holds in each state and at each end is in `explore.Explorer`; README.md says it in words.
"""

from collections.abc import Callable, Sequence
from itertools import combinations, combinations_with_replacement

import pytest

from tests.lab.explore import Bounds, Explored, Outcome

type Explore = Callable[..., Explored]

SEEN = ("T0", "A1", "R1", "T2")
"""A trigger, then somebody acknowledges at the instant at which it resolves, then it fires again."""
PAIRS = list(combinations_with_replacement(SEEN, 2))
WITH_COPIES = [("T0", "T0", "R1"), ("T0", "R1", "R1"), ("R1", "R1", "T2"), ("R1", "T2", "T2")]
TRIPLES = [*combinations(SEEN, 3), *WITH_COPIES]
FAILING_TRIPLES = [("T0", "R1", "T2"), ("T0", "A1", "R1"), *WITH_COPIES]
PAGERDUTY_FAILS = (Outcome.REFUSED, Outcome.UNANSWERED, Outcome.INVALID, Outcome.NO_TURN)
DYNAMODB_FAILS = (Outcome.TWICE, Outcome.LOST, Outcome.DOWN)


def floor(names: Sequence[str], *, for_distinct: int, for_repeated: int) -> int:
    """Give the least number that an exploration has to see; copies of one observation wait for each other a lot."""
    return for_distinct if len(set(names)) == len(names) else for_repeated


def named(names: Sequence[str]) -> str:
    return "-".join(names)


@pytest.mark.parametrize("name", SEEN)
def test_one_delivery_with_everything_going_wrong(name: str, explore: Explore) -> None:
    """Two crashes and two failures of any kind, in any order."""
    bounds = Bounds(crashes=2, faults=2, outcomes=PAGERDUTY_FAILS + DYNAMODB_FAILS, late=True, max_retries=1)
    explored = explore([name], bounds)
    assert explored.states >= 1_500
    assert explored.schedules >= 3_000


@pytest.mark.parametrize("names", PAIRS, ids=named)
def test_two_deliveries_undisturbed(names: Sequence[str], explore: Explore) -> None:
    """Each observation is sent once at most, and two copies cost one request."""
    explored = explore(names, Bounds())
    assert explored.requests_at_most == len(set(names))
    assert explored.schedules >= floor(names, for_distinct=16, for_repeated=2)


@pytest.mark.parametrize("names", PAIRS, ids=named)
def test_two_deliveries_and_two_crashes(names: Sequence[str], explore: Explore) -> None:
    """A crash costs one request at most."""
    explored = explore(names, Bounds(crashes=2))
    assert explored.requests_at_most <= len(set(names)) + 2
    assert explored.states >= floor(names, for_distinct=700, for_repeated=35)
    assert explored.schedules >= floor(names, for_distinct=6_000, for_repeated=80)


@pytest.mark.parametrize("names", PAIRS, ids=named)
def test_two_deliveries_a_crash_and_a_failure(names: Sequence[str], explore: Explore) -> None:
    """Of PagerDuty, the limiter or DynamoDB, or a lease outlived."""
    explored = explore(names, Bounds(crashes=1, faults=1, outcomes=PAGERDUTY_FAILS + DYNAMODB_FAILS, late=True))
    assert explored.states >= floor(names, for_distinct=3_500, for_repeated=350)
    assert explored.schedules >= floor(names, for_distinct=35_000, for_repeated=800)


@pytest.mark.parametrize("names", PAIRS, ids=named)
def test_two_deliveries_whose_claims_are_long_on_their_way(names: Sequence[str], explore: Explore) -> None:
    """A claim is made with the time at which it set out."""
    explored = explore(names, Bounds(crashes=1, separate_start=True))
    assert explored.states >= floor(names, for_distinct=1_300, for_repeated=250)
    assert explored.schedules >= floor(names, for_distinct=20_000, for_repeated=4_500)


@pytest.mark.parametrize("names", TRIPLES, ids=named)
def test_three_deliveries_and_a_crash(names: Sequence[str], explore: Explore) -> None:
    """Every order of three, and every step at which one of them can die."""
    explored = explore(names, Bounds(crashes=1))
    assert explored.requests_at_most <= len(set(names)) + 1
    assert explored.states >= floor(names, for_distinct=7_000, for_repeated=350)
    assert explored.schedules >= floor(names, for_distinct=500_000, for_repeated=9_000)


def test_three_deliveries_and_two_crashes(explore: Explore) -> None:
    """The one case that has them all: fires, resolves, fires again."""
    explored = explore(("T0", "R1", "T2"), Bounds(crashes=2))
    assert explored.states >= 38_000
    assert explored.schedules >= 19_000_000


@pytest.mark.parametrize("names", FAILING_TRIPLES, ids=named)
def test_three_deliveries_while_pagerduty_fails(names: Sequence[str], explore: Explore) -> None:
    """Refused, not answered, no turn; with a retry within the invocation."""
    explored = explore(names, Bounds(faults=1, outcomes=PAGERDUTY_FAILS, max_retries=1))
    assert explored.states >= floor(names, for_distinct=6_500, for_repeated=600)
    assert explored.schedules >= floor(names, for_distinct=600_000, for_repeated=12_000)


@pytest.mark.parametrize("names", FAILING_TRIPLES, ids=named)
def test_three_deliveries_while_dynamodb_fails(names: Sequence[str], explore: Explore) -> None:
    """A write is made twice by boto3, or fails when settling or releasing; a lease is outlived."""
    explored = explore(names, Bounds(faults=1, outcomes=DYNAMODB_FAILS, late=True))
    assert explored.states >= floor(names, for_distinct=5_500, for_repeated=400)
    assert explored.schedules >= floor(names, for_distinct=250_000, for_repeated=5_500)


@pytest.mark.parametrize(
    "names",
    [
        ("T1", "R2"),
        ("R1",),
        ("T1", "A2"),
        ("R1", "T2"),
        ("R1", "R1"),
    ],
    ids=named,
)
def test_an_incident_older_than_its_expired_record(names: Sequence[str], explore: Explore) -> None:
    """It was opened by T0 a day ago, and is still open; nothing may forget it."""
    bounds = Bounds(crashes=1, faults=1, outcomes=PAGERDUTY_FAILS)
    assert explore(names, bounds, before="T0").schedules >= 10
