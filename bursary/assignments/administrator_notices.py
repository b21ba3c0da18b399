"""Notices to administrators: a change brought deadlines forward, or learners can no longer join the content.

They are written in the transaction of the change, on the same signals as `derived.py` and after it: that
module sets the grace in which nothing expires.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, DateTimeField, Exists, F, Max, OuterRef, Q, QuerySet, Subquery

from bursary.assignments import offers
from bursary.assignments.choices import ADDRESS_REASONS, NoticeReason, State
from bursary.assignments.dates import GRACE
from bursary.assignments.models import AdministratorNotice, LearnerContentAssignment
from bursary.assignments.open_assignments import can_be_answered_sql
from bursary.budgets.models import Budget
from bursary.lib import leases
from bursary.lib.batches import chunks
from bursary.lib.locks import for_update
from bursary.lib.prepared import Parameter, prepared_select
from bursary.replica.joining import NotJoinable
from bursary.replica.types import CatalogKey

LONGEST_WAIT_FOR_NOTICE = timedelta(days=7)
"""An undelivered notice is retried, and delays expiry, for at most so long."""
QUIET = timedelta(days=7)
"""For so long, no second mail is sent about content that cannot be joined, though it could be in between."""
COMPLAINTS_SHOWN = timedelta(days=30)
PKS_PER_QUERY = 1000
BATCHES_END_WITHIN = timedelta(minutes=30)
"""How long the mail is delayed, so that it gives the total over all batches of one change."""

_Key = tuple[int, int | None]
"""The pks of a budget and of content."""


def write_for_content(
    *, pks: Iterable[int], now: datetime, in_batches: bool = False, **_signal: object
) -> None:
    """Write a notice for each budget and content of which this change brought deadlines forward, near or into
    the past, or that cannot be joined any more: the content that changed, and the courses of runs.

    Receives `content_changed`.

    `in_batches`: more may follow, each in a transaction of its own.
    """
    for page in chunks(sorted(pks), PKS_PER_QUERY):
        if contents := list(offers.assigned_rows(page).values_list("pk", flat=True)):
            due_at = _due_at(now=now, in_batches=in_batches)
            _write_for_deadlines(Q(content__in=contents), now=now, due_at=due_at)
            _write_for_unjoinable("content", contents, now=now, due_at=due_at)


def write_for_budgets(
    *, pks: Iterable[int], now: datetime, in_batches: bool = False, **_signal: object
) -> None:
    """Write these notices after a change of a budget's terms or catalog. Receives `budget_changed`."""
    budgets, due_at = list(pks), _due_at(now=now, in_batches=in_batches)
    _write_for_deadlines(Q(budget__in=budgets), now=now, due_at=due_at)
    if not in_batches:  # a rebuild in batches changes neither content nor catalog
        _write_for_unjoinable("budget", budgets, now=now, due_at=due_at)


def current(now: datetime) -> QuerySet[AdministratorNotice]:
    """Return the notices of deadlines with a grace that is not over at `now`, the first to expire first, and
    then those of content that cannot be joined, and of mails reported as unwanted within `COMPLAINTS_SHOWN`.

    Without those of which every assignment was accepted, has ended, or got a later deadline meanwhile.
    """
    open_ = LearnerContentAssignment.objects.filter(
        budget=OuterRef("budget"), content=OuterRef("content"), state=State.ALLOCATED
    )
    in_grace = Q(Exists(open_.filter(grace_until__gt=now)), no_expiry_before__gt=now)
    unjoinable = Q(Exists(open_), ~Q(reason__in=("", *ADDRESS_REASONS)), resolved_at=None)
    unwanted = Q(Exists(open_), reason=NoticeReason.MAIL_UNWANTED, created__gt=now - COMPLAINTS_SHOWN)
    shown = AdministratorNotice.objects.filter(in_grace | unjoinable | unwanted).select_related(
        "content", "budget__customer"
    )
    shown = shown.annotate(recorded_title=Subquery(open_.order_by("pk").values("content_title")[:1]))
    return shown.defer("content__payload").order_by(F("no_expiry_before").asc(nulls_last=True), "id")


def write_for_address(assignment: LearnerContentAssignment, reason: NoticeReason, *, now: datetime) -> None:
    """Notice what a mail provider reported of a learner's address; one mail for what comes within
    `BATCHES_END_WITHIN`."""
    unsent = AdministratorNotice.objects.filter(
        budget=assignment.budget_id, content=assignment.content_id, reason=reason, attempts=0
    )
    if notice := for_update(unsent).order_by("pk").first():
        AdministratorNotice.objects.filter(pk=notice.pk).update(assignments=F("assignments") + 1)
        return
    key = (assignment.budget_id, assignment.content_id)
    _create({key: 1}, now=now, due_at=now + BATCHES_END_WITHIN, reason=reason)


def _due_at(*, now: datetime, in_batches: bool) -> datetime:
    return now + BATCHES_END_WITHIN if in_batches else now


def _write_for_deadlines(concerned: Q, *, now: datetime, due_at: datetime) -> None:
    """Write or extend the notice of each budget and content with a deadline that was just brought forward.

    A notice counts all assignments in their grace, not only those of the last change.
    """
    until = now + GRACE
    in_grace = LearnerContentAssignment.objects.filter(concerned, state=State.ALLOCATED, grace_until__gt=now)
    moved = Count("pk", filter=Q(grace_until=until))
    counts = in_grace.order_by().values_list("budget", "content").annotate(count=Count("pk"), moved=moved)
    found = {(budget, content): count for budget, content, count, _moved in counts.filter(moved__gt=0)}
    if not found:
        return
    notices = AdministratorNotice.objects.filter(
        no_expiry_before__gt=now, budget__in={budget for budget, _ in found}
    )
    for notice in for_update(notices).order_by("pk"):
        if count := found.pop((notice.budget_id, notice.content_id), 0):
            _extend(notice, assignments=count, now=now, no_expiry_before=until)
    _create(found, now=now, due_at=due_at, no_expiry_before=until)


def _write_for_unjoinable(of: str, pks: Sequence[int], *, now: datetime, due_at: datetime) -> None:
    """Write a notice for each budget and content that cannot be joined now, or keep the one that stands.

    `of` is the field that has one of `pks`. What can be joined again is resolved. Those that have passed
    their deadline belong to the notice about deadlines.
    """
    found = _unjoinable(of, pks, now=now)
    lately = Q(resolved_at=None) | Q(resolved_at__gt=now - QUIET)
    recent = AdministratorNotice.objects.filter(lately, **{f"{of}__in": pks})
    for notice in for_update(recent.exclude(reason__in=("", *ADDRESS_REASONS))).order_by("-pk"):
        count, reason = found.pop((notice.budget_id, notice.content_id), (0, notice.reason))
        if count:
            _extend(notice, assignments=count, now=now, reason=reason, resolved_at=None)
        elif not notice.attempts:
            notice.delete()
        elif notice.resolved_at is None:
            AdministratorNotice.objects.filter(pk=notice.pk).update(resolved_at=now)
    for reason in NoticeReason:
        counts = {key: count for key, (count, why) in found.items() if why == reason}
        _create(counts, now=now, due_at=due_at, reason=reason)


_PKS, _NOW = Parameter("pks", Budget._meta.pk), Parameter("now", DateTimeField())


def _cannot_be_joined(of: str) -> QuerySet[LearnerContentAssignment, Any]:
    rows = LearnerContentAssignment.objects.filter(
        offers.cannot_be_joined(now=_NOW),
        can_be_answered_sql(now=_NOW),
        content__isnull=False,
        **{f"{of}__in": _PKS},
    )
    groups = rows.order_by().values_list("budget", "content", "budget__catalog_uuid", "content__content_key")
    return groups.annotate(count=Count("pk"), last=Max("expires_at"))


def _unjoinable(of: str, pks: Sequence[int], *, now: datetime) -> dict[_Key, tuple[int, str]]:
    """Return how many open assignments cannot be joined, by budget and content, and why."""
    counts = prepared_select(_cannot_be_joined, of).read(pks=pks, now=now)
    offer_of = offers.by_key({CatalogKey(catalog, key) for _b, _c, catalog, key, _n, _last in counts})
    found: dict[_Key, tuple[int, str]] = {}
    for budget, content, catalog, key, count, last in counts:
        reason: str = NoticeReason.NOT_IN_CATALOG
        if offer := offer_of.get(CatalogKey(catalog, key)):
            # It can be joined before the last deadline, but not before those of the assignments counted here.
            reason = NoticeReason.NOT_IN_TIME
            try:
                offer.terms(now=now, must_open_before=last)
            except NotJoinable as refused:
                reason = refused.reason
        found[budget, content] = (count, reason)
    return found


def _extend(notice: AdministratorNotice, *, assignments: int, now: datetime, **columns: object) -> None:
    """Rewrite a locked notice. If it was sent, and names more assignments than before, it is sent again."""
    row = AdministratorNotice.objects.filter(pk=notice.pk)
    more = notice.attempts > 0 and assignments > notice.assignments
    row.update(assignments=assignments, edition=notice.edition + more, **columns)
    if more and notice.notified_contacts:
        row.update(notified_contacts=[], notified_at=None)
        leases.postpone(row, until=now + BATCHES_END_WITHIN, now=now)


def _create(counts: Mapping[_Key, int], *, now: datetime, due_at: datetime, **columns: object) -> None:
    AdministratorNotice.objects.bulk_create(
        AdministratorNotice(
            budget_id=budget,
            content_id=content,
            assignments=count,
            created=now,
            due_at=due_at,
            early=leases.NOT_BEFORE,
            **columns,
        )
        for (budget, content), count in counts.items()
    )
