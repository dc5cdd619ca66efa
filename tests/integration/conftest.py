"""The template, and the DynamoDB APIs that the table's contract is held on."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from handler.delivery.dynamodb import KEY
from local.stack import Emulator
from tests.lab import template as templates
from tests.lab.dynamodb import INDEX, INDEX_HASH, INDEX_RANGE, FakeDynamoDB


@pytest.fixture
def template() -> dict[str, Any]:
    """The template without its transform, unresolved."""
    return templates.expand()


@pytest.fixture
def table_name() -> str:
    """A table of each test's own."""
    return f"dedup-{uuid4().hex}"


@pytest.fixture(params=["fake", "emulator"])
def dynamodb(request: pytest.FixtureRequest, table_name: str) -> Iterator[object]:
    """A client of the fake, and one of a real DynamoDB API, with an empty table."""
    if request.param == "fake":
        yield FakeDynamoDB(table_name)
        return
    emulator: Emulator = request.getfixturevalue("emulator")
    client = emulator.client("dynamodb")
    client.create_table(
        TableName=table_name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in (KEY, INDEX_HASH, INDEX_RANGE)],
        KeySchema=[{"AttributeName": KEY, "KeyType": "HASH"}],
        GlobalSecondaryIndexes=[
            {
                "IndexName": INDEX,
                "KeySchema": [
                    {"AttributeName": INDEX_HASH, "KeyType": "HASH"},
                    {"AttributeName": INDEX_RANGE, "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ],
    )
    yield client
    client.delete_table(TableName=table_name)
    client.close()
