"""What can go wrong with a request to PagerDuty: each error has a reason and says whether a retry can help.

    PublishError
    ├── MissingRoutingKeyError, InvalidDedupKeyError   the event cannot be sent as it is
    ├── RateLimitExceededError                         no permit within the limit; nothing was sent
    └── ApiError                                       PagerDuty did not accept the request
        ├── OutOfTimeError                             no time left to send it
        ├── NoAnswerError
        │   └── ApiConnectionError, ApiTimeoutError    no answer; whether the event may have arrived is in the error
        └── PagerDutyApiError                          an answer other than 202
            └── PagerDutyServerError                   5xx

No message may contain a routing key.
"""

from collections.abc import Sequence
from enum import StrEnum


class ErrorReason(StrEnum):
    """The closed set of reasons."""

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


class PublishError(Exception):
    """Root of all errors of this package.

    Attributes:
        reason: one of the closed set.
        retryable: whether the same delivery may succeed later without a person's help.
    """

    reason: StrEnum = ErrorReason.UNKNOWN
    retryable: bool = False


class MissingRoutingKeyError(PublishError):
    """There is no routing key to send with."""

    reason = ErrorReason.MISSING_ROUTING_KEY


class InvalidDedupKeyError(PublishError):
    """The dedup key is empty or longer than 255 characters."""

    reason = ErrorReason.INVALID_DEDUP_KEY


class RateLimitExceededError(PublishError):
    """The routing key's limit is reached; nothing was sent.

    Attributes:
        retry_after_seconds: how long to wait.

    Args:
        message: instead of the sentence about the limit.
    """

    reason: StrEnum = ErrorReason.RATE_LIMIT_EXCEEDED
    retryable = True

    def __init__(self, retry_after_seconds: float, message: str = "") -> None:
        limited = f"the limit for this routing key is reached; try again in {retry_after_seconds:.1f} s"
        super().__init__(message or limited)
        self.retry_after_seconds = retry_after_seconds


class ApiError(PublishError):
    """PagerDuty did not accept a request."""


class OutOfTimeError(ApiError):
    """The invocation had no time left for another request."""

    reason = ErrorReason.OUT_OF_TIME
    retryable = True


class NoAnswerError(ApiError):
    """There was no answer.

    Attributes:
        may_have_arrived: whether PagerDuty may have received the event; False where no connection was made.
    """

    retryable = True

    def __init__(self, message: str, *, may_have_arrived: bool = True) -> None:
        super().__init__(message)
        self.may_have_arrived = may_have_arrived


class ApiTimeoutError(NoAnswerError):
    """PagerDuty did not answer in time."""

    reason = ErrorReason.TIMEOUT


class ApiConnectionError(NoAnswerError):
    """The connection to PagerDuty could not be made, or broke."""

    reason = ErrorReason.CONNECTION


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
        message: PagerDuty's own message, one line; empty where the answer was not readable.
        errors: PagerDuty's own list of what is wrong with the event.
        retry_after_seconds: the `Retry-After` header; None where there was none.
        reason: the same as `type`.
        retryable: only 429 and 5xx may be accepted later; everything else is final (PagerDuty's table of response
            codes, https://developer.pagerduty.com/docs/events-api-v2-overview).
    """

    def __init__(
        self,
        status_code: int,
        message: str = "",
        errors: Sequence[str] = (),
        *,
        retry_after_seconds: float | None = None,
    ) -> None:
        answer = ": ".join(part for part in (message, "; ".join(errors)) if part)
        super().__init__(f"PagerDuty answered {status_code}" + (f": {answer}" if answer else ""))
        self.status_code = status_code
        self.message = message
        self.errors = tuple(errors)
        self.retry_after_seconds = retry_after_seconds
        self.reason = self.type
        self.retryable = is_rate_limit(self) or status_code >= 500

    @property
    def type(self) -> ErrorReason:
        """One of bad_request, unauthorized, forbidden, not_found, rate_limit, server_error, unknown."""
        if self.status_code >= 500:
            return ErrorReason.SERVER_ERROR
        return _TYPES.get(self.status_code, ErrorReason.UNKNOWN)


class PagerDutyServerError(PagerDutyApiError):
    """PagerDuty answered 5xx: the service fails, not the event."""


def is_retryable(error: BaseException) -> bool:
    """Return whether the same delivery may succeed later without a person's help."""
    return isinstance(error, PublishError) and error.retryable


def is_rate_limit(error: BaseException) -> bool:
    """Return whether a limit was reached: PagerDuty's (429), or the process's own."""
    return isinstance(error, RateLimitExceededError) or _has_status(error, 429)


def is_auth_error(error: BaseException) -> bool:
    """Return whether PagerDuty refused the routing key: 401 or 403."""
    return _has_status(error, 401, 403)


def is_bad_request(error: BaseException) -> bool:
    """Return whether PagerDuty refused the event as invalid (400)."""
    return _has_status(error, 400)


def _has_status(error: BaseException, *codes: int) -> bool:
    return isinstance(error, PagerDutyApiError) and error.status_code in codes
