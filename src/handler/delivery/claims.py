"""Decides what to do with an observation, given the record; this keeps an alert's deliveries in order. Pure.

*What is newer?* The time of publishing decides. Times less than a second apart are a tie (1.5 s where one of them has
whole seconds): of a tie, resolved is newer than acknowledged, and that newer than firing, except that a firing which
arrives after a settled resolve pages. A message whose id the record has seen for its state is a redelivery, whatever
its time. When in doubt, the answer pages.
"""

from enum import StrEnum
from typing import NamedTuple

from handler.alert import Status
from handler.delivery.record import Observation, Order, Record, compare
from handler.outcome import SkipReason


class Verdict(StrEnum):
    """What to do with an observation."""

    CLAIM = "claim"
    """Send it, as soon as there is a permit."""
    WAIT = "wait"
    """Put it into the record: somebody is sending, or something older waits there already."""
    REFRESH = "refresh"
    """The same state waits already: keep its place, show the newer text."""
    FOLLOW = "follow"
    """An acknowledgement that goes out when the trigger before it was accepted."""
    DUPLICATE = "duplicate"
    SUPERSEDED = "superseded"
    NEVER_OPENED = "never_opened"


SKIPS = {
    Verdict.REFRESH: SkipReason.DUPLICATE,
    Verdict.DUPLICATE: SkipReason.DUPLICATE,
    Verdict.SUPERSEDED: SkipReason.SUPERSEDED,
    Verdict.NEVER_OPENED: SkipReason.NEVER_OPENED,
}


class Decision(NamedTuple):
    """A verdict, and the order of the delivery among those that wait.

    Attributes:
        due: of a delivery that waits, from when on it may go out; None where that is now.
    """

    verdict: Verdict
    order: Order
    due: int | None = None


def decide(seen: Observation, record: Record | None, now: int, repeat_after: int) -> Decision:
    """Decide what to do with an observation. Times are epoch milliseconds."""
    order = seen.order
    if record is None or record.is_absent(now):
        return Decision(Verdict.CLAIM, order)
    if seen.is_change:
        return _decide_change(record, now)
    if seen.status is record.status:
        return _decide_same(seen, record, now, repeat_after)
    return _decide_other(seen, record, now)


def _decide_other(seen: Observation, record: Record, now: int) -> Decision:
    """Decide about a state other than the record's."""
    order = seen.order
    is_redelivery = _is_redelivery(seen, record)
    age = compare(seen.at, record.at)
    match seen.status, record.status:
        case Status.ACKNOWLEDGED, Status.RESOLVED:
            return Decision(Verdict.SUPERSEDED, order)
        case Status.FIRING, Status.ACKNOWLEDGED if not record.triggered:
            return _arrive(order, record, now)  # PagerDuty has no trigger yet; the acknowledge follows it
        case Status.RESOLVED, Status.ACKNOWLEDGED if compare(seen.at, record.fired_at) >= 0 and not is_redelivery:
            return _arrive(order, record, now)  # an acknowledgement never supersedes a resolve
        case _ if age < 0 or is_redelivery:
            return Decision(Verdict.SUPERSEDED, order)
        case Status.FIRING, Status.RESOLVED if age == 0:
            is_same_batch = bool(seen.message_id) and seen.message_id == record.message_ids.get(Status.RESOLVED)
            if record.needs_delivery() or is_same_batch:
                return Decision(Verdict.SUPERSEDED, order)
        case Status.FIRING, Status.ACKNOWLEDGED if age == 0:
            return Decision(Verdict.SUPERSEDED, order)
        case Status.ACKNOWLEDGED, Status.FIRING if record.needs_delivery() and not _only_repeats(record):
            return Decision(Verdict.FOLLOW, order)
        case Status.RESOLVED, Status.FIRING if _was_never_sent(record, now):
            return Decision(Verdict.NEVER_OPENED, order)
    return _arrive(order, record, now)


def _arrive(order: Order, record: Record, now: int) -> Decision:
    """Send it, unless somebody is sending, or it can take the place of what waits."""
    if record.is_leased(now) or (record.waiting and order is not Order.CRITICAL):
        return Decision(Verdict.WAIT, order)
    return Decision(Verdict.CLAIM, order)


def _decide_change(record: Record, now: int) -> Decision:
    if record.delivered_at is not None or record.waiting:
        return Decision(Verdict.DUPLICATE, Order.FOLLOWING)
    return Decision(Verdict.WAIT if record.is_leased(now) else Verdict.CLAIM, Order.FOLLOWING)


def _decide_same(seen: Observation, record: Record, now: int, repeat_after: int) -> Decision:
    order = seen.order
    age = compare(seen.at, record.at)
    is_redelivery = _is_redelivery(seen, record)
    is_raised = seen.status is Status.FIRING and seen.urgency > record.urgency and age >= 0
    if record.delivered_at is None:
        if age < 0:
            return Decision(Verdict.SUPERSEDED, order)
        if record.waiting and not record.is_leased(now) and not (is_raised and order is Order.CRITICAL):
            return Decision(Verdict.REFRESH, order if is_raised else record.waiting.order)
        return _arrive(order, record, now)
    if seen.is_generic and not is_redelivery:
        return _arrive(Order.REPEAT, record, now)  # only the message id says whether it is new
    if is_redelivery or age < 0:
        return Decision(Verdict.DUPLICATE, order)
    if is_raised:
        return _arrive(order, record, now)
    if seen.status is Status.FIRING and seen.summary != record.summary:
        due = record.summary_sent_at + repeat_after if record.summary_sent_at is not None else now
        return Decision(Verdict.WAIT, Order.REPEAT, due) if due > now else _arrive(Order.REPEAT, record, now)
    if age == 0 or record.delivered_at > now - repeat_after:  # of one moment: the same message on another path, late
        return Decision(Verdict.DUPLICATE, order)
    return _arrive(Order.REPEAT, record, now)


def _was_never_sent(record: Record, now: int) -> bool:
    return record.needs_delivery() and not record.open and not record.is_leased(now)


def _only_repeats(record: Record) -> bool:
    """Whether only a repeat waits: the trigger was accepted, and a re-send or changed summary follows."""
    return record.triggered and record.waiting is not None and record.waiting.order is Order.REPEAT


def _is_redelivery(seen: Observation, record: Record) -> bool:
    return bool(seen.message_id) and record.message_ids.get(seen.status) == seen.message_id
