"""Breaks the claim's rules one at a time, in a copy of the project, and shows which test notices: `make mutants`.

A mutant is a replacement of text that occurs exactly once; one that no longer fits the source is an error. It ends with
an exit status of 1 if a mutant survives. A word on the command line picks the mutants that have it in their names.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[2]
HANDLER = Path("src/handler")
TIMEOUT_SECONDS = 120
UNIT = ["tests/unit/test_table.py", "tests/unit/test_claims.py", "tests/unit/test_delivery.py"]
PROOFS = ["tests/proofs/test_interleavings.py", "-k", "one_delivery or two_deliveries or older_than"]
"""The three deliveries take longer, and see nothing in these mutants that two do not."""


@dataclass(frozen=True)
class Mutant:
    """A mistake: edits are (module, text, replacement)."""

    name: str
    edits: Sequence[tuple[str, str, str]]


def mutant(name: str, module: str, text: str, replacement: str) -> Mutant:
    return Mutant(name, [(module, text, replacement)])


MUTANTS = [
    # --- the rules of the claim ---
    mutant(
        "claim: a live lease is ignored",
        "table",
        "OR #lease_until <= :now)",
        "OR #lease_until <= :now OR #lease_until > :now)",
    ),
    mutant(
        "claim: a lease never ends",
        "table",
        "(attribute_not_exists(#lease_until) OR #lease_until <= :now)",
        "(attribute_not_exists(#lease_until) OR #lease_until < :now AND #lease_until > :now)",
    ),
    mutant(
        "claim: an expired record is not absent",
        "table",
        "<= :now_seconds",
        "<= :now_seconds AND attribute_not_exists(#{KEY})",
    ),
    mutant("claim: an older observation is let in", "table", '"#version < :version"', '"#version <> :version"'),
    mutant("claim: only an older observation is let in", "table", '"#version < :version"', '"#version > :version"'),
    mutant(
        "claim: a duplicate is let in",
        "table",
        "OR #delivered_at <= :repeat_before)",
        "OR #delivered_at <= :repeat_before OR #delivered_at > :repeat_before)",
    ),
    mutant(
        "claim: what was never delivered counts as a duplicate",
        "table",
        '"attribute_not_exists(#delivered_at)"',
        '"attribute_exists(#delivered_at)"',
    ),
    mutant(
        "claim: a resolve of what was never opened is let in",
        "table",
        "(#status = :firing AND #attempted = :false)",
        "(#status = :firing AND #attempted = :false AND #status <> :firing)",
    ),
    Mutant(
        "claim: every trigger that waits counts as never opened",
        [
            ("table", "AND #attempted = :false)", "AND (#attempted = :false OR #attempted <> :false))"),
            ("claims", " and not record.attempted:", ":"),
        ],
    ),
    Mutant(
        "claim: what is not a trigger counts as never opened too",
        [
            ("table", "(#status = :firing AND ", "((#status = :firing OR #status <> :firing) AND "),
            ("claims", " and record.status is Status.FIRING and", " and"),
        ],
    ),
    mutant("claim: attempted is not set", "table", '"attempted": True,', '"attempted": False,'),
    mutant(
        "claim: a delivery of the observation before counts for this one",
        "table",
        'remove=("delivered_at",),\n            condition=(f"{_ABSENT}',
        'remove=(),\n            condition=(f"{_ABSENT}',
    ),
    mutant(
        "claim: before a resolve of something unknown there is nothing",
        "table",
        "is not Status.FIRING",
        "is None",
    ),
    mutant(
        "claim: what boto3 made twice is somebody else's",
        "table",
        "if record and (record.owner, record.lease_until) == (owner, lease_until_ms):",
        "if False:",
    ),
    mutant("claim: the lease is over at once", "sender", "lease_until=deadline", "lease_until=now"),
    mutant("claim: all have the same name", "sender", "owner=self._new_owner()", 'owner="me"'),
    # --- the decision ---
    mutant("decide: an expired record is not absent", "claims", " or record.expires_at * 1000 <= now:", ":"),
    mutant(
        "decide: the same observation is overtaken",
        "claims",
        "incoming.version < rec",
        "incoming.version <= rec",
    ),
    mutant("decide: of a tie the trigger is newest", "claims", "Status.FIRING: 0", "Status.FIRING: 3"),
    mutant("decide: a newer one does not wait for the lease", "claims", "if record.lease_until > now:", "if same:"),
    mutant("decide: a newer one is not remembered", "claims", "if same else Verdict.BUSY_WITH_OLDER", ""),
    mutant("decide: a change event is repeated", "claims", "(incoming.is_change or record", "(record"),
    # --- remembering ---
    mutant(
        "remember: an older observation is remembered",
        "table",
        'condition=f"{_NEWER} AND #lease_until > :now"',
        'condition="(#version < :version OR #version >= :version) AND #lease_until > :now"',
    ),
    mutant(
        "remember: though nobody is sending",
        "table",
        "AND #lease_until > :now",
        "AND (#lease_until > :now OR #lease_until <= :now OR attribute_not_exists(#lease_until))",
    ),
    mutant(
        "never opened: it is not written down as delivered",
        "table",
        '{**self._newest(observation, now_ms), "delivered_at": now_ms}',
        "self._newest(observation, now_ms)",
    ),
    mutant(
        "never opened: though somebody began to send",
        "table",
        '{_NEWER} AND {_FREE} AND {_NEVER_OPENED}"',
        "{_NEWER} AND (#lease_until > :now OR #lease_until <= :now OR attribute_not_exists(#lease_until)) "
        'AND (#status = :firing OR #attempted = :false)"',
    ),
    # --- settling and releasing ---
    mutant("settle, release: by anybody", "table", '"#owner = :owner"', '"(#owner = :owner OR #owner <> :owner)"'),
    mutant(
        "settle: whatever was remembered meanwhile",
        "table",
        '{_OWN} AND #version = :version"',
        '{_OWN} AND (#version = :version OR #version <> :version)"',
    ),
    mutant("settle: keeps the claim where overtaken", "table", "if not settled and old and", "if False and"),
    mutant(
        "settle: after a resolve something is open",
        "table",
        "status is not Status.RESOLVED",
        "status is not None",
    ),
    mutant("settle: after a trigger nothing is open", "table", "status is not Status.RESOLVED", "status is None"),
    mutant(
        "settle: though PagerDuty has not accepted",
        "sender",
        "if isinstance(result, Accepted):\n",
        "if True:\n",
    ),
    mutant(
        "settle: what is deferred too",
        "sender",
        "if isinstance(result, Accepted):\n                self._table.settle(observation, claim, result.at)",
        "if not isinstance(result, Rejected):\n                self._table.settle(observation, claim, self._clock())",
    ),
    mutant("settle: not at all", "sender", "self._table.settle(observation, claim, result.at)", "pass"),
    mutant(
        "release: not at all",
        "sender",
        "self._table.release(observation, claim, attempted=bool(trace.attempts))",
        "pass",
    ),
    mutant("release: forgets the attempts", "sender", "attempted=bool(trace.attempts)", "attempted=False"),
    mutant("release: always attempted", "sender", "attempted=bool(trace.attempts)", "attempted=True"),
    mutant("release: forgets what was before", "table", "claimed.attempted_before or attempted", "attempted"),
    mutant(
        "release: forgets attempted",
        "table",
        "claimed.attempted_before or attempted",
        "claimed.attempted_before",
    ),
    mutant(
        "release: keeps the lease",
        "table",
        'changes, remove=("owner", "lease_until"), condition=_OWN',
        "changes, remove=(), condition=_OWN",
    ),
    # --- what becomes of it ---
    mutant(
        "deliver: a busy alert is skipped",
        "sender",
        "return Deferred(reason=DeferReason.BUSY, delay_seconds=BUSY_SECONDS)",
        "return Skipped(reason=next(iter(SKIPS.values())))",
    ),
    mutant(
        "deliver: what fails is neither kept nor told",
        "publisher",
        "lost = _lost(lambda: self.queues.defer(alert, hop, result, self.clock()))",
        "pass",
    ),
]


def run(mutant: Mutant | None) -> tuple[str, str]:
    """Give which unit test and which proof fail first, of a copy with the mutant's edits."""
    with TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("src", "tests", "local", "tools", "events"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        for module, text, replacement in mutant.edits if mutant else ():
            path = next((copy / HANDLER).rglob(f"{module}.py"))
            source = path.read_text()
            if source.count(text) != 1:
                sys.exit(f"mutant {mutant and mutant.name!r}: {source.count(text)} times in {module}.py: {text!r}")
            path.write_text(source.replace(text, replacement))
        return _first_failure(copy, UNIT), _first_failure(copy, PROOFS)


def _first_failure(copy: Path, arguments: Sequence[str]) -> str:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=line", "-p", "no:cacheprovider", *arguments]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired:
        return "(takes for ever)"
    if done.returncode == 0:
        return ""
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return failed[1].rpartition("::")[2] if failed else f"(exit status {done.returncode})"


def main() -> int:
    """Print the table; give 1 if a mutant survives."""
    if any(run(None)):
        print("the tests fail without any mutant: mend that first")
        return 1
    survivors = 0
    mutants = [mutant for mutant in MUTANTS if all(word in mutant.name for word in sys.argv[1:])]
    width = max(len(mutant.name) for mutant in mutants)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for mutant, (unit, proof) in zip(mutants, pool.map(run, mutants), strict=True):
            survivors += not (unit or proof)
            said = "; ".join(part for part in (unit, proof and f"proof: {proof}") if part) or "SURVIVES"
            print(f"{mutant.name:{width}}  {said}", flush=True)
    print(f"{len(mutants)} mutants, {survivors} survive")
    return min(survivors, 1)


if __name__ == "__main__":
    sys.exit(main())
