"""What the template lets in, and where everything ends that cannot be delivered."""

import json
import re
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

import pytest

from handler.alert import Alert
from handler.envelope import Record
from handler.schedules import DRAIN, HEALTH_CHECK
from handler.sources import generic
from handler.sources.registry import source_of
from local.stack import ROOT
from tests.lab.alerts import EVENTS, parse
from tests.lab.template import deployed, of_type

TRUSTING = {"TrustedPublishers": "111122223333,o-a1b2c3d4e5"}


def matches(pattern: Any, event: Any) -> bool:
    """Whether an event fits a pattern, of which values, prefixes, wildcards, `$or` and nested fields are known here.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-event-patterns-content-based-filtering.html
    """
    if isinstance(pattern, dict):
        return all(
            any(matches(each, event) for each in wanted)
            if name == "$or"
            else isinstance(event, dict) and name in event and matches(wanted, event[name])
            for name, wanted in pattern.items()
        )
    return any(_fits(allowed, event) for allowed in pattern)


def _fits(allowed: Any, value: Any) -> bool:
    match allowed:
        case str():
            return bool(value == allowed)
        case {"prefix": str(prefix)}:
            return isinstance(value, str) and value.startswith(prefix)
        case {"wildcard": str(wildcard)}:
            return isinstance(value, str) and fnmatchcase(value, wildcard)
    raise NotImplementedError(str(allowed))


def rules(template: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the rules on the default bus that take events, by name."""
    found = of_type(template, "AWS::Events::Rule")
    return {name: rule for name, rule in found.items() if "EventPattern" in rule and "EventBusName" not in rule}


def test_every_path_to_the_function_keeps_what_it_cannot_deliver() -> None:
    """SNS, every rule, Lambda itself and the retry queue end in the dead-letter queue."""
    template = deployed(TRUSTING)
    letters = template["Outputs"]["DeadLetterQueueArn"]
    subscriptions = [s for s in of_type(template, "AWS::SNS::Subscription").values() if s["Protocol"] == "lambda"]
    assert len(subscriptions) == 2
    assert [s["RedrivePolicy"] for s in subscriptions] == [{"deadLetterTargetArn": letters}] * 2
    taking = [rule for rule in of_type(template, "AWS::Events::Rule").values() if "EventPattern" in rule]
    assert len(taking) == len(rules(template)) + 1
    assert {target["DeadLetterConfig"]["Arn"] for rule in taking for target in rule["Targets"]} == {letters}
    (invoked,) = of_type(template, "AWS::Lambda::EventInvokeConfig").values()
    assert invoked["DestinationConfig"]["OnFailure"] == {"Destination": letters}
    assert of_type(template, "AWS::SQS::Queue")["RetryQueue"]["RedrivePolicy"]["deadLetterTargetArn"] == letters


def test_refused_messages_become_visible_within_half_an_hour(template: dict[str, Any]) -> None:
    """Five receives are the least that Lambda advises; each hides the message for its visibility timeout.

    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
    """
    queue = of_type(template, "AWS::SQS::Queue")["RetryQueue"]
    assert queue["RedrivePolicy"]["maxReceiveCount"] >= 5
    assert queue["RedrivePolicy"]["maxReceiveCount"] * queue["VisibilityTimeout"] <= 1800


def test_every_rule_for_a_service_is_off_unless_asked_for(template: dict[str, Any]) -> None:
    """Installing pages nobody for what was not asked for; any source may send an `Alert` by default."""
    switches = {name: p for name, p in template["Parameters"].items() if name.endswith("Rule")}
    assert {name: p["Default"] for name, p in switches.items()} == {
        name: "ENABLED" if name == "NativeAlertRule" else "DISABLED" for name in switches
    }
    assert {tuple(p["AllowedValues"]) for p in switches.values()} == {("ENABLED", "DISABLED")}
    found = rules(template)
    assert {rule["State"]["Ref"] for rule in found.values()} == set(switches)
    assert [r["EventPattern"] for r in found.values() if r["State"]["Ref"] == "NativeAlertRule"] == [
        {"detail-type": ["Alert"]}
    ]


def test_each_services_events_have_one_rule_or_are_marked_as_your_own() -> None:
    """A sample of `events/` that a service puts on the bus and that is an alert is taken by exactly one rule.

    If none takes it, docs/sources.md says `your own rule` in the line that names its detail-type.
    """
    patterns = [rule["EventPattern"] for rule in rules(deployed()).values()]
    own = [
        line
        for line in (ROOT / "docs/sources.md").read_text().splitlines()
        if re.search("your own rule", line, re.IGNORECASE)
    ]
    for path in sorted(EVENTS.glob("*.json")):
        event = json.loads(path.read_text())
        if not str(event.get("source", "")).startswith("aws.") or "detail-type" not in event:
            continue
        taking = sum(matches(pattern, event) for pattern in patterns)
        pages = any(isinstance(found, Alert) for found in parse(event))
        is_your_own = any(event["detail-type"] in line for line in own)
        assert taking == 1 or (taking == 0 and (is_your_own or not pages)), path.name


@pytest.mark.parametrize(
    ("source", "detail_type", "switch"),
    [
        ("aws.rds", "RDS DB Instance Event", "RdsRule"),
        ("aws.rds", "RDS DB Cluster Event", "RdsRule"),
        ("aws.rds", "RDS DB Proxy Event", "RdsRule"),
        ("aws.rds", "RDS DB Snapshot Event", "RdsRule"),
        ("aws.rds", "RDS DB Cluster Snapshot Event", "RdsRule"),
        ("aws.rds", "RDS DB Parameter Group Event", "RdsRule"),
        ("aws.rds", "RDS DB Security Group Event", "RdsRule"),
        ("aws.rds", "RDS Blue Green Deployment Event", "RdsRule"),
        ("aws.rds", "RDS Custom DB Engine Version Event", "RdsRule"),
        ("aws.autoscaling", "EC2 Auto Scaling Instance Refresh Failed", "AutoScalingRule"),
        ("aws.autoscaling", "EC2 Auto Scaling Instance Refresh Succeeded", "AutoScalingRule"),
        ("aws.health", "AWS Health Abuse Event", "HealthRule"),
    ],
)
def test_what_the_docs_say_pages_is_delivered(source: str, detail_type: str, switch: str) -> None:
    """By the rule with this switch.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_Events.Messages.html
    https://docs.aws.amazon.com/eventbridge/latest/ref/events-ref-autoscaling.html
    """
    event = {"source": source, "detail-type": detail_type, "detail": {}}
    for state in ("ENABLED", "DISABLED"):
        taking = [r["State"] for r in rules(deployed({switch: state})).values() if matches(r["EventPattern"], event)]
        assert taking == [state]


@pytest.mark.parametrize(
    ("detail", "taken"),
    [
        ({"lastStatus": "STOPPED", "stopCode": "TaskFailedToStart"}, True),
        ({"lastStatus": "STOPPED", "stopCode": "EssentialContainerExited"}, True),
        ({"lastStatus": "STOPPED", "stopCode": "ServiceSchedulerInitiated"}, False),
        (
            {
                "lastStatus": "STOPPED",
                "stopCode": "ServiceSchedulerInitiated",
                "stoppedReason": "Task failed ELB health checks in (target-group arn:aws:...)",
            },
            True,
        ),
        ({"lastStatus": "RUNNING"}, False),
    ],
)
def test_of_a_tasks_changes_only_trouble_invokes_the_function(detail: dict[str, str], taken: bool) -> None:
    """A busy cluster changes tasks all the time.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_task_events.html
    """
    event = {"source": "aws.ecs", "detail-type": "ECS Task State Change", "detail": detail}
    assert any(matches(rule["EventPattern"], event) for rule in rules(deployed()).values()) is taken


def test_every_event_that_a_rule_takes_is_read_by_a_source_of_its_own() -> None:
    """Not by the last resort, which pages for anything."""
    for name, rule in rules(deployed()).items():
        for detail_type in rule["EventPattern"]["detail-type"]:
            if not isinstance(detail_type, str):
                detail_type = f"{detail_type['prefix']}DB Instance Event"
            (source,) = rule["EventPattern"].get("source", ["my.own"])
            record = Record({}, datetime(2026, 11, 23, tzinfo=UTC), detail_type=detail_type, event_source=source)
            assert source_of(record) not in (None, generic), f"{name}: {detail_type}"


def test_the_retry_queue_gives_the_function_time_and_takes_single_failures(template: dict[str, Any]) -> None:
    """Lambda asks for a visibility timeout of six times the function's; partial batches are reported.

    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
    """
    (function,) = of_type(template, "AWS::Lambda::Function").values()
    queue = of_type(template, "AWS::SQS::Queue")["RetryQueue"]
    assert queue["VisibilityTimeout"] == 6 * function["Timeout"]
    (mapping,) = of_type(template, "AWS::Lambda::EventSourceMapping").values()
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_schedules_ask_for_the_health_check_and_start_drainers(template: dict[str, Any]) -> None:
    """Their input is on the target, so that anyone can invoke the function with it."""
    inputs = {
        rule["ScheduleExpression"]: json.loads(target["Input"])
        for rule in of_type(template, "AWS::Events::Rule").values()
        if "ScheduleExpression" in rule
        for target in rule["Targets"]
    }
    assert inputs == {"rate(5 minutes)": HEALTH_CHECK, "rate(1 minute)": DRAIN}


def test_others_get_a_way_in_of_their_own() -> None:
    """A topic and a bus, of which the function learns the topic's ARN; without trusted publishers there is neither.

    What comes by the bus is under `foreign`, the whole event with its detail:
    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-transform-target-input.html
    """
    assert not [name for name in deployed()["Resources"] if name.startswith("Foreign")]
    template = deployed(TRUSTING)
    (function,) = of_type(template, "AWS::Lambda::Function").values()
    topic = template["Outputs"]["ForeignTopicArn"]
    assert function["Environment"]["Variables"]["FOREIGN_TOPIC_ARN"] == topic
    subscribed = {
        s["TopicArn"] for s in of_type(template, "AWS::SNS::Subscription").values() if s["Protocol"] == "lambda"
    }
    assert subscribed == {topic, template["Outputs"]["AlertTopicArn"]}
    rule = of_type(template, "AWS::Events::Rule")["ForeignEvents"]
    assert template["Outputs"]["ForeignEventBusArn"].endswith(f":event-bus/{rule['EventBusName']}")
    assert matches(rule["EventPattern"], {"source": "anything.at.all"})
    (target,) = rule["Targets"]
    assert target["InputTransformer"] == {"InputTemplate": '{"foreign": <aws.events.event.json>}'}


def test_what_others_put_on_their_bus_is_read_as_the_event_it_is() -> None:
    """The rule's template is JSON once EventBridge has put the event in, and the function opens it."""
    event = json.loads((EVENTS / "guardduty-eventbridge-finding.json").read_text())
    (target,) = of_type(deployed(TRUSTING), "AWS::Events::Rule")["ForeignEvents"]["Targets"]
    written = target["InputTransformer"]["InputTemplate"].replace("<aws.events.event.json>", json.dumps(event))
    (alert,) = parse(json.loads(written))
    (own,) = parse(event)
    assert isinstance(alert, Alert)
    assert isinstance(own, Alert)
    assert (alert.name, alert.origin) == (own.name, own.origin)


def test_nobody_else_may_put_events_on_the_default_bus() -> None:
    """A trusted account could fire every rule there that matches a source it chooses."""
    policies = of_type(deployed(TRUSTING), "AWS::Events::EventBusPolicy").values()
    assert {policy["EventBusName"] for policy in policies} == {"pagerduty-publisher-foreign"}
