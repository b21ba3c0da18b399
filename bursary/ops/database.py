"""The state of the database: its tables, and traces of erased data in SQLite's files."""

import logging
from pathlib import Path

from django.apps import apps
from django.conf import settings
from django.db import Error, connection
from django.db.migrations.loader import MigrationLoader

from bursary.lib import logs
from bursary.lib.database_errors import is_answer

logger = logging.getLogger(__name__)


class NotReady(Exception):
    """The database cannot be used; the message has the reason and the next step."""


def refuse_unknown_migrations() -> MigrationLoader:
    """Raise NotReady if the database records a migration of Bursary that this version does not have.

    Such tables were made by a pre-release or a later version, and changing them would destroy data. Returns
    the migrations of this version and of the database.
    """
    try:
        loader = MigrationLoader(connection)
    except Error as error:
        raise NotReady(f"{in_words(error)} Check BURSARY_DATABASE_URL.") from error
    own_apps = {app.label for app in apps.get_app_configs() if app.name.startswith("bursary.")}
    unknown = sorted(set(loader.applied_migrations) - set(loader.disk_migrations))
    for label, name in unknown:
        if label in own_apps:
            raise NotReady(
                f"Another version of Bursary made this database: its migration {label}.{name} is unknown. "
                "Start that version, or migrate back with it: docs/operations.md, Upgrade. For another "
                "database, set BURSARY_DATABASE_URL or BURSARY_VAR_DIR, then run `bursary migrate`."
            )
    return loader


def require_tables() -> None:
    """Raise NotReady unless the database answers and exactly this version's migrations are applied."""
    loader = refuse_unknown_migrations()
    if any(name not in loader.applied_migrations for name in loader.graph.nodes):
        raise NotReady(
            f"The tables in {connection.settings_dict['NAME']} are missing or old. Run `bursary migrate`, or "
            "set BURSARY_VAR_DIR or BURSARY_DATABASE_URL if this is the wrong database."
        )


def in_words(error: Error) -> str:
    """Return a database error as a sentence: it does not answer, or it refuses, with its message."""
    words = " ".join(str(error.args[-1] if error.args else error).split()).rstrip(".?")
    return f"The database {'refuses' if is_answer(error) else 'does not answer'}: {words}."


def expect_traces() -> None:
    """Record in a file, which survives a crash, that data is about to be erased without traces."""
    if connection.vendor == "sqlite":
        _marker().touch()


def leave_no_traces() -> bool:
    """Remove deleted data from SQLite's files; return whether that was possible.

    Overwriting deleted rows is not enough: rearranged pages keep copies between their rows, and the
    write-ahead log keeps changed values. So, if traces are expected, the file is rewritten and the log
    emptied. Both wait for other connections, as for any lock. Other engines clean up on their own.
    """
    if connection.vendor != "sqlite":
        return True
    if connection.in_atomic_block:
        return False
    try:
        with connection.cursor() as cursor:
            if _marker().exists():
                cursor.execute("VACUUM")
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            busy, _in_log, _moved = cursor.fetchone()
    except Error as error:
        logger.warning("Traces could not be removed: %s", logs.one_line(error))
        return False
    if not busy:
        _marker().unlink(missing_ok=True)
    return not busy


def _marker() -> Path:
    return Path(settings.VAR_DIR, "traces.due")
