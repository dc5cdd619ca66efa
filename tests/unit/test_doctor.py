"""`make doctor`: each planted fault is found with the command that fixes it, and a sound stack has none."""

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.lab.cloudwatch import ACCOUNT, FUNCTION, OTHER_TOPIC, PREFIX, REGION, TOPIC, described
from tests.lab.failures import client_error
from tools.doctor.__main__ import main
from tools.doctor.checks import CHECKS, diagnose, rewire
from tools.doctor.gather import gather
from tools.stack import ToolError, find_stack

KEY = "0123456789abcdef0123456789abcdef"
OPERATORS = f"arn:aws:sns:{REGION}:{ACCOUNT}:operators"
ELSEWHERE = f"arn:aws:sns:us-east-1:{ACCOUNT}:alerts"
QUEUE = f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}"
OUTPUTS = {
    "AlertTopicArn": TOPIC,
    "PublisherFunctionArn": FUNCTION,
    "DedupTableName": "table",
    "RetryQueueUrl": f"{QUEUE}/retry",
    "DeadLetterQueueUrl": f"{QUEUE}/dead",
}
SECRET = {"name": "all", "type": "pagerduty", "headers": {"routing_key": KEY}}


def alarm(name: str = "late", **more: Any) -> dict[str, Any]:
    """Return an alarm that is wired as it should be."""
    return described(name, "OK", **{"OKActions": [TOPIC], **more})


@dataclass
class Account:
    """A sound account with a stack in it; all services in one, each operation answers from these."""

    alarms: list[dict[str, Any]] = field(default_factory=lambda: [alarm(), alarm("full")])
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    subscriptions: dict[str, list[tuple[str, str, str]]] = field(
        default_factory=lambda: {
            TOPIC: [("lambda", FUNCTION, "arn:aws:sns:1")],
            OPERATORS: [("email", "ops@example.com", "arn:aws:sns:2")],
        }
    )
    rules: dict[str, tuple[str, str]] = field(
        default_factory=lambda: {
            "PublisherFunctionNativeAlert": ("ENABLED", '{"detail-type": ["Alert"]}'),
            "PublisherFunctionCloudWatchAlarm": ("DISABLED", '{"source": ["aws.cloudwatch"]}'),
        }
    )
    schedules: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(
        default_factory=lambda: {"NativeAlertRule": "ENABLED", "CloudWatchAlarmRule": "DISABLED"}
    )
    secrets: dict[str, str] = field(default_factory=lambda: {"pagerduty/all": json.dumps(SECRET)})
    siblings: dict[str, str] = field(default_factory=dict)
    dead_letters: int = 0
    loops: str = "Allow"
    mapping: str = "Enabled"
    settings: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    def connect(self, service: str) -> "Account":
        return self

    def __getattribute__(self, name: str) -> Any:
        if name in object.__getattribute__(self, "__dict__").get("errors", {}):
            raise client_error(self.errors[name], name)
        found = object.__getattribute__(self, name)
        if callable(found) and not name.startswith("_"):
            self.calls.append(name)
        return found

    def describe_stacks(self, *, StackName: str = "", NextToken: str = "") -> Any:
        if not StackName:
            return {"Stacks": [{"StackName": "unrelated"}, *self._publishers()]}
        if StackName != "pagerduty-publisher":
            raise client_error("ValidationError", "DescribeStacks") if StackName == "broken" else no_such_stack()
        outputs = [{"OutputKey": name, "OutputValue": value} for name, value in OUTPUTS.items()]
        parameters = [{"ParameterKey": name, "ParameterValue": value} for name, value in self.parameters.items()]
        about = {"Description": "PagerDuty Publisher 1.2.3 - forwards alerts", "Parameters": parameters}
        return {"Stacks": [{"Outputs": outputs, **about}]}

    def _publishers(self) -> list[dict[str, Any]]:
        """Return the stacks of this project: this one, and those beside it."""
        topics = {"pagerduty-publisher": OPERATORS, **self.siblings}
        return [
            {
                "StackName": name,
                "Outputs": [
                    {"OutputKey": "PublisherFunctionArn", "OutputValue": f"{FUNCTION}-{name}"},
                    {"OutputKey": "OperatorTopicArn", "OutputValue": topic},
                ],
            }
            for name, topic in topics.items()
        ]

    def get_function_configuration(self, *, FunctionName: str) -> Any:
        return {"Environment": {"Variables": self.settings}}

    def list_stack_resources(self, *, StackName: str, NextToken: str = "") -> Any:
        def of(kind: str, logical: str, physical: str) -> dict[str, str]:
            return {"ResourceType": kind, "LogicalResourceId": logical, "PhysicalResourceId": physical}

        if not NextToken:
            rules = [of("AWS::Events::Rule", name, f"stack-{name}") for name in self.rules]
            return {"StackResourceSummaries": rules, "NextToken": "2"}
        return {
            "StackResourceSummaries": [
                of("AWS::SNS::Topic", "OperatorTopic", OPERATORS),
                of("AWS::SNS::Topic", "AlertTopic", TOPIC),
                of("AWS::CloudWatch::Alarm", "DeadLetterAlarm", "stack-DeadLetterAlarm"),
            ]
        }

    def describe_rule(self, *, Name: str) -> Any:
        state, pattern = self.rules[Name.removeprefix("stack-")]
        schedule = self.schedules.get(Name.removeprefix("stack-"))
        more = {"ScheduleExpression": schedule} if schedule else {"EventPattern": pattern}
        return {"Name": Name, "State": state, **more}

    def batch_get_secret_value(self, **_: Any) -> Any:
        return {"SecretValues": [{"Name": name, "SecretString": text} for name, text in self.secrets.items()]}

    def describe_alarms(
        self, *, AlarmTypes: Any, MaxRecords: int, NextToken: str = "0", AlarmNamePrefix: str = ""
    ) -> Any:
        assert MaxRecords == 100
        own = described("stack-DeadLetterAlarm", "OK", AlarmActions=[OPERATORS])
        start, alarms = int(NextToken), [*self.alarms, own]
        alarms = [each for each in alarms if each["AlarmName"].startswith(AlarmNamePrefix)]
        page = alarms[start : start + 100]
        more = {"NextToken": str(start + 100)} if len(alarms) > start + 100 else {}
        composite = [each for each in page if "AlarmRule" in each]
        return {"MetricAlarms": [a for a in page if a not in composite], "CompositeAlarms": composite, **more}

    def list_subscriptions_by_topic(self, *, TopicArn: str) -> Any:
        if TopicArn not in self.subscriptions:
            raise client_error("NotFound", "ListSubscriptionsByTopic")
        found = self.subscriptions[TopicArn]
        return {"Subscriptions": [{"Protocol": p, "Endpoint": e, "SubscriptionArn": a} for p, e, a in found]}

    def get_resources(self, *, ResourceTypeFilters: Any, ResourcesPerPage: int) -> Any:
        assert ResourceTypeFilters == ["cloudwatch:alarm"]
        found = [
            {"ResourceARN": arn, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
            for arn, tags in self.tags.items()
        ]
        return {"ResourceTagMappingList": found, "PaginationToken": ""}

    def list_tags_for_resource(self, *, ResourceARN: str) -> Any:
        return {"Tags": []}

    def get_queue_attributes(self, *, QueueUrl: str, AttributeNames: Any) -> Any:
        assert QueueUrl == f"{QUEUE}/dead"
        return {"Attributes": {"ApproximateNumberOfMessages": str(self.dead_letters)}}

    def get_function_recursion_config(self, *, FunctionName: str) -> Any:
        return {"RecursiveLoop": self.loops}

    def list_event_source_mappings(self, *, FunctionName: str) -> Any:
        arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:retry"
        return {"EventSourceMappings": [{"EventSourceArn": arn, "State": self.mapping}]}


def no_such_stack() -> Exception:
    error = client_error("ValidationError", "DescribeStacks")
    error.response["Error"]["Message"] = "Stack with id other does not exist"
    return error


@pytest.fixture
def account() -> Account:
    return Account()


def run(account: Account, *arguments: str) -> tuple[int, list[str]]:
    lines: list[str] = []
    status = main(arguments, account.connect, lines.append)
    assert KEY not in "\n".join(lines)
    return status, lines


def test_nothing_is_found_on_a_sound_stack(account: Account) -> None:
    assert run(account) == (
        0,
        [f"pagerduty-publisher 1.2.3 in {ACCOUNT}, {REGION}: 3 alarms looked at, 2 lead here; 0 findings."],
    )


@pytest.mark.parametrize(
    "others",
    [
        [alarm("TargetTracking-table", AlarmActions=[f"arn:aws:autoscaling:{REGION}:{ACCOUNT}:scalingPolicy:x"])],
        [alarm("part", AlarmActions=[]), {**alarm("whole"), "AlarmRule": 'ALARM("part") AND NOT OK(other)'}],
        [alarm("by function", AlarmActions=[FUNCTION], OKActions=[f"{FUNCTION}:live"])],
    ],
    ids=["scaling", "part of a composite", "direct action"],
)
def test_what_is_meant_to_be_so_is_no_fault(account: Account, others: list[dict[str, Any]]) -> None:
    account.alarms += others
    assert run(account)[0] == 0


ELSEBODY = f"arn:aws:sns:{REGION}:{ACCOUNT}:of-another-team"
LAMBDA = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:of-another-team"


@pytest.mark.parametrize("action", [ELSEBODY, LAMBDA, f"arn:aws:sns:{REGION}:999999999999:of-another-account"])
def test_an_alarm_that_leads_to_somebody_else_is_counted_and_no_fault(account: Account, action: str) -> None:
    """Whatever is wrong with it: in a shared account most alarms are none of this stack's business."""
    account.subscriptions[ELSEBODY] = [("email", "team@example.com", "arn:aws:sns:3")]
    account.subscriptions["arn:aws:sns:eu-west-1:999999999999:of-another-account"] = [("sqs", "x", "arn:aws:sns:4")]
    others = [alarm(f"other {n:02}", AlarmActions=[action], OKActions=[], ActionsEnabled=n > 3) for n in range(12)]
    account.alarms += [*others, alarm("both", AlarmActions=[TOPIC, OTHER_TOPIC])]
    status, lines = run(account)
    assert status == 0
    [note] = [line for line in lines if line.startswith("note: ")]
    assert note.startswith("note: 12 alarms lead to others, and not to this stack: other 00, other 01, ")
    assert note.endswith(" and 2 more")


def test_a_topic_that_may_not_be_read_counts_as_somebody_else_s(account: Account) -> None:
    account.errors["list_subscriptions_by_topic"] = "AuthorizationError"
    account.alarms = [alarm("other", AlarmActions=[ELSEBODY])]
    status, lines = run(account)
    assert status == 0
    assert "note: 1 alarms lead to others, and not to this stack: other" in lines


def test_the_alarms_of_another_publisher_are_left_to_its_own_doctor(account: Account) -> None:
    """They name its operators' topic, to which nobody may be subscribed."""
    account.subscriptions[OTHER_TOPIC] = []
    account.siblings = {"publisher-2": OTHER_TOPIC}
    account.alarms += [alarm("publisher-2-DeadLetterAlarm", AlarmActions=[OTHER_TOPIC], OKActions=[OTHER_TOPIC])]
    status, lines = run(account)
    assert status == 0
    assert (
        "note: stack publisher-2 is a publisher too, and looks at its own alarms: make doctor STACK=publisher-2"
        in lines
    )


def test_an_alarm_that_only_says_here_that_it_is_over_is_found(account: Account) -> None:
    """Although it tells somebody else when it rings: its OK action shows that it is meant to page here."""
    account.subscriptions[ELSEBODY] = [("email", "team@example.com", "arn:aws:sns:3")]
    account.alarms += [alarm("half", AlarmActions=[ELSEBODY])]
    status, lines = run(account)
    assert status == 1
    assert "1. 1 alarms have no ALARM action that leads to this stack: nobody is paged for them" in lines


def test_alarms_are_looked_at_by_the_beginning_of_their_names(account: Account) -> None:
    """In a shared account, where alarms without any action are somebody else's."""
    account.alarms.append(alarm("odd one", AlarmActions=[]))
    assert run(account)[0] == 1
    status, lines = run(account, "--alarms", "late")
    assert status == 0
    assert lines[-1].endswith(": 1 alarms looked at, 1 lead here; 0 findings.")


def test_a_rule_for_all_alarms_needs_no_wiring(account: Account) -> None:
    account.rules["PublisherFunctionCloudWatchAlarm"] = ("ENABLED", '{"source": ["aws.cloudwatch"]}')
    account.alarms = [alarm(AlarmActions=[], OKActions=[])]
    assert run(account)[0] == 0


def plant_no_alarm_action(account: Account) -> None:
    account.alarms.append(alarm("odd one", AlarmActions=[]))


def plant_no_ok_action(account: Account) -> None:
    account.alarms.append(alarm("odd one", OKActions=[]))


def plant_disabled_actions(account: Account) -> None:
    account.alarms.append(alarm("odd one", ActionsEnabled=False))


def plant_another_region(account: Account) -> None:
    account.alarms.append(alarm("odd one", AlarmActions=[ELSEWHERE], OKActions=[ELSEWHERE]))


def plant_a_topic_without_subscribers(account: Account) -> None:
    account.subscriptions[OTHER_TOPIC] = []
    account.alarms.append(alarm("odd one", AlarmActions=[OTHER_TOPIC], OKActions=[OTHER_TOPIC]))


def plant_a_topic_that_is_gone(account: Account) -> None:
    account.alarms.append(alarm("odd one", AlarmActions=[OTHER_TOPIC], OKActions=[OTHER_TOPIC]))


def plant_no_target(account: Account) -> None:
    account.secrets = {"pagerduty/all": json.dumps({**SECRET, "match": ['alertname!="odd one"']})}
    account.alarms.append(alarm("odd one"))


def plant_an_unknown_severity(account: Account) -> None:
    account.tags[f"{PREFIX}late"] = {"severity": "catastrophic"}
    account.alarms[0]["ActionConfiguration"] = {"AlarmTagsPropagation": {"Enabled": True}}


def plant_tags_that_stay_home(account: Account) -> None:
    account.tags[f"{PREFIX}late"] = {"severity": "critical"}


def plant_an_unconfirmed_subscription(account: Account) -> None:
    account.subscriptions[OPERATORS] = [("email", "ops@example.com", "PendingConfirmation")]


def plant_a_bad_secret(account: Account) -> None:
    account.secrets["pagerduty/bad"] = json.dumps({**SECRET, "name": "bad", "headers": {"routing_key": f"{KEY}0"}})


def plant_no_secret(account: Account) -> None:
    account.secrets = {}
    account.alarms = []


def plant_dead_letters(account: Account) -> None:
    account.dead_letters = 7


def plant_loop_detection(account: Account) -> None:
    account.loops = "Terminate"


def plant_a_disabled_rule(account: Account) -> None:
    account.rules["PublisherFunctionNativeAlert"] = ("DISABLED", "{}")


def plant_a_disabled_mapping(account: Account) -> None:
    account.mapping = "Disabled"


def plant_a_lost_subscription(account: Account) -> None:
    account.subscriptions[TOPIC] = [("email", "ops@example.com", "arn:aws:sns:1")]
    account.alarms = []


def plant_an_invalid_setting(account: Account) -> None:
    account.settings = {"PAGERDUTY_RATE_LIMIT": "many"}


PLANTED: Mapping[Callable[[Account], None], tuple[int, str, str]] = {
    plant_no_alarm_action: (
        2,
        "1 alarms have no ALARM action that leads to this stack",
        "aws cloudwatch put-metric-alarm",
    ),
    plant_no_ok_action: (1, "1 alarms have no OK action: their incidents stay open", '.OKActions += ["'),
    plant_disabled_actions: (1, "1 alarms have their actions disabled", "enable-alarm-actions --alarm-names 'odd one'"),
    plant_another_region: (1, f"names a topic of another region: {ELSEWHERE}", "aws cloudwatch put-metric-alarm"),
    plant_a_topic_without_subscribers: (1, f"a topic that nobody subscribes to: {OTHER_TOPIC}", "aws sns subscribe"),
    plant_a_topic_that_is_gone: (1, f"a topic that does not exist: {OTHER_TOPIC}", "aws cloudwatch put-metric-alarm"),
    plant_no_target: (1, "1 alarms would be taken by no target", "add a target without `match`"),
    plant_an_unknown_severity: (1, "has the tag severity=catastrophic", "aws cloudwatch tag-resource"),
    plant_tags_that_stay_home: (
        1,
        "do not send them along",
        ".ActionConfiguration.AlarmTagsPropagation.Enabled = true",
    ),
    plant_an_unconfirmed_subscription: (1, "email ops@example.com has not confirmed", "aws sns subscribe"),
    plant_a_bad_secret: (1, "secret pagerduty/bad: headers.routing_key", "put-secret-value --secret-id pagerduty/bad"),
    plant_no_secret: (1, "there is no enabled target", "aws secretsmanager create-secret --name pagerduty/first"),
    plant_dead_letters: (1, "7 dead letters wait", "make redrive DRY_RUN=1 STACK=pagerduty-publisher"),
    plant_loop_detection: (1, "set to Terminate", "aws lambda put-function-recursion-config --recursive-loop Allow"),
    plant_a_disabled_rule: (1, "is disabled, although the stack enables it", "aws events enable-rule --name stack-"),
    plant_a_disabled_mapping: (1, "does not take from the retry queue", "update-event-source-mapping --enabled"),
    plant_an_invalid_setting: (1, "does not start: setting: PAGERDUTY_RATE_LIMIT", "deploy with a valid value"),
    plant_a_lost_subscription: (1, "the stack's topic does not lead to its function", "aws sns subscribe"),
}


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_fault_is_found_with_its_fix(account: Account, plant: Callable[[Account], None]) -> None:
    """And nothing else is: no fault makes a second one up."""
    plant(account)
    count, what, fix = PLANTED[plant]
    status, lines = run(account)
    assert status == 1
    assert lines[-1].endswith(f"; {count} findings.")
    text = "\n".join(lines)
    assert what in text
    assert any(line.startswith("   fix: ") and fix in line for line in lines)


def test_an_invalid_setting_hides_no_other_finding(account: Account) -> None:
    """A function that does not start is one of the faults that doctor is there to find."""
    plant_an_invalid_setting(account)
    plant_disabled_actions(account)
    status, lines = run(account)
    text = "\n".join(lines)
    assert status == 1
    assert "does not start: setting: PAGERDUTY_RATE_LIMIT" in text
    assert "1 alarms have their actions disabled" in text
    assert lines[-1].endswith("; 2 findings.")


def test_a_disabled_rule_is_named_beside_the_alarms_that_need_it(account: Account) -> None:
    plant_no_alarm_action(account)
    text = "\n".join(run(account)[1])
    assert "rule stack-PublisherFunctionCloudWatchAlarm is disabled, and 1 alarms have no other way here" in text
    assert "CloudWatchAlarmRule=ENABLED" in text


@pytest.mark.parametrize(
    ("rule", "schedule", "wanted"),
    [("Ecs", "", False), ("EcsTask", "", False), ("HealthCheck", "rate(5 minutes)", True), ("Unknown", "", True)],
)
def test_a_rule_is_enabled_as_its_parameter_says(account: Account, rule: str, schedule: str, wanted: bool) -> None:
    """Several may have one parameter; the schedules have none, and are always wanted."""
    account.parameters |= {"EcsRule": "DISABLED", "HealthRule": "DISABLED"}
    account.rules[f"PublisherFunction{rule}"] = ("DISABLED", "{}")
    account.schedules[f"PublisherFunction{rule}"] = schedule
    assert run(account)[0] == int(wanted)


def test_every_check_finds_one_of_the_planted_faults() -> None:
    """No check is without a test of its own."""
    finding = set()
    for plant in PLANTED:
        account = Account()
        plant(account)
        facts = gather(account.connect, find_stack(account.connect, "pagerduty-publisher"))
        finding |= {check for check in CHECKS if list(check(facts))}
    assert finding == set(CHECKS)


def test_ten_thousand_alarms_are_read_a_hundred_at_a_time(account: Account) -> None:
    """And their tags too; not one call an alarm."""
    account.alarms = [alarm(f"n-{n}") for n in range(9_999)]
    account.alarms[5]["AlarmActions"] = []
    status, lines = run(account)
    assert (status, lines[-1]) == (1, f"pagerduty-publisher 1.2.3 in {ACCOUNT}, {REGION}: 10000 alarms looked at, "
                                      "9998 lead here; 2 findings.")  # fmt: skip
    assert len(account.calls) < 150


def test_a_long_finding_names_the_first_and_counts_the_rest(account: Account) -> None:
    account.alarms = [alarm(f"n-{n:02}", ActionsEnabled=False) for n in range(25)]
    text = "\n".join(run(account)[1])
    assert "n-00, n-01, n-02, n-03, n-04, n-05, n-06, n-07, n-08, n-09 and 15 more" in text


def test_alarms_are_routed_as_the_function_routes_them(account: Account) -> None:
    """A matcher may use the account's name, which is a setting of the function."""
    account.secrets = {"pagerduty/all": json.dumps({**SECRET, "match": ['account_name="production"']})}
    status, lines = run(account)
    assert (status, "taken by no target" in "\n".join(lines)) == (1, True)
    account.settings = {"ACCOUNT_NAMES": f"{ACCOUNT}=production"}
    assert run(account)[0] == 0


@pytest.mark.parametrize(
    "operation",
    ["get_function_recursion_config", "describe_alarms", "get_resources", "batch_get_secret_value", "describe_rule"],
)
def test_what_may_not_be_read_is_reported_and_no_finding(account: Account, operation: str) -> None:
    account.errors[operation] = "AccessDeniedException"
    status, lines = run(account)
    assert status == 0
    [said] = [line for line in lines if line.startswith("note: not checked: ")]
    assert said.endswith(f"{operation} is not allowed: give your role this permission, or use another one")


def test_a_stack_that_is_not_there_is_named(account: Account) -> None:
    with pytest.raises(ToolError, match="no stack other in this account and region: name yours"):
        run(account, "--stack", "other")


def test_nobody_to_tell_is_a_note(account: Account) -> None:
    """It may be meant to be so: an operator's e-mail is optional."""
    account.subscriptions[OPERATORS] = []
    status, lines = run(account)
    assert status == 0
    assert lines[0].startswith("note: nobody subscribes to the operators' topic: aws sns subscribe")


def changed(before: Mapping[str, Any], command: str) -> dict[str, Any]:
    """Run a command in a shell whose `aws` describes this alarm; return what it would put."""
    script = f"""aws() {{ if [ "$2" = describe-alarms ]; then cat; else printf '%s' "$4"; fi; }}
    {command}"""
    text = json.dumps(before, default=str)
    ran = subprocess.run(["bash", "-c", script], input=text, capture_output=True, text=True, check=True)
    assert ran.stderr == ""
    after: dict[str, Any] = json.loads(ran.stdout)
    return after


@pytest.mark.skipif(shutil.which("jq") is None, reason="the commands use jq")
@pytest.mark.parametrize("action", ["AlarmActions", "OKActions", "ActionConfiguration"])
def test_the_command_changes_one_setting_and_keeps_the_others(action: str) -> None:
    """Run as it is shown, on an alarm as the AWS CLI prints it."""
    before = {**alarm("it's late", AlarmActions=[ELSEWHERE], OKActions=[]), "Unit": None}
    after = changed(before, rewire(before, TOPIC, action=action))
    assert not {"StateValue", "AlarmArn", "StateReason", "StateUpdatedTimestamp", "Unit"} & after.keys()
    assert after["Threshold"] == before["Threshold"]
    assert after["AlarmActions"] == [ELSEWHERE, *([TOPIC] if action == "AlarmActions" else [])]
    assert after["OKActions"] == ([TOPIC] if action == "OKActions" else [])
    assert (after.get("ActionConfiguration") is not None) is (action == "ActionConfiguration")


@pytest.mark.skipif(shutil.which("jq") is None, reason="the commands use jq")
def test_the_command_replaces_a_topic_of_another_region() -> None:
    before = alarm(AlarmActions=[ELSEWHERE, FUNCTION], OKActions=[ELSEWHERE])
    after = changed(before, rewire(before, TOPIC, instead_of=ELSEWHERE))
    assert (after["AlarmActions"], after["OKActions"]) == ([TOPIC, FUNCTION], [TOPIC])


def test_diagnose_is_pure(account: Account) -> None:
    """Checks ask nobody."""
    facts = gather(account.connect, find_stack(account.connect, "pagerduty-publisher"))
    calls = len(account.calls)
    diagnose(facts)
    assert len(account.calls) == calls
