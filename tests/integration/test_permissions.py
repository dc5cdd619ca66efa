"""Who may do what, evaluated by a simulator of IAM with resources, conditions and resource policies.

Each service's delivery is evaluated as its documentation says it asks for it. Removing any statement of a policy makes
a test fail. What the function itself calls is recorded in `tests/e2e/test_permissions.py`, with the function at work.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest

from tests.lab.iam import IS_INSTALLED, Request, Statement, are_allowed
from tests.lab.template import ACCOUNT, deployed, listed, of_type

pytestmark = pytest.mark.skipif(not IS_INSTALLED, reason="no Node.js, or no simulator: run `make test`")

OTHER = "111122223333"
MEMBER = "444455556666"
"""An account of the trusted organisation."""
STRANGER = "999988887777"
ORGANIZATION = "o-a1b2c3d4e5"
REGION = "us-east-1"
EVERYTHING = deployed({"TrustedPublishers": f"{OTHER},{ORGANIZATION}", "EventBridgeToTopic": "ENABLED"})
CLOSED = deployed()


def arn(service: str, resource: str, account: str = ACCOUNT) -> str:
    """Return an ARN of the region that is looked at."""
    return f"arn:aws:{service}:{REGION}:{account}:{resource}"


def policies(template: dict[str, Any]) -> dict[str, list[Statement]]:
    """Return the statements of all resource policies, by what they belong to."""
    found: dict[str, list[Statement]] = {
        "TopicKey": of_type(template, "AWS::KMS::Key")["TopicKey"]["KeyPolicy"]["Statement"]
    }
    for kind in ("AWS::SNS::TopicPolicy", "AWS::SQS::QueuePolicy"):
        for name, policy in of_type(template, kind).items():
            found[name.removesuffix("Policy")] = policy["PolicyDocument"]["Statement"]
    found["ForeignEventBus"] = [
        {"Sid": policy["StatementId"], **policy["Statement"]}
        for policy in of_type(template, "AWS::Events::EventBusPolicy").values()
    ]
    own = ("RulesOfYourOwn", "TopicsOfYourOwn", "AlarmActions")
    found["PublisherFunction"] = [
        permission_statement(name, of_type(template, "AWS::Lambda::Permission")[name], template) for name in own
    ]
    return found


def permission_statement(name: str, permission: Mapping[str, Any], template: dict[str, Any]) -> Statement:
    """Return the statement that AddPermission writes.

    https://docs.aws.amazon.com/lambda/latest/api/API_AddPermission.html
    """
    condition: dict[str, Any] = {"ArnLike": {"aws:SourceArn": permission["SourceArn"]}}
    if "SourceAccount" in permission:
        condition["StringEquals"] = {"aws:SourceAccount": permission["SourceAccount"]}
    return {
        "Sid": name,
        "Effect": "Allow",
        "Principal": {"Service": permission["Principal"]},
        "Action": permission["Action"],
        "Resource": template["Outputs"]["PublisherFunctionArn"],
        "Condition": condition,
    }


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """Something that somebody does to a resource of the stack, and whether it has to work.

    Attributes:
        to: the resource, by its name in the template.
        expected: whether it is allowed in a stack that trusts others and lets EventBridge publish.
        when_closed: whether it is allowed in a stack with its defaults; the same, unless given.
    """

    name: str
    to: str
    principal: str
    action: str
    context: Mapping[str, str] = field(default_factory=dict)
    own_policy: Sequence[Statement] = ()
    expected: bool = True
    when_closed: bool | None = None

    def request(self, template: dict[str, Any]) -> Request:
        return Request(
            principal=self.principal,
            action=self.action,
            resource=resource_arn(template, self.to),
            context=self.context,
            own_policy=self.own_policy,
        )


def resource_arn(template: dict[str, Any], name: str) -> str:
    """Return the ARN of what a policy belongs to."""
    outputs = template["Outputs"]
    if name == "RetryQueue":
        return str(outputs["DeadLetterQueueArn"]).replace("DeadLetterQueue", "RetryQueue")
    output = {"PublisherFunction": "PublisherFunctionArn"}.get(name, f"{name}Arn")
    return str(outputs[output])


def role(account: str) -> str:
    """Return somebody's role."""
    return f"arn:aws:iam::{account}:role/publisher"


def may(*actions: str) -> list[Statement]:
    """Return a policy of a principal's own."""
    return [{"Effect": "Allow", "Action": list(actions), "Resource": "*"}]


TLS = {"aws:SecureTransport": "true"}
PLAIN = {"aws:SecureTransport": "false"}
SERVICES = {
    "cloudwatch.amazonaws.com": arn("cloudwatch", "alarm:cpu"),
    "aps.amazonaws.com": arn("aps", "workspace/ws-1"),
    "events.rds.amazonaws.com": arn("rds", "es:databases"),
    "backup.amazonaws.com": arn("backup", "backup-vault:vault"),
    "codestar-notifications.amazonaws.com": arn("codestar-notifications", "notificationrule/abc"),
}
"""What publishes, and for which resource.

https://docs.aws.amazon.com/sns/latest/dg/sns-access-policy-use-cases.html
https://docs.aws.amazon.com/prometheus/latest/userguide/AMP-alertmanager-receiver-AMPpermission.html
https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_Events.GrantingPermissions.html
https://docs.aws.amazon.com/aws-backup/latest/devguide/backup-notifications.html
https://docs.aws.amazon.com/dtconsole/latest/userguide/set-up-sns.html
"""


USES_OF_THE_KEY = ("kms:GenerateDataKey", "kms:Decrypt")
"""What SNS needs of whoever publishes: https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html"""


def encrypting(topic: str, **more: str) -> dict[str, str]:
    """Return the context in which SNS uses the topic's key for whoever publishes.

    https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html
    """
    return {
        "kms:EncryptionContext:aws:sns:topicArn": str(EVERYTHING["Outputs"][f"{topic}Arn"]),
        **more,
    }


def of_services() -> Iterator[Delivery]:
    """What services publish, in this account and in others."""
    for service, source in SERVICES.items():
        for account, topic, allowed in ((ACCOUNT, "AlertTopic", True), (OTHER, "ForeignTopic", True)):
            context = {"aws:SourceAccount": account, "aws:SourceArn": source.replace(ACCOUNT, account)}
            closed = allowed if account == ACCOUNT else None
            yield Delivery(
                name=f"{service} of {account} publishes",
                to=topic,
                principal=service,
                action="sns:Publish",
                context={**TLS, **context},
                when_closed=closed,
            )
            for action in USES_OF_THE_KEY:
                yield Delivery(
                    name=f"{service} of {account} encrypts",
                    to="TopicKey",
                    principal=service,
                    action=action,
                    context=encrypting(topic, **context),
                    when_closed=account == ACCOUNT,
                )
        yield Delivery(
            name=f"{service} gives KMS no account",
            to="TopicKey",
            principal=service,
            action="kms:GenerateDataKey",
            context=encrypting("AlertTopic"),
        )
        member = {"aws:SourceAccount": MEMBER, "aws:SourceOrgID": ORGANIZATION}
        yield Delivery(
            name=f"{service} of a trusted organisation publishes",
            to="ForeignTopic",
            principal=service,
            action="sns:Publish",
            context={**TLS, **member},
        )
        for action in USES_OF_THE_KEY:
            yield Delivery(
                name=f"{service} of a trusted organisation encrypts",
                to="TopicKey",
                principal=service,
                action=action,
                context=encrypting("ForeignTopic", **member),
                when_closed=False,
            )
        strange = {"aws:SourceAccount": STRANGER, "aws:SourceOrgID": "o-zzzzzzzzzz"}
        for topic in ("AlertTopic", "ForeignTopic"):
            yield Delivery(
                name=f"{service} of a stranger",
                to=topic,
                principal=service,
                action="sns:Publish",
                context={**TLS, **strange},
                expected=False,
            )
        yield Delivery(
            name=f"{service} of a stranger encrypts",
            to="TopicKey",
            principal=service,
            action="kms:GenerateDataKey",
            context=encrypting("AlertTopic", **strange),
            expected=False,
        )
        yield Delivery(
            name=f"{service} of a trusted account to this account's topic",
            to="AlertTopic",
            principal=service,
            action="sns:Publish",
            context={**TLS, "aws:SourceAccount": OTHER},
            expected=False,
        )


def of_principals() -> Iterator[Delivery]:
    """What people and programs publish, here and elsewhere, and what others put on their bus."""
    here = {"aws:PrincipalAccount": ACCOUNT, **TLS}
    there = {"aws:PrincipalAccount": OTHER, **TLS}
    member = {"aws:PrincipalAccount": MEMBER, "aws:PrincipalOrgID": ORGANIZATION, **TLS}
    strange = {"aws:PrincipalAccount": STRANGER, "aws:PrincipalOrgID": "o-zzzzzzzzzz", **TLS}
    publish = may("sns:Publish", "kms:GenerateDataKey*", "kms:Decrypt", "events:PutEvents")
    via = {"kms:ViaService": f"sns.{REGION}.amazonaws.com"}
    yield Delivery(
        name="a role of this account that may publish",
        to="AlertTopic",
        principal=role(ACCOUNT),
        action="sns:Publish",
        context=here,
        own_policy=may("sns:Publish"),
    )
    for action in USES_OF_THE_KEY:
        yield Delivery(
            name="the key is used for it without a permission of its own",
            to="TopicKey",
            principal=role(ACCOUNT),
            action=action,
            context=encrypting("AlertTopic", **via, **{"kms:CallerAccount": ACCOUNT}),
        )
    yield Delivery(
        name="not for anything but the stack's topics",
        to="TopicKey",
        principal=role(ACCOUNT),
        action="kms:Decrypt",
        context={**via, "kms:CallerAccount": ACCOUNT, "kms:EncryptionContext:aws:sns:topicArn": arn("sns", "mine")},
        expected=False,
    )
    yield Delivery(
        name="the account administers the key",
        to="TopicKey",
        principal=role(ACCOUNT),
        action="kms:ScheduleKeyDeletion",
        own_policy=may("kms:*"),
    )
    for who, account, context in (("account", OTHER, there), ("organisation", MEMBER, member)):
        for to, action in (("ForeignTopic", "sns:Publish"), ("ForeignEventBus", "events:PutEvents")):
            yield Delivery(
                name=f"a role of a trusted {who}",
                to=to,
                principal=role(account),
                action=action,
                context=context,
                own_policy=publish,
            )
        for action in USES_OF_THE_KEY:
            yield Delivery(
                name=f"the key for a trusted {who}",
                to="TopicKey",
                principal=role(account),
                action=action,
                context=encrypting("ForeignTopic", **via, **{"kms:CallerAccount": account}, **context),
                own_policy=publish,
                when_closed=False,
            )
        yield Delivery(
            name=f"a trusted {who} to this account's topic",
            to="AlertTopic",
            principal=role(account),
            action="sns:Publish",
            context=context,
            own_policy=publish,
            expected=False,
        )
    for to, action in (
        ("AlertTopic", "sns:Publish"),
        ("ForeignTopic", "sns:Publish"),
        ("OperatorTopic", "sns:Publish"),
        ("ForeignEventBus", "events:PutEvents"),
    ):
        yield Delivery(
            name="a stranger",
            to=to,
            principal=role(STRANGER),
            action=action,
            context=strange,
            own_policy=publish,
            expected=False,
        )


def of_plumbing() -> Iterator[Delivery]:
    """Invocations of the function, dead letters, alarms for operators, and EventBridge on the topic."""
    alarm = {"aws:SourceAccount": ACCOUNT, "aws:SourceArn": arn("cloudwatch", "alarm:cpu")}
    yield Delivery(
        name="Amazon Managed Prometheus looks at the topic",
        to="AlertTopic",
        principal="aps.amazonaws.com",
        action="sns:GetTopicAttributes",
        context={**TLS, "aws:SourceAccount": ACCOUNT, "aws:SourceArn": SERVICES["aps.amazonaws.com"]},
    )
    yield Delivery(
        name="alarms tell operators",
        to="OperatorTopic",
        principal="cloudwatch.amazonaws.com",
        action="sns:Publish",
        context={**TLS, **alarm},
    )
    yield Delivery(
        name="alarms of others do not",
        to="OperatorTopic",
        principal="cloudwatch.amazonaws.com",
        action="sns:Publish",
        context={**TLS, "aws:SourceAccount": OTHER},
        expected=False,
    )
    # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html: no account, no rule
    yield Delivery(
        name="EventBridge on the topic",
        to="AlertTopic",
        principal="events.amazonaws.com",
        action="sns:Publish",
        context=TLS,
        when_closed=False,
    )
    for action in USES_OF_THE_KEY:
        yield Delivery(
            name="EventBridge and the key",
            to="TopicKey",
            principal="events.amazonaws.com",
            action=action,
            context=encrypting("AlertTopic"),
            when_closed=False,
        )
    for account, allowed in ((ACCOUNT, True), (STRANGER, False)):
        rule = {"aws:SourceArn": arn("events", "rule/mine", account)}  # it gives Lambda no aws:SourceAccount
        topic = {"aws:SourceArn": arn("sns", "existing", account)}
        yield Delivery(
            name=f"a rule of {account} invokes",
            to="PublisherFunction",
            principal="events.amazonaws.com",
            action="lambda:InvokeFunction",
            context=rule,
            expected=allowed,
        )
        yield Delivery(
            name=f"a topic of {account} invokes",
            to="PublisherFunction",
            principal="sns.amazonaws.com",
            action="lambda:InvokeFunction",
            context=topic,
            expected=allowed,
        )
        yield Delivery(
            name=f"an alarm of {account} invokes",
            to="PublisherFunction",
            principal="lambda.alarms.cloudwatch.amazonaws.com",
            action="lambda:InvokeFunction",
            context={"aws:SourceAccount": account, "aws:SourceArn": arn("cloudwatch", "alarm:cpu", account)},
            expected=allowed,
        )
        # https://docs.aws.amazon.com/sns/latest/dg/sns-configure-dead-letter-queue.html
        yield Delivery(
            name=f"dead letters of a topic of {account}",
            to="DeadLetterQueue",
            principal="sns.amazonaws.com",
            action="sqs:SendMessage",
            context={**TLS, **topic},
            expected=allowed,
        )
        # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html
        yield Delivery(
            name=f"dead letters of a rule of {account}",
            to="DeadLetterQueue",
            principal="events.amazonaws.com",
            action="sqs:SendMessage",
            context={**TLS, **rule},
            expected=allowed,
        )
    anything = may("sns:*", "sqs:*")
    for to, action in (
        ("AlertTopic", "sns:Publish"),
        ("ForeignTopic", "sns:Publish"),
        ("OperatorTopic", "sns:Publish"),
        ("RetryQueue", "sqs:SendMessage"),
        ("RetryQueue", "sqs:ReceiveMessage"),
        ("DeadLetterQueue", "sqs:SendMessage"),
    ):
        for context, allowed in ((PLAIN, False), (TLS, True)):
            yield Delivery(
                name="an administrator, in plain text" if context is PLAIN else "an administrator, over TLS",
                to=to,
                principal=role(ACCOUNT),
                action=action,
                context={"aws:PrincipalAccount": ACCOUNT, **context},
                own_policy=anything,
                expected=allowed,
            )


DELIVERIES = [*of_services(), *of_principals(), *of_plumbing()]


def answers(template: dict[str, Any], of: Mapping[str, list[Statement]], deliveries: Sequence[Delivery]) -> list[bool]:
    """Return whether each delivery is allowed."""
    return are_allowed([(each.request(template), of[each.to]) for each in deliveries])


def test_every_service_reaches_what_it_delivers_to_and_nobody_else_does() -> None:
    """In a stack that trusts another account and an organisation, and lets EventBridge publish."""
    found = answers(EVERYTHING, policies(EVERYTHING), DELIVERIES)
    assert [each for each, allowed in zip(DELIVERIES, found, strict=True) if allowed != each.expected] == []


def test_a_stack_with_its_defaults_lets_nobody_in_from_outside() -> None:
    """Without trusted publishers there is neither topic nor bus for them, and the key is of no use to them."""
    there = [each for each in DELIVERIES if not each.to.startswith("Foreign")]
    found = answers(CLOSED, policies(CLOSED), there)
    wrong = [
        each
        for each, allowed in zip(there, found, strict=True)
        if allowed != (each.expected if each.when_closed is None else each.when_closed)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("resource", "sid", "action"),
    [
        (resource, statement["Sid"], action)
        for resource, found in policies(EVERYTHING).items()
        for statement in found
        for action in listed(statement["Action"])
    ],
)
def test_every_statement_of_a_resource_policy_is_needed_with_each_action(resource: str, sid: str, action: str) -> None:
    """Without it, a delivery that has to work does not, or one that must not does."""
    all_statements = policies(EVERYTHING)
    kept = [
        {
            **statement,
            "Action": [each for each in listed(statement["Action"]) if (statement["Sid"], each) != (sid, action)],
        }
        for statement in all_statements[resource]
    ]
    without: dict[str, list[Statement]] = {resource: [statement for statement in kept if statement["Action"]]}
    affected = [each for each in DELIVERIES if each.to == resource]
    found = answers(EVERYTHING, {**all_statements, **without}, affected)
    assert [allowed for each, allowed in zip(affected, found, strict=True)] != [each.expected for each in affected]


def test_no_resource_policy_allows_an_action_that_no_delivery_needs() -> None:
    """But for the account's own administration of its key, as AWS writes it for a new one."""
    granted = {
        (resource, action.removesuffix("*"))
        for resource, found in policies(EVERYTHING).items()
        for statement in found
        if statement["Effect"] == "Allow" and statement["Sid"] != "AdministeredByThisAccount"
        for action in listed(statement["Action"])
    }
    assert granted == {(each.to, each.action) for each in DELIVERIES if each.expected and not each.own_policy} | {
        (each.to, each.action) for each in DELIVERIES if each.expected and each.to.startswith("Foreign")
    }
    permissions = of_type(EVERYTHING, "AWS::Lambda::Permission").values()
    assert {permission["Action"] for permission in permissions} == {"lambda:InvokeFunction"}


@pytest.mark.parametrize("region", ["us-east-1", "us-gov-west-1", "cn-north-1"])
def test_a_partition_names_only_services_that_it_has(region: str) -> None:
    """A policy that names a service principal unknown to a partition is refused, and the stack with it.

    botocore's list of endpoints says where a service is:
    https://docs.aws.amazon.com/general/latest/gr/aws-service-information.html
    """
    endpoints = {
        "aps.amazonaws.com": "amp",
        "events.rds.amazonaws.com": "rds",
        "cloudwatch.amazonaws.com": "cloudwatch",
        "backup.amazonaws.com": "backup",
        "codestar-notifications.amazonaws.com": "codestar-notifications",
    }
    session = boto3.session.Session()
    partition = session.get_partition_for_region(region)
    available = {
        principal
        for principal, service in endpoints.items()
        if session.get_available_regions(service, partition_name=partition)
    }
    statements = policies(deployed(region=region))["AlertTopic"]
    named = {
        service
        for statement in statements
        if isinstance(statement["Principal"], dict)
        for service in listed(statement["Principal"].get("Service", []))
    }
    assert named == available
