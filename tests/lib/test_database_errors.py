"""Which errors are an outage of the database or the disk, and which are the program's."""

import errno
import logging
import sqlite3

import psycopg
import pytest
from django.db import (
    DataError,
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
    ProgrammingError,
    connection,
    transaction,
)

from bursary.lib import database_errors, logs
from bursary.lib.mailbox import LONGEST_ADDRESS
from tests.elapsed import AT_ONCE, taking_at_most


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def sqlite(code: int) -> Exception:
    cause = sqlite3.OperationalError("SQLite's words")
    cause.sqlite_errorcode = code
    return caused(OperationalError("SQLite's words"), cause)


def postgres(cause: type[psycopg.Error], error: type[Exception] = OperationalError) -> Exception:
    return caused(error("PostgreSQL's words"), cause())


PASSES = [
    *(sqlite(code) for code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY)),
    *(sqlite(code) for code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR_FSYNC)),
    *map(postgres, (psycopg.errors.AdminShutdown, psycopg.errors.CannotConnectNow)),
    *map(postgres, (psycopg.errors.TooManyConnections, psycopg.errors.DiskFull, psycopg.errors.IoError)),
    *map(postgres, (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable)),
    *map(postgres, (psycopg.errors.DeadlockDetected, psycopg.OperationalError)),
    postgres(psycopg.errors.ReadOnlySqlTransaction, InternalError),
    postgres(psycopg.errors.IdleInTransactionSessionTimeout, InternalError),
    OperationalError(2003, "Can't connect to MySQL server"),
    OperationalError(1040, "Too many connections"),
    OperationalError(2013, "Lost connection to MySQL server during query"),
    InterfaceError(0, ""),
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EROFS, "Read-only file system"),
]
STAYS = [
    sqlite(sqlite3.SQLITE_ERROR),
    *(IntegrityError("UNIQUE"), DataError("too long"), ProgrammingError("no such table")),
    postgres(psycopg.errors.InFailedSqlTransaction, InternalError),
    postgres(psycopg.errors.DataCorrupted, InternalError),
    InterfaceError("the cursor is closed"),
    OperationalError(1054, "Unknown column"),
    OperationalError(1292, "Incorrect datetime value"),
    *(FileNotFoundError(errno.ENOENT, "No such file"), TimeoutError(), KeyError("database is locked")),
]


@pytest.mark.parametrize("error", PASSES, ids=repr)
def test_what_passes_is_an_outage(error: Exception) -> None:
    assert database_errors.is_outage(error)


def test_a_database_that_refuses_is_distinct_from_one_that_is_not_there() -> None:
    fatal = 'connection failed: FATAL:  database "nodb" does not exist'
    refuses = [
        sqlite(sqlite3.SQLITE_CANTOPEN),
        OperationalError(1045, "Access denied"),
        caused(OperationalError(fatal), psycopg.OperationalError(fatal)),
        postgres(psycopg.errors.TooManyConnections),
        ProgrammingError("no such table"),
    ]
    silent = [
        OperationalError(2003, "Can't connect to MySQL server"),
        InterfaceError(0, ""),
        postgres(psycopg.OperationalError),
    ]
    assert [database_errors.is_answer(error) for error in refuses + silent] == [True] * 5 + [False] * 3


@pytest.mark.parametrize("error", STAYS, ids=repr)
def test_what_the_program_or_its_data_cause_is_an_error(error: Exception) -> None:
    assert not database_errors.is_outage(error)


def raised_at(monkeypatch: pytest.MonkeyPatch, place: str, error: Exception) -> Exception:
    """Return the error as it comes out of a transaction in which it is raised at that place."""

    def fail(*_args: object, **_more: object) -> None:
        raise error

    with monkeypatch.context() as until_then:
        until_then.setattr(connection, place, fail)
        with pytest.raises(type(error)) as caught, transaction.atomic(), transaction.atomic():
            pass
    return caught.value


@pytest.mark.django_db(transaction=True)
def test_only_what_breaks_as_a_transaction_ends_may_be_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = postgres(psycopg.OperationalError)
    assert database_errors.may_be_committed(raised_at(monkeypatch, "_commit", lost))
    assert database_errors.may_be_committed(raised_at(monkeypatch, "run_and_clear_commit_hooks", sqlite(10)))
    for place in ("_savepoint_commit", "_savepoint"):
        inside = raised_at(monkeypatch, place, postgres(psycopg.errors.AdminShutdown))
        assert not database_errors.may_be_committed(inside)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("error", [sqlite(5), sqlite(13), postgres(psycopg.errors.SerializationFailure)])
def test_what_the_database_says_that_it_has_undone_is_undone(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not database_errors.may_be_committed(raised_at(monkeypatch, "_commit", error))


def test_a_thread_logs_an_outage_in_one_line_and_an_error_with_its_place(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = logging.getLogger("tests")
    for error in (sqlite(5), KeyError("key")):
        try:
            raise error
        except Exception as caught:  # noqa: BLE001  # as threads catch
            logs.log_failure("Work failed", caught, log=log)
    one_line, with_place = caplog.messages
    assert one_line == "Work failed: OperationalError: SQLite's words"
    assert "test_database_errors.py" in with_place


@pytest.mark.parametrize("written", ["a" * 200_000, "a@" * 100_000], ids=["one word", "many at signs"])
def test_an_error_of_a_long_word_is_a_line_at_once(written: str) -> None:
    with taking_at_most(AT_ONCE):
        line = logs.one_line(ValueError(f"{written} of alice@learners.example"))
    assert line.startswith("ValueError: ")
    assert "alice" not in line


def test_an_error_names_no_address_however_long_it_is() -> None:
    longest = f"{'a' * 64}@{'b' * 63}.{'c' * 63}.{'d' * 58}.eu"
    assert len(longest) == LONGEST_ADDRESS
    assert logs.one_line(ValueError(f"No {longest}, nor <alice@learners.example>: refused.")) == (
        "ValueError: No …, nor <…>: refused."
    )
