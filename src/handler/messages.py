"""What messages on this stack's own retry queue say beside the alert. Other messages are never read as these."""

from collections.abc import Collection

from pydantic import BaseModel, Field

from handler.validation import Instant


class Progress(BaseModel):
    """The state of a delivery on the retry queue.

    Attributes:
        target: the target's name; empty if the alert has no target yet.
        routed_to: the names of all targets that it went to, so that its end finds them in one's record.
        message_id: of the message that the alert first came in.
        waiting_since: when it was first put on the queue.
        failures: how often it was put there.
        was_sent_unclaimed: it was sent without a claim while the table was out; the record needs an update.
        start: of a message with very many alerts, the first one that has not been delivered.
    """

    target: str = ""
    routed_to: tuple[str, ...] = ()
    message_id: str = ""
    waiting_since: Instant = None
    failures: int = Field(0, ge=0)
    was_sent_unclaimed: bool = False
    start: int = Field(0, ge=0)

    def bound(self, target: str, routed_to: Collection[str]) -> "Progress":
        """Return the state of the delivery to one target, of all that the alert went to."""
        names = tuple(sorted(routed_to)) if len(routed_to) > 1 else ()
        return self.model_copy(update={"target": target, "routed_to": names})


class WakeUp(BaseModel):
    """The message that starts a drainer.

    Attributes:
        target: drain the routing key of this target; empty to drain everything.
        handovers: how many drainers in a row have handed over to each other.
    """

    drain: bool = True
    target: str = ""
    handovers: int = Field(0, ge=0)
