"""System checks of the database. `bursary check --database default` and `migrate` run them."""

from collections.abc import Iterator, Sequence

from django.core import checks
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from bursary.assignments import searches
from bursary.ops import health

_ADDED_BY = ("assignments", "0017_trigrams_for_searches")
SESSION_VARIABLES = {
    "postgresql": "SELECT 'transaction_isolation', current_setting('transaction_isolation')",
    # MariaDB has the older name up to 11.0, and MySQL 8 only the newer one.
    "mysql": "SHOW VARIABLES WHERE Variable_name IN "
    "('tx_isolation', 'transaction_isolation', 'collation_database')",
}
"""By engine, the query for the session's isolation and the database's collation. SQLite has neither."""


@checks.register(checks.Tags.database)
def check_work(*, databases: Sequence[str] | None = None, **_of_django: object) -> list[checks.CheckMessage]:
    """Return a warning for files that cannot be written, and for work that a wrong clock dated ahead."""
    found = health.examine(now=timezone.now()).problems if databases else []
    reported = {"disk_full", "folder_not_writable", "work_dated_ahead"}
    return [
        checks.Warning(
            f"{code}: see `bursary status`.",
            hint="docs/operations.md says what to do, under Check its health.",
            id="bursary.W001",
        )
        for code in found
        if code in reported
    ]


@checks.register(checks.Tags.database)
def check_server(
    *, databases: Sequence[str] | None = None, **_of_django: object
) -> Iterator[checks.CheckMessage]:
    """Yield an error if the database's isolation or collation is not as in decision 0016."""
    if not databases or connection.vendor not in SESSION_VARIABLES:
        return
    with connection.cursor() as cursor:
        cursor.execute(SESSION_VARIABLES[connection.vendor])
        found = dict(cursor.fetchall())
    isolation = found.get("tx_isolation") or found.get("transaction_isolation")
    if isolation and isolation.lower().replace("-", " ") != "read committed":
        yield checks.Error(
            f"The database isolates transactions as {isolation}: rows that changed while a lock was waited "
            "for would be read as they were.",
            hint="Let the sessions of Bursary's user begin with READ COMMITTED.",
            id="bursary.E022",
        )
    collation = found.get("collation_database")
    if collation and not (collation.startswith("utf8mb4_") and collation.endswith("_bin")):
        yield checks.Error(
            f"The database's collation is {collation}: keys that differ would be taken for the same, or text "
            "not be stored.",
            hint="Before the first `bursary migrate`: ALTER DATABASE name CHARACTER SET utf8mb4 COLLATE "
            "utf8mb4_nopad_bin; on MySQL utf8mb4_0900_bin.",
            id="bursary.E023",
        )


@checks.register(checks.Tags.database)
def check_indexes(
    *, databases: Sequence[str] | None = None, **_of_django: object
) -> Iterator[checks.CheckMessage]:
    """Yield a warning if searches have no index on PostgreSQL."""
    if not databases or connection.vendor != "postgresql":
        return
    if _ADDED_BY not in MigrationRecorder(connection).applied_migrations():
        return
    with connection.cursor() as cursor:
        valid = "SELECT 1 FROM pg_index WHERE indexrelid = to_regclass(%s) AND indisvalid"
        cursor.execute(valid, [searches.INDEX])
        if cursor.fetchone():
            return
    statements = (
        f"CREATE EXTENSION IF NOT EXISTS {searches.EXTENSION}",
        f"DROP INDEX IF EXISTS {searches.INDEX}",
        searches.CREATE_INDEX,
    )
    commands = " ".join(f"-c '{statement}'" for statement in statements)
    yield checks.Warning(
        f"The index {searches.INDEX} is missing, because Bursary's user may not make the extension "
        f"{searches.EXTENSION}: a search reads every assignment of its budgets.",
        hint=f"As an administrator of the database: psql {connection.settings_dict['NAME']} {commands}",
        id="bursary.W046",
    )
