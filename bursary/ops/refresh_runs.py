"""Refreshing the content replica: whole catalogs, some keys, or what is due; by command, or at a tick."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db.models import Exists, OuterRef, Q

from bursary.assignments.choices import State
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.ops.console import Advance
from bursary.replica import cold_reads, listings, refresh, removal, schedule
from bursary.replica.models import CatalogMembership, ContentMetadata, RefreshSource
from bursary.replica.refresh import Clock, ContentUnavailable
from bursary.replica.report import RefreshReport

ROWS_A_TICK = 500
ROWS_A_ROUND = 1000
ROWS_PER_STATEMENT = 500
MOST_BROUGHT_FORWARD = 5000


@dataclass(frozen=True)
class CatalogRefresh:
    """What became of one catalog; `unavailable` says why upstream stopped answering, if it did."""

    catalog_uuid: UUID
    report: RefreshReport
    unavailable: str = ""

    @property
    def failure(self) -> str:
        """Return a sentence on what an operator must know, or nothing."""
        what = self.unavailable or self.report.alarm
        return f"Catalog {self.catalog_uuid}: {what}" if what else ""

    def summary(self) -> dict[str, object]:
        """Return it as plain values."""
        return {
            "catalog_uuid": self.catalog_uuid,
            "unavailable": self.unavailable or None,
            **self.report.as_dict(),
        }


@dataclass(frozen=True)
class RefreshRun:
    """What a tick did: what was due, and what it made due or forgot."""

    due: RefreshReport
    brought_forward: int
    forgotten: int

    def summary(self) -> dict[str, object]:
        """Return it as plain values."""
        return {
            "due": self.due.as_dict(),
            "brought_forward": self.brought_forward,
            "forgotten": self.forgotten,
        }


def budgets_catalogs() -> list[UUID]:
    """Return the catalogs of all budgets that are not retired."""
    budgets = Budget.objects.filter(retired_at=None).order_by("catalog_uuid")
    return list(budgets.values_list("catalog_uuid", flat=True).distinct())


def refresh_run(*, clock: Clock) -> RefreshRun:
    """Do what is to be done periodically, a bounded part of it: call it every minute, anywhere, at once.

    What open assignments depend on is made due in good time, and at most `ROWS_A_TICK` rows that are due are
    looked at. Never raises for upstream.
    """
    brought_forward = _bring_back(now=clock()) + bring_forward(now=clock())
    due = refresh.refresh_due(clock=clock, source=refresh.configured_source(), most=ROWS_A_TICK)
    return RefreshRun(due, brought_forward, cold_reads.forget(now=clock()))


def read_listing(*, clock: Clock) -> CatalogRefresh | None:
    """Read as a whole the catalog that is due and waits longest; return what became of it, None if none is.

    It may take long, and so goes apart from `tick`: what is due does not wait for it. Never raises for
    upstream.
    """
    listing = listings.claim(budgets_catalogs(), now=clock())
    if listing is None:
        return None
    keep = listings.keeping(listing, clock=clock)
    try:
        done = _refresh(listing.catalog_uuid, clock=clock, advance=keep)
    except Exception as error:
        # Not swallowed: whoever ticks logs it. But this catalog must not come first for ever.
        listings.broke_off(listing, now=clock(), error=f"unexpected_error: {type(error).__name__}")
        raise
    if done.unavailable:
        listings.broke_off(listing, now=clock(), error=f"catalog_unavailable: {done.unavailable}")
    elif done.report.alarm:
        # A listing that was cut short may be whole again in a minute.
        listings.broke_off(listing, now=clock(), error=done.report.alarm)
    else:
        listings.read(listing, now=clock())
    return done


def refresh_stale(*, clock: Clock, advance: Advance) -> RefreshReport:
    """Look at everything that is due, once."""
    _bring_back(now=clock())
    bring_forward(now=clock())
    most = count_stale(now=clock()) + ROWS_A_ROUND
    source = refresh.configured_source()
    return refresh.refresh_due(clock=clock, source=source, most=most, progress=advance)


def count_stale(*, now: datetime) -> int:
    """Return how much content is due."""
    return schedule.due(now).order_by().count()


def _bring_back(*, now: datetime) -> int:
    return schedule.bring_back(now=now, most=MOST_BROUGHT_FORWARD)


def bring_forward(*, now: datetime) -> int:
    """Make due what open assignments depend on, as soon as that is stale by its own rule; return how much.

    It is here because content knows nothing of assignments, and set-based: no column keeps who depends on
    what, so none can be wrong. Stale is what no catalog was seen to name for so long: whatever it said, and
    whether or not that was older than what we have, it has been looked at.
    """
    open_assignments = LearnerContentAssignment.objects.filter(
        Q(content=OuterRef("pk")) | Q(content__parent=OuterRef("pk")), state=State.ALLOCATED
    )
    stale_at = now - settings.CONTENT_FRESHNESS["depended_on"]
    held = CatalogMembership.objects.filter(content=OuterRef("pk"))
    # What is missing is asked for by key, in its own time.
    resting = held.filter(Q(seen_at__gt=stale_at) | Q(missing_since__isnull=False))
    stale = ContentMetadata.objects.filter(
        Exists(open_assignments),
        Exists(held),
        ~Exists(resting),
        due_at__gt=now + settings.CONTENT_LEASE,
        failures=0,
        gone_at=None,
    ).order_by("pk")
    last = brought = 0
    while brought < MOST_BROUGHT_FORWARD:
        pks = list(stale.filter(pk__gt=last).values_list("pk", flat=True)[:ROWS_PER_STATEMENT])
        if not pks:
            break
        last = pks[-1]
        brought += schedule.bring_forward(pks, now=now, lease=settings.CONTENT_LEASE)
    return brought


def refresh_catalogs(
    catalogs: Sequence[UUID],
    *,
    clock: Clock,
    dry_run: bool,
    advance: Advance,
    accept_drop: bool = False,
    anew: bool = False,
) -> list[CatalogRefresh]:
    """Refresh each catalog. One that is unavailable does not stop the others.

    What was interrupted goes on where it was, unless it is to begin `anew`.
    """
    done: list[CatalogRefresh] = []
    for catalog_uuid in catalogs:
        before = sum(one.report.records for one in done)
        done.append(
            _refresh(
                catalog_uuid,
                clock=clock,
                dry_run=dry_run,
                advance=_after(before, advance),
                accept_drop=accept_drop,
                anew=anew,
            )
        )
    return done


def refresh_keys(
    keys: Collection[str], *, catalogs: Sequence[UUID], now: datetime, dry_run: bool
) -> list[CatalogRefresh]:
    """Ask now for these keys: the catalogs that hold them, and for unknown ones all of `catalogs`."""
    done: list[CatalogRefresh] = []
    for catalog_uuid, asked in sorted(_whom_to_ask(set(keys), catalogs).items()):
        try:
            report = refresh.refresh_keys(
                asked,
                catalog_uuid=catalog_uuid,
                source=refresh.configured_source(),
                now=now,
                by=RefreshSource.CRON,
                dry_run=dry_run,
            )
        except ContentUnavailable as silent:
            done.append(CatalogRefresh(catalog_uuid, silent.so_far, str(silent)))
        else:
            done.append(CatalogRefresh(catalog_uuid, report))
    return done


def unknown_keys(keys: Collection[str]) -> list[str]:
    """Return the keys that we have no content for."""
    known = ContentMetadata.objects.filter(content_key__in=list(keys)).values_list("content_key", flat=True)
    return sorted(set(keys) - set(known))


def troubles(done: Iterable[CatalogRefresh]) -> str:
    """Return a sentence for each catalog that did not answer or is alarming, or nothing."""
    return " ".join(one.failure for one in done if one.failure)


def _whom_to_ask(keys: set[str], catalogs: Sequence[UUID]) -> dict[UUID, set[str]]:
    rows = CatalogMembership.objects.filter(
        Q(content__content_key__in=keys) | Q(content__runs__content_key__in=keys)
    )
    held = rows.order_by().values_list("catalog_uuid", "content__content_key", "content__runs__content_key")
    asked: dict[UUID, set[str]] = defaultdict(set)
    known: set[str] = set()
    for catalog_uuid, course, run in held:
        known |= {course, run} & keys
        asked[catalog_uuid].add(course)  # a run that is over is found by its course alone
    for catalog_uuid in catalogs if keys - known else ():
        asked[catalog_uuid] |= keys - known
    return asked


def _refresh(
    catalog_uuid: UUID,
    *,
    clock: Clock,
    advance: Advance,
    dry_run: bool = False,
    accept_drop: bool = False,
    anew: bool = False,
) -> CatalogRefresh:
    try:
        report = refresh.refresh_catalog(
            catalog_uuid,
            source=refresh.configured_source(),
            now=clock(),
            clock=clock,
            by=RefreshSource.CRON,
            dry_run=dry_run,
            accept_drop=accept_drop,
            anew=anew,
            progress=advance,
        )
    except ContentUnavailable as silent:
        return CatalogRefresh(catalog_uuid, silent.so_far, str(silent))
    return CatalogRefresh(catalog_uuid, report)


def _after(before: int, advance: Advance) -> Advance:
    return lambda records: advance(before + records)


def standing_alarms() -> list[str]:
    """Return a sentence for each catalog of which too much is missing."""
    return [f"Catalog {uuid}: {alarm}" for uuid, alarm in sorted(removal.alarms().items())]
