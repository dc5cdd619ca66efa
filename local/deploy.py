"""`make deploy` to the stack that `make run KEEP=1` left up: to try parameters, an update or an installation."""

import os
import sys

from local.stack import MACHINE, SAM, LocalStackError, RunningStack, complete, emulated
from tools import deploy


def main() -> int:
    """Deploy and return the exit status."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL", "")
    stack = RunningStack.find()
    if not stack or stack.endpoint != endpoint:
        raise LocalStackError(
            f"AWS_ENDPOINT_URL={endpoint} is not the stack of `make run KEEP=1`: unset it to deploy to AWS"
        )
    if stack.simulator:
        os.environ["PARAMETERS"] = f"PagerDutyBaseUrl={stack.simulator} {os.environ.get('PARAMETERS', '')}"
    template = f"--template-file={emulated()}"
    status = deploy.main([template, f"--architecture={MACHINE}", f"--sam={SAM / 'sam'}", *sys.argv[1:]])
    if status == 0:
        complete(endpoint)
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LocalStackError as error:
        print(f"make deploy: {error}", file=sys.stderr)
        sys.exit(1)
