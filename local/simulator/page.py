"""The page that shows what the simulator recorded: its HTML, its feed, and a copy that works offline.

The feed returns what is new since a page's last request. Routing keys appear only as digests.
"""

import base64
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Container, Sequence
from dataclasses import asdict
from functools import cache
from http import HTTPStatus
from importlib.resources import files
from math import isfinite
from typing import NamedTuple
from urllib.parse import parse_qs

from local.simulator.control import PREFIX
from local.simulator.faults import Answer, FaultKind
from local.simulator.incidents import Incident, State
from local.simulator.pagerduty import (
    ENDPOINTS,
    Change,
    PagerDuty,
    Request,
)
from local.simulator.schema import Document

PAGE_PATH = "/"
FEED_PATH = f"{PREFIX}feed"
HEALTH_CHECK = "pagerduty-publisher/health"
"""What the publisher resolves to see whether a routing key works."""
_DATA = '<script type="application/json" id="recorded"></script>'
_HEAD = '<meta charset="utf-8">'
_MAX_DEPTH = 20
_LONG_WORD = re.compile(r"[\w+-]{20,}")
_REASONS = {
    HTTPStatus.TOO_MANY_REQUESTS: "Too many requests for this service: sent too quickly",
    HTTPStatus.NOT_FOUND: "No such endpoint",
    HTTPStatus.METHOD_NOT_ALLOWED: "Only POST is taken here",
}

_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class _Moment(NamedTuple):
    """A line of an incident's timeline."""

    at: float
    action: str
    outcome: str
    note: str


def look(pagerduty: PagerDuty, method: str, path: str, query: str) -> Answer | None:
    """Answer a request for the page or its feed; return None for any other request."""
    if method not in ("GET", "HEAD"):
        return None
    if path == PAGE_PATH:
        page = _page()
        policy = f"{_policy(page)}; connect-src 'self'; frame-ancestors 'none'"
        headers = {**_HEADERS, "Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": policy}
        return Answer(HTTPStatus.OK, page, headers)
    if path == FEED_PATH:
        return Answer(HTTPStatus.OK, feed(pagerduty, parse_qs(query).get("since", [""])[0]), _HEADERS)
    return None


def keepsake(pagerduty: PagerDuty) -> str:
    """Return the page with everything that was recorded, for use after the simulator has stopped."""
    page = _page()
    recorded = json.dumps(feed(pagerduty)).replace("<", "\\u003c")  # no text can close the element around it
    policy = f'{_HEAD}\n<meta http-equiv="Content-Security-Policy" content="{_policy(page)}">'
    return page.replace(_DATA, _DATA.replace("><", f">{recorded}<"), 1).replace(_HEAD, policy, 1)


def feed(pagerduty: PagerDuty, since: str = "") -> Document:
    """Return what was recorded since an earlier answer, whose `cursor` is `since`, or everything.

    `whole` says which: a cursor from before a reset is answered with everything, which replaces the page's content. The
    sender's dead letters are always complete; None if they were never read.
    """
    recorded, letters = pagerduty.snapshot(), pagerduty.dead_letters
    requests = recorded.requests
    epoch = f"{requests[0].at:.6f}" if requests else "empty"
    seen = _seen(since, epoch, len(requests))
    new = requests[seen:]
    touched = {(request.routing_key, request.dedup_key) for request in new if request.dedup_key}
    refusals: defaultdict[tuple[str | None, str | None], list[Request]] = defaultdict(list)
    for request in requests:
        identity = request.routing_key, request.dedup_key
        if identity in touched and (not request.accepted or request.status is None):
            refusals[identity].append(request)
    lives: defaultdict[tuple[str | None, str | None], list[Incident]] = defaultdict(list)
    for incident in recorded.incidents:
        if (incident.routing_key, incident.dedup_key) in touched:
            lives[incident.routing_key, incident.dedup_key].append(incident)
    changes = len(recorded.changes) - sum(request.accepted and request.action == "change" for request in new)
    unmet = {(drop.at, drop.action, drop.dedup_key) for drop in recorded.dropped}
    return {
        "cursor": f"{epoch}-{len(requests)}",
        "whole": seen == 0,
        "incidents": [
            _incident(incident, of_this)
            for identity, same in lives.items()
            for incident, of_this in _apportion(same, refusals[identity])
        ],
        "changes": [
            _change(number, change) for number, change in enumerate(recorded.changes[changes:], start=changes + 1)
        ],
        "refused": [
            entry
            for number, request in enumerate(new, start=seen + 1)
            if (entry := _refused(number, request, unmet)) is not None
        ],
        "dead_letters": None if letters is None else [asdict(letter) for letter in letters],
    }


@cache
def _page() -> str:
    return files(__package__ or "local.simulator").joinpath("page.html").read_text(encoding="utf-8")


def _policy(page: str) -> str:
    """Return a policy under which only the page's own style and script run, and nothing is loaded."""
    script, style = (_digest(page, element) for element in ("script", "style"))
    sources = {"default": "'none'", "script": script, "style": style, "img": "data:"}
    directives = [f"{name}-src {source}" for name, source in sources.items()]
    return "; ".join([*directives, "base-uri 'none'", "form-action 'none'"])


def _digest(page: str, element: str) -> str:
    """Return the source expression for the content of the page's one inline element of that name."""
    _, _, rest = page.partition(f"<{element}>")
    content, _, _ = rest.partition(f"</{element}>")
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _seen(since: str, epoch: str, recorded: int) -> int:
    """Return the number of requests that a page has; 0 if its cursor is invalid or of another run."""
    began, _, count = since.rpartition("-")
    return int(count) if began == epoch and count.isdecimal() and int(count) <= recorded else 0


def _apportion(lives: Sequence[Incident], requests: Sequence[Request]) -> Sequence[tuple[Incident, Sequence[Request]]]:
    """Assign to each incident of one dedup key the requests made before its end and after the previous one ended."""
    shares: list[list[Request]] = [[] for _ in lives]
    ends = [life.timeline[-1].at if life.state is State.RESOLVED else float("inf") for life in lives]
    for request in requests:
        shares[next((i for i, end in enumerate(ends) if request.at <= end), -1)].append(request)
    return list(zip(lives, shares, strict=True))


def _incident(incident: Incident, requests: Sequence[Request]) -> Document:
    unanswered = {(request.at, request.action) for request in requests if request.accepted}
    taken = [
        _Moment(
            entry.at,
            entry.action,
            "accepted" if entry.changed else "merged",
            "its answer never reached the sender" if (entry.at, entry.action) in unanswered else "",
        )
        for entry in incident.timeline
    ]
    refused = [
        _Moment(request.at, request.action or "", "refused", _reason(request))
        for request in requests
        if not request.accepted
    ]
    payload: Document = {**incident.payload}
    first = incident.first_payload["summary"]
    return {
        "number": incident.number,
        "service": _service(incident.routing_key),
        "dedup_key": incident.dedup_key,
        "state": incident.state,
        "severity": incident.severity,
        "summary": incident.summary,
        "first_summary": first if first != incident.summary else "",
        **{name: payload.get(name) or "" for name in ("source", "component", "group", "class", "timestamp")},
        "custom_details": _shown(payload.get("custom_details") or {}),
        "links": [_shown(link) for link in incident.links],
        "images": [_shown(image) for image in incident.images],
        "client": incident.client or "",
        "client_url": incident.client_url or "",
        "opened_at": incident.opened_at,
        "timeline": [moment._asdict() for moment in sorted([*taken, *refused])],
    }


def _change(number: int, change: Change) -> Document:
    payload: Document = {**change.payload}
    return {
        "number": number,
        "service": _service(change.routing_key),
        "at": change.at,
        "summary": change.summary,
        "source": payload.get("source") or "",
        "timestamp": payload.get("timestamp") or "",
        "custom_details": _shown(payload.get("custom_details") or {}),
        "links": [_shown(link) for link in change.links],
        "images": [_shown(image) for image in change.images],
    }


def _refused(number: int, request: Request, unmet: Container[object]) -> Document | None:
    """Describe a request that had no effect; None if it had one, or is the health check's, which has none."""
    if not request.accepted:
        outcome, reason = "refused", _reason(request)
    elif request.dedup_key != HEALTH_CHECK and (request.at, request.action, request.dedup_key) in unmet:
        outcome, reason = "dropped", "Accepted, and without effect: no incident with this dedup key is open"
    else:
        return None
    return {
        "number": number,
        "at": request.at,
        "outcome": outcome,
        "status": request.status,
        "action": request.action or "",
        "request": f"{request.method} {_LONG_WORD.sub('…', request.path)}" if request.path not in ENDPOINTS else "",
        "service": _service(request.routing_key) if request.routing_key else "",
        "dedup_key": request.dedup_key or "",
        "reason": reason,
    }


def _reason(request: Request) -> str:
    """Return why a request was not accepted, without quoting it."""
    if request.fault is FaultKind.RESET or request.status is None:
        return "The connection was reset before an answer"
    if request.errors:
        return f"{request.status}: {'; '.join(request.errors)}"
    if request.status in _REASONS:
        return f"{request.status}: {_REASONS[HTTPStatus(request.status)]}"
    if request.fault is FaultKind.GARBAGE:
        return f"{request.status}: the answer was not PagerDuty's, and the event was not accepted"
    return f"Answered {request.status}, and not accepted"


def _shown(value: object, depth: int = 0) -> object:
    """Return a value that a browser can read as JSON, whatever was sent: finite numbers, limited depth."""
    match value:
        case float() if not isfinite(value):
            return str(value)
        case dict() | list() if depth == _MAX_DEPTH:
            return f"(nested more than {_MAX_DEPTH} deep)"
        case dict():
            return {name: _shown(inner, depth + 1) for name, inner in value.items()}
        case list():
            return [_shown(inner, depth + 1) for inner in value]
        case _:
            return value


def _service(masked: str) -> str:
    """Return a service's name made of the digest in its masked routing key."""
    return masked.rpartition("…")[2]
