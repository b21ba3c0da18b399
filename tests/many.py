"""Many assignments of one budget, made by a few statements: a year of them, in every status."""

from collections.abc import Sequence
from datetime import datetime

from django.db import connection, models

from bench.dialects import HERE
from bursary.assignments.choices import ActionType, ErrorReason, LearnerState, Status
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.budgets.models import Account, Budget
from bursary.replica.models import ContentMetadata
from tests import world

COURSES = 20
EVERY_FAILURE = 50
"""Of so many assignments, the mail of one could not be sent."""
EVERY_REFUND = 1000

_FAILED, _REFUNDED = f"number % {EVERY_FAILURE} = 1", f"number % {EVERY_REFUND} = 2"
_STATUS = "((number - number % 7) / 7) % 20"
_STATE = (
    f"CASE WHEN {_FAILED} THEN 'allocated' WHEN {_REFUNDED} THEN 'reversed' "
    f"WHEN {_STATUS} < 8 THEN 'accepted' WHEN {_STATUS} < 15 THEN 'allocated' "
    f"WHEN {_STATUS} < 18 THEN 'expired' ELSE 'cancelled' END"
)
_LEARNER_STATE = (
    f"CASE WHEN {_FAILED} THEN 3 WHEN {_REFUNDED} OR {_STATUS} < 8 THEN 999 WHEN {_STATUS} = 8 THEN 0 "
    f"WHEN {_STATUS} < 15 THEN 1 WHEN {_STATUS} < 18 THEN 2 WHEN {_STATUS} = 18 THEN 998 ELSE 999 END"
)


def fill(budget: Budget, count: int, *, among: Sequence[Budget] = (), first: int = 1) -> None:
    """Copy delivered assignments of the budget, with their actions, until there are so many.

    The copies are spread `among` other budgets, with keys in a row, from learner `first` on.
    """
    address, allocated = HERE.address, HERE.moment.format("0 - number % 360", "0 - number")
    templates, last = _delivered(budget), first + count - COURSES - 1
    owners = [one.pk for one in among] or [budget.pk]
    table, actions = LearnerContentAssignment._meta.db_table, LearnerContentAssignmentAction._meta.db_table

    def template(number: str) -> str:
        branches = " ".join(f"WHEN {place} THEN {pk}" for place, pk in enumerate(templates))
        return f"CASE {number} % {COURSES} {branches} END"

    _copy(
        LearnerContentAssignment,
        f"{HERE.numbers.format(first, last)} JOIN {table} t ON t.id = {template('number')}",
        {
            "uuid": HERE.uuid,
            "budget_id": f"{min(owners)} + number % {len(owners)}",
            "learner_email": address,
            **dict.fromkeys(("learner_key", "mailbox_key"), HERE.sha256.format(address)),
            "state": _STATE,
            "learner_state": _LEARNER_STATE,
            "allocated_at": allocated,
            "recent_action_at": HERE.moment.format("3 - number % 360", "0 - number"),
            "expires_at": HERE.moment.format("number % 90", "number"),
            "price_cents": "5000 + 100 * (number % 90)",
            **{f"{name}_at": allocated for name in ("accepted", "cancelled", "expired", "reversed")},
        },
    )
    _copy(
        LearnerContentAssignmentAction,
        f"{table} a JOIN {actions} t ON t.assignment_id = {template('a.id')} "
        f"WHERE a.id > {max(templates)} AND a.budget_id BETWEEN {min(owners)} AND {max(owners)}",
        {"uuid": HERE.uuid, "assignment_id": "a.id", "recipient": "a.learner_email"},
    )
    _count()
    _let_mails_fail()


def _let_mails_fail() -> None:
    """Let the mails of those that are to have failed fail."""
    mails = LearnerContentAssignmentAction.objects.filter(action_type=ActionType.NOTIFIED)
    why = {"error_reason": ErrorReason.EMAIL_ERROR, "error_code": "address_rejected"}
    mails.filter(assignment__learner_state=LearnerState.FAILED).update(status=Status.FAILED, **why)
    _count()


def deliver(budget: Budget, *, now: datetime) -> None:
    """Note that each learner of the budget was notified, and nothing else of it waits; no mail is sent."""
    waiting = LearnerContentAssignmentAction.objects.filter(assignment__budget=budget, status=Status.PENDING)
    waiting.update(status=Status.DONE, completed_at=now, due_at=None, early=None)
    budget.assignments.update(learner_state=LearnerState.WAITING)


def copy(template: LearnerContentAssignment, count: int) -> None:
    """Copy an assignment, with its actions, for so many more learners, and hold the money for them."""
    budget = template.budget
    table, actions = LearnerContentAssignment._meta.db_table, LearnerContentAssignmentAction._meta.db_table
    key = HERE.sha256.format(HERE.address)
    _copy(
        LearnerContentAssignment,
        f"{HERE.numbers.format(1, count)} JOIN {table} t ON t.id = {template.pk}",
        {"uuid": HERE.uuid, "learner_email": HERE.address, "learner_key": key, "mailbox_key": key},
    )
    _copy(
        LearnerContentAssignmentAction,
        f"{table} a JOIN {actions} t ON t.assignment_id = {template.pk} "
        f"WHERE a.budget_id = {budget.pk} AND a.id > {template.pk}",
        {"uuid": HERE.uuid, "assignment_id": "a.id", "recipient": "a.learner_email"},
    )
    reserved = models.F("reserved_cents") + count * template.price_cents
    for model, pk in ((Account, budget.account_id), (Budget, budget.pk)):
        model._default_manager.filter(pk=pk).update(reserved_cents=reserved)
    _count()


def copy_for_courses(template: LearnerContentAssignment, courses: Sequence[ContentMetadata]) -> None:
    """Copy an assignment, with its actions, for each of these courses."""
    content = ContentMetadata._meta.db_table
    table, actions = LearnerContentAssignment._meta.db_table, LearnerContentAssignmentAction._meta.db_table
    _copy(
        LearnerContentAssignment,
        f"{content} c JOIN {table} t ON t.id = {template.pk} "
        f"WHERE c.id IN ({', '.join(str(course.pk) for course in courses)})",
        {"uuid": HERE.uuid, "content_id": "c.id", "content_key": "c.content_key"},
    )
    _copy(
        LearnerContentAssignmentAction,
        f"{table} a JOIN {actions} t ON t.assignment_id = {template.pk} "
        f"WHERE a.learner_key = '{template.learner_key}' AND a.id > {template.pk}",
        {"uuid": HERE.uuid, "assignment_id": "a.id"},
    )
    _count()


def _count() -> None:
    """Let the database count what was filled in: else PostgreSQL may join two tables row by row."""
    tables = [one._meta.db_table for one in (LearnerContentAssignment, LearnerContentAssignmentAction)]
    if connection.vendor == "postgresql":
        counting = f"ANALYZE {', '.join(tables)}"
    elif connection.vendor == "sqlite":
        counting = "ANALYZE"
    elif connection.in_atomic_block:
        return  # there it would commit, and a test's rows would stay
    else:
        counting = f"ANALYZE TABLE {', '.join(tables)}"
    with connection.cursor() as cursor:
        cursor.execute(counting)


def _delivered(budget: Budget) -> list[int]:
    """Return one delivered assignment of each course (pks)."""
    for number in range(COURSES):
        content = world.given_content(title=f"Course {number}")
        world.allocate(budget, content, f"first-{number}@many.example")
    world.deliver()
    return sorted(budget.assignments.values_list("pk", flat=True))


def _copy(model: type[models.Model], source: str, changed: dict[str, str]) -> None:
    names = [str(one.column) for one in model._meta.concrete_fields if not one.primary_key]
    values = ", ".join(changed.get(name, f"t.{name}") for name in names)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {model._meta.db_table} ({', '.join(names)}) SELECT {values} FROM {source}"
        )
