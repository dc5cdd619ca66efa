"""The health check: tests everything that a page needs. A schedule runs it every five minutes."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from handler.delivery.limiter import NoPermitError, RateLimiter, Refusal, Taker
from handler.delivery.table import DedupTable
from handler.errors import (
    NoTargetError,
    PublishError,
    QueueUnavailableError,
    RateLimitExceededError,
    TableMissingError,
    TableUnavailableError,
)
from handler.health_report import HealthReport
from handler.pagerduty.client import HEALTH_DEDUP_KEY, Attempt, PagerDutyClient
from handler.pagerduty.events import Action, Event
from handler.targets.secrets import Targets
from handler.targets.target import Target


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """Reads the targets again, counts the records, and resolves an incident that never exists at each target.

    Attributes:
        count_dead_letters: asks SQS. The metrics of an idle queue are up to 15 minutes late unless somebody asks it:
            https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-monitoring-using-cloudwatch.html
    """

    targets: Targets
    client: PagerDutyClient
    table: DedupTable
    limiter: RateLimiter
    clock: Callable[[], float]
    count_dead_letters: Callable[[], int]

    def run(self, deadline: float) -> HealthReport:
        """Check everything; never raises a PublishError. `deadline` is when the invocation must have ended."""
        health = HealthReport()
        try:
            health.tracked = self.table.count(self.clock())
            now = self.clock() * 1000
            for place in self.table.all_waiting():
                count, oldest = health.waiting.get(place.target, (0, 0.0))
                health.waiting[place.target] = (count + 1, max(oldest, now - place.due))
        except (TableMissingError, TableUnavailableError) as error:
            health.problems.append(error)
        try:
            targets = self.targets.read(anew=True)
        except PublishError as error:
            health.problems.append(error)
            return health
        health.reported += targets.problems
        enabled = [target for target in targets.targets if target.is_paging]
        if not enabled:
            health.problems.append(NoTargetError("there is no enabled target: nobody can be paged"))
        for target in enabled:
            try:
                health.targets[target.name] = self._ask(target, deadline, health.attempts.append)
            except NoPermitError as refused:
                if refused.refusal is Refusal.SUSPENDED:
                    health.targets[target.name] = refused
            except RateLimitExceededError:
                continue
        with suppress(QueueUnavailableError):
            health.dead_letters = self.count_dead_letters()
        return health

    def _ask(self, target: Target, deadline: float, on_attempt: Callable[[Attempt], None]) -> PublishError | None:
        """Prove network, TLS and routing key; return what is wrong with them."""
        is_probe = False

        def take_permit() -> None:
            nonlocal is_probe
            with suppress(TableMissingError, TableUnavailableError):  # counting the records has reported that already
                is_probe |= self.limiter.take(target.routing_key, Taker.LESSER, self.clock()).is_probe

        try:
            self.client.send(
                Event(action=Action.RESOLVE, dedup_key=HEALTH_DEDUP_KEY),
                target.routing_key,
                base_url=target.url,
                deadline=deadline,
                before_attempt=take_permit,
                on_attempt=on_attempt,
            )
        except RateLimitExceededError:
            raise
        except PublishError as error:
            return error
        if is_probe:
            with suppress(TableMissingError, TableUnavailableError):
                self.limiter.resume(target.routing_key, self.clock())
        return None
