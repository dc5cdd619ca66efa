"""Searches this repository for secrets: `make scan` runs it over all files, commits, merges, tags and names.

Reads every object that a ref reaches, so that nothing depends on how a diff is shown, and the files of the work tree.
Uses Yelp's detect-secrets where it is installed, and patterns of its own for what that does not know.
"""

import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_WHOLE = r"(?<![0-9A-Za-z]){}(?![0-9A-Za-z])"
PATTERNS = {
    # A random key of 32 letters and digits without any digit is rare, and names are often like that: without a digit
    # it has to stand where a routing key stands.
    "routing key": re.compile(_WHOLE.format(r"(?=[A-Za-z]*[0-9])[0-9A-Za-z]{32}")),
    "routing key by its name": re.compile(
        r"(?i:routing|service|integration)[_-]?(?i:key)[\"']?\s*[:=]\s*[\"']?(?P<secret>[0-9A-Za-z]{32})(?![0-9A-Za-z])"
    ),
    "AWS access key": re.compile(r"(?<![0-9A-Z])(?:AKIA|ASIA)[0-9A-Z]{16}(?![0-9A-Z])"),
    "private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
}
FAKES = re.compile(
    r"\w*EXAMPLE\w*"  # of AWS's documentation, and whatever says so itself
    r"|[0-9]{8,10}:pagerduty-publisher-\w+"  # the end of an ARN, like a token of Telegram
    r"|0123456789abcdef0123456789abcdef|fedcba9876543210fedcba9876543210"  # of the simulator
    r"|5ec7e75ec7e75ec7e75ec7e75ec7e75e"  # of tests/unit/test_hygiene.py
    # digests, and ids of AWS's documentation, in events and tests
    r"|abcdefghijklmnopqrstuvwxyz012345"
    r"|0123fedcba98765401234567890abcde"
    r"|1f2e3d4c5b6a79880f1e2d3c4b5a6978"
    r"|2bc6860dc5e990a526afb52b0a365f3f"
    r"|2eb8f3a6c14d4907b5e2a83d61fc7b90"
    r"|7ac3d1f09b2e4856a1d0c97e35f8b642"
    r"|953cc7665e7a14c1ee6151d01cc585b2"
    r"|bc7e2618260d5cf5ec7e0ebbbf8c7e5e"
    r"|f617dd6450f2f023033524c521c13f34"
    # the same in older commits
    r"|39916e9c7d3ff25b2c7d20ebb4c2dd86"
    r"|4a800646417a4105bc3199944567ceb1"
    r"|68ce3025e068e706224c0790bf04afd4"
    r"|6c8ab8b5cbed29405cdde20af6ed0f79"
    r"|9a8b7c6d5e4f30211f2e3d4c5b6a7988"
    r"|c15521b1b3dc450a9daa37e51b591d75"
    r"|e4e68fb7bd0e697a0ae8f1bb342846b3"
    r"|(?P<one>[0-9A-Za-z])(?P=one){31}|[R0-9A-Za-z]?(?P<few>[0-9A-Za-z]{1,8})(?P=few){3,31}[0-9A-Za-z]{0,7}"  # repeats
)
"""What looks like a secret and is not one. New fakes repeat themselves, contain EXAMPLE, or are listed here."""


def leaks_of(line: str) -> Iterator[tuple[str, str]]:
    """Yield what looks like a secret in a line, each once: its kind, and the text."""
    found_before: set[str] = set()
    for kind, pattern in PATTERNS.items():
        for found in pattern.finditer(line):
            text = found["secret"] if "secret" in pattern.groupindex else found[0]
            if text not in found_before and not FAKES.fullmatch(text):
                found_before.add(text)
                yield kind, text


def known_kinds() -> Callable[[str], Iterable[tuple[str, str]]]:
    """Return a function that finds secrets with detect-secrets; without that package it finds nothing."""
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


def texts(repository: Path, start: str = "--all") -> Iterator[tuple[str, str]]:
    """Yield every text of a repository and its location: objects, names of refs and files, and the work tree.

    Objects are those that can be reached from `start`: a revision, or `--all` refs.
    """
    refs = _git(repository, "for-each-ref", "--format=%(refname)").decode(errors="replace")
    yield "the name of a ref", refs
    listed = [line.partition(" ") for line in _git(repository, "rev-list", "--objects", start).decode().splitlines()]
    paths = {name: path for name, _, path in listed}
    yield "the name of a file", "\n".join(paths.values())
    for name, kind, content in _objects(repository, paths):
        if kind != "tree":
            yield (paths[name] or f"the {kind} {name[:9]}"), content.decode(errors="replace")
    for path in _git(repository, "ls-files", "-z", "--cached", "--others", "--exclude-standard").decode().split("\0"):
        if path and (repository / path).is_file():
            yield path, (repository / path).read_text(errors="replace")


def _objects(repository: Path, names: Iterable[str]) -> Iterator[tuple[str, str, bytes]]:
    """Yield id, kind and content of objects.

    https://git-scm.com/docs/git-cat-file#_batch_output
    """
    batch = _git(repository, "cat-file", "--batch", given="\n".join(names).encode())
    start = 0
    while start < len(batch):
        end = batch.index(b"\n", start)
        name, kind, size = batch[start:end].decode().split()
        yield name, kind, batch[end + 1 : end + 1 + int(size)]
        start = end + 1 + int(size) + 1


def _git(repository: Path, *arguments: str, given: bytes = b"") -> bytes:
    return subprocess.run(["git", *arguments], cwd=repository, input=given, capture_output=True, check=True).stdout


def main(repository: Path = ROOT) -> int:
    """Print the location of each possible secret, without the secret; return the exit status."""
    more = known_kinds()
    seen: set[str] = set()
    count = 0
    for place, text in texts(repository):
        for line in text.splitlines():
            if line in seen:
                continue
            seen.add(line)
            for kind, secret in {*leaks_of(line), *more(line)}:
                if not FAKES.fullmatch(secret):
                    count += 1
                    print(f"{place}: looks like a secret: {kind} of {len(secret)} characters, {secret[:4]}...")
    print(f"{len(seen)} different lines are in this repository, {count} look like a secret.")
    return 1 if count or not seen else 0


if __name__ == "__main__":
    sys.exit(main())
