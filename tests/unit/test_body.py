"""An alert as it waits in its record: as it came, or cut where an item could not take it."""

import contextlib
import json
import random
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.alert import Alert
from handler.delivery.body import MAX_BYTES, pack, unpack
from handler.errors import InvalidAlertError
from handler.mapping import dedup_key_of, event_of
from handler.pagerduty.severity import Severity
from handler.sources.native import NativeAlert
from tests.lab.alerts import AN_ALERT, alerts


@given(alerts())
def test_an_alert_is_unpacked_as_it_was_packed(alert: Alert) -> None:
    """What is sent later is what would have been sent at once."""
    unpacked = unpack(pack(alert))
    assert event_of(unpacked, Severity.ERROR) == event_of(alert, Severity.ERROR)
    assert (unpacked.status, unpacked.observed_at) == (alert.status, alert.observed_at)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["alert", "status"]) | st.text(), inner)
    ),
    max_leaves=8,
)
FIELDS = st.dictionaries(st.sampled_from([*NativeAlert.model_fields, "alert_name", "severity", "class"]), JSON)


@given(
    st.binary()
    | st.binary().map(zlib.compress)
    | (JSON | FIELDS.map(lambda fields: {"alert": {"alert_name": "a", "status": "firing", **fields}})).map(
        lambda message: zlib.compress(json.dumps(message).encode())
    )
)
def test_whatever_a_body_holds_it_is_an_alert_or_an_error(body: bytes) -> None:
    """One error: whoever reads it dead-letters what cannot be sent."""
    with contextlib.suppress(InvalidAlertError):
        assert isinstance(unpack(body), Alert)


def test_a_body_that_is_nested_too_deeply_is_an_error() -> None:
    with pytest.raises(InvalidAlertError, match="damaged"):
        unpack(zlib.compress(b"[" * 200_000))


def noise(characters: int, seed: int = 1) -> str:
    """Return a text that does not compress, another for each seed."""
    source = random.Random(seed)
    return "".join(chr(source.randrange(0x4E00, 0x9FFF)) for _ in range(characters))


@pytest.mark.parametrize(
    "large",
    [
        replace(AN_ALERT, annotations={"description": noise(600_000)}),
        replace(AN_ALERT, details={f"part-{number}": noise(2_000, number) for number in range(300)}),
        replace(AN_ALERT, details={"list": [noise(10, number) for number in range(20_000)]}),
        replace(
            AN_ALERT, labels={f"label-{number}": noise(1_000, number) for number in range(200)}, details={"x": noise(9)}
        ),
    ],
    ids=["one long text", "many texts", "a long list", "many labels"],
)
def test_a_large_alert_is_cut(large: Alert) -> None:
    """Identity, name and state stay, and its record fits into an item."""
    assert len(json.dumps(large.annotations) + json.dumps(large.details) + json.dumps(large.labels)) > MAX_BYTES
    packed = pack(large)
    assert len(packed) <= MAX_BYTES
    unpacked = unpack(packed)
    assert (dedup_key_of(unpacked), unpacked.name, unpacked.status) == (dedup_key_of(large), large.name, large.status)


def test_of_an_alert_with_too_many_annotations_the_rest_is_kept() -> None:
    """Each is short, so that cutting texts does not help."""
    alert = replace(AN_ALERT, annotations={f"annotation-{number}": noise(100, number) for number in range(3_000)})
    packed = pack(alert)
    assert len(packed) <= MAX_BYTES
    assert unpack(packed) == replace(alert, annotations={})


def test_a_large_alert_that_compresses_is_kept_whole() -> None:
    """A megabyte of text is a few kilobytes."""
    alert = replace(AN_ALERT, annotations={"description": "the disk is full. " * 60_000})
    assert len(pack(alert)) < 10_000
    assert unpack(pack(alert)) == alert
