"""What deployments have in common, whichever AWS service runs them. Knows no service's own words.

One that ended is a change event of its own. One that failed also triggers, under the identity of what it deploys (a
pipeline, a project, a service), and the next one of the same that succeeds resolves it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from handler.alert import (
    CHANGE_EVENT_LABEL,
    Alert,
    Ignored,
    Link,
    Status,
)
from handler.envelope import Record
from handler.errors import InvalidAlertError
from handler.outcome import SkipReason
from handler.sources.aws import Arn, filled, partition_of

SEVERITY = "error"
"""Of a failure and of its end, so that both go to the same targets."""


class Ending(StrEnum):
    """How a deployment stands: the two endings that tell whether what it deploys is sound, and anything else."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    NONE = "none"


_STATUS = {Ending.FAILED: Status.FIRING, Ending.SUCCEEDED: Status.RESOLVED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One run of a pipeline, a build or a deployment, at one time.

    Attributes:
        noun: what runs, as a sentence begins with it.
        arn: the identity of what is deployed, the same for every run.
        run_id: the run's own identity.
        what: the version, or whatever else tells the runs apart for a person.
        place: the affected system.
    """

    origin: str
    client: str
    noun: str
    name: str
    arn: str
    run_id: str
    state: str
    ending: Ending
    observed_at: datetime
    starts_at: datetime | None = None
    place: str
    component: str
    group: str
    url: str
    what: str = ""
    reason: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    links: tuple[Link, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    def alerts(self) -> list[Alert | Ignored]:
        """Give the trigger or the resolve, and the change event; of a run that has not ended, neither."""
        if self.ending is Ending.NONE:
            return [Ignored(SkipReason.NOTICE, f"{self.name}: {self.state}")]
        known = Arn.of(self.arn)
        labels = {**filled({"account": known.account, "region": known.region}), **self.labels}
        shown = {"state": self.state, "run": self.run_id, "reason": self.reason}

        def alert(fingerprint: str, status: Status, severity: str, more_labels: Mapping[str, str]) -> Alert:
            return Alert(
                fingerprint=fingerprint,
                name=self.name,
                status=status,
                observed_at=self.observed_at,
                origin=self.origin,
                labels={**labels, **more_labels},
                starts_at=self.starts_at or self.observed_at,
                severity_word=severity,
                summary=self._summary(known.region),
                location=self.place,
                component=self.component,
                group=self.group,
                class_=f"{self.noun.lower()} failure",
                client=self.client,
                client_url=self.url,
                links=(Link(self.url, f"{self.noun} in the {self.client} console"), *self.links),
                details={**filled(shown), **self.details},
            )

        change = {CHANGE_EVENT_LABEL: "true"}
        return [
            alert(self.arn, _STATUS[self.ending], SEVERITY, {}),
            alert(f"{self.arn}#{self.run_id}", Status.FIRING, "", change),
        ]

    def _summary(self, region: str) -> str:
        what = f" ({self.what})" if self.what else ""
        where = f" in {region}" if region else ""
        reason = f": {self.reason}" if self.reason and self.ending is Ending.FAILED else ""
        return f"{self.noun} {self.name}{what} {self.ending}{where}{reason}"


def ending_of(state: str, endings: Mapping[str, Ending], field_name: str) -> Ending:
    """Look a state up; a word that nobody knows may be a failure, so it is refused and not ignored."""
    if state not in endings:
        raise InvalidAlertError(f"{field_name}: none of {', '.join(endings)}")
    return endings[state]


def arn_in(record: Record, service: str, resource: str, *, region: str = "", account: str = "") -> str:
    """Build the ARN of a resource where the record is from, the same by every road."""
    origin = Arn.of(next(iter(record.resources), ""))
    region = record.region or region or origin.region
    account = record.account or account or origin.account
    return f"arn:{partition_of(region)}:{service}:{region}:{account}:{resource}"
