"""Whole fleets of executions on virtual time: the real publisher and drainer against simulated AWS and PagerDuty.

Simulated are Lambda (cold starts, its concurrency, its timeout, asynchronous retries, the on-failure destination, the
SQS pollers), SNS and EventBridge (late and repeated deliveries), the retry queue (delays, visibility, receives), the
schedule, DynamoDB (latency, the write limit of one item and of one partition of the index, an index that lags, TTL),
Secrets Manager, and PagerDuty with persons who resolve incidents. What goes wrong is a `Misfortune`.
"""

import json
import random
from collections import Counter, deque
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import Any

import urllib3
from botocore.exceptions import ReadTimeoutError

from handler.errors import PublishError, QueueUnavailableError
from handler.messages import WakeUp
from handler.pagerduty.connections import seconds_for_address
from handler.report import Report
from handler.schedules import DRAIN
from local.simulator.faults import Fault, FaultKind
from local.simulator.pagerduty import PagerDuty, RateLimit
from tests.lab.clock import NOW, Clock
from tests.lab.dynamodb import INDEX_HASH, TABLE, FakeDynamoDB, item_bytes
from tests.lab.failures import client_error
from tests.lab.histories import History, number_of
from tests.lab.parts import Parts, make_owners, make_parts
from tests.lab.secrets import ROUTING_KEY, target_secret
from tests.lab.sqs import FakeSQS
from tests.lab.timeline import Killed, Timeline
from tests.lab.wire import DirectPool

FUNCTION_TIMEOUT_SECONDS = 60.0
CONCURRENT_DELIVERIES = 30
MARGIN_SECONDS = 3.0
"""This and the constant above are those of `handler.app`."""
BATCH_SIZE = 10
MAX_POLLERS = 10
POLL_SECONDS = 0.02
VISIBILITY_SECONDS = 360.0
MAX_RECEIVES = 5
ASYNC_RETRY_SECONDS = (60.0, 120.0)
SCHEDULE_SECONDS = 60.0
"""This and the constants above are values of the template, or documented by Lambda."""
WRITES_A_SECOND = 1000
"""What one item, or one partition of the index, takes:
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html"""
AWS_ATTEMPTS = 3
HANG_SECONDS = 14.0
"""The duration of a call without an answer: three attempts of four seconds, and pauses."""
DAY = 86400.0
RETRY_QUEUE_ARN = "arn:aws:sqs:us-east-1:000000000000:retry"


# --- What goes wrong --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Window:
    """A span of time, in seconds after the beginning; its end is excluded."""

    begins: float
    ends: float

    def holds(self, at: float) -> bool:
        """Return whether a time lies in the window."""
        return self.begins <= at < self.ends


@dataclass(frozen=True)
class Failing:
    """PagerDuty fails in a window."""

    window: Window
    fault: Fault


@dataclass(frozen=True)
class Dead:
    """The first addresses of PagerDuty's host do not answer in a window: so many, of so many."""

    window: Window
    dead: int
    of: int


@dataclass(frozen=True, kw_only=True)
class Misfortune:
    """Everything that goes wrong.

    Attributes:
        pagerduty: what the API does instead; the first that holds wins.
        dead_addresses: when some or all addresses of its host are dead.
        killers: fingerprints of alerts that kill every process which sends them.
        hangers: fingerprints of alerts with which every process hangs until Lambda ends it.
        table: when DynamoDB fails every call.
        table_hangs: when it answers none, and each call costs its timeouts.
        item_throttles: when every write of these items, named by how their ids begin, is throttled.
        queues: when SQS takes nothing in.
        secrets: when Secrets Manager fails.
        unreadable: when one of the secrets, by the name of its target, cannot be read.
        schedule: when the schedule does not run.
        wake_ups: when wake-up messages get lost.
        deaths: (number of the invocation, step): each call is two steps, before and after it takes effect.
        death_rate: how probable death is at each step besides.
        repeats: numbers of the messages that the retry queue delivers twice.
        index_lag: how many seconds the index is behind the table.
        persons: (seconds, dedup key): somebody resolves an incident in PagerDuty.
        ttl_seconds: how often DynamoDB deletes what has expired; 0 for never.
        rotations: (seconds, secrets): the secrets as they are from then on, by the targets' names. A routing key that a
            target had before is refused from then on.
        refused_keys: routing keys that PagerDuty does not know.
    """

    pagerduty: Sequence[Failing] = ()
    dead_addresses: Sequence[Dead] = ()
    killers: Container[str] = ()
    hangers: Container[str] = ()
    table: Sequence[Window] = ()
    table_hangs: Sequence[Window] = ()
    item_throttles: Mapping[str, Sequence[Window]] = field(default_factory=dict)
    queues: Sequence[Window] = ()
    secrets: Sequence[Window] = ()
    unreadable: Mapping[str, Sequence[Window]] = field(default_factory=dict)
    schedule: Sequence[Window] = ()
    wake_ups: Sequence[Window] = ()
    deaths: Container[tuple[int, int]] = ()
    death_rate: float = 0.0
    repeats: Container[int] = ()
    index_lag: float = 0.0
    persons: Sequence[tuple[float, str]] = ()
    ttl_seconds: float = 0.0
    rotations: Sequence[tuple[float, Mapping[str, str]]] = ()
    refused_keys: Container[str] = ()


@dataclass(frozen=True, kw_only=True)
class Latencies:
    """Seconds that calls take on average, each between half and one and a half of that."""

    table: float = 0.005
    queue: float = 0.005
    secrets: float = 0.01
    pagerduty: float = 0.05
    cold_start: float = 0.0
    delivery: float = 0.03
    """From SNS or SQS to the function."""


def failing(begins: float, ends: float, kind: FaultKind, **fault: object) -> Failing:
    """Let all requests fail for a while."""
    return Failing(Window(begins, ends), Fault(kind, count=None, **fault))  # type: ignore[arg-type]


def is_now(windows: Iterable[Window], at: float) -> bool:
    """Return whether a time lies in one of the windows."""
    return any(window.holds(at) for window in windows)


# --- One execution ----------------------------------------------------------------------------------------------------


class _EnvironmentClock(Clock):
    """The fleet's time as one execution environment sees it; sleeping lets others work."""

    def __init__(self, environment: "Environment", skew_seconds: float) -> None:
        super().__init__()
        self.environment = environment
        self.skew_seconds = skew_seconds

    def __call__(self) -> float:
        return self.environment.fleet.timeline.now + self.skew_seconds

    def advance(self, seconds: float) -> None:
        self.environment.execution.pass_time(seconds)

    def sleep(self, seconds: float) -> None:
        self.environment.execution.pass_time(seconds)


class _Execution:
    """One invocation: dies where it is told to, and when its time is over.

    Attributes:
        depth: how many invocations in a chain of Lambda and SQS led to it.
    """

    def __init__(self, fleet: "Fleet", depth: int) -> None:
        self.fleet = fleet
        self.number = next(fleet.invocation_numbers)
        self.depth = depth
        self.began_at = fleet.timeline.now
        self.steps = 0
        self.is_dead = False

    def pass_time(self, seconds: float) -> None:
        """Wait; raise if the process dies meanwhile."""
        left = self.began_at + FUNCTION_TIMEOUT_SECONDS - self.fleet.timeline.now
        self.fleet.timeline.sleep(min(seconds, max(0.0, left) + 0.001))
        if self.is_dead:
            raise Killed
        if self.fleet.timeline.now > self.began_at + FUNCTION_TIMEOUT_SECONDS:
            self.fleet.timeouts += 1
            self.die()

    def call(self, seconds: float) -> None:
        """Take half the time of a call, before or after its effect, and die if that is due."""
        fleet = self.fleet
        self.pass_time(seconds * (0.5 + fleet.random()) / 2)
        is_doomed = (self.number, self.steps) in fleet.misfortune.deaths
        self.steps += 1
        rate = fleet.misfortune.death_rate
        if is_doomed or (rate and fleet.random() < rate):
            fleet.deaths += 1
            self.die()

    def die(self) -> None:
        """End the process with all its threads."""
        self.is_dead = True
        raise Killed


class _DynamoDB:
    """The table that all share, behind the latency, the limits and the failures of one environment's calls."""

    exceptions = FakeDynamoDB.exceptions

    def __init__(self, environment: "Environment") -> None:
        self.environment = environment

    def put_item(self, **call: Any) -> Any:
        return self._write("put_item", call["Item"]["id"]["S"], call["Item"], call)

    def update_item(self, **call: Any) -> Any:
        return self._write("update_item", call["Key"]["id"]["S"], None, call)

    def get_item(self, **call: Any) -> Any:
        return self._call("get_item", call)

    def batch_get_item(self, **call: Any) -> Any:
        return self._call("batch_get_item", call)

    def query(self, **call: Any) -> Any:
        return self._call("query", call)

    def scan(self, **call: Any) -> Any:
        return self._call("scan", call)

    def _write(self, operation: str, identity: str, item: Mapping[str, Any] | None, call: Mapping[str, Any]) -> Any:
        fleet = self.environment.fleet
        fleet.writes += 1
        old = fleet.dynamodb.tables[TABLE].get(identity, {})
        units = max(1, -(-max(item_bytes(old), item_bytes(item or {})) // 1024))
        partitions = [("item", identity, units)]
        for entry in (old, item or {}):
            if INDEX_HASH in entry:
                partitions.append(("index", entry[INDEX_HASH]["S"], 1))
        is_throttled = is_now(
            [
                window
                for start, windows in fleet.misfortune.item_throttles.items()
                if identity.startswith(start)
                for window in windows
            ],
            fleet.seconds,
        )
        return self._call(operation, call, partitions, is_throttled=is_throttled)

    def _call(
        self,
        operation: str,
        call: Mapping[str, Any],
        partitions: Sequence[tuple[str, str, int]] = (),
        *,
        is_throttled: bool = False,
    ) -> Any:
        fleet, execution = self.environment.fleet, self.environment.execution
        fleet.calls[operation] += 1
        execution.call(fleet.latencies.table)
        if is_now(fleet.misfortune.table_hangs, fleet.seconds):
            execution.pass_time(HANG_SECONDS)
            raise ReadTimeoutError(endpoint_url="https://dynamodb.us-east-1.amazonaws.com")
        if is_now(fleet.misfortune.table, fleet.seconds):
            execution.pass_time(0.3)
            raise client_error("InternalServerError", operation)
        for attempt in range(AWS_ATTEMPTS):
            if not is_throttled and fleet.take_capacity(partitions):
                break
            fleet.throttles += 1
            if attempt == AWS_ATTEMPTS - 1:
                raise client_error("ProvisionedThroughputExceededException", operation)
            execution.pass_time(fleet.random() * 2**attempt)
        try:
            return getattr(fleet.dynamodb, operation)(**call)
        finally:
            execution.call(fleet.latencies.table)


class _SQS(FakeSQS):
    """The queues, behind the latency of one environment's calls."""

    def __init__(self, environment: "Environment") -> None:
        super().__init__()
        self.environment = environment

    def send_message(self, **call: Any) -> dict[str, str]:
        fleet, execution = self.environment.fleet, self.environment.execution
        execution.call(fleet.latencies.queue)
        if is_now(fleet.misfortune.queues, fleet.seconds):
            execution.pass_time(0.3)
            raise client_error("ServiceUnavailable", "SendMessage")
        answer = super().send_message(**call)
        if self.dead_letters:
            fleet.dead_letters.append(self.dead_letters.pop().content)
        else:
            message = self.retries.pop()
            fleet.enqueue(message.body, message.delay_seconds, execution.depth + 1)
        execution.call(fleet.latencies.queue)
        return answer


class _Secrets:
    """The secrets as one environment reads them."""

    def __init__(self, environment: "Environment") -> None:
        self.environment = environment

    def batch_get_secret_value(self, *, Filters: Any) -> dict[str, Any]:
        fleet, execution = self.environment.fleet, self.environment.execution
        execution.call(fleet.latencies.secrets)
        if is_now(fleet.misfortune.secrets, fleet.seconds):
            raise client_error("InternalServiceError", "BatchGetSecretValue")
        hidden = {name for name, windows in fleet.misfortune.unreadable.items() if is_now(windows, fleet.seconds)}
        return {
            "SecretValues": [
                {"Name": f"pagerduty/{name}", "SecretString": text}
                for name, text in fleet.secrets.items()
                if name not in hidden
            ],
            "Errors": [
                {"SecretId": f"arn:aws:secretsmanager:us-east-1:000000000000:secret:pagerduty/{name}-AbCdEf"}
                for name in sorted(hidden)
            ],
        }


@dataclass(frozen=True)
class Sent:
    """A request that was made, in seconds after the beginning, and what it was about.

    Attributes:
        number: of the change of its alert; None where the request does not say, as a resolve does not.
    """

    at: float
    action: str
    fingerprint: str
    number: int | None
    routing_key: str


class _Pool(DirectPool):
    """The wire to PagerDuty; notes what each request is about."""

    def __init__(self, environment: "Environment") -> None:
        super().__init__(environment.fleet.pagerduty, environment.clock)
        self.environment = environment
        self.is_connected = False

    def request(self, *arguments: Any, **more: Any) -> urllib3.BaseHTTPResponse:
        fleet, execution = self.environment.fleet, self.environment.execution
        more["timeout"] = urllib3.Timeout(total=self._connect(float(more["timeout"].total)))
        execution.call(fleet.latencies.pagerduty)
        fleet.fail_as_planned()
        event = json.loads(more["body"])
        found = number_of(event)
        action = event.get("event_action", "change")
        key = event.get("dedup_key") or (found[0] if found else "")
        number = found[1] if found else None
        if key in fleet.misfortune.killers:
            execution.die()
        if key in fleet.misfortune.hangers:
            execution.pass_time(DAY)
        fleet.sent.append(Sent(fleet.seconds, action, key, number, event["routing_key"]))
        self.latency_seconds = 0.0
        try:
            return super().request(*arguments, **more)
        finally:
            execution.call(fleet.latencies.pagerduty)

    def _connect(self, seconds: float) -> float:
        """Connect as `connections` does, unless a connection was kept; return what is left of the attempt's time."""
        fleet, execution = self.environment.fleet, self.environment.execution
        dead = next((dead for dead in fleet.misfortune.dead_addresses if dead.window.holds(fleet.seconds)), None)
        is_kept, self.is_connected = self.is_connected, True
        if dead is None or (is_kept and dead.dead < dead.of):
            return seconds
        self.is_connected = dead.dead < dead.of
        if is_kept:
            execution.pass_time(seconds)
            raise urllib3.exceptions.ReadTimeoutError(self, "", "no answer on a kept connection")  # type: ignore[arg-type]
        left = seconds
        for number in range(dead.dead):
            tried = seconds_for_address(left, dead.of - number - 1)
            execution.pass_time(tried)
            left -= tried
        if not self.is_connected:
            raise urllib3.exceptions.ConnectTimeoutError(None, "no address answers")
        return left


class Environment:
    """An execution environment: its own clients and clock, kept from invocation to invocation."""

    def __init__(self, fleet: "Fleet", execution: _Execution) -> None:
        self.fleet = fleet
        self.execution = execution
        self.clock = _EnvironmentClock(self, (fleet.random() * 2 - 1) * fleet.skew_seconds)
        self.dynamodb = _DynamoDB(self)
        self.parts: Parts = make_parts(
            pool=_Pool(self),
            dynamodb=self.dynamodb,
            sqs=_SQS(self),
            secrets=_Secrets(self),
            clock=self.clock,
            requests_a_minute=fleet.requests_a_minute,
            new_owner=fleet.new_owner,
            random=fleet.random,
            record_at_once=fleet.note,
            record_exception=fleet.record_exception,
            map_concurrently=self.map,
        )

    @property
    def deadline(self) -> float:
        """When the invocation must have ended, by its own clock."""
        return self.execution.began_at + self.clock.skew_seconds + FUNCTION_TIMEOUT_SECONDS - MARGIN_SECONDS

    def map[A, B](self, function: Callable[[A], B], things: Iterable[A]) -> list[B]:
        """Call a function on several threads, at most thirty at a time, as `app.CONCURRENT_DELIVERIES` has it."""
        each = list(things)
        found: list[B] = []
        for start in range(0, len(each), CONCURRENT_DELIVERIES):
            found += self.fleet.timeline.map(function, each[start : start + CONCURRENT_DELIVERIES])
        return found

    def publish(self, raw: Any) -> bool:
        """Publish a record as `app.handle` does; return whether nothing of it would be lost."""
        try:
            reports = self.parts.publisher.publish(raw, self.deadline)
        except Exception as error:  # noqa: BLE001 - as `app` does
            reports = [self.parts.publisher.reject_record(raw, self.fleet.record_exception(error))]
        self.fleet.note(reports)
        return not any(report.lost for report in reports)

    def drain(self, wake_ups: Iterable[WakeUp]) -> None:
        """Send what waits, as `app.drain` does for all wake-ups of a batch at once."""
        each = list(wake_ups)
        self.fleet.drains += len(each)
        if not each:
            return
        try:
            targets = self.parts.targets.read()  # here, because virtual time stands still behind its lock
        except PublishError as error:
            self.fleet.problems.append(error)
            return

        def run(wake_up: WakeUp) -> Sequence[PublishError]:
            try:
                return self.parts.drainer.run(targets, self.deadline, wake_up, wake_ups=len(each)).errors
            except PublishError as error:
                return [error]

        for errors in self.map(run, each) if len(each) > 1 else map(run, each):
            self.fleet.problems += errors


# --- The fleet --------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Message:
    """A message on the retry queue."""

    number: int
    body: str
    sent_at: float
    depth: int
    receives: int = 0

    @property
    def record(self) -> dict[str, Any]:
        """The record that Lambda gets."""
        return {
            "eventSource": "aws:sqs",
            "eventSourceARN": RETRY_QUEUE_ARN,
            "messageId": f"retry-{self.number}",
            "receiptHandle": "r",
            "body": self.body,
            "attributes": {
                "ApproximateReceiveCount": str(self.receives),
                "SentTimestamp": str(round(self.sent_at * 1000)),
            },
            "messageAttributes": {},
        }


@dataclass(frozen=True)
class Ending:
    """How a delivery ended."""

    at: float
    report: Report


class Fleet:
    """Lambda, its retry queue and everything behind it, for one run.

    Args:
        histories: the alerts, with their changes over time.
        seed: makes latencies and deaths repeatable.
        misfortune: what fails, and when.
        limit: PagerDuty's; 120 requests a minute unless given.
        requests_a_minute: the publisher's own limit.
        max_concurrency: executions of the function at once.
        skew_seconds: how far an environment's clock may be off.
        secrets: the secret of each target, by its name.
    """

    def __init__(
        self,
        histories: Sequence[History],
        *,
        seed: int = 1,
        misfortune: Misfortune | None = None,
        limit: RateLimit | None = None,
        requests_a_minute: float = 120,
        latencies: Latencies | None = None,
        max_concurrency: int = 1000,
        skew_seconds: float = 0.0,
        secrets: Mapping[str, str] | None = None,
    ) -> None:
        self.histories = histories
        self.random = random.Random(seed).random
        self.misfortune = misfortune or Misfortune()
        self.limit = limit or RateLimit(120)
        self.requests_a_minute = requests_a_minute
        self.latencies = latencies or Latencies()
        self.max_concurrency = max_concurrency
        self.skew_seconds = skew_seconds
        self.secrets = dict(secrets or {"production": target_secret()})
        self.timeline = Timeline()
        self.pagerduty = PagerDuty(lambda: self.timeline.now, limit=self.limit)
        self.dynamodb = FakeDynamoDB()
        if self.misfortune.index_lag:
            self.dynamodb.lag_behind(seconds=self.misfortune.index_lag, clock=lambda: self.timeline.now)
        self.new_owner = make_owners()
        self.invocation_numbers = count()
        self.invocations = 0
        self.deepest = 0
        self.drains = 0
        self.writes = 0
        self.throttles = 0
        self.calls: Counter[str] = Counter()
        self.deaths = 0
        self.timeouts = 0
        self.sent: list[Sent] = []
        self.endings: list[Ending] = []
        self.problems: list[PublishError] = []
        self.unexpected: list[Exception] = []
        self.dead_letters: list[Any] = []
        self.revoked: set[str] = set()
        self._know_keys(_keys(self.secrets).values())
        self._capacity: dict[tuple[str, str], tuple[int, int]] = {}
        self._environments: list[Environment] = []
        self._running = 0
        self._waiting: deque[tuple[int, Callable[[Environment], None]]] = deque()
        self._visible: deque[_Message] = deque()
        self._in_flight = 0
        self._pollers = 0
        self._message_numbers = count()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return self.timeline.now - NOW

    def run(self, seconds: float = DAY) -> None:
        """Run for this long, or until nothing is left to do."""
        for history in self.histories:
            for number, change in enumerate(history.changes):
                event = history.event_of(number)
                for delay in change.delays:
                    at = change.at + delay + self.latencies.delivery * (0.5 + self.random())
                    self._plan(at, partial(self._invoke, event, 0))
        for at, key in self.misfortune.persons:
            self._plan(at, partial(self._resolve_by_hand, key))
        for at, secrets in self.misfortune.rotations:
            self._plan(at, partial(self._rotate, secrets))
        self._schedule_next()
        if self.misfortune.ttl_seconds:
            self._expire_next()
        self.timeline.run(seconds)

    def _plan(self, at: float, act: Callable[[], None]) -> None:
        """Schedule the events of the run."""
        self._in_flight += 1

        def acts() -> None:
            self._in_flight -= 1
            act()

        self.timeline.at(NOW + at, acts)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is going on, and nothing waits."""
        return not (self._in_flight or self._running or self._waiting or self.waiting)

    @property
    def waiting(self) -> list[str]:
        """The ids of the records that wait."""
        return [identity for identity, item in self.dynamodb.tables[TABLE].items() if INDEX_HASH in item]

    # --- what happens by itself ---

    def _schedule_next(self) -> None:
        def tick() -> None:
            if self.is_quiet:
                return
            if not is_now(self.misfortune.schedule, self.seconds):
                self._invoke(DRAIN, 0)
            self._schedule_next()

        self.timeline.at(self.timeline.now + SCHEDULE_SECONDS * (0.9 + 0.2 * self.random()), tick)

    def _expire_next(self) -> None:
        def tick() -> None:
            items = self.dynamodb.tables[TABLE]
            for identity in [key for key, item in items.items() if _has_expired(item, self.timeline.now)]:
                self.dynamodb.delete(identity)
            if not self.is_quiet:
                self._expire_next()

        self.timeline.at(self.timeline.now + self.misfortune.ttl_seconds, tick)

    def _resolve_by_hand(self, key: str) -> None:
        self.pagerduty.resolve_by_hand(key)

    def _rotate(self, secrets: Mapping[str, str]) -> None:
        before, after = _keys(self.secrets), _keys(secrets)
        self.revoked |= {before[name] for name in before.keys() & after.keys() if before[name] != after[name]}
        self._know_keys({*before.values(), *after.values()} - self.revoked)
        self.secrets = dict(secrets)

    def _know_keys(self, keys: Iterable[str]) -> None:
        self.pagerduty.set_known_keys([key for key in keys if key not in self.misfortune.refused_keys])

    def take_capacity(self, partitions: Sequence[tuple[str, str, int]]) -> bool:
        """Return whether these partitions can take these writes in this second."""
        second = int(self.timeline.now)
        used: dict[tuple[str, str], tuple[int, int]] = {}
        for kind, name, units in partitions:
            at, taken = self._capacity.get((kind, name), (second, 0))
            taken = used.get((kind, name), (second, taken if at == second else 0))[1]
            if taken + units > WRITES_A_SECOND:
                return False
            used[kind, name] = (second, taken + units)
        self._capacity |= used
        return True

    # --- Lambda ---

    def _start(self, work: Callable[[Environment], None], depth: int) -> None:
        """Start work in an execution environment as soon as concurrency allows one."""
        if self._running >= self.max_concurrency:
            self._waiting.append((depth, work))
            return
        self._running += 1
        self.invocations += 1
        self.deepest = max(self.deepest, depth)
        environment = self._environments.pop() if self._environments else None
        self.timeline.start(lambda: self._execute(environment, work, depth))

    def _execute(self, environment: Environment | None, work: Callable[[Environment], None], depth: int) -> None:
        try:
            execution = _Execution(self, depth)
            if environment is None:
                self.timeline.sleep(self.latencies.cold_start * (0.5 + self.random()))
                environment = Environment(self, execution)
            environment.execution = execution
            work(environment)
            self._environments.append(environment)
        finally:
            self._running -= 1
            if self._waiting:
                depth, work = self._waiting.popleft()
                self._in_flight += 1

                def start() -> None:
                    self._in_flight -= 1
                    self._start(work, depth)

                self.timeline.at(self.timeline.now, start)

    def _invoke(self, event: Mapping[str, Any], retries: int) -> None:
        """Invoke the function asynchronously, as SNS, EventBridge and the schedule do."""

        def work(environment: Environment) -> None:
            is_done = False
            try:
                if event == DRAIN:
                    environment.drain([WakeUp()])
                    is_done = True
                else:
                    is_done = all([environment.publish(raw) for raw in event.get("Records", [event])])
            finally:
                if not is_done and not self.timeline.errors:
                    self._fail(event, retries)

        self._start(work, 0)

    def _fail(self, event: Mapping[str, Any], retries: int) -> None:
        if event == DRAIN:
            return  # the next minute brings another
        if retries < len(ASYNC_RETRY_SECONDS):
            self._plan(self.seconds + ASYNC_RETRY_SECONDS[retries], lambda: self._invoke(event, retries + 1))
        else:
            self.dead_letters.append({"requestContext": {}, "requestPayload": event})

    # --- the retry queue ---

    def enqueue(self, body: str, delay_seconds: float, depth: int) -> None:
        """Accept a message, which is delivered after the delay."""
        if '"drain"' in body and is_now(self.misfortune.wake_ups, self.seconds):
            return
        number = next(self._message_numbers)
        message = _Message(number, body, self.timeline.now, depth)
        for _ in range(2 if number in self.misfortune.repeats else 1):
            at = self.seconds + delay_seconds + self.latencies.delivery * (0.5 + self.random())
            self._plan(at, partial(self._appear, replace(message)))

    def _appear(self, message: _Message) -> None:
        self._visible.append(message)
        self._plan(self.seconds + POLL_SECONDS, self._poll)

    def _poll(self) -> None:
        while self._visible and self._pollers < MAX_POLLERS:
            batch: list[_Message] = []
            while self._visible and len(batch) < BATCH_SIZE:
                message = self._visible.popleft()
                message.receives += 1
                if message.receives > MAX_RECEIVES:
                    self.dead_letters.append(json.loads(message.body))
                else:
                    batch.append(message)
            if batch:
                self._pollers += 1
                depth = max(message.depth for message in batch)
                self._start(partial(self._publish_batch, batch=batch), depth)

    def _publish_batch(self, environment: Environment, batch: list[_Message]) -> None:
        """Publish the alerts of a batch, then follow its wake-ups, as `app.handle_batch` does."""
        received_at = self.seconds
        kept = list(batch)
        try:
            wake_ups: dict[str, WakeUp] = {}
            failed: list[_Message] = []
            for message in batch:
                wake_up = environment.parts.queues.wake_up_of(message.record)
                if wake_up:
                    wake_ups.setdefault(wake_up.target, wake_up)
                elif not environment.publish(message.record):
                    failed.append(message)
            environment.drain(wake_ups.values())
            kept = failed
        finally:
            if not self.timeline.errors:
                for message in kept:
                    self._plan(received_at + VISIBILITY_SECONDS, partial(self._appear, message))
            self._pollers -= 1
            self._plan(self.seconds, self._poll)

    # --- what is noted ---

    def fail_as_planned(self) -> None:
        """Set the faults of this moment."""
        faults = [failing.fault for failing in self.misfortune.pagerduty if failing.window.holds(self.seconds)]
        self.pagerduty.set_faults(*faults[:1])

    def note(self, reports: Iterable[Report]) -> None:
        """Record how deliveries ended."""
        self.endings += [Ending(self.seconds, report) for report in reports]

    def record_exception(self, error: Exception) -> PublishError:
        """Record an unexpected exception; every test fails on one."""
        self.unexpected.append(error)
        return QueueUnavailableError(f"unexpected: {error!r}")


def _keys(secrets: Mapping[str, str]) -> dict[str, str]:
    """Return the routing keys by the names of their targets."""
    return {name: json.loads(text)["headers"]["routing_key"] for name, text in secrets.items()}


def _has_expired(item: Mapping[str, Any], now: float) -> bool:
    return "expires_at" in item and int(item["expires_at"]["N"]) <= now


__all__ = ["ROUTING_KEY", "Dead", "Failing", "Fleet", "Latencies", "Misfortune", "Window", "failing"]
