"""What the function calls, recorded at work on the deployed stack, evaluated against its role by a simulator of IAM."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from botocore import xform_name

from handler.schedules import DRAIN, HEALTH_CHECK
from local.simulator.server import SimulatorServer
from local.stack import ROOT, Emulator, aws_environment, deploy, parameters_for
from tests.lab.alerts import EVENTS
from tests.lab.iam import IS_INSTALLED, Request, Statement, are_allowed
from tests.lab.template import ACCOUNT, deployed, listed, of_type

pytestmark = pytest.mark.skipif(not IS_INSTALLED, reason="no Node.js, or no simulator: run `make test`")

_RECORD = """
import json, sys
import botocore.session

calls = []
session = botocore.session.get_session()
botocore.session.get_session = lambda: session
session.register(
    "before-parameter-build",
    lambda params, model, **_: calls.append((model.service_model.service_name, model.name, dict(params))),
)
from handler import app

class Context:
    function_name = "publisher"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:publisher"
    aws_request_id = "request"

    def get_remaining_time_in_millis(self):
        return 60000

for event in json.load(sys.stdin):
    try:
        app.lambda_handler(event, Context())
    except Exception:
        pass
with open(sys.argv[1], "w") as file:
    json.dump(calls, file, default=str)
"""
REGION = "us-east-1"
TEMPLATE = deployed({"AgreeWithCloudWatch": "ENABLED", "VpcSubnetIds": "subnet-0a", "VpcSecurityGroupIds": "sg-0b"})
OUTPUTS = TEMPLATE["Outputs"]
TABLE = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{OUTPUTS['DedupTableName']}"
LETTERS = str(OUTPUTS["DeadLetterQueueArn"])
RETRIES = LETTERS.replace("DeadLetterQueue", "RetryQueue")
SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:pagerduty/payments-AbCdEf"
ALARM = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:cpu"
LOG = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/lambda/pagerduty-publisher-publisher:log-stream:2026/11/25/a"
OPERATORS = str(OUTPUTS["OperatorTopicArn"])
EVENTS_TO_SEND: list[Any] = [
    *(json.loads(path.read_text()) for path in sorted(EVENTS.glob("*.json"))),
    HEALTH_CHECK,
    DRAIN,
    {"alert": {"status": "unheard of"}},
]
type Use = tuple[str, str, tuple[tuple[str, str], ...]]
"""An action, a resource, and the context it is asked for in."""


def use(action: str, resource: str, **context: str) -> Use:
    """Return one use of a permission."""
    return action, resource, tuple(sorted(context.items()))


TAGGED = {"secretsmanager:ResourceTag/publishing-target": "true"}
OF_LAMBDA = {
    # its log, and the polling of the retry queue: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
    use("logs:CreateLogStream", LOG),
    use("logs:PutLogEvents", LOG),
    use("sqs:ReceiveMessage", RETRIES),
    use("sqs:DeleteMessage", RETRIES),
    use("sqs:GetQueueAttributes", RETRIES),
    # the on-failure destination: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    use("sqs:SendMessage", LETTERS),
    # its network interfaces: https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html
    *(
        use(
            f"ec2:{action}",
            "*" if action.startswith("Describe") else f"arn:aws:ec2:{REGION}:{ACCOUNT}:network-interface/*",
        )
        for action in (
            "CreateNetworkInterface",
            "DescribeNetworkInterfaces",
            "DescribeSubnets",
            "DeleteNetworkInterface",
            "AssignPrivateIpAddresses",
            "UnassignPrivateIpAddresses",
        )
    ),
}
"""What Lambda does in the function's name."""
OF_SECRETS = {
    # https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_BatchGetSecretValue.html
    use("secretsmanager:ListSecrets", "*"),
    use("secretsmanager:GetSecretValue", SECRET, **TAGGED),
    # https://docs.aws.amazon.com/secretsmanager/latest/userguide/security-encryption.html
    use(
        "kms:Decrypt",
        f"arn:aws:kms:{REGION}:{ACCOUNT}:key/mine",
        **{
            "kms:ViaService": f"secretsmanager.{REGION}.amazonaws.com",
            "kms:EncryptionContext:SecretARN": SECRET,
        },
    ),
}
"""What Secrets Manager does in the function's name when it reads targets, also those under a customer's key."""
IN_NEED = {
    # a wait that is read back, a backlog, and what is reported of it
    use("dynamodb:PutItem", TABLE),
    use("dynamodb:UpdateItem", TABLE),
    use("dynamodb:GetItem", TABLE),
    use("dynamodb:BatchGetItem", TABLE),
    use("dynamodb:Query", f"{TABLE}/index/waiting"),
    use("dynamodb:Scan", f"{TABLE}/index/waiting"),
    use("sqs:GetQueueAttributes", LETTERS),
    use("sqs:ReceiveMessage", LETTERS),
    use("sqs:ChangeMessageVisibility", LETTERS),
    use("sns:Publish", OPERATORS),
    # the comparison with CloudWatch, of which the emulator knows too little
    use("cloudwatch:DescribeAlarms", "*"),
    use("cloudwatch:ListAlarmMuteRules", "*"),
    use("cloudwatch:GetAlarmMuteRule", f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm-mute-rule:night"),
    use("cloudwatch:ListTagsForResource", ALARM),
    use("sns:ListSubscriptionsByTopic", f"arn:aws:sns:{REGION}:{ACCOUNT}:existing"),
}
"""What the recorded run need not come to."""
TOO_NEW = {
    use("cloudwatch:DescribeAlarmContributors", "*"),
}
"""What the simulator of IAM does not know yet."""
FORBIDDEN = {
    use("secretsmanager:GetSecretValue", SECRET),
    use("secretsmanager:GetSecretValue", SECRET.replace("pagerduty/", "database/"), **TAGGED),
    use("secretsmanager:PutSecretValue", SECRET, **TAGGED),
    use("kms:Decrypt", f"arn:aws:kms:{REGION}:{ACCOUNT}:key/mine"),
    use(
        "kms:Decrypt",
        f"arn:aws:kms:{REGION}:{ACCOUNT}:key/mine",
        **{
            "kms:ViaService": f"secretsmanager.{REGION}.amazonaws.com",
            "kms:EncryptionContext:SecretARN": SECRET.replace("pagerduty/", "database/"),
        },
    ),
    use("dynamodb:PutItem", f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/another"),
    use("dynamodb:DeleteTable", TABLE),
    use("sqs:DeleteMessage", LETTERS),
    use("sns:Publish", str(OUTPUTS["AlertTopicArn"])),
}
"""What the role must not allow."""


def uses(service: str, operation: str, parameters: Mapping[str, Any]) -> set[Use]:
    """Return what IAM is asked for when the function makes a call."""
    action = f"{service}:{operation}"
    match service:
        case "dynamodb":
            index = f"/index/{parameters['IndexName']}" if "IndexName" in parameters else ""
            return {use(action, f"{TABLE}{index}")}
        case "sqs":
            queue = LETTERS if "DeadLetterQueue" in parameters["QueueUrl"] else RETRIES
            return {use(action.removesuffix("Batch"), queue)}
        case "secretsmanager":
            if operation == "GetSecretValue":
                return {use(action, SECRET, **TAGGED)}
            return {use(action, "*")}
        case "sns":
            return {use(action, OPERATORS)}
        case "cloudwatch":
            return {use(action, "*")}
    raise NotImplementedError(action)


def role() -> list[Statement]:
    """Return the statements of the role."""
    found = of_type(TEMPLATE, "AWS::IAM::Role")["PublisherRole"]
    assert "ManagedPolicyArns" not in found
    return [statement for policy in found["Policies"] for statement in policy["PolicyDocument"]["Statement"]]


def allowed(needed: Sequence[Use], statements: Sequence[Statement]) -> list[bool]:
    """Return of each use whether the role allows it."""
    requests = [
        Request(
            principal=f"arn:aws:sts::{ACCOUNT}:assumed-role/publisher/session",
            action=action,
            resource=resource,
            context=dict(context),
            own_policy=statements,
        )
        for action, resource, context in needed
    ]
    # a key's policy has a word in it: here one that leaves it to IAM, as AWS writes it for a new key
    root = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    key_policy = [{"Effect": "Allow", "Principal": root, "Action": "kms:*", "Resource": "*"}]
    return are_allowed([(each, key_policy if each.action.startswith("kms:") else None) for each in requests])


@pytest.fixture(scope="module")
def recorded(own_emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[set[Use]]:
    """What the function uses for all samples, a health check and a drain, with PagerDuty and without.

    It works in an account of its own, so that its dead letters and alarms disturb nobody.
    """
    prefix = "permissions/"
    with SimulatorServer() as simulator:
        parameters = parameters_for(simulator.url, TargetPrefix=prefix, NativeAlertRule="DISABLED")
        outputs = deploy(own_emulator, parameters, stack_name="permissions")
        function = own_emulator.client("lambda").get_function_configuration(
            FunctionName=outputs["PublisherFunctionArn"]
        )
        environment = {
            **aws_environment(own_emulator.endpoint),
            **function["Environment"]["Variables"],
            "PYTHONPATH": str(ROOT / "src"),
            "PAGERDUTY_MAX_RETRIES": "0",
        }
        found: set[Use] = set()
        for number, base_url in enumerate((simulator.url, "http://127.0.0.1:9")):
            calls = tmp_path_factory.mktemp("calls") / f"{number}.json"
            subprocess.run(
                [sys.executable, "-c", _RECORD, calls],
                input=json.dumps(EVENTS_TO_SEND),
                env={**environment, "PAGERDUTY_BASE_URL": base_url},
                text=True,
                stdout=subprocess.DEVNULL,
                check=True,
            )
            for service, operation, parameters in json.loads(calls.read_text()):
                found |= uses(service, operation, parameters)
        yield found


def test_every_call_of_the_function_is_allowed(recorded: set[Use]) -> None:
    """And what Lambda and Secrets Manager do in its name."""
    assert {action.split(":")[0] for action, _, _ in recorded} >= {"dynamodb", "secretsmanager", "sqs"}
    needed = sorted(recorded | OF_LAMBDA | OF_SECRETS | IN_NEED)
    assert [each for each, is_allowed in zip(needed, allowed(needed, role()), strict=True) if not is_allowed] == []


def test_the_role_allows_no_more(recorded: set[Use]) -> None:
    """Each of its actions is used, and other secrets, keys and tables are out of its reach."""
    actions = {action for statement in role() for action in listed(statement["Action"])}
    assert actions == {action for action, _, _ in recorded | OF_LAMBDA | OF_SECRETS | IN_NEED | TOO_NEW}
    forbidden = sorted(FORBIDDEN)
    assert [each for each, is_allowed in zip(forbidden, allowed(forbidden, role()), strict=True) if is_allowed] == []


def test_what_the_run_need_not_come_to_is_in_the_code() -> None:
    """A call that is gone from the code needs no permission: each of these is made, or handed on, somewhere."""
    made = set(re.findall(r"\.(\w+)[(,]", "\n".join(path.read_text() for path in (ROOT / "src/handler").rglob("*.py"))))
    calls = {action: xform_name(action.partition(":")[2]) for action, _, _ in IN_NEED | TOO_NEW}
    assert {action for action, call in calls.items() if not {call, f"{call}_batch"} & made} == set()


@pytest.mark.parametrize("sid", [statement["Sid"] for statement in role()])
def test_every_statement_of_the_role_is_needed(recorded: set[Use], sid: str) -> None:
    """Without it, something that the function, Lambda or Secrets Manager does is denied."""
    needed = sorted(recorded | OF_LAMBDA | OF_SECRETS | IN_NEED)
    assert not all(allowed(needed, [statement for statement in role() if statement["Sid"] != sid]))
