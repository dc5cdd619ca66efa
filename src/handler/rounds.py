"""What runs apart from the path of a page: reports to operators, the comparison with alarms, the heartbeat.

Everything is imported and made on first use, so an execution environment that only pages never does it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from handler.delivery.table import DedupTable, Place
from handler.errors import PublishError, QueueUnavailableError
from handler.outcome import Deferred
from handler.queues import Queues
from handler.report import Report
from handler.settings import Settings
from handler.targets.secrets import Targets

if TYPE_CHECKING:
    import urllib3

    from handler.agreement.agreement import Agreement
    from handler.alert import Alert
    from handler.operators.entries import Known
    from handler.operators.reporter import Operators
    from handler.pagerduty.severity import Severity

READING_SECONDS = 10.0
"""For how long dead letters are read at most, before what waits is sent."""
PAGE_SECONDS = 15.0
"""The time kept for publishing the last page of alarms."""

type MakeClient = Callable[[str], Any]


class Rounds:
    """The second path, the agreement with CloudWatch, and the heartbeat. No method raises for what AWS does.

    Args:
        function_name: of this function, `<stack>-publisher`.
        make_client: returns a client of an AWS service.
        publish: publishes one record as it came, until a deadline, and logs what becomes of it.
        report: called with one sentence about what did not work.
        clock: epoch seconds.
    """

    def __init__(
        self,
        settings: Settings,
        function_name: str,
        *,
        make_client: MakeClient,
        targets: Targets,
        table: DedupTable,
        queues: Queues,
        publish: Callable[[Any, float], Any],
        report: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._function_name = function_name
        self._make_client = make_client
        self._targets = targets
        self._table = table
        self._queues = queues
        self._publish = publish
        self._report = report
        self._clock = clock

    def note(self, reports: Iterable[Report]) -> None:
        """Report critical alerts to operators that wait for long outside of the table."""
        deferred = [report for report in reports if isinstance(report.result, Deferred)]
        if not deferred or not self._settings.OPERATOR_TOPIC_ARN:
            return
        from handler.operators.reporter import seen_in

        if not seen_in(deferred, self._clock()).is_empty:
            self._operators.note(deferred)

    def look(self, places: Sequence[Place]) -> None:
        """Report critical alerts that wait too long, or no longer wait, to operators."""
        if not self._settings.OPERATOR_TOPIC_ARN:
            return
        from handler.delivery.ending import is_late
        from handler.operators.entries import LATE_AFTER_SECONDS

        now = self._clock()
        late = [place.identity for place in places if is_late(place, now, LATE_AFTER_SECONDS)]
        self._operators.look(late, self._known)

    def _known(self, identities: Sequence[str]) -> "Mapping[str, Known]":
        """Return what records say of critical alerts that wait, or waited; nothing where the table fails."""
        from handler.delivery.ending import alert_of, ending_of
        from handler.operators.entries import Known

        try:
            records = self._table.read(identities, round(self._clock() * 1000))
        except PublishError:
            return {}
        return {
            identity: Known(
                alert=alert_of(record),
                since=None if record.waiting_since is None else record.waiting_since / 1000,
                ending=ending_of(record),
            )
            for identity, record in records.items()
        }

    def look_at_dead_letters(self) -> None:
        """Report the dead letters that operators have not been told about yet."""
        if not self._settings.OPERATOR_TOPIC_ARN:
            return
        with suppress(QueueUnavailableError):
            self._operators.look_at_dead_letters(self._queues.count_dead_letters(), self._dead_letters, self._taken)

    def _dead_letters(self, at_most: int) -> list[Any]:
        letters: list[Any] = []
        until = self._clock() + READING_SECONDS
        with closing(self._queues.dead_letters()) as pages:
            for page in pages:
                letters += page
                if len(letters) >= at_most or self._clock() > until:
                    break
        return letters

    def _taken(self, alert: "Alert", named: str) -> "tuple[str, Severity | None]":
        """Return the names of the targets that take an alert, or the one named, and the severity it is sent with."""
        try:
            known = self._targets.read()
            taking = [target for target in known.targets if target.name == named] if named else known.taking(alert)
        except PublishError:
            taking = []
        severities = [alert.severity or target.default_severity for target in taking]
        names = named or ", ".join(target.name for target in taking)
        return names, max(severities, key=lambda severity: severity.urgency, default=alert.severity)

    def agree(self, function_arn: str, deadline: float) -> dict[str, int]:
        """Publish the alerts on which CloudWatch's alarms and the records disagree; return their numbers by reason."""
        if self._settings.AGREE_WITH_CLOUDWATCH == "off":
            return {}
        from handler.agreement.routing import Routing

        published: dict[str, int] = {}
        try:
            routing = Routing(self._targets.read())
        except PublishError as error:
            self._report(f"alarms and records could not be compared: {error}")
            return {}
        for page in self._agreement(function_arn).run(routing, deadline - PAGE_SECONDS):
            for disagreement in page:
                try:
                    self._publish(disagreement.message, deadline)
                except QueueUnavailableError as error:
                    self._report(f"{disagreement.name} is compared again in five minutes: {error}")
                    continue
                why = str(disagreement.decision.why)
                published[why] = published.get(why, 0) + 1
        return published

    def beat(self) -> None:
        """Send the heartbeat, if a URL is configured."""
        if self._settings.HEARTBEAT_URL is None:
            return
        from handler.heartbeat import ping

        if problem := ping(self._pool, self._settings.HEARTBEAT_URL):
            self._report(problem)

    @cached_property
    def _pool(self) -> "urllib3.PoolManager":
        from handler.pagerduty.connections import make_pool

        return make_pool(self._settings.HTTPS_PROXY)

    @cached_property
    def _operators(self) -> "Operators":
        from handler.operators.reporter import Operators

        return Operators(
            self._make_client("dynamodb"),
            self._make_client("sns"),
            table=self._settings.DEDUP_TABLE_NAME,
            topic_arn=self._settings.OPERATOR_TOPIC_ARN or "",
            clock=self._clock,
            redact=self._targets.redact,
            report=self._report,
            function=self._function_name,
        )

    def _agreement(self, function_arn: str) -> "Agreement":
        if self._compared is None:
            from handler.agreement.agreement import Agreement
            from handler.agreement.wiring import Scope

            self._compared = Agreement(
                self._make_client("cloudwatch"),
                self._make_client("dynamodb"),
                self._make_client("sns"),
                table=self._settings.DEDUP_TABLE_NAME,
                topic_arn=self._settings.ALERT_TOPIC_ARN or "",
                function_arn=function_arn,
                scope=Scope(self._settings.AGREE_WITH_CLOUDWATCH),
                parse=self._parse,
                clock=self._clock,
                report=self._report,
                when_undetermined=self._settings.CLOUDWATCH_INSUFFICIENT_DATA,
            )
        return self._compared

    _compared: "Agreement | None" = None
    """Made on first use, with the invocation's function ARN; it remembers where it was cut short."""

    def _parse(self, message: Mapping[str, Any]) -> "Alert | None":
        """Return CloudWatch's notification as an alert, or None if nothing is sent for it."""
        from datetime import UTC, datetime

        from handler import sources
        from handler.alert import Alert
        from handler.envelope import unwrap

        try:
            record = unwrap(message, datetime.fromtimestamp(self._clock(), UTC))
            found = sources.parse(record, self._settings.CLOUDWATCH_INSUFFICIENT_DATA, self._settings.ACCOUNT_NAMES)
        except PublishError:
            return None
        return next((alert for alert in found if isinstance(alert, Alert)), None)
