"""Checks commands of the AWS CLI by botocore's models, and stands in for it: `python -m tests.lab.awscli`."""

import json
import re
import shlex
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import jmespath
from botocore import xform_name

GLOBAL = {"--region", "--output", "--query", "--profile", "--no-cli-pager", "--cli-input-json", "--endpoint-url"}
CUSTOM = {
    ("s3", "cp"): {"--recursive", "--exclude", "--include"},
    ("s3", "mb"): set[str](),
    ("cloudformation", "deploy"): {
        "--stack-name",
        "--template-file",
        "--s3-bucket",
        "--s3-prefix",
        "--capabilities",
        "--no-fail-on-empty-changeset",
        "--parameter-overrides",
    },
    ("logs", "tail"): {"--follow", "--since", "--format", "--filter-pattern"},
}
"""The CLI's own commands, with their options that are used here."""


RENAMED = {("sns", "subscribe", "Endpoint"): "--notification-endpoint"}
"""Options with other names in the CLI than in the API."""


def commands_of(text: str) -> list[list[str]]:
    """Return the commands of the AWS CLI in a shell text, each as its words."""
    joined = re.sub(r"\\\n\s*", " ", re.sub(r"(?m)^\s*# ?", "", text))
    joined = re.sub(r"'[^']*'", lambda quoted: quoted[0].replace("\n", " "), joined)
    found = []
    for line in joined.splitlines():
        for inner in [line.strip(), *re.findall(r"\$\((aws [^()]*)\)", line)]:
            if inner.startswith("aws "):
                words = shlex.split(re.sub(r"\$\([^()]*\)", "VALUE", inner), comments=True)
                end = next((n for n, word in enumerate(words) if word in ("|", ">", "&&", ";") or word[0] == ">"), None)
                found.append(words[1:end])
    return found


def problems(command: list[str]) -> list[str]:
    """Return what the AWS CLI would refuse of a command: `["sns", "publish", "--topic-arn", ...]`."""
    service, operation, *rest = command
    options = {word for word in rest if word.startswith("--")} - GLOBAL
    if (service, operation) in CUSTOM:
        return [f"{service} {operation}: no option {it}" for it in options - CUSTOM[service, operation]]
    if operation == "wait":
        return []
    operations = _operations(service)
    if operation not in operations:
        return [f"{service}: no operation {operation}"]
    shape = operations[operation].input_shape
    members = {option: name for option, (name, _) in _options(service, operation).items()}
    accepted = members.keys() | {f"--no-{option[2:]}" for option in members}
    required = {option for option, name in members.items() if shape and name in shape.required_members}
    return [
        *(f"{service} {operation}: no option {it}" for it in sorted(options - accepted)),
        *(f"{service} {operation}: {it} is required" for it in sorted(required - options)),
    ]


def _options(service: str, operation: str) -> dict[str, tuple[str, Any]]:
    shape = _operations(service)[operation].input_shape
    return {
        RENAMED.get((service, operation, name), f"--{xform_name(name, '-')}"): (name, member)
        for name, member in (shape.members if shape else {}).items()
    }


@cache
def _operations(service: str) -> dict[str, Any]:
    model = botocore.session.get_session().get_service_model(service)
    return {xform_name(name, "-"): model.operation_model(name) for name in model.operation_names}


def main(words: Sequence[str]) -> int:
    """Do what the docs use the AWS CLI for, as it would: on the AWS of the environment; return the exit status."""
    service, operation, *rest = words
    awaited = rest.pop(0) if operation == "wait" else ""
    given: dict[str, list[str]] = {}
    values: list[str] = []
    for word in rest:
        if word.startswith("--"):
            values = given.setdefault(word, [])
        else:
            values.append(word)
    client = boto3.client(service)
    if awaited:
        client.get_waiter(awaited.replace("-", "_")).wait(
            **{_camel(option): values[0] for option, values in given.items()}, WaiterConfig={"Delay": 1}
        )
        return 0
    members = _options(service, operation)
    parameters = {
        name: _value(values, member.type_name)
        for option, values in given.items()
        if option in members
        for name, member in [members[option]]
    }
    answer = getattr(client, operation.replace("-", "_"))(**parameters)
    answer.pop("ResponseMetadata", None)
    found = jmespath.search(given["--query"][0], answer) if "--query" in given else answer
    if given.get("--output") == ["text"]:
        print("\t".join(map(str, found)) if isinstance(found, list) else found)
    elif found:
        print(json.dumps(found, indent=4, default=str))
    return 0


def _value(values: Sequence[str], type_name: str) -> Any:
    """Return an option's value, from JSON, a file, or the CLI's shorthand `Key=a,Value=b`."""
    text = Path(values[0].removeprefix("file://")).read_text() if values[0].startswith("file://") else values[0]
    if type_name in ("string", "blob"):
        return text
    if type_name == "list":
        return [_pairs(value) if "=" in value else value for value in values]
    return json.loads(text) if text[0] in "{[" else _pairs(text)


def _pairs(text: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in text.split(","))


def _camel(option: str) -> str:
    return "".join(word.capitalize() for word in option.removeprefix("--").split("-"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
