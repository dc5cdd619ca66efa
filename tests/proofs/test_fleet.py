"""Whole fleets of executions on virtual time: whatever happens, no page is lost, wrong, or late because of a storm."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local.simulator.faults import Fault, FaultKind
from local.simulator.pagerduty import RateLimit
from tests.lab.fleet import (
    Audit,
    Change,
    Failing,
    Fleet,
    History,
    Latencies,
    Misfortune,
    Window,
    storm,
    subject_of,
)

HOUR = 3600.0


def assert_right(audit: Audit, *, dead_letters: int = 0) -> None:
    """Hold what has to hold whatever goes wrong."""
    print(audit)
    assert audit.fleet.timeline.is_over
    assert audit.lost == []
    assert len(audit.fleet.dead_letters) == dead_letters
    assert audit.wrong_at_the_end == []
    assert audit.disorder == []
    assert audit.peak <= audit.fleet.limit.requests


def assert_calm(audit: Audit) -> None:
    """Hold what has to hold besides where nothing fails."""
    assert_right(audit)
    assert audit.refused == 0
    assert audit.requests_per_accepted == 1
    assert audit.critical_latency < 2
    assert audit.stale == []


def steady(alerts: int, every: float, resolved_after: float) -> list[History]:
    """Give alerts that fire one after the other, and each resolves some time later; every fifth is critical."""
    return [
        History(
            f"alert-{number}",
            (Change(number * every, "firing"), Change(number * every + resolved_after, "resolved")),
            "critical" if number % 5 == 0 else "warning",
        )
        for number in range(alerts)
    ]


# --- Storms ---


def test_a_storm_of_400_of_which_200_resolve_is_over_in_125_seconds() -> None:
    """An ideal queue, that knows all and costs nothing, takes 120.5 s."""
    audit = Fleet(storm(400, 10, resolved=200)).run()
    assert_calm(audit)
    assert audit.firing_accepted_at < 125
    assert audit.fleet.writes <= 9 * 400


def test_a_thousand_warnings_and_ten_criticals_drain_at_nine_tenths_of_the_limit() -> None:
    """The whole time counts, from the first to the last."""
    audit = Fleet(storm(1010, 10)).run()
    assert_calm(audit)
    assert 1010 / audit.drained_at * 60 >= 0.9 * 120
    assert audit.fleet.writes <= 13 * 1010


def test_a_storm_is_over_in_time_where_every_execution_starts_cold_and_clocks_differ() -> None:
    """Nothing hangs on the moment at which it begins."""
    audit = Fleet(storm(150, 5, resolved=60), latencies=Latencies(cold_start=0.6), skew_seconds=0.2).run()
    assert_calm(audit)
    assert audit.firing_accepted_at < 65


def test_criticals_that_come_into_a_storm_pass_those_who_wait() -> None:
    """More than the head-room is for: the rest go with the next turns that come free, minutes before the warnings."""
    late = [History(f"late-{number}", [Change(5.0, "firing")], "critical") for number in range(30)]
    audit = Fleet([*storm(400, 0), *late]).run()
    assert_right(audit)
    assert sorted(sent.at for sent in audit.accepted if sent.fingerprint.startswith("late-"))[9] < 5.5
    assert audit.critical_latency < 60
    assert audit.drained_at > 180


def test_a_storm_whose_executions_die_and_whose_messages_come_twice_loses_nothing() -> None:
    """One execution in ten dies, at any step; the second of each pair of messages overtakes the next state."""
    twice = [
        History(h.fingerprint, [Change(c.at, c.status, (0.0, 61.0)) for c in h.changes], h.severity)
        for h in storm(150, 5, resolved=60)
    ]
    audit = Fleet(twice, misfortune=Misfortune(death_rate=0.01, repeats=range(0, 1000, 3))).run()
    print(audit)
    assert audit.fleet.deaths > 20
    assert_never_lost_and_never_wrong(audit)
    assert audit.disorder == []
    assert audit.peak <= 120


def test_a_run_repeats_itself_from_its_seed() -> None:
    """So that what was found can be found again."""
    misfortune = Misfortune(death_rate=0.01, pagerduty=[out(10, 20, FaultKind.RESET)])
    runs = [Fleet(storm(60, 5, resolved=20), seed=seed, misfortune=misfortune).run() for seed in (1, 1, 2)]
    first, same, other = ([(sent.at, sent.subject) for sent in run.sent] for run in runs)
    assert first == same
    assert first != other


# --- Outages ---


def out(begins: float, ends: float, kind: FaultKind, **fault: Any) -> Failing:
    """Let all requests fail for a while."""
    return Failing(Window(begins, ends), Fault(kind, count=None, **fault))


def test_three_hours_without_pagerduty_lose_and_double_nothing() -> None:
    """What fired and ended meanwhile is not paged; the rest is, and nothing is given up."""
    misfortune = Misfortune(pagerduty=[out(0, 3 * HOUR, FaultKind.STATUS, status=503)])
    audit = Fleet(steady(24, 450, 2 * HOUR), misfortune=misfortune).run()
    assert_right(audit)


def test_an_hour_of_timeouts_that_take_events_in_is_survived() -> None:
    """Every answer comes too late: each event may have been taken in, or not."""
    misfortune = Misfortune(pagerduty=[out(0, HOUR, FaultKind.ACCEPT_THEN_DROP, delay_seconds=30.0)])
    audit = Fleet(steady(12, 300, 900), misfortune=misfortune).run()
    assert_right(audit)


def test_ten_minutes_without_the_table_lose_nothing() -> None:
    """Triggers go out unclaimed, the rest waits until there is an order again."""
    misfortune = Misfortune(table=[Window(60, 660)])
    audit = Fleet(steady(40, 20, 200), misfortune=misfortune).run()
    assert_right(audit)
    assert audit.critical_latency < 5


def test_ten_minutes_without_the_queues_lose_nothing() -> None:
    """What has to wait stays with Lambda and SNS."""
    failing = [out(0, 700, FaultKind.RESET)]
    misfortune = Misfortune(pagerduty=failing, queues=[Window(0, 150)])
    audit = Fleet(steady(20, 30, 2000), misfortune=misfortune).run()
    assert_right(audit)


def test_a_pagerduty_that_counts_refused_requests_is_not_hammered() -> None:
    """Its limit is half of what we were told: we are refused, and everybody stands back."""
    audit = Fleet(storm(200, 5), limit=RateLimit(60, count_refused=True)).run()
    print(audit)
    assert audit.lost == []
    assert audit.wrong_at_the_end == []
    assert audit.fleet.dead_letters == []


# --- Anything ---

moments = st.sampled_from([0.0, 0.01, 0.05, 0.3, 1.0, 5.0, 30.0, 61.0, 200.0])
"""Gaps and delays: those of a call, a queue, a rolling minute, and more than any retry takes."""


@st.composite
def histories(draw: st.DrawFn) -> list[History]:
    """Alerts that fire and resolve in turn; messages that come late, twice and in any order."""
    found = []
    for number in range(draw(st.integers(1, 12))):
        at = 0.0
        changes = []
        for turn in range(draw(st.integers(1, 4))):
            at = round(at + draw(moments) + 0.001, 3)
            delays = draw(st.lists(moments, min_size=1, max_size=2))
            changes.append(Change(at, ("firing", "resolved")[turn % 2], delays))
        found.append(History(f"alert-{number}", changes, draw(st.sampled_from(["warning", "critical"]))))
    return found


windows = st.builds(lambda begins, lasts: Window(begins, begins + lasts), moments, moments)
faults = st.sampled_from(
    [
        Fault(FaultKind.STATUS, status=503, count=None),
        Fault(FaultKind.STATUS, status=429, count=None),
        Fault(FaultKind.STATUS, status=429, retry_after=7, count=None),
        Fault(FaultKind.RESET, count=None),
        Fault(FaultKind.ACCEPT_THEN_DROP, count=None),
        Fault(FaultKind.ANSWER, delay_seconds=5.0, count=None),
        Fault(FaultKind.ANSWER, delay_seconds=30.0, count=None),
        Fault(FaultKind.GARBAGE, status=502, count=None),
    ]
)
failing = st.lists(st.builds(Failing, windows, faults), max_size=3)
deaths = st.frozensets(st.tuples(st.integers(0, 40), st.integers(0, 12)), max_size=6)
repeats = st.frozensets(st.integers(0, 30), max_size=6)
limits = st.sampled_from([1, 2, 5, 120])
seeds = st.integers(0, 1000)
many = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def assert_never_lost_and_never_wrong(audit: Audit) -> None:
    """Hold the promises for whatever is not among the dead letters."""
    buried = {subject_of(letter)[0] for letter in audit.fleet.dead_letters}
    assert audit.fleet.timeline.is_over
    assert audit.lost == []
    assert [wrong for wrong in audit.wrong_at_the_end if wrong.split(":")[0] not in buried] == []


@many
@given(histories(), limits, seeds)
def test_messages_in_any_order_and_number_end_in_the_state_of_the_newest(
    alerts: list[History], limit: int, seed: int
) -> None:
    """Where nothing fails nothing is refused, nothing is out of order, and nothing is sent for nothing."""
    audit = Fleet(alerts, seed=seed, limit=RateLimit(limit), turns_a_minute=limit, skew_seconds=0.1).run(3 * HOUR)
    assert_never_lost_and_never_wrong(audit)
    assert audit.fleet.dead_letters == []
    assert audit.disorder == []
    assert audit.refused == 0
    assert audit.peak <= limit


@many
@given(histories(), failing, deaths, repeats, limits, seeds)
def test_nothing_is_lost_or_wrong_while_pagerduty_fails_and_executions_die(
    alerts: list[History],
    pagerduty: list[Failing],
    deaths: frozenset[tuple[int, int]],
    repeats: frozenset[int],
    limit: int,
    seed: int,
) -> None:
    """At any step; only who dies three times over is left to the dead-letter queue."""
    misfortune = Misfortune(pagerduty=pagerduty, deaths=deaths, repeats=repeats)
    audit = Fleet(alerts, seed=seed, misfortune=misfortune, limit=RateLimit(limit), turns_a_minute=limit).run(3 * HOUR)
    assert_never_lost_and_never_wrong(audit)
    assert len(audit.fleet.dead_letters) <= len(deaths) // 3
    assert audit.disorder == []
    assert audit.peak <= limit


@many
@given(histories(), failing, st.lists(windows, max_size=2), repeats, seeds)
def test_nothing_is_lost_while_the_queues_fail_too(
    alerts: list[History], pagerduty: list[Failing], queues: list[Window], repeats: frozenset[int], seed: int
) -> None:
    """What cannot wait on the queue waits with Lambda."""
    audit = Fleet(alerts, seed=seed, misfortune=Misfortune(pagerduty=pagerduty, queues=queues, repeats=repeats)).run(
        3 * HOUR
    )
    assert_never_lost_and_never_wrong(audit)
    assert audit.disorder == []


@many
@given(histories(), failing, st.lists(windows, max_size=2), deaths, repeats, seeds)
def test_nothing_is_lost_while_the_table_fails_too(
    alerts: list[History],
    pagerduty: list[Failing],
    table: list[Window],
    deaths: frozenset[tuple[int, int]],
    repeats: frozenset[int],
    seed: int,
) -> None:
    """Without the table triggers go out unclaimed; two tests below say what that still gets wrong."""
    misfortune = Misfortune(pagerduty=pagerduty, table=table, deaths=deaths, repeats=repeats)
    audit = Fleet(alerts, seed=seed, misfortune=misfortune).run(3 * HOUR)
    assert audit.fleet.timeline.is_over
    assert audit.lost == []
    assert len(audit.fleet.dead_letters) <= len(deaths) // 3


def test_a_resolve_that_waited_for_the_table_does_not_close_what_fired_after_it() -> None:
    """Firing, resolved, firing again while DynamoDB is out: the incident has to stay open."""
    changes = [Change(0, "firing"), Change(10, "resolved"), Change(20, "firing")]
    audit = Fleet([History("flapping", changes)], misfortune=Misfortune(table=[Window(0, 25)])).run()
    assert audit.wrong_at_the_end == []


def test_what_waited_for_its_turn_and_was_sent_without_the_table_is_resolved() -> None:
    """The record says that it was never opened, and yet it was."""
    waiting = History("waiting", [Change(1, "firing"), Change(100, "resolved")])
    misfortune = Misfortune(table=[Window(30, 90)])
    audit = Fleet([*storm(1, 0), waiting], misfortune=misfortune, limit=RateLimit(1), turns_a_minute=1).run()
    assert audit.wrong_at_the_end == []
