"""What the fake of DynamoDB does on demand, and no emulator can be told to do."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.lab.clock import Clock
from tests.lab.dynamodb import INDEX, TABLE, FakeDynamoDB


def wait(dynamodb: FakeDynamoDB, identity: str, shard: str = "p#0") -> None:
    item = {"id": {"S": identity}, "waiting": {"S": shard}, "waiting_order": {"S": "1#1"}}
    dynamodb.put_item(TableName=TABLE, Item=item)


def waiting(dynamodb: FakeDynamoDB) -> list[str]:
    return [item["id"]["S"] for item in dynamodb.scan(TableName=TABLE, IndexName=INDEX)["Items"]]


def test_the_index_lags_by_writes() -> None:
    """It shows the table as it was so many writes ago, whatever those wrote."""
    dynamodb = FakeDynamoDB()
    dynamodb.lag_behind(writes=1)
    wait(dynamodb, "a")
    assert waiting(dynamodb) == []
    wait(dynamodb, "b")
    assert waiting(dynamodb) == ["a"]
    dynamodb.put_item(TableName=TABLE, Item={"id": {"S": "a"}})
    assert waiting(dynamodb) == ["a", "b"]
    dynamodb.put_item(TableName=TABLE, Item={"id": {"S": "other"}})
    assert waiting(dynamodb) == ["b"]


def test_the_index_lags_by_seconds() -> None:
    """An item that moved is found in its old partition meanwhile."""
    clock = Clock()
    dynamodb = FakeDynamoDB()
    dynamodb.lag_behind(seconds=2, clock=clock)
    wait(dynamodb, "a", "p#0")
    clock.advance(1)
    wait(dynamodb, "a", "p#1")
    clock.advance(1)
    shards = [item["waiting"]["S"] for item in dynamodb.scan(TableName=TABLE, IndexName=INDEX)["Items"]]
    assert shards == ["p#0"]
    clock.advance(1)
    shards = [item["waiting"]["S"] for item in dynamodb.scan(TableName=TABLE, IndexName=INDEX)["Items"]]
    assert shards == ["p#1"]


def test_the_index_of_items_that_were_there_before() -> None:
    """Items that a test puts into the table directly are found by the first read of the index."""
    dynamodb = FakeDynamoDB()
    dynamodb.tables[TABLE]["a"] = {"id": {"S": "a"}, "waiting": {"S": "p#0"}, "waiting_order": {"S": "1#1"}}
    assert waiting(dynamodb) == ["a"]
    dynamodb.delete("a")
    assert waiting(dynamodb) == []


def test_a_copy_has_an_index_of_its_own() -> None:
    """With the same entries, and the same lag."""
    dynamodb = FakeDynamoDB()
    dynamodb.lag_behind(writes=1)
    wait(dynamodb, "a")
    twin = dynamodb.copy()
    wait(twin, "b")
    assert (waiting(dynamodb), waiting(twin)) == ([], ["a"])


def test_batches_leave_keys_unread_on_demand() -> None:
    """The rest can be asked for again as it is answered."""
    dynamodb = FakeDynamoDB()
    for identity in "abc":
        wait(dynamodb, identity)
    dynamodb.unread = [2]
    asked: dict[str, Any] = {TABLE: {"Keys": [{"id": {"S": identity}} for identity in "abc"], "ConsistentRead": True}}
    answer = dynamodb.batch_get_item(RequestItems=asked)
    assert [item["id"]["S"] for item in answer["Responses"][TABLE]] == ["a"]
    again = dynamodb.batch_get_item(RequestItems=answer["UnprocessedKeys"])
    assert {item["id"]["S"] for item in again["Responses"][TABLE]} == {"b", "c"}
    assert again["UnprocessedKeys"] == {}


def test_a_page_that_meets_its_limit_may_be_the_last() -> None:
    """DynamoDB says that there may be more without looking."""
    dynamodb = FakeDynamoDB()
    wait(dynamodb, "a")
    page = dynamodb.scan(TableName=TABLE, IndexName=INDEX, Limit=1)
    assert "LastEvaluatedKey" in page
    rest = dynamodb.scan(TableName=TABLE, IndexName=INDEX, ExclusiveStartKey=page["LastEvaluatedKey"])
    assert (rest["Items"], rest.get("LastEvaluatedKey")) == ([], None)


def test_an_update_cannot_outgrow_an_item() -> None:
    """400 KB is the limit of the item that it makes."""
    dynamodb = FakeDynamoDB()
    with pytest.raises(ClientError, match="exceeded the maximum allowed size"):
        dynamodb.update_item(
            TableName=TABLE,
            Key={"id": {"S": "a"}},
            UpdateExpression="SET body = :body",
            ExpressionAttributeValues={":body": {"B": bytes(409_600)}},
        )
