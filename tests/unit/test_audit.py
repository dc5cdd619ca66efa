"""The audit of the pins fails when it audited nothing, or not all."""

import subprocess
from typing import Any

import pytest

from tools import audit

REPORT: dict[str, Any] = {
    "dependencies": [
        {"name": "boto3", "version": "1.0", "vulns": []},
        {"name": "Typing_Extensions", "version": "4.0", "vulns": []},
    ],
    "fixes": [],
}
PINS = {"boto3", "typing-extensions"}


def test_all_pins_audited_and_none_vulnerable_is_well() -> None:
    """Names are compared as package indexes do."""
    assert audit.problems(REPORT, PINS) == []


def test_a_pin_that_was_not_audited_fails() -> None:
    """Skipped ones and missing ones alike; and an audit of nothing."""
    skipped = {"dependencies": [*REPORT["dependencies"], {"name": "urllib3", "skip_reason": "not found"}]}
    assert audit.problems(skipped, PINS | {"urllib3"}) == ["urllib3: not audited"]
    assert audit.problems({"dependencies": []}, PINS) == ["boto3: not audited", "typing-extensions: not audited"]
    assert audit.problems({"dependencies": []}, set()) == ["no pins"]


def test_a_vulnerability_is_named_with_what_fixes_it() -> None:
    """Whoever reads it upgrades."""
    vulnerable = {"dependencies": [{"name": "boto3", "vulns": [{"id": "CVE-2026-1", "fix_versions": ["1.1"]}]}]}
    assert audit.problems(vulnerable, {"boto3"}) == ["boto3: CVE-2026-1, fixed in 1.1"]


def test_the_pins_of_the_function_are_read() -> None:
    """All of them, from the file itself."""
    assert {"aws-lambda-powertools", "boto3", "pydantic", "urllib3"} <= audit.pins_of(audit.PINS.read_text())


@pytest.mark.parametrize(("printed", "status"), [("", 0), ("", 1), ('{"dependencies": []}', 0)])
def test_a_run_without_a_report_of_every_pin_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], printed: str, status: int
) -> None:
    """Whatever exit status pip-audit has."""
    done = subprocess.CompletedProcess([], status, stdout=printed)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    assert audit.main() == 1
    assert "report" in capsys.readouterr().out or printed
