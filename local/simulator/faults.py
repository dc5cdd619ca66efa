"""What PagerDuty answers, and how it fails on demand."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from http import HTTPStatus
from http.client import responses
from typing import cast

from local.simulator.schema import Document


@dataclass(frozen=True)
class Answer:
    """An answer of PagerDuty; the HTTP layer carries out its delay, slow body or disconnect.

    Attributes:
        status: the HTTP status; None where the connection is closed without an answer.
        body: an object is sent as JSON, a text as it is.
        delay_seconds: the pause before the answer; the event has been processed by then.
        trickle_seconds: the pause after every byte of the body.
        resets: whether a connection closed without an answer is reset (RST), not ended in order (FIN).
    """

    status: int | None
    body: Document | str = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0
    trickle_seconds: float = 0.0
    resets: bool = False

    @property
    def errors(self) -> tuple[str, ...]:
        """The errors that the body lists."""
        errors = self.body.get("errors") if isinstance(self.body, Mapping) else None
        return tuple(map(str, errors)) if isinstance(errors, list) else ()


def refuse(status: int, *errors: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Refuse an event in PagerDuty's words."""
    match status:
        case HTTPStatus.BAD_REQUEST:
            body: Document = {"status": "invalid event", "message": "Event object is invalid", "errors": [*errors]}
        case HTTPStatus.TOO_MANY_REQUESTS:
            message = "Requests for this service are arriving too quickly. Please retry later."
            body = {"status": "throttle exceeded", "message": message}
        case _:
            reason = responses.get(status, "Unknown status")
            body = {"status": reason.lower(), "message": reason, "errors": [*errors]}
    return Answer(status, body, headers or {})


class FaultKind(StrEnum):
    """What goes wrong."""

    ANSWER = "answer"
    """Nothing: the event is processed and answered, only late or slowly."""
    STATUS = "status"
    """The answer is `status`, and the event is not accepted."""
    ACCEPT_THEN_DROP = "accept_then_drop"
    """The event is processed, and the connection closed without an answer."""
    RESET = "reset"
    """The connection is reset, and the event is not accepted."""
    GARBAGE = "garbage"
    """The answer is `status` (200 unless given) with a body that is not JSON; accepted only if that is 202."""


@dataclass(frozen=True)
class Fault:
    """A rule for which requests fail, and how. A matcher that is None matches all; the first rule that fits wins.

    Attributes:
        action: trigger, acknowledge, resolve or change.
        count: the number of requests that fail; None for all, until the rules are replaced.
        until_at: epoch seconds from which on the rule no longer holds.
        retry_after: the value of `Retry-After`: seconds, or a date.
    """

    kind: FaultKind
    action: str | None = None
    dedup_key: str | None = None
    routing_key: str | None = field(default=None, repr=False)
    count: int | None = 1
    until_at: float | None = None
    status: int | None = None
    body: Document | str | None = None
    retry_after: str | int | None = None
    delay_seconds: float = 0.0
    trickle_seconds: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a rule that cannot be carried out."""
        if self.kind is FaultKind.STATUS and self.status is None:
            raise ValueError("a fault of kind 'status' needs a status")
        if self.kind is FaultKind.GARBAGE and isinstance(self.body, Mapping):
            raise ValueError("the body of a fault of kind 'garbage' is a text")

    @property
    def takes_event_in(self) -> bool:
        """Whether the event is processed in spite of the fault."""
        match self.kind:
            case FaultKind.ANSWER | FaultKind.ACCEPT_THEN_DROP:
                return True
            case FaultKind.GARBAGE:
                return self.status == HTTPStatus.ACCEPTED
            case _:
                return False

    def matches(self, action: str | None, dedup_key: str | None, routing_key: str | None) -> bool:
        """Return whether the rule matches such a request."""
        return all(
            wanted in (None, given)
            for wanted, given in (
                (self.action, action),
                (self.dedup_key, dedup_key),
                (self.routing_key, routing_key),
            )
        )

    def spoil(self, genuine: Answer | None) -> Answer:
        """Return the answer that the sender gets, from the genuine one if the event was processed."""
        match self.kind:
            case FaultKind.RESET | FaultKind.ACCEPT_THEN_DROP:
                answer = Answer(None, resets=self.kind is FaultKind.RESET)
            case FaultKind.GARBAGE:
                answer = Answer(self.status or HTTPStatus.OK, self.body or "<html><body>Please log in</body></html>")
            case FaultKind.STATUS:
                status = cast(int, self.status)
                answer = refuse(status) if self.body is None else Answer(status, self.body)
            case FaultKind.ANSWER:
                answer = cast(Answer, genuine)
        if self.retry_after is not None:
            answer = replace(answer, headers={**answer.headers, "Retry-After": str(self.retry_after)})
        return replace(answer, delay_seconds=self.delay_seconds, trickle_seconds=self.trickle_seconds)
