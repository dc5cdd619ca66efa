"""`make route`: who gets an event, with which severity, summary and dedup key, or why nobody does. Sends nothing.

Reads the event as the function would, and the targets of a stack or of a file. With EXPECT it is a test for your own
CI: a YAML map from event file, beside the map or from here, to the expected routes, with the fields that matter:

    events/orders-db.json:
      - {target: payments, severity: critical}
    events/dev-noise.json: []
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from handler.alert import Alert, Ignored, Status
from handler.envelope import split
from handler.errors import PublishError
from handler.mapping import action_of, dedup_key_of, event_of
from handler.pagerduty.events import ROUTING_KEY_CHARACTERS
from handler.pagerduty.severity import Severity
from handler.sources.reader import Reader
from handler.targets.secrets import parse_targets
from handler.targets.target import TargetSet
from tools.stack import (
    FINDING,
    FINE,
    STACK_NAME,
    Connect,
    Say,
    Stack,
    ToolError,
    connect,
    find_stack,
    one_line,
    read_targets,
    read_text,
    reader_of,
    run,
    say,
)

FIELDS = ("target", "action", "severity", "summary", "dedup_key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One delivery that an event would cause, or why it causes none.

    Attributes:
        target: its name; empty where no target takes the alert.
        reason: why nothing is sent; empty where something is.
    """

    target: str = ""
    action: str = ""
    severity: str = ""
    summary: str = ""
    dedup_key: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Router:
    """The targets, and what reads events as the function does."""

    targets: TargetSet
    reader: Reader = field(default_factory=Reader)

    def routes(self, event: Any) -> list[Route]:
        """Return the routes of an invocation's event."""
        now = datetime.now(UTC)
        found: list[Route] = []
        for raw in split(event):
            try:
                for each in self.reader.read(raw, now):
                    found += self._routes_of(each)
            except PublishError as error:
                found.append(Route(reason=f"{error.reason}: {error}"))
        return found

    def _routes_of(self, found: Alert | Ignored | PublishError) -> list[Route]:
        match found:
            case Ignored(reason=reason, name=name):
                return [Route(summary=name, reason=f"skipped: {reason}")]
            case PublishError():
                return [Route(reason=f"{found.reason}: {found}")]
            case Alert():
                return self._routes_of_alert(found)

    def _routes_of_alert(self, alert: Alert) -> list[Route]:
        # a resolve has no summary of its own: that of its trigger says what it is about
        payload = event_of(replace(alert, status=Status.FIRING), Severity.ERROR).payload
        common = {
            "action": str(action_of(alert)),
            "dedup_key": "" if alert.is_change else dedup_key_of(alert),
            "summary": payload.summary if payload else alert.name,
        }
        try:
            taking = self.targets.taking(alert)
        except PublishError as error:
            return [Route(**common, reason=f"{error.reason}: {error}")]
        routes = []
        for target in taking:
            skipped = target.skip_reason(alert)
            routes.append(
                Route(
                    **common,
                    target=target.name,
                    severity="" if alert.is_change else str(alert.severity or target.default_severity),
                    reason=f"skipped: {skipped}" if skipped else "",
                )
            )
        names = {target.name for target in taking}
        missing = [name for name in alert.targets if name not in names]
        return [*routes, *(Route(**common, reason=_missing(name)) for name in missing)]


def _missing(name: str) -> str:
    """Return that there is no target of this name, which is not shown if it looks like a routing key."""
    if len(name) == ROUTING_KEY_CHARACTERS:
        return f"no target has this name; it has {len(name)} characters, like a routing key, and is not shown"
    return f"no target is named {one_line(name, 40)!r}"


def show(route: Route) -> str:
    """Return a route as lines to read."""
    what = "  ".join(part for part in (route.action, route.severity, one_line(route.summary)) if part)
    who = f"-> {route.target}" if route.target else "-> nobody"
    lines = [f"  {who}  ({one_line(route.reason, 300)})" if route.reason else f"  {who}"]
    lines += [f"     {what}"] if what else []
    lines += [f"     dedup key  {one_line(route.dedup_key, 255)}"] if route.dedup_key else []
    return "\n".join(lines)


def differences(expected: Sequence[Mapping[str, str]], routes: Sequence[Route]) -> list[str]:
    """Return each difference between the routes that are expected and those by which something is sent."""
    sent = [route for route in routes if route.target and not route.reason]
    left = list(sent)
    missing = []
    # the most specific are paired first, so that a vague one does not take another's place
    for wanted in sorted(expected, key=len, reverse=True):
        fitting = [route for route in left if all(getattr(route, name) == value for name, value in wanted.items())]
        if fitting:
            left.remove(fitting[0])
        else:
            missing.append(wanted)
    lines = [f"expected  {_fields(wanted)}" for wanted in missing]
    names = set(FIELDS) if not missing else {name for wanted in missing for name in wanted} | {"target"}
    lines += [f"found     {_fields({n: getattr(route, n) for n in FIELDS if n in names})}" for route in left]
    if missing and not left:
        reasons = [f"{route.target or 'nobody'} ({route.reason})" for route in routes if route.reason]
        lines.append(f"found     {one_line('; '.join(reasons) or 'nothing else', 300)}")
    return lines


def _fields(fields: Mapping[str, str]) -> str:
    return "  ".join(f"{name}={one_line(value)}" for name, value in fields.items())


def read_event(path: Path) -> Any:
    """Read an event; raise ToolError if the file is missing or not JSON."""
    return _read_json(path, "an event is the JSON with which AWS invokes the function, or a bare alert")


def _read_json(path: Path, expected: str) -> Any:
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise ToolError(f"{path}: not JSON: {one_line(str(error))}; {expected}") from None


def read_target_file(path: Path, base_url: str = "") -> TargetSet:
    """Read a JSON list of targets' secrets, each as an object or as text; raise ToolError for one that is no target."""
    listed = _read_json(path, "TARGETS is a JSON list of the secrets' texts")
    if not isinstance(listed, list):
        raise ToolError(f"{path}: must be a JSON list of the secrets' texts")
    texts = [each if isinstance(each, str) else json.dumps(each) for each in listed]
    found = parse_targets({f"{number} of {path.name}": text for number, text in enumerate(texts, 1)}, base_url)
    if found.problems:
        raise ToolError("\n".join(str(problem) for problem in found.problems))
    return found


def read_expectations(path: Path) -> dict[str, list[dict[str, str]]]:
    """Read the map of expected routes; raise ToolError naming the invalid entry."""
    try:
        content = yaml.safe_load(read_text(path))
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise ToolError(f"{path}: not YAML: {one_line(str(error), 200)}") from None
    if not isinstance(content, dict):
        raise ToolError(f"{path}: must be a map from event file to a list of routes")
    expectations = {}
    for event, routes in content.items():
        if not isinstance(routes, list) or not all(isinstance(route, dict) for route in routes):
            raise ToolError(f"{path}: {event}: must be a list of routes; [] where nobody is to get it")
        for route in routes:
            if unknown := [str(name) for name in route if name not in FIELDS]:
                raise ToolError(f"{path}: {event}: {', '.join(unknown)}: a route has {', '.join(FIELDS)}")
        expectations[str(event)] = [{name: str(value) for name, value in route.items()} for route in routes]
    return expectations


def _find(name: str, expectations: Path) -> Path:
    """Return the event file that a map of expected routes names."""
    for path in (expectations.parent / name, Path(name)):
        if path.exists():
            return path
    raise ToolError(f"{expectations}: {name}: no such file, neither beside it nor here")


def router_of(given: argparse.Namespace, connect: Connect) -> Router:
    """Return a router with the targets of a file, or else of a stack."""
    if given.targets:
        return Router(read_target_file(Path(given.targets)))
    stack: Stack = find_stack(connect, given.stack)
    return Router(read_targets(connect, stack), reader_of(stack))


def main(arguments: Sequence[str], connect: Connect = connect, say: Say = say) -> int:
    """Show the routes of events, or compare them with those expected; return the exit status."""
    parser = argparse.ArgumentParser("route", description="who gets an event; nothing is sent")
    parser.add_argument("events", nargs="*", metavar="EVENT", help="files, each an invocation's event or a bare alert")
    parser.add_argument("--stack", default=STACK_NAME, help="whose targets (default: %(default)s)")
    parser.add_argument("--targets", help="a JSON list of the secrets' texts, instead of a stack's targets")
    parser.add_argument("--expect", help="a YAML map from event file to the routes expected")
    given = parser.parse_args(arguments)
    expectations = read_expectations(Path(given.expect)) if given.expect else {}
    if not given.events and not expectations:
        raise ToolError("name an event, EVENT=events/....json, or expectations, EXPECT=routes.yaml")
    router = router_of(given, connect)
    for problem in router.targets.problems:
        say(f"note: {problem}")
    for name in given.events:
        event = read_event(Path(name))
        say(name)
        for route in router.routes(event):
            say(show(route))
    wrong = 0
    for name, expected in expectations.items():
        event = read_event(_find(name, Path(given.expect)))
        found = differences(expected, router.routes(event))
        wrong += bool(found)
        say(f"{'CHANGED' if found else 'as expected':<12} {name}")
        for line in found:
            say(f"    {line}")
    if expectations:
        say(f"{len(expectations) - wrong} events are routed as expected, {wrong} are not.")
    return FINDING if wrong else FINE


if __name__ == "__main__":
    run(main)
