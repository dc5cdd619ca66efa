"""A publisher with everything around it, and the factories that make its parts for tests."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, cast

import urllib3
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
from tests.lab.clock import Clock, half
from tests.lab.dynamodb import TABLE, FakeDynamoDB, plain
from tests.lab.secrets import FakeSecrets, target_secret
from tests.lab.sqs import DEAD_LETTER_URL, RETRY_URL, FakeSQS
from tests.lab.wire import BASE_URL, DirectPool

INVOCATION_SECONDS = 57.0


def make_owners() -> Callable[[], str]:
    """Return a function that returns owner-1, owner-2, ..."""
    numbers = count(1)
    return lambda: f"owner-{next(numbers)}"


def make_table(
    dynamodb: FakeDynamoDB | DynamoDBClient, *, name: str = TABLE, ttl: float = 86400, repeat_after: float = 300
) -> DedupTable:
    """Return the dedup table on a client, fake or real."""
    return DedupTable(cast(DynamoDBClient, dynamodb), name, ttl_seconds=ttl, repeat_after_seconds=repeat_after)


def make_client(pool: urllib3.PoolManager, clock: Clock, **settings: Any) -> PagerDutyClient:
    """Return a client whose time and jitter are the test's."""
    arguments: dict[str, Any] = {"clock": clock, "sleep": clock.sleep, "random": half, **settings}
    return PagerDutyClient(pool=pool, **arguments)


class FreeTurns:
    """A limiter that knows no limit and makes no calls."""

    def take(self, routing_key: SecretStr, priority: Priority, now: float, turn_at: float | None = None) -> None:
        """Return a turn."""

    def push_back(self, routing_key: SecretStr, now: float, seconds: float) -> None:
        """Hold nobody back."""


def make_limiter(
    dynamodb: FakeDynamoDB | DynamoDBClient, requests_a_minute: float = 120, *, name: str = TABLE
) -> RateLimiter:
    """Return the rate limiter on a client, fake or real."""
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
    """Return a sender: the one place in the tests that makes one. There is no limit unless a limiter is given."""
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
        """Return a record of the dedup table as plain values; empty where there is none."""
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
    """Return a native alert that was observed so many minutes after a quarter past three."""
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
