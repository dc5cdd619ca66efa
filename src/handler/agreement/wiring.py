"""Which alarms this stack has to page for: those whose ALARM action leads to its function, or all."""

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from handler.agreement.alarm import Alarm
from handler.agreement.aws import pages

if TYPE_CHECKING:
    from mypy_boto3_sns.client import SNSClient

REMEMBERED_SECONDS = 900
"""How long it is remembered whether the function is subscribed to a topic."""


class Scope(StrEnum):
    """Which alarms are compared."""

    WIRED = "wired"
    """Those with an ALARM action to this stack's topic or function, or to a topic the function is subscribed to."""
    ALL = "all"
    """All of the account and region: the stack's rule for CloudWatch alarms is enabled."""


class Wiring:
    """Knows where the ALARM actions of alarms lead.

    Args:
        client: allowed ListSubscriptionsByTopic.
        topic_arn: this stack's topic for alerts.
        function_arn: without a version or alias.
        scope: which alarms count as wired.
        clock: epoch seconds.
    """

    def __init__(
        self, client: "SNSClient", *, topic_arn: str, function_arn: str, scope: Scope, clock: Callable[[], float]
    ) -> None:
        self._client = client
        self._topic_arn = topic_arn
        self._function_arn = function_arn
        self._scope = scope
        self._clock = clock
        self._subscribed: dict[str, tuple[float, bool]] = {}

    def is_wired(self, alarm: Alarm) -> bool:
        """Return whether this stack has to page for an alarm."""
        return self._scope is Scope.ALL or any(map(self._leads_here, alarm.actions))

    def _leads_here(self, action: str) -> bool:
        if action == self._topic_arn or self._is_function(action):
            return True
        return action.split(":")[2:3] == ["sns"] and self._is_subscribed(action)

    def _is_function(self, arn: str) -> bool:
        """Return whether an ARN is of the function, or of a version or alias of it."""
        return arn == self._function_arn or arn.startswith(f"{self._function_arn}:")

    def _is_subscribed(self, topic_arn: str) -> bool:
        """Return whether the function is subscribed to a topic; not to one whose subscriptions cannot be read."""
        until, is_subscribed = self._subscribed.get(topic_arn, (0.0, False))
        if self._clock() < until:
            return is_subscribed
        try:
            is_subscribed = any(
                self._is_function(subscription.get("Endpoint", ""))
                for page in pages(self._client.list_subscriptions_by_topic, TopicArn=topic_arn)
                for subscription in page.get("Subscriptions", [])
            )
        except (ClientError, BotoCoreError):
            is_subscribed = False
        self._subscribed[topic_arn] = (self._clock() + REMEMBERED_SECONDS, is_subscribed)
        return is_subscribed
