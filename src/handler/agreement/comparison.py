"""Runs the comparison within an invocation."""

from collections.abc import Callable, Iterator

from handler.agreement.agreement import Agreement, Disagreement
from handler.agreement.routing import Routing
from handler.errors import PublishError
from handler.targets.secrets import Targets

PUBLISHING_SECONDS = 15.0
"""The time kept for publishing the last page of alarms."""


class Comparison:
    """Runs one `Agreement` for an execution environment: with the targets of now, and time left to publish.

    Args:
        report: called with one sentence about what could not be read.
    """

    def __init__(self, agreement: Agreement, *, targets: Targets, report: Callable[[str], None]) -> None:
        self._agreement = agreement
        self._targets = targets
        self._report = report

    def run(self, deadline: float) -> Iterator[Disagreement]:
        """Yield each alarm on which CloudWatch and the records disagree, to be published before the next is asked for.

        `deadline` is when the invocation must have ended, in epoch seconds. Never raises for what AWS does.
        """
        try:
            routing = Routing(self._targets.read())
        except PublishError as error:
            self._report(f"alarms and records could not be compared: {error}")
            return
        for page in self._agreement.run(routing, deadline - PUBLISHING_SECONDS):
            yield from page
