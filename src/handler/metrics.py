"""The metrics: every name and dimension there is, and one place that fills them from how deliveries ended.

Put together by Powertools in CloudWatch's Embedded Metric Format, one blob for each set of dimensions: adding a
dimension to a blob that is being filled would relabel everything in it. Blobs that do not contradict each other share a
line.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from handler.alert import Ignored
from handler.errors import PublishError
from handler.outcome import (
    Accepted,
    DeferReason,
    Deferred,
    Rejected,
    Skipped,
)
from handler.pagerduty.client import Attempt
from handler.pagerduty.events import Action
from handler.report import Health, Report

NAMESPACE = "PagerDutyPublisher"
SERVICE = "pagerduty-publisher"
CACHE_NAME = "dedup_keys"
MAX_VALUES = 99
"""Of one metric in one blob. CloudWatch takes 100, at which Powertools would print the blob by itself:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html"""


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
    """The dimensions' names, besides `service`."""

    EVENT_TYPE = "event_type"
    ERROR_TYPE = "error_type"
    STATUS_CODE = "status_code"
    CACHE_NAME = "cache_name"
    METHOD = "method"
    REASON = "reason"
    TARGET = "target"
    FUNCTION_NAME = "function_name"


UNITS = dict.fromkeys(
    (Metric.API_REQUEST_DURATION, Metric.TIME_TO_PAGE, Metric.TIME_WAITING, Metric.OLDEST_WAITING),
    MetricUnit.Milliseconds,
)

type _Labels = tuple[tuple[Dimension, str], ...]


class MetricsRecorder:
    """Gathers what happened in an invocation and writes it at its end. Not for use by several threads at once."""

    def __init__(self) -> None:
        self._values: dict[_Labels, dict[Metric, list[float]]] = defaultdict(lambda: defaultdict(list))

    def add(self, metric: Metric, value: float, **labels: str) -> None:
        """Add one value; the labels' names are those of `Dimension`."""
        key = tuple((Dimension(name), label) for name, label in sorted(labels.items()))
        self._values[key][metric].append(value)

    def add_if(self, metric: Metric, is_so: bool) -> None:
        """Count one where something is so."""
        if is_so:
            self.add(metric, 1)

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
        match report.result:
            case Accepted() if report.alert:
                self.add(Metric.EVENTS_PUBLISHED, 1, event_type=str(report.action))
                if report.action is Action.TRIGGER:
                    self.add(Metric.TIME_TO_PAGE, report.milliseconds_since_observed or 0)
            case Skipped(reason=reason) | Ignored(reason=reason):
                self.add(Metric.ALERTS_SKIPPED, 1, reason=str(reason))
                self.add_if(Metric.FIRINGS_SUPERSEDED, report.is_superseded_firing)
            case Deferred(reason=reason):
                self.add(Metric.ALERTS_DEFERRED, 1, reason=str(reason))
                self.add_if(Metric.RATE_LIMIT_HITS, reason is DeferReason.RATE_LIMIT)
            case Rejected(error=error):
                self.add(Metric.ALERTS_REJECTED, 1, reason=str(error.reason))

    def record_health(self, health: Health, function_name: str = "") -> None:
        """Record whether each target is healthy, and the whole; and what waits.

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
            self.add(Metric.API_CALLS, 1, method=attempt.method)
            self.add(Metric.API_REQUEST_DURATION, attempt.milliseconds, status_code=attempt.status)

    def flush(self) -> None:
        """Write everything to standard output, in as few lines as can hold it, and forget it."""
        values, self._values = self._values, defaultdict(lambda: defaultdict(list))
        blobs: list[Mapping[str, Any]] = []
        for labels, metrics in values.items():
            longest = max(len(numbers) for numbers in metrics.values())
            for start in range(0, longest, MAX_VALUES):
                blob = EphemeralMetrics(namespace=NAMESPACE, service=SERVICE)
                for name, label in labels:
                    blob.add_dimension(str(name), label)
                for metric, numbers in metrics.items():
                    for number in numbers[start : start + MAX_VALUES]:
                        blob.add_metric(str(metric), UNITS.get(metric, MetricUnit.Count), number)
                blobs.append({**blob.serialize_metric_set()})
        for line in merged(blobs):
            sys.stdout.write(json.dumps(line, separators=(",", ":")) + "\n")


def merged(blobs: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return lines that say the same as these blobs: each has the directives of several.

    In one line, a dimension has one value, and no metric is there twice. CloudWatch Logs bills
    bytes, and half of a blob is its frame.
    """
    lines: list[dict[str, Any]] = []
    for blob in blobs:
        members = {name: value for name, value in blob.items() if name != "_aws"}
        for line in lines:
            if all(
                name not in line or (line[name] == value and isinstance(value, str)) for name, value in members.items()
            ):
                line.update(members)
                line["_aws"]["CloudWatchMetrics"] += blob["_aws"]["CloudWatchMetrics"]
                break
        else:
            lines.append({"_aws": {**blob["_aws"]}, **members})
    return lines
