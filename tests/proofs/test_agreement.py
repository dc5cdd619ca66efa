"""The comparison with CloudWatch beside everything else: what is lost pages, what is over resolves, nothing doubles."""

import os
import random
from collections import Counter
from collections.abc import Sequence

from local.simulator.faults import Fault, FaultKind
from tests.lab.alarms import Alarm, AlarmFleet, Change, Verdicts
from tests.lab.fleet import Failing, Misfortune, Window

SEEDS = int(os.environ.get("PROOFS_SEEDS", "300"))
GAPS = (0.4, 1.2, 3.0, 20.0, 45.0, 150.0, 400.0, 900.0)
"""Between two states: ties of clocks, less than an alarm is left alone after a change, more than two comparisons."""
DELAYS = (0.03, 0.5, 5.0, 29.0, 31.0, 70.0, 200.0, 400.0)
"""Of a notification: as a rule, throttled, retried by Lambda, after a comparison."""
FAULTS = (
    Fault(FaultKind.STATUS, status=503, count=None),
    Fault(FaultKind.STATUS, status=429, retry_after=7, count=None),
    Fault(FaultKind.ACCEPT_THEN_DROP, count=None),
    Fault(FaultKind.RESET, count=None),
)


def alarm(chance: random.Random, number: int) -> Alarm:
    """Return an alarm's life: notifications are lost, late, or doubled; some alarms have no OK action."""
    at, state, changes = round(chance.random() * 300, 3), "ALARM", []
    notifies_of_ok = chance.random() < 0.6
    for _ in range(chance.randint(1, 5)):
        is_told = chance.random() < 0.7 and (state == "ALARM" or notifies_of_ok)
        delays = [chance.choice(DELAYS) for _ in range(chance.choice((1, 1, 2)))] if is_told else []
        changes.append(Change(at, state, delays))
        at = round(at + chance.choice(GAPS) * (0.9 + 0.2 * chance.random()), 3)
        others = [each for each in ("ALARM", "ALARM", "OK", "OK", "INSUFFICIENT_DATA") if each != state]
        state = chance.choice(others)
    quiet = (0.0, 0.0)
    if chance.random() < 0.15:
        begin = chance.random() * at
        quiet = (begin, begin + chance.choice(GAPS))
    return Alarm(
        f"alarm-{number}",
        changes,
        precision=chance.choice((0.001, 0.001, 1.0)),
        by=chance.choice(("sns", "eventbridge")),
        quiet=quiet,
        deleted_at=changes[-1].at + chance.choice(GAPS) if chance.random() < 0.1 else float("inf"),
    )


def misfortune(chance: random.Random, alarms: Sequence[Alarm]) -> Misfortune:
    """Return what goes wrong besides: persons resolve incidents, or services fail and executions die, or nothing."""

    def window() -> Window:
        begins = chance.random() * 900
        return Window(begins, begins + chance.choice((5.0, 60.0, 400.0)))

    match chance.choice(("nothing", "persons", "pagerduty", "deaths", "index", "table")):
        case "persons":
            return Misfortune(persons=[(chance.random() * 1500, each.arn) for each in alarms])
        case "pagerduty":
            return Misfortune(pagerduty=[Failing(window(), chance.choice(FAULTS))])
        case "deaths":
            return Misfortune(deaths={(chance.randint(0, 12), chance.randint(0, 16)) for _ in range(3)})
        case "index":
            return Misfortune(index_lag=3.0, wake_ups=[window()], schedule=[window()])
        case "table":
            return Misfortune(table=[window()])
    return Misfortune()


def fleet_of(seed: int) -> AlarmFleet:
    """Return the fleet of a seed."""
    chance = random.Random(seed)
    alarms = [alarm(chance, number) for number in range(chance.randint(1, 4))]
    return AlarmFleet(
        alarms, phase=chance.random() * 300, seed=seed, misfortune=misfortune(chance, alarms), skew_seconds=0.1
    )


def test_nothing_doubles_and_everything_agrees_in_the_end() -> None:
    """Whatever is lost, late or doubled: one ALARM opens one incident at most, and ends as its alarm does."""
    compared: Counter[str] = Counter()
    wrong = []
    for seed in range(SEEDS):
        fleet = fleet_of(seed)
        fleet.run()
        compared += fleet.compared
        wrong += [f"seed {seed}: {what}" for what in Verdicts(fleet).wrong]
    print(f"{SEEDS} fleets; published by comparison: {dict(compared)}")
    assert wrong == []
    assert {"no_record", "newer_alarm", "alarm_is_ok", "alarm_is_gone"} <= compared.keys()
