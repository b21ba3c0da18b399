"""Assignments for answers of the API: only the shown columns are loaded, and timelines as plain rows.

Complete model instances with budget, content and actions take five times as long to load.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple, cast
from uuid import UUID

from django.db.models import Q, QuerySet

from bursary.access import known_learners
from bursary.assignments import content_display, dates, derived, learner_accounts, offers
from bursary.assignments.current_failures import newest_current
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.assignments.offers import Offer
from bursary.budgets.models import Budget
from bursary.lib.batches import chunks
from bursary.lib.moments import FAR_FUTURE
from bursary.lib.prepared import Parameter, PreparedSelect
from bursary.replica import joining, reads

JOIN_BY_COLUMN = "content_enroll_by"
"""Sorted and filtered by one column; shown as `join_by`. FAR_FUTURE, no date, matches no filter."""

ROWS_PER_QUERY = 5000

COLUMNS = (
    *("uuid", "budget", "content", "content_key", "parent_content_key", "content_title", "content_start"),
    *("learner_email", "lms_user_id", "price_cents", "state", "cycle", "transaction_uuid"),
    *("allocated_at", "redeeming_since", "expires_at", "expires_reason", "learner_state", "recent_action_at"),
    *("age_ends_at", "due_date", "extended_until", JOIN_BY_COLUMN),
)
"""The columns of an assignment that are loaded."""

CONTENT_COLUMNS = (
    *("content_key", "content_type", "title", "start_date", "end_date", "enroll_by", "price_cents"),
    *("course_type", "partners", "checked_at"),
    *("parent_key", "completeness", "advertised_run", "offered", "enrollable", "enroll_start"),
)
"""The columns of its content."""


class ShownAction(NamedTuple):
    """An action of a timeline, its fields named like the columns."""

    pk: int
    created: datetime
    modified: datetime
    uuid: UUID
    action_type: str
    completed_at: datetime | None
    error_reason: str
    status: str
    error_code: str
    cycle: int
    retry_of_id: int | None


@dataclass(frozen=True, slots=True)
class ShownAssignment:
    """An assignment of which `COLUMNS` are loaded, with budget and content, and its actions in order.

    `offer` is what the budget's catalog offers of its content: None where it is not known by the replica's
    row, or was not looked at.
    """

    row: LearnerContentAssignment
    actions: Sequence[ShownAction]
    offer: Offer | None

    def current_failure(self) -> ShownAction | None:
        """Return its newest current failure, if any."""
        return newest_current(self.actions, cycle=self.row.cycle)


def load(
    found: Sequence[LearnerContentAssignment], *, now: datetime, with_join_by: bool = True
) -> list[ShownAssignment]:
    """Return these assignments, which are `annotated`, with budgets, content and actions. Three queries.

    `join_by` looks at the runs of each: leave it out where it is not shown, and they are thousands. Where the
    read mode is upstream, content is fetched too, fifty keys a call (`content_display`).
    """
    used = {one.budget_id for one in found}  # many share one
    budgets = {budget.pk: budget for budget in _budgets.read(pks=used)} if used else {}
    for one in found:
        one.budget = budgets[one.budget_id]
    offered = _set_in_catalog(found, now=now, with_join_by=with_join_by)
    content_display.load_shown_content(found, now=now)
    actions: dict[int, list[ShownAction]] = defaultdict(list)
    for assignment, *columns in _timelines.read(assignments=[row.pk for row in found]) if found else ():
        actions[assignment].append(ShownAction._make(columns))
    return [ShownAssignment(row, actions.get(row.pk, ()), offered.get(row.pk)) for row in found]


def load_all(
    pks: Sequence[int], *, now: datetime, with_join_by: bool = True, with_account_ended: bool = True
) -> list[ShownAssignment]:
    """Return the assignments with these primary keys, in this order, as `load` does. Four queries for 5,000.

    `account_ended` looks at the accounts of each: leave it out where it is not shown, too.
    """
    found: dict[int, ShownAssignment] = {}
    for chunk in chunks(pks, ROWS_PER_QUERY):
        rows = _NAMED[with_account_ended].read(pks=chunk)
        found |= {one.row.pk: one for one in load(rows, now=now, with_join_by=with_join_by)}
    return [found[pk] for pk in pks if pk in found]


def annotated(
    rows: QuerySet[LearnerContentAssignment], *, with_account_ended: bool = False
) -> QuerySet[LearnerContentAssignment]:
    """Return these assignments with their content, and `COLUMNS` alone."""
    columns = (*COLUMNS, *(f"content__{name}" for name in CONTENT_COLUMNS))
    # Most learners of an allocation have no id that could be shown: of these, nothing else is looked at.
    learns_here = Q(lms_user_id__isnull=False) & known_learners.learns_at("budget__customer")
    found = rows.select_related("content").only(*columns).annotate(learns_here=learns_here)
    return found.annotate(account_ended=learner_accounts.ended_column()) if with_account_ended else found


_THESE = LearnerContentAssignment.objects.filter(pk__in=Parameter("pks", LearnerContentAssignment._meta.pk))
_NAMED = {
    ended: PreparedSelect(partial(annotated, _THESE.order_by(), with_account_ended=ended))
    for ended in (False, True)
}


@PreparedSelect
def _budgets() -> QuerySet[Budget]:
    these = Budget.objects.filter(pk__in=Parameter("pks", Budget._meta.pk))
    return these.select_related("customer", "account").order_by()


@PreparedSelect
def _timelines() -> QuerySet[LearnerContentAssignmentAction, Any]:
    """Return what is shown of the actions of these assignments."""
    assignments = Parameter("assignments", LearnerContentAssignment._meta.pk)
    rows = LearnerContentAssignmentAction.objects.filter(assignment__in=assignments).timeline()
    return rows.values_list("assignment", *ShownAction._fields)


def _set_in_catalog(
    rows: Sequence[LearnerContentAssignment], *, now: datetime, with_join_by: bool
) -> dict[int, Offer]:
    """Set on each whether its catalog holds the content (`derived.in_catalog`), and until when to join it.

    Return the offers, where runs were looked at for that.
    """
    offered: dict[int, Offer] = {}
    held = joining.held_content(
        {one.content.content_key for one in rows if one.content},
        catalogs={one.budget.catalog_uuid for one in rows},
        with_runs=with_join_by,
    )
    for one in rows:
        catalog, row = one.budget.catalog_uuid, cast("Any", one)
        row.in_catalog = (catalog, one.content_id) in held.contents
        if not with_join_by:
            continue
        date = one.content_enroll_by
        if row.in_catalog and one.content:
            runs = held.runs.get((catalog, one.content.content_key), ())
            offer = offered[one.pk] = offers.of_row(one.content, runs=runs, in_catalog=True)
            # `derived.join_by_sql`: the rule in Python.
            must_open_before = dates.deadline_without_enroll_by(one, age_ends_at=one.age_ends_at)
            date = offer.join_by(now=derived.joinable_from(one, now=now), must_open_before=must_open_before)
        row.join_by = None if date == FAR_FUTURE else date
    if reads.are_from_upstream():
        return {}
    return {pk: offer for pk, offer in offered.items() if not joining.lacks_runs(offer.content)}
