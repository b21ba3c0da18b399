"""Ends a catalog membership after two lookups by key, an hour apart, have both returned nothing.

A missing entry in a listing is not enough: a listing leaves out what is inactive, and may be cut short
without saying so. Nothing is removed while more than a fifth of a catalog is missing, and more than four
entries.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from fractions import Fraction
from typing import NamedTuple
from uuid import UUID

from django.db.models import Q, QuerySet

from bursary.lib.batches import keyset_pages
from bursary.lib.locks import for_update, locked_in_order
from bursary.lib.retries import in_transaction
from bursary.replica import membership, merge, renamed_keys, schedule, store
from bursary.replica.ingest import BATCH, content_changed
from bursary.replica.merge import FetchContext
from bursary.replica.models import CatalogListing, CatalogMembership, ContentMetadata, ContentType

LARGEST_ALLOWED_SHARE = Fraction(1, 5)
"""The part of a catalog's entries that may be missing without an alarm."""
ALWAYS_ALLOWED = 4
"""So many entries may be missing from any catalog: of a small one, a single entry is more than a fifth."""
REMOVALS_ALLOWED_FOR = timedelta(days=2)
"""How long an operator's permission holds: longer than two lookups take."""


class Missing(NamedTuple):
    """The result of lookups that returned nothing."""

    ended: int
    """Memberships that ended."""
    recheck: Collection[int]
    """Content that was missed for the first time, or not long enough ago."""
    alarm: str
    """Why memberships did not end; "" where nothing kept them."""


def accept_listing(context: FetchContext, *, begun_at: datetime, listed: int, accept_drop: bool) -> str:
    """Accept a complete listing and return ''; or return the alarm, and accept nothing.

    An accepted listing sets the size that the next one is compared with; the first is compared with the known
    members. A listing that began before another was accepted, or raised an alarm, changes nothing.
    """

    def accept() -> str:
        listing = _locked_listing(context)
        if accept_drop:
            until = context.now + REMOVALS_ALLOWED_FOR
            listing.removals_allowed_until = max(until, listing.removals_allowed_until or until)
            listing.save(update_fields=["removals_allowed_until"])
        decided_at = (listing.started_at, None if accept_drop else listing.alarmed_at)
        if any(at and begun_at < at for at in decided_at):
            return ""
        if alarm := predict_alarm(context.catalog_uuid, listed=listed, accept_drop=accept_drop):
            _raise_alarm(listing, alarm, now=context.now)
            return alarm
        listing.started_at, listing.listed = begun_at, listed
        listing.alarm, listing.alarmed_at = "", None
        listing.save(update_fields=["started_at", "listed", "alarm", "alarmed_at"])
        return ""

    return in_transaction(accept)


def predict_alarm(catalog_uuid: UUID, *, listed: int, accept_drop: bool) -> str:
    """Return the alarm that a listing of this size would raise, or an empty string."""
    last = CatalogListing.objects.filter(catalog_uuid=catalog_uuid).exclude(started_at=None).first()
    before = last.listed if last else listed_memberships(catalog_uuid).count()
    missing = before - listed
    is_emptied = missing > 0 and not listed  # an alarm even for a small catalog
    if accept_drop or (_may_be_missing(missing, of=before) and not is_emptied):
        return ""
    return (
        f"The listing names {listed} where the one before named {before}: more than a fifth is missing. "
        "Nothing was removed."
    )


def pks_held(catalog_uuid: UUID, *, keys: Collection[str]) -> list[int]:
    """Return the pks of the content among these keys that the catalog holds."""
    rows = listed_memberships(catalog_uuid).filter(content__content_key__in=keys)
    return list(rows.order_by("content_id").values_list("content", flat=True))


def seen_since(catalog_uuid: UUID, keys: Sequence[str], *, begun_at: datetime) -> set[str]:
    """Return which of these keys the catalog has returned since `begun_at`."""
    rows = listed_memberships(catalog_uuid).filter(
        content__content_key__in=keys, seen_at__gte=begun_at, missing_since=None
    )
    return set(rows.order_by().values_list("content__content_key", flat=True))


def unseen_since(catalog_uuid: UUID, *, begun_at: datetime) -> Iterator[list[tuple[int, str]]]:
    """Yield, in batches, the content (pk, key) that the catalog has not returned since `begun_at`."""
    rows = listed_memberships(catalog_uuid).filter(seen_at__lt=begun_at)
    columns = rows.values_list("content_id", "content__content_key")
    yield from keyset_pages(columns, size=BATCH, key="content_id")


def record_missing(pks: Collection[int], *, context: FetchContext) -> Missing:
    """Write that the catalog, asked by key, did not have this content; end what was missed twice.

    Content is locked before its memberships, as in `store`, so that it is either seen or ended. Content that
    was seen after the lookup began is not missing. Nor is a course that the catalog serves under another key:
    its membership and assignments move to that row.
    """
    missed = listed_memberships(context.catalog_uuid).filter(content__in=list(pks), seen_at__lt=context.now)

    def record() -> Missing:
        list(locked_in_order(_concerned(pks, catalog_uuid=context.catalog_uuid)).values_list("pk"))
        listing = _locked_listing(context)
        renamed = renamed_keys.successors(missed.values_list("content", flat=True), context=context)
        if renamed:
            _end_renamed(renamed, context=context)
        since = dict(missed.order_by("content_id").values_list("content", "missing_since"))
        missed.filter(missing_since=None).update(missing_since=context.now)
        confirmable = context.now - schedule.RECHECK_MISSING_AFTER
        recheck = {pk for pk, at in since.items() if at is None or at > confirmable}
        unlisted = missed.filter(seen_at__lt=listing.started_at) if listing.started_at else missed.none()
        confirmed = list(unlisted.exclude(content__in=recheck).values_list("content", flat=True))
        if not confirmed:
            return Missing(len(renamed), recheck, "")
        if alarm := _removal_alarm(listing, now=context.now):
            _raise_alarm(listing, alarm, now=context.now)
            return Missing(len(renamed), recheck, alarm)
        _end(confirmed, context=context)
        return Missing(len(renamed) + len(confirmed), recheck, "")

    return in_transaction(record)


def listed_memberships(catalog_uuid: UUID) -> QuerySet[CatalogMembership]:
    """Return the memberships of what the catalog lists itself, without the runs that courses name."""
    return CatalogMembership.objects.filter(catalog_uuid=catalog_uuid, via_course="")


def alarms() -> dict[UUID, str]:
    """Return the alarm of each catalog that has one."""
    return dict(CatalogListing.objects.exclude(alarm="").values_list("catalog_uuid", "alarm"))


def _locked_listing(context: FetchContext) -> CatalogListing:
    schedule.add_listings([context.catalog_uuid], now=context.now)
    return for_update(CatalogListing.objects.all()).get(catalog_uuid=context.catalog_uuid)


def _removal_alarm(listing: CatalogListing, *, now: datetime) -> str:
    if listing.removals_allowed_until and now < listing.removals_allowed_until:
        return ""
    rows = listed_memberships(listing.catalog_uuid)
    total, missing = rows.count(), rows.filter(missing_since__isnull=False).count()
    if _may_be_missing(missing, of=total):
        return ""
    return (
        f"Asked by key, the catalog does not have {missing} of the {total} that it held: more than a fifth. "
        "Nothing was removed."
    )


def _may_be_missing(missing: int, *, of: int) -> bool:
    """Return whether so many of a catalog's entries may be missing without an alarm."""
    return missing <= ALWAYS_ALLOWED or missing <= of * LARGEST_ALLOWED_SHARE


def _raise_alarm(listing: CatalogListing, alarm: str, *, now: datetime) -> None:
    listing.alarm, listing.alarmed_at = alarm, listing.alarmed_at or now
    listing.save(update_fields=["alarm", "alarmed_at"])


def _concerned(pks: Collection[int], *, catalog_uuid: UUID) -> QuerySet[ContentMetadata]:
    """Return this content, the same courses under other keys, and their runs."""
    missed = ContentMetadata.objects.filter(pk__in=pks).order_by()
    uuids = set(missed.filter(content_type=ContentType.COURSE).values_list("uuid", flat=True)) - {None}
    courses = ContentMetadata.objects.filter(uuid__in=uuids).order_by()
    keys = {*missed.values_list("content_key", flat=True), *courses.values_list("content_key", flat=True)}
    named = CatalogMembership.objects.filter(catalog_uuid=catalog_uuid, via_course__in=keys)
    # As values: of a subquery in an OR, PostgreSQL reads every row of the table.
    runs = set(named.values_list("content", flat=True))
    about = Q(content_key__in=keys) | Q(parent_key__in=keys) | Q(pk__in=runs)
    return ContentMetadata.objects.filter(about)


def _end_renamed(successors: Mapping[int, int], *, context: FetchContext) -> None:
    """End memberships of courses that the catalog serves under other keys; all of it is locked."""
    catalog_uuid, catalog = context.catalog_uuid, str(context.catalog_uuid)
    both = {*successors, *successors.values()}
    rows = ContentMetadata.objects.in_bulk(both)
    columns = {
        row["pk"]: row for row in ContentMetadata.objects.filter(pk__in=both).values("pk", *merge.COLUMNS)
    }
    members = CatalogMembership.objects.filter(catalog_uuid=catalog_uuid)
    members.filter(content__in=successors).delete()
    gone = membership.mark_gone(set(successors), context=context)
    differences: list[tuple[int, str, object, object]] = []
    for old, new in successors.items():
        former_key, content_key = rows[old].content_key, rows[new].content_key
        members.filter(via_course=former_key).update(via_course=content_key)
        renamed_keys.remember(former_key, content_key=content_key)
        differences.append((new, "content_key", former_key, content_key))
        changed = merge.differences(columns[old], columns[new])
        differences += [(new, name, before, after) for name, (before, after) in changed.items()]
    changes: list[tuple[int, str, object, object]] = [
        *((pk, "membership", catalog, None) for pk in successors),
        *((pk, "gone_at", None, context.now.isoformat()) for pk in sorted(gone)),
    ]
    store.record_changes(changes, context=context)
    store.record_changes(differences, context=context, catalog_uuid=catalog_uuid)
    content_changed.send(
        sender=ContentMetadata,
        pks=sorted(both),
        now=context.now,
        repointed=[(catalog_uuid, old, new) for old, new in successors.items()],
        renamed={},
    )


def _end(pks: Collection[int], *, context: FetchContext) -> None:
    """End memberships, those of the runs that these courses name included; all of it is locked."""
    courses = ContentMetadata.objects.filter(pk__in=pks, content_type=ContentType.COURSE)
    rows = CatalogMembership.objects.filter(
        Q(content__in=pks) | Q(via_course__in=list(courses.values_list("content_key", flat=True))),
        catalog_uuid=context.catalog_uuid,
    )
    ended = dict(rows.order_by("content").values_list("pk", "content"))
    CatalogMembership.objects.filter(pk__in=ended).delete()
    gone = membership.mark_gone(set(ended.values()), context=context)
    changes: list[tuple[int, str, object, object]] = [
        *((pk, "membership", str(context.catalog_uuid), None) for pk in ended.values()),
        *((pk, "gone_at", None, context.now.isoformat()) for pk in sorted(gone)),
    ]
    store.record_changes(changes, context=context)
    content_changed.send(
        sender=ContentMetadata, pks=sorted(ended.values()), now=context.now, repointed=(), renamed={}
    )
