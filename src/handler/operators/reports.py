"""Collects what to report to operators: alerts that could not be delivered, what waits, and dead letters.

The reporter and its clients are made on first use, so an execution environment that only pages never makes them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from handler.delivery.table import DedupTable, Place
from handler.errors import PublishError
from handler.outcome import Deferred
from handler.queues import Queues
from handler.report import Report
from handler.targets.secrets import Targets

if TYPE_CHECKING:
    from handler.alert import Alert
    from handler.operators.entries import WaitingAlert
    from handler.operators.reporter import Reporter
    from handler.pagerduty.severity import Severity

READING_SECONDS = 10.0
"""How long dead letters are read at most, before waiting deliveries are sent."""


class OperatorReports:
    """Reports alerts that do not reach PagerDuty to operators. No method raises: a page never fails for its report.

    Args:
        make_reporter: called once, on first use.
        clock: epoch seconds.
        report: called with one sentence about what did not work.
    """

    def __init__(
        self,
        make_reporter: "Callable[[], Reporter]",
        *,
        targets: Targets,
        table: DedupTable,
        queues: Queues,
        clock: Callable[[], float],
        report: Callable[[str], None],
    ) -> None:
        self._make_reporter = make_reporter
        self._targets = targets
        self._table = table
        self._queues = queues
        self._clock = clock
        self._report = report
        self._noted: list[Report] = []

    @cached_property
    def _reporter(self) -> "Reporter":
        return self._make_reporter()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - a page must not fail for its report, whatever is wrong with that
            text = self._targets.redact(str(error))[:200]
            self._report(f"a report to operators failed: {type(error).__name__}: {text}")

    def note(self, reports: Iterable[Report]) -> None:
        """Keep those of deferred alerts for `report_noted`. Safe to call from several threads."""
        self._noted.extend(report for report in reports if isinstance(report.result, Deferred))

    def report_noted(self) -> None:
        """Report the critical ones of the noted alerts that have waited for long outside of the table."""
        noted, self._noted = self._noted, []
        if not noted:
            return
        with self._guarded():
            from handler.operators.reporter import seen_in

            if not seen_in(noted, self._clock()).is_empty:
                self._reporter.report_deferred(noted)

    def report_waiting(self, places: Sequence[Place]) -> None:
        """Report critical alerts that wait too long, or no longer wait; `places` is all that waits."""
        with self._guarded():
            from handler.operators.endings import is_late
            from handler.operators.entries import LATE_AFTER_SECONDS

            now = self._clock()
            late = [place.identity for place in places if is_late(place, now, LATE_AFTER_SECONDS)]
            self._reporter.report_waiting(late, self._read)

    def _read(self, identities: Sequence[str]) -> "Mapping[str, WaitingAlert]":
        """Return what records say of critical alerts that wait, or waited; nothing where the table fails."""
        from handler.operators.endings import alert_of, ending_of
        from handler.operators.entries import WaitingAlert

        try:
            records = self._table.read(identities, round(self._clock() * 1000))
        except PublishError:
            return {}
        return {
            identity: WaitingAlert(
                alert=alert_of(record),
                since=None if record.waiting_since is None else record.waiting_since / 1000,
                ending=ending_of(record),
            )
            for identity, record in records.items()
        }

    def report_dead_letters(self) -> None:
        """Report the dead letters that have not been reported yet."""
        with self._guarded():
            self._reporter.report_dead_letters(self._queues.count_dead_letters(), self._dead_letters, self._find_target)

    def _dead_letters(self, at_most: int) -> list[Any]:
        letters: list[Any] = []
        until = self._clock() + READING_SECONDS
        with closing(self._queues.dead_letters()) as pages:
            for page in pages:
                letters += page
                if len(letters) >= at_most or self._clock() > until:
                    break
        return letters

    def _find_target(self, alert: "Alert", named: str) -> "tuple[str, Severity | None]":
        """Return the names of the targets that take an alert, or the one named, and the severity it is sent with."""
        try:
            targets = self._targets.read()
            taking = [target for target in targets.targets if target.name == named] if named else targets.taking(alert)
        except PublishError:
            taking = []
        severities = [alert.severity or target.default_severity for target in taking]
        names = named or ", ".join(target.name for target in taking)
        return names, max(severities, key=lambda severity: severity.urgency, default=alert.severity)
