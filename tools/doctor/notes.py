"""What doctor says besides its findings: notes, and which names and stack it is about."""

from collections.abc import Iterator, Sequence
from shlex import quote

from tools.doctor.facts import Facts, names_of
from tools.stack import one_line

MAX_NAMED = 10
"""How many alarms a finding names; the rest are counted."""


def notes(facts: Facts) -> Iterator[str]:
    """Yield notes: what may be intended, and what could not be read."""
    if facts.operator_topic and facts.topics.get(facts.operator_topic) == []:
        yield (
            "nobody subscribes to the operators' topic: aws sns subscribe --topic-arn "
            f"{facts.operator_topic} --protocol email --notification-endpoint you@example.com"
        )
    if facts.prefix and not facts.alarms:
        yield f"no alarm's name begins with {facts.prefix}"
    if facts.others:
        yield f"{len(facts.others)} alarms lead to others, and not to this stack: {some_of(names_of(facts.others))}"
    for name in sorted(facts.siblings.values()):
        yield f"stack {name} is a publisher too, and looks at its own alarms: make doctor STACK={quote(name)}"
    for skipped in facts.skipped:
        yield f"not checked: {skipped}"


def some_of(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    rest = len(names) - MAX_NAMED
    shown = ", ".join(one_line(name, 80) for name in names[:MAX_NAMED])
    return f"{shown} and {rest} more" if rest > 0 else shown


def stack_line(facts: Facts) -> str:
    """Return which stack this is."""
    version = f" {facts.stack.version}" if facts.stack.version else ""
    return f"{facts.stack.name}{version} in {facts.stack.account}, {facts.stack.region}"
