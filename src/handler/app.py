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
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.config import Config
from botocore.session import get_session

from handler import envelope, preparation, schedules
from handler.delivery.concurrency import MapConcurrently
from handler.delivery.drainer import Drainer
from handler.delivery.dynamodb import Table
from handler.delivery.gateway import Gateway
from handler.delivery.ledger import Ledger
from handler.delivery.limiter import RateLimiter
from handler.delivery.record import Keeping
from handler.delivery.sender import Sender
from handler.delivery.table import DedupTable, Place
from handler.errors import PublishError, QueueUnavailableError
from handler.health import HealthCheck
from handler.heartbeat import Heartbeat
from handler.messages import WakeUp
from handler.metrics import SERVICE, MetricsRecorder
from handler.operators.reports import OperatorReports
from handler.pagerduty.client import PagerDutyClient
from handler.pagerduty.connections import make_pool
from handler.pagerduty.events import Event
from handler.publisher import Publisher
from handler.queues import Queues
from handler.report import Report
from handler.settings import Settings
from handler.sources.reader import Reader
from handler.targets.secrets import SecretsByPrefix, Targets
from handler.telemetry import Telemetry

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient
    from mypy_boto3_secretsmanager.client import SecretsManagerClient
    from mypy_boto3_sqs.client import SQSClient

    from handler.agreement.comparison import Comparison
    from handler.operators.reporter import Reporter

type MakeClient = Callable[[str], Any]
"""Makes a client of an AWS service, by the service's name."""

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
UNLOGGED = {"location", "timestamp", "xray_trace_id"}
"""What Powertools adds to each line, although CloudWatch has a time of its own, and Lambda's REPORT line the trace.
CloudWatch Logs bills bytes."""


def serialize(line: dict[str, Any]) -> str:
    """Return a log line as JSON; a routing key that a library put into its error is redacted."""
    kept = {name: value for name, value in line.items() if name not in UNLOGGED}
    return parts.targets.redact(json.dumps(kept, default=str, separators=(",", ":")))


environment = os.environ
settings = Settings.from_environment(environment)  # before the logger, which reads LOG_LEVEL too, and names no setting
logger = Logger(service=SERVICE, json_serializer=serialize)
for verbose in ("aws_lambda_powertools", "boto3", "botocore", "urllib3"):  # they would log secrets at DEBUG
    logging.getLogger(verbose).setLevel(logging.WARNING)
metrics = MetricsRecorder()
function_name = environment.get("AWS_LAMBDA_FUNCTION_NAME", "")
telemetry = Telemetry(logger, metrics, function_name)

DELIVERY_THREADS = ThreadPoolExecutor(CONCURRENT_DELIVERIES, thread_name_prefix="delivery")
TARGET_THREADS = ThreadPoolExecutor(CONCURRENT_DELIVERIES, thread_name_prefix="target")
"""For the targets of one alert; those of `DELIVERY_THREADS` wait for them."""
DRAIN_THREADS = ThreadPoolExecutor(CONCURRENT_DRAINS, thread_name_prefix="drain")
WAKE_UP_THREADS = ThreadPoolExecutor(CONCURRENT_DRAINS, thread_name_prefix="wake-up")
"""For the wake-ups of one batch, so that no routing key waits for another's backlog; they wait for `DRAIN_THREADS`."""


def map_on(threads: ThreadPoolExecutor) -> MapConcurrently:
    """Return a `map` on several threads, which waits for all calls even if one raises."""

    def map_concurrently[A, B](function: Callable[[A], B], things: Iterable[A]) -> list[B]:
        futures = [threads.submit(function, thing) for thing in things]
        wait(futures)
        return [future.result() for future in futures]

    return map_concurrently


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts that an execution environment makes once.

    Attributes:
        comparison_of: returns the comparison of alarms with records, for the function's ARN; None where it is off.
        heartbeat: None where no URL is configured.
        operators: None where operators have no topic.
        preparations: what to do at INIT, concurrently; none of them raises for what AWS does not answer.
    """

    targets: Targets
    table: DedupTable
    queues: Queues
    publisher: Publisher
    drainer: Drainer
    health_check: HealthCheck
    comparison_of: "Callable[[str], Comparison] | None"
    heartbeat: Heartbeat | None
    operators: OperatorReports | None
    preparations: Sequence[Callable[[], object]]


def wire(settings: Settings, telemetry: Telemetry, function_name: str) -> Parts:
    """Make everything once for the life of the execution environment."""
    # boto3 would import the transfer manager of S3, and multiprocessing, before it did the same
    make_client: MakeClient = partial(get_session().create_client, config=AWS_CLIENT_CONFIG)
    dynamodb: DynamoDBClient = make_client("dynamodb")
    sqs: SQSClient = make_client("sqs")
    secrets: SecretsManagerClient = make_client("secretsmanager")
    items = Table(dynamodb, settings.DEDUP_TABLE_NAME, time.time, CONNECTIONS)
    table = DedupTable(items, Keeping(ttl_ms=round(settings.PAGERDUTY_CACHE_TTL * 1000)))
    limiter = RateLimiter(items, settings.PAGERDUTY_RATE_LIMIT)
    queues = Queues(sqs, settings.RETRY_QUEUE_URL, settings.DEAD_LETTER_QUEUE_URL)
    targets = Targets(
        SecretsByPrefix(secrets),
        prefix=settings.PAGERDUTY_TARGET_PREFIX,
        base_url=settings.PAGERDUTY_BASE_URL,
        clock=time.time,
        report=telemetry.record_error,
    )
    reader = Reader.of(settings, function_name)
    client = make_pagerduty_client(settings, telemetry)
    sender = make_sender(settings, client=client, table=table, limiter=limiter, targets=targets, queues=queues)
    publisher = Publisher(
        targets=targets,
        sender=sender,
        table=table,
        queues=queues,
        clock=time.time,
        reader=reader,
        map_concurrently=map_on(DELIVERY_THREADS),
        map_targets=map_on(TARGET_THREADS),
    )
    return Parts(
        targets=targets,
        table=table,
        queues=queues,
        publisher=publisher,
        drainer=make_drainer(sender, publisher, table=table, limiter=limiter, queues=queues, telemetry=telemetry),
        health_check=HealthCheck(targets, client, table, limiter, time.time, queues.count_dead_letters),
        comparison_of=cache(
            partial(
                make_comparison,
                settings=settings,
                make_client=make_client,
                dynamodb=dynamodb,
                targets=targets,
                reader=reader,
                report=telemetry.log_problem,
            )
        )
        if settings.AGREE_WITH_CLOUDWATCH != "off"
        else None,
        heartbeat=Heartbeat(settings.HEARTBEAT_URL, settings.HTTPS_PROXY) if settings.HEARTBEAT_URL else None,
        operators=make_operators(
            settings,
            make_client,
            dynamodb=dynamodb,
            table=table,
            queues=queues,
            targets=targets,
            reader=reader,
            report=telemetry.log_problem,
            stack=function_name.removesuffix("-publisher"),
        ),
        # while the others wait for answers, the models of an event are built; reading a target builds its own
        preparations=(targets.read, items.connect, client.connect, Event.model_rebuild),
    )


def make_pagerduty_client(settings: Settings, telemetry: Telemetry) -> PagerDutyClient:
    """Make the client for PagerDuty, which logs each request at level DEBUG, with its body only where that is set."""
    log_attempt = telemetry.log_attempt_with_body if settings.LOG_BODIES == "ENABLED" else telemetry.log_attempt
    return PagerDutyClient(
        base_url=settings.PAGERDUTY_BASE_URL,
        timeout_seconds=settings.PAGERDUTY_TIMEOUT,
        max_retries=settings.PAGERDUTY_MAX_RETRIES,
        pool=make_pool(settings.proxy_url, CONCURRENT_DELIVERIES),
        clock=time.time,
        on_attempt=log_attempt if settings.LOG_LEVEL == "DEBUG" else None,
    )


def make_sender(
    settings: Settings,
    *,
    client: PagerDutyClient,
    table: DedupTable,
    limiter: RateLimiter,
    targets: Targets,
    queues: Queues,
) -> Sender:
    """Make what delivers one alert to one target."""
    return Sender(
        Gateway(client, limiter, clock=time.time, rotated=targets.rotated),
        Ledger(table, clock=time.time, new_owner=new_owner, repeat_after_seconds=settings.PAGERDUTY_REPEAT_AFTER),
        limiter,
        clock=time.time,
        random=random.random,
        give_up_after_seconds=GIVE_UP_AFTER_SECONDS,
        wake=queues.wake_quietly,
        keep_copy=lambda delivery, delay: queues.keep_copy(
            delivery.alert, delivery.target.name, delivery.failures, delay, time.time(), delivery.routed_to
        ),
    )


def make_drainer(
    sender: Sender,
    publisher: Publisher,
    *,
    table: DedupTable,
    limiter: RateLimiter,
    queues: Queues,
    telemetry: Telemetry,
) -> Drainer:
    """Make what sends the deliveries that wait."""
    return Drainer(
        sender=sender,
        table=table,
        limiter=limiter,
        record_at_once=record_reports_at_once,
        reject=publisher.reject,
        reject_record=publisher.reject_record,
        record_exception=telemetry.record_exception,
        clock=time.time,
        sleep=time.sleep,
        new_owner=new_owner,
        wake=lambda target, handovers: queues.wake(target, handovers=handovers, delay_seconds=0),
        map_concurrently=map_on(DELIVERY_THREADS),
        map_keys=map_on(DRAIN_THREADS),
    )


def make_comparison(
    function_arn: str,
    *,
    settings: Settings,
    make_client: MakeClient,
    dynamodb: "DynamoDBClient",
    targets: Targets,
    reader: Reader,
    report: Callable[[str], None],
) -> "Comparison":
    """Make what compares alarms with records: on first use, with the imports and clients that only it needs."""
    from handler.agreement.agreement import Agreement
    from handler.agreement.comparison import Comparison
    from handler.agreement.wiring import Scope

    agreement = Agreement(
        make_client("cloudwatch"),
        dynamodb,
        make_client("sns"),
        table=settings.DEDUP_TABLE_NAME,
        topic_arn=settings.ALERT_TOPIC_ARN or "",
        function_arn=function_arn,
        scope=Scope(settings.AGREE_WITH_CLOUDWATCH),
        reader=reader,
        clock=time.time,
        report=report,
    )
    return Comparison(agreement, targets=targets, report=report)


def make_operators(
    settings: Settings,
    make_client: MakeClient,
    *,
    dynamodb: "DynamoDBClient",
    table: DedupTable,
    queues: Queues,
    targets: Targets,
    reader: Reader,
    report: Callable[[str], None],
    stack: str,
) -> OperatorReports | None:
    """Make what reports to operators; None where they have no topic."""
    if not (topic_arn := settings.OPERATOR_TOPIC_ARN):
        return None

    def make_reporter() -> "Reporter":
        from handler.operators.reporter import Reporter

        return Reporter(
            dynamodb,
            make_client("sns"),
            table=settings.DEDUP_TABLE_NAME,
            topic_arn=topic_arn,
            clock=time.time,
            redact=targets.redact,
            report=report,
            reader=reader,
            stack=stack,
        )

    return OperatorReports(make_reporter, targets=targets, table=table, queues=queues, clock=time.time, report=report)


def new_owner() -> str:
    """Return a name for a claim or a lease, never returned twice."""
    return uuid4().hex


def record_reports(reports: Sequence[Report]) -> None:
    """Log and count how deliveries ended, and note what operators may have to know."""
    telemetry.record(reports)
    if parts.operators:
        parts.operators.note(reports)


def record_reports_at_once(reports: Sequence[Report]) -> None:
    """Record what a drainer sent, and write the metrics too: it may be killed before it ends."""
    record_reports(reports)
    metrics.flush()


parts = wire(settings, telemetry, function_name)
if preparation.is_of_use(environment):
    preparation.prepare(parts.preparations)

gc.freeze()  # later collections skip the objects made at INIT
gc.enable()


def lambda_handler(event: Any, context: LambdaContext) -> Any:
    """Publish every alert of an invocation; raise only if one could neither be sent nor kept."""
    logger.append_keys(function_request_id=context.aws_request_id)
    deadline = time.time() + context.get_remaining_time_in_millis() / 1000 - MARGIN_SECONDS
    try:
        return answer(event, context, deadline)
    finally:
        metrics.flush()
        if parts.operators:
            parts.operators.report_noted()


def answer(event: Any, context: LambdaContext, deadline: float) -> Any:
    """Handle an invocation: a schedule's request, or records with alerts."""
    if event == schedules.HEALTH_CHECK:
        return check_health(context.invoked_function_arn, deadline)
    if event == schedules.DRAIN:
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
        wake_up = parts.queues.wake_up_of(record.raw_event)
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
    map_on(WAKE_UP_THREADS)(partial(drain, deadline=deadline, wake_ups=len(wake_ups)), wake_ups.values())
    return answer


def drain_all(deadline: float) -> dict[str, Any]:
    """Report dead letters and late alerts to operators, then send what waits."""
    if parts.operators:
        parts.operators.report_dead_letters()
    try:
        places = list(parts.table.all_waiting())
    except PublishError as error:
        telemetry.record_error(error)
        return {"drained": 0}
    if parts.operators:
        parts.operators.report_waiting(places)
    return drain(WakeUp(), deadline, places)


def drain(
    wake_up: WakeUp, deadline: float, places: Sequence[Place] | None = None, *, wake_ups: int = 1
) -> dict[str, Any]:
    """Send what waits, as permits come free. Never fails: the schedule starts the next drainer."""
    try:
        drained = parts.drainer.run(parts.targets.read(), deadline, wake_up, places, wake_ups=wake_ups)
    except PublishError as error:
        telemetry.record_error(error)
        return {"drained": 0}
    except Exception as error:  # noqa: BLE001 - the batch's alerts were published, and its wake-ups may get lost
        telemetry.record_error(telemetry.record_exception(error))
        return {"drained": 0}
    for problem in drained.errors:
        telemetry.record_error(problem)
    return {"drained": drained.count}


def check_health(function_arn: str, deadline: float) -> dict[str, Any]:
    """Run the health check, then compare CloudWatch's alarms with the records."""
    found = parts.health_check.run(deadline)
    telemetry.record_health(found)
    if parts.heartbeat and not found.errors and (problem := parts.heartbeat.beat()):
        telemetry.log_problem(problem)
    agreed = agree(function_arn, deadline)
    return {**found.fields(), **({"agreed": agreed} if agreed else {})}


def agree(function_arn: str, deadline: float) -> dict[str, int]:
    """Publish the alerts on which CloudWatch's alarms and the records disagree; return their numbers by reason."""
    published: Counter[str] = Counter()
    for disagreement in parts.comparison_of(function_arn).run(deadline) if parts.comparison_of else ():
        try:
            handle(disagreement.message, deadline)
        except QueueUnavailableError as error:
            telemetry.log_problem(f"{disagreement.name} is compared again in five minutes: {error}")
            continue
        published[str(disagreement.decision.why)] += 1
    return dict(published)


def handle(record: Any, deadline: float) -> list[Report]:
    """Publish one record; raise QueueUnavailableError only if an alert of it would be lost."""
    try:
        reports = parts.publisher.publish(record, deadline)
    except Exception as error:  # noqa: BLE001 - whatever it is, the record must not be lost
        reports = [parts.publisher.reject_record(record, telemetry.record_exception(error))]
    record_reports(reports)
    for report in reports:
        if report.lost:
            raise report.lost
    return reports
