"""The dedup table: records as items, each written whole and only if nobody else changed it meanwhile.

Decides nothing itself: `claims` decides, and `transitions` says how a record changes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from zlib import crc32

from handler.alert import Status
from handler.delivery.dynamodb import KEY, TTL_ATTRIBUTE, Table, attribute, number
from handler.delivery.record import Keeping, Order, Record, Waiting
from handler.errors import TableContendedError
from handler.identity import is_of_change, target_of

INDEX = "waiting"
SHARDS = 16
"""Of a target in the index: a partition takes 1,000 writes a second, and its throttling refuses the table's writes."""
MAX_ROUNDS = 8
"""How often a refused write is looked at again: a record can change between two writes only so often."""
MAX_PAGES = 20
"""Of 1 MB each, that a count reads: some 50,000 records, for less than a cent an hour."""
MAX_KEYS = 100
"""https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html"""
_IDS = {
    Status.FIRING: "firing_id",
    Status.ACKNOWLEDGED: "acknowledged_id",
    Status.RESOLVED: "resolved_id",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Place(NamedTuple):
    """An entry of the index: a delivery that waits, or waited a moment ago."""

    order: Order
    due: int
    identity: str

    @property
    def target(self) -> str:
        """The target's name."""
        return target_of(self.identity)


class Change(NamedTuple):
    """What became of a change.

    Attributes:
        before: the record as it was; None where there was none, or an expired one.
        after: as it is now.
    """

    before: Record | None
    after: Record | None


class DedupTable:
    """Stores records.

    Every method raises TableUnavailableError where DynamoDB fails, TableMissingError if a person has to fix it.

    Args:
        table: the table.
        keeping: how long records are kept.
    """

    def __init__(self, table: Table, keeping: Keeping) -> None:
        self._table = table
        self._keeping = keeping

    def change(
        self,
        identity: str,
        transition: Callable[[Record | None], Record | None],
        now: int,
        *,
        known: Record | None = None,
    ) -> Change:
        """Change a record by a pure function of what it is; `None` from it leaves the record as it is.

        The first write goes by what is `known`, with no read before it: as a rule nobody else was there.

        Raises:
            TableContendedError: it changed under every one of the writes.
        """
        current = known
        for _ in range(MAX_ROUNDS):
            live = None if current is None or current.is_absent(now) else current
            new = transition(live)
            if new is None or new == live:
                return Change(live, live)
            new = self._stamp(identity, new, live, now)
            found = self._put(identity, new, live, now)
            if found is None or found == new:  # the second: botocore repeated a write whose answer was lost
                return Change(live, new)
            current = found
        raise TableContendedError(f"DynamoDB table {self._table.name}: a record changes too often to be written")

    def change_known(self, identity: str, transition: Callable[[Record], Record | None], now: int) -> Change:
        """Read a record, and change it if it is there."""
        known = self.read([identity], now).get(identity)
        if known is None:
            return Change(None, None)
        return self.change(identity, lambda record: transition(record) if record else None, now, known=known)

    def read(self, identities: Sequence[str], now: int) -> dict[str, Record]:
        """Return the live records of these identities, read consistently."""
        identities = list(dict.fromkeys(identities))  # DynamoDB refuses a key twice
        records: dict[str, Record] = {}
        for start in range(0, len(identities), MAX_KEYS):
            request: Any = {
                self._table.name: {
                    "Keys": [{KEY: {"S": identity}} for identity in identities[start : start + MAX_KEYS]],
                    "ConsistentRead": True,
                }
            }
            for _ in range(MAX_ROUNDS):
                with self._table.calls() as client:
                    answer: Any = client.batch_get_item(RequestItems=request)
                for item in answer["Responses"].get(self._table.name, []):
                    record = load(item)
                    if not record.is_absent(now):
                        records[item[KEY]["S"]] = record
                request = answer.get("UnprocessedKeys")
                if not request:
                    break
            else:
                raise TableContendedError(f"DynamoDB table {self._table.name}: BatchGetItem leaves keys unprocessed")
        return records

    def waiting(self, target: str, limit: int) -> list[Place]:
        """Return the most urgent deliveries that wait for a target, up to `limit` of each shard, in order."""
        places: list[Place] = []
        for shard in range(SHARDS):
            with self._table.calls() as client:
                page: Any = client.query(
                    TableName=self._table.name,
                    IndexName=INDEX,
                    KeyConditionExpression="#waiting = :waiting",
                    ExpressionAttributeNames={"#waiting": "waiting"},
                    ExpressionAttributeValues={":waiting": {"S": waiting_key(target, shard)}},
                    Limit=limit,
                )
            places += [_place(item) for item in page["Items"]]
        return sorted(places)

    def all_waiting(self) -> Iterator[Place]:
        """Return everything that waits, of all targets, in no order."""
        more: dict[str, Any] = {}
        while True:
            with self._table.calls() as client:
                page: Any = client.scan(TableName=self._table.name, IndexName=INDEX, **more)
            yield from (_place(item) for item in page["Items"])
            if not (last := page.get("LastEvaluatedKey")):
                return
            more = {"ExclusiveStartKey": last}

    def count(self, now: float) -> int:
        """Count the dedup keys that are tracked; of a very large table those of its first 20 MB."""
        counted = 0
        more: dict[str, Any] = {}
        for _ in range(MAX_PAGES):
            with self._table.calls() as client:
                page: Any = client.scan(
                    TableName=self._table.name,
                    Select="COUNT",
                    FilterExpression="attribute_exists(#status) AND (attribute_not_exists(#ttl) OR #ttl > :now)",
                    ExpressionAttributeNames={"#status": "status", "#ttl": TTL_ATTRIBUTE},
                    ExpressionAttributeValues={":now": attribute(round(now))},
                    **more,
                )
            counted += page["Count"]
            if not (last := page.get("LastEvaluatedKey")):
                break
            more = {"ExclusiveStartKey": last}
        return counted

    def _stamp(self, identity: str, new: Record, live: Record | None, now: int) -> Record:
        """Return a record with its number and its time to live."""
        expires_at = self._keeping.expires_at(new, now, is_change=is_of_change(identity))
        # a number that no earlier record of this identity had
        seconds = None if expires_at is None else -(-expires_at // 1000) * 1000
        return replace(new, rev=live.rev + 1 if live else now, expires_at=seconds, is_damaged=False)

    def _put(self, identity: str, new: Record, live: Record | None, now: int) -> Record | None:
        """Write a record if it is as it was read; return what is there instead, None where it was written."""
        names = {}
        values: dict[str, Any] = {}
        if live is None:
            condition = f"attribute_not_exists(#{KEY}) OR #{TTL_ATTRIBUTE} <= :now"
            names = {f"#{KEY}": KEY, f"#{TTL_ATTRIBUTE}": TTL_ATTRIBUTE}
            values = {":now": attribute(now // 1000)}
        elif live.rev == 0 and live.is_damaged:
            condition, names = "attribute_exists(#id)", {"#id": KEY}
        elif live.rev == 0:  # of an earlier version, which did not number them
            condition = "attribute_exists(#id) AND attribute_not_exists(#rev)"
            names = {"#id": KEY, "#rev": "rev"}
        else:
            condition, names, values = "#rev = :rev", {"#rev": "rev"}, {":rev": attribute(live.rev)}
        request: dict[str, Any] = {
            "TableName": self._table.name,
            "Item": {KEY: {"S": identity}, **dump(identity, new)},
            "ConditionExpression": condition,
            "ExpressionAttributeNames": names,
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        if values:
            request["ExpressionAttributeValues"] = values
        with self._table.calls() as client:
            try:
                client.put_item(**request)
            except client.exceptions.ConditionalCheckFailedException as refused:
                item: Any = refused.response.get("Item")
                return load(item) if item else Record(status=new.status, at=new.at, expires_at=0)
        return None


def shard_of(identity: str) -> int:
    """Return the shard of the index that a delivery waits in."""
    return crc32(identity.encode("utf-8", "surrogatepass")) % SHARDS


def waiting_key(target: str, shard: int) -> str:
    """Return the index's partition key, `waiting`: one shard of a target."""
    return f"{target}#{shard}"


def order_key(waiting: Waiting) -> str:
    """Return the index's sort key, `waiting_order`: what sorts first goes out first."""
    return f"{waiting.order:d}#{waiting.due:013d}"


def dump(identity: str, record: Record) -> dict[str, Any]:
    """Return the attributes of a record's item, without the key; what is empty is left out."""
    waiting = record.waiting
    values: dict[str, Any] = {
        "rev": record.rev,
        "status": str(record.status),
        "observed_at": _text_of(record.at),
        **{name: record.message_ids.get(status) for status, name in _IDS.items()},
        "owner": record.owner,
        "lease_until": record.lease_until or None,
        "open": record.open,
        "triggered": record.triggered,
        "delivered_at": record.delivered_at,
        "urgency": record.urgency,
        "summary_hash": record.summary or None,
        "summary_sent_at": record.summary_sent_at,
        "fired_at": record.fired_at or None,
        "acknowledge": record.acknowledge,
        "again": record.again or None,
        "routed_to": record.routed_to or None,
        "waiting": waiting_key(target_of(identity), shard_of(identity)) if waiting else None,
        "waiting_order": order_key(waiting) if waiting else None,
        "waiting_since": record.waiting_since,
        "body": record.body,
        "failing_since": record.failing_since,
        "tries": record.tries or None,
        TTL_ATTRIBUTE: None if record.expires_at is None else record.expires_at // 1000,
    }
    return {name: attribute(value) for name, value in values.items() if value is not None}


def load(item: Mapping[str, Any]) -> Record:
    """Return the record of an item, also of one that an earlier version of this function wrote, or a later one."""
    try:
        return _loaded(item)
    except (ValueError, TypeError, KeyError, AttributeError):
        return _damaged(item)


def _loaded(item: Mapping[str, Any]) -> Record:
    def text(name: str) -> str:
        return str(item[name]["S"]) if name in item else ""

    def flag(*names: str) -> bool:
        return any(item[name]["BOOL"] for name in names if name in item)

    expires_at = number(item, TTL_ATTRIBUTE)
    return Record(
        status=Status(text("status")),
        at=_milliseconds_of(text("observed_at")),
        rev=number(item, "rev") or 0,
        message_ids={status: text(name) for status, name in _IDS.items() if name in item},
        owner=text("owner") or None,
        lease_until=number(item, "lease_until") or 0,
        open=flag("open", "attempted"),
        triggered=flag("triggered") if "rev" in item else flag("attempted"),
        delivered_at=number(item, "delivered_at"),
        urgency=number(item, "urgency") or 0,
        summary=text("summary_hash"),
        summary_sent_at=number(item, "summary_sent_at"),
        fired_at=number(item, "fired_at") or 0,
        acknowledge=number(item, "acknowledge"),
        again=flag("again"),
        routed_to=frozenset(item["routed_to"]["SS"]) if "routed_to" in item else frozenset(),
        waiting=_waiting_of(text("waiting_order")) if "waiting" in item else None,
        waiting_since=number(item, "waiting_since"),
        body=bytes(item["body"]["B"]) if "body" in item else None,
        failing_since=number(item, "failing_since"),
        tries=number(item, "tries") or 0,
        expires_at=None if expires_at is None else expires_at * 1000,
    )


def _damaged(item: Mapping[str, Any]) -> Record:
    """Return what is known of an item that cannot be read: an incident may be open, and anything is newer."""
    rev, body = item.get("rev", {}).get("N", ""), item.get("body", {}).get("B")
    return Record(
        status=Status.FIRING,
        at=0,
        rev=int(rev) if rev.isdecimal() else 0,
        open=True,
        triggered=True,
        delivered_at=0,
        body=body if isinstance(body, bytes) else None,
        is_damaged=True,
    )


def _waiting_of(text: str) -> Waiting:
    order, _, due = text.partition("#")
    return Waiting(Order(int(order)), int(due))


def _place(item: Mapping[str, Any]) -> Place:
    try:
        waiting = _waiting_of(item["waiting_order"]["S"])
    except ValueError:
        waiting = Waiting(Order.REPEAT, 0)
    return Place(waiting.order, waiting.due, item[KEY]["S"])


def _text_of(at: int) -> str:
    return f"{_EPOCH + timedelta(milliseconds=at):%Y-%m-%dT%H:%M:%S.%fZ}".rjust(27, "0")


def _milliseconds_of(text: str) -> int:
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1)
