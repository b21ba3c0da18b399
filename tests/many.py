"""Many assignments of one budget, made by a few statements of PostgreSQL: a year of them, in every status."""

from django.db import connection, models

from bursary.assignments.choices import ActionType, ErrorReason, LearnerState, Status
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.budgets.models import Budget
from tests import world

COURSES = 20
EVERY_FAILURE = 50
"""Of so many assignments, the mail of one could not be sent."""
EVERY_REFUND = 1000

_ADDRESS = "'learner-' || number || '@many.example'"
_KEY = f"encode(sha256(({_ADDRESS})::bytea), 'hex')"
_ALLOCATED = "now() - (number % 360) * interval '1 day' - number * interval '1 second'"
_FAILED, _REFUNDED = f"number % {EVERY_FAILURE} = 1", f"number % {EVERY_REFUND} = 2"
_STATUS = "(number / 7) % 20"
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
    for number in range(COURSES):
        content = world.given_content(title=f"Course {number}")
        world.allocate(budget, content, f"first-{number}@many.example")
    world.deliver()
    templates = sorted(budget.assignments.values_list("pk", flat=True))
    table, actions = LearnerContentAssignment._meta.db_table, LearnerContentAssignmentAction._meta.db_table

    def template(number: str) -> str:
        return f"(ARRAY{templates})[1 + {number} % {COURSES}]"

    _copy(
        LearnerContentAssignment,
        f"{table} t JOIN generate_series(1, {count - COURSES}) number ON t.id = {template('number')}",
        {
            "uuid": "gen_random_uuid()",
            "learner_email": _ADDRESS,
            "learner_key": _KEY,
            "mailbox_key": _KEY,
            "state": _STATE,
            "learner_state": _LEARNER_STATE,
            "allocated_at": _ALLOCATED,
            "recent_action_at": f"{_ALLOCATED} + interval '3 days'",
            "expires_at": "now() + (number % 90) * interval '1 day' + number * interval '1 second'",
            "price_cents": "5000 + 100 * (number % 90)",
            **{f"{name}_at": _ALLOCATED for name in ("accepted", "cancelled", "expired", "reversed")},
        },
    )
    _copy(
        LearnerContentAssignmentAction,
        f"{table} a JOIN {actions} t ON t.assignment_id = {template('a.id')} "
        f"WHERE a.budget_id = {budget.pk} AND a.id > {max(templates)}",
        {"uuid": "gen_random_uuid()", "assignment_id": "a.id", "recipient": "a.learner_email"},
    )
    mails = LearnerContentAssignmentAction.objects.filter(action_type=ActionType.NOTIFIED)
    why = {"error_reason": ErrorReason.EMAIL_ERROR, "error_code": "address_rejected"}
    mails.filter(assignment__learner_state=LearnerState.FAILED).update(status=Status.FAILED, **why)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def _copy(model: type[models.Model], source: str, changed: dict[str, str]) -> None:
    names = [str(one.column) for one in model._meta.concrete_fields if not one.primary_key]
    values = ", ".join(changed.get(name, f"t.{name}") for name in names)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {model._meta.db_table} ({', '.join(names)}) SELECT {values} FROM {source}"
        )
