"""What a text says in one line, without markup."""

import html
import re

from handler.alert import without_written_breaks

NO_HEADLINES = frozenset({"", "none", "null", "undefined", "nil", "-", "(no subject)", "no subject", "untitled"})
_JSON_MARKS = str.maketrans(dict.fromkeys('{}[]"\\', " "))
_SLACK_LINK = r"<https?://[^<>|\s]{1,2000}\|([^<>\n]{1,200})>"
_MAX_HEADER_CHARACTERS = 1000
_BANNER = re.compile(r"([*=#~-])\1{2}.{0,200}\1{3}")
_MARKDOWN = re.compile(r"(?<![\w*`])(\*{1,3}|`{1,3})(?=\S)([^*`\n]{1,200}?)(?<=\S)\1(?![\w*`])")
_HTML = (
    "<?xml",
    "<!doctype html",
    "<html",
    "<head",
    "<body",
    "<div",
    "<table",
    "<p>",
    "<h1",
    "<h2",
    "<h3",
    "<br",
    "<b>",
)
_TAG = re.compile(r"<[^<>]{0,1000}>")
_TRACEBACK = "Traceback (most recent call last):"


def first_line(text: str) -> str:
    """Return the first line of a text that says something, without markup; for damaged JSON, its words."""
    start = without_written_breaks(without_tags(text.strip()[:20_000]))
    lines = [line.strip() for line in start.splitlines() if line.strip(" \t-=*_#>%`\"'")]
    lines = [line for line in lines if not _BANNER.fullmatch(line)] or lines
    line = next(iter(lines), "")
    if line == _TRACEBACK:
        line = next((last for last in reversed(start.splitlines()) if last.strip() and not last.startswith(" ")), line)
    looks_like_json = line.startswith(("{", "[{", '["', '"')) or '": ' in line or '":"' in line or '{"' in line
    if looks_like_json:
        line = " ".join(line.translate(_JSON_MARKS).split()).replace(" :", ":").replace(" ,", ",")
    line = _decoded(line) if "=?" in line else line
    line = html.unescape(_MARKDOWN.sub(r"\2", re.sub(_SLACK_LINK, r"\1", line)))
    return "" if line.lower() in NO_HEADLINES else line


def _decoded(line: str) -> str:
    """Return a line of a mail's header in words: https://www.rfc-editor.org/rfc/rfc2047."""
    from email.errors import HeaderParseError
    from email.header import decode_header, make_header

    try:
        return str(make_header(decode_header(line[:_MAX_HEADER_CHARACTERS]))).strip() or line
    except (HeaderParseError, LookupError, ValueError):
        return line


def without_tags(text: str) -> str:
    """Return a text as it is, and the words of an HTML page line by line."""
    if not text[:20].lower().startswith(_HTML):
        return text
    for name in ("head", "style", "script"):
        first, *others = re.split(rf"<{name}\b", text, flags=re.IGNORECASE)
        ended = (re.split(rf"</{name}>", other, maxsplit=1, flags=re.IGNORECASE)[1:] for other in others)
        text = "\n".join((first, *(after for rest in ended for after in rest)))
    if text.startswith("<?xml"):
        return html.unescape(" ".join(_TAG.sub(" ", text).split()))
    return html.unescape(_TAG.sub("\n", text))
