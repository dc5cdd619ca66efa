"""Any JSON value in any field of what AWS's services send: alerts that PagerDuty takes, a reason, or our own error."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.alert import Alert, Ignored
from handler.errors import InvalidAlertError, NotAnAlertError
from handler.mapping import event_of
from handler.pagerduty.events import encode
from handler.pagerduty.severity import Severity
from local.simulator.pagerduty import PagerDuty
from tests.lab.alerts import (
    EVENTS,
    json_values,
    parse,
    sample,
)

ORIGINS = ("guardduty", "securityhub", "health", "rds", "autoscaling", "backup")
odd = st.sampled_from(["", " ", "arn:", "arn:aws:a:b:c:d", "GMT", "9" * 300, 10**400, -1, 1e300, "\x00", "é" * 300])


def open_message(event: Any) -> Any:
    """Give the event with the message of its SNS record as the object that it is, so that its fields can be reached."""
    event = copy.deepcopy(event)
    for record in event.get("Records", []):
        if record["Sns"]["Message"].startswith("{"):
            record["Sns"]["Message"] = json.loads(record["Sns"]["Message"])
    return event


def close_message(event: Any) -> Any:
    """Undo `open_message`, whatever has become of the event."""
    match event:
        case {"Records": [{"Sns": {"Message": dict() as message} as sns} as record]}:
            return {**event, "Records": [{**record, "Sns": {**sns, "Message": json.dumps(message)}}]}
        case _:
            return event


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Give the way to every value inside, and to what holds them."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inner:
        yield (*path, key)
        yield from paths(child, (*path, key))


@pytest.mark.parametrize("origin", ORIGINS)
@given(data=st.data())
def test_any_value_in_any_field_gives_what_can_be_sent_or_a_reason(origin: str, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(path.stem for path in EVENTS.glob(f"{origin}-*.json"))))
    event = open_message(sample(name))
    for _ in range(data.draw(st.integers(1, 3))):
        *way, last = data.draw(st.sampled_from(list(paths(event))))
        holder = event
        for key in way:
            holder = holder[key]
        holder[last] = data.draw(json_values | odd)

    try:
        found = parse(close_message(event))
    except (InvalidAlertError, NotAnAlertError):
        return

    for each in found:
        assert isinstance(each, Alert | Ignored | InvalidAlertError)
        if isinstance(each, Alert):
            assert each.fingerprint.strip()
            body = encode({"routing_key": "0" * 32, **event_of(each, Severity.ERROR).body()})
            assert PagerDuty(lambda: 0.0).handle("POST", "/v2/enqueue", body).status == 202
