"""A routing key in a message shows up nowhere, however it is written and wrapped."""

import hashlib
import json
from itertools import count
from typing import Any

import pytest

from handler import redaction
from handler.envelope import unwrap, without_dead_letters
from handler.redaction import redacted
from tests.lab.alerts import ARRIVED_AT, on_topic
from tests.lab.world import make_world

KEY = "5ec7e75ec7e75ec7e75ec7e75ec7e75e"
MESSAGES: list[Any] = [
    {"routing_key": KEY, "event_action": "trigger", "payload": {"summary": "Oven", "source": "oven"}},
    {"service_key": KEY, "event_type": "trigger", "description": "Oven"},
    {"a": [{"Routing-Key": [KEY, {"deeper": KEY}]}]},
    {"pagerduty_integration_key": KEY},
    {"receiver": json.dumps({"config": json.dumps({"routingKey": KEY})})},
    {"url": f"https://events.pagerduty.com/integration/{KEY}/enqueue"},
    f"routing_key: {KEY}\nseverity: critical",
    f"routing_key: >-\n  {KEY}",
    f"- routing_key = '{KEY}'",
    f"{{'service_key': '{KEY}'}}",
    f'{{"routing_key": "{KEY}", damaged',
    f"curl -d routing_key={KEY}&event=1",
    {"name": "PAGERDUTY_ROUTING_KEY", "value": KEY},
    {"routing_keys": {"lamps": KEY, "shop": f"Bearer {KEY}"}},
    {"pagerduty_key": KEY},
    f"the routing key is {KEY}",
    f"**routing_key**: `{KEY}`",
    f"<routing_key>{KEY}</routing_key>",
    f"('routing_key', '{KEY}')",
    f"routing_key: !!str # of the team\n  {KEY}",
    f"routing_key:\u200b{KEY}",
    f"a=b&x=%22routing_key%22%3A%22{KEY}%22",
    {"url": f"https://events.pagerduty.com/adapter/cloudwatch_sns/v1/{KEY}"},
    {"routing_key": KEY, "note": f"sent with {KEY}, which is wrong", KEY: 1},
]


@pytest.mark.parametrize("message", MESSAGES, ids=str)
def test_a_key_is_taken_out_of_any_message(message: Any) -> None:
    left = redacted(message)
    assert KEY not in json.dumps(left)
    assert "(redacted " in json.dumps(left)
    assert redacted(left) == left


@pytest.mark.parametrize(
    "message",
    [
        {"key": KEY, "sort_key": "a", "routing": "x"},
        "the routing_key is wrong",
        "routing_key: short",
        {"routing_key": "orders.created", "service_key": "checkout"},
        "https://lamplight.pagerduty.com/incidents/Q1",
        f"no routing key was found in any of the rules, trace {KEY}",
        {"name": "rotate-routing-key", "fingerprint": KEY},
        [1, None, True],
    ],
    ids=str,
)
def test_what_is_no_routing_key_is_left_alone(message: Any) -> None:
    assert redacted(message) is message or redacted(message) == message


def test_messages_with_different_keys_stay_different() -> None:
    """A label of that name may be all that distinguishes two alerts."""
    assert redacted({"service_key": KEY}) != redacted({"service_key": KEY[::-1]})


def test_escapes_hide_no_key() -> None:
    record = unwrap(on_topic('{"routing\\u005fkey": "' + KEY + '"}'), ARRIVED_AT)
    assert KEY not in json.dumps(record.payload)


@pytest.mark.parametrize("message", MESSAGES, ids=str)
def test_a_dead_letter_keeps_no_key(message: Any) -> None:
    assert KEY not in json.dumps(without_dead_letters(on_topic(message)))
    sqs = {"eventSource": "aws:sqs", "body": json.dumps({"error": "no target", "record": on_topic(message)})}
    assert KEY not in json.dumps(without_dead_letters(sqs))


@pytest.mark.parametrize("message", MESSAGES, ids=str)
def test_no_request_queue_or_table_has_the_key(message: Any) -> None:
    world = make_world()
    world.publish({**on_topic(message), "extra": message})
    requests = [str(request) for request in world.pagerduty.requests]
    assert world.pagerduty.requests or world.sqs.dead_letters
    assert KEY not in str([requests, world.sqs.queues, world.dynamodb.tables])


def test_a_message_nested_too_deeply_is_not_kept_with_its_key() -> None:
    nested: Any = {"routing_key": KEY}
    for _ in range(100_000):
        nested = [nested]
    assert KEY not in str(redacted(nested))[:200]


def test_very_many_keys_are_taken_out_in_linear_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking for each in all of the message took half a minute for 5,000."""
    marks = count()
    mark = redaction._mark
    monkeypatch.setattr(redaction, "_mark", lambda key: (next(marks), mark(key))[1])
    keys = [hashlib.sha256(number.to_bytes(2)).hexdigest()[:32] for number in range(3000)]
    left = json.dumps(redacted([{"routing_key": key} for key in keys]))
    assert not any(key in left for key in keys)
    assert next(marks) < 300 * len(keys)
