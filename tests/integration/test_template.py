"""The template, expanded by SAM's own translator, held against the code that runs in it."""

import ast
import json
import re
import subprocess
import tomllib
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest

from handler import health, sources
from handler.alert import Alert
from handler.delivery.dynamodb import KEY, TTL_ATTRIBUTE
from handler.envelope import Record
from handler.metrics import (
    NAMESPACE,
    SERVICE,
    Dimension,
    Metric,
)
from handler.queues import MAX_DELAY_SECONDS
from handler.settings import Settings
from handler.sources import generic
from handler.targets.secrets import TAG
from local.stack import REGION, ROOT, SAM
from tests.lab.alerts import EVENTS, parse

HANDLER = ROOT / "src/handler"
SERVICES = ("dynamodb", "sqs", "secretsmanager", "sns")
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
DELIVERY_ACTIONS = {
    "dynamodb:PutItem",
    "dynamodb:UpdateItem",
    "dynamodb:GetItem",
    "dynamodb:BatchGetItem",
    "dynamodb:Query",
    "dynamodb:Scan",
    "sns:Publish",
}
"""What docs/design.md's records, the index of what waits, and the operators' topic need."""


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
    assert called_actions() <= allowed
    assert allowed == called_actions() | DELIVERY_ACTIONS | PLATFORM_ACTIONS


def test_the_code_makes_clients_of_the_services_looked_at() -> None:
    """The list of services above has every service of the code."""
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
    assert set(map(str, made)) <= set(SERVICES)
    assert {"dynamodb", "sqs", "secretsmanager"} <= set(map(str, made))


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
    assert table["GlobalSecondaryIndexes"] == [
        {
            "IndexName": "waiting",
            "KeySchema": [
                {"AttributeName": "waiting", "KeyType": "HASH"},
                {"AttributeName": "waiting_order", "KeyType": "RANGE"},
            ],
            "Projection": {"ProjectionType": "KEYS_ONLY"},
        }
    ]
    keys = {KEY, "waiting", "waiting_order"}
    assert table["AttributeDefinitions"] == [{"AttributeName": name, "AttributeType": "S"} for name in sorted(keys)]
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["SSESpecification"] == {"SSEEnabled": True}


def test_every_road_to_the_function_keeps_what_it_cannot_deliver(template: dict[str, Any]) -> None:
    """SNS, every rule, Lambda itself and the retry queue end in the dead-letter queue, and its policy lets them."""
    letters = {"Fn::GetAtt": ["DeadLetterQueue", "Arn"]}
    (subscription,) = [s for s in of_type(template, "AWS::SNS::Subscription").values() if s.get("Protocol") == "lambda"]
    assert subscription["RedrivePolicy"] == {"deadLetterTargetArn": letters}
    rules = {name: rule for name, rule in of_type(template, "AWS::Events::Rule").items() if "EventPattern" in rule}
    assert rules
    assert [target["DeadLetterConfig"] for rule in rules.values() for target in rule["Targets"]] == [
        {"Arn": letters}
    ] * len(rules)
    (invoked,) = of_type(template, "AWS::Lambda::EventInvokeConfig").values()
    assert invoked["DestinationConfig"]["OnFailure"] == {"Destination": letters}
    assert of_type(template, "AWS::SQS::Queue")["RetryQueue"]["RedrivePolicy"]["deadLetterTargetArn"] == letters
    (policy,) = of_type(template, "AWS::SQS::QueuePolicy").values()
    senders = {s["Principal"]["Service"]: s["Condition"] for s in policy["PolicyDocument"]["Statement"]}
    own_rules = "arn:${AWS::Partition}:events:${AWS::Region}:${AWS::AccountId}:rule/*"
    assert senders == {
        "sns.amazonaws.com": {"ArnEquals": {"aws:SourceArn": {"Ref": "AlertTopic"}}},
        "events.amazonaws.com": {"ArnLike": {"aws:SourceArn": {"Fn::Sub": own_rules}}},
    }


def rules_by_switch(template: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Give the patterns of the rules by the parameter that switches each; the native one has none."""
    rules = [rule for rule in of_type(template, "AWS::Events::Rule").values() if "EventPattern" in rule]
    return {rule.get("State", {}).get("Ref", ""): rule["EventPattern"] for rule in rules}


def test_every_rule_for_a_service_is_off_unless_asked_for(template: dict[str, Any]) -> None:
    """Installing pages nobody for what was not asked for; any source may send an `Alert`."""
    rules = rules_by_switch(template)
    assert rules.pop("") == {"detail-type": ["Alert"]}
    switches = {name: p for name, p in template["Parameters"].items() if name.endswith("Rule")}
    assert set(rules) == set(switches)
    assert {(p["Default"], *p["AllowedValues"]) for p in switches.values()} == {("DISABLED", "ENABLED", "DISABLED")}


def test_each_services_events_have_one_rule(template: dict[str, Any]) -> None:
    """Every sample of `events/` that a service puts on the bus and that is an alert is taken by exactly one rule."""
    patterns = rules_by_switch(template).values()
    for path in sorted(EVENTS.glob("*.json")):
        event = json.loads(path.read_text())
        if not str(event.get("source", "")).startswith("aws.") or "detail-type" not in event:
            continue
        taking = [p for p in patterns if all(event[field] in allowed for field, allowed in p.items())]
        pages = any(isinstance(found, Alert) for found in parse(event))
        assert len(taking) in ((1,) if pages else (0, 1)), path.name


def test_every_event_that_a_rule_takes_is_read_by_a_source_of_its_own(template: dict[str, Any]) -> None:
    """Not by the last resort, which pages for anything."""
    for pattern in rules_by_switch(template).values():
        for detail_type in pattern["detail-type"]:
            (source,) = pattern.get("source", ["my.own"])
            record = Record({}, datetime(2026, 11, 23, tzinfo=UTC), detail_type=detail_type, event_source=source)
            assert sources.source_of(record) not in (None, generic), detail_type


def test_rules_and_alarms_of_the_account_may_invoke_the_function(template: dict[str, Any]) -> None:
    """Of this account alone."""
    permissions = of_type(template, "AWS::Lambda::Permission")
    own = {p["Principal"]: p for name, p in permissions.items() if name in ("RulesOfYourOwn", "AlarmActions")}
    assert set(own) == {"events.amazonaws.com", "lambda.alarms.cloudwatch.amazonaws.com"}
    assert [p["SourceAccount"] for p in own.values()] == [{"Ref": "AWS::AccountId"}] * 2
    assert all("${AWS::AccountId}" in p["SourceArn"]["Fn::Sub"] for p in own.values())


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
    """Every alarm goes to a topic of its own, to which the function is not subscribed and that no rule leads from."""
    alarms = of_type(template, "AWS::CloudWatch::Alarm").values()
    assert [alarm["AlarmActions"] for alarm in alarms] == [[{"Ref": "OperatorTopic"}]] * len(alarms)
    assert [alarm["OKActions"] for alarm in alarms] == [[{"Ref": "OperatorTopic"}]] * len(alarms)
    subscriptions = of_type(template, "AWS::SNS::Subscription").values()
    assert [s["TopicArn"] for s in subscriptions if s.get("Protocol") == "lambda"] == [{"Ref": "AlertTopic"}]
    assert [s["Protocol"] for s in subscriptions if s["TopicArn"] == {"Ref": "OperatorTopic"}] == ["email"]
    targets = [target for rule in of_type(template, "AWS::Events::Rule").values() for target in rule["Targets"]]
    assert "OperatorTopic" not in json.dumps(targets)


def test_what_must_wake_an_operator_does(template: dict[str, Any]) -> None:
    """Each on the metric that tells; no sign of life is a sign."""
    alarms = of_type(template, "AWS::CloudWatch::Alarm")
    assert {name: alarm["MetricName"] for name, alarm in alarms.items()} == {
        "DeadLetterAlarm": "ApproximateNumberOfMessagesVisible",
        "ErrorAlarm": "Errors",
        "ThrottleAlarm": "Throttles",
        "RetryQueueStuckAlarm": "ApproximateAgeOfOldestMessage",
        "LongWaitAlarm": "TimeWaiting",
        "UnhealthyAlarm": "AllHealthy",
        "HeartbeatAlarm": "AllHealthy",
        "LostEventAlarm": "AsyncEventsDropped",
        "LostDeadLetterAlarm": "DestinationDeliveryFailures",
        "LostNotificationAlarm": "NumberOfNotificationsFailedToRedriveToDlq",
    }
    breaching = [name for name, alarm in alarms.items() if alarm["TreatMissingData"] == "breaching"]
    assert breaching == ["HeartbeatAlarm"]
    # no message can be younger than its longest delay and older than this
    assert alarms["RetryQueueStuckAlarm"]["Threshold"] > MAX_DELAY_SECONDS


def test_alarms_and_dashboard_name_metrics_that_there_are(template: dict[str, Any]) -> None:
    """With the dimensions under which they are written."""
    own = {str(metric) for metric in Metric}
    for alarm in of_type(template, "AWS::CloudWatch::Alarm").values():
        if alarm.get("Namespace") == NAMESPACE:
            assert alarm["MetricName"] in own
            assert alarm["Dimensions"] == [{"Name": "service", "Value": SERVICE}]
    for schema, metric in re.findall(
        r'SEARCH\(\'\{PagerDutyPublisher,([a-z_,]+)\} MetricName="(\w+)"', dashboard(template)
    ):
        assert metric in own
        assert set(schema.split(",")) - {"service"} <= {str(dimension) for dimension in Dimension}
    for metric in re.findall(r'\["PagerDutyPublisher", "(\w+)"', dashboard(template, raw=True)):
        assert metric in own


def test_the_dashboard_shows_every_alarm(template: dict[str, Any]) -> None:
    """At its top."""
    shown = set(re.findall(r'"\$\{(\w+Alarm)\.Arn\}"', dashboard(template, raw=True)))
    assert shown == set(of_type(template, "AWS::CloudWatch::Alarm"))


def dashboard(template: dict[str, Any], *, raw: bool = False) -> str:
    """Give the dashboard's body; unless raw, with its quotation marks unescaped."""
    (body,) = (d["DashboardBody"]["Fn::Sub"][0] for d in of_type(template, "AWS::CloudWatch::Dashboard").values())
    assert json.loads(body)["widgets"]
    return str(body) if raw else str(body).replace('\\"', '"')


def test_the_dashboard_shows_the_expressions_that_the_docs_name(template: dict[str, Any]) -> None:
    """docs/metrics.md maps each PromQL query to a metric math expression: to the very one that is shown."""
    table = (ROOT / "docs/metrics.md").read_text().partition("## PromQL")[2].partition("\n## ")[0]
    named = re.findall(r"^\| `.*` \| `(.*)` \|$", table, re.MULTILINE)
    assert len(named) == 4
    assert [expression for expression in named if expression.replace("\\|", "|") not in dashboard(template)] == []


def test_schedules_ask_for_the_health_check_and_start_drainers(template: dict[str, Any]) -> None:
    """Their input is on the target, so that anyone can invoke the function with it."""
    inputs = {
        rule["ScheduleExpression"]: json.loads(target["Input"])
        for rule in of_type(template, "AWS::Events::Rule").values()
        if "ScheduleExpression" in rule
        for target in rule["Targets"]
    }
    assert health.is_asked_for(inputs.pop("rate(5 minutes)"))
    assert inputs == {"rate(1 minute)": {"drain": True}}


def test_everything_is_encrypted_at_rest_and_the_log_ends(template: dict[str, Any]) -> None:
    """Topics by a key that CloudWatch alarms may use; queues, table and secrets by the services' own."""
    assert {t["KmsMasterKeyId"]["Fn::GetAtt"][0] for t in of_type(template, "AWS::SNS::Topic").values()} == {"TopicKey"}
    assert all(queue["SqsManagedSseEnabled"] for queue in of_type(template, "AWS::SQS::Queue").values())
    (key,) = of_type(template, "AWS::KMS::Key").values()
    assert key["EnableKeyRotation"] is True
    allowed = {s["Sid"]: s for s in key["KeyPolicy"]["Statement"]}
    publishing = {
        service
        for _, statement in statements(template, "AlertTopicPolicy").values()
        for service in listed(statement["Principal"].get("Service", []))
    }
    assert set(allowed["ServicesMayEncrypt"]["Principal"]["Service"]) == publishing
    (log,) = of_type(template, "AWS::Logs::LogGroup").values()
    assert log["RetentionInDays"] > 0


def listed(value: str | list[str]) -> list[str]:
    """Give one or several as several."""
    return [value] if isinstance(value, str) else value


def statements(template: dict[str, Any], policy: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Give the statements of a topic's policy by Sid, each with the condition that it stands under."""
    found = {}
    for statement in of_type(template, "AWS::SNS::TopicPolicy")[policy]["PolicyDocument"]["Statement"]:
        condition, inner = statement["Fn::If"][:2] if "Fn::If" in statement else ("", statement)
        found[inner["Sid"]] = (condition, inner)
    return found


def test_only_this_account_may_publish_unless_others_are_trusted(template: dict[str, Any]) -> None:
    """Services are held to an account or an organisation, so that nobody else's alarm can use them."""
    found = statements(template, "AlertTopicPolicy")
    assert {sid: condition for sid, (condition, _) in found.items()} == {
        "ServicesOfThisAccount": "",
        "EventBridgeRules": "",
        "PrincipalsOfThisAccount": "",
        "TrustedAccounts": "TrustsOthers",
        "TrustedOrganizations": "TrustsOthers",
        "ServicesOfTrustedAccounts": "TrustsOthers",
        "ServicesOfTrustedOrganizations": "TrustsOthers",
    }
    unbound = [sid for sid, (_, s) in found.items() if "Condition" not in s]
    # AWS: "You can't use Condition blocks in Amazon SNS topic policies for EventBridge"; such a rule would be silent
    assert unbound == ["EventBridgeRules", "PrincipalsOfThisAccount"]
    assert {s["Action"] for _, s in found.values()} == {"sns:Publish"}
    trusted = {"Fn::Split": [",", {"Ref": "TrustedPublishers"}]}
    conditions = [s["Condition"]["StringEquals"] for condition, s in found.values() if condition]
    assert conditions == [
        {"aws:PrincipalAccount": trusted},
        {"aws:PrincipalOrgID": trusted},
        {"aws:SourceAccount": trusted},
        {"aws:SourceOrgID": trusted},
    ]
    policies = [r for r in template["Resources"].values() if r["Type"] == "AWS::Events::EventBusPolicy"]
    assert [policy["Condition"] for policy in policies] == ["TrustsOthers"] * 2
    allowed = [policy["Properties"]["Statement"] for policy in policies]
    assert [statement["Condition"]["StringEquals"] for statement in allowed] == conditions[:2]
    assert {statement["Action"] for statement in allowed} == {"events:PutEvents"}
    operators = statements(template, "OperatorTopicPolicy")
    assert [s["Principal"] for _, s in operators.values()] == [{"Service": "cloudwatch.amazonaws.com"}]


@pytest.mark.parametrize(
    ("trusted", "valid"),
    [
        ("", True),
        ("123456789012", True),
        ("123456789012,210987654321", True),
        ("o-a1b2c3d4e5", True),
        ("123456789012, 210987654321", False),
        ("12345", False),
        ("*", False),
        ("o-a1b2c3d4e5,123456789012", True),
        ("123456789012,", False),
    ],
)
def test_who_is_trusted_is_accounts_or_organisations(template: dict[str, Any], trusted: str, valid: bool) -> None:
    pattern = template["Parameters"]["TrustedPublishers"]["AllowedPattern"]
    assert bool(re.fullmatch(pattern, trusted)) is valid


def test_every_parameter_is_explained_in_a_group(template: dict[str, Any]) -> None:
    """The routing key and an e-mail address first: nothing else matters for a start."""
    groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    grouped = [name for group in groups for name in group["Parameters"]]
    assert sorted(grouped) == sorted(template["Parameters"])
    assert grouped[:2] == list(template["Parameters"])[:2] == ["RoutingKey", "OperatorEmail"]
    assert all(len(parameter["Description"]) > 15 for parameter in template["Parameters"].values())


def test_it_can_be_published_to_the_serverless_application_repository(template: dict[str, Any]) -> None:
    """With the project's own version, licence and readme."""
    application = template["Metadata"]["AWS::ServerlessRepo::Application"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (application["SemanticVersion"], application["SpdxLicenseId"]) == (project["version"], project["license"])
    assert (ROOT / application["LicenseUrl"]).is_file()
    assert (ROOT / application["ReadmeUrl"]).is_file()
