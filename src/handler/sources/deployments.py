"""What deployments by any AWS service have in common.

Every deployment that ended is a change event. A failed one also triggers, under the identity of what it deploys (a
pipeline, a project, a service), and the next success of the same pipeline, project or service resolves that. A
deployment that was stopped, or whose end AWS may not report, is only a change event.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from handler.alert import CHANGE_EVENT_LABEL, Alert, Ignored, Link, Status
from handler.outcome import SkipReason
from handler.sources.aws import filled

SEVERITY = "error"
"""The same for a failure and its resolve, so that both go to the same targets."""


class Ending(StrEnum):
    """What a run's state means: the deployed thing is broken or works, it only changed, or the run has not ended.

    A state that nobody knows may be a failure.
    """

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CHANGED = "changed"
    NONE = "none"
    UNKNOWN = "unknown"


_STATUS = {Ending.FAILED: Status.FIRING, Ending.UNKNOWN: Status.FIRING, Ending.SUCCEEDED: Status.RESOLVED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a pipeline, a build or a deployment.

    Attributes:
        noun: what runs, capitalised to begin a sentence.
        id: the run's own identity.
        state: in the service's own words.
        what: the version, or whatever else tells a person which run it is.
    """

    noun: str
    id: str
    state: str
    ending: Ending
    what: str = ""
    reason: str = ""

    def summary(self, name: str, region: str) -> str:
        """Return one sentence that says how the run of `name` ended."""
        what = f" ({self.what})" if self.what else ""
        where = f" in {region}" if region else ""
        reason = f": {self.reason}" if self.reason and _STATUS.get(self.ending) is Status.FIRING else ""
        return f"{self.noun} {name}{what} {self._word}{where}{reason}"

    @property
    def _word(self) -> str:
        if self.ending not in (Ending.CHANGED, Ending.UNKNOWN):
            return str(self.ending)
        words = self.state.removeprefix("SERVICE_DEPLOYMENT_").replace("_", " ").lower()
        return "stopped" if words == "stop" else words

    @property
    def identity(self) -> str:
        """The part of the fingerprint that distinguishes this run's change event."""
        return f"{self.id}#{self._word}" if self.ending in (Ending.CHANGED, Ending.UNKNOWN) else self.id


def deployed(deployment: Alert, run: Run) -> list[Alert | Ignored]:
    """Return the trigger or resolve, and the change event; nothing while the run has not ended.

    Args:
        deployment: an alert about what is deployed; its fingerprint is the same for every run.
        run: what became of it.
    """
    if run.ending is Ending.NONE:
        return [Ignored(SkipReason.NOTICE, f"{deployment.name}: {run.state}")]
    region = deployment.labels.get("region", "")
    console = Link(deployment.client_url, f"{run.noun} in the {deployment.client} console")
    run_details = filled({"state": run.state, "run": run.id, "reason": run.reason})
    trigger = replace(
        deployment,
        starts_at=deployment.starts_at or deployment.observed_at,
        summary=run.summary(deployment.name, region),
        class_=f"{run.noun.lower()} failure",
        links=(console, *deployment.links),
        details={**run_details, **deployment.details},
    )
    change = replace(
        trigger,
        fingerprint=f"{deployment.fingerprint}#{run.identity}",
        status=Status.FIRING,
        labels={**deployment.labels, CHANGE_EVENT_LABEL: "true"},
    )
    if run.ending is Ending.CHANGED:
        return [change]
    return [replace(trigger, status=_STATUS[run.ending], severity_word=SEVERITY), change]
