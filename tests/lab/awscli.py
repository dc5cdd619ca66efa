"""Checks commands of the AWS CLI without it: the operation, its options, and what is required, by botocore's models."""

import re
import shlex
from functools import cache
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


def commands_of(text: str) -> list[list[str]]:
    """Return the commands of the AWS CLI in a shell text, each as its words."""
    joined = re.sub(r"\\\n\s*", " ", text)
    found = []
    for line in joined.splitlines():
        line = re.sub(r"^\s*(#\s*)?", "", line)
        for inner in [line, *re.findall(r"\$\((aws [^()]*)\)", line)]:
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
    members = {f"--{xform_name(name, '-')}": name for name in shape.members} if shape else {}
    known = members.keys() | {f"--no-{option[2:]}" for option in members}
    required = {option for option, name in members.items() if shape and name in shape.required_members}
    return [
        *(f"{service} {operation}: no option {it}" for it in sorted(options - known)),
        *(f"{service} {operation}: {it} is required" for it in sorted(required - options)),
    ]


@cache
def _operations(service: str) -> dict[str, Any]:
    model = botocore.session.get_session().get_service_model(service)
    return {xform_name(name, "-"): model.operation_model(name) for name in model.operation_names}
