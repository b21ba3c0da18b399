"""The only writer of an assignment's derived columns: deadline, learner state, recent action, sort keys.

They are computed from the allocation, the content, the budget and the actions, and written by set-based
updates in the transaction that changes one of these. After a change brought its deadline forward, an
assignment does not expire before its grace has passed (decision 0005). `remind_at` and `nudge_at` are never
later than the next reminder or nudge: after a change that may bring it forward, the assignment is checked
again.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal
from uuid import UUID

from django.db.models import (
    Case,
    DateTimeField,
    Exists,
    ExpressionWrapper,
    F,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Value,
    When,
)
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce, Greatest, Least

from bursary.assignments import dates, offers, repointing
from bursary.assignments.choices import (
    IN_FORCE,
    LINK_AND_NOTIFY,
    UNFINISHED,
    ActionType,
    LearnerState,
    State,
    Status,
)
from bursary.assignments.models import CHECK_NOW, LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.assignments.offers import Offer
from bursary.budgets.models import Budget
from bursary.lib import updates
from bursary.lib.batches import chunks
from bursary.lib.locks import for_update, locked_in_order
from bursary.lib.moments import FAR_FUTURE, MICROSECOND
from bursary.lib.prepared import Parameter, PreparedUpdate, as_expression
from bursary.replica import joining
from bursary.replica.models import CatalogMembership, ContentMetadata, ContentType

CONTENTS_PER_STATEMENT = 200
ASSIGNMENTS_PER_STATEMENT = 1000
TITLE_KEY_LENGTH = 255


_OPEN = Q(state=State.ALLOCATED)
_NUDGEABLE = Q(state__in=IN_FORCE)
_FROM_CONTENT = ("title", "start_date", "parent_key")


def at_allocation(
    budget: Budget, *, offer: Offer, now: datetime, due_date: datetime | None = None
) -> dict[str, object]:
    """Return the derived columns of an assignment that is allocated from `budget` at `now`."""
    content = offer.content
    must_open_before = dates.deadline_without_enroll_by_at_allocation(budget, now=now, due_date=due_date)
    join_by = offer.join_by(now=now, must_open_before=must_open_before)
    expires_at, expires_reason = dates.deadline(budget, join_by=join_by, allocated_at=now, due_date=due_date)
    starts_at = content.start_date or FAR_FUTURE
    reminders = dates.reminders(budget, allocated_at=now, expires_at=expires_at)
    nudges = dates.nudges(budget, starts_at=starts_at)
    return {
        "age_ends_at": now + timedelta(days=budget.allocation_age_days),
        "expires_at": expires_at,
        "expires_reason": expires_reason,
        "learner_state": LearnerState.NOTIFYING,
        "recent_action_at": now,
        "grace_until": None,
        "remind_at": dates.first(reminders, after=now),
        "nudge_at": dates.first(nudges, after=now),
        "content_title": title_key(content.title),
        "content_start": starts_at,
        "content_enroll_by": join_by,
    }


def at_move(action_type: ActionType) -> dict[str, object]:
    """Return the derived columns that a move decides."""
    learner_states = {
        ActionType.ALLOCATED: LearnerState.NOTIFYING,
        ActionType.EXPIRED: LearnerState.EXPIRED,
        ActionType.DECLINED: LearnerState.DECLINED,
    }
    return {
        "learner_state": learner_states.get(action_type, LearnerState.NONE),
        "remind_at": FAR_FUTURE,
        # An open assignment is not nudged before its learner was notified; once accepted it is.
        "nudge_at": CHECK_NOW if action_type == ActionType.REDEEMED else FAR_FUTURE,
    }


def recompute_progress(pks: Sequence[int]) -> None:
    """Recompute learner state and recent action of these assignments from their state and actions.

    Open ones that had to wait for the learner's notification are checked again for reminders and nudges.
    """
    if len(pks) == 1:  # as after each mail
        _progress_of_one.run(pk=pks[0])
        return
    for chunk in chunks(pks, ASSIGNMENTS_PER_STATEMENT):
        LearnerContentAssignment.objects.filter(pk__in=chunk).update(**_progress())


def write_next_checks(
    checks: Mapping[LearnerContentAssignment, datetime], *, column: Literal["remind_at", "nudge_at"]
) -> None:
    """Write when each of these locked assignments of a sweep is next checked for a reminder or nudge."""
    for assignment, check_at in checks.items():
        setattr(assignment, column, check_at)
    check_at_of = {assignment.pk: check_at for assignment, check_at in checks.items()}
    rows = LearnerContentAssignment.objects.filter(pk__in=check_at_of)
    rows.update(**{column: updates.by_key(check_at_of)})


def recompute_for_content(
    *,
    pks: Iterable[int],
    now: datetime,
    repointed: Iterable[tuple[UUID, int, int]] = (),
    renamed: Mapping[str, str] | None = None,
    **_signal: object,
) -> None:
    """Recompute sort keys, and deadlines of open assignments. Receives `content_changed`.

    If a catalog now holds another row of the content, with other runs (restricted ones) or another key, the
    assignments of its budgets are changed to refer to that row.
    """
    for old, new in (renamed or {}).items():
        repointing.rename_key(old, new, among=LearnerContentAssignment.objects.all())
    for catalog_uuid, old_pk, new_pk in repointed:
        rows = LearnerContentAssignment.objects.filter(content=old_pk, budget__catalog_uuid=catalog_uuid)
        _locked_budgets(rows.values("budget"))
        repointing.repoint(old_pk, new_pk, budgets=Budget.objects.filter(catalog_uuid=catalog_uuid))
    for chunk in chunks(sorted(pks), CONTENTS_PER_STATEMENT):
        if contents := list(offers.assigned_rows(chunk).only("pk", *_FROM_CONTENT)):
            assignments = LearnerContentAssignment.objects.filter(in_catalog(), content__in=contents)
            _locked_budgets(assignments.values("budget"))
            _write_content(assignments, contents, now=now)
            _deadlines_of_contents.run(contents=[one.pk for one in contents], now=now)


def recompute_for_budgets(*, pks: Iterable[int], now: datetime, **_signal: object) -> None:
    """Recompute the deadlines of these budgets' open assignments. Receives `budget_changed`."""
    for budget in Budget.objects.filter(pk__in=list(pks)):
        age_ends_at = F("allocated_at") + Value(timedelta(days=budget.allocation_age_days))
        assignments = LearnerContentAssignment.objects.filter(budget=budget)
        assignments.filter(_OPEN).update(age_ends_at=age_ends_at)
        for chunk in chunks(repointing.repoint_to_catalog(budget, now=now), CONTENTS_PER_STATEMENT):
            affected = assignments.filter(content__in=chunk)
            _write_content(affected, chunk, now=now)
            _write_deadlines(affected, now=now)
        assignments.filter(in_catalog() | Q(content=None)).update(content_enroll_by=join_by_sql(now=now))
        _write_deadlines(assignments, now=now)
        assignments.filter(_NUDGEABLE).update(nudge_at=CHECK_NOW)


def recompute_deadlines(pks: Sequence[int], *, now: datetime) -> None:
    """Recompute the deadlines of these open assignments, of one budget, after `extended_until` was written.

    Call it inside a transaction, with their content, their budget and them locked.
    """
    _join_by_of_these.run(pks=pks, now=now)
    _deadlines_of_these.run(pks=pks, now=now)


def rebuild(pks: Sequence[int], *, now: datetime) -> None:
    """Recompute the derived columns of these assignments that are maintained in their state (decision 0010).

    Call it inside a transaction, for at most `CONTENTS_PER_STATEMENT` assignments: it locks their content,
    their budgets and them. A deadline that is brought forward has its grace, as after any other change.
    """
    rows = LearnerContentAssignment.objects.filter(pk__in=pks)
    pairs = list(rows.values_list("content", "budget"))
    assigned = ContentMetadata.objects.filter(pk__in={content for content, _budget in pairs if content})
    contents = list(locked_in_order(assigned).only("pk", *_FROM_CONTENT))
    budgets = _locked_budgets({budget for _content, budget in pairs})
    list(for_update(rows).order_by("pk").values_list("pk"))
    if not budgets:
        return
    ages = (
        When(budget=budget, then=F("allocated_at") + Value(timedelta(days=budget.allocation_age_days)))
        for budget in budgets
    )
    rows.filter(_OPEN).update(age_ends_at=Case(*ages, default=F("age_ends_at")))
    if contents:
        rows.filter(in_catalog(), content__in=contents).update(**_content_columns(contents, now=now))
    _deadlines_of_these.run(pks=pks, now=now)
    rows.filter(_NUDGEABLE).update(nudge_at=CHECK_NOW)
    recompute_progress(pks)


def attach(content: ContentMetadata, *, pks: Sequence[int], now: datetime) -> int:
    """Set the content of these assignments, where it is NULL, to the row that their catalog holds.

    Derived columns are rewritten. Call it inside a transaction, with the content locked and at most
    `ASSIGNMENTS_PER_STATEMENT` pks. Return the number of attached assignments.
    """
    unattached = LearnerContentAssignment.objects.filter(pk__in=pks, content=None)
    _locked_budgets(unattached.values("budget"))
    locked = list(for_update(unattached).order_by("pk").values_list("pk", flat=True))
    attached = LearnerContentAssignment.objects.filter(pk__in=locked)
    attached.update(content=content)
    _write_content(attached, [content], now=now)
    _deadlines_of_these.run(pks=locked, now=now)
    return len(locked)


def in_catalog() -> Exists:
    """Return the condition on assignments that the budget's catalog holds their content.

    Where it does not, derived columns stay as they are: later changes of the row concern other catalogs.
    """
    # Not `budget__catalog_uuid`: with a join, MySQL reads all keys before each update.
    budget = Budget.objects.filter(pk=OuterRef(OuterRef("budget_id")))
    memberships = CatalogMembership.objects.filter(catalog_uuid=Subquery(budget.values("catalog_uuid")[:1]))
    return Exists(memberships.filter(content=OuterRef("content_id")))


def title_key(title: str) -> str:
    """Return the key by which a title is sorted."""
    return title.casefold()[:TITLE_KEY_LENGTH]


def _write_content(
    assignments: QuerySet[LearnerContentAssignment], contents: Sequence[ContentMetadata], *, now: datetime
) -> None:
    """Write the columns derived from these contents, except the deadlines, with the budgets locked.

    In one statement for all of them. The deadlines need another one, which reads a column written here.
    """
    checked = Case(When(_NUDGEABLE, then=Value(CHECK_NOW)), default=F("nudge_at"))
    assignments.update(**_content_columns(contents, now=now), nudge_at=checked)


def _write_deadlines(assignments: QuerySet[LearnerContentAssignment], *, now: datetime) -> None:
    """Write the deadlines of open assignments, from their other columns and their budgets' end."""
    assignments.filter(_OPEN).update(**_deadlines(now=now))


def _deadlines(*, now: datetime | Parameter) -> dict[str, object]:
    ends_at = Budget.objects.filter(pk=OuterRef("budget_id")).values("ends_at")[:1]
    columns = dates.deadline_columns(
        age_ends_at=F("age_ends_at"),
        join_by=F("content_enroll_by"),
        budget_end=Coalesce(Subquery(ends_at), FAR_FUTURE),
        now=now,
    )
    return {**columns, "remind_at": CHECK_NOW}


def _locked_budgets(pks: Collection[int] | QuerySet[Any, Any]) -> list[Budget]:
    """Lock and return budgets: after the content and before the assignments (the lock order).

    Without this lock, an update that waits for assignments would use a budget's end from before the wait, and
    might deadlock with holders of a budget's lock, which lock assignments in other orders.
    """
    return list(for_update(Budget.objects.all()).filter(pk__in=pks).order_by("pk"))


def joinable_from(one: LearnerContentAssignment, *, now: datetime) -> datetime:
    """Return the instant up to which a run that has closed does not count for an assignment's deadline.

    It is now, but never before the allocation. Once `content_enroll_by` has passed, it is the moment before
    that, so that computing a deadline again after it has passed gives the same deadline.
    """
    return max(one.allocated_at, min(now, one.content_enroll_by - MICROSECOND))


def join_by_sql(*, now: datetime | Parameter) -> Coalesce:
    """Return `joining.join_by` as SQL for assignments: by the runs of their content in their catalogs.

    An assignment with `content` NULL keeps the `content_enroll_by` that was computed at its allocation.
    """
    passed = ExpressionWrapper(OuterRef("content_enroll_by") - Value(MICROSECOND), DateTimeField())
    since = Greatest(OuterRef("allocated_at"), Least(as_expression(now), passed))  # `joinable_from`
    budget = Budget.objects.filter(pk=OuterRef(OuterRef("budget_id")))
    course = ContentMetadata.objects.filter(pk=OuterRef(OuterRef("content_id")))
    budget_end = Coalesce(Subquery(budget.values("ends_at")[:1]), FAR_FUTURE)
    must_open_before = dates.deadline_without_enroll_by_sql(budget_end=budget_end)
    runs = CatalogMembership.objects.filter(
        content__content_type=ContentType.COURSERUN,
        content__parent_key=Subquery(course.values("content_key")[:1]),
        catalog_uuid=Subquery(budget.values("catalog_uuid")[:1]),
    ).annotate(closes=joining.closing_sql(prefix="content__"))
    joinable = runs.filter(
        joining.open_runs(now=since, must_open_before=must_open_before, prefix="content__")
    )
    own = ContentMetadata.objects.filter(pk=OuterRef("content_id")).annotate(closes=joining.closing_sql())
    passed_course = Q(content_type=ContentType.COURSE, closes__lte=since)
    return Coalesce(
        *(Subquery(some.order_by("-closes").values("closes")[:1]) for some in (joinable, runs)),
        Subquery(own.values(bound=Case(When(passed_course, then=FAR_FUTURE), default=F("closes")))[:1]),
        F("content_enroll_by"),
    )


def _content_columns(contents: Sequence[ContentMetadata], *, now: datetime) -> dict[str, Combinable]:
    """Return the sort keys, and the keys of runs' courses, for assignments of these contents."""
    by_content = partial(updates.by_key, key="content")
    courses = {one.pk: one.parent_key for one in contents if one.parent_key}
    moved = {"parent_content_key": by_content(courses, default=F("parent_content_key"))} if courses else {}
    return moved | {
        "content_title": by_content({one.pk: title_key(one.title) for one in contents}),
        "content_start": by_content({one.pk: one.start_date or FAR_FUTURE for one in contents}),
        "content_enroll_by": join_by_sql(now=now),
    }


def _progress() -> dict[str, Combinable]:
    reminders = LearnerContentAssignmentAction.objects.filter(
        assignment=OuterRef("pk"),
        cycle=OuterRef("cycle"),
        action_type=ActionType.REMINDED,
        status=Status.DONE,
    ).order_by("-completed_at")
    # The last allocation or successful reminder, whichever is later.
    recent_action_at = Coalesce(Subquery(reminders.values("completed_at")[:1]), F("allocated_at"))
    waited = {
        name: Case(When(_OPEN, **{name: FAR_FUTURE}, then=Value(CHECK_NOW)), default=F(name))
        for name in ("remind_at", "nudge_at")
    }
    return {"learner_state": _learner_state(), "recent_action_at": recent_action_at, **waited}


_NOW = Parameter("now", DateTimeField())
_THESE = Q(pk__in=Parameter("pks", LearnerContentAssignment._meta.pk))


_Update = tuple[QuerySet[LearnerContentAssignment], Mapping[str, object]]


@PreparedUpdate
def _join_by_of_these() -> _Update:
    rows = LearnerContentAssignment.objects.filter(_THESE, in_catalog())
    return rows, {"content_enroll_by": join_by_sql(now=_NOW)}


@PreparedUpdate
def _deadlines_of_these() -> _Update:
    return LearnerContentAssignment.objects.filter(_THESE, _OPEN), _deadlines(now=_NOW)


@PreparedUpdate
def _deadlines_of_contents() -> _Update:
    contents = Parameter("contents", ContentMetadata._meta.pk)
    rows = LearnerContentAssignment.objects.filter(in_catalog(), _OPEN, content__in=contents)
    return rows, _deadlines(now=_NOW)


@PreparedUpdate
def _progress_of_one() -> _Update:
    pk = Parameter("pk", LearnerContentAssignment._meta.pk)
    return LearnerContentAssignment.objects.filter(pk=pk), _progress()


def _learner_state() -> Case:
    """Return the number of the current cycle's `LearnerState`: see the table in docs/glossary.md."""
    in_cycle = LearnerContentAssignmentAction.objects.filter(
        assignment=OuterRef("pk"), cycle=OuterRef("cycle")
    )
    declined = in_cycle.filter(action_type=ActionType.DECLINED)
    actions = in_cycle.filter(action_type__in=LINK_AND_NOTIFY)
    mails = actions.filter(action_type=ActionType.NOTIFIED)
    notified = mails.filter(status=Status.DONE)
    skipped = ~Exists(mails.filter(status__in=UNFINISHED)) & Exists(mails.filter(status=Status.SKIPPED))
    return Case(
        When(Q(state=State.EXPIRED), then=Value(LearnerState.EXPIRED)),
        When(Q(Exists(declined), state=State.CANCELLED), then=Value(LearnerState.DECLINED)),
        When(~Q(state=State.ALLOCATED), then=Value(LearnerState.NONE)),
        When(Exists(actions.unresolved_failures()), then=Value(LearnerState.FAILED)),
        When(Exists(notified), then=Value(LearnerState.WAITING)),
        When(skipped, then=Value(LearnerState.FAILED)),
        default=Value(LearnerState.NOTIFYING),
    )
