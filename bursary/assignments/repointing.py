"""Lets assignments refer to other content: that of their catalog's variant, or of a course's new key.

Called by `derived.py` alone, which writes what follows from it, in one transaction.
"""

from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery

from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.replica import reads
from bursary.replica.models import ContentMetadata


def refer(assignments: QuerySet[LearnerContentAssignment], *, to: int) -> None:
    """Let these assignments refer to the content with the primary key `to`."""
    pks = list(assignments.order_by("pk").values_list("pk", flat=True))
    LearnerContentAssignment.objects.filter(pk__in=pks).update(content=to)


def follow_catalog(budget: Budget) -> list[ContentMetadata]:
    """Let a budget's assignments refer to the rows that its catalog holds, and return those rows.

    What the catalog does not hold keeps the row that it had.
    """
    held = reads.held_by(budget.catalog_uuid).filter(content_key=OuterRef("content_key"))
    rows = LearnerContentAssignment.objects.filter(budget=budget, content__isnull=False)
    astray = rows.annotate(held=Subquery(held.order_by("variant").values("pk")[:1]))
    astray = astray.exclude(held=None).exclude(held=F("content"))
    pairs = list(astray.order_by("content").values_list("content", "held").distinct())
    for old, new in pairs:
        rows.filter(content=old).update(content=new)
    return list(ContentMetadata.objects.filter(pk__in={new for _old, new in pairs}).defer("payload"))


def rekey(old: str, new: str) -> None:
    """Give assignments of a re-keyed course, and of its runs, the course's new key.

    One that a learner has by the new key as well keeps the former one.
    """
    rows = LearnerContentAssignment.objects.all()
    same_learner = Q(learner_key=OuterRef("learner_key")) | Q(lms_user_id=OuterRef("lms_user_id"))
    twins = rows.filter(same_learner, budget=OuterRef("budget"), content_key=new)
    pks = rows.filter(~Exists(twins), content_key=old).order_by("pk").values_list("pk", flat=True)
    rows.filter(pk__in=list(pks)).update(content_key=new)
    rows.filter(parent_content_key=old).update(parent_content_key=new)
