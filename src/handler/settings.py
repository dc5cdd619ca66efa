"""The settings, from the environment; what cannot be parsed stops the function at start, with its name."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from handler.alert import WhenUndetermined
from handler.errors import SettingsError
from handler.pagerduty.client import BASE_URL
from handler.validation import parse_model

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


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
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("has to be a host alone: what else it holds would stand in the log")
    if parts.scheme == "https" and parts.hostname:
        return url.rstrip("/")
    if parts.scheme == "http" and parts.hostname in _LOOPBACK:
        return url.rstrip("/")
    raise ValueError(f"has to be https, such as {BASE_URL}; http is for loopback alone")


Seconds = Annotated[float, Field(gt=0, le=365 * 86400), BeforeValidator(_seconds)]
Required = Annotated[str, Field(min_length=1)]


class Settings(BaseModel):
    """All settings; DESIGN of each in README and template.yaml."""

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
    OPERATOR_TOPIC_ARN: str | None = None
    ALERT_TOPIC_ARN: str | None = None
    FOREIGN_TOPIC_ARN: str | None = None
    AGREE_WITH_CLOUDWATCH: Literal["off", "wired", "all"] = "off"
    HEARTBEAT_URL: str = ""
    ACCOUNT_NAMES: str = ""
    HTTPS_PROXY: str | None = None
    LOG_LEVEL: Annotated[str, Field(pattern="^(DEBUG|INFO|WARNING|ERROR|CRITICAL)$")] = "INFO"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the settings; raise SettingsError that names each wrong one."""
        given = {name: environ[name] for name in cls.model_fields if name in environ}
        return parse_model(cls, given, "setting", SettingsError)
