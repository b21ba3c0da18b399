"""The `bursary` command: its version, and settings that cannot be read."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest


def bursary(*arguments: str, folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"BURSARY_VAR_DIR": str(folder / "var")} | settings
    command = [sys.executable, "-m", "bursary.config.cli", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("asked", ["--version", "version"])
def test_it_tells_its_own_version(asked: str, tmp_path: Path) -> None:
    assert bursary(asked, folder=tmp_path).stdout.strip() == version("bursary")


@pytest.mark.parametrize(
    ("name", "value"),
    [("BURSARY_CONTENT_FRESH_HOURS", "abc"), ("BURSARY_EMAIL_URL", "bogus://x")],
)
def test_a_setting_that_cannot_be_read_is_named_in_a_sentence(name: str, value: str, tmp_path: Path) -> None:
    refused = bursary("check", folder=tmp_path, **{name: value})
    assert refused.returncode == 1
    assert "a setting cannot be read" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    "arguments", [("explain_content",), ("refresh_content", "--key"), ("changepassword",)]
)
def test_an_argument_that_is_no_text_is_named_in_a_sentence(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    refused = bursary(*arguments, "Tides\udcff", folder=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr == "bursary: the argument Tides\\udcff is no UTF-8 text. Type it again.\n"


def test_what_it_makes_is_nobody_elses_to_read(tmp_path: Path) -> None:
    bursary(
        "migrate",
        "contenttypes",
        folder=tmp_path,
        BURSARY_DATABASE_URL=f"sqlite:///{tmp_path}/var/it.sqlite3",
    )
    made = [tmp_path / "var", tmp_path / "var" / "it.sqlite3"]
    assert [path.stat().st_mode & 0o077 for path in made] == [0, 0]
