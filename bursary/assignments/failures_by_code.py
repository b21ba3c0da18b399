"""Failed work that can be repaired, by error code: of how many assignments, and what can be done about it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, DateTimeField, Min, Q, QuerySet

from bursary.assignments import failures
from bursary.assignments.choices import APPLIES_IN, END_MAILS, ActionType
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.budgets.models import Budget
from bursary.lib.prepared import Parameter, prepared_select


def by_error_code(failed: QuerySet[LearnerContentAssignmentAction]) -> QuerySet[Any, Any]:
    """Return each error code of this failed work with its number of assignments, most frequent first."""
    counts = failed.order_by().values_list("error_code").annotate(count=Count("assignment", distinct=True))
    return counts.order_by("-count", "error_code")


def _among(column: str) -> QuerySet[Any, Any]:
    """Return the same of the failed work to repair that has one of these keys in this column."""
    keys = Parameter("keys", LearnerContentAssignment._meta.pk)
    return by_error_code(failures.to_repair().filter(**{f"{column}__in": keys}))


_BUDGETS, _NOW = Parameter("budgets", Budget._meta.pk), Parameter("now", DateTimeField())


def in_budgets(budgets: Collection[Budget]) -> dict[str, int]:
    """Return the number of assignments with failed work to repair by error code, most frequent first."""
    return in_budget_pks([budget.pk for budget in budgets])


def in_budget_pks(budget_pks: Sequence[int]) -> dict[str, int]:
    """Return the same for the primary keys of budgets."""
    return dict(prepared_select(_among, "assignment__budget").read(keys=budget_pks))


def of_assignments(assignment_pks: Sequence[int]) -> dict[str, int]:
    """Return the same among the assignments with these primary keys."""
    return dict(prepared_select(_among, "assignment").read(keys=assignment_pks)) if assignment_pks else {}


def assignments_by_code(budgets: Any, *, limit: int) -> dict[str, set[int]] | None:
    """Return the assignments (pks) with failed work to repair by error code; None for more than `limit`.

    `budgets` are keys, or a query of them.
    """
    failed = failures.to_repair().filter(assignment__budget__in=budgets).order_by()
    found = list(failed.values_list("error_code", "assignment")[: limit + 1])
    by_code: dict[str, set[int]] = {}
    for error_code, pk in found:
        by_code.setdefault(error_code, set()).add(pk)
    return None if len(found) > limit else by_code


@dataclass(frozen=True)
class RepairableFailures:
    """The number of assignments with failed work of one error code, and what can be done about it.

    It can be retried for `retryable` of them, and skipped for `skippable`; `of_ended` is the number of those
    of which the notice of their end failed. `since` is when the first failed.
    """

    error_code: str
    count: int
    retryable: int
    skippable: int
    of_ended: int
    since: datetime
    by_work: Mapping[ActionType, int]
    """The number of assignments by type of action."""


def repairable(budgets: Collection[Budget], *, now: datetime) -> list[RepairableFailures]:
    """Return the failed work of budgets by error code, the latest first. One query."""
    found = []
    pks = [budget.pk for budget in budgets]
    for code, count, retryable, skippable, of_ended, since, *each in prepared_select(_in_time).read(
        budgets=pks, now=now
    ):
        by_work = {kind: one for kind, one in zip(APPLIES_IN, each, strict=True) if one}
        found.append(RepairableFailures(code, count, retryable, skippable, of_ended, since, by_work))
    return found


def _in_time() -> QuerySet[Any, Any]:
    by_others = ~Q(action_type=ActionType.REDEEMED)
    failed = failures.to_repair().filter(assignment__budget__in=_BUDGETS).order_by()
    counts = failed.values_list("error_code").annotate(
        count=Count("assignment", distinct=True),
        retryable=Count("assignment", distinct=True, filter=by_others & ~failures.too_late(_NOW)),
        skippable=Count("assignment", distinct=True, filter=by_others),
        of_ended=Count("assignment", distinct=True, filter=Q(action_type__in=END_MAILS)),
        since=Min("completed_at"),
        **{
            f"of_{kind}": Count("assignment", distinct=True, filter=Q(action_type=kind))
            for kind in APPLIES_IN
        },
    )
    return counts.order_by("-since", "-count", "error_code")
