"""The last resort: whatever was published pages in words, no two messages share an incident, good news pages nobody."""

import itertools
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.alert import Alert, Ignored, Link, Status
from handler.envelope import split, unwrap
from handler.errors import InvalidAlertError, NotAnAlertError
from handler.mapping import event_of
from handler.outcome import SkipReason
from handler.pagerduty.severity import Severity
from handler.schedules import DRAIN, HEALTH_CHECK
from handler.sources import generic
from tests.lab.alerts import ARRIVED_AT, EVENTS, json_values, parse, parse_alert, sample
from tests.lab.world import make_world

TOPIC = "arn:aws:sns:eu-west-1:123456789012:lamplight-alerts"
PUBLISHED_AT = "2026-11-23T03:15:00.120Z"
SUBJECTS = [None, "None", "Alert", "[FIRING:1]", "AWS Notification Message"]
"""Constant ones, as people's publishers have them."""


def notification(message: Any, subject: str | None = None, topic: str = TOPIC, message_id: str = "m-1") -> Any:
    text = message if isinstance(message, str) else json.dumps(message)
    sns = {"TopicArn": topic, "Message": text, "Subject": subject, "MessageId": message_id, "Timestamp": PUBLISHED_AT}
    return {"EventSource": "aws:sns", "Sns": sns}


def by_sns(message: Any, subject: str | None = None, topic: str = TOPIC) -> Alert:
    return parse_alert(notification(message, subject, topic))


def by_queue(body: str, message_id: str = "m-1") -> Alert:
    return parse_alert({"Records": [{"eventSource": "aws:sqs", "messageId": message_id, "body": body}]})


def event(detail: Any = None, **fields: Any) -> dict[str, Any]:
    return {
        "detail-type": "Door Open",
        "source": "lamplight.warehouse",
        "account": "123456789012",
        "time": PUBLISHED_AT,
        "region": "eu-west-1",
        "resources": ["thing/2", "thing/1"],
        "detail": detail if detail is not None else {},
        **fields,
    }


# --- Identity ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_constant_subject_does_not_merge_what_differs(subject: str | None) -> None:
    assert by_sns("Freezer is warm", subject).fingerprint != by_sns("Oven is cold", subject).fingerprint


def test_texts_that_begin_alike_are_distinguished() -> None:
    assert by_sns("x" * 5000 + "a").fingerprint != by_sns("x" * 5000 + "b").fingerprint


@pytest.mark.parametrize("resources", [[], ["arn:aws:iot:eu-west-1:123456789012:thinggroup/freezers"]])
def test_events_of_one_container_or_of_none_are_distinguished_by_what_they_say(resources: list[str]) -> None:
    one, other = event({"door": 1}, resources=resources), event({"door": 2}, resources=resources)
    assert parse_alert(one).fingerprint != parse_alert(other).fingerprint


@pytest.mark.parametrize("field", ["account", "region", "source", "detail-type"])
def test_events_of_different_places_and_kinds_differ(field: str) -> None:
    assert parse_alert(event()).fingerprint != parse_alert(event(**{field: "another"})).fingerprint


def test_the_same_message_is_the_same_incident_however_its_fields_and_resources_are_ordered() -> None:
    assert by_sns('{"a": 1, "b": 2}').fingerprint == by_sns('{"b": 2, "a": 1}').fingerprint
    one = parse_alert(event())
    assert one.fingerprint == parse_alert(event(resources=["thing/1", "thing/2"])).fingerprint
    assert one.fingerprint == by_sns(event()).fingerprint


def test_a_message_of_another_topic_is_another() -> None:
    assert by_sns("x").fingerprint != by_sns("x", topic=TOPIC + "-2").fingerprint


@pytest.mark.parametrize("message", ["", " \n ", "{}", "[]", "null", '""'])
def test_a_message_without_a_text_pages_under_its_own_id(message: str) -> None:
    """Two of them are two incidents: nobody knows that they are one."""
    assert by_queue(message or " ").fingerprint != by_queue(message or " ", "m-2").fingerprint
    assert by_sns(message).summary == "A message without text"


@pytest.mark.parametrize("name", ["dedup_key", "incident_key"])
def test_a_sender_that_names_the_incident_is_believed(name: str) -> None:
    firing, resolved = by_sns({name: "oven", "celsius": 9}), by_sns({name: "oven", "status": "resolved"})
    assert firing.fingerprint == resolved.fingerprint
    assert (firing.status, resolved.status) == (Status.FIRING, Status.RESOLVED)


@pytest.mark.parametrize(
    ("firing", "over"),
    [
        ({"incidentId": 7, "state": "open"}, {"incidentId": 7, "state": "closed", "by": "ada"}),
        ({"issue": {"id": "7", "status": "new"}}, {"issue": {"id": "7", "status": "solved"}}),
        (
            {"event": {"type": "x"}, "alert_group": {"id": "I7", "state": "firing", "title": "Freezer"}},
            {"event": {"type": "y"}, "alert_group": {"id": "I7", "state": "resolved", "title": "Freezer"}},
        ),
        (
            {"action": "Open", "state": "critical", "alert": {"alertId": "a7", "message": "Freezer"}, "host": "till-4"},
            {"action": "Close", "alert": {"alertId": "a7", "message": "Freezer"}, "host": "till-4"},
        ),
        (
            {"state": "critical", "alert": {"alertId": "70413a06-38d6-4c85-92b8-5ebc900d42e2", "message": "Freezer"}},
            {"action": "Close", "alert": {"alertId": "70413a06-38d6-4c85-92b8-5ebc900d42e2", "message": "Freezer"}},
        ),
    ],
)
def test_the_end_of_an_incident_finds_it_by_its_id(firing: Any, over: Any) -> None:
    one, end = by_sns(firing), by_sns(over)
    assert (one.status, end.status) == (Status.FIRING, Status.RESOLVED)
    assert one.fingerprint == end.fingerprint
    assert one.fingerprint != by_sns(firing, topic=TOPIC + "-2").fingerprint


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"incidentId": 7, "state": "open"}, {"incidentId": 8, "state": "open"}),
        ({"incidentId": 7, "note": "a"}, {"incidentId": 7, "note": "b"}),
        ({"alertId": "disk", "state": "bad", "text": "till 4"}, {"alertId": "disk", "state": "bad", "text": "till 5"}),
        ({"alertId": "disk", "state": "bad", "host": "till-4"}, {"alertId": "disk", "state": "bad", "host": "till-5"}),
        (
            {"state": "bad", "tags": {"incidentId": 7}, "x": {"y": 1}},
            {"state": "bad", "tags": {"incidentId": 7}, "x": {"y": 2}},
        ),
    ],
)
def test_what_no_state_or_place_ties_together_stays_apart(one: Any, other: Any) -> None:
    assert by_sns(one).fingerprint != by_sns(other).fingerprint


def messages(chance: random.Random) -> Iterator[Any]:
    """Yield records as people publish them, with few words, so that many are alike and none the same."""
    words = ["oven", "freezer", "till", "printer"]

    def value(depth: int) -> Any:
        match chance.randrange(6):
            case 0 if depth < 3:
                return {chance.choice(["name", "title", "id", "host", "detail"]): value(depth + 1) for _ in range(2)}
            case 1 if depth < 3:
                return [value(depth + 1) for _ in range(chance.randrange(3))]
            case 2:
                return chance.randrange(3)
            case _:
                return " ".join(chance.choices(words, k=2))

    for number in itertools.count():
        payload = {"title": chance.choice(words), "id": "constant", "message": value(0), "number": number}
        match chance.randrange(3):
            case 0:
                resources = chance.choice([[], ["arn:aws:iot:eu-west-1:123456789012:group/1"]])
                yield event(payload, resources=resources, id=f"m-{number}")
            case 1:
                yield notification(payload, chance.choice(SUBJECTS), message_id=f"m-{number}")
            case _:
                text = f"{chance.choice(words)} failed\n{number}"
                yield notification(text, chance.choice(SUBJECTS), message_id=f"m-{number}")


def test_no_two_of_ten_thousand_pairs_of_messages_share_an_incident() -> None:
    alerts = [parse_alert(record) for record in itertools.islice(messages(random.Random(14)), 20_000)]
    assert all(alert.status is Status.FIRING and alert.summary.strip() for alert in alerts)
    assert len({alert.fingerprint for alert in alerts}) == len(alerts)


@given(one=json_values, other=json_values)
def test_neither_do_any_two_values(one: Any, other: Any) -> None:
    first, second = generic.parse(unwrapped({"v": one})), generic.parse(unwrapped({"v": other}))
    keys = [found.fingerprint for found in (*first, *second) if isinstance(found, Alert)]
    assert len(set(keys)) == (len(keys) if json.dumps(one) != json.dumps(other) else 1)


def unwrapped(message: Any) -> Any:
    return unwrap(notification(message), ARRIVED_AT)


def test_no_two_samples_share_an_incident_in_the_last_resort() -> None:
    """Whatever no other source reads: a shape that AWS changes tomorrow ends here."""
    records = [
        unwrap(record, ARRIVED_AT) for path in sorted(EVENTS.glob("*.json")) for record in split(sample(path.stem))
    ]
    different = {json.dumps(record.payload, sort_keys=True): record for record in records if record.payload}
    found = [each for record in different.values() for each in generic.parse(record)]
    keys = [alert.fingerprint for alert in found if isinstance(alert, Alert) and alert.status is Status.FIRING]
    named = [key for key in keys if key.count(":") == 1 and len(key) < 60]  # by the sender, on purpose
    assert len(set(keys) - set(named)) == len(keys) - len(named)
    assert all('{"' not in alert.summary for alert in found if isinstance(alert, Alert))


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), is_swapped=st.booleans(), seconds=st.sampled_from([0.0, 0.3, 2.0, 400.0]))
def test_both_of_two_messages_reach_pagerduty_and_a_redelivery_does_not(
    seed: int, is_swapped: bool, seconds: float
) -> None:
    pair = list(itertools.islice(messages(random.Random(seed)), 2))
    world = make_world()
    for record in [*(reversed(pair) if is_swapped else pair), pair[0]]:
        world.publish(record)
        world.clock.advance(seconds)
    keys = [key for action, key in world.requests if action == "trigger"]
    expected = {parse_alert(record).fingerprint for record in pair}
    assert set(keys) == expected
    if seconds < 60:
        assert len(keys) == 2


# --- Words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "summary"),
    [
        ("\n  Freezer is warm \nsecond line", "Freezer is warm"),
        (r"Freezer is warm\n\nsecond line", "Freezer is warm"),
        (r"Backup of C:\new is cold\r\nsecond line", r"Backup of C:\new is cold"),
        ({"title": "Freezer is warm", "message": "-9 degrees"}, "Freezer is warm: -9 degrees"),
        ({"Title": "Freezer is warm"}, "Freezer is warm"),
        ({"title": "", "Message": "Freezer\nis warm"}, "Freezer"),
        ({"incident": {"headline": "Freezer is warm"}}, "Freezer is warm"),
        ({"count": 1, "payload": {"summary": "Freezer is warm", "error": "E7"}}, "Freezer is warm: E7"),
        ({"ErrorMessage": "no such lamp"}, "no such lamp"),
        ({"title": 3, "celsius": -9, "open": True, "door": None}, "title 3, celsius -9, open true"),
        ({"freezer": {"celsius": -9}, "doors": ["left", "right"]}, "celsius -9, doors left"),
        (["Freezer"], "Freezer"),
        ([{"title": "Freezer"}, {"title": "Oven"}], "Freezer (and 1 more)"),
        ({"event": {"kind": "cold", "data": {"id": 1, "title": "Freezer is warm"}}}, "Freezer is warm"),
        ({"name": "Freezer", "message": "-9 degrees"}, "Freezer: -9 degrees"),
        ({"name": "Freezer", "state": "WARM"}, "Freezer WARM"),
        ({"Name": "Freezer", "failure-message": "no power"}, "Freezer: no power"),
        (
            {"Event": {"Name": "Stock count", "Result": {"Status": "FAILED", "Reason": "no paper"}}},
            "Stock count FAILED: no paper",
        ),
        (7, "7"),
        (True, "true"),
        ({"message": '{"title": "Freezer is warm"}'}, "Freezer is warm"),
        ('{"title": "Freezer is warm", "celsius": ', "title: Freezer is warm, celsius:"),
        ("<https://wiki.lamplight.example/7|Freezer> is warm", "Freezer is warm"),
        ("----\n**Freezer** is warm", "Freezer is warm"),
        ({"job": "stock", "state": "FAILED", "message": "no paper"}, "stock FAILED: no paper"),
        ({"flow-name": "till-sync", "status": "Execution Failed", "error": "E7"}, "till-sync Execution Failed: E7"),
        ({"StockJobName": "stock-7", "StockJobStatus": "Failed", "FailureReason": "E7"}, "stock-7 Failed: E7"),
        ({"jobName": "stock", "status": "RUNNABLE", "statusReason": "no capacity"}, "stock RUNNABLE: no capacity"),
        ({"check_name": "shop", "current_state": "DOWN", "description": "503"}, "shop DOWN: 503"),
        ({"host": "till-4", "message": "Disk of till-4 is full"}, "Disk of till-4 is full"),
        ({"Error": "States.TaskFailed", "Cause": '{"errorMessage": "E7"}'}, "States.TaskFailed: E7"),
        ({"username": "ada", "message": "Disk is full"}, "Disk is full"),
        ({"rows": 0, "lampStatus": "out", "lampName": "till"}, "lampName till, rows 0, lampStatus out"),
        ({"integration": {"name": "AM"}, "alert_group": {"title": "Freezer is warm"}}, "Freezer is warm"),
        ("Event Source : freezer\nSourceId : freezer-2\nMessage : It is warm", "freezer-2: It is warm"),
        ("Note: this is prose\nthat goes on\nfor some lines: three", "Note: this is prose"),
        ("***** Monitor *****\n\nFreezer is warm", "Freezer is warm"),
        ("***** Monitor *****", "***** Monitor *****"),
        ("%%%\nFreezer is warm\n%%%", "Freezer is warm"),
        ({"title": "=?UTF-8?Q?K=C3=A4lte?= in =?utf-8?B?TGVlZHM=?="}, "Kälte in Leeds"),
        ({"title": "=?x-no?Q?a?= is warm"}, "=?x-no?Q?a?= is warm"),
        ({"title": "a =? b"}, "a =? b"),
        ('<?xml version="1.0"?><alert><host>till-4</host><said>It is &lt;off&gt;</said></alert>', "till-4 It is <off>"),
        ({"problemTitle": "Freezer is warm", "pid": 7}, "Freezer is warm"),
        (
            {"actionName": "page", "actionDescription": "Page us", "insightName": "Cold"},
            "actionName page, insightName Cold, actionDescription Page us",
        ),
        ({"run_message": "Count", "notes": [{"message": "Run errored", "status": "errored"}]}, "Run errored"),
        ({"priority": "Critical", "rule": "Shell", "output": "Shell in till-4"}, "Shell in till-4"),
        ({"project": {"name": "shop"}, "object_attributes": {"status": "failed"}}, "shop failed"),
        ({"workflow_run": {"name": "CI", "status": "completed", "conclusion": "failure"}}, "CI failure"),
        ("Till &amp; door are &quot;open&quot;", 'Till & door are "open"'),
        ("cron(0 */30 * * * ? *) of `till-4` is *late*", "cron(0 */30 * * * ? *) of till-4 is late"),
        ("<!DOCTYPE html>\n<html><head><title>x</title></head><body><h1>Till &amp; door</h1>x</body>", "Till & door"),
        ("<div><style>p{}</style>Freezer is warm</div><script>if", "Freezer is warm"),
        (
            'Traceback (most recent call last):\n  File "x.py", line 3\n    go()\nOSError: no paper\n',
            "OSError: no paper",
        ),
    ],
)
def test_a_message_is_named_in_words(message: Any, summary: str) -> None:
    assert by_sns(message).summary.replace(" :", ":").replace(" ,", ",") == summary.replace(" :", ":").replace(
        " ,", ","
    )


@pytest.mark.parametrize(
    "message", [{"a": {"b": [{"c": "d"}]}}, '{"a": {"b', [[[{"x": "y"}]]], {"detail": '{"a":{"b":1}}'}]
)
def test_no_summary_shows_json(message: Any) -> None:
    summary = by_sns(message, "Freezer").summary
    assert summary.startswith("Freezer")
    assert not {"{", '"', "["} & set(summary)


@pytest.mark.parametrize(
    ("subject", "summary"),
    [
        ("Freezer", "Freezer: -9"),
        ("None", "-9"),
        ("null", "-9"),
        ("(no subject)", "-9"),
        (None, "-9"),
        ("-9 C", "-9 C"),
    ],
)
def test_a_subject_goes_before_the_text_unless_it_says_nothing(subject: str | None, summary: str) -> None:
    assert by_sns("-9", subject).summary == summary


@pytest.mark.parametrize("source", [" ", "", "lamplight.shop"])
def test_an_event_of_a_blank_kind_is_named_and_placed(source: str) -> None:
    """PagerDuty takes neither a blank summary nor a blank source."""
    alert = parse_alert(event(**{"detail-type": " ", "source": source, "resources": [" "]}))
    payload = event_of(alert, Severity.ERROR).payload

    assert payload
    assert payload.summary.strip() == (source.strip() or "An event")
    assert payload.source.strip() == (source.strip() or "An event")


def test_an_event_names_the_resource_that_its_text_does_not() -> None:
    arn = "arn:aws:es:eu-west-1:123456789012:domain/logs"
    assert parse_alert(event({"message": "It is red"}, resources=[arn])).summary == "Door Open: It is red (domain/logs)"
    assert parse_alert(event({"message": "logs is red"}, resources=[arn])).summary == "Door Open: logs is red"
    assert parse_alert(event(resources=[arn])).summary == "Door Open: domain/logs"
    short = "arn:aws:cloudformation:eu-west-1:123456789012:stackset/base:1"
    failed = {"status": "FAILED", "reason": "1 account has no role"}
    summary = "Door Open: FAILED: 1 account has no role (stackset/base:1)"
    assert parse_alert(event(failed, resources=[short])).summary == summary
    assert parse_alert(event({"state": "ajar", "message": "It is ajar"})).summary == "Door Open: It is ajar"


def test_a_long_text_is_said_once_and_a_queue_says_where_it_was() -> None:
    queue = "arn:aws:sqs:eu-west-1:123456789012:lamps"
    body = json.dumps({f"fact {number}": "x" * 40 for number in range(9)})
    record = {"eventSource": "aws:sqs", "messageId": "m-1", "body": body, "eventSourceARN": queue}
    payload = event_of(parse_alert({"Records": [record]}), Severity.ERROR).payload

    assert payload
    assert payload.summary.count("fact 0") == 1
    assert (payload.source, payload.component) == ("lamps", "lamps")


def test_an_event_shows_its_kind_and_where_it_is() -> None:
    alert = parse_alert(event({"message": "For 10 minutes"}))
    assert (alert.summary, alert.location) == ("Door Open: For 10 minutes", "thing/1")
    assert parse_alert(event({"host": "freezer-2"}, resources=[])).location == "freezer-2"


@pytest.mark.parametrize(
    ("message", "severity"),
    [
        ({"severity": "P1"}, Severity.CRITICAL),
        ({"Severity": "HIGH"}, Severity.ERROR),
        ({"SEVERITY": {"Label": "MEDIUM", "Normalized": 40}}, Severity.WARNING),
        ({"severity": {"description": "Low", "score": 1}}, Severity.INFO),
        ({"finding": {"severity": "critical"}}, Severity.CRITICAL),
        ({"level": "warn"}, Severity.WARNING),
        ({"severity_id": 5}, Severity.CRITICAL),
        ({"severity": "purple", "priority": "P2"}, Severity.ERROR),
        ({"a": {"b": {"c": {"SEVERITY": "Fatal"}}}}, Severity.CRITICAL),
        ({"alerts": [{"labels": {"severity": "warning"}}]}, Severity.WARNING),
        ({"priority": 1}, Severity.CRITICAL),
        ("Freezer is warm\nSeverity: high", Severity.ERROR),
        ("**Priority**: P3", Severity.WARNING),
        ("CRITICAL: freezer is warm", Severity.CRITICAL),
        ("[SEV 2] freezer is warm", Severity.ERROR),
        ("P1 - freezer is warm", Severity.CRITICAL),
        ("Critical parts are cold", None),
        ({"severity": 1}, None),
        ({"severity_id": True}, None),
        ("Host: till-4\nState: CRITICAL", Severity.CRITICAL),
        ("2026-11-23 03:15:00,120 CRITICAL till: it is silent", Severity.CRITICAL),
        ("[2026-11-23T03:15:00Z] [WARN] till is silent", Severity.WARNING),
        ("2026-11-23 critical parts are cold", None),
        ({"state": "warning"}, Severity.WARNING),
    ],
)
def test_a_severity_is_understood_in_any_case_and_nesting(message: Any, severity: Severity | None) -> None:
    assert by_sns(message).severity is severity
    assert parse_alert(event(message)).severity is severity


def test_a_subject_may_begin_with_the_severity() -> None:
    assert by_sns("-9 degrees", "WARNING: freezer").severity is Severity.WARNING


def test_a_word_that_nobody_knows_is_kept_for_the_log() -> None:
    assert by_sns({"severity": "purple"}).severity_word == "purple"


def test_addresses_in_the_text_become_links() -> None:
    text = {"message": "See https://wiki.lamplight.example/freezer, or (https://grafana.lamplight.example/d/1)."}
    links = by_sns(text).links
    assert links == (Link("https://wiki.lamplight.example/freezer"), Link("https://grafana.lamplight.example/d/1"))


def test_the_whole_message_is_shown() -> None:
    assert by_sns({"a": {"b": 1}}).details["message"] == {"a": {"b": 1}}


# --- Good news and progress -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: notification({"status": "Resolved", "title": "Freezer"}),
        lambda: notification({"job": {"state": "SUCCEEDED"}}),
        lambda: notification("all is well", "OK: freezer"),
        lambda: notification({"Event": {"Name": "Stock count", "Result": {"Status": "Completed"}}}),
        lambda: notification({"version": 1, "data": {"detail": {"state": "closed"}}, "tags": {"team": "shop"}}),
        lambda: notification({"check": "freezer", "success": True}),
        lambda: notification({"TransformJobName": "stock", "TransformJobStatus": "Completed"}),
        lambda: notification({"image": "till", "state": {"status": "READY"}, "previous-state": {"status": "FAILED"}}),
        lambda: notification({"status": "up", "lastJobStatus": "failed"}),
        lambda: notification("all is well", "[SUCCESS] Stock count"),
        lambda: notification("all is well", "UP: till 4"),
        lambda: notification({"title": "Error rate of till 4", "error": "E7", "status": "resolved"}),
        lambda: notification("Freezer\nStatus: Resolved"),
        lambda: notification("*State*: OK", "Freezer"),
        lambda: notification("Freezer", "RESOLVED"),
        lambda: notification("Freezer", "✅ Resolved - freezer"),
        lambda: notification("all is well", "[Recovered] freezer"),
        lambda: notification("Recovered: freezer"),
        lambda: notification({"msg": "[till-4] [✅ Up] 200 - OK", "heartbeat": {"status": 1}}),
        lambda: notification({"flow-name": "till-sync", "status": "Execution Successful"}),
        lambda: notification({"HealthEventStatus": "RESOLVED", "MonitorName": "shop"}),
        lambda: notification({"action": "Close", "note": "Freezer"}),
        lambda: notification({"Completed": True, "StatusCode": "Succeeded", "StatusMessage": "Succeeded"}),
        lambda: notification({"project": {"name": "shop"}, "object_attributes": {"status": "success"}}),
        lambda: notification({"action": "completed", "workflow_run": {"status": "completed", "conclusion": "success"}}),
        lambda: notification({"s3Bucket": "trail", "s3ObjectKey": ["AWSLogs/1.json.gz"]}),
        lambda: notification("Notification Type: RECOVERY\nHost: till-4"),
        lambda: event({"complianceType": "COMPLIANT"}),
        lambda: event({}, source="aws.lamps", **{"detail-type": "Lamp Replacement Succeeded"}),
    ],
)
def test_good_news_pages_nobody(make: Callable[[], Any]) -> None:
    (found,) = parse(make())
    assert isinstance(found, Ignored)
    assert found.reason is SkipReason.NOTICE


@pytest.mark.parametrize("state", ["RUNNING", "In progress", "started", "pending"])
def test_progress_pages_nobody(state: str) -> None:
    (found,) = parse(notification({"status": state, "title": "Stock count"}))
    assert found == Ignored(SkipReason.IN_PROGRESS, "Stock count")


@pytest.mark.parametrize(
    "message",
    [
        {"status": "running", "severity": "critical"},
        {"status": "ok", "result": "failed"},
        {"status": "firing"},
        {"state": "melted"},
        {"action": "create", "title": "Freezer"},
        {"action": "close", "status": "failed"},
        {"status": "NOT_COMPLETED"},
        {"status": "Rollback complete"},
        {"msg": "[till-4] [Up] memory is high"},
        {"workflow_run": {"status": "completed", "conclusion": "failure"}},
        {"statusCode": "200", "note": "Freezer is warm"},
        {"deployment": {"status": "success"}, "smoke": {"result": "failed"}},
        {"s3Bucket": "trail", "s3ObjectKey": ["1"], "problem": "no space"},
        {"msg": "[till-4] [Up]", "state": "melted"},
        "[door] [ok] [window] [lost]",
        {"note": "OK"},
        {"check": "freezer", "healthy": False},
        {"status": "COMPLETED", "errors": "3 of 9 lamps"},
        {"title": "Shop is shut", "doors": {"status": "ok"}, "lamps": {"celsius": 9}},
        {"status": "ok", "doors": {"status": "shut"}},
        {"image": "till", "state": {"status": "FAILED"}, "previous-state": {"status": "READY"}},
        {"ProcessingJobStatus": "Failed", "status": "ok"},
        "Up to now nobody has opened the shop",
        "Freezer is down\nStatus: OK",
        "Status: melting",
        "OK computer is on fire",
        "Resolved tickets are piling up",
    ],
)
def test_what_may_be_bad_pages(message: Any) -> None:
    assert by_sns(message).status is Status.FIRING


@pytest.mark.parametrize("kind", ["Lamp Rollback Started", "Lamp Replacement Unsuccessful", "Failed Lamps Available"])
def test_the_name_of_an_event_is_good_news_only_where_nothing_in_it_is_bad(kind: str) -> None:
    assert parse_alert(event(source="aws.lamps", **{"detail-type": kind})).status is Status.FIRING


def test_an_alert_of_somebody_elses_format_pages_in_words() -> None:
    """One with a single field of ours is ours, and a dead letter where it is damaged."""
    theirs = by_sns({"alert": {"id": 7, "name": "Freezer", "description": "-9 degrees"}})

    assert (theirs.origin, theirs.summary) == ("generic", "Freezer: -9 degrees")
    with pytest.raises(InvalidAlertError, match=r"alert\.status"):
        by_sns({"alert": {"alert_name": "Freezer"}})


# --- What is not published, and what nobody has to see ----------------------------------------------------------------


@pytest.mark.parametrize("raw", [{"key1": "value1"}, "text", None, 3])
def test_what_was_only_handed_over_is_refused(raw: Any) -> None:
    """The console's test event must page nobody."""
    with pytest.raises(NotAnAlertError, match="came by no topic, bus or queue"):
        parse(raw)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"Type": "SubscriptionConfirmation", "TopicArn": TOPIC, "Token": "t"}, SkipReason.TEST_MESSAGE),
        ({"Type": "UnsubscribeConfirmation", "TopicArn": TOPIC, "Token": "t"}, SkipReason.TEST_MESSAGE),
        ({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "lamps"}, SkipReason.TEST_MESSAGE),
        ("Successfully validated SNS topic for Amazon SES event publishing.", SkipReason.TEST_MESSAGE),
        ({"notificationType": "AmazonSnsSubscriptionSucceeded", "message": "You have"}, SkipReason.TEST_MESSAGE),
        ("This is a test notification of Amazon Redshift", SkipReason.TEST_MESSAGE),
        ({"Event Source": "cluster", "Event Message": "Amazon RDS: test message"}, SkipReason.TEST_MESSAGE),
    ],
)
def test_tests_of_a_topic_page_nobody(message: Any, reason: SkipReason) -> None:
    """They are counted."""
    text = message if isinstance(message, str) else json.dumps(message)
    (found,) = parse({"EventSource": "aws:sns", "Sns": {"TopicArn": TOPIC, "Message": text, "Subject": "S"}})

    assert found == Ignored(reason, "S")


def test_a_test_that_a_person_sends_pages() -> None:
    assert by_sns("This is a test message").status is Status.FIRING


def test_a_schedule_pages_nobody() -> None:
    assert parse(event(**{"detail-type": "Scheduled Event"})) == [Ignored(SkipReason.NOTICE, "Scheduled Event")]


@pytest.mark.parametrize("asked", [HEALTH_CHECK, DRAIN])
def test_a_schedules_invocation_that_failed_and_is_redriven_pages_nobody(asked: Any) -> None:
    """The next has long asked again. Elsewhere the same words are a message like any other."""
    failed = {"requestContext": {"condition": "RetriesExhausted"}, "requestPayload": asked, "responsePayload": None}
    assert parse({"Records": [{"eventSource": "aws:sqs", "body": json.dumps(failed)}]}) == [
        Ignored(SkipReason.NOTICE, "notice")
    ]
    assert by_sns(asked).status is Status.FIRING
    assert by_sns({**asked, "service": "lamps", "status": "CRITICAL"}).status is Status.FIRING
