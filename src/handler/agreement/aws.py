"""What the calls of CloudWatch and SNS have in common: pages and errors."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

_UNKNOWN_OPERATION = {"InvalidAction", "UnknownOperationException", "UnknownOperation"}


def pages(
    call: Callable[..., Mapping[str, Any]], continued_by: str = "NextToken", **arguments: Any
) -> Iterator[Mapping[str, Any]]:
    """Yield all pages of an operation; `continued_by` is the name of its token for the next page."""
    more: dict[str, Any] = {}
    while True:
        page = call(**arguments, **more)
        yield page
        if not page.get(continued_by):
            return
        more = {continued_by: page[continued_by]}


def code_of(error: ClientError) -> str:
    """Return AWS's code of an error, such as `Throttling`; empty where it has none."""
    return error.response["Error"].get("Code", "")


def is_unknown_operation(error: ClientError) -> bool:
    """Return whether the service does not have the operation in this region."""
    return code_of(error) in _UNKNOWN_OPERATION


def in_words(error: ClientError | BotoCoreError) -> str:
    """Return which call failed and AWS's code, or the kind of error where no answer came."""
    if isinstance(error, ClientError):
        return f"{error.operation_name}: {code_of(error)}"
    return type(error).__name__
