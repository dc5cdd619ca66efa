"""The operators' commands against the deployed stack, run as `make` runs them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from handler.schedules import HEALTH_CHECK
from local.simulator.faults import Fault, FaultKind
from local.stack import ROUTING_KEY, STACK_NAME, aws_environment
from tests.e2e.conftest import Deployed

ROOT = Path(__file__).parents[2]
EVENT = "events/native-sns-firing.json"


def run(stack: Deployed, tool: str, *arguments: str, **variables: str) -> tuple[int, str]:
    """Run a tool; return its status and all that it prints, which never has a routing key."""
    environment = {**aws_environment(stack.emulator.endpoint), "PYTHONPATH": "src", **variables}
    done = subprocess.run(
        [sys.executable, "-m", f"tools.{tool}", "--stack", STACK_NAME, *arguments],
        cwd=ROOT,
        env={name: value for name, value in environment.items() if value},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ROUTING_KEY not in done.stdout
    assert "Traceback" not in done.stdout
    return done.returncode, done.stdout


def native(key: str, **more: Any) -> dict[str, Any]:
    alert = {"fingerprint": key, "alert_name": f"name of {key}", "status": "firing", "labels": {"severity": "critical"}}
    return {"alert": {**alert, **more}}


def end(stack: Deployed, key: str) -> str:
    """Return the last line of the trace: the end in one sentence."""
    status, text = run(stack, "trace", "--key", key)
    assert status == 0, text
    return text.splitlines()[-1]


@pytest.fixture(autouse=True)
def no_faults_and_no_letters(stack: Deployed) -> Iterator[None]:
    """Begin and end with a PagerDuty that answers, and an empty dead-letter queue."""
    stack.pagerduty.set_faults()
    stack.emulator.client("sqs").purge_queue(QueueUrl=stack.outputs["DeadLetterQueueUrl"])
    yield
    stack.pagerduty.set_faults()


@pytest.fixture
def more_targets(stack: Deployed) -> Iterator[None]:
    """Beside the first target, one that pages nobody and one that never resolves; both are asked for by name."""
    secrets = stack.emulator.client("secretsmanager")
    common = {"type": "pagerduty", "headers": {"routing_key": ROUTING_KEY[::-1]}, "match": ['team="nobody"']}
    made = {
        "quiet": {"name": "quiet", "type": "none", "match": ['noise="true"']},
        "stays": {**common, "name": "stays", "auto_resolve": False},
    }
    for name, secret in made.items():
        secrets.create_secret(
            Name=f"pagerduty/{name}",
            SecretString=json.dumps(secret),
            Tags=[{"Key": "publishing-target", "Value": "true"}],
        )
    stack.invoke(HEALTH_CHECK)  # reads the targets anew
    yield
    for name in made:
        secrets.delete_secret(SecretId=f"pagerduty/{name}", ForceDeleteWithoutRecovery=True)
    stack.invoke(HEALTH_CHECK)


# --- page ---------------------------------------------------------------------------------------------------------


def test_a_test_page_goes_there_and_is_resolved(stack: Deployed) -> None:
    status, text = run(stack, "page", "--target", "pagerduty", "--severity", "warning")
    assert status == 0, text
    assert "trigger accepted by PagerDuty" in text
    assert "resolve accepted by PagerDuty" in text
    key = text.splitlines()[0].rpartition(" ")[2]
    incident = stack.incident(key, "resolved")
    assert incident.severity == "warning"
    assert "TEST PAGE, nothing is wrong" in incident.summary


@pytest.mark.usefixtures("more_targets")
def test_a_target_that_never_resolves_is_reported_to_stay_open(stack: Deployed) -> None:
    status, text = run(stack, "page", "--target", "stays")
    assert status == 0, text
    assert "not resolved: auto_resolve of stays is off" in text


def test_a_page_that_is_refused_exits_1_with_the_reason(stack: Deployed) -> None:
    stack.pagerduty.set_faults(Fault(FaultKind.STATUS, status=400, count=None))
    status, text = run(stack, "page", "--target", "pagerduty")
    assert status == 1
    assert "trigger NOT ACCEPTED within 60 s" in text
    assert "400" in text


# --- trace --------------------------------------------------------------------------------------------------------


def test_the_true_end_is_reported(stack: Deployed, key: str) -> None:
    """Of an accepted, a duplicate, a superseded, a dead-lettered and an unknown alert."""
    assert run(stack, "trace", "--key", key)[0] == 1
    stack.publish(native(key))
    stack.incident(key, "triggered")
    assert "END at pagerduty: accepted by PagerDuty at " in end(stack, key)
    stack.invoke(native(key))
    assert "END at pagerduty: a duplicate: PagerDuty had this state already, accepted at " in end(stack, key)
    stack.publish(native(key, status="resolved"))
    stack.incident(key, "resolved")
    stack.invoke(native(key, observed_at="2026-01-01T00:00:00Z"))
    assert "END at pagerduty: superseded: a newer state was known already: resolved, published " in end(stack, key)
    stack.pagerduty.set_faults(Fault(FaultKind.STATUS, status=400, dedup_key=f"{key}/dead"))
    stack.invoke(native(f"{key}/dead"))
    assert "rejected at " in end(stack, f"{key}/dead")
    assert "and lies in the dead-letter queue (make redrive)" in end(stack, f"{key}/dead")


def test_one_that_waits_is_reported_with_its_place(stack: Deployed, key: str) -> None:
    stack.pagerduty.set_faults(Fault(FaultKind.STATUS, status=503, count=None))
    stack.invoke(native(key))
    said = end(stack, key)
    assert "END at pagerduty: it waits since " in said
    assert "among the critical triggers, behind " in said
    stack.pagerduty.set_faults()


@pytest.mark.usefixtures("more_targets")
def test_one_that_pages_nobody_is_told_so(stack: Deployed, key: str) -> None:
    stack.invoke(native(key, labels={"noise": "true"}))
    assert end(stack, key) == 'END at quiet: sent nowhere: the target has "type": "none".'


def test_one_that_asks_for_no_known_target_is_told_so(stack: Deployed, key: str) -> None:
    stack.invoke(native(key, targets=["not there"]))
    said = end(stack, key)
    assert "sent nowhere at " in said
    assert "lies in the dead-letter queue" in said


# --- route --------------------------------------------------------------------------------------------------------


def test_a_route_is_reported_and_nothing_is_sent(stack: Deployed, key: str, tmp_path: Path) -> None:
    event = tmp_path / "event.json"
    event.write_text(json.dumps(native(key)))
    status, text = run(stack, "route", str(event))
    assert status == 0, text
    assert "-> pagerduty" in text
    assert stack.requests(key) == []


def test_a_changed_route_exits_1(stack: Deployed, tmp_path: Path) -> None:
    expected = tmp_path / "routes.yaml"
    expected.write_text(f"{ROOT / EVENT}:\n  - {{target: pagerduty, action: trigger}}\n")
    assert run(stack, "route", "--expect", str(expected))[0] == 0
    expected.write_text(f"{ROOT / EVENT}:\n  - {{target: payments}}\n")
    status, text = run(stack, "route", "--expect", str(expected))
    assert status == 1
    assert "expected  target=payments" in text


# --- what is missing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("page", ["--target", "pagerduty"]),
        ("trace", ["--key", "x"]),
        ("route", [EVENT]),
        ("doctor", []),
    ],
)
def test_what_is_missing_is_reported_in_one_line(stack: Deployed, tool: str, arguments: list[str]) -> None:
    status, text = run(stack, tool, *arguments, "--stack", "other")
    assert (status, text) == (2, "no stack other in this account and region: name yours, STACK=...\n")
    status, text = run(stack, tool, *arguments, AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    assert (status, text.count("\n")) == (2, 1)
    assert "Unable to locate credentials" in text
