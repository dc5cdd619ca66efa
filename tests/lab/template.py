"""The template as CloudFormation sees it: expanded by SAM's translator and, in `deployed`, with functions resolved."""

import functools
import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

from local.stack import ROOT, SAM

ACCOUNT = "123456789012"
STACK = "pagerduty-publisher"
_TRANSLATE = """
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
_PARTITIONS = {"cn-": ("aws-cn", "amazonaws.com.cn"), "us-gov-": ("aws-us-gov", "amazonaws.com")}
_ABSENT: Any = object()
_ARNS = {
    "AWS::SNS::Topic": "sns:{region}:{account}:{name}",
    "AWS::SQS::Queue": "sqs:{region}:{account}:{name}",
    "AWS::DynamoDB::Table": "dynamodb:{region}:{account}:table/{name}",
    "AWS::Lambda::Function": "lambda:{region}:{account}:function:{name}",
    "AWS::Logs::LogGroup": "logs:{region}:{account}:log-group:{name}:*",
    "AWS::KMS::Key": "kms:{region}:{account}:key/{name}",
    "AWS::IAM::Role": "iam::{account}:role/{name}",
    "AWS::Events::EventBus": "events:{region}:{account}:event-bus/{name}",
    "AWS::CloudWatch::Alarm": "cloudwatch:{region}:{account}:alarm:{name}",
    "AWS::SecretsManager::Secret": "secretsmanager:{region}:{account}:secret:{name}-AbCdEf",
}


@functools.cache
def _expanded() -> str:
    return subprocess.run(
        [SAM / "python", "-c", _TRANSLATE],
        input=(ROOT / "template.yaml").read_text(),
        env={"AWS_DEFAULT_REGION": "us-east-1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def expand() -> dict[str, Any]:
    """Return the template without its transform."""
    expanded: dict[str, Any] = json.loads(_expanded())
    return expanded


def of_type(template: Mapping[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    """Return the properties of all resources of a type, by name."""
    return {n: r.get("Properties", {}) for n, r in template["Resources"].items() if r["Type"] == kind}


def listed[T](value: T | list[T]) -> list[T]:
    """Return a list, also of a single value."""
    return value if isinstance(value, list) else [value]


def deployed(parameters: Mapping[str, str] | None = None, *, region: str = "us-east-1") -> dict[str, Any]:
    """Return the template as a stack has it: conditions decided, every function replaced by its value.

    What CloudFormation would name gets a name made of the stack's and the resource's. An unknown function raises, so
    that nothing stays unresolved.
    """
    return _Deployment(expand(), parameters or {}, region).template()


class _Deployment:
    def __init__(self, template: dict[str, Any], parameters: Mapping[str, str], region: str) -> None:
        partition, suffix = next(
            (found for prefix, found in _PARTITIONS.items() if region.startswith(prefix)), ("aws", "amazonaws.com")
        )
        unknown = set(parameters) - set(template["Parameters"])
        assert not unknown, f"no such parameters: {unknown}"
        self._template = template
        self._region = region
        self._partition = partition
        self._values: dict[str, Any] = {
            **{name: str(each["Default"]) for name, each in template["Parameters"].items()},
            **parameters,
            "AWS::Region": region,
            "AWS::Partition": partition,
            "AWS::URLSuffix": suffix,
            "AWS::AccountId": ACCOUNT,
            "AWS::StackName": STACK,
            "AWS::NoValue": _ABSENT,
        }

    def template(self) -> dict[str, Any]:
        kept = {
            name: each
            for name, each in self._template["Resources"].items()
            if "Condition" not in each or self._holds(each["Condition"])
        }
        self._kept = kept
        outputs = {
            name: self._resolve(each["Value"])
            for name, each in self._template["Outputs"].items()
            if "Condition" not in each or self._holds(each["Condition"])
        }
        resources = {name: {**each, "Properties": self._resolve(each["Properties"])} for name, each in kept.items()}
        return {**self._template, "Resources": resources, "Outputs": outputs}

    def _holds(self, condition: Any) -> bool:
        if isinstance(condition, str):
            return self._holds(self._template["Conditions"][condition])
        match condition:
            case {"Fn::Equals": [left, right]}:
                return bool(self._resolve(left) == self._resolve(right))
            case {"Fn::Not": [inner]}:
                return not self._holds(inner)
            case {"Fn::Or": several}:
                return any(self._holds(each) for each in several)
            case {"Fn::And": several}:
                return all(self._holds(each) for each in several)
            case {"Condition": name}:
                return self._holds(name)
        raise NotImplementedError(str(condition))

    def _resolve(self, value: Any) -> Any:
        match value:
            case {"Ref": name}:
                return self._values[name] if name in self._values else self._reference(name)
            case {"Fn::GetAtt": [name, attribute]}:
                return self._attribute(name, attribute)
            case {"Fn::Sub": [text, variables]}:
                return self._substitute(text, {name: self._resolve(each) for name, each in variables.items()})
            case {"Fn::Sub": text}:
                return self._substitute(text, {})
            case {"Fn::If": [condition, then, otherwise]}:
                return self._resolve(then if self._holds(condition) else otherwise)
            case {"Fn::Split": [separator, text]}:
                return self._resolve(text).split(separator)
            case {"Fn::Select": [index, several]}:
                return self._resolve(several)[int(index)]
            case dict():
                assert not any(name.startswith("Fn::") for name in value), value
                return {name: each for name, each in self._pairs(value) if each is not _ABSENT}
            case list():
                return [each for each in map(self._resolve, value) if each is not _ABSENT]
        return value

    def _pairs(self, value: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        for name, each in value.items():
            yield name, self._resolve(each)

    def _substitute(self, text: str, variables: Mapping[str, Any]) -> str:
        def replace(match: re.Match[str]) -> str:
            name = match[1]
            if name in variables:
                return str(variables[name])
            if "." in name:
                return str(self._attribute(*name.split(".", 1)))
            return str(self._resolve({"Ref": name}))

        return re.sub(r"\$\{([\w.:]+)\}", replace, text)

    def _name(self, resource: str) -> str:
        properties = self._kept[resource].get("Properties", {})
        named = next((properties[key] for key in ("Name", "FunctionName", "LogGroupName") if key in properties), None)
        return str(self._resolve(named)) if named is not None else f"{STACK}-{resource}-0A1B2C3D4E5F"

    def _reference(self, resource: str) -> str:
        kind = self._kept[resource]["Type"]
        match kind:
            case "AWS::SNS::Topic" | "AWS::SecretsManager::Secret":
                return self._attribute(resource, "Arn")
            case "AWS::SQS::Queue":
                return f"https://sqs.{self._region}.{self._values['AWS::URLSuffix']}/{ACCOUNT}/{self._name(resource)}"
            case "AWS::Events::Rule" if bus := self._kept[resource]["Properties"].get("EventBusName"):
                return f"{self._resolve(bus)}|{self._name(resource)}"
        return self._name(resource)

    def _attribute(self, resource: str, attribute: str) -> str:
        name = self._name(resource)
        if attribute != "Arn":
            assert attribute in ("QueueName", "TopicName"), attribute
            return name
        kind = self._kept[resource]["Type"]
        if kind == "AWS::Events::Rule":
            tail = f"events:{self._region}:{ACCOUNT}:rule/{self._reference(resource).replace('|', '/')}"
        else:
            tail = _ARNS[kind].format(region=self._region, account=ACCOUNT, name=name)
        return f"arn:{self._partition}:{tail}"
