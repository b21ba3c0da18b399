"""The steps of `bench/forgetting.py` in a database: each runs in a process of its own."""

import json
import time

from django.db import connection, models
from django.utils import timezone

from bench.refresh_memory import peak_mb
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.ops import erasure_runs
from tests import world

ROWS_PER_STATEMENT = 50_000
PERSON = "alice@learners.example"
ADDRESS = "'learner-' || number || '@learners.example'"
KEY = f"encode(sha256(({ADDRESS})::bytea), 'hex')"


def fill(assignments: int) -> None:
    """Copy one delivered assignment, with its actions, until there are so many."""
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
