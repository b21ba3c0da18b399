"""Content as a budget's catalog offers it: whether it is there, and on what terms it can be joined.

Read by the read mode: the replica's row, or upstream's content.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime

from bursary.assignments.models import FAR_FUTURE
from bursary.budgets.models import Budget
from bursary.lib.locks import for_update
from bursary.replica import joining, read_modes, reads
from bursary.replica.joining import JoiningRefusal, JoiningTerms, NotJoinable, RunTerms
from bursary.replica.models import CatalogMembership, Completeness, ContentMetadata, ContentType
from bursary.replica.types import AnyContent, UpstreamContent

_BY_RUNS = (ContentType.COURSE, ContentType.COURSERUN)


@dataclass(frozen=True)
class KnownOffer:
    """Content before anything is locked: the pk of the replica's row, upstream's content, or both."""

    pk: int | None
    upstream: UpstreamContent | None


@dataclass(frozen=True)
class Offer:
    """Content for one catalog, with its course's key and its runs there: its own terms, if it is one."""

    content: AnyContent
    row: ContentMetadata | None
    """The row that an assignment will refer to."""
    parent_key: str
    in_catalog: bool
    runs: tuple[RunTerms, ...]

    def terms(self, *, now: datetime, before: datetime) -> JoiningTerms:
        """Return the terms on which it can be joined from `now` on, and `before` that instant.

        A program or pathway is not joined by runs: its own terms hold. Raises joining.NotJoinable.
        """
        content = self.content
        if content.content_type not in _BY_RUNS:
            return JoiningTerms(
                "", content.price_cents, joining.closing(content.enroll_by, content.end_date)
            )
        return joining.joining_terms(self.runs, advertised=content.advertised_run, now=now, before=before)

    def joined_by(self, *, before: datetime) -> datetime:
        """Return the content's own bound of a deadline, FAR_FUTURE without one (see `joining.joined_by`)."""
        content = self.content
        own = joining.closing(content.enroll_by, content.end_date)
        runs = self.runs if content.content_type == ContentType.COURSE else ()
        return joining.joined_by(runs, before=before, otherwise=own) or FAR_FUTURE


def in_words(refused: NotJoinable, *, now: datetime, before: datetime) -> str:
    """Return as a sentence why content cannot be joined, by the date that decides."""
    run = refused.run
    if refused.reason is JoiningRefusal.ENDED and run and run.end:
        return f"It ended on {moment(run.end)}."
    if refused.reason is JoiningRefusal.NOT_IN_TIME and run:
        if run.enroll_by and run.enroll_by <= now:
            return f"Enrolment closed on {moment(run.enroll_by)}."
        if run.enroll_start:
            return f"Enrolment opens on {moment(run.enroll_start)}, and the assignment ends on {moment(before)}."
    return "The catalog does not offer this for enrolment."


def figures(refused: NotJoinable, *, before: datetime) -> dict[str, object]:
    """Return the run that came nearest to being joined, and the dates that decide about it."""
    run = refused.run
    if run is None:
        return {}
    match refused.reason:
        case JoiningRefusal.ENDED:
            return {"content_run_key": run.key, "end_date": run.end}
        case JoiningRefusal.NOT_IN_TIME:
            dates = {"enroll_start": run.enroll_start, "enroll_by": run.enroll_by, "end_date": run.end}
            return {"content_run_key": run.key, **dates, "deadline": before}
    return {"content_run_key": run.key}


def moment(at: datetime) -> str:
    """Return an instant as refusals spell it."""
    return f"{at:%d %B %Y, %H:%M} UTC"


def find(content_key: str, *, budget: Budget, now: datetime) -> KnownOffer:
    """Find content by the read mode. Upstream is asked here: call it before any transaction.

    Raises reads.UnknownContent, and reads.ContentUnavailable where upstream does not answer, or has no more
    than a thin record yet: nothing is known by that.
    """
    upstream = None
    if read_modes.reads_upstream():
        upstream = read_modes.one_from_upstream(content_key, catalog_uuid=budget.catalog_uuid, now=now)
        if upstream.completeness == Completeness.THIN and upstream.content_type == ContentType.COURSE:
            raise reads.ContentUnavailable("The catalog has not the whole course yet.")
    return KnownOffer(read_modes.linked(content_key, catalog_uuid=budget.catalog_uuid, now=now), upstream)


def read(known: KnownOffer, *, budget: Budget, before: datetime, lock: bool) -> Offer:
    """Return the offer, with the replica's row where an assignment can refer to one.

    In shadow mode upstream's content decides. The row is referred to only where the columns derived from it
    would be the same for an allocation that ends `before` that instant otherwise; the backfill joins the
    assignment to it once they are. With `lock`, wait for a change in flight, and keep the next one waiting.
    """
    ours = None if known.pk is None else _stored(known.pk, catalog_uuid=budget.catalog_uuid, lock=lock)
    if known.upstream is None:
        if ours is None:
            raise RuntimeError("Content is known to the replica or to upstream.")
        return ours
    served = known.upstream
    theirs = Offer(served, None, served.parent_content_key, in_catalog=True, runs=served.runs)
    if ours is None or not _derived_alike(ours, theirs, before=before):
        return theirs
    return Offer(served, ours.row, served.parent_content_key, in_catalog=True, runs=served.runs)


def _derived_alike(ours: Offer, theirs: Offer, *, before: datetime) -> bool:
    names = [(one.content.title, one.content.start_date) for one in (ours, theirs)]
    return names[0] == names[1] and ours.joined_by(before=before) == theirs.joined_by(before=before)


def _stored(pk: int, *, catalog_uuid: uuid.UUID, lock: bool) -> Offer:
    """Read the replica's row and its runs, locked in the order of keys if `lock`: the runs decide as well."""
    contents = ContentMetadata.objects.defer("payload")
    content = contents.get(pk=pk)
    if lock:
        own = contents.filter(pk=pk) | contents.filter(
            content_type=ContentType.COURSERUN, parent_key=content.content_key
        )
        content = next(one for one in for_update(own.order_by(*ContentMetadata.LOCK_ORDER)) if one.pk == pk)
    held = CatalogMembership.objects.filter(content=pk, catalog_uuid=catalog_uuid).exists()
    if content.content_type == ContentType.COURSE:
        key = content.content_key
        runs = joining.runs_of([key], catalogs=[catalog_uuid]).get((catalog_uuid, key), [])
    else:
        runs = [RunTerms.of(content)] if content.content_type == ContentType.COURSERUN else []
    return Offer(content, content, content.parent_key, held and content.gone_at is None, tuple(runs))
