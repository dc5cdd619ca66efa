"""What messages on this stack's own retry queue say beside the alert. Other messages are never read as these."""

from pydantic import BaseModel, Field

from handler.validation import Instant


class Progress(BaseModel):
    """The state of a delivery on the retry queue.

    Attributes:
        target: the target's name; empty if the alert has no target yet.
        message_id: of the message that the alert first came in.
        waiting_since: when it was first put on the queue.
        failures: how often it was put there.
        was_sent_unclaimed: it was sent without a claim while the table was out; the record needs an update.
        start: of a message with very many alerts, the first one that has not been delivered.
    """

    target: str = ""
    message_id: str = ""
    waiting_since: Instant = None
    failures: int = Field(0, ge=0)
    was_sent_unclaimed: bool = False
    start: int = Field(0, ge=0)


class WakeUp(BaseModel):
    """The message that starts a drainer.

    Attributes:
        target: drain the routing key of this target; empty to drain everything.
        handovers: how many drainers in a row have handed over to each other.
    """

    drain: bool = True
    target: str = ""
    handovers: int = Field(0, ge=0)
