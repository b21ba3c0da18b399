"""Changes assignments to refer to another row of content: with other restricted runs, or with a new key.

Only `derived.py` calls it, and rewrites derived columns in the same transaction.
"""

from collections.abc import Collection
from datetime import datetime
from functools import partial

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery

from bursary.assignments.models import AdministratorNotice, LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.lib.locks import locked_in_order
from bursary.lib.retries import in_transaction
from bursary.replica import reads
from bursary.replica.models import ContentMetadata, ContentType
from bursary.replica.refresh import content_changed


def repoint(old: int, new: int, *, budgets: Collection[Budget] | QuerySet[Budget]) -> None:
    """Change these budgets' assignments of the content `old`, and their notices, to the row and key of `new`.

    Without its notice, an assignment would expire before administrators were notified.
    """
    for rows in (LearnerContentAssignment.objects.all(), AdministratorNotice.objects.all()):
        concerned = rows.filter(content=old, budget__in=budgets).order_by("pk")
        rows.filter(pk__in=list(concerned.values_list("pk", flat=True))).update(content=new)
    keys = dict(ContentMetadata.objects.filter(pk__in=(old, new)).values_list("pk", "content_key"))
    if keys[old] != keys[new]:
        rename_key(keys[old], keys[new], among=LearnerContentAssignment.objects.filter(budget__in=budgets))


def repoint_to_catalog(budget: Budget, *, now: datetime) -> list[ContentMetadata]:
    """Change a budget's assignments to refer to the rows that its catalog holds; return those rows, locked.

    Content that the catalog does not hold keeps its row. The budget is locked already, and content comes
    before it in the lock order, so that no lock on content is waited for. A concurrent change of content does
    not see the changed assignments: `content_changed` is sent for it again after the commit.
    """
    held = reads.held_by(budget.catalog_uuid).filter(content_key=OuterRef("content_key"))
    rows = LearnerContentAssignment.objects.filter(budget=budget, content__isnull=False)
    astray = rows.annotate(held=Subquery(held.order_by("variant").values("pk")[:1]))
    astray = astray.exclude(held=None).exclude(held=F("content"))
    pairs = list(astray.order_by("content").values_list("content", "held").distinct())
    for old, new in pairs:
        repoint(old, new, budgets=[budget])
    held_now = {new for _old, new in pairs}
    contents = ContentMetadata.objects.filter(pk__in=held_now).defer("payload")
    courses = contents.filter(content_type=ContentType.COURSE).values_list("content_key", flat=True)
    with_runs = Q(pk__in=held_now) | Q(parent_key__in=list(courses))
    concerned = ContentMetadata.objects.filter(with_runs)
    free = set(locked_in_order(concerned, skip_locked=True).values_list("pk", flat=True))
    if busy := set(concerned.values_list("pk", flat=True)) - free:
        transaction.on_commit(partial(in_transaction, partial(_send_changed, busy, now=now)), robust=True)
    return list(contents)


def _send_changed(pks: Collection[int], *, now: datetime) -> None:
    """Send `content_changed`, as after a change: assignments follow, and administrators are notified."""
    rows = locked_in_order(ContentMetadata.objects.filter(pk__in=pks))
    locked = list(rows.values_list("pk", flat=True))
    content_changed.send(sender=ContentMetadata, pks=locked, now=now, repointed=(), renamed={})


def rename_key(old: str, new: str, *, among: QuerySet[LearnerContentAssignment]) -> None:
    """Give those assignments of a course with a renamed key, and of its runs, the new key.

    One that a learner has by the new key as well keeps the former one.
    """
    rows = LearnerContentAssignment.objects.all()
    same_learner = Q(learner_key=OuterRef("learner_key")) | Q(lms_user_id=OuterRef("lms_user_id"))
    others = rows.filter(same_learner, budget=OuterRef("budget"), content_key=new)
    pks = among.filter(~Exists(others), content_key=old).order_by("pk").values_list("pk", flat=True)
    rows.filter(pk__in=list(pks)).update(content_key=new)
    among.filter(parent_content_key=old).update(parent_content_key=new)
