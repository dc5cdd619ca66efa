"""SNS in memory: who subscribes to a topic, and what is published to it."""

from dataclasses import dataclass, field
from typing import Any

from tests.lab.failures import client_error


@dataclass
class FakeSNS:
    """Topics; publishing fails on demand.

    Attributes:
        endpoints: of the subscriptions, by topic; other topics may not be read.
        reads: how often subscriptions were listed.
        published: the messages.
        error: raised by publishing.
    """

    endpoints: dict[str, list[str]] = field(default_factory=dict)
    reads: int = 0
    published: list[dict[str, Any]] = field(default_factory=list)
    error: Exception | None = None

    def list_subscriptions_by_topic(self, *, TopicArn: str, NextToken: str = "") -> dict[str, Any]:
        self.reads += 1
        if TopicArn not in self.endpoints:
            raise client_error("AuthorizationError", "ListSubscriptionsByTopic")
        return {"Subscriptions": [{"Endpoint": endpoint} for endpoint in self.endpoints[TopicArn]]}

    def publish(self, **message: Any) -> None:
        if self.error:
            raise self.error
        assert message["TopicArn"]
        assert message["Subject"].isascii()
        assert 0 < len(message["Subject"]) < 100
        assert message["Message"]
        self.published.append(message)
