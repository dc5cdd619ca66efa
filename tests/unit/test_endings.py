"""What a record says of a critical trigger that waits, or waited."""

import zlib
from dataclasses import replace

import pytest

from handler.alert import Status
from handler.delivery.body import pack
from handler.delivery.record import Order, Record, Waiting
from handler.delivery.table import Place
from handler.operators.endings import alert_of, ending_of, is_late
from tests.lab.alerts import AN_ALERT

ACCEPTED = Record(status=Status.FIRING, at=0, rev=1, delivered_at=1795407000000, open=True, triggered=True)
AT = "04:10:00 UTC"


@pytest.mark.parametrize(
    ("record", "ending"),
    [
        (ACCEPTED, f"accepted at {AT}"),
        (replace(ACCEPTED, triggered=False, open=False), f"not needed any more at {AT}: its target skips it"),
        (replace(ACCEPTED, delivered_at=None), ""),
        (replace(ACCEPTED, delivered_at=None, triggered=False), ""),
        (
            replace(ACCEPTED, delivered_at=None, waiting=Waiting(Order.TRIGGER, 0)),
            "waits, but is not urgent any more",
        ),
        (replace(ACCEPTED, status=Status.ACKNOWLEDGED), "acknowledged; PagerDuty has its incident"),
        (replace(ACCEPTED, status=Status.ACKNOWLEDGED, triggered=False), "acknowledged at its source"),
        (replace(ACCEPTED, status=Status.RESOLVED, triggered=False), f"over at {AT}: resolved at its source"),
        (
            replace(ACCEPTED, status=Status.RESOLVED, triggered=False, delivered_at=None),
            "resolved at its source before it was accepted",
        ),
    ],
)
def test_an_ending_is_what_the_record_says(record: Record, ending: str) -> None:
    """Accepted is what PagerDuty accepted; what is being sent, or lies in the dead-letter queue, is not."""
    assert ending_of(record) == ending


@pytest.mark.parametrize("body", [None, b"", b"not zlib", zlib.compress(b"{}"), zlib.compress(b"[1]")])
def test_a_body_that_cannot_be_read_is_no_alert(body: bytes | None) -> None:
    assert alert_of(replace(ACCEPTED, body=body)) is None


def test_what_waits_is_read() -> None:
    found = alert_of(replace(ACCEPTED, body=pack(AN_ALERT)))
    assert found
    assert (found.name, found.fingerprint) == (AN_ALERT.name, AN_ALERT.fingerprint)


@pytest.mark.parametrize("order", Order)
def test_only_critical_triggers_are_ever_late(order: Order) -> None:
    assert is_late(Place(order, 0, "a"), 120, 120) == (order is Order.CRITICAL)
    assert not is_late(Place(order, 0, "a"), 119.9, 120)
