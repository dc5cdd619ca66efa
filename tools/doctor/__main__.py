"""The command: prints the findings and notes."""

import argparse
from collections.abc import Sequence

from tools.doctor.checks import diagnose
from tools.doctor.gather import gather
from tools.doctor.notes import notes, some_of, stack_line
from tools.stack import FINDING, FINE, STACK_NAME, Connect, Say, connect, find_stack, run, say


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
            say(f"   {some_of(finding.names)}")
        say(f"   fix: {finding.fix}")
        say("")
    for note in notes(facts):
        say(f"note: {note}")
    wired = len(facts.wired)
    say(f"{stack_line(facts)}: {len(facts.alarms)} alarms looked at, {wired} lead here; {len(found)} findings.")
    return FINDING if found else FINE


if __name__ == "__main__":
    run(main)
