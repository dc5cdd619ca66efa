"""The invocations that measurements send: alerts over SNS, one or many in a message."""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from handler import sources
from handler.envelope import unwrap
from local.stack import ROOT


@dataclass
class Context:
    """What Lambda says of an invocation."""

    function_name: str = "publisher"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:000000000000:function:publisher"
    aws_request_id: str = "00000000-0000-0000-0000-000000000000"

    def get_remaining_time_in_millis(self) -> int:
        """Return the time left."""
        return 60_000


def native(fingerprint: str, **more: Any) -> dict[str, Any]:
    """Return a native alert, as long as they usually are."""
    return {
        "alert": {
            "fingerprint": fingerprint,
            "alert_name": "CheckoutErrorRate",
            "status": "firing",
            "labels": {"severity": "error", "service": "checkout", "cluster": "lamplight-prod", "team": "payments"},
            "annotations": {
                "summary": "7.4 % of checkouts fail, 1 % is normal",
                "runbook_url": "https://wiki.lamplight.example/runbooks/checkout",
                "dashboard_url": "https://grafana.lamplight.example/d/checkout",
            },
            "starts_at": "2026-11-23T03:40:01Z",
            "generator_url": "https://prometheus.lamplight.example/graph?g0.expr=checkout_errors",
            **more,
        }
    }


def alarm(name: str) -> dict[str, Any]:
    """Return what a CloudWatch alarm publishes to a topic."""
    sample = json.loads((ROOT / "events/cloudwatch-sns-alarm.json").read_text())
    message: dict[str, Any] = json.loads(sample["Records"][0]["Sns"]["Message"])
    return {**message, "AlarmName": name}


def over_sns(*messages: Any) -> dict[str, Any]:
    """Return an invocation with these messages, each a record."""
    return {
        "Records": [
            {
                "EventSource": "aws:sns",
                "EventVersion": "1.0",
                "EventSubscriptionArn": "arn:aws:sns:us-east-1:000000000000:alerts:0",
                "Sns": {
                    "Type": "Notification",
                    "MessageId": f"message-{number}",
                    "TopicArn": "arn:aws:sns:us-east-1:000000000000:alerts",
                    "Message": json.dumps(message),
                    "Timestamp": "2026-11-23T03:40:02.117Z",
                },
            }
            for number, message in enumerate(messages)
        ]
    }


def with_alerts(count: int, prefix: str) -> dict[str, Any]:
    """Return an invocation with so many alerts: in one message, where there is a source that takes several."""
    if _takes_webhooks():
        return over_sns(webhook(count, prefix))
    return over_sns(*(native(f"{prefix}-{number}") for number in range(count)))


@cache
def _takes_webhooks() -> bool:
    [record] = over_sns(webhook(2, "try"))["Records"]
    return len(sources.parse(unwrap(record, datetime.now(UTC)))) == 2


def webhook(count: int, prefix: str) -> dict[str, Any]:
    """Return what Alertmanager sends of a group of so many alerts."""
    return {
        "version": "4",
        "groupKey": '{}:{alertname="CheckoutErrorRate"}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "sns",
        "groupLabels": {"alertname": "CheckoutErrorRate"},
        "commonLabels": {"alertname": "CheckoutErrorRate", "severity": "error"},
        "commonAnnotations": {},
        "externalURL": "https://alertmanager.lamplight.example",
        "alerts": [
            {
                "status": "firing",
                "labels": {"alertname": "CheckoutErrorRate", "severity": "error", "instance": f"{prefix}-{number}"},
                "annotations": {"summary": "7.4 % of checkouts fail, 1 % is normal"},
                "startsAt": "2026-11-23T03:40:01Z",
                "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "https://prometheus.lamplight.example/graph?g0.expr=checkout_errors",
                "fingerprint": hashlib.sha256(f"{prefix}-{number}".encode()).hexdigest()[:16],
            }
            for number in range(count)
        ],
    }
