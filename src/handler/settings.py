"""The settings, from environment variables. An invalid one stops the function at start with an error that names it."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from handler.alert import WhenUndetermined
from handler.errors import SettingsError
from handler.pagerduty.client import BASE_URL, PAGERDUTY_DOMAIN, is_pagerdutys
from handler.validation import parse_model

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_AMBIGUOUS_IN_A_URL = re.compile(r"[\\@?#\s]")
"""Parsers disagree on the host of a URL with a backslash or user info; the others do not belong in a base URL."""


def _seconds(text: Any) -> Any:
    """Read a duration such as `10s`, `5m`, `24h`, `1h30m` as seconds."""
    if not isinstance(text, str):
        return text
    compact = text.strip()
    parts = _PART.findall(compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact:
        raise ValueError("not a duration: write it as 10s, 5m or 24h")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _pagerduty_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.username is not None or parts.query or parts.fragment or _AMBIGUOUS_IN_A_URL.search(url):
        raise ValueError("must be a host without user info, query or fragment: the URL appears in the log")
    if is_pagerdutys(url) or (parts.scheme in ("http", "https") and parts.hostname in _LOOPBACK and parts.port != 0):
        return url.rstrip("/")
    raise ValueError(f"must be https on a host of {PAGERDUTY_DOMAIN}, such as {BASE_URL}, or a loopback address")


def _https_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.hostname and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)):
        return url
    raise ValueError("must be an https URL")


def _proxy_url(url: str) -> str:
    url = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return url
    except ValueError:
        pass
    raise ValueError("must be a proxy URL such as http://proxy.example:3128")


def _account_names(text: Any) -> Any:
    """Read `123456789012=production,210987654321=staging`."""
    if not isinstance(text, str):
        return text
    names: dict[str, str] = {}
    for part in text.split(","):
        if not part.strip():
            continue
        account, _, name = (piece.strip() for piece in part.partition("="))
        if not re.fullmatch(r"\d{12}", account, re.ASCII) or not name:
            raise ValueError("must be written as 123456789012=production,210987654321=staging")
        if account in names:
            raise ValueError("names an account twice")
        names[account] = name
    return names


def _none_if_empty(text: Any) -> Any:
    """Read an empty text as None: an optional parameter of the template is empty unless it is set."""
    return None if text == "" else text


Seconds = Annotated[float, Field(gt=0, le=365 * 86400), BeforeValidator(_seconds)]
Required = Annotated[str, Field(min_length=1)]
AccountNames = Annotated[Mapping[str, str], BeforeValidator(_account_names)]
HttpsUrl = Annotated[Annotated[str, AfterValidator(_https_url)] | None, BeforeValidator(_none_if_empty)]
ProxyUrl = Annotated[Annotated[str, AfterValidator(_proxy_url)] | None, BeforeValidator(_none_if_empty)]
Arn = Annotated[Annotated[str, Field(pattern="^arn:")] | None, BeforeValidator(_none_if_empty)]


class Settings(BaseModel):
    """All settings; docs/operations.md describes them.

    `HTTPS_PROXY` is the variable that botocore reads by itself: one setting serves AWS and PagerDuty alike.
    """

    model_config = ConfigDict(frozen=True)

    PAGERDUTY_BASE_URL: Annotated[str, AfterValidator(_pagerduty_url)] = BASE_URL
    PAGERDUTY_TIMEOUT: Seconds = 10.0
    PAGERDUTY_MAX_RETRIES: Annotated[int, Field(ge=0, le=10)] = 3
    PAGERDUTY_RATE_LIMIT: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 120.0
    PAGERDUTY_CACHE_TTL: Seconds = 86400.0
    PAGERDUTY_REPEAT_AFTER: Seconds = 300.0
    PAGERDUTY_TARGET_PREFIX: Required = "pagerduty/"
    CLOUDWATCH_INSUFFICIENT_DATA: WhenUndetermined = WhenUndetermined.IGNORE
    DEDUP_TABLE_NAME: Required
    RETRY_QUEUE_URL: Required
    DEAD_LETTER_QUEUE_URL: Required
    OPERATOR_TOPIC_ARN: Arn = None
    ALERT_TOPIC_ARN: Arn = None
    FOREIGN_TOPIC_ARN: Arn = None
    AGREE_WITH_CLOUDWATCH: Literal["off", "wired", "all"] = "off"
    HEARTBEAT_URL: HttpsUrl = None
    ACCOUNT_NAMES: AccountNames = {}
    HTTPS_PROXY: ProxyUrl = None
    LOG_BODIES: Literal["ENABLED", "DISABLED"] = "DISABLED"
    LOG_LEVEL: Annotated[str, Field(pattern="^(DEBUG|INFO|WARNING|ERROR|CRITICAL)$")] = "INFO"

    @property
    def proxy_url(self) -> str | None:
        """The proxy for PagerDuty; None for a loopback address over http."""
        return self.HTTPS_PROXY if self.PAGERDUTY_BASE_URL.startswith("https:") else None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the settings; raise SettingsError naming each invalid one."""
        given = {name: environ[name] for name in cls.model_fields if name in environ}
        return parse_model(cls, given, "setting", SettingsError)
