"""Targets as they are read from a real Secrets Manager API: by prefix and by tag."""

from typing import Any
from uuid import uuid4

import pytest

from handler.errors import PublishError
from handler.targets.secrets import SecretsByPrefix, Targets
from local.stack import Emulator
from tests.lab.clock import Clock
from tests.lab.secrets import OTHER_KEY, target_secret
from tests.lab.wire import BASE_URL

TAGGED = [{"Key": "publishing-target", "Value": "true"}]


@pytest.fixture
def secrets(emulator: Emulator) -> Any:
    return emulator.client("secretsmanager")


@pytest.fixture
def prefix() -> str:
    """A prefix of each test's own."""
    return f"pagerduty-{uuid4().hex}/"


def test_secrets_are_found_by_prefix_and_tag(secrets: Any, prefix: str) -> None:
    """What has another name, no tag, or another value of it, is nobody's target."""
    for name, tags in [
        (f"{prefix}one", TAGGED),
        (f"{prefix}two", [*TAGGED, {"Key": "team", "Value": "db"}]),
        (f"{prefix}untagged", []),
        (f"{prefix}off", [{"Key": "publishing-target", "Value": "false"}]),
        (f"other-{prefix}three", TAGGED),
    ]:
        secrets.create_secret(Name=name, SecretString=target_secret(name.rpartition("/")[2]), Tags=tags)
    found = SecretsByPrefix(secrets).read(prefix)
    assert found == {f"{prefix}{name}": target_secret(name) for name in ("one", "two")}


def test_targets_are_kept_and_read_again_when_asked(secrets: Any, prefix: str) -> None:
    """A new routing key is seen at once when it is asked for, and not before."""
    secrets.create_secret(Name=f"{prefix}one", SecretString=target_secret("one"), Tags=TAGGED)
    secrets.create_secret(Name=f"{prefix}bad", SecretString="not JSON", Tags=TAGGED)
    problems: list[PublishError] = []
    targets = Targets(SecretsByPrefix(secrets), prefix=prefix, base_url=BASE_URL, clock=Clock(), report=problems.append)
    assert [target.name for target in targets.read().targets] == ["one"]
    assert [f"{prefix}bad" in str(problem) for problem in problems] == [True]
    secrets.put_secret_value(SecretId=f"{prefix}one", SecretString=target_secret("one", OTHER_KEY))
    kept, anew = targets.read().named("one"), targets.read(anew=True).named("one")
    assert kept
    assert anew
    assert kept.routing_key != anew.routing_key
    assert anew.routing_key.get_secret_value() == OTHER_KEY


def test_no_secret_is_no_target(secrets: Any, prefix: str) -> None:
    """It is no error to find none; that an alert has none to go to is."""
    targets = Targets(SecretsByPrefix(secrets), prefix=prefix, base_url=BASE_URL, clock=Clock(), report=print)
    assert targets.read().targets == ()
