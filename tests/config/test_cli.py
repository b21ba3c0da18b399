"""The `bursary` command: its version, its data folder, and what it refuses in one sentence."""

import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple
from unittest.mock import Mock

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from bursary.config import cli
from bursary.config.commands import GROUPS
from bursary.config.environment import database_config
from tests.ops.processes import environment, new_python, python

pytestmark = pytest.mark.takes_long

EACH = """
import os, sys
from bursary.config.cli import main
given = dict(os.environ)
for command in sys.argv[1:]:
    os.environ.clear()
    os.environ.update(given)
    sys.argv = ["bursary", *command.split()]
    try:
        status = main() or 0
    except SystemExit as ended:
        status = ended.code or 0
    sys.stderr.write(f"{status}\\n")
"""
"""Runs several commands one after the other, each with the environment that was given, and prints the status
of each, or the sentence with which it ends with status 1: most time goes into the start."""
SIGNED = """
from bursary.config.cli import main
main()
from django.conf import settings
print(settings.SECRET_KEY)
"""
"""Runs a command, and prints what it signs with."""

Here = Callable[..., tuple[int, str]]
"""The status of a command, and what it writes for people."""
READ = 99
"""The status of a command that would read its settings now."""


def bursary(
    *arguments: str,
    folder: Path,
    settings: Mapping[str, str] | None = None,
    program: tuple[str, str] = ("-m", "bursary.config.cli"),
) -> subprocess.CompletedProcess[str]:
    """Run the command in `folder`; the data folder is `var` in it, unless the settings name another."""
    return python(*program, *arguments, env=nothing_set(folder) | dict(settings or {}), folder=folder)


def nothing_set(folder: Path) -> dict[str, str]:
    """Return the environment of a machine on which nothing is set."""
    env = environment(folder)
    del env["BURSARY_VAR_DIR"]
    return env


@pytest.fixture
def here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Here]:
    """Return a function that runs a command in this process, in a folder of its own and with nothing set.

    What is refused before the settings are read needs no process. One that goes on ends there, as READ.
    """

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["bursary", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        written = capfd.readouterr()
        assert written.out == ""
        if isinstance(ended.value.code, int):
            return ended.value.code, written.err
        return 1, f"{written.err}{ended.value.code}\n"

    def read() -> None:
        sys.exit(READ)

    umask = os.umask(cli.PRIVATE)
    for name in ("BURSARY_VAR_DIR", "BURSARY_SECRET_KEY", "BURSARY_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "_require_settings", read)
    yield run
    os.umask(umask)


class Installed(NamedTuple):
    """A folder in which `bursary migrate` has made `var`, and the key that it signed with."""

    folder: Path
    key: str


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Set up an installation by a first command, in a new interpreter."""
    folder = tmp_path_factory.mktemp("installed")
    command = ("-c", SIGNED, "migrate", "contenttypes", "--verbosity=0")
    made = new_python(*command, env=nothing_set(folder), folder=folder)
    assert made.returncode == 0, made.stderr
    assert made.stderr == f"bursary: setting up the data folder {folder / 'var'}\n"
    return Installed(folder, made.stdout.strip())


@pytest.fixture
def on(here: Here, monkeypatch: pytest.MonkeyPatch) -> Here:
    """Return a function that runs a command as `here` does, and on, with the settings of the tests."""
    monkeypatch.setattr(cli, "_require_settings", lambda: None)
    return here


def test_an_interrupted_command_ends_in_a_sentence(on: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bursary.config.cli.ManagementUtility.execute", Mock(side_effect=KeyboardInterrupt))
    assert on("check") == (130, "\nbursary: interrupted. Only what was finished before is done.\n")


@pytest.mark.parametrize("command", ["--version", "version"])
def test_it_prints_its_version(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "umask", lambda mask: mask)
    monkeypatch.setattr(sys, "argv", ["bursary", command])
    cli.main()
    assert capsys.readouterr() == (f"{version('bursary')}\n", "")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BURSARY_CONTENT_FRESH_HOURS", "abc"),
        ("BURSARY_EMAIL_URL", "bogus://x"),
        ("BURSARY_LANGUAGES", "en,xx"),
    ],
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


def test_a_base_url_that_is_none_is_refused_once_by_every_command_and_without_importing_the_pages(
    installed: Installed,
) -> None:
    program = ("-c", f"{EACH}\n    sys.stdout.write(f\"{{'bursary.dashboard.views' in sys.modules}} \")")
    refused = bursary(
        "deliver", "check", folder=installed.folder, settings={"BURSARY_BASE_URL": "foo"}, program=program
    )
    assert refused.stderr.count("?: (") == refused.stderr.count("BURSARY_BASE_URL is 'foo'") == 2
    assert refused.stdout == "False True "


@pytest.mark.parametrize("command", ["explain_content", "refresh_content --key", "changepassword"])
def test_an_argument_that_is_not_text_is_named_in_a_sentence(command: str, here: Here) -> None:
    assert here(*command.split(), "Tides\udcff") == (
        2,
        "bursary: the argument Tides\\udcff is not UTF-8 text. Type it again.\n",
    )


@pytest.mark.parametrize(
    ("arguments", "after"),
    [
        (("timeline", ""), "timeline"),
        (("timeline", "  "), "timeline"),
        (("extend_deadlines", "a uuid", "2027-01-01", "--content", ""), "--content"),
        (("extend_deadlines", "a uuid", "2027-01-01", "--content="), "--content="),
    ],
)
def test_an_empty_value_is_refused_as_that_of_an_unset_variable(
    arguments: tuple[str, ...], after: str, here: Here
) -> None:
    said = f"bursary: the value after {after} is empty. Is a variable unset? "
    said += f"`bursary {arguments[0]} --help` lists what it takes.\n"
    assert here(*arguments) == (2, said)


def test_a_value_of_djangos_commands_may_be_empty(here: Here, tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "secret.key").touch()
    assert here("createsuperuser", "--noinput", "--email", "") == (READ, "")


def test_its_files_are_readable_by_their_owner_alone(installed: Installed) -> None:
    var = installed.folder / "var"
    made = [var, var / "bursary.sqlite3", var / "secret.key"]
    assert [path.stat().st_mode & 0o077 for path in made] == [0, 0, 0]


@pytest.mark.parametrize("key", ["", "given-a-key-of-tests-that-signs-nothing-else"], ids=["no key", "a key"])
def test_outside_its_folder_a_command_names_the_folder_and_makes_none(
    key: str, here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if key:
        monkeypatch.setenv("BURSARY_SECRET_KEY", key)
    status, sentence = here("timeline", "--json")
    assert status == 1
    assert sentence.count("\n") == 1
    assert f"{tmp_path / 'var'} is not a data folder" in sentence
    assert "BURSARY_VAR_DIR" in sentence
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["serve", "setup --dry-run", "migrate --check", "migrate --plan"])
def test_only_demo_and_migrate_set_up_a_folder_and_not_to_look(
    command: str, here: Here, tmp_path: Path
) -> None:
    status, sentence = here(*command.split())
    assert (status, sentence.count("\n")) == (1, 1)
    assert f"{tmp_path / 'var'} is not a data folder" in sentence
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_key_gets_none_by_accident(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BURSARY_VAR_DIR", str(tmp_path))
    assert here("deliver")[0] == 1
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
    deliver, check, usage, status = refused.stderr.splitlines()
    for sentence in (deliver, check):
        assert sentence.startswith("bursary: The database does not answer: ")
        assert "?." not in sentence
    said = "bursary deliver: unrecognized arguments: --nothing. `bursary deliver --help` lists what it takes."
    assert (usage, status) == (said, "2")
    assert "Traceback" not in refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named_in_a_sentence(
    on: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BURSARY_VAR_DIR", str(tmp_path / "file" / "var"))
    status, written = on("migrate")
    assert status == 1
    assert written.splitlines()[-1].startswith("bursary: the data folder cannot be used: ")


def test_commands_that_do_not_begin_leave_no_folder_and_no_key(tmp_path: Path) -> None:
    unanswered = ("", "bursary: The database does not answer: ")
    weeks, app, name = "argument --weeks", "argument app_label", "argument migration_name"
    refused = {
        "demo": unanswered,
        "migrate": unanswered,
        "demo --weeks 53": ("2", f"bursary demo: {weeks}: '53' is not a number from 0 to 52. "),
        "demo --weeks=-1": ("2", f"bursary demo: {weeks}: '-1' is not a number from 0 to 52. "),
        "migrate nosuchapp": (
            "2",
            f"bursary migrate: {app}: there is no app nosuchapp with migrations; it is one ",
        ),
        "migrate messages": (
            "2",
            f"bursary migrate: {app}: there is no app messages with migrations; it is one ",
        ),
        "migrate access 9999": (
            "2",
            f"bursary migrate: {name}: access has no migration 9999; the last is 00",
        ),
        "migrate access 00": ("2", f"bursary migrate: {name}: 00 is the beginning of each of 0001_users_"),
        "migrate access 0001": unanswered,
        "migrate access zero": unanswered,
    }
    settings = {"BURSARY_DATABASE_URL": "postgres://bursary@127.0.0.1:1/bursary", "BURSARY_SECRET_KEY": ""}

    ended = bursary(*refused, "help", folder=tmp_path, settings=settings, program=("-c", EACH))

    *lines, helped = ended.stderr.splitlines()
    for status, sentence in refused.values():
        assert lines.pop(0).startswith(sentence)
        assert not status or lines.pop(0) == status
    assert (lines, helped) == ([], "0")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["demo --no-serve", "migrate"])
def test_a_setting_that_is_refused_leaves_no_folder_and_is_named_once(
    command: str, on: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    monkeypatch.setenv("BURSARY_SECRET_KEY", "too short")
    settings.SECRET_KEY = "too short"
    status, written = on(*command.split())
    assert status == 1
    assert written.startswith("SystemCheckError: System check identified some issues:")
    assert written.count("(bursary.E040) BURSARY_SECRET_KEY is shorter than 32 characters") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_first_command_signs_with_a_key_that_it_keeps(installed: Installed) -> None:
    assert installed.key == (installed.folder / "var" / "secret.key").read_text() != ""


def test_a_first_command_signs_with_the_given_key_and_leaves_out_spaces_around_the_sender_of_mails(
    tmp_path: Path,
) -> None:
    given = "given-a-key-of-tests-that-signs-nothing-else"
    settings = {
        "BURSARY_SECRET_KEY": given,
        "BURSARY_FROM_EMAIL": "\t Bursary <bursary@larkspur.test> \n",
    }
    program = ("-c", f"{SIGNED}print(repr(settings.DEFAULT_FROM_EMAIL))")
    made = bursary(
        "migrate", "contenttypes", "--verbosity=0", folder=tmp_path, settings=settings, program=program
    )
    assert not (tmp_path / "var" / "secret.key").exists()
    assert made.stdout.splitlines() == [given, "'Bursary <bursary@larkspur.test>'"]


@pytest.mark.parametrize("terminal", [True, False], ids=["a person", "a program"])
@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_person_is_shown_which_folder_is_used_where_it_is_not_the_usual_one_and_a_program_is_not(
    *, elsewhere: bool, terminal: bool, here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("elsewhere" if elsewhere else "var")
    folder.mkdir()
    (folder / "secret.key").touch()
    monkeypatch.setenv("BURSARY_VAR_DIR", str(folder))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    shown = f"bursary: the data folder is {folder}\n" if elsewhere and terminal else ""
    assert here("showmigrations") == (READ, shown)


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

    settings = {"BURSARY_VAR_DIR": str(tmp_path), "PORT": "0"}
    others = ["serve", "demo --no-serve", "deliver", "flush --no-input", "createsuperuser", "shell -c 0"]
    refused = bursary("migrate", *others, folder=tmp_path, settings=settings, program=("-c", EACH))

    sentence, *more = refused.stderr.splitlines()
    assert "assignments.0002_reminders_and_grace is unknown" in sentence
    assert "`bursary migrate`" in sentence
    assert more == [sentence] * len(others)
    with closing(sqlite3.connect(file)) as old:
        assert list(old.iterdump()) == before
