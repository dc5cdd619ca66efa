"""How a delivery ended, with a reason from a closed set; what the log line, the metrics and the answer are made of."""

from dataclasses import dataclass
from enum import StrEnum

from handler.errors import PublishError


class SkipReason(StrEnum):
    """Why nothing had to be sent."""

    DUPLICATE = "duplicate"
    SUPERSEDED = "superseded"
    NEVER_OPENED = "never_opened"
    BELOW_THRESHOLD = "below_threshold"
    AUTO_RESOLVE_OFF = "auto_resolve_off"
    INSUFFICIENT_DATA = "insufficient_data"
    SUPPRESSED = "suppressed"
    TOLD_BY_CONTRIBUTORS = "told_by_contributors"
    TEST_MESSAGE = "test_message"
    NOTICE = "notice"


class DeferReason(StrEnum):
    """Why a delivery goes through the retry queue."""

    BUSY = "busy"
    RATE_LIMIT = "rate_limit"
    FAILED = "failed"
    CIRCUIT_OPEN = "circuit_open"
    TARGETS_UNAVAILABLE = "targets_unavailable"
    TABLE_UNAVAILABLE = "table_unavailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """PagerDuty took the event in.

    Attributes:
        at: when, in epoch seconds.
        is_unclaimed: the dedup table was out and does not know of it: a copy has to be recorded when it is back.
    """

    dedup_key: str
    at: float
    is_unclaimed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """Nothing had to be sent."""

    reason: SkipReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferred:
    """To be tried again through the retry queue.

    Attributes:
        delay_seconds: how long to wait before the next try.
        error: what went wrong, where something did; waiting for a turn is no failure and has none.
        turn_at: the place in the rate limiter's line, to be brought along at the next try.
        was_never_attempted: the dedup table says now that PagerDuty has no incident of it.
    """

    reason: DeferReason
    delay_seconds: float
    error: PublishError | None = None
    turn_at: float | None = None
    was_never_attempted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """Goes to the dead-letter queue: no retry can mend it."""

    error: PublishError


type Result = Accepted | Skipped | Deferred | Rejected
