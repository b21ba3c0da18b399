"""How the sweeps go over many assignments: by predicate or by key, in batches, budget by budget.

A sweep never pages over a set that it changes. Each batch is one budget's and one transaction, so that
budgets do not wait for each other and one that fails stops no other.
"""

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.db import DatabaseError
from django.db.models import QuerySet

from bursary.assignments import lifecycle
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.ledger import LedgerError
from bursary.lib import logs
from bursary.lib.locks import for_update

logger = logging.getLogger(__name__)

BATCH = 500  # assignments a transaction
MOST_BATCHES = 100_000
LONGEST_LINE = 300  # characters of an error that are told
_ADDRESS = re.compile(r"[^\s'\"()<>=,:;]+@[^\s'\"()<>=,:;]+")
RECOVERABLE = (DatabaseError, LedgerError, lifecycle.MoveRefused, OSError)
"""What may go wrong with one budget's batch, and must not stop the others."""

Due = Callable[[datetime], QuerySet[LearnerContentAssignment]]


@dataclass
class SweepResult:
    """What a sweep did: to how many assignments, and the budgets (pks) in which it failed, with the error."""

    done: int = 0
    failed: dict[int, str] = field(default_factory=dict)


def sweep(
    due: Due,
    batch: Callable[[int], int],
    *,
    now: datetime,
    order: str,
    progress: Callable[[int], None] | None = None,
) -> SweepResult:
    """Call `batch` with the pk of a budget that has something due, until none has; it returns a count.

    `due` is asked anew each time, oldest by `order` first: what a batch looked at is no longer due after it.
    """
    swept = SweepResult()
    for _batch in range(MOST_BATCHES):
        waiting = due(now).exclude(budget__in=swept.failed).order_by(order, "id")
        budget_pk = waiting.values_list("budget_id", flat=True).first()
        if budget_pk is None:
            break
        try:
            swept.done += batch(budget_pk)
        except RECOVERABLE as failure:
            swept.failed[budget_pk] = said(failure, budget_pk)
        if progress:
            progress(swept.done)
    return swept


def said(failure: Exception, budget_pk: int) -> str:
    """Log and return what went wrong."""
    line = logs.one_line(failure)
    logger.warning("A batch in budget %s failed: %s", budget_pk, line)
    return line


def lock_batch(due: Due, budget_pk: int, *, now: datetime, order: str) -> list[LearnerContentAssignment]:
    """Return a batch of what is due in a budget, locked in the order of keys until the transaction ends.

    Asked again once locked: what moved meanwhile is left alone.
    """
    oldest = due(now).filter(budget=budget_pk).order_by(order, "id")[:BATCH]
    pks = sorted(oldest.values_list("pk", flat=True))
    return list(for_update(due(now).filter(pk__in=pks)).order_by("pk"))


def by_key(assignments: QuerySet[LearnerContentAssignment]) -> Iterator[list[UUID]]:
    """Yield the uuids of a set in batches, in the order of keys: what happens to one batch moves no other."""
    last = 0
    for _batch in range(MOST_BATCHES):
        rows = list(assignments.filter(pk__gt=last).order_by("pk").values_list("pk", "uuid")[:BATCH])
        if not rows:
            return
        last = rows[-1][0]
        yield [uuid for _pk, uuid in rows]
