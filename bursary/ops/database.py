"""Whether the database can be worked with."""

from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor


class NotReady(Exception):
    """The database cannot be worked with; the message says why, and what to do."""


def require_tables() -> None:
    """Raise NotReady unless the database answers and every migration is applied."""
    try:
        executor = MigrationExecutor(connection)
        waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        raise NotReady(f"The database does not answer: {error}. Check BURSARY_DATABASE_URL.") from error
    if waiting:
        raise NotReady("The database's tables are missing or old. Run `bursary migrate` first.")
