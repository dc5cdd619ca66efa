"""Reads the records of alarms from the table, in the few attributes that the comparison needs."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import batched
from typing import TYPE_CHECKING, Any

from handler.alert import Status
from handler.errors import TableThrottledError
from handler.identity import identities_of, is_of_change, key_of, target_of
from handler.pagerduty.events import MAX_DEDUP_KEY_CHARACTERS

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

MAX_KEYS = 100
"""Keys in one BatchGetItem: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html"""
BATCH_ATTEMPTS = 3
"""How often DynamoDB is asked for the keys that it leaves unprocessed."""
_PROJECTION = "id, #s, observed_at, #o, attempted, waiting, #w, lease_until, delivered_at, expires_at"
_NAMES = {"#s": "status", "#o": "open", "#w": "owner"}


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmRecord:
    """What the record of an alarm, or of one of its time series, says at one target.

    Attributes:
        status: of the newest observation.
        observed_at: when that was published, in UTC; for an alarm that is when its state changed.
        is_open: whether an incident may be open.
        is_waiting: whether the newest observation waits to be sent.
        is_abandoned: whether its sender died. A notification would be delivered again, but what a comparison
            publishes is not.
    """

    target: str
    dedup_key: str
    status: Status
    observed_at: datetime
    is_open: bool
    is_waiting: bool
    is_abandoned: bool = False

    @classmethod
    def of(cls, item: Mapping[str, Any], now: float) -> "AlarmRecord | None":
        """Return the record of an item, or None if it has expired by `now` (epoch seconds), or is not one of an alert.

        Also None if it cannot be read. Nothing is known of the alarm then: if it is in ALARM, it pages, and the arrival
        takes the place of that record; an incident that it may have opened is not resolved.
        """
        try:
            return cls._read(item, now)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
            return None

    @classmethod
    def _read(cls, item: Mapping[str, Any], now: float) -> "AlarmRecord | None":
        identity = item["id"]["S"]
        target, key = target_of(identity), key_of(identity)
        if is_of_change(identity) or not key or "status" not in item or "observed_at" not in item:
            return None
        if "expires_at" in item and int(item["expires_at"]["N"]) <= now:
            return None
        is_open = item.get("open", item.get("attempted", {}))  # older records call it `attempted`
        lease_until = int(item.get("lease_until", {}).get("N", 0)) / 1000
        is_undelivered = "delivered_at" not in item and "waiting" not in item
        return cls(
            target=target,
            dedup_key=key,
            status=Status(item["status"]["S"]),
            observed_at=datetime.fromisoformat(item["observed_at"]["S"]).astimezone(UTC),
            is_open=is_open.get("BOOL", False),
            is_waiting="waiting" in item,
            is_abandoned=is_undelivered and "owner" in item and lease_until <= now,
        )

    @property
    def is_unresolved(self) -> bool:
        """Whether an incident may be open and was not resolved; a resolve whose sender died does not count."""
        return self.is_open and (self.status is not Status.RESOLVED or self.is_abandoned)

    @property
    def subjects(self) -> list[tuple[str, str]]:
        """The alarms that it may be of: pairs of a name and the id of a time series, empty for the whole alarm.

        A `#` in the dedup key either separates the two or is part of the name. The record is of the first of these
        alarms that exists.
        """
        name = self.dedup_key.split(":", 6)[-1]
        before, _, after = name.rpartition("#")
        return [(name, ""), (before, after)] if before and after else [(name, "")]


class Records:
    """The records of alarms. Every method raises botocore's errors.

    Args:
        client: allowed BatchGetItem and Scan on the table.
        table: the table's name.
        clock: epoch seconds.
    """

    def __init__(self, client: "DynamoDBClient", table: str, clock: Callable[[], float]) -> None:
        self._client = client
        self._table = table
        self._clock = clock

    def read(self, targets: Collection[str], keys: Collection[str]) -> dict[str, list[AlarmRecord]]:
        """Return the records of these dedup keys at these targets by dedup key, read consistently.

        Raises:
            TableThrottledError: DynamoDB did not return all of them. What is missing may well have a record.
        """
        found: dict[str, list[AlarmRecord]] = {}
        identities = [identity for key in keys for identity in identities_of(targets, key)]
        for batch in batched(identities, MAX_KEYS, strict=False):
            for item in self._read_items(batch):
                if record := AlarmRecord.of(item, self._clock()):
                    found.setdefault(record.dedup_key, []).append(record)
        return found

    def _read_items(self, identities: Collection[str]) -> Iterator[Mapping[str, Any]]:
        left: Any = {
            self._table: {
                "Keys": [{"id": {"S": identity}} for identity in identities],
                "ConsistentRead": True,
                "ProjectionExpression": _PROJECTION,
                "ExpressionAttributeNames": _NAMES,
            }
        }
        for _ in range(BATCH_ATTEMPTS):
            answer = self._client.batch_get_item(RequestItems=left)
            yield from answer["Responses"].get(self._table, [])
            left = answer.get("UnprocessedKeys") or {}
            if not left:
                return
        raise TableThrottledError(f"DynamoDB table {self._table} throttles")

    def unresolved(self, prefix: str, deadline: float) -> Iterator[AlarmRecord]:
        """Yield the records of unresolved incidents whose alarms' ARNs begin with `prefix`.

        The read is not consistent: what it yields may just have ended. It stops at `deadline`, in epoch seconds.
        """
        more: dict[str, Any] = {}
        while self._clock() < deadline:
            page = self._client.scan(
                TableName=self._table,
                FilterExpression="contains(id, :prefix) AND (#s <> :resolved OR attribute_exists(#w))"
                " AND (#o = :true OR attempted = :true)",
                ProjectionExpression=_PROJECTION,
                ExpressionAttributeNames=_NAMES,
                ExpressionAttributeValues={
                    ":prefix": {"S": f"#{prefix}"},
                    ":resolved": {"S": str(Status.RESOLVED)},
                    ":true": {"BOOL": True},
                },
                **more,
            )
            for item in page.get("Items", []):
                record = AlarmRecord.of(item, self._clock())
                if record and record.is_unresolved and _is_of_alarm(record.dedup_key, prefix):
                    yield record
            if "LastEvaluatedKey" not in page:
                return
            more = {"ExclusiveStartKey": page["LastEvaluatedKey"]}


def _is_of_alarm(dedup_key: str, prefix: str) -> bool:
    # a longer key was cut and ends in a hash, which does not say which alarm it is of
    return dedup_key.startswith(prefix) and len(dedup_key) < MAX_DEDUP_KEY_CHARACTERS
