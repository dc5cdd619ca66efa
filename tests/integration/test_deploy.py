"""`make deploy`: what reaches `sam deploy`, and what nobody sees."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from local.stack import ROOT, SAM
from tools.deploy import MAX_STACK_NAME, UsageError, asked_for, environment_of, overrides_of, without_empty

KEY = "0123456789abcdef0123456789abcdef"
FAKE_SAM = """#!{python}
import json, os, pathlib, sys
path = pathlib.Path(sys.argv[-1].removeprefix("file://"))
seen = {{
    "arguments": sys.argv[1:],
    "parameters": json.loads(path.read_text()),
    "modes": [path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777],
    "path": str(path),
}}
pathlib.Path({seen!r}).write_text(json.dumps(seen))
sys.exit(int(os.environ.get("SAM_EXITS", "0")))
"""
type Deploy = Callable[..., "Outcome"]


@dataclass(frozen=True)
class Outcome:
    """What a run of the tool did; `seen` is what `sam` saw, if it ran."""

    status: int
    output: str
    seen: dict[str, Any]


@pytest.fixture
def deploy(tmp_path: Path) -> Deploy:
    """Run the tool with a `sam` that writes down what it sees."""
    seen = tmp_path / "seen.json"
    sam = tmp_path / "sam"
    sam.write_text(FAKE_SAM.format(python=sys.executable, seen=str(seen)))
    sam.chmod(0o755)

    def run(*arguments: str, **environment: str) -> Outcome:
        done = subprocess.run(
            [sys.executable, "-m", "tools.deploy", f"--sam={sam}", *arguments],
            cwd=ROOT,
            env={
                **{k: v for k, v in os.environ.items() if k not in ("ROUTING_KEY", "OPERATOR_EMAIL", "PARAMETERS")},
                **environment,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        written = json.loads(seen.read_text()) if seen.exists() else {}
        return Outcome(done.returncode, done.stdout + done.stderr, written)

    return run


def test_the_routing_key_is_in_a_file_of_ones_own_and_nowhere_else(deploy: Deploy) -> None:
    """Not on the command line, which every user of the machine can list, nor in what is printed; the file is gone."""
    outcome = deploy(ROUTING_KEY=KEY, OPERATOR_EMAIL="operators@example.com")
    assert outcome.status == 0
    assert outcome.seen["parameters"] == {
        "Architecture": "arm64",
        "RoutingKey": KEY,
        "OperatorEmail": "operators@example.com",
    }
    assert outcome.seen["modes"] == [stat.S_IRUSR | stat.S_IWUSR, stat.S_IRWXU]
    assert KEY not in " ".join(outcome.seen["arguments"]) + outcome.output
    assert not Path(outcome.seen["path"]).exists()


def test_what_is_not_given_keeps_its_value(deploy: Deploy) -> None:
    """Neither a missing key nor an empty one is a parameter: a new stack has its default, an old one what it had."""
    assert deploy().seen["parameters"] == {"Architecture": "arm64"}
    assert deploy(ROUTING_KEY="", OPERATOR_EMAIL="").seen["parameters"] == {"Architecture": "arm64"}


def test_the_environments_own_parameters_go_along(deploy: Deploy) -> None:
    """Parameters on the command line replace those of samconfig.toml, so that all have to be there."""
    outcome = deploy("--environment=staging", "--architecture=x86_64", "--no-confirm")
    assert outcome.seen["parameters"] == {
        "TargetPrefix": "pagerduty-staging/",
        "NativeAlertRule": "DISABLED",
        "LogLevel": "DEBUG",
        "Architecture": "x86_64",
    }
    assert outcome.seen["arguments"][:1] == ["deploy"]
    assert "--config-env staging" in " ".join(outcome.seen["arguments"])
    assert "--no-confirm-changeset" in outcome.seen["arguments"]


def test_how_sam_ended_is_how_it_ends(deploy: Deploy) -> None:
    assert deploy(SAM_EXITS="3").status == 3


def test_an_unknown_environment_is_named_with_the_known_ones(deploy: Deploy) -> None:
    """Before anything is built or asked."""
    outcome = deploy("--environment=prod", "--check")
    assert (outcome.status, outcome.seen) == (2, {})
    assert "ENVIRONMENT=prod is not in samconfig.toml: choose one of default, staging, production" in outcome.output


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"ROUTING_KEY": KEY[:-1]}, "ROUTING_KEY must be 32 letters and digits; it has 31 characters"),
        ({"ROUTING_KEY": f"{KEY[:-1]} "}, "ROUTING_KEY must be 32 letters and digits"),
        ({"OPERATOR_EMAIL": "operators"}, "OPERATOR_EMAIL is no e-mail address: operators"),
    ],
)
def test_what_cannot_be_right_is_refused(deploy: Deploy, environment: dict[str, str], message: str) -> None:
    """Without showing the key."""
    outcome = deploy(**environment)
    assert (outcome.status, outcome.seen) == (2, {})
    assert message in outcome.output
    assert KEY[:-1] not in outcome.output


def test_the_key_is_asked_for_without_echo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where somebody can be asked; the address is echoed."""
    monkeypatch.setattr("getpass.getpass", lambda prompt: KEY)
    monkeypatch.setattr("builtins.input", lambda prompt: "")
    assert asked_for({}, interactive=True) == {"RoutingKey": KEY}
    assert asked_for({"ROUTING_KEY": ""}, interactive=True) == {}
    assert asked_for({}, interactive=False) == {}


@pytest.mark.parametrize(
    "given",
    [
        'RoutingKey="" LogLevel="INFO" OperatorEmail="" AccountNames="1=a b"',
        ["RoutingKey=", "LogLevel=INFO", "OperatorEmail=", "AccountNames=1=a b"],
    ],
)
def test_empty_values_that_a_guided_deploy_saved_are_left_out(given: Any) -> None:
    """In either form that samconfig.toml knows; an equals sign may be part of a value."""
    assert without_empty(overrides_of(given)) == {"LogLevel": "INFO", "AccountNames": "1=a b"}


def test_parameters_of_the_moment_go_before_those_of_the_file(deploy: Deploy) -> None:
    """An empty one empties the parameter."""
    outcome = deploy("--environment=staging", PARAMETERS="LogLevel=INFO GuardDutyRule=ENABLED AccountNames=")
    assert outcome.seen["parameters"] == {
        "TargetPrefix": "pagerduty-staging/",
        "NativeAlertRule": "DISABLED",
        "LogLevel": "INFO",
        "GuardDutyRule": "ENABLED",
        "AccountNames": "",
        "Architecture": "arm64",
    }


def test_a_stack_name_that_is_too_long_is_refused(tmp_path: Path) -> None:
    """Before CloudFormation fails on the function's name, halfway."""
    config = tmp_path / "samconfig.toml"
    config.write_text(f'[long.deploy.parameters]\nstack_name = "{"x" * (MAX_STACK_NAME + 1)}"\n')
    with pytest.raises(UsageError, match=r"has 55 characters; 54 are possible"):
        environment_of(config, "long")


def test_sam_reads_the_file_as_it_is_written(tmp_path: Path) -> None:
    """Values that YAML would take for numbers stay texts."""
    path = tmp_path / "parameters.yaml"
    path.write_text(json.dumps({"ReservedConcurrency": "10", "RoutingKey": KEY, "AccountNames": "1=a b"}))
    script = (
        "import json, sys; from samcli.cli.types import CfnParameterOverridesType as T; "
        "print(json.dumps(T().convert((sys.argv[1],), None, None)))"
    )
    done = subprocess.run([SAM / "python", "-c", script, f"file://{path}"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == json.loads(path.read_text())


def test_an_endpoint_that_is_no_local_stack_is_refused() -> None:
    """Where the stack of `make run KEEP=1` has ended, nothing is deployed anywhere."""
    done = subprocess.run(
        [sys.executable, "-m", "local.deploy"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "src", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "AWS_ENDPOINT_URL=http://127.0.0.1:9 is not the stack of `make run KEEP=1`: unset it" in done.stderr


def test_no_recipe_shows_the_routing_key() -> None:
    """Nor the docs' commands: what stands in a recipe or in a command is visible to every user of the machine."""
    assert "$(ROUTING_KEY)" not in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize("target", ["deployable", "python"])
def test_a_python_that_is_too_old_is_named(tmp_path: Path, target: str) -> None:
    """Instead of an import that fails later."""
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = "--version" ] && echo "Python 3.9.2" && exit 0\nexit 1\n')
    old.chmod(0o755)
    done = subprocess.run(
        ["make", "--no-print-directory", target, f"PYTHON={old}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert f"{old} is Python 3.9.2: Python 3.13 or newer is needed; name it with PYTHON=..." in done.stderr


def test_production_and_the_docs_name_secrets_alike() -> None:
    """A target made as the docs say is found by the stack that is deployed without another word."""
    for name in ("default", "production"):
        overrides = overrides_of(environment_of(ROOT / "samconfig.toml", name).get("parameter_overrides", []))
        assert "TargetPrefix" not in overrides, name
    assert "--name pagerduty/" in (ROOT / "docs/operations.md").read_text()
