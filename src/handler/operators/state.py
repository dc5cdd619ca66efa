"""What was reported to operators and what is to be: one small item of the table, and the decision when to publish."""

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from handler.operators.entries import Entry, Kind

INTERVAL_SECONDS = 60
RECOVERY_WITHIN_SECONDS = 600
"""How long the report of accepted alerts is put off while others still wait."""
MAX_ENTRIES = 20
"""The most alerts that one message names; the rest is counted."""
MAX_LATE = 4000
"""The most late alerts that are remembered as reported; more are only counted."""
MAX_LETTERS = 4000
"""The most dead letters that are told apart; while the queue holds more, they are only counted."""
STATE_ID = "##operators#state"
LETTERS_ID = "##operators#letters"
"""No record of a delivery has such an id, whatever a target is called: those have its name before the second `#`."""
_HASH_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Late:
    """A critical alert that was reported as late, by the id of its record; `since` is when it was reported."""

    id: str
    name: str
    since: float


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What was reported, and what is to be reported.

    Attributes:
        rev: raised by one with each write.
        sent_at: when the last message was published, in epoch seconds.
        counts: of each kind, since then.
        entries: the first of them.
        late: hashes of the ids that were reported as late and are so still.
        named: the first of those.
        recovered_at: since when accepted ones have not been reported.
    """

    rev: int = 0
    sent_at: float = 0.0
    counts: Mapping[Kind, int] = field(default_factory=dict)
    entries: tuple[Entry, ...] = ()
    late: frozenset[bytes] = frozenset()
    named: tuple[Late, ...] = ()
    recovered_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What an invocation saw.

    Attributes:
        entries: to report.
        more: how many of each kind beside those.
        late: ids newly reported as late; those of `entries` that can be named.
        ended: hashes of ids that are late no more.
    """

    entries: Sequence[Entry] = ()
    more: Mapping[Kind, int] = field(default_factory=dict)
    late: frozenset[bytes] = frozenset()
    named: Sequence[Late] = ()
    ended: frozenset[bytes] = frozenset()

    @property
    def is_empty(self) -> bool:
        """Whether nothing changed."""
        return not (self.entries or self.late or self.ended or any(self.more.values()))


def hash_of(identity: str) -> bytes:
    """Return what is remembered of a record's id."""
    return hashlib.sha256(identity.encode("utf-8", "surrogatepass")).digest()[:_HASH_BYTES]


def step(state: State, seen: Seen, now: float) -> tuple[State, bool]:
    """Return the state after an invocation, and whether a message is to be published now."""
    counts = {kind: state.counts.get(kind, 0) + seen.more.get(kind, 0) for kind in Kind}
    for entry in seen.entries:
        counts[entry.kind] += 1
    late = (state.late | seen.late) - seen.ended
    recovered_at = (state.recovered_at or now) if counts[Kind.RECOVERED] else 0.0
    merged = State(
        rev=state.rev + 1,
        sent_at=state.sent_at,
        counts=counts,
        entries=(*state.entries, *seen.entries)[:MAX_ENTRIES],
        late=late,
        named=tuple(each for each in (*state.named, *seen.named) if hash_of(each.id) in late)[:MAX_ENTRIES],
        recovered_at=recovered_at,
    )
    is_news = counts[Kind.LATE] + counts[Kind.DEAD_LETTER] > 0
    is_over = counts[Kind.RECOVERED] > 0 and (not late or now - recovered_at >= RECOVERY_WITHIN_SECONDS)
    if (is_news or is_over) and now - state.sent_at >= INTERVAL_SECONDS:
        return replace(merged, sent_at=now), True
    return merged, False


def after_sending(state: State, sent: State) -> State:
    """Return the state without what a message reported; `state` may have grown since."""
    recovered = state.counts.get(Kind.RECOVERED, 0) > sent.counts.get(Kind.RECOVERED, 0)
    return replace(
        state,
        rev=state.rev + 1,
        counts={kind: max(0, state.counts.get(kind, 0) - sent.counts.get(kind, 0)) for kind in Kind},
        entries=state.entries[len(sent.entries) :],
        recovered_at=state.recovered_at if recovered else 0.0,
    )


def dump(state: State) -> dict[str, Any]:
    """Return the state as an item of the table."""
    content = {
        "sent_at": state.sent_at,
        "counts": {str(kind): count for kind, count in state.counts.items()},
        "entries": [asdict(entry) for entry in state.entries],
        "named": [asdict(each) for each in state.named],
        "recovered_at": state.recovered_at,
    }
    return {
        "id": {"S": STATE_ID},
        "rev": {"N": str(state.rev)},
        "content": {"B": zlib.compress(json.dumps(content, separators=(",", ":")).encode())},
        "late": {"B": b"".join(sorted(state.late))},
    }


def load(item: Mapping[str, Any] | None) -> State:
    """Return the state that an item holds; empty if it is absent or damaged."""
    if item is None:
        return State()
    rev = int(item["rev"]["N"])
    try:
        content = json.loads(zlib.decompress(bytes(item["content"]["B"])))
        return State(
            rev=rev,
            sent_at=content["sent_at"],
            counts={Kind(kind): count for kind, count in content["counts"].items()},
            entries=tuple(Entry(**{**entry, "kind": Kind(entry["kind"])}) for entry in content["entries"]),
            late=frozenset(_hashes_in(item, "late")),
            named=tuple(Late(**each) for each in content["named"]),
            recovered_at=content["recovered_at"],
        )
    except (KeyError, ValueError, TypeError, zlib.error):
        return State(rev=rev)


@dataclass(frozen=True, slots=True, kw_only=True)
class Letters:
    """Which dead letters were reported.

    Attributes:
        hashes: of the ids of those reported, the oldest first.
        count: how many were read.
        read_at: when it was read, in epoch seconds.
    """

    hashes: tuple[bytes, ...] = ()
    count: int = 0
    read_at: float = 0.0


def dump_letters(letters: Letters) -> dict[str, Any]:
    """Return it as an item of the table."""
    return {
        "id": {"S": LETTERS_ID},
        "count": {"N": str(letters.count)},
        "read_at": {"N": str(round(letters.read_at))},
        "hashes": {"B": b"".join(letters.hashes)},
    }


def load_letters(item: Mapping[str, Any] | None) -> Letters:
    """Return which dead letters an item says were reported; none if it is absent."""
    if item is None:
        return Letters()
    return Letters(hashes=_hashes_in(item), count=int(item["count"]["N"]), read_at=float(item["read_at"]["N"]))


def _hashes_in(item: Mapping[str, Any], name: str = "hashes") -> tuple[bytes, ...]:
    joined = bytes(item[name]["B"])
    return tuple(joined[i : i + _HASH_BYTES] for i in range(0, len(joined), _HASH_BYTES))
