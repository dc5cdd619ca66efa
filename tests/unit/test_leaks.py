"""`make scan` finds a planted routing key wherever a repository can hold one."""

import random
import string
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tools import leaks


def git(repository: Path, *arguments: str) -> None:
    """Run git without anybody's configuration."""
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=repository, check=True, capture_output=True)


def write(repository: Path, name: str, text: str) -> None:
    (repository / name).write_text(text)


def commit(repository: Path, message: str) -> None:
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--allow-empty", "--message", message)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit and no secret."""
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    write(tmp_path, "readme", "nothing here\n")
    commit(tmp_path, "first")
    return tmp_path


def in_a_file(repository: Path, key: str) -> None:
    write(repository, "target.json", f'{{"routing_key": "{key}"}}')
    commit(repository, "add a target")


def in_a_file_deleted_since(repository: Path, key: str) -> None:
    in_a_file(repository, key)
    (repository / "target.json").unlink()
    commit(repository, "remove the target")


def in_a_url(repository: Path, key: str) -> None:
    write(repository, "alarm.tf", f"endpoint = https://events.pagerduty.com/integration/{key}/enqueue")
    commit(repository, "add an alarm")


def in_a_message(repository: Path, key: str) -> None:
    commit(repository, f"try it with {key}")


def in_a_tag(repository: Path, key: str) -> None:
    git(repository, "tag", "--annotate", "v1", "--message", f"key {key}")


def in_the_name_of_a_branch(repository: Path, key: str) -> None:
    git(repository, "branch", f"try-{key}")


def in_a_merge(repository: Path, key: str) -> None:
    """Brought in by the merge itself: no parent has it, and `git log -p` shows nothing."""
    git(repository, "checkout", "--quiet", "-b", "side")
    write(repository, "side", "side\n")
    commit(repository, "side")
    git(repository, "checkout", "--quiet", "main")
    git(repository, "merge", "--quiet", "--no-ff", "--no-commit", "side")
    in_a_file(repository, key)


def in_a_file_not_yet_committed(repository: Path, key: str) -> None:
    write(repository, "notes", key)


PLACES = [
    in_a_file,
    in_a_file_deleted_since,
    in_a_url,
    in_a_message,
    in_a_tag,
    in_the_name_of_a_branch,
    in_a_merge,
    in_a_file_not_yet_committed,
]


def made_of(alphabet: str, start: str = "") -> str:
    """Return 32 characters that look like a key; written out, they would be found in this file."""
    chance = random.Random(alphabet + start)
    rest = [chance.choice(alphabet) for _ in range(32 - len(start) - 1)]
    return start + "7" + "".join(rest)


KEYS = {
    "hexadecimal": made_of("0123456789abcdef"),
    "lower case": made_of(string.ascii_lowercase + string.digits),
    "upper case": made_of(string.ascii_uppercase + string.digits),
    "any case": made_of(string.ascii_letters + string.digits),
    "R...": made_of(string.ascii_uppercase + string.digits, "R0"),
}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("plant", PLACES, ids=lambda plant: plant.__name__)
def test_a_planted_key_fails_the_scan(
    repository: Path, plant: Callable[[Path, str], None], key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wherever it is; and the report does not repeat the key."""
    assert leaks.main(repository) == 0
    plant(repository, key)
    assert leaks.main(repository) == 1
    printed = capsys.readouterr().out
    assert "looks like a secret: routing key" in printed
    assert key not in printed


def test_a_key_without_a_digit_is_found_by_its_name() -> None:
    """One key in three hundred of letters and digits has no digit."""
    key = "".join(random.Random(1).choices(string.ascii_letters, k=32))
    for line in (f'"routing_key": "{key}"', f"ROUTING_KEY={key}", f"  service-key: {key}"):
        assert [text for _, text in leaks.leaks_of(line)] == [key]
    assert list(leaks.leaks_of(f"dimensions: {key}")) == []


@pytest.mark.parametrize(
    "text", ["AKIAIOSFODNN7EXAMPLE", "0123456789abcdef" * 2, "7" * 32, "R" + "0a1b" * 7 + "0a1", "f" * 64]
)
def test_known_fakes_and_digests_are_no_secrets(text: str) -> None:
    """A scan that cries wolf is switched off."""
    assert list(leaks.leaks_of(f'"{text}"')) == []
