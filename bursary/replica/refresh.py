"""The replica's only writer: ask upstream, and bring in what it answers, under the guard.

Three ways to ask: a whole catalog, some keys, or whatever is due. Upstream is asked outside any transaction.
Below: `wanting.py` knows what is due and whose it is, `intake.py` brings answers in, `leaving.py` knows what
a missing answer means.
"""

import logging
import os
import traceback
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from uuid import UUID

from django.conf import settings

from bursary.catalog import parser
from bursary.catalog.source import (
    Access,
    CatalogSource,
    CatalogUnavailable,
    Unfetched,
    breaker_state,
    open_source,
)
from bursary.lib.batches import chunks
from bursary.replica import freshness, listings, removal, schedule
from bursary.replica.ingest import BATCH, content_changed, ingest
from bursary.replica.merge import FetchContext
from bursary.replica.models import RefreshSource
from bursary.replica.report import RefreshReport, RejectedRecord
from bursary.replica.schedule import RefreshClaim

__all__ = [
    "BATCH",
    "Clock",
    "ContentUnavailable",
    "configured_source",
    "content_changed",
    "refresh_catalog",
    "refresh_due",
    "refresh_keys",
    "upstream_state",
]

logger = logging.getLogger(__name__)

Clock = Callable[[], datetime]


class ContentUnavailable(Exception):
    """Upstream does not answer. What was brought in before that stays, and `so_far` counts it."""

    reason = "catalog_unavailable"

    def __init__(self, detail: str, *, so_far: RefreshReport | None = None) -> None:
        super().__init__(detail)
        self.so_far = so_far or RefreshReport()


def configured_source() -> CatalogSource:
    """Return the catalog at `CATALOG_URL`: one object for each process, shared by threads.

    Raises ValueError for a bad address, and for one over HTTP without credentials.
    """
    return _opened(settings.CATALOG_URL, _access(), os.getpid())


def _access() -> Access | None:
    who = (settings.OAUTH_URL, settings.OAUTH_CLIENT_ID, settings.OAUTH_CLIENT_SECRET)
    return Access(*who, deadline=settings.UPSTREAM_DEADLINE) if all(who) else None


@lru_cache(maxsize=1)
def _opened(url: str, access: Access | None, _process: int) -> CatalogSource:
    return open_source(url, access=access)


def upstream_state() -> str | None:
    """Return the state of the catalog's breaker in this process; None for a catalog that is no service."""
    return breaker_state(configured_source())


def refresh_catalog(
    catalog_uuid: UUID,
    *,
    source: CatalogSource,
    now: datetime,
    by: RefreshSource,
    dry_run: bool = False,
    accept_drop: bool = False,
    anew: bool = False,
    clock: Clock | None = None,
    progress: Callable[[int], None] | None = None,
) -> RefreshReport:
    """Bring in everything that a catalog lists; then ask by key for what it did not name (see `leaving`).

    `clock` tells when each question is asked, as it may take long; without it, all are asked at `now`.
    `progress` is called after each batch and question with the records seen so far. A dry run judges and
    writes nothing. `accept_drop`: more than a fifth may be missing this time. Interrupted, it goes on next
    time where it was, unless it is to begin `anew`. Unusable records are named in the report and stop nobody.
    Raises ContentUnavailable where upstream stops answering, having removed nothing; what a receiver of
    `content_changed` raises ends the refresh and undoes its batch alone.
    """
    look = _look(source, catalog_uuid, now=now, by=by)
    resumed = None if dry_run or anew else listings.interrupted(catalog_uuid, now=now)
    listing = _Listing(look, source, begun_at=resumed or now, clock=clock or (lambda: now))
    report = RefreshReport()
    try:
        for part in listing.read(dry_run=dry_run):
            report += part
            if progress and part.records:
                progress(report.records)
        if dry_run:
            alarm = removal.predict_alarm(catalog_uuid, listed=report.listed, accept_drop=accept_drop)
            return report + RefreshReport(alarm=alarm)
        for part in listing.conclude(listed=report.listed, accept_drop=accept_drop):
            report += part
            if progress:  # who holds the listing lives
                progress(report.records)
    except CatalogUnavailable as silence:
        raise ContentUnavailable(str(silence), so_far=report) from silence
    return report


def refresh_keys(
    keys: Collection[str],
    *,
    catalog_uuid: UUID,
    source: CatalogSource,
    now: datetime,
    by: RefreshSource,
    within: timedelta | None = None,
    dry_run: bool = False,
) -> RefreshReport:
    """Bring in what a catalog has under these keys; asked for a run, it may answer with the course.

    Each question is for at most `BATCH` keys and takes at most `within`. Keys that upstream does not know
    leave no trace, but where we know that the catalog held them. Raises what `refresh_catalog` raises.
    """
    look = _look(source, catalog_uuid, now=now, by=by)
    report = RefreshReport()
    for wanted in chunks(sorted(set(keys)), BATCH):
        try:
            answer = source.fetch(catalog_uuid, keys=wanted, within=within or settings.CONTENT_FETCH_DEADLINE)
        except CatalogUnavailable as silence:
            raise ContentUnavailable(str(silence), so_far=report) from silence
        report += RefreshReport(pages=1) + _taken(answer, look=look, dry_run=dry_run)
        missing = removal.held(look.catalog_uuid, keys=set(wanted) - _named(answer))
        report += RefreshReport(unanswered=len(missing)) if dry_run else _not_there(missing, look=look)
    return report


def refresh_due(
    *, clock: Clock, source: CatalogSource, most: int, progress: Callable[[int], None] | None = None
) -> RefreshReport:
    """Look at what is due now, oldest first, at most `most` rows and each at most once.

    Each claim is for at most `BATCH` rows; two refreshers never have the same. A catalog that does not
    answer is asked once; what is due of it is postponed, each row by a pause that grows, and the others go
    on. What failed before is asked for apart, and last. Never raises for upstream. Stops where nobody
    answers.
    """
    errand = _Errand(source, clock)
    started, done = clock(), 0
    while done < most:
        now = clock()
        rows = schedule.claim(
            started=started, now=now, lease=settings.CONTENT_LEASE, limit=min(BATCH, most - done)
        )
        if not rows:
            break
        done += len(rows)
        if not errand.run(rows):
            break
        if progress:
            progress(done)
    return errand.report


class _Listing:
    """One reading of a catalog as a whole, by questions that are asked one after the other."""

    def __init__(
        self, look: FetchContext, source: CatalogSource, *, begun_at: datetime, clock: Clock
    ) -> None:
        self._look = look
        self._source = source
        self._begun_at = begun_at
        self._clock = clock
        self._passed_over = 0

    def read(self, *, dry_run: bool) -> Iterator[RefreshReport]:
        """Bring it in, but for what was read before it was interrupted, and report bit by bit."""
        catalog_uuid = self._look.catalog_uuid
        known = self._known if self._begun_at < self._look.now else None
        pages = iter(self._source.pages(catalog_uuid, size=BATCH, known=known))
        look = self._now()  # before the page is asked for: what others ask for meanwhile is newer
        for number, page in enumerate(pages):
            if number == 0 and not dry_run:
                listings.begin(catalog_uuid, begun_at=self._begun_at)
            for batch in chunks(page, BATCH):
                yield ingest(batch, look=look, dry_run=dry_run)
            yield RefreshReport(pages=1)
            look = self._now()
        yield RefreshReport(listed=self._passed_over, passed_over=self._passed_over)

    def conclude(self, *, listed: int, accept_drop: bool) -> Iterator[RefreshReport]:
        """Judge it as a whole, ask by key for what it did not name, and report bit by bit.

        Not before all of that is done is it over; until then it may be gone on with.
        """
        look = self._now()
        if alarm := removal.accept_listing(
            look, begun_at=self._begun_at, listed=listed, accept_drop=accept_drop
        ):
            yield RefreshReport(alarm=alarm)
        else:
            for absentees in removal.unseen_since(look.catalog_uuid, begun_at=self._begun_at):
                yield self._confirm(absentees)
        listings.ended(look.catalog_uuid, begun_at=self._begun_at)

    def _known(self, keys: Sequence[str]) -> Collection[str]:
        found = removal.seen_since(self._look.catalog_uuid, keys, begun_at=self._begun_at)
        self._passed_over += len(found)
        return found

    def _confirm(self, absentees: Sequence[tuple[int, str]]) -> RefreshReport:
        """Ask by key for what was not named."""
        look = self._now()
        keys = [key for _pk, key in absentees]
        answer = self._source.fetch(look.catalog_uuid, keys=keys, within=settings.CONTENT_FETCH_DEADLINE)
        report = RefreshReport(pages=1) + _taken(answer, look=look)
        named = _named(answer)
        return report + _not_there([pk for pk, key in absentees if key not in named], look=look)

    def _now(self) -> FetchContext:
        return replace(self._look, now=self._clock())


class _Errand:
    """One go at what is due: who is silent, who answered just now, and what came of it so far."""

    def __init__(self, source: CatalogSource, clock: Clock) -> None:
        self.report = RefreshReport()
        self._source = source
        self._clock = clock
        self._silent: dict[UUID, str] = {}

    def run(self, rows: Sequence[RefreshClaim]) -> bool:
        """Look at claimed rows, catalog by catalog; tell whether anybody answered.

        One record may be what upstream fails on. So what failed before is asked for after the others, in
        questions of its own; its pauses grow at random, so that before long it is alone in them.
        """
        groups: dict[tuple[bool, UUID | None, RefreshSource], list[RefreshClaim]] = defaultdict(list)
        for one in sorted(rows, key=_is_suspect):
            by = RefreshSource.EVENT if one.expected_since else RefreshSource.CRON
            groups[_is_suspect(one), one.catalog_uuid, by].append(one)
        answered = [self._ask(catalog, by, group) for (_, catalog, by), group in groups.items()]
        return any(answered)

    def _ask(self, catalog_uuid: UUID | None, by: RefreshSource, rows: Sequence[RefreshClaim]) -> bool:
        now = self._clock()
        if now + settings.CONTENT_FETCH_DEADLINE > rows[0].lease_end:
            schedule.release(rows, now=now)  # those before took long: the lease might end on the way
            return True
        if catalog_uuid is None:
            schedule.not_answered(rows, now=now, again=freshness.span("gone"))
            return True
        if catalog_uuid in self._silent:
            return self._postpone(rows, error=self._silent[catalog_uuid])
        look = _look(self._source, catalog_uuid, now=now, by=by)
        try:
            self.report += self._looked_at(rows, look=look)
        except CatalogUnavailable as silence:
            why = f"catalog_unavailable: {silence}"
            if not _is_suspect(rows[0]):  # what fails again says nothing of the others
                self._silent[catalog_uuid] = why
            return self._postpone(rows, error=why)
        except Exception as error:  # noqa: BLE001  # these rows must not keep the others from being looked at
            where = traceback.format_tb(error.__traceback__)  # and no message: it may hold what was fetched
            logger.warning(
                "Refreshing %s rows of catalog %s broke: %s\n%s",
                len(rows),
                catalog_uuid,
                type(error).__name__,
                "".join(where),
            )
            self._postpone(rows, error=f"unexpected_error: {type(error).__name__}")
        return True

    def _looked_at(self, rows: Sequence[RefreshClaim], *, look: FetchContext) -> RefreshReport:
        keys = sorted({one.content_key for one in rows})
        answer = self._source.fetch(
            look.catalog_uuid,
            keys=keys,
            within=settings.CONTENT_FETCH_DEADLINE,
        )
        unfetched = [one for one in answer if isinstance(one, Unfetched)]
        records = [one for one in answer if not isinstance(one, Unfetched)]
        report = RefreshReport(pages=1) + _taken(records, look=look)
        named = _named(records)
        schedule.looked([one for one in rows if one.content_key in named], now=look.now)
        rest = [one for one in rows if one.content_key not in named]
        report += _failed(rest, unfetched, now=look.now)
        failed = _named(unfetched)
        return report + _absent([one for one in rest if one.content_key not in failed], look=look)

    def _postpone(self, rows: Sequence[RefreshClaim], *, error: str) -> bool:
        schedule.failed(rows, now=self._clock(), error=error)
        self.report += RefreshReport(postponed=len(rows))
        return False


def _is_suspect(row: RefreshClaim) -> bool:
    return row.failures > 0


def _failed(rows: Sequence[RefreshClaim], unfetched: Sequence[Unfetched], *, now: datetime) -> RefreshReport:
    """Postpone what upstream does not hand over. It is no witness that the content is gone."""
    errors = {one.content_key: f"{one.reason}: {one.detail}" for one in unfetched}
    for error in sorted(set(errors.values())):
        schedule.failed([one for one in rows if errors.get(one.content_key) == error], now=now, error=error)
    return RefreshReport.of_unusable(
        RejectedRecord(one.content_key, one.reason, one.detail) for one in unfetched
    )


def _absent(missing: Sequence[RefreshClaim], *, look: FetchContext) -> RefreshReport:
    """Note what upstream, asked for it by key, did not have."""
    if not missing:
        return RefreshReport()
    ended, waiting, alarm = removal.record_missing([one.pk for one in missing], look=look)
    soon = [one for one in missing if one.pk in waiting]
    schedule.not_answered(soon, now=look.now, again=removal.CONFIRM_AFTER)
    seldom = [one for one in missing if one.pk not in waiting]
    schedule.not_answered(seldom, now=look.now, again=freshness.span("gone"))
    return RefreshReport(unanswered=len(missing), ended=ended, alarm=alarm)


def _not_there(pks: Collection[int], *, look: FetchContext) -> RefreshReport:
    """Note that the catalog, asked by key, did not have this content."""
    if not pks:
        return RefreshReport()
    ended, _waiting, alarm = removal.record_missing(pks, look=look)
    return RefreshReport(unanswered=len(pks), ended=ended, alarm=alarm)


def _taken(answer: Sequence[object], *, look: FetchContext, dry_run: bool = False) -> RefreshReport:
    report = RefreshReport()
    for batch in chunks(answer, BATCH):
        report += ingest(batch, look=look, dry_run=dry_run)
    return report


def _named(answer: Iterable[object]) -> set[str]:
    """Return the keys that an answer is about, those of unusable records included: they are there."""
    return {key for raw in answer for key in parser.keys(raw)}


def _look(source: CatalogSource, catalog_uuid: UUID, *, now: datetime, by: RefreshSource) -> FetchContext:
    return FetchContext(catalog_uuid, f"{source.name}:{catalog_uuid}", now, by)
