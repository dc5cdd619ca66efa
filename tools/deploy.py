"""Deploys the built template with the parameters of an environment of samconfig.toml: `make deploy`.

`PARAMETERS` has other parameters (`"LogLevel=DEBUG GuardDutyRule=ENABLED"`). The routing key and the operators' address
come from the environment (`ROUTING_KEY`, `OPERATOR_EMAIL`) or are asked for, the key without echo. Parameters reach
`sam deploy` in a file that only this user can read: the command line of a process is visible to every user of the
machine. Needs nothing but Python.
"""

import argparse
import getpass
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
USAGE = 2
MAX_STACK_NAME = 54
"""A function's name has 64 characters at most, and ours ends in `-publisher`."""


class UsageError(Exception):
    """The deployment cannot start; the message says why."""


def environment_of(config: Path, name: str) -> dict[str, Any]:
    """Return an environment's parameters for `sam deploy`.

    Raises:
        UsageError: there is no such environment, or its stack's name is too long.
    """
    environments = {
        key: each["deploy"]["parameters"]
        for key, each in tomllib.loads(config.read_text()).items()
        if isinstance(each, dict) and "parameters" in each.get("deploy", {})
    }
    if name not in environments:
        raise UsageError(f"ENVIRONMENT={name} is not in {config.name}: choose one of {', '.join(environments)}")
    parameters: dict[str, Any] = environments[name]
    stack = parameters.get("stack_name", "")
    if len(stack) > MAX_STACK_NAME:
        raise UsageError(f"the stack name {stack} has {len(stack)} characters; {MAX_STACK_NAME} are possible")
    return parameters


def overrides_of(given: str | Sequence[str]) -> dict[str, str]:
    """Return parameter overrides by name, from either form that samconfig.toml allows."""
    entries = shlex.split(given) if isinstance(given, str) else given
    pairs = (entry.partition("=") for entry in entries)
    return {name: value.strip("\"'") for name, _, value in pairs}


def without_empty(parameters: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters that have a value; a guided deploy saves empty ones.

    Left out, a parameter keeps its value, or has its default in a new stack.
    """
    return {name: value for name, value in parameters.items() if value}


def asked_for(environ: Mapping[str, str], *, interactive: bool) -> dict[str, str]:
    """Return the routing key and the operators' address, where given.

    Raises:
        UsageError: one of them is invalid; the message does not contain the key.
    """
    key = environ.get("ROUTING_KEY")
    if key is None and interactive:
        key = getpass.getpass(
            "Integration key of a PagerDuty service (32 characters; empty: none, or leave it as it is): "
        )
    address = environ.get("OPERATOR_EMAIL")
    if address is None and interactive:
        address = input("E-mail address for trouble with the publisher itself (empty: none, or leave it as it is): ")
    if key and not re.fullmatch("[0-9a-zA-Z]{32}", key):
        raise UsageError(f"ROUTING_KEY must be 32 letters and digits; it has {len(key)} characters")
    if address and not re.fullmatch(r"[^@\s]+@[^@\s]+", address):
        raise UsageError(f"OPERATOR_EMAIL is no e-mail address: {address}")
    return without_empty({"RoutingKey": key or "", "OperatorEmail": address or ""})


def deploy(command: Sequence[str], parameters: Mapping[str, str]) -> int:
    """Run `sam deploy` with parameters in a file, and return its exit status."""
    with tempfile.TemporaryDirectory(prefix="pagerduty-publisher-") as folder:  # mode 0700
        path = Path(folder) / "parameters.yaml"  # of which JSON is a part
        path.touch(mode=0o600)
        path.write_text(json.dumps(parameters))
        return subprocess.run([*command, "--parameter-overrides", f"file://{path}"], check=False).returncode


def main(arguments: Sequence[str] | None = None) -> int:
    """Deploy; return the exit status of `sam deploy`, or 2 if it was not run."""
    parser = argparse.ArgumentParser(prog="make deploy", description=__doc__)
    parser.add_argument("--environment", default="default")
    parser.add_argument("--architecture", default="arm64", choices=["arm64", "x86_64"])
    parser.add_argument("--no-confirm", action="store_true")
    parser.add_argument("--check", action="store_true", help="only check the environment")
    parser.add_argument("--config", type=Path, default=ROOT / "samconfig.toml")
    parser.add_argument("--template-file", help="a built template (default: what `sam build` left)")
    parser.add_argument("--sam", default="sam")
    options = parser.parse_args(arguments)
    try:
        environment = environment_of(options.config, options.environment)
        if options.check:
            return 0
        asked = asked_for(os.environ, interactive=sys.stdin.isatty())
    except UsageError as error:
        print(f"make deploy: {error}", file=sys.stderr)
        return USAGE
    parameters = {
        **without_empty(overrides_of(environment.get("parameter_overrides", []))),
        **overrides_of(os.environ.get("PARAMETERS", "")),
        "Architecture": options.architecture,
        **asked,
    }
    command = [options.sam, "deploy", "--config-file", str(options.config), "--config-env", options.environment]
    if options.template_file:
        command += ["--template-file", options.template_file]
    if options.no_confirm:
        command.append("--no-confirm-changeset")
    return deploy(command, parameters)


if __name__ == "__main__":
    sys.exit(main())
