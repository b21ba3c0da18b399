"""The audit of the derived columns, and their rebuilding where they are wrong: in batches, by primary key."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from django.db import transaction
from django.db.models import QuerySet

from bursary.assignments import administrator_notices, derived, expected_values
from bursary.assignments.expected_values import DerivedDifference
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.lib import batches
from bursary.lib.batches import ProgressCallback
from bursary.lib.clock import Clock
from bursary.lib.retries import repeated_after_deadlocks

BATCH = derived.CONTENTS_PER_STATEMENT
NAMED = 500
"""Differences that an audit names; it counts them all."""
COMPARISONS = 3
"""The number of comparisons after which a difference is not explained by a concurrent write."""


@dataclass
class DerivedAudit:
    """How many assignments were compared, how many have a wrong derived column, and in which columns."""

    looked_at: int = 0
    wrong: int = 0
    columns: Counter[str] = field(default_factory=Counter)
    differences: list[DerivedDifference] = field(default_factory=list)
    """The first `NAMED` of them."""

    def add(self, batch: list[int], found: Iterable[DerivedDifference]) -> None:
        """Count a batch of primary keys and its differences."""
        found = list(found)
        self.looked_at += len(batch)
        self.wrong += len({one.pk for one in found})
        self.columns.update(one.column for one in found)
        self.differences += found[: NAMED - len(self.differences)]


@dataclass
class RebuildResult:
    """The differences before and after the columns were rewritten, and the last assignment compared."""

    before: DerivedAudit = field(default_factory=DerivedAudit)
    after: DerivedAudit = field(default_factory=DerivedAudit)
    last: int = 0
    """The primary key of the last assignment compared."""


def count(*, budget: Budget | None = None) -> int:
    """Return the number of assignments, of all budgets or one."""
    return _rows(budget).order_by().count()


def audit(
    *,
    clock: Clock,
    sample: int | None = None,
    budget: Budget | None = None,
    on_progress: ProgressCallback | None = None,
) -> DerivedAudit:
    """Compare the derived columns of all assignments, or of `sample` at random, with the expected values."""
    rows = _rows(budget)
    pks = batches.primary_keys(rows) if sample is None else batches.sample(rows, size=sample)
    audited = DerivedAudit()
    for batch in batches.chunks(pks, BATCH):
        audited.add(batch, _settled(batch, clock=clock))
        if on_progress:
            on_progress(audited.looked_at)
    return audited


def rebuild(
    *,
    clock: Clock,
    budget: Budget | None = None,
    after: int = 0,
    limit: int | None = None,
    dry_run: bool = False,
    on_progress: ProgressCallback | None = None,
    into: RebuildResult | None = None,
) -> RebuildResult:
    """Rewrite derived columns where they are wrong, for `limit` assignments with keys above `after`, or all.

    Each batch is a transaction of its own, repeated after deadlocks. `into` is updated after each, so that
    it has the place to resume at after an interruption. Rewritten columns are compared again: a remaining
    difference is a fault in one of the two rules.
    """
    done = into or RebuildResult(last=after)
    for batch in batches.chunks(islice(batches.primary_keys(_rows(budget), after=after), limit), BATCH):
        found = _settled(batch, clock=clock)
        wrong = sorted({one.pk for one in found})
        left: list[DerivedDifference] = []
        if wrong and not dry_run:
            _rewrite(wrong, now=clock())
            left = _settled(wrong, clock=clock)
        done.before.add(batch, found)
        done.after.add(batch, left)
        done.last = batch[-1]
        if on_progress:
            on_progress(done.before.looked_at)
    return done


@repeated_after_deadlocks
def _rewrite(wrong: Sequence[int], *, now: datetime) -> None:
    """Rewrite the derived columns of these assignments, and the notices to administrators that follow."""
    rows = LearnerContentAssignment.objects.filter(pk__in=wrong).order_by()
    with transaction.atomic():
        derived.rebuild(wrong, now=now)
        budgets = set(rows.values_list("budget", flat=True))
        administrator_notices.write_for_budgets(pks=budgets, now=now, in_batches=True)


def _settled(batch: list[int], *, clock: Clock) -> list[DerivedDifference]:
    """Return the differences that remain when compared again: a row and its actions are read one by one."""
    found = expected_values.compare(batch, now=clock())
    for _again in range(COMPARISONS - 1):
        if found:
            found = expected_values.compare(sorted({one.pk for one in found}), now=clock())
    return found


def _rows(budget: Budget | None) -> QuerySet[LearnerContentAssignment]:
    rows = LearnerContentAssignment.objects.all()
    return rows.filter(budget=budget) if budget else rows
