"""What the comparison has to know of the targets: which take an alert, and whether they send resolves."""

from dataclasses import dataclass

from handler.alert import Alert
from handler.errors import NoTargetError
from handler.targets.target import TargetSet


@dataclass(frozen=True, slots=True)
class Routing:
    """The targets that were read last."""

    targets: TargetSet

    def names(self) -> list[str]:
        """Return the names of all targets; a disabled target's records count too."""
        return [target.name for target in self.targets.targets]

    def pages(self, alert: Alert) -> bool:
        """Return whether any target would open an incident for the alert."""
        try:
            taking = self.targets.taking(alert)
        except NoTargetError:
            return False
        return any(target.skip_reason(alert) is None for target in taking)

    def resolves(self, name: str) -> bool:
        """Return whether this target sends resolves; one that was removed does not."""
        return any(target.name == name and target.auto_resolve for target in self.targets.targets)
