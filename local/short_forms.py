"""CloudFormation templates in YAML, with their short forms."""

from typing import Any

import yaml


def read_template(text: str) -> Any:
    """Return a template, its short forms written as their long ones."""
    return yaml.load(text, Loader=ShortForms)


class ShortForms(yaml.SafeLoader):
    """Reads CloudFormation's short forms, such as `!Ref`, as their long ones."""


def _long_form(loader: yaml.Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    match node:
        case yaml.ScalarNode():
            value: Any = loader.construct_scalar(node)
        case yaml.SequenceNode():
            value = loader.construct_sequence(node, deep=True)
        case yaml.MappingNode():
            value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


ShortForms.add_multi_constructor("!", _long_form)
