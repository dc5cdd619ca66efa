"""Facts of AWS that no emulator enforces, each held against the template, the code or the examples.

A local run would not notice any of these being wrong. The page that states the fact is in each test's docstring.
"""

import json
import re
import subprocess
from collections import Counter
from typing import Any

import pytest
import yaml
from botocore.handlers import BUILTIN_HANDLERS

from handler.delivery.table import SHARDS, shard_of
from handler.publisher import NO_TARGET_YET_SECONDS
from handler.queues import MAX_DELAY_SECONDS
from local.stack import ROOT, SAM
from tests.lab.template import STACK, deployed, expand, listed, of_type

NEW_ACCOUNTS_EXECUTIONS = 10
EVERYTHING = deployed({"TrustedPublishers": "111122223333", "EventBridgeToTopic": "ENABLED"})


def function() -> dict[str, Any]:
    """Return the function's properties."""
    (found,) = of_type(deployed(), "AWS::Lambda::Function").values()
    return found


def test_lambda_stops_what_it_takes_for_a_loop() -> None:
    """After about 16 invocations through a queue of its own, Lambda drops the next, unless the function allows loops.

    https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html
    """
    (mapping,) = of_type(deployed(), "AWS::Lambda::EventSourceMapping").values()
    sending = next(s for s in role() if "sqs:SendMessage" in listed(s["Action"]))
    assert mapping["EventSourceArn"] in sending["Resource"], "it does not invoke itself: nothing to allow"
    assert function()["RecursiveLoop"] == "Allow"


def test_asynchronous_invocations_are_tried_three_times_and_then_kept() -> None:
    """SNS and EventBridge invoke asynchronously: two retries for errors, throttled ones up to the event's age.

    https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
    """
    (invoked,) = of_type(deployed(), "AWS::Lambda::EventInvokeConfig").values()
    assert (invoked["MaximumRetryAttempts"], invoked["MaximumEventAgeInSeconds"]) == (2, 6 * 3600)
    assert invoked["DestinationConfig"]["OnFailure"]["Destination"] == deployed()["Outputs"]["DeadLetterQueueArn"]


def test_a_new_account_has_ten_executions_of_which_half_stay_free() -> None:
    """Retries and drainers come by the queue, whose mapping may use at least two.

    https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
    """
    (mapping,) = of_type(deployed(), "AWS::Lambda::EventSourceMapping").values()
    assert 2 <= mapping["ScalingConfig"]["MaximumConcurrency"] <= NEW_ACCOUNTS_EXECUTIONS // 2
    assert "ReservedConcurrentExecutions" not in function(), "a new account cannot reserve any"


def test_sns_refuses_subjects_of_a_hundred_characters() -> None:
    """Alertmanager's default joins all common labels, and an SNS receiver that is refused does not try again.

    https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
    """
    documents = [yaml.load(path.read_text(), Loader=_AnyTag) or {} for path in (ROOT / "examples").glob("*.y*ml")]
    documents += [yaml.safe_load(each["alertmanager_config"]) for each in documents if "alertmanager_config" in each]
    receivers = [
        config
        for each in documents
        for receiver in each.get("receivers", [])
        for config in receiver.get("sns_configs", [])
    ]
    assert len(receivers) == 2
    for config in receivers:
        assert "subject" in config, "the default is too long"
        assert len(config["subject"]) < 100


def test_a_topic_under_a_customer_key_needs_its_publishers_in_the_key_policy() -> None:
    """CloudWatch alarms cannot use the key that AWS manages for SNS.

    https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html
    """
    topics = of_type(EVERYTHING, "AWS::SNS::Topic").values()
    assert {topic["KmsMasterKeyId"] for topic in topics} == {EVERYTHING["Outputs"]["TopicKeyArn"]}
    publishing = {
        service
        for policy in of_type(EVERYTHING, "AWS::SNS::TopicPolicy").values()
        for service in services(policy["PolicyDocument"])
    }
    (key,) = of_type(EVERYTHING, "AWS::KMS::Key").values()
    assert services(key["KeyPolicy"]) == publishing


def test_a_dashboard_is_an_accounts_not_a_regions() -> None:
    """Two regions would overwrite one another's.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutDashboard.html
    """
    (dashboard,) = of_type(expand(), "AWS::CloudWatch::Dashboard").values()
    assert "${AWS::Region}" in dashboard["DashboardName"]["Fn::Sub"]


def test_alarm_actions_run_on_changes_of_state_alone() -> None:
    """What has to ring each time has to become quiet in between: arrivals do, a depth does not.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-actions.html
    """
    alarms = of_type(deployed(), "AWS::CloudWatch::Alarm")
    (expression,) = (m["Expression"] for m in alarms["NewDeadLetterAlarm"]["Metrics"] if "Expression" in m)
    assert "DIFF(" in expression


def test_metrics_that_are_late_need_more_than_one_period() -> None:
    """FILL makes the newest minute quiet before its data is there, and an alarm on that minute alone is stuck.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
    """
    filled = [alarm for alarm in _alarms() if any("FILL(" in each.get("Expression", "") for each in alarm["Metrics"])]
    assert filled
    for alarm in filled:
        assert alarm["DatapointsToAlarm"] == 1
        assert alarm["EvaluationPeriods"] >= 3


def test_an_alarm_takes_ten_metrics_and_no_query_with_an_or() -> None:
    """Ten is a hard limit, and Metrics Insights joins conditions by AND alone.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-limits.html
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-metrics-insights-querylanguage.html
    """
    for alarm in _alarms():
        metrics = [each for each in alarm["Metrics"] if "MetricStat" in each]
        assert 1 <= len(metrics) <= 10
        assert not any("SELECT " in each.get("Expression", "") for each in alarm["Metrics"])
        assert len({each["Id"] for each in alarm["Metrics"]}) == len(alarm["Metrics"])


def _alarms() -> list[dict[str, Any]]:
    """Return the alarms on expressions, with every rule switched on."""
    switched_on = {name: "ENABLED" for name in deployed()["Parameters"] if name.endswith("Rule")}
    return [each for each in of_type(deployed(switched_on), "AWS::CloudWatch::Alarm").values() if "Metrics" in each]


def test_metrics_of_an_idle_queue_are_late() -> None:
    """SQS stops sending them after six hours of idleness, and needs up to 15 minutes to begin again.

    The function may therefore ask for the depth itself.
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
    """
    letters = deployed()["Outputs"]["DeadLetterQueueArn"]
    counting = [s for s in role() if "sqs:GetQueueAttributes" in listed(s["Action"])]
    assert letters in [statement["Resource"] for statement in counting]


def test_a_message_received_three_times_has_no_age() -> None:
    """ApproximateAgeOfOldestMessage skips it, so that something else has to show what is refused again and again.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
    """
    queue = of_type(deployed(), "AWS::SQS::Queue")["RetryQueue"]
    alarms = of_type(deployed(), "AWS::CloudWatch::Alarm")
    assert alarms["RetryQueueStuckAlarm"]["MetricName"] == "ApproximateAgeOfOldestMessage"
    assert queue["RedrivePolicy"]["maxReceiveCount"] * queue["VisibilityTimeout"] <= 2 * MAX_DELAY_SECONDS
    assert alarms["DeadLetterAlarm"]["Threshold"] == 0


def test_eventbridge_gives_lambda_no_account() -> None:
    """A permission that asks for one is never met: the rule alone says whose it is.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html
    """
    permissions = of_type(EVERYTHING, "AWS::Lambda::Permission").values()
    of_rules = [each for each in permissions if each["Principal"] == "events.amazonaws.com"]
    assert of_rules
    assert all("SourceAccount" not in each and ":rule/" in each["SourceArn"] for each in of_rules)


def test_eventbridge_gives_sns_and_kms_nothing_to_ask_for() -> None:
    """Condition keys of a topic's or a key's policy are empty for it, so that its right would be anybody's.

    https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html
    """
    assert "events.amazonaws.com" not in json.dumps(
        [of_type(deployed(), kind) for kind in ("AWS::SNS::TopicPolicy", "AWS::KMS::Key")]
    )
    asked = [
        statement.get("Condition", {})
        for policy in of_type(EVERYTHING, "AWS::SNS::TopicPolicy").values()
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Principal"] == {"Service": "events.amazonaws.com"}
    ]
    assert asked == [{}]


def test_a_function_name_has_64_characters() -> None:
    """So that the name of a stack may have 54.

    https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html
    """
    suffix = len(function()["FunctionName"]) - len(STACK)
    assert 54 + suffix == 64


def test_ttl_deletes_late() -> None:
    """Up to days: the table says when a record ends, and the code, not DynamoDB, treats it as absent from then on.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/howitworks-ttl.html
    """
    (table,) = of_type(deployed(), "AWS::DynamoDB::Table").values()
    attribute = table["TimeToLiveSpecification"]["AttributeName"]
    assert any(attribute in path.read_text() for path in (ROOT / "src/handler/delivery").glob("*.py"))


def test_a_partition_takes_a_thousand_writes_a_second() -> None:
    """A hot key throttles, and a throttled index refuses the table's writes: a target's waiting deliveries are spread.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html
    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/gsi-throttling.html
    """
    writes_of_a_storm = Counter(shard_of(f"pagerduty#storm/{number}") for number in range(3000))
    assert len(writes_of_a_storm) == SHARDS >= 16
    assert max(writes_of_a_storm.values()) < 1000


def test_a_new_secret_is_listed_minutes_later() -> None:
    """Up to five: an alert that finds no target at all waits three times as long before it is a dead letter.

    https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_ListSecrets.html
    """
    assert NO_TARGET_YET_SECONDS == 3 * 300


def test_a_guided_deploy_cannot_leave_the_routing_key_empty() -> None:
    """SAM asks again for a NoEcho parameter that was left empty, for ever: nothing here asks for a guided deploy.

    https://github.com/aws/aws-sam-cli/blob/develop/samcli/commands/deploy/guided_context.py
    """
    said = [ROOT / name for name in ("Makefile", "README.md", "samconfig.toml", "CONTRIBUTING.md")]
    said += sorted((ROOT / "docs").glob("*.md"))
    assert [path.name for path in said if "deploy --guided" in path.read_text()] == []


def test_the_requests_of_a_traced_chain_carry_its_mark() -> None:
    """Botocore sends Lambda's trace id on, by which Lambda counts the invocations of a chain.

    https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html
    """
    handlers = {getattr(entry[1], "__name__", "") for entry in BUILTIN_HANDLERS}
    assert "add_recursion_detection_header" in handlers


@pytest.mark.parametrize(
    "region", ["us-east-1", "eu-central-1", "us-gov-west-1", "us-gov-east-1", "cn-north-1", "cn-northwest-1"]
)
def test_the_template_is_valid_in_every_partition(region: str) -> None:
    """By cfn-lint, which has the resource types and properties of each region; warnings count.

    https://github.com/aws-cloudformation/cfn-lint
    """
    done = subprocess.run(
        [SAM / "cfn-lint", "--template", ROOT / "template.yaml", "--regions", region],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_no_arn_or_address_is_of_one_partition() -> None:
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/pseudo-parameter-reference.html."""
    text = (ROOT / "template.yaml").read_text()
    assert re.findall(r"arn:aws:", text) == []
    of_one = set(re.findall(r"[\w.${}:-]*amazonaws\.(?:com|cn)\S*", text))
    assert {address for address in of_one if "AWS::Region" in address} == set()


class _AnyTag(yaml.SafeLoader):
    """Reads documents with CloudFormation's short forms, whose values are of no interest here."""


_AnyTag.add_multi_constructor("!", lambda loader, suffix, node: None)


def role() -> list[dict[str, Any]]:
    """Return the statements of the function's role."""
    found = of_type(deployed(), "AWS::IAM::Role")["PublisherRole"]
    return [statement for policy in found["Policies"] for statement in policy["PolicyDocument"]["Statement"]]


def services(document: dict[str, Any]) -> set[str]:
    """Return the services that a policy names."""
    return {
        service
        for statement in document["Statement"]
        if isinstance(statement["Principal"], dict)
        for service in listed(statement["Principal"].get("Service", []))
    }
