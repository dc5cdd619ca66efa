"""The simulator's own endpoints, under `/simulator/`: read what was recorded, and set what fails."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from http import HTTPStatus
from typing import Any

from jsonschema import Draft202012Validator

from local.simulator.faults import Answer, Fault, FaultKind
from local.simulator.pagerduty import CHANGE_ACTION, PagerDuty, RateLimit
from local.simulator.schema import ACTIONS, ROUTING_KEY_LENGTH, Document

PREFIX = "/simulator/"

_SECONDS: Document = {"type": "number", "minimum": 0}
_FAULTS: Document = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["kind"],
        "additionalProperties": False,
        "properties": {
            "kind": {"enum": [kind.value for kind in FaultKind]},
            "action": {"enum": [*ACTIONS, CHANGE_ACTION, None]},
            "dedup_key": {"type": ["string", "null"]},
            "routing_key": {"type": ["string", "null"]},
            "count": {"type": ["integer", "null"], "minimum": 1},
            "until_at": {"type": ["number", "null"]},
            "status": {"type": ["integer", "null"], "minimum": 200, "maximum": 599},
            "body": {"type": ["object", "string", "null"]},
            "retry_after": {"type": ["string", "integer", "null"]},
            "delay_seconds": _SECONDS,
            "trickle_seconds": _SECONDS,
        },
    },
}
_LIMIT: Document = {
    "type": ["object", "null"],
    "required": ["requests"],
    "additionalProperties": False,
    "properties": {
        "requests": {"type": "integer", "minimum": 0},
        "window_seconds": {"type": "number", "exclusiveMinimum": 0},
        "count_refused": {"type": "boolean"},
        "retry_after_seconds": {"type": ["integer", "null"], "minimum": 0},
    },
}
_KEYS: Document = {
    "type": ["array", "null"],
    "items": {"type": "string", "minLength": ROUTING_KEY_LENGTH, "maxLength": ROUTING_KEY_LENGTH},
}


def control(pagerduty: PagerDuty, method: str, path: str, body: bytes) -> Answer:
    """Carry out a request to one of the simulator's own endpoints."""
    methods = _ENDPOINTS.get(path.removeprefix(PREFIX))
    if methods is None:
        endpoints = [PREFIX + endpoint for endpoint in _ENDPOINTS]
        return Answer(HTTPStatus.NOT_FOUND, {"error": "no such endpoint", "endpoints": endpoints})
    if method not in methods:
        allowed = ", ".join(methods)
        return Answer(HTTPStatus.METHOD_NOT_ALLOWED, {"error": f"use {allowed}"}, {"Allow": allowed})
    try:
        return Answer(HTTPStatus.OK, methods[method](pagerduty, body))
    except ValueError as error:
        return Answer(HTTPStatus.BAD_REQUEST, {"error": str(error)})


def _set_faults(pagerduty: PagerDuty, body: bytes) -> Document:
    rules = _read(body, _FAULTS)
    pagerduty.set_faults(*(Fault(**{**rule, "kind": FaultKind(rule["kind"])}) for rule in rules))
    return {"faults": len(rules)}


def _clear_faults(pagerduty: PagerDuty, _: bytes) -> Document:
    pagerduty.set_faults()
    return {"faults": 0}


def _set_limit(pagerduty: PagerDuty, body: bytes) -> Document:
    limit = _read(body, _LIMIT)
    pagerduty.set_limit(None if limit is None else RateLimit(**limit))
    return {"limit": limit}


def _set_keys(pagerduty: PagerDuty, body: bytes) -> Document:
    keys = _read(body, _KEYS)
    pagerduty.set_known_keys(keys)
    return {"keys": None if keys is None else len(keys)}


def _reset(pagerduty: PagerDuty, _: bytes) -> Document:
    pagerduty.reset()
    return {"status": "ok"}


# Any: what the schema has allowed becomes the arguments of a dataclass on the next line.
def _read(body: bytes, shape: Document) -> Any:
    """Read a control request.

    Raises:
        ValueError: the body is not of that shape; the text says where and why, and shows no routing key.
    """
    try:
        document = json.loads(body)
    except ValueError as error:
        raise ValueError("the body is not JSON") from error
    if problems := [_explain(violation) for violation in Draft202012Validator(shape).iter_errors(document)]:
        raise ValueError("; ".join(problems))
    return document


def _explain(violation: Any) -> str:
    if violation.validator in ("required", "additionalProperties"):  # these name properties; the others quote values
        return f"{violation.json_path}: {violation.message}"
    return f"{violation.json_path}: {violation.validator} should be {violation.validator_value}"


type _Endpoint = Callable[[PagerDuty, bytes], Document]
_ENDPOINTS: Mapping[str, Mapping[str, _Endpoint]] = {
    "health": {"GET": lambda pagerduty, _: {"status": "ok"}},
    "incidents": {"GET": lambda pagerduty, _: {"incidents": [asdict(each) for each in pagerduty.incidents]}},
    "changes": {"GET": lambda pagerduty, _: {"changes": [asdict(each) for each in pagerduty.changes]}},
    "requests": {"GET": lambda pagerduty, _: {"requests": [asdict(each) for each in pagerduty.requests]}},
    "dropped": {"GET": lambda pagerduty, _: {"dropped": [asdict(each) for each in pagerduty.dropped]}},
    "state": {"GET": lambda pagerduty, _: asdict(pagerduty.snapshot())},
    "faults": {"POST": _set_faults, "DELETE": _clear_faults},
    "limit": {"POST": _set_limit},
    "keys": {"POST": _set_keys},
    "reset": {"POST": _reset},
}
