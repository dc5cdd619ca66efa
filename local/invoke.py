"""`make invoke`: `sam local invoke` of the function in a container, on one event or several, against the local stack.

Uses the stack that `make run KEEP=1` left up, or brings one up for as long as it takes.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from local import relay
from local.short_forms import read_template
from local.simulator.server import SimulatorServer
from local.stack import (
    MACHINE,
    REGION,
    SAM,
    TEMPLATE,
    Emulator,
    LocalStackError,
    RunningStack,
    aws_environment,
    deploy,
    parameters_for,
)

FUNCTION = "PublisherFunction"
IMAGE = f"public.ecr.aws/lambda/python:3.13-{MACHINE}"


class ContainerRunner:
    """Runs the built function in containers.

    Args:
        stack: what the function talks to.
        folder: an empty folder for the function's code and the sockets that connect the container to this machine.
    """

    def __init__(self, stack: RunningStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self._sockets = folder / "code" / relay.FOLDER
        shutil.copytree(TEMPLATE.parent / FUNCTION, folder / "code")
        shutil.copy(relay.__file__, folder / "code")
        self._sockets.mkdir()
        variables = {**stack.function_environment(), "AWS_ENDPOINT_URL": stack.endpoint}
        variables[relay.PORTS_VARIABLE] = ",".join(str(port) for port in self._ports())
        self._template = folder / "template.yaml"
        self._template.write_text(json.dumps(_container_template(folder / "code", variables)))

    def _ports(self) -> list[int]:
        urls = [self._stack.endpoint, self._stack.simulator]
        return [port for url in urls if url and (port := urlsplit(url).port)]

    @contextmanager
    def way_out(self) -> Iterator[None]:
        """Let containers reach the stack, which listens on this machine's loopback."""
        with ExitStack() as listeners:
            for port in self._ports():
                listeners.enter_context(relay.offer(port, self._sockets))
            yield

    def invoke(self, event: Path) -> Any:
        """Run the function on one event and return what it returned.

        Raises:
            LocalStackError: the container did not run, or the function failed.
        """
        done = subprocess.run(
            [
                SAM / "sam",
                "local",
                "invoke",
                FUNCTION,
                f"--template={self._template}",
                f"--event={event}",
                f"--region={REGION}",
                *(["--skip-pull-image"] if has_image() else []),
            ],
            cwd=self._folder,
            env={**aws_environment(self._stack.endpoint), "PATH": f"{SAM}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        last = done.stdout.strip().rpartition("\n")[2]
        try:
            answer = json.loads(last)
        except ValueError:
            answer = {"errorMessage": last or "no answer"}
        # `sam` may fail after that, where a busy Docker takes long to remove the container
        if isinstance(answer, dict) and "errorMessage" in answer:
            raise LocalStackError(f"{event.name}: the function failed: {answer}")
        return answer


def _container_template(code: Path, variables: dict[str, str]) -> dict[str, Any]:
    """Return the built template with the function's settings for this machine: `sam` passes only declared variables."""
    template: dict[str, Any] = read_template(TEMPLATE.read_text())
    function = template["Resources"][FUNCTION]["Properties"]
    function["CodeUri"] = str(code)
    function["Handler"] = "relay.lambda_handler"
    function["Architectures"] = [MACHINE]
    function["Environment"] = {"Variables": variables}
    return template


def has_image() -> bool:
    """Return whether Lambda's image is already present and need not be pulled."""
    return subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True, check=False).returncode == 0


def main(events: Sequence[str]) -> int:
    """Invoke the function on each event and return the exit status."""
    paths = [Path(event).resolve() for event in events]
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise LocalStackError(f"no such event: {', '.join(missing)}")
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    ):
        raise LocalStackError("no Docker engine answers: `sam local invoke` runs the function in a container")
    with ExitStack() as resources:
        stack = RunningStack.find()
        if stack is None:
            emulator = resources.enter_context(Emulator())
            simulator = resources.enter_context(SimulatorServer())
            stack = RunningStack(emulator.endpoint, simulator.url, deploy(emulator, parameters_for(simulator.url)))
        # a short path: that of a Unix socket may have about a hundred characters
        folder = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="pagerduty-publisher-")))
        runner = ContainerRunner(stack, folder)
        resources.enter_context(runner.way_out())
        for path in paths:
            print(f"--- {path.name}", flush=True)
            print(json.dumps(runner.invoke(path), indent=2), flush=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except LocalStackError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
