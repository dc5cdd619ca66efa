"""One DynamoDB table: translates errors, and waits for a call that hangs only once.

A call that hangs costs its timeouts. After one that did, the table counts as out for a while, so that a batch of
records does not pay again for each of them.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, ReadTimeoutError

from handler.errors import PublishError, TableMissingError, TableThrottledError, TableUnavailableError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

KEY = "id"
TTL_ATTRIBUTE = "expires_at"
"""Epoch seconds; named as the table's TimeToLiveSpecification in the template."""
HANG_SECONDS = 5.0
"""A call without an answer for so long counts as one that hung: the resolver's time is in no timeout of botocore's."""
OUT_SECONDS = 60.0
"""How long the table counts as out after a call that hung: as long as an invocation, so that none pays twice."""

_NEEDS_A_PERSON = {
    "ResourceNotFoundException": "does not exist",
    "AccessDeniedException": "refuses access to this function",
    "ValidationException": "lacks the key schema or the index this function expects (`id`, string; index `waiting`)",
    "UnrecognizedClientException": "refuses this function's credentials",
}
_THROTTLED = {"ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded"}


class Table:
    """One DynamoDB table.

    Every use of `calls` raises TableMissingError if a person has to fix something, TableThrottledError where DynamoDB
    throttles, and TableUnavailableError where it fails otherwise.

    Args:
        client: a DynamoDB client.
        name: the table's name.
        clock: epoch seconds.
        connections: at most so many calls at a time, and so many connections; None for no such bound. botocore loads
            the certificate authorities again for each connection, some 20 ms of CPU.
    """

    def __init__(
        self, client: "DynamoDBClient", name: str, clock: Callable[[], float], connections: int | None = None
    ) -> None:
        self.client = client
        self.name = name
        self._clock = clock
        self._turns: AbstractContextManager[Any] = BoundedSemaphore(connections) if connections else nullcontext()
        self._out_until = 0.0

    @contextmanager
    def calls(self) -> Iterator["DynamoDBClient"]:
        """Yield the client; translate what it raises."""
        with self._turns:
            began_at = self._clock()
            if began_at < self._out_until:
                raise TableUnavailableError(
                    f"DynamoDB table {self.name}: a call hung a moment ago; not asked again yet"
                )
            try:
                yield self.client
            except ClientError as error:
                raise _table_error(self.name, error.response["Error"].get("Code", "")) from error
            except BotoCoreError as error:
                timed_out = isinstance(error, ConnectTimeoutError | ReadTimeoutError)
                if timed_out or self._clock() - began_at >= HANG_SECONDS:
                    self._out_until = self._clock() + OUT_SECONDS
                raise TableUnavailableError(f"DynamoDB table {self.name}: {type(error).__name__}") from error

    def connect(self) -> None:
        """Open a connection for the next call by asking for an item that never exists; raise botocore's errors."""
        self.client.get_item(TableName=self.name, Key={KEY: {"S": "-"}})

    def update_if(
        self,
        identity: str,
        *,
        update: str,
        condition: str | None,
        names: Mapping[str, str],
        values: Mapping[str, Any],
    ) -> tuple[bool, Mapping[str, Any] | None]:
        """Make one update, on a condition unless that is None; return whether it held, and the previous item."""
        request: dict[str, Any] = {
            "TableName": self.name,
            "Key": {KEY: {"S": identity}},
            "UpdateExpression": update,
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": {name: attribute(value) for name, value in values.items()},
            "ReturnValues": "ALL_OLD",
        }
        if condition is not None:
            request |= {"ConditionExpression": condition, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
        with self.calls() as client:
            try:
                old: Any = client.update_item(**request)
            except client.exceptions.ConditionalCheckFailedException as refused:
                item: Any = refused.response.get("Item")
                return False, item
        return True, old.get("Attributes")


def _table_error(table: str, code: str) -> PublishError:
    if code in _NEEDS_A_PERSON:
        return TableMissingError(
            f"DynamoDB table {table} {_NEEDS_A_PERSON[code]} ({code}): check the setting DEDUP_TABLE_NAME, the table "
            "and the function's role"
        )
    if code in _THROTTLED:
        return TableThrottledError(f"DynamoDB table {table}: {code}")
    return TableUnavailableError(f"DynamoDB table {table}: {code}")


def attribute(value: Any) -> Any:
    """Return a value in DynamoDB's format: a text, whole number, boolean, bytes or set of texts."""
    match value:
        case bool():
            return {"BOOL": value}
        case int():
            return {"N": str(value)}
        case bytes():
            return {"B": value}
        case frozenset():
            return {"SS": sorted(value)}
        case _:
            return {"S": value}


def number(item: Mapping[str, Any], name: str) -> int | None:
    """Return a whole number of an item, or None if it has no such attribute."""
    return int(item[name]["N"]) if name in item else None
