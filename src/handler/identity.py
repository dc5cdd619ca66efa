"""The keys of records: `<target>#<dedup key>`, and `#<target>#<dedup key>#<time>` of a change event.

The name of a target is never empty and has no `#`, so the two kinds differ, whatever is in a dedup key.
"""

from collections.abc import Iterable

_SEPARATOR = "#"


def identity_of(target: str, key: str) -> str:
    """Return the identity of an alert at a target."""
    return f"{target}{_SEPARATOR}{key}"


def identities_of(targets: Iterable[str], key: str) -> list[str]:
    """Return the identities of one alert at these targets."""
    return [identity_of(target, key) for target in targets]


def identity_of_change(target: str, key: str, occurred: int) -> str:
    """Return the identity of a change event, one for each occurrence (epoch milliseconds)."""
    return f"{_SEPARATOR}{target}{_SEPARATOR}{key}{_SEPARATOR}{occurred}"


def is_of_change(identity: str) -> bool:
    """Return whether an identity is of a change event."""
    return identity.startswith(_SEPARATOR)


def target_of(identity: str) -> str:
    """Return the target's name."""
    return identity.removeprefix(_SEPARATOR).partition(_SEPARATOR)[0]


def key_of(identity: str) -> str:
    """Return the dedup key."""
    key = identity.removeprefix(_SEPARATOR).partition(_SEPARATOR)[2]
    return key.rpartition(_SEPARATOR)[0] if is_of_change(identity) else key
