"""The transactions of a MySQL or MariaDB server at this moment."""

import re
from dataclasses import dataclass

from django.db import connection

_LOCKS = re.compile(r"^(LOCK WAIT )?\d+ lock struct\(s\), .* (\d+) row lock\(s\)", re.MULTILINE)
_THREAD = re.compile(r"thread id (\d+),")


@dataclass(frozen=True)
class InnodbTransaction:
    """A transaction that holds locks or waits for one."""

    thread_id: int
    waits: bool
    rows_locked: int


def transactions_in_this_database() -> list[InnodbTransaction]:
    """Return the transactions with locks in this database: other processes of a test run have others.

    The server's report is read, as the table `innodb_trx` is a copy, which the server makes anew only after
    0.1 s in which no process has read it.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM information_schema.processlist WHERE db = DATABASE()")
        threads = {int(thread) for (thread,) in cursor.fetchall()}
        cursor.execute("SHOW ENGINE INNODB STATUS")
        [(_engine, _name, report)] = cursor.fetchall()
    found = []
    for described in report.split("\n---TRANSACTION ")[1:]:
        locks, thread = _LOCKS.search(described), _THREAD.search(described)
        if locks and thread:
            found.append(InnodbTransaction(int(thread[1]), bool(locks[1]), int(locks[2])))
    return [one for one in found if one.thread_id in threads]
