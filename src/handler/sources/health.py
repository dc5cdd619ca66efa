"""AWS Health's events of an account, as EventBridge sends them.

A long event comes in several pages, and each event also comes through a backup region; all have the same ARN and time:
https://docs.aws.amazon.com/health/latest/ug/aws-health-events-eventbridge-schema.html
"""

from urllib.parse import quote

from pydantic import Field

from handler.alert import Alert, Link, Status
from handler.envelope import Record
from handler.pagerduty.severity import Severity
from handler.sources.aws import Arn, Home, dig, filled
from handler.validation import (
    Instant,
    LooseText,
    Model,
    Name,
    Objects,
    parse_model,
)

ORIGIN = "health"
CLIENT = "AWS Health"
_SEVERITIES = {
    "issue": Severity.ERROR,
    "investigation": Severity.WARNING,
    "scheduledChange": Severity.WARNING,
    "accountNotification": Severity.INFO,
}


class HealthEvent(Model):
    """The detail of the event."""

    eventArn: Name
    affectedAccount: LooseText = ""
    service: LooseText = ""
    eventTypeCode: LooseText = ""
    eventTypeCategory: LooseText = ""
    eventScopeCode: LooseText = ""
    eventRegion: LooseText = ""
    statusCode: LooseText = ""
    communicationId: LooseText = ""
    startTime: Instant = None
    endTime: Instant = None
    eventDescription: Objects = Field(default_factory=list)
    affectedEntities: Objects = Field(default_factory=list)


def parse(record: Record) -> list[Alert]:
    """Return an alert about the affected account, which fires while the event is open or upcoming."""
    event = parse_model(HealthEvent, record.payload, "AWS Health event")
    region = event.eventRegion or Arn.of(event.eventArn).region
    home = Home.of(record, account=event.affectedAccount, region=region)
    entities = ", ".join(filter(None, (dig(entity, "entityValue") for entity in event.affectedEntities)))
    description = dig(event.eventDescription, "latestDescription")
    console = Home.of(record).console(  # not in the event's own region, which may be `global`
        "health/home",
        fragment=f"/account/event-log?eventID={quote(event.eventArn, safe='')}&eventTab=details",
    )
    labels = {
        "service": event.service,
        "type": event.eventTypeCode,
        "category": event.eventTypeCategory,
        "scope": event.eventScopeCode,
    }
    details = {
        "description": description,
        "status": event.statusCode,
        "start_time": event.startTime.isoformat() if event.startTime else "",
        "affected_entities": event.affectedEntities,
        "communication_id": event.communicationId,
    }
    return [
        Alert(
            fingerprint=f"{event.eventArn}#{home.account}",
            name=event.eventTypeCode.strip() or "AWS Health event",
            status=Status.RESOLVED if event.statusCode == "closed" else Status.FIRING,
            observed_at=record.published_at,
            origin=ORIGIN,
            labels={**home.labels, **filled(labels)},
            # a scheduled change starts in the future, and PagerDuty shows when an alert started
            starts_at=event.startTime if event.startTime and event.startTime <= record.published_at else None,
            ends_at=event.endTime,
            severity_word=_SEVERITIES.get(event.eventTypeCategory, ""),
            summary=description,
            location=entities or ", ".join(record.resources) or event.service,
            component=event.service,
            group=home.account,
            class_=event.eventTypeCode,
            client=CLIENT,
            client_url=console,
            links=(Link(console, "Event in the AWS Health dashboard"),),
            details={name: value for name, value in details.items() if value},
        )
    ]
