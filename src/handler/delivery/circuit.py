"""A circuit breaker around PagerDuty: while it is out of reach, nobody waits for its timeouts to learn that again.

Powertools' own, with its state in the dedup table, shared by all executions. It opens after failures of whole
deliveries, lets one probe through after `RECOVERY_SECONDS`, and closes when that is accepted.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from aws_lambda_powertools.utilities.circuit_breaker import (
    CircuitBreakerConfig,
    CircuitBreakerOpenError,
    circuit_breaker,
)
from aws_lambda_powertools.utilities.circuit_breaker.persistence import CircuitBreakerDynamoDBPersistence

from handler.delivery.dynamodb import KEY, TTL_ATTRIBUTE
from handler.errors import ApiConnectionError, ApiTimeoutError, CircuitOpenError, PagerDutyServerError
from handler.pagerduty.client import Answer

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

FAILURE_THRESHOLD = 2
"""Deliveries in a row that failed with all their retries, in one execution environment."""
RECOVERY_SECONDS = 30
CACHED_SECONDS = 30
"""How long an execution environment trusts what it read of the circuit: at most one read in that time."""


OUT_OF_REACH = (PagerDutyServerError, ApiTimeoutError, ApiConnectionError)
"""What the circuit counts. A refusal, or a limit, is an answer."""


class Circuit:
    """Guards calls of PagerDuty.

    Args:
        client: a DynamoDB client.
        table: the table's name.
        recovery_seconds: how long the circuit stays open before one probe is let through.
    """

    def __init__(self, client: "DynamoDBClient", table: str, *, recovery_seconds: int = RECOVERY_SECONDS) -> None:
        self._store = CircuitBreakerDynamoDBPersistence(
            table_name=table, key_attr=KEY, expiry_attr=TTL_ATTRIBUTE, boto3_client=client
        )
        self._config = CircuitBreakerConfig(
            failure_threshold=FAILURE_THRESHOLD,
            recovery_timeout=recovery_seconds,
            success_threshold=1,
            handled_exceptions=OUT_OF_REACH,
            local_cache_max_age=min(CACHED_SECONDS, recovery_seconds),
        )

    def call(self, url: str, send: Callable[[], Answer]) -> Answer:
        """Send, unless the circuit of that URL is open.

        Raises:
            CircuitOpenError: it is; nothing was sent.
            PublishError: what sending raised.
        """
        guarded = circuit_breaker(name=f"circuit#{url}", persistence_store=self._store, config=self._config)(send)
        try:
            answer: Answer = guarded()
        except CircuitBreakerOpenError:
            raise CircuitOpenError(
                "PagerDuty is out of reach, and is left alone for a while; nothing was sent"
            ) from None
        return answer
