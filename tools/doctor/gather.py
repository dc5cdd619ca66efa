"""Reads the facts, with the caller's permissions; what cannot be read is noted, and the rest is still read."""

import re
from collections.abc import Callable, Mapping

from botocore.exceptions import ClientError

from handler.agreement.aws import pages
from handler.agreement.cloudwatch import ALARM_TYPES, ALARMS_A_PAGE
from tools.doctor.facts import Facts, Rule, Subscription, region_of, topics_of
from tools.stack import Connect, Stack, read_targets, refusal

TAGS_ONE_BY_ONE = 200
"""Up to this many alarms are asked for their tags one by one if the tagging service has none."""


def gather(connect: Connect, stack: Stack, prefix: str = "") -> Facts:
    """Read the account, page by page; of its alarms those whose names begin with the prefix."""
    facts = Facts(stack, prefix)

    def attempt(what: str, read: Callable[[], None]) -> None:
        try:
            read()
        except ClientError as error:
            facts.skipped.append(f"{what}: {refusal(error)}")

    rules: dict[str, str] = {}
    attempt("the stack's resources", lambda: rules.update(_read_resources(connect, facts)))
    attempt("the stack's rules", lambda: _read_rules(connect, facts, rules))
    attempt("targets", lambda: _read_targets(connect, facts))
    attempt("other publishers", lambda: _read_siblings(connect, facts))
    attempt("alarms", lambda: _read_alarms(connect, facts))
    attempt("topics", lambda: _read_topics(connect, facts))
    attempt("tags of alarms", lambda: _read_tags(connect, facts))
    attempt("dead letters", lambda: _read_dead_letters(connect, facts))
    attempt("loop detection", lambda: _read_loops(connect, facts))
    attempt("the retry queue's mapping", lambda: _read_mappings(connect, facts))
    return facts


def _read_resources(connect: Connect, facts: Facts) -> dict[str, str]:
    """Read what the stack consists of; return its rules' names, by their logical ids."""
    rules = {}
    for page in pages(connect("cloudformation").list_stack_resources, StackName=facts.stack.name):
        for resource in page["StackResourceSummaries"]:
            logical, physical = resource["LogicalResourceId"], resource.get("PhysicalResourceId", "")
            match resource["ResourceType"]:
                case "AWS::CloudWatch::Alarm":
                    facts.own_alarms.add(physical)
                case "AWS::SNS::Topic" if logical == "OperatorTopic":
                    facts.operator_topic = physical
                case "AWS::Events::Rule":
                    rules[logical] = physical.rpartition("/")[2]
    return rules


def _read_rules(connect: Connect, facts: Facts, rules: Mapping[str, str]) -> None:
    for logical, name in rules.items():
        rule = connect("events").describe_rule(Name=name)
        parameter = "" if rule.get("ScheduleExpression") else _switch_of(logical, facts.stack.parameters)
        reads_alarms = '"aws.cloudwatch"' in rule.get("EventPattern", "")
        facts.rules.append(Rule(rule["Name"], rule.get("State") != "DISABLED", reads_alarms, parameter))


def _switch_of(logical: str, parameters: Mapping[str, str]) -> str:
    """Return the parameter that switches a rule: `EcsRule` of `Ecs` and `EcsTask`; empty where none does."""
    words = re.findall(r"[A-Z][a-z0-9]*", logical.removeprefix("PublisherFunction"))
    names = ("".join(words[:count]) + "Rule" for count in range(len(words), 0, -1))
    return next((name for name in names if name in parameters), "")


def _read_targets(connect: Connect, facts: Facts) -> None:
    facts.targets = read_targets(connect, facts.stack)


def _read_siblings(connect: Connect, facts: Facts) -> None:
    for page in pages(connect("cloudformation").describe_stacks):
        for stack in page["Stacks"]:
            outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
            if (
                outputs.keys() >= {"PublisherFunctionArn", "OperatorTopicArn"}
                and stack["StackName"] != facts.stack.name
            ):
                facts.siblings[outputs["OperatorTopicArn"]] = stack["StackName"]


def _read_alarms(connect: Connect, facts: Facts) -> None:
    describe = connect("cloudwatch").describe_alarms
    which = {"AlarmNamePrefix": facts.prefix} if facts.prefix else {}
    for page in pages(describe, AlarmTypes=ALARM_TYPES, MaxRecords=ALARMS_A_PAGE, **which):
        for kind in ALARM_TYPES:
            facts.alarms += page.get(f"{kind}s", [])


def _read_topics(connect: Connect, facts: Facts) -> None:
    sns = connect("sns")
    named = {topic for alarm in facts.concerned for topic in topics_of(alarm)}
    for topic in sorted({*named, facts.stack.topic_arn, facts.operator_topic} - {""}):
        if region_of(topic) != facts.stack.region:
            continue
        try:
            facts.topics[topic] = [
                Subscription(each["Protocol"], each.get("Endpoint", ""), each["SubscriptionArn"].startswith("arn:"))
                for page in pages(sns.list_subscriptions_by_topic, TopicArn=topic)
                for each in page.get("Subscriptions", [])
            ]
        except ClientError as error:
            if "NotFound" in error.response["Error"].get("Code", ""):
                facts.topics[topic] = None
            else:
                facts.skipped.append(f"topic {topic}: {refusal(error)}")


def _read_tags(connect: Connect, facts: Facts) -> None:
    """Read tags a hundred alarms at a time, by the tagging service; where it knows none, of a few alarms one by one."""
    wired = [alarm["AlarmArn"] for alarm in facts.wired]
    if not wired:
        return
    tagging = connect("resourcegroupstaggingapi")
    found = {
        each["ResourceARN"]: {tag["Key"]: tag["Value"] for tag in each.get("Tags", [])}
        for page in pages(
            tagging.get_resources, "PaginationToken", ResourceTypeFilters=["cloudwatch:alarm"], ResourcesPerPage=100
        )
        for each in page.get("ResourceTagMappingList", [])
    }
    if not found and len(wired) <= TAGS_ONE_BY_ONE:
        cloudwatch = connect("cloudwatch")
        for arn in wired:
            tags = cloudwatch.list_tags_for_resource(ResourceARN=arn).get("Tags", [])
            found[arn] = {tag["Key"]: tag["Value"] for tag in tags}
    facts.tags = found


def _read_dead_letters(connect: Connect, facts: Facts) -> None:
    name = "ApproximateNumberOfMessages"
    answer = connect("sqs").get_queue_attributes(QueueUrl=facts.stack.dead_letter_url, AttributeNames=[name])
    facts.dead_letters = int(answer["Attributes"][name])


def _read_loops(connect: Connect, facts: Facts) -> None:
    answer = connect("lambda").get_function_recursion_config(FunctionName=facts.stack.function_arn)
    facts.loops = answer.get("RecursiveLoop", "")


def _read_mappings(connect: Connect, facts: Facts) -> None:
    queue = facts.stack.retry_url.rpartition("/")[2]
    mappings = connect("lambda").list_event_source_mappings(FunctionName=facts.stack.function_arn)[
        "EventSourceMappings"
    ]
    states = [m.get("State", "") for m in mappings if m.get("EventSourceArn", "").endswith(f":{queue}")]
    facts.takes_retries = any(state not in ("Disabled", "Disabling") for state in states)
