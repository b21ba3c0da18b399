"""The `bursary` command: its version, its data folder, and what it refuses in one sentence."""

import os
import pty
import re
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from bursary.config.commands import GROUPS
from bursary.config.environment import database_config
from tests.ops.processes import PATIENCE, environment

pytestmark = pytest.mark.takes_long

EACH = """
import sys
from bursary.config.cli import main
for command in sys.argv[1:]:
    sys.argv = ["bursary", *command.split()]
    try:
        status = main() or 0
    except SystemExit as ended:
        status = ended.code or 0
    sys.stderr.write(f"{status}\\n")
"""
"""Runs several commands one after the other, and prints the status of each, or the sentence with which it
ends with status 1: most time goes into the start."""


def bursary(
    *arguments: str,
    folder: Path,
    stderr: int = subprocess.PIPE,
    settings: Mapping[str, str] | None = None,
    program: tuple[str, str] = ("-m", "bursary.config.cli"),
) -> subprocess.CompletedProcess[str]:
    """Run the command in `folder`; the data folder is `var` in it, unless the settings name another."""
    env = environment(folder)
    del env["BURSARY_VAR_DIR"]
    return subprocess.run(
        [sys.executable, *program, *arguments],
        cwd=folder,
        env=env | dict(settings or {}),
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def var(folder: Path) -> dict[str, str]:
    return {"BURSARY_VAR_DIR": str(folder)}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `bursary migrate` has made `var`."""
    folder = tmp_path_factory.mktemp("installed")
    made = bursary("migrate", "contenttypes", folder=folder)
    assert made.returncode == 0, made.stderr
    assert made.stderr == f"bursary: setting up the data folder {folder / 'var'}\n"
    return folder


def test_it_prints_its_version(tmp_path: Path) -> None:
    printed = bursary("--version", "version", folder=tmp_path, program=("-c", EACH)).stdout
    assert printed.split() == [version("bursary")] * 2


@pytest.mark.parametrize(
    ("name", "value"),
    [("BURSARY_CONTENT_FRESH_HOURS", "abc"), ("BURSARY_EMAIL_URL", "bogus://x")],
)
def test_a_setting_that_cannot_be_read_is_named_in_a_sentence(name: str, value: str, tmp_path: Path) -> None:
    refused = bursary("check", folder=tmp_path, settings={name: value})
    assert refused.returncode == 1
    assert "a setting cannot be read" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    "url", ["oracle://x:hush@h/y", "rubbish", "postgres://x:hush@h:abc/y", "mysql:/hush"]
)
def test_a_database_url_that_is_none_is_named_without_its_password(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BURSARY_DATABASE_URL", url)
    with pytest.raises(ImproperlyConfigured, match=r"BURSARY_DATABASE_URL .* postgres://user") as refused:
        database_config("BURSARY_DATABASE_URL", default="sqlite:///x")
    assert "hush" not in str(refused.value)


def test_a_base_url_that_is_none_is_refused_once(tmp_path: Path) -> None:
    refused = bursary("check", folder=tmp_path, settings={"BURSARY_BASE_URL": "foo"})
    assert "1 issue" in refused.stderr
    assert "BURSARY_BASE_URL is 'foo'" in refused.stderr


@pytest.mark.parametrize(
    "arguments", [("explain_content",), ("refresh_content", "--key"), ("changepassword",)]
)
def test_an_argument_that_is_not_text_is_named_in_a_sentence(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    refused = bursary(*arguments, "Tides\udcff", folder=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr == "bursary: the argument Tides\\udcff is not UTF-8 text. Type it again.\n"


def test_its_files_are_readable_by_their_owner_alone(installed: Path) -> None:
    made = [installed / "var", installed / "var" / "bursary.sqlite3", installed / "var" / "secret.key"]
    assert [path.stat().st_mode & 0o077 for path in made] == [0, 0, 0]


@pytest.mark.parametrize(
    "key",
    [{}, {"BURSARY_SECRET_KEY": "given-a-key-of-tests-that-signs-nothing-else"}],
    ids=["no key", "a key"],
)
def test_outside_its_folder_a_command_names_the_folder_and_makes_none(
    key: dict[str, str], tmp_path: Path
) -> None:
    refused = bursary("timeline", "--json", folder=tmp_path, settings=key)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.count("\n") == 1
    assert f"{tmp_path / 'var'} is not a data folder" in refused.stderr
    assert "BURSARY_VAR_DIR" in refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_only_demo_and_migrate_set_up_a_folder_and_not_to_look(tmp_path: Path) -> None:
    commands = ["serve", "setup --dry-run", "migrate --check", "migrate --plan"]
    refused = bursary(*commands, folder=tmp_path, program=("-c", EACH))
    assert refused.stderr.count(f"{tmp_path / 'var'} is not a data folder") == len(commands)
    assert refused.stderr.count("\n") == len(commands)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_key_gets_none_by_accident(tmp_path: Path) -> None:
    assert bursary("deliver", folder=tmp_path, settings=var(tmp_path)).returncode == 1
    assert list(tmp_path.iterdir()) == []


def test_help_and_check_need_no_folder_and_make_none(tmp_path: Path) -> None:
    commands = ["", "--help", "serve --help", "check"]
    ended = bursary(*commands, "stauts", "help stauts", "nothing", folder=tmp_path, program=("-c", EACH))
    nearest = "bursary: there is no command stauts. Did you mean `bursary status`?\n2\n"
    none = "bursary: there is no command nothing. `bursary help` lists them.\n2\n"
    assert ended.stderr == "0\n" * len(commands) + nearest * 2 + none
    for name in (name for group in GROUPS.values() for name in group):
        assert re.search(rf"^  {name} +\w.{{10,}}$", ended.stdout, re.MULTILINE), name
    assert list(tmp_path.iterdir()) == []


def test_with_a_key_and_a_database_server_no_folder_is_needed(tmp_path: Path) -> None:
    settings = {
        "BURSARY_SECRET_KEY": "given-a-key-of-tests-that-signs-nothing-else",
        "BURSARY_DATABASE_URL": "postgres://bursary@127.0.0.1:1/bursary",
    }
    commands = ["deliver", "check --database default", "deliver --nothing"]
    refused = bursary(*commands, folder=tmp_path, settings=settings, program=("-c", EACH))
    deliver, check, *usage, _problem, status = refused.stderr.splitlines()
    for sentence in (deliver, check):
        assert sentence.startswith("bursary: The database does not answer: ")
    assert (usage[0][:7], status) == ("usage: ", "2")
    assert "Traceback" not in refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = bursary("migrate", folder=tmp_path, settings=var(tmp_path / "file" / "var"))
    assert refused.returncode == 1
    assert "bursary: the data folder cannot be used: " in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_person_is_shown_which_folder_is_used_where_it_is_not_the_usual_one(
    elsewhere: bool, installed: Path, tmp_path: Path
) -> None:
    ours, theirs = pty.openpty()
    try:
        folder = tmp_path if elsewhere else installed
        bursary("showmigrations", folder=folder, stderr=theirs, settings=var(installed / "var"))
        os.write(theirs, b"end")
        shown = os.read(ours, 10_000).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert (f"the data folder is {installed / 'var'}" in shown) is elsewhere


def test_a_program_is_shown_no_folder(installed: Path, tmp_path: Path) -> None:
    shown = bursary("showmigrations", folder=tmp_path, settings=var(installed / "var"))
    assert (shown.returncode, shown.stderr) == (0, "")


def test_a_database_of_an_older_chain_of_migrations_is_refused_in_a_sentence_and_left_alone(
    tmp_path: Path,
) -> None:
    file = tmp_path / "bursary.sqlite3"
    (tmp_path / "secret.key").write_text("a-key-of-tests-that-signs-nothing-else")
    with closing(sqlite3.connect(file)) as old:
        old.execute(
            "CREATE TABLE django_migrations (id integer PRIMARY KEY, app text, name text, applied text)"
        )
        old.execute(
            "INSERT INTO django_migrations (app, name, applied) "
            "VALUES ('assignments', '0002_reminders_and_grace', '2026-01-01')"
        )
        old.commit()
        before = list(old.iterdump())

    settings = var(tmp_path) | {"PORT": "0"}
    refused = bursary("migrate", folder=tmp_path, settings=settings)
    others = ["serve", "demo --no-serve", "deliver", "flush --no-input", "createsuperuser", "shell -c 0"]
    others_refused = bursary(*others, folder=tmp_path, settings=settings, program=("-c", EACH))

    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "assignments.0002_reminders_and_grace is unknown" in refused.stderr
    assert "`bursary migrate`" in refused.stderr
    assert others_refused.stderr == refused.stderr * len(others)
    with closing(sqlite3.connect(file)) as old:
        assert list(old.iterdump()) == before
