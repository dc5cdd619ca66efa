"""Targets: a bad secret disturbs no other, no key is ever shown, and the last known targets serve through an outage."""

import json
from dataclasses import replace
from typing import Any, cast

import pytest
from botocore.exceptions import EndpointConnectionError
from pydantic import SecretStr

from handler.alert import Alert, Status
from handler.errors import (
    InvalidTargetError,
    NoTargetError,
    NoTargetsYetError,
    PublishError,
    TargetsUnavailableError,
)
from handler.outcome import SkipReason
from handler.pagerduty.severity import Severity
from handler.targets.secrets import (
    BINARY,
    MAX_AGE_SECONDS,
    RETRY_SECONDS,
    SecretsByPrefix,
    Targets,
    parse_targets,
)
from handler.targets.target import Target, TargetSet
from tests.lab.alerts import AN_ALERT, shown

KEY = "0123456789abcdef0123456789abcdef"
BASE_URL = "https://events.pagerduty.com"


def secret(**fields: Any) -> str:
    """Make the text of a secret; a field of None is left out."""
    content = {"name": "production", "type": "pagerduty", "headers": {"routing_key": KEY}, **fields}
    return json.dumps({name: value for name, value in content.items() if value is not None})


def read(*texts: str, base_url: str = BASE_URL) -> TargetSet:
    return parse_targets({f"pagerduty/{n}": text for n, text in enumerate(texts)}, base_url)


def target(**fields: Any) -> Target:
    targets = read(secret(**fields))
    assert not targets.problems
    return targets.targets[0]


def alert(**labels: str) -> Alert:
    return replace(AN_ALERT, labels=labels, severity_word=labels.get("severity", ""))


# --- Reading a secret -------------------------------------------------------------------------------------------------


def test_a_name_a_type_and_a_key_are_enough() -> None:
    it = target()

    assert (it.name, it.url, it.enabled, it.match) == ("production", None, True, ())
    assert (it.default_severity, it.severity_threshold, it.auto_resolve) == (Severity.ERROR, None, True)
    assert it.routing_key.get_secret_value() == KEY


def test_a_text_with_several_matchers_is_that_many() -> None:
    """All have to match."""
    it = target(match=['{team="shop", cluster=~"prod|staging"}', 'severity!="info"'])

    assert it.takes({"team": "shop", "cluster": "prod", "severity": "error"})
    assert not it.takes({"team": "shop", "cluster": "dev", "severity": "error"})
    assert not it.takes({"team": "shop", "cluster": "prod", "severity": "info"})


def test_severities_may_be_any_word_for_one() -> None:
    it = target(default_severity="P4", severity_threshold="warn")

    assert (it.default_severity, it.severity_threshold) == (Severity.INFO, Severity.WARNING)


@pytest.mark.parametrize(
    "url",
    [
        "https://events.pagerduty.com",
        "https://events.eu.pagerduty.com/",
        "https://pagerduty.com",
        "https://EVENTS.PAGERDUTY.COM",
        "http://127.0.0.1:8080",
        "http://127.0.0.1:8080/",
    ],
)
def test_a_url_is_pagerdutys_or_the_one_in_the_settings(url: str) -> None:
    assert read(secret(url=url), base_url="http://127.0.0.1:8080").targets[0].url == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://events.pagerduty.com",
        "https://events.pagerduty.com.evil.example",
        "https://evilpagerduty.com",
        "https://evil.example/events.pagerduty.com",
        "https://events.pagerduty.com@evil.example",
        "https://evil.example\\@events.pagerduty.com",
        "https://evil.example#@events.pagerduty.com",
        "https://evil.example?.pagerduty.com",
        "https://events.pagerduty.com /",
        "https://events.pagerduty.com\n",
        "http://127.0.0.1:8081",
        "http://127.0.0.1:8080@evil.example",
        "//events.pagerduty.com",
        "https://[::1",
        "https://evil.example%2f.pagerduty.com",
        "https://evil.example;.pagerduty.com",
        "https://evil.example\u2044.pagerduty.com",
        "https://.pagerduty.com",
        "https://events.pagerduty.com:99999",
        "ftp://events.pagerduty.com",
    ],
)
def test_a_key_is_sent_nowhere_else(url: str) -> None:
    """Nor where Python's parser and urllib3's read different hosts: a backslash ends one for urllib3 alone."""
    targets = read(secret(url=url), base_url="http://127.0.0.1:8080")

    assert not targets.targets
    assert "secret pagerduty/0: url: " in str(targets.problems[0])


BROKEN = {
    "empty": ("", "not JSON"),
    "no JSON": (f"routing_key={KEY}", "not JSON"),
    "cut JSON": (secret()[:-2], "not JSON"),
    "too deep": ("[" * 100_000, "not JSON"),
    "a list": (json.dumps([KEY]), "must be a JSON object"),
    "a text": (json.dumps(KEY), "must be a JSON object"),
    "no name": (secret(name=None), "name: "),
    "blank name": (secret(name=" "), "name: "),
    "name with a hash": (secret(name=f"{KEY}#1"), "name: "),
    "key as name": (secret(name=KEY), "name: holds the routing key"),
    "key in the URL": (secret(url=f"https://events.pagerduty.com/{KEY}"), "url: holds the routing key"),
    "no type": (secret(type=None), "type: "),
    "wrong type": (secret(type=f"slack {KEY}"), "type: "),
    "wrong format": (secret(format=KEY), "format: "),
    "no headers": (secret(headers=None), "headers: .*routing_key"),
    "none with a bad key": (secret(type="none", headers={"routing_key": KEY[1:]}), "headers.routing_key: .*31"),
    "key as headers": (secret(headers=KEY), "headers: "),
    "key in a list": (secret(headers=[KEY]), "headers: "),
    "no key": (secret(headers={}), "headers.routing_key: "),
    "null key": (secret(headers={"routing_key": None}), "headers.routing_key: "),
    "empty key": (secret(headers={"routing_key": ""}), "headers.routing_key: .*0 characters"),
    "short key": (secret(headers={"routing_key": KEY[:31]}), "headers.routing_key: .*31 characters"),
    "key and a blank": (secret(headers={"routing_key": KEY + "\n"}), "headers.routing_key: .*33 characters"),
    "key twice": (secret(headers={"routing_key": KEY + KEY}), "headers.routing_key: .*64 characters"),
    "list of keys": (secret(headers={"routing_key": [KEY]}), "headers.routing_key: "),
    "object as key": (secret(headers={"routing_key": {KEY: KEY}}), "headers.routing_key: "),
    "key elsewhere": (secret(headers=None, routing_key=KEY), "headers: "),
    "wrong enabled": (secret(enabled=KEY), "enabled: "),
    "url of another": (secret(url=f"https://example.com/{KEY}"), "url: "),
    "url a list": (secret(url=[KEY]), "url: "),
    "match a text": (secret(match=KEY), "match: "),
    "match no matcher": (secret(match=['a="b"', KEY]), "match.1: "),
    "match unclosed": (secret(match=[f'key="{KEY}']), "match.0: "),
    "match no regex": (secret(match=[f'key=~"({KEY}"']), "match.0: .*not a regular expression"),
    "match a number": (secret(match=[3]), "match.0: "),
    "wrong severity": (secret(default_severity=KEY), "default_severity: "),
    "wrong threshold": (secret(severity_threshold=KEY), "severity_threshold: "),
    "severity a number": (secret(default_severity=1), "default_severity: "),
    "wrong auto_resolve": (secret(auto_resolve=KEY), "auto_resolve: "),
}


@pytest.mark.parametrize(("text", "says"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_secret_is_named_with_its_field_and_its_key_is_not_shown(text: str, says: str) -> None:
    (problem,) = read(text).problems

    with pytest.raises(InvalidTargetError, match=f"^secret pagerduty/0: {says}") as raised:
        raise problem
    assert KEY not in shown(raised.value)
    assert KEY[:31] not in shown(raised.value)


@pytest.mark.parametrize("text", [broken for broken, _ in BROKEN.values()], ids=BROKEN.keys())
def test_a_broken_target_does_not_disturb_the_others(text: str) -> None:
    targets = read(secret(name="a"), text, secret(name="b"))

    assert [it.name for it in targets.targets] == ["a", "b"]
    assert len(targets.problems) == 1
    assert [it.name for it in targets.taking(alert())] == ["a", "b"]


def test_of_two_targets_with_one_name_the_second_is_a_problem() -> None:
    """Their records would fall together in the dedup table."""
    targets = read(secret(name="production"), secret(name="production"))

    assert len(targets.targets) == 1
    assert str(targets.problems[0]) == "secret pagerduty/1: name: another target has it too"


def test_a_key_is_shown_in_no_representation_of_a_target() -> None:
    targets = read(secret(match=['a="b"']))

    for said in (
        repr(targets),
        str(targets),
        repr(targets.targets[0].model_dump()),
        targets.targets[0].model_dump_json(),
    ):
        assert KEY not in said


# --- Which targets take an alert --------------------------------------------------------------------------------------

CRITICAL = secret(name="critical", match=['severity=~"critical|error"', 'cluster="prod"'])
PROD = secret(name="prod", match=['cluster="prod"'])
REST = secret(name="rest")
OFF = secret(name="off", enabled=False)
OFF_PROD = secret(name="off-prod", match=['cluster="prod"'], enabled=False)
EMPTY = secret(name="empty", match=[])
NOISE = secret(name="noise", type="none", headers=None, match=['team="noise"'])


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ({"severity": "P1", "cluster": "prod"}, ["critical", "prod"]),
        ({"severity": "warning", "cluster": "prod"}, ["prod"]),
        ({"severity": "critical", "cluster": "dev"}, ["rest", "empty"]),
        ({}, ["rest", "empty"]),
        ({"origin": "native"}, ["rest", "empty"]),
    ],
)
def test_an_alert_goes_to_every_target_that_matches_else_to_those_that_ask_for_nothing(
    labels: dict[str, str], names: list[str]
) -> None:
    targets = read(CRITICAL, PROD, REST, EMPTY)

    assert [it.name for it in targets.taking(alert(**labels))] == names


@pytest.mark.parametrize(
    ("match", "takes"), [('origin="native"', True), ('source="db-1"', True), ('source="native"', False)]
)
def test_matchers_know_the_parser_as_origin_and_the_resource_as_source(match: str, takes: bool) -> None:
    targets = read(secret(name="it", match=[match]), REST)

    assert [it.name for it in targets.taking(alert(instance="db-1"))] == ["it" if takes else "rest"]


def test_a_disabled_target_keeps_its_place_in_the_matching() -> None:
    """Switching a team's target off sends its alerts to nobody else."""
    targets = read(OFF_PROD, REST)

    assert [it.name for it in targets.taking(alert(cluster="prod"))] == ["off-prod"]
    assert [it.name for it in read(PROD, OFF).taking(alert(cluster="dev"))] == ["off"]
    assert [it.name for it in read(PROD, OFF_PROD).taking(alert(cluster="prod"))] == ["prod", "off-prod"]


def test_a_target_of_type_none_takes_what_matches() -> None:
    """And needs no routing key."""
    targets = read(NOISE, REST)
    (noise,) = targets.taking(alert(team="noise"))

    assert not targets.problems
    assert (noise.name, noise.is_paging, noise.routing_key.get_secret_value()) == ("noise", False, "")
    assert noise.skip_reason(alert(team="noise")) is SkipReason.NO_PAGE
    assert noise.skip_reason(replace(alert(), status=Status.RESOLVED), has_open_incident=True) is SkipReason.NO_PAGE
    assert [it.name for it in targets.taking(alert())] == ["rest"]


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        ([PROD], "of 1, none matches"),
        ([PROD, ""], "of 1, none matches.*; secret pagerduty/1: not JSON"),
    ],
)
def test_no_target_for_an_alert_is_an_error_that_says_why(texts: list[str], says: str) -> None:
    with pytest.raises(NoTargetError, match=f"no target takes this alert: {says}") as raised:
        read(*texts).taking(alert(cluster="dev"))

    assert not isinstance(raised.value, NoTargetsYetError)


@pytest.mark.parametrize(
    ("texts", "says"),
    [([], ""), ([secret(headers={"routing_key": KEY[1:]})], "; secret pagerduty/0: .*31 characters")],
)
def test_no_target_at_all_is_an_error_of_its_own(texts: list[str], says: str) -> None:
    """A stack minutes old: the alert can wait for its first target."""
    with pytest.raises(NoTargetsYetError, match=f"no target takes this alert: there is none{says}") as raised:
        read(*texts).taking(alert(cluster="dev"))

    assert KEY[1:] not in shown(raised.value)


def test_a_target_is_found_by_name_and_by_key_even_where_it_is_disabled() -> None:
    """Open incidents there still get their resolve, and a shared key has one limit."""
    other = secret(name="other", headers={"routing_key": KEY[::-1]})
    targets = read(PROD, OFF, other, NOISE)

    assert targets.named("prod") is targets.targets[0]
    assert targets.named("off") is targets.targets[1]
    assert targets.named("gone") is None
    assert [it.name for it in targets.with_key(SecretStr(KEY))] == ["prod", "off"]
    assert targets.with_key(SecretStr("")) == []


@pytest.mark.parametrize(
    ("fields", "status", "labels", "has_open_incident", "reason"),
    [
        ({}, Status.FIRING, {}, False, SkipReason.TARGET_DISABLED),
        ({}, Status.FIRING, {}, True, SkipReason.TARGET_DISABLED),
        ({}, Status.RESOLVED, {}, False, SkipReason.TARGET_DISABLED),
        ({}, Status.RESOLVED, {}, True, None),
        ({}, Status.ACKNOWLEDGED, {}, True, None),
        ({}, Status.RESOLVED, {"change_event": "true"}, True, SkipReason.TARGET_DISABLED),
        ({"auto_resolve": False}, Status.RESOLVED, {}, True, SkipReason.AUTO_RESOLVE_OFF),
        ({"severity_threshold": "error"}, Status.FIRING, {"severity": "info"}, False, SkipReason.TARGET_DISABLED),
    ],
)
def test_a_disabled_target_skips_everything_but_the_end_of_an_open_incident(
    fields: dict[str, Any], status: Status, labels: dict[str, str], has_open_incident: bool, reason: SkipReason | None
) -> None:
    it = target(enabled=False, **fields)

    assert it.skip_reason(replace(alert(**labels), status=status), has_open_incident=has_open_incident) is reason


@pytest.mark.parametrize(
    ("fields", "status", "labels", "reason"),
    [
        ({"severity_threshold": "error"}, Status.FIRING, {"severity": "warning"}, SkipReason.BELOW_THRESHOLD),
        ({"severity_threshold": "error"}, Status.FIRING, {"severity": "error"}, None),
        ({"severity_threshold": "error"}, Status.FIRING, {"severity": "critical"}, None),
        ({"severity_threshold": "error"}, Status.FIRING, {}, None),
        ({"severity_threshold": "error", "default_severity": "info"}, Status.FIRING, {}, SkipReason.BELOW_THRESHOLD),
        ({"severity_threshold": "error"}, Status.RESOLVED, {"severity": "warning"}, None),
        ({"severity_threshold": "error"}, Status.ACKNOWLEDGED, {"severity": "warning"}, None),
        ({"severity_threshold": "error"}, Status.FIRING, {"severity": "info", "change_event": "true"}, None),
        ({"auto_resolve": False}, Status.RESOLVED, {}, SkipReason.AUTO_RESOLVE_OFF),
        ({"auto_resolve": False}, Status.FIRING, {}, None),
        ({"auto_resolve": False}, Status.RESOLVED, {"change_event": "true"}, None),
        ({}, Status.RESOLVED, {}, None),
    ],
)
def test_a_target_skips_what_is_below_its_threshold_and_resolves_it_does_not_want(
    fields: dict[str, Any], status: Status, labels: dict[str, str], reason: SkipReason | None
) -> None:
    """A resolve is never below a threshold: it may end an incident from when the alert was worse."""
    assert target(**fields).skip_reason(replace(alert(**labels), status=status)) is reason


def test_an_orchestrations_key_takes_no_change_events() -> None:
    key = "R" + KEY[1:]
    it = target(headers={"routing_key": key})

    it.check(alert())
    with pytest.raises(InvalidTargetError, match=r"target production: .*takes no change events") as refused:
        it.check(alert(change_event="true"))
    assert key not in shown(refused.value)
    assert key[1:] not in shown(refused.value)
    target().check(alert(change_event="true"))


# --- Reading them all -------------------------------------------------------------------------------------------------


class Secrets(SecretsByPrefix):
    """Secrets Manager, up or down."""

    def __init__(self) -> None:
        self.secrets = {"pagerduty/a": secret(name="a")}
        self.is_down = False
        self.reads = 0

    def read(self, prefix: str) -> dict[str, str]:
        self.reads += 1
        if self.is_down:
            raise EndpointConnectionError(endpoint_url="https://secretsmanager.eu-west-1.amazonaws.com")
        return dict(self.secrets)


class World:
    """Targets over secrets, at a time of the test's own."""

    def __init__(self) -> None:
        self.secrets = Secrets()
        self.now = 1_000_000.0
        self.problems: list[PublishError] = []
        self.targets = Targets(
            self.secrets,
            prefix="pagerduty/",
            base_url=BASE_URL,
            clock=lambda: self.now,
            report=self.problems.append,
        )

    def expire(self) -> None:
        """Let time pass until the targets are read anew."""
        self.now += MAX_AGE_SECONDS

    @property
    def names(self) -> list[str]:
        return [it.name for it in self.targets.read().targets]


@pytest.fixture
def world() -> World:
    return World()


def test_secrets_are_read_once_and_kept(world: World) -> None:
    assert [world.names, world.names, world.names] == [["a"]] * 3
    assert world.secrets.reads == 1


def test_secrets_are_read_anew_when_they_are_old_or_when_asked(world: World) -> None:
    assert world.names == ["a"]
    world.secrets.secrets["pagerduty/b"] = secret(name="b")

    assert world.names == ["a"]
    assert [it.name for it in world.targets.read(anew=True).targets] == ["a", "b"]
    assert world.names == ["a", "b"]

    del world.secrets.secrets["pagerduty/a"]
    world.expire()
    assert world.names == ["b"]
    assert world.secrets.reads == 3


def test_a_name_that_is_not_known_may_be_of_a_new_secret(world: World) -> None:
    """A new target can be asked for at once; asking for one that does not exist costs a read in RETRY_SECONDS."""
    assert world.names == ["a"]
    world.secrets.secrets["pagerduty/b"] = secret(name="b")

    assert world.targets.naming(["a"]).named("b") is None
    assert world.targets.naming(["a", "b"]).named("b")
    assert world.secrets.reads == 2

    for _ in range(3):
        assert world.targets.naming(["nobody"]).named("a")
    assert world.secrets.reads == 2
    world.now += RETRY_SECONDS
    world.targets.naming(["nobody"])
    assert world.secrets.reads == 3


def test_while_there_is_no_target_every_read_asks_again(world: World) -> None:
    """The first target is not waited five minutes for."""
    world.secrets.secrets = {}
    assert world.names == []

    world.secrets.secrets = {"pagerduty/a": ""}
    assert world.names == []

    world.secrets.secrets = {"pagerduty/a": secret(name="a")}
    assert world.names == ["a"]


@pytest.mark.parametrize("anew", [False, True])
def test_the_last_known_targets_serve_while_secrets_manager_is_down(world: World, anew: bool) -> None:
    assert world.names == ["a"]
    world.secrets.is_down = True
    if not anew:
        world.expire()

    assert [it.name for it in world.targets.read(anew=anew).targets] == ["a"]

    (problem,) = world.problems
    assert isinstance(problem, TargetsUnavailableError)
    assert "Could not connect" in str(problem)


def test_a_secrets_manager_that_is_down_is_not_asked_for_every_alert(world: World) -> None:
    assert world.names == ["a"]
    world.secrets.is_down = True
    world.expire()
    assert [world.names for _ in range(10)] == [["a"]] * 10
    assert world.secrets.reads == 2

    world.now += RETRY_SECONDS
    assert world.names == ["a"]
    assert world.secrets.reads == 3

    world.secrets.is_down = False
    world.secrets.secrets = {"pagerduty/b": secret(name="b")}
    world.now += RETRY_SECONDS
    assert world.names == ["b"]


@pytest.mark.parametrize("texts", [{}, None], ids=["none known", "never read"])
def test_without_known_targets_an_outage_is_an_error_that_a_retry_can_fix(
    world: World, texts: dict[str, str] | None
) -> None:
    if texts is not None:
        world.secrets.secrets = texts
        assert world.names == []
    world.secrets.is_down = True

    with pytest.raises(TargetsUnavailableError, match="secrets under pagerduty/ could not be read") as raised:
        world.targets.read()
    assert raised.value.retryable


def test_an_outage_reveals_no_key(world: World) -> None:
    """Nor does the chain of its causes, which the log shows too."""
    assert world.names == ["a"]
    world.secrets.is_down = True
    world.targets.read(anew=True)

    assert KEY not in shown(world.problems[0])


def test_a_problem_is_reported_once_each_time_the_secrets_are_read(world: World) -> None:
    world.secrets.secrets["pagerduty/bad"] = secret(headers={})

    for _ in range(5):
        assert world.names == ["a"]
    assert len(world.problems) == 1
    assert "pagerduty/bad" in str(world.problems[0])

    world.expire()
    assert world.names == ["a"]
    assert len(world.problems) == 2


@pytest.mark.parametrize("anew", [True, False])
def test_a_secret_that_cannot_be_read_this_time_keeps_its_last_known_text(world: World, anew: bool) -> None:
    """Its team is paged on; the problem is reported each time."""
    assert world.names == ["a"]
    for _ in range(2):
        world.secrets.secrets = {"pagerduty/a": "", "pagerduty/b": secret(name="b")}
        if not anew:
            world.expire()
        assert [it.name for it in world.targets.read(anew=anew).targets] == ["a", "b"]
    assert [str(problem) for problem in world.problems] == [
        "secret pagerduty/a: could not be read this time; its last known text is used"
    ] * 2

    world.secrets.secrets = {"pagerduty/a": secret(name="renamed")}
    world.expire()
    assert world.names == ["renamed"]
    world.secrets.secrets = {"pagerduty/b": secret(name="b")}
    world.expire()
    assert world.names == ["b"]


def test_a_secret_that_was_never_read_is_a_problem(world: World) -> None:
    """There is no text to keep."""
    world.secrets.secrets["pagerduty/b"] = ""
    assert world.names == ["a"]
    assert "not readable by this function's role" in str(world.problems[0])


def test_a_secret_that_was_never_read_is_asked_for_again_soon(world: World) -> None:
    """Once at once, then every fifteen seconds: until then its alerts go to whoever takes the rest."""
    world.secrets.secrets["pagerduty/b"] = ""
    assert [world.names for _ in range(10)] == [["a"]] * 10
    assert world.secrets.reads == 2
    world.secrets.secrets["pagerduty/b"] = secret(name="b")
    world.now += RETRY_SECONDS
    assert [world.names for _ in range(10)] == [["a", "b"]] * 10
    assert world.secrets.reads == 3


def test_a_binary_secret_does_not_disturb_the_others(world: World) -> None:
    """It was read: nothing waits for it as for a secret that may still be read, and nobody asks again soon."""
    world.secrets.secrets["pagerduty/b"] = BINARY
    assert world.names == ["a"]
    assert not world.targets.read().is_partial
    assert "pagerduty/b" in str(world.problems[0])
    assert world.secrets.reads == 1
    world.now += RETRY_SECONDS
    assert world.names == ["a"]
    assert world.secrets.reads == 1


def test_a_secret_that_became_binary_keeps_its_last_known_text(world: World) -> None:
    assert world.names == ["a"]
    world.secrets.secrets["pagerduty/a"] = BINARY
    for _ in range(2):
        world.expire()
        assert world.names == ["a"]


def test_deliveries_that_are_refused_at_the_same_time_share_a_reading(world: World) -> None:
    """Thirty readings behind each other, of a Secrets Manager that throttles, would outlast the invocation."""
    [target] = world.targets.read().targets
    lock, others = world.targets._lock, iter(range(30))

    class Contended:
        """A lock that another delivery takes just before this one."""

        def __enter__(self) -> None:
            if next(others, None) is not None:
                world.targets.rotated(target)
            lock.acquire()

        def __exit__(self, *_: object) -> None:
            lock.release()

    world.targets._lock = cast(Any, Contended())
    assert world.targets.rotated(target) is None
    assert world.secrets.reads == 2
    assert world.targets.rotated(target) is None
    assert world.secrets.reads == 3


def test_a_rotated_key_that_is_known_costs_no_read(world: World) -> None:
    """The deliveries of a batch hear of it one after the other; the first reads the secrets for all."""
    [old] = world.targets.read().targets
    world.secrets.secrets["pagerduty/a"] = secret(name="a", headers={"routing_key": "9" * 32})
    for _ in range(10):
        rotated = world.targets.rotated(old)
        assert rotated
        assert rotated.routing_key.get_secret_value() == "9" * 32
    assert world.secrets.reads == 2


def test_a_target_without_a_key_takes_nothing_out_of_a_text(world: World) -> None:
    world.secrets.secrets["pagerduty/none"] = NOISE
    assert world.names == ["a", "noise"]
    assert world.targets.redact(f"a {KEY} b") == "a [routing key] b"


# --- Secrets Manager itself -------------------------------------------------------------------------------------------


class Pages:
    """A client of Secrets Manager that answers page by page."""

    def __init__(self, *pages: dict[str, Any]) -> None:
        self.pages = pages
        self.asked: list[dict[str, Any]] = []

    def batch_get_secret_value(self, **request: Any) -> dict[str, Any]:
        self.asked.append(request)
        return self.pages[len(self.asked) - 1]


def test_all_pages_are_read_and_what_could_not_be_read_is_named() -> None:
    """A secret that the role may not decrypt is in `Errors`, by its ARN: it is reported, not missed silently."""
    arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:pagerduty/b-AbCdEf"
    client = Pages(
        {"SecretValues": [{"Name": "pagerduty/a", "SecretString": secret(name="a")}], "NextToken": "more"},
        {"SecretValues": [{"Name": "pagerduty/c", "SecretBinary": b"x"}], "Errors": [{"SecretId": arn}]},
    )
    texts = SecretsByPrefix(cast(Any, client)).read("pagerduty/")
    assert (texts["pagerduty/b"], texts["pagerduty/c"]) == ("", BINARY)
    targets = parse_targets(texts, BASE_URL)

    assert [it.name for it in targets.targets] == ["a"]
    assert [str(problem).split(":")[0] for problem in targets.problems] == [
        "secret pagerduty/b",
        "secret pagerduty/c",
    ]
    assert [request.get("NextToken") for request in client.asked] == [None, "more"]
    assert client.asked[0]["Filters"] == [
        {"Key": "name", "Values": ["pagerduty/"]},
        {"Key": "tag-key", "Values": ["publishing-target"]},
        {"Key": "tag-value", "Values": ["true"]},
    ]
