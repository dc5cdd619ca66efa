"""Decides whether an alarm pages, whether an incident is resolved, or why neither. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from handler.agreement.alarm import Alarm
from handler.agreement.records import AlarmRecord
from handler.alert import Status, WhenUndetermined
from handler.delivery.record import TIE_OF_WHOLE_SECONDS_MS

GRACE = timedelta(seconds=30)
"""How long a state is left alone: its own notification may still be on its way."""
TIE = timedelta(milliseconds=TIE_OF_WHOLE_SECONDS_MS)
"""Times this close count as the same: a notification may have a state's time in whole seconds."""


class AlarmVerdict(StrEnum):
    """What to do about an alarm, or about an open incident."""

    PAGE = "page"
    RESOLVE = "resolve"
    LEAVE = "leave"


class Why(StrEnum):
    """Why an alarm pages, why an incident is resolved, or why either is left alone."""

    NO_RECORD = "no_record"
    """Pages: no target has a record of the alarm."""
    NEWER_ALARM = "newer_alarm"
    """Pages: the alarm went to ALARM after all that the records know of."""
    ALARM_IS_OK = "alarm_is_ok"
    """Resolves: the alarm is `OK`."""
    ALARM_IS_GONE = "alarm_is_gone"
    """Resolves: the alarm does not exist any more."""

    KNOWN = "known"
    """Left alone, as for all reasons below: a record knows of this ALARM, or has an open incident."""
    NEWER_RECORD = "newer_record"
    """A record knows of a later state than CloudWatch returned."""
    TOO_RECENT = "too_recent"
    """Its own notification may still be on its way."""
    NOT_WIRED = "not_wired"
    """The alarm is not this stack's."""
    ACTIONS_DISABLED = "actions_disabled"
    SUPPRESSED = "suppressed"
    MUTED = "muted"
    SUMS_UP = "sums_up_contributors"
    """Each of the alarm's time series pages for itself."""
    STILL_FIRING = "still_firing"
    UNDETERMINED = "insufficient_data"
    NO_TARGET = "no_target_wants_it"
    UNREADABLE = "unreadable"
    """No source makes an alert of the alarm's notification."""


@dataclass(frozen=True, slots=True)
class AlarmDecision:
    """A verdict and its reason."""

    verdict: AlarmVerdict
    why: Why


def silenced(alarm: Alarm, *, is_muted: bool) -> Why | None:
    """Return what holds back the alarm's actions, or None."""
    if not alarm.actions_enabled:
        return Why.ACTIONS_DISABLED
    if alarm.is_suppressed:
        return Why.SUPPRESSED
    return Why.MUTED if is_muted else None


def left_alone(alarm: Alarm, now: datetime, *, is_wired: bool, is_muted: bool) -> Why | None:
    """Return why an alarm in ALARM is not compared now, or None where it is compared with its records."""
    if not is_wired:
        return Why.NOT_WIRED
    if why := silenced(alarm, is_muted=is_muted):
        return why
    if alarm.sums_up:
        return Why.SUMS_UP
    return Why.TOO_RECENT if now - alarm.since < GRACE else None


def decide_firing(alarm: Alarm, records: Sequence[AlarmRecord]) -> AlarmDecision:
    """Decide about an alarm in ALARM: it pages unless a record knows of this ALARM or has an open incident.

    An incident that a person has resolved in PagerDuty is still open in the table, so it does not page again.
    """
    if not records:
        return AlarmDecision(AlarmVerdict.PAGE, Why.NO_RECORD)
    firing = [record for record in records if record.status is not Status.RESOLVED and not record.is_abandoned]
    if any(record.is_open or record.is_waiting or record.observed_at >= alarm.since - TIE for record in firing):
        return AlarmDecision(AlarmVerdict.LEAVE, Why.KNOWN)
    if max(record.observed_at for record in records) > alarm.since:
        return AlarmDecision(AlarmVerdict.LEAVE, Why.NEWER_RECORD)
    return AlarmDecision(AlarmVerdict.PAGE, Why.NEWER_ALARM)


def state_of_series(alarm: Alarm, contributor: str, firing: Collection[str], now: datetime) -> Alarm:
    """Return the alarm as one of its time series: OK if others are in ALARM and this one is not.

    Args:
        alarm: the whole alarm, in any state.
        contributor: the id of the time series.
        firing: the ids of the time series in ALARM; an empty id is the whole alarm, whose time series are unknown.
        now: in UTC; the end of the time series is unknown, and counts as half a minute ago.
    """
    if not firing or "" in firing or contributor in firing:
        return alarm
    return replace(alarm, state="OK", since=now - GRACE, reason="This time series fires no more")


def decide_ended(
    alarm: Alarm | None, record: AlarmRecord, now: datetime, when_undetermined: WhenUndetermined, *, is_muted: bool
) -> AlarmDecision:
    """Decide about an open incident, whose `alarm` is None where CloudWatch no longer has it.

    INSUFFICIENT_DATA ends an incident only where `when_undetermined` says that it resolves.
    """
    if alarm is None:
        if now - record.observed_at < GRACE:
            return AlarmDecision(AlarmVerdict.LEAVE, Why.TOO_RECENT)
        return AlarmDecision(AlarmVerdict.RESOLVE, Why.ALARM_IS_GONE)
    if why := silenced(alarm, is_muted=is_muted):
        return AlarmDecision(AlarmVerdict.LEAVE, why)
    if alarm.state == "ALARM":
        return AlarmDecision(AlarmVerdict.LEAVE, Why.STILL_FIRING)
    if alarm.state != "OK" and when_undetermined is not WhenUndetermined.RESOLVE:
        return AlarmDecision(AlarmVerdict.LEAVE, Why.UNDETERMINED)
    if now - alarm.since < GRACE:
        return AlarmDecision(AlarmVerdict.LEAVE, Why.TOO_RECENT)
    if alarm.since < record.observed_at:
        return AlarmDecision(AlarmVerdict.LEAVE, Why.NEWER_RECORD)
    return AlarmDecision(AlarmVerdict.RESOLVE, Why.ALARM_IS_OK)
