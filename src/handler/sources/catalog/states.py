"""Finds states and names that a row's path cannot express."""

import re
from collections.abc import Mapping
from typing import Any

from handler.sources.catalog.row import Fields

_STACK_ID = r"(arn:[^/]{1,200}:stack/[^/]{1,200})"
_TRANSITION = r"health has transitioned (?:from (?:No Data|\w{1,20}) )?to (No Data|\w{1,20})"
_OUTCOMES = ("Succeeded", "Failed", "Abandoned", "Started")
_DMS_FINISHED = ("FINISHED", " NORMAL", "STOPPED_AFTER", "STOPPED_AT")


def _at(fields: Mapping[str, Any], *path: str) -> str:
    value: Any = fields
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""


def event_without_outcome(fields: Fields) -> str:
    """Return the name of a service's event, the same for `RotationFailed` and `RotationSucceeded`."""
    name = _at(fields, "eventName")
    return next((name.removesuffix(end) for end in _OUTCOMES if name.endswith(end)), name)


def received_mail(fields: Fields) -> str:
    """Return the id of a mail that was received, each of which is another message; nothing for one that was sent."""
    is_received = _at(fields, "notificationType").lower() == "received"
    return _at(fields, "mail", "messageId") if is_received else ""


def dms_state(fields: Fields) -> str:
    """Return the type of a DMS event; `FINISHED` for a task that stopped because it was done."""
    kind, text = _at(fields, "eventType"), _at(fields, "detailMessage").upper()
    is_done = kind.endswith("_STOPPED") and any(word in text for word in _DMS_FINISHED)
    return "FINISHED" if is_done else kind


def beanstalk_state(fields: Fields) -> str:
    """Return the health in an Elastic Beanstalk message, or the state that its words suggest."""
    text = _at(fields, "Message")
    health = re.search(_TRANSITION, text[:1000])
    if health:
        return health[1]
    lower = f"{text} {_at(fields, 'Status')}"[:1000].lower()
    if any(word in lower for word in ("fail", "error", "unsuccessful", "abort", "unable")):
        return "Failed"
    is_deployed = any(word in lower for word in ("was deployed", "completed successfully", "update successful"))
    return "Deployed" if is_deployed else "Information"


def config_state(fields: Fields) -> str:
    """Return a resource's compliance; `COMPLIANT` if the resource is gone."""
    result = fields.get("newEvaluationResult", ...)
    return "COMPLIANT" if result is None else _at(fields, "newEvaluationResult", "complianceType")


def access_state(fields: Fields) -> str:
    """Return the state of an Access Analyzer finding; `RESOLVED` if it was deleted."""
    return "RESOLVED" if fields.get("isDeleted") is True else _at(fields, "status")


def scan_state(fields: Fields) -> str:
    """Return how the scan of an image ended, and whether it found anything serious."""
    status, counts = _at(fields, "scan-status"), fields.get("finding-severity-counts")
    if status.upper() != "COMPLETE" or not isinstance(counts, dict):
        return status
    return next((name for name in ("CRITICAL", "HIGH") if counts.get(name)), "CLEAN")


def checked_item(fields: Fields) -> str:
    """Return what Trusted Advisor checked: a resource, or a service limit; else the item's own id."""
    limit = [_at(fields, "check-item-detail", name) for name in ("Region", "Service", "Limit Name")]
    return _at(fields, "resource_id") or ("/".join(limit) if limit[-1] else _at(fields, "uuid"))


def stack_of(fields: Fields) -> str:
    """Return a stack's ARN without the part that changes when the stack is created again."""
    text = _at(fields, "stack-id") or _at(fields, "StackId")
    found = re.match(_STACK_ID, text)
    return found[1] if found else text


def stack_name(fields: Fields) -> str:
    """Return a stack's name."""
    return _at(fields, "StackName") or stack_of(fields).rpartition("/")[2]


def resource_state(fields: Fields) -> str:
    """Return the state of a resource in a stack; anything but a failure counts as progress."""
    status = _at(fields, "status-details", "status") or _at(fields, "ResourceStatus")
    return status if status.endswith("_FAILED") else "RESOURCE_PROGRESS"
