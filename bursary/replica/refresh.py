"""Refreshes the replica from upstream: a whole catalog, some keys, or what is due.

The only way to write content. Requests to upstream are made outside any transaction. `ingest.py` stores
records, `removal.py` decides what a missing record means, and `schedule.py` selects the due rows.
"""

import json
import logging
import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from uuid import UUID

from django.conf import settings

from bursary.catalog import parser
from bursary.catalog.demo.shift import courses
from bursary.catalog.records import CatalogUnavailable, Unfetched
from bursary.catalog.source import CatalogCredentials, CatalogSource, breaker_state, open_source
from bursary.lib import leases, postgres
from bursary.lib.batches import ProgressCallback, chunks
from bursary.lib.clock import Clock
from bursary.lib.logs import log_failure
from bursary.replica import removal, schedule
from bursary.replica.ingest import BATCH as BATCH
from bursary.replica.ingest import RefreshReport as RefreshReport
from bursary.replica.ingest import RejectedRecord, ingest
from bursary.replica.ingest import content_changed as content_changed
from bursary.replica.merge import FetchContext
from bursary.replica.models import CatalogListing, CatalogMembership, ContentMetadata, RefreshTrigger

logger = logging.getLogger(__name__)
FIRST_ANALYZED = 1000
"""New courses and runs after which a listing has statistics taken; then whenever they have doubled."""


class ContentUnavailable(Exception):
    """Upstream does not answer. Records that were stored before stay, and `so_far` counts them."""

    reason = "catalog_unavailable"

    def __init__(self, detail: str, *, so_far: RefreshReport | None = None) -> None:
        super().__init__(detail)
        self.so_far = so_far or RefreshReport()


def configured_source() -> CatalogSource:
    """Return the catalog at `CATALOG_URL`: one object for each process, shared by threads.

    Raises ValueError for a bad address, and for one over HTTP without credentials.
    """
    client = (settings.OAUTH_URL, settings.OAUTH_CLIENT_ID, settings.OAUTH_CLIENT_SECRET)
    credentials = CatalogCredentials(*client, deadline=settings.UPSTREAM_DEADLINE) if all(client) else None
    return _opened(settings.CATALOG_URL, credentials, os.getpid())


@lru_cache(maxsize=1)
def _opened(url: str, credentials: CatalogCredentials | None, _process: int) -> CatalogSource:
    return open_source(url, credentials=credentials)


def upstream_state() -> str | None:
    """Return the state of the catalog's breaker in this process; None for a catalog that is no service."""
    return breaker_state(configured_source())


def write_sample_catalog(path: Path, *, now: datetime, slug: str) -> bool:
    """Write the sample catalog of the organisation with the slug, its dates moved to `now`, unless the file
    exists; return whether it was written.
    """
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("w", encoding="utf-8") as file:
        file.writelines(
            f"{json.dumps(record, ensure_ascii=False)}\n" for record in courses(now=now, slug=slug)
        )
    draft.replace(path)
    return True


def refresh_catalog(
    catalog_uuid: UUID,
    *,
    source: CatalogSource,
    now: datetime,
    trigger: RefreshTrigger,
    dry_run: bool = False,
    merge_unchanged: bool = False,
    accept_drop: bool = False,
    resume: bool = True,
    clock: Clock | None = None,
    on_progress: ProgressCallback | None = None,
) -> RefreshReport:
    """Store all records of a catalog; then ask by key for what its listing leaves out (see `removal`).

    `clock` gives the time of each request; without it, each has the time `now`. `on_progress` is called with
    the number of records so far, after each batch and request. A dry run writes nothing. With
    `merge_unchanged`, unchanged records are merged, too. With `accept_drop`, more than a fifth of the catalog
    may be missing. With `resume`, an interrupted listing is resumed. The report names unusable records.
    Raises ContentUnavailable where upstream stops answering; nothing is removed then. An exception of a
    receiver of `content_changed` rolls back the present batch and ends the refresh.
    """
    context = _context(source, catalog_uuid, now=now, trigger=trigger, merge_unchanged=merge_unchanged)
    listing = _Listing(context, source, resume=resume and not dry_run, clock=clock or (lambda: now))
    report = RefreshReport()
    try:
        for part in listing.read(dry_run=dry_run):
            report += part
            if on_progress and part.records:
                on_progress(report.records)
        if dry_run:
            alarm = removal.predict_alarm(catalog_uuid, listed=report.listed, accept_drop=accept_drop)
            return report + RefreshReport(alarm=alarm)
        for part in listing.conclude(listed=report.listed, accept_drop=accept_drop):
            report += part
            if on_progress:
                on_progress(report.records)
    except CatalogUnavailable as failure:
        raise ContentUnavailable(str(failure), so_far=report) from failure
    return report


def refresh_keys(
    keys: Collection[str],
    *,
    catalog_uuid: UUID,
    source: CatalogSource,
    now: datetime,
    trigger: RefreshTrigger,
    timeout: timedelta | None = None,
    dry_run: bool = False,
    merge_unchanged: bool = False,
) -> RefreshReport:
    """Store the records that a catalog returns for these keys. For a run it may return the course.

    Each request names at most `BATCH` keys and takes at most `timeout`. A key that upstream does not have
    changes nothing, unless the replica holds it in this catalog. Raises like `refresh_catalog`.
    """
    context = _context(source, catalog_uuid, now=now, trigger=trigger, merge_unchanged=merge_unchanged)
    report = RefreshReport()
    for asked in chunks(sorted(set(keys)), BATCH):
        try:
            found = source.fetch(catalog_uuid, keys=asked, timeout=timeout or settings.CONTENT_FETCH_DEADLINE)
        except CatalogUnavailable as failure:
            raise ContentUnavailable(str(failure), so_far=report) from failure
        report += RefreshReport(pages=1) + _ingest_all(found, context=context, dry_run=dry_run)
        missing = removal.pks_held(catalog_uuid, keys=set(asked) - _keys_in(found))
        report += RefreshReport(missing=len(missing)) if dry_run else _missing(missing, context=context)
    return report


def refresh_due(
    *, clock: Clock, source: CatalogSource, limit: int, on_progress: ProgressCallback | None = None
) -> RefreshReport:
    """Refresh at most `limit` due rows, each at most once, in the order of `due_at`.

    Rows are claimed, at most `BATCH` at a time, so that no two refreshers work on the same row. If a catalog
    does not answer, its rows are postponed with exponential back-off, it is not asked again in this run, and
    the rows of other catalogs are refreshed. Ends early where no catalog answers; raises nothing for that.
    """
    due = DueRefresh(source, clock)
    started, done = clock(), 0
    while done < limit:
        rows = schedule.claim(started=started, now=clock(), limit=min(BATCH, limit - done))
        if not rows:
            break
        done += len(rows)
        if not due.refresh(rows):
            break
        if on_progress:
            on_progress(done)
    return due.report


class DueRefresh:
    """One run over the due rows: its report so far, and the catalogs that do not answer."""

    def __init__(self, source: CatalogSource, clock: Clock) -> None:
        self.report = RefreshReport()
        self._source = source
        self._clock = clock
        self._unavailable: dict[UUID, str] = {}

    def refresh(self, rows: Sequence[ContentMetadata]) -> bool:
        """Refresh claimed rows, one request per catalog and source; return False if no catalog answered."""
        asked = schedule.catalog_keys_to_ask(rows)
        groups: dict[tuple[UUID | None, RefreshTrigger], _Claimed] = defaultdict(dict)
        for row in rows:
            trigger = RefreshTrigger.EVENT if row.change_announced_at else RefreshTrigger.CRON
            catalog, key = asked.get(row.pk, (None, row.content_key))
            groups[catalog, trigger][row] = key
        answered = [self._refresh(catalog, trigger, group) for (catalog, trigger), group in groups.items()]
        return any(answered)

    def _refresh(self, catalog_uuid: UUID | None, trigger: RefreshTrigger, claimed: "_Claimed") -> bool:
        now, rows = self._clock(), list(claimed)
        lease_ends = min(row.lease_until or now for row in rows)
        if now + settings.CONTENT_FETCH_DEADLINE > lease_ends:  # the groups before took long
            leases.settle(rows, due_at=now, now=now)
            return True
        if catalog_uuid is None:
            schedule.settle_missing(rows, recheck=(), now=now)
            return True
        if error := self._unavailable.get(catalog_uuid):
            self._postpone(rows, error=error)
            return False
        context = _context(self._source, catalog_uuid, now=now, trigger=trigger)
        try:
            self.report += _refresh_claimed(claimed, source=self._source, context=context)
        except CatalogUnavailable as failure:
            error = self._unavailable[catalog_uuid] = f"catalog_unavailable: {failure}"
            self._postpone(rows, error=error)
            return False
        except Exception as failure:  # noqa: BLE001  # the other rows are still refreshed
            log_failure(f"Refresh failed: catalog={catalog_uuid} rows={len(rows)}", failure, log=logger)
            self._postpone(rows, error=f"unexpected_error: {type(failure).__name__}")
        return True

    def _postpone(self, rows: Sequence[ContentMetadata], *, error: str) -> None:
        schedule.settle_failed(rows, error=error, now=self._clock())
        self.report += RefreshReport(postponed=len(rows))


_Claimed = dict[ContentMetadata, str]
"""Claimed rows of one catalog, with the key to ask it for."""


def _refresh_claimed(claimed: _Claimed, *, source: CatalogSource, context: FetchContext) -> RefreshReport:
    """Fetch claimed rows of one catalog, and settle each as returned, not served, or missing."""
    keys = sorted(set(claimed.values()))
    found = source.fetch(context.catalog_uuid, keys=keys, timeout=settings.CONTENT_FETCH_DEADLINE)
    unfetched = {one.content_key: one for one in found if isinstance(one, Unfetched)}
    records = [one for one in found if not isinstance(one, Unfetched)]
    report = RefreshReport(pages=1) + _ingest_all(records, context=context)
    returned = _keys_in(records)
    there = [row for row, key in claimed.items() if key in returned]
    schedule.settle_fetched(there, catalog_uuid=context.catalog_uuid, now=context.now)
    rest = [row for row, key in claimed.items() if key not in returned]
    for key, failure in unfetched.items():  # it exists, and so is not missing
        failed = [row for row in rest if claimed[row] == key]
        schedule.settle_failed(failed, error=f"{failure.reason}: {failure.detail}", now=context.now)
    report += RefreshReport.of_unusable(
        RejectedRecord(one.content_key, one.reason, one.detail) for one in unfetched.values()
    )
    missing = [row for row in rest if claimed[row] not in unfetched]
    if not missing:
        return report
    outcome = removal.record_missing([row.pk for row in missing], context=context)
    schedule.settle_missing(missing, recheck=outcome.recheck, now=context.now)
    return report + RefreshReport(missing=len(missing), ended=outcome.ended, alarm=outcome.alarm)


class _Listing:
    """One reading of a whole catalog, request after request."""

    def __init__(self, context: FetchContext, source: CatalogSource, *, resume: bool, clock: Clock) -> None:
        self._context = context
        self._source = source
        self._clock = clock
        self._passed_over = 0
        self._row = CatalogListing.objects.filter(catalog_uuid=context.catalog_uuid)
        lately = self._row.filter(
            begun_at__gt=context.now - schedule.RESUMABLE_FOR, begun_at__lte=context.now
        )
        interrupted = lately.values_list("begun_at", flat=True).first() if resume else None
        self._begun_at = interrupted or context.now

    def read(self, *, dry_run: bool) -> Iterator[RefreshReport]:
        """Store its records, except those read before an interruption; yield a report of each page."""
        catalog_uuid = self._context.catalog_uuid
        skip = self._seen if self._begun_at < self._context.now else None
        pages = iter(self._source.pages(catalog_uuid, size=BATCH, skip=skip))
        created, analyze_at = 0, FIRST_ANALYZED
        context = self._now()  # before the request, so that a row scheduled during it counts as newer
        for number, page in enumerate(pages):
            if number == 0 and not dry_run:
                schedule.add_listings([catalog_uuid], now=context.now)
                self._row.update(begun_at=self._begun_at)
            report = _ingest_all(page, context=context, dry_run=dry_run)
            yield report + RefreshReport(pages=1)
            created += 0 if dry_run else report.created
            if created >= analyze_at:
                analyze_at = 2 * created
                postgres.analyze(ContentMetadata, CatalogMembership)
            context = self._now()
        yield RefreshReport(listed=self._passed_over, passed_over=self._passed_over)

    def conclude(self, *, listed: int, accept_drop: bool) -> Iterator[RefreshReport]:
        """Accept the listing, and ask by key for content that it left out; yield a report of each request.

        The listing can be resumed until all of this is done.
        """
        context = self._now()
        if alarm := removal.accept_listing(
            context, begun_at=self._begun_at, listed=listed, accept_drop=accept_drop
        ):
            yield RefreshReport(alarm=alarm)
        else:
            for unseen in removal.unseen_since(context.catalog_uuid, begun_at=self._begun_at):
                yield self._look_up(unseen)
        self._row.filter(begun_at=self._begun_at).update(begun_at=None)

    def _seen(self, keys: Sequence[str]) -> Collection[str]:
        found = removal.seen_since(self._context.catalog_uuid, keys, begun_at=self._begun_at)
        self._passed_over += len(found)
        return found

    def _look_up(self, unseen: Sequence[tuple[int, str]]) -> RefreshReport:
        context = self._now()
        keys = [key for _pk, key in unseen]
        found = self._source.fetch(context.catalog_uuid, keys=keys, timeout=settings.CONTENT_FETCH_DEADLINE)
        report = RefreshReport(pages=1) + _ingest_all(found, context=context)
        returned = _keys_in(found)
        return report + _missing([pk for pk, key in unseen if key not in returned], context=context)

    def _now(self) -> FetchContext:
        return replace(self._context, now=self._clock())


def _missing(pks: Collection[int], *, context: FetchContext) -> RefreshReport:
    if not pks:
        return RefreshReport()
    outcome = removal.record_missing(pks, context=context)
    return RefreshReport(missing=len(pks), ended=outcome.ended, alarm=outcome.alarm)


def _ingest_all(found: Sequence[object], *, context: FetchContext, dry_run: bool = False) -> RefreshReport:
    report = RefreshReport()
    for batch in chunks(found, BATCH):
        report += ingest(batch, context=context, dry_run=dry_run)
    return report


def _keys_in(found: Iterable[object]) -> set[str]:
    """Return the keys of records, unusable ones included: the catalog has them."""
    return {key for raw in found for key in parser.content_keys(raw)}


def _context(
    source: CatalogSource,
    catalog_uuid: UUID,
    *,
    now: datetime,
    trigger: RefreshTrigger,
    merge_unchanged: bool = False,
) -> FetchContext:
    return FetchContext(catalog_uuid, f"{source.name}:{catalog_uuid}", now, trigger, merge_unchanged)
