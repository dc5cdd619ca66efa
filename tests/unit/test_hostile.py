"""Every sample, damaged: what comes out is a request that PagerDuty accepts or an error with a name, in linear time.

The samples are all of `events/`, so a source that gets one is under test here by that alone.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import CodeType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handler import sources
from handler.alert import Alert
from handler.envelope import split, unwrap
from handler.errors import PublishError
from handler.mapping import event_of
from handler.pagerduty.severity import Severity
from handler.sources import catalog
from tests.lab.alerts import ARRIVED_AT, EVENTS, sample
from tests.lab.hostile import (
    PIECES,
    Path,
    assert_safe,
    mutations,
    paths_of,
    replaced,
    value_at,
    within,
)

ALL_SAMPLES = sorted(path.stem for path in EVENTS.glob("*.json"))


def row_of(name: str) -> str:
    """Return the row of the catalog that reads a sample, by its class; empty where a module of its own does."""
    found = [each for raw in split(sample(name)) for each in catalog.parse(unwrap(raw, ARRIVED_AT))]
    return str({each.name for each in found}) if found else ""


BY_ROW = {row_of(name): name for name in reversed(ALL_SAMPLES) if row_of(name)}
"""One sample for each row of the catalog: the same code reads them all."""
OF_MODULES = [name for name in ALL_SAMPLES if not row_of(name)]
SAMPLES = sorted([*OF_MODULES, *BY_ROW.values()])
hostile = settings(
    max_examples=int(os.environ.get("HOSTILE_EXAMPLES", "60")),
    derandomize="HOSTILE_EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
"""The same examples in each run, unless more are asked for."""

WHOLE_TEXTS = {"generic-sns-text", "native-sns-firing"}

type Grow = Callable[[int], Any]
"""Makes an invocation that grows with a number."""


@pytest.mark.parametrize("name", sorted(BY_ROW.values()))
@settings(hostile, max_examples=max(1, hostile.max_examples // 6))
@given(data=st.data())
def test_a_damaged_event_of_the_catalog_ends_in_what_pagerduty_accepts_or_in_an_error_with_a_name(
    name: str, data: st.DataObject
) -> None:
    invocation = data.draw(mutations(sample(name)))
    with processor_time_at_most(5.0):
        assert_safe(invocation)


@pytest.mark.parametrize("name", OF_MODULES)
@hostile
@given(data=st.data())
def test_a_damaged_sample_ends_in_what_pagerduty_accepts_or_in_an_error_with_a_name(
    name: str, data: st.DataObject
) -> None:
    """Whatever is damaged: a wrapping, or any field of what it holds."""
    invocation = data.draw(mutations(sample(name)))
    with processor_time_at_most(5.0):
        assert_safe(invocation)


@pytest.mark.parametrize("name", SAMPLES)
def test_twice_the_input_is_at_most_twice_the_work(name: str) -> None:
    """Counted in lines of this package that run, whatever the machine is doing besides."""
    for grow in (*growing_values(name), *growing_texts(name)):
        once, twice = lines_run(grow(60)), lines_run(grow(120))

        assert twice <= 2.2 * once


@pytest.mark.parametrize("name", SAMPLES)
def test_no_text_makes_a_regular_expression_run_away(name: str) -> None:
    """What runs inside one line is bounded by processor time: a second, for what takes milliseconds."""
    for grow in (*growing_values(name), *growing_texts(name)):
        invocation = grow(3_000)

        with processor_time_at_most(1.0):
            parsed(invocation)


def test_a_message_of_many_objects_is_read_in_time() -> None:
    """What a library does inside one line is bounded by processor time, too."""
    with processor_time_at_most(4):
        parsed(with_payload("generic-sns-monitor", {f"lamp-{number}": {"celsius": number} for number in range(40_000)}))


def growing_values(name: str) -> Iterator[Grow]:
    """Let each text of a payload become one of the PIECES, and each list its own entries, many times over."""
    payload = payload_of(name)
    for number, path in enumerate(paths_of(payload)):
        value = value_at(payload, path)
        if isinstance(value, str):
            yield partial(with_value, name, path, PIECES[number % len(PIECES)])
        elif isinstance(value, list):
            yield partial(with_value, name, path, value)


def growing_texts(name: str) -> Iterator[Grow]:
    """Let the payload's text break off halfway and go on in PIECES, or be nothing else."""
    text = json.dumps(payload_of(name))
    for piece in PIECES if name in WHOLE_TEXTS else PIECES[:3]:
        yield partial(with_text, name, "", piece)
        yield partial(with_text, name, text[: len(text) // 2], piece)


def payload_of(name: str) -> Any:
    payloads: list[Any] = []

    def keep(payload: Any) -> Any:
        payloads.append(payload)
        return payload

    within(sample(name), keep)
    return payloads[0]


def with_value(name: str, path: Path, value: Any, times: int) -> Any:
    return with_payload(name, replaced(payload_of(name), path, value * times))


def with_text(name: str, start: str, piece: str, times: int) -> Any:
    return with_payload(name, start + piece * times)


def with_payload(name: str, payload: Any) -> Any:
    return within(sample(name), lambda _: payload)


def parsed(invocation: Any) -> None:
    for record in split(invocation):
        with suppress(PublishError):
            for found in sources.parse(unwrap(record, ARRIVED_AT)):
                if isinstance(found, Alert):
                    event_of(found, Severity.ERROR)


def lines_run(invocation: Any) -> int:
    """Count the lines of the handler that run to parse an invocation."""
    monitoring = sys.monitoring
    count = 0

    def ran(code: CodeType, _: int) -> Any:
        nonlocal count
        if "handler" not in code.co_filename:
            return monitoring.DISABLE
        count += 1
        return None

    monitoring.use_tool_id(monitoring.PROFILER_ID, "lines of the handler")
    monitoring.register_callback(monitoring.PROFILER_ID, monitoring.events.LINE, ran)
    monitoring.set_events(monitoring.PROFILER_ID, monitoring.events.LINE)
    try:
        parsed(invocation)
    finally:
        monitoring.set_events(monitoring.PROFILER_ID, 0)
        monitoring.free_tool_id(monitoring.PROFILER_ID)
    assert count
    return count


@contextmanager
def processor_time_at_most(seconds: float) -> Iterator[None]:
    """Interrupt what takes longer; regular expressions look for signals as they run."""

    def stop(*_: object) -> None:
        raise AssertionError(f"more than {seconds} s of processor time")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
