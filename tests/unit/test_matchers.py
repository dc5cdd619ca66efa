"""Matchers: the same syntax and meaning as in Alertmanager."""

import pytest

from handler.targets.matchers import parse_matcher, split_matchers
from tests.lab.alerts import shown

LABELS = {"severity": "critical", "cluster": "prod", "empty": "", "text": 'a "b"\n', "größe": "10", "app/name": "shop"}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ('severity="critical"', True),
        ('severity="critica"', False),
        ("severity=critical", True),
        (' severity = "critical" ', True),
        ('severity!="critical"', False),
        ('severity!="info"', True),
        ('severity=~"critical|error"', True),
        ('severity=~"crit"', False),
        ('severity=~"crit.*"', True),
        ('severity=~"info|crit"', False),
        ('severity!~"crit"', True),
        ('severity!~"crit.*"', False),
        ('missing=""', True),
        ('missing=~".*"', True),
        ('missing=~".+"', False),
        ('missing!="x"', True),
        ('missing!~"x"', True),
        ('missing="x"', False),
        ('empty=""', True),
        ("empty=", True),
        (r'text="a \"b\"\n"', True),
        ('"cluster"="prod"', True),
        ("cluster==prod", False),
        (r'cluster=~"p\\w+"', True),
        (r'cluster=~"p\w+"', True),
        ('größe="10"', True),
        ('"größe"=~"1."', True),
        ("app/name=shop", True),
    ],
)
def test_a_matcher_means_what_it_means_to_alertmanager(text: str, matches: bool) -> None:
    """Anchored at both ends, and a missing label is an empty one."""
    assert parse_matcher(text).matches(LABELS) is matches


@pytest.mark.parametrize(
    "text",
    [
        "",
        "severity",
        '="critical"',
        "severity~critical",
        'severity="critical',
        'severity="a" b"',
        '"severity="critical"',
        'severity=~"("',
        'severity=~"*"',
        "sever ity=critical",
        'severity=~"[[:alpha:]]+"',
    ],
)
def test_what_is_no_matcher_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a matcher|quotation mark|not a regular expression"):
        parse_matcher(text)


@pytest.mark.parametrize(
    ("text", "matchers"),
    [
        ('a="b"', ['a="b"']),
        ('{a="b"}', ['a="b"']),
        ('{a="b", c=~"d|e",}', ['a="b"', ' c=~"d|e"']),
        ("a=b,c!=d", ["a=b", "c!=d"]),
        (r'a="b,\",c",d="}"', [r'a="b,\",c"', 'd="}"']),
        ('a="b,c', ['a="b,c']),
        ("", [""]),
        ("{}", ["{}"]),
    ],
)
def test_one_text_may_hold_several(text: str, matchers: list[str]) -> None:
    """As in Alertmanager's configuration; a comma in quotes belongs to the value."""
    assert split_matchers(text) == matchers


@pytest.mark.parametrize("text", ["{}", '{}="', 'a="{}', 'a=~"({}"'])
def test_a_refusal_does_not_repeat_the_text(text: str) -> None:
    """The text comes out of a secret, and somebody will put the routing key in the wrong place."""
    key = "0123456789abcdef0123456789abcdef"

    with pytest.raises(ValueError, match=r"not a|quotation mark") as refused:
        parse_matcher(text.format(key))

    assert key not in shown(refused.value)
