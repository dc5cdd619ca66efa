"""Alertmanager's own tables for PagerDuty, held against this publisher; where it means to differ, the test says why."""

import hashlib
import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import urllib3

from handler.alert import Image, Link
from handler.errors import PagerDutyApiError
from handler.mapping import dedup_key_of, event_of
from handler.pagerduty.client import PagerDutyClient
from handler.pagerduty.events import MAX_DEDUP_KEY_CHARACTERS, encode
from handler.pagerduty.severity import Severity
from handler.pagerduty.text import truncate, truncate_bytes
from tests.lab.alerts import AN_ALERT, shown

TABLES: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "alertmanager.json").read_text())
KEY = "0123456789abcdef0123456789abcdef"


class Wire(urllib3.PoolManager):
    """A pool whose every answer is the same."""

    def __init__(self, status: int, body: str | None) -> None:
        super().__init__()
        self.answer = status, (body or "").encode()
        self.requests = 0

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> urllib3.BaseHTTPResponse:
        """Answer without a network."""
        self.requests += 1
        status, body = self.answer
        return urllib3.HTTPResponse(BytesIO(body), status=status, preload_content=False)


def refusal(status: int, body: str | None = None, *, max_retries: int = 0) -> tuple[PagerDutyApiError, Wire]:
    wire = Wire(status, body)
    client = PagerDutyClient(pool=wire, max_retries=max_retries, sleep=lambda _: None)
    with pytest.raises(PagerDutyApiError) as refused:
        client.resolve_event(KEY, "checkout")
    return refused.value, wire


def test_the_tables_name_their_source_and_licence() -> None:
    assert "prometheus/alertmanager" in TABLES["source"]
    assert TABLES["license"] == "Apache-2.0"


@pytest.mark.parametrize(
    ("status", "is_retried"), [(int(status), retried) for status, retried in TABLES["retried_by_status"].items()]
)
def test_the_same_statuses_are_worth_a_retry(status: int, is_retried: bool) -> None:
    assert PagerDutyApiError(status).retryable is is_retried


@pytest.mark.parametrize("status", [200, 201, 203, 204, 206, 302])
def test_only_202_is_success(status: int) -> None:
    """Alertmanager takes any 2xx; PagerDuty documents 202 alone, and a page that nobody took in must not count."""
    error, wire = refusal(status, max_retries=3)

    assert (error.status_code, error.retryable, wire.requests) == (status, False, 1)


@pytest.mark.parametrize(("status", "requests"), [(400, 1), (403, 1), (429, 1), (500, 4), (503, 4)])
def test_a_429_is_worth_a_retry_but_not_within_the_invocation(status: int, requests: int) -> None:
    """Alertmanager sleeps on a 429. Here the delivery is deferred, so that the retry queue does the waiting."""
    _, wire = refusal(status, max_retries=3)

    assert wire.requests == requests


@pytest.mark.parametrize("case", TABLES["error_details"], ids=lambda case: f"{case['status']} {case['body']}")
def test_an_error_says_what_pagerduty_said_if_it_said_anything(case: dict[str, Any]) -> None:
    error, _ = refusal(case["status"], case["body"])

    assert case["said"] in str(error)
    assert str(error).startswith(f"PagerDuty answered {case['status']}")
    assert KEY not in shown(error)


@pytest.mark.parametrize("case", TABLES["truncation"], ids=lambda case: f"{case['text']} to {case['limit']}")
def test_texts_are_cut_alike_in_characters_and_in_bytes(case: dict[str, Any]) -> None:
    assert truncate(case["text"], case["limit"]) == case["in_runes"]
    assert truncate_bytes(case["text"], case["limit"]) == case["in_bytes"]


def test_a_large_event_is_cut_rather_than_emptied() -> None:
    """Alertmanager removes all custom details; here the longest values are cut first, and labels and links stay."""
    size = TABLES["event_size"]
    alert = replace(AN_ALERT, labels={"service": "checkout"}, details={"firing": "a" * size["detail_bytes"]})

    body = event_of(alert, Severity.ERROR).body()

    assert len(encode({"routing_key": KEY, **body})) <= size["limit_bytes"]
    details = body["payload"]["custom_details"]
    assert details["labels"] == {"service": "checkout"}
    assert details["firing"].startswith("a" * 500_000)
    assert "512,000 bytes" in details["truncated"]


@pytest.mark.parametrize("case", TABLES["dedup_keys"], ids=lambda case: case["identity"])
def test_an_identity_is_hashed_only_where_it_does_not_fit(case: dict[str, str]) -> None:
    """Alertmanager hashes every group key; here a person can tell an incident's key, and only a long one is hashed."""
    identity = case["identity"]
    long = identity * MAX_DEDUP_KEY_CHARACTERS + identity

    assert hashlib.sha256(identity.encode()).hexdigest() == case["sha256"]
    assert dedup_key_of(replace(AN_ALERT, fingerprint=identity)) == identity
    assert dedup_key_of(replace(AN_ALERT, fingerprint=long)).endswith(hashlib.sha256(long.encode()).hexdigest())


def present(entries: list[dict[str, str]]) -> list[dict[str, str]]:
    """Leave empty fields out."""
    return [{name: value for name, value in entry.items() if value} for entry in entries]


def test_links_without_href_and_images_without_src_are_left_out() -> None:
    """PagerDuty refuses the whole event for one of them. An empty href or text is left out too, not sent empty."""
    table = TABLES["links_and_images"]
    alert = replace(
        AN_ALERT,
        links=tuple(Link(**link) for link in table["links"]),
        images=tuple(Image(**image) for image in table["images"]),
    )

    body = event_of(alert, Severity.ERROR).body()

    assert body["links"] == present(table["expected_links"])
    assert body["images"] == present(table["expected_images"])
