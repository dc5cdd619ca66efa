"""AWS calls that fail."""

from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError


def client_error(code: str, operation: str = "Operation", **more: Any) -> ClientError:
    """Make the error that boto3 raises for an error code."""
    response: Any = {"Error": {"Code": code, "Message": f"{code}, says AWS"}, **more}
    return ClientError(response, operation)


@dataclass
class Failures:
    """When an AWS client fails: with an error code or a botocore error, after some calls, for some calls."""

    error: str | BotoCoreError | None = None
    after: int = 0
    times: int | None = None

    def strike(self, operation: str) -> None:
        """Raise if this call is to fail."""
        if self.error is None or self.times == 0:
            return
        if self.after > 0:
            self.after -= 1
            return
        if self.times is not None:
            self.times -= 1
        raise client_error(self.error, operation) if isinstance(self.error, str) else self.error
