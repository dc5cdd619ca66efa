"""Who may send what: the decision that keeps one alert's deliveries in order and apart. Pure; DynamoDB is in `table`.

An *observation* is one state of an alert at one time. The record of a delivery identity holds the newest observation
seen, and a lease while somebody is sending it. docs/design.md draws the time line.
"""

from dataclasses import dataclass
from datetime import UTC
from enum import StrEnum

from handler.alert import Alert, Status
from handler.mapping import dedup_key_of
from handler.outcome import SkipReason

_RANK = {Status.FIRING: 0, Status.ACKNOWLEDGED: 1, Status.RESOLVED: 2}
"""Settles a tie: of two states at the same time the later in an alert's life is the newer."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One state of one alert for one target.

    Attributes:
        identity: `<target>#<dedup key>`; of a change event `<target>#change#<fingerprint>#<time>`, one per occurrence.
        observed_at: the source's time in UTC, as text that sorts as the time does.
        is_change: sent once, and never again.
    """

    identity: str
    status: Status
    observed_at: str
    is_change: bool = False

    @property
    def version(self) -> str:
        """Sorts as (time, rank of the status)."""
        return f"{self.observed_at}/{_RANK[self.status]}"

    @classmethod
    def of(cls, alert: Alert, target: str) -> "Observation":
        """Give what is observed of an alert for a target."""
        # isoformat leaves out microseconds of zero, strftime the zeros of early years: neither would sort
        at = f"{alert.observed_at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}".rjust(27, "0")
        if alert.is_change:
            return cls(f"{target}#change#{dedup_key_of(alert)}#{at}", Status.FIRING, at, is_change=True)
        return cls(f"{target}#{dedup_key_of(alert)}", alert.status, at)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRecord:
    """What is known of a delivery identity.

    Attributes:
        version: of the newest observation seen.
        owner: who is sending, while `lease_until` (epoch milliseconds) is in the future.
        attempted: PagerDuty may have an open incident of it: a trigger may have reached it, and no resolve was
            accepted since.
        delivered_at: epoch milliseconds when PagerDuty accepted the newest observation; None where it did not yet.
        expires_at: epoch seconds from which the record counts as absent, whether or not DynamoDB has deleted it.
    """

    status: Status
    version: str
    attempted: bool
    expires_at: int
    owner: str | None = None
    lease_until: int = 0
    delivered_at: int | None = None


class Verdict(StrEnum):
    """What to do with an incoming observation."""

    CLAIM = "claim"
    DUPLICATE = "duplicate"
    SUPERSEDED = "superseded"
    NEVER_OPENED = "never_opened"
    BUSY = "busy"
    BUSY_WITH_OLDER = "busy_with_older"


SKIPS = {
    Verdict.DUPLICATE: SkipReason.DUPLICATE,
    Verdict.SUPERSEDED: SkipReason.SUPERSEDED,
    Verdict.NEVER_OPENED: SkipReason.NEVER_OPENED,
}


def decide(incoming: Observation, record: ClaimRecord | None, now: int, repeat_after: int) -> Verdict:
    """Decide what becomes of an observation, given the record. Times are epoch milliseconds.

    `table.claim` asks the same of DynamoDB as a condition; a test holds the two together.
    """
    if record is None or record.expires_at * 1000 <= now:
        return Verdict.CLAIM
    if incoming.version < record.version:
        return Verdict.SUPERSEDED
    same = incoming.version == record.version
    if same and record.delivered_at is not None and (incoming.is_change or record.delivered_at > now - repeat_after):
        return Verdict.DUPLICATE
    if record.lease_until > now:
        return Verdict.BUSY if same else Verdict.BUSY_WITH_OLDER
    if not same and incoming.status is Status.RESOLVED and record.status is Status.FIRING and not record.attempted:
        return Verdict.NEVER_OPENED
    return Verdict.CLAIM
