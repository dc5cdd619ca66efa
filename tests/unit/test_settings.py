"""Settings: read once from the environment, and what cannot be read stops the function with its name."""

import pytest
from botocore.utils import get_environ_proxies

from handler.errors import PublisherErrorReason, SettingsError
from handler.settings import Settings

REQUIRED = {
    "DEDUP_TABLE_NAME": "dedup",
    "RETRY_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/retry",
    "DEAD_LETTER_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/dead",
}


def read(**environment: str) -> Settings:
    return Settings.from_environment({**REQUIRED, **environment})


def test_everything_but_the_table_and_the_queues_has_a_default() -> None:
    settings = read()

    assert settings.PAGERDUTY_BASE_URL == "https://events.pagerduty.com"
    assert settings.PAGERDUTY_TIMEOUT == 10
    assert settings.PAGERDUTY_MAX_RETRIES == 3
    assert settings.PAGERDUTY_RATE_LIMIT == 120.0
    assert settings.PAGERDUTY_CACHE_TTL == 24 * 3600
    assert settings.PAGERDUTY_REPEAT_AFTER == 300


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10s", 10), ("5m", 300), ("24h", 86400), ("1d", 86400), ("250ms", 0.25), ("1.5s", 1.5), ("1h30m", 5400)],
)
def test_durations_carry_their_unit(text: str, seconds: float) -> None:
    timeout_seconds = read(PAGERDUTY_TIMEOUT=text).PAGERDUTY_TIMEOUT

    assert timeout_seconds == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PAGERDUTY_TIMEOUT", "10"),
        ("PAGERDUTY_TIMEOUT", ""),
        ("PAGERDUTY_TIMEOUT", "0s"),
        ("PAGERDUTY_TIMEOUT", "-1s"),
        ("PAGERDUTY_TIMEOUT", "10s or so"),
        ("PAGERDUTY_TIMEOUT", "ten seconds"),
        ("PAGERDUTY_CACHE_TTL", "400d"),
        ("PAGERDUTY_MAX_RETRIES", "-1"),
        ("PAGERDUTY_MAX_RETRIES", "many"),
        ("PAGERDUTY_MAX_RETRIES", "1.5"),
        ("PAGERDUTY_RATE_LIMIT", "0"),
        ("PAGERDUTY_RATE_LIMIT", "nan"),
        ("PAGERDUTY_RATE_LIMIT", "inf"),
        ("PAGERDUTY_BASE_URL", "http://events.pagerduty.com"),
        ("PAGERDUTY_BASE_URL", "events.pagerduty.com"),
        ("PAGERDUTY_BASE_URL", "https://"),
        ("PAGERDUTY_BASE_URL", "https://[::1"),
        ("PAGERDUTY_BASE_URL", "https://user:secret@events.pagerduty.com"),
        ("PAGERDUTY_BASE_URL", "https://events.pagerduty.com?key=secret"),
        ("PAGERDUTY_BASE_URL", "https://events.pagerduty.com#secret"),
        ("PAGERDUTY_BASE_URL", "https://events.pagerduty.com.evil.example"),
        ("PAGERDUTY_BASE_URL", "https://evilpagerduty.com"),
        ("PAGERDUTY_BASE_URL", "https://proxy.example"),
        ("PAGERDUTY_BASE_URL", "https://evil.example\\.pagerduty.com"),
        ("PAGERDUTY_BASE_URL", "http://127.0.0.1.evil.example"),
        ("PAGERDUTY_BASE_URL", "https://evil.example%2f.pagerduty.com"),
        ("PAGERDUTY_BASE_URL", "https://evil.example;.pagerduty.com"),
        ("PAGERDUTY_BASE_URL", "https://evil.example\u2044.pagerduty.com"),
        ("PAGERDUTY_BASE_URL", "https://events.pagerduty.com:99999"),
        ("PAGERDUTY_TIMEOUT", "\u0661s"),
        ("ACCOUNT_NAMES", "production"),
        ("ACCOUNT_NAMES", "12345678901=short"),
        ("ACCOUNT_NAMES", "123456789012="),
        ("ACCOUNT_NAMES", "123456789012=a,123456789012=b"),
        ("AGREE_WITH_CLOUDWATCH", "yes"),
        ("AGREE_WITH_CLOUDWATCH", ""),
        ("ALERT_TOPIC_ARN", "alerts"),
        ("FOREIGN_TOPIC_ARN", "alerts"),
        ("HEARTBEAT_URL", "http://hc.example/secret"),
        ("HEARTBEAT_URL", "https://"),
        ("HEARTBEAT_URL", "https://[::1/secret"),
        ("OPERATOR_TOPIC_ARN", "operators"),
        ("HTTPS_PROXY", "ftp://user:secret@proxy.example"),
        ("HTTPS_PROXY", "http://user:secret@"),
        ("HTTPS_PROXY", "http://secret.example:port"),
        ("PAGERDUTY_TARGET_PREFIX", ""),
        ("DEDUP_TABLE_NAME", ""),
        ("LOG_LEVEL", "LOUD"),
    ],
)
def test_a_setting_that_cannot_be_read_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name) as stopped:
        read(**{name: value})

    assert stopped.value.reason is PublisherErrorReason.INVALID_SETTINGS
    assert "secret" not in str(stopped.value)


def test_every_wrong_setting_is_named_at_once() -> None:
    with pytest.raises(SettingsError, match=r"PAGERDUTY_TIMEOUT.*; .*DEAD_LETTER_QUEUE_URL"):
        Settings.from_environment({"DEDUP_TABLE_NAME": "t", "RETRY_QUEUE_URL": "u", "PAGERDUTY_TIMEOUT": "soon"})


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://events.eu.pagerduty.com/", "https://events.eu.pagerduty.com"),
        ("https://localhost:8443", "https://localhost:8443"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://localhost:8080/", "http://localhost:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_a_base_url_is_pagerdutys_or_loopback(given: str, kept: str) -> None:
    url = read(PAGERDUTY_BASE_URL=given).PAGERDUTY_BASE_URL

    assert url == kept


def test_account_names_are_a_map() -> None:
    assert read().ACCOUNT_NAMES == {}
    assert read(ACCOUNT_NAMES="").ACCOUNT_NAMES == {}
    assert read(ACCOUNT_NAMES="123456789012=production, 210987654321 = Data = lake,").ACCOUNT_NAMES == {
        "123456789012": "production",
        "210987654321": "Data = lake",
    }


def test_what_is_optional_may_be_empty() -> None:
    """As the template passes a parameter that was left empty."""
    settings = read(OPERATOR_TOPIC_ARN="", HEARTBEAT_URL="", HTTPS_PROXY="")

    assert (settings.OPERATOR_TOPIC_ARN, settings.HEARTBEAT_URL, settings.HTTPS_PROXY) == (None, None, None)


@pytest.mark.parametrize(
    ("given", "base_url", "proxy_url"),
    [
        ("http://proxy.example:3128", "https://events.pagerduty.com", "http://proxy.example:3128"),
        ("proxy.example:3128", "https://events.pagerduty.com", "http://proxy.example:3128"),
        ("https://user:pw@proxy.example", "https://events.eu.pagerduty.com", "https://user:pw@proxy.example"),
        ("http://proxy.example:3128", "http://127.0.0.1:8080", None),
        ("", "https://events.pagerduty.com", None),
    ],
)
def test_the_proxy_is_for_https(given: str, base_url: str, proxy_url: str | None) -> None:
    """As its name says; a simulator on this machine is asked directly."""
    assert read(HTTPS_PROXY=given, PAGERDUTY_BASE_URL=base_url).proxy_url == proxy_url


def test_boto3_reads_the_same_proxy_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that one setting serves AWS and PagerDuty alike."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)

    assert get_environ_proxies("https://sqs.eu-west-1.amazonaws.com")["https"] == "http://proxy.example:3128"


def test_other_variables_are_none_of_our_business() -> None:
    assert read(PATH="/bin", AWS_SECRET_ACCESS_KEY="x") == read()
