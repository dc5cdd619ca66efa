"""`make route`: who gets an event and why, and a difference from what is expected is found and shown."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.lab.alerts import EVENTS
from tools.route import FIELDS, Route, differences, main
from tools.stack import ToolError

KEY, OTHER_KEY = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"
TARGETS: list[dict[str, Any]] = [
    {"name": "payments", "type": "pagerduty", "headers": {"routing_key": KEY}, "match": ['severity="critical"']},
    {"name": "rest", "type": "pagerduty", "headers": {"routing_key": OTHER_KEY}, "severity_threshold": "error"},
    {"name": "off", "type": "pagerduty", "headers": {"routing_key": KEY}, "match": ["team=off"], "enabled": False},
]

type Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the command with these targets, on no AWS at all; return its status and what it says."""
    targets = tmp_path / "targets.json"
    targets.write_text(json.dumps([TARGETS[0], *map(json.dumps, TARGETS[1:])]))

    def connect(service: str) -> Any:
        raise AssertionError(f"{service} was asked")

    def run(*arguments: str) -> tuple[int, str]:
        lines: list[str] = []
        status = main(["--targets", str(targets), *arguments], connect, lines.append)
        text = "\n".join(lines)
        assert KEY not in text
        assert OTHER_KEY not in text
        return status, text

    return run


def write(folder: Path, name: str, content: Any) -> str:
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return str(folder / name)


def native(**alert: Any) -> dict[str, Any]:
    return {"alert": {"alert_name": "OrdersDatabaseHighCPU", "status": "firing", "fingerprint": "orders-db", **alert}}


def test_a_route_is_shown_with_all_that_pagerduty_would_get(run: Run, tmp_path: Path) -> None:
    event = write(tmp_path, "e.json", native(labels={"severity": "critical"}, summary="CPU at 97 %"))
    status, text = run(event)
    assert status == 0
    assert text.splitlines() == [
        event,
        "  -> payments",
        "     trigger  critical  OrdersDatabaseHighCPU: CPU at 97 %",
        "     dedup key  orders-db",
    ]


@pytest.mark.parametrize(
    ("alert", "shown"),
    [
        (native(labels={"severity": "info"}), "-> rest  (skipped: below_threshold)"),
        (native(status="resolved"), "-> rest\n     resolve  error  OrdersDatabaseHighCPU"),
        (native(labels={"change_event": "true"}), "-> rest\n     change_event  OrdersDatabaseHighCPU"),
        (native(targets=["payments"]), "-> payments"),
        (native(targets=["nobody"]), "-> nobody  (no target is named 'nobody')"),
        (native(targets=[KEY]), "-> nobody  (no target has this name; it has 32 characters, like a routing key, and"),
        (native(targets=["off"]), "-> off  (skipped: target_disabled)"),
        (native(status="on fire"), "-> nobody  (invalid_alert: native alert: alert.status:"),
        ({"Nothing": 1}, "-> nobody  (not_an_alert: not an alert: a JSON object with the keys Nothing"),
    ],
)
def test_the_reason_is_shown_where_nothing_is_sent(run: Run, tmp_path: Path, alert: Any, shown: str) -> None:
    status, text = run(write(tmp_path, "e.json", alert))
    assert status == 0
    assert shown in text


def test_nobody_takes_what_no_target_matches(tmp_path: Path) -> None:
    targets = write(tmp_path, "t.json", [TARGETS[0]])
    event = write(tmp_path, "e.json", native())
    lines: list[str] = []
    assert main([event, "--targets", targets], say=lines.append) == 0
    assert "-> nobody  (no_target: no target takes this alert: of 1, none matches" in "\n".join(lines)


FOREIGN_TOPIC = "arn:aws:sns:us-east-1:000000000000:foreign"


@dataclass
class Deployed:
    """A stack in an account: AWS's answers about it."""

    settings: dict[str, str] = field(default_factory=dict)

    def describe_stacks(self, *, StackName: str) -> Any:
        outputs = {
            "AlertTopicArn": "arn:aws:sns:us-east-1:000000000000:alerts",
            "PublisherFunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:stack-publisher",
            "DedupTableName": "dedup",
            "RetryQueueUrl": "https://sqs.us-east-1.amazonaws.com/000000000000/retry",
            "DeadLetterQueueUrl": "https://sqs.us-east-1.amazonaws.com/000000000000/dead",
        }
        return {"Stacks": [{"Outputs": [{"OutputKey": key, "OutputValue": text} for key, text in outputs.items()]}]}

    def get_function_configuration(self, *, FunctionName: str) -> Any:
        return {"Environment": {"Variables": self.settings}}

    def batch_get_secret_value(self, **_: Any) -> Any:
        production = {**TARGETS[0], "match": ['account_name="production"']}
        secrets = {"pagerduty/payments": production, "pagerduty/rest": TARGETS[1]}
        return {"SecretValues": [{"Name": name, "SecretString": json.dumps(text)} for name, text in secrets.items()]}


def test_an_event_is_read_as_the_function_of_the_stack_reads_it(tmp_path: Path) -> None:
    """With its names of accounts, its topic for other accounts, and its own on-failure records unwrapped."""
    native_alert = native(labels={"account": "123456789012"})
    settings = {"ACCOUNT_NAMES": "123456789012=production", "FOREIGN_TOPIC_ARN": FOREIGN_TOPIC}
    sns = {
        "Records": [{"EventSource": "aws:sns", "Sns": {"TopicArn": FOREIGN_TOPIC, "Message": json.dumps(native_alert)}}]
    }
    failed = {
        "requestContext": {
            "functionArn": "arn:aws:lambda:us-east-1:000000000000:function:stack-publisher",
            "condition": "RetriesExhausted",
        },
        "requestPayload": sns,
    }
    event = write(tmp_path, "e.json", {"Records": [{"eventSource": "aws:sqs", "body": json.dumps(failed)}]})

    def route() -> str:
        lines: list[str] = []
        assert main([event], lambda _: Deployed(settings), lines.append) == 0
        return "\n".join(lines)

    assert "-> payments" in route()
    assert "dedup key  foreign#orders-db" in route()
    settings.clear()
    assert "-> rest" in route()
    assert "dedup key  orders-db" in route()
    settings["PAGERDUTY_RATE_LIMIT"] = "many"
    with pytest.raises(ToolError, match="does not start: setting: PAGERDUTY_RATE_LIMIT"):
        route()


@pytest.mark.parametrize("path", sorted(EVENTS.rglob("*.json")), ids=lambda path: path.stem)
def test_every_sample_has_a_route_or_a_reason(run: Run, path: Path) -> None:
    status, text = run(str(path))
    assert status == 0
    assert "\n  -> " in text


EXPECTED = """
critical.json:
  - {target: payments, action: trigger, severity: critical, summary: "OrdersDatabaseHighCPU: CPU at 97 %",
     dedup_key: orders-db}
info.json: []
several.json:
  - target: rest
  - {target: rest, dedup_key: b}
"""


@pytest.fixture
def expectations(tmp_path: Path) -> Path:
    """Expectations that hold, beside their events."""
    write(tmp_path, "critical.json", native(labels={"severity": "critical"}, summary="CPU at 97 %"))
    write(tmp_path, "info.json", native(labels={"severity": "info"}))
    topic = "arn:aws:sns:eu-west-1:123456789012:alerts"
    records = [
        {"EventSource": "aws:sns", "Sns": {"Message": json.dumps(native(fingerprint=key)), "TopicArn": topic}}
        for key in "ab"
    ]
    write(tmp_path, "several.json", {"Records": records})
    write(tmp_path, "routes.yaml", EXPECTED)
    return tmp_path / "routes.yaml"


def test_routes_as_expected_are_fine(run: Run, expectations: Path) -> None:
    status, text = run("--expect", str(expectations))
    assert (status, text.splitlines()[-1]) == (0, "3 events are routed as expected, 0 are not.")


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        ("severity: critical", "severity: error", ["expected  target=payments", "severity=error", "severity=critical"]),
        ("target: payments", "target: rest", ["expected  target=rest", "found     target=payments"]),
        ("action: trigger", "action: resolve", ["action=resolve", "action=trigger"]),
        ("dedup_key: orders-db", "dedup_key: other", ["dedup_key=other", "dedup_key=orders-db"]),
        ("97 %", "98 %", ["summary=OrdersDatabaseHighCPU: CPU at 98 %"]),
        ("info.json: []", "info.json: [{target: rest}]", ["expected  target=rest", "rest (skipped: below_threshold)"]),
        ("  - target: rest\n", "", ["found     target=rest"]),
        ("dedup_key: b", "dedup_key: c", ["expected  target=rest  dedup_key=c", "found     target=rest  dedup_key="]),
    ],
)
def test_a_changed_route_is_a_finding(run: Run, expectations: Path, old: str, new: str, shown: list[str]) -> None:
    """With what was expected and what was found instead."""
    assert old in EXPECTED
    expectations.write_text(EXPECTED.replace(old, new))
    status, text = run("--expect", str(expectations))
    assert status == 1
    assert text.count("CHANGED") == 1
    for part in shown:
        assert part in text


def test_an_expectation_that_says_little_takes_no_other_s_place() -> None:
    routes = [Route(target="a", dedup_key="1"), Route(target="a", dedup_key="2")]
    assert differences([{"target": "a"}, {"target": "a", "dedup_key": "1"}], routes) == []
    assert differences([], [Route(target="a", reason="skipped: below_threshold"), Route(reason="no_target")]) == []


@pytest.mark.parametrize(
    ("file", "content", "arguments", "said"),
    [
        ("e.json", "", [], "not JSON"),
        ("e.json", "{", [], "not JSON"),
        ("routes.yaml", "[1]", ["--expect"], "must be a map from event file to a list of routes"),
        ("routes.yaml", "e.json: {target: a}", ["--expect"], "e.json: must be a list of routes"),
        ("routes.yaml", "e.json: [{goal: a}]", ["--expect"], f"goal: a route has {', '.join(FIELDS)}"),
        ("routes.yaml", "e.json: [", ["--expect"], "not YAML"),
        ("routes.yaml", "missing.json: []", ["--expect"], "missing.json: no such file, neither beside it nor here"),
        ("t.json", "{}", ["--targets"], "must be a JSON list of the secrets' texts"),
        ("t.json", f'[{{"name": "a", "type": "pagerduty", "headers": {{"routing_key": "{KEY}x"}}}}]', ["--targets"],
         "33 characters"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(
    run: Run, tmp_path: Path, file: str, content: str, arguments: list[str], said: str
) -> None:
    path = write(tmp_path, file, content)
    with pytest.raises(ToolError) as raised:
        run(*arguments, path, *([str(EVENTS / "native-direct.json")] if arguments == ["--targets"] else []))
    assert said in str(raised.value)
    assert KEY not in str(raised.value)


@pytest.mark.parametrize("option", ["", "--targets", "--expect"])
def test_a_file_that_cannot_be_read_is_named(run: Run, tmp_path: Path, option: str) -> None:
    """Missing, a folder, or no text."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for path, said in ((tmp_path / "gone", "no such file"), (tmp_path, "directory"), (tmp_path / "binary", "UTF-8")):
        with pytest.raises(ToolError) as raised:
            run(*([option] if option else []), str(path), *([str(EVENTS / "native-direct.json")] if option else []))
        assert str(raised.value).startswith(f"{path}: ")
        assert said in str(raised.value)


def test_without_an_event_there_is_nothing_to_do(run: Run) -> None:
    with pytest.raises(ToolError, match="name an event"):
        run()
