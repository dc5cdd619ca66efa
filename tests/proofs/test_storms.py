"""Storms on virtual time: no page is late because of others. A docstring says what its number is measured against."""

from collections import Counter

import pytest

from local.simulator.faults import FaultKind
from tests.lab.audit import assert_calm, assert_right, run
from tests.lab.fleet import Fleet, Latencies, Misfortune, failing
from tests.lab.histories import Change, History, firing, steady, storm
from tests.lab.marks import ALL
from tests.lab.secrets import OTHER_KEY, target_secret


def test_a_storm_of_400_of_which_200_resolve_is_over_in_123_seconds() -> None:
    """An ideal queue, that knows all and costs nothing, takes 120.1 s."""
    audit = run(Fleet(storm(400, 10, resolved=200)))
    assert_calm(audit, criticals=1.0)
    assert audit.firing_accepted_at <= 123


@ALL
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
    """Nothing hangs on the moment at which it begins."""
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


@ALL
@pytest.mark.parametrize(("alerts", "every"), [(400, 300.0), (200, 60.0)])
def test_re_sends_of_what_fires_delay_nothing_new(alerts: int, every: float) -> None:
    """Alertmanager sends whole groups again, for forty minutes; what is new waits for the next free permit at most."""
    again = [0.0, *(330.0 + every * number for number in range(round(2000 / every)))]
    old = [History(f"old-{number}", [Change(at, "firing") for at in again]) for number in range(alerts)]
    gone = [History(f"gone-{number}", [Change(0.0, "firing"), Change(1200.0, "resolved")]) for number in range(20)]
    new = firing("new", [1200.0 + number for number in range(20)])
    criticals = firing("critical", [1200.0 + number for number in range(5)], "critical")
    audit = run(Fleet([*old, *gone, *new, *criticals]))
    assert_right(audit)
    assert audit.refused == 0
    assert audit.critical_latency < 2
    assert max(audit.trigger_wait(history, 0) for history in new) < 62
    assert max(audit.resolve_waits()) < 62
    assert max(Counter(taken.sent.fingerprint for taken in audit.accepted).values()) <= 1 + 2330 / 300


@ALL
def test_what_is_over_leaves_no_line_behind() -> None:
    """1,000 warnings fire and resolve half a minute later; a critical's resolve two minutes later waits for nobody."""
    flash = [History(f"flash-{number}", [Change(0.0, "firing"), Change(30.0, "resolved")]) for number in range(1000)]
    later = [
        History(f"later-{number}", [Change(190.0, "firing"), Change(200.0 + number, "resolved")], "critical")
        for number in range(5)
    ]
    audit = run(Fleet([*flash, *later]))
    assert_right(audit)
    assert audit.critical_latency < 2
    waits = [
        min(taken.at for taken in audit.accepted_of(history) if taken.sent.action == "resolve") - history.changes[1].at
        for history in later
    ]
    assert max(waits) < 2


@ALL
@pytest.mark.parametrize("within", [0.5, 2.0])
def test_2000_alerts_that_start_cold(within: float) -> None:
    """Every execution environment is new, and takes 0.6 s to start; there are as many criticals as permits for them."""
    audit = run(Fleet(storm(2000, 10, within=within), latencies=Latencies(cold_start=0.6)))
    assert_calm(audit)


def test_a_run_repeats_itself_from_its_seed() -> None:
    """So that what was found can be found again."""
    misfortune = Misfortune(death_rate=0.01, pagerduty=[failing(10, 20, FaultKind.RESET)])
    runs = [run(Fleet(storm(150, 5, resolved=20), seed=seed, misfortune=misfortune)) for seed in (1, 1, 2)]
    first, same, other = ([(taken.at, taken.sent.fingerprint) for taken in each.requests] for each in runs)
    assert first == same
    assert first != other
