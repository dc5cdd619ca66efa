"""The dedup table's contract, on the fake and on a real DynamoDB API: what the unit tests build on holds there too."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from handler.alert import Status
from handler.delivery.record import Observation, Order, Record, Waiting
from handler.delivery.table import DedupTable, Place, dump, shard_of
from handler.delivery.transitions import claim, claim_waiting, release, settle
from handler.errors import TableMissingError
from tests.lab.dynamodb import plain
from tests.lab.world import make_table

NOW = 1_795_405_200_000
DAY = 86_400
IDENTITY = "production#f-1"
SEEN = Observation(
    identity=IDENTITY,
    status=Status.FIRING,
    at=NOW - 1,
    message_id="m-1",
    urgency=2,
    summary="digest",
    routed_to=frozenset({"production", "staging"}),
)
BODY = bytes(range(256))

type Reader = Callable[[str], dict[str, Any]]


@pytest.fixture
def table(dynamodb: Any, table_name: str) -> DedupTable:
    return make_table(dynamodb, name=table_name)


@pytest.fixture
def read(dynamodb: Any, table_name: str) -> Reader:
    """Reads an item as plain values; empty where there is none."""

    def read(identity: str = IDENTITY) -> dict[str, Any]:
        found = dynamodb.get_item(TableName=table_name, Key={"id": {"S": identity}}, ConsistentRead=True)
        return plain(found.get("Item", {}))

    return read


def take(owner: str, now: int = NOW) -> Callable[[Record | None], Record | None]:
    """Return the transition that claims what nobody holds."""

    def transition(record: Record | None) -> Record | None:
        if record and record.is_leased(now):
            return None
        return claim(record, SEEN, owner=owner, now=now, lease_until=now + 57_000)

    return transition


def let_wait(record: Record, order: Order = Order.TRIGGER, now: int = NOW) -> Record:
    return release(record, was_open=False, attempted=False, now=now, waits=Waiting(order, now), body=BODY)


def begin_to_wait(table: DedupTable, identity: str, order: Order = Order.TRIGGER, now: int = NOW) -> Record:
    new = let_wait(claim(None, SEEN, owner="me", now=now, lease_until=now + 1), order, now)
    after = table.change(identity, lambda _: new, now).after
    assert after is not None
    return after


def test_a_delivery_from_its_claim_to_its_end(table: DedupTable, read: Reader) -> None:
    """The item, attribute by attribute: claimed, waiting, claimed by a drainer, accepted."""
    mine = table.change(IDENTITY, take("me"), NOW).after
    assert mine is not None
    common = {
        "id": IDENTITY,
        "status": "firing",
        "observed_at": "2026-11-23T03:39:59.999000Z",
        "firing_id": "m-1",
        "fired_at": SEEN.at,
        "urgency": 2,
        "summary_hash": "digest",
        "routed_to": {"production", "staging"},
    }
    month = NOW // 1000 + 30 * DAY
    sending = {**common, "owner": "me", "lease_until": NOW + 57_000, "open": True, "triggered": False}
    assert read(IDENTITY) == {**sending, "rev": NOW, "expires_at": month}

    waits = table.change(IDENTITY, lambda record: record and let_wait(record), NOW, known=mine).after
    assert waits is not None
    place = {"waiting": f"production#{shard_of(IDENTITY)}", "waiting_order": f"1#{NOW}", "waiting_since": NOW}
    waiting = {**common, **place, "body": BODY, "triggered": False}
    assert read(IDENTITY) == {**waiting, "open": False, "rev": NOW + 1}

    def drain(record: Record | None) -> Record | None:
        return record and claim_waiting(record, owner="drainer", lease_until=NOW + 30_000)

    drained = table.change(IDENTITY, drain, NOW, known=waits).after
    assert drained is not None
    claimed = {"owner": "drainer", "lease_until": NOW + 30_000, "tries": 1}
    assert read(IDENTITY) == {**waiting, **claimed, "open": True, "rev": NOW + 2}

    table.change(IDENTITY, lambda record: record and settle(record, SEEN, NOW, body=b""), NOW, known=drained)
    ended = {**common, "open": True, "triggered": True, "delivered_at": NOW}
    assert read(IDENTITY) == {**ended, "rev": NOW + 3, "expires_at": month}


def test_the_record_that_is_in_the_way_comes_with_the_refusal(table: DedupTable) -> None:
    """All of it, body and sets included: it is read no second time."""
    there = begin_to_wait(table, IDENTITY)
    seen: list[Record | None] = []

    def transition(record: Record | None) -> Record | None:
        seen.append(record)
        return None if record else let_wait(claim(None, SEEN, owner="me", now=NOW, lease_until=NOW + 1))

    table.change(IDENTITY, transition, NOW + 1)
    assert seen == [None, there]
    assert table.read([IDENTITY], NOW) == {IDENTITY: there}


def test_who_knows_an_older_record_does_not_write(table: DedupTable) -> None:
    """The condition is its number."""
    mine = table.change(IDENTITY, take("me"), NOW).after
    assert mine is not None
    table.change(IDENTITY, lambda record: record and replace(record, acknowledge=NOW), NOW, known=mine)
    change = table.change(IDENTITY, lambda record: record and replace(record, tries=1), NOW, known=mine)
    assert change.after is not None
    assert (change.after.acknowledge, change.after.tries, change.after.rev) == (NOW, 1, mine.rev + 2)


def test_who_knows_a_record_that_is_gone_does_not_write(table: DedupTable, dynamodb: Any, table_name: str) -> None:
    """It is refused without an item, and then counts as absent."""
    mine = table.change(IDENTITY, take("me"), NOW).after
    assert mine is not None
    if type(dynamodb).__name__ == "FakeDynamoDB":
        dynamodb.delete(IDENTITY, table_name)
    else:
        dynamodb.delete_item(TableName=table_name, Key={"id": {"S": IDENTITY}})
    seen: list[Record | None] = []

    def transition(record: Record | None) -> Record | None:
        seen.append(record)
        return replace(record or mine, tries=7)

    change = table.change(IDENTITY, transition, NOW, known=mine)
    assert seen == [mine, None]
    assert (change.before, table.read([IDENTITY], NOW)[IDENTITY].tries) == (None, 7)


def test_an_expired_record_is_absent(table: DedupTable) -> None:
    """Though it is still there: to the second, for who reads and for who writes."""
    ended = replace(claim(None, SEEN, owner="me", now=NOW, lease_until=0), open=False, delivered_at=NOW, owner=None)
    there = table.change(IDENTITY, lambda _: ended, NOW).after
    assert there is not None
    assert there.expires_at is not None
    end = there.expires_at
    assert table.read([IDENTITY], end - 1) == {IDENTITY: there}
    assert table.read([IDENTITY], end) == {}
    alive = table.change(IDENTITY, lambda record: None if record else ended, end - 1)
    assert alive.before == there
    change = table.change(IDENTITY, lambda record: None if record else replace(ended, tries=3), end)
    assert change.before is None
    assert table.read([IDENTITY], end)[IDENTITY].tries == 3


def test_a_record_of_an_earlier_version_is_changed_once(table: DedupTable, dynamodb: Any, table_name: str) -> None:
    """It has no number: that is its condition."""
    item = {
        "id": {"S": IDENTITY},
        "status": {"S": "firing"},
        "version": {"S": "2026-11-23T03:39:59.000000Z/0"},
        "observed_at": {"S": "2026-11-23T03:39:59.000000Z"},
        "attempted": {"BOOL": True},
        "delivered_at": {"N": str(NOW - 500)},
        "expires_at": {"N": str(NOW // 1000 + DAY)},
    }
    dynamodb.put_item(TableName=table_name, Item=item)
    known = table.read([IDENTITY], NOW)[IDENTITY]
    assert (known.open, known.triggered, known.rev) == (True, True, 0)
    first = table.change(IDENTITY, lambda record: record and replace(record, tries=1), NOW, known=known)
    second = table.change(IDENTITY, lambda record: record and replace(record, urgency=3), NOW, known=known)
    assert first.after is not None
    assert second.before == first.after
    assert second.after is not None
    assert (second.after.tries, second.after.urgency, second.after.rev) == (1, 3, 2)


def test_a_lost_answer_is_recognised(table: DedupTable, dynamodb: Any, table_name: str) -> None:
    """The item that is in the way is the one that was to be written, attribute for attribute."""
    mine = begin_to_wait(table, IDENTITY)
    asked = 0

    def again(record: Record | None) -> Record | None:
        nonlocal asked
        asked += 1
        new = replace(record or mine, tries=1)
        if asked == 1:  # what was sent a moment ago has arrived, and only its answer is lost
            dynamodb.put_item(
                TableName=table_name, Item={"id": {"S": IDENTITY}, **dump(IDENTITY, replace(new, rev=mine.rev + 1))}
            )
        return new

    change = table.change(IDENTITY, again, NOW, known=mine)
    assert asked == 1
    assert change.after is not None
    assert (change.before, change.after.rev) == (mine, mine.rev + 1)


def test_many_records_are_read_at_once(table: DedupTable) -> None:
    """More than a batch takes; those that are not there are left out."""
    for number in range(3):
        table.change(f"target-{number * 50}#f-1", take("me"), NOW)
    every = [f"target-{number}#f-1" for number in range(130)]
    assert table.read(every, NOW).keys() == {"target-0#f-1", "target-50#f-1", "target-100#f-1"}


def test_what_waits_is_found_in_order(table: DedupTable) -> None:
    """By target, class and age, until it waits no more; and all of it by the scan."""
    waits = [
        begin_to_wait(table, f"production#{order}-{number}", order, NOW + number)
        for order in reversed(Order)
        for number in reversed(range(4))
    ]
    begin_to_wait(table, "other#f")
    table.change("production#not-waiting", take("me"), NOW)
    expected = [Place(order, NOW + number, f"production#{order}-{number}") for order in Order for number in range(4)]
    assert table.waiting("production", 10) == expected
    assert sorted(table.all_waiting()) == sorted([*expected, Place(Order.TRIGGER, NOW, "other#f")])

    last = waits[0]
    table.change(expected[-1].identity, lambda record: record, NOW, known=last)
    gone = "production#2-1"
    table.change_known(gone, lambda record: settle(replace(record, owner="me"), SEEN, NOW, body=b""), NOW)
    moved = "production#3-3"
    table.change_known(moved, lambda record: replace(record, waiting=Waiting(Order.CRITICAL, 1)), NOW)
    found = table.waiting("production", 10)
    assert found[0] == Place(Order.CRITICAL, 1, moved)
    assert [place.identity for place in found[1:]] == [
        place.identity for place in expected if place.identity not in (gone, moved)
    ]


def test_of_a_shard_the_first_are_found(table: DedupTable) -> None:
    """The most urgent, by the limit of the query."""
    same_shard = [f"production#{number}" for number in range(200) if shard_of(f"production#{number}") == 3][:5]
    for number, identity in enumerate(same_shard):
        begin_to_wait(table, identity, now=NOW - number)
    assert [place.identity for place in table.waiting("production", 2)] == same_shard[:2:-1]


@pytest.mark.parametrize(
    "call",
    [
        lambda table: table.change(IDENTITY, take("me"), NOW),
        lambda table: table.read([IDENTITY], NOW),
        lambda table: table.waiting("production", 1),
        lambda table: list(table.all_waiting()),
        lambda table: table.count(NOW / 1000),
    ],
    ids=["change", "read", "waiting", "all_waiting", "count"],
)
def test_a_missing_table_is_named(dynamodb: Any, call: Callable[[DedupTable], object]) -> None:
    """By the real API's own error."""
    with pytest.raises(TableMissingError, match="no-such-table"):
        call(make_table(dynamodb, name="no-such-table"))


def test_of_many_at_once_one_claims(dynamodb: Any, table: DedupTable) -> None:
    """Ten executions get copies of an alert at the same moment."""
    if type(dynamodb).__name__ == "FakeDynamoDB":
        pytest.skip("the fake is for one thread")
    with ThreadPoolExecutor(10) as pool:
        changes = list(pool.map(lambda number: table.change(IDENTITY, take(f"owner-{number}"), NOW), range(10)))
    [record] = table.read([IDENTITY], NOW).values()
    assert {change.after and change.after.owner for change in changes} == {record.owner}
    assert sum(change.before is None for change in changes) == 1


def test_what_is_tracked_is_counted(table: DedupTable, dynamodb: Any, table_name: str) -> None:
    """Records that have not expired, waiting ones included; the limiter's item is none."""
    for number in range(3):
        table.change(f"production#count-{number}", take("me"), NOW)
    begin_to_wait(table, "production#waits")
    dynamodb.put_item(
        TableName=table_name, Item={"id": {"S": "permits#x"}, "expires_at": {"N": str(NOW // 1000 + 90 * DAY)}}
    )
    assert table.count(NOW / 1000) == 4
    assert table.count(NOW / 1000 + 31 * DAY) == 1
