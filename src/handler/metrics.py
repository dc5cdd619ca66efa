"""The metrics: every name and dimension there is, and one place that fills them from how deliveries ended.

Written in CloudWatch's Embedded Metric Format, as Powertools has it, in as few lines as can hold them: CloudWatch Logs
bills bytes, and most of a line is its frame.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from functools import cache
from threading import Lock
from typing import Any

from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from handler.alert import Ignored
from handler.errors import PublishError
from handler.health_report import HealthReport
from handler.outcome import (
    Accepted,
    DeferReason,
    Deferred,
    Rejected,
    Skipped,
)
from handler.pagerduty.client import Attempt
from handler.pagerduty.events import Action
from handler.report import Report

NAMESPACE = "PagerDutyPublisher"
SERVICE = "pagerduty-publisher"
CACHE_NAME = "dedup_keys"
MAX_VALUES = 100
"""Values that CloudWatch accepts for one metric in one line; it ignores a longer list."""


class Metric(StrEnum):
    """The metrics' names."""

    EVENTS_PUBLISHED = "EventsPublished"
    PUBLISH_ERRORS = "PublishErrors"
    API_REQUEST_DURATION = "ApiRequestDuration"
    CACHE_HITS = "CacheHits"
    CACHE_MISSES = "CacheMisses"
    RATE_LIMIT_HITS = "RateLimitHits"
    API_CALLS = "ApiCalls"
    ALERTS_SKIPPED = "AlertsSkipped"
    ALERTS_DEFERRED = "AlertsDeferred"
    ALERTS_REJECTED = "AlertsRejected"
    TIME_TO_PAGE = "TimeToPage"
    TIME_WAITING = "TimeWaiting"
    HEALTHY = "Healthy"
    ALL_HEALTHY = "AllHealthy"
    CACHE_SIZE = "CacheSize"
    DELIVERIES_WAITING = "DeliveriesWaiting"
    OLDEST_WAITING = "OldestWaiting"
    FIRINGS_SUPERSEDED = "FiringsSuperseded"


class Dimension(StrEnum):
    """The dimensions' names. Every metric has `service`."""

    SERVICE = "service"
    EVENT_TYPE = "event_type"
    ERROR_TYPE = "error_type"
    STATUS_CODE = "status_code"
    CACHE_NAME = "cache_name"
    METHOD = "method"
    REASON = "reason"
    TARGET = "target"
    FUNCTION_NAME = "function_name"


IN_MILLISECONDS = {Metric.API_REQUEST_DURATION, Metric.TIME_TO_PAGE, Metric.TIME_WAITING, Metric.OLDEST_WAITING}
"""The metrics that are not counts."""
NO_LABEL = "-"

type _Labels = tuple[tuple[Dimension, str], ...]


class MetricsRecorder:
    """Collects metrics until they are written. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._values: dict[_Labels, dict[Metric, list[float]]] = defaultdict(lambda: defaultdict(list))

    def add(self, metric: Metric, value: float, **labels: str) -> None:
        """Add one value; the labels' names are those of `Dimension`."""
        key = tuple((Dimension(name), label) for name, label in sorted(labels.items()))
        with self._lock:
            self._values[key][metric].append(round(value, 1) if metric in IN_MILLISECONDS else value)

    def record_error(self, error: PublishError) -> None:
        """Count an error."""
        self.add(Metric.PUBLISH_ERRORS, 1, error_type=str(error.reason))

    def record(self, report: Report) -> None:
        """Count everything in a report."""
        self._record_attempts(report.attempts)
        if report.known is not None:
            self.add(Metric.CACHE_HITS if report.known else Metric.CACHE_MISSES, 1, cache_name=CACHE_NAME)
        for error in report.all_errors:
            self.record_error(error)
        if report.waiting_milliseconds:
            self.add(Metric.TIME_WAITING, report.waiting_milliseconds)
        self._record_result(report)

    def _record_result(self, report: Report) -> None:
        match report.result:
            case Accepted() if report.alert:
                self.add(Metric.EVENTS_PUBLISHED, 1, event_type=str(report.action))
                if report.action is Action.TRIGGER:
                    self.add(Metric.TIME_TO_PAGE, report.milliseconds_since_observed or 0)
            case Skipped(reason=reason) | Ignored(reason=reason):
                self.add(Metric.ALERTS_SKIPPED, 1, reason=str(reason))
                if report.is_superseded_firing:
                    self.add(Metric.FIRINGS_SUPERSEDED, 1)
            case Deferred(reason=reason):
                self.add(Metric.ALERTS_DEFERRED, 1, reason=str(reason))
                if reason is DeferReason.RATE_LIMIT:
                    self.add(Metric.RATE_LIMIT_HITS, 1)
            case Rejected(error=error):
                self.add(Metric.ALERTS_REJECTED, 1, reason=str(error.reason))

    def record_health(self, health: HealthReport, function_name: str = "") -> None:
        """Record whether each target and the whole stack are healthy, and what waits.

        What alarms watch also has the function's name, so that two stacks of an account do not mask each other.
        """
        self._record_attempts(health.attempts)
        for name, error in health.targets.items():
            self.add(Metric.HEALTHY, 0 if error else 1, target=name)
        for name, (count, oldest) in health.waiting.items():
            self.add(Metric.DELIVERIES_WAITING, count, target=name)
            self.add(Metric.OLDEST_WAITING, oldest, target=name)
        self.add(Metric.ALL_HEALTHY, 0 if health.errors else 1)
        if function_name:
            self.add(Metric.ALL_HEALTHY, 0 if health.errors else 1, function_name=function_name)
            oldest_of_all = max((oldest for _, oldest in health.waiting.values()), default=0.0)
            self.add(Metric.OLDEST_WAITING, oldest_of_all, function_name=function_name)
        for error in health.unreported:
            self.record_error(error)
        if health.tracked is not None:
            self.add(Metric.CACHE_SIZE, health.tracked, cache_name=CACHE_NAME)

    def _record_attempts(self, attempts: Sequence[Attempt]) -> None:
        for attempt in attempts:
            self.add(Metric.API_CALLS, 1, method=attempt.kind)
            self.add(Metric.API_REQUEST_DURATION, attempt.milliseconds, status_code=attempt.status)

    def flush(self) -> None:
        """Write all metrics to standard output, and clear them."""
        with self._lock:
            values, self._values = self._values, defaultdict(lambda: defaultdict(list))
        if values:
            now = round(time.time() * 1000)
            sys.stdout.writelines(f"{json.dumps(line, separators=(',', ':'))}\n" for line in _lines(values, now))


def _lines(values: Mapping[_Labels, Mapping[Metric, Sequence[float]]], now: int) -> Sequence[Mapping[str, Any]]:
    """Return lines with these values. In a line, a dimension has one value, and no metric is there twice."""
    lines: list[dict[str, Any]] = []
    for labels, part in _parts(values):
        line = next((line for line in lines if _fits(line, labels, part)), None)
        if line is None:
            line = {"_aws": {"Timestamp": now, "CloudWatchMetrics": []}, Dimension.SERVICE: SERVICE}
            lines.append(line)
        line["_aws"]["CloudWatchMetrics"].append(_directive(tuple(name for name, _ in labels), tuple(part)))
        line.update(labels)
        line.update(part)
    return lines


def _parts(
    values: Mapping[_Labels, Mapping[Metric, Sequence[float]]],
) -> Iterator[tuple[_Labels, dict[str, Sequence[float]]]]:
    """Split the values into parts that fit into a line."""
    for labels, metrics in values.items():
        longest = max(map(len, metrics.values()))
        for start in range(0, longest, MAX_VALUES):
            part = {str(metric): numbers[start : start + MAX_VALUES] for metric, numbers in metrics.items()}
            yield labels, {metric: numbers for metric, numbers in part.items() if numbers}


def _fits(line: Mapping[str, Any], labels: _Labels, metrics: Mapping[str, Any]) -> bool:
    return all(line.get(name, label) == label for name, label in labels) and line.keys().isdisjoint(metrics)


@cache
def _directive(names: tuple[Dimension, ...], metrics: tuple[str, ...]) -> Mapping[str, Any]:
    """Return what tells CloudWatch which members of a line are metrics, with which dimensions, as Powertools writes it.

    It depends on names alone: Powertools takes 0.1 ms of CPU for those of one delivery.
    """
    written = EphemeralMetrics(namespace=NAMESPACE, service=SERVICE)
    for name in names:
        written.add_dimension(str(name), NO_LABEL)
    for metric in metrics:
        unit = MetricUnit.Milliseconds if metric in IN_MILLISECONDS else MetricUnit.Count
        written.add_metric(metric, unit, 0)
    [directive] = written.serialize_metric_set()["_aws"]["CloudWatchMetrics"]
    return dict(directive)
