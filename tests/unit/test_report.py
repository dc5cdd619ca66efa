"""What log lines and answers say of a delivery."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from handler.alert import Alert, Ignored, Status
from handler.errors import (
    NotAnAlertError,
    PagerDutyApiError,
    QueueUnavailableError,
    TableUnavailableError,
)
from handler.outcome import (
    Accepted,
    DeferReason,
    Deferred,
    Rejected,
    Skipped,
    SkipReason,
)
from handler.pagerduty.client import Attempt
from handler.pagerduty.events import Action
from handler.pagerduty.severity import Severity
from handler.report import Report

ALERT = Alert(
    fingerprint="f-1",
    name="CPU",
    status=Status.FIRING,
    observed_at=datetime.fromtimestamp(1000, UTC),
    origin="native",
    severity_word="critical",
)
ABOUT: dict[str, Any] = {
    "alert": ALERT,
    "action": Action.TRIGGER,
    "target": "production",
    "severity": Severity.CRITICAL,
}
SAID = {
    "alert_name": "CPU",
    "event_type": "trigger",
    "target": "production",
    "dedup_key": "f-1",
    "severity": "critical",
}
FAILED = PagerDutyApiError(503)
LOST = QueueUnavailableError("SQS queue: gone")


@pytest.mark.parametrize(
    ("report", "fields"),
    [
        (
            Report(
                result=Accepted(dedup_key="f-1", at=1002.5),
                attempts=[Attempt(Action.TRIGGER, "503", 10.26), Attempt(Action.TRIGGER, "202", 20.0)],
                **ABOUT,
            ),
            {
                "outcome": "accepted",
                "attempts": 2,
                "status": "202",
                "api_ms": 30.3,
                "since_observed_ms": 2500,
            },
        ),
        (
            Report(result=Skipped(reason=SkipReason.DUPLICATE), **ABOUT),
            {"outcome": "skipped", "reason": "duplicate"},
        ),
        (
            Report(result=Deferred(reason=DeferReason.FAILED, delay_seconds=11.25, error=FAILED), **ABOUT),
            {
                "outcome": "deferred",
                "reason": "failed",
                "delay_seconds": 11.2,
                "errors": [{"type": "server_error", "message": "PagerDuty answered 503"}],
            },
        ),
        (
            Report(result=Rejected(error=FAILED), lost=LOST, errors=[TableUnavailableError("table: slow")], **ABOUT),
            {
                "outcome": "rejected",
                "errors": [
                    {"type": "table_unavailable", "message": "table: slow"},
                    {"type": "server_error", "message": "PagerDuty answered 503"},
                    {"type": "queue_unavailable", "message": "SQS queue: gone"},
                ],
            },
        ),
    ],
    ids=["accepted", "skipped", "deferred", "rejected"],
)
def test_a_report_says_how_it_ended(report: Report, fields: dict[str, Any]) -> None:
    """And leaves out what there is nothing to say of."""
    assert report.fields() == SAID | fields


def test_what_was_ignored_has_a_name() -> None:
    """It is counted as skipped, with its reason."""
    report = Report(result=Ignored(SkipReason.INSUFFICIENT_DATA, "CPU alarm"))
    assert report.fields() == {"outcome": "skipped", "reason": "insufficient_data", "alert_name": "CPU alarm"}


def test_what_was_no_alert_has_an_error_alone() -> None:
    """There is no alert to name."""
    report = Report(result=Rejected(error=NotAnAlertError("not an alert: an empty message")))
    error = {"type": "not_an_alert", "message": "not an alert: an empty message"}
    assert report.fields() == {"outcome": "rejected", "errors": [error]}


def test_an_unknown_severity_is_reported() -> None:
    """With the word that nobody agreed on, beside the severity that was sent instead."""
    odd = Alert(
        fingerprint="f",
        name="CPU",
        status=Status.FIRING,
        observed_at=ALERT.observed_at,
        origin="x",
        severity_word="eek",
    )
    fields = Report(result=Skipped(reason=SkipReason.DUPLICATE), alert=odd, severity=Severity.ERROR).fields()
    assert (fields["unknown_severity"], fields["severity"]) == ("eek", "error")


def test_a_clock_that_is_ahead_makes_no_negative_time() -> None:
    """The source's clock is not ours."""
    report = Report(result=Accepted(dedup_key="f-1", at=990.0), **ABOUT)
    assert report.milliseconds_since_observed == 0.0


@pytest.mark.parametrize("result", [Skipped(reason=SkipReason.DUPLICATE), Rejected(error=FAILED)])
def test_only_what_was_accepted_has_a_time_to_page(result: Any) -> None:
    """Nothing was paged otherwise."""
    assert Report(result=result, **ABOUT).milliseconds_since_observed is None


def test_a_long_name_is_cut_in_the_log() -> None:
    """Which repeats it for each delivery; the alert keeps it."""
    alert = replace(ALERT, name="x" * 1024)
    fields = Report(result=Skipped(reason=SkipReason.DUPLICATE), alert=alert).fields()
    assert len(fields["alert_name"]) == 256
