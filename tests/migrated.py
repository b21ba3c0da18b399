"""One migrated database for every process of a test run. Migrating takes a second of processor time or two.

On SQLite it is a file, which pytest's cache keeps until the code changes.
"""

import copy
import fcntl
import hashlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from django.conf import settings
from django.db import connection
from django.db.migrations.state import ProjectState
from django.db.models import Field
from pytest_django.plugin import blocking_manager_key

from tests.emptying import STAY

ROOT = Path(__file__).parent.parent
# A database that `make mutants` has made, with every table and no row.
MIGRATED = os.environ.get("BURSARY_TEST_MIGRATED", "")
AnyField: TypeAlias = "Field[Any, Any]"


@contextmanager
def cheap_models(*, forwards: bool = True) -> Iterator[None]:
    """Let migrations make fewer models, and copy the fields of these: that is most of their work.

    For a field Django computes the arguments that it was made with, and makes another. For each index and
    each constraint it makes the model anew, and all that refer to it. Forwards it is enough to note them in
    the model that is there; on the way back what it was before would then be lost. The tables are the same.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Field, "clone", _copy)
        if forwards:
            patch.setattr(ProjectState, "_append_option", _append)
            patch.setattr(ProjectState, "_remove_option", _remove)
        yield


def _copy(field: AnyField) -> AnyField:
    copied = copy.deepcopy(field)  # no deeper than what it says of a relation
    copied.creation_counter = Field.creation_counter  # by which columns are in order
    Field.creation_counter += 1
    return copied


def _append(state: ProjectState, app_label: str, model_name: str, option: str, added: Any) -> None:
    options = state.models[app_label, model_name].options
    options[option] = [*options[option], added]
    _note(state, app_label, model_name, option)


def _remove(state: ProjectState, app_label: str, model_name: str, option: str, name: str) -> None:
    options = state.models[app_label, model_name].options
    options[option] = [each for each in options[option] if each.name != name]
    _note(state, app_label, model_name, option)


def _note(state: ProjectState, app_label: str, model_name: str, option: str) -> None:
    if "apps" in state.__dict__:  # models are made when they are asked for first
        model = state.apps.get_model(app_label, model_name)
        setattr(model._meta, option, list(state.models[app_label, model_name].options[option]))


_FIRST_ROW, _ROWS_OF_A_TABLE = 70_000_000, 1_000_000


def number_rows_apart() -> None:
    """Let each table number its rows from a million of its own on, far above what tests write as a number.

    So no number that a test makes up means a row, by the chance of how many rows a process has made before,
    and no row has the number of another table's.
    """
    with connection.cursor() as cursor:
        tables = sorted({*connection.introspection.django_table_names(include_views=False)} - STAY)
        for place, table in enumerate(tables):
            first = _FIRST_ROW + place * _ROWS_OF_A_TABLE
            for sequence in connection.introspection.get_sequences(cursor, table):
                _begin(cursor, table, sequence.get("name"), first)


def _begin(cursor: Any, table: str, sequence: str | None, first: int) -> None:
    if connection.vendor == "sqlite":
        cursor.execute("DELETE FROM sqlite_sequence WHERE name = %s", [table])
        cursor.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (%s, %s)", [table, first])
    elif connection.vendor == "postgresql":
        cursor.execute(f"ALTER SEQUENCE {connection.ops.quote_name(str(sequence))} RESTART WITH {first}")
    else:
        cursor.execute(f"ALTER TABLE {connection.ops.quote_name(table)} AUTO_INCREMENT = {first}")


@contextmanager
def _one_process_at_a_time(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until it is closed, also by the end of the process
        yield


def _digest() -> str:
    """Return what decides about the tables: the service's code, its dependencies' versions, this module."""
    digest = hashlib.sha256(sqlite3.sqlite_version.encode())
    for file in [ROOT / "uv.lock", Path(__file__), *sorted((ROOT / "bursary").rglob("*.py"))]:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def migrate() -> None:
    """Make the test database of this process."""
    with cheap_models():
        connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    number_rows_apart()


def name_own_file() -> Path:
    """Keep the test database of SQLite in a file: in memory, threads could not share it.

    Its name holds the process's id, because `make mutants` forks processes that share a folder.
    """
    file = Path(settings.VAR_DIR, f"tests-{os.getpid()}.sqlite3")
    settings.DATABASES["default"]["TEST"]["NAME"] = str(file)
    return file


def make(config: pytest.Config) -> str:
    """Make what the processes of this run copy, unless one has, or an earlier run; return its name."""
    return str(_file_of_sqlite(config)) if connection.vendor == "sqlite" else _template_on_the_server()


def make_ahead(config: pytest.Config) -> None:
    """Make it in the process that has no tests of its own, in which pytest-django blocks the database."""
    if connection.vendor == "mysql":  # copies no database
        return
    if connection.vendor == "sqlite":
        name_own_file()
    with config.stash[blocking_manager_key].unblock():
        make(config)


def copy_made(config: pytest.Config) -> None:
    """Let this process use a copy."""
    made = make(config)
    connection.close()
    if connection.vendor == "sqlite":
        own = shutil.copy(made, settings.DATABASES["default"]["TEST"]["NAME"])
    else:
        connection.settings_dict["NAME"] = made
        worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
        own = connection.creation.get_test_db_clone_settings(worker)["NAME"]
        with _one_process_at_a_time(Path(os.environ["BURSARY_TEST_DIR"])):
            connection.creation.clone_test_db(worker, verbosity=0)
    connection.settings_dict["NAME"] = settings.DATABASES["default"]["NAME"] = own


def _file_of_sqlite(config: pytest.Config) -> Path:
    if MIGRATED:
        return Path(MIGRATED)
    cache = getattr(config, "cache", None)  # there is none with `-p no:cacheprovider`
    folder = cache.mkdir("migrated") if cache else Path(os.environ["BURSARY_TEST_DIR"])
    file = folder / f"{_digest()}.sqlite3"
    with _one_process_at_a_time(folder):
        if not file.exists():
            for older in folder.glob("*.sqlite3"):
                older.unlink()
            migrate()
            vacuum_into(file)
    return file


def _template_on_the_server() -> str:
    """Return the name of a database to which no process is connected: only such a one PostgreSQL copies."""
    folder = Path(os.environ["BURSARY_TEST_DIR"])
    note = folder / "name-of-the-migrated-database"
    with _one_process_at_a_time(folder):
        if not note.exists():
            migrate()
            connection.close()
            note.write_text(connection.settings_dict["NAME"])
        return note.read_text()


def vacuum_into(file: Path) -> None:
    """Write a copy of this process's SQLite database into a file that appears whole or not at all."""
    draft = file.with_suffix(f".{os.getpid()}")
    made = sqlite3.connect(connection.settings_dict["NAME"])
    try:
        made.execute("VACUUM INTO ?", [str(draft)])
    finally:
        made.close()
    draft.chmod(0o600)
    draft.rename(file)
