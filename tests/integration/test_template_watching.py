"""What wakes an operator, what the dashboard shows, and what watching costs."""

import json
import re
from typing import Any

from handler.metrics import NAMESPACE, SERVICE, Dimension, Metric
from handler.queues import MAX_DELAY_SECONDS
from local.stack import ROOT
from tests.lab.template import deployed, of_type

METRICS = {str(metric) for metric in Metric} | {"DeliveriesWaiting", "OldestWaiting"}


def alarms(template: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the properties of the alarms, by name."""
    return of_type(template, "AWS::CloudWatch::Alarm")


def watched(alarm: dict[str, Any]) -> set[tuple[str, str]]:
    """Return namespace and name of the metrics that an alarm watches."""
    if "MetricName" in alarm:
        return {(alarm["Namespace"], alarm["MetricName"])}
    return {
        (entry["MetricStat"]["Metric"]["Namespace"], entry["MetricStat"]["Metric"]["MetricName"])
        for entry in alarm["Metrics"]
        if "MetricStat" in entry
    }


def test_operators_are_notified_on_a_topic_of_their_own() -> None:
    """Every alarm goes there; the function is not subscribed to it, and no rule leads from it."""
    template = deployed({"OperatorEmail": "operators@example.com"})
    topic = template["Outputs"]["OperatorTopicArn"]
    assert all(alarm["AlarmActions"] == alarm["OKActions"] == [topic] for alarm in alarms(template).values())
    subscriptions = of_type(template, "AWS::SNS::Subscription").values()
    assert [s["Protocol"] for s in subscriptions if s["TopicArn"] == topic] == ["email"]
    targets = [target for rule in of_type(template, "AWS::Events::Rule").values() for target in rule["Targets"]]
    assert topic not in json.dumps(targets)


def test_what_must_wake_an_operator_does() -> None:
    """Each on the metric that shows it."""
    always = {
        "DeadLetterAlarm": {("AWS/SQS", "ApproximateNumberOfMessagesVisible")},
        "NewDeadLetterAlarm": {("AWS/SQS", "ApproximateNumberOfMessagesVisible"), ("AWS/SQS", "NumberOfMessagesSent")},
        "ErrorAlarm": {("AWS/Lambda", "Errors")},
        "ThrottleAlarm": {("AWS/Lambda", "Throttles")},
        "RecursionAlarm": {("AWS/Lambda", "RecursiveInvocationsDropped")},
        "RetryQueueStuckAlarm": {("AWS/SQS", "ApproximateAgeOfOldestMessage")},
        "LongWaitAlarm": {(NAMESPACE, "OldestWaiting")},
        "UnhealthyAlarm": {(NAMESPACE, "AllHealthy")},
        "HeartbeatAlarm": {(NAMESPACE, "AllHealthy")},
        "LostEventAlarm": {("AWS/Lambda", "AsyncEventsDropped")},
        "LostDeadLetterAlarm": {("AWS/Lambda", "DestinationDeliveryFailures")},
        "LostNotificationAlarm": {("AWS/SNS", "NumberOfNotificationsFailedToRedriveToDlq")},
        "LostRuleEventAlarm": {("AWS/Events", "InvocationsFailedToBeSentToDlq")},
        "LostDeploymentEventAlarm": {("AWS/Events", "InvocationsFailedToBeSentToDlq")},
    }
    assert {name: watched(alarm) for name, alarm in alarms(deployed()).items()} == always
    foreign = {
        "LostForeignNotificationAlarm": {("AWS/SNS", "NumberOfNotificationsFailedToRedriveToDlq")},
        "LostForeignEventAlarm": {("AWS/Events", "InvocationsFailedToBeSentToDlq")},
    }
    trusting = alarms(deployed({"TrustedPublishers": "111122223333"}))
    assert {name: watched(alarm) for name, alarm in trusting.items()} == always | foreign
    # no message can be younger than its longest delay and older than this
    assert alarms(deployed())["RetryQueueStuckAlarm"]["Threshold"] > MAX_DELAY_SECONDS


def test_each_new_dead_letter_rings_though_old_ones_lie_there() -> None:
    """Actions run when an alarm changes its state, so that the alarm on what lies there rings once.

    SQS counts as sent what services and the function send, and not what the retry queue gives up: that shows as a rise.
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
    """
    arrival = alarms(deployed())["NewDeadLetterAlarm"]
    (expression,) = (entry["Expression"] for entry in arrival["Metrics"] if "Expression" in entry)
    assert expression == "IF(FILL(sent, 0) > 0 OR DIFF(visible) > 0, 1, 0)"
    assert [entry["Id"] for entry in arrival["Metrics"] if entry.get("ReturnData", True)] == ["arrived"]
    assert (arrival["Threshold"], arrival["DatapointsToAlarm"], arrival["TreatMissingData"]) == (0, 1, "notBreaching")


def test_the_heartbeat_does_not_ring_at_creation_and_rings_on_silence() -> None:
    """An alarm begins with insufficient data, and acts on that only when it falls back to it.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
    """
    template = deployed()
    heartbeat = alarms(template)["HeartbeatAlarm"]
    assert heartbeat["TreatMissingData"] == "missing"
    assert heartbeat["InsufficientDataActions"] == [template["Outputs"]["OperatorTopicArn"]]
    assert heartbeat["Statistic"] == "SampleCount"
    assert heartbeat["Period"] * heartbeat["EvaluationPeriods"] <= 900
    others = {a["TreatMissingData"] for name, a in alarms(template).items() if name != "HeartbeatAlarm"}
    assert others == {"notBreaching", "ignore"}
    # silence does not end what was unhealthy
    assert alarms(template)["UnhealthyAlarm"]["TreatMissingData"] == "ignore"


def test_two_stacks_of_an_account_do_not_hide_each_others_trouble() -> None:
    """The publisher's own metrics are watched under the function's name."""
    template = deployed()
    (function,) = of_type(template, "AWS::Lambda::Function").values()
    own = [alarm for alarm in alarms(template).values() if alarm.get("Namespace") == NAMESPACE]
    assert len(own) == 3
    dimensions = [
        {"Name": "service", "Value": SERVICE},
        {"Name": "function_name", "Value": function["FunctionName"]},
    ]
    assert all(alarm["Dimensions"] == dimensions for alarm in own)


def test_every_rule_of_the_stack_is_watched_for_events_lost(template: dict[str, Any]) -> None:
    """EventBridge counts what no dead-letter queue took by rule, on the default bus by that alone.

    A rule that is off need not be watched.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-monitoring.html
    """
    switches = [name for name in template["Parameters"] if name.endswith("Rule")]
    for switched_on in (switches, ["NativeAlertRule"], []):
        chosen = {name: "ENABLED" if name in switched_on else "DISABLED" for name in switches}
        stack = deployed({"TrustedPublishers": "111122223333", **chosen})
        can_lose = {
            f"pagerduty-publisher-{name}-0A1B2C3D4E5F"
            for name, rule in of_type(stack, "AWS::Events::Rule").items()
            if "DeadLetterConfig" in rule["Targets"][0] and "EventBusName" not in rule and rule["State"] == "ENABLED"
        }
        found = [alarms(stack)[name]["Metrics"] for name in ("LostRuleEventAlarm", "LostDeploymentEventAlarm")]
        assert can_lose <= {
            entry["MetricStat"]["Metric"]["Dimensions"][0]["Value"]
            for entries in found
            for entry in entries
            if "MetricStat" in entry
        }
        assert {entries[0]["Expression"] for entries in found} == {"SUM(METRICS())"}
    template = deployed({"TrustedPublishers": "111122223333"})
    assert alarms(template)["LostForeignEventAlarm"]["Dimensions"] == [
        {"Name": "EventBusName", "Value": "pagerduty-publisher-foreign"},
        {"Name": "RuleName", "Value": "pagerduty-publisher-ForeignEvents-0A1B2C3D4E5F"},
    ]


def dashboard() -> str:
    """Return the dashboard's body as it is before its variables are filled in."""
    return (ROOT / "template.yaml").read_text().partition("DashboardBody:")[2].partition("GigabyteSecond:")[0]


def shown() -> dict[str, Any]:
    """Return the dashboard as CloudWatch gets it."""
    (found,) = of_type(deployed(), "AWS::CloudWatch::Dashboard").values()
    body: dict[str, Any] = json.loads(found["DashboardBody"])
    return body


def test_dashboards_are_named_for_their_region() -> None:
    """An account has one set of them for all its regions.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutDashboard.html
    """
    names = {
        of_type(deployed(region=region), "AWS::CloudWatch::Dashboard")["OperatorDashboard"]["DashboardName"]
        for region in ("us-east-1", "eu-central-1")
    }
    assert names == {"pagerduty-publisher-us-east-1", "pagerduty-publisher-eu-central-1"}
    assert not of_type(deployed({"Dashboard": "DISABLED"}), "AWS::CloudWatch::Dashboard")


def test_alarms_and_dashboard_name_metrics_that_there_are() -> None:
    """With the dimensions under which they are written."""
    for alarm in alarms(deployed()).values():
        assert {name for namespace, name in watched(alarm) if namespace == NAMESPACE} <= METRICS
    body = json.dumps(shown()).replace('\\"', '"')
    searched = re.findall(r'SEARCH\(\'\{PagerDutyPublisher,([a-z_,]+)\} MetricName=\\?"(\w+)', body)
    assert searched
    for schema, metric in searched:
        assert metric in METRICS
        assert set(schema.split(",")) - {"service"} <= {str(dimension) for dimension in Dimension}
    for widget in shown()["widgets"]:
        for metric in widget["properties"].get("metrics", []):
            if metric[0] == NAMESPACE:
                assert metric[1] in METRICS


def test_the_dashboard_shows_every_alarm() -> None:
    """At its top; those of trusted publishers are not in every stack."""
    (widget,) = (widget for widget in shown()["widgets"] if widget["type"] == "alarm")
    names = {arn.split(":alarm:")[1].split("-")[-2] for arn in widget["properties"]["alarms"]}
    assert names == set(alarms(deployed()))


def test_the_dashboard_shows_the_expressions_that_the_docs_name() -> None:
    """docs/metrics.md maps each PromQL query to a metric math expression: to the very one that is shown."""
    table = (ROOT / "docs/metrics.md").read_text().partition("## PromQL")[2].partition("\n## ")[0]
    named = re.findall(r"^\| `.*` \| `(.*)` \|$", table, re.MULTILINE)
    assert len(named) == 4
    expressions = {
        m[0]["expression"]
        for w in shown()["widgets"]
        for m in w["properties"].get("metrics", [])
        if isinstance(m[0], dict)
    }
    assert {expression.replace("\\|", "|") for expression in named} <= expressions


def test_queries_for_what_became_of_an_alert_are_saved() -> None:
    """By dedup key, by name, and of everything that did not page, over the function's log."""
    template = deployed()
    (log,) = of_type(template, "AWS::Logs::LogGroup").values()
    queries = of_type(template, "AWS::Logs::QueryDefinition").values()
    assert {query["Name"].partition("/")[2] for query in queries} == {
        "trace by dedup key",
        "trace by alert name",
        "not paged",
    }
    assert all(query["LogGroupNames"] == [log["LogGroupName"]] for query in queries)
    documented = (ROOT / "docs/metrics.md").read_text()
    for query in queries:
        named = re.findall(r"fields (.*)", query["QueryString"])[0].split(", ")
        assert [field for field in named if field.split(".")[0] not in documented and not field.startswith("@")] == []
