"""Random histories and misfortunes: whatever happens, no page is lost and none is wrong."""

import os

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local.simulator.faults import Fault, FaultKind
from local.simulator.pagerduty import RateLimit
from tests.lab.audit import Audit, assert_never_lost_and_never_wrong
from tests.lab.fleet import Failing, Fleet, Misfortune, Window
from tests.lab.histories import Change, History

HOUR = 3600.0
EXAMPLES = int(os.environ.get("PROOFS_EXAMPLES", "25"))
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
                is_change_event=draw(st.sampled_from([False] * 5 + [True])),
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
failures = st.lists(st.builds(Failing, windows, faults), max_size=3)
deaths = st.frozensets(st.tuples(st.integers(0, 40), st.integers(0, 16)), max_size=6)
repeats = st.frozensets(st.integers(0, 30), max_size=6)
limits = st.sampled_from([2, 5, 120])
lags = st.sampled_from([0.0, 0.5, 3.0])
seeds = st.integers(0, 1000)


def examine(fleet: Fleet) -> Audit:
    """Run a fleet silently."""
    fleet.run(30 * HOUR)
    return Audit(fleet)


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
@given(histories(), failures, deaths, repeats, limits, lags, several, seeds)
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
@given(histories(), failures, several, repeats, seeds)
def test_nothing_is_lost_or_wrong_while_the_queues_fail_too(
    alerts: list[History], pagerduty: list[Failing], queues: list[Window], repeats: frozenset[int], seed: int
) -> None:
    """What cannot wait on the queue waits in its record or with Lambda."""
    misfortune = Misfortune(pagerduty=pagerduty, queues=queues, repeats=repeats)
    audit = examine(Fleet(alerts, seed=seed, misfortune=misfortune))
    assert_never_lost_and_never_wrong(audit)


@many
@given(histories(), failures, several, several, deaths, repeats, seeds)
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
