"""Failed work that can be repaired, by its cause: of how many assignments, and what can be done about it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, DateTimeField, Min, Q, QuerySet

from bursary.assignments import failures
from bursary.assignments.choices import APPLIES_IN, ActionType
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.budgets.models import Budget
from bursary.lib.prepared import Slot, built_once


def by_cause(failed: QuerySet[LearnerContentAssignmentAction]) -> QuerySet[Any, Any]:
    """Return of how many assignments there is failed work by its cause, most frequent first."""
    counted = failed.order_by().values_list("error_code").annotate(count=Count("assignment", distinct=True))
    return counted.order_by("-count", "error_code")


def _of_budgets() -> QuerySet[Any, Any]:
    return by_cause(failures.to_repair().filter(assignment__budget__in=_BUDGETS))


def _of_assignments() -> QuerySet[Any, Any]:
    return by_cause(
        failures.to_repair().filter(assignment__in=Slot("assignments", LearnerContentAssignment._meta.pk))
    )


_BUDGETS, _NOW = Slot("budgets", Budget._meta.pk), Slot("now", DateTimeField())


def causes(budgets: Collection[Budget]) -> dict[str, int]:
    """Return the number of assignments with failed work to repair by its cause, most frequent first."""
    return causes_in([budget.pk for budget in budgets])


def causes_in(budgets: Sequence[int]) -> dict[str, int]:
    """Likewise in the budgets with these primary keys."""
    return dict(built_once(_of_budgets).read(budgets=budgets))


def causes_of(assignments: Sequence[int]) -> dict[str, int]:
    """Likewise of the assignments with these primary keys."""
    return dict(built_once(_of_assignments).read(assignments=assignments)) if assignments else {}


def of_each_cause(budgets: Any, *, most: int) -> dict[str, set[int]] | None:
    """Return the assignments (pks) with failed work to repair by its cause; None for more than `most`.

    `budgets` are keys, or a query of them.
    """
    failed = failures.to_repair().filter(assignment__budget__in=budgets).order_by()
    found = list(failed.values_list("error_code", "assignment")[: most + 1])
    by_cause: dict[str, set[int]] = {}
    for cause, pk in found:
        by_cause.setdefault(cause, set()).add(pk)
    return None if len(found) > most else by_cause


@dataclass(frozen=True)
class CauseCount:
    """Assignments with failed work of a cause: how many, and of how many it can be retried, and skipped.

    `of_ended` are those of which the notice of their end failed. `since` is when the first of it failed, and
    `by_work` the number for each type of action.
    """

    cause: str
    count: int
    retryable: int
    skippable: int
    of_ended: int
    since: datetime
    by_work: Mapping[ActionType, int]


def causes_in_time(budgets: Collection[Budget], *, now: datetime) -> list[CauseCount]:
    """Return `causes` with what can be done about each now, the latest first. One query."""
    found = []
    pks = [budget.pk for budget in budgets]
    for cause, count, retryable, skippable, of_ended, since, *each in built_once(_in_time).read(
        budgets=pks, now=now
    ):
        by_work = {kind: one for kind, one in zip(APPLIES_IN, each, strict=True) if one}
        found.append(CauseCount(cause, count, retryable, skippable, of_ended, since, by_work))
    return found


def _in_time() -> QuerySet[Any, Any]:
    by_others = ~Q(action_type=ActionType.REDEEMED)
    failed = failures.to_repair().filter(assignment__budget__in=_BUDGETS).order_by()
    counted = failed.values_list("error_code").annotate(
        count=Count("assignment", distinct=True),
        retryable=Count("assignment", distinct=True, filter=by_others & ~failures.too_late(_NOW)),
        skippable=Count("assignment", distinct=True, filter=by_others),
        of_ended=Count("assignment", distinct=True, filter=Q(action_type__in=failures.NOTICES_OF_THE_END)),
        since=Min("completed_at"),
        **{
            f"of_{kind}": Count("assignment", distinct=True, filter=Q(action_type=kind))
            for kind in APPLIES_IN
        },
    )
    return counted.order_by("-since", "-count", "error_code")
