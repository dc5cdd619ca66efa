"""The template's parameters, settings and outputs, held against the code that runs in it.

What arrives and where it ends is in `test_template_delivery`, what wakes an operator in `test_template_watching`,
who may do what in `test_permissions`, and what AWS does that no local run shows in `test_aws_facts`.
"""

import ast
import json
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from handler.delivery.dynamodb import KEY, TTL_ATTRIBUTE
from handler.errors import SettingsError
from handler.settings import Settings
from handler.targets.secrets import TAG
from local.stack import ROOT
from tests.lab.template import ACCOUNT, deployed, of_type

HANDLER = ROOT / "src/handler"
SETTINGS = {
    "PagerDutyBaseUrl": "PAGERDUTY_BASE_URL",
    "PagerDutyTimeout": "PAGERDUTY_TIMEOUT",
    "PagerDutyMaxRetries": "PAGERDUTY_MAX_RETRIES",
    "PagerDutyRateLimit": "PAGERDUTY_RATE_LIMIT",
    "PagerDutyCacheTtl": "PAGERDUTY_CACHE_TTL",
    "PagerDutyRepeatAfter": "PAGERDUTY_REPEAT_AFTER",
    "TargetPrefix": "PAGERDUTY_TARGET_PREFIX",
    "CloudWatchInsufficientData": "CLOUDWATCH_INSUFFICIENT_DATA",
    "HeartbeatUrl": "HEARTBEAT_URL",
    "AccountNames": "ACCOUNT_NAMES",
    "LogLevel": "LOG_LEVEL",
    "LogBodies": "LOG_BODIES",
}
"""The parameters whose value is a setting's."""
EVERYTHING = {"HttpsProxy": "http://proxy.internal:3128", "TrustedPublishers": "111122223333"}
"""Parameters without which a setting is left out."""


def function(template: dict[str, Any]) -> dict[str, Any]:
    """Return the function's properties."""
    (found,) = of_type(template, "AWS::Lambda::Function").values()
    return found


def environment(template: dict[str, Any]) -> dict[str, Any]:
    """Return the function's environment."""
    variables: dict[str, Any] = function(template)["Environment"]["Variables"]
    return variables


@cache
def modules() -> tuple[tuple[Path, ast.Module], ...]:
    """Return the syntax trees of the function's code."""
    return tuple((path, ast.parse(path.read_text())) for path in sorted(HANDLER.rglob("*.py")))


def test_every_setting_the_code_reads_is_set_and_nothing_else() -> None:
    """Names in the environment are the fields of Settings; two depend on a parameter, and are absent without it."""
    assert set(environment(deployed(EVERYTHING))) == set(Settings.model_fields)
    missing = set(Settings.model_fields) - set(environment(deployed()))
    assert missing == {"HTTPS_PROXY", "FOREIGN_TOPIC_ARN"}


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
    assert {name: variables[setting] for name, setting in SETTINGS.items()} == {n: {"Ref": n} for n in SETTINGS}
    given = {setting: str(template["Parameters"][name]["Default"]) for name, setting in SETTINGS.items()}
    required = {"DEDUP_TABLE_NAME": "t", "RETRY_QUEUE_URL": "r", "DEAD_LETTER_QUEUE_URL": "d"}
    assert Settings.from_environment({**given, **required}) == Settings.from_environment(required)


@pytest.mark.parametrize(
    ("parameters", "scope"),
    [
        ({}, "wired"),
        ({"CloudWatchAlarmRule": "ENABLED"}, "all"),
        ({"AgreeWithCloudWatch": "DISABLED"}, "off"),
        ({"AgreeWithCloudWatch": "DISABLED", "CloudWatchAlarmRule": "ENABLED"}, "off"),
    ],
)
def test_the_scope_of_the_agreement_with_cloudwatch(parameters: dict[str, str], scope: str) -> None:
    """Alarms that name this stack, unless the rule for all of them is on; none where it is switched off."""
    assert environment(deployed(parameters))["AGREE_WITH_CLOUDWATCH"] == scope


def test_what_is_empty_is_left_out() -> None:
    """A parameter left empty means no VPC, reservation, boundary or proxy; one that is set reaches the function."""
    assert not {"VpcConfig", "ReservedConcurrentExecutions"} & set(function(deployed()))
    assert "PermissionsBoundary" not in of_type(deployed(), "AWS::IAM::Role")["PublisherRole"]
    given = {
        "VpcSubnetIds": "subnet-0a,subnet-0b",
        "VpcSecurityGroupIds": "sg-0c",
        "ReservedConcurrency": "20",
        "PermissionsBoundary": f"arn:aws:iam::{ACCOUNT}:policy/boundary",
        "HttpsProxy": "http://proxy.internal:3128",
        "MemorySize": "1024",
    }
    template = deployed(given)
    assert function(template)["VpcConfig"] == {"SubnetIds": ["subnet-0a", "subnet-0b"], "SecurityGroupIds": ["sg-0c"]}
    assert function(template)["ReservedConcurrentExecutions"] == "20"
    assert function(template)["MemorySize"] == "1024"
    assert environment(template)["HTTPS_PROXY"] == given["HttpsProxy"]
    role = of_type(template, "AWS::IAM::Role")["PublisherRole"]
    assert role["PermissionsBoundary"] == given["PermissionsBoundary"]


@pytest.mark.parametrize("text", ["10s", "1.5s", "100ms", "24h", "1d12h", "10", "ten seconds", "5 m", "", "-5s", "5w"])
def test_the_template_takes_the_durations_that_the_function_reads(template: dict[str, Any], text: str) -> None:
    """So that a wrong one stops the deployment, and not the function."""
    required = {"DEDUP_TABLE_NAME": "t", "RETRY_QUEUE_URL": "r", "DEAD_LETTER_QUEUE_URL": "d"}
    for name in ("PagerDutyTimeout", "PagerDutyCacheTtl", "PagerDutyRepeatAfter"):
        is_taken = bool(re.fullmatch(template["Parameters"][name]["AllowedPattern"], text))
        try:
            Settings.from_environment({**required, SETTINGS[name]: text})
        except SettingsError:
            assert not is_taken
        else:
            assert is_taken


def test_subnets_without_security_groups_are_refused(template: dict[str, Any]) -> None:
    """Before anything is made, with a message that names both parameters."""
    (rule,) = template["Rules"].values()
    (assertion,) = rule["Assertions"]
    assert assertion["AssertDescription"] == "VpcSubnetIds needs VpcSecurityGroupIds"


@pytest.mark.parametrize(
    ("name", "value", "valid"),
    [
        ("TrustedPublishers", "", True),
        ("TrustedPublishers", "123456789012", True),
        ("TrustedPublishers", "123456789012,210987654321", True),
        ("TrustedPublishers", "o-a1b2c3d4e5,123456789012", True),
        ("TrustedPublishers", "123456789012, 210987654321", False),
        ("TrustedPublishers", "12345", False),
        ("TrustedPublishers", "*", False),
        ("TrustedPublishers", "123456789012,", False),
        ("AccountNames", "", True),
        ("AccountNames", "123456789012=production,210987654321=staging", True),
        ("AccountNames", "production=123456789012", False),
        ("OperatorEmail", "", True),
        ("OperatorEmail", "operators@example.com", True),
        ("OperatorEmail", "operators", False),
        ("HeartbeatUrl", "https://hc-ping.com/abc", True),
        ("HeartbeatUrl", "http://hc-ping.com/abc", False),
        ("HttpsProxy", "http://proxy.internal:3128", True),
        ("HttpsProxy", "proxy.internal:3128", False),
        ("ReservedConcurrency", "", True),
        ("ReservedConcurrency", "10", True),
        ("ReservedConcurrency", "0", False),
        ("PermissionsBoundary", "arn:aws-us-gov:iam::123456789012:policy/a/b", True),
        ("PermissionsBoundary", "boundary", False),
        ("VpcSubnetIds", "subnet-0a1b2c3d,subnet-4e5f", True),
        ("VpcSubnetIds", "subnet-0a1b2c3d, subnet-4e5f", False),
        ("VpcSecurityGroupIds", "sg-0a1b2c3d", True),
        ("RoutingKey", "", True),
        ("RoutingKey", "R" + "0a" * 15 + "Z", True),
        ("RoutingKey", "0123", False),
        ("PagerDutyBaseUrl", "https://events.pagerduty.com", True),
        ("PagerDutyBaseUrl", "https://events.eu.pagerduty.com/", True),
        ("PagerDutyBaseUrl", "http://127.0.0.1:8080", True),
        ("PagerDutyBaseUrl", "http://events.pagerduty.com", False),
        ("PagerDutyBaseUrl", "https://events.pagerduty.com.evil.example", False),
        ("PagerDutyBaseUrl", "https://events.pagerduty.com@evil.example", False),
        ("PagerDutyTimeout", "1m30s", True),
        ("PagerDutyTimeout", "10", False),
        ("PagerDutyCacheTtl", "24h", True),
        ("PagerDutyRepeatAfter", "five minutes", False),
    ],
)
def test_a_parameter_that_cannot_be_right_is_refused(
    template: dict[str, Any], name: str, value: str, valid: bool
) -> None:
    """By its pattern, before anything is changed."""
    assert bool(re.fullmatch(template["Parameters"][name]["AllowedPattern"], value)) is valid


def test_the_outputs_are_those_others_rely_on() -> None:
    """Their names are part of the contract; some are there only where what they name is."""
    always = {
        "AlertTopicArn",
        "PublisherFunctionArn",
        "DedupTableName",
        "RetryQueueUrl",
        "DeadLetterQueueUrl",
        "DeadLetterQueueArn",
        "OperatorTopicArn",
        "TopicKeyArn",
    }
    assert set(deployed()["Outputs"]) == always | {"DashboardUrl"}
    assert set(deployed({"Dashboard": "DISABLED"})["Outputs"]) == always
    foreign = {"ForeignTopicArn", "ForeignEventBusArn"}
    assert set(deployed({"TrustedPublishers": "111122223333"})["Outputs"]) == always | {"DashboardUrl"} | foreign


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("eu-central-1", "eu-central-1.console.aws.amazon.com"),
        ("us-gov-west-1", "us-gov-west-1.console.amazonaws-us-gov.com"),
        ("cn-north-1", "cn-north-1.console.amazonaws.cn"),
    ],
)
def test_the_console_is_that_of_the_partition(region: str, host: str) -> None:
    """Each partition has a host of its own.

    https://docs.aws.amazon.com/govcloud-us/latest/UserGuide/getting-started-sign-in.html
    https://docs.amazonaws.cn/en_us/aws/latest/userguide/console.html
    """
    assert deployed(region=region)["Outputs"]["DashboardUrl"].startswith(
        f"https://{host}/cloudwatch/home?region={region}#"
    )


def test_the_table_is_as_the_code_writes_it(template: dict[str, Any]) -> None:
    """Its key, its index of what waits and its TTL attribute; it is paid by request, recoverable and encrypted."""
    (table,) = of_type(template, "AWS::DynamoDB::Table").values()
    assert table["KeySchema"] == [{"AttributeName": KEY, "KeyType": "HASH"}]
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
    assert table["TimeToLiveSpecification"] == {"AttributeName": TTL_ATTRIBUTE, "Enabled": True}
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["SSESpecification"] == {"SSEEnabled": True}


def test_deleting_the_stack_deletes_no_waiting_page(template: dict[str, Any]) -> None:
    """Table and queues stay, except where their own creation failed; nothing else does.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-attribute-deletionpolicy.html
    """
    kept = {name: r["DeletionPolicy"] for name, r in template["Resources"].items() if "DeletionPolicy" in r}
    assert kept == dict.fromkeys(("DedupTable", "RetryQueue", "DeadLetterQueue"), "RetainExceptOnCreate")
    assert {template["Resources"][name]["UpdateReplacePolicy"] for name in kept} == {"Retain"}


def test_the_routing_key_is_hidden_and_creates_a_target_only_where_it_is_given() -> None:
    """NoEcho, and a secret under the prefix with the tag, on a condition."""
    assert deployed()["Parameters"]["RoutingKey"]["NoEcho"] is True
    assert "FirstTarget" not in deployed()["Resources"]
    key = "0123456789abcdef0123456789abcdef"
    template = deployed({"RoutingKey": key, "TargetPrefix": "pagerduty-staging/"})
    (secret,) = of_type(template, "AWS::SecretsManager::Secret").values()
    assert secret["Tags"] == [{"Key": TAG, "Value": "true"}]
    assert secret["Name"].startswith("pagerduty-staging/")
    assert json.loads(secret["SecretString"])["headers"] == {"routing_key": key}


def test_everything_is_encrypted_at_rest_and_the_log_ends(template: dict[str, Any]) -> None:
    """Topics by a key that CloudWatch alarms may use; queues, table and secrets by the services' own."""
    assert {t["KmsMasterKeyId"]["Fn::GetAtt"][0] for t in of_type(template, "AWS::SNS::Topic").values()} == {"TopicKey"}
    assert all(queue["SqsManagedSseEnabled"] for queue in of_type(template, "AWS::SQS::Queue").values())
    (key,) = of_type(template, "AWS::KMS::Key").values()
    assert key["EnableKeyRotation"] is True
    (log,) = of_type(template, "AWS::Logs::LogGroup").values()
    assert log["RetentionInDays"] > 0


def test_every_parameter_is_explained_in_a_group(template: dict[str, Any]) -> None:
    """The routing key and an e-mail address first: nothing else matters for a start."""
    groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    grouped = [name for group in groups for name in group["Parameters"]]
    assert sorted(grouped) == sorted(template["Parameters"])
    assert grouped[:2] == list(template["Parameters"])[:2] == ["RoutingKey", "OperatorEmail"]
    assert all(len(parameter["Description"]) > 15 for parameter in template["Parameters"].values())


def test_it_can_be_published_to_the_serverless_application_repository(template: dict[str, Any]) -> None:
    """With the project's own version, licence and readme, in the forms that the repository accepts.

    https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/serverless-sam-template-publishing-applications-metadata-properties.html
    """
    application = template["Metadata"]["AWS::ServerlessRepo::Application"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (application["SemanticVersion"], application["SpdxLicenseId"]) == (project["version"], project["license"])
    assert template["Description"].startswith(f"PagerDuty Publisher {project['version']} - ")
    assert (ROOT / application["LicenseUrl"]).is_file()
    assert (ROOT / application["ReadmeUrl"]).is_file()
    assert re.fullmatch(r"[a-zA-Z0-9-]{1,140}", application["Name"])
    assert re.fullmatch(r"[a-z0-9](([a-z0-9]|-(?!-))*[a-z0-9])?", application["Author"])
    assert len(application["Author"]) <= 127
    assert len(application["Description"]) <= 256
    assert len(application["Labels"]) <= 10
    assert all(re.fullmatch(r"[a-zA-Z0-9+\-_:/@]{1,127}", label) for label in application["Labels"])
