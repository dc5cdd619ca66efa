"""The URLs in a message of no known shape."""

from itertools import chain
from typing import Any

from handler.alert import Link
from handler.sources.links import MAX_LINKS, links_in
from handler.sources.words.fields import texts_in


def links_in_message(*payloads: Any) -> tuple[Link, ...]:
    """Return the first URLs in the texts of messages, at any depth, with their names."""
    links: dict[str, Link] = {}
    for text in chain.from_iterable(map(texts_in, payloads)):
        for link in links_in(text):
            links.setdefault(link.href, link)
            if len(links) == MAX_LINKS:
                return tuple(links.values())
    return tuple(links.values())
