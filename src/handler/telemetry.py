"""The log and the metrics of what happens: one line for each report, and what is wrong."""

from collections.abc import Iterable
from typing import Any

from aws_lambda_powertools import Logger

from handler.errors import InternalError, PublishError
from handler.health_report import HealthReport
from handler.metrics import MetricsRecorder
from handler.pagerduty.client import Attempt
from handler.report import Report


class Telemetry:
    """Logs and counts. Safe to use from several threads.

    Args:
        logger: logs a line.
        metrics: counts; an invocation writes them when it ends.
        function_name: a dimension of the metrics that alarms watch.
    """

    def __init__(self, logger: Logger, metrics: MetricsRecorder, function_name: str) -> None:
        self._logger = logger
        self._metrics = metrics
        self._function_name = function_name

    def record(self, reports: Iterable[Report]) -> None:
        """Log and count how deliveries ended."""
        for report in reports:
            self._metrics.record(report)
            log = self._logger.error if report.all_errors else self._logger.info
            log(report.outcome, extra=report.fields())

    def record_health(self, health: HealthReport) -> None:
        """Log and count the result of a health check."""
        self._metrics.record_health(health, self._function_name)
        log = self._logger.error if health.errors else self._logger.info
        log("unhealthy" if health.errors else "healthy", extra=health.fields())

    def record_error(self, error: PublishError) -> None:
        """Log and count what is wrong with a target, or with reading targets or the table."""
        self.log_problem(str(error), reason=str(error.reason))
        self._metrics.record_error(error)

    def record_exception(self, exception: Exception) -> PublishError:
        """Log an unexpected exception with its traceback, and return it as an error."""
        self._logger.exception("a delivery failed unexpectedly", exc_info=exception)
        return InternalError(f"{type(exception).__name__} while publishing: see the log")

    def log_problem(self, sentence: str, **fields: Any) -> None:
        """Log a sentence about what is wrong."""
        self._logger.error(sentence, extra=fields)

    def log_attempt(self, attempt: Attempt) -> None:
        """Log one request to PagerDuty at level DEBUG."""
        self._logger.debug("request", extra=_fields(attempt))

    def log_attempt_with_body(self, attempt: Attempt) -> None:
        """Log one request to PagerDuty with its body, which may contain sensitive data, but never the routing key."""
        self._logger.debug("request", extra={**_fields(attempt), "body": attempt.body()})


def _fields(attempt: Attempt) -> dict[str, Any]:
    return {
        "method": "POST",
        "url": attempt.url,
        "dedup_key": attempt.dedup_key,
        "attempt": attempt.number,
        "status": attempt.status,
        "api_ms": round(attempt.milliseconds, 1),
    }
