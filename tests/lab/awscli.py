"""Checks commands of the AWS CLI without it: the operation, its options, and what is required, by botocore's models."""

import json
import re
import shlex
from functools import cache
from itertools import pairwise
from typing import Any

import botocore.session
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
"""Commands that are the CLI's own, with those of their options that are used here."""


RENAMED = {("sns", "subscribe", "Endpoint"): "--notification-endpoint"}
"""Options that the CLI names otherwise than the API."""


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
    known = members.keys() | {f"--no-{option[2:]}" for option in members}
    required = {option for option, name in members.items() if shape and name in shape.required_members}
    return [
        *(f"{service} {operation}: no option {it}" for it in sorted(options - known)),
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


def run(command: list[str], client: Any) -> Any:
    """Run a command on a client of its service, where its options are texts, numbers and JSON."""
    service, operation, *rest = command
    members = _options(service, operation)
    given: dict[str, Any] = {}
    for option, value in pairwise(rest):
        if option in members:
            name, member = members[option]
            is_text = member.type_name in ("string", "blob")
            given[name] = value if is_text else [value] if member.type_name == "list" else json.loads(value)
    return getattr(client, operation.replace("-", "_"))(**given)
