"""A client of PagerDuty's Events API v2, usable alone. Knows no AWS and no alert.

from handler.pagerduty import PagerDutyClient
"""

from handler.pagerduty.client import Answer, Attempt, PagerDutyClient
from handler.pagerduty.errors import (
    ApiConnectionError,
    ApiError,
    ApiTimeoutError,
    ErrorReason,
    InvalidDedupKeyError,
    MissingRoutingKeyError,
    NoAnswerError,
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
from handler.pagerduty.events import Action, Event
from handler.pagerduty.severity import Severity

__all__ = [
    "Action",
    "Answer",
    "ApiConnectionError",
    "ApiError",
    "ApiTimeoutError",
    "Attempt",
    "ErrorReason",
    "Event",
    "InvalidDedupKeyError",
    "MissingRoutingKeyError",
    "NoAnswerError",
    "OutOfTimeError",
    "PagerDutyApiError",
    "PagerDutyClient",
    "PagerDutyServerError",
    "PublishError",
    "RateLimitExceededError",
    "Severity",
    "is_auth_error",
    "is_bad_request",
    "is_rate_limit",
    "is_retryable",
]
