"""Everything that can go wrong with a delivery, as one tree: each error knows its reason and whether a retry can help.

No message in this module may ever contain a routing key.
"""

from collections.abc import Sequence
from enum import StrEnum


class ErrorReason(StrEnum):
    """The closed set of reasons: the `error_type` of the metric `PublishErrors` and the `reason` of a log line."""

    INVALID_SETTINGS = "invalid_settings"
    NOT_AN_ALERT = "not_an_alert"
    INVALID_ALERT = "invalid_alert"
    NO_TARGET = "no_target"
    INVALID_TARGET = "invalid_target"
    TARGETS_UNAVAILABLE = "targets_unavailable"
    MISSING_ROUTING_KEY = "missing_routing_key"
    INVALID_DEDUP_KEY = "invalid_dedup_key"
    RATE_LIMIT_EXCEEDED = "rate_limit_exceeded"
    TIMEOUT = "timeout"
    OUT_OF_TIME = "out_of_time"
    CONNECTION = "connection"
    BAD_REQUEST = "bad_request"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    RATE_LIMIT = "rate_limit"
    SERVER_ERROR = "server_error"
    UNKNOWN = "unknown"
    CIRCUIT_OPEN = "circuit_open"
    TABLE_MISSING = "table_missing"
    TABLE_UNAVAILABLE = "table_unavailable"
    QUEUE_UNAVAILABLE = "queue_unavailable"
    EXHAUSTED = "exhausted"
    INTERNAL = "internal"


class PublishError(Exception):
    """Root of all errors of this package.

    Attributes:
        reason: one of the closed set.
        retryable: whether the same delivery may succeed later with nothing changed by a person.
    """

    reason: ErrorReason = ErrorReason.UNKNOWN
    retryable: bool = False


class SettingsError(PublishError):
    """A setting is missing or cannot be parsed; the message names it and says what it should look like."""

    reason = ErrorReason.INVALID_SETTINGS


class NotAnAlertError(PublishError):
    """No source recognises the record."""

    reason = ErrorReason.NOT_AN_ALERT


class InvalidAlertError(PublishError):
    """A source recognised the record, but a field of it is missing or wrong; the message names the field."""

    reason = ErrorReason.INVALID_ALERT


class NoTargetError(PublishError):
    """No enabled target takes this alert."""

    reason = ErrorReason.NO_TARGET


class InvalidTargetError(PublishError):
    """A target cannot take this delivery, or its secret is wrong; the message names the target and what to change."""

    reason = ErrorReason.INVALID_TARGET


class TargetsUnavailableError(PublishError):
    """Secrets Manager did not answer and no targets are known from before."""

    reason = ErrorReason.TARGETS_UNAVAILABLE
    retryable = True


class MissingRoutingKeyError(PublishError):
    """There is no routing key to send with."""

    reason = ErrorReason.MISSING_ROUTING_KEY


class InvalidDedupKeyError(PublishError):
    """The dedup key is empty or longer than 255 characters."""

    reason = ErrorReason.INVALID_DEDUP_KEY


class RateLimitExceededError(PublishError):
    """No turn is left in the routing key's minute; nothing was sent.

    Attributes:
        retry_after_seconds: when to look again.
        turn_at: the place in the line, in epoch seconds: to be brought along then.
    """

    reason = ErrorReason.RATE_LIMIT_EXCEEDED
    retryable = True

    def __init__(self, retry_after_seconds: float, turn_at: float | None = None) -> None:
        super().__init__(f"the limit for this routing key is reached; look again in {retry_after_seconds:.1f} s")
        self.retry_after_seconds = retry_after_seconds
        self.turn_at = turn_at


class CircuitOpenError(PublishError):
    """PagerDuty was out of reach a moment ago; nothing was sent."""

    reason = ErrorReason.CIRCUIT_OPEN
    retryable = True


class ApiError(PublishError):
    """PagerDuty did not accept a request."""


class ApiTimeoutError(ApiError):
    """PagerDuty did not answer in time; it may have taken the event in."""

    reason = ErrorReason.TIMEOUT
    retryable = True


class OutOfTimeError(ApiError):
    """The invocation had no time left for another request."""

    reason = ErrorReason.OUT_OF_TIME
    retryable = True


class ApiConnectionError(ApiError):
    """The connection to PagerDuty could not be made, or broke; PagerDuty may have taken the event in."""

    reason = ErrorReason.CONNECTION
    retryable = True


_TYPES = {
    400: ErrorReason.BAD_REQUEST,
    401: ErrorReason.UNAUTHORIZED,
    403: ErrorReason.FORBIDDEN,
    404: ErrorReason.NOT_FOUND,
    429: ErrorReason.RATE_LIMIT,
}


class PagerDutyApiError(ApiError):
    """PagerDuty answered, and not with 202.

    Attributes:
        status_code: the HTTP status.
        message: what PagerDuty said in one line; empty where it said nothing readable.
        errors: PagerDuty's own list of what is wrong with the event.
        retry_after_seconds: what the `Retry-After` header asked for, where it was given.
    """

    def __init__(
        self,
        status_code: int,
        message: str = "",
        errors: Sequence[str] = (),
        *,
        retry_after_seconds: float | None = None,
    ) -> None:
        said = ": ".join(part for part in (message, "; ".join(errors)) if part)
        super().__init__(f"PagerDuty answered {status_code}" + (f": {said}" if said else ""))
        self.status_code = status_code
        self.message = message
        self.errors = tuple(errors)
        self.retry_after_seconds = retry_after_seconds

    @property
    def type(self) -> ErrorReason:
        """One of bad_request, unauthorized, forbidden, not_found, rate_limit, server_error, unknown."""
        if self.status_code >= 500:
            return ErrorReason.SERVER_ERROR
        return _TYPES.get(self.status_code, ErrorReason.UNKNOWN)

    @property
    def reason(self) -> ErrorReason:  # type: ignore[override]
        """The same as `type`: what PagerDuty refused is what the metric counts."""
        return self.type

    @property
    def retryable(self) -> bool:  # type: ignore[override]
        """429 and 5xx may be accepted later; everything else is final (PagerDuty's table of response codes)."""
        return self.status_code == 429 or self.status_code >= 500


class TableMissingError(PublishError):
    """The dedup table does not exist or is not this function's to use; a person has to mend that."""

    reason = ErrorReason.TABLE_MISSING


class TableUnavailableError(PublishError):
    """DynamoDB did not do what was asked: throttled, failing or out of reach."""

    reason = ErrorReason.TABLE_UNAVAILABLE
    retryable = True


class QueueUnavailableError(PublishError):
    """SQS did not take a message in, so the invocation has to fail for the alert to be kept."""

    reason = ErrorReason.QUEUE_UNAVAILABLE
    retryable = True


class ExhaustedError(PublishError):
    """A delivery failed for so long that it is put aside for a person to look at."""

    reason = ErrorReason.EXHAUSTED
