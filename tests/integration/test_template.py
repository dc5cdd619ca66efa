"""The template, expanded by SAM's own translator, held against the code that runs in it."""

import ast
import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest

from handler.dynamodb import KEY, TTL_ATTRIBUTE
from handler.settings import Settings
from handler.targets import TAG
from local.stack import REGION, ROOT, SAM

HANDLER = ROOT / "src/handler"
SERVICES = ("dynamodb", "sqs", "secretsmanager")
TRANSLATE = """
import json, sys
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

class NoManagedPolicies:
    def load(self):
        return {}

template = yaml_parse(sys.stdin.read())
for resource in template["Resources"].values():
    if resource["Type"] == "AWS::Serverless::Function":
        resource["Properties"]["CodeUri"] = "s3://bucket/as-sam-deploy-uploads-it"
json.dump(transform(template, {}, NoManagedPolicies()), sys.stdout)
"""
PARAMETERS = {
    "PagerDutyBaseUrl": "PAGERDUTY_BASE_URL",
    "PagerDutyTimeout": "PAGERDUTY_TIMEOUT",
    "PagerDutyMaxRetries": "PAGERDUTY_MAX_RETRIES",
    "PagerDutyRateLimit": "PAGERDUTY_RATE_LIMIT",
    "PagerDutyCacheTtl": "PAGERDUTY_CACHE_TTL",
    "PagerDutyRepeatAfter": "PAGERDUTY_REPEAT_AFTER",
    "TargetPrefix": "PAGERDUTY_TARGET_PREFIX",
    "CloudWatchInsufficientData": "CLOUDWATCH_INSUFFICIENT_DATA",
    "LogLevel": "LOG_LEVEL",
}
PLATFORM_ACTIONS = {
    # what Powertools' circuit breaker calls beside UpdateItem
    # (https://docs.powertools.aws.dev/lambda/python/latest/utilities/circuit_breaker/)
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    # what Lambda does in the function's name: write its log, and poll the retry queue
    # (https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html)
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
    # what BatchGetSecretValue needs beside itself, with filters
    # (https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_BatchGetSecretValue.html)
    "secretsmanager:ListSecrets",
    "secretsmanager:GetSecretValue",
}


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    """The template as CloudFormation sees it."""
    done = subprocess.run(
        [SAM / "python", "-c", TRANSLATE],
        input=(ROOT / "template.yaml").read_text(),
        env={"AWS_DEFAULT_REGION": REGION},
        capture_output=True,
        text=True,
        check=True,
    )
    expanded: dict[str, Any] = json.loads(done.stdout)
    return expanded


def of_type(template: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    """Give the properties of all resources of a type, by name."""
    return {n: r.get("Properties", {}) for n, r in template["Resources"].items() if r["Type"] == kind}


def environment(template: dict[str, Any]) -> dict[str, Any]:
    """Give the function's environment."""
    (function,) = of_type(template, "AWS::Lambda::Function").values()
    variables: dict[str, Any] = function["Environment"]["Variables"]
    return variables


@cache
def modules() -> tuple[tuple[Path, ast.Module], ...]:
    """Give the syntax trees of the function's code."""
    return tuple((path, ast.parse(path.read_text())) for path in sorted(HANDLER.rglob("*.py")))


def test_every_setting_the_code_reads_is_set_and_nothing_else(template: dict[str, Any]) -> None:
    """Names in the environment are the fields of Settings, to the letter."""
    assert set(environment(template)) == set(Settings.model_fields)


def test_nothing_but_the_settings_reads_the_environment() -> None:
    """`os.environ` stands in one place, and `getenv` in none, so that Settings is the whole list."""
    readers = [
        path.name
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
    ]
    assert readers == ["app.py"]


def test_every_parameter_has_a_default_and_reaches_its_setting(template: dict[str, Any]) -> None:
    """A bare `sam deploy` works, and its defaults are settings that the code accepts, the same as its own."""
    assert [name for name, parameter in template["Parameters"].items() if "Default" not in parameter] == []
    variables = environment(template)
    assert {name: variables[setting] for name, setting in PARAMETERS.items()} == {n: {"Ref": n} for n in PARAMETERS}
    given = {setting: str(template["Parameters"][name]["Default"]) for name, setting in PARAMETERS.items()}
    required = {"DEDUP_TABLE_NAME": "t", "RETRY_QUEUE_URL": "r", "DEAD_LETTER_QUEUE_URL": "d"}
    assert Settings.from_environment({**given, **required}) == Settings.from_environment(required)


def test_the_outputs_are_those_others_rely_on(template: dict[str, Any]) -> None:
    """Their names are part of the contract."""
    assert set(template["Outputs"]) == {
        "AlertTopicArn",
        "PublisherFunctionArn",
        "DedupTableName",
        "RetryQueueUrl",
        "DeadLetterQueueUrl",
        "DashboardUrl",
    }


def called_actions() -> set[str]:
    """Find the AWS operations that the code calls, by the names botocore gives their methods."""
    called = {
        node.func.attr
        for _, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    found = set()
    for service in SERVICES:
        methods = boto3.client(service, region_name=REGION).meta.method_to_api_mapping
        found |= {f"{service}:{operation}" for method, operation in methods.items() if method in called}
    return found


def test_every_aws_call_is_allowed_and_nothing_else(template: dict[str, Any]) -> None:
    """The role allows what the code calls and what Lambda does for it, to the letter; and no managed policy."""
    (role,) = of_type(template, "AWS::IAM::Role").values()
    assert "ManagedPolicyArns" not in role
    allowed: set[str] = set()
    for policy in role["Policies"]:
        for statement in policy["PolicyDocument"]["Statement"]:
            actions = statement["Action"]
            allowed |= {actions} if isinstance(actions, str) else set(actions)
    assert called_actions() == {
        "dynamodb:UpdateItem",
        "sqs:SendMessage",
        "secretsmanager:BatchGetSecretValue",
        "secretsmanager:GetSecretValue",
    }
    assert allowed == called_actions() | PLATFORM_ACTIONS


def test_the_code_makes_clients_of_the_services_looked_at() -> None:
    """The list of services above is that of the code."""
    made = [
        node.args[0].value
        for _, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and (node.func.value.id, node.func.attr) == ("boto3", "client")
        and isinstance(node.args[0], ast.Constant)
    ]
    assert sorted(map(str, made)) == sorted(SERVICES)


def test_only_what_knows_no_resources_is_allowed_on_all(template: dict[str, Any]) -> None:
    """`Resource: *` stands for two calls of Secrets Manager alone; secrets are read by prefix and tag."""
    (role,) = of_type(template, "AWS::IAM::Role").values()
    statements = {s["Sid"]: s for policy in role["Policies"] for s in policy["PolicyDocument"]["Statement"]}
    on_all = [sid for sid, statement in statements.items() if "*" in (statement["Resource"], *statement["Resource"])]
    assert on_all == ["FindTargets"]
    assert statements["ReadTargets"]["Condition"] == {"StringEquals": {f"secretsmanager:ResourceTag/{TAG}": "true"}}
    assert "${TargetPrefix}*" in statements["ReadTargets"]["Resource"]["Fn::Sub"]


def test_the_table_is_as_the_code_writes_it(template: dict[str, Any]) -> None:
    """Its key and its TTL attribute are the code's; it is paid by request, recoverable and encrypted."""
    (table,) = of_type(template, "AWS::DynamoDB::Table").values()
    assert table["KeySchema"] == [{"AttributeName": KEY, "KeyType": "HASH"}]
    assert table["TimeToLiveSpecification"] == {"AttributeName": TTL_ATTRIBUTE, "Enabled": True}
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["SSESpecification"] == {"SSEEnabled": True}


def test_every_road_to_the_function_keeps_what_it_cannot_deliver(template: dict[str, Any]) -> None:
    """SNS, every rule, Lambda itself and the retry queue end in the dead-letter queue, and its policy lets them."""
    letters = {"Fn::GetAtt": ["DeadLetterQueue", "Arn"]}
    (subscription,) = [s for s in of_type(template, "AWS::SNS::Subscription").values() if s.get("Protocol") == "lambda"]
    assert subscription["RedrivePolicy"] == {"deadLetterTargetArn": letters}
    rules = of_type(template, "AWS::Events::Rule")
    assert rules
    assert [target["DeadLetterConfig"] for rule in rules.values() for target in rule["Targets"]] == [
        {"Arn": letters}
    ] * len(rules)
    (invoked,) = of_type(template, "AWS::Lambda::EventInvokeConfig").values()
    assert invoked["DestinationConfig"]["OnFailure"] == {"Destination": letters}
    assert of_type(template, "AWS::SQS::Queue")["RetryQueue"]["RedrivePolicy"]["deadLetterTargetArn"] == letters
    (policy,) = of_type(template, "AWS::SQS::QueuePolicy").values()
    senders = {
        statement["Principal"]["Service"]: json.dumps(statement["Condition"]["ArnEquals"]["aws:SourceArn"])
        for statement in policy["PolicyDocument"]["Statement"]
    }
    assert senders["sns.amazonaws.com"] == json.dumps({"Ref": "AlertTopic"})
    assert [name for name in rules if f'"{name}"' not in senders["events.amazonaws.com"]] == []


def test_the_rules_are_for_native_alerts_and_alarm_state_changes(template: dict[str, Any]) -> None:
    """Any source may send an `Alert`; the rule for every alarm of the account is off unless asked for."""
    rules = {rule["EventPattern"]["detail-type"][0]: rule for rule in of_type(template, "AWS::Events::Rule").values()}
    assert set(rules) == {"Alert", "CloudWatch Alarm State Change"}
    assert "source" not in rules["Alert"]["EventPattern"]
    assert rules["CloudWatch Alarm State Change"]["EventPattern"]["source"] == ["aws.cloudwatch"]
    assert rules["CloudWatch Alarm State Change"]["State"] == {"Ref": "CloudWatchAlarmRule"}
    assert template["Parameters"]["CloudWatchAlarmRule"]["Default"] == "DISABLED"


def test_the_retry_queue_gives_the_function_time_and_takes_single_failures(template: dict[str, Any]) -> None:
    """Lambda asks for a visibility timeout of six times the function's; partial batches are reported."""
    (function,) = of_type(template, "AWS::Lambda::Function").values()
    queue = of_type(template, "AWS::SQS::Queue")["RetryQueue"]
    assert queue["VisibilityTimeout"] == 6 * function["Timeout"]
    (mapping,) = of_type(template, "AWS::Lambda::EventSourceMapping").values()
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_the_routing_key_is_hidden_and_creates_a_target_only_where_it_is_given(template: dict[str, Any]) -> None:
    """NoEcho, and a secret under the prefix with the tag, on a condition."""
    assert template["Parameters"]["RoutingKey"]["NoEcho"] is True
    secret = template["Resources"]["FirstTarget"]
    assert secret["Condition"] == "HasRoutingKey"
    assert secret["Properties"]["Tags"] == [{"Key": TAG, "Value": "true"}]
    assert secret["Properties"]["Name"]["Fn::Sub"].startswith("${TargetPrefix}")


def test_operators_are_told_by_a_road_that_does_not_lead_through_the_publisher(template: dict[str, Any]) -> None:
    """The alarm on dead letters goes to a topic of its own, to which the function is not subscribed."""
    (alarm,) = of_type(template, "AWS::CloudWatch::Alarm").values()
    assert alarm["AlarmActions"] == [{"Ref": "OperatorTopic"}]
    subscribed = [
        s["TopicArn"] for s in of_type(template, "AWS::SNS::Subscription").values() if s.get("Protocol") == "lambda"
    ]
    assert subscribed == [{"Ref": "AlertTopic"}]
