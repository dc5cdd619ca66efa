"""The decision who may send what, row by row."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from handler.alert import Alert, Status
from handler.delivery.claims import (
    SKIPS,
    ClaimRecord,
    Observation,
    Verdict,
    decide,
)
from handler.outcome import SkipReason

NOW = 1_795_405_200_000
REPEAT_AFTER = 300_000
OLDER, SAME, NEWER = (f"2026-11-23T03:{minute}:00.000000Z" for minute in (10, 20, 30))

FIRING = ClaimRecord(
    status=Status.FIRING, version=f"{SAME}/0", attempted=True, expires_at=NOW // 1000 + 3600, delivered_at=NOW - 1000
)
RESOLVED = replace(FIRING, status=Status.RESOLVED, version=f"{SAME}/2", attempted=False)
WAITING = replace(FIRING, attempted=False, delivered_at=None)
SENDING = replace(FIRING, delivered_at=None, owner="other", lease_until=NOW + 1)
CRASHED = replace(SENDING, lease_until=NOW)
EXPIRED = replace(FIRING, expires_at=NOW // 1000)


def seen(status: Status, at: str, *, is_change: bool = False) -> Observation:
    return Observation("production#f-1", status, at, is_change)


def change(at: str) -> Observation:
    return seen(Status.FIRING, at, is_change=True)


@pytest.mark.parametrize(
    ("record", "incoming", "verdict"),
    [
        # nothing stored: a resolve is sent too, for an incident may be older than the record
        (None, seen(Status.FIRING, SAME), Verdict.CLAIM),
        (None, seen(Status.ACKNOWLEDGED, SAME), Verdict.CLAIM),
        (None, change(SAME), Verdict.CLAIM),
        (None, seen(Status.RESOLVED, SAME), Verdict.CLAIM),
        # expired is absent, whatever it says
        (EXPIRED, seen(Status.FIRING, SAME), Verdict.CLAIM),
        (EXPIRED, seen(Status.RESOLVED, OLDER), Verdict.CLAIM),
        (replace(EXPIRED, lease_until=NOW + 1), seen(Status.FIRING, SAME), Verdict.CLAIM),
        # newer stored
        (FIRING, seen(Status.FIRING, OLDER), Verdict.SUPERSEDED),
        (RESOLVED, seen(Status.FIRING, OLDER), Verdict.SUPERSEDED),
        (RESOLVED, seen(Status.RESOLVED, OLDER), Verdict.SUPERSEDED),
        (WAITING, seen(Status.RESOLVED, OLDER), Verdict.SUPERSEDED),
        (SENDING, seen(Status.FIRING, OLDER), Verdict.SUPERSEDED),
        # at the same time the later in an alert's life is the newer
        (RESOLVED, seen(Status.FIRING, SAME), Verdict.SUPERSEDED),
        (RESOLVED, seen(Status.ACKNOWLEDGED, SAME), Verdict.SUPERSEDED),
        (FIRING, seen(Status.ACKNOWLEDGED, SAME), Verdict.CLAIM),
        (FIRING, seen(Status.RESOLVED, SAME), Verdict.CLAIM),
        # same state and time
        (FIRING, seen(Status.FIRING, SAME), Verdict.DUPLICATE),
        (RESOLVED, seen(Status.RESOLVED, SAME), Verdict.DUPLICATE),
        (replace(FIRING, delivered_at=NOW - REPEAT_AFTER + 1), seen(Status.FIRING, SAME), Verdict.DUPLICATE),
        (replace(FIRING, delivered_at=NOW - REPEAT_AFTER), seen(Status.FIRING, SAME), Verdict.CLAIM),
        (FIRING, change(SAME), Verdict.DUPLICATE),
        (replace(FIRING, delivered_at=NOW - 100 * REPEAT_AFTER), change(SAME), Verdict.DUPLICATE),
        (replace(FIRING, delivered_at=None), seen(Status.FIRING, SAME), Verdict.CLAIM),
        (WAITING, seen(Status.FIRING, SAME), Verdict.CLAIM),
        (WAITING, change(SAME), Verdict.CLAIM),
        # a trigger that waits its turn, never attempted
        (WAITING, seen(Status.RESOLVED, NEWER), Verdict.NEVER_OPENED),
        (WAITING, seen(Status.RESOLVED, SAME), Verdict.NEVER_OPENED),
        (WAITING, seen(Status.FIRING, NEWER), Verdict.CLAIM),
        (WAITING, seen(Status.ACKNOWLEDGED, NEWER), Verdict.CLAIM),
        (replace(WAITING, attempted=True), seen(Status.RESOLVED, NEWER), Verdict.CLAIM),
        (RESOLVED, seen(Status.RESOLVED, NEWER), Verdict.CLAIM),
        # a live lease of another owner
        (SENDING, seen(Status.FIRING, SAME), Verdict.BUSY),
        (SENDING, change(SAME), Verdict.BUSY),
        (SENDING, seen(Status.FIRING, NEWER), Verdict.BUSY_WITH_OLDER),
        (SENDING, seen(Status.RESOLVED, NEWER), Verdict.BUSY_WITH_OLDER),
        (replace(SENDING, attempted=False), seen(Status.RESOLVED, NEWER), Verdict.BUSY_WITH_OLDER),
        (CRASHED, seen(Status.FIRING, SAME), Verdict.CLAIM),
        (CRASHED, seen(Status.RESOLVED, NEWER), Verdict.CLAIM),
        # otherwise
        (FIRING, seen(Status.RESOLVED, NEWER), Verdict.CLAIM),
        (FIRING, seen(Status.FIRING, NEWER), Verdict.CLAIM),
        (RESOLVED, seen(Status.FIRING, NEWER), Verdict.CLAIM),
    ],
)
def test_decide(record: ClaimRecord | None, incoming: Observation, verdict: Verdict) -> None:
    """The table of DESIGN's section on state."""
    assert decide(incoming, record, NOW, REPEAT_AFTER) is verdict


def test_every_verdict_that_is_neither_claimed_nor_busy_skips_for_a_reason() -> None:
    """The reasons are those of the metric."""
    assert SKIPS == {
        Verdict.DUPLICATE: SkipReason.DUPLICATE,
        Verdict.SUPERSEDED: SkipReason.SUPERSEDED,
        Verdict.NEVER_OPENED: SkipReason.NEVER_OPENED,
    }


INSTANTS = [
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(999, 12, 31, tzinfo=UTC),
    datetime(2026, 11, 23, 3, 40, 1, tzinfo=UTC),
    datetime(2026, 11, 23, 3, 40, 1, 1, tzinfo=UTC),
    datetime(2026, 11, 23, 4, 40, 1, 999_999, tzinfo=timezone(timedelta(hours=1))),
    datetime(2026, 11, 23, 3, 40, 2, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
]


def alert(status: Status, at: datetime, **fields: object) -> Alert:
    given = {"fingerprint": "f-1", "name": "CPU", "origin": "native", "status": status, "observed_at": at, **fields}
    return Alert(**given)  # type: ignore[arg-type]


def test_versions_sort_as_the_times_do() -> None:
    """Whatever the year, the zone and the microseconds; at one time by the status's place in an alert's life."""
    versions = [
        Observation.of(alert(status, at), "production").version
        for at in INSTANTS
        for status in (Status.FIRING, Status.ACKNOWLEDGED, Status.RESOLVED)
    ]
    assert versions == sorted(set(versions))


def test_an_identity_is_of_one_target_and_one_dedup_key() -> None:
    """The same for every state of an alert."""
    identities = {Observation.of(alert(status, INSTANTS[2]), "production").identity for status in Status}
    assert identities == {"production#f-1"}


def test_a_change_event_has_an_identity_for_each_occurrence() -> None:
    """It is sent once per occurrence, whatever the status, and shares no record with an alert."""
    labels = {"change_event": "true"}
    one, again, later = (
        Observation.of(alert(status, at, labels=labels), "production")
        for status, at in [
            (Status.FIRING, INSTANTS[2]),
            (Status.RESOLVED, INSTANTS[2]),
            (Status.FIRING, INSTANTS[3]),
        ]
    )
    assert one == again
    assert one.identity == "production#change#f-1#2026-11-23T03:40:01.000000Z"
    assert one.identity != later.identity
