"""The Lambda function: wires everything once, at INIT, and handles an invocation. No module imports it.

record -> unwrap -> source -> Alert -> targets -> claim, send, settle -> report -> metrics and one log line
"""

import gc

gc.disable()  # while modules are loaded: nearly all objects stay, and looking for garbage takes a tenth of INIT

import json
import logging
import os
import random
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.config import Config
from botocore.session import get_session

from handler import envelope, health, preparation, sources
from handler.delivery import drainer
from handler.delivery.concurrency import MapConcurrently
from handler.delivery.drainer import Drainer
from handler.delivery.dynamodb import Table
from handler.delivery.gateway import Gateway
from handler.delivery.ledger import Ledger
from handler.delivery.limiter import RateLimiter
from handler.delivery.record import Keeping
from handler.delivery.sender import Sender
from handler.delivery.table import DedupTable, Place
from handler.errors import PublisherErrorReason, PublishError, QueueUnavailableError
from handler.health import HealthCheck
from handler.messages import WakeUp
from handler.metrics import SERVICE, MetricsRecorder
from handler.outcome import Deferred
from handler.pagerduty.client import Attempt, PagerDutyClient
from handler.pagerduty.connections import make_pool
from handler.pagerduty.events import Event
from handler.publisher import Publisher
from handler.queues import Queues
from handler.report import Report
from handler.rounds import Rounds
from handler.settings import Settings
from handler.targets.secrets import SecretsByPrefix, Targets

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient
    from mypy_boto3_secretsmanager.client import SecretsManagerClient
    from mypy_boto3_sqs.client import SQSClient

CONCURRENT_DELIVERIES = 30
"""Alerts of one message, or deliveries of a drainer's batch, at a time. Each has a connection to PagerDuty, and waits
for its answer most of the time."""
CONNECTIONS = 8
"""Connections to each AWS service, whose answers take a tenth as long."""
CONCURRENT_DRAINS = 10
"""Routing keys that one invocation drains at a time."""
GIVE_UP_AFTER_SECONDS = 86400.0
"""How long a delivery may fail before it is dead-lettered."""
AWS_CLIENT_CONFIG = Config(
    # a call that hangs costs an invocation 10 s, once: see handler.delivery.dynamodb
    connect_timeout=2,
    read_timeout=3,
    retries={"mode": "standard", "total_max_attempts": 3},
    max_pool_connections=CONNECTIONS,
    # otherwise botocore builds a user agent, and checks parameters that never change, at each call
    user_agent=SERVICE,
    parameter_validation=False,
)
MARGIN_SECONDS = 3.0
"""The part of an invocation's time that is kept for the queues and the log."""


class InternalError(PublishError):
    """A bug in the publisher; the record is kept, and the log has the traceback."""

    reason = PublisherErrorReason.INTERNAL


UNLOGGED = {"location", "timestamp", "xray_trace_id"}
"""What Powertools adds to each line, although CloudWatch has a time of its own, and Lambda's REPORT line the trace.
CloudWatch Logs bills bytes."""


def serialize(line: dict[str, Any]) -> str:
    """Return a log line as JSON; a routing key that a library put into its error is redacted."""
    kept = {name: value for name, value in line.items() if name not in UNLOGGED}
    return parts.publisher.targets.redact(json.dumps(kept, default=str, separators=(",", ":")))


environment = os.environ
settings = Settings.from_environment(environment)  # before the logger, which reads LOG_LEVEL too, and names no setting
logger = Logger(service=SERVICE, json_serializer=serialize)
for chatty in ("aws_lambda_powertools", "boto3", "botocore", "urllib3"):  # they would log secrets at DEBUG
    logging.getLogger(chatty).setLevel(logging.WARNING)
metrics = MetricsRecorder()
deferred: list[Report] = []
"""The reports of this invocation that operators may need."""


def show_attempt(attempt: Attempt) -> None:
    """Log one request to PagerDuty at level DEBUG."""
    logger.debug("request", extra=_shown(attempt))


def show_attempt_with_body(attempt: Attempt) -> None:
    """Log one request to PagerDuty with its body, which may contain sensitive data, but never the routing key."""
    logger.debug("request", extra={**_shown(attempt), "body": attempt.body()})


def _shown(attempt: Attempt) -> dict[str, Any]:
    return {
        "method": "POST",
        "url": attempt.url,
        "dedup_key": attempt.dedup_key,
        "attempt": attempt.number,
        "status": attempt.status,
        "api_ms": round(attempt.milliseconds, 1),
    }


def report_problem(error: PublishError) -> None:
    """Log and count what is wrong with a target or with reading them."""
    logger.error(str(error), extra={"reason": str(error.reason)})
    metrics.record_error(error)


deliveries = ThreadPoolExecutor(CONCURRENT_DELIVERIES, thread_name_prefix="delivery")
to_targets = ThreadPoolExecutor(CONCURRENT_DELIVERIES, thread_name_prefix="target")
"""Threads for the targets of one alert; those of `deliveries` wait for them."""
drains = ThreadPoolExecutor(CONCURRENT_DRAINS, thread_name_prefix="drain")
woken = ThreadPoolExecutor(CONCURRENT_DRAINS, thread_name_prefix="woken")
"""Threads for the wake-ups of one batch, so that no routing key waits for another's backlog. They wait for `drains`."""


def map_on(threads: ThreadPoolExecutor) -> MapConcurrently:
    """Return a `map` on several threads, which waits for all calls even if one raises."""

    def map_concurrently[A, B](function: Callable[[A], B], things: Iterable[A]) -> list[B]:
        futures = [threads.submit(function, thing) for thing in things]
        wait(futures)
        return [future.result() for future in futures]

    return map_concurrently


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts that an execution environment makes once."""

    publisher: Publisher
    drainer: Drainer
    health_check: HealthCheck
    rounds: Rounds
    preparations: Sequence[Callable[[], object]] = ()


def wire(settings: Settings, function_name: str = "") -> Parts:
    """Make everything once for the life of the execution environment."""
    # boto3 would import the transfer manager of S3, and multiprocessing, before it did the same
    make_client: Callable[[str], Any] = partial(get_session().create_client, config=AWS_CLIENT_CONFIG)
    dynamodb: DynamoDBClient = make_client("dynamodb")
    sqs: SQSClient = make_client("sqs")
    secrets: SecretsManagerClient = make_client("secretsmanager")
    on_attempt = show_attempt_with_body if settings.LOG_BODIES == "ENABLED" else show_attempt
    client = PagerDutyClient(
        base_url=settings.PAGERDUTY_BASE_URL,
        timeout_seconds=settings.PAGERDUTY_TIMEOUT,
        max_retries=settings.PAGERDUTY_MAX_RETRIES,
        pool=make_pool(settings.proxy_url, CONCURRENT_DELIVERIES),
        clock=time.time,
        on_attempt=on_attempt if settings.LOG_LEVEL == "DEBUG" else None,
    )
    items = Table(dynamodb, settings.DEDUP_TABLE_NAME, time.time, CONNECTIONS)
    table = DedupTable(items, Keeping(ttl_ms=round(settings.PAGERDUTY_CACHE_TTL * 1000)))
    limiter = RateLimiter(items, settings.PAGERDUTY_RATE_LIMIT)
    targets = Targets(
        SecretsByPrefix(secrets),
        prefix=settings.PAGERDUTY_TARGET_PREFIX,
        base_url=settings.PAGERDUTY_BASE_URL,
        clock=time.time,
        report=report_problem,
    )
    queues = Queues(sqs, settings.RETRY_QUEUE_URL, settings.DEAD_LETTER_QUEUE_URL)
    sender = Sender(
        Gateway(client, limiter, clock=time.time, rotated=targets.rotated),
        Ledger(table, clock=time.time, new_owner=new_owner, repeat_after_seconds=settings.PAGERDUTY_REPEAT_AFTER),
        limiter,
        clock=time.time,
        random=random.random,
        give_up_after_seconds=GIVE_UP_AFTER_SECONDS,
        wake=queues.wake_quietly,
        keep_copy=lambda delivery, delay: queues.keep_copy(
            delivery.alert, delivery.target.name, delivery.failures, delay, time.time()
        ),
    )
    publisher = Publisher(
        targets=targets,
        sender=sender,
        table=table,
        queues=queues,
        clock=time.time,
        parse=partial(
            sources.parse,
            when_undetermined=settings.CLOUDWATCH_INSUFFICIENT_DATA,
            account_names=settings.ACCOUNT_NAMES,
        ),
        map_concurrently=map_on(deliveries),
        map_targets=map_on(to_targets),
        function_name=function_name,
        foreign_topic_arn=settings.FOREIGN_TOPIC_ARN or "",
    )
    drainer = Drainer(
        sender=sender,
        table=table,
        limiter=limiter,
        tell=lambda reports: tell_at_once(reports),
        reject=publisher.reject,
        reject_record=publisher.reject_record,
        explain=explain,
        clock=time.time,
        sleep=time.sleep,
        new_owner=new_owner,
        wake=lambda target, handovers: queues.wake(target, handovers=handovers, delay_seconds=0),
        map_concurrently=map_on(deliveries),
        map_keys=map_on(drains),
    )
    rounds = Rounds(
        settings,
        function_name,
        make_client=make_client,
        targets=targets,
        table=table,
        queues=queues,
        publish=lambda record, deadline: handle(record, deadline),
        report=logger.error,
        clock=time.time,
    )
    check = HealthCheck(targets, client, table, limiter, time.time, queues.count_dead_letters)
    # while the others wait for answers, the models of an event are built; reading a target builds its own
    preparations = (targets.read, items.connect, client.connect, Event.model_rebuild)
    return Parts(publisher, drainer, check, rounds, preparations=preparations)


def new_owner() -> str:
    """Return a name for a claim or a lease, never returned twice."""
    return uuid4().hex


def explain(error: Exception) -> PublishError:
    """Log an unexpected exception, and return it as an error."""
    logger.exception("a delivery failed unexpectedly", exc_info=error)
    return InternalError(f"{type(error).__name__} while publishing: see the log")


FUNCTION_NAME = environment.get("AWS_LAMBDA_FUNCTION_NAME", "")
parts = wire(settings, FUNCTION_NAME)
if preparation.is_of_use(environment):
    preparation.prepare(parts.preparations)

gc.freeze()  # later collections skip the objects made at INIT
gc.enable()


def lambda_handler(event: Any, context: LambdaContext) -> Any:
    """Publish every alert of an invocation; raise only if one could neither be sent nor kept."""
    logger.append_keys(function_request_id=context.aws_request_id)
    deadline = time.time() + context.get_remaining_time_in_millis() / 1000 - MARGIN_SECONDS
    deferred.clear()
    try:
        return answer(event, context, deadline)
    finally:
        metrics.flush()
        parts.rounds.note(deferred)


def answer(event: Any, context: LambdaContext, deadline: float) -> Any:
    """Handle an invocation: a schedule's request, or records with alerts."""
    if health.is_asked_for(event):
        return check_health(context.invoked_function_arn, deadline)
    if event == drainer.REQUEST:
        return drain_all(deadline)
    records = envelope.split(event)
    # Pipes does not read partial batch responses, so a lost alert must fail the invocation
    is_of_pipe = isinstance(event, list)
    if not is_of_pipe and any(isinstance(it, dict) and it.get("eventSource") == "aws:sqs" for it in records):
        return handle_batch(event, deadline, context)
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


def handle_batch(event: Any, deadline: float, context: LambdaContext) -> Any:
    """Publish the alerts of an SQS batch, then drain for its wake-ups; return which messages failed."""
    # not at INIT: it imports asyncio and the data classes of every event source, 7 % of a cold start
    from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response

    wake_ups: dict[str, WakeUp] = {}

    def handle_record(record: Any) -> None:
        wake_up = parts.publisher.queues.wake_up_of(record.raw_event)
        if wake_up is None:
            handle(record.raw_event, deadline)
        else:
            wake_ups.setdefault(wake_up.target, wake_up)

    answer = process_partial_response(
        event=event,
        record_handler=handle_record,
        processor=BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False),
        context=context,
    )
    map_on(woken)(partial(drain, deadline=deadline, wake_ups=len(wake_ups)), wake_ups.values())
    return answer


def drain_all(deadline: float) -> dict[str, Any]:
    """Report dead letters and late alerts to operators, then send what waits."""
    parts.rounds.look_at_dead_letters()
    try:
        places = list(parts.publisher.table.all_waiting())
    except PublishError as error:
        report_problem(error)
        return {"drained": 0}
    parts.rounds.look(places)
    return drain(WakeUp(), deadline, places)


def drain(
    wake_up: WakeUp, deadline: float, places: Sequence[Place] | None = None, *, wake_ups: int = 1
) -> dict[str, Any]:
    """Send what waits, as permits come free. Never fails: the schedule starts the next drainer."""
    try:
        drained = parts.drainer.run(parts.publisher.targets.read(), deadline, wake_up, places, wake_ups=wake_ups)
    except PublishError as error:
        report_problem(error)
        return {"drained": 0}
    except Exception as error:  # noqa: BLE001 - the batch's alerts were published, and its wake-ups may get lost
        report_problem(explain(error))
        return {"drained": 0}
    for problem in drained.errors:
        report_problem(problem)
    return {"drained": drained.count}


def check_health(function_arn: str, deadline: float) -> dict[str, Any]:
    """Run the health check, then compare CloudWatch's alarms with the records."""
    found = parts.health_check.run(deadline)
    metrics.record_health(found, FUNCTION_NAME)
    log = logger.error if found.errors else logger.info
    log("unhealthy" if found.errors else "healthy", extra=found.fields())
    if not found.errors:
        parts.rounds.beat()
    agreed = parts.rounds.agree(function_arn, deadline)
    return {**found.fields(), **({"agreed": agreed} if agreed else {})}


def handle(record: Any, deadline: float) -> list[Report]:
    """Publish one record; raise QueueUnavailableError only if an alert of it would be lost."""
    try:
        reports = parts.publisher.publish(record, deadline)
    except Exception as error:  # noqa: BLE001 - whatever it is, the record must not be lost
        reports = [parts.publisher.reject_record(record, explain(error))]
    tell(reports)
    for report in reports:
        if report.lost:
            raise report.lost
    return reports


def tell(reports: Iterable[Report]) -> None:
    """Log and count how deliveries ended."""
    for report in reports:
        metrics.record(report)
        log = logger.error if report.all_errors else logger.info
        log(report.outcome, extra=report.fields())
        if isinstance(report.result, Deferred):
            deferred.append(report)


def tell_at_once(reports: Sequence[Report]) -> None:
    """Log and count what a drainer sent, and write the metrics too: it may be killed before it ends."""
    tell(reports)
    metrics.flush()
