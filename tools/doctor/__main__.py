"""Prints the findings and notes: the command itself."""

import argparse
from collections.abc import Iterator, Sequence
from shlex import quote

from tools.doctor.checks import diagnose
from tools.doctor.facts import Facts, names_of
from tools.doctor.gather import gather
from tools.stack import FINDING, FINE, STACK_NAME, Connect, Say, connect, find_stack, one_line, run, say

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
        yield f"{len(facts.others)} alarms lead to others, and not to this stack: {_some(names_of(facts.others))}"
    for name in sorted(facts.siblings.values()):
        yield f"stack {name} is a publisher too, and looks at its own alarms: make doctor STACK={quote(name)}"
    for skipped in facts.skipped:
        yield f"not checked: {skipped}"


def _some(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    rest = len(names) - MAX_NAMED
    shown = ", ".join(one_line(name, 80) for name in names[:MAX_NAMED])
    return f"{shown} and {rest} more" if rest > 0 else shown


def main(arguments: Sequence[str], connect: Connect = connect, say: Say = say) -> int:
    """Print the problems of a stack; return the exit status."""
    parser = argparse.ArgumentParser("doctor", description="what would keep an alarm from paging; changes nothing")
    parser.add_argument("--stack", default=STACK_NAME, help="the CloudFormation stack (default: %(default)s)")
    parser.add_argument("--alarms", default="", help="only alarms whose names begin like this, in a shared account")
    given = parser.parse_args(arguments)
    facts = gather(connect, find_stack(connect, given.stack), given.alarms)
    found = diagnose(facts)
    for number, finding in enumerate(found, 1):
        say(f"{number}. {finding.what}")
        if finding.names:
            say(f"   {_some(finding.names)}")
        say(f"   fix: {finding.fix}")
        say("")
    for note in notes(facts):
        say(f"note: {note}")
    wired = len(facts.wired)
    say(f"{stack_line(facts)}: {len(facts.alarms)} alarms looked at, {wired} lead here; {len(found)} findings.")
    return FINDING if found else FINE


def stack_line(facts: Facts) -> str:
    """Return which stack this is."""
    version = f" {facts.stack.version}" if facts.stack.version else ""
    return f"{facts.stack.name}{version} in {facts.stack.account}, {facts.stack.region}"


if __name__ == "__main__":
    run(main)
