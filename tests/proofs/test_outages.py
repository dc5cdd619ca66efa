"""What AWS, PagerDuty, networks and people do to a fleet: nothing is lost, wrong, or later than it has to be."""

import pytest

from handler.delivery.backlog import BATCH
from handler.delivery.retry import REFUSED_KEY_SECONDS
from handler.pagerduty.connections import CONNECT_SECONDS
from handler.targets.secrets import RETRY_SECONDS
from local.simulator.faults import FaultKind
from local.simulator.pagerduty import RateLimit
from tests.lab.audit import assert_calm, assert_never_lost_and_never_wrong, assert_right, run
from tests.lab.fleet import Dead, Fleet, Misfortune, Window, failing
from tests.lab.histories import Change, History, firing, steady, storm
from tests.lab.marks import ALL
from tests.lab.secrets import OTHER_KEY, ROUTING_KEY, target_secret

HOUR = 3600.0
WRONG_KEY = "2" * 32


# --- PagerDuty, DynamoDB, SQS, Lambda ---


OUTAGES = {
    "failing": failing(0, HOUR, FaultKind.STATUS, status=503),
    "without an answer": failing(0, HOUR, FaultKind.ANSWER, delay_seconds=60.0),
}


@pytest.mark.parametrize("outage", OUTAGES)
def test_recovery_after_an_hour_without_pagerduty(outage: str) -> None:
    """What waits is out within 30 s and what the limit takes; criticals go first."""
    alerts = [*firing("warning", [number * 36.0 for number in range(90)]), *firing("critical", [60.0] * 10, "critical")]
    audit = run(Fleet(alerts, misfortune=Misfortune(pagerduty=[OUTAGES[outage]])))
    assert_right(audit)
    assert audit.drained_at - HOUR <= 30 + 5
    first = [taken.sent.fingerprint for taken in audit.accepted[: 1 + BATCH]]  # the probe, and the first batch
    assert sum(name.startswith("critical") for name in first) == 10, first


@ALL
def test_recovery_of_300_after_an_hour_takes_what_the_limit_takes() -> None:
    """300 need two and a half minutes."""
    audit = run(
        Fleet(
            firing("warning", [number * 12.0 for number in range(300)]),
            misfortune=Misfortune(pagerduty=[failing(0, HOUR, FaultKind.RESET)]),
        )
    )
    assert_right(audit)
    assert audit.drained_at - HOUR <= 30 + 300 / 120 * 60


@ALL
def test_three_hours_without_pagerduty_lose_and_double_nothing() -> None:
    """What fired and ended meanwhile is not paged; the rest is, and nothing is given up."""
    misfortune = Misfortune(pagerduty=[failing(0, 3 * HOUR, FaultKind.STATUS, status=503)])
    assert_right(run(Fleet(steady(24, 450, 2 * HOUR), misfortune=misfortune)))


def test_an_hour_of_timeouts_that_take_events_in_is_survived() -> None:
    """Every answer comes too late: each event may have been taken in, or not."""
    misfortune = Misfortune(pagerduty=[failing(0, HOUR, FaultKind.ACCEPT_THEN_DROP, delay_seconds=30.0)])
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
    misfortune = Misfortune(pagerduty=[failing(0, 700, FaultKind.RESET)], queues=[Window(0, 800)])
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
    """For twenty minutes, in which each environment reads the secrets several times: its team is paged on."""
    secrets = {"a": target_secret("a", match=['team="a"']), "rest": target_secret("rest", OTHER_KEY)}
    alerts = [
        History(f"alert-{number}", [Change(number * 20.0, "firing")], labels={"team": "a"}) for number in range(90)
    ]
    misfortune = Misfortune(unreadable={"a": [Window(200, 1500)]})
    audit = run(Fleet(alerts, secrets=secrets, misfortune=misfortune, max_concurrency=1))
    assert_right(audit)
    assert {taken.sent.routing_key for taken in audit.accepted} == {ROUTING_KEY}


def test_an_environment_that_never_read_a_secret_asks_again_soon() -> None:
    """It pages whoever takes the rest, which is better than nobody, but not for five minutes."""
    secrets = {"a": target_secret("a", match=['team="a"']), "rest": target_secret("rest", OTHER_KEY)}
    alerts = [
        History(f"alert-{number}", [Change(number * 5.0, "firing")], labels={"team": "a"}) for number in range(20)
    ]
    misfortune = Misfortune(unreadable={"a": [Window(0, 30)]})
    audit = run(Fleet(alerts, secrets=secrets, misfortune=misfortune, max_concurrency=1))
    assert_right(audit)
    assert all(taken.sent.routing_key == ROUTING_KEY for taken in audit.accepted if taken.at > 30 + RETRY_SECONDS + 1)


def test_a_queue_that_fails_for_seconds_makes_no_critical_wait_for_a_visibility_timeout() -> None:
    """PagerDuty fails for twenty seconds, and SQS while the critical would have been put there again."""
    outage = [failing(0, 20, FaultKind.STATUS, status=503)]
    for begins in (0.0, 2.0, 5.0, 10.0, 15.0):
        misfortune = Misfortune(pagerduty=outage, queues=[Window(begins, begins + 6)])
        audit = run(Fleet(firing("critical", [0.0], "critical"), misfortune=misfortune))
        assert_right(audit)
        assert audit.critical_latency < 20 + 35 + 60


def test_a_message_that_comes_twice_while_the_table_is_out() -> None:
    """The second copy of a trigger whose alert has ended is sent, for nobody can say so, and closed again."""
    twice = History("a", [Change(0.0, "firing", (0.0, 100.0)), Change(60.0, "resolved")], "critical")
    audit = run(Fleet([twice], misfortune=Misfortune(table=[Window(90, 150)])))
    assert_never_lost_and_never_wrong(audit)
    assert audit.fleet.dead_letters == []
    assert audit.states == {"a": "resolved"}


def test_one_record_that_throttles_delays_no_other() -> None:
    """Its own writes fail for a minute; it is sent when they do not."""
    alerts = [History(f"alert-{number}", [Change(1.0, "firing"), Change(30.0, "resolved")]) for number in range(20)]
    throttled = {"production#alert-3": [Window(0, 61)]}
    audit = run(Fleet(alerts, misfortune=Misfortune(item_throttles=throttled)))
    assert_right(audit)
    assert max(audit.trigger_wait(history, 0) for history in alerts if history.fingerprint != "alert-3") < 1


# --- networks ---


@pytest.mark.parametrize(("dead", "of"), [(1, 2), (1, 3), (2, 3)])
def test_a_dead_address_costs_its_connect_timeout_once(dead: int, of: int) -> None:
    """Then the live one is used, and its connection kept: no request is made twice, none is late."""
    criticals = firing("critical", [60.0 * number for number in range(12)], "critical")
    audit = run(Fleet(criticals, misfortune=Misfortune(dead_addresses=[Dead(Window(0, HOUR), dead, of)])))
    assert_calm(audit, criticals=dead * CONNECT_SECONDS + 0.5)
    assert sorted(audit.waits())[-2] < 0.5
    assert audit.fleet.timeouts == 0


def test_a_host_whose_addresses_are_all_dead_kills_no_invocation() -> None:
    """An attempt keeps its time, and an invocation its own: criticals wait until an address answers."""
    criticals = firing("critical", [50.0 * number for number in range(12)], "critical")
    audit = run(Fleet(criticals, misfortune=Misfortune(dead_addresses=[Dead(Window(0, 600), 3, 3)])))
    assert_right(audit)
    assert audit.fleet.timeouts == 0
    assert audit.drained_at <= 600 + 35


# --- one bad thing ---


@pytest.mark.parametrize("kind", ["killers", "hangers"])
def test_a_record_that_ends_every_process_stops_no_other(kind: str) -> None:
    """It waits with others: claimed five times, it is dead-lettered; what was sent with it costs a repeat at most."""
    alerts = [*firing("warning", [0.0] * 130), *firing("bad", [1.0]), *firing("late", [40.0] * 5)]
    audit = run(Fleet(alerts, misfortune=Misfortune(**{kind: {"bad-0"}})))  # type: ignore[arg-type]
    fleet = audit.fleet
    assert_never_lost_and_never_wrong(audit)
    assert audit.dead == {"bad-0"}
    assert len(fleet.dead_letters) == 1
    assert len({taken.sent.fingerprint for taken in audit.accepted}) == 135
    assert max(audit.trigger_wait(history, 0) for history in alerts if history.fingerprint != "bad-0") < 200
    assert audit.peak <= 120


def test_a_fresh_alert_that_kills_its_process_ends_with_lambda_s_retries() -> None:
    """On the on-failure destination; nobody else notices."""
    alerts = [*firing("warning", [0.0] * 20), *firing("bad", [0.0], "critical"), *firing("later", [130.0] * 5)]
    audit = run(Fleet(alerts, misfortune=Misfortune(killers={"bad-0"})))
    assert_never_lost_and_never_wrong(audit)
    assert audit.dead == {"bad-0"}
    assert max(audit.trigger_wait(history, 0) for history in alerts if history.fingerprint != "bad-0") < 1


def test_change_events_among_alerts_are_sent_once_each() -> None:
    """Deployments during a storm, each message twice, their status as it may be."""
    deployments = [
        History(
            f"deploy-{number}",
            [Change(number + 0.5, "firing", (0.0, 61.0)), Change(number + 90.0, "resolved", (0.0, 5.0))],
            is_change_event=True,
        )
        for number in range(30)
    ]
    audit = run(Fleet([*storm(150, 5, resolved=50), *deployments], misfortune=Misfortune(index_lag=1.0)))
    assert_right(audit)
    assert audit.critical_latency < 2
    outage = Misfortune(pagerduty=[failing(10, 400, FaultKind.STATUS, status=503)])
    assert_right(run(Fleet([*storm(50, 5, resolved=20), *deployments], misfortune=outage)))


# --- targets that change while deliveries wait ---


def test_what_waits_goes_to_the_rotated_key() -> None:
    """The old one is refused from then on: the secrets are read again, and nothing waits longer than without."""
    rotations = [(20.0, {"production": target_secret(routing_key=OTHER_KEY)})]
    audit = run(Fleet(firing("warning", [0.0] * 200), misfortune=Misfortune(rotations=rotations)))
    assert_right(audit)
    assert {taken.sent.routing_key for taken in audit.accepted if taken.at > 20} == {OTHER_KEY}
    assert audit.drained_at < 130


def test_a_wrong_key_that_is_put_right_has_lost_nothing() -> None:
    """For half an hour its deliveries wait; those of another key do not."""
    right = {"a": target_secret("a", match=['team="a"']), "b": target_secret("b", OTHER_KEY, match=['team="b"'])}
    wrong = {**right, "a": target_secret("a", WRONG_KEY, match=['team="a"'])}
    alerts = [
        History(f"{team}-{number}", [Change(number * 20.0, "firing")], labels={"team": team})
        for number in range(60)
        for team in "ab"
    ]
    misfortune = Misfortune(rotations=[(1800.0, right)], refused_keys={WRONG_KEY})
    audit = run(Fleet(alerts, secrets=wrong, misfortune=misfortune))
    assert_right(audit)
    assert max(audit.trigger_wait(history, 0) for history in alerts if history.fingerprint[0] == "b") < 1
    assert max(taken.at for taken in audit.accepted if taken.sent.fingerprint[0] == "a") < 1800 + 60 + 60
    tried = [taken for taken in audit.requests if taken.sent.routing_key == WRONG_KEY and taken.at < 1800]
    assert len(tried) <= 1800 / REFUSED_KEY_SECONDS + 1


TEAMS = {"a": target_secret("a", match=['team="a"']), "rest": target_secret("rest", OTHER_KEY)}
OUT_UNTIL = 400.0
"""Longer than an environment keeps what it read of the secrets."""


def of_team_a(name: str, *changes: Change) -> History:
    return History(name, changes, labels={"team": "a"})


def test_what_waits_for_a_target_that_is_removed_ends_as_dead_letters() -> None:
    """After a quarter of an hour, each with its error; nothing goes to another team, and nobody else waits for it."""
    waiting = [of_team_a(f"a-{number}", Change(10.0 + number, "firing")) for number in range(20)]
    others = firing("other", [10.0, 500.0, 1000.0])
    misfortune = Misfortune(
        pagerduty=[failing(5, OUT_UNTIL, FaultKind.STATUS, status=503)],
        rotations=[(60.0, {"rest": TEAMS["rest"]})],
    )
    audit = run(Fleet([*waiting, *others], secrets=TEAMS, misfortune=misfortune))
    assert_right(audit, dead_letters=20)
    assert audit.dead == {history.fingerprint for history in waiting}
    assert {letter["delivery"]["target"] for letter in audit.fleet.dead_letters} == {"a"}
    assert [audit.trigger_wait(history, 0) < OUT_UNTIL + 35 for history in others] == [True] * 3


def test_what_waits_for_a_target_that_is_disabled_is_skipped() -> None:
    """It goes to nobody else; what is open there already still gets its resolve."""
    waiting = [of_team_a(f"a-{number}", Change(10.0 + number, "firing")) for number in range(20)]
    is_open = of_team_a("open", Change(0.0, "firing"), Change(100.0, "resolved"))
    disabled = {**TEAMS, "a": target_secret("a", match=['team="a"'], enabled=False)}
    misfortune = Misfortune(
        pagerduty=[failing(5, OUT_UNTIL, FaultKind.STATUS, status=503)], rotations=[(60.0, disabled)]
    )
    audit = run(Fleet([*waiting, is_open], secrets=TEAMS, misfortune=misfortune))
    fleet = audit.fleet
    assert (fleet.unexpected, fleet.is_quiet, audit.left_over, fleet.dead_letters) == ([], True, [], [])
    assert [(taken.sent.fingerprint, taken.sent.action) for taken in audit.accepted] == [
        ("open", "trigger"),
        ("open", "resolve"),
    ]
    skipped = [ending.report for ending in fleet.endings if ending.report.outcome == "skipped"]
    assert [str(report.fields()["reason"]) for report in skipped] == ["target_disabled"] * 20


def test_a_pagerduty_that_counts_refused_requests_is_not_hammered() -> None:
    """Its limit is half of what we were told: we are refused, and everybody stands back."""
    audit = run(Fleet(storm(200, 5), limit=RateLimit(60, count_refused=True)))
    assert audit.lost == []
    assert audit.fleet.dead_letters == []
    assert audit.drained_at < 240


def test_retry_after_is_believed_for_five_minutes_at_most() -> None:
    """PagerDuty asks for an hour, and answers again after ten seconds."""
    misfortune = Misfortune(pagerduty=[failing(0, 10, FaultKind.STATUS, status=429, retry_after=3600)])
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
