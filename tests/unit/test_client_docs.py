"""docs/client.md: every example runs against the PagerDuty simulator and prints what the page says."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator

import pytest

from handler.pagerduty import PagerDutyClient
from local.simulator.pagerduty import PagerDuty
from local.simulator.server import SimulatorServer
from local.stack import ROOT
from tests.lab.clock import Clock
from tests.lab.secrets import ROUTING_KEY

EXAMPLES: list[tuple[str, str]] = re.findall(
    r"```python\n(.*?)```\n+```text\n(.*?)```", (ROOT / "docs/client.md").read_text(), re.DOTALL
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture
def server() -> Iterator[SimulatorServer]:
    with SimulatorServer(PagerDuty(Clock())) as server:
        yield server


def run(example: str, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Run an example as it is, with the simulator in PagerDuty's place; return what it prints."""
    given: dict[str, object] = {**(PagerDutyClient.__init__.__kwdefaults__ or {}), "base_url": url}
    monkeypatch.setattr(PagerDutyClient.__init__, "__kwdefaults__", given)
    monkeypatch.setenv("ROUTING_KEY", ROUTING_KEY)
    exec(compile(example, "docs/client.md", "exec"), {})
    return capsys.readouterr().out


def test_the_page_has_its_examples() -> None:
    """Each with its output."""
    assert len(EXAMPLES) == (ROOT / "docs/client.md").read_text().count("```python") == 4


@pytest.mark.parametrize(("example", "output"), EXAMPLES)
def test_an_example_prints_what_the_page_says(
    server: SimulatorServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    example: str,
    output: str,
) -> None:
    assert run(example, server.url, monkeypatch, capsys) == output


def test_the_lifecycles_of_the_examples_leave_nothing_open(
    server: SimulatorServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And open one incident each, with the change on the timeline."""
    for example, _ in EXAMPLES:
        run(example, server.url, monkeypatch, capsys)
    incidents = server.pagerduty.incidents
    assert [str(incident.state) for incident in incidents] == ["resolved", "resolved"]
    assert [change.summary for change in server.pagerduty.changes] == ["checkout 1.42 deployed"]


# --- Alone ---


def test_the_client_needs_its_dependencies_alone() -> None:
    """Neither AWS's packages nor Powertools are imported, so they need not be installed."""
    code = (
        "import sys, handler.pagerduty, handler.mapping, handler.targets.target\n"
        "print({'boto3', 'botocore', 'aws_lambda_powertools'}.isdisjoint(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "src", capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def packages(lines: list[str]) -> set[str]:
    """Return the names of the packages that requirements ask for."""
    names = (re.match(r"[A-Za-z][\w.-]*", line) for line in lines)
    return {name[0] for name in names if name}


def test_the_project_names_what_its_pins_are_made_from() -> None:
    """Who installs the project, and who builds the function, get the same packages."""
    project = PROJECT["project"]
    named = packages([*project["dependencies"], *project["optional-dependencies"]["function"]])
    assert named == packages((ROOT / "src/requirements.in").read_text().splitlines())
    assert packages(PROJECT["dependency-groups"]["dev"]) == packages(
        (ROOT / "requirements/dev.in").read_text().splitlines()
    )


def test_the_pins_are_within_the_projects_ranges() -> None:
    """What is deployed is what the project says it works with."""
    project = PROJECT["project"]
    pins = dict(re.findall(r"^([\w-]+)==([\d.]+)", (ROOT / "src/requirements.txt").read_text(), re.MULTILINE))
    for line in [*project["dependencies"], *project["optional-dependencies"]["function"]]:
        name, least, most = re.fullmatch(r"([\w-]+)>=([\d.]+),<(\d+)", line).groups()  # type: ignore[union-attr]
        pin = [int(part) for part in pins[name].split(".")]
        assert [int(part) for part in least.split(".")] <= pin < [int(most)]
