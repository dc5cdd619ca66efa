"""The dedup table's contract, on the fake and on a real DynamoDB API: what the unit tests build on holds there too."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import pytest

from handler.alert import Status
from handler.delivery.claims import (
    ClaimRecord,
    Observation,
    Verdict,
    decide,
)
from handler.delivery.table import Claimed, DedupTable, Refused
from handler.errors import TableMissingError
from tests.lab.dynamodb import plain
from tests.lab.world import make_table

NOW = 1_795_405_200.0
NOW_MS = 1_795_405_200_000
DAY = 86400
OLDER, SAME, NEWER = (f"2026-11-23T03:{minute}:00.000000Z" for minute in (10, 20, 30))
IDENTITY = "production#f-1"

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


def seen(status: str | Status = "firing", at: str = SAME, identity: str = IDENTITY) -> Observation:
    return Observation(identity, Status(status), at)


def claim(table: DedupTable, observation: Observation, owner: str = "me", now: float = NOW) -> Claimed | Refused:
    return table.claim(observation, owner=owner, now=now, lease_until=now + 57)


def claimed(table: DedupTable, observation: Observation, owner: str = "me", now: float = NOW) -> Claimed:
    result = claim(table, observation, owner, now)
    assert isinstance(result, Claimed)
    return result


def test_claim_and_settle(table: DedupTable, read: Reader) -> None:
    """The item of a delivery, attribute by attribute."""
    mine = claimed(table, seen())
    assert mine == Claimed("me", known=False, attempted_before=False)
    common = {"id": IDENTITY, "status": "firing", "version": f"{SAME}/0", "observed_at": SAME, "attempted": True}
    assert read(IDENTITY) == {
        **common,
        "owner": "me",
        "lease_until": NOW_MS + 57_000,
        "expires_at": int(NOW) + DAY,
    }
    table.settle(seen(), mine, NOW + 1)
    assert read(IDENTITY) == {**common, "delivered_at": NOW_MS + 1000, "expires_at": int(NOW) + 1 + DAY}


def test_duplicate_superseded_and_repeat(table: DedupTable) -> None:
    """The skips, and what is sent again."""
    table.settle(seen(), claimed(table, seen()), NOW)
    assert claim(table, seen(), now=NOW + 299) == Refused(Verdict.DUPLICATE)
    assert claim(table, seen("resolved", OLDER)) == Refused(Verdict.SUPERSEDED)
    assert claim(table, seen(), now=NOW + 300) == Claimed("me", known=True, attempted_before=True)


def test_busy_and_remembered(table: DedupTable, read: Reader) -> None:
    """A live lease is respected, the newest remembered, the claim given back by settling."""
    mine = claimed(table, seen())
    assert claim(table, seen(), "you") == Refused(Verdict.BUSY)
    assert claim(table, seen("resolved", NEWER), "you") == Refused(Verdict.BUSY_WITH_OLDER)
    assert (read(IDENTITY)["owner"], read(IDENTITY)["version"]) == ("me", f"{NEWER}/2")
    table.settle(seen(), mine, NOW + 1)
    assert not {"owner", "lease_until", "delivered_at"} & read(IDENTITY).keys()
    assert claim(table, seen("resolved", NEWER), "you") == Claimed("you", known=True, attempted_before=True)


def test_never_opened(table: DedupTable, read: Reader) -> None:
    """A trigger that was not attempted needs no resolve."""
    table.release(seen(), claimed(table, seen()), attempted=False)
    assert read(IDENTITY)["attempted"] is False
    assert claim(table, seen("resolved", NEWER)) == Refused(Verdict.NEVER_OPENED)
    assert read(IDENTITY)["delivered_at"] == NOW_MS
    assert claim(table, seen()) == Refused(Verdict.SUPERSEDED)


def test_a_lost_claim_changes_nothing(table: DedupTable, read: Reader) -> None:
    """Neither settling nor releasing touches what another wrote."""
    mine = claimed(table, seen())
    claimed(table, seen(), "you", NOW + 57)
    before = read(IDENTITY)
    table.settle(seen(), mine, NOW + 58)
    table.release(seen(), mine, attempted=False)
    assert read(IDENTITY) == before


def test_an_expired_record_is_absent(table: DedupTable) -> None:
    """Though it is still there."""
    table.settle(seen("firing", NEWER), claimed(table, seen("firing", NEWER)), NOW)
    assert claim(table, seen(), now=NOW + DAY) == Claimed("me", known=False, attempted_before=True)


def test_a_missing_table_is_named(dynamodb: Any) -> None:
    """By the real API's own error."""
    with pytest.raises(TableMissingError, match="no-such-table"):
        claim(make_table(dynamodb, name="no-such-table"), seen())


def test_of_many_at_once_one_claims(dynamodb: Any, table: DedupTable) -> None:
    """Ten executions get copies of an alert at the same moment."""
    if type(dynamodb).__name__ == "FakeDynamoDB":
        pytest.skip("the fake is for one thread")
    with ThreadPoolExecutor(10) as pool:
        results = list(pool.map(lambda number: claim(table, seen(), f"owner-{number}"), range(10)))
    assert sum(isinstance(result, Claimed) for result in results) == 1
    assert {result.verdict for result in results if isinstance(result, Refused)} == {Verdict.BUSY}


def test_condition_and_decision_agree(dynamodb: Any, table_name: str, table: DedupTable, read: Reader) -> None:
    """The grid of the unit test, thinned out."""
    grid = product(
        (Status.FIRING, Status.RESOLVED),
        (OLDER, SAME, NEWER),
        (None, NOW_MS + 1),
        (None, NOW_MS - 300_000, NOW_MS - 1),
        (True, False),
        (int(NOW), int(NOW) + 1),
    )
    for number, (status, at, lease, delivered, attempted, expires) in enumerate(grid):
        for incoming in Status:
            identity = f"production#{number}-{incoming}"
            version = Observation(identity, status, at).version
            item: dict[str, Any] = {
                "id": {"S": identity},
                "status": {"S": str(status)},
                "version": {"S": version},
                "observed_at": {"S": at},
                "attempted": {"BOOL": attempted},
                "expires_at": {"N": str(expires)},
            }
            if lease:
                item |= {"owner": {"S": "other"}, "lease_until": {"N": str(lease)}}
            if delivered:
                item["delivered_at"] = {"N": str(delivered)}
            dynamodb.put_item(TableName=table_name, Item=item)
            record = ClaimRecord(
                status=status,
                version=version,
                attempted=attempted,
                expires_at=expires,
                owner="other" if lease else None,
                lease_until=lease or 0,
                delivered_at=delivered,
            )
            observation = seen(incoming, SAME, identity)
            verdict = decide(observation, record, NOW_MS, 300_000)
            result = claim(table, observation)
            if verdict is Verdict.CLAIM:
                assert isinstance(result, Claimed), (record, incoming)
                assert read(identity)["owner"] == "me"
            else:
                assert result == Refused(verdict), (record, incoming)


def test_what_is_tracked_is_counted(table: DedupTable, dynamodb: Any, table_name: str) -> None:
    """Dedup keys that have not expired; the limiter's windows and the circuit are none."""
    for number in range(3):
        claim(table, seen(identity=f"production#count-{number}"))
    dynamodb.put_item(
        TableName=table_name, Item={"id": {"S": "rate#x"}, "expires_at": {"N": str(round(NOW) + 2 * DAY)}}
    )
    counted = table.count(NOW)
    assert counted >= 3
    assert table.count(NOW + DAY + 1) == 0
    claim(table, seen(identity="production#count-late"), now=NOW + DAY)
    assert table.count(NOW + DAY + 1) == 1
