"""The docs: links lead somewhere, commands exist, snippets parse, and lists are complete."""

import json
import re
from pathlib import Path

import pytest
import yaml

from handler.alert import GENERIC
from handler.errors import ErrorReason, PublisherErrorReason
from handler.metrics import Metric
from handler.outcome import DeferReason, SkipReason
from tests.lab import awscli

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md")])
TEMPLATE = (ROOT / "template.yaml").read_text()
PARAMETERS = set(re.findall(r"(?m)^  (\w+):$", TEMPLATE[TEMPLATE.index("\nParameters:") : TEMPLATE.index("\nRules:")]))
OUTPUTS = set(re.findall(r"(?m)^  (\w+):$", TEMPLATE[TEMPLATE.index("\nOutputs:") :]))
MAKEFILE = (ROOT / "Makefile").read_text()
OPERATIONS = (ROOT / "docs/operations.md").read_text()
METRICS = (ROOT / "docs/metrics.md").read_text()
TAGS = ("Ref", "Sub", "GetAtt", "ImportValue")
SECRETS = {"ROUTING_KEY"}
"""Recipes take them from the environment alone: what stands in a recipe is visible to every user of the machine."""
GOALS = {
    "wire existing alarms",
    "Alertmanager, Amazon Managed Prometheus and Grafana",
    "two teams, by labels and by tags",
    "silence tonight",
    "an alert did not page",
    "rotate a key",
    "only high GuardDuty findings",
    "upgrade and roll back",
    "remove",
    "move here from Opsgenie, PagerDuty's CloudWatch integration or notify-slack",
}


class Loader(yaml.SafeLoader):
    """Reads CloudFormation's tags as texts, and nothing it does not know."""


for name in TAGS:
    Loader.add_constructor(f"!{name}", lambda loader, node: str(node.value))


def blocks(path: Path, *languages: str) -> list[str]:
    """Return a page's code blocks in these languages."""
    found = re.findall(r"(?ms)^ *```(\w*)\n(.*?)^ *```", path.read_text())
    return [text for language, text in found if language in languages]


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's sections, as GitHub makes them."""
    titles = re.findall(r"(?m)^#+ (.*)$", re.sub(r"(?ms)^ *```.*?^ *```", "", path.read_text()))
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", PAGES, ids=ids)
def test_every_link_leads_to_a_file_and_a_section(path: Path) -> None:
    """Of this repository."""
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        page = path.parent / name if name else path
        assert page.exists(), target
        assert not anchor or anchor in anchors(page), target


@pytest.mark.parametrize("path", PAGES, ids=ids)
def test_every_snippet_parses(path: Path) -> None:
    """JSON and YAML; and nothing is imported, because the stack exports nothing."""
    for text in blocks(path, "json"):
        json.loads(text)
    for text in blocks(path, "yaml"):
        yaml.load(text, Loader)
        assert "ImportValue" not in text
    assert {"Export:", "Fn::ImportValue"}.isdisjoint(TEMPLATE.split())


@pytest.mark.parametrize("path", PAGES, ids=ids)
def test_every_command_is_one(path: Path) -> None:
    """Make targets with variables that the Makefile knows, AWS commands, and files and outputs that exist."""
    text = path.read_text()
    targets = set(re.findall(r"(?m)^([a-z]+):.*##", MAKEFILE))
    for target, arguments in re.findall(r"(?:`|^)make (\w+)([^`\n]*)", text, re.MULTILINE):
        assert target in targets
        for variable in re.findall(r"\b([A-Z][A-Z_]+)=", arguments):
            assert (
                f"$({variable})" in MAKEFILE
                or f"{variable} ?=" in MAKEFILE
                or f"${variable}" in MAKEFILE
                or variable in SECRETS
            ), variable
    for shell in blocks(path, "", "sh", "bash"):
        for command in awscli.commands_of(shell):
            assert awscli.problems(command) == []
            for name in re.findall(r"file://(examples/\S+)", " ".join(command)):
                assert (ROOT / name).is_file()
        assert set(re.findall(r"\$\(output (\w+)\)", shell)) <= OUTPUTS
    for name, value in re.findall(r"\b([A-Z]\w+(?:Rule|Level|Url|Prefix|Email))=(\w+)", text):
        assert name in PARAMETERS | {"CodePrefix"}, f"{name}={value}"


def test_every_goal_is_one_click_from_the_top_of_operations() -> None:
    """The table of contents comes before the first section."""
    contents = OPERATIONS[: OPERATIONS.index("\n## ")]
    links = {" ".join(name.split()): anchor for name, anchor in re.findall(r"\[([^]]+)\]\(#([\w-]+)\)", contents)}
    assert links.keys() >= GOALS
    assert set(links.values()) <= anchors(ROOT / "docs/operations.md")


def test_every_parameter_is_explained_with_its_default() -> None:
    """In the table of operations, and none that does not exist."""
    table = OPERATIONS[OPERATIONS.index("\n## Parameters") : OPERATIONS.index("\n## Dead letters")]
    rows = re.findall(r"(?m)^\| (`\w.*?`) \| (.*?) \| (.+?) \|$", table)
    explained = {name: default for names, default, _ in rows for name in re.findall(r"`(\w+)`", names)}
    assert explained.keys() == PARAMETERS
    for name, default in explained.items():
        block = TEMPLATE[TEMPLATE.index(f"\n  {name}:\n") :]
        (actual,) = re.findall(r"\n    Default: (.*)", block)[:1]
        assert default.strip("`") == {'""': "empty"}.get(actual, actual), name


def test_the_readme_names_the_costs_that_were_measured() -> None:
    """Of an idle month, and of a million triggers by service, as the last results of `make bench` have them."""
    readme = (ROOT / "README.md").read_text()
    lines = (ROOT / "benchmarks/results.md").read_text().splitlines()
    header, _, *rows = lines[next(n for n, line in enumerate(lines) if line.startswith("| a million of them")) :]
    trigger = next(row for row in rows if row.startswith("| trigger  "))
    cost = dict(
        zip([cell.strip() for cell in header.split("|")], [cell.strip() for cell in trigger.split("|")], strict=True)
    )
    said = {name: float(number) for name, number in re.findall(r"(DynamoDB|logs|Lambda|SNS) (\d\.\d)", readme)}
    measured = {"DynamoDB": "dynamodb", "logs": "logs", "Lambda": "compute", "SNS": "sns"}
    assert said == {name: round(float(cost[column]), 1) for name, column in measured.items()}
    (total,) = re.findall(r"a million\s+alerts cost about US\$ (\d+)", readme)
    assert int(total) == round(float(cost["total"]))
    (idle,) = re.findall(r"An idle stack costs US\$ (\d+\.\d\d) a month", readme)
    assert next(line for line in lines if line.startswith("| without the dashboard ")).split("|")[2].strip() == idle


def test_every_reason_is_explained() -> None:
    """In metrics.md, where the log and the dead letters lead to; and none that does not exist."""
    reasons = METRICS[METRICS.index("\n## Reasons") : METRICS.index("\n## PromQL")]
    explained = set(re.findall(r"`(\w+)`", "".join(re.findall(r"(?m)^\| (`.*?) \| .* \|$", reasons))))
    existing = {str(reason) for kind in (SkipReason, DeferReason, ErrorReason, PublisherErrorReason) for reason in kind}
    assert explained - {"error_type"} == existing


def test_every_metric_is_in_the_table() -> None:
    """With its name as it is emitted."""
    assert {str(metric) for metric in Metric} <= set(re.findall(r"`([A-Z]\w+)`", METRICS))


def test_every_origin_is_named() -> None:
    """So that a target can match on it."""
    modules = (ROOT / "src/handler/sources").glob("*.py")
    origins = {name for path in modules for name in re.findall(r'(?m)^ORIGIN = "(\w+)"', path.read_text())}
    sources = (ROOT / "docs/sources.md").read_text()
    start = sources.index("as `origin`:")
    assert origins
    assert {GENERIC, *origins} <= set(re.findall(r"`(\w+)`", sources[start : sources.index("\n\n", start)]))
