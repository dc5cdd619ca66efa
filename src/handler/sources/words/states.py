"""Which words are states, and which states are good news or progress."""

from typing import Any

from handler.sources.words.fields import FORMER, STATES, all_fields, word_set
from handler.sources.words.text import NO_HEADLINES
from handler.validation import text_of

GOOD = word_set(
    "OK SUCCESS SUCCEEDED SUCCESSFUL SUCCEED COMPLETE COMPLETED COMPLIANT CLOSED RESOLVED RECOVERED RECOVERY AVAILABLE"
    " HEALTHY PASS PASSED NORMAL CLEARED FIXED SOLVED RESTORED UP ONLINE OPERATIONAL READY DONE FINISHED INSERVICE"
    " IN_SERVICE IN_SYNC"
)
PROGRESS = word_set(
    "RUNNING STARTED STARTING IN_PROGRESS INPROGRESS PROGRESSING PENDING QUEUED SUBMITTED SCHEDULED INITIATED"
    " INITIALIZING CREATING UPDATING PREPARING PROVISIONING LAUNCHING EXECUTING PROCESSING BUILDING DEPLOYING"
)
_BETWEEN_WORDS = str.maketrans("_-", "  ")
ENDED = word_set("CLOSED RESOLVED RECOVERED RECOVERY CLEARED FIXED SOLVED RESTORED")
"""The good states that say that something bad is over."""
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
_NAMES_OF_ACTIONS = word_set("action eventaction notificationtype")
"""Field names whose value may say that something is over: `"action": "Close"`. Any other action is no state."""
_BEFORE_STATES = word_set(
    "EXECUTION JOB RUN TASK BUILD DEPLOYMENT CREATE UPDATE IMPORT EXPORT BACKUP RESTORE COPY SYNC"
)
"""Words before a state that do not change it: `Execution Successful`."""
_ANSWERS = word_set("success succeeded successful ok passed healthy resolved recovered")
"""Field names whose value `true` or `false` is the state."""
_ERRORS = word_set("error errors errormessage exception")


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
    for name, value, is_own in all_fields(payload):
        word = _state_in(name, value)
        if word:
            (own if is_own else of_parts).add(word)
        has_error |= is_own and name in _ERRORS and text_of(value).strip().lower() not in (*NO_HEADLINES, "0", "false")
    if has_error and not own & ENDED:
        own.add("ERROR")
    return own | of_parts if own else set()


def is_state(name: str) -> bool:
    """Return whether a field of this name, in lower case, holds a state."""
    return name in STATES or (name.endswith(_ENDS_OF_STATES) and not name.startswith(FORMER))


def _state_in(name: str, value: Any) -> str:
    if isinstance(value, str) and (is_state(name) or (name == "statuscode" and value.isalpha())):
        return _short_state(value)
    if isinstance(value, str) and name in _NAMES_OF_ACTIONS:
        return _ACTIONS.get(state_word(value), "")
    if name in _ANSWERS and isinstance(value, bool):
        return "SUCCESS" if value else "FAILED"
    return ""
