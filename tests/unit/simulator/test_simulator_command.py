"""The simulator as a process."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import urllib3

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_command_serves_until_told_to_stop(tmp_path: Path, number: signal.Signals) -> None:
    """The command prints and writes its URL once it serves, keeps to the limit, and ends with 0 on a signal."""
    ready = tmp_path / "url"
    command = [sys.executable, "-m", "local.simulator", "--rate-limit", "1", "--ready-file", str(ready), "--verbose"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        try:
            assert process.stdout is not None
            name, _, url = process.stdout.readline().strip().partition(": ")
            assert (name, url[:17]) == ("PagerDuty simulator", "http://127.0.0.1:")
            event = {"routing_key": "0" * 32, "event_action": "resolve", "dedup_key": "db/cpu"}
            answered = [urllib3.request("POST", f"{url}/v2/enqueue", json=event, retries=False) for _ in range(2)]
            assert [each.status for each in answered] == [202, 429]
            assert ready.read_text().strip() == url
            assert list(tmp_path.iterdir()) == [ready]
        finally:
            process.send_signal(number)
        _, log = process.communicate(timeout=10)
    assert process.returncode == 0
    assert len(log.splitlines()) == 2
