"""When each catalog is to be read as a whole, and who reads it: claims by `due_at`, as for content."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import F, Q

from bursary.lib.retries import in_transaction
from bursary.replica import freshness
from bursary.replica.models import CatalogListing

RESUMED_FOR = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class ListingClaim:
    """A listing that is ours to read."""

    catalog_uuid: UUID
    fence: int
    failures: int


def interrupted(catalog_uuid: UUID, *, now: datetime) -> datetime | None:
    """Return when the listing began that may be read on; None where none was interrupted lately."""
    lately = CatalogListing.objects.filter(
        catalog_uuid=catalog_uuid, begun_at__gt=now - RESUMED_FOR, begun_at__lte=now
    )
    return lately.values_list("begun_at", flat=True).first()


def begin(catalog_uuid: UUID, *, begun_at: datetime) -> None:
    """Note that a listing is being read: its first records are there."""

    def note() -> None:
        row = CatalogListing(catalog_uuid=catalog_uuid)
        CatalogListing.objects.bulk_create([row], ignore_conflicts=True)
        CatalogListing.objects.filter(catalog_uuid=catalog_uuid).update(begun_at=begun_at)

    in_transaction(note)


def ended(catalog_uuid: UUID, *, begun_at: datetime) -> None:
    """Note that nothing of the listing that began then is left to do."""
    rows = CatalogListing.objects.filter(catalog_uuid=catalog_uuid, begun_at=begun_at)
    in_transaction(lambda: rows.update(begun_at=None))


def claim(catalogs: Collection[UUID], *, now: datetime) -> ListingClaim | None:
    """Take up one of these catalogs whose listing is due, the one that waits longest, or None.

    A catalog that was never listed is due at once.
    """

    def take_up() -> ListingClaim | None:
        new = [CatalogListing(catalog_uuid=uuid, due_at=now) for uuid in catalogs]
        CatalogListing.objects.bulk_create(new, ignore_conflicts=True)
        ours = CatalogListing.objects.filter(catalog_uuid__in=list(catalogs))
        # Never listed, or due later than can be: then a clock was ahead that wrote it.
        ours.filter(Q(due_at=None) | Q(due_at__gt=freshness.latest(now))).update(due_at=now)
        row = ours.filter(due_at__lte=now).order_by("due_at", "pk").first()
        if row is None:
            return None
        mine = ours.filter(pk=row.pk, fence=row.fence, due_at__lte=now)
        if not mine.update(fence=F("fence") + 1, due_at=now + settings.CONTENT_LEASE):
            return None
        return ListingClaim(row.catalog_uuid, row.fence + 1, row.failures)

    return in_transaction(take_up)


def keeping(listing: ListingClaim, *, clock: Callable[[], datetime]) -> Callable[[int], None]:
    """Return what to call now and then while reading: it renews the lease when a third of it is over."""
    renewed = clock()

    def renew(_records: int) -> None:
        nonlocal renewed
        now = clock()
        if now - renewed >= settings.CONTENT_LEASE / 3:
            renewed = now
            _settle(listing, due_at=now + settings.CONTENT_LEASE)

    return renew


def read(listing: ListingClaim, *, now: datetime) -> None:
    """Note that the listing was read to its end."""
    _settle(listing, due_at=now + freshness.span("listing"), failures=0, last_error="")


def broke_off(listing: ListingClaim, *, now: datetime, error: str) -> None:
    """Note that the listing was not read to its end; it is due again after a pause that grows."""
    pause = freshness.wait_after(listing.failures + 1)
    _settle(listing, due_at=now + pause, failures=F("failures") + 1, last_error=error)


def _settle(listing: ListingClaim, **columns: object) -> None:
    rows = CatalogListing.objects.filter(catalog_uuid=listing.catalog_uuid, fence=listing.fence)
    in_transaction(lambda: rows.update(**columns))
