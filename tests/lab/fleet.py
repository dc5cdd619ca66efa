"""Whole fleets of executions on virtual time: the real publisher against simulated Lambda, SNS, SQS and PagerDuty.

Every execution is a thread with a baton: one runs at a time, until its next call of AWS or PagerDuty, which takes its
time and lets the others run. Whose turn it is is decided by the virtual time alone, so a run repeats itself from its
seed. Nothing sleeps. The circuit breaker is left out: it reads a clock of its own.
"""

import heapq
import json
import random
from collections import deque
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import count
from threading import Lock, Thread
from typing import Any, cast

import urllib3
from mypy_boto3_secretsmanager.client import SecretsManagerClient
from mypy_boto3_sqs.client import SQSClient

from handler.publisher import Publisher
from handler.queues import Queues
from handler.report import Report
from handler.targets.secrets import SecretsByPrefix, Targets
from local.simulator.faults import Fault
from local.simulator.pagerduty import PagerDuty, RateLimit, Request
from tests.lab.clock import NOW, Clock
from tests.lab.dynamodb import TABLE, FakeDynamoDB
from tests.lab.failures import client_error
from tests.lab.secrets import FakeSecrets, target_secret
from tests.lab.sqs import DEAD_LETTER_URL, RETRY_URL, FakeSQS
from tests.lab.wire import BASE_URL, DirectPool
from tests.lab.world import make_client, make_limiter, make_owners, make_sender, make_table

FUNCTION_TIMEOUT_SECONDS = 60.0
MARGIN_SECONDS = 3.0
"""As `handler.app` keeps it."""
BATCH_SIZE = 10
MAX_POLLERS = 10
POLL_SECONDS = 0.02
VISIBILITY_SECONDS = 360.0
MAX_RECEIVES = 10
ASYNC_RETRY_SECONDS = (60.0, 120.0)
"""All as the template has them, or Lambda documents them."""
DAY = 86400.0


class Killed(BaseException):
    """The execution is no more."""


# --- Time -------------------------------------------------------------------------------------------------------------


class _Worker:
    """A thread that runs one piece of work after another, while it has the baton."""

    def __init__(self, timeline: "Timeline") -> None:
        self.timeline = timeline
        self.go = Lock()
        self.go.acquire()
        self.work: Callable[[], None] | None = None
        self.ends = False
        self.thread = Thread(target=self._run, daemon=True, name="execution")
        self.thread.start()

    def _run(self) -> None:
        while True:
            self.go.acquire()
            if self.work is None:
                self.timeline.baton.release()
                return
            try:
                self.work()
            except Killed:
                pass
            except BaseException as error:  # noqa: BLE001 - told by `run`, in the thread of the test
                self.timeline.errors.append(error)
            self.work = None
            self.timeline.idle.append(self)
            self.timeline.baton.release()


class Timeline:
    """Virtual time: what happens when, in order of time and then of being planned."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now
        self.baton = Lock()
        self.baton.acquire()
        self.idle: list[_Worker] = []
        self.errors: list[BaseException] = []
        self._suspended: set[_Worker] = set()
        self._planned: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._running: _Worker | None = None
        self._until = now

    def at(self, when: float, act: Callable[[], None]) -> None:
        """Plan to act at a time."""
        heapq.heappush(self._planned, (max(when, self.now), next(self._numbers), act))

    def start(self, work: Callable[[], None]) -> None:
        """Begin work that may sleep; returns when it first does."""
        worker = self.idle.pop() if self.idle else _Worker(self)
        worker.work = work
        self._resume(worker)

    def sleep(self, seconds: float) -> None:
        """Let time pass for the work that calls this, and others work meanwhile."""
        worker, wakes_at = self._running, self.now + max(0.0, seconds)
        assert worker, "only work can sleep"
        if wakes_at <= self._until and (not self._planned or wakes_at < self._planned[0][0]):
            self.now = wakes_at
            return
        self._suspended.add(worker)
        self.at(wakes_at, lambda: self._resume(worker))
        self.baton.release()
        worker.go.acquire()
        self._suspended.discard(worker)
        if worker.ends:
            raise Killed

    def run(self, seconds: float) -> None:
        """Let everything happen for so long, or until nothing is planned any more."""
        self._until = self.now + seconds
        try:
            while self._planned and self._planned[0][0] <= self._until and not self.errors:
                self.now, _, act = heapq.heappop(self._planned)
                act()
        finally:
            self._end()
        if self.errors:
            raise self.errors[0]

    @property
    def is_over(self) -> bool:
        """Nothing more can happen."""
        return not self._planned

    def _resume(self, worker: _Worker) -> None:
        self._running = worker
        worker.go.release()
        self.baton.acquire()
        self._running = None

    def _end(self) -> None:
        for worker in list(self._suspended):
            worker.ends = True
            self._resume(worker)
        while self.idle:
            worker = self.idle.pop()
            worker.go.release()
            self.baton.acquire()
            worker.thread.join()


# --- What happens -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """A state that an alert takes.

    Attributes:
        at: seconds after the beginning.
        delays: how long each delivery of its message takes: more than one where SNS repeats itself.
    """

    at: float
    status: str
    delays: Sequence[float] = (0.0,)


@dataclass(frozen=True)
class History:
    """An alert's life, in order of time."""

    fingerprint: str
    changes: Sequence[Change]
    severity: str = "warning"

    @property
    def is_critical(self) -> bool:
        """Whether it must not wait."""
        return self.severity == "critical"


@dataclass(frozen=True)
class Window:
    """Seconds after the beginning, the end excluded."""

    begins: float
    ends: float

    def holds(self, at: float) -> bool:
        """Whether it is now."""
        return self.begins <= at < self.ends


@dataclass(frozen=True)
class Failing:
    """PagerDuty fails in a window."""

    window: Window
    fault: Fault


@dataclass(frozen=True, kw_only=True)
class Misfortune:
    """All that goes wrong.

    Attributes:
        pagerduty: what the API does instead; the first that holds wins.
        table: when DynamoDB throttles.
        queues: when SQS takes nothing in.
        deaths: (number of the invocation, step): each call is two steps, before and after it takes effect.
        death_rate: how probable death is at each step besides.
        repeats: numbers of the messages that the retry queue delivers twice.
    """

    pagerduty: Sequence[Failing] = ()
    table: Sequence[Window] = ()
    queues: Sequence[Window] = ()
    deaths: Container[tuple[int, int]] = ()
    death_rate: float = 0.0
    repeats: Container[int] = ()


@dataclass(frozen=True, kw_only=True)
class Latencies:
    """Seconds that calls take on average, each between half and one and a half of that."""

    table: float = 0.005
    queue: float = 0.005
    pagerduty: float = 0.05
    cold_start: float = 0.0
    delivery: float = 0.03
    """From SNS or SQS to the function."""


# --- The fleet --------------------------------------------------------------------------------------------------------


class _EnvironmentClock(Clock):
    """The fleet's time as one execution environment sees it; sleeping lets others work."""

    def __init__(self, fleet: "Fleet", skew_seconds: float) -> None:
        super().__init__()
        self.fleet = fleet
        self.skew_seconds = skew_seconds

    def __call__(self) -> float:
        return self.fleet.timeline.now + self.skew_seconds

    def advance(self, seconds: float) -> None:
        self.fleet.timeline.sleep(seconds)

    def sleep(self, seconds: float) -> None:
        self.fleet.timeline.sleep(seconds)


class _Execution:
    """One invocation: dies where it is told to, and when its time is over."""

    def __init__(self, fleet: "Fleet") -> None:
        self.fleet = fleet
        self.number = next(fleet.invocation_numbers)
        self.began_at = fleet.timeline.now
        self.steps = 0

    def call(self, seconds: float) -> None:
        """Take half the time of a call, before or after its effect, and die if that is due."""
        fleet = self.fleet
        fleet.timeline.sleep(seconds * (0.5 + fleet.random()) / 2)
        is_doomed = (self.number, self.steps) in fleet.misfortune.deaths
        self.steps += 1
        rate = fleet.misfortune.death_rate
        if is_doomed or (rate and fleet.random() < rate):
            fleet.deaths += 1
            raise Killed
        if fleet.timeline.now > self.began_at + FUNCTION_TIMEOUT_SECONDS:
            raise Killed


class _DynamoDB(FakeDynamoDB):
    """The table that all share, behind the latency of one environment's calls."""

    def __init__(self, environment: "_Environment") -> None:
        super().__init__()
        self.environment = environment
        self.tables = environment.fleet.tables

    def update_item(self, **call: Any) -> dict[str, Any]:
        fleet = self.environment.fleet
        execution = self.environment.execution
        fleet.writes += 1
        execution.call(fleet.latencies.table)
        if any(window.holds(fleet.seconds) for window in fleet.misfortune.table):
            execution.call(0.3)  # boto3 tries three times
            raise client_error("ThrottlingException", "UpdateItem")
        try:
            return super().update_item(**call)
        finally:
            execution.call(fleet.latencies.table)


class _SQS(FakeSQS):
    """The queues, behind the latency of one environment's calls."""

    def __init__(self, environment: "_Environment") -> None:
        super().__init__()
        self.environment = environment

    def send_message(self, **call: Any) -> dict[str, str]:
        fleet = self.environment.fleet
        execution = self.environment.execution
        execution.call(fleet.latencies.queue)
        if any(window.holds(fleet.seconds) for window in fleet.misfortune.queues):
            execution.call(0.3)
            raise client_error("ServiceUnavailable", "SendMessage")
        answer = super().send_message(**call)
        if self.dead_letters:
            fleet.dead_letters.append(self.dead_letters.pop().content)
        else:
            message = self.retries.pop()
            fleet.enqueue(message.body, message.delay_seconds)
        execution.call(fleet.latencies.queue)
        return answer


class _Pool(DirectPool):
    """The wire to PagerDuty; notes what each request is about, which a resolve does not say itself."""

    def __init__(self, environment: "_Environment") -> None:
        super().__init__(environment.fleet.pagerduty, environment.clock)
        self.environment = environment

    def request(self, *arguments: Any, **more: Any) -> urllib3.BaseHTTPResponse:
        fleet = self.environment.fleet
        self.environment.execution.call(fleet.latencies.pagerduty)
        fleet.fail_as_planned()
        fleet.sent.append(self.environment.subject)
        self.latency_seconds = 0.0
        try:
            return super().request(*arguments, **more)
        finally:
            self.environment.execution.call(fleet.latencies.pagerduty)


class _Environment:
    """An execution environment: its own clients and clock, kept from invocation to invocation."""

    def __init__(self, fleet: "Fleet") -> None:
        self.fleet = fleet
        self.execution = _Execution(fleet)
        self.subject: Subject = ("", "", 0.0)
        self.clock = _EnvironmentClock(fleet, (fleet.random() * 2 - 1) * fleet.skew_seconds)
        self.pool = _Pool(self)
        dynamodb = _DynamoDB(self)
        sender = make_sender(
            make_client(self.pool, self.clock),
            make_table(dynamodb),
            self.clock,
            limiter=make_limiter(dynamodb, fleet.turns_a_minute),
            new_owner=fleet.new_owner,
        )
        queues = Queues(cast(SQSClient, _SQS(self)), RETRY_URL, DEAD_LETTER_URL)
        self.publisher = Publisher(fleet.targets, sender, queues, self.clock)


type Subject = tuple[str, str, float]
"""Fingerprint, status, and when it was observed, in seconds after the beginning."""


@dataclass
class _Message:
    """A message on the retry queue."""

    body: str
    receives: int = 0


@dataclass(frozen=True)
class Ending:
    """What a delivery came to."""

    at: float
    subject: Subject
    report: Report


class Fleet:
    """Lambda, its retry queue and everything behind it, for one run.

    Args:
        histories: the alerts.
        seed: of latencies and deaths.
        misfortune: what goes wrong.
        limit: PagerDuty's.
        turns_a_minute: the publisher's own limit.
        max_concurrency: executions of the function at once.
        skew_seconds: how far an environment's clock may be off.
        naive: leave everything away that this project adds, and see.
    """

    def __init__(
        self,
        histories: Sequence[History],
        *,
        seed: int = 0,
        misfortune: Misfortune | None = None,
        limit: RateLimit | None = None,
        turns_a_minute: float = 120.0,
        latencies: Latencies | None = None,
        max_concurrency: int = 1000,
        skew_seconds: float = 0.0,
        naive: bool = False,
    ) -> None:
        self.histories = histories
        self.random = random.Random(seed).random
        self.misfortune = misfortune or Misfortune()
        self.limit = limit or RateLimit(120)
        self.turns_a_minute = turns_a_minute
        self.latencies = latencies or Latencies()
        self.max_concurrency = max_concurrency
        self.skew_seconds = skew_seconds
        self.naive = naive
        self.timeline = Timeline()
        self.pagerduty = PagerDuty(lambda: self.timeline.now, limit=self.limit)
        self.tables: dict[str, Any] = {TABLE: {}}
        self.targets = Targets(
            SecretsByPrefix(cast(SecretsManagerClient, FakeSecrets({"pagerduty/production": target_secret()}))),
            prefix="pagerduty/",
            base_url=BASE_URL,
            clock=lambda: self.timeline.now,
            report=lambda problem: None,
        )
        self.new_owner = make_owners()
        self.invocation_numbers = count()
        self.invocations = 0
        self.writes = 0
        self.deaths = 0
        self.sent: list[Subject] = []
        self.endings: list[Ending] = []
        self.given_up: list[Subject] = []
        self.dead_letters: list[Any] = []
        self._environments: list[_Environment] = []
        self._running = 0
        self._waiting: deque[Callable[[_Environment], None]] = deque()
        self._visible: deque[_Message] = deque()
        self._pollers = 0
        self._message_numbers = count()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return self.timeline.now - NOW

    def run(self, seconds: float = DAY) -> "Audit":
        """Let everything happen, and look at what came of it."""
        for history in self.histories:
            for change in history.changes:
                subject = history.fingerprint, change.status, change.at
                event = {"Records": [_sns_record(history, change)]}
                for delay in change.delays:
                    at = NOW + change.at + delay + self.latencies.delivery * (0.5 + self.random())
                    self.timeline.at(at, partial(self._invoke, event, subject, 0))
        self.timeline.run(seconds)
        return Audit(self)

    # --- Lambda ---

    def _start(self, work: Callable[[_Environment], None]) -> None:
        """Give work an execution environment, as soon as there may be one more."""
        if self._running >= self.max_concurrency:
            self._waiting.append(work)
            return
        self._running += 1
        self.invocations += 1
        environment = self._environments.pop() if self._environments else None
        self.timeline.start(lambda: self._execute(environment, work))

    def _execute(self, environment: _Environment | None, work: Callable[[_Environment], None]) -> None:
        try:
            if environment is None:
                self.timeline.sleep(self.latencies.cold_start * (0.5 + self.random()))
                environment = _Environment(self)
            environment.execution = _Execution(self)
            work(environment)
            self._environments.append(environment)
        finally:
            self._running -= 1
            if self._waiting:
                self.timeline.at(self.timeline.now, lambda: self._start(self._waiting.popleft()))

    def _invoke(self, event: Mapping[str, Any], subject: Subject, retries: int) -> None:
        """Invoke the function asynchronously, as SNS does."""

        def work(environment: _Environment) -> None:
            is_done = False
            try:
                if self.naive:
                    _send_naively(environment, event["Records"][0], subject)
                    is_done = True
                else:
                    is_done = self._publish(environment, event["Records"][0])
            finally:
                if not is_done and not self.timeline.errors:
                    self._fail(event, subject, retries)

        self._start(work)

    def _fail(self, event: Mapping[str, Any], subject: Subject, retries: int) -> None:
        if retries < len(ASYNC_RETRY_SECONDS):
            at = self.timeline.now + ASYNC_RETRY_SECONDS[retries]
            self.timeline.at(at, lambda: self._invoke(event, subject, retries + 1))
        else:
            self.dead_letters.append({"requestContext": {}, "requestPayload": event})

    def _publish(self, environment: _Environment, raw: Mapping[str, Any]) -> bool:
        """Publish a record as `app` does; give whether nothing of it would be lost."""
        environment.subject = subject = subject_of(raw)
        deadline = environment.clock() + FUNCTION_TIMEOUT_SECONDS - MARGIN_SECONDS
        reports = environment.publisher.publish(raw, min(deadline, self._deadline(environment)))
        self.endings += [Ending(self.seconds, subject, report) for report in reports]
        return not any(report.lost for report in reports)

    def _deadline(self, environment: _Environment) -> float:
        began_at = environment.execution.began_at + environment.clock.skew_seconds
        return began_at + FUNCTION_TIMEOUT_SECONDS - MARGIN_SECONDS

    # --- The retry queue ---

    def enqueue(self, body: str, delay_seconds: float) -> None:
        """Take a message in, which somebody gets after the delay."""
        copies = 2 if next(self._message_numbers) in self.misfortune.repeats else 1
        for _ in range(copies):
            message = _Message(body)
            at = self.timeline.now + delay_seconds + self.latencies.delivery * (0.5 + self.random())
            self.timeline.at(at, partial(self._appear, message))

    def _appear(self, message: _Message) -> None:
        self._visible.append(message)
        self.timeline.at(self.timeline.now + POLL_SECONDS, self._poll)

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
                self._start(partial(self._publish_batch, batch=batch))

    def _publish_batch(self, environment: _Environment, batch: list[_Message]) -> None:
        received_at = self.timeline.now
        kept = list(batch)
        done: list[_Message] = []
        try:
            done = [message for message in batch if self._publish(environment, _sqs_record(message))]
            kept = [message for message in batch if message not in done]
        finally:
            if not self.timeline.errors:
                for message in kept:
                    self.timeline.at(received_at + VISIBILITY_SECONDS, partial(self._appear, message))
            self._pollers -= 1
            self.timeline.at(self.timeline.now, self._poll)

    # --- PagerDuty ---

    def fail_as_planned(self) -> None:
        """Arm the faults of this instant."""
        faults = [failing.fault for failing in self.misfortune.pagerduty if failing.window.holds(self.seconds)]
        self.pagerduty.set_faults(*faults[:1])


def _send_naively(environment: _Environment, record: Mapping[str, Any], subject: Subject) -> None:
    """Send as many a forwarder does: three more tries at 100, 200 and 400 ms, no limit, no memory; then it is lost."""
    alert = json.loads(record["Sns"]["Message"])["alert"]
    environment.subject = subject
    event: dict[str, Any] = {
        "routing_key": json.loads(target_secret())["headers"]["routing_key"],
        "dedup_key": alert["fingerprint"],
        "event_action": "resolve",
    }
    if alert["status"] == "firing":
        payload = {"summary": alert["alert_name"], "source": "naive", "severity": alert["labels"]["severity"]}
        event |= {"event_action": "trigger", "payload": payload}
    for pause in (0.1, 0.2, 0.4, None):
        try:
            response = environment.pool.request(
                "POST", f"{BASE_URL}/v2/enqueue", body=json.dumps(event).encode(), timeout=urllib3.Timeout(total=10)
            )
        except urllib3.exceptions.HTTPError:
            pass
        else:
            if response.status == 202:
                return
        if pause is not None:
            environment.fleet.timeline.sleep(pause)
    environment.fleet.given_up.append(subject)


def _text(seconds: float) -> str:
    return datetime.fromtimestamp(NOW + seconds, UTC).isoformat()


def _sns_record(history: History, change: Change) -> dict[str, Any]:
    alert = {
        "fingerprint": history.fingerprint,
        "alert_name": "Storm",
        "status": change.status,
        "labels": {"severity": history.severity},
        "observed_at": _text(change.at),
    }
    sns = {
        "Type": "Notification",
        "MessageId": f"{history.fingerprint}-{change.at}",
        "TopicArn": "arn:aws:sns:us-east-1:000000000000:alerts",
        "Message": json.dumps({"alert": alert}),
        "Timestamp": _text(change.at),
    }
    return {"EventSource": "aws:sns", "EventVersion": "1.0", "Sns": sns}


def _sqs_record(message: _Message) -> dict[str, Any]:
    return {"eventSource": "aws:sqs", "messageId": "m", "body": message.body, "attributes": {}}


def subject_of(record: Mapping[str, Any]) -> Subject:
    """Read what a record, or a dead letter, is about."""
    match record:
        case {"eventSource": "aws:sqs", "body": body}:
            return subject_of(json.loads(body))
        case {"Sns": {"Message": message}}:
            return subject_of(json.loads(message))
        case {"requestPayload": {"Records": [inner]}}:
            return subject_of(inner)
    alert = record["alert"]
    observed_at = datetime.fromisoformat(alert["observed_at"]).timestamp()
    return alert["fingerprint"], alert["status"], round(observed_at - NOW, 6)


# --- What came of it --------------------------------------------------------------------------------------------------

IN_FLIGHT_SECONDS = 1.0
"""A trigger that was under way already when its alert's end was observed is not stale."""


@dataclass(frozen=True)
class Sent:
    """A request at PagerDuty, and what it was about."""

    at: float
    subject: Subject
    request: Request

    @property
    def fingerprint(self) -> str:
        """Whose."""
        return self.subject[0]


@dataclass
class Audit:
    """The truth about a run, from what PagerDuty saw and what the alerts did."""

    fleet: Fleet
    sent: list[Sent] = field(init=False)

    def __post_init__(self) -> None:
        """Pair the requests with what they were about."""
        pairs = zip(self.fleet.sent, self.fleet.pagerduty.requests, strict=True)
        self.sent = [Sent(request.at - NOW, subject, request) for subject, request in pairs]

    @property
    def accepted(self) -> list[Sent]:
        """What PagerDuty took in."""
        return [sent for sent in self.sent if sent.request.accepted]

    @property
    def refused(self) -> int:
        """How many 429 there were."""
        return sum(sent.request.status == 429 for sent in self.sent)

    @property
    def peak(self) -> int:
        """The most requests in a rolling minute."""
        return max(self.fleet.pagerduty.peak.values(), default=0)

    @property
    def requests_per_accepted(self) -> float:
        """1 is best."""
        return len(self.sent) / max(1, len(self.accepted))

    @property
    def lost(self) -> list[Subject]:
        """Observations that are neither accepted nor skipped for a reason nor among the dead letters."""
        if self.fleet.naive:
            return self.fleet.given_up
        ended = {end.subject for end in self.fleet.endings if end.report.outcome in ("accepted", "skipped")}
        ended |= {subject_of(letter) for letter in self.fleet.dead_letters}
        published = [(h.fingerprint, change.status, change.at) for h in self.fleet.histories for change in h.changes]
        return [subject for subject in published if (subject[0], subject[1], round(subject[2], 6)) not in ended]

    @property
    def critical_latency(self) -> float:
        """The longest that a critical trigger took to be accepted; infinite where one never was."""
        waits = [
            self._accepted_at(history, change) - change.at
            for history in self.fleet.histories
            if history.is_critical
            for change in history.changes
            if change.status == "firing"
        ]
        return max(waits, default=0.0)

    def _accepted_at(self, history: History, change: Change) -> float:
        key = (history.fingerprint, change.status, round(change.at, 6))
        found = (sent.at for sent in self.accepted if _rounded(sent.subject) == key)
        return min(found, default=float("inf"))

    @property
    def firing_accepted_at(self) -> float:
        """When every alert that fires to the end had been accepted."""
        still = [history for history in self.fleet.histories if history.changes[-1].status == "firing"]
        return max((self._accepted_at(history, history.changes[-1]) for history in still), default=0.0)

    @property
    def drained_at(self) -> float:
        """When the last request was accepted."""
        return max((sent.at for sent in self.accepted), default=0.0)

    @property
    def wrong_at_the_end(self) -> list[str]:
        """Alerts whose incident is not in the state of the newest observation."""
        states = {incident.dedup_key: str(incident.state) for incident in self.fleet.pagerduty.incidents}
        wrong = []
        for history in self.fleet.histories:
            newest = max(history.changes, key=lambda change: (change.at, change.status == "resolved")).status
            is_open = states.get(history.fingerprint, "resolved") != "resolved"
            if is_open is not (newest == "firing"):
                wrong.append(f"{history.fingerprint}: {newest}, at PagerDuty {states.get(history.fingerprint)}")
        return wrong

    @property
    def left_open(self) -> int:
        """Incidents that are open though their alert has ended."""
        return sum(": resolved" in wrong for wrong in self.wrong_at_the_end)

    @property
    def stale(self) -> list[Sent]:
        """Triggers that arrived more than a moment after their alert's end, which was observed later than they were."""
        return [
            sent
            for sent in self.accepted
            if sent.subject[1] == "firing"
            and any(
                change.status == "resolved"
                and change.at >= sent.subject[2]
                and sent.at > change.at + min(change.delays) + IN_FLIGHT_SECONDS
                for change in self._history(sent).changes
            )
        ]

    @property
    def disorder(self) -> list[tuple[Sent, Sent]]:
        """Pairs of which PagerDuty took the later observation in first: stale triggers, resolves before triggers."""
        newest: dict[str, Sent] = {}
        pairs = []
        for sent in self.accepted:
            before = newest.get(sent.fingerprint)
            if before and _version(before) > _version(sent):
                pairs.append((before, sent))
            else:
                newest[sent.fingerprint] = sent
        return pairs

    def _history(self, sent: Sent) -> History:
        return self._histories[sent.fingerprint]

    @property
    def _histories(self) -> Mapping[str, History]:
        return {history.fingerprint: history for history in self.fleet.histories}

    def __str__(self) -> str:
        """Say it in one line."""
        return (
            f"{len(self.fleet.histories)} alerts, {self.fleet.invocations} invocations, {len(self.sent)} requests, "
            f"{len(self.accepted)} accepted, {self.refused} x 429, {self.fleet.writes} writes, peak {self.peak}, "
            f"criticals {self.critical_latency:.2f} s, firing accepted at {self.firing_accepted_at:.1f} s, "
            f"drained at {self.drained_at:.1f} s, {self.fleet.seconds:.0f} s in all"
        )


def _rounded(subject: Subject) -> Subject:
    return subject[0], subject[1], round(subject[2], 6)


def _version(sent: Sent) -> tuple[float, bool]:
    return sent.subject[2], sent.subject[1] == "resolved"


# --- The storms of the design -----------------------------------------------------------------------------------------


def storm(alerts: int, criticals: int, *, resolved: int = 0, resolved_at: float = 60.0, seed: int = 1) -> list[History]:
    """Give so many alerts that fire at once, of which some are critical, and others end together later."""
    chance = random.Random(seed)
    numbers = list(range(alerts))
    critical = set(chance.sample(numbers, criticals))
    ending = set(chance.sample([number for number in numbers if number not in critical], resolved))
    return [
        History(
            f"alert-{number}",
            (Change(0.0, "firing"), *((Change(resolved_at, "resolved"),) if number in ending else ())),
            "critical" if number in critical else "warning",
        )
        for number in numbers
    ]
