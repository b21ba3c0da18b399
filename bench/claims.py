"""What it costs to claim work, begin it and write how it went, without doing anything, against SQL by hand.

The floor claims twenty rows at once, and writes for each what ours writes: that it begins, how it went, and
its assignment's state. `bench/mails.py` has the same with a mail server.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from bench.dialects import HERE
from bench.scales import Scale
from bench.stage import Case, Way
from bursary.assignments import actions, outcomes
from bursary.assignments.choices import LearnerState
from bursary.assignments.models import CHECK_NOW
from bursary.assignments.models import LearnerContentAssignment as Assignment
from bursary.assignments.models import LearnerContentAssignmentAction as Action
from tests import world

NO_OPS = 200
TOGETHER = 20

_TABLE = Action._meta.db_table
FIND = (
    f"SELECT id, fence, assignment_id FROM {_TABLE} WHERE early IN (0, 1) AND lease_until IS NULL"
    f" ORDER BY due_at LIMIT {TOGETHER} {HERE.skips}"
)
TAKE = (
    f"UPDATE {_TABLE} SET due_at = %(until)s, early = 0, lease_until = %(until)s, fence = fence + 1"
    " WHERE id IN ({})"
)
BEGIN = (
    f"UPDATE {_TABLE} SET status = 'running', attempts = attempts + 1, due_at = %(until)s,"
    " modified = %(now)s, lease_until = %(until)s WHERE id = %(pk)s AND fence = %(fence)s"
)
LOCK = f"SELECT learner_email FROM {Assignment._meta.db_table} WHERE id = %(assignment)s {HERE.locks}"
SETTLE = (
    f"UPDATE {_TABLE} SET status = 'done', completed_at = %(now)s, due_at = NULL, early = NULL,"
    " lease_until = NULL, modified = %(now)s WHERE id = %(pk)s AND fence = %(fence)s"
)
FOLLOW = (
    f"UPDATE {Assignment._meta.db_table} SET learner_state = %(state)s, recent_action_at = %(now)s,"
    " nudge_at = %(check)s WHERE id = %(assignment)s"
)


def fill(count: int = NO_OPS, *, now: datetime | None = None) -> datetime:
    """Let so many mails be due, and nothing else; return the time."""
    now = now or datetime.now(UTC)
    world.allocate(world.given_budget(), world.given_content(), *world.addresses(count), now=now)
    return now


def ours(now: datetime) -> None:
    """Claim, begin and finish each action, without doing anything."""
    while batch := actions.claim(now=now, lease=settings.LEASE, limit=TOGETHER, start_attempts=False):
        for action in batch:
            actions.begin(action, now=now, lease=settings.LEASE)
            actions.finish(action, outcomes.Done(), now=now)


def raw(now: datetime) -> None:
    """Do the same by hand."""
    asked: dict[str, Any] = {
        "now": now,
        "until": now + settings.LEASE,
        "state": int(LearnerState.WAITING),
        "check": CHECK_NOW,
    }
    with connection.cursor() as cursor:
        while True:
            with transaction.atomic():
                cursor.execute(FIND)
                found = cursor.fetchall()
                if not found:
                    return
                cursor.execute(TAKE.format(", ".join(str(pk) for pk, _fence, _assignment in found)), asked)
            for pk, fence, assignment in found:
                one = asked | {"pk": pk, "fence": fence + 1, "assignment": assignment}
                cursor.execute(BEGIN, one)
                with transaction.atomic():
                    for statement in (LOCK, SETTLE, FOLLOW):
                        cursor.execute(statement, one)


def cases(_scale: Scale) -> Iterator[Case]:
    """Yield the case of work without work."""
    limits = (
        "Two transactions for each action, so that what was done is known whenever a worker ends; an"
        " assignment's state is derived from its timeline, by SQL that is longer than the floor's."
    )
    yield Case("claim and settle", Way(ours, fill), Way(raw, fill), size=NO_OPS, limits=limits)
