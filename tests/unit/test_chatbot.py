"""Custom notifications for chat: a thread is one incident, and what is written for people is the summary."""

from typing import Any

import pytest

from handler.alert import Ignored, Link, Status
from handler.outcome import SkipReason
from handler.pagerduty.severity import Severity
from tests.lab.alerts import on_topic, parse, parse_alert, sample


def notification(title: str, thread: str = "", **metadata: Any) -> Any:
    content = {"textType": "client-markdown", "title": title}
    named = {"threadId": thread} if thread else {}
    return on_topic({"version": "1.0", "source": "custom", "content": content, "metadata": {**named, **metadata}})


def test_the_title_and_the_description_are_the_summary() -> None:
    alert = parse_alert(sample("chatbot-sns-custom"))
    assert alert.summary.startswith("Parcel printer is out of labels: Printer 3 of Leeds")
    assert alert.links == (Link("https://wiki.lamplight.example/printers"),)
    assert (alert.severity, alert.location) == (Severity.ERROR, "printer-3")


def test_a_thread_is_one_incident() -> None:
    first, second = parse_alert(notification("Stuck", "queue-1")), parse_alert(notification("Still stuck", "queue-1"))
    assert first.fingerprint == second.fingerprint
    assert parse_alert(notification("Stuck", "queue-2")).fingerprint != first.fingerprint


def test_without_a_thread_what_differs_is_distinguished() -> None:
    assert parse_alert(notification("a")).fingerprint != parse_alert(notification("b")).fingerprint


def test_good_news_resolves_its_thread_and_else_pages_nobody() -> None:
    resolved = parse_alert(notification("Fine again", "queue-1", eventType="resolved"))
    assert resolved.status is Status.RESOLVED
    assert resolved.fingerprint == parse_alert(notification("Stuck", "queue-1")).fingerprint
    assert parse(notification("Fine", eventType="resolved")) == [Ignored(SkipReason.NOTICE, "Fine")]


@pytest.mark.parametrize("content", [{}, {"title": None}, {"title": ["x"], "description": 3}])
def test_damaged_content_pages_still(content: Any) -> None:
    alert = parse_alert(on_topic({"source": "custom", "content": content, "metadata": None}))
    assert alert.summary
