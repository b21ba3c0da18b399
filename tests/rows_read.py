"""How many rows PostgreSQL reads, by its own count."""

from django.db import connection


def rows_read() -> int:
    """Return how many rows of the project's tables were read since the transaction began."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT SUM(seq_tup_read + COALESCE(idx_tup_fetch, 0)) FROM pg_stat_xact_user_tables")
        return int(cursor.fetchone()[0])
