"""The replica's only writer: ask upstream, and bring in what it answers, under the guard.

Upstream is asked outside any transaction. Then each batch is parsed, record by record, and stored in one
short transaction: `guard.py` decides, `upsert.py` has the statements.
"""

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import TypeVar
from uuid import UUID

from django.conf import settings
from django.db import DataError, IntegrityError, transaction
from django.dispatch import Signal

from bursary.catalog import schema
from bursary.catalog.schema import Content
from bursary.catalog.source import Access, CatalogSource, CatalogUnavailable, open_source
from bursary.replica import guard, upsert
from bursary.replica.guard import Look, Verdict
from bursary.replica.models import ContentMetadata, RefreshSource
from bursary.replica.report import Report, Unusable

content_changed = Signal()
"""Sent inside the writer's transaction, once a batch, with `pks`, the content created or changed, and `now`.
A receiver's exception rolls the batch back."""

BATCH = 50  # records a transaction; some 200 rows, as courses bring their runs

_REFUSED_VALUES = (DataError, IntegrityError, OverflowError, UnicodeEncodeError)

T = TypeVar("T")


class ContentUnavailable(Exception):
    """Upstream does not answer. What was brought in before that stays, and `so_far` counts it."""

    reason = "catalog_unavailable"

    def __init__(self, detail: str, *, so_far: Report | None = None) -> None:
        super().__init__(detail)
        self.so_far = so_far or Report()


class _NotStorable(Exception):
    """The database refused a value of the batch; nothing of the batch was written."""


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


def refresh_catalog(
    catalog_uuid: UUID,
    *,
    source: CatalogSource,
    now: datetime,
    by: RefreshSource,
    dry_run: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Bring in everything that a catalog lists.

    `progress` is called after each batch with the records seen so far. A dry run judges and writes nothing.
    Unusable records are named in the report and stop nobody. Raises ContentUnavailable where upstream stops
    answering; what a receiver of `content_changed` raises ends the refresh and undoes its batch alone.
    """
    look = Look(catalog_uuid, f"{source.name}:{catalog_uuid}", now, by)
    report = Report()
    try:
        for page in source.pages(catalog_uuid, size=BATCH):
            report += Report(pages=1)
            for batch in _batches(page):
                report += _take(batch, look=look, dry_run=dry_run)
                if progress:
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
) -> Report:
    """Bring in what a catalog has under these keys; asked for a run, it may answer with the course.

    Keys that upstream does not know leave no trace. `within` bounds each batch's question upstream, for
    whoever keeps somebody waiting. Raises what `refresh_catalog` raises.
    """
    look = Look(catalog_uuid, f"{source.name}:{catalog_uuid}", now, by)
    report = Report()
    for wanted in _batches(sorted(set(keys))):
        try:
            answer = source.fetch(catalog_uuid, keys=wanted, within=within)
        except CatalogUnavailable as silence:
            raise ContentUnavailable(str(silence), so_far=report) from silence
        report += Report(pages=1)
        for batch in _batches(answer):
            report += _take(batch, look=look)
    return report


def _batches(items: Sequence[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while batch := list(islice(rest, BATCH)):
        yield batch


def _take(batch: Sequence[object], *, look: Look, dry_run: bool = False) -> Report:
    records: list[Content] = []
    unusable: list[Unusable] = []
    for raw in batch:
        try:
            records.append(schema.parse(raw))
        except schema.Unparsable as bad:
            unusable.append(Unusable(bad.content_key, bad.reason, bad.detail))
    report = Report(records=len(batch)) + Report.of_unusable(unusable)
    if dry_run:
        chosen, lost = guard.choose(records)
        return report + Report.of([*upsert.forecast(chosen, look=look).items(), *lost])
    report += _bring_in(records, look=look)
    fine = {record.content_key for record in records}
    _remember_errors([one for one in unusable if one.key not in fine])
    return report


def _bring_in(records: Sequence[Content], *, look: Look) -> Report:
    """Store the records. Where the database refuses a value, halve until the culprit stands alone."""
    if not records:
        return Report()
    chosen, lost = guard.choose(records)
    try:
        return Report.of([*_write(chosen, look=look).items(), *lost])
    except _NotStorable as refusal:
        if len(records) == 1:
            culprit = Unusable(records[0].content_key, "not_storable", str(refusal))
            _remember_errors([culprit])
            return Report.of_unusable([culprit])
    middle = len(records) // 2
    return _bring_in(records[:middle], look=look) + _bring_in(records[middle:], look=look)


def _write(chosen: Mapping[str, Content], *, look: Look) -> dict[str, Verdict]:
    # Durable: inside somebody's transaction, theirs would have been held open while upstream was asked.
    with transaction.atomic(durable=True):
        try:
            judgements = upsert.store(chosen, look=look)
        except _REFUSED_VALUES as error:
            raise _NotStorable(f"{type(error).__name__}: {error}".partition("\n")[0]) from error
        pks = sorted(one.row.pk for one in upsert.having(judgements, Verdict.CREATED, Verdict.CHANGED))
        if pks:
            content_changed.send(sender=ContentMetadata, pks=pks, now=look.now)
    return {one.content.content_key: one.verdict for one in judgements}


def _remember_errors(unusable: Sequence[Unusable]) -> None:
    errors = {one.key: f"{one.reason}: {one.detail}" for one in unusable if one.key}
    if errors:
        with transaction.atomic(durable=True):
            upsert.remember_errors(errors)
