"""The only writer of an assignment's derived columns: deadline, learner state, recent action, sort keys.

They are an index over what is true elsewhere (the allocation, the content, the budget, the actions), written
set-based in the transaction of their cause. The deadline is the least of four dates; the nearest wins, and on
equal dates the first of them in `deadline`. Where a change moves a deadline into the past, nothing expires by
it before its grace is over (decision 0005). What a change may bring forward, reminding and nudging, is looked
at anew: `remind_at` and `nudge_at` are never later than the truth.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from django.db.models import (
    Case,
    DateTimeField,
    Exists,
    F,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Value,
    When,
)
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce, Least
from django.db.models.lookups import Exact, LessThanOrEqual

from bursary.assignments import reminder_dates
from bursary.assignments.choices import ActionType, ExpiryReason, LearnerState, State, Status
from bursary.assignments.models import (
    FAR_FUTURE,
    LOOK_NOW,
    LearnerContentAssignment,
    LearnerContentAssignmentAction,
)
from bursary.budgets.models import Budget
from bursary.lib.locks import for_update
from bursary.replica import store
from bursary.replica.models import ContentMetadata
from bursary.replica.upstream_cache import AnyContent

CONTENTS_PER_STATEMENT = 200
ASSIGNMENTS_PER_STATEMENT = 1000
TITLE_KEY_LENGTH = 255
GRACE = timedelta(hours=24)
"""How long a deadline that moved into the past waits: it may be a mistake, and moved back."""

_SETTLED_BY_STATE = {State.ALLOCATED: LearnerState.NOTIFYING, State.EXPIRED: LearnerState.EXPIRED}
_OPEN = Q(state=State.ALLOCATED)
_STARTING = Q(state__in=[State.ALLOCATED, State.ACCEPTED])
_FROM_CONTENT = ("title", "start_date", "enroll_by")
_NOTIFYING_WORK = (ActionType.LEARNER_LINKED, ActionType.NOTIFIED)


def deadline(
    budget: Budget, *, content: AnyContent, allocated_at: datetime, due_date: datetime | None = None
) -> tuple[datetime, ExpiryReason]:
    """Return when an allocation ends, and which date says so (decision 0004 lists the four)."""
    return deadline_by(budget, enroll_by=content.enroll_by, allocated_at=allocated_at, due_date=due_date)


def deadline_by(
    budget: Budget, *, enroll_by: datetime | None, allocated_at: datetime, due_date: datetime | None
) -> tuple[datetime, ExpiryReason]:
    """Return the same for content whose enrolment closes, or closed once, at `enroll_by`."""
    dates = [
        (enroll_by or FAR_FUTURE, ExpiryReason.ENROLL_BY),
        (budget.ends_at or FAR_FUTURE, ExpiryReason.BUDGET_END),
        (due_date or FAR_FUTURE, ExpiryReason.DUE_DATE),
        (allocated_at + timedelta(days=budget.allocation_age_days), ExpiryReason.ALLOCATION_AGE),
    ]
    return min(dates, key=lambda dated: dated[0])


def at_allocation(
    budget: Budget, *, content: AnyContent, now: datetime, due_date: datetime | None = None
) -> dict[str, object]:
    """Return the derived columns of whatever is allocated from `budget` for `content` at `now`."""
    expires_at, expires_reason = deadline(budget, content=content, allocated_at=now, due_date=due_date)
    starts_at = content.start_date or FAR_FUTURE
    reminders = reminder_dates.reminders(budget, allocated_at=now, expires_at=expires_at)
    return {
        "age_ends_at": now + timedelta(days=budget.allocation_age_days),
        "expires_at": expires_at,
        "expires_reason": expires_reason,
        "learner_state": LearnerState.NOTIFYING,
        "recent_action_at": now,
        "grace_until": None,
        "remind_at": reminder_dates.first_look(reminders, after=now),
        "nudge_at": reminder_dates.first_look(reminder_dates.nudges(budget, starts_at=starts_at), after=now),
        "content_title": _title_key(content.title),
        "content_start": starts_at,
        "content_enroll_by": content.enroll_by or FAR_FUTURE,
    }


def at_move(target: State) -> dict[str, object]:
    """Return the derived columns that a move to `target` settles by itself."""
    settled: dict[str, object] = {
        "learner_state": _SETTLED_BY_STATE.get(target, LearnerState.NONE),
        "remind_at": FAR_FUTURE,
    }
    # Who was not told yet was not to be nudged; who accepted all the same is.
    return settled | {"nudge_at": LOOK_NOW if target == State.ACCEPTED else FAR_FUTURE}


def follow_progress(pks: Sequence[int]) -> None:
    """Rewrite learner state and recent action of these assignments from their state and actions.

    Who was not reminded because they had not been told yet is looked at again.
    """
    waited = {
        name: Case(When(_OPEN, **{name: FAR_FUTURE}, then=Value(LOOK_NOW)), default=F(name))
        for name in ("remind_at", "nudge_at")
    }
    for start in range(0, len(pks), ASSIGNMENTS_PER_STATEMENT):
        chunk = pks[start : start + ASSIGNMENTS_PER_STATEMENT]
        LearnerContentAssignment.objects.filter(pk__in=chunk).update(
            learner_state=_learner_state(), recent_action_at=_recent_action_at(), **waited
        )


def look_again(
    moments: Mapping[LearnerContentAssignment, datetime], *, column: Literal["remind_at", "nudge_at"]
) -> None:
    """Write when each of these locked assignments is looked at next."""
    for assignment, moment in moments.items():
        setattr(assignment, column, moment)
    LearnerContentAssignment.objects.bulk_update(moments, [column], batch_size=ASSIGNMENTS_PER_STATEMENT)


def follow_content(*, pks: Iterable[int], now: datetime, **_signal: object) -> None:
    """Rewrite sort keys, and open assignments' deadlines. Receives `content_changed`."""
    wanted = sorted(pks)
    for start in range(0, len(wanted), CONTENTS_PER_STATEMENT):
        assigned = LearnerContentAssignment.objects.filter(content=OuterRef("pk"))
        contents = ContentMetadata.objects.filter(
            Exists(assigned), pk__in=wanted[start : start + CONTENTS_PER_STATEMENT]
        )
        concerned = list(contents.only("pk", *_FROM_CONTENT))
        if concerned:
            _follow_contents(concerned, now=now)


def follow_budgets(*, pks: Iterable[int], now: datetime, **_signal: object) -> None:
    """Rewrite open assignments' deadlines. Receives `budget_changed`."""
    for budget in Budget.objects.filter(pk__in=list(pks)):
        age_ends_at = F("allocated_at") + Value(timedelta(days=budget.allocation_age_days))
        deadlines = _deadline_columns(
            age_ends_at=age_ends_at,
            enroll_by=F("content_enroll_by"),
            budget_end=Value(budget.ends_at or FAR_FUTURE),
            now=now,
        )
        assignments = LearnerContentAssignment.objects.filter(budget=budget)
        assignments.filter(_OPEN).update(
            **deadlines, age_ends_at=age_ends_at, remind_at=LOOK_NOW, nudge_at=LOOK_NOW
        )
        assignments.filter(state=State.ACCEPTED).update(nudge_at=LOOK_NOW)


def rebuild(pks: Sequence[int], *, now: datetime) -> None:
    """Rewrite every derived column of these assignments, as far as it is followed (decision 0010).

    Call it inside a transaction, with at most `CONTENTS_PER_STATEMENT` of them: it locks their content, their
    budgets and them. What a correct deadline leaves in the past has its grace, as after any other change.
    """
    rows = LearnerContentAssignment.objects.filter(pk__in=pks)
    concerned = list(rows.values_list("content", "budget"))
    held = ContentMetadata.objects.filter(pk__in={content for content, _budget in concerned if content})
    contents = list(store.locked(held.order_by("content_key")).only("pk", *_FROM_CONTENT))
    budgets = _locked_budgets({budget for _content, budget in concerned})
    list(for_update(rows).order_by("pk").values_list("pk"))
    if contents:
        rows.filter(content__in=contents).update(**_content_columns(contents))
    if not budgets:
        return
    ages = (
        When(budget=budget, then=F("allocated_at") + Value(timedelta(days=budget.allocation_age_days)))
        for budget in budgets
    )
    rows.filter(_OPEN).update(age_ends_at=Case(*ages, default=F("age_ends_at")))
    deadlines = _deadline_columns(
        age_ends_at=F("age_ends_at"), enroll_by=F("content_enroll_by"), budget_end=_budget_end(), now=now
    )
    rows.filter(_OPEN).update(**deadlines, remind_at=LOOK_NOW)
    rows.filter(_STARTING).update(nudge_at=LOOK_NOW)
    follow_progress(pks)


def join(content: ContentMetadata, *, pks: Sequence[int], now: datetime) -> int:
    """Give these assignments, if they have none, the content of their key, with what is derived from it.

    Call it inside a transaction, with the content locked; at most `ASSIGNMENTS_PER_STATEMENT` pks. Returns
    how many were joined. What moves a deadline into the past has its grace, as with any change of content.
    """
    unjoined = LearnerContentAssignment.objects.filter(
        pk__in=pks, content=None, content_key=content.content_key
    )
    _lock_budgets_of(unjoined)
    locked = list(for_update(unjoined).order_by("pk").values_list("pk", flat=True))
    joined = LearnerContentAssignment.objects.filter(pk__in=locked)
    joined.update(content=content)
    if content.parent:
        joined.filter(parent_content_key="").update(parent_content_key=content.parent.content_key)
    _follow(joined, [content], now=now)
    return len(locked)


def _follow_contents(contents: Sequence[ContentMetadata], *, now: datetime) -> None:
    """Rewrite what is derived from these contents, wherever they are assigned."""
    assigned = LearnerContentAssignment.objects.filter(content__in=[content.pk for content in contents])
    _lock_budgets_of(assigned)
    _follow(assigned, contents, now=now)


def _lock_budgets_of(assignments: QuerySet[LearnerContentAssignment]) -> None:
    """Lock them before the assignments, after the content (the lock order): a statement that waited for rows
    would read a budget's end as it was when the waiting began; and whoever holds a budget locks assignments
    in an order of their own.
    """
    _locked_budgets(assignments.values("budget"))


def _follow(
    assignments: QuerySet[LearnerContentAssignment], contents: Sequence[ContentMetadata], *, now: datetime
) -> None:
    """One statement. MySQL sees columns already written by it: nothing reads what was written before it."""
    columns = _content_columns(contents)
    while_open = {
        **_deadline_columns(
            age_ends_at=F("age_ends_at"),
            enroll_by=columns["content_enroll_by"],
            budget_end=_budget_end(),
            now=now,
        ),
        "remind_at": Value(LOOK_NOW),
    }
    assignments.update(
        **{name: Case(When(_OPEN, then=value), default=F(name)) for name, value in while_open.items()},
        nudge_at=Case(When(_STARTING, then=Value(LOOK_NOW)), default=F("nudge_at")),
        **columns,
    )


def _locked_budgets(pks: Collection[int] | QuerySet[Any, Any]) -> list[Budget]:
    return list(for_update(Budget.objects.all()).filter(pk__in=pks).order_by("pk"))


def _budget_end() -> Coalesce:
    return Coalesce(
        Subquery(Budget.objects.filter(pk=OuterRef("budget_id")).values("ends_at")[:1]), FAR_FUTURE
    )


def _content_columns(contents: Sequence[ContentMetadata]) -> dict[str, Case]:
    """Return the sort keys, for assignments of these contents."""
    return {
        "content_title": _by_content({content.pk: _title_key(content.title) for content in contents}),
        "content_start": _by_content({content.pk: content.start_date or FAR_FUTURE for content in contents}),
        "content_enroll_by": _by_content({one.pk: one.enroll_by or FAR_FUTURE for one in contents}),
    }


def _by_content(values: Mapping[int, object]) -> Case:
    return Case(*(When(content=pk, then=Value(value)) for pk, value in values.items()))


def _deadline_columns(
    *, age_ends_at: Combinable, enroll_by: Combinable, budget_end: Combinable, now: datetime
) -> dict[str, Combinable]:
    """Return `deadline()` as SQL, for columns that agree with it to the letter.

    The grace comes first: it compares with the deadline before.
    """
    due_date = Coalesce(F("due_date"), FAR_FUTURE)
    dates: list[tuple[Combinable, ExpiryReason]] = [
        (enroll_by, ExpiryReason.ENROLL_BY),
        (budget_end, ExpiryReason.BUDGET_END),
        (due_date, ExpiryReason.DUE_DATE),
        (age_ends_at, ExpiryReason.ALLOCATION_AGE),
    ]
    least = Least(*(date for date, _reason in dates))
    into_the_past = Q(LessThanOrEqual(least, Value(now)), expires_at__gt=now)
    return {
        "grace_until": Case(
            When(into_the_past, then=Value(now + GRACE)),
            When(LessThanOrEqual(least, Value(now)), then=F("grace_until")),
            default=Value(None, output_field=DateTimeField()),
        ),
        "expires_at": least,
        "expires_reason": Case(
            *(When(Exact(date, least), then=Value(reason)) for date, reason in dates[:-1]),
            default=Value(ExpiryReason.ALLOCATION_AGE),
        ),
    }


def _learner_state() -> Case:
    """Return the clients' word for the current cycle: see the table in docs/glossary.md."""
    actions = LearnerContentAssignmentAction.objects.filter(
        assignment=OuterRef("pk"), cycle=OuterRef("cycle"), action_type__in=_NOTIFYING_WORK
    )
    retries = LearnerContentAssignmentAction.objects.filter(retry_of=OuterRef("pk"))
    failed = actions.filter(~Exists(retries), status=Status.FAILED)
    notified = actions.filter(action_type=ActionType.NOTIFIED, status=Status.DONE)
    return Case(
        When(Q(state=State.EXPIRED), then=Value(LearnerState.EXPIRED)),
        When(~Q(state=State.ALLOCATED), then=Value(LearnerState.NONE)),
        When(Exists(failed), then=Value(LearnerState.FAILED)),
        When(Exists(notified), then=Value(LearnerState.WAITING)),
        default=Value(LearnerState.NOTIFYING),
    )


def _recent_action_at() -> Coalesce:
    """Return the last allocation or successful reminder, whichever came later."""
    reminders = LearnerContentAssignmentAction.objects.filter(
        assignment=OuterRef("pk"),
        cycle=OuterRef("cycle"),
        action_type=ActionType.REMINDED,
        status=Status.DONE,
    ).order_by("-completed_at")
    return Coalesce(Subquery(reminders.values("completed_at")[:1]), F("allocated_at"))


def _title_key(title: str) -> str:
    return title.casefold()[:TITLE_KEY_LENGTH]
