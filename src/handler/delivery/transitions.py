"""How a record changes. Pure: `claims` decides which change it is, and `table` writes it.

Every change makes a new record; the table writes it only if nobody else changed it meanwhile. Time line of a delivery
that cannot go out at once:

    claimed ------- no permit ------- waiting ------- claimed by a drainer ------- accepted
      | owner, lease     | released, with the body       | stays in the index          | settled: out of the
      | open: true       | in the index                  | tries + 1                   | index, body gone

Times are epoch milliseconds.
"""

from collections.abc import Callable
from dataclasses import replace

from handler.alert import Status
from handler.delivery.claims import Decision, Verdict
from handler.delivery.record import Observation, Order, Record, Waiting, compare


def observe(record: Record | None, seen: Observation) -> Record:
    """Make an observation the newest one of a record, undelivered, with whatever else is known kept."""
    old = record or Record(status=seen.status, at=seen.at)
    ids = {**old.message_ids, **({seen.status: seen.message_id} if seen.message_id else {})}
    new = replace(old, status=seen.status, at=seen.at, message_ids=ids, delivered_at=None)
    if seen.status is Status.FIRING:
        # an acknowledgement that is newer still follows; one that the alert fired on after does not
        acknowledged = old.at if old.status is Status.ACKNOWLEDGED and not old.triggered else old.acknowledge
        follows = acknowledged if acknowledged is not None and compare(acknowledged, seen.at) >= 0 else None
        return replace(
            new,
            urgency=seen.urgency,
            summary=seen.summary,
            acknowledge=follows,
            routed_to=seen.routed_to,
            fired_at=max(old.fired_at, seen.at),
        )
    return replace(new, acknowledge=None)


def arrive(
    record: Record | None,
    seen: Observation,
    decision: Decision,
    *,
    owner: str,
    now: int,
    lease_until: int,
    pack: Callable[[], bytes],
    was_sent: bool = False,
) -> Record:
    """Record a new arrival as was decided.

    Args:
        record: as it is; None where there is none.
        seen: what arrives.
        decision: about this observation on this record.
        owner: who sends it, if it is claimed.
        now: the time.
        lease_until: until when it is claimed.
        pack: returns the alert, compressed; called if it waits.
        was_sent: whether it is a trigger that was sent without the record before.
    """
    if record and was_sent and _has_ended_since(record, seen):
        return reassert(note(record, seen), now, body=pack())
    if record is None or decision.verdict is Verdict.CLAIM:
        new = claim(record, seen, owner=owner, now=now, lease_until=lease_until)
    else:
        new = _arrive_unclaimed(record, seen, decision, now, pack)
    return replace(new, open=True) if was_sent and new.status is Status.FIRING else new


def _arrive_unclaimed(
    record: Record, seen: Observation, decision: Decision, now: int, pack: Callable[[], bytes]
) -> Record:
    match decision.verdict:
        case Verdict.WAIT:
            return wait(record, seen, decision.order, pack(), now, due=decision.due)
        case Verdict.REFRESH:
            return refresh(record, seen, decision.order, pack())
        case Verdict.FOLLOW:
            return follow(record, seen)
        case Verdict.NEVER_OPENED:
            return never_opened(record, seen, now)
        case _:
            return note(record, seen)


def _has_ended_since(record: Record, sent: Observation) -> bool:
    """Whether something newer was accepted while the record did not know that the trigger was sent."""
    has_moved_on = record.status is Status.RESOLVED or (record.status is Status.ACKNOWLEDGED and record.triggered)
    return has_moved_on and compare(sent.at, record.at) <= 0


def claim(record: Record | None, seen: Observation, *, owner: str, now: int, lease_until: int) -> Record:
    """Make a fresh arrival the sender of its observation.

    It leaves the index: if the sender dies, SNS, EventBridge or SQS delivers the alert again.
    """
    new = _note_summary(record, observe(record, seen), now)
    return replace(
        new,
        owner=owner,
        lease_until=lease_until,
        # set before anything is sent; the incident of an unknown alert that does not fire may be older than the record
        open=new.open or seen.status is Status.FIRING or record is None,
        again=False,
        waiting=None,
        body=None,
    )


def _note_summary(old: Record | None, new: Record, now: int) -> Record:
    """Remember when a changed summary of a firing alert is sent."""
    changed = old and old.status is new.status is Status.FIRING and old.delivered_at and old.summary != new.summary
    return replace(new, summary_sent_at=now) if changed else new


def claim_waiting(record: Record, *, owner: str, lease_until: int) -> Record:
    """Make a drainer the sender of what waits. It stays in the index until it is settled."""
    is_open = record.open or record.status is Status.FIRING
    return replace(record, owner=owner, lease_until=lease_until, open=is_open, again=False, tries=record.tries + 1)


def wait(
    record: Record | None, seen: Observation, order: Order, body: bytes, now: int, *, due: int | None = None
) -> Record:
    """Let an observation wait, in place of what waits already. A sender that is at work continues."""
    new = _note_summary(record, observe(record, seen), due if due is not None else now)
    since = new.waiting_since if new.waiting_since is not None else now
    place = Waiting(order, due if due is not None else since)
    return replace(new, waiting=place, waiting_since=since, body=body)


def refresh(record: Record, seen: Observation, order: Order, body: bytes) -> Record:
    """Replace what waits by the same state published later; it keeps its place, or moves up where it became urgent."""
    new = replace(observe(record, seen), delivered_at=record.delivered_at, acknowledge=record.acknowledge)
    if record.waiting is None:
        return new
    return replace(new, body=body, waiting=replace(record.waiting, order=min(record.waiting.order, order)))


def note(record: Record, seen: Observation) -> Record:
    """Remember an observation for which nothing is sent: its message id, and its time where that is newer."""
    ids = record.message_ids
    if seen.message_id and compare(seen.at, record.at) >= 0:
        ids = {**ids, seen.status: seen.message_id}
    at = max(record.at, seen.at) if seen.status is record.status else record.at
    is_news = seen.status is Status.FIRING and record.status is not Status.RESOLVED
    fired_at = max(record.fired_at, seen.at) if is_news else record.fired_at
    return replace(record, message_ids=ids, at=at, fired_at=fired_at)


def follow(record: Record, seen: Observation) -> Record:
    """Let an acknowledgement follow a trigger that PagerDuty has not accepted yet."""
    return replace(note(record, seen), acknowledge=seen.at)


def never_opened(record: Record | None, seen: Observation, now: int) -> Record:
    """Record a state of an alert whose trigger was never sent, so that nothing needs to be sent."""
    return replace(_idle(observe(record, seen)), delivered_at=now, open=False)


def settle(record: Record, sent: Observation, now: int, *, body: bytes) -> Record:
    """Record that PagerDuty accepted what the owner sent.

    `body` is the alert; it is kept where an acknowledgement has to follow.
    """
    new = replace(record, owner=None, lease_until=0, failing_since=None, tries=0)
    if sent.status is Status.FIRING:
        new = replace(new, open=True, triggered=True)
    elif sent.status is Status.RESOLVED:
        new = replace(new, open=False, triggered=False)
    if record.status is not sent.status:
        return new  # something newer waits already
    if sent.status is Status.FIRING and record.waiting:
        if record.urgency > sent.urgency:
            return new
        if record.summary != sent.summary:
            return replace(new, waiting=Waiting(Order.REPEAT, now))
    new = replace(_idle(new), delivered_at=now)
    if record.again:
        return _wait_again(replace(new, open=True, triggered=True), now, body)
    if sent.status is Status.FIRING and record.acknowledge is not None:
        at = max(record.acknowledge, record.at)
        return _wait_again(replace(new, status=Status.ACKNOWLEDGED, at=at, acknowledge=None), now, body)
    return new


def reassert(record: Record, now: int, *, body: bytes) -> Record:
    """Let the newest state be sent once more, because a trigger was accepted after it without the record."""
    if record.owner and record.is_leased(now):
        return replace(record, again=True)  # its sender may have asked PagerDuty before the trigger was accepted
    return _wait_again(replace(record, open=True, triggered=True), now, body)


def _wait_again(record: Record, now: int, body: bytes) -> Record:
    place = Waiting(Order.FOLLOWING, now)
    return replace(record, delivered_at=None, waiting=place, waiting_since=now, body=body, again=False)


def release(
    record: Record,
    *,
    was_open: bool,
    attempted: bool,
    now: int,
    waits: Waiting | None = None,
    body: bytes | None = None,
    pause_until: int | None = None,
) -> Record:
    """Release a claim: PagerDuty did not accept the request, or none was sent.

    Args:
        record: as it is now; something newer may have been recorded while the owner was sending.
        was_open: what `open` was before the claim.
        attempted: whether a request may have reached PagerDuty.
        now: the time.
        waits: its place, if it waits from now on; None where it does already, or where its carrier brings it again.
        body: the alert, compressed, where it begins to wait.
        pause_until: when it may be tried again, if PagerDuty was asked and did not accept it; None if it did not fail.
    """
    failing_since = record.failing_since if record.failing_since is not None else now
    new = replace(
        record,
        owner=None,
        lease_until=pause_until or 0,
        open=was_open or attempted or record.again,
        tries=0,
        failing_since=failing_since if pause_until is not None else record.failing_since,
    )
    if record.status is Status.RESOLVED and record.waiting and not new.open:
        return replace(_idle(new), lease_until=0, delivered_at=now)  # it ended before its first request
    if record.waiting:
        return new
    if waits is None:
        return replace(new, waiting_since=None, failing_since=None)
    since = record.waiting_since if record.waiting_since is not None else now
    place = waits if waits.order is Order.REPEAT else replace(waits, due=since)
    return replace(new, waiting=place, waiting_since=since, body=body)


def forget_waiting(record: Record, ended: Record) -> Record:
    """Remove an ended delivery from the index, unless something newer waits there by now."""
    if (record.status, record.at) != (ended.status, ended.at):
        return replace(record, owner=None, lease_until=0)
    left = replace(_idle(record), owner=None, lease_until=0)
    return replace(left, delivered_at=None, triggered=False, is_damaged=False) if record.is_damaged else left


def _idle(record: Record) -> Record:
    return replace(record, waiting=None, waiting_since=None, body=None, failing_since=None, tries=0)
