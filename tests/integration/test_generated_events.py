"""What `sam local generate-event` makes, as a newcomer would try it first."""

import json
import subprocess
from typing import Any

import pytest

from handler.alert import Alert, Ignored, Status
from handler.errors import PublishError
from handler.outcome import SkipReason
from local.stack import REGION, SAM
from tests.lab.alerts import parse, parse_alert


def generated(*words: str) -> Any:
    """Return the event that SAM makes."""
    done = subprocess.run(
        [SAM / "sam", "local", "generate-event", *words],
        env={"PATH": "/usr/bin:/bin", "HOME": "/nowhere", "AWS_DEFAULT_REGION": REGION, "SAM_CLI_TELEMETRY": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_a_notification_is_a_trigger() -> None:
    """Its message is a text that no source knows, and its URLs are none."""
    alert = parse_alert(generated("sns", "notification", "--message", "The oven is cold", "--subject", "Bakery"))

    assert (alert.status, alert.name, alert.summary) == (Status.FIRING, "Bakery", "Bakery: The oven is cold")


def test_a_notification_may_hold_a_native_alert() -> None:
    """Quoted into the message as `sns publish` would send it."""
    message = json.dumps({"alert": {"fingerprint": "oven", "alert_name": "OvenIsCold", "status": "resolved"}})
    # SAM puts the message into a template of JSON as it is
    alert = parse_alert(generated("sns", "notification", "--message", message.replace('"', '\\"')))

    assert (alert.fingerprint, alert.status) == ("oven", Status.RESOLVED)


def test_a_scheduled_event_pages_nobody() -> None:
    """It has no version, which Powertools' own model insists on."""
    assert parse(generated("cloudwatch", "scheduled-event")) == [Ignored(SkipReason.NOTICE, "Scheduled Event")]


@pytest.mark.parametrize(
    "words", [("cloudwatch", "logs"), ("sqs", "receive-message"), ("s3", "put"), ("codepipeline", "job")]
)
def test_events_of_other_services_are_read_or_refused(words: tuple[str, ...]) -> None:
    """Nothing is raised but the handler's own errors."""
    try:
        found = parse(generated(*words))
    except PublishError:
        return
    assert all(isinstance(each, Alert | Ignored) for each in found)
