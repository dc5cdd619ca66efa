"""One conditional write on DynamoDB, and what can go wrong with it. All that the table's records are made of."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from handler.errors import PublishError, TableMissingError, TableUnavailableError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

KEY = "id"
TTL_ATTRIBUTE = "expires_at"
"""Epoch seconds; named as the table's TimeToLiveSpecification in the template."""

_NEEDS_A_PERSON = {
    "ResourceNotFoundException": "does not exist",
    "AccessDeniedException": "may not be used by this function",
    "ValidationException": "has not the key this function writes",
    "UnrecognizedClientException": "refuses this function's credentials",
}


def update_if(
    client: "DynamoDBClient",
    table: str,
    identity: str,
    *,
    update: str,
    condition: str,
    names: Mapping[str, str],
    values: Mapping[str, Any],
) -> tuple[bool, Mapping[str, Any] | None]:
    """Make one conditional update; give whether the condition held, and the item as it was before.

    Raises:
        TableMissingError: a person has to mend the table, its name or the role.
        TableUnavailableError: DynamoDB fails.
    """
    with translated_errors(table):
        try:
            old: Any = client.update_item(
                TableName=table,
                Key={KEY: {"S": identity}},
                UpdateExpression=update,
                ConditionExpression=condition,
                ExpressionAttributeNames=names,
                ExpressionAttributeValues={name: attribute(value) for name, value in values.items()},
                ReturnValues="ALL_OLD",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except client.exceptions.ConditionalCheckFailedException as refused:
            item: Any = refused.response.get("Item")
            return False, item
    return True, old.get("Attributes")


@contextmanager
def translated_errors(table: str) -> Iterator[None]:
    """Raise TableMissingError or TableUnavailableError for what DynamoDB raises."""
    try:
        yield
    except ClientError as error:
        raise _table_error(table, error.response["Error"].get("Code", "")) from error
    except BotoCoreError as error:
        raise TableUnavailableError(f"DynamoDB table {table}: {type(error).__name__}") from error


def _table_error(table: str, code: str) -> PublishError:
    if code in _NEEDS_A_PERSON:
        return TableMissingError(
            f"DynamoDB table {table} {_NEEDS_A_PERSON[code]} ({code}): check the setting DEDUP_TABLE_NAME, the table "
            "and the function's role"
        )
    return TableUnavailableError(f"DynamoDB table {table}: {code}")


def attribute(value: Any) -> Any:
    """Give a value as DynamoDB writes it: a text, a whole number or a truth value."""
    match value:
        case bool():
            return {"BOOL": value}
        case int():
            return {"N": str(value)}
        case _:
            return {"S": value}


def number(item: Mapping[str, Any], name: str) -> int | None:
    """Give a whole number of an item, or None where it has none of that name."""
    return int(item[name]["N"]) if name in item else None
