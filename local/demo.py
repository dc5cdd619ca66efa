"""`make run`: the whole path on one machine, from an alert on the topic to an incident at PagerDuty, and checks it.

Reads KEEP (leave the stack up until interrupted), ROUTING_KEY (send to the real PagerDuty instead of the simulator)
and BASE_URL (of the real PagerDuty, if not the US service region) from the environment.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from handler.pagerduty.client import BASE_URL
from handler.pagerduty.events import ROUTING_KEY_CHARACTERS
from local.simulator.incidents import Incident
from local.simulator.page import keepsake
from local.simulator.pagerduty import Change, DeadLetter, PagerDuty
from local.simulator.server import SimulatorServer
from local.stack import (
    ACCOUNT,
    REGION,
    ROOT,
    STACK_NAME,
    Emulator,
    LocalStackError,
    RunningStack,
    await_until,
    client,
    deploy,
    native_event,
    parameters_for,
)
from tools.redrive import DeadLetter as RedriveLetter
from tools.redrive import read_letter

ALARM_NAME = "checkout-latency-high"
ALARM_KEY = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{ALARM_NAME}"
PATIENCE_SECONDS = 30.0
LOOK_SECONDS = 2.0
INCIDENTS = ROOT / ".aws-sam/incidents.html"
"""A copy of the page that works after the simulator has stopped."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One alert that was sent to AWS.

    Attributes:
        action: the action that PagerDuty must receive.
        dedup_key: of the incident; empty for a change event.
        at: epoch seconds when it was sent.
        accepted_at: epoch seconds when PagerDuty accepted it.
    """

    action: str
    dedup_key: str
    at: float
    accepted_at: float


class WrongResultError(Exception):
    """PagerDuty received something else than expected; the message lists the differences."""


def step(text: str) -> None:
    """Print the current step."""
    print(f"  {text}", flush=True)


@contextmanager
def progress(text: str) -> Iterator[None]:
    """Print the current step, and how long it took."""
    print(f"  {text} ...", end="", flush=True)
    started = time.monotonic()
    try:
        yield
    except BaseException:
        print(flush=True)
        raise
    print(f" {time.monotonic() - started:.1f} s", flush=True)


class Demo:
    """Sends the alerts, and waits after each until PagerDuty has accepted it, in the order of an alert's life.

    Args:
        accepted: how often PagerDuty has accepted an action for a dedup key so far, as a time for each.
    """

    def __init__(
        self, stack: RunningStack, emulator: Emulator, accepted: Callable[[str, str], Sequence[float]]
    ) -> None:
        self._topic = stack.outputs["AlertTopicArn"]
        self._cloudwatch = emulator.client("cloudwatch")
        self._events = emulator.client("events")
        self._sns = emulator.client("sns")
        self._accepted = accepted
        self._started_at = datetime.now(UTC) - timedelta(seconds=1)
        # unique to this run, so that two runs against the real PagerDuty do not interfere
        self.key = f"demo/orders-db/{self._started_at:%Y%m%dT%H%M%S.%f}"
        self.sent: list[Sent] = []

    def run(self) -> None:
        """Send everything, in order."""
        self._cloudwatch.put_metric_alarm(
            AlarmName=ALARM_NAME,
            AlarmDescription="Checkout answers slowly. Runbook: https://wiki.example.com/checkout",
            Namespace="Shop",
            MetricName="Latency",
            Dimensions=[{"Name": "Service", "Value": "checkout"}],
            Statistic="Average",
            Period=60,
            EvaluationPeriods=1,
            Threshold=0.5,
            ComparisonOperator="GreaterThanThreshold",
            AlarmActions=[self._topic],
            OKActions=[self._topic],
        )
        self._say("CloudWatch alarm -> SNS        ALARM", "trigger", ALARM_KEY, lambda: self._alarm("ALARM", 0.93))
        time.sleep(1)  # alarm states have whole seconds, and this one must not change twice in one
        self._say("CloudWatch alarm -> SNS        OK", "resolve", ALARM_KEY, lambda: self._alarm("OK", 0.12))
        native = "native alert     -> EventBridge"
        self._say(f"{native} firing", "trigger", self.key, lambda: self._native("firing"))
        self._say(f"{native} acknowledged", "acknowledge", self.key, lambda: self._native("acknowledged"))
        self._say(f"{native} resolved", "resolve", self.key, lambda: self._native("resolved"))
        self._say("change event     -> SNS", "change", "", self._change)

    def _say(self, what: str, action: str, dedup_key: str, send: Callable[[], object]) -> None:
        print(f"  {what:<46}", end="", flush=True)
        before = len(self._accepted(action, dedup_key))
        at = time.time()
        send()

        def newly_accepted() -> float | None:
            times = self._accepted(action, dedup_key)
            return times[-1] if len(times) > before else None

        try:
            accepted_at = await_until(newly_accepted, PATIENCE_SECONDS, f"PagerDuty to accept the {action}")
        except LocalStackError:
            print("not accepted", flush=True)
            raise
        self.sent.append(Sent(action, dedup_key, at, accepted_at))
        print(f"{action} accepted after {(accepted_at - at) * 1000:5.0f} ms", flush=True)

    def _alarm(self, state: str, latency: float) -> None:
        reason = f"Threshold Crossed: 1 datapoint [{latency}] was compared with the threshold (0.5)."
        self._cloudwatch.set_alarm_state(AlarmName=ALARM_NAME, StateValue=state, StateReason=reason)

    def _native(self, status: str) -> None:
        alert: dict[str, Any] = {
            "fingerprint": self.key,
            "alert_name": "OrdersDatabaseHighCPU",
            "status": status,
            "labels": {"severity": "critical", "cluster": "prod", "instance": "orders-db-1"},
            "annotations": {"summary": "CPU at 97 %", "runbook_url": "https://wiki.example.com/orders-db"},
            "starts_at": self._started_at.isoformat(),
        }
        if status == "resolved":
            alert["ends_at"] = datetime.now(UTC).isoformat()
        answer = self._events.put_events(Entries=[native_event(**alert)])
        if answer["FailedEntryCount"]:
            raise LocalStackError(f"EventBridge refused the event: {answer['Entries']}")

    def _change(self) -> None:
        alert = {
            "alert_name": "checkout 2.4.1 deployed",
            "status": "firing",
            "labels": {"change_event": "true", "service": "checkout"},
            "annotations": {"summary": "checkout 2.4.1 deployed to production"},
        }
        self._sns.publish(TopicArn=self._topic, Message=json.dumps({"alert": alert}))


def accepted_by_simulator(pagerduty: PagerDuty) -> Callable[[str, str], list[float]]:
    """Read what the simulator accepted."""

    def accepted(action: str, dedup_key: str) -> list[float]:
        return [
            request.at
            for request in pagerduty.requests
            if request.accepted and request.action == action and (request.dedup_key or "") == dedup_key
        ]

    return accepted


def accepted_by_log(emulator: Emulator, stack: RunningStack) -> Callable[[str, str], list[float]]:
    """Read the function's log, because the real PagerDuty cannot be asked."""
    logs = emulator.client("logs")
    group = f"/aws/lambda/{STACK_NAME}-publisher"

    def accepted(action: str, dedup_key: str) -> list[float]:
        try:
            lines = [event["message"] for event in logs.filter_log_events(logGroupName=group)["events"]]
        except logs.exceptions.ResourceNotFoundException:
            return []
        records = [json.loads(line) for line in lines if line.startswith('{"level"')]
        for record in records:
            if record.get("errors"):
                raise LocalStackError(f"the function says: {record['errors'][0]['message']}")
        wanted = "change_event" if action == "change" else action
        return [
            datetime.strptime(record["timestamp"], "%Y-%m-%d %H:%M:%S,%f%z").timestamp()
            for record in records
            if record.get("outcome") == "accepted"
            and record["event_type"] == wanted
            and (action == "change" or record["dedup_key"] == dedup_key)
        ]

    return accepted


def show(pagerduty: PagerDuty, sent: Sequence[Sent]) -> None:
    """Show what PagerDuty received."""
    print("\nWhat PagerDuty received\n")
    for incident in pagerduty.incidents:
        print(f"  incident #{incident.number}  {incident.state.upper():<9} {incident.severity:<9} {incident.summary}")
        print(f"               dedup key {incident.dedup_key}")
        times = iter([said for said in sent if said.dedup_key == incident.dedup_key])
        for entry in incident.timeline:
            said = next(times, None)
            took = f"  {(entry.at - said.at) * 1000:6.0f} ms from alert to acceptance" if said else ""
            print(f"               {_clock(entry.at)}  {entry.action:<12}{took}")
        print()
    for change in pagerduty.changes:
        print(f"  change                {change.summary}")
        print(f"               {_clock(change.at)}  accepted\n")


def _clock(at: float) -> str:
    return f"{datetime.fromtimestamp(at).astimezone():%H:%M:%S.%f}"[:-3]


def check(pagerduty: PagerDuty, native_key: str) -> None:
    """Compare what PagerDuty received with what it should have; raise WrongResultError with every difference."""
    expected = {
        ALARM_KEY: ("resolved", "error", ["trigger", "resolve"]),
        native_key: ("resolved", "critical", ["trigger", "acknowledge", "resolve"]),
    }
    found = {incident.dedup_key: _summary_of(incident) for incident in pagerduty.incidents}
    wrong = [
        f"incident {key}: expected {expected.get(key, 'none')}, found {found.get(key, 'none')}"
        for key in expected | found
        if expected.get(key) != found.get(key)
    ]
    changes: tuple[Change, ...] = pagerduty.changes
    if len(changes) != 1:
        wrong.append(f"expected 1 change event, found {len(changes)}")
    wrong += [f"dropped: {dropped}" for dropped in pagerduty.dropped]
    wrong += [
        f"request {r.action}: answered {r.status} {[*r.errors, *r.warnings]}"
        for r in pagerduty.requests
        if not r.accepted or r.warnings
    ]
    if wrong:
        raise WrongResultError("\n  ".join(["PagerDuty did not receive what it should have:", *wrong]))


def _summary_of(incident: Incident) -> tuple[str, str, list[str]]:
    return str(incident.state), incident.severity, [entry.action for entry in incident.timeline]


@contextmanager
def watching(stack: RunningStack, pagerduty: PagerDuty) -> Iterator[None]:
    """Show the dead-letter queue on the simulator's page for as long as the context lasts."""
    stopped = Event()
    sqs = client(stack.endpoint, "sqs")

    def watch() -> None:
        while not stopped.wait(LOOK_SECONDS):
            with suppress(ClientError, BotoCoreError):
                pagerduty.show_dead_letters(dead_letters(sqs, stack.outputs["DeadLetterQueueUrl"]))

    thread = Thread(target=watch, name="dead letters", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def dead_letters(sqs: Any, url: str) -> list[DeadLetter]:
    """Return up to a hundred messages of the dead-letter queue, and leave them there."""
    found: dict[str, RedriveLetter] = {}
    for _ in range(10):
        page = sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=10,
            VisibilityTimeout=1,  # hidden from the next receive, and visible again soon
            MessageSystemAttributeNames=["SentTimestamp"],
            MessageAttributeNames=["All"],
        ).get("Messages", [])
        if not page:
            break
        found |= {letter.message_id: letter for letter in map(read_letter, page)}
    return [
        DeadLetter(letter.sent_at.timestamp(), letter.error_type, letter.what, letter.error)
        for letter in sorted(found.values(), key=lambda letter: (letter.sent_at, letter.message_id))
    ]


def by_hand(stack: RunningStack) -> str:
    """Return instructions for publishing to a stack that keeps running."""
    message = '{"alert": {"alert_name": "ByHand", "status": "firing", "labels": {"severity": "warning"}}}'
    lines = [
        "",
        "The stack stays up until you press Ctrl-C. In another terminal, publish an alert:",
        "",
        f"  curl -s {stack.endpoint} -d Action=Publish -d TopicArn={stack.outputs['AlertTopicArn']} \\",
        f"    --data-urlencode 'Message={message}'",
        "",
        "With this, the AWS CLI and every command in docs/operations.md address this stack:",
        "",
        f"  export AWS_ENDPOINT_URL={stack.endpoint} AWS_DEFAULT_REGION={REGION} \\",
        "    AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test",
        "",
        "  make trace NAME=ByHand                            what became of an alert",
        "  make page TARGET=pagerduty                        a test page, and its resolve",
        "  make route EVENT=events/native-sns-firing.json    who would get an event; nothing is sent",
        "  make doctor                                       what would keep an alarm from paging",
        "  make redrive                                      send what could not be delivered again",
        '  make deploy PARAMETERS="LogLevel=DEBUG"           change a parameter',
        "  make invoke EVENT=events/native-sns-firing.json   run the function in a container (needs Docker)",
    ]
    if stack.simulator:
        lines += [
            "",
            f"What PagerDuty has, as JSON:  curl -s {stack.simulator}/simulator/incidents",
            f"and as a page, live:          {stack.simulator}/",
        ]
    return "\n".join(lines)


def main() -> int:
    """Run the demo and return the exit status."""
    routing_key = os.environ.get("ROUTING_KEY", "")
    keep = os.environ.get("KEEP", "") not in ("", "0")
    if routing_key and len(routing_key) != ROUTING_KEY_CHARACTERS:
        raise LocalStackError(
            f"ROUTING_KEY has {len(routing_key)} characters: an Events API v2 integration key has "
            f"{ROUTING_KEY_CHARACTERS}; leave it out to send to the simulator"
        )
    with ExitStack() as resources:
        print("PagerDuty Publisher, on this machine\n")
        with progress("starting the AWS emulator"):
            emulator = resources.enter_context(Emulator())
        if routing_key:
            parameters = parameters_for(os.environ.get("BASE_URL") or BASE_URL, routing_key)
            simulator = None
        else:
            simulator = resources.enter_context(SimulatorServer())
            parameters = parameters_for(simulator.url)
        with progress("sam deploy of template.yaml"):
            outputs = deploy(emulator, parameters)
        stack = RunningStack(emulator.endpoint, simulator.url if simulator else "", outputs)
        step(f"sending to {stack.simulator or parameters['PagerDutyBaseUrl']}\n")
        accepted = accepted_by_simulator(simulator.pagerduty) if simulator else accepted_by_log(emulator, stack)
        demo = Demo(stack, emulator, accepted)
        demo.run()
        if simulator:
            show(simulator.pagerduty, demo.sent)
            INCIDENTS.write_text(keepsake(simulator.pagerduty), encoding="utf-8")
            check(simulator.pagerduty, demo.key)
        print(f"{'' if simulator else chr(10)}All {len(demo.sent)} events accepted, as they should be.")
        if keep:
            stack.save()
            resources.callback(stack.forget)
            print(by_hand(stack), flush=True)
            if simulator:
                resources.enter_context(watching(stack, simulator.pagerduty))
            signal.pause()
        elif simulator:
            print(f"\nThe incidents as a page:  {INCIDENTS.relative_to(ROOT)}   (make run KEEP=1 shows it live)")
    return 0


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\nstopped")
        sys.exit(0 if os.environ.get("KEEP") else 130)
    except (LocalStackError, WrongResultError) as error:
        print(f"\n{error}", file=sys.stderr)
        sys.exit(1)
