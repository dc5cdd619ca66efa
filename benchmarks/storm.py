"""A storm of alerts on one routing key: this publisher, a naive forwarder, and an ideal queue, in one table.

    python -m benchmarks.storm

Measured in virtual time by `tests.lab.fleet`, which runs the publisher's own code in hundreds of executions at once;
the latencies are assumptions, and printed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from time import perf_counter

from tests.lab.fleet import (
    Audit,
    Fleet,
    History,
    Latencies,
    storm,
)

LIMIT = 120
WINDOW_SECONDS = 60.0
LATENCIES = Latencies()


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way to get through a storm; None where it does not apply."""

    name: str
    accepted: int
    lost: int
    refused: int
    requests_per_accepted: float
    critical_seconds: float
    firing_seconds: float
    drained_seconds: float
    left_open: int
    stale: int
    out_of_order: int
    writes_per_alert: float | None

    @classmethod
    def of(cls, name: str, audit: Audit) -> "Row":
        """Read a run."""
        fleet = audit.fleet
        return cls(
            name=name,
            accepted=len(audit.accepted),
            lost=len(audit.lost),
            refused=audit.refused,
            requests_per_accepted=audit.requests_per_accepted,
            critical_seconds=audit.critical_latency,
            firing_seconds=audit.firing_accepted_at,
            drained_seconds=audit.drained_at,
            left_open=audit.left_open,
            stale=len(audit.stale),
            out_of_order=len(audit.disorder),
            writes_per_alert=None if fleet.naive else fleet.writes / len(fleet.histories),
        )

    def cells(self, ideal: "Row") -> list[str]:
        """Give the table's cells."""
        return [
            self.name,
            str(self.accepted),
            str(self.lost),
            str(self.refused),
            f"{self.requests_per_accepted:.2f}",
            _seconds(self.critical_seconds),
            _seconds(self.firing_seconds),
            str(self.left_open),
            str(self.stale),
            str(self.out_of_order),
            _seconds(self.drained_seconds),
            "-" if self.lost else f"{self.drained_seconds / ideal.drained_seconds:.2f}",
            "-" if self.writes_per_alert is None else f"{self.writes_per_alert:.1f}",
        ]


HEADINGS = (
    "",
    "accepted",
    "lost",
    "429",
    "requests/accepted",
    "criticals",
    "firing accepted",
    "left open",
    "stale",
    "out of order",
    "drained",
    "x ideal",
    "writes/alert",
)


def _seconds(seconds: float) -> str:
    return "never" if seconds == inf else f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"


def compute_ideal(histories: Sequence[History]) -> Row:
    """Give what a queue would do that knows everything at once: all turns of a minute taken the moment they are free.

    Criticals first, then triggers, then resolves; who has ended before being sent is never sent.
    """
    waiting = sorted(histories, key=lambda history: not history.is_critical)
    ended_at = {
        history.fingerprint: history.changes[1].at if len(history.changes) > 1 else inf for history in histories
    }
    opened: dict[str, float] = {}
    ends: list[str] = []
    drained, at, accepted = 0.0, 0.0, 0
    arrives = LATENCIES.delivery + LATENCIES.pagerduty / 2
    while waiting or any(ended_at[name] < inf for name in opened if name not in ends):
        free = LIMIT
        waiting = [history for history in waiting if ended_at[history.fingerprint] > at]
        for history in waiting[:free]:
            opened[history.fingerprint] = at + arrives
        free -= (taken := min(free, len(waiting)))
        waiting = waiting[taken:]
        due = [name for name in opened if name not in ends and ended_at[name] <= at][:free]
        ends += due
        if taken or due:
            drained, accepted = at + arrives, accepted + taken + len(due)
        at += WINDOW_SECONDS
    critical = {history.fingerprint for history in histories if history.is_critical}
    return Row(
        name="an ideal queue (computed)",
        accepted=accepted,
        lost=0,
        refused=0,
        requests_per_accepted=1.0,
        critical_seconds=max((opened[name] for name in critical), default=0.0),
        firing_seconds=max(at for name, at in opened.items() if ended_at[name] == inf),
        drained_seconds=drained,
        left_open=0,
        stale=0,
        out_of_order=0,
        writes_per_alert=None,
    )


def print_table(title: str, rows: Sequence[Row], ideal: Row) -> None:
    """Print the ways through one storm, one on each line."""
    lines = [list(HEADINGS), *(row.cells(ideal) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    print(f"\n{title}\n")
    for line in lines:
        first, *rest = (
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        print("  ".join([first, *rest]))


def main() -> None:
    """Run the storms and print what came of them."""
    began = perf_counter()
    histories = storm(400, 10, resolved=200)
    ideal = compute_ideal(histories)
    ours = Row.of("this publisher", Fleet(histories, latencies=LATENCIES).run())
    naive = Row.of("retries at 100/200/400 ms", Fleet(histories, latencies=LATENCIES, naive=True).run())
    print_table("400 alerts at once, 10 critical, 200 resolved at 60 s", [ours, naive, ideal], ideal)

    histories = storm(1010, 10)
    ideal = compute_ideal(histories)
    audit = Fleet(histories, latencies=LATENCIES).run()
    ours = Row.of("this publisher", audit)
    print_table("1,000 warnings and 10 criticals at once", [ours, ideal], ideal)
    share = ours.accepted / ours.drained_seconds * WINDOW_SECONDS / LIMIT
    print(f"\nOf the limit it used {share:.0%}, from the first alert to the last (bar: 90%).")

    print(
        f"\nMeasured in virtual time, on the project's own code, in {perf_counter() - began:.0f} s. Assumed: PagerDuty "
        f"{LATENCIES.pagerduty * 1000:.0f} ms and {LIMIT} requests in any\nrolling minute, DynamoDB and SQS "
        f"{LATENCIES.table * 1000:.0f} ms, delivery {LATENCIES.delivery * 1000:.0f} ms (each from half to one and a "
        "half of that), as many executions\nas there are alerts, a retry queue that ten executions read in tens.\n"
        "criticals: the longest that one waited. firing accepted: when all that fire to the end were. stale: triggers "
        "taken in after their\nalert had ended. out of order: events taken in after a later one of their alert."
    )


if __name__ == "__main__":
    main()
