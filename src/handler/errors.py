"""The publisher's own errors, beside those of the PagerDuty client, as one tree.

    PublishError                     the root: `reason`, `retryable`
    ├── (handler.pagerduty.errors)   what can go wrong with a request
    ├── SettingsError                at start
    ├── NotAnAlertError, InvalidAlertError            reading a record
    ├── NoTargetError (NoTargetsYetError), InvalidTargetError, TargetsUnavailableError
    ├── TableMissingError, TableUnavailableError (TableContendedError, TableThrottledError),
    │   QueueUnavailableError
    ├── ExhaustedError               given up after a day
    └── InternalError                a bug

No message may contain a routing key.
"""

from enum import StrEnum

from handler.pagerduty.errors import (
    ApiConnectionError,
    ApiError,
    ApiTimeoutError,
    ErrorReason,
    InvalidDedupKeyError,
    MissingRoutingKeyError,
    OutOfTimeError,
    PagerDutyApiError,
    PagerDutyServerError,
    PublishError,
    RateLimitExceededError,
    is_auth_error,
    is_bad_request,
    is_rate_limit,
    is_retryable,
)

__all__ = [
    "ApiConnectionError",
    "ApiError",
    "ApiTimeoutError",
    "ErrorReason",
    "ExhaustedError",
    "InternalError",
    "InvalidAlertError",
    "InvalidDedupKeyError",
    "InvalidTargetError",
    "MissingRoutingKeyError",
    "NoTargetError",
    "NoTargetsYetError",
    "NotAnAlertError",
    "OutOfTimeError",
    "PagerDutyApiError",
    "PagerDutyServerError",
    "PublishError",
    "PublisherErrorReason",
    "QueueUnavailableError",
    "RateLimitExceededError",
    "SettingsError",
    "TableContendedError",
    "TableMissingError",
    "TableThrottledError",
    "TableUnavailableError",
    "TargetsUnavailableError",
    "is_auth_error",
    "is_bad_request",
    "is_rate_limit",
    "is_retryable",
]


class PublisherErrorReason(StrEnum):
    """The publisher's own reasons; those of requests are in `ErrorReason`. Both are closed sets.

    A reason is the `error_type` of the metric `PublishErrors` and the `type` of an error in a log line.
    """

    INVALID_SETTINGS = "invalid_settings"
    NOT_AN_ALERT = "not_an_alert"
    INVALID_ALERT = "invalid_alert"
    NO_TARGET = "no_target"
    INVALID_TARGET = "invalid_target"
    TARGETS_UNAVAILABLE = "targets_unavailable"
    CIRCUIT_OPEN = "circuit_open"
    TABLE_MISSING = "table_missing"
    TABLE_UNAVAILABLE = "table_unavailable"
    TABLE_CONTENDED = "table_contended"
    TABLE_THROTTLED = "table_throttled"
    QUEUE_UNAVAILABLE = "queue_unavailable"
    EXHAUSTED = "exhausted"
    INTERNAL = "internal"


class SettingsError(PublishError):
    """A setting is missing or cannot be parsed; the message names it and says what it should look like."""

    reason = PublisherErrorReason.INVALID_SETTINGS


class NotAnAlertError(PublishError):
    """No source recognises the record."""

    reason = PublisherErrorReason.NOT_AN_ALERT


class InvalidAlertError(PublishError):
    """A source recognised the record, but a field of it is missing or wrong; the message names the field."""

    reason = PublisherErrorReason.INVALID_ALERT


class NoTargetError(PublishError):
    """No target takes this alert."""

    reason = PublisherErrorReason.NO_TARGET


class NoTargetsYetError(NoTargetError):
    """The target may exist anyway: ListSecrets lags behind, and a secret can be unreadable for a while."""


class InvalidTargetError(PublishError):
    """A target cannot take this delivery, or its secret is wrong; the message names the target and what to change."""

    reason = PublisherErrorReason.INVALID_TARGET


class TargetsUnavailableError(PublishError):
    """Secrets Manager did not answer and no targets are known from before."""

    reason = PublisherErrorReason.TARGETS_UNAVAILABLE
    retryable = True


class TableMissingError(PublishError):
    """The dedup table does not exist, or access is denied; a person has to fix that."""

    reason = PublisherErrorReason.TABLE_MISSING


class TableUnavailableError(PublishError):
    """DynamoDB throttled the call, failed, or could not be reached."""

    reason = PublisherErrorReason.TABLE_UNAVAILABLE
    retryable = True


class TableThrottledError(TableUnavailableError):
    """DynamoDB throttles an item or an index; the rest of the table works."""

    reason = PublisherErrorReason.TABLE_THROTTLED


class TableContendedError(TableUnavailableError):
    """A record changed before each write, or DynamoDB left keys unread; a later try may succeed."""

    reason = PublisherErrorReason.TABLE_CONTENDED


class QueueUnavailableError(PublishError):
    """SQS did not accept a message, so the invocation must fail to keep the alert."""

    reason = PublisherErrorReason.QUEUE_UNAVAILABLE
    retryable = True


class ExhaustedError(PublishError):
    """A delivery failed for so long that it is dead-lettered."""

    reason = PublisherErrorReason.EXHAUSTED


class InternalError(PublishError):
    """A bug in the publisher; the record is kept, and the log has the traceback."""

    reason = PublisherErrorReason.INTERNAL
