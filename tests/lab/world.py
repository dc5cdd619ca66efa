"""A publisher with everything that it talks to, and factories for its parts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from mypy_boto3_dynamodb.client import DynamoDBClient

from handler.delivery.drainer import Drainer
from handler.delivery.dynamodb import Table
from handler.delivery.limiter import RateLimiter
from handler.delivery.record import Keeping
from handler.delivery.sender import Sender
from handler.delivery.table import DedupTable
from handler.errors import PublishError
from handler.messages import WakeUp
from handler.publisher import Publisher
from handler.report import Report
from handler.targets.secrets import Targets
from local.simulator.pagerduty import PagerDuty
from tests.lab.clock import Clock
from tests.lab.dynamodb import TABLE, FakeDynamoDB, plain
from tests.lab.parts import make_parts
from tests.lab.secrets import FakeSecrets, target_secret
from tests.lab.sqs import FakeSQS
from tests.lab.wire import DirectPool

INVOCATION_SECONDS = 57.0


def make_items(dynamodb: FakeDynamoDB | DynamoDBClient, clock: Clock | None = None, *, name: str = TABLE) -> Table:
    """Return the table on a client, fake or real."""
    return Table(cast(DynamoDBClient, dynamodb), name, clock or Clock())


def make_table(
    dynamodb: FakeDynamoDB | DynamoDBClient, *, clock: Clock | None = None, name: str = TABLE, ttl: float = 86400
) -> DedupTable:
    """Return the dedup table on a client, fake or real."""
    return DedupTable(make_items(dynamodb, clock, name=name), Keeping(ttl_ms=round(ttl * 1000)))


def make_limiter(
    dynamodb: FakeDynamoDB | DynamoDBClient,
    requests_a_minute: float = 120,
    *,
    clock: Clock | None = None,
    name: str = TABLE,
) -> RateLimiter:
    """Return the rate limiter on a client, fake or real."""
    return RateLimiter(make_items(dynamodb, clock, name=name), requests_a_minute)


@dataclass
class World:
    """A publisher, and all that it talks to."""

    clock: Clock
    pagerduty: PagerDuty
    dynamodb: FakeDynamoDB
    sqs: FakeSQS
    secrets: FakeSecrets
    table: DedupTable
    limiter: RateLimiter
    sender: Sender
    publisher: Publisher
    drainer: Drainer
    targets: Targets
    problems: list[PublishError]
    told: list[Report]

    def publish(self, record: Any) -> list[Report]:
        """Publish one record within an invocation that has just begun."""
        return self.publisher.publish(record, self.clock() + INVOCATION_SECONDS)

    def publish_one(self, record: Any) -> Report:
        """Publish a record that makes one delivery."""
        [report] = self.publish(record)
        return report

    def drain(self, wake_up: WakeUp | None = None, *, seconds: float = INVOCATION_SECONDS) -> list[Report]:
        """Send what waits within an invocation that has just begun: the schedule's, or a wake-up's if one is given."""
        self.told.clear()
        drained = self.drainer.run(self.targets.read(), self.clock() + seconds, wake_up or WakeUp())
        self.problems += drained.errors
        return list(self.told)

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
    repeat_after_seconds: float = 300,
    rate_limit: float = 120,
    ttl: float = 86400,
    **client_settings: Any,
) -> World:
    """Make a publisher with one target `production`, unless given other secrets, and everything around it."""
    clock = clock or Clock()
    pagerduty = PagerDuty(clock)
    dynamodb, sqs = FakeDynamoDB(), FakeSQS()
    fake_secrets = FakeSecrets({"pagerduty/production": target_secret()} if secrets is None else secrets)
    problems: list[PublishError] = []
    told: list[Report] = []
    parts = make_parts(
        pool=DirectPool(pagerduty, clock),
        dynamodb=dynamodb,
        sqs=sqs,
        secrets=fake_secrets,
        clock=clock,
        requests_a_minute=rate_limit,
        ttl_seconds=ttl,
        repeat_after_seconds=repeat_after_seconds,
        give_up_after_seconds=give_up_after_seconds,
        report=problems.append,
        record_at_once=told.extend,
        **client_settings,
    )
    return World(
        clock=clock,
        pagerduty=pagerduty,
        dynamodb=dynamodb,
        sqs=sqs,
        secrets=fake_secrets,
        table=parts.table,
        limiter=parts.limiter,
        sender=parts.sender,
        publisher=parts.publisher,
        drainer=parts.drainer,
        targets=parts.targets,
        problems=problems,
        told=told,
    )


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
