"""Whole fleets of executions on virtual time: whatever happens, no page is lost, wrong, or late because of a storm.

The docstring of a test says what its number is measured against.
"""

import os
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local.simulator.faults import Fault, FaultKind
from local.simulator.pagerduty import RateLimit
from tests.lab.audit import Audit, run
from tests.lab.fleet import Failing, Fleet, Latencies, Misfortune, Window
from tests.lab.histories import Change, History, steady, storm
from tests.lab.secrets import OTHER_KEY, target_secret

HOUR = 3600.0
ALL = pytest.mark.skipif("PROOFS_EXAMPLES" not in os.environ, reason="takes minutes: `make proofs`")
LONGEST_CHAIN = 15
"""Lambda stops a chain of Lambda and SQS after about 16 invocations."""


def assert_right(audit: Audit, *, dead_letters: int = 0) -> None:
    """Assert what must hold whatever goes wrong."""
    fleet = audit.fleet
    assert fleet.unexpected == []
    assert fleet.is_quiet
    assert audit.left_over == []
    assert audit.lost == []
    assert audit.disorder == []
    assert audit.repeated_changes == []
    assert len(fleet.dead_letters) == dead_letters
    assert audit.peak <= fleet.limit.requests
    assert fleet.deepest <= LONGEST_CHAIN


def assert_calm(audit: Audit, *, criticals: float = 2.0) -> None:
    """Assert what must hold as well if nothing fails."""
    assert_right(audit)
    assert audit.refused == 0
    assert audit.requests_per_accepted == 1
    assert audit.stale == []
    assert audit.left_open == 0
    assert audit.critical_latency < criticals


def out(begins: float, ends: float, kind: FaultKind, **fault: object) -> Failing:
    """Let all requests fail for a while."""
    return Failing(Window(begins, ends), Fault(kind, count=None, **fault))  # type: ignore[arg-type]


def firing(name: str, ats: Sequence[float], severity: str = "warning") -> list[History]:
    """Return alerts that fire at these seconds, and go on firing."""
    return [History(f"{name}-{number}", [Change(at, "firing")], severity) for number, at in enumerate(ats)]


# --- storms: the numbers ---


def test_a_storm_of_400_of_which_200_resolve_is_over_in_123_seconds() -> None:
    """An ideal queue, that knows all and costs nothing, takes 120.1 s."""
    audit = run(Fleet(storm(400, 10, resolved=200)))
    assert_calm(audit, criticals=1.0)
    assert audit.firing_accepted_at <= 123


def test_a_thousand_warnings_and_20_criticals_during_the_drain() -> None:
    """Criticals come one by one and in clumps of five; each passes all that waits."""
    clumps = [30.0] * 5 + [95.0, 130.0, 131.0, 171.5, 222.0] + [300.0] * 5 + [380.0, 410.0] + [450.0] * 3
    audit = run(Fleet([*firing("warning", [0.0] * 1000), *firing("critical", clumps, "critical")]))
    assert_calm(audit)
    assert audit.drained_at <= 545


def test_the_schedule_s_drainer_takes_over_so_that_no_chain_grows() -> None:
    """A backlog of 700 takes six minutes; each minute begins a new chain of Lambda and SQS."""
    audit = run(Fleet(firing("warning", [0.0] * 700)))
    assert_calm(audit)
    assert audit.fleet.deepest <= 3


def test_resolves_and_triggers_that_wait_take_turns() -> None:
    """Neither 300 new warnings nor 100 resolves of old ones go first."""
    old = [History(f"old-{number}", [Change(0.0, "firing"), Change(71.0, "resolved")]) for number in range(100)]
    audit = run(Fleet([*old, *firing("new", [70.0] * 300)]))
    assert_calm(audit)
    drained = [taken.sent.action for taken in audit.accepted if taken.at > 120][:100]
    assert 40 <= drained.count("resolve") <= 60


@ALL
def test_a_large_backlog_drains_at_95_percent_of_the_limit() -> None:
    """5,000 take 2,500 s at best; no time must be lost between two drainers."""
    audit = run(Fleet(firing("warning", [0.0] * 5000)))
    assert_calm(audit)
    assert 5000 / audit.drained_at * 60 >= 0.95 * 120


@ALL
def test_overload_is_served_in_order_of_age() -> None:
    """150 a minute for 20 minutes at a limit of 120: pure FIFO makes the last wait 288 s."""
    audit = run(Fleet(firing("warning", [number * 0.4 for number in range(3000)])))
    assert_calm(audit)
    assert max(audit.waits()) <= 400


@ALL
def test_under_overload_triggers_and_resolves_alternate() -> None:
    """75 of each a minute for 20 minutes: neither pushes the other to the end."""
    audit = run(Fleet(steady(1500, 0.8, 120, critical=0)))
    assert_calm(audit)
    assert max(audit.waits()) <= 150
    assert max(audit.resolve_waits()) <= 200


@ALL
def test_3000_alerts_in_two_seconds_throttle_and_lose_nothing() -> None:
    """One item takes 1,000 writes a second."""
    audit = run(Fleet(storm(3000, 10, within=2.0)))
    assert_calm(audit)


def test_a_storm_is_over_in_time_where_every_execution_starts_cold_and_clocks_differ() -> None:
    """Nothing depends on the moment at which it begins."""
    audit = run(Fleet(storm(150, 5, resolved=60), latencies=Latencies(cold_start=0.6), skew_seconds=0.2))
    assert_calm(audit)
    assert audit.firing_accepted_at < 65


def test_a_new_account_has_ten_executions() -> None:
    """Drainers leave half of them to what arrives."""
    audit = run(Fleet(storm(150, 5, resolved=60), max_concurrency=10))
    assert_right(audit)
    assert audit.refused == 0


def test_criticals_that_come_into_a_storm_pass_what_waits() -> None:
    """More than are kept for them: the rest go with the next permits that come free, minutes before the warnings."""
    late = firing("late", [5.0] * 30, "critical")
    audit = run(Fleet([*storm(400, 0), *late]))
    assert_right(audit)
    assert sorted(audit.waits(critical=True))[9] < 0.5
    assert audit.critical_latency < 65
    assert audit.drained_at > 180


def test_two_targets_with_one_key_share_the_order() -> None:
    """No warning of one goes before a critical of the other, and the limit is the key's."""
    secrets = {
        "prod": target_secret("prod", match=['team="a"']),
        "test": target_secret("test", match=['team="b"']),
    }
    warnings = [History(f"w-{number}", [Change(0.0, "firing")], labels={"team": "a"}) for number in range(300)]
    criticals = [
        History(f"c-{number}", [Change(1.0, "firing")], "critical", labels={"team": "b"}) for number in range(40)
    ]
    audit = run(Fleet([*warnings, *criticals], secrets=secrets))
    assert_right(audit)
    assert audit.refused == 0
    assert audit.critical_latency < 63


def test_a_target_of_another_key_does_not_wait_for_a_storm() -> None:
    """Each key has its own limit and its own drainer."""
    secrets = {
        "prod": target_secret("prod", match=['team="a"']),
        "test": target_secret("test", OTHER_KEY, match=['team="b"']),
    }
    storming = [History(f"w-{number}", [Change(0.0, "firing")], labels={"team": "a"}) for number in range(300)]
    calm = [History(f"c-{number}", [Change(1.0 + number, "firing")], labels={"team": "b"}) for number in range(40)]
    audit = run(Fleet([*storming, *calm], secrets=secrets))
    assert_right(audit)
    assert max(audit.trigger_wait(history, 0) for history in calm) < 1


def test_a_run_repeats_itself_from_its_seed() -> None:
    """So that what was found can be found again."""
    misfortune = Misfortune(death_rate=0.01, pagerduty=[out(10, 20, FaultKind.RESET)])
    runs = [run(Fleet(storm(150, 5, resolved=20), seed=seed, misfortune=misfortune)) for seed in (1, 1, 2)]
    first, same, other = ([(taken.at, taken.sent.fingerprint) for taken in each.requests] for each in runs)
    assert first == same
    assert first != other


# --- outages ---


def test_recovery_after_an_hour_without_pagerduty() -> None:
    """What waits is out within 30 s and what the limit takes; criticals go first."""
    alerts = [*firing("warning", [number * 36.0 for number in range(90)]), *firing("critical", [60.0] * 10, "critical")]
    audit = run(Fleet(alerts, misfortune=Misfortune(pagerduty=[out(0, HOUR, FaultKind.STATUS, status=503)])))
    assert_right(audit)
    assert audit.drained_at - HOUR <= 30 + 5
    first = [taken.sent.fingerprint for taken in audit.accepted[:20]]
    assert sum(name.startswith("critical") for name in first) == 10, first


@ALL
def test_recovery_of_300_after_an_hour_takes_what_the_limit_takes() -> None:
    """300 need two and a half minutes."""
    audit = run(
        Fleet(
            firing("warning", [number * 12.0 for number in range(300)]),
            misfortune=Misfortune(pagerduty=[out(0, HOUR, FaultKind.RESET)]),
        )
    )
    assert_right(audit)
    assert audit.drained_at - HOUR <= 30 + 300 / 120 * 60


@ALL
def test_three_hours_without_pagerduty_lose_and_double_nothing() -> None:
    """What fired and ended meanwhile is not paged; the rest is, and nothing is given up."""
    misfortune = Misfortune(pagerduty=[out(0, 3 * HOUR, FaultKind.STATUS, status=503)])
    assert_right(run(Fleet(steady(24, 450, 2 * HOUR), misfortune=misfortune)))


def test_an_hour_of_timeouts_that_take_events_in_is_survived() -> None:
    """Every answer comes too late: each event may have been taken in, or not."""
    misfortune = Misfortune(pagerduty=[out(0, HOUR, FaultKind.ACCEPT_THEN_DROP, delay_seconds=30.0)])
    assert_right(run(Fleet(steady(12, 300, 900), misfortune=misfortune)))


def test_ten_minutes_without_the_table_lose_nothing() -> None:
    """Triggers go out unclaimed, the rest waits until there is an order again."""
    audit = run(Fleet(steady(40, 20, 200), misfortune=Misfortune(table=[Window(60, 660)])))
    assert_right(audit)
    assert audit.critical_latency < 5


def test_a_table_that_hangs_costs_an_invocation_its_patience_once() -> None:
    """Criticals still go out within the time of one call that hangs."""
    audit = run(Fleet(steady(40, 20, 200), misfortune=Misfortune(table_hangs=[Window(60, 660)])))
    assert_right(audit)
    assert audit.critical_latency < 20
    assert audit.fleet.timeouts == 0


def test_ten_minutes_without_the_queues_lose_nothing() -> None:
    """What waits does so in its record; the schedule wakes the drainer."""
    misfortune = Misfortune(pagerduty=[out(0, 700, FaultKind.RESET)], queues=[Window(0, 800)])
    audit = run(Fleet(steady(20, 30, 2000), misfortune=misfortune))
    assert_right(audit)
    assert max(audit.waits()) <= 700 + 100


def test_a_limiter_whose_item_throttles_delays_no_critical() -> None:
    """Criticals go without a permit, the rest waits."""
    misfortune = Misfortune(item_throttles={"permits#": [Window(10, 70)]})
    audit = run(Fleet(steady(60, 2, 300), misfortune=misfortune))
    assert_right(audit)
    assert audit.critical_latency < 10
    assert audit.refused == 0


def test_no_wake_up_and_no_schedule_for_a_while_strands_nothing() -> None:
    """Wake-ups get lost for an hour, the schedule is late by three minutes, the index two seconds behind."""
    misfortune = Misfortune(wake_ups=[Window(0, HOUR)], schedule=[Window(100, 280)], index_lag=2.0, ttl_seconds=600)
    audit = run(Fleet(storm(300, 5, resolved=100), misfortune=misfortune))
    assert_right(audit)
    assert audit.refused == 0


def test_a_storm_whose_executions_die_and_whose_messages_come_twice_loses_nothing() -> None:
    """One execution in ten dies, at any step; the second of each pair of messages overtakes the next state."""
    twice = [
        History(h.fingerprint, [Change(c.at, c.status, (0.0, 61.0)) for c in h.changes], h.severity)
        for h in storm(150, 5, resolved=60)
    ]
    audit = run(Fleet(twice, misfortune=Misfortune(death_rate=0.01, repeats=range(0, 1000, 3), index_lag=1.0)))
    assert audit.fleet.deaths > 20
    assert_never_lost_and_never_wrong(audit)
    assert audit.disorder == []
    assert audit.peak <= 120


def test_a_secret_that_cannot_be_read_keeps_its_last_text() -> None:
    """Its alerts still go to it alone."""
    secrets = {"a": target_secret("a", match=['team="a"']), "rest": target_secret("rest", OTHER_KEY)}
    alerts = [
        History(f"alert-{number}", [Change(number * 20.0, "firing")], labels={"team": "a"}) for number in range(90)
    ]
    audit = run(Fleet(alerts, secrets=secrets, misfortune=Misfortune(unreadable={"a": [Window(200, 1500)]})))
    assert_right(audit)
    assert {taken.sent.routing_key[:4] for taken in audit.accepted} == {"0123"}


def test_a_pagerduty_that_counts_refused_requests_is_not_hammered() -> None:
    """PagerDuty's limit is half of ours: a 429 stops every execution for a while."""
    audit = run(Fleet(storm(200, 5), limit=RateLimit(60, count_refused=True)))
    assert audit.lost == []
    assert audit.fleet.dead_letters == []
    assert audit.drained_at < 240


def test_retry_after_is_believed_for_five_minutes_at_most() -> None:
    """PagerDuty asks for an hour, and answers again after ten seconds."""
    misfortune = Misfortune(pagerduty=[out(0, 10, FaultKind.STATUS, status=429, retry_after=3600)])
    audit = run(Fleet(firing("alert", [1.0], "critical"), misfortune=misfortune))
    assert_right(audit)
    assert 290 < audit.critical_latency < 330


def test_what_a_person_resolved_stays_resolved() -> None:
    """A redelivery after the visibility timeout does not open it again."""
    history = History("alert", [Change(0.0, "firing", (0.0, 400.0, 900.0))])
    audit = run(Fleet([history], misfortune=Misfortune(persons=[(100.0, "alert")])))
    assert audit.states == {"alert": "resolved"}
    assert len(audit.accepted) == 1


def test_resends_cost_nothing_until_they_say_something_new() -> None:
    """Every half minute for four minutes: one request; a raised severity is sent at once."""
    changes = [Change(number * 30.0, "firing") for number in range(9)]
    audit = run(Fleet([History("alert", changes)]))
    assert_right(audit)
    assert len(audit.accepted) == 1
    raised = [*changes, Change(271.0, "firing", severity="critical")]
    audit = run(Fleet([History("alert", raised)]))
    assert [round(taken.at) for taken in audit.accepted] == [0, 271]


def test_a_resolve_finds_its_incident_whatever_its_labels_say() -> None:
    """At each target that the trigger went to."""
    secrets = {
        "a": target_secret("a", match=['team="a"']),
        "b": target_secret("b", OTHER_KEY, match=['team=~"a|b"']),
        "rest": target_secret("rest", "1" * 32),
    }
    changes = [Change(0.0, "firing"), Change(30.0, "resolved")]
    audit = run(Fleet([History("alert", changes, labels={"team": "a"}, labels_of_resolve={})], secrets=secrets))
    assert_right(audit)
    assert [taken.sent.action for taken in audit.accepted] == ["trigger", "trigger", "resolve", "resolve"]
    assert {str(incident.state) for incident in audit.fleet.pagerduty.incidents} == {"resolved"}


# --- anything ---

EXAMPLES = int(os.environ.get("PROOFS_EXAMPLES", "40"))
many = settings(
    max_examples=EXAMPLES,
    derandomize="PROOFS_EXAMPLES" not in os.environ,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
"""The same runs each time, unless more are asked for."""
gaps = st.sampled_from([2.7, 5.0, 30.0, 61.0, 200.0, 400.0])
"""Between two states; more than the clocks of the paths can confuse."""
moments = st.sampled_from([0.0, 0.01, 0.05, 0.3, 1.0, 5.0, 30.0, 61.0, 200.0, 400.0])
"""Delays: those of a call, a queue, a rolling minute, and more than any retry takes."""
paths = st.sampled_from(["sns", "sns", "eventbridge"])


@st.composite
def histories(draw: st.DrawFn, gap: st.SearchStrategy[float] = gaps) -> list[History]:
    """Alerts that fire, are acknowledged, resolve, and say so again; messages that come late, twice, in any order."""
    found = []
    for number in range(draw(st.integers(1, 8))):
        at = 0.0
        changes = []
        for _ in range(draw(st.integers(1, 5))):
            at = round(at + draw(gap), 3)
            changes.append(
                Change(
                    at,
                    draw(st.sampled_from(["firing", "firing", "resolved", "resolved", "acknowledged"])),
                    draw(st.lists(moments, min_size=1, max_size=2)),
                    draw(paths),
                    summary=draw(st.sampled_from(["", "", "it got worse"])),
                )
            )
        found.append(
            History(
                f"alert-{number}",
                changes,
                draw(st.sampled_from(["warning", "critical"])),
                skew_seconds=draw(st.sampled_from([0.0, -600.0, 86400.0])),
            )
        )
    return found


windows = st.builds(lambda begins, lasts: Window(begins, begins + lasts), moments, moments)
several = st.lists(windows, max_size=2)
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
deaths = st.frozensets(st.tuples(st.integers(0, 40), st.integers(0, 16)), max_size=6)
repeats = st.frozensets(st.integers(0, 30), max_size=6)
limits = st.sampled_from([2, 5, 120])
lags = st.sampled_from([0.0, 0.5, 3.0])
seeds = st.integers(0, 1000)


def examine(fleet: Fleet) -> Audit:
    """Run a fleet silently."""
    fleet.run(30 * HOUR)
    return Audit(fleet)


def assert_never_lost_and_never_wrong(audit: Audit) -> None:
    """Hold the promises for whatever is not among the dead letters."""
    fleet = audit.fleet
    assert fleet.unexpected == []
    assert fleet.is_quiet
    assert audit.left_over == []
    assert audit.lost == []
    assert audit.repeated_changes == [] or fleet.deaths


@many
@given(histories(), limits, lags, seeds)
def test_messages_in_any_order_and_number_end_in_the_state_of_the_newest(
    alerts: list[History], limit: int, lag: float, seed: int
) -> None:
    """Where nothing fails nothing is refused, nothing is out of order, and nothing is sent for nothing."""
    fleet = Fleet(
        alerts,
        seed=seed,
        limit=RateLimit(limit),
        requests_a_minute=limit,
        skew_seconds=0.1,
        misfortune=Misfortune(index_lag=lag),
    )
    audit = examine(fleet)
    assert_never_lost_and_never_wrong(audit)
    assert fleet.dead_letters == []
    assert audit.disorder == []
    assert audit.refused == 0
    assert audit.peak <= limit


@many
@given(histories(moments), limits, seeds)
def test_states_published_in_the_same_moment_lose_nothing(alerts: list[History], limit: int, seed: int) -> None:
    """Ties may end either way; never in a dead letter, a wait without end, or a refusal."""
    audit = examine(Fleet(alerts, seed=seed, limit=RateLimit(limit), requests_a_minute=limit))
    assert_never_lost_and_never_wrong(audit)
    assert audit.fleet.dead_letters == []
    assert audit.refused == 0


@many
@given(histories(), failing, deaths, repeats, limits, lags, several, seeds)
def test_nothing_is_lost_or_wrong_while_pagerduty_fails_and_executions_die(
    alerts: list[History],
    pagerduty: list[Failing],
    deaths: frozenset[tuple[int, int]],
    repeats: frozenset[int],
    limit: int,
    lag: float,
    wake_ups: list[Window],
    seed: int,
) -> None:
    """At any step; only who dies three times over is left to the dead-letter queue."""
    misfortune = Misfortune(
        pagerduty=pagerduty, deaths=deaths, repeats=repeats, index_lag=lag, wake_ups=wake_ups, ttl_seconds=500
    )
    audit = examine(Fleet(alerts, seed=seed, misfortune=misfortune, limit=RateLimit(limit), requests_a_minute=limit))
    assert_never_lost_and_never_wrong(audit)
    assert len(audit.fleet.dead_letters) <= len(deaths) // 3
    assert audit.peak <= limit


@many
@given(histories(), failing, several, repeats, seeds)
def test_nothing_is_lost_or_wrong_while_the_queues_fail_too(
    alerts: list[History], pagerduty: list[Failing], queues: list[Window], repeats: frozenset[int], seed: int
) -> None:
    """What cannot wait on the queue waits in its record or with Lambda."""
    misfortune = Misfortune(pagerduty=pagerduty, queues=queues, repeats=repeats)
    audit = examine(Fleet(alerts, seed=seed, misfortune=misfortune))
    assert_never_lost_and_never_wrong(audit)


@many
@given(histories(), failing, several, several, deaths, repeats, seeds)
def test_nothing_is_lost_or_wrong_while_the_table_fails_too(
    alerts: list[History],
    pagerduty: list[Failing],
    table: list[Window],
    hangs: list[Window],
    deaths: frozenset[tuple[int, int]],
    repeats: frozenset[int],
    seed: int,
) -> None:
    """Triggers go out unclaimed; when the table is back, the newest state is asserted again."""
    misfortune = Misfortune(pagerduty=pagerduty, table=table, table_hangs=hangs, deaths=deaths, repeats=repeats)
    audit = examine(Fleet(alerts, seed=seed, misfortune=misfortune))
    assert_never_lost_and_never_wrong(audit)


@many
@given(histories(), several, several, several, seeds)
def test_nothing_is_lost_or_wrong_while_the_limiter_throttles_and_secrets_fail(
    alerts: list[History], limiter: list[Window], secrets: list[Window], schedule: list[Window], seed: int
) -> None:
    """Nor while the schedule is late."""
    misfortune = Misfortune(item_throttles={"permits#": limiter}, secrets=secrets, schedule=schedule)
    audit = examine(Fleet(alerts, seed=seed, misfortune=misfortune))
    assert_never_lost_and_never_wrong(audit)
    assert audit.fleet.dead_letters == []
    assert audit.peak <= 120


# --- what once went wrong ---


def test_a_resolve_that_waited_for_the_table_does_not_close_what_fired_after_it() -> None:
    """Firing, resolved, firing again while DynamoDB is out: the incident has to stay open."""
    changes = [Change(0, "firing"), Change(10, "resolved"), Change(20, "firing")]
    audit = run(Fleet([History("flapping", changes)], misfortune=Misfortune(table=[Window(0, 25)])))
    assert_never_lost_and_never_wrong(audit)


def test_what_waited_for_a_permit_and_was_sent_without_the_table_is_resolved() -> None:
    """The record says that it was never opened, and yet it was."""
    waiting = History("waiting", [Change(1, "firing", (0.0, 40.0)), Change(100, "resolved")])
    misfortune = Misfortune(table=[Window(30, 90)])
    audit = run(Fleet([*storm(1, 0), waiting], misfortune=misfortune, limit=RateLimit(1), requests_a_minute=1))
    assert audit.wrong_at_the_end == []
