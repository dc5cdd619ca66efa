"""The circuit breaker on a real DynamoDB API. Powertools keeps its clock to itself: one test waits a second for it."""

from typing import Any

import pytest

from handler.delivery.circuit import Circuit
from handler.errors import (
    ApiConnectionError,
    ApiTimeoutError,
    CircuitOpenError,
    OutOfTimeError,
    PagerDutyApiError,
    PublishError,
    RateLimitExceededError,
)
from handler.pagerduty.client import Answer
from local.stack import Emulator, await_until

URL = "https://events.pagerduty.com"
ACCEPTED = Answer("key", 1)
OUT_OF_REACH = [PagerDutyApiError(503), ApiTimeoutError("slow"), ApiConnectionError("refused")]
ANSWERED = [PagerDutyApiError(400), PagerDutyApiError(429), RateLimitExceededError(1.0), OutOfTimeError("late")]


@pytest.fixture
def circuit(dynamodb: Any, table_name: str) -> Circuit:
    """A circuit that lets a probe through after a second."""
    return Circuit(dynamodb, table_name, recovery_seconds=1)


@pytest.fixture
def dynamodb(emulator: Emulator, table_name: str) -> Any:
    """The real API alone: the breaker's own persistence is not the fake's to imitate."""
    client = emulator.client("dynamodb")
    client.create_table(
        TableName=table_name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    )
    return client


def fail(circuit: Circuit, url: str, error: PublishError) -> PublishError:
    """Call what fails; give what came out."""

    def send() -> Answer:
        raise error

    with pytest.raises(PublishError) as raised:
        circuit.call(url, send)
    return raised.value


@pytest.mark.parametrize("error", OUT_OF_REACH)
def test_it_opens_when_pagerduty_is_out_of_reach_and_closes_when_it_is_back(
    circuit: Circuit, error: PublishError, table_name: str
) -> None:
    """Errors come out as they went in; open, nothing is sent; one accepted probe closes it."""
    url = f"{URL}/{table_name}"
    assert [fail(circuit, url, error) for _ in range(2)] == [error, error]
    assert isinstance(fail(circuit, url, error), CircuitOpenError)

    def back() -> Answer | None:
        try:
            return circuit.call(url, lambda: ACCEPTED)
        except CircuitOpenError:
            return None

    assert await_until(back, 10, "the circuit to let a probe through") == ACCEPTED
    assert circuit.call(url, lambda: ACCEPTED) == ACCEPTED


@pytest.mark.parametrize("error", ANSWERED)
def test_an_answer_does_not_open_it(circuit: Circuit, error: PublishError, table_name: str) -> None:
    """A refusal, a limit, or an invocation without time says nothing of PagerDuty's health."""
    url = f"{URL}/{table_name}"
    assert [fail(circuit, url, error) for _ in range(5)] == [error] * 5


def test_its_record_goes_away_by_the_tables_ttl(circuit: Circuit, dynamodb: Any, table_name: str) -> None:
    """And one URL's circuit is not another's."""
    url = f"{URL}/{table_name}"
    for _ in range(2):
        fail(circuit, url, OUT_OF_REACH[0])
    (item,) = dynamodb.scan(TableName=table_name)["Items"]
    assert item["id"]["S"] == f"circuit#{url}"
    assert int(item["expires_at"]["N"]) > 0
    assert circuit.call(f"{url}/eu", lambda: ACCEPTED) == ACCEPTED


def test_without_the_table_it_is_closed(dynamodb: Any) -> None:
    """A breaker must not be the outage."""
    assert Circuit(dynamodb, "no-such-table").call(URL, lambda: ACCEPTED) == ACCEPTED
