"""The Lambda function: wires everything once, at init, and shows the flow of an invocation. Nobody imports it.

record -> unwrap -> source -> Alert -> targets -> claim, send, settle -> report -> metrics and one log line
"""

import gc

gc.disable()  # while modules are loaded: nearly all they make stays, and looking for garbage is a tenth of init

import json
import logging
import os
import random
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import Any
from uuid import uuid4

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.config import Config

from handler import envelope, health, sources
from handler.delivery.circuit import Circuit
from handler.delivery.limiter import RateLimiter
from handler.delivery.sender import Sender
from handler.delivery.table import DedupTable
from handler.errors import PublisherErrorReason, PublishError, QueueUnavailableError
from handler.health import HealthCheck
from handler.metrics import SERVICE, MetricsRecorder
from handler.pagerduty.client import Attempt, PagerDutyClient
from handler.publisher import Publisher
from handler.queues import Queues
from handler.report import Report
from handler.settings import Settings
from handler.targets.secrets import SecretsByPrefix, Targets

CONCURRENT_DELIVERIES = 10
"""Of the alerts of one message: as many as there are connections to each service, and to PagerDuty."""
AWS_CLIENT_CONFIG = Config(
    connect_timeout=2,
    read_timeout=4,
    retries={"mode": "standard", "total_max_attempts": 3},
    max_pool_connections=CONCURRENT_DELIVERIES,
    # botocore would put its own together, and check the parameters of calls that are the same every time, at each call
    user_agent=SERVICE,
    parameter_validation=False,
)
MARGIN_SECONDS = 3.0
"""Kept of an invocation's time for the queues and the log, after the last request to PagerDuty."""


class InternalError(PublishError):
    """A mistake of ours; the record is kept, and the log has the traceback."""

    reason = PublisherErrorReason.INTERNAL


def serialize(line: dict[str, Any]) -> str:
    """Give a log line as JSON; should a library put a routing key into its error, it stops here."""
    return publisher.targets.redact(json.dumps(line, default=str, separators=(",", ":")))


logger = Logger(service=SERVICE, json_serializer=serialize)
for chatty in ("aws_lambda_powertools", "boto3", "botocore", "urllib3"):  # they would show secrets at DEBUG
    logging.getLogger(chatty).setLevel(logging.WARNING)
metrics = MetricsRecorder()


def show_attempt(attempt: Attempt) -> None:
    """Log one request to PagerDuty, with its body, at level DEBUG."""
    shown = {
        "method": "POST",
        "url": attempt.url,
        "dedup_key": attempt.dedup_key,
        "attempt": attempt.number,
        "status": attempt.status,
        "api_ms": round(attempt.milliseconds, 1),
        "body": attempt.body(),
    }
    logger.debug("request", extra=shown)


def report_problem(error: PublishError) -> None:
    """Log and count what is wrong with a target or with reading them."""
    logger.error(str(error), extra={"reason": str(error.reason)})
    metrics.record_error(error)


threads = ThreadPoolExecutor(CONCURRENT_DELIVERIES, thread_name_prefix="delivery")


def concurrently[A, B](function: Callable[[A], B], things: Iterable[A]) -> list[B]:
    """Call a function for all things on several threads; wait for all of them, even where one of them raises."""
    futures = [threads.submit(function, thing) for thing in things]
    wait(futures)
    return [future.result() for future in futures]


def wire(settings: Settings, function_name: str = "") -> tuple[Publisher, HealthCheck]:
    """Make everything once for the life of the execution environment."""
    dynamodb = boto3.client("dynamodb", config=AWS_CLIENT_CONFIG)
    sqs = boto3.client("sqs", config=AWS_CLIENT_CONFIG)
    secrets = boto3.client("secretsmanager", config=AWS_CLIENT_CONFIG)
    client = PagerDutyClient(
        base_url=settings.PAGERDUTY_BASE_URL,
        timeout_seconds=settings.PAGERDUTY_TIMEOUT,
        max_retries=settings.PAGERDUTY_MAX_RETRIES,
        clock=time.time,
        on_attempt=show_attempt if settings.LOG_LEVEL == "DEBUG" else None,
    )
    table = DedupTable(
        dynamodb,
        settings.DEDUP_TABLE_NAME,
        ttl_seconds=settings.PAGERDUTY_CACHE_TTL,
        repeat_after_seconds=settings.PAGERDUTY_REPEAT_AFTER,
    )
    limiter = RateLimiter(dynamodb, settings.DEDUP_TABLE_NAME, settings.PAGERDUTY_RATE_LIMIT)
    sender = Sender(
        client,
        table,
        limiter,
        clock=time.time,
        random=random.random,
        new_owner=lambda: uuid4().hex,
        give_up_after_seconds=settings.PAGERDUTY_CACHE_TTL,
        guard=Circuit(dynamodb, settings.DEDUP_TABLE_NAME).call,
    )
    targets = Targets(
        SecretsByPrefix(secrets),
        prefix=settings.PAGERDUTY_TARGET_PREFIX,
        base_url=settings.PAGERDUTY_BASE_URL,
        clock=time.time,
        report=report_problem,
    )
    queues = Queues(sqs, settings.RETRY_QUEUE_URL, settings.DEAD_LETTER_QUEUE_URL)
    parse = partial(sources.parse, when_undetermined=settings.CLOUDWATCH_INSUFFICIENT_DATA)
    publisher = Publisher(targets, sender, queues, time.time, parse, concurrently, function_name)
    return publisher, HealthCheck(targets, client, table, limiter, time.time)


environment = os.environ
publisher, health_check = wire(Settings.from_environment(environment), environment.get("AWS_LAMBDA_FUNCTION_NAME", ""))

gc.freeze()  # no later collection has to look at what init made
gc.enable()


@logger.inject_lambda_context
def lambda_handler(event: Any, context: LambdaContext) -> Any:
    """Publish every alert of an invocation; fail only if one could neither be sent nor kept."""
    deadline = time.time() + context.get_remaining_time_in_millis() / 1000 - MARGIN_SECONDS
    records = envelope.split(event)
    try:
        if health.is_asked_for(event):
            return check_health(deadline)
        if any(isinstance(record, dict) and record.get("eventSource") == "aws:sqs" for record in records):
            # not at init: it brings asyncio and the data classes of every event source, 7 % of a cold start
            from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response

            return process_partial_response(
                event=event,
                record_handler=lambda record: handle(record.raw_event, deadline),
                processor=BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False),
                context=context,
            )
        failures: list[Exception] = []
        reports: list[Report] = []
        for record in records:
            try:
                reports += handle(record, deadline)
            except QueueUnavailableError as error:
                failures.append(error)
        if failures:
            raise ExceptionGroup("alerts that could neither be sent nor kept: Lambda has to try again", failures)
        return {"results": [report.fields() for report in reports]}
    finally:
        metrics.flush()


def check_health(deadline: float) -> dict[str, Any]:
    """Ask everything that a page needs whether it is there, and tell."""
    found = health_check.run(deadline)
    metrics.record_health(found)
    log = logger.error if found.errors else logger.info
    log("unhealthy" if found.errors else "healthy", extra=found.fields())
    return found.fields()


def handle(record: Any, deadline: float) -> list[Report]:
    """Publish one record, its siblings unharmed; raise QueueUnavailableError if an alert of it would be lost."""
    try:
        reports = publisher.publish(record, deadline)
    except Exception as error:
        logger.exception("a record could not be published")
        reports = [publisher.reject(record, InternalError(f"{type(error).__name__} while publishing: see the log"))]
    for report in reports:
        metrics.record(report)
        log = logger.error if report.all_errors else logger.info
        log(report.outcome, extra=report.fields())
    for report in reports:
        if report.lost:
            raise report.lost
    return reports
