"""System checks of what a database lacks, read with `bursary check --database default` and by `migrate`."""

from collections.abc import Iterator, Sequence

from django.apps import AppConfig
from django.core import checks
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from bursary.assignments import searches

_ADDED_BY = ("assignments", "0017_trigrams_for_searches")


@checks.register(checks.Tags.database)
def check_indexes(
    app_configs: Sequence[AppConfig] | None, *, databases: Sequence[str] | None = None, **_more: object
) -> list[checks.CheckMessage]:
    """Return a warning where searches have no index on PostgreSQL."""
    return list(_trigrams()) if databases else []


def _trigrams() -> Iterator[checks.CheckMessage]:
    if (
        connection.vendor != "postgresql"
        or _ADDED_BY not in MigrationRecorder(connection).applied_migrations()
    ):
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
