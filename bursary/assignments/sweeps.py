"""Sweeps over many assignments: in batches, each of one budget and one transaction.

A sweep never pages over a set that it changes: it asks for what is due until nothing is. Budgets do not wait
for each other, and one that fails does not stop the others.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import Error
from django.db.models import DateTimeField, OuterRef, QuerySet, Subquery

from bursary.assignments import lifecycle
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.ledger import LedgerError
from bursary.budgets.models import Budget
from bursary.lib import logs
from bursary.lib.batches import ProgressCallback, chunks
from bursary.lib.locks import for_update
from bursary.lib.prepared import Parameter, prepared_select
from bursary.lib.retries import repeated_after_deadlocks

logger = logging.getLogger(__name__)

BATCH = 500  # assignments a transaction
MAX_BATCHES = 100_000  # per sweep, so that it ends even if a batch leaves its rows due
RECOVERABLE = (Error, LedgerError, lifecycle.MoveRefused, OSError)
"""Failures of one budget's batch that do not stop the others."""

DueRows = Callable[[datetime | Parameter], QuerySet[LearnerContentAssignment]]


@dataclass
class SweepResult:
    """The number of assignments done, and by uuid the error of each budget, or assignment, that failed."""

    done: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def sweep(
    due: DueRows,
    batch: Callable[[int, int], int],
    *,
    now: datetime,
    order: str,
    on_progress: ProgressCallback | None = None,
) -> SweepResult:
    """Call `batch` with the pk of a budget that has something due, until none has; it returns a count.

    Its second argument is the sum of the counts before: how many assignments were swept before its first one.
    Budgets alternate, a batch each, first the one with the oldest by `order`: a batch must leave none of its
    rows due. What becomes due meanwhile in a budget that had nothing due is left to the next sweep.
    """
    swept = SweepResult()
    batches = 0
    waiting = _first_due(due, now=now, order=order)
    while waiting and batches < MAX_BATCHES:
        for budget_pk, budget_uuid in waiting.items():
            batches += 1
            try:
                swept.done += repeated_after_deadlocks(batch)(budget_pk, swept.done)
            except RECOVERABLE as failure:
                swept.failed[str(budget_uuid)] = log_failure(failure, budget_uuid)
            if on_progress:
                on_progress(swept.done)
        going_on = [pk for pk, uuid in waiting.items() if str(uuid) not in swept.failed]
        waiting = _first_due(due, now=now, order=order, pks=going_on) if going_on else {}
    return swept


def _first_due(
    due: DueRows, *, now: datetime, order: str, pks: Sequence[int] | None = None
) -> dict[int, UUID]:
    """Return pk and uuid of the budgets (of `pks`, if given) that have something due, first the oldest."""
    return dict(prepared_select(_budgets, due, order, pks is not None).read(now=now, pks=pks))


def _budgets(due: DueRows, order: str, chosen: bool) -> QuerySet[Budget, Any]:
    rows = Budget.objects.filter(pk__in=Parameter("pks", Budget._meta.pk)) if chosen else Budget.objects.all()
    # In order, though any row would do: so each budget is read from an index that begins with the budget.
    rows_due = due(Parameter("now", DateTimeField())).filter(budget=OuterRef("pk")).order_by(order, "id")
    found = rows.alias(oldest=Subquery(rows_due.values(order)[:1])).filter(oldest__isnull=False)
    return found.order_by("oldest", "pk").values_list("pk", "uuid")


def log_failure(failure: Exception, budget: UUID) -> str:
    """Log the failure of a batch in a budget; return the failure in one line."""
    line = logs.one_line(failure)
    logger.warning("A batch in budget %s failed: %s", budget, line)
    return line


def lock_batch(due: DueRows, budget_pk: int, *, now: datetime, order: str) -> list[LearnerContentAssignment]:
    """Lock and return a batch of a budget's due assignments, the oldest by `order`, in the order of keys.

    `due` is evaluated again with the locks, so that rows which moved meanwhile are left out.
    """
    oldest = due(now).filter(budget=budget_pk).order_by(order, "id")[:BATCH]
    pks = sorted(oldest.values_list("pk", flat=True))
    return list(for_update(due(now).filter(pk__in=pks)).order_by("pk"))


def uuid_batches(
    assignments: QuerySet[LearnerContentAssignment], *, among: Sequence[UUID]
) -> Iterator[list[UUID]]:
    """Yield those `among` these uuids that are in a query set, in batches and in their order.

    The others are left out, where `chunks` would have each of them refused. Each batch is looked up when it
    is yielded: the caller may change the rows of earlier ones.
    """
    for some in chunks(among, BATCH):
        found = set(assignments.filter(uuid__in=some).values_list("uuid", flat=True))
        yield [uuid for uuid in some if uuid in found]
