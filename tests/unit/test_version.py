"""The version is the same wherever it appears."""

import tomllib
from pathlib import Path

from handler.version import VERSION

ROOT = Path(__file__).parents[2]


def test_the_package_says_the_project_s_version() -> None:
    """The log and the health check show it."""
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION


def test_the_stack_s_description_says_it() -> None:
    """Where an operator sees it, and `make doctor` finds it."""
    description = next(
        line for line in (ROOT / "template.yaml").read_text().splitlines() if line.startswith("Description:")
    )
    assert f"PagerDuty Publisher {VERSION} - " in description
