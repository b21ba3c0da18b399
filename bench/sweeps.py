"""What a sweep costs, against SQL by hand: expiring what is past its deadline, and nudging before a start."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from django.db import connection, transaction
from django.db.models import Model

from bench.dialects import HERE
from bench.scales import Scale
from bench.stage import Case, Way
from bursary.assignments import dates, expiry, reminders
from bursary.assignments.choices import ActionType, LearnerState, State, Status
from bursary.assignments.models import LearnerContentAssignment as Assignment
from bursary.assignments.models import LearnerContentAssignmentAction as Action
from bursary.budgets.models import Account, Budget
from bursary.lib.moments import FAR_FUTURE
from tests import many, world

STARTS = timedelta(days=30)
"""From the allocation to the start of its content."""


class Due(NamedTuple):
    """A budget with something due at `now`."""

    budget: Budget
    now: datetime
    nudge: dates.MailDate


_ASSIGNMENTS, _ACTIONS = Assignment._meta.db_table, Action._meta.db_table
_DUE = (
    "budget_id = %(budget)s AND state = 'allocated' AND expires_at <= %(now)s AND redeeming_since IS NULL"
    " AND grace_until IS NULL"
)
_LEFT = "learner_state = %(expired)s, remind_at = %(never)s, nudge_at = %(never)s, modified = %(now)s"


def _inserted(rows: str, *, work: str) -> str:
    """Return the statement that inserts an action for each row `a` of `rows`, in the order of keys."""
    own = {
        "uuid": HERE.uuid,
        "assignment_id": "a.id",
        "cycle": "a.cycle",
        "created": "%(now)s",
        "modified": "%(now)s",
    }
    if work:
        place = "row_number() OVER (ORDER BY a.id) - 1"
        own |= {
            "recipient": "a.learner_email",
            "due_at": HERE.later.format(place),
            "early": f"CASE WHEN {place} = 0 THEN 0 ELSE 1 END",
        }
    else:
        own["completed_at"] = "%(now)s"
    names = [str(one.column) for one in Action._meta.concrete_fields if not one.primary_key]
    values = ", ".join(own.get(name, f"%({name})s") for name in names)
    return f"INSERT INTO {_ACTIONS} ({', '.join(names)}) SELECT {values} FROM {rows} ORDER BY a.id"


def defaults(model: type[Model]) -> dict[str, Any]:
    """Return a model's defaults by column, as the database takes them."""
    fields = [one for one in model._meta.concrete_fields if not one.primary_key]
    return {str(one.column): one.get_db_prep_save(one.get_default(), connection) for one in fields}


_EXPIRED = f"{_ASSIGNMENTS} a WHERE a.budget_id = %(budget)s AND a.expired_at = %(now)s"
EXPIRE = (
    f"SELECT id FROM {Account._meta.db_table} WHERE id = %(account)s {HERE.locks}",
    f"SELECT id FROM {Budget._meta.db_table} WHERE id = %(budget)s {HERE.locks}",
    f"SELECT id FROM {_ASSIGNMENTS} WHERE {_DUE} {HERE.locks}",
    f"UPDATE {_ASSIGNMENTS} SET state = 'expired', expired_at = %(now)s, {_LEFT} WHERE {_DUE}",
    f"UPDATE {_ACTIONS} SET status = 'superseded', error_code = 'expired', due_at = NULL, early = NULL,"
    " lease_until = NULL, modified = %(now)s WHERE status = 'pending'"
    f" AND assignment_id IN (SELECT a.id FROM {_EXPIRED})",
)
FREE = (
    "UPDATE {} SET held_cents = held_cents - (SELECT sum(a.price_cents) FROM "
    + _EXPIRED
    + ") WHERE id = %({})s"
)
NUDGE_DUE = (
    f"{_ASSIGNMENTS} a WHERE a.budget_id = %(budget)s AND a.state IN ('allocated', 'accepted')"
    " AND a.nudge_at <= %(now)s AND a.redeeming_since IS NULL AND a.forgotten_at IS NULL"
)


def filled(count: int, *, after: timedelta, notified: bool = True) -> Due:
    """Return a budget with so many assignments, of notified learners, and a time so long after."""
    now = world.NOW
    budget = world.given_budget(nudge_days_before="7")
    content = world.given_content(start_date=now + STARTS)
    world.allocate(budget, content, world.ALICE, now=now)
    if notified:
        many.deliver(budget, now=now)
    many.copy(budget.assignments.get(), count - 1)
    budget.refresh_from_db()
    [nudge] = dates.nudges(budget, starts_at=now + STARTS)
    return Due(budget, now + after, nudge)


def _asked(due: Due) -> dict[str, Any]:
    return {
        **defaults(Action),
        "budget": due.budget.pk,
        "account": due.budget.account_id,
        "now": due.now,
        "never": FAR_FUTURE,
        "expired": int(LearnerState.EXPIRED),
    }


def raw_expire(due: Due) -> None:
    """Expire what is due, by hand."""
    asked = _asked(due)
    fact = asked | {"action_type": str(ActionType.EXPIRED), "status": str(Status.DONE)}
    notice = asked | {"action_type": str(ActionType.EXPIRATION_NOTIFIED), "status": str(Status.PENDING)}
    with transaction.atomic(), connection.cursor() as cursor:
        for statement in EXPIRE:
            cursor.execute(statement, asked)
        for model in (Account, Budget):
            cursor.execute(FREE.format(model._meta.db_table, model._meta.model_name), asked)
        cursor.execute(_inserted(_EXPIRED, work=""), fact)
        cursor.execute(_inserted(_EXPIRED, work="notice"), notice)


def raw_nudge(due: Due) -> None:
    """Request the nudges that are due, by hand."""
    asked = _asked(due) | {
        "action_type": str(ActionType.NUDGED),
        "status": str(Status.PENDING),
        "dedup_key": due.nudge.name,
    }
    with transaction.atomic(), connection.cursor() as cursor:
        for model in (Account, Budget):
            locked = (
                f"SELECT id FROM {model._meta.db_table} WHERE id = %({model._meta.model_name})s {HERE.locks}"
            )
            cursor.execute(locked, asked)
        cursor.execute(f"SELECT a.id FROM {NUDGE_DUE} {HERE.locks}", asked)
        unsent = (
            f"{NUDGE_DUE} AND NOT EXISTS (SELECT 1 FROM {_ACTIONS} t WHERE t.assignment_id = a.id"
            " AND t.action_type = %(action_type)s AND t.cycle = a.cycle AND t.dedup_key = %(dedup_key)s)"
        )
        cursor.execute(_inserted(unsent, work="nudge"), asked)
        which = NUDGE_DUE.removeprefix(f"{_ASSIGNMENTS} a WHERE ").replace("a.", "")
        cursor.execute(f"UPDATE {_ASSIGNMENTS} SET nudge_at = %(never)s WHERE {which}", asked)


def expire(due: Due) -> None:
    """Expire what is due."""
    expiry.expire_due(now=due.now)
    if due.budget.assignments.filter(state=State.ALLOCATED).exists():
        raise RuntimeError("Not everything has expired.")


def nudge(due: Due) -> None:
    """Request the nudges that are due."""
    reminders.nudge_due(now=due.now)


def cases(scale: Scale) -> Iterator[Case]:
    """Yield the cases of sweeps."""
    late = partial(filled, scale.due, after=timedelta(days=400))
    limits = "Inserting the actions; batches of 500, so that no lock is held for long."
    yield Case(
        "nudge",
        *_ways(nudge, raw_nudge, partial(filled, scale.due, after=timedelta(days=25))),
        size=scale.due,
        limits=limits,
    )
    yield Case("expire", *_ways(expire, raw_expire, late), size=scale.due, limits=limits)


def _ways(ours: Any, floor: Any, before: Any) -> tuple[Way, Way]:
    return Way(ours, before), Way(floor, before)
