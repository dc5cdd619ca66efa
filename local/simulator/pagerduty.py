"""PagerDuty as a sender sees it: events in, answers out, incidents in between.

It uses no socket and no clock of its own; an answer says what happens to the connection, and `server` does it.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from threading import Lock
from typing import cast
from uuid import uuid4

from local.simulator import schema
from local.simulator.faults import (
    Answer,
    Fault,
    FaultKind,
    refuse,
)
from local.simulator.incidents import Incident, State, mask
from local.simulator.schema import (
    Document,
    Event,
    EventKind,
    Payload,
)

ENDPOINTS: Mapping[str, EventKind] = {"/v2/enqueue": schema.ALERT, "/v2/change/enqueue": schema.CHANGE}
# The limit is one of a rolling minute: https://developer.pagerduty.com/docs/events-api-v2-overview
WINDOW_SECONDS = 60.0
CHANGE_ACTION = "change"
_UNRECOGNIZED: Document = {
    "status": "Unrecognized object",
    "message": "Event object format is unrecognized",
    "errors": ["JSON parse error"],
}


@dataclass(frozen=True)
class RateLimit:
    """The requests that one routing key may make in any rolling window.

    Attributes:
        count_refused: whether requests answered 429 use up the quota as well.
        retry_after_seconds: the `Retry-After` of a 429; None for none.
    """

    requests: int
    window_seconds: float = WINDOW_SECONDS
    count_refused: bool = False
    retry_after_seconds: int | None = None


@dataclass(frozen=True)
class Change:
    """A change event that was accepted.

    Attributes:
        at: in epoch seconds.
        routing_key: masked.
    """

    at: float
    routing_key: str
    summary: str
    payload: Payload
    links: Sequence[Document]
    images: Sequence[Document]

    @classmethod
    def of(cls, event: Event, at: float) -> "Change":
        """Record a valid change event."""
        payload = event["payload"]
        links, images = event.get("links", []), event.get("images", [])
        return cls(at, mask(event["routing_key"]), payload["summary"], payload, links, images)


@dataclass(frozen=True)
class Dropped:
    """An acknowledge or a resolve that was answered 202 and met no open incident.

    Attributes:
        at: in epoch seconds.
        routing_key: masked.
    """

    at: float
    routing_key: str
    action: str
    dedup_key: str


@dataclass(frozen=True)
class Request:
    """A request and its answer.

    Attributes:
        at: in epoch seconds.
        routing_key: masked.
        status: the HTTP status; None if there was no answer.
        accepted: whether the event was accepted, whatever the answer was.
    """

    at: float
    method: str
    path: str
    routing_key: str | None
    action: str | None
    dedup_key: str | None
    status: int | None
    accepted: bool
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    fault: FaultKind | None


@dataclass(frozen=True)
class DeadLetter:
    """A dead letter of the sender, which the simulator only shows.

    Attributes:
        at: when it was dead-lettered.
        kind: of its error.
        name: of the alert, or what it is instead.
    """

    at: float
    kind: str
    name: str
    error: str


@dataclass(frozen=True)
class Snapshot:
    """Everything that was recorded, at one instant."""

    incidents: tuple[Incident, ...]
    changes: tuple[Change, ...]
    requests: tuple[Request, ...]
    dropped: tuple[Dropped, ...]
    peak: Mapping[str, int]


class PagerDuty:
    """A PagerDuty account in memory, safe to use from many threads."""

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        limit: RateLimit | None = None,
        known_keys: Iterable[str] | None = None,
        new_dedup_key: Callable[[], str] = lambda: uuid4().hex,
    ) -> None:
        """Start with no incident.

        Args:
            clock: epoch seconds.
            limit: of every routing key; None for no limit.
            known_keys: the routing keys that exist; None for every well-formed one.
            new_dedup_key: makes the dedup key of a trigger that has none.
        """
        self._clock = clock
        self._new_dedup_key = new_dedup_key
        self._lock = Lock()
        self._initial = limit, None if known_keys is None else frozenset(known_keys)
        self.reset()

    def reset(self) -> None:
        """Forget all events and faults, and go back to the limit and the keys given at the start."""
        with self._lock:
            self._limit, self._known_keys = self._initial
            self._faults: list[_ArmedFault] = []
            self._counted: defaultdict[str, deque[float]] = defaultdict(deque)
            self._incidents: list[Incident] = []
            self._latest: dict[tuple[str, str], int] = {}
            self._changes: list[Change] = []
            self._requests: list[Request] = []
            self._dropped: list[Dropped] = []
            self._dead_letters: tuple[DeadLetter, ...] | None = None

    def show_dead_letters(self, letters: Iterable[DeadLetter]) -> None:
        """Replace the sender's dead letters, which the page shows from now on."""
        with self._lock:
            self._dead_letters = tuple(letters)

    @property
    def dead_letters(self) -> tuple[DeadLetter, ...] | None:
        """The sender's dead letters; None if they were never read."""
        with self._lock:
            return self._dead_letters

    def set_limit(self, limit: RateLimit | None) -> None:
        """Replace the rate limit; the new one starts with nothing counted."""
        with self._lock:
            self._limit = limit
            self._counted.clear()

    def set_known_keys(self, keys: Iterable[str] | None) -> None:
        """Replace the routing keys that exist; with None, every well-formed one does."""
        with self._lock:
            self._known_keys = None if keys is None else frozenset(keys)

    def set_faults(self, *faults: Fault) -> None:
        """Replace the rules for failing; without any, nothing fails."""
        with self._lock:
            self._faults = [_ArmedFault(fault, fault.count) for fault in faults]

    def resolve_by_hand(self, dedup_key: str) -> None:
        """Let a person resolve the open incidents of a dedup key."""
        with self._lock:
            for number, incident in enumerate(self._incidents):
                if incident.dedup_key == dedup_key and incident.state is not State.RESOLVED:
                    self._incidents[number] = replace(incident, state=State.RESOLVED)

    @property
    def incidents(self) -> tuple[Incident, ...]:
        """All incidents, in the order of their opening."""
        with self._lock:
            return tuple(self._incidents)

    @property
    def changes(self) -> tuple[Change, ...]:
        """All change events."""
        with self._lock:
            return tuple(self._changes)

    @property
    def requests(self) -> tuple[Request, ...]:
        """All requests, answered or not."""
        with self._lock:
            return tuple(self._requests)

    @property
    def dropped(self) -> tuple[Dropped, ...]:
        """The acknowledges and resolves that met no open incident."""
        with self._lock:
            return tuple(self._dropped)

    @property
    def peak(self) -> Mapping[str, int]:
        """The most requests, refused ones included, in any rolling window of the limit (a minute without one)."""
        with self._lock:
            return self._peak()

    def snapshot(self) -> Snapshot:
        """Return all of the above as of one instant."""
        with self._lock:
            return Snapshot(
                incidents=tuple(self._incidents),
                changes=tuple(self._changes),
                requests=tuple(self._requests),
                dropped=tuple(self._dropped),
                peak=self._peak(),
            )

    def handle(self, method: str, path: str, body: bytes) -> Answer:
        """Process a request and return its answer."""
        with self._lock:
            received = _Received.read(self._clock(), method, path, body)
            fault = self._next_fault(received)
            genuine = self._process(received) if fault is None or fault.takes_event_in else None
            answer = fault.spoil(genuine) if fault is not None else cast(Answer, genuine)
            self._record(received, genuine, answer, fault)
            return answer

    def _next_fault(self, received: "_Received") -> Fault | None:
        if not received.is_for_events:
            return None
        for armed in self._faults:
            if armed.holds(received):
                if armed.remaining is not None:
                    armed.remaining -= 1
                return armed.fault
        return None

    def _process(self, received: "_Received") -> Answer:
        if received.refusal is not None:
            return received.refusal
        if not self._has_permit(received):
            wait = None if self._limit is None else self._limit.retry_after_seconds
            return refuse(HTTPStatus.TOO_MANY_REQUESTS, headers={} if wait is None else {"Retry-After": str(wait)})
        if errors := ENDPOINTS[received.path].errors(received.document):
            return refuse(HTTPStatus.BAD_REQUEST, *errors)
        if self._known_keys is not None and received.routing_key not in self._known_keys:
            return refuse(HTTPStatus.BAD_REQUEST, "Invalid routing key")

        event = cast(Event, received.document)
        success: Document = {"status": "success", "message": "Event processed"}
        if received.action == CHANGE_ACTION:
            self._changes.append(Change.of(event, received.at))
            return Answer(HTTPStatus.ACCEPTED, success)
        dedup_key = event.get("dedup_key") or self._new_dedup_key()
        self._advance(event, dedup_key, received.at)
        return Answer(HTTPStatus.ACCEPTED, {**success, "dedup_key": dedup_key})

    def _has_permit(self, received: "_Received") -> bool:
        limit, key = self._limit, received.routing_key
        if limit is None or key is None:
            return True
        counted = self._counted[key]
        _forget_before(counted, received.at - limit.window_seconds)
        granted = len(counted) < limit.requests
        if granted or limit.count_refused:
            counted.append(received.at)
        return granted

    def _advance(self, event: Event, dedup_key: str, at: float) -> None:
        identity = event["routing_key"], dedup_key
        latest = self._latest.get(identity)
        if latest is not None and self._incidents[latest].state is not State.RESOLVED:
            self._incidents[latest] = self._incidents[latest].take(event, at)
        elif event["event_action"] == "trigger":
            self._latest[identity] = len(self._incidents)
            self._incidents.append(Incident.open(event, len(self._incidents) + 1, dedup_key, at))
        else:
            self._dropped.append(Dropped(at, mask(event["routing_key"]), event["event_action"], dedup_key))

    def _record(self, received: "_Received", genuine: Answer | None, answer: Answer, fault: Fault | None) -> None:
        accepted = genuine is not None and genuine.status == HTTPStatus.ACCEPTED
        key = received.routing_key
        made_key = genuine.body.get("dedup_key") if genuine and isinstance(genuine.body, Mapping) else None
        self._requests.append(
            Request(
                at=received.at,
                method=received.method,
                path=received.path,
                routing_key=None if key is None else mask(key),
                action=received.action,
                dedup_key=received.dedup_key or _text(made_key),
                status=answer.status,
                accepted=accepted,
                errors=(genuine or answer).errors,
                warnings=ENDPOINTS[received.path].warnings(received.document) if accepted else (),
                fault=None if fault is None else fault.kind,
            )
        )

    def _peak(self) -> Mapping[str, int]:
        seconds = WINDOW_SECONDS if self._limit is None else self._limit.window_seconds
        windows: defaultdict[str, deque[float]] = defaultdict(deque)
        peak: dict[str, int] = {}
        for request in self._requests:
            if (key := request.routing_key) is not None:
                windows[key].append(request.at)
                _forget_before(windows[key], request.at - seconds)
                peak[key] = max(peak.get(key, 0), len(windows[key]))
        return peak


@dataclass(frozen=True)
class _Received:
    """A request as far as it could be parsed; only its shape is known to be valid."""

    at: float
    method: str
    path: str
    document: Document
    refusal: Answer | None

    @classmethod
    def read(cls, at: float, method: str, path: str, body: bytes) -> "_Received":
        document: Document = {}
        refusal = None
        if path not in ENDPOINTS:
            refusal = refuse(HTTPStatus.NOT_FOUND)
        elif method != "POST":
            refusal = refuse(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "POST"})
        elif len(body) > schema.MAX_EVENT_BYTES:
            refusal = refuse(HTTPStatus.BAD_REQUEST, f"Event is too large (maximum is {schema.MAX_EVENT_BYTES} bytes)")
        else:
            try:
                document = schema.parse(body)
            except ValueError:
                refusal = Answer(HTTPStatus.BAD_REQUEST, _UNRECOGNIZED)
        return cls(at, method, path, document, refusal)

    @property
    def is_for_events(self) -> bool:
        return self.path in ENDPOINTS and self.method == "POST"

    @property
    def routing_key(self) -> str | None:
        return _text(self.document.get("routing_key"))

    @property
    def action(self) -> str | None:
        is_change = ENDPOINTS.get(self.path) is schema.CHANGE
        return CHANGE_ACTION if is_change else _text(self.document.get("event_action"))

    @property
    def dedup_key(self) -> str | None:
        return _text(self.document.get("dedup_key"))


@dataclass
class _ArmedFault:
    """A rule, and how many more requests it is for."""

    fault: Fault
    remaining: int | None

    def holds(self, received: _Received) -> bool:
        fault = self.fault
        if self.remaining == 0 or (fault.until_at is not None and received.at >= fault.until_at):
            return False
        return fault.matches(received.action, received.dedup_key, received.routing_key)


def _forget_before(instants: deque[float], start: float) -> None:
    """Keep what lies inside a window that ends now; its start is excluded."""
    while instants and instants[0] <= start:
        instants.popleft()


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
