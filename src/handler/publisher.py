"""One incoming record: unwrap, parse, find targets, deliver, keep what is left. Every alert ends in a report."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

from handler import sources
from handler.alert import Alert, Ignored, Status
from handler.delivery.concurrency import MapConcurrently
from handler.delivery.delivery import Delivery
from handler.delivery.record import Observation, compare
from handler.delivery.record import Record as DeliveryRecord
from handler.delivery.sender import Sender
from handler.delivery.table import DedupTable
from handler.delivery.transitions import never_opened
from handler.envelope import Record, without_dead_letters
from handler.errors import (
    InvalidAlertError,
    NoTargetError,
    NoTargetsYetError,
    PublishError,
    QueueUnavailableError,
    TableMissingError,
    TableUnavailableError,
)
from handler.identity import identities_of, target_of
from handler.mapping import action_of, dedup_key_of
from handler.messages import Progress
from handler.outcome import DeferReason, Deferred, Rejected, Result
from handler.pagerduty.events import ROUTING_KEY_CHARACTERS, Action
from handler.pagerduty.severity import Severity
from handler.queues import Queues, carried
from handler.report import Report
from handler.sources.reader import Reader
from handler.targets.secrets import Targets
from handler.targets.target import Target, TargetSet

MAX_ALERTS = 1000
"""Alerts of one message at a time; the rest goes through the retry queue."""
NO_TARGET_YET_SECONDS = 900.0
"""How long an alert waits for a target that may exist: ListSecrets lags up to five minutes behind CreateSecret."""
NO_TARGET_YET_DELAY_SECONDS = 60.0
MAX_SHOWN_NAMES = 3
MAX_SHOWN_ERRORS = 3
"""How many errors of damaged entries are named."""


@dataclass(frozen=True, slots=True)
class Publisher:
    """Publishes incoming records. Every alert is accepted, skipped for a reason, waits, is queued, or reported as lost.

    Attributes:
        clock: epoch seconds.
        reader: unwraps records, and parses their alerts.
        map_concurrently: delivers the alerts of one record; those of one identity stay in their order.
        map_targets: delivers one alert to its targets: the host of one may hang. Shares no threads with the other.
    """

    targets: Targets
    sender: Sender
    table: DedupTable
    queues: Queues
    clock: Callable[[], float]
    reader: Reader = field(default_factory=Reader)
    map_concurrently: MapConcurrently = map
    map_targets: MapConcurrently = map

    def publish(self, raw: Any, deadline: float) -> list[Report]:
        """Publish the alerts of one incoming record; `deadline` is when the invocation must have ended."""
        try:
            message = self._unwrap(raw)
            parsed = self.reader.parse(message.record)
        except PublishError as error:
            return [self.reject_record(raw, error)]
        part = parsed[message.start : message.end]
        alerts = [carried(found, message.progress) for found in part if isinstance(found, Alert)]
        return [
            *(self._defer_rest(message) if len(parsed) > message.end else ()),
            *self._publish_alerts(alerts, message.progress, deadline),
            *(Report(result=found) for found in part if isinstance(found, Ignored)),
            *self._reject_damaged(raw, message, parsed),
        ]

    def _unwrap(self, raw: Any) -> "_Message":
        """Unwrap a record, and read its state on the retry queue."""
        record = self.reader.unwrap(raw, datetime.fromtimestamp(self.clock(), UTC))
        progress, rest = self.queues.progress_of(record), self.queues.rest_of(record)
        if rest is None:
            return _Message(raw, record, progress)
        return _Message(rest, self.reader.unwrap(rest, record.published_at), progress)

    def _defer_rest(self, message: "_Message") -> list[Report]:
        """Put the rest of a message with very many alerts on the retry queue."""
        lost = _lost(lambda: self.queues.defer_rest(message.raw, message.end))
        return [Report(result=Deferred(reason=DeferReason.BUSY, is_kept=True), lost=lost)]

    def _reject_damaged(self, raw: Any, message: "_Message", parsed: sources.Parsed) -> list[Report]:
        """Dead-letter a record with damaged entries once, however often its rest comes back."""
        damaged = [found for found in parsed if isinstance(found, PublishError)]
        return [self.reject_record(raw, _all_of(damaged))] if damaged and not message.start else []

    def reject_record(self, raw: Any, error: PublishError) -> Report:
        """Put a record that cannot be published on the dead-letter queue."""
        raw = without_dead_letters(raw)
        return Report(result=Rejected(error=error), lost=_lost(lambda: self.queues.dead_letter_record(raw, error)))

    def reject(self, report: Report) -> Report:
        """Put a rejected alert on the dead-letter queue."""
        match report:
            case Report(result=Rejected(error=error), alert=Alert() as alert):
                return replace(
                    report,
                    lost=_lost(lambda: self.queues.dead_letter(alert, report.target, error, len(report.attempts))),
                )
            case _:
                return report

    def _publish_alerts(self, alerts: Sequence[Alert], progress: Progress, deadline: float) -> list[Report]:
        """Publish the alerts of one record concurrently, the most urgent first."""
        by_identity: dict[str, list[Alert]] = {}
        for alert in alerts:
            by_identity.setdefault(alert.fingerprint, []).append(alert)

        def publish(same: list[Alert]) -> list[Report]:
            return [report for alert in same for report in self._publish_alert(alert, progress, deadline)]

        in_order = sorted(by_identity.values(), key=lambda same: max(map(_urgency, same)), reverse=True)
        map_alerts = self.map_concurrently if len(in_order) > 1 else map
        return [report for reports in map_alerts(publish, in_order) for report in reports]

    def _publish_alert(self, alert: Alert, progress: Progress, deadline: float) -> list[Report]:
        try:
            route = self._route(alert, progress)
        except (TableUnavailableError, TableMissingError) as error:
            return [self._wait_for(alert, progress, error, DeferReason.TABLE_UNAVAILABLE)]
        except PublishError as error:
            return [self._wait_for(alert, progress, error, DeferReason.TARGETS_UNAVAILABLE)]
        names = frozenset(progress.routed_to or (target.name for target in route.targets))

        def deliver(target: Target) -> Report:
            delivery = Delivery(
                alert=alert,
                target=target,
                routed_to=names,
                has_open_incident=target.name in route.open_at,
                record=route.records.get(target.name),
                failures=progress.failures,
                failing_since=progress.waiting_since.timestamp() if progress.waiting_since else None,
                was_sent_unclaimed=progress.was_sent_unclaimed,
            )
            return self._deliver(delivery, progress, deadline)

        map_targets = self.map_targets if len(route.targets) > 1 else map
        reports = list(map_targets(deliver, route.targets))
        if route.unknown:
            reports.append(self._reject_unknown(alert, route.unknown))
        return [*reports, *self._record_end(alert, route.without_trigger, progress, deadline)]

    def _route(self, alert: Alert, progress: Progress) -> "_Route":
        """Find the targets: matchers route triggers; resolves and acknowledges go where the incident is open."""
        targets = self.targets.naming(alert.targets)
        if progress.target:
            bound = targets.named(progress.target)
            if not bound:
                self._wait_for_secrets(targets, progress)
                return _Route(unknown=[progress.target])
            has_open = {bound.name} if alert.status is not Status.FIRING else set()
            return _Route(targets=[bound], open_at=frozenset(has_open))
        if alert.is_change or alert.status is Status.FIRING:
            return _Route(targets=targets.taking(alert), unknown=_unknown(alert, targets))
        return self._route_following(alert, targets, progress)

    def _wait_for_secrets(self, targets: TargetSet, progress: Progress) -> None:
        """Raise NoTargetsYetError for a quarter of an hour while a secret that was never read may hold the target."""
        if targets.is_partial and self._may_still_wait(progress):
            raise NoTargetsYetError("a secret could not be read, and may hold the target of this alert")

    def _may_still_wait(self, progress: Progress) -> bool:
        since = progress.waiting_since
        return since is None or self.clock() - since.timestamp() < NO_TARGET_YET_SECONDS

    def _route_following(self, alert: Alert, targets: TargetSet, progress: Progress) -> "_Route":
        """Find where a resolve or acknowledge goes: wherever the incident may be open, else as the matchers say."""
        by_name = {target.name: target for target in targets.targets}
        key = dedup_key_of(alert)
        now = round(self.clock() * 1000)
        records = self.table.read(identities_of(by_name, key), now)
        found = {target_of(identity): record for identity, record in records.items()}
        open_at = {name for name, record in found.items() if _may_be_open(record)}
        # the trigger may not be claimed at all of its targets yet
        open_at |= {name for record in found.values() if _may_be_open(record) for name in record.routed_to}
        with_trigger = {name for name, record in found.items() if not _has_no_trigger(record)}
        if where_open := sorted(open_at & by_name.keys()):
            return _Route(
                targets=[by_name[name] for name in where_open],
                open_at=frozenset(open_at),
                records=found,
                without_trigger=_without_trigger(targets, found, with_trigger | open_at),
            )
        self._wait_for_secrets(targets, progress)
        try:
            matching = targets.taking(alert)
        except NoTargetError:
            if not found:
                raise
            matching = []
        names = ({target.name for target in matching} | with_trigger) or found.keys()
        return _Route(
            targets=[by_name[name] for name in sorted(names)],
            unknown=_unknown(alert, targets),
            records=found,
            without_trigger=_without_trigger(targets, found, names),
        )

    def _record_end(self, alert: Alert, targets: Sequence[Target], progress: Progress, deadline: float) -> list[Report]:
        """Record an end that overtook its trigger, at targets that only the trigger's labels may lead to.

        If the trigger arrived there meanwhile, the end is delivered.
        """
        now = round(self.clock() * 1000)
        reports: list[Report] = []
        for target in targets:
            seen = Delivery(alert=alert, target=target).observation()
            try:
                change = self.table.change(seen.identity, partial(_end_without_trigger, seen=seen, now=now), now)
            except (TableUnavailableError, TableMissingError) as error:
                reports.append(self._wait_for(alert, progress, error, DeferReason.TABLE_UNAVAILABLE))
                break
            if not _has_no_trigger(change.before):
                late = Delivery(alert=alert, target=target, has_open_incident=True, record=change.before)
                reports.append(self._deliver(late, progress, deadline))
        return reports

    def _deliver(self, delivery: Delivery, progress: Progress, deadline: float) -> Report:
        """Deliver an alert to a target; queue it if it could neither be delivered nor recorded."""
        report = self.sender.deliver(delivery, deadline)
        match report.result:
            case Rejected():
                return self.reject(report)
            case Deferred(is_kept=False, delay_seconds=delay, reason=reason):
                bound = progress.bound(delivery.target.name, delivery.routed_to)
                has_failed = reason is not DeferReason.BUSY
                lost = _lost(
                    lambda: self.queues.defer(delivery.alert, bound, delay, self.clock(), has_failed=has_failed)
                )
                return replace(report, lost=lost)
            case _:
                return report

    def _wait_for(self, alert: Alert, progress: Progress, error: PublishError, reason: DeferReason) -> Report:
        """Queue an alert whose targets could not be found yet; reject it if waiting does not help."""
        result: Result = Rejected(error=error)
        since = progress.waiting_since.timestamp() if progress.waiting_since else None
        if isinstance(error, NoTargetError):
            if isinstance(error, NoTargetsYetError) and self._may_still_wait(progress):
                result = Deferred(reason=reason, delay_seconds=NO_TARGET_YET_DELAY_SECONDS, error=error)
        elif error.retryable:
            result = self.sender.defer(error, reason, progress.failures, since)
        report = Report(
            result=result, alert=alert, action=action_of(alert), target=progress.target, severity=alert.severity
        )
        if isinstance(result, Deferred):
            lost = _lost(lambda: self.queues.defer(alert, progress, result.delay_seconds, self.clock()))
            return replace(report, lost=lost)
        return self.reject(report)

    def _reject_unknown(self, alert: Alert, names: Sequence[str]) -> Report:
        """Dead-letter an alert once for all its targets that do not exist."""
        listed = ", ".join(map(_printable, names[:MAX_SHOWN_NAMES])) + (", ..." if len(names) > MAX_SHOWN_NAMES else "")
        error = NoTargetError(f"the alert asks for {listed}: no target has that name")
        asked = replace(alert, targets=tuple(names))
        return self.reject(Report(result=Rejected(error=error), alert=asked, action=action_of(alert)))


class _Message(NamedTuple):
    """A record without its wrappings.

    Attributes:
        raw: the record as it goes on the retry queue, should a part of its alerts have to wait.
        progress: its state on the retry queue.
    """

    raw: Any
    record: Record
    progress: Progress

    @property
    def start(self) -> int:
        """The number of the first alert to publish now."""
        return self.progress.start

    @property
    def end(self) -> int:
        """The number of the first alert that has to wait."""
        return self.progress.start + MAX_ALERTS


@dataclass(frozen=True, slots=True, kw_only=True)
class _Route:
    """The targets of an alert.

    Attributes:
        unknown: names in the alert that no target has.
        open_at: the names of targets where its incident may be open.
        records: the records that were read, by target name.
        without_trigger: the other targets, which the trigger may go to that this end overtook.
    """

    targets: Sequence[Target] = ()
    unknown: Sequence[str] = ()
    open_at: frozenset[str] = frozenset()
    records: Mapping[str, DeliveryRecord] = field(default_factory=dict)
    without_trigger: Sequence[Target] = ()


def _without_trigger(targets: TargetSet, found: Mapping[str, DeliveryRecord], names: Collection[str]) -> list[Target]:
    """Return the other targets, which an overtaken trigger may go to; none if any record knows of a trigger."""
    if any(record.fired_at for record in found.values()):
        return []
    return [target for target in targets.targets if target.name not in names and target.type == "pagerduty"]


def _has_no_trigger(record: DeliveryRecord | None) -> bool:
    """Return whether a record knows of no trigger, and nothing can be open."""
    return record is None or not (record.fired_at or record.open or record.needs_delivery())


def _end_without_trigger(record: DeliveryRecord | None, seen: Observation, now: int) -> DeliveryRecord | None:
    is_news = record is None or (seen.status is Status.RESOLVED and compare(seen.at, record.at) > 0)
    return never_opened(record, seen, now) if is_news and _has_no_trigger(record) else record


def _all_of(damaged: Sequence[PublishError]) -> PublishError:
    """Return one error for all damaged entries of a record, so that it becomes one dead letter."""
    if len(damaged) == 1:
        return damaged[0]
    shown = "; ".join(str(error) for error in damaged[:MAX_SHOWN_ERRORS])
    return InvalidAlertError(
        f"{len(damaged)} entries are damaged: {shown}{'; ...' * (len(damaged) > MAX_SHOWN_ERRORS)}"
    )


def _may_be_open(record: DeliveryRecord) -> bool:
    return record.open or (record.status is not Status.RESOLVED and record.needs_delivery())


def _unknown(alert: Alert, targets: TargetSet) -> list[str]:
    return [name for name in alert.targets if not targets.named(name)]


def _printable(name: str) -> str:
    """Return a target's name for the log, unless it may be a routing key in the wrong place."""
    if len(name) == ROUTING_KEY_CHARACTERS:
        return f"a target with a name of {len(name)} characters"
    return repr(name[:100])


def _urgency(alert: Alert) -> tuple[bool, int]:
    """Rank triggers above the rest, then by severity (before a target's default applies)."""
    severity = alert.severity or Severity.ERROR
    return action_of(alert) is Action.TRIGGER, severity.urgency


def _lost(put: Callable[[], None]) -> QueueUnavailableError | None:
    try:
        put()
    except QueueUnavailableError as error:
        return error
    return None
