"""What the commands for a deployed stack share: finding it, its settings, and how a command ends.

They talk to the AWS that the environment names, as the AWS CLI does; a local stack is found through AWS_ENDPOINT_URL.
Exit statuses: 0 fine; 1 a finding, a difference, or something not accepted; 2 the command could not do its work.
"""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from handler.errors import SettingsError
from handler.settings import Settings
from handler.sources.reader import Reader
from handler.targets.secrets import SecretsByPrefix, parse_targets
from handler.targets.target import TargetSet

STACK_NAME = "pagerduty-publisher"
FINE, FINDING, USAGE = 0, 1, 2
_CONFIG = Config(
    connect_timeout=5, read_timeout=30, retries={"mode": "adaptive", "total_max_attempts": 8}, max_pool_connections=10
)
_DURATION = re.compile(r"(\d+)(s|m|h|d)")
_VERSION = re.compile(r"\d+\.\d+\.\d+[\w.+-]*")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

type Connect = Callable[[str], Any]
"""Returns the client of an AWS service."""
type Say = Callable[[str], None]
"""Prints a line."""


class ToolError(Exception):
    """The command cannot do its work; the message says what is wrong and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A deployed stack.

    Attributes:
        settings: the function's environment variables.
        parameters: of the stack.
    """

    name: str
    topic_arn: str
    function_arn: str
    table: str
    retry_url: str
    dead_letter_url: str
    outputs: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    log_group: str = ""
    version: str = ""

    @property
    def region(self) -> str:
        """Its region."""
        return self.function_arn.split(":")[3]

    @property
    def account(self) -> str:
        """Its account."""
        return self.function_arn.split(":")[4]

    @property
    def function_name(self) -> str:
        """The name of its function."""
        return self.function_arn.rpartition(":")[2]

    @property
    def target_prefix(self) -> str:
        """The prefix of its targets' secrets."""
        return self.settings.get("PAGERDUTY_TARGET_PREFIX", "pagerduty/")

    @property
    def base_url(self) -> str:
        """The URL that a target may have besides PagerDuty's own."""
        return self.settings.get("PAGERDUTY_BASE_URL", "")


def find_stack(connect: Connect, name: str) -> Stack:
    """Return the stack of this name; raise ToolError where there is none, or it is none of this project."""
    described = _describe(connect, name)
    outputs = _outputs_of(described)
    parameters = {p["ParameterKey"]: p.get("ParameterValue", "") for p in described.get("Parameters", [])}
    try:
        function_arn = outputs["PublisherFunctionArn"]
        function = connect("lambda").get_function_configuration(FunctionName=function_arn)
        return Stack(
            name=name,
            topic_arn=outputs["AlertTopicArn"],
            function_arn=function_arn,
            table=outputs["DedupTableName"],
            retry_url=outputs["RetryQueueUrl"],
            dead_letter_url=outputs["DeadLetterQueueUrl"],
            outputs=outputs,
            settings=function.get("Environment", {}).get("Variables", {}),
            parameters=parameters,
            log_group=(function.get("LoggingConfig") or {}).get("LogGroup")
            or f"/aws/lambda/{function_arn.rpartition(':')[2]}",
            version=found[0] if (found := _VERSION.search(described.get("Description", ""))) else "",
        )
    except KeyError as missing:
        raise _other_stack(name, missing) from missing


def find_queues(connect: Connect, name: str) -> tuple[str, str]:
    """Return the URLs of a stack's retry queue and dead-letter queue.

    For this the caller needs no permission but cloudformation:DescribeStacks. Raises ToolError like `find_stack`.
    """
    outputs = _outputs_of(_describe(connect, name))
    try:
        return outputs["RetryQueueUrl"], outputs["DeadLetterQueueUrl"]
    except KeyError as missing:
        raise _other_stack(name, missing) from missing


def _describe(connect: Connect, name: str) -> Mapping[str, Any]:
    try:
        stacks: Sequence[Mapping[str, Any]] = connect("cloudformation").describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        if "does not exist" in error.response["Error"].get("Message", ""):
            raise ToolError(f"no stack {name} in this account and region: name yours, STACK=...") from error
        raise
    return stacks[0]


def _outputs_of(described: Mapping[str, Any]) -> dict[str, str]:
    return {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", [])}


def _other_stack(name: str, missing: KeyError) -> ToolError:
    return ToolError(f"stack {name} has no output {missing}: it is no PagerDuty Publisher")


def read_targets(connect: Connect, stack: Stack) -> TargetSet:
    """Read the stack's targets with the caller's own permissions."""
    provider = SecretsByPrefix(connect("secretsmanager"))
    return parse_targets(provider.read(stack.target_prefix), stack.base_url)


def reader_of(stack: Stack) -> Reader:
    """Return what reads events as the stack's function does; raise ToolError for a setting that stops it at start."""
    required = {
        "DEDUP_TABLE_NAME": stack.table,
        "RETRY_QUEUE_URL": stack.retry_url,
        "DEAD_LETTER_QUEUE_URL": stack.dead_letter_url,
    }
    try:
        return Reader.of(Settings.from_environment({**required, **stack.settings}), stack.function_name)
    except SettingsError as error:
        raise ToolError(f"the function of stack {stack.name} does not start: {error}") from error


def read_text(path: Path) -> str:
    """Read a file; raise ToolError where it cannot be read, or is no text."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ToolError(f"{path}: no such file") from None
    except OSError as error:
        raise ToolError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ToolError(f"{path}: not a text in UTF-8") from None


def seconds_of(text: str) -> int:
    """Read a duration such as `30m`, `1h`, `2d`; raise ToolError if it is not one."""
    found = _DURATION.fullmatch(text.strip())
    if not found:
        raise ToolError(f"{text}: not a duration: write it as 30m, 1h or 2d")
    return int(found[1]) * _SECONDS[found[2]]


def one_line(text: str, length: int = 120) -> str:
    """Return a text from outside on one line, safe to print in a terminal."""
    line = "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
    return line if len(line) <= length else f"{line[: length - 1]}…"


def connect(service: str) -> Any:
    """Return a client of the AWS that the environment names."""
    return boto3.client(service, config=_CONFIG)


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def run(main: Callable[[Sequence[str]], int], *, interrupted: str = "stopped") -> None:
    """Run a command and end the process with its status; every error is one line that says what to do.

    Args:
        main: takes the arguments, and returns the exit status.
        interrupted: what is printed after Ctrl-C.
    """
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print(f"\n{interrupted}", file=sys.stderr)
        sys.exit(130)
    except ToolError as error:
        print(error, file=sys.stderr)
    except ClientError as error:
        print(refusal(error), file=sys.stderr)
    except (
        BotoCoreError,
        ValueError,
    ) as error:  # no credentials, region, profile or answer; an endpoint that is no URL
        said = one_line(str(error), 300).rstrip(".")
        print(
            f"{said}: credentials, region and endpoint come from the environment, as for the AWS CLI", file=sys.stderr
        )
    sys.exit(USAGE)


def refusal(error: ClientError) -> str:
    """Return an AWS error as a sentence that says what to do."""
    said = error.response["Error"]
    code = said.get("Code", "")
    if "AccessDenied" in code or code in ("AuthorizationError", "UnauthorizedOperation"):
        return f"{error.operation_name} is not allowed: give your role this permission, or use another one"
    return f"{error.operation_name}: {code}: {one_line(said.get('Message', ''), 200)}"
