"""Breaks the rules of delivery one at a time, in a copy of the project, and shows which test notices: `make mutants`.

A mutant replaces a text that occurs exactly once in its module; one that no longer fits the source is an error. Each
mutant meets the unit tests, those of its own module first, and if it survives them the proofs; with `--proofs` it
meets both. A word on the command line selects the mutants with that word in their names. The exit status is 1 if a
mutant survives.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[2]
HANDLER = Path("src/handler")
SHORTEST_TIMEOUT_SECONDS = 300.0
TIMES_THE_SOUND_ONE = 5.0
"""A mutant may make a test run forever; this is how much longer than without a mutant its tests may take."""
MODULES = (
    "claims",
    "transitions",
    "table",
    "rate",
    "limiter",
    "sender",
    "drainer",
    "publisher",
    "identity",
    "stories",
    "patience",
)
TESTED_BY = {"record": "transitions", "gateway": "sender", "ledger": "sender", "backlog": "drainer"}
"""Whose unit tests notice mutants of a module without a test file of its own."""
PROOFS = [
    "tests/proofs/test_interleavings.py",
    "tests/proofs/test_wake_ups.py",
    "tests/proofs/test_storms.py",
    "tests/proofs/test_outages.py",
    "-k",
    "not three",
]
"""Three deliveries and the random fleets take longer, and find little in these mutants that two deliveries do not."""
PROVES_ALL = "--proofs" in sys.argv
"""Whether the proofs also run on mutants that the unit tests have noticed."""


@dataclass(frozen=True)
class Mutant:
    """A mistake: edits are (module, text, replacement)."""

    name: str
    edits: Sequence[tuple[str, str, str]]


def mutant(name: str, module: str, text: str, replacement: str) -> Mutant:
    return Mutant(name, [(module, text, replacement)])


MUTANTS = [
    # --- what is newer ---
    mutant("compare: no tie", "record", "TIE_MS = 1000", "TIE_MS = 0"),
    mutant("compare: older is newer", "record", "return 1 if one > other else -1", "return -1 if one > other else 1"),
    mutant(
        "decide: an older state is let in", "claims", "case _ if age < 0 or is_redelivery:", "case _ if is_redelivery:"
    ),
    mutant(
        "decide: a redelivery is let in",
        "claims",
        "case _ if age < 0 or is_redelivery:",
        "case _ if age < 0:",
    ),
    mutant(
        "observe: an end is as new as the acknowledge before it",
        "transitions",
        "status=seen.status, at=seen.at,",
        "status=seen.status, at=max(old.at, seen.at) if seen.status is Status.RESOLVED else seen.at,",
    ),
    mutant(
        "decide: an acknowledge supersedes a resolve",
        "claims",
        "case Status.ACKNOWLEDGED, Status.RESOLVED:",
        "case Status.ACKNOWLEDGED, Status.RESOLVED if age < 0:",
    ),
    mutant(
        "decide: an acknowledge hides a trigger that nobody heard of",
        "claims",
        "case Status.FIRING, Status.ACKNOWLEDGED if not record.triggered:",
        "case Status.FIRING, Status.ACKNOWLEDGED if age > 0:",
    ),
    mutant(
        "decide: an expired record counts",
        "claims",
        "if record is None or record.is_absent(now):",
        "if record is None:",
    ),
    mutant(
        "decide: a live lease is ignored", "claims", "if record.is_leased(now) or (record.waiting", "if (record.waiting"
    ),
    mutant(
        "decide: what waits is passed by what is not critical",
        "claims",
        "(record.waiting and order is not Order.CRITICAL)",
        "False",
    ),
    mutant(
        "decide: a raised severity is a duplicate",
        "claims",
        "    if is_raised:\n        return _arrive(order, record, now)\n",
        "",
    ),
    mutant(
        "decide: a duplicate is sent",
        "claims",
        "if age == 0 or record.delivered_at > now - repeat_after:",
        "if False:",
    ),
    mutant(
        "decide: the same moment on another path, late, is sent",
        "claims",
        "if age == 0 or record.delivered_at > now - repeat_after:",
        "if record.delivered_at > now - repeat_after:",
    ),
    mutant(
        "decide: the same state is a duplicate for ever",
        "claims",
        "if age == 0 or record.delivered_at > now - repeat_after:",
        "if True:",
    ),
    mutant(
        "decide: a resolve of what was never sent is sent",
        "claims",
        "case Status.RESOLVED, Status.FIRING if _was_never_sent(record, now):",
        "case Status.RESOLVED, Status.FIRING if False:",
    ),
    mutant(
        "decide: a trigger that may be open counts as never sent",
        "claims",
        "record.needs_delivery() and not record.open and",
        "record.needs_delivery() and",
    ),
    mutant(
        "decide: a change event is repeated",
        "claims",
        "if record.delivered_at is not None or record.waiting:",
        "if record.waiting:",
    ),
    # --- how a record changes ---
    mutant(
        "claim: open is not set",
        "transitions",
        "open=new.open or seen.status is Status.FIRING or record is None,",
        "open=new.open,",
    ),
    mutant(
        "claim: before a resolve of something unknown there is nothing",
        "transitions",
        "or seen.status is Status.FIRING or record is None,",
        "or seen.status is Status.FIRING,",
    ),
    mutant(
        "claim: a delivery before counts for this one",
        "transitions",
        "message_ids=ids, delivered_at=None)",
        "message_ids=ids)",
    ),
    mutant(
        "claim: what has to be sent again is sent a third time",
        "transitions",
        "        again=False,\n        waiting=None,\n",
        "        waiting=None,\n",
    ),
    mutant(
        "settle: a trigger that the record did not know of is forgotten",
        "transitions",
        "    if record.again:\n",
        "    if False:\n",
    ),
    mutant(
        "decide: an acknowledgement published later hides an end",
        "claims",
        "case Status.RESOLVED, Status.ACKNOWLEDGED if compare(seen.at, record.fired_at) >= 0 and not is_redelivery:",
        "case Status.RESOLVED, Status.ACKNOWLEDGED if False:",
    ),
    mutant(
        "drain: the claim leaves the index",
        "transitions",
        "open=is_open, again=False, tries=record.tries + 1)",
        "open=is_open, again=False, waiting=None)",
    ),
    mutant("drain: claims are not counted", "transitions", "again=False, tries=record.tries + 1)", "again=False)"),
    mutant(
        "drain: what is sent again is sent a third time", "transitions", "open=is_open, again=False,", "open=is_open,"
    ),
    mutant(
        "reassert: what a drainer is sending waits already",
        "transitions",
        "    if record.owner and record.is_leased(now):",
        "    if record.owner and record.is_leased(now) and not record.waiting:",
    ),
    mutant(
        "release: forgets what was sent without the record",
        "transitions",
        "open=was_open or attempted or record.again,",
        "open=was_open or attempted,",
    ),
    mutant(
        "wait: a newer state loses the place",
        "transitions",
        "since = new.waiting_since if new.waiting_since is not None else now\n    place",
        "since = now\n    place",
    ),
    mutant(
        "settle: after a resolve something is open",
        "transitions",
        "new = replace(new, open=False, triggered=False)",
        "pass",
    ),
    mutant(
        "settle: after a trigger nothing is open",
        "transitions",
        "new = replace(new, open=True, triggered=True)",
        "pass",
    ),
    mutant(
        "settle: whatever was recorded meanwhile",
        "transitions",
        "    if record.status is not sent.status:\n        return new  # something newer waits already\n",
        "",
    ),
    mutant("release: forgets the attempts", "transitions", "open=was_open or attempted or", "open=was_open or"),
    mutant("release: forgets what was before", "transitions", "open=was_open or attempted or", "open=attempted or"),
    mutant(
        "release: what ends goes on failing",
        "transitions",
        "return replace(new, waiting_since=None, failing_since=None)",
        "return new",
    ),
    mutant(
        "release: what ended before its first request waits",
        "transitions",
        "if record.status is Status.RESOLVED and record.waiting and not new.open:",
        "if False:",
    ),
    mutant(
        "reject: what waits is forgotten, whatever it is",
        "transitions",
        "if (record.status, record.at) != (ended.status, ended.at):",
        "if False:",
    ),
    mutant("expiry: what waits expires", "record", "        if record.waiting:\n            return None\n", ""),
    mutant("expiry: an open incident is forgotten", "record", "days = OPEN_DAYS if", "days = 0 if"),
    # --- the table ---
    mutant(
        "put: whoever wrote meanwhile",
        "table",
        'condition, names, values = "#rev = :rev"',
        'condition, names, values = "(#rev = :rev OR #rev <> :rev)"',
    ),
    mutant(
        "put: a record that is there counts as absent",
        "table",
        'f"attribute_not_exists(#{KEY}) OR #{TTL_ATTRIBUTE} <= :now"',
        'f"attribute_not_exists(#{KEY}) OR #{TTL_ATTRIBUTE} > :now"',
    ),
    mutant("put: what boto3 made twice is somebody else's", "table", "or found == new:", "or False:"),
    mutant(
        "read: keys that were left unprocessed are absent",
        "table",
        "                if not request:",
        "                if True:",
    ),
    # --- sending ---
    mutant(
        "send: the claim has no lease",
        "ledger",
        "lease_until=round(deadline * 1000),",
        "lease_until=now,",
    ),
    mutant(
        "send: a copy does not assert the end again",
        "transitions",
        "if record and was_sent and _has_ended_since(record, seen):",
        "if False:",
    ),
    mutant(
        "send: no copy without a record",
        "sender",
        "needs_copy = action is Action.TRIGGER and error.retryable",
        "needs_copy = False",
    ),
    mutant(
        "send: settled by whoever sent",
        "ledger",
        "            if record.owner == claimed.mine.owner:\n                follows",
        "            if True:\n                follows",
    ),
    mutant(
        "send: a 429 holds nobody back",
        "gateway",
        "return _error_of(lambda: self._limiter.push_back(key, now, seconds))",
        "return ()",
    ),
    mutant(
        "send: PagerDuty out of reach suspends nothing",
        "gateway",
        "return _error_of(lambda: self._limiter.suspend(key, now, PROBE_SECONDS))",
        "return ()",
    ),
    mutant(
        "send: a refused key is tried by everybody",
        "gateway",
        "return _error_of(lambda: self._limiter.suspend(key, now, REFUSED_KEY_SECONDS))",
        "return ()",
    ),
    mutant(
        "send: an answered probe resumes nothing",
        "gateway",
        "errors += _error_of(lambda: self._limiter.resume(key, self._clock()))",
        "pass",
    ),
    mutant(
        "send: what was accepted and not recorded is forgotten",
        "sender",
        "errors += self._keep(claim.delivery)",
        "pass",
    ),
    mutant(
        "send: a failure does not pause",
        "ledger",
        "pause_until=now + pause_ms if failed else None,",
        "pause_until=None,",
    ),
    mutant("send: a failed probe resumes the key", "gateway", " and not _is_lost(attempts[-1]):", ":"),
    mutant(
        "send: everything goes where the limiter throttles", "gateway", "if taker is not Taker.CRITICAL:", "if False:"
    ),
    # --- the drainer ---
    mutant(
        "drain: in no order",
        "backlog",
        "return [*by_order[Order.CRITICAL], *turns, *by_order[Order.REPEAT]]",
        "return [*by_order[Order.REPEAT], *turns, *by_order[Order.CRITICAL]]",
    ),
    mutant(
        "drain: what may kill goes with others",
        "backlog",
        "            if (is_suspect and chosen) or not",
        "            if not",
    ),
    mutant("drain: recorded at the end", "drainer", "        self.record_at_once(reports)\n", ""),
    mutant("drain: what cannot be dead-lettered takes each permit", "backlog", "if report.lost:", "if False:"),
    mutant(
        "drain: what cannot be read and not be dead-lettered does not pause",
        "drainer",
        "        if report:\n            backlog.note(taken.place, report)\n",
        "        if report and not taken.record.is_damaged:\n            backlog.note(taken.place, report)\n",
    ),
    mutant(
        "drain: what cannot be read is claimed",
        "ledger",
        '            read(current.body or b"")  # raises before the claim is written\n',
        "",
    ),
    mutant("table: a resolver that hangs is waited for again", "dynamodb", "HANG_SECONDS = 5.0", "HANG_SECONDS = 60.0"),
    mutant(
        "table: an invocation pays twice for a table that hangs", "dynamodb", "OUT_SECONDS = 60.0", "OUT_SECONDS = 0.0"
    ),
    mutant(
        "identity: a change event is like an alert",
        "identity",
        'return f"{_SEPARATOR}{target}{_SEPARATOR}{key}{_SEPARATOR}{occurred}"',
        'return f"{target}{_SEPARATOR}change{_SEPARATOR}{key}{_SEPARATOR}{occurred}"',
    ),
    mutant("drain: triggers and resolves do not alternate", "backlog", "    if alternates:\n", "    if False:\n"),
    mutant(
        "drain: one death puts a page behind a storm",
        "backlog",
        "place.order is not Order.CRITICAL, record.tries",
        "False, record.tries",
    ),
    mutant(
        "drain: what kills goes first, again and again",
        "backlog",
        "return record.tries >= LAST_TRIES, ",
        "return False, ",
    ),
    mutant(
        "drain: what another's probe resumes stays suspended",
        "backlog",
        "min(error.retry_after_seconds, LOOK_SECONDS)",
        "error.retry_after_seconds",
    ),
    mutant("drain: each of many keys sends thirty at a time", "backlog", "in found[: self._batch]:", "in found:"),
    mutant(
        "drain: what is skipped takes a permit, and the probe",
        "backlog",
        "record.is_damaged or self._skips(place, record)]",
        "record.is_damaged]",
    ),
    mutant(
        "drain: a record that cannot be read stops the others",
        "table",
        "except (ValueError, TypeError, KeyError, AttributeError):",
        "except ZeroDivisionError:",
    ),
    mutant(
        "drain: a record that cannot be read waits for ever",
        "backlog",
        "not (record.waiting or record.is_damaged)",
        "not record.waiting",
    ),
    mutant(
        "drain: each of many wake-ups sends thirty at a time",
        "drainer",
        "self.drain(group, deadline, batch=_batch_size(wake_ups))",
        "self.drain(group, deadline)",
    ),
    mutant(
        "drain: a mistake with one key stops the others",
        "drainer",
        "run.errors.append(self.record_exception(error))",
        "raise",
    ),
    mutant("drain: a record that kills is tried for ever", "drainer", "if record.tries >= MAX_TRIES:", "if False:"),
    mutant("drain: ends at once", "drainer", "self.sleep(BELIEVED_MS / 1000 + NAP_SECONDS)", "break"),
    Mutant(
        "drain: what came in a drainer's last second is forgotten",
        [
            (
                "drainer",
                "                return backlog.targets[0].name\n",
                '                return backlog.targets[0].name if backlog.places else ""\n',
            ),
            (
                "drainer",
                "if run.is_replaced or left:",
                "if run.is_replaced or left or self.clock() > run.deadline - RUN_SECONDS:",
            ),
        ],
    ),
    mutant("drain: nobody goes on", "drainer", "self.wake(drained.left, wake_up.handovers + 1)", "pass"),
    mutant(
        "drain: the schedule does not take over",
        "drainer",
        "takes_over=True, batch=batch)",
        "takes_over=False, batch=batch)",
    ),
    mutant(
        "drain: an unknown target's deliveries end at once",
        "drainer",
        "elif now - place.due > (UNREAD_TARGET_SECONDS if targets.is_partial else UNKNOWN_TARGET_SECONDS) * 1000:",
        "elif True:",
    ),
    mutant(
        "drain: a target whose secret was not read counts as gone",
        "drainer",
        "UNREAD_TARGET_SECONDS if targets.is_partial else UNKNOWN_TARGET_SECONDS",
        "UNKNOWN_TARGET_SECONDS",
    ),
    # --- the limiter ---
    mutant(
        "limiter: a drainer keeps nobody waiting",
        "limiter",
        "if taker is Taker.LESSER and window.drain_until > now:",
        "if False:",
    ),
    mutant(
        "limiter: nothing is kept for criticals",
        "rate",
        "permits - min(ceil(permits / _HEAD_ROOM), permits - 1)",
        "permits",
    ),
    mutant(
        "limiter: a permit counts for half a minute",
        "rate",
        "SEGMENTS = WINDOW_MS // SEGMENT_MS + 2",
        "SEGMENTS = WINDOW_MS // SEGMENT_MS // 2",
    ),
    mutant(
        "limiter: a suspended key lets everybody through",
        "limiter",
        "if window.probe_at is not None and window.probe_at > now:",
        "if False:",
    ),
    mutant(
        "gateway: the timeout of a probe puts the next one off further",
        "gateway",
        "failed >= FAILED_ATTEMPTS and not is_probe:",
        "failed >= FAILED_ATTEMPTS:",
    ),
    mutant("gateway: threads race for the last permit of their own", "gateway", "with self.lock:", "if True:"),
    mutant(
        "read: a key is asked for twice",
        "table",
        "identities = list(dict.fromkeys(identities))",
        "identities = list(identities)",
    ),
    mutant(
        "unclaimed: the copy that waits says that nothing is open",
        "ledger",
        "        if self.delivery.was_sent_unclaimed:\n            return True\n",
        "",
    ),
    mutant(
        "unclaimed: a copy that sends nothing is no news",
        "transitions",
        "return reassert(note(record, seen), now",
        "return reassert(record, now",
    ),
    mutant(
        "unclaimed: what a copy waits for is not open",
        "transitions",
        "return replace(new, open=True) if was_sent and new.status is Status.FIRING else new",
        "return new",
    ),
    mutant(
        "unclaimed: a refused key makes dead letters",
        "sender",
        "case failure if blames_routing_key(failure):",
        "case failure if False:",
    ),
    # --- routing ---
    mutant(
        "route: an end said again goes where nothing ever began",
        "publisher",
        "| with_trigger) or found.keys()",
        "| found.keys())",
    ),
    mutant(
        "route: an end is not recorded where only an acknowledge is known",
        "publisher",
        "_without_trigger(targets, found, with_trigger | open_at)",
        "_without_trigger(targets, found, found.keys() | open_at)",
    ),
    mutant(
        "route: what comes back from the queue forgets its other targets",
        "publisher",
        "frozenset(progress.routed_to or (target.name for target in route.targets))",
        "frozenset(target.name for target in route.targets)",
    ),
    mutant(
        "route: a resolve goes where the matchers say",
        "publisher",
        "if where_open := sorted(",
        "if False and sorted(",
    ),
]


def run(mutant: Mutant, timeout: float) -> tuple[str, str]:
    """Return the first unit test and the first proof that fail on a copy with the mutant's edits."""
    with TemporaryDirectory() as folder:
        copy = _copy_project(folder)
        for module, text, replacement in mutant.edits:
            path = _source(copy, module)
            path.write_text(path.read_text().replace(text, replacement))
        first = {TESTED_BY.get(module, module) for module, _, _ in mutant.edits}
        unit = _first_failure(copy, _unit_tests(first), timeout)
        return unit, "" if unit and not PROVES_ALL else _first_failure(copy, PROOFS, timeout)


def _copy_project(folder: str) -> Path:
    copy = Path(folder)
    for name in ("src", "tests", "local", "tools", "events"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def _source(root: Path, module: str) -> Path:
    return next((root / HANDLER).rglob(f"{module}.py"))


def _unit_tests(first: Collection[str] = ()) -> list[str]:
    """Return the files of unit tests, those of the mutated modules first: a mutant mostly dies there."""
    return [f"tests/unit/test_{module}.py" for module in sorted(MODULES, key=lambda module: module not in first)]


def misfits() -> list[str]:
    """Return what is wrong with mutants that no longer fit the source."""
    return [
        f"{mutant.name!r}: {count} times in {module}.py: {text!r}"
        for mutant in MUTANTS
        for module, text, _ in mutant.edits
        if (count := _source(ROOT, module).read_text().count(text)) != 1
    ]


def _first_failure(copy: Path, arguments: Sequence[str], timeout: float | None = None) -> str:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=line", "-p", "no:cacheprovider", *arguments]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return f"(more than {timeout:.0f} s)"
    if done.returncode == 0:
        return ""
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return failed[1].rpartition("::")[2] if failed else f"(exit status {done.returncode})"


def main() -> int:
    """Print the test that notices each mutant; return 1 if a mutant survives or does not fit."""
    if wrong := misfits():
        print("these mutants do not fit the source:", *wrong, sep="\n  ")
        return 1
    started = time.monotonic()
    with TemporaryDirectory() as folder:
        copy = _copy_project(folder)
        if failure := _first_failure(copy, _unit_tests()) or (PROVES_ALL and _first_failure(copy, PROOFS)):
            print(f"without any mutant this test fails: {failure}")
            return 1
    timeout = max(SHORTEST_TIMEOUT_SECONDS, TIMES_THE_SOUND_ONE * (time.monotonic() - started))
    words = [word for word in sys.argv[1:] if word != "--proofs"]
    mutants = [mutant for mutant in MUTANTS if all(word in mutant.name for word in words)]
    width = max(len(mutant.name) for mutant in mutants)
    survivors = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for mutant, (unit, proof) in zip(mutants, pool.map(lambda mutant: run(mutant, timeout), mutants), strict=True):
            survivors += not (unit or proof)
            noticed = "; ".join(part for part in (unit, proof and f"proof: {proof}") if part) or "SURVIVES"
            print(f"{mutant.name:{width}}  {noticed}", flush=True)
    print(f"{len(mutants)} mutants, {survivors} survive")
    return min(survivors, 1)


if __name__ == "__main__":
    sys.exit(main())
