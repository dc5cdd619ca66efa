"""What the messages of this stack's own retry queue say beside an alert. Nobody else's messages are read as these."""

from pydantic import BaseModel, Field

from handler.validation import Instant


class Progress(BaseModel):
    """What a message says of its delivery.

    Attributes:
        target: the target's name; empty where the alert has not been given one yet.
        message_id: of the message that the alert first came in.
        waiting_since: when it was first put on the queue.
        failures: how often it was put there.
        was_sent_unclaimed: PagerDuty was sent it while the table was out; the record has to be told.
        start: of a message with very many alerts, the first one that has not been delivered.
    """

    target: str = ""
    message_id: str = ""
    waiting_since: Instant = None
    failures: int = Field(0, ge=0)
    was_sent_unclaimed: bool = False
    start: int = Field(0, ge=0)


class WakeUp(BaseModel):
    """What starts a drainer.

    Attributes:
        target: for the routing key of this target; empty for all that waits.
        handovers: how many drainers in a row have handed over to each other.
    """

    drain: bool = True
    target: str = ""
    handovers: int = Field(0, ge=0)
