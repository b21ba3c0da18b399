"""Errors of the database or the disk: which are an outage, and not a fault of the program."""

import errno
import inspect
import sqlite3
import traceback

from django.db import InterfaceError, InternalError, OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import Atomic

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}
_OF_THE_PROGRAM = {
    sqlite3.SQLITE_ERROR,  # no such table or column, a syntax error
    *(1052, 1054, 1242, 1267, 1292, 1305),  # MySQL: statements and values that it does not accept
}
_BY_ANOTHER_NAME = {
    "25006",  # PostgreSQL, as InternalError: read-only, as a standby is
    "25P03",  # PostgreSQL, as InternalError: idle in a transaction for too long
    0,  # PyMySQL, as InterfaceError: the connection is closed
}
DEADLOCK_CODES = frozenset(
    (
        "40001",  # PostgreSQL: could not serialize
        "40P01",  # PostgreSQL: deadlock
        1213,  # MySQL: deadlock
    )
)
"""The transaction is rolled back in favour of another, and may be repeated."""
_UNDONE = DEADLOCK_CODES | {
    *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN),
}
_ENDING = Atomic.__exit__.__code__
_SAVEPOINT = inspect.unwrap(BaseDatabaseWrapper.savepoint_commit).__code__


def is_outage(error: BaseException | None) -> bool:
    """Return whether the database or its disk fails. A bad statement or violated constraint is no outage."""
    match error:
        case OSError():
            return error.errno in _DISK
        case OperationalError():
            return code_of(error) not in _OF_THE_PROGRAM
        case InternalError() | InterfaceError():
            return code_of(error) in _BY_ANOTHER_NAME
        case _:
            return False


def may_be_committed(error: BaseException) -> bool:
    """Return whether the error came during COMMIT, so that the transaction may be committed or rolled back.

    The server may have committed, and its answer may be lost. Only the stack trace shows this: inside a
    transaction, which is then rolled back, a broken connection raises the same error. An answer of the
    database that the transaction is rolled back is certain.
    """
    places = {frame.f_code for frame, _line in traceback.walk_tb(error.__traceback__)}
    return _ENDING in places and _SAVEPOINT not in places and code_of(error) not in _UNDONE


def is_answer(error: BaseException) -> bool:
    """Return whether the database itself answered with this error: it is reachable.

    PostgreSQL's refusal of a connection has no code, but contains FATAL in most languages of its messages.
    MySQL's server numbers its errors from 1000, its client library from 2000.
    """
    code = code_of(error)
    if isinstance(error, InterfaceError):  # the client's: the connection is closed
        return False
    if isinstance(error.__cause__, sqlite3.Error) or not isinstance(error, OperationalError):
        return True
    return not 2000 <= code < 3000 if isinstance(code, int) else bool(code) or "FATAL" in str(error)


def code_of(error: BaseException) -> int | str | None:
    """Return PostgreSQL's SQLSTATE, or the number of the error in SQLite or MySQL. None: there is no code."""
    cause = error.__cause__
    if code := getattr(cause, "sqlite_errorcode", None):
        return int(code) & 0xFF  # the primary code, of an extended one
    first = error.args[0] if error.args else None
    return getattr(cause, "sqlstate", None) or (first if isinstance(first, int) else None)
