"""Refreshes the content replica: catalogs, keys, or all due rows; called by commands and scheduled tasks."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db.models import Exists, OuterRef, Q

from bursary.assignments.choices import State
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.lib import leases
from bursary.lib.batches import ProgressCallback, keyset_pages
from bursary.lib.clock import Clock, renewing
from bursary.replica import cold_reads, refresh, removal, schedule
from bursary.replica.models import CatalogMembership, ContentMetadata, FormerContentKey, RefreshTrigger
from bursary.replica.refresh import ContentUnavailable, RefreshReport

ROWS_PER_RUN = 500
MARGIN = 1000  # rows that may become due while the command runs
ROWS_PER_STATEMENT = 500
MAX_BROUGHT_FORWARD = 5000


@dataclass(frozen=True)
class CatalogRefresh:
    """The refresh of one catalog; `unavailable` is why upstream stopped answering, if it did."""

    catalog_uuid: UUID
    report: RefreshReport
    unavailable: str = ""

    @property
    def failure(self) -> str:
        """Return a sentence on what an operator must repair, or an empty string."""
        what = self.unavailable or self.report.alarm
        return f"Catalog {self.catalog_uuid}: {what}" if what else ""

    def summary(self) -> dict[str, object]:
        """Return the refresh as plain values."""
        unavailable = self.unavailable or None
        return {"catalog_uuid": self.catalog_uuid, "unavailable": unavailable, **self.report.summary()}


@dataclass(frozen=True)
class RefreshRun:
    """The result of one scheduled run: the refreshed rows, and the numbers of rows made due and deleted."""

    due: RefreshReport
    brought_forward: int
    deleted_cold_reads: int

    def summary(self) -> dict[str, object]:
        """Return the run as plain values. Deleted answers of cold reads are `forgotten` in it."""
        run = {"brought_forward": self.brought_forward, "forgotten": self.deleted_cold_reads}
        return {"due": self.due.summary(), **run}


def budgets_catalogs() -> list[UUID]:
    """Return the catalogs of all budgets that are not retired."""
    budgets = Budget.objects.filter(retired_at=None).order_by("catalog_uuid")
    return list(budgets.values_list("catalog_uuid", flat=True).distinct())


def refresh_run(*, clock: Clock) -> RefreshRun:
    """Refresh at most `ROWS_PER_RUN` due rows; run every minute, by any number of processes.

    Content that open assignments depend on is made due in good time. Does not raise upstream's errors.
    """
    brought_forward = bring_forward(now=clock())
    due = refresh.refresh_due(clock=clock, source=refresh.configured_source(), limit=ROWS_PER_RUN)
    return RefreshRun(due, brought_forward, cold_reads.delete_old(now=clock()))


def read_listing(*, clock: Clock) -> CatalogRefresh | None:
    """Read the listing that has been due longest; return None if none is due.

    It may take long, and is a scheduled task of its own, so that due rows do not wait for it. A listing that
    is incomplete is due again after a delay that grows. Does not raise upstream's errors.
    """
    listing = schedule.claim_listing(budgets_catalogs(), now=clock())
    if listing is None:
        return None
    renewed = renewing(listing, clock=clock, lease=settings.CONTENT_LEASE)
    try:
        done = _refresh(listing.catalog_uuid, clock=renewed)
    except Exception as error:
        # The scheduler logs the error. The catalog is postponed, so that it does not come first for ever.
        schedule.settle_listing(listing, error=f"unexpected_error: {type(error).__name__}", now=clock())
        raise
    why = f"catalog_unavailable: {done.unavailable}" if done.unavailable else done.report.alarm
    schedule.settle_listing(listing, error=why, now=clock())
    return done


def refresh_due_rows(*, clock: Clock, on_progress: ProgressCallback) -> RefreshReport:
    """Refresh each due row once."""
    bring_forward(now=clock())
    limit = count_due_rows(now=clock()) + MARGIN
    source = refresh.configured_source()
    return refresh.refresh_due(clock=clock, source=source, limit=limit, on_progress=on_progress)


def count_due_rows(*, now: datetime) -> int:
    """Return the number of rows that are due."""
    return leases.count_due(ContentMetadata.objects.all(), now=now)


def bring_forward(*, now: datetime) -> int:
    """Make content due that open assignments depend on once `depended_on` has passed; return the number.

    It is here because the replica does not know of assignments. One query finds the content, so that no
    column has to be kept up to date. The interval begins when a catalog last returned the content;
    `checked_at` stays the same when a record is refused because it is older or of another type.
    """
    open_assignments = LearnerContentAssignment.objects.filter(
        Q(content=OuterRef("pk")) | Q(content__parent_key=OuterRef("content_key")), state=State.ALLOCATED
    )
    stale_at = now - settings.CONTENT_FRESHNESS["depended_on"]
    memberships = CatalogMembership.objects.filter(content=OuterRef("pk"))
    # Missing content has a schedule of its own: a second lookup confirms it.
    resting = memberships.filter(Q(seen_at__gt=stale_at) | Q(missing_since__isnull=False))
    stale = ContentMetadata.objects.filter(
        Exists(open_assignments),
        Exists(memberships),
        ~Exists(resting),
        due_at__gt=now + settings.CONTENT_LEASE,
        failures=0,
        gone_at=None,
    )
    brought = 0
    for pks in keyset_pages(stale.values_list("pk", flat=True), size=ROWS_PER_STATEMENT):
        brought += schedule.bring_forward(pks, now=now)
        if brought >= MAX_BROUGHT_FORWARD:
            break
    return brought


def refresh_catalogs(
    catalogs: Sequence[UUID],
    *,
    clock: Clock,
    dry_run: bool,
    on_progress: ProgressCallback,
    accept_drop: bool = False,
    resume: bool = True,
) -> list[CatalogRefresh]:
    """Refresh each catalog in full. One that is unavailable does not stop the others.

    With `resume`, an interrupted listing is resumed; else it begins again.
    """
    done: list[CatalogRefresh] = []
    for catalog_uuid in catalogs:
        before = sum(one.report.records for one in done)

        def on_records(records: int, before: int = before) -> None:
            on_progress(before + records)

        flags = {"dry_run": dry_run, "merge_unchanged": True, "accept_drop": accept_drop, "resume": resume}
        done.append(_refresh(catalog_uuid, clock=clock, on_progress=on_records, **flags))
    return done


def refresh_keys(
    keys: Collection[str], *, catalogs: Sequence[UUID], now: datetime, dry_run: bool
) -> list[CatalogRefresh]:
    """Refresh these keys in full, from the catalogs that hold them and from `catalogs`, which may do so."""
    # A run that has ended is found only through its course.
    courses = ContentMetadata.objects.filter(content_key__in=set(keys)).exclude(parent_key="")
    former = FormerContentKey.objects.filter(former_key__in=set(keys))
    asked = {
        *keys,
        *courses.values_list("parent_key", flat=True),
        *former.values_list("content_key", flat=True),
    }
    memberships = CatalogMembership.objects.filter(content__content_key__in=asked)
    holders = memberships.order_by().values_list("catalog_uuid", flat=True).distinct()
    done: list[CatalogRefresh] = []
    for catalog_uuid in sorted({*holders, *catalogs}):
        try:
            report = refresh.refresh_keys(
                asked,
                catalog_uuid=catalog_uuid,
                source=refresh.configured_source(),
                now=now,
                trigger=RefreshTrigger.CRON,
                dry_run=dry_run,
                merge_unchanged=True,
            )
        except ContentUnavailable as failure:
            done.append(CatalogRefresh(catalog_uuid, failure.so_far, str(failure)))
        else:
            done.append(CatalogRefresh(catalog_uuid, report))
    return done


def unknown_keys(keys: Collection[str], *, done: Sequence[CatalogRefresh]) -> list[str]:
    """Return the keys, present or former, that are neither in the replica nor in a record of `done`."""
    unusable = {rejected.key for one in done for rejected in one.report.unparsable}
    known = ContentMetadata.objects.filter(content_key__in=list(keys)).values_list("content_key", flat=True)
    former = FormerContentKey.objects.filter(former_key__in=list(keys)).values_list("former_key", flat=True)
    return sorted(set(keys) - set(known) - set(former) - unusable)


def current_alarms() -> list[str]:
    """Return a sentence for each catalog that lacks too much of its content."""
    return [f"Catalog {uuid}: {alarm}" for uuid, alarm in sorted(removal.alarms().items())]


def _refresh(
    catalog_uuid: UUID,
    *,
    clock: Clock,
    on_progress: ProgressCallback | None = None,
    dry_run: bool = False,
    merge_unchanged: bool = False,
    accept_drop: bool = False,
    resume: bool = True,
) -> CatalogRefresh:
    try:
        report = refresh.refresh_catalog(
            catalog_uuid,
            source=refresh.configured_source(),
            now=clock(),
            clock=clock,
            trigger=RefreshTrigger.CRON,
            dry_run=dry_run,
            merge_unchanged=merge_unchanged,
            accept_drop=accept_drop,
            resume=resume,
            on_progress=on_progress,
        )
    except ContentUnavailable as failure:
        return CatalogRefresh(catalog_uuid, failure.so_far, str(failure))
    return CatalogRefresh(catalog_uuid, report)
