"""Incidents, and how events change them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from local.simulator.schema import Document, Event, Payload


def mask(routing_key: str) -> str:
    """Mask a routing key: its first four characters, and a digest that distinguishes keys."""
    digest = hashlib.sha256(routing_key.encode(errors="surrogatepass")).hexdigest()
    return f"{routing_key[:4]}…{digest[:4]}"


class State(StrEnum):
    """The state of an incident."""

    TRIGGERED = "triggered"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


@dataclass(frozen=True)
class TimelineEntry:
    """An event that reached an incident, and whether it changed the incident's state."""

    at: float
    action: str
    changed: bool


@dataclass(frozen=True)
class Incident:
    """An incident as it stands; payload, links, images and client are those of its latest trigger.

    Attributes:
        routing_key: masked.
        opened_at: in epoch seconds.
    """

    number: int
    routing_key: str
    dedup_key: str
    state: State
    severity: str
    summary: str
    source: str
    first_payload: Payload
    payload: Payload
    links: Sequence[Document]
    images: Sequence[Document]
    client: str | None
    client_url: str | None
    opened_at: float
    timeline: tuple[TimelineEntry, ...]

    @classmethod
    def open(cls, event: Event, number: int, dedup_key: str, at: float) -> "Incident":
        """Open an incident on a trigger."""
        payload = event["payload"]
        return cls(
            number=number,
            routing_key=mask(event["routing_key"]),
            dedup_key=dedup_key,
            state=State.TRIGGERED,
            severity=payload["severity"],
            summary=payload["summary"],
            source=payload["source"],
            first_payload=payload,
            payload=payload,
            links=event.get("links", []),
            images=event.get("images", []),
            client=event.get("client"),
            client_url=event.get("client_url"),
            opened_at=at,
            timeline=(TimelineEntry(at, "trigger", changed=True),),
        )

    def take(self, event: Event, at: float) -> "Incident":
        """Apply a later event: a trigger replaces the payload and never changes the state."""
        action = event["event_action"]
        if action == "trigger":
            latest = Incident.open(event, self.number, self.dedup_key, at)
            return replace(
                latest,
                state=self.state,
                first_payload=self.first_payload,
                opened_at=self.opened_at,
                timeline=(*self.timeline, TimelineEntry(at, action, changed=False)),
            )
        state = State.ACKNOWLEDGED if action == "acknowledge" else State.RESOLVED
        return replace(
            self, state=state, timeline=(*self.timeline, TimelineEntry(at, action, changed=state is not self.state))
        )
