"""What is lost pages, what nobody resolved resolves, and everything else is left alone: the decisions alone."""

import itertools
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from handler.agreement.alarm import Alarm
from handler.agreement.decisions import (
    GRACE,
    AlarmDecision,
    AlarmVerdict,
    Why,
    decide_ended,
    decide_firing,
    left_alone,
)
from handler.agreement.records import AlarmRecord
from handler.alert import Status, WhenUndetermined
from tests.lab.cloudwatch import PREFIX, SINCE, TOPIC

NOW = SINCE + timedelta(minutes=10)
ALARM = Alarm(arn=f"{PREFIX}late", name="late", state="ALARM", since=SINCE, actions=(TOPIC,))
RECORD = AlarmRecord(
    target="a", dedup_key=ALARM.arn, status=Status.FIRING, observed_at=SINCE, is_open=True, is_waiting=False
)
IGNORE, RESOLVE = WhenUndetermined.IGNORE, WhenUndetermined.RESOLVE


def test_an_alarm_without_a_record_pages() -> None:
    assert decide_firing(ALARM, ()) == AlarmDecision(AlarmVerdict.PAGE, Why.NO_RECORD)


@pytest.mark.parametrize(
    ("status", "is_open", "is_waiting", "minutes"),
    list(itertools.product(Status, [True, False], [True, False], [-1, 0, 1])),
)
def test_a_record_agrees_or_an_alarm_pages(status: Status, is_open: bool, is_waiting: bool, minutes: int) -> None:
    """Known is: this ALARM or a later state, an open incident, a trigger that waits. Everything else was lost."""
    record = replace(
        RECORD,
        status=status,
        is_open=is_open,
        is_waiting=is_waiting,
        observed_at=SINCE + timedelta(minutes=minutes),
    )
    decision = decide_firing(ALARM, [record])
    if status is Status.RESOLVED:
        expected = AlarmVerdict.LEAVE if minutes > 0 else AlarmVerdict.PAGE
    else:
        expected = AlarmVerdict.PAGE if minutes < 0 and not is_open and not is_waiting else AlarmVerdict.LEAVE
    assert decision.verdict is expected


@pytest.mark.parametrize(("seconds", "verdict"), [(-1, AlarmVerdict.LEAVE), (-2, AlarmVerdict.PAGE)])
def test_times_in_a_tie_are_the_same_state(seconds: int, verdict: AlarmVerdict) -> None:
    """A dead letter of this ALARM is not paged again every five minutes because its time was rounded."""
    record = replace(RECORD, is_open=False, observed_at=SINCE + timedelta(seconds=seconds))
    assert decide_firing(ALARM, [record]).verdict is verdict


def test_what_nobody_sends_any_more_pages_again() -> None:
    """The health check died while it sent: no notification would come again."""
    assert decide_firing(ALARM, [replace(RECORD, is_abandoned=True)]).verdict is AlarmVerdict.PAGE
    item: dict[str, Any] = {
        "id": {"S": f"a#{ALARM.arn}"},
        "status": {"S": "resolved"},
        "observed_at": {"S": SINCE.isoformat()},
        "open": {"BOOL": True},
        "owner": {"S": "dead"},
        "lease_until": {"N": str(int(NOW.timestamp() * 1000))},
    }

    def is_abandoned(**more: Any) -> bool:
        record = AlarmRecord.of({**item, **more}, NOW.timestamp())
        assert record
        return record.is_abandoned

    assert is_abandoned()
    assert not is_abandoned(lease_until={"N": str(int(NOW.timestamp() * 1000) + 1)})
    assert not is_abandoned(delivered_at={"N": "1"})
    assert not is_abandoned(waiting={"S": "a#0"})
    del item["owner"]
    assert not is_abandoned()


def test_one_open_incident_is_enough() -> None:
    """A target that was added later, or that skipped the alert, does not page for it again."""
    ended = replace(RECORD, target="b", status=Status.RESOLVED, observed_at=SINCE - timedelta(hours=1), is_open=False)
    assert decide_firing(ALARM, [ended, RECORD]).verdict is AlarmVerdict.LEAVE


@pytest.mark.parametrize(
    ("alarm", "is_wired", "is_muted", "why"),
    [
        (ALARM, True, False, None),
        (ALARM, False, False, Why.NOT_WIRED),
        (ALARM, True, True, Why.MUTED),
        (replace(ALARM, actions_enabled=False), True, False, Why.ACTIONS_DISABLED),
        (replace(ALARM, is_suppressed=True), True, False, Why.SUPPRESSED),
        (replace(ALARM, since=NOW - GRACE), True, False, None),
        (replace(ALARM, since=NOW - GRACE + timedelta(seconds=1)), True, False, Why.TOO_RECENT),
        (replace(ALARM, reason="2 time series evaluated to ALARM"), True, False, Why.SUMS_UP),
    ],
)
def test_what_is_meant_to_be_quiet_stays_quiet(alarm: Alarm, is_wired: bool, is_muted: bool, why: Why | None) -> None:
    assert left_alone(alarm, NOW, is_wired=is_wired, is_muted=is_muted) is why


OK = replace(ALARM, state="OK", since=SINCE + timedelta(minutes=5))
UNDETERMINED = replace(OK, state="INSUFFICIENT_DATA")


@pytest.mark.parametrize(
    ("alarm", "when", "is_muted", "decision"),
    [
        (OK, IGNORE, False, AlarmDecision(AlarmVerdict.RESOLVE, Why.ALARM_IS_OK)),
        (OK, IGNORE, True, AlarmDecision(AlarmVerdict.LEAVE, Why.MUTED)),
        (replace(OK, actions_enabled=False), IGNORE, False, AlarmDecision(AlarmVerdict.LEAVE, Why.ACTIONS_DISABLED)),
        (replace(OK, is_suppressed=True), IGNORE, False, AlarmDecision(AlarmVerdict.LEAVE, Why.SUPPRESSED)),
        (
            replace(OK, since=NOW - timedelta(seconds=5)),
            IGNORE,
            False,
            AlarmDecision(AlarmVerdict.LEAVE, Why.TOO_RECENT),
        ),
        (replace(OK, since=SINCE - timedelta(1)), IGNORE, False, AlarmDecision(AlarmVerdict.LEAVE, Why.NEWER_RECORD)),
        (ALARM, RESOLVE, False, AlarmDecision(AlarmVerdict.LEAVE, Why.STILL_FIRING)),
        (UNDETERMINED, IGNORE, False, AlarmDecision(AlarmVerdict.LEAVE, Why.UNDETERMINED)),
        (UNDETERMINED, WhenUndetermined.TRIGGER, False, AlarmDecision(AlarmVerdict.LEAVE, Why.UNDETERMINED)),
        (UNDETERMINED, RESOLVE, False, AlarmDecision(AlarmVerdict.RESOLVE, Why.ALARM_IS_OK)),
        (None, IGNORE, False, AlarmDecision(AlarmVerdict.RESOLVE, Why.ALARM_IS_GONE)),
    ],
)
def test_an_incident_ends_with_its_alarm(
    alarm: Alarm | None, when: WhenUndetermined, is_muted: bool, decision: AlarmDecision
) -> None:
    assert decide_ended(alarm, RECORD, NOW, when, is_muted=is_muted) == decision


def test_an_alarm_of_seconds_ago_is_not_taken_for_deleted() -> None:
    """CloudWatch may list an alarm a moment after it has notified."""
    young = replace(RECORD, observed_at=NOW - timedelta(seconds=5))
    assert decide_ended(None, young, NOW, IGNORE, is_muted=False).verdict is AlarmVerdict.LEAVE
