"""Storms, outages and overload on one routing key: this publisher, its bars, a naive forwarder and an ideal queue.

    python -m benchmarks.storm

Measured in virtual time by `tests.lab.fleet`, which runs the publisher's own code in hundreds of executions at once;
the latencies are assumptions, and printed.
"""

import json
from collections.abc import Sequence
from functools import partial
from math import inf

from benchmarks.table import Line, aligned, print_lines
from local.simulator.faults import Fault, FaultKind
from local.simulator.pagerduty import PagerDuty, RateLimit
from tests.lab.audit import Audit
from tests.lab.clock import NOW
from tests.lab.fleet import Failing, Fleet, Latencies, Misfortune, Window
from tests.lab.histories import Change, History, steady, storm
from tests.lab.secrets import ROUTING_KEY
from tests.lab.timeline import Timeline

LIMIT = 120
WINDOW_SECONDS = 60.0
LATENCIES = Latencies()
HOUR = 3600.0
PAUSES = (0.1, 0.2, 0.4, None)
"""Of a naive forwarder: three more tries, then the alert is lost."""
HEADINGS = (
    "400 alerts at once, 10 critical, 200 resolved at 60 s",
    "accepted",
    "lost",
    "429",
    "criticals",
    "all firing",
)


def run(histories: Sequence[History], misfortune: Misfortune | None = None) -> Audit:
    """Run a fleet."""
    fleet = Fleet(histories, latencies=LATENCIES, misfortune=misfortune)
    fleet.run()
    return Audit(fleet)


def measure() -> list[Line]:
    """Return what each storm came to, against its bar."""

    def line(what: str, value: float, bar: float, audit: Audit, unit: str = "s") -> Line:
        wrong = len(audit.lost) + len(audit.disorder) + len(audit.stale)
        seen = f"{len(audit.accepted)} accepted, {audit.refused} x 429, {wrong} lost, stale or out of order"
        return Line(what=what, values=[value], unit=unit, bar=bar, seen=seen)

    critical = [Change(at, "firing") for at in (*[30.0] * 5, 95.0, 130.0, 171.5, 222.0, *[300.0] * 5, 380.0, 410.0)]
    criticals = [History(f"critical-{number}", [change], "critical") for number, change in enumerate(critical)]
    storm_400 = run(storm(400, 10, resolved=200))
    thousand = run([*storm(1000, 0), *criticals])
    five_thousand = run(storm(5000, 0))
    overload = run(steady(3000, 0.4, critical=0))
    both = run(steady(1500, 0.8, 120.0, critical=0))
    burst = run(storm(3000, 10, within=2.0))
    out = Misfortune(pagerduty=[Failing(Window(0, HOUR), Fault(FaultKind.STATUS, status=503, count=None))])
    recovery = run(steady(100, 36.0), out)
    return [
        line("400 alerts, 200 resolved at 60 s: all firing accepted", storm_400.firing_accepted_at, 123, storm_400),
        line("400 alerts: criticals", storm_400.critical_latency, 1, storm_400),
        line("1,000 warnings, criticals meanwhile: all accepted", thousand.drained_at, 545, thousand),
        line("1,000 warnings: criticals", thousand.critical_latency, 2, thousand),
        line(
            "5,000 warnings: time over the ideal", five_thousand.drained_at / (5000 / 2), 1 / 0.95, five_thousand, "x"
        ),
        line("150 a minute for 20 minutes: longest wait", max(overload.waits()), 400, overload),
        line("75 + 75 a minute for 20 minutes: triggers", max(both.waits()), 150, both),
        line("75 + 75 a minute for 20 minutes: resolves", max(both.resolve_waits()), 200, both),
        line("3,000 alerts in 2 s: criticals", burst.critical_latency, 2, burst),
        line("an hour without PagerDuty, 100 waiting: recovery", recovery.drained_at - HOUR, 35, recovery),
        line("longest chain of Lambda and SQS", max(each.fleet.deepest for each in (burst, recovery)), 15, burst, ""),
    ]


def compare() -> str:
    """Return the table of the first storm: this publisher, a naive forwarder, and a queue that knows everything."""
    histories = storm(400, 10, resolved=200)
    audit = run(histories)
    ours = ["this publisher", len(audit.accepted), len(audit.lost), audit.refused]
    rows = [
        [*map(str, ours), f"{audit.critical_latency:.2f} s", f"{audit.firing_accepted_at:.1f} s"],
        _naive(histories),
        _ideal(histories),
    ]
    return aligned(HEADINGS, rows)


def _naive(histories: Sequence[History]) -> list[str]:
    """Send as many a forwarder does: three more tries at 100, 200 and 400 ms, no limit, no memory; then it is lost."""
    timeline = Timeline()
    pagerduty = PagerDuty(lambda: timeline.now, limit=RateLimit(LIMIT))
    lost: list[str] = []

    def send(history: History, change: Change) -> None:
        event: dict[str, object] = {"routing_key": ROUTING_KEY, "dedup_key": history.fingerprint}
        event["event_action"] = "resolve" if change.status == "resolved" else "trigger"
        event["payload"] = {"summary": "Storm", "source": "naive", "severity": history.severity}
        for pause in PAUSES:
            timeline.sleep(LATENCIES.pagerduty)
            if pagerduty.handle("POST", "/v2/enqueue", json.dumps(event).encode()).status == 202:
                return
            if pause is not None:
                timeline.sleep(pause)
        lost.append(history.fingerprint)

    for history in histories:
        for change in history.changes:
            at = NOW + change.at + LATENCIES.delivery
            timeline.at(at, partial(timeline.start, partial(send, history, change)))
    timeline.run(HOUR)
    requests = pagerduty.requests
    accepted, refused = (sum(each.status == status for each in requests) for status in (202, 429))
    return ["retries at 100/200/400 ms", str(accepted), str(len(lost)), str(refused), "never", "never"]


def _ideal(histories: Sequence[History]) -> list[str]:
    """Compute what a queue would do that knows everything at once: all permits of a minute taken when they are free.

    Criticals first, then triggers, then resolves; who has ended before being sent is never sent.
    """
    waiting = sorted(histories, key=lambda history: not history.is_critical)
    ended_at = {each.fingerprint: each.changes[1].at if len(each.changes) > 1 else inf for each in histories}
    opened: dict[str, float] = {}
    ends: set[str] = set()
    at = 0.0
    arrives = LATENCIES.delivery + LATENCIES.pagerduty / 2
    while waiting or any(ended_at[name] < inf for name in opened.keys() - ends):
        waiting = [history for history in waiting if ended_at[history.fingerprint] > at]
        opened |= {history.fingerprint: at + arrives for history in waiting[:LIMIT]}
        free = LIMIT - min(LIMIT, len(waiting))
        waiting = waiting[LIMIT:]
        ends |= set([name for name in opened if name not in ends and ended_at[name] <= at][:free])
        at += WINDOW_SECONDS
    critical = max(opened[history.fingerprint] for history in histories if history.is_critical)
    firing = max(at for name, at in opened.items() if ended_at[name] == inf)
    accepted = len(opened) + len(ends)
    return ["an ideal queue (computed)", str(accepted), "0", "0", f"{critical:.2f} s", f"{firing:.1f} s"]


ASSUMED = f"""
Measured in virtual time, on the project's own code. Assumed: PagerDuty {LATENCIES.pagerduty * 1000:.0f} ms and {LIMIT}
requests in any rolling minute, DynamoDB and SQS {LATENCIES.table * 1000:.0f} ms, 1,000 writes a second for one item and
for one partition of the index, delivery {LATENCIES.delivery * 1000:.0f} ms (each from half to one and a half of that),
and as many executions as there are alerts.
"""


def main() -> None:
    """Run the storms and print what came of them."""
    print(compare(), print_lines(measure()), ASSUMED, sep="\n\n")


if __name__ == "__main__":
    main()
