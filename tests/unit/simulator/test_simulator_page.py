"""What the simulator sends to its page, and what it never sends."""

import base64
import hashlib
import json
import re
from typing import Any

import pytest

from handler.pagerduty.client import HEALTH_DEDUP_KEY
from local.simulator.faults import Answer, Fault, FaultKind
from local.simulator.page import (
    FEED_PATH,
    HEALTH_CHECK,
    PAGE_PATH,
    feed,
    keepsake,
    look,
)
from local.simulator.pagerduty import DeadLetter, PagerDuty, RateLimit

KEY = "0123456789abcdef0123456789abcdef"
OTHER_KEY = "abcdefghijklmnopqrstuvwxyz012345"


class Account:
    """A simulated account with a clock that passes a second with every request."""

    def __init__(self) -> None:
        self.now = 1_795_000_000.0
        self.pagerduty = PagerDuty(lambda: self.now)

    def send(self, action: str = "trigger", dedup_key: str = "db/cpu", *, key: str = KEY, **more: Any) -> Answer:
        """Send an event, valid unless `more` spoils it."""
        self.now += 1
        payload = {"summary": "CPU", "source": "db-1", "severity": "error"}
        if action == "change":
            event = {"routing_key": key, "payload": {"summary": "deployed"}, **more}
            return self.pagerduty.handle("POST", "/v2/change/enqueue", json.dumps(event).encode())
        event = {"routing_key": key, "event_action": action, "dedup_key": dedup_key, **more}
        if action == "trigger":
            event = {"payload": payload, **event}
        return self.pagerduty.handle("POST", "/v2/enqueue", json.dumps(event).encode())

    def feed(self, since: str = "") -> Any:
        """Return the feed as a browser reads it."""
        return json.loads(json.dumps(feed(self.pagerduty, since), allow_nan=False))


@pytest.fixture
def account() -> Account:
    """An account without an event."""
    return Account()


def timeline(incident: Any) -> list[tuple[str, str, str]]:
    return [(entry["action"], entry["outcome"], entry["note"]) for entry in incident["timeline"]]


def test_a_timeline_shows_what_was_accepted_merged_refused_and_never_answered(account: Account) -> None:
    """Each event that named the incident is in its timeline, in order, with what became of it."""
    account.pagerduty.set_faults(Fault(FaultKind.STATUS, status=503))
    account.send()
    account.send()
    account.send()
    account.pagerduty.set_faults(Fault(FaultKind.STATUS, status=429), Fault(FaultKind.ACCEPT_THEN_DROP))
    account.send("acknowledge")
    account.send("acknowledge")
    account.send("resolve", severity="ignored")
    (incident,) = account.feed()["incidents"]
    assert incident["state"] == "resolved"
    assert timeline(incident) == [
        ("trigger", "refused", "Answered 503, and not accepted"),
        ("trigger", "accepted", ""),
        ("trigger", "merged", ""),
        ("acknowledge", "refused", "429: Too many requests for this service: sent too quickly"),
        ("acknowledge", "accepted", "its answer never reached the sender"),
        ("resolve", "accepted", ""),
    ]


def test_a_refusal_belongs_to_the_incident_of_its_time(account: Account) -> None:
    """Where a dedup key has had two incidents, what was refused between them led to the second."""
    account.send()
    account.send("resolve")
    account.pagerduty.set_faults(Fault(FaultKind.STATUS, status=500))
    account.send()
    (only,) = account.feed()["incidents"]
    assert timeline(only)[-1][1] == "refused"
    account.send()
    first, second = account.feed()["incidents"]
    assert [outcome for _, outcome, _ in timeline(first)] == ["accepted", "accepted"]
    assert [outcome for _, outcome, _ in timeline(second)] == ["refused", "accepted"]


def test_a_cursor_is_answered_with_what_is_new_and_no_more(account: Account) -> None:
    """An unchanged incident, a change event and a refusal are told once; a changed incident again, whole."""
    account.send(dedup_key="a")
    account.send(dedup_key="b")
    account.send("change")
    account.send(dedup_key="bad", payload={})
    first = account.feed()
    assert first["whole"]
    assert [len(first[kind]) for kind in ("incidents", "changes", "refused")] == [2, 1, 1]
    again = account.feed(first["cursor"])
    nothing: dict[str, Any] = {"incidents": [], "changes": [], "refused": [], "dead_letters": None}
    assert again == {"cursor": first["cursor"], "whole": False, **nothing}
    account.send("acknowledge", dedup_key="b")
    account.send("change")
    account.send("resolve", dedup_key="never opened")
    later = account.feed(first["cursor"])
    assert [(i["dedup_key"], i["state"]) for i in later["incidents"]] == [("b", "acknowledged")]
    assert [change["number"] for change in later["changes"]] == [2]
    assert [(r["outcome"], r["dedup_key"]) for r in later["refused"]] == [("dropped", "never opened")]


def test_a_health_check_is_no_refusal(account: Account) -> None:
    """It resolves what is never open, every five minutes for each target: nobody has to see that."""
    assert HEALTH_CHECK == HEALTH_DEDUP_KEY
    account.send("resolve", HEALTH_CHECK)
    account.send("resolve", "never opened")
    assert [refused["dedup_key"] for refused in account.feed()["refused"]] == ["never opened"]


def test_a_cursor_from_before_a_reset_is_answered_with_everything(account: Account) -> None:
    """A page that was open before a reset shows what came after it, however much that is."""
    account.send(dedup_key="before")
    cursor = account.feed()["cursor"]
    account.pagerduty.reset()
    emptied = account.feed(cursor)
    assert (emptied["whole"], emptied["incidents"]) == (True, [])
    account.send(dedup_key="after")
    account.send(dedup_key="after too")
    for since in (cursor, emptied["cursor"], "nonsense", "", "1-2-3", f"{cursor}9"):
        assert [i["dedup_key"] for i in account.feed(since)["incidents"]] == ["after", "after too"]


def test_reasons_are_the_refusals_own(account: Account) -> None:
    """Every request that came to nothing is told with why."""
    account.send(payload={"summary": "x", "source": "y", "severity": "fatal"})
    account.pagerduty.set_limit(RateLimit(0))
    account.send()
    account.pagerduty.set_limit(None)
    account.pagerduty.set_faults(Fault(FaultKind.RESET), Fault(FaultKind.GARBAGE), Fault(FaultKind.STATUS, status=403))
    account.send()
    account.send()
    account.send()
    account.pagerduty.handle("POST", "/v2/enqueue", b"not JSON")
    account.pagerduty.handle("PUT", "/v2/enqueue", b"")
    account.pagerduty.handle("POST", "/v1", b"")
    assert [entry["reason"].split(" (")[0] for entry in account.feed()["refused"]] == [
        "400: 'payload.severity' is invalid",
        "429: Too many requests for this service: sent too quickly",
        "The connection was reset before an answer",
        "200: the answer was not PagerDuty's, and the event was not accepted",
        "Answered 403, and not accepted",
        "400: JSON parse error",
        "405: Only POST is taken here",
        "404: No such endpoint",
    ]


def test_no_part_of_a_routing_key_is_shown(account: Account) -> None:
    """Services are told apart by a digest; not even a key's beginning is in the feed, the page or the copy."""
    for key in (KEY, OTHER_KEY):
        account.send(dedup_key="a", key=key)
        account.send("change", key=key)
        account.send(dedup_key="a", key=key, payload={})
        account.send("resolve", dedup_key="never opened", key=key)
        account.send(key=key + "too long")
        account.pagerduty.handle("POST", f"/integration/{key}/enqueue", b"")
    copy = keepsake(account.pagerduty).partition('id="recorded">')[2].partition("</script>")[0]
    for told in (json.dumps(account.feed()), copy):
        assert KEY[:4] not in told
        assert OTHER_KEY[:4] not in told
    one, other = (incident["service"] for incident in account.feed()["incidents"])
    assert re.fullmatch("[0-9a-f]{4}", one)
    assert one != other


def test_what_json_cannot_say_is_reported_in_words(account: Account) -> None:
    """Numbers out of range and endless nesting reach the page as text, and do not keep it from the rest."""
    nested: Any = "the bottom"
    for _ in range(60):
        nested = {"in": [nested]}
    huge = json.dumps({"payload": {"summary": "s", "source": "s", "severity": "info", "custom_details": nested}})
    body = huge[:-1] + f', "links": [{{"href": "https://example.com", "n": 1e999}}], "routing_key": "{KEY}",'
    answer = account.pagerduty.handle("POST", "/v2/enqueue", (body + ' "event_action": "trigger"}').encode())
    assert answer.status == 202
    (incident,) = account.feed()["incidents"]
    assert incident["links"][0]["n"] == "inf"
    assert "nested more than" in json.dumps(incident["custom_details"])
    assert "the bottom" not in json.dumps(incident["custom_details"])


def test_the_page_may_run_its_own_script_and_load_nothing(account: Account) -> None:
    """The policy allows the one inline script and style by their digests, and connections home."""
    answer = look(account.pagerduty, "GET", PAGE_PATH, "")
    assert answer is not None
    page = str(answer.body)
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert "unsafe" not in str(policy)
    for element in ("script", "style"):
        (content,) = re.findall(f"<{element}>(.*?)</{element}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert policy[f"{element}-src"] == f"'sha256-{digest}'"
    assert not re.findall(r"(?:src|href)=[\"'](?!#|data:,)", page)
    assert not re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|\son\w+=", page)


def test_only_reading_is_answered_by_the_page(account: Account) -> None:
    """What is posted to the root goes where any other unknown request goes."""
    assert look(account.pagerduty, "POST", PAGE_PATH, "") is None
    assert look(account.pagerduty, "GET", "/v2/enqueue", "") is None
    answer = look(account.pagerduty, "GET", FEED_PATH, "since=empty-0")
    assert answer is not None
    nothing: dict[str, Any] = {"incidents": [], "changes": [], "refused": [], "dead_letters": None}
    assert answer.body == {"cursor": "empty-0", "whole": True, **nothing}
    assert account.pagerduty.requests == ()


def test_a_copy_ends_where_it_should_whatever_an_alert_says(account: Account) -> None:
    """No text closes the element that holds the recorded data."""
    account.send(payload={"summary": "</script><script>alert(1)</script><!--", "source": "s", "severity": "info"})
    copy = keepsake(account.pagerduty)
    assert copy.count("</script>") == 2
    (recorded,) = re.findall(r'<script type="application/json" id="recorded">(.*?)</script>', copy)
    assert json.loads(recorded)["incidents"][0]["summary"].startswith("</script>")
    assert '<meta http-equiv="Content-Security-Policy"' in copy


def test_dead_letters_are_reported_whole_each_time(account: Account) -> None:
    """A redrive takes some away, and no request tells of that."""
    assert account.feed()["dead_letters"] is None
    letters = [DeadLetter(account.now, "invalid_alert", f"name {number}", "labels: not an object") for number in (1, 2)]
    account.pagerduty.show_dead_letters(letters)
    cursor = account.feed()["cursor"]
    assert [letter["name"] for letter in account.feed(cursor)["dead_letters"]] == ["name 1", "name 2"]
    assert account.feed(cursor)["dead_letters"][0] == {
        "at": account.now,
        "kind": "invalid_alert",
        "name": "name 1",
        "error": "labels: not an object",
    }
    account.pagerduty.show_dead_letters([])
    assert account.feed(cursor)["dead_letters"] == []
