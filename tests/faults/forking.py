"""The real command in processes that are forked from this one, so that Django is loaded once for all of them.

Each line of input is one, as JSON: its command, the point at which it kills itself, if any, and a file that
stays locked while a process of its group lives. The answer is the number of the group. When the input ends,
all are killed.
"""

import fcntl
import json
import os
import re
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import django
from django.conf import settings
from django.db import transaction
from django.db.backends.signals import connection_created

os.environ["DJANGO_SETTINGS_MODULE"] = "bursary.config.settings"
django.setup()

from bursary.config import (  # noqa: E402  # after the settings
    cli,
    urls,  # noqa: F401  # so that the processes have it, and all views: `serve` checks them
)
from bursary.delivery import notices, runner  # noqa: E402, F401  # likewise; so that the processes have them
from bursary.ops import serving  # noqa: E402, F401  # likewise

if settings.EXECUTOR == "celery":
    for module in ("bursary.ops.celery_processes", "celery.apps.worker", "kombu.transport.redis"):
        import_module(module)

BEFORE_THE_CLAIM_COMMITS = "before the claim commits"
AFTER_THE_CLAIM = "after the claim"
AFTER_THE_BEGINNING = "after the beginning"
BEFORE_THE_SETTLE = "before the settle"
AFTER_THE_SETTLE = "after the settle"

_CLAIM = re.compile(r"UPDATE \S*learnercontentassignmentaction\S* SET .*fence\W+=")
_BEGIN = re.compile(r"UPDATE \S*learnercontentassignmentaction\S* SET .*attempts\W+=")
_SETTLE = re.compile(r"UPDATE \S*learnercontentassignmentaction\S* SET .*provider_ref\W+=")


def die() -> NoReturn:
    """Kill this process and all others of its group."""
    os.killpg(0, signal.SIGKILL)
    raise AssertionError("It is dead.")


def die_at(point: str) -> None:
    """Let this process and its children die at a point, which their SQL shows."""

    def deadly(execute: Any, sql: str, *rest: Any) -> Any:
        claims, settles = bool(_CLAIM.match(sql)), bool(_SETTLE.match(sql))
        if settles and point == BEFORE_THE_SETTLE:
            die()
        result = execute(sql, *rest)
        if claims and point == BEFORE_THE_CLAIM_COMMITS:
            die()
        if (claims and point == AFTER_THE_CLAIM) or (settles and point == AFTER_THE_SETTLE):
            transaction.on_commit(die)
        if _BEGIN.match(sql) and point == AFTER_THE_BEGINNING:
            transaction.on_commit(die)
        return result

    connection_created.connect(
        lambda connection, **_signal: connection.execute_wrappers.append(deadly), weak=False
    )


def run(command: list[str], point: str) -> None:
    """Run a command in a group of its own; what it says goes to the common log."""
    for number in (signal.SIGCHLD, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    os.setpgid(0, 0)
    with Path("workers.log").open("ab") as log, Path(os.devnull).open("rb") as nothing:
        for descriptor, file in ((0, nothing), (1, log), (2, log)):
            os.dup2(file.fileno(), descriptor)
    if point:
        die_at(point)
    sys.argv = ["bursary", *command]
    cli.main()


def start(order: dict[str, Any]) -> int:
    """Fork a process; return its group."""
    locked = os.open(order["lock"], os.O_CREAT | os.O_RDWR)
    fcntl.flock(locked, fcntl.LOCK_EX)  # inherited, and freed when the last that has it is dead
    os.set_inheritable(locked, True)
    child = os.fork()
    if not child:
        try:
            run(order["command"], order["point"])
        finally:
            os._exit(0)
    os.setpgid(child, child)
    os.close(locked)
    return child


def is_alive(lock: str) -> bool:
    """Return whether a process of the group with this lock lives."""
    with Path(lock).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


if __name__ == "__main__":
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead leave nothing behind
    started: dict[str, int] = {}
    for line in sys.stdin:
        ordered = json.loads(line)
        started[ordered["lock"]] = start(ordered)
        sys.stdout.write(f"{started[ordered['lock']]}\n")
        sys.stdout.flush()
    for lock, group in started.items():
        if is_alive(lock):
            os.killpg(group, signal.SIGKILL)
