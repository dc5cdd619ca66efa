"""What stands in for AWS, PagerDuty's wire and time in the tests, and the factories that put a publisher on top of it.

Nothing here sleeps, starts a thread or keeps a global: all state is plain dicts and lists of an instance, so that a
test can copy a world, try one interleaving on the copy, and go back.
"""

import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from itertools import count
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import urllib3
from botocore.exceptions import BotoCoreError, ClientError
from mypy_boto3_dynamodb.client import DynamoDBClient
from mypy_boto3_secretsmanager.client import SecretsManagerClient
from mypy_boto3_sqs.client import SQSClient
from pydantic import SecretStr

from handler.delivery.limiter import RateLimiter
from handler.delivery.rate import Priority
from handler.delivery.sender import (
    Guard,
    Sender,
    TurnTaker,
    unguarded,
)
from handler.delivery.table import DedupTable
from handler.errors import PublishError
from handler.pagerduty.client import PagerDutyClient
from handler.publisher import Publisher
from handler.queues import Queues
from handler.report import Report
from handler.targets.secrets import SecretsByPrefix, Targets
from local.simulator.pagerduty import PagerDuty

ROUTING_KEY = "0123456789abcdef0123456789abcdef"
OTHER_KEY = "fedcba9876543210fedcba9876543210"
BASE_URL = "https://events.pagerduty.com"
TABLE = "dedup"
RETRY_URL = "https://sqs.us-east-1.amazonaws.com/000000000000/retry"
DEAD_LETTER_URL = "https://sqs.us-east-1.amazonaws.com/000000000000/dead-letter"
NOW = 1795405201.0
"""2026-11-23T03:40:01Z."""
INVOCATION_SECONDS = 57.0

type Item = Mapping[str, Mapping[str, Any]]


# --- Time -------------------------------------------------------------------------------------------------------------


@dataclass
class Clock:
    """Seconds that pass only when told to; `sleep` makes them pass and remembers for how long."""

    now: float = NOW
    naps: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds


# --- AWS failing ------------------------------------------------------------------------------------------------------


def client_error(code: str, operation: str = "Operation", **more: Any) -> ClientError:
    """Make the error that boto3 raises for an error code."""
    response: Any = {"Error": {"Code": code, "Message": f"{code}, says AWS"}, **more}
    return ClientError(response, operation)


@dataclass
class Failures:
    """When an AWS client fails: with an error code or a botocore error, after some calls, for some calls."""

    error: str | BotoCoreError | None = None
    after: int = 0
    times: int | None = None

    def strike(self, operation: str) -> None:
        """Raise if this call is to fail."""
        if self.error is None or self.times == 0:
            return
        if self.after > 0:
            self.after -= 1
            return
        if self.times is not None:
            self.times -= 1
        raise client_error(self.error, operation) if isinstance(self.error, str) else self.error


# --- DynamoDB ---------------------------------------------------------------------------------------------------------


class ConditionalCheckFailedException(ClientError):
    """What boto3 makes for each client and offers as `client.exceptions.ConditionalCheckFailedException`."""


class FakeDynamoDB:
    """Items of tables with the key `id`; conditions and updates are parsed and carried out as DynamoDB documents them.

    It refuses what DynamoDB refuses: names and values that are unused or not defined, redundant parentheses, one
    attribute in two clauses. Items are replaced and never changed, so `copy` is cheap.
    """

    exceptions: ClassVar[Any] = SimpleNamespace(ConditionalCheckFailedException=ConditionalCheckFailedException)

    def __init__(self, *tables: str, failures: Failures | None = None) -> None:
        self.tables: dict[str, dict[str, Item]] = {name: {} for name in tables or (TABLE,)}
        self.failures = failures or Failures()
        self.calls: list[str] = []
        self.page_size = 1000

    def copy(self) -> "FakeDynamoDB":
        """Give an independent one with the same items."""
        twin = FakeDynamoDB()
        twin.tables = {name: dict(items) for name, items in self.tables.items()}
        twin.failures = Failures(self.failures.error, self.failures.after, self.failures.times)
        twin.calls = list(self.calls)
        return twin

    def fail(self, error: str | BotoCoreError, *, after: int = 0, times: int | None = None) -> None:
        """Fail from now on."""
        self.failures = Failures(error, after, times)

    def heal(self) -> None:
        """Fail no more."""
        self.failures = Failures()

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
        expressions = _Expressions(ExpressionAttributeNames or {}, ExpressionAttributeValues or {})
        expressions.check_use(f"{UpdateExpression} {ConditionExpression}")
        identity = Key["id"]["S"]
        old = items.get(identity)
        if ConditionExpression and not expressions.holds(_parse_condition(ConditionExpression), old or {}):
            found = {"Item": dict(old)} if old and ReturnValuesOnConditionCheckFailure == "ALL_OLD" else {}
            error = {"Code": "ConditionalCheckFailedException", "Message": "The conditional request failed"}
            raise ConditionalCheckFailedException(cast(Any, {"Error": error, **found}), "UpdateItem")
        new = expressions.updated(_parse_update(UpdateExpression), old or dict(Key))
        items[identity] = new
        match ReturnValues:
            case "ALL_OLD":
                return {"Attributes": dict(old)} if old else {}
            case "ALL_NEW":
                return {"Attributes": dict(new)}
            case _:
                return {}

    def get_item(self, *, TableName: str, Key: Item, ConsistentRead: bool = False) -> dict[str, Any]:
        item = self._items(TableName, "GetItem").get(Key["id"]["S"])
        return {"Item": dict(item)} if item else {}

    def put_item(self, *, TableName: str, Item: Item) -> dict[str, Any]:
        self._items(TableName, "PutItem")[Item["id"]["S"]] = dict(Item)
        return {}

    def scan(
        self,
        *,
        TableName: str,
        Select: str = "ALL_ATTRIBUTES",
        FilterExpression: str = "",
        ExpressionAttributeNames: Mapping[str, str] | None = None,
        ExpressionAttributeValues: Mapping[str, Mapping[str, Any]] | None = None,
        ExclusiveStartKey: Item | None = None,
    ) -> dict[str, Any]:
        """Read `page_size` items, in the order of their ids."""
        items = self._items(TableName, "Scan")
        start = ExclusiveStartKey["id"]["S"] if ExclusiveStartKey else ""
        page = [items[identity] for identity in sorted(items) if identity > start][: self.page_size]
        last = page[-1]["id"]["S"] if page else ""
        more = {"LastEvaluatedKey": {"id": {"S": last}}} if any(identity > last for identity in items) else {}
        if FilterExpression:
            expressions = _Expressions(ExpressionAttributeNames or {}, ExpressionAttributeValues or {})
            expressions.check_use(FilterExpression)
            page = [item for item in page if expressions.holds(_parse_condition(FilterExpression), item)]
        found = {} if Select == "COUNT" else {"Items": [dict(item) for item in page]}
        return {"Count": len(page), **found, **more}

    def _items(self, table: str, operation: str) -> dict[str, Item]:
        self.calls.append(operation)
        self.failures.strike(operation)
        if table not in self.tables:
            raise client_error("ResourceNotFoundException", operation)
        return self.tables[table]


_TOKEN = re.compile(r"\s*([#:]\w+|\w+|<=|>=|<>|[=<>(),+\-])")

type _Node = tuple[Any, ...]


def _invalid(message: str) -> ClientError:
    error = {"Code": "ValidationException", "Message": message}
    return ClientError(cast(Any, {"Error": error}), "UpdateItem")


class _Tokens:
    def __init__(self, text: str) -> None:
        self.left: list[str] = []
        at = 0
        while text[at:].strip():
            token = _TOKEN.match(text, at)
            if not token:
                raise _invalid(f"Syntax error; token: {text[at:]}")
            self.left.append(token[1])
            at = token.end()
        self.left.reverse()

    @property
    def next(self) -> str:
        return self.left[-1] if self.left else ""

    def take(self, *expected: str) -> str:
        if not self.left or (expected and self.next.upper() not in expected):
            raise _invalid(f"Syntax error; token: {self.next or '<EOF>'}")
        return self.left.pop()

    def takes(self, word: str) -> bool:
        if self.next.upper() == word:
            self.left.pop()
            return True
        return False


@lru_cache(maxsize=256)
def _parse_condition(text: str) -> _Node:
    tokens = _Tokens(text)
    node = _either(tokens)
    if tokens.left:
        raise _invalid(f"Syntax error; token: {tokens.next}")
    return node


def _either(tokens: _Tokens) -> _Node:
    node = _both(tokens)
    while tokens.takes("OR"):
        node = ("OR", node, _both(tokens))
    return node


def _both(tokens: _Tokens) -> _Node:
    node = _negation(tokens)
    while tokens.takes("AND"):
        node = ("AND", node, _negation(tokens))
    return node


def _negation(tokens: _Tokens) -> _Node:
    return ("NOT", _negation(tokens)) if tokens.takes("NOT") else _comparison(tokens)


def _comparison(tokens: _Tokens) -> _Node:
    if tokens.takes("("):
        inner = _either(tokens)
        tokens.take(")")
        if inner[0] == "PARENTHESES":
            raise _invalid("The expression has redundant parentheses;")
        return ("PARENTHESES", inner)
    left = tokens.take()
    if left in ("attribute_exists", "attribute_not_exists"):
        tokens.take("(")
        path = tokens.take()
        tokens.take(")")
        return (left, path)
    return (tokens.take("=", "<", "<=", ">", ">=", "<>"), left, tokens.take())


@lru_cache(maxsize=256)
def _parse_update(text: str) -> tuple[_Node, ...]:
    tokens = _Tokens(text)
    clauses: list[_Node] = []
    while tokens.left:
        clause = tokens.take("SET", "REMOVE", "ADD").upper()
        while True:
            path = tokens.take()
            match clause:
                case "SET":
                    tokens.take("=")
                    clauses.append(("SET", path, _sum(tokens)))
                case "ADD":
                    clauses.append(("ADD", path, tokens.take()))
                case _:
                    clauses.append(("REMOVE", path))
            if not tokens.takes(","):
                break
    return tuple(clauses)


def _sum(tokens: _Tokens) -> _Node:
    left = _operand(tokens)
    if tokens.next in ("+", "-"):
        return (tokens.take(), left, _operand(tokens))
    return left


def _operand(tokens: _Tokens) -> _Node:
    word = tokens.take()
    if word != "if_not_exists":
        return ("OPERAND", word)
    tokens.take("(")
    path = tokens.take()
    tokens.take(",")
    default = _operand(tokens)
    tokens.take(")")
    return ("IF_NOT_EXISTS", path, default)


@dataclass(frozen=True, slots=True)
class _Expressions:
    """Carries out parsed expressions with the names and values of one call."""

    names: Mapping[str, str]
    values: Mapping[str, Mapping[str, Any]]

    def check_use(self, text: str) -> None:
        used = set(re.findall(r"[#:]\w+", text))
        if unused := (self.names.keys() | self.values.keys()) - used:
            raise _invalid(f"Value provided in ExpressionAttribute... unused in expressions: {sorted(unused)}")
        if undefined := used - (self.names.keys() | self.values.keys()):
            raise _invalid(f"An expression attribute used in expression is not defined: {sorted(undefined)}")

    def path(self, word: str) -> str:
        return self.names.get(word, word)

    def value(self, word: str, item: Item) -> Mapping[str, Any] | None:
        return self.values[word] if word.startswith(":") else item.get(self.path(word))

    def holds(self, node: _Node, item: Item) -> bool:
        match node:
            case ("OR", left, right):
                return self.holds(left, item) or self.holds(right, item)
            case ("AND", left, right):
                return self.holds(left, item) and self.holds(right, item)
            case ("NOT", inner):
                return not self.holds(inner, item)
            case ("PARENTHESES", inner):
                return self.holds(inner, item)
            case ("attribute_exists", word):
                return self.path(word) in item
            case ("attribute_not_exists", word):
                return self.path(word) not in item
            case (operator, left, right):
                return _compare(operator, self.value(left, item), self.value(right, item))
        raise AssertionError(node)

    def updated(self, clauses: Sequence[_Node], item: Item) -> Item:
        paths = [self.path(clause[1]) for clause in clauses]
        if len(set(paths)) < len(paths):
            raise _invalid("Two document paths overlap with each other")
        new = dict(item)
        for (kind, _, *operands), path in zip(clauses, paths, strict=True):
            match kind:
                case "SET":
                    new[path] = self.computed(operands[0], item)
                case "ADD":
                    before = item.get(path, {"N": "0"})
                    new[path] = _number(_decimal(before) + _decimal(self.value(operands[0], item)))
                case "REMOVE":
                    new.pop(path, None)
        return new

    def computed(self, node: _Node, item: Item) -> Mapping[str, Any]:
        match node:
            case ("OPERAND", word):
                found = self.value(word, item)
            case ("IF_NOT_EXISTS", path, default):
                found = item.get(self.path(path)) or self.computed(default, item)
            case (operator, left, right):
                one, other = _decimal(self.computed(left, item)), _decimal(self.computed(right, item))
                found = _number(one + other if operator == "+" else one - other)
        if found is None:
            raise _invalid("The provided expression refers to an attribute that does not exist in the item")
        return found


def _compare(operator: str, left: Mapping[str, Any] | None, right: Mapping[str, Any] | None) -> bool:
    """Compare as DynamoDB does: with what is absent, or of another type, nothing is true but `<>`."""
    if left is None or right is None or left.keys() != right.keys():
        return operator == "<>" and left is not right
    one, other = _comparable(left), _comparable(right)
    match operator:
        case "=":
            return bool(one == other)
        case "<>":
            return bool(one != other)
        case "<":
            return bool(one < other)
        case "<=":
            return bool(one <= other)
        case ">":
            return bool(one > other)
        case _:
            return bool(one >= other)


def _comparable(value: Mapping[str, Any]) -> Any:
    match value:
        case {"N": number}:
            return Decimal(number)
        case {"S": text}:
            return text.encode()
        case _:
            return value["BOOL"]


def _decimal(value: Mapping[str, Any] | None) -> Decimal:
    if value is None or "N" not in value:
        raise _invalid("An operand in the update expression has an incorrect data type")
    return Decimal(value["N"])


def _number(number: Decimal) -> Mapping[str, Any]:
    return {"N": str(number)}


# --- SQS --------------------------------------------------------------------------------------------------------------

_NOT_FOR_SQS = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html"""


@dataclass(frozen=True, slots=True)
class Message:
    """A message on a queue."""

    body: str
    delay_seconds: int
    attributes: Mapping[str, str]

    @property
    def content(self) -> Any:
        return json.loads(self.body)

    def as_record(self, message_id: str = "m-1") -> dict[str, Any]:
        """Give the record with which Lambda would be invoked."""
        return {
            "messageId": message_id,
            "receiptHandle": "r-1",
            "body": self.body,
            "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": str(int(NOW * 1000))},
            "messageAttributes": {},
            "md5OfBody": "",
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:retry",
            "awsRegion": "us-east-1",
        }


class FakeSQS:
    """Queues that are lists; refuses what SQS refuses."""

    def __init__(self) -> None:
        self.queues: dict[str, list[Message]] = {RETRY_URL: [], DEAD_LETTER_URL: []}
        self.failures = Failures()

    @property
    def retries(self) -> list[Message]:
        return self.queues[RETRY_URL]

    @property
    def dead_letters(self) -> list[Message]:
        return self.queues[DEAD_LETTER_URL]

    def copy(self) -> "FakeSQS":
        """Give an independent one with the same messages."""
        twin = FakeSQS()
        twin.queues = {url: list(messages) for url, messages in self.queues.items()}
        twin.failures = Failures(self.failures.error, self.failures.after, self.failures.times)
        return twin

    def fail(self, error: str | BotoCoreError, *, after: int = 0, times: int | None = None) -> None:
        """Fail from now on."""
        self.failures = Failures(error, after, times)

    def send_message(
        self,
        *,
        QueueUrl: str,
        MessageBody: str,
        DelaySeconds: int = 0,
        MessageAttributes: Mapping[str, Mapping[str, str]] | None = None,
    ) -> dict[str, str]:
        self.failures.strike("SendMessage")
        if QueueUrl not in self.queues:
            raise client_error("AWS.SimpleQueueService.NonExistentQueue", "SendMessage")
        attributes = {name: value["StringValue"] for name, value in (MessageAttributes or {}).items()}
        if not 0 <= DelaySeconds <= 900 or not MessageBody or not all(attributes.values()):
            raise client_error("InvalidParameterValue", "SendMessage")
        if any(_NOT_FOR_SQS.search(text) for text in (MessageBody, *attributes.values())):
            raise client_error("InvalidMessageContents", "SendMessage")
        self.queues[QueueUrl].append(Message(MessageBody, DelaySeconds, attributes))
        return {"MessageId": f"m-{len(self.queues[QueueUrl])}"}


# --- Secrets Manager --------------------------------------------------------------------------------------------------


def target_secret(name: str = "production", routing_key: str = ROUTING_KEY, **more: Any) -> str:
    """Give a target's secret."""
    return json.dumps({"name": name, "type": "pagerduty", "headers": {"routing_key": routing_key}, **more})


class FakeSecrets:
    """Secrets by name, all of them tagged; counts how often they are read."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self.secrets = dict(secrets)
        self.failures = Failures()
        self.reads = 0

    def batch_get_secret_value(self, *, Filters: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        self.reads += 1
        self.failures.strike("BatchGetSecretValue")
        prefix = next(each["Values"][0] for each in Filters if each["Key"] == "name")
        found = [(name, text) for name, text in self.secrets.items() if name.startswith(prefix)]
        return {"SecretValues": [{"Name": name, "SecretString": text} for name, text in found]}


# --- The wire to PagerDuty --------------------------------------------------------------------------------------------


class DirectPool(urllib3.PoolManager):
    """A pool whose requests are calls of the simulator's core: no socket, and the clock does the waiting."""

    def __init__(self, pagerduty: PagerDuty, clock: Clock, latency_seconds: float = 0.0) -> None:
        super().__init__()
        self.pagerduty = pagerduty
        self.clock = clock
        self.latency_seconds = latency_seconds

    def request(  # type: ignore[override]
        self, method: str, url: str, *, body: bytes, timeout: urllib3.Timeout, **_: Any
    ) -> urllib3.BaseHTTPResponse:
        answer = self.pagerduty.handle(method, url[len(BASE_URL) :], body)
        patience = float(cast(float, timeout.total))
        taken = answer.delay_seconds + self.latency_seconds
        self.clock.advance(min(taken, patience))
        if taken > patience:
            raise urllib3.exceptions.ReadTimeoutError(cast(Any, self), url, "no answer in time")
        if answer.status is None:
            raise urllib3.exceptions.ProtocolError("Connection aborted.", ConnectionResetError())
        text = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
        return urllib3.HTTPResponse(
            io.BytesIO(text.encode()), headers=dict(answer.headers), status=answer.status, preload_content=False
        )


# --- A whole publisher ------------------------------------------------------------------------------------------------


def half() -> float:
    """Be random in the middle."""
    return 0.5


def make_owners() -> Callable[[], str]:
    """Give what gives owner-1, owner-2, ..."""
    numbers = count(1)
    return lambda: f"owner-{next(numbers)}"


def make_table(
    dynamodb: FakeDynamoDB | DynamoDBClient, *, name: str = TABLE, ttl: float = 86400, repeat_after: float = 300
) -> DedupTable:
    """Give the dedup table on a client, fake or real."""
    return DedupTable(cast(DynamoDBClient, dynamodb), name, ttl_seconds=ttl, repeat_after_seconds=repeat_after)


def make_client(pool: urllib3.PoolManager, clock: Clock, **settings: Any) -> PagerDutyClient:
    """Give a client whose time and jitter are the test's."""
    arguments: dict[str, Any] = {"clock": clock, "sleep": clock.sleep, "random": half, **settings}
    return PagerDutyClient(pool=pool, **arguments)


class FreeTurns:
    """A limiter that knows no limit and makes no calls."""

    def take(self, routing_key: SecretStr, priority: Priority, now: float, turn_at: float | None = None) -> None:
        """Give a turn."""

    def push_back(self, routing_key: SecretStr, now: float, seconds: float) -> None:
        """Hold nobody back."""


def make_limiter(
    dynamodb: FakeDynamoDB | DynamoDBClient, requests_a_minute: float = 120, *, name: str = TABLE
) -> RateLimiter:
    """Give the rate limiter on a client, fake or real."""
    return RateLimiter(cast(DynamoDBClient, dynamodb), name, requests_a_minute)


def make_sender(
    client: PagerDutyClient,
    table: DedupTable,
    clock: Clock,
    *,
    limiter: TurnTaker | None = None,
    new_owner: Callable[[], str] | None = None,
    give_up_after_seconds: float = 86400,
    guard: Guard = unguarded,
) -> Sender:
    """Give a sender: the one place in the tests that makes one. There is no limit unless a limiter is given."""
    return Sender(
        client,
        table,
        limiter or FreeTurns(),
        clock=clock,
        random=half,
        new_owner=new_owner or make_owners(),
        give_up_after_seconds=give_up_after_seconds,
        guard=guard,
    )


@dataclass
class World:
    """A publisher, and all that it talks to."""

    clock: Clock
    pagerduty: PagerDuty
    dynamodb: FakeDynamoDB
    sqs: FakeSQS
    secrets: FakeSecrets
    sender: Sender
    publisher: Publisher
    problems: list[PublishError]

    def publish(self, record: Any) -> list[Report]:
        """Publish one record within an invocation that has just begun."""
        return self.publisher.publish(record, self.clock() + INVOCATION_SECONDS)

    def publish_one(self, record: Any) -> Report:
        """Publish a record that makes one delivery."""
        [report] = self.publish(record)
        return report

    def take_retry(self, wait: bool = True) -> dict[str, Any]:
        """Take the oldest message off the retry queue, when its delay is over, as Lambda would get it."""
        message = self.sqs.retries.pop(0)
        if wait:
            self.clock.advance(message.delay_seconds)
        return message.as_record()

    def item(self, identity: str) -> dict[str, Any]:
        """Give a record of the dedup table as plain values; empty where there is none."""
        return plain(self.dynamodb.tables[TABLE].get(identity, {}))

    @property
    def requests(self) -> list[tuple[str | None, str | None]]:
        """The action and dedup key of each request that PagerDuty got."""
        return [(request.action, request.dedup_key) for request in self.pagerduty.requests]

    @property
    def states(self) -> dict[str, str]:
        """The state of the latest incident of each dedup key."""
        return {incident.dedup_key: str(incident.state) for incident in self.pagerduty.incidents}


def make_world(
    secrets: Mapping[str, str] | None = None,
    *,
    clock: Clock | None = None,
    give_up_after_seconds: float = 86400,
    rate_limit: float | None = None,
    guard: Guard = unguarded,
    **client_settings: Any,
) -> World:
    """Make a publisher with one target `production`, unless given other secrets, and everything around it."""
    clock = clock or Clock()
    pagerduty = PagerDuty(clock)
    dynamodb, sqs = FakeDynamoDB(), FakeSQS()
    fake_secrets = FakeSecrets({"pagerduty/production": target_secret()} if secrets is None else secrets)
    problems: list[PublishError] = []
    client = make_client(DirectPool(pagerduty, clock), clock, **client_settings)
    limiter = make_limiter(dynamodb, rate_limit) if rate_limit else None
    table = make_table(dynamodb)
    sender = make_sender(
        client, table, clock, limiter=limiter, give_up_after_seconds=give_up_after_seconds, guard=guard
    )
    targets = Targets(
        SecretsByPrefix(cast(SecretsManagerClient, fake_secrets)),
        prefix="pagerduty/",
        base_url=BASE_URL,
        clock=clock,
        report=problems.append,
    )
    queues = Queues(cast(SQSClient, sqs), RETRY_URL, DEAD_LETTER_URL)
    publisher = Publisher(targets, sender, queues, clock)
    return World(clock, pagerduty, dynamodb, sqs, fake_secrets, sender, publisher, problems)


def native(fingerprint: str = "f-1", status: str = "firing", minute: int = 0, **alert: Any) -> dict[str, Any]:
    """Give a native alert that was observed so many minutes after a quarter past three."""
    return {
        "alert": {
            "fingerprint": fingerprint,
            "alert_name": "DatabaseHighCPU",
            "status": status,
            "labels": {"severity": "critical"},
            "observed_at": f"2026-11-23T03:{15 + minute:02d}:00+00:00",
            **alert,
        }
    }


def plain(item: Item) -> dict[str, Any]:
    """Give an item's values without their types."""

    def values() -> Iterator[tuple[str, Any]]:
        for name, typed in item.items():
            [(kind, value)] = typed.items()
            yield name, int(value) if kind == "N" else value

    return dict(values())
