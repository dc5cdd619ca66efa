"""The metrics, as CloudWatch would read them from standard output."""

import json
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

import pytest
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from handler.alert import Alert, Ignored, Status
from handler.errors import (
    InvalidTargetError,
    NotAnAlertError,
    PagerDutyApiError,
    QueueUnavailableError,
    TableUnavailableError,
)
from handler.health_report import HealthReport
from handler.metrics import MAX_VALUES, Metric, MetricsRecorder
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
from handler.report import Report

ALERT = Alert(
    fingerprint="f-1", name="CPU", status=Status.FIRING, observed_at=datetime.fromtimestamp(1000, UTC), origin="native"
)
# DESIGN, section 7
DIMENSION = {
    "EventsPublished": {"event_type"},
    "PublishErrors": {"error_type"},
    "ApiRequestDuration": {"status_code"},
    "CacheHits": {"cache_name"},
    "CacheMisses": {"cache_name"},
    "CacheSize": {"cache_name"},
    "RateLimitHits": set(),
    "ApiCalls": {"method"},
    "AlertsSkipped": {"reason"},
    "AlertsDeferred": {"reason"},
    "AlertsRejected": {"reason"},
    "TimeToPage": set(),
    "Healthy": {"target"},
    "DeliveriesWaiting": {"target"},
    "OldestWaiting": {"target"},
    "AllHealthy": set(),
    "TimeWaiting": set(),
    "FiringsSuperseded": set(),
}
BY_FUNCTION = {"AllHealthy", "OldestWaiting"}
"""What alarms watch is emitted by the function's name too."""
MILLISECONDS = {"ApiRequestDuration", "TimeToPage", "TimeWaiting", "OldestWaiting"}

type Emitted = dict[tuple[str, str], list[float]]


def emitted(output: str) -> Emitted:
    """Check the format of every blob; return the values by metric and label."""
    found: Emitted = defaultdict(list)
    for line in output.splitlines():
        blob: dict[str, Any] = json.loads(line)
        assert blob["service"] == "pagerduty-publisher"
        assert isinstance(blob["_aws"]["Timestamp"], int)
        seen: set[str] = set()
        for directive in blob["_aws"]["CloudWatchMetrics"]:
            assert directive["Namespace"] == "PagerDutyPublisher"
            [dimensions] = directive["Dimensions"]
            for metric in directive["Metrics"]:
                name = metric["Name"]
                assert name not in seen
                seen.add(name)
                own = {"function_name"} if name in BY_FUNCTION and "function_name" in dimensions else DIMENSION[name]
                assert set(dimensions) == {"service"} | own
                assert metric["Unit"] == ("Milliseconds" if name in MILLISECONDS else "Count")
                label = "".join(blob[dimension] for dimension in own)
                assert 0 < len(blob[name]) <= 100
                found[name, label] += blob[name]
    return dict(found)


def record(capsys: pytest.CaptureFixture[str], *reports: Report) -> Emitted:
    """Return what reports are counted as."""
    recorder = MetricsRecorder()
    for report in reports:
        recorder.record(report)
    recorder.flush()
    said = capsys.readouterr()
    assert said.err == ""
    return emitted(said.out)


@pytest.mark.parametrize(
    ("action", "event_type", "method"),
    [
        (Action.TRIGGER, "trigger", "trigger"),
        (Action.ACKNOWLEDGE, "acknowledge", "acknowledge"),
        (Action.RESOLVE, "resolve", "resolve"),
        (Action.CHANGE, "change_event", "change"),
    ],
)
def test_an_accepted_delivery(capsys: pytest.CaptureFixture[str], action: Action, event_type: str, method: str) -> None:
    """Every attempt is a call with a duration; a trigger has a time to page."""
    attempts = [Attempt(action, "503", 12.5), Attempt(action, "202", 80.0)]
    result = Accepted(dedup_key="f-1", at=1002.5)
    said = record(capsys, Report(result=result, alert=ALERT, action=action, attempts=attempts, known=False))
    expected: Emitted = {
        ("EventsPublished", event_type): [1],
        ("ApiCalls", method): [1, 1],
        ("ApiRequestDuration", "503"): [12.5],
        ("ApiRequestDuration", "202"): [80.0],
        ("CacheMisses", "dedup_keys"): [1],
    }
    if action is Action.TRIGGER:
        expected["TimeToPage", ""] = [2500.0]
    assert said == expected


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (
            Report(result=Skipped(reason=SkipReason.DUPLICATE), alert=ALERT, known=True),
            {("AlertsSkipped", "duplicate"): [1], ("CacheHits", "dedup_keys"): [1]},
        ),
        (
            Report(result=Ignored(SkipReason.INSUFFICIENT_DATA, "CPU")),
            {("AlertsSkipped", "insufficient_data"): [1]},
        ),
        (
            Report(result=Deferred(reason=DeferReason.RATE_LIMIT, delay_seconds=9), alert=ALERT),
            {("AlertsDeferred", "rate_limit"): [1], ("RateLimitHits", ""): [1]},
        ),
        (
            Report(result=Deferred(reason=DeferReason.FAILED, delay_seconds=9, error=PagerDutyApiError(503))),
            {("AlertsDeferred", "failed"): [1], ("PublishErrors", "server_error"): [1]},
        ),
        (
            Report(result=Rejected(error=NotAnAlertError("no")), lost=QueueUnavailableError("gone")),
            {
                ("AlertsRejected", "not_an_alert"): [1],
                ("PublishErrors", "not_an_alert"): [1],
                ("PublishErrors", "queue_unavailable"): [1],
            },
        ),
        (
            Report(
                result=Accepted(dedup_key="f-1", at=1000.0),
                alert=ALERT,
                action=Action.RESOLVE,
                errors=[TableUnavailableError("slow")],
            ),
            {("EventsPublished", "resolve"): [1], ("PublishErrors", "table_unavailable"): [1]},
        ),
    ],
    ids=["skipped", "ignored", "rate limit", "failed", "rejected", "accepted with an error"],
)
def test_every_other_end(capsys: pytest.CaptureFixture[str], report: Report, expected: Emitted) -> None:
    """Counted by its reason, and its errors by their type."""
    assert record(capsys, report) == expected


def test_a_delivery_that_comes_back_once_more_says_how_long_it_has_waited(capsys: pytest.CaptureFixture[str]) -> None:
    """Since it was first put on the queue; at the first time there is nothing to tell."""
    deferred = Deferred(reason=DeferReason.BUSY, delay_seconds=1)
    once, again = Report(result=deferred, alert=ALERT), Report(result=deferred, alert=ALERT, waiting_milliseconds=4200)
    assert ("TimeWaiting", "") not in record(capsys, once)
    assert record(capsys, again)["TimeWaiting", ""] == [4200]


def test_health_is_counted_for_each_target_and_for_the_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """With the requests it took, and what is wrong as errors."""
    unauthorized = PagerDutyApiError(401)
    attempts = [Attempt(Action.RESOLVE, "202", 12), Attempt(Action.RESOLVE, "401", 9)]
    health = HealthReport(targets={"a": None, "b": unauthorized}, tracked=7, attempts=attempts)
    recorder = MetricsRecorder()
    recorder.record_health(health)
    recorder.flush()
    assert emitted(capsys.readouterr().out) == {
        ("Healthy", "a"): [1],
        ("Healthy", "b"): [0],
        ("AllHealthy", ""): [0],
        ("CacheSize", "dedup_keys"): [7],
        ("PublishErrors", "unauthorized"): [1],
        ("ApiCalls", "resolve"): [1, 1],
        ("ApiRequestDuration", "202"): [12],
        ("ApiRequestDuration", "401"): [9],
    }
    recorder.record_health(HealthReport({"a": None}))
    recorder.flush()
    assert emitted(capsys.readouterr().out) == {("Healthy", "a"): [1], ("AllHealthy", ""): [1]}


def test_what_alarms_watch_has_the_functions_name_too(capsys: pytest.CaptureFixture[str]) -> None:
    """Two stacks of an account do not mask each other; what waits is told for each target that something waits for."""
    recorder = MetricsRecorder()
    recorder.record_health(
        HealthReport({"a": None}, waiting={"a": (3, 120_000.0), "gone": (1, 5_000.0)}), "stack-publisher"
    )
    recorder.flush()
    assert emitted(capsys.readouterr().out) == {
        ("Healthy", "a"): [1],
        ("DeliveriesWaiting", "a"): [3],
        ("DeliveriesWaiting", "gone"): [1],
        ("OldestWaiting", "a"): [120_000.0],
        ("OldestWaiting", "gone"): [5_000.0],
        ("AllHealthy", ""): [1],
        ("AllHealthy", "stack-publisher"): [1],
        ("OldestWaiting", "stack-publisher"): [120_000.0],
    }


def test_a_secret_that_is_wrong_is_counted_when_it_is_read_and_not_again_by_the_health_check(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The whole is unhealthy all the same."""
    recorder = MetricsRecorder()
    recorder.record_health(HealthReport({"a": None}, reported=[InvalidTargetError("secret x: not JSON")]))
    recorder.flush()
    assert emitted(capsys.readouterr().out) == {("Healthy", "a"): [1], ("AllHealthy", ""): [0]}


def test_errors_outside_a_delivery_are_counted_too(capsys: pytest.CaptureFixture[str]) -> None:
    """A target that cannot be read, for one."""
    recorder = MetricsRecorder()
    recorder.record_error(InvalidTargetError("secret x: not JSON"))
    recorder.flush()
    assert emitted(capsys.readouterr().out) == {("PublishErrors", "invalid_target"): [1]}


def test_the_values_of_an_invocation_are_gathered(capsys: pytest.CaptureFixture[str]) -> None:
    """One line, not one for each value."""
    recorder = MetricsRecorder()
    for number in range(20):
        recorder.add(Metric.API_CALLS, 1, method="trigger")
        recorder.add(Metric.API_REQUEST_DURATION, number, status_code="202")
        recorder.add(Metric.TIME_TO_PAGE, number)
        recorder.add(Metric.RATE_LIMIT_HITS, 1)
    recorder.flush()
    output = capsys.readouterr().out
    assert len(output.splitlines()) == 1
    assert emitted(output)["ApiRequestDuration", "202"] == [float(number) for number in range(20)]


@pytest.mark.parametrize("number", [MAX_VALUES, MAX_VALUES + 1, 100, 101, 198, 200, 250, 1000])
def test_any_number_of_values_is_written(capsys: pytest.CaptureFixture[str], number: int) -> None:
    """A line takes a hundred of each metric; none is lost, and none doubled."""
    recorder = MetricsRecorder()
    for value in range(number):
        recorder.add(Metric.TIME_TO_PAGE, value)
    for _ in range(100):
        recorder.add(Metric.RATE_LIMIT_HITS, 1)
    recorder.flush()
    said = capsys.readouterr()
    assert said.err == ""
    found = emitted(said.out)
    assert found["TimeToPage", ""] == [float(value) for value in range(number)]
    assert found["RateLimitHits", ""] == [1.0] * 100


def test_a_line_is_what_powertools_writes(capsys: pytest.CaptureFixture[str]) -> None:
    """Of one set of dimensions, apart from the time."""
    recorder = MetricsRecorder()
    theirs = EphemeralMetrics(namespace="PagerDutyPublisher", service="pagerduty-publisher")
    theirs.add_dimension("target", "a")
    for value in (3, 5):
        recorder.add(Metric.DELIVERIES_WAITING, value, target="a")
        recorder.add(Metric.OLDEST_WAITING, value, target="a")
        theirs.add_metric("DeliveriesWaiting", MetricUnit.Count, value)
        theirs.add_metric("OldestWaiting", MetricUnit.Milliseconds, value)
    recorder.flush()
    line: dict[str, Any] = json.loads(capsys.readouterr().out)
    expected: dict[str, Any] = {**theirs.serialize_metric_set()}
    assert isinstance(line["_aws"].pop("Timestamp"), int)
    assert expected["_aws"].pop("Timestamp")
    assert line == expected


def test_what_does_not_contradict_shares_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """One line for a page; one more for each further value of a dimension, and for the same metric again."""
    recorder = MetricsRecorder()
    attempts = [Attempt(Action.TRIGGER, "202", 80.0)]
    result = Accepted(dedup_key="f-1", at=1002.5)
    recorder.record(Report(result=result, alert=ALERT, action=Action.TRIGGER, attempts=attempts, known=False))
    recorder.flush()
    assert len(capsys.readouterr().out.splitlines()) == 1
    for reason in ("a", "b", "a"):
        recorder.add(Metric.ALERTS_SKIPPED, 1, reason=reason)
    recorder.add(Metric.ALL_HEALTHY, 1)
    recorder.add(Metric.ALL_HEALTHY, 1, function_name="publisher")
    recorder.flush()
    assert [sorted(json.loads(line).keys() - {"_aws", "service"}) for line in capsys.readouterr().out.splitlines()] == [
        ["AlertsSkipped", "AllHealthy", "reason"],
        ["AlertsSkipped", "AllHealthy", "function_name", "reason"],
    ]


def test_a_flush_forgets(capsys: pytest.CaptureFixture[str]) -> None:
    """The next invocation begins with nothing, and an empty flush writes nothing."""
    recorder = MetricsRecorder()
    recorder.add(Metric.TIME_TO_PAGE, 1)
    recorder.flush()
    capsys.readouterr()
    recorder.flush()
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "")


def test_every_metric_is_in_the_design() -> None:
    """With its dimensions."""
    assert {str(metric) for metric in Metric} == DIMENSION.keys()


def test_an_unknown_dimension_is_refused() -> None:
    """Dimensions are a closed set."""
    with pytest.raises(ValueError, match="alert_name"):
        MetricsRecorder().add(Metric.TIME_TO_PAGE, 1, alert_name="CPU")
