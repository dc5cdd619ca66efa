"""The dedup table: claim, settle and release as conditional writes on DynamoDB. Decides nothing itself: see `claims`.

One item per delivery identity, keyed `id`. A claim is one write; on the way back from a refused one DynamoDB hands over
the item, from which `claims.decide` says why. Time line of a delivery:

    claim ---------- request to PagerDuty ---------- settle
      | lease_until: the claimant's own deadline       | owner and lease gone, delivered_at set
      | attempted: true, before anything is sent       | attempted: whether an incident is open now
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from handler.alert import Status
from handler.delivery.claims import (
    ClaimRecord,
    Observation,
    Verdict,
    decide,
)
from handler.delivery.dynamodb import (
    KEY,
    TTL_ATTRIBUTE,
    attribute,
    number,
    translated_errors,
    update_if,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

MAX_ROUNDS = 8
"""How often a refused write is looked at again: the record can change between two writes only so often."""

MAX_PAGES = 20
"""Of 1 MB each, that a count reads: some 50,000 records, for less than a cent an hour."""

# The conditions of a claim, by name. `decide` is the same in Python.
_ABSENT = f"attribute_not_exists(#{KEY}) OR #{TTL_ATTRIBUTE} <= :now_seconds"
_FREE = "(attribute_not_exists(#lease_until) OR #lease_until <= :now)"
_NEWER = "#version < :version"
_NEVER_OPENED = "(#status = :firing AND #attempted = :false)"
_UNDELIVERED = "attribute_not_exists(#delivered_at)"
_REPEATABLE = f"({_UNDELIVERED} OR #delivered_at <= :repeat_before)"
_OWN = "#owner = :owner"


@dataclass(frozen=True, slots=True)
class Claimed:
    """The right to send, until the lease ends.

    Attributes:
        owner: who holds it.
        known: whether the table knew the identity before.
        attempted_before: what `attempted` was, to be given back by a release.
    """

    owner: str
    known: bool
    attempted_before: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """No right to send: nothing to do, or somebody else is at it."""

    verdict: Verdict


class DedupTable:
    """Records who sends and what was sent.

    Every method raises TableUnavailableError where DynamoDB fails, TableMissingError where a person has to mend it.

    Args:
        client: a DynamoDB client.
        name: the table's name.
        ttl_seconds: how long a record is kept after its last change.
        repeat_after_seconds: from when on the same observation is sent again.
    """

    def __init__(self, client: "DynamoDBClient", name: str, *, ttl_seconds: float, repeat_after_seconds: float) -> None:
        self._client = client
        self._name = name
        self._ttl_seconds = ttl_seconds
        self._repeat_after = round(repeat_after_seconds * 1000)

    def claim(self, observation: Observation, *, owner: str, now: float, lease_until: float) -> Claimed | Refused:
        """Claim the right to send an observation until `lease_until`; times are epoch seconds."""
        now_ms, lease_until_ms = round(now * 1000), round(lease_until * 1000)
        for _ in range(MAX_ROUNDS):
            taken, old = self._try_claim(observation, owner, now_ms, lease_until_ms)
            record = _record(old)
            if taken:
                known = record is not None and record.expires_at * 1000 > now_ms
                # an incident may be older than the record: an expired one may tell, or a resolve of something unknown
                attempted = record is not None and record.attempted
                return Claimed(owner, known, attempted or (not known and observation.status is not Status.FIRING))
            if record and (record.owner, record.lease_until) == (owner, lease_until_ms):
                # it was taken, the answer was lost, and boto3 asked again: what was known before, nobody can tell
                return Claimed(owner, known=True, attempted_before=True)
            verdict = decide(observation, record, now_ms, self._repeat_after)
            match verdict:
                case Verdict.CLAIM:
                    continue  # the record went away in between
                case Verdict.NEVER_OPENED if not self._settle_never_opened(observation, now_ms):
                    continue
                case Verdict.BUSY_WITH_OLDER if not self._remember(observation, now_ms):
                    continue
            return Refused(verdict)
        return Refused(Verdict.BUSY)

    def settle(self, observation: Observation, claimed: Claimed, now: float) -> None:
        """Record that PagerDuty accepted the observation, and give the claim back.

        Where a newer observation was remembered meanwhile, or the lease ran out and another took over, the record
        keeps what they wrote.
        """
        now_ms = round(now * 1000)
        opened = {"attempted": observation.status is not Status.RESOLVED}
        settled, old = self._update(
            observation.identity,
            {**opened, "delivered_at": now_ms, TTL_ATTRIBUTE: self._expires_at(now_ms)},
            remove=("owner", "lease_until"),
            condition=f"{_OWN} AND #version = :version",
            values={":owner": claimed.owner, ":version": observation.version},
        )
        if not settled and old and old.get("owner") == {"S": claimed.owner}:
            self._give_back(observation, claimed.owner, opened)

    def release(self, observation: Observation, claimed: Claimed, *, attempted: bool) -> None:
        """Give the claim back undelivered; `attempted` says whether a request may have reached PagerDuty."""
        self._give_back(observation, claimed.owner, {"attempted": claimed.attempted_before or attempted})

    def count(self, now: float) -> int:
        """Count the dedup keys that are tracked; of a very large table those of its first 20 MB."""
        counted = 0
        more: dict[str, Any] = {}
        for _ in range(MAX_PAGES):
            with translated_errors(self._name):
                page = self._client.scan(
                    TableName=self._name,
                    Select="COUNT",
                    FilterExpression=f"attribute_exists(#version) AND #{TTL_ATTRIBUTE} > :now",
                    ExpressionAttributeNames={"#version": "version", f"#{TTL_ATTRIBUTE}": TTL_ATTRIBUTE},
                    ExpressionAttributeValues={":now": attribute(round(now))},
                    **more,
                )
            counted += page["Count"]
            if not (last := page.get("LastEvaluatedKey")):
                break
            more = {"ExclusiveStartKey": last}
        return counted

    def _try_claim(
        self, observation: Observation, owner: str, now_ms: int, lease_until_ms: int
    ) -> tuple[bool, Mapping[str, Any] | None]:
        claimable_newer = _NEWER
        values: dict[str, Any] = {":version": observation.version, ":now": now_ms, ":now_seconds": now_ms // 1000}
        if observation.status is Status.RESOLVED:
            claimable_newer = f"{_NEWER} AND NOT {_NEVER_OPENED}"
            values |= {":firing": str(Status.FIRING), ":false": False}
        repeatable = _UNDELIVERED
        if not observation.is_change:
            repeatable = _REPEATABLE
            values[":repeat_before"] = now_ms - self._repeat_after
        return self._update(
            observation.identity,
            {
                **self._newest(observation, now_ms),
                "attempted": True,
                "owner": owner,
                "lease_until": lease_until_ms,
            },
            remove=("delivered_at",),
            condition=(f"{_ABSENT} OR ({_FREE} AND (({claimable_newer}) OR (#version = :version AND {repeatable})))"),
            values=values,
        )

    def _remember(self, observation: Observation, now_ms: int) -> bool:
        """Write a newer observation into a record whose owner is still sending an older one."""
        return self._update(
            observation.identity,
            self._newest(observation, now_ms),
            remove=("delivered_at",),
            condition=f"{_NEWER} AND #lease_until > :now",
            values={":version": observation.version, ":now": now_ms},
        )[0]

    def _settle_never_opened(self, observation: Observation, now_ms: int) -> bool:
        """Record the end of an alert whose trigger was never sent: the waiting trigger will find itself superseded."""
        return self._update(
            observation.identity,
            {**self._newest(observation, now_ms), "delivered_at": now_ms},
            remove=(),
            condition=f"{_NEWER} AND {_FREE} AND {_NEVER_OPENED}",
            values={":version": observation.version, ":now": now_ms, ":firing": str(Status.FIRING), ":false": False},
        )[0]

    def _give_back(self, observation: Observation, owner: str, changes: Mapping[str, Any]) -> None:
        self._update(
            observation.identity, changes, remove=("owner", "lease_until"), condition=_OWN, values={":owner": owner}
        )

    def _newest(self, observation: Observation, now_ms: int) -> dict[str, Any]:
        return {
            "status": str(observation.status),
            "version": observation.version,
            "observed_at": observation.observed_at,
            TTL_ATTRIBUTE: self._expires_at(now_ms),
        }

    def _expires_at(self, now_ms: int) -> int:
        return round(now_ms / 1000 + self._ttl_seconds)

    def _update(
        self,
        identity: str,
        changes: Mapping[str, Any],
        *,
        remove: tuple[str, ...],
        condition: str,
        values: Mapping[str, Any],
    ) -> tuple[bool, Mapping[str, Any] | None]:
        """Make one conditional write; give whether the condition held, and the item as it was before."""
        assignments = ", ".join(f"#{name} = :set_{name}" for name in changes)
        expression = f"SET {assignments}" + (f" REMOVE {', '.join(f'#{name}' for name in remove)}" if remove else "")
        used = expression + condition
        return update_if(
            self._client,
            self._name,
            identity,
            update=expression,
            condition=condition,
            names={f"#{name}": name for name in _ATTRIBUTES if f"#{name}" in used},
            values={**{f":set_{name}": value for name, value in changes.items()}, **values},
        )


_ATTRIBUTES = (
    KEY,
    "status",
    "version",
    "observed_at",
    "attempted",
    "owner",
    "lease_until",
    "delivered_at",
    TTL_ATTRIBUTE,
)


def _record(item: Mapping[str, Any] | None) -> ClaimRecord | None:
    """Read an item; None where there was none."""
    if not item:
        return None

    return ClaimRecord(
        status=Status(item["status"]["S"]),
        version=item["version"]["S"],
        attempted=item["attempted"]["BOOL"],
        expires_at=number(item, TTL_ATTRIBUTE) or 0,
        owner=item["owner"]["S"] if "owner" in item else None,
        lease_until=number(item, "lease_until") or 0,
        delivered_at=number(item, "delivered_at"),
    )
