"""Many assignments of one budget, made by a few statements: a year of them, in every status."""

from django.db import connection, models

from bench.dialects import HERE
from bursary.assignments.choices import ActionType, ErrorReason, LearnerState, Status
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.budgets.models import Budget
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


def fill(budget: Budget, count: int) -> None:
    """Copy delivered assignments of the budget, with their actions, until there are so many."""
    address, allocated = HERE.address, HERE.moment.format("0 - number % 360", "0 - number")
    templates = _delivered(budget)
    table, actions = LearnerContentAssignment._meta.db_table, LearnerContentAssignmentAction._meta.db_table

    def template(number: str) -> str:
        branches = " ".join(f"WHEN {place} THEN {pk}" for place, pk in enumerate(templates))
        return f"CASE {number} % {COURSES} {branches} END"

    _copy(
        LearnerContentAssignment,
        f"{HERE.numbers.format(count - COURSES)} JOIN {table} t ON t.id = {template('number')}",
        {
            "uuid": HERE.uuid,
            "learner_email": address,
            "learner_key": HERE.sha256.format(address),
            "mailbox_key": HERE.sha256.format(address),
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
        f"WHERE a.budget_id = {budget.pk} AND a.id > {max(templates)}",
        {"uuid": HERE.uuid, "assignment_id": "a.id", "recipient": "a.learner_email"},
    )
    _count()
    mails = LearnerContentAssignmentAction.objects.filter(action_type=ActionType.NOTIFIED)
    why = {"error_reason": ErrorReason.EMAIL_ERROR, "error_code": "address_rejected"}
    mails.filter(assignment__learner_state=LearnerState.FAILED).update(status=Status.FAILED, **why)
    _count()


def _count() -> None:
    """Let the database count what was filled in: else PostgreSQL may join two tables row by row."""
    tables = [one._meta.db_table for one in (LearnerContentAssignment, LearnerContentAssignmentAction)]
    if connection.vendor != "mysql":
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
