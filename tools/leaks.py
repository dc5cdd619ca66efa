"""Looks for secrets in every line that was ever added to this repository: `make scan` runs it over the whole history.

With Yelp's detect-secrets where that is installed, and for what it does not know, PagerDuty's routing keys, by a
pattern of its own.
"""

import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PATTERNS = {
    "routing key": re.compile(r"(?<![0-9A-Za-z/+])(?=R?[0-9a-f]*[0-9])[R0-9a-f][0-9a-f]{31}(?![0-9A-Za-z/+=])"),
    "AWS access key": re.compile(r"(?<![0-9A-Z])(?:AKIA|ASIA)[0-9A-Z]{16}(?![0-9A-Z])"),
    "private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
}
FAKES = re.compile(
    r"AKIAIOSFODNN7EXAMPLE"  # of AWS's documentation
    r"|0123456789abcdef0123456789abcdef|fedcba9876543210fedcba9876543210"  # of the simulator
    r"|5ec7e75ec7e75ec7e75ec7e75ec7e75e"  # of tests/unit/test_hygiene.py
    # digests, and ids of AWS's documentation, in events and tests
    r"|0123fedcba98765401234567890abcde"
    r"|2bc6860dc5e990a526afb52b0a365f3f"
    r"|2eb8f3a6c14d4907b5e2a83d61fc7b90"
    r"|7ac3d1f09b2e4856a1d0c97e35f8b642"
    r"|953cc7665e7a14c1ee6151d01cc585b2"
    r"|bc7e2618260d5cf5ec7e0ebbbf8c7e5e"
    r"|f617dd6450f2f023033524c521c13f34"
    r"|(?P<one>[0-9a-f])(?P=one){31}|[R0-9a-f]?(?P<few>[0-9a-f]{1,4})(?P=few){7,31}[0-9a-f]{0,3}"  # repeat themselves
)
"""What looks like a secret and is known to be none."""


def leaks_of(line: str) -> Iterator[tuple[str, str]]:
    """Give what looks like a secret in a line: its kind, and the text."""
    for kind, pattern in PATTERNS.items():
        for found in pattern.finditer(line):
            if not FAKES.fullmatch(found[0]):
                yield kind, found[0]


def added_lines(*arguments: str) -> Iterator[tuple[str, str]]:
    """Give each line that a commit added, once, with the first place where it was."""
    command = ["git", "log", "--all", "--reverse", "-p", "-U0", "--no-color", "--no-ext-diff", "--format=commit %h"]
    log = subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, check=True).stdout
    commit = path = ""
    seen: set[str] = set()
    for line in log.decode(errors="replace").splitlines():
        if line.startswith("commit "):
            commit = line[7:]
        elif line.startswith("+++ "):
            path = line[6:]
        elif line.startswith("+") and line not in seen:
            seen.add(line)
            yield f"{commit} {path}", line[1:]


def known_kinds() -> Callable[[str], Iterable[tuple[str, str]]]:
    """Give a function that finds what detect-secrets knows by its form; one that finds nothing where it is missing."""
    try:
        from detect_secrets.core.scan import scan_line
        from detect_secrets.settings import default_settings
    except ImportError:
        return lambda line: ()
    context = default_settings()
    context.__enter__().disable_plugins(
        # these guess: by entropy, by the name of a variable, by the form of an address
        *("Base64HighEntropyString", "HexHighEntropyString", "KeywordDetector", "IPPublicDetector"),
        "BasicAuthDetector",
    )

    def find(line: str, _settings: object = context) -> list[tuple[str, str]]:  # they end with the context
        return [(found.type, found.secret_value or "") for found in scan_line(line)]

    if not find("AKIA" + "Q3EGP2LMZKX7T4W9"):
        raise RuntimeError("detect-secrets finds nothing: has its API changed?")
    return find


def main() -> int:
    """Print each place of something like a secret, without the secret; give the exit status."""
    more = known_kinds()
    count = number = 0
    for place, line in added_lines():
        number += 1
        for kind, text in {*leaks_of(line), *more(line)}:
            if not FAKES.fullmatch(text):
                count += 1
                print(f"{place}: looks like a secret: {kind} of {len(text)} characters, {text[:4]}...")
    print(f"{number} different lines were added to this repository, {count} look like a secret.")
    return 1 if count or not number else 0


if __name__ == "__main__":
    sys.exit(main())
