"""How a delivery ended, with a reason from a closed set. Log lines, metrics and the answer use these."""

from enum import StrEnum
from typing import NamedTuple

from handler.pagerduty.errors import PublishError


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
    IN_PROGRESS = "in_progress"
    NO_PAGE = "no_page"
    TARGET_DISABLED = "target_disabled"


class DeferReason(StrEnum):
    """Why a delivery waits, in its record or on the retry queue."""

    BUSY = "busy"
    RATE_LIMIT = "rate_limit"
    FAILED = "failed"
    CIRCUIT_OPEN = "circuit_open"
    KEY_REFUSED = "key_refused"
    TARGETS_UNAVAILABLE = "targets_unavailable"
    TABLE_UNAVAILABLE = "table_unavailable"


class Accepted(NamedTuple):
    """PagerDuty accepted the event.

    Attributes:
        at: when, in epoch seconds.
    """

    dedup_key: str
    at: float


class Skipped(NamedTuple):
    """Nothing had to be sent."""

    reason: SkipReason


class Deferred(NamedTuple):
    """Not delivered yet.

    Attributes:
        is_kept: it waits in its record, or a copy is on the retry queue already; otherwise it has to be put there.
        delay_seconds: the wait before the next try; an estimate if the delivery waits in its record.
        error: what went wrong; None if it only waits for a permit.
    """

    reason: DeferReason
    is_kept: bool = False
    delay_seconds: float = 0.0
    error: PublishError | None = None


class Rejected(NamedTuple):
    """Goes to the dead-letter queue: no retry can help."""

    error: PublishError


type Result = Accepted | Skipped | Deferred | Rejected
