"""Test notifications, scheduled events and this function's own reports, all of which are ignored."""

from handler import schedules
from handler.alert import Ignored
from handler.envelope import Record
from handler.outcome import SkipReason

REPORT_ATTRIBUTE, REPORT = "origin", "pagerduty-publisher-operators"
"""The SNS attribute of this function's reports to operators, in case the function is subscribed to their topic."""
_OF_SCHEDULES = (schedules.HEALTH_CHECK, schedules.DRAIN)
"""Invocations by a schedule that failed and were kept: a later one has replaced them."""
_OF_A_LOG = {"s3Bucket", "s3ObjectKey"}
"""What CloudTrail says of each file of its log:
https://docs.aws.amazon.com/awscloudtrail/latest/userguide/configure-sns-notifications-for-cloudtrail.html"""
_DETAIL_TYPES = {"Scheduled Event": SkipReason.NOTICE}
_TYPES = {"SubscriptionConfirmation", "UnsubscribeConfirmation"}
"""https://docs.aws.amazon.com/sns/latest/dg/http-subscription-confirmation-json.html"""
_TEST_EVENTS = {"s3:TestEvent"}
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html"""
_TEST_TEXTS = ("Successfully validated SNS topic for Amazon SES event publishing",)
"""https://docs.aws.amazon.com/ses/latest/dg/event-publishing-add-event-destination-sns.html"""
_OF_PAGERDUTY = ("incident.", "service.", "pagey.ping")
_TESTED_SERVICES = ("amazon redshift", "amazon rds", "amazon elasticache", "aws database migration service")
_TEST_WORDS = ("test message", "test notification")
"""Services that publish a test message to a new subscription. A test that a person sends pages."""


def recognises(record: Record) -> bool:
    """Return whether it is a notice or a service's test message."""
    return _reason(record) is not None


def parse(record: Record) -> list[Ignored]:
    """Return the reason why nothing is sent."""
    reason = _reason(record)
    return [Ignored(reason, record.detail_type or record.subject or str(reason))] if reason else []


def _is_test(text: str) -> bool:
    lower = text.lower()
    return any(word in lower for word in _TEST_WORDS) and any(service in lower for service in _TESTED_SERVICES)


def _is_of_pagerduty(record: Record) -> bool:
    """Return whether PagerDuty itself reports an incident: paged again, it would report that one too, without end.

    https://developer.pagerduty.com/docs/webhooks-overview; its partner events have the same content.
    """
    match record.payload:
        case {"event": {"event_type": str(kind), "resource_type": _, "data": _}} if not record.detail_type:
            return kind.startswith(_OF_PAGERDUTY)
        case _:
            return record.event_source.startswith("aws.partner/pagerduty.com")


def _reason(record: Record) -> SkipReason | None:
    if record.attributes.get(REPORT_ATTRIBUTE) == REPORT or _is_of_pagerduty(record):
        return SkipReason.NOTICE
    if record.detail_type:
        return _DETAIL_TYPES.get(record.detail_type)
    match record.payload:
        case dict() as payload if payload.keys() == _OF_A_LOG or (payload in _OF_SCHEDULES and not record.message_id):
            return SkipReason.NOTICE
        case {"Type": str(kind), "TopicArn": _} if kind in _TYPES:
            return SkipReason.TEST_MESSAGE
        case {"Event": str(event), "Bucket": _} if event in _TEST_EVENTS:
            return SkipReason.TEST_MESSAGE
        case {"notificationType": "AmazonSnsSubscriptionSucceeded"}:
            return SkipReason.TEST_MESSAGE
        case str(text) if text.strip().startswith(_TEST_TEXTS):
            return SkipReason.TEST_MESSAGE
        case str(text) | {"Event Source": _, "Event Message": str(text)} if _is_test(f"{record.subject} {text[:300]}"):
            return SkipReason.TEST_MESSAGE
        case _:
            return None
