"""A publisher with everything around it, and the factories that make its parts for tests."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, cast

import urllib3
from mypy_boto3_dynamodb.client import DynamoDBClient
from mypy_boto3_secretsmanager.client import SecretsManagerClient
from mypy_boto3_sqs.client import SQSClient

from handler.delivery.drainer import Drainer, WakeUp
from handler.delivery.dynamodb import Table
from handler.delivery.limiter import RateLimiter
from handler.delivery.record import Keeping
from handler.delivery.sender import Sender
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


def make_items(dynamodb: FakeDynamoDB | DynamoDBClient, clock: Clock | None = None, *, name: str = TABLE) -> Table:
    """Return the table on a client, fake or real."""
    return Table(cast(DynamoDBClient, dynamodb), name, clock or Clock())


def make_table(
    dynamodb: FakeDynamoDB | DynamoDBClient, *, clock: Clock | None = None, name: str = TABLE, ttl: float = 86400
) -> DedupTable:
    """Return the dedup table on a client, fake or real."""
    return DedupTable(make_items(dynamodb, clock, name=name), Keeping(ttl_ms=round(ttl * 1000)))


def make_client(pool: urllib3.PoolManager, clock: Clock, **settings: Any) -> PagerDutyClient:
    """Return a client whose time and jitter are the test's."""
    arguments: dict[str, Any] = {"clock": clock, "sleep": clock.sleep, "random": half, **settings}
    return PagerDutyClient(pool=pool, **arguments)


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

    def publish(self, record: Any) -> list[Report]:
        """Publish one record within an invocation that has just begun."""
        return self.publisher.publish(record, self.clock() + INVOCATION_SECONDS)

    def publish_one(self, record: Any) -> Report:
        """Publish a record that makes one delivery."""
        [report] = self.publish(record)
        return report

    def drain(self, wake_up: WakeUp | None = None, *, seconds: float = INVOCATION_SECONDS) -> list[Report]:
        """Send what waits, within an invocation that has just begun; the schedule's unless it is a wake-up's."""
        drained = self.drainer.run(self.targets.read(), self.clock() + seconds, wake_up or WakeUp())
        self.problems += drained.errors
        return list(drained.reports)

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
    owners = make_owners()
    items = make_items(dynamodb, clock)
    table = DedupTable(items, Keeping(ttl_ms=round(ttl * 1000)))
    limiter = RateLimiter(items, rate_limit)
    targets = Targets(
        SecretsByPrefix(cast(SecretsManagerClient, fake_secrets)),
        prefix="pagerduty/",
        base_url=BASE_URL,
        clock=clock,
        report=problems.append,
    )
    queues = Queues(cast(SQSClient, sqs), RETRY_URL, DEAD_LETTER_URL)
    sender = Sender(
        make_client(DirectPool(pagerduty, clock), clock, **client_settings),
        table,
        limiter,
        clock=clock,
        random=half,
        new_owner=owners,
        give_up_after_seconds=give_up_after_seconds,
        repeat_after_seconds=repeat_after_seconds,
        wake=queues.wake_quietly,
        keep_copy=lambda delivery, delay: queues.keep_copy(delivery, delay, clock()),
        rotated=targets.rotated,
    )
    publisher = Publisher(targets=targets, sender=sender, table=table, queues=queues, clock=clock)

    def explain(error: Exception) -> PublishError:
        raise error

    drainer = Drainer(
        sender=sender,
        table=table,
        limiter=limiter,
        reject=publisher.reject,
        reject_record=publisher.reject_record,
        explain=explain,
        clock=clock,
        sleep=clock.sleep,
        new_owner=owners,
        wake=lambda target, handovers: queues.wake(target, handovers=handovers, delay_seconds=0),
    )
    return World(
        clock=clock,
        pagerduty=pagerduty,
        dynamodb=dynamodb,
        sqs=sqs,
        secrets=fake_secrets,
        table=table,
        limiter=limiter,
        sender=sender,
        publisher=publisher,
        drainer=drainer,
        targets=targets,
        problems=problems,
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
