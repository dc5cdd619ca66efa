"""What deployments have in common, whichever AWS service runs them. Knows no service's own words.

One that ended is a change event of its own. One that failed also triggers, under the identity of what it deploys (a
pipeline, a project, a service), and the next one of the same that succeeds resolves it. One that was stopped, or whose
end AWS may never report, leaves a change event alone.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from handler.alert import CHANGE_EVENT_LABEL, Alert, Ignored, Link, Status
from handler.outcome import SkipReason
from handler.sources.aws import filled

SEVERITY = "error"
"""Of a failure and of its end, so that both go to the same targets."""


class Ending(StrEnum):
    """How a run stands: two endings that say whether what it deploys is sound, a mere change, and anything else.

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
        noun: what runs, as a sentence begins with it.
        id: the run's own identity.
        state: in the service's own words.
        what: the version, or whatever else distinguishes the runs for a person.
    """

    noun: str
    id: str
    state: str
    ending: Ending
    what: str = ""
    reason: str = ""

    def summary(self, name: str, region: str) -> str:
        """Return what became of the run of something with this name, in one sentence."""
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
        """What distinguishes the change event from others of the same target of deployment."""
        return f"{self.id}#{self._word}" if self.ending in (Ending.CHANGED, Ending.UNKNOWN) else self.id


def deployed(deployment: Alert, run: Run) -> list[Alert | Ignored]:
    """Return the trigger or the resolve, and the change event; of a run that has not ended, neither.

    Args:
        deployment: what is deployed, by whom and where; its fingerprint is the same for every run.
        run: what became of it.
    """
    if run.ending is Ending.NONE:
        return [Ignored(SkipReason.NOTICE, f"{deployment.name}: {run.state}")]
    region = deployment.labels.get("region", "")
    console = Link(deployment.client_url, f"{run.noun} in the {deployment.client} console")
    shown = filled({"state": run.state, "run": run.id, "reason": run.reason})
    said = replace(
        deployment,
        starts_at=deployment.starts_at or deployment.observed_at,
        summary=run.summary(deployment.name, region),
        class_=f"{run.noun.lower()} failure",
        links=(console, *deployment.links),
        details={**shown, **deployment.details},
    )
    change = replace(
        said,
        fingerprint=f"{deployment.fingerprint}#{run.identity}",
        status=Status.FIRING,
        labels={**deployment.labels, CHANGE_EVENT_LABEL: "true"},
    )
    if run.ending is Ending.CHANGED:
        return [change]
    return [replace(said, status=_STATUS[run.ending], severity_word=SEVERITY), change]
