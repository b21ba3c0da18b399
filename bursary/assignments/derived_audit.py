"""Auditing the derived columns, and writing them anew where they are not true: in batches, by key."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from django.db import transaction
from django.db.models import QuerySet

from bursary.assignments import deadline_notices, derived, expected_values
from bursary.assignments.expected_values import DerivedDifference
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.lib import batches

BATCH = derived.CONTENTS_PER_STATEMENT
NAMED = 500
"""Differences that an audit names; it counts them all."""
MOST_LOOKS = 3
"""What differs in each of so many looks was not just being written."""

Clock = Callable[[], datetime]
Progress = Callable[[int], None]


@dataclass
class DerivedAudit:
    """How many assignments were looked at, in how many a derived column is not true, and in which."""

    looked_at: int = 0
    wrong: int = 0
    columns: Counter[str] = field(default_factory=Counter)
    differences: list[DerivedDifference] = field(default_factory=list)
    """The first `NAMED` of them."""

    def add(self, batch: Iterable[int], found: Iterable[DerivedDifference]) -> None:
        """Count a batch and what was found in it."""
        found = list(found)
        self.looked_at += len(list(batch))
        self.wrong += len({one.pk for one in found})
        self.columns.update(one.column for one in found)
        self.differences += found[: NAMED - len(self.differences)]


@dataclass
class RebuildResult:
    """What was not true before, what still is not after it was written anew, and how far it came."""

    before: DerivedAudit = field(default_factory=DerivedAudit)
    after: DerivedAudit = field(default_factory=DerivedAudit)
    last: int = 0
    """The primary key of the last assignment that was looked at."""


def count(*, budget: Budget | None = None) -> int:
    """Return how many assignments there are to look at."""
    return _rows(budget).order_by().count()


def audit(
    *, clock: Clock, sample: int | None = None, budget: Budget | None = None, progress: Progress | None = None
) -> DerivedAudit:
    """Compare the derived columns of all assignments, or of `sample` at random, with the truth."""
    rows = _rows(budget)
    pks = batches.keys(rows) if sample is None else batches.sample(rows, size=sample)
    audited = DerivedAudit()
    for batch in _batches(pks):
        audited.add(batch, _settled(batch, clock=clock))
        if progress:
            progress(audited.looked_at)
    return audited


def rebuild(
    *,
    clock: Clock,
    budget: Budget | None = None,
    after: int = 0,
    dry_run: bool = False,
    progress: Progress | None = None,
    into: RebuildResult | None = None,
) -> RebuildResult:
    """Write the derived columns anew wherever they are not true, for assignments with keys above `after`.

    Each batch is a transaction of its own. `into` is filled as it goes: broken off, it says where to go on.
    What SQL wrote is compared again: where Python still disagrees, one of the two rules is wrong.
    """
    done = into or RebuildResult()
    for batch in _batches(batches.keys(_rows(budget), after=after)):
        found = _settled(batch, clock=clock)
        wrong = sorted({one.pk for one in found})
        left: list[DerivedDifference] = []
        if wrong and not dry_run:
            _write_anew(wrong, now=clock())
            left = _settled(wrong, clock=clock)
        done.before.add(batch, found)
        done.after.add(batch, left)
        done.last = batch[-1]
        if progress:
            progress(done.before.looked_at)
    return done


def _write_anew(pks: list[int], *, now: datetime) -> None:
    budgets = LearnerContentAssignment.objects.filter(pk__in=pks).order_by().values_list("budget", flat=True)
    with transaction.atomic():
        derived.rebuild(pks, now=now)
        deadline_notices.notice_budgets(pks=set(budgets), now=now, in_batches=True)


def _settled(batch: list[int], *, clock: Clock) -> list[DerivedDifference]:
    """Return what differs. A row is read together with what it follows only nearly: what was just being
    written agrees at the next look."""
    found = expected_values.compare(batch, now=clock())
    for _look in range(MOST_LOOKS - 1):
        if not found:
            break
        found = expected_values.compare(sorted({one.pk for one in found}), now=clock())
    return found


def _rows(budget: Budget | None) -> QuerySet[LearnerContentAssignment]:
    rows = LearnerContentAssignment.objects.all()
    return rows.filter(budget=budget) if budget else rows


def _batches(pks: Iterable[int]) -> Iterator[list[int]]:
    rest = iter(pks)
    while batch := list(islice(rest, BATCH)):
        yield batch
