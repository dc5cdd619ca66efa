"""Claim, send, settle, wait, drain: every interleaving of a few deliveries of one alert, with crashes and failures.

What holds in each state and at each end is in `tests.lab.explore.search`; README.md says it in words.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations, combinations_with_replacement

import pytest

from tests.lab.explore import Bounds, Explored, Outcome, Setting
from tests.lab.marks import ALL
from tests.lab.secrets import OTHER_KEY, target_secret

type Explore = Callable[..., Explored]

SEEN = ("T0", "A1", "R1", "T2")
"""A trigger, then somebody acknowledges at the instant at which it resolves, then it fires again."""
PAIRS = list(combinations_with_replacement(SEEN, 2))
WITH_COPIES = [("T0", "T0", "R1"), ("T0", "R1", "R1"), ("R1", "R1", "T2"), ("R1", "T2", "T2")]
TRIPLES = [*combinations(SEEN, 3), ("T0", "R1", "A2"), ("R0", "T1", "A2"), *WITH_COPIES]
PAGERDUTY_FAILS = (Outcome.REFUSED, Outcome.UNANSWERED, Outcome.INVALID, Outcome.NO_PERMIT)
DYNAMODB_FAILS = (Outcome.TWICE, Outcome.LOST, Outcome.DOWN)


def floor(names: Sequence[str], *, for_distinct: int, for_repeated: int) -> int:
    """Return the least number that an exploration has to see; copies of one observation are skipped early."""
    return for_distinct if len(set(names)) == len(names) else for_repeated


def named(names: Sequence[str]) -> str:
    return "-".join(names)


def is_acknowledged(names: Sequence[str]) -> bool:
    return any(name.startswith("A") for name in names)


@pytest.mark.parametrize("names", PAIRS, ids=named)
def test_two_deliveries_undisturbed(names: Sequence[str], explore: Explore) -> None:
    """Each observation is sent once at most, and two copies cost one request."""
    explored = explore(names, Bounds())
    assert explored.requests_at_most <= len(set(names)) + ("A1" in names)
    assert explored.schedules >= floor(names, for_distinct=9, for_repeated=6)


@pytest.mark.parametrize("name", SEEN)
def test_one_delivery_with_two_things_going_wrong(name: str, explore: Explore) -> None:
    """A crash and a failure of any kind, in any order, with a retry within the invocation."""
    bounds = Bounds(crashes=1, faults=1, outcomes=PAGERDUTY_FAILS + DYNAMODB_FAILS, late=True, max_retries=1)
    assert explore([name], bounds).states >= 400


@ALL
@pytest.mark.parametrize("name", SEEN)
def test_one_delivery_with_everything_going_wrong(name: str, explore: Explore) -> None:
    """Two crashes and a failure, a crash and two failures: of any kind, in any order."""
    for crashes, faults in ((2, 1), (1, 2)):
        outcomes = PAGERDUTY_FAILS + DYNAMODB_FAILS
        bounds = Bounds(crashes=crashes, faults=faults, outcomes=outcomes, late=True, max_retries=1)
        assert explore([name], bounds).states >= 2000


@pytest.mark.parametrize("names", PAIRS, ids=named)
def test_two_deliveries_and_a_crash(names: Sequence[str], explore: Explore) -> None:
    """A crash costs one request at most."""
    explored = explore(names, Bounds(crashes=1))
    assert explored.requests_at_most <= len(set(names)) + 1 + ("A1" in names)
    assert explored.states >= floor(names, for_distinct=500, for_repeated=200)


@pytest.mark.parametrize("names", PAIRS, ids=named)
def test_two_deliveries_and_a_failure(names: Sequence[str], explore: Explore) -> None:
    """Of PagerDuty, the limiter or DynamoDB, claims included, or a lease outlived."""
    explored = explore(names, Bounds(faults=1, outcomes=PAGERDUTY_FAILS + DYNAMODB_FAILS, late=True))
    assert explored.states >= floor(names, for_distinct=500, for_repeated=200)


@ALL
@pytest.mark.parametrize("names", PAIRS, ids=named)
def test_two_deliveries_a_crash_and_a_failure(names: Sequence[str], explore: Explore) -> None:
    """Of PagerDuty, the limiter or DynamoDB, claims included, or a lease outlived."""
    explore(names, Bounds(crashes=1, faults=1, outcomes=PAGERDUTY_FAILS + DYNAMODB_FAILS, late=True))


@ALL
@pytest.mark.parametrize("names", PAIRS, ids=named)
def test_two_deliveries_whose_claims_are_long_on_their_way(names: Sequence[str], explore: Explore) -> None:
    """A claim is made with the time at which it set out."""
    explore(names, Bounds(crashes=1, separate_start=True))


@pytest.mark.parametrize("names", [names for names in TRIPLES if not is_acknowledged(names)], ids=named)
def test_three_deliveries_undisturbed(names: Sequence[str], explore: Explore) -> None:
    """Every order of three, and of a drainer between them."""
    assert explore(names, Bounds()).states >= 100


@ALL
@pytest.mark.parametrize("names", [names for names in TRIPLES if is_acknowledged(names)], ids=named)
def test_three_deliveries_of_which_one_acknowledges(names: Sequence[str], explore: Explore) -> None:
    """Every order of three, and of a drainer between them."""
    assert explore(names, Bounds()).states >= 100


@ALL
@pytest.mark.parametrize("names", TRIPLES, ids=named)
def test_three_deliveries_and_a_crash(names: Sequence[str], explore: Explore) -> None:
    """Every order of three, and every step at which one of them, or the drainer, can die."""
    assert explore(names, Bounds(crashes=1)).states >= 2000


@ALL
@pytest.mark.parametrize("names", TRIPLES, ids=named)
def test_three_deliveries_while_pagerduty_fails(names: Sequence[str], explore: Explore) -> None:
    """Refused, not answered, no permit."""
    explore(names, Bounds(faults=1, outcomes=PAGERDUTY_FAILS))


@ALL
@pytest.mark.parametrize("names", TRIPLES, ids=named)
def test_three_deliveries_while_dynamodb_fails(names: Sequence[str], explore: Explore) -> None:
    """A write is made twice by boto3, or fails, claims included; a lease is outlived."""
    explore(names, Bounds(faults=1, outcomes=DYNAMODB_FAILS, late=True))


@pytest.mark.parametrize("names", [(), ("T0",), ("R1",), ("A1",), ("T2",)], ids=named)
def test_two_drainers_race_for_what_waits(names: Sequence[str], explore: Explore) -> None:
    """T0 waits. Both read it, both try to claim it; one may die, and something newer may come between."""
    explored = explore(names, Bounds(crashes=1, drainers=2), waiting="T0")
    assert explored.states >= 20
    assert explored.requests_at_most <= len({"T0", *names}) + 1 + ("A1" in names)


@ALL
@pytest.mark.parametrize("names", [(), ("T0",), ("R1",), ("A1",), ("T2",), ("R1", "T2")], ids=named)
def test_two_drainers_race_while_things_fail(names: Sequence[str], explore: Explore) -> None:
    """PagerDuty, DynamoDB, or a lease that one of them outlives."""
    outcomes = PAGERDUTY_FAILS + DYNAMODB_FAILS
    explore(names, Bounds(faults=1, outcomes=outcomes, late=True, drainers=2), waiting="T0")


@pytest.mark.parametrize("names", [("T0", "R1"), ("R1", "T2"), ("T0", "T0")], ids=named)
def test_two_drainers_and_a_delivery_without_a_permit(names: Sequence[str], explore: Explore) -> None:
    """Nothing depends on there being one drainer."""
    assert explore(names, Bounds(faults=1, outcomes=(Outcome.NO_PERMIT,), drainers=2)).states >= 50


TWO_TARGETS = Setting(
    secrets={"a": target_secret("a", match=['team="a"']), "b": target_secret("b", OTHER_KEY, match=['team=~"a|b"'])},
    labels={"T0": {"team": "a"}, "R1": {"team": "b"}, "T2": {"team": "b"}, "A1": {"team": "b"}},
)
"""The trigger goes to both; the labels of what follows name one alone."""


@pytest.mark.parametrize(
    "names",
    [("T0", "R1"), ("T0", "A1")],
    ids=named,
)
def test_what_follows_finds_every_target_of_its_trigger(names: Sequence[str], explore: Explore) -> None:
    """Whatever its own labels say."""
    assert explore(names, Bounds(), setting=TWO_TARGETS).states >= 50


@ALL
@pytest.mark.parametrize("names", [("T0", "R1"), ("T0", "A1"), ("R1", "T2")], ids=named)
def test_what_follows_finds_every_target_though_something_fails(names: Sequence[str], explore: Explore) -> None:
    """A crash, or a failure of PagerDuty or DynamoDB at one of the two."""
    outcomes = PAGERDUTY_FAILS + DYNAMODB_FAILS
    explore(names, Bounds(crashes=1), setting=TWO_TARGETS)
    explore(names, Bounds(faults=1, outcomes=outcomes), setting=TWO_TARGETS)


@ALL
def test_three_deliveries_at_two_targets(explore: Explore) -> None:
    """Fires at both, ends with the labels of one, and fires at both again."""
    setting = replace(TWO_TARGETS, labels={**TWO_TARGETS.labels, "T2": {"team": "a"}})
    explore(("T0", "R1", "T2"), Bounds(), setting=setting)


@pytest.mark.parametrize(
    "names",
    [("T1", "R2"), ("R1",), ("T1", "A2"), ("R1", "T2"), ("R1", "R1")],
    ids=named,
)
def test_an_incident_older_than_its_expired_record(names: Sequence[str], explore: Explore) -> None:
    """It was opened by T0 a day ago, and is still open; nothing may forget it."""
    assert explore(names, Bounds(crashes=1), before="T0").schedules >= 4
