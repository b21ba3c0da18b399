"""Offers: whether a budget's catalog has some content, and on which terms learners can join (enrol in) it.

By the read mode, an offer is read from the replica's row or from upstream.
"""

import uuid
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from zoneinfo import ZoneInfo

from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery
from django.utils.translation import gettext as _

from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.lib import moments
from bursary.lib.locks import locked_in_order
from bursary.lib.moments import FAR_FUTURE
from bursary.lib.prepared import Parameter, PreparedSelect
from bursary.replica import joining, reads
from bursary.replica.joining import JoiningRefusal, JoiningTerms, NotJoinable, RunTerms, lacks_runs
from bursary.replica.models import CatalogMembership, Completeness, ContentMetadata, ContentType
from bursary.replica.types import AnyContent, CatalogKey, UpstreamContent

_BY_RUNS = (ContentType.COURSE, ContentType.COURSERUN)
_DECIDING = (
    *("content_key", "content_type", "parent_key", "completeness", "advertised_run", "gone_at"),
    *joining.RUN_COLUMNS,
)


@dataclass(frozen=True)
class KnownOffer:
    """Content that was found without a lock: the pk of the replica's row, upstream's content, or both."""

    pk: int | None
    upstream: UpstreamContent | None


@dataclass(frozen=True)
class Offer:
    """Content in one catalog, with the key of its course and its runs there. A run is its own only run."""

    content: AnyContent
    row: ContentMetadata | None
    """The row that an assignment will refer to."""
    parent_key: str
    in_catalog: bool
    runs: tuple[RunTerms, ...]

    @property
    def course_key(self) -> str:
        """The key of a run's course, or its own."""
        return self.parent_key or self.content.content_key

    def terms(self, *, now: datetime, must_open_before: datetime) -> JoiningTerms:
        """Return the terms on which learners can join it, if enrolment opens before `must_open_before`.

        A program or pathway has no runs: its own dates and price apply. Raises joining.NotJoinable.
        """
        content = self.content
        if content.content_type not in _BY_RUNS:
            return JoiningTerms("", content.price_cents, joining.closing(content.enroll_by, content.end_date))
        return joining.joining_terms(
            self.runs, advertised=content.advertised_run, now=now, must_open_before=must_open_before
        )

    def join_by(self, *, now: datetime, must_open_before: datetime) -> datetime:
        """Return when enrolment closes in the last run that can be joined, FAR_FUTURE without such a date.

        Enrolment in the run must open before `must_open_before`.
        """
        content = self.content
        join_by = joining.closing(content.enroll_by, content.end_date)
        if content.content_type == ContentType.COURSE:
            join_by = joining.join_by(
                self.runs, now=now, must_open_before=must_open_before, otherwise=join_by
            )
        return join_by or FAR_FUTURE


def in_words(refused: NotJoinable, *, now: datetime, must_open_before: datetime, zone: ZoneInfo) -> str:
    """Return a sentence on why content cannot be joined, with the deciding date in this time zone."""
    run = refused.run
    if refused.reason is JoiningRefusal.ENDED and run and run.end:
        return _("It ended on %(day)s.") % {"day": moments.in_words(run.end, zone=zone)}
    if refused.reason is JoiningRefusal.NOT_IN_TIME and run:
        if run.enroll_by and run.enroll_by <= now:
            return _("Enrolment closed on %(day)s.") % {"day": moments.in_words(run.enroll_by, zone=zone)}
        if run.enroll_start:
            dates = (run.enroll_start, min(must_open_before, run.closes or must_open_before))
            opens, ends = (moments.in_words(at, zone=zone) for at in dates)
            sentence = _("Enrolment opens on %(opens)s, and the assignment ends on %(ends)s.")
            return sentence % {"opens": opens, "ends": ends}
    return _("The catalog does not offer this for enrolment.")


def details(refused: NotJoinable, *, must_open_before: datetime) -> dict[str, object]:
    """Return the run of the refusal, and the dates that decide it."""
    run = refused.run
    if run is None:
        return {}
    match refused.reason:
        case JoiningRefusal.ENDED:
            return {"content_run_key": run.key, "end_date": run.end}
        case JoiningRefusal.NOT_IN_TIME:
            dates = {"enroll_start": run.enroll_start, "enroll_by": run.enroll_by, "end_date": run.end}
            return {"content_run_key": run.key, **dates, "deadline": must_open_before}
    return {"content_run_key": run.key}


def find(content_key: str, *, budget: Budget, now: datetime) -> KnownOffer:
    """Find content in the replica, or by BURSARY_CONTENT_READS upstream.

    It may send requests: call it before any transaction.

    Raises reads.UnknownContent, and reads.ContentUnavailable where upstream does not answer or has only a
    summary record, without price and runs.
    """
    upstream = None
    if reads.are_from_upstream():
        upstream = reads.one_from_upstream(content_key, catalog_uuid=budget.catalog_uuid, now=now)
        if joining.is_summary(upstream):
            raise reads.ContentUnavailable("The catalog has not the whole record yet.")
    return KnownOffer(reads.pk_to_assign(content_key, catalog_uuid=budget.catalog_uuid, now=now), upstream)


def of_assignments(
    assignments: Sequence[LearnerContentAssignment], *, now: datetime
) -> dict[int, Offer | None]:
    """Return the offers of these assignments' content, by pk, as their budgets' catalogs have it now.

    None: the catalog does not hold the content. Assignments are left out if their content has no row, is a
    course with only a summary record, or if upstream does not answer. At most one query; not for use inside
    a transaction.
    """
    key_of = {one.pk: CatalogKey(one.budget.catalog_uuid, one.content_key) for one in assignments}
    if reads.are_from_upstream():
        keys = {key_of[one.pk]: one.parent_content_key or one.content_key for one in assignments}
        known = reads.from_upstream(keys, now=now)
        served = {
            key: _of_upstream(content) if content else None
            for key, content in known.items()
            if content is None or not lacks_runs(content)
        }
        return {pk: served[key] for pk, key in key_of.items() if key in served}
    found = by_key(key_of.values())
    offer_of = {one.pk: found.get(key_of[one.pk]) for one in assignments}
    without_row = {one.pk for one in assignments if not one.content_id and offer_of[one.pk] is None}
    return {
        pk: offer
        for pk, offer in offer_of.items()
        if pk not in without_row and (offer is None or not lacks_runs(offer.content))
    }


def of_assignment_or_fetched(assignment: LearnerContentAssignment, *, now: datetime) -> Offer | None:
    """Return the offer of one assignment by `of_assignments`; if that leaves it out, ask its catalog.

    Raises reads.ContentUnavailable where upstream does not answer or has only a summary record.
    """
    known = of_assignments([assignment], now=now)
    if assignment.pk not in known:
        budget, key = assignment.budget, assignment.content_key
        try:
            found = find(key, budget=budget, now=now)
        except reads.UnknownContent:
            return None
        return load(found, budget=budget, now=now, must_open_before=assignment.expires_at, lock=False)
    return known[assignment.pk]


def by_key(keys: Collection[CatalogKey]) -> dict[CatalogKey, Offer]:
    """Return the offers of the keys that their catalogs hold, from the replica's rows. One query.

    Only the columns that decide about an offer are loaded.
    """
    catalogs, contents = {key.catalog_uuid for key in keys}, {key.content_key for key in keys}
    own = Q(content__content_key__in=contents, content__gone_at=None)
    runs = Q(content__content_type=ContentType.COURSERUN, content__parent_key__in=contents)
    memberships = CatalogMembership.objects.filter(own | runs, catalog_uuid__in=catalogs)
    found: dict[CatalogKey, ContentMetadata] = {}
    runs_of: dict[CatalogKey, list[RunTerms]] = defaultdict(list)
    columns = ("catalog_uuid", *(f"content__{name}" for name in _DECIDING))
    for one in memberships.select_related("content").only(*columns).order_by("pk"):
        if one.content.content_key in contents and one.content.gone_at is None:
            found[CatalogKey(one.catalog_uuid, one.content.content_key)] = one.content
        if one.content.parent_key:
            runs_of[CatalogKey(one.catalog_uuid, one.content.parent_key)].append(RunTerms.of(one.content))
    return {key: of_row(row, runs=runs_of.get(key, ()), in_catalog=True) for key, row in found.items()}


def assigned_rows(pks: Collection[int]) -> QuerySet[ContentMetadata]:
    """Return those of these rows that are assigned, and the assigned courses of the runs among them."""
    assignments = LearnerContentAssignment.objects.filter(content=OuterRef("pk"))
    return joining.with_courses(pks).filter(Exists(assignments))


def cannot_be_joined(*, now: datetime | Parameter) -> Q:
    """Return the condition on assignments with content that learners cannot join it now, by the replica.

    Unlike `Offer.terms`, it needs no lock and is for many assignments at once. A course with a summary record
    does not match: its runs are unknown.
    """
    held = CatalogMembership.objects.filter(
        content=OuterRef("content"), content__gone_at=None, catalog_uuid=OuterRef("budget__catalog_uuid")
    )
    runs = CatalogMembership.objects.filter(
        joining.open_runs(now=now, must_open_before=OuterRef("expires_at"), prefix="content__"),
        catalog_uuid=OuterRef("budget__catalog_uuid"),
    )
    of_course = runs.filter(content__parent_key=OuterRef("content__content_key"))
    itself = runs.filter(content=OuterRef("content"))
    by_runs = Q(content__content_type=ContentType.COURSERUN) | Q(
        content__content_type=ContentType.COURSE, content__completeness=Completeness.FULL
    )
    return ~Exists(held) | (by_runs & ~Exists(of_course) & ~Exists(itself))


def load(
    known: KnownOffer, *, budget: Budget, now: datetime, must_open_before: datetime, lock: bool
) -> Offer:
    """Return the offer of content that `find` found, with the replica's row if assignments can refer to it.

    Content from upstream decides, where `find` asked for it. The offer has the row only if the columns that
    are derived from both are equal, for an allocation with the deadline `must_open_before`; else the
    backfill attaches the assignment later. With `lock`, the row and its runs are locked, so that no change
    of content runs meanwhile.
    """
    stored = None if known.pk is None else _stored(known.pk, catalog_uuid=budget.catalog_uuid, lock=lock)
    if known.upstream is None:
        if stored is None:
            raise RuntimeError("Content is known to the replica or to upstream.")
        return stored
    upstream = _of_upstream(known.upstream)
    if stored is None:
        return upstream
    stored_columns, upstream_columns = (
        (one.content.title, one.content.start_date, one.join_by(now=now, must_open_before=must_open_before))
        for one in (stored, upstream)
    )
    return replace(upstream, row=stored.row) if stored_columns == upstream_columns else upstream


def _stored(pk: int, *, catalog_uuid: uuid.UUID, lock: bool) -> Offer:
    """Read the replica's row and its runs, which decide too; with `lock`, lock them in the order of keys."""
    content = next(one for one in _ROWS[lock].read(pk=pk) if one.pk == pk)
    # Read after the locks: a change that they waited for may have added or removed a run.
    members = _members.read(pk=pk, key=content.content_key, catalog=catalog_uuid)
    held = [one.content for one in members]
    of_course = [RunTerms.of(one) for one in held if one.pk != pk]
    return of_row(content, runs=of_course, in_catalog=content in held and content.gone_at is None)


def _rows(*, lock: bool) -> QuerySet[ContentMetadata]:
    """Return the row with this primary key; with `lock`, with its runs, locked."""
    contents = ContentMetadata.objects.defer("payload")
    itself = contents.filter(pk=_PK)
    if not lock:
        return itself
    of_it = contents.filter(
        content_type=ContentType.COURSERUN, parent_key=Subquery(itself.values("content_key"))
    )
    return locked_in_order(itself | of_it)


@PreparedSelect
def _members() -> QuerySet[CatalogMembership]:
    """Return what this catalog holds of a row, and of its runs."""
    key = Parameter("key", ContentMetadata._meta.get_field("parent_key"))
    runs = Q(content__content_type=ContentType.COURSERUN, content__parent_key=key)
    catalog = Parameter("catalog", CatalogMembership._meta.get_field("catalog_uuid"))
    members = CatalogMembership.objects.filter(Q(content=_PK) | runs, catalog_uuid=catalog)
    return members.select_related("content").defer("content__payload")


_PK = Parameter("pk", ContentMetadata._meta.pk)
_ROWS = {lock: PreparedSelect(partial(_rows, lock=lock)) for lock in (False, True)}


def _of_upstream(content: UpstreamContent) -> Offer:
    return Offer(content, None, content.parent_content_key, in_catalog=True, runs=content.runs)


def of_row(content: ContentMetadata, *, runs: Sequence[RunTerms], in_catalog: bool) -> Offer:
    """Return the offer of a row of the replica; `runs` are a course's in the catalog."""
    own = [RunTerms.of(content)] if content.content_type == ContentType.COURSERUN else runs
    return Offer(content, content, content.parent_key, in_catalog, tuple(own))
