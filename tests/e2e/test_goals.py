"""What docs/operations.md has a user type to reach a goal, run as it is written on a stack that `make deploy` made."""

import json
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from local.simulator.pagerduty import PagerDuty
from local.simulator.server import SimulatorServer
from local.stack import (
    ACCOUNT,
    REGION,
    ROOT,
    ROUTING_KEY,
    RUNNING,
    Emulator,
    RunningStack,
    await_until,
    aws_environment,
)
from tests.lab.cloudwatch import put_alarm

OPERATIONS = (ROOT / "docs/operations.md").read_text()
OUTPUT = re.findall(r"(?m)^output\(\) .*$", OPERATIONS)[0]
NEW_KEY = "fedcba9876543210fedcba9876543210"
needs_jq = pytest.mark.skipif(not shutil.which("jq"), reason="jq is not installed")


def commands(title: str) -> list[str]:
    """Return the shell blocks of a section, with this account's names."""
    section = OPERATIONS[OPERATIONS.index(f"\n## {title}\n") + 1 :].partition("\n## ")[0]
    blocks = [textwrap.dedent(text) for text in re.findall(r"(?ms)^ *```\n(.*?)^ *```", section)]
    return [text.replace("eu-west-1", REGION).replace("123456789012", ACCOUNT) for text in blocks]


@dataclass(frozen=True)
class User:
    """Somebody at a shell, with the environment that `make run KEEP=1` prints."""

    emulator: Emulator
    pagerduty: PagerDuty
    running: RunningStack
    folder: Path

    def run(self, text: str, **more: str) -> str:
        """Run commands in bash, and return what they print; a command that fails ends them."""
        self.running.save()
        environment = aws_environment(self.emulator.endpoint)
        environment["PATH"] = f"{self.folder}:{environment['PATH']}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"{OUTPUT}\n{text}"],
            cwd=ROOT,
            env=environment | {"OPERATOR_EMAIL": "", "ROUTING_KEY": ""} | more,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}"
        return done.stdout

    def target(self, name: str) -> Any:
        """Return the content of a target's secret."""
        secret = self.emulator.client("secretsmanager").get_secret_value(SecretId=f"pagerduty/{name}")
        return json.loads(secret["SecretString"])

    def create_teams(self) -> None:
        """Create the targets of `two teams`, once."""
        secrets = self.emulator.client("secretsmanager").list_secrets()["SecretList"]
        if "pagerduty/payments" not in [secret["Name"] for secret in secrets]:
            self.run(commands("Two teams, by labels and by tags")[0])


@contextmanager
def installed(folder: Path, **more: str) -> Iterator[User]:
    """Install as docs/operations.md says; what another stack's `make run KEEP=1` has written is put back."""
    before = RUNNING.read_text() if RUNNING.exists() else None
    aws = folder / "aws"
    aws.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m tests.lab.awscli "$@"\n')
    aws.chmod(0o755)
    try:
        with Emulator() as emulator, SimulatorServer() as simulator:
            user = User(emulator, simulator.pagerduty, RunningStack(emulator.endpoint, simulator.url, {}), folder)
            deploy, try_it, *_ = commands("Install")
            user.run(deploy, ROUTING_KEY=ROUTING_KEY, OPERATOR_EMAIL="ops@example.com", **more)
            assert "resolve accepted by PagerDuty" in user.run(try_it)
            yield user
    finally:
        RUNNING.write_text(before) if before else RUNNING.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    with installed(tmp_path_factory.mktemp("bin")) as user:
        yield user


def test_wire_existing_alarms(user: User) -> None:
    """A topic that alarms already name is subscribed by one command; what SNS cannot deliver is dead-lettered."""
    subscribe, try_it = commands("Wire existing alarms")
    sns = user.emulator.client("sns")
    topic = sns.create_topic(Name="alarms")["TopicArn"]
    cloudwatch = user.emulator.client("cloudwatch")
    put_alarm(cloudwatch, "checkout-errors", AlarmActions=[topic], OKActions=[topic])
    subscribed = json.loads(user.run(subscribe))["SubscriptionArn"]
    attributes = sns.get_subscription_attributes(SubscriptionArn=subscribed)["Attributes"]
    assert (
        json.loads(attributes["RedrivePolicy"])["deadLetterTargetArn"] == user.run("output DeadLetterQueueArn").strip()
    )
    user.run(try_it)
    await_until(
        lambda: [i for i in user.pagerduty.incidents if "checkout-errors" in i.dedup_key and i.state == "resolved"],
        30,
        "the alarm's incident to be resolved",
    )


def test_two_teams(user: User) -> None:
    """By tags: an alarm that has them goes to the team, another one to the first target. A new target pages at once."""
    user.create_teams()
    with_tags, without = user.run(commands("Two teams, by labels and by tags")[1]).split(
        "events/cloudwatch-sns-alarm.json"
    )
    assert "-> payments" in with_tags
    assert "-> pagerduty" in without
    assert "resolve accepted by PagerDuty" in user.run("make page TARGET=payments")


def test_only_high_guardduty_findings(user: User) -> None:
    """The rule is on, and a high finding goes to the target with the threshold."""
    (block,) = commands("Only high GuardDuty findings")
    assert "-> security" in user.run(block)
    described = user.emulator.client("cloudformation").describe_stacks(StackName="pagerduty-publisher")
    parameters = {it["ParameterKey"]: it["ParameterValue"] for it in described["Stacks"][0]["Parameters"]}
    assert parameters["GuardDutyRule"] == "ENABLED"
    assert user.target("security")["severity_threshold"] == "error"


def test_rotate_a_key(user: User) -> None:
    """The secret has the new key, and nothing else has changed; no copy is left."""
    user.create_teams()
    before = user.target("payments")
    (block,) = commands("Rotate a key")
    user.run(block, EDITOR=f"sed -i s/{before['headers']['routing_key']}/{NEW_KEY}/")
    assert user.target("payments") == before | {"headers": {"routing_key": NEW_KEY}}
    assert not (ROOT / "target.json").exists()


@needs_jq
def test_silence_tonight(user: User) -> None:
    """A disabled target keeps its place in the matching; the emulator has no mute rules."""
    user.create_teams()
    before = user.target("payments")
    _, disable = commands("Silence tonight")
    user.run(disable)
    assert user.target("payments") == before | {"enabled": False}
    assert "payments  (skipped: target_disabled)" in user.run("make route EVENT=events/cloudwatch-sns-tags.json")
    user.emulator.client("secretsmanager").put_secret_value(
        SecretId="pagerduty/payments", SecretString=json.dumps(before)
    )


def test_an_alert_did_not_page(user: User) -> None:
    """The command tells what became of one that did, by the key of the README's alert."""
    readme = (ROOT / "README.md").read_text()
    (publish,) = re.findall(r"(?ms)^aws sns publish .*?\}'$", readme)
    user.run(f'ALERT_TOPIC_ARN="$(output AlertTopicArn)"\n{publish}')
    await_until(
        lambda: [i for i in user.pagerduty.incidents if i.dedup_key == "orders-db-cpu"],
        30,
        "the README's alert to page",
    )
    assert "accepted by PagerDuty" in user.run("make trace KEY=orders-db-cpu")


def test_upgrade_and_remove(tmp_path: Path) -> None:
    """A deploy over the stack keeps its parameters; after removal neither the stack nor its targets are left."""
    with installed(tmp_path, PARAMETERS="LogLevel=DEBUG") as user:
        cloudformation = user.emulator.client("cloudformation")

        def parameters() -> dict[str, str]:
            (described,) = cloudformation.describe_stacks(StackName="pagerduty-publisher")["Stacks"]
            return {it["ParameterKey"]: it.get("ParameterValue", "") for it in described["Parameters"]}

        before = parameters()
        assert before["LogLevel"] == "DEBUG"
        user.run(commands("Upgrade and roll back")[0].partition("\n")[2])
        assert parameters() == before
        user.run(commands("Remove")[0])
        with pytest.raises(cloudformation.exceptions.ClientError, match="does not exist"):
            cloudformation.describe_stacks(StackName="pagerduty-publisher")
        assert user.emulator.client("secretsmanager").list_secrets()["SecretList"] == []
