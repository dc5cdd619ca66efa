"""What words in a message mean: which states are good news or progress, and what is a headline, severity or link.

For messages of no known shape, and for the catalog's states.
"""

import hashlib
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from handler.alert import Link, without_written_breaks
from handler.envelope import Record
from handler.pagerduty.events import truncate
from handler.pagerduty.severity import Severity, parse_severity
from handler.validation import text_of


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


GOOD = _words(
    "OK SUCCESS SUCCEEDED SUCCESSFUL SUCCEED COMPLETE COMPLETED COMPLIANT CLOSED RESOLVED RECOVERED RECOVERY AVAILABLE"
    " HEALTHY PASS PASSED NORMAL CLEARED FIXED SOLVED RESTORED UP ONLINE OPERATIONAL READY DONE FINISHED INSERVICE"
    " IN_SERVICE IN_SYNC"
)
PROGRESS = _words(
    "RUNNING STARTED STARTING IN_PROGRESS INPROGRESS PROGRESSING PENDING QUEUED SUBMITTED SCHEDULED INITIATED"
    " INITIALIZING CREATING UPDATING PREPARING PROVISIONING LAUNCHING EXECUTING PROCESSING BUILDING DEPLOYING"
)
_BETWEEN_WORDS = str.maketrans("_-", "  ")
ENDED = _words("CLOSED RESOLVED RECOVERED RECOVERY CLEARED FIXED SOLVED RESTORED")
"""The good states that say that something bad is over."""
_STATES = _words(
    "status state alertstatus alertstate newstate newstatus newstatevalue currentstate currentstatus teststatus"
    " result outcome conclusion compliancetype alarmstate health healthstatus incidentstatus eventstatus"
    " readinessstatus"
)
_ENDS_OF_STATES = tuple(
    f"{what}{word}"
    for what in (
        *("job", "execution", "build", "deployment", "task", "run", "import", "export", "event", "health", "check"),
        *("incident", "alert", "alarm", "case", "issue", "problem", "assessment", "backup", "restore", "transfer"),
    )
    for word in ("status", "state")
)
"""How names of states end, such as `TransformJobStatus`."""
_ACTIONS = {word: "RESOLVED" for word in (*ENDED, "CLOSE", "RESOLVE", "RECOVER", "CLEAR")}
_NAMES_OF_ACTIONS = _words("action eventaction notificationtype")
"""Field names whose value may say that something is over: `"action": "Close"`. Any other action is no state."""
_BEFORE_STATES = _words("EXECUTION JOB RUN TASK BUILD DEPLOYMENT CREATE UPDATE IMPORT EXPORT BACKUP RESTORE COPY SYNC")
"""Words before a state that do not change it: `Execution Successful`."""
_FORMER = ("old", "previous", "prior", "last")
"""Prefixes of names of earlier states."""
_ANSWERS = _words("success succeeded successful ok passed healthy resolved recovered")
"""Field names whose value `true` or `false` is the state."""
_ERRORS = _words("error errors errormessage exception")
_SEVERITIES = ("severity", "alertseverity", "sev", "level", "priority", "urgency")
_SEVERITY_INSIDE = ("label", "description", "name", "value", "level")
_OCSF_SEVERITIES = {2: Severity.INFO, 1: Severity.INFO, 3: Severity.WARNING, 4: Severity.ERROR, 5: Severity.CRITICAL}
"""https://schema.ocsf.io/1.5.0/classes/detection_finding: `severity_id`; 6 is Fatal."""
_SEVERITY_HEADING = (
    r"[^\w\n]{0,5}(critical|fatal|emergency|error|warning|warn|info|sev[\s_-]?[0-5]|p[0-5])(?:\s?[\]):|]|\s[\u2013-]\s)"
)
_SEVERITY_IN_LOG = (
    r"[\[(]?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S{0,20}\s{1,3}[\[(]?(CRITICAL|FATAL|EMERGENCY|ERROR|WARNING|WARN)\b"
)
_TITLES = ("title", "headline", "summary", "subject", "alertname", "alarmname", "incidenttitle", "rulename", "name")
_HEADLINES = (
    *_TITLES,
    *("message", "msg", "description", "text", "errormessage", "error", "reason", "failuremessage", "failurereason"),
    *("statusmessage", "statusreason", "output", "body", "detail", "details"),
)
"""Fields that usually say what a message is about, best first; names are compared without case and punctuation."""
_ENDS_OF_HEADLINES = ("title", "summary", "message", "headline")
"""How fields end that say it where none of those does, such as `problemTitle`."""
_NAMES = ("alertname", "alarmname", "name", "rulename")
"""Headlines that say what it is about, but not what is wrong."""
_ENDS_OF_NAMES = ("name", "identifier", "sourceid")
"""How fields end that name the thing where no title does, such as `jobName`."""
_NO_NAMES = ("username", "accountname", "regionname", "servicename", "typename", "templatename")
_REASONS = (
    *("message", "description", "reason", "errormessage", "error", "failuremessage", "failurereason"),
    *("statusmessage", "statusreason", "cause", "text", "details"),
)
_PLACES = ("resource", "host", "hostname", "instance", "server", "service", "application", "app", "bucket", "cluster")
_THINGS = (
    *("job", "task", "pipeline", "workflow", "function", "rule", "check", "monitor", "project", "queue"),
    *_PLACES,
)
_MIN_UNIQUE_CHARACTERS = 16
"""An id with as many characters is a thing's own, such as a UUID."""
_INCIDENTS = ("incident", "issue", "problem", "ticket", "alertgroup", "alert")
_INSIDE = (
    *("detail", "details", "payload", "alert", "alertgroup", "incident", "issue", "problem", "ticket", "event", "data"),
    *("build", "run", "workflowrun", "pipeline", "deployment", "execution", "objectattributes"),
    *("body", "content", "message", "notification", "finding"),
)
_NO_HEADLINES = frozenset({"", "none", "null", "undefined", "nil", "-", "(no subject)", "no subject", "untitled"})
_JSON_MARKS = str.maketrans(dict.fromkeys('{}[]"\\', " "))
_URL = r"https?://[^\s<>\"'`|\\^{}\[\]()]{3,1000}"
_SLACK_LINK = r"<https?://[^<>|\s]{1,2000}\|([^<>\n]{1,200})>"
_END_OF_SENTENCE = ".,;:!?*_"
_MAX_LINKS = 10
_MAX_DEPTH = 4
_MAX_CHARACTERS = 300
_MAX_HEADER_CHARACTERS = 1000
_MAX_FACTS = 8
_MAX_OBJECTS = 100
"""The limit for fields at one depth of a message."""
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
_NAMED_LINE = r"^[ \t*_-]{0,5}([A-Za-z][\w -]{0,39}?)[*_]{0,2}[ \t]?[:=][ \t*_]{0,5}(\S[^\n]{0,200})$"


def state_word(text: str) -> str:
    """Return a state in the tables' spelling: `In progress` and `in-progress` are both IN_PROGRESS."""
    return "_".join(text.translate(_BETWEEN_WORDS).split()).upper()


def _short_state(text: str) -> str:
    """Return the state at the end of a text such as `Execution Successful`; else all of it."""
    state = state_word(text)
    before, _, last = state.rpartition("_")
    return last if before and set(before.split("_")) <= _BEFORE_STATES else state


def states_of(payload: Any) -> set[str]:
    """Return all states that a message names at any depth; empty if only its parts have one.

    An error beside a good state is a state too: of a run that completed only in part.
    """
    own: set[str] = set()
    of_parts: set[str] = set()
    has_error = False
    for name, value, is_own in _all(payload):
        word = _state_in(name, value)
        if word:
            (own if is_own else of_parts).add(word)
        has_error |= is_own and name in _ERRORS and text_of(value).strip().lower() not in (*_NO_HEADLINES, "0", "false")
    if has_error and not own & ENDED:
        own.add("ERROR")
    return own | of_parts if own else set()


def _is_state(name: str) -> bool:
    return name in _STATES or (name.endswith(_ENDS_OF_STATES) and not name.startswith(_FORMER))


def _state_in(name: str, value: Any) -> str:
    if isinstance(value, str) and (_is_state(name) or (name == "statuscode" and value.isalpha())):
        return _short_state(value)
    if isinstance(value, str) and name in _NAMES_OF_ACTIONS:
        return _ACTIONS.get(state_word(value), "")
    if name in _ANSWERS and isinstance(value, bool):
        return "SUCCESS" if value else "FAILED"
    return ""


def severity_word(payload: Any) -> str:
    """Return a message's severity word, the least deep one; empty if it has none.

    A word for one of PagerDuty's severities takes precedence over an unknown one.
    """
    unknown = ""
    named = [(name, value) for name, value, _ in _all(payload) if name in _SEVERITIES or name == "severityid"]
    for wanted in (*_SEVERITIES, "severityid"):
        for value in (value for name, value in named if name == wanted):
            word = _severity_in(wanted, value)
            if word and parse_severity(word):
                return word
            unknown = unknown or (word if wanted == "severity" else "")
    return unknown


def severity_in_heading(text: str) -> str:
    """Return the severity word of a heading, `CRITICAL: ...`, `[SEV1] ...`, `P2 - ...`, or of a line of a log."""
    found = re.match(_SEVERITY_HEADING, text[:60], re.IGNORECASE) or re.match(_SEVERITY_IN_LOG, text[:80])
    return re.sub(r"[\s_-]", "", found[1]) if found else ""


def _severity_in(name: str, value: Any) -> str:
    match value:
        case str():
            return value.strip()
        case dict():
            inner = {_plain(name): text for name, text in value.items() if isinstance(text, str)}
            return next((inner[name].strip() for name in _SEVERITY_INSIDE if inner.get(name, "").strip()), "")
        case bool():
            return ""
        case int() if name == "severityid":
            return str(Severity.CRITICAL if value == 6 else _OCSF_SEVERITIES.get(value, ""))
        case int() if name == "priority":
            return f"P{value}"
        case _:
            return ""


def headline(payload: Any) -> str:
    """Return in one line what a message is about, never as JSON; empty for an empty message."""
    return truncate(_headline(payload, 0), _MAX_CHARACTERS)


def _headline(payload: Any, depth: int) -> str:
    match payload:
        case str():
            inner = (_json_in(payload) or _pairs_in(payload)) if depth < _MAX_DEPTH else None
            return (_headline(inner, depth + 1) if inner else "") or first_line(payload)
        case dict():
            return _headline_of_object(payload, depth) if depth < _MAX_DEPTH else ""
        case [only]:
            return _headline(only, depth + 1) if depth < _MAX_DEPTH else ""
        case [first, *rest]:
            line = _headline(first, depth + 1) if depth < _MAX_DEPTH else ""
            return f"{line} (and {len(rest)} more)" if line else ""
        case _:
            return text_of(payload)


def _headline_of_object(payload: Mapping[Any, Any], depth: int) -> str:
    texts = {_plain(name): value for name, value in payload.items() if isinstance(value, str)}
    found = next(_lines_of(_HEADLINES, texts, depth), None)
    inner = "" if found else _inner_headline(payload, depth)
    if inner:
        return inner
    found = found or next(_lines_of([name for name in texts if name.endswith(_ENDS_OF_HEADLINES)], texts, depth), None)
    if found is None:
        return facts(payload)
    reasons = [line for _, line in _lines_of(_REASONS, texts, depth)]
    return ": ".join(_parts_of(payload, *found, reasons))


def _lines_of(names: Iterable[str], texts: Mapping[str, str], depth: int) -> Iterator[tuple[str, str]]:
    return ((name, line) for name in names if (line := _line_of(texts.get(name, ""), depth)))


def _inner_headline(payload: Mapping[Any, Any], depth: int) -> str:
    objects = {_plain(name): value for name, value in payload.items() if isinstance(value, dict | list) and value}
    for name in sorted(objects, key=lambda name: (name not in _INSIDE, not _has_title(objects[name])))[:_MAX_FACTS]:
        if _has_headline(objects[name], depth + 1) and (inner := _headline(objects[name], depth + 1)):
            return inner if _has_title(objects[name]) else _with_state(inner, _state_of(payload))
    return ""


def _parts_of(payload: Mapping[Any, Any], named: str, line: str, reasons: list[str]) -> list[str]:
    """Return what an object is about, with its state unless a title says what is wrong, and the reasons."""
    thing = _thing_in(payload) if named not in _TITLES else ""
    thing = "" if thing in line else thing
    parts = [thing or line]
    if thing or named in _NAMES:
        state = _state_of(payload)
        parts = [parts[0] if state.lower() in line.lower() else _with_state(parts[0], state)]
    for reason in (line, *reasons):
        if not any(reason in part or part in reason for part in parts):
            parts.append(reason)
    return parts[: 3 if thing else 2]


def _with_state(text: str, state: str) -> str:
    return f"{text} {state}" if state and state.lower() not in text.lower() else text


def _thing_in(payload: Mapping[Any, Any]) -> str:
    """Return the name of the job, host or service that an object is about, where no title has it."""
    texts = {
        _plain(name): line for name, value in payload.items() if isinstance(value, str) and (line := value.strip())
    }
    usual = [texts[name] for name in _THINGS if name in texts]
    named = [line for name, line in texts.items() if name.endswith(_ENDS_OF_NAMES) and name not in _NO_NAMES]
    return first_line(next(iter((*usual, *named)), ""))


def _has_title(value: Any) -> bool:
    inner = value[0] if isinstance(value, list) and value else value
    return isinstance(inner, dict) and any(_plain(name) in _HEADLINES and _plain(name) not in _NAMES for name in inner)


def _has_headline(value: Any, depth: int) -> bool:
    inner = value[0] if isinstance(value, list) and value else value
    if not isinstance(inner, dict) or depth >= _MAX_DEPTH:
        return False
    has_one = any(_plain(name) in _HEADLINES and not isinstance(inner[name], dict | list) for name in inner)
    return has_one or any(_has_headline(value, depth + 1) for value in list(inner.values())[:_MAX_FACTS])


def _state_of(payload: Mapping[Any, Any]) -> str:
    """Return the state that an object names, as written, with the reason beside it, if any."""
    for depth in (payload, *(value for value in payload.values() if isinstance(value, dict))):
        fields = {_plain(name): value for name, value in depth.items() if isinstance(value, str) and value.strip()}
        states = [value for name, value in fields.items() if _is_state(name)]
        state = next((value for value in states if state_word(value) not in GOOD | PROGRESS), next(iter(states), ""))
        if state:
            reason = next((fields[name] for name in _REASONS if name in fields), "") if depth is not payload else ""
            return first_line(f"{state}: {reason}" if reason else state)
    return ""


def _line_of(text: str, depth: int) -> str:
    return _headline(text, depth + 1) if text else ""


def facts(payload: Mapping[Any, Any]) -> str:
    """Return a few fields of an object in words, names and states first: `job nightly import, rows 0`."""
    facts = [(name, line) for name, value in _flat(payload) if (line := first_line(text_of(value)))]
    facts.sort(key=lambda fact: not _tells_most(_plain(fact[0])))
    return ", ".join(f"{name} {line}" for name, line in facts[:_MAX_FACTS])


def _tells_most(name: str) -> bool:
    return name in _THINGS or name.endswith(_ENDS_OF_NAMES) or _is_state(name)


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
    return "" if line.lower() in _NO_HEADLINES else line


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


def _pairs_in(text: str) -> dict[str, str]:
    """Return the lines `name: value` of a text that consists of them; else nothing."""
    lines = [line for line in text[:20_000].splitlines() if line.strip()]
    pairs = [found[0] for line in lines if (found := re.findall(_NAMED_LINE, line))]
    is_list = len(pairs) > 2 and len(pairs) * 3 > len(lines) * 2 and re.match(_NAMED_LINE, lines[0])
    return {name: value.strip() for name, value in reversed(pairs)} if is_list else {}


def _json_in(text: str) -> Any:
    """Return the object or list in a JSON text, or None."""
    if not text.lstrip().startswith(("{", "[", '"')):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list | str) else None


def incident_in(payload: Any) -> str:
    """Return the id of the incident or alert that a message is about, with its kind; empty if it names none.

    A short id of an alert may be its definition's, which several hosts share: it counts together with the host that the
    message names, and not without one.
    """
    for name, value, is_own in _all(payload):
        kind, inner = name.removesuffix("id"), value
        if kind in _INCIDENTS and isinstance(value, dict):
            inner = next((deeper for key, deeper in value.items() if _plain(key) == "id"), None)
        elif name == kind:
            continue
        text = text_of(inner).strip() if is_own and kind in _INCIDENTS and isinstance(inner, str | int) else ""
        location = location_in(payload) if kind == "alert" else ""
        if text and (kind != "alert" or location or len(text) >= _MIN_UNIQUE_CHARACTERS):
            return ":".join(filter(None, (kind, text, location)))
    return ""


def location_in(payload: Any) -> str:
    """Return the host, service or resource that a message is about; empty if it names none."""
    found: dict[str, str] = {}
    for name, value in _near(payload):
        if name in _PLACES and isinstance(value, str | int) and (text := text_of(value).strip()):
            found.setdefault(name, text)
    return next((found[name] for name in _PLACES if name in found), "")


def links_in_message(*payloads: Any) -> tuple[Link, ...]:
    """Return the first URLs in the texts of a message, at any depth."""
    links: dict[str, Link] = {}
    for payload in payloads:
        for text in _texts(payload):
            for url in re.findall(_URL, text):
                address = url.rstrip(_END_OF_SENTENCE)
                links.setdefault(address, Link(address))
                if len(links) == _MAX_LINKS:
                    return tuple(links.values())
    return tuple(links.values())


def digest_of(record: Record) -> str:
    """Return the SHA-256 of a message's content: the identity of a message that has no other.

    An event has the same one on every path. What differs between two deliveries of a message is not part of it.
    """
    is_event = bool(record.detail_type or record.event_source)
    if is_event:
        around: list[Any] = [record.event_source, record.detail_type, record.account, record.region]
        around.append(sorted(record.resources))
    else:
        around = [record.topic_arn, record.subject, dict(record.attributes)]
    text = json.dumps([around, record.payload], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(name: Any) -> str:
    return "".join(filter(str.isalnum, name[:100].lower())) if isinstance(name, str) else ""


def _near(payload: Any) -> Iterator[tuple[str, Any]]:
    """Yield the names and values of an object, then of the objects in it and of the first one in a list."""
    if isinstance(payload, list):
        payload = payload[0] if payload else None
    if not isinstance(payload, dict):
        return
    yield from ((_plain(name), value) for name, value in payload.items())
    for value in payload.values():
        inner = value[0] if isinstance(value, list) and value else value
        if isinstance(inner, dict):
            yield from ((_plain(name), deeper) for name, deeper in inner.items())


def _all(payload: Any) -> list[tuple[str, Any, bool]]:
    """Return a message's names and values, least deep first, and whether each belongs to it or to a part.

    An object under a usual name such as `detail`, or the only object, is the message itself. A text has lines `name:
    value`.
    """
    if isinstance(payload, str):
        return [(_plain(name), value.strip(), True) for name, value in re.findall(_NAMED_LINE, payload[:20_000], re.M)]
    found: list[tuple[str, Any, bool]] = []
    level = [(payload, True)]
    for _ in range(_MAX_DEPTH + 1):
        inside: list[tuple[Any, bool]] = []
        for entry, is_own in level:
            value = entry[0] if isinstance(entry, list) and entry else entry
            if not isinstance(value, dict):
                continue
            found.extend((_plain(name), inner, is_own) for name, inner in value.items())
            objects = [
                (_plain(name), inner) for name, inner in value.items() if isinstance(inner, dict | list) and inner
            ]
            objects = [(name, inner) for name, inner in objects if not name.startswith(_FORMER)]
            is_it = [is_own and (len(objects) == 1 or name in _INSIDE or name in _STATES) for name, _ in objects]
            inside.extend(zip((inner for _, inner in objects), is_it, strict=True))
        level = inside[:_MAX_OBJECTS]
    return found


def _flat(payload: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in payload.items():
        if isinstance(value, dict):
            yield from ((str(inner), deeper) for inner, deeper in value.items() if not isinstance(deeper, dict | list))
        elif isinstance(value, list):
            yield str(name), next((entry for entry in value if not isinstance(entry, dict | list)), "")
        else:
            yield str(name), value


def _texts(payload: Any) -> Iterable[str]:
    level = [payload]
    while level:
        inside: list[Any] = []
        for value in level:
            match value:
                case str():
                    yield value
                case dict():
                    inside.extend(value.values())
                case list():
                    inside.extend(value)
        level = inside
