"""Makes the parts of the function for tests, in one place."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, cast

import urllib3
from mypy_boto3_dynamodb.client import DynamoDBClient
from mypy_boto3_secretsmanager.client import SecretsManagerClient
from mypy_boto3_sqs.client import SQSClient

from handler.delivery.concurrency import MapConcurrently
from handler.delivery.drainer import Drainer
from handler.delivery.dynamodb import Table
from handler.delivery.gateway import Gateway
from handler.delivery.ledger import Ledger
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
from tests.lab.clock import Clock, half
from tests.lab.dynamodb import TABLE
from tests.lab.sqs import DEAD_LETTER_URL, RETRY_URL
from tests.lab.wire import BASE_URL

DAY = 86400.0


class UnexpectedError(PublishError):
    """An unexpected exception; `app` logs its traceback, a test raises its cause."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts that `app.wire` makes."""

    client: PagerDutyClient
    table: DedupTable
    limiter: RateLimiter
    sender: Sender
    targets: Targets
    queues: Queues
    publisher: Publisher
    drainer: Drainer


def make_owners(prefix: str = "owner") -> Callable[[], str]:
    """Return a function that returns owner-1, owner-2, ..."""
    numbers = count(1)
    return lambda: f"{prefix}-{next(numbers)}"


def make_client(pool: urllib3.PoolManager, clock: Clock, **settings: Any) -> PagerDutyClient:
    """Return a client whose time and jitter are the test's."""
    arguments: dict[str, Any] = {"clock": clock, "sleep": clock.sleep, "random": half, **settings}
    return PagerDutyClient(pool=pool, **arguments)


def make_parts(
    *,
    pool: urllib3.PoolManager,
    dynamodb: Any,
    sqs: Any,
    secrets: Any,
    clock: Clock,
    table_name: str = TABLE,
    requests_a_minute: float = 120,
    ttl_seconds: float = DAY,
    repeat_after_seconds: float = 300,
    give_up_after_seconds: float = DAY,
    new_owner: Callable[[], str] | None = None,
    random: Callable[[], float] = half,
    report: Callable[[PublishError], None] = lambda problem: None,
    record_at_once: Callable[[Sequence[Report]], None] = lambda reports: None,
    record_exception: Callable[[Exception], PublishError] | None = None,
    map_concurrently: MapConcurrently = map,
    limiter: Any = None,
    targets: Targets | None = None,
    **client_settings: Any,
) -> Parts:
    """Wire the parts as `app.wire` does, on clients that are fake or real."""
    owners = new_owner or make_owners()
    client = make_client(pool, clock, random=random, **client_settings)
    items = Table(cast(DynamoDBClient, dynamodb), table_name, clock)
    table = DedupTable(items, Keeping(ttl_ms=round(ttl_seconds * 1000)))
    limiter = limiter or RateLimiter(items, requests_a_minute)
    targets = targets or Targets(
        SecretsByPrefix(cast(SecretsManagerClient, secrets)),
        prefix="pagerduty/",
        base_url=BASE_URL,
        clock=clock,
        report=report,
    )
    queues = Queues(cast(SQSClient, sqs), RETRY_URL, DEAD_LETTER_URL)
    sender = Sender(
        Gateway(client, limiter, clock=clock, rotated=targets.rotated),
        Ledger(table, clock=clock, new_owner=owners, repeat_after_seconds=repeat_after_seconds),
        limiter,
        clock=clock,
        random=random,
        give_up_after_seconds=give_up_after_seconds,
        wake=queues.wake_quietly,
        keep_copy=lambda delivery, delay: queues.keep_copy(
            delivery.alert, delivery.target.name, delivery.failures, delay, clock(), delivery.routed_to
        ),
    )
    publisher = Publisher(
        targets=targets,
        sender=sender,
        table=table,
        queues=queues,
        clock=clock,
        map_concurrently=map_concurrently,
    )
    drainer = Drainer(
        sender=sender,
        table=table,
        limiter=limiter,
        record_at_once=record_at_once,
        reject=publisher.reject,
        reject_record=publisher.reject_record,
        record_exception=record_exception or _as_error,
        clock=clock,
        sleep=clock.sleep,
        new_owner=owners,
        wake=lambda target, handovers: queues.wake(target, handovers=handovers, delay_seconds=0),
        map_concurrently=map_concurrently,
        map_keys=map_concurrently,
    )
    return Parts(
        client=client,
        table=table,
        limiter=limiter,
        sender=sender,
        targets=targets,
        queues=queues,
        publisher=publisher,
        drainer=drainer,
    )


def _as_error(error: Exception) -> PublishError:
    raise error
