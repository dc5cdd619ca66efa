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

from handler.client import Answer
from handler.dynamodb import KEY, TTL_ATTRIBUTE
from handler.errors import (
    ApiConnectionError,
    ApiTimeoutError,
    CircuitOpenError,
    PagerDutyApiError,
    PublishError,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

FAILURE_THRESHOLD = 2
"""Deliveries in a row that failed with all their retries, in one execution environment."""
RECOVERY_SECONDS = 30
CACHED_SECONDS = 30
"""How long an execution environment trusts what it read of the circuit: at most one read in that time."""


class _OutOfReachError(Exception):
    """PagerDuty did not answer, or answered 5xx: what the circuit counts."""

    def __init__(self, error: PublishError) -> None:
        super().__init__(str(error))
        self.error = error


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
            handled_exceptions=_OutOfReachError,
            local_cache_max_age=min(CACHED_SECONDS, recovery_seconds),
        )

    def call(self, url: str, send: Callable[[], Answer]) -> Answer:
        """Send, unless the circuit of that URL is open.

        Raises:
            CircuitOpenError: it is; nothing was sent.
            PublishError: what sending raised.
        """

        def counted() -> Answer:
            try:
                return send()
            except PublishError as error:
                if _is_out_of_reach(error):
                    raise _OutOfReachError(error) from error
                raise

        guarded = circuit_breaker(name=f"circuit#{url}", persistence_store=self._store, config=self._config)(counted)
        try:
            answer: Answer = guarded()
        except _OutOfReachError as out_of_reach:
            raise out_of_reach.error from None
        except CircuitBreakerOpenError:
            raise CircuitOpenError(
                "PagerDuty is out of reach, and is left alone for a while; nothing was sent"
            ) from None
        return answer


def _is_out_of_reach(error: PublishError) -> bool:
    """Whether it is PagerDuty that fails: a refusal, or a limit, is an answer."""
    if isinstance(error, PagerDutyApiError):
        return error.status_code >= 500
    return isinstance(error, ApiTimeoutError | ApiConnectionError)
