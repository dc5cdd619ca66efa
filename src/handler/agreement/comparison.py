"""Runs the comparison within an invocation; what only it needs is imported and made on first use."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from handler.errors import PublishError
from handler.targets.secrets import Targets

if TYPE_CHECKING:
    from handler.agreement.agreement import Agreement, Disagreement

PUBLISHING_SECONDS = 15.0
"""The time kept for publishing the last page of alarms."""


class Comparison:
    """Runs one `Agreement` for an execution environment: with the targets of now, and time left to publish.

    Args:
        make_agreement: called once, on first use, with the function's ARN.
        report: called with one sentence about what could not be read.
    """

    def __init__(
        self, make_agreement: "Callable[[str], Agreement]", *, targets: Targets, report: Callable[[str], None]
    ) -> None:
        self._make_agreement = make_agreement
        self._targets = targets
        self._report = report
        self._agreement: Agreement | None = None

    def run(self, function_arn: str, deadline: float) -> "Iterator[Disagreement]":
        """Yield each alarm on which CloudWatch and the records disagree, to be published before the next is asked for.

        `deadline` is when the invocation must have ended, in epoch seconds. Never raises for what AWS does.
        """
        from handler.agreement.routing import Routing

        try:
            routing = Routing(self._targets.read())
        except PublishError as error:
            self._report(f"alarms and records could not be compared: {error}")
            return
        self._agreement = self._agreement or self._make_agreement(function_arn)
        for page in self._agreement.run(routing, deadline - PUBLISHING_SECONDS):
            yield from page
