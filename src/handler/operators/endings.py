"""Reads the record of a critical trigger that waits, or waited: whether it is late, and how it ended."""

from datetime import UTC, datetime

from handler.alert import Alert, Status
from handler.delivery.body import unpack
from handler.delivery.record import Order, Record
from handler.delivery.table import Place
from handler.errors import InvalidAlertError


def is_late(place: Place, now: float, after_seconds: float) -> bool:
    """Return whether a critical trigger has waited for so long."""
    return place.order is Order.CRITICAL and now - place.due / 1000 >= after_seconds


def alert_of(record: Record) -> Alert | None:
    """Return the alert that waits in a record; None if nothing waits, or it cannot be read."""
    try:
        return unpack(record.body) if record.body else None
    except InvalidAlertError:
        return None


def ending_of(record: Record) -> str:
    """Return in words how a critical trigger ended; empty if it may still be sent, or was dead-lettered."""
    if record.is_damaged:
        return ""
    done_at = record.delivered_at
    at = "" if done_at is None else f"{datetime.fromtimestamp(done_at / 1000, UTC):%H:%M:%S} UTC"
    match record.status:
        case Status.RESOLVED:
            return f"over at {at}: resolved at its source" if at else "resolved at its source before it was accepted"
        case Status.ACKNOWLEDGED:
            return "acknowledged; PagerDuty has its incident" if record.triggered else "acknowledged at its source"
        case Status.FIRING if at:
            return f"accepted at {at}" if record.triggered else f"not needed any more at {at}: its target skips it"
    return "waits, but is not urgent any more" if record.waiting else ""
