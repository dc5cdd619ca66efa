"""The calls that the delivery makes of DynamoDB, on the fake and on a real DynamoDB API."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.lab.dynamodb import INDEX, MAX_BATCH, plain

BODY = bytes(range(256))


@pytest.fixture
def put(dynamodb: Any, table_name: str) -> Any:
    """Puts an item of plain values under a condition on its `rev`."""

    def put(identity: str, *, rev: int | None = None, **values: Any) -> dict[str, Any]:
        item = {name: typed(value) for name, value in {"id": identity, **values}.items()}
        if rev is None:
            return dict(dynamodb.put_item(TableName=table_name, Item=item))
        return dict(
            dynamodb.put_item(
                TableName=table_name,
                Item=item,
                ConditionExpression="attribute_not_exists(id) OR #rev = :rev",
                ExpressionAttributeNames={"#rev": "rev"},
                ExpressionAttributeValues={":rev": typed(rev)},
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        )

    return put


def typed(value: Any) -> dict[str, Any]:
    match value:
        case bool():
            return {"BOOL": value}
        case int():
            return {"N": str(value)}
        case bytes():
            return {"B": value}
        case set():
            return {"SS": sorted(value)}
        case _:
            return {"S": value}


def code_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    return error.value.response["Error"]["Code"]


def keys(*identities: str) -> list[dict[str, Any]]:
    return [{"id": {"S": identity}} for identity in identities]


def test_every_type_of_a_record_comes_back(dynamodb: Any, table_name: str, put: Any) -> None:
    """Text, numbers, truth, sets of text, and bytes as they were."""
    record = {"tries": 1, "open": True, "status": "firing", "body": BODY, "routed_to": {"a", "b"}}
    put("x", **record)
    found = dynamodb.get_item(TableName=table_name, Key={"id": {"S": "x"}}, ConsistentRead=True)
    assert plain(found["Item"]) == {"id": "x", **record}


def test_a_refused_put_returns_what_is_there(dynamodb: Any, table_name: str, put: Any) -> None:
    """The whole item, bytes included; nothing was written."""
    put("x", rev=0, body=BODY)
    with pytest.raises(dynamodb.exceptions.ConditionalCheckFailedException) as refused:
        put("x", rev=0)
    assert plain(refused.value.response["Item"]) == {"id": "x", "body": BODY}
    assert "body" in dynamodb.get_item(TableName=table_name, Key={"id": {"S": "x"}}, ConsistentRead=True)["Item"]


def test_a_put_replaces_the_whole_item(dynamodb: Any, table_name: str, put: Any) -> None:
    """An attribute that the new item lacks is gone, from the index too."""
    put("x", rev=0, waiting="production#3", waiting_order="1#1795405201000")
    assert in_order(dynamodb, table_name, "production#3") == ["x"]
    dynamodb.put_item(TableName=table_name, Item={"id": {"S": "x"}, "rev": {"N": "1"}})
    assert in_order(dynamodb, table_name, "production#3") == []
    put("x", rev=1, status="firing")
    found = dynamodb.get_item(TableName=table_name, Key={"id": {"S": "x"}}, ConsistentRead=True)
    assert plain(found["Item"]) == {"id": "x", "status": "firing"}


def in_order(dynamodb: Any, table_name: str, shard: str, limit: int | None = None) -> list[str]:
    """Return the ids of a shard, read page by page."""
    found: list[str] = []
    more: dict[str, Any] = {"Limit": limit} if limit else {}
    while True:
        page = dynamodb.query(
            TableName=table_name,
            IndexName=INDEX,
            KeyConditionExpression="#shard = :shard",
            ExpressionAttributeNames={"#shard": "waiting"},
            ExpressionAttributeValues={":shard": {"S": shard}},
            **more,
        )
        assert all(item.keys() == {"id", "waiting", "waiting_order"} for item in page["Items"]), "keys only"
        found += [item["id"]["S"] for item in page["Items"]]
        if not (start := page.get("LastEvaluatedKey")):
            return found
        more["ExclusiveStartKey"] = start


@pytest.mark.parametrize("limit", [None, 1, 2, 5])
def test_the_index_is_in_order(dynamodb: Any, table_name: str, put: Any, limit: int | None) -> None:
    """Of its range key, whatever the pages; it holds nothing of other shards or without its keys."""
    for identity, order in {"a": "3#0000000000001", "b": "0#0000000000009", "c": "1#0000000000005"}.items():
        put(identity, waiting="production#0", waiting_order=order, body=BODY)
    put("d", waiting="production#1", waiting_order="0#0000000000000")
    put("e", status="firing")
    put("f", waiting="production#0")
    assert in_order(dynamodb, table_name, "production#0", limit) == ["b", "c", "a"]
    assert in_order(dynamodb, table_name, "production#2", limit) == []


def test_a_query_asks_for_a_class(dynamodb: Any, table_name: str, put: Any) -> None:
    """By the beginning of the range key."""
    for number, order in enumerate(("0#1", "0#2", "1#1", "2#1")):
        put(str(number), waiting="p#0", waiting_order=order)
    found = dynamodb.query(
        TableName=table_name,
        IndexName=INDEX,
        KeyConditionExpression="waiting = :shard AND begins_with(waiting_order, :class)",
        ExpressionAttributeValues={":shard": {"S": "p#0"}, ":class": {"S": "0#"}},
        ScanIndexForward=False,
    )
    assert [item["id"]["S"] for item in found["Items"]] == ["1", "0"]


def test_a_scan_of_the_index_finds_all_that_waits(dynamodb: Any, table_name: str, put: Any) -> None:
    """Page by page, keys only."""
    for number in range(5):
        put(str(number), waiting=f"p#{number % 2}", waiting_order=f"1#{number}")
    put("not waiting", status="firing")
    found: list[str] = []
    more: dict[str, Any] = {}
    while True:
        page = dynamodb.scan(TableName=table_name, IndexName=INDEX, Limit=2, **more)
        assert all(item.keys() == {"id", "waiting", "waiting_order"} for item in page["Items"])
        found += [item["id"]["S"] for item in page["Items"]]
        if "LastEvaluatedKey" not in page:
            break
        more = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
    assert sorted(found) == ["0", "1", "2", "3", "4"]


def test_a_scan_filters_what_the_index_projects(dynamodb: Any, table_name: str, put: Any) -> None:
    """And counts."""
    for number in range(4):
        put(str(number), waiting="p#0", waiting_order=f"{number}#1")
    found = dynamodb.scan(
        TableName=table_name,
        IndexName=INDEX,
        Select="COUNT",
        FilterExpression="waiting_order < :order",
        ExpressionAttributeValues={":order": {"S": "2"}},
    )
    assert found["Count"] == 2


def test_a_batch_reads_what_is_there(dynamodb: Any, table_name: str, put: Any) -> None:
    """Only the attributes asked for; what is absent is left out."""
    put("a", status="firing", body=BODY)
    put("b", status="resolved")
    answer = dynamodb.batch_get_item(
        RequestItems={
            table_name: {
                "Keys": keys("b", "a", "absent"),
                "ConsistentRead": True,
                "ProjectionExpression": "id, #status",
                "ExpressionAttributeNames": {"#status": "status"},
            }
        }
    )
    found = {item["id"]["S"]: plain(item) for item in answer["Responses"][table_name]}
    assert found == {"a": {"id": "a", "status": "firing"}, "b": {"id": "b", "status": "resolved"}}
    assert answer["UnprocessedKeys"] == {}


def test_a_batch_has_its_limits(dynamodb: Any, table_name: str) -> None:
    """A hundred keys, each once."""
    many = keys(*map(str, range(MAX_BATCH)))
    assert dynamodb.batch_get_item(RequestItems={table_name: {"Keys": many}})["Responses"] == {table_name: []}
    for refused in (keys(*map(str, range(MAX_BATCH + 1))), keys("a", "a")):
        with pytest.raises(ClientError) as error:
            dynamodb.batch_get_item(RequestItems={table_name: {"Keys": refused}})
        assert code_of(error) == "ValidationException"


def test_an_item_has_its_limit(dynamodb: Any, put: Any) -> None:
    """400 KB, names included."""
    put("x", body=b"x" * (409_600 - len("idxbody")))
    with pytest.raises(ClientError) as error:
        put("x", body=b"x" * (409_600 - len("idxbody") + 1))
    assert code_of(error) == "ValidationException"


@pytest.mark.parametrize("values", [{"waiting": 1, "waiting_order": "1"}, {"waiting": "", "waiting_order": "1"}])
def test_the_index_takes_text_alone(put: Any, values: dict[str, Any]) -> None:
    """A record whose place in the index is no text, or empty, is refused as a whole."""
    with pytest.raises(ClientError) as error:
        put("x", **values)
    assert code_of(error) == "ValidationException"


@pytest.mark.parametrize(
    "call",
    [
        {"IndexName": "no-such-index"},
        {"ConsistentRead": True},
        {"ExpressionAttributeValues": {":shard": {"S": "p"}, ":unused": {"S": "p"}}},
        {"KeyConditionExpression": "waiting_order = :shard"},
    ],
    ids=["unknown index", "consistent", "unused value", "no partition"],
)
def test_bad_queries_are_refused(dynamodb: Any, table_name: str, call: dict[str, Any]) -> None:
    """As DynamoDB refuses them."""
    query = {
        "IndexName": INDEX,
        "KeyConditionExpression": "waiting = :shard",
        "ExpressionAttributeValues": {":shard": {"S": "p"}},
    }
    with pytest.raises(ClientError) as error:
        dynamodb.query(TableName=table_name, **query | call)
    assert code_of(error) == "ValidationException"
