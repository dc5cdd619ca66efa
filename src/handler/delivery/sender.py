"""One delivery: one alert to one target, claimed, sent, settled; what cannot go out now waits in its record."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from pydantic import SecretStr

from handler.alert import Alert, Status
from handler.delivery.body import pack, unpack
from handler.delivery.claims import SKIPS, Decision, Verdict, decide
from handler.delivery.limiter import WOKEN_MS, NoPermitError, Permit, RateLimiter, Refusal, Taker
from handler.delivery.rate import SEGMENT_MS, Limit, Window, segment_of
from handler.delivery.record import (
    Observation,
    Order,
    Record,
    Waiting,
    claim,
    claim_waiting,
    compare,
    follow,
    forget_waiting,
    never_opened,
    note,
    reassert,
    refresh,
    release,
    settle,
    wait,
)
from handler.delivery.retry import deferral_seconds
from handler.delivery.table import Change, DedupTable
from handler.errors import (
    ExhaustedError,
    PublishError,
    TableContendedError,
    TableMissingError,
    TableThrottledError,
    TableUnavailableError,
)
from handler.identity import identity_of, identity_of_change
from handler.mapping import action_of, dedup_key_of, event_of
from handler.outcome import Accepted, DeferReason, Deferred, Rejected, Result, Skipped
from handler.pagerduty.client import Answer, Attempt, PagerDutyClient
from handler.pagerduty.errors import (
    ApiConnectionError,
    ApiTimeoutError,
    PagerDutyApiError,
    PagerDutyServerError,
    is_auth_error,
)
from handler.pagerduty.events import Action
from handler.pagerduty.severity import Severity
from handler.report import Report
from handler.targets.target import Target

THROTTLED_SECONDS = 30.0
"""What PagerDuty advises to wait after a 429 that names no time."""
PAUSE_MS = 5_000
"""How long a failed delivery pauses; after a second failure in a row it pauses longer."""
LONG_PAUSE_MS = 20_000
PROBE_SECONDS = 30.0
"""The interval of probes while PagerDuty is out of reach."""
REFUSED_KEY_SECONDS = 60.0
"""The interval of probes with a routing key that PagerDuty refused."""
FAILED_ATTEMPTS = 3
"""After this many attempts in a row without an answer, or with a 5xx, PagerDuty counts as out of reach."""
MAX_TRIES = 5
"""After this many claims without any answer, a waiting delivery counts as one that kills its sender."""
BUSY_SECONDS = 2.0
GENERIC = "generic"
"""The origin of messages from no known source."""
OUT_OF_REACH = (PagerDutyServerError, ApiTimeoutError, ApiConnectionError)

type Wake = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One alert on its way to one target.

    Attributes:
        routed_to: the names of all targets that the alert goes to.
        has_open_incident: a resolve or acknowledge of what a record says may be open.
        record: what was read of its record a moment ago; None where nothing was.
        failures: how often it came back from the retry queue.
        failing_since: epoch seconds of the first failure; None where there was none.
        was_sent_unclaimed: PagerDuty was sent it while the table was out; the record does not know.
    """

    alert: Alert
    target: Target
    routed_to: frozenset[str] = frozenset()
    has_open_incident: bool = False
    record: Record | None = None
    failures: int = 0
    failing_since: float | None = None
    was_sent_unclaimed: bool = False

    @property
    def order(self) -> Order:
        """Its order among waiting deliveries."""
        if action_of(self.alert) is not Action.TRIGGER:
            return Order.FOLLOWING
        return Order.CRITICAL if self.severity is Severity.CRITICAL else Order.TRIGGER

    @property
    def severity(self) -> Severity:
        """The severity that is sent."""
        return self.alert.severity or self.target.default_severity

    def observation(self) -> Observation:
        """Return the observation for the record."""
        alert, target = self.alert, self.target
        at = round(alert.observed_at.timestamp() * 1000)
        key = dedup_key_of(alert)
        if alert.is_change:
            occurred = round(alert.starts_at.timestamp() * 1000) if alert.starts_at else at
            return Observation(
                identity=identity_of_change(target.name, key, occurred), status=Status.FIRING, at=at, is_change=True
            )
        return Observation(
            identity=identity_of(target.name, key),
            status=alert.status,
            at=at,
            message_id=alert.message_id,
            urgency=self.severity.urgency if alert.status is Status.FIRING else 0,
            summary=_digest(alert) if alert.status is Status.FIRING else "",
            is_generic=alert.origin == GENERIC,
            routed_to=self.routed_to if alert.status is Status.FIRING and len(self.routed_to) > 1 else frozenset(),
        )


@dataclass(frozen=True, slots=True)
class _Sending:
    """A claimed delivery: what is sent, the record as this claim left it, its place, and whether a drainer sends it."""

    delivery: Delivery
    seen: Observation
    mine: Record
    was_open: bool
    place: Waiting
    is_drained: bool = False


@dataclass(slots=True)
class _Trace:
    """What happened on the way, for the report."""

    attempts: list[Attempt] = field(default_factory=list)
    errors: list[PublishError] = field(default_factory=list)
    known: bool | None = None
    waiting_milliseconds: float = 0.0

    def report(self, delivery: Delivery, result: Result) -> Report:
        """Return the report of a delivery that ended like this."""
        return Report(
            result=result,
            alert=delivery.alert,
            action=action_of(delivery.alert),
            target=delivery.target.name,
            severity=delivery.severity,
            attempts=tuple(self.attempts),
            waiting_milliseconds=self.waiting_milliseconds,
            known=self.known,
            errors=tuple(self.errors),
        )


@dataclass(slots=True)
class _OwnWindow:
    """The limit that one execution keeps by itself while the table is out."""

    limit: Limit
    window: Window = field(default_factory=lambda: Window(0))

    def take(self, now_ms: int) -> None:
        segment = segment_of(now_ms)
        window = self.window.at(segment) if segment > self.window.segment else self.window
        if window.used >= self.limit.all:
            wait_ms = window.free_at(self.limit.all, now_ms) - now_ms
            raise NoPermitError(Refusal.LIMIT, max(SEGMENT_MS, wait_ms) / 1000, is_drained=False)
        counts = {**window.counts, window.segment: window.counts.get(window.segment, 0) + 1}
        self.window = replace(window, counts=counts)


class Sender:
    """Delivers, in order per alert and target, however many executions try at once.

    Args:
        client: sends events.
        table: the records.
        limiter: hands out permits, one for each request.
        clock: epoch seconds; the client's clock too.
        random: uniform in [0, 1).
        new_owner: a name for each claim, never returned twice.
        give_up_after_seconds: how long a delivery may fail before it is dead-lettered.
        repeat_after_seconds: after which time the same state is sent again.
        wake: wakes a drainer for a target's routing key; may fail silently, because a schedule does the same.
        keep_copy: puts a delivery on the retry queue for so many seconds, before it is sent without a record.
        rotated: reads the secrets again and returns the target if its routing key has changed.
    """

    def __init__(
        self,
        client: PagerDutyClient,
        table: DedupTable,
        limiter: RateLimiter,
        *,
        clock: Callable[[], float],
        random: Callable[[], float],
        new_owner: Callable[[], str],
        give_up_after_seconds: float,
        repeat_after_seconds: float,
        wake: Wake,
        keep_copy: Callable[[Delivery, float], None],
        rotated: Callable[[Target], Target | None],
    ) -> None:
        self._client = client
        self._table = table
        self._limiter = limiter
        self._clock = clock
        self._random = random
        self._new_owner = new_owner
        self._give_up_after_ms = round(give_up_after_seconds * 1000)
        self._repeat_after_ms = round(repeat_after_seconds * 1000)
        self._wake = wake
        self._keep_copy = keep_copy
        self._rotated = rotated
        self._own: dict[str, _OwnWindow] = {}
        self._failed_attempts: dict[str, int] = {}
        self._woken_until: dict[str, float] = {}

    # --- a fresh arrival ---

    def deliver(self, delivery: Delivery, deadline: float) -> Report:
        """Deliver a new arrival; `deadline` (epoch seconds) is when the invocation must have ended."""
        trace = _Trace()
        result = self._deliver(delivery, deadline, trace)
        return trace.report(delivery, result)

    def _deliver(self, delivery: Delivery, deadline: float, trace: _Trace) -> Result:
        alert, target = delivery.alert, delivery.target
        if reason := target.skip_reason(alert, has_open_incident=delivery.has_open_incident):
            return Skipped(reason=reason)
        try:
            target.check(alert)
        except PublishError as error:
            return Rejected(error=error)
        seen = delivery.observation()
        try:
            change, decision = self._decide(seen, delivery, deadline)
        except TableContendedError:
            return Deferred(reason=DeferReason.BUSY, delay_seconds=BUSY_SECONDS)
        except (TableUnavailableError, TableMissingError) as error:
            return self._deliver_unclaimed(delivery, deadline, trace, error)
        trace.known = change.before is not None
        if delivery.was_sent_unclaimed and change.after and change.after.waiting:
            self._wake_drainer(target)
            return Deferred(reason=DeferReason.BUSY, is_kept=True)
        if decision.verdict is Verdict.CLAIM:
            return self._send_claimed(delivery, seen, change, decision, deadline, trace)
        return self._end(decision, target)

    def _end(self, decision: Decision, target: Target) -> Result:
        """Return the result of a delivery that this execution does not send."""
        match decision.verdict:
            case Verdict.WAIT:
                if decision.due is None:
                    self._wake_drainer(target)
                return Deferred(reason=DeferReason.BUSY, is_kept=True)
            case Verdict.FOLLOW:
                return Deferred(reason=DeferReason.BUSY, is_kept=True)
            case verdict:
                return Skipped(reason=SKIPS[verdict])

    def _decide(self, seen: Observation, delivery: Delivery, deadline: float) -> tuple[Change, Decision]:
        """Decide what to do with it, and write that into the record."""
        now, owner = self._now(), self._new_owner()
        decision = Decision(Verdict.CLAIM, delivery.order)

        def transition(record: Record | None) -> Record | None:
            nonlocal decision
            decision = decide(seen, record, now, self._repeat_after_ms)
            if record and delivery.was_sent_unclaimed and _has_ended_since(record, seen):
                return reassert(record, now, body=pack(delivery.alert))
            if record is None or decision.verdict is Verdict.CLAIM:
                return claim(record, seen, owner=owner, now=now, lease_until=round(deadline * 1000))
            match decision.verdict:
                case Verdict.WAIT:
                    return wait(record, seen, decision.order, pack(delivery.alert), now, due=decision.due)
                case Verdict.REFRESH:
                    return refresh(record, seen, decision.order, pack(delivery.alert))
                case Verdict.FOLLOW:
                    return follow(record, seen)
                case Verdict.NEVER_OPENED:
                    return never_opened(record, seen, now)
                case _:
                    return note(record, seen)

        return self._table.change(seen.identity, transition, now, known=delivery.record), decision

    def _send_claimed(
        self,
        delivery: Delivery,
        seen: Observation,
        change: Change,
        decision: Decision,
        deadline: float,
        trace: _Trace,
    ) -> Result:
        before, mine = change.before, change.after
        assert mine is not None  # noqa: S101 - a claim has written it
        was_open = before.open if before else seen.status is not Status.FIRING
        sending = _Sending(delivery, seen, mine, was_open, Waiting(decision.order, self._now()))
        taker = Taker.CRITICAL if decision.order is Order.CRITICAL else Taker.LESSER
        return self._send(sending, deadline, trace, taker)

    # --- what waits ---

    def deliver_waiting(
        self, identity: str, record: Record, target: Target, permit: Permit, deadline: float
    ) -> Report | None:
        """Deliver what waits in a record, with a permit that was taken before; return None if it no longer waits."""
        now, owner = self._now(), self._new_owner()

        def transition(current: Record | None) -> Record | None:
            if current is None or not can_be_drained(current, now):
                return None
            return claim_waiting(current, owner=owner, lease_until=round(deadline * 1000))

        try:
            change = self._table.change(identity, transition, now, known=record)
        except (TableUnavailableError, TableMissingError):
            return None
        before, mine = change.before, change.after
        if before is None or mine is None or mine.owner != owner or mine.body is None:
            return None
        alert = replace(unpack(mine.body), status=mine.status)
        failing_since = mine.failing_since / 1000 if mine.failing_since is not None else None
        delivery = Delivery(alert=alert, target=target, has_open_incident=mine.open, failing_since=failing_since)
        seen = Observation(
            identity=identity,
            status=mine.status,
            at=mine.at,
            urgency=mine.urgency,
            summary=mine.summary,
            is_change=alert.is_change,
        )
        assert mine.waiting is not None  # noqa: S101 - `can_be_drained` has seen it
        waiting_since = mine.waiting_since if mine.waiting_since is not None else now
        trace = _Trace(known=True, waiting_milliseconds=float(max(0, now - waiting_since)))
        sending = _Sending(delivery, seen, mine, before.open, mine.waiting, is_drained=True)
        if reason := target.skip_reason(alert, has_open_incident=mine.open):
            self._settle_skipped(sending)
            return trace.report(delivery, Skipped(reason=reason))
        result = self._send(sending, deadline, trace, Taker.DRAINER, permit=permit)
        return trace.report(delivery, result)

    def finish(self, identity: str, ended: Record) -> None:
        """Remove a delivery from the index after its dead letter is on the queue."""
        now = self._now()

        def finished(record: Record) -> Record | None:
            # another drainer that claimed it meanwhile ends it in its own way
            return None if record.owner and record.is_leased(now) else forget_waiting(record, ended)

        self._table.change_known(identity, finished, now)

    # --- sending ---

    def _send(
        self, sending: _Sending, deadline: float, trace: _Trace, taker: Taker, permit: Permit | None = None
    ) -> Result:
        """Send what was claimed, and record the result."""
        key = sending.delivery.target.routing_key
        is_probe = permit.is_probe if permit else False

        def take() -> None:
            nonlocal is_probe
            if permit is None:
                is_probe = self._take(key, taker, trace) or is_probe

        try:
            answer = self._post(sending.delivery, deadline, trace, take, max_retries=0 if permit else None)
        except PublishError as error:
            # by the last attempt, not by the error: a probe that failed may end in a retry that gets no permit
            if is_probe and trace.attempts and not _is_lost(trace.attempts[-1]):
                self._quietly(trace, lambda: self._limiter.reopen(key, self._clock()))
            return self._after(error, sending, deadline, trace, taker)
        now = self._now()
        if is_probe:
            self._quietly(trace, lambda: self._limiter.reopen(key, self._clock()))
        self._settle(sending, trace, now)
        return Accepted(dedup_key=answer.dedup_key or dedup_key_of(sending.delivery.alert), at=now / 1000)

    def _take(self, key: SecretStr, taker: Taker, trace: _Trace) -> bool:
        """Take a permit; return whether it is a probe. Critical triggers go on while the limiter's item throttles."""
        try:
            return self._limiter.take(key, taker, self._clock()).is_probe
        except TableThrottledError as error:
            trace.errors.append(error)
            if taker is not Taker.CRITICAL:
                raise NoPermitError(Refusal.CONTENDED, 1.0, is_drained=False) from error
        except (TableUnavailableError, TableMissingError) as error:
            trace.errors.append(error)
            self._own_window(key).take(self._now())
        return False

    def _post(
        self,
        delivery: Delivery,
        deadline: float,
        trace: _Trace,
        take: Callable[[], None],
        max_retries: int | None = None,
    ) -> Answer:
        key = delivery.target.routing_key.get_secret_value()

        def on_attempt(attempt: Attempt) -> None:
            trace.attempts.append(attempt)
            self._failed_attempts[key] = self._failed_attempts.get(key, 0) + 1 if _is_lost(attempt) else 0

        return self._client.send(
            event_of(delivery.alert, delivery.target.default_severity),
            delivery.target.routing_key,
            base_url=delivery.target.url,
            deadline=deadline,
            before_attempt=take,
            on_attempt=on_attempt,
            max_retries=max_retries,
        )

    def _settle(self, sending: _Sending, trace: _Trace, now: int) -> None:
        """Record that PagerDuty accepted it; wake a drainer if something has to follow."""
        alert = sending.delivery.alert

        def settled(record: Record | None) -> Record | None:
            if record is None:
                return None
            if record.owner == sending.mine.owner:
                follows = record.acknowledge is not None or record.again
                return settle(record, sending.seen, now, body=pack(alert) if follows else b"")
            if sending.seen.status is Status.FIRING and record.status is Status.RESOLVED and not record.open:
                return reassert(record, now, body=pack(alert))  # the lease ran out, and its end was accepted before
            return None

        change = self._quietly(
            trace, lambda: self._table.change(sending.seen.identity, settled, now, known=sending.mine)
        )
        if change is None and not sending.is_drained and sending.seen.status is Status.FIRING:
            # its carrier does not deliver it again, and an acknowledgement may have to follow
            self._keep(sending.delivery, trace)
        if change and change.after and change.after.waiting and not sending.is_drained:
            self._wake_drainer(sending.delivery.target)

    def _after(self, error: PublishError, sending: _Sending, deadline: float, trace: _Trace, taker: Taker) -> Result:
        """Return the result of a delivery that was not accepted."""
        target = sending.delivery.target
        key, now = target.routing_key, self._clock()
        if isinstance(error, NoPermitError):
            reason = DeferReason.CIRCUIT_OPEN if error.refusal is Refusal.CLOSED else DeferReason.RATE_LIMIT
            return self._let_wait(sending, trace, reason, None, error.retry_after_seconds, wake=not error.is_drained)
        if isinstance(error, PagerDutyApiError) and error.status_code == 429:
            seconds = error.retry_after_seconds or THROTTLED_SECONDS
            self._quietly(trace, lambda: self._limiter.push_back(key, now, seconds))
            return self._let_wait(sending, trace, DeferReason.RATE_LIMIT, error, seconds)
        if blames_routing_key(error):
            rotated = self._rotated(target)
            if rotated:
                again = replace(sending, delivery=replace(sending.delivery, target=rotated))
                return self._send(again, deadline, trace, taker)
            self._quietly(trace, lambda: self._limiter.close(key, now, REFUSED_KEY_SECONDS))
            return self._fail(sending, trace, DeferReason.KEY_REFUSED, error, REFUSED_KEY_SECONDS)
        if not error.retryable:
            self._release(sending, trace)
            return Rejected(error=error)
        if isinstance(error, OUT_OF_REACH) and self._failed_attempts.get(key.get_secret_value(), 0) >= FAILED_ATTEMPTS:
            self._quietly(trace, lambda: self._limiter.close(key, now, PROBE_SECONDS))
        return self._fail(sending, trace, DeferReason.FAILED, error, PAUSE_MS / 1000)

    def _fail(self, sending: _Sending, trace: _Trace, reason: DeferReason, error: PublishError, delay: float) -> Result:
        """Let a failed delivery wait, unless it has failed for too long."""
        since = sending.mine.failing_since
        if since is None and sending.delivery.failing_since is not None:
            since = round(sending.delivery.failing_since * 1000)
        if since is not None and self._now() - since > self._give_up_after_ms:
            self._release(sending, trace)
            hours = (self._now() - since) / 3_600_000
            return Rejected(error=ExhaustedError(f"given up after failing for {hours:.0f} h: {error}"))
        return self._let_wait(sending, trace, reason, error, delay, failed=True)

    def _let_wait(
        self,
        sending: _Sending,
        trace: _Trace,
        reason: DeferReason,
        error: PublishError | None,
        delay: float,
        *,
        failed: bool = False,
        wake: bool = True,
    ) -> Result:
        """Release the claim and let the delivery wait in its record, or on the retry queue if that fails."""
        pause_ms = (LONG_PAUSE_MS if sending.mine.failing_since is not None else PAUSE_MS) if failed else 0
        waits = self._release(sending, trace, waits=sending.place, failed=failed, pause_ms=pause_ms)
        if waits is None:
            return self._defer(error, sending.delivery)
        if wake and waits.after and waits.after.waiting and not sending.is_drained:
            self._wake_drainer(sending.delivery.target)
        return Deferred(reason=reason, is_kept=True, delay_seconds=delay, error=error)

    def _release(
        self,
        sending: _Sending,
        trace: _Trace,
        *,
        waits: Waiting | None = None,
        failed: bool = False,
        pause_ms: int = 0,
    ) -> Change | None:
        """Release the claim; return None if the table fails: then the claim ends with its lease."""
        now = self._now()
        body = pack(sending.delivery.alert) if waits else None

        def released(record: Record | None) -> Record | None:
            if record is None or record.owner != sending.mine.owner:
                return None
            return release(
                record,
                was_open=sending.was_open,
                attempted=bool(trace.attempts) and sending.seen.status is Status.FIRING,
                now=now,
                waits=waits,
                body=body,
                failed=failed,
                pause_until=now + pause_ms if pause_ms else 0,
            )

        return self._quietly(
            trace, lambda: self._table.change(sending.seen.identity, released, now, known=sending.mine)
        )

    def _settle_skipped(self, sending: _Sending) -> None:
        """Record that what waited became unnecessary."""
        now = self._now()

        def settled(record: Record | None) -> Record | None:
            if record is None or record.owner != sending.mine.owner:
                return None
            left = replace(forget_waiting(record, sending.mine), open=sending.was_open)
            return left if left.waiting else replace(left, delivered_at=now)

        self._quietly(_Trace(), lambda: self._table.change(sending.seen.identity, settled, now, known=sending.mine))

    # --- without the table ---

    def _deliver_unclaimed(self, delivery: Delivery, deadline: float, trace: _Trace, error: PublishError) -> Result:
        """Send a page without a record: PagerDuty folds repeats. What needs order waits.

        The copy comes first: were it put on the queue after the page was accepted, a crash in between would leave an
        incident that no record knows of. It comes back when this invocation has ended.
        """
        action = action_of(delivery.alert)
        is_one_item = isinstance(error, TableThrottledError) and delivery.order is not Order.CRITICAL
        if action not in (Action.TRIGGER, Action.CHANGE) or delivery.was_sent_unclaimed or is_one_item:
            if not error.retryable:
                return Rejected(error=error)
            return self._defer(error, delivery)
        trace.errors.append(error)
        if action is Action.TRIGGER and error.retryable:
            self._keep(delivery, trace, deadline - self._clock())
        own = self._own_window(delivery.target.routing_key)
        try:
            answer = self._post(delivery, deadline, trace, lambda: own.take(self._now()))
        except PublishError as failure:
            if not failure.retryable:
                return Rejected(error=failure)
            return self._defer(failure, delivery)
        return Accepted(dedup_key=answer.dedup_key or dedup_key_of(delivery.alert), at=self._clock())

    def defer(self, error: PublishError | None, reason: DeferReason, failures: int, since: float | None) -> Result:
        """Return how long a delivery waits on the retry queue, or that it has failed for too long.

        Args:
            error: what went wrong.
            reason: why it waits.
            failures: how often it came back from the queue.
            since: epoch seconds of when it was first put there.
        """
        if since is not None and (self._clock() - since) * 1000 > self._give_up_after_ms:
            hours = (self._clock() - since) / 3600
            return Rejected(error=ExhaustedError(f"given up after {failures} failures in {hours:.0f} h: {error}"))
        return Deferred(reason=reason, delay_seconds=deferral_seconds(failures + 1, self._random), error=error)

    def _defer(self, error: PublishError | None, delivery: Delivery) -> Result:
        return self.defer(error, DeferReason.TABLE_UNAVAILABLE, delivery.failures, delivery.failing_since)

    def _keep(self, delivery: Delivery, trace: _Trace, seconds: float = 0.0) -> None:
        """Put a copy of a trigger on the retry queue, which updates its record later."""
        try:
            self._keep_copy(delivery, seconds + BUSY_SECONDS)
        except PublishError as no_copy:
            trace.errors.append(no_copy)

    # --- small ones ---

    def _own_window(self, key: SecretStr) -> _OwnWindow:
        return self._own.setdefault(key.get_secret_value(), _OwnWindow(self._limiter.limit))

    def _wake_drainer(self, target: Target) -> None:
        """Wake a drainer, unless one is at work or was woken; a schedule does the same every minute."""
        key, now = target.routing_key.get_secret_value(), self._clock()
        if now < self._woken_until.get(key, 0.0):
            return
        try:
            is_first = self._limiter.wake(target.routing_key, now)
        except TableMissingError:
            return
        except TableUnavailableError:
            is_first = True  # one wake-up too many is harmless
            self._woken_until[key] = now + WOKEN_MS / 1000
        if is_first:
            self._wake(target.name)

    def _now(self) -> int:
        return round(self._clock() * 1000)

    @staticmethod
    def _quietly[T](trace: _Trace, call: Callable[[], T]) -> T | None:
        """Make a write to the table; return None if it fails: leases end, and PagerDuty folds repeats."""
        try:
            return call()
        except (TableUnavailableError, TableMissingError) as error:
            trace.errors.append(error)
        return None


def _has_ended_since(record: Record, sent: Observation) -> bool:
    """Whether something newer was accepted while the record did not know that the trigger was sent."""
    has_moved_on = record.status is Status.RESOLVED or (record.status is Status.ACKNOWLEDGED and record.triggered)
    return has_moved_on and compare(sent.at, record.at) <= 0


def _is_lost(attempt: Attempt) -> bool:
    """Whether an attempt had no answer, or a 5xx."""
    return attempt.status.startswith("5") or not attempt.status.isdigit()


def can_be_drained(record: Record, now: int) -> bool:
    """Whether what waits in a record may be sent now."""
    if record.waiting is None or record.is_leased(now):
        return False
    return record.waiting.order is not Order.REPEAT or record.waiting.due <= now


def blames_routing_key(error: PublishError) -> bool:
    """Whether PagerDuty refused the routing key: 401, 403, or a 400 that names it."""
    if is_auth_error(error):
        return True
    if not isinstance(error, PagerDutyApiError) or error.status_code != 400:
        return False
    return any("routing" in text.lower() for text in (error.message, *error.errors))


def _digest(alert: Alert) -> str:
    """Return a digest of what a person reads first."""
    texts = (alert.name, alert.summary, *(alert.annotations.get(name, "") for name in ("summary", "description")))
    text = "\0".join(texts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
