"""DynamoDB in memory, which refuses what DynamoDB refuses."""

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple, cast

from botocore.exceptions import BotoCoreError, ClientError

from tests.lab.expressions import Expressions, Item, invalid
from tests.lab.failures import Failures, client_error

TABLE = "dedup"
INDEX = "waiting"
INDEX_HASH, INDEX_RANGE = "waiting", "waiting_order"
MAX_ITEM_BYTES = 409_600
MAX_BATCH = 100
"""Keys in one BatchGetItem:
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html"""


class ConditionalCheckFailedException(ClientError):
    """What boto3 makes for each client and offers as `client.exceptions.ConditionalCheckFailedException`."""


class Entry(NamedTuple):
    """An item as the index projects it: keys only."""

    shard: str
    order: str
    identity: str

    @property
    def item(self) -> dict[str, Any]:
        return {"id": {"S": self.identity}, INDEX_HASH: {"S": self.shard}, INDEX_RANGE: {"S": self.order}}


@dataclass(frozen=True, slots=True)
class IndexLag:
    """How far index reads lag behind the table: by the newest writes, or by seconds of a clock."""

    writes: int = 0
    seconds: float = 0.0
    clock: Callable[[], float] = float

    def now(self) -> float:
        """Return the time of a write."""
        return self.clock() if self.seconds else 0.0


class _Change(NamedTuple):
    """A write of the table that the index may not know of yet."""

    at: float
    before: Entry | None
    after: Entry | None


class Index:
    """The index `waiting` of one table: partitions in order of their range key, updated some time after the table."""

    def __init__(self, lag: IndexLag) -> None:
        self.lag = lag
        self.shards: dict[str, list[Entry]] = {}
        self.pending: deque[_Change] = deque()

    def copy(self) -> "Index":
        """Return an independent index with the same entries."""
        twin = Index(self.lag)
        twin.shards = {shard: list(entries) for shard, entries in self.shards.items()}
        twin.pending = deque(self.pending)
        return twin

    def note(self, before: Entry | None, after: Entry | None) -> None:
        """Record a write."""
        if before != after or self.lag.writes:
            self.pending.append(_Change(self.lag.now(), before, after))

    def catch_up(self) -> None:
        """Carry out all writes that the lag lets through."""
        latest = self.lag.now() - self.lag.seconds
        while len(self.pending) > self.lag.writes and self.pending[0].at <= latest:
            _, before, after = self.pending.popleft()
            if before:
                self.shards[before.shard].remove(before)
                if not self.shards[before.shard]:
                    del self.shards[before.shard]
            if after:
                insort(self.shards.setdefault(after.shard, []), after)

    def __iter__(self) -> Iterator[Entry]:
        self.catch_up()
        for shard in sorted(self.shards):
            yield from self.shards[shard]


class FakeDynamoDB:
    """Tables with the key `id` and the index `waiting`, whose items are replaced and never changed.

    Expressions are parsed and carried out as DynamoDB documents them. Reads of the index lag behind on demand
    (`index_lag`), and batches leave keys unread (`unread`: how many in each of the next calls).
    """

    exceptions: ClassVar[Any] = SimpleNamespace(ConditionalCheckFailedException=ConditionalCheckFailedException)

    def __init__(self, *tables: str, failures: Failures | None = None) -> None:
        self.tables: dict[str, dict[str, Item]] = {name: {} for name in tables or (TABLE,)}
        self.indexes: dict[str, Index] = {}
        self.failures = failures or Failures()
        self.calls: list[str] = []
        self.page_size = 1000
        self.unread: list[int] = []
        self.lag = IndexLag()

    def copy(self) -> "FakeDynamoDB":
        """Return an independent one with the same items."""
        twin = FakeDynamoDB()
        twin.tables = {name: dict(items) for name, items in self.tables.items()}
        twin.indexes = {name: index.copy() for name, index in self.indexes.items()}
        twin.lag = self.lag
        twin.failures = replace(self.failures)
        twin.calls = list(self.calls)
        return twin

    def fail(self, error: str | BotoCoreError, *, after: int = 0, times: int | None = None) -> None:
        """Fail from now on."""
        self.failures = Failures(error, after, times)

    def heal(self) -> None:
        """Stop failing."""
        self.failures = Failures()

    def lag_behind(self, *, writes: int = 0, seconds: float = 0.0, clock: Callable[[], float] = float) -> None:
        """Let reads of the index miss the newest writes, or those of the last seconds."""
        self.lag = IndexLag(writes, seconds, clock)
        for table in self.tables:
            self._index(table).lag = self.lag

    def update_item(
        self,
        *,
        TableName: str,
        Key: Item,
        UpdateExpression: str,
        ConditionExpression: str = "",
        ExpressionAttributeNames: Mapping[str, str] | None = None,
        ExpressionAttributeValues: Mapping[str, Mapping[str, Any]] | None = None,
        ReturnValues: str = "NONE",
        ReturnValuesOnConditionCheckFailure: str = "NONE",
    ) -> dict[str, Any]:
        items = self._items(TableName, "UpdateItem")
        expressions = Expressions(ExpressionAttributeNames, ExpressionAttributeValues)
        expressions.check_use(f"{UpdateExpression} {ConditionExpression}")
        identity = Key["id"]["S"]
        old = items.get(identity)
        self._check(ConditionExpression, expressions, old, ReturnValuesOnConditionCheckFailure, "UpdateItem")
        new = expressions.updated(UpdateExpression, old or dict(Key))
        if item_bytes(new) > MAX_ITEM_BYTES:
            raise invalid("Item size to update has exceeded the maximum allowed size")
        self._write(TableName, identity, new)
        match ReturnValues:
            case "ALL_OLD":
                return {"Attributes": dict(old)} if old else {}
            case "ALL_NEW":
                return {"Attributes": dict(new)}
            case _:
                return {}

    def put_item(
        self,
        *,
        TableName: str,
        Item: Item,
        ConditionExpression: str = "",
        ExpressionAttributeNames: Mapping[str, str] | None = None,
        ExpressionAttributeValues: Mapping[str, Mapping[str, Any]] | None = None,
        ReturnValues: str = "NONE",
        ReturnValuesOnConditionCheckFailure: str = "NONE",
    ) -> dict[str, Any]:
        items = self._items(TableName, "PutItem")
        expressions = Expressions(ExpressionAttributeNames, ExpressionAttributeValues)
        expressions.check_use(ConditionExpression)
        if item_bytes(Item) > MAX_ITEM_BYTES:
            raise invalid("Item size has exceeded the maximum allowed size", "PutItem")
        identity = Item["id"]["S"]
        old = items.get(identity)
        self._check(ConditionExpression, expressions, old, ReturnValuesOnConditionCheckFailure, "PutItem")
        self._write(TableName, identity, dict(Item))
        return {"Attributes": dict(old)} if old and ReturnValues == "ALL_OLD" else {}

    def get_item(
        self,
        *,
        TableName: str,
        Key: Item,
        ConsistentRead: bool = False,
        ProjectionExpression: str = "",
        ExpressionAttributeNames: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        item = self._items(TableName, "GetItem").get(Key["id"]["S"])
        expressions = Expressions(ExpressionAttributeNames)
        expressions.check_use(ProjectionExpression)
        return {"Item": expressions.projected(ProjectionExpression, item)} if item else {}

    def batch_get_item(self, *, RequestItems: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Read up to 100 items, in no useful order; the last `unread` keys are left for another call."""
        self._called("BatchGetItem")
        keys = [(table, key["id"]["S"]) for table, request in RequestItems.items() for key in request["Keys"]]
        if not 0 < len(keys) <= MAX_BATCH:
            raise invalid("Too many items requested for the BatchGetItem call", "BatchGetItem")
        if len(set(keys)) < len(keys):
            raise invalid("Provided list of item keys contains duplicates", "BatchGetItem")
        left = self.unread.pop(0) if self.unread else 0
        read, unread = keys[: max(0, len(keys) - left)], keys[max(0, len(keys) - left) :]
        found: dict[str, list[dict[str, Any]]] = {}
        for table, request in RequestItems.items():
            expressions = Expressions(request.get("ExpressionAttributeNames"))
            projection = request.get("ProjectionExpression", "")
            expressions.check_use(projection)
            items = self._table(table, "BatchGetItem")
            asked = [identity for each, identity in read if each == table and identity in items]
            found[table] = [expressions.projected(projection, items[identity]) for identity in reversed(asked)]
        unprocessed = {
            table: {
                **RequestItems[table],
                "Keys": [{"id": {"S": identity}} for each, identity in unread if each == table],
            }
            for table in {table for table, _ in unread}
        }
        return {"Responses": found, "UnprocessedKeys": unprocessed}

    def query(
        self,
        *,
        TableName: str,
        IndexName: str,
        KeyConditionExpression: str,
        ExpressionAttributeNames: Mapping[str, str] | None = None,
        ExpressionAttributeValues: Mapping[str, Mapping[str, Any]] | None = None,
        Limit: int | None = None,
        ScanIndexForward: bool = True,
        ConsistentRead: bool = False,
        Select: str = "ALL_PROJECTED_ATTRIBUTES",
        ExclusiveStartKey: Item | None = None,
    ) -> dict[str, Any]:
        """Read one partition of the index, at most `page_size` entries at a time."""
        index = self._read_index(TableName, IndexName, "Query", ConsistentRead)
        expressions = Expressions(ExpressionAttributeNames, ExpressionAttributeValues)
        expressions.check_use(KeyConditionExpression)
        condition = expressions.key_condition(KeyConditionExpression, INDEX_HASH, INDEX_RANGE)
        entries = index.shards.get(condition.hash, [])
        if not ScanIndexForward:
            entries = entries[::-1]
        matching = [entry for entry in entries if condition.range_holds(entry.item)]
        if ExclusiveStartKey:
            start = _entry(ExclusiveStartKey)
            assert start, "the start key names all three keys"
            matching = [entry for entry in matching if entry != start and (entry > start) is ScanIndexForward]
        page, is_cut = self._page(matching, Limit)
        more = {"LastEvaluatedKey": page[-1].item} if is_cut else {}
        found = {} if Select == "COUNT" else {"Items": [entry.item for entry in page]}
        return {"Count": len(page), **found, **more}

    def scan(
        self,
        *,
        TableName: str,
        IndexName: str = "",
        Select: str = "",
        Limit: int | None = None,
        FilterExpression: str = "",
        ProjectionExpression: str = "",
        ExpressionAttributeNames: Mapping[str, str] | None = None,
        ExpressionAttributeValues: Mapping[str, Mapping[str, Any]] | None = None,
        ConsistentRead: bool = False,
        ExclusiveStartKey: Item | None = None,
    ) -> dict[str, Any]:
        """Read `page_size` items in the order of their ids, or entries of the index in that of its keys."""
        page: list[Item]
        if IndexName:
            entries = list(self._read_index(TableName, IndexName, "Scan", ConsistentRead))
            start = _entry(ExclusiveStartKey) if ExclusiveStartKey else None
            chosen, is_cut = self._page(entries[bisect_right(entries, start) :] if start else entries, Limit)
            page = [entry.item for entry in chosen]
            more = {"LastEvaluatedKey": page[-1]} if is_cut else {}
        else:
            items = self._items(TableName, "Scan")
            after = ExclusiveStartKey["id"]["S"] if ExclusiveStartKey else ""
            identities, is_cut = self._page(sorted(identity for identity in items if identity > after), Limit)
            page = [items[identity] for identity in identities]
            more = {"LastEvaluatedKey": {"id": {"S": identities[-1]}}} if is_cut else {}
        expressions = Expressions(ExpressionAttributeNames, ExpressionAttributeValues)
        expressions.check_use(f"{FilterExpression} {ProjectionExpression}")
        found = [item for item in page if expressions.holds(FilterExpression, item)]
        projected = [expressions.projected(ProjectionExpression, item) for item in found]
        return {"Count": len(found), **({} if Select == "COUNT" else {"Items": projected}), **more}

    def delete(self, identity: str, table: str = TABLE) -> None:
        """Remove an item, as TTL does."""
        self._write(table, identity, None)

    def _page[Key](self, keys: Sequence[Key], limit: int | None) -> tuple[list[Key], bool]:
        """Return the first keys, and whether DynamoDB says that there may be more: it does where a limit is met."""
        size = min(self.page_size, limit or self.page_size)
        return list(keys[:size]), len(keys) > size or (len(keys) == size and limit == size)

    def _check(self, condition: str, expressions: Expressions, old: Item | None, returned: str, operation: str) -> None:
        """Refuse a write whose condition does not hold."""
        if expressions.holds(condition, old or {}):
            return
        found = {"Item": dict(old)} if old and returned == "ALL_OLD" else {}
        error = {"Code": "ConditionalCheckFailedException", "Message": "The conditional request failed"}
        raise ConditionalCheckFailedException(cast(Any, {"Error": error, **found}), operation)

    def _write(self, table: str, identity: str, new: Item | None) -> None:
        items = self.tables[table]
        before, after = items.get(identity), new
        if new is not None:
            check_item(new)
            items[identity] = new
        else:
            items.pop(identity, None)
        if index := self.indexes.get(table):
            index.note(_entry(before), _entry(after))

    def _read_index(self, table: str, name: str, operation: str, consistent: bool) -> Index:
        self._items(table, operation)
        if name != INDEX:
            raise invalid(f"The table does not have the specified index: {name}", operation)
        if consistent:
            raise invalid("Consistent reads are not supported on global secondary indexes", operation)
        index = self._index(table)
        index.catch_up()
        return index

    def _index(self, table: str) -> Index:
        if table not in self.indexes:
            index = self.indexes[table] = Index(IndexLag())
            for item in self.tables[table].values():
                index.note(None, _entry(item))
            index.catch_up()
            index.lag = self.lag
        return self.indexes[table]

    def _items(self, table: str, operation: str) -> dict[str, Item]:
        self._called(operation)
        return self._table(table, operation)

    def _called(self, operation: str) -> None:
        self.calls.append(operation)
        self.failures.strike(operation)

    def _table(self, table: str, operation: str) -> dict[str, Item]:
        if table not in self.tables:
            raise client_error("ResourceNotFoundException", operation)
        return self.tables[table]


def _entry(item: Item | None) -> Entry | None:
    """Return how the index projects an item; nothing if it lacks one of the index's keys."""
    if not item or INDEX_HASH not in item or INDEX_RANGE not in item:
        return None
    return Entry(item[INDEX_HASH]["S"], item[INDEX_RANGE]["S"], item["id"]["S"])


def check_item(item: Item) -> None:
    """Refuse what no item may hold: keys that are not text, empty keys, empty sets."""
    for name, typed in item.items():
        [(kind, value)] = typed.items()
        if name in ("id", INDEX_HASH, INDEX_RANGE) and (kind != "S" or not value):
            raise invalid(f"One or more parameter values are not valid: {name} is a key and must be non-empty text")
        if kind in ("SS", "NS", "BS") and (not value or len(set(value)) < len(value)):
            raise invalid("One or more parameter values were invalid: a set may not be empty or repeat a value")
        if kind == "B" and not isinstance(value, bytes | bytearray):
            raise TypeError(f"boto3 takes bytes for a binary attribute, not {type(value)}")


def item_bytes(item: Item) -> int:
    """Return an item's size as DynamoDB counts it, numbers by their upper bound."""
    return sum(len(name.encode()) + _value_bytes(*next(iter(typed.items()))) for name, typed in item.items())


def _value_bytes(kind: str, value: Any) -> int:
    match kind:
        case "S":
            return len(value.encode())
        case "B":
            return len(value)
        case "N":
            return len(value) // 2 + 2
        case "SS" | "NS" | "BS":
            return sum(_value_bytes(kind[0], each) for each in value)
        case "L":
            return 3 + sum(1 + _value_bytes(*next(iter(each.items()))) for each in value)
        case "M":
            return 3 + len(value) + item_bytes(value)
        case _:
            return 1


def plain(item: Item) -> dict[str, Any]:
    """Return an item's values without their types."""

    def values() -> Iterator[tuple[str, Any]]:
        for name, typed in item.items():
            [(kind, value)] = typed.items()
            match kind:
                case "N":
                    yield name, int(value)
                case "SS":
                    yield name, set(value)
                case _:
                    yield name, value

    return dict(values())
