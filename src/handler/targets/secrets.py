"""Targets from AWS Secrets Manager, kept for five minutes; the last known ones serve while it is down."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, ReadTimeoutError

from handler.errors import InvalidTargetError, PublishError, TargetsUnavailableError
from handler.pagerduty.client import PAGERDUTY_DOMAIN, REDACTED, is_pagerdutys
from handler.targets.target import Target, TargetSet
from handler.validation import parse_model

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager.client import SecretsManagerClient

TAG = "publishing-target"
MAX_AGE_SECONDS = 300
RETRY_SECONDS = 15
"""How long the last known targets serve after Secrets Manager failed or left one out, before it is asked again."""
_ARN_SUFFIX_CHARACTERS = len("-AbCdEf")
BINARY = "binary"
"""Stands for a value without a text: it was read, and can hold no target."""


class SecretsByPrefix:
    """All secrets that carry the tag, under a name prefix."""

    def __init__(self, client: "SecretsManagerClient") -> None:
        self._client = client

    def read(self, prefix: str) -> dict[str, str]:
        """Return the secrets' texts by name; one that could not be read has an empty text. Raises botocore's errors."""
        secrets: dict[str, str] = {}
        filters = [
            {"Key": "name", "Values": [prefix]},
            {"Key": "tag-key", "Values": [TAG]},
            {"Key": "tag-value", "Values": ["true"]},
        ]
        more: dict[str, Any] = {}
        while True:
            page = self._client.batch_get_secret_value(Filters=filters, **more)  # type: ignore[arg-type]
            secrets |= {secret["Name"]: secret.get("SecretString", BINARY) for secret in page.get("SecretValues", [])}
            for error in page.get("Errors", []):
                secrets.setdefault(_name_of(error.get("SecretId", "")), "")
            if not (token := page.get("NextToken")):
                return {name: text for name, text in secrets.items() if name.startswith(prefix)}
            more = {"NextToken": token}


def _name_of(secret_id: str) -> str:
    """Return a secret's name from its ARN, which ends in a hyphen and six random characters, or from its name."""
    _, separator, name = secret_id.rpartition(":secret:")
    return name[:-_ARN_SUFFIX_CHARACTERS] if separator else name


class Targets:
    """The targets, kept for five minutes; the last known ones serve while Secrets Manager is down.

    Args:
        secrets: reads the secrets.
        prefix: under which names they are.
        base_url: the one URL besides PagerDuty's own that a target may name.
        clock: epoch seconds.
        report: called with each problem of a target whenever the targets are read anew.
    """

    def __init__(
        self,
        secrets: SecretsByPrefix,
        *,
        prefix: str,
        base_url: str,
        clock: Callable[[], float],
        report: Callable[[PublishError], None],
    ) -> None:
        self._source = secrets
        self._prefix = prefix
        self._base_url = base_url
        self._clock = clock
        self._report = report
        self._texts: Mapping[str, str] = {}
        self._set = TargetSet()
        self._fresh_until = 0.0
        self._retry_at = 0.0
        self._look_again_at = 0.0
        self._hung_until = 0.0
        self._readings = 0
        self._lock = Lock()

    def read(self, *, anew: bool = False) -> TargetSet:
        """Return all targets, cached unless asked for `anew` or none is known. Safe to call from several threads.

        Raises:
            TargetsUnavailableError: Secrets Manager fails and no targets are known.
        """
        with self._lock:
            return self._read(anew=anew)

    def naming(self, names: Sequence[str]) -> TargetSet:
        """Return all targets; one of these names that is unknown may be of a new secret, so they are read again."""
        with self._lock:
            targets = self._read(anew=False)
            if all(map(targets.named, names)) or self._clock() < self._look_again_at:
                return targets
            self._look_again_at = self._clock() + RETRY_SECONDS
            return self._read(anew=True)

    def rotated(self, target: Target) -> Target | None:
        """Return the target if it pages with another routing key by now; read the secrets again if need be.

        The deliveries of a batch are refused at the same time: one reading that began after that serves them all.
        """
        readings = self._readings
        if _has_other_key(current := self._set.named(target.name), target):
            return current
        try:
            with self._lock:
                current = (self._set if self._readings > readings else self._read(anew=True)).named(target.name)
        except PublishError:
            return None
        return current if _has_other_key(current, target) else None

    def redact(self, text: str) -> str:
        """Return a text that came from elsewhere, without the routing keys of the targets known now."""
        for target in self._set.targets:
            if target.routing_key:
                text = text.replace(target.routing_key.get_secret_value(), REDACTED)
        return text

    def _read(self, *, anew: bool) -> TargetSet:
        now = self._clock()
        if not anew and now < (self._fresh_until if self._set.targets else self._retry_at):
            return self._set
        if now < self._hung_until:
            return self._last_known(TargetsUnavailableError("Secrets Manager: a call hung; it is not asked again yet"))
        self._readings += 1
        try:
            secrets = self._source.read(self._prefix)
            if self._is_partial(secrets):
                secrets = self._source.read(self._prefix)
        except (BotoCoreError, ClientError) as error:
            unavailable = TargetsUnavailableError(
                f"Secrets Manager: secrets under {self._prefix} could not be read: {error}"
            )
            retry_at = self._clock() + RETRY_SECONDS
            if isinstance(error, ConnectTimeoutError | ReadTimeoutError):
                self._hung_until = retry_at  # otherwise each alert of a message would wait as long
            targets = self._last_known(unavailable)
            self._report(unavailable)
            self._fresh_until = self._retry_at = retry_at
            return targets
        self._replace(secrets)
        self._fresh_until = now + (RETRY_SECONDS if self._set.is_partial else MAX_AGE_SECONDS)
        return self._set

    def _last_known(self, error: PublishError) -> TargetSet:
        """Return the last known targets, with the error as a problem; raise it if there are none."""
        if not self._texts:
            raise error
        return replace(self._set, problems=(*self._set.problems, error))

    def _is_partial(self, secrets: Mapping[str, str]) -> bool:
        """Return whether a secret could not be read and never was: its alerts would go to whoever takes the rest."""
        return any(not text and not self._texts.get(name) for name, text in secrets.items())

    def _replace(self, secrets: Mapping[str, str]) -> None:
        """Take over what was read; a secret that could not be read this time keeps its last known text."""
        stale = {
            name: self._texts[name]
            for name, text in secrets.items()
            if text in ("", BINARY) and self._texts.get(name, BINARY) not in ("", BINARY)
        }
        self._texts = {**secrets, **stale}
        read = parse_targets(self._texts, self._base_url)
        unread = [
            InvalidTargetError(f"secret {name}: could not be read this time; its last known text is used")
            for name in sorted(stale)
        ]
        self._set = replace(read, problems=(*read.problems, *unread), is_partial=not all(self._texts.values()))
        for problem in self._set.problems:
            self._report(problem)


def _has_other_key(current: Target | None, target: Target) -> bool:
    return current is not None and current.is_paging and current.routing_key != target.routing_key


def parse_targets(secrets: Mapping[str, str], base_url: str) -> TargetSet:
    """Read secrets, by name; a bad one becomes a problem and does not disturb the others."""
    targets: dict[str, Target] = {}
    problems: list[PublishError] = []
    for secret_name, text in sorted(secrets.items()):
        try:
            target = _parse_target(secret_name, text, base_url)
            if target.name in targets:
                raise InvalidTargetError(f"secret {secret_name}: name: another target has it too")
            targets[target.name] = target
        except InvalidTargetError as problem:
            problems.append(problem)
    return TargetSet(tuple(targets.values()), tuple(problems))


def _parse_target(secret_name: str, text: str, base_url: str) -> Target:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidTargetError(f"secret {secret_name}: not JSON, or not readable by this function's role") from None
    if not isinstance(content, dict):
        raise InvalidTargetError(f"secret {secret_name}: must be a JSON object")
    target = parse_model(Target, content, f"secret {secret_name}", InvalidTargetError)
    if target.url is not None and not _is_allowed_url(target.url, base_url):
        raise InvalidTargetError(
            f"secret {secret_name}: url: must be https on a host of {PAGERDUTY_DOMAIN}, or PAGERDUTY_BASE_URL"
        )
    for field, text in {"name": target.name, "url": target.url or ""}.items():
        if target.routing_key and target.routing_key.get_secret_value() in text:
            raise InvalidTargetError(f"secret {secret_name}: {field}: holds the routing key, and a log would show it")
    return target


def _is_allowed_url(url: str, base_url: str) -> bool:
    return is_pagerdutys(url) or url.rstrip("/") == base_url.rstrip("/")
