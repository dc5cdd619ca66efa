"""Runs pip-audit over the pins of the function, and fails when it did not audit every one of them: `make scan`."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PINS = ROOT / "src/requirements.txt"


def pins_of(requirements: str) -> set[str]:
    """Return the names that a requirements file pins, normalised."""
    return {_normal(name) for name in re.findall(r"(?m)^([A-Za-z0-9][\w.-]*)(?:\[[^]]*])?==", requirements)}


def problems(report: Any, pins: set[str]) -> list[str]:
    """Return the problems: known vulnerabilities, and pins that were not audited.

    Args:
        report: the output of pip-audit in its JSON format.
        pins: the normalised names that it had to audit.
    """
    audited = {_normal(it["name"]): it["vulns"] for it in report["dependencies"] if "vulns" in it}
    found = [
        f"{name}: {vulnerability['id']}, fixed in {', '.join(vulnerability['fix_versions']) or 'no version yet'}"
        for name, vulnerabilities in audited.items()
        for vulnerability in vulnerabilities
    ]
    return found + [f"{name}: not audited" for name in sorted(pins - audited.keys())] + ([] if pins else ["no pins"])


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> int:
    """Audit the pins, print what was found, and return the exit status."""
    command = [str(Path(sys.executable).with_name("pip-audit")), f"--requirement={PINS}", "--disable-pip"]
    # it exits with 1 if it found something, and prints nothing if it could not ask
    done = subprocess.run(
        [*command, "--require-hashes", "--strict", "--format=json", "--progress-spinner=off"],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    pins = pins_of(PINS.read_text())
    try:
        found = problems(json.loads(done.stdout), pins)
    except ValueError:
        found = ["pip-audit printed no report"]
    print("\n".join(found) or f"{len(pins)} packages audited, no known vulnerability")
    return 1 if found or done.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
