"""One execution environment of Lambda: the function in AWS's runtime interface emulator, which comes with the SAM CLI.

The emulator is a Linux program, takes one request at a time, and enforces neither memory nor processor share.
"""

import json
import os
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import urllib3

from benchmarks.artifacts import Artifact
from local.stack import (
    MACHINE,
    REGION,
    ROOT,
    aws_environment,
)

EMULATOR = ROOT / ".tools/sam/lib/python3.13/site-packages/samcli/local/rapid" / f"aws-lambda-rie-{MACHINE}"
PYTHON = ROOT / ".tools/bench/bin/python"
"""Has `awslambdaric`, the part of Lambda's Python runtime that calls handlers."""
NOTHING: Mapping[str, Any] = {"Records": []}
START_SECONDS = 20.0
_INIT = re.compile(r"INIT REPORT\(durationMs: ([\d.]+)\)")
"""`Init Duration`, of the line that looks like Lambda's own, is something else."""
_TICKS = os.sysconf("SC_CLK_TCK")


def function_environment(folder: Path, endpoint: str) -> dict[str, str]:
    """Return the environment of a function in `folder` for which `endpoint` is AWS and PagerDuty."""
    return {
        **{name: value for name, value in aws_environment(endpoint).items() if not name.startswith("PYTHON")},
        "PYTHONPATH": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",  # as Lambda's folder, which is read-only
        "LAMBDA_TASK_ROOT": str(folder),
        "AWS_LAMBDA_FUNCTION_NAME": "publisher",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_LAMBDA_FUNCTION_TIMEOUT": "60",
        "PAGERDUTY_BASE_URL": endpoint,
        "DEDUP_TABLE_NAME": "dedup",
        "RETRY_QUEUE_URL": f"https://sqs.{REGION}.amazonaws.com/000000000000/retry",
        "DEAD_LETTER_QUEUE_URL": f"https://sqs.{REGION}.amazonaws.com/000000000000/dead-letter",
        "LOG_LEVEL": "INFO",
    }


class ExecutionEnvironment:
    """Runs a function for as long as the context lasts; its init comes with the first invocation."""

    def __init__(
        self, artifact: Artifact, endpoint: str = "http://127.0.0.1:9", more: Mapping[str, str] | None = None
    ) -> None:
        self._artifact = artifact
        self._environment = {**function_environment(artifact.folder, endpoint), **(more or {})}
        self._pool = urllib3.PoolManager(retries=False, timeout=120)

    def __enter__(self) -> Self:
        address, runtime_api = (f"127.0.0.1:{_free_port()}" for _ in range(2))
        self._log = tempfile.NamedTemporaryFile("w+b", prefix="pagerduty-publisher-")
        self._process = subprocess.Popen(
            [
                EMULATOR,
                f"--runtime-interface-emulator-address={address}",
                f"--runtime-api-address={runtime_api}",
                PYTHON,
                "-m",
                "awslambdaric",
                self._artifact.handler,
            ],
            cwd=self._artifact.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        self._url = f"http://{address}/2015-03-31/functions/function/invocations"
        deadline = time.monotonic() + START_SECONDS
        host, _, port = address.partition(":")
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex((host, int(port))) == 0:
                    return self
            time.sleep(0.005)
        raise RuntimeError(f"Lambda's emulator did not start: {self.log()}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        runtime = self.process
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if runtime and Path(f"/proc/{runtime}").exists():
            os.kill(runtime, 9)
        self._log.close()

    def invoke(self, event: Any) -> Any:
        """Invoke the function; raise RuntimeError where it fails."""
        response = self._pool.request("POST", self._url, body=json.dumps(event))
        answer = response.json()
        if isinstance(answer, dict) and "errorMessage" in answer:
            raise RuntimeError(f"the function failed: {answer}\n{self.log()}")
        return answer

    def log(self) -> str:
        """Return what the emulator and the function have printed."""
        return Path(self._log.name).read_text(errors="replace")

    @property
    def init_ms(self) -> float:
        """How long the init took that the first invocation waited for."""
        if not (found := _INIT.search(self.log())):
            raise RuntimeError(f"no init in the emulator's log: {self.log()}")
        return float(found[1])

    @property
    def main_thread_cpu_ms(self) -> float:
        """What the function's main thread has used of the processor so far."""
        return int(Path(f"/proc/{self.process}/schedstat").read_text().split()[0]) / 1e6

    @property
    def cpu_ms(self) -> float:
        """What the function's process has used of the processor so far, to some 10 ms."""
        stat = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / _TICKS * 1000

    @property
    def resident_mb(self) -> float:
        """What the function's process has in memory."""
        status = Path(f"/proc/{self.process}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    @property
    def process(self) -> int:
        """The process that the function runs in; 0 where it has not begun."""
        for children in Path(f"/proc/{self._process.pid}/task").glob("*/children"):
            if found := children.read_text().split():
                return int(found[0])
        return 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
