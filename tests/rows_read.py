"""How many rows PostgreSQL reads, by its own count, and by plans for the rows that there are."""

from django.db import connection


def plan_for_these_rows() -> None:
    """Have PostgreSQL count every table: what an earlier test made it count stays, rolled back or not."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def rows_read() -> int:
    """Return how many rows of the project's tables were read since the transaction began."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT SUM(seq_tup_read + COALESCE(idx_tup_fetch, 0)) FROM pg_stat_xact_user_tables")
        return int(cursor.fetchone()[0])
