"""The worked example of CONTRIBUTING.md is a source that works."""

import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest

from handler import sources
from handler.alert import Alert, Status
from handler.envelope import Record
from handler.errors import InvalidAlertError
from handler.pagerduty.severity import Severity
from handler.sources import registry, shapes

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text()


@pytest.fixture
def tickets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the example as its second step says."""
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    module = ModuleType("tickets")
    exec(compile(code, "CONTRIBUTING.md", "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, "handler.sources.tickets", module)
    (line,) = re.findall(r"`(\(shapes\.has\(\"ticket\"\), .*?\))`", GUIDE)
    monkeypatch.setattr(registry, "SHAPES", (*registry.SHAPES, eval(line, {"shapes": shapes})))


def parse(**ticket: object) -> Alert:
    """Return the alert of a ticket."""
    (alert,) = sources.parse(Record({"ticket": ticket}, datetime(2026, 11, 23, tzinfo=UTC), topic_arn="arn"))
    assert isinstance(alert, Alert)
    return alert


def test_the_worked_example_is_a_source_that_works(tickets: None) -> None:
    """It triggers, resolves what it triggered, and names a wrong field."""
    opened = parse(id="T-7", title="Login is slow", open=True, priority="p1")
    closed = parse(id="T-7", title="Login is slow", open=False)
    assert (opened.status, opened.severity, closed.status) == (Status.FIRING, Severity.CRITICAL, Status.RESOLVED)
    assert (opened.origin, opened.fingerprint) == ("tickets", closed.fingerprint)
    with pytest.raises(InvalidAlertError, match="ticket: title: "):
        parse(id="T-7", open=True)


def test_what_the_guide_names_exists() -> None:
    """Make targets, and files but for those that the example would add."""
    targets = set(re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text()))
    assert set(re.findall(r"`make (\w+)", GUIDE)) <= targets
    files = re.findall(r"`((?:src|tests|docs|events|\.github)/[\w./-]+\.\w+|\.checkov\.yaml)`", GUIDE)
    assert [name for name in files if "tickets" not in name and not (ROOT / name).exists()] == []


def test_the_reading_order_has_every_module_of_the_function() -> None:
    """Each file of src/handler, and each folder."""
    start = GUIDE.index("## The code, in reading order")
    named = set(re.findall(r"`(\w+)/?`", GUIDE[start : GUIDE.index("\n## ", start + 1)]))
    handler = ROOT / "src/handler"
    assert {it.stem for it in handler.iterdir() if not it.name.startswith("__")} <= named


def test_every_step_on_the_path_of_an_alert_exists() -> None:
    """In the order of a first reading."""
    path = GUIDE.partition("### The path of one alert")[2].partition("\n\n[docs/design.md]")[0]
    steps = re.findall(r"`([\w.]+)`", path)
    assert steps[0] == "app.lambda_handler"
    assert steps[-1] == "pagerduty.client.PagerDutyClient.send"
    for step in steps:
        names = step.split(".")
        source = ROOT / "src" / "handler" / ("/".join(name for name in names[:-1] if name.islower() and name[0] != "_"))
        text = next(path for path in (source.with_suffix(".py"), source / "__init__.py") if path.exists()).read_text()
        assert re.search(rf"^ *def {names[-1]}\b", text, re.MULTILINE), step
