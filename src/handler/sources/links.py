"""Finds URLs in text: plain, in Markdown and in Slack's markup, in linear time."""

import re

from handler.alert import Link

MAX_LINKS = 10
_URL = r"https?://[^\s<>\"'`|\\^{}\[\]()]{3,2000}"
_LINK = re.compile(
    rf"\[(?P<markdown>[^\[\]\n]{{1,200}})\]\((?P<address>{_URL})\)"
    rf"|<(?P<slack>{_URL})(?:\|(?P<slack_name>[^<>\n]{{1,200}}))?>"
    rf"|(?P<plain>{_URL})"
)
_END_OF_SENTENCE = ".,;:!?*_"
_NAME = re.compile(r"([A-Za-z][\w -]{0,39}):\s*\Z")


def links_in(text: str) -> tuple[Link, ...]:
    """Return the first URLs in a text with their names: `[name](url)` or `name: url`."""
    links: dict[str, Link] = {}
    for found in _LINK.finditer(text):
        address = (found["address"] or found["slack"] or found["plain"]).rstrip(_END_OF_SENTENCE)
        before = _NAME.search(text[max(0, found.start() - 60) : found.start()].rpartition("\n")[2])
        name = found["markdown"] or found["slack_name"] or (before[1] if before else "")
        links.setdefault(address, Link(address, name.strip()))
        if len(links) == MAX_LINKS:
            break
    return tuple(links.values())
