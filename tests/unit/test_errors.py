"""Errors: one tree, each with a reason of a closed set, and whether a retry can help."""

from collections.abc import Iterator

import pytest

from handler import errors
from handler.errors import (
    ErrorReason,
    PagerDutyApiError,
    PublishError,
    RateLimitExceededError,
)


def descendants(kind: type[PublishError]) -> Iterator[type[PublishError]]:
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from descendants(child)


ABSTRACT = {errors.ApiError, PagerDutyApiError}
KINDS = [kind for kind in descendants(PublishError) if kind not in ABSTRACT]
RETRYABLE = {
    "OutOfTimeError",
    "ApiConnectionError",
    "ApiTimeoutError",
    "QueueUnavailableError",
    "RateLimitExceededError",
    "TableContendedError",
    "TableThrottledError",
    "TableUnavailableError",
    "TargetsUnavailableError",
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_says_whether_a_retry_can_help(kind: type[PublishError]) -> None:
    assert kind.retryable is (kind.__name__ in RETRYABLE)


def test_no_two_errors_share_a_reason() -> None:
    """The metric would count them as one; only a special case of an error has that error's reason."""
    reasons = [kind.reason for kind in KINDS if "reason" in vars(kind)]

    assert len(set(reasons)) == len(reasons)
    assert ErrorReason.UNKNOWN not in reasons


@pytest.mark.parametrize(
    ("status", "type_", "retryable"),
    [
        (200, "unknown", False),
        (302, "unknown", False),
        (400, "bad_request", False),
        (401, "unauthorized", False),
        (402, "unknown", False),
        (403, "forbidden", False),
        (404, "not_found", False),
        (408, "unknown", False),
        (413, "unknown", False),
        (429, "rate_limit", True),
        (500, "server_error", True),
        (502, "server_error", True),
        (503, "server_error", True),
        (504, "server_error", True),
        (599, "server_error", True),
    ],
)
def test_what_pagerduty_answered_decides_type_and_retry(status: int, type_: str, retryable: bool) -> None:
    error = PagerDutyApiError(status)

    assert (error.type, error.reason, error.retryable) == (type_, type_, retryable)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (PagerDutyApiError(503), "PagerDuty answered 503"),
        (PagerDutyApiError(400, "Event object is invalid"), "PagerDuty answered 400: Event object is invalid"),
        (
            PagerDutyApiError(400, "Event object is invalid", ["'a' is missing", "'b' is too long"]),
            "PagerDuty answered 400: Event object is invalid: 'a' is missing; 'b' is too long",
        ),
        (PagerDutyApiError(400, "", ["'a' is missing"]), "PagerDuty answered 400: 'a' is missing"),
        (
            RateLimitExceededError(12.34),
            "the limit for this routing key is reached; try again in 12.3 s",
        ),
    ],
)
def test_an_error_says_what_pagerduty_said(error: PublishError, text: str) -> None:
    assert str(error) == text


def test_an_error_carries_data() -> None:
    refused = PagerDutyApiError(400, "Event object is invalid", ["'a' is missing"], retry_after_seconds=7.0)

    assert (refused.status_code, refused.message) == (400, "Event object is invalid")
    assert (refused.errors, refused.retry_after_seconds) == (("'a' is missing",), 7.0)
    assert RateLimitExceededError(3.0).retry_after_seconds == 3.0
