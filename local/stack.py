"""The whole stack on this machine: the AWS emulator, the PagerDuty simulator, and `sam deploy` of the real template.

Everything listens on free ports of 127.0.0.1, lives in a temporary folder, and is deleted when the stack is closed.
"""

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3
import urllib3
from botocore.config import Config

ROOT = Path(__file__).resolve().parent.parent
MINISTACK = ROOT / ".tools/ministack/bin/python"
SAM = ROOT / ".tools/sam/bin"
TEMPLATE = ROOT / ".aws-sam/local/template.yaml"
STACK_NAME = "pagerduty-publisher"
"""As samconfig.toml and the docs call it, so that their commands work here as they are written."""
MACHINE = "arm64" if os.uname().machine in ("arm64", "aarch64") else "x86_64"
"""This machine's architecture, as Lambda names it."""
REGION = "us-east-1"
ACCOUNT = "000000000000"
ROUTING_KEY = "0123456789abcdef0123456789abcdef"
"""The routing key for the simulator, which accepts any 32 characters."""
RUNNING = ROOT / ".aws-sam/running.json"
"""Where a stack that keeps running writes its addresses: not beside the template, which every build clears."""
START_SECONDS = 60.0
NOT_EMULATED = ("AWS::Logs::QueryDefinition", "AWS::Events::EventBusPolicy")
"""Resource types that the emulator refuses; no other resource depends on them."""
_STARTS = 3
_PR_SET_PDEATHSIG = 1


class LocalStackError(RuntimeError):
    """A part of the local stack did not start; the message names it and has its output."""


@dataclass(frozen=True, slots=True)
class RunningStack:
    """The addresses of a deployed local stack.

    Attributes:
        endpoint: the URL of the AWS emulator.
        simulator: the URL of the PagerDuty simulator; empty if the real PagerDuty is used.
        outputs: of the stack, by name.
    """

    endpoint: str
    simulator: str
    outputs: dict[str, str]

    def save(self) -> None:
        """Let other commands find this stack."""
        RUNNING.write_text(json.dumps(asdict(self)))

    def forget(self) -> None:
        """Let no command find this stack any more; one that was started later stays."""
        if RUNNING.exists() and RUNNING.read_text() == json.dumps(asdict(self)):
            RUNNING.unlink()

    @classmethod
    def find(cls) -> "RunningStack | None":
        """Return the stack that was kept running, if it still answers."""
        try:
            stack = cls(**json.loads(RUNNING.read_text()))
            urllib3.request("GET", f"{stack.endpoint}/_ministack/health", retries=False, timeout=2)
        except (OSError, ValueError, TypeError, urllib3.exceptions.HTTPError):
            return None
        return stack

    def function_environment(self) -> dict[str, str]:
        """Return the settings of the deployed function."""
        function = client(self.endpoint, "lambda").get_function_configuration(
            FunctionName=self.outputs["PublisherFunctionArn"]
        )
        variables: dict[str, str] = function["Environment"]["Variables"]
        return variables


def client(endpoint: str, service: str) -> Any:
    """Return an AWS client that talks to the emulator."""
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 2}, read_timeout=90),
    )


def aws_environment(endpoint: str) -> dict[str, str]:
    """Return the environment in which every AWS client talks to the emulator and to nothing else."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SAM_"))}
    return {
        **kept,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1,localhost",
        "SAM_CLI_TELEMETRY": "0",
    }


class Emulator:
    """MiniStack with what `local/aws.py` adds to it, in its own process group."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="pagerduty-publisher-"))
        self.log = self._folder / "ministack.log"
        for attempt in range(1, _STARTS + 1):
            try:
                self._start()
                return
            except LocalStackError:  # another process may have taken the port meanwhile
                self._stop_process()
                if attempt == _STARTS:
                    self.close()
                    raise

    def _start(self) -> None:
        if not MINISTACK.exists():
            raise LocalStackError("the AWS emulator is not installed: run `make run` or `make test`, which install it")
        port = free_port()
        self.endpoint = f"http://127.0.0.1:{port}"
        environment = {
            **aws_environment(self.endpoint),
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "MINISTACK_REGION": REGION,
            "MINISTACK_ACCOUNT_ID": ACCOUNT,
            "TMPDIR": str(self._folder),
            "S3_DATA_DIR": str(self._folder / "s3"),
            "STATE_DIR": str(self._folder / "state"),
        }
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [MINISTACK, "-P", ROOT / "local/aws.py"],  # -P: its neighbours are no modules for it
                cwd=self._folder,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        self._await_health()

    def _await_health(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            try:
                if urllib3.request("GET", f"{self.endpoint}/_ministack/health", retries=False, timeout=2).status == 200:
                    return
            except urllib3.exceptions.HTTPError:
                pass
            time.sleep(0.1)
        raise LocalStackError(f"the AWS emulator did not start:\n{self.tail()}")

    def function_processes(self) -> list[int]:
        """Return the processes that functions run in at the moment; on Linux alone."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                runs_a_function = b"AWS_LAMBDA_FUNCTION_NAME=" in (folder / "environ").read_bytes()
            except (OSError, ValueError, IndexError):
                continue
            if parent == self._process.pid and runs_a_function:
                found.append(int(folder.name))
        return found

    def tail(self, lines: int = 20) -> str:
        """Return the last lines of the emulator's log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

    def client(self, service: str) -> Any:
        """Return an AWS client that talks to the emulator."""
        return client(self.endpoint, service)

    def _stop_process(self) -> None:
        process = getattr(self, "_process", None)
        if process is None:
            return
        # the emulator runs functions as its children: stop the whole group
        for number, patience in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
            try:
                os.killpg(process.pid, number)
            except ProcessLookupError:
                break
            try:
                process.wait(patience)
            except subprocess.TimeoutExpired:
                continue

    def close(self) -> None:
        """Stop it, and every function it runs."""
        self._stop_process()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def deploy(
    emulator: Emulator, parameters: Mapping[str, str], *, stack_name: str = STACK_NAME, template: Path = TEMPLATE
) -> dict[str, str]:
    """`sam deploy` a built template to the emulator, and return the stack's outputs.

    Raises:
        LocalStackError: it failed; the message has what `sam` printed, without the routing key.
    """
    if not template.exists():
        raise LocalStackError(f"{template.relative_to(ROOT)} is not built: run `make run` or `make test`")
    folder = emulator.log.parent
    template = emulated(template)
    # in a file, because every user of the machine can read command lines
    overrides = json.dumps([f"{name}={value}" for name, value in parameters.items()])
    config = folder / "samconfig.toml"
    config.write_text(f"version = 0.1\n[default.deploy.parameters]\nparameter_overrides = {overrides}\n")
    done = subprocess.run(
        [
            SAM / "sam",
            "deploy",
            f"--template-file={template}",
            f"--stack-name={stack_name}",
            f"--region={REGION}",
            "--resolve-s3",
            "--capabilities=CAPABILITY_IAM",
            "--no-confirm-changeset",
            "--no-progressbar",
            f"--config-file={config}",
        ],
        cwd=folder,
        env={**aws_environment(emulator.endpoint), "PATH": f"{SAM}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = done.stdout.replace(parameters.get("RoutingKey") or "\0", "[routing key]")
        raise LocalStackError(f"sam deploy failed:\n{said}")
    return complete(emulator.endpoint, stack_name)


def complete(endpoint: str, stack_name: str = STACK_NAME) -> dict[str, str]:
    """Set what the emulator ignores in a template, and return the deployed stack's outputs."""
    from local.short_forms import read_template  # not with this module: benchmarks run where there is no PyYAML

    stack = client(endpoint, "cloudformation").describe_stacks(StackName=stack_name)["Stacks"][0]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    client(endpoint, "dynamodb").update_time_to_live(
        TableName=outputs["DedupTableName"],
        TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires_at"},
    )
    function = read_template((ROOT / "template.yaml").read_text())["Resources"]["PublisherFunction"]["Properties"]
    client(endpoint, "lambda").put_function_recursion_config(
        FunctionName=outputs["PublisherFunctionArn"], RecursiveLoop=function.get("RecursiveLoop", "Terminate")
    )
    return outputs


def emulated(built: Path = TEMPLATE) -> Path:
    """Write a copy of a built template without what the emulator lacks, and return its path.

    Alarms on expressions, which the dashboard names, watch a metric that nobody emits instead.
    """
    from local.short_forms import read_template  # not with this module: benchmarks run where there is no PyYAML

    template = read_template(built.read_text())
    kept = {name: each for name, each in template["Resources"].items() if each["Type"] not in NOT_EMULATED}
    for each in kept.values():
        if each["Type"] == "AWS::CloudWatch::Alarm" and each["Properties"].pop("Metrics", None):
            each["Properties"] |= {"Namespace": "NotEmulated", "MetricName": "None", "Statistic": "Sum", "Period": 60}
    path = built.with_name(f"emulated-{built.stem}.json")  # beside the original, whose paths are relative
    path.write_text(json.dumps({**template, "Resources": kept}))
    return path


def parameters_for(base_url: str, routing_key: str = ROUTING_KEY, **more: str) -> dict[str, str]:
    """Return the template's parameters for a local stack that sends to `base_url`."""
    return {"RoutingKey": routing_key, "PagerDutyBaseUrl": base_url, "Architecture": MACHINE, **more}


def await_until[Found](look: Callable[[], Found | None], seconds: float, what: str) -> Found:
    """Poll until something is found; raise a LocalStackError that names what was awaited."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise LocalStackError(f"waited {seconds:.0f} s for {what}, in vain")
        time.sleep(0.05)


def native_event(**alert: Any) -> dict[str, str]:
    """Return an EventBridge entry with a native alert."""
    return {"Source": "local.demo", "DetailType": "Alert", "Detail": json.dumps({"alert": alert})}


def _die_with_parent() -> None:
    """Ask Linux to end this process with its parent, however that ends; elsewhere only after an orderly end."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
