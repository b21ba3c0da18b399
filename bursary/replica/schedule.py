"""When each content row and each catalog's listing is refreshed next. Rows are claimed by `due_at`.

How long a fetch is good for comes from one table in settings, `CONTENT_FRESHNESS`. A run is refreshed with
its course and has no `due_at`, unless the replica lacks its course.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import F, Q, QuerySet

from bursary.catalog.records import Completeness, Content, ContentType
from bursary.catalog.values import is_key
from bursary.lib import leases, retries
from bursary.lib.batches import chunks
from bursary.lib.inserts import insert_missing
from bursary.lib.locks import locked_in_order
from bursary.lib.prepared import Parameter, PreparedUpdate
from bursary.lib.retries import in_transaction, repeated_after_deadlocks
from bursary.replica.models import (
    CatalogListing,
    CatalogMembership,
    ColdRead,
    ColdReadStatus,
    ContentMetadata,
    FormerContentKey,
)
from bursary.replica.types import CatalogKey

KEYS_PER_STATEMENT = 500
FIRST_RETRY = timedelta(minutes=1)
LONGEST_RETRY = timedelta(hours=6)

POLLED_FOR = timedelta(days=1)
"""How long an announced change is polled for: upstream learns of it by a batch job, after the event."""
SHORTEST_POLL, LONGEST_POLL = timedelta(minutes=1), timedelta(hours=2)
"""The bounds of the wait for the next poll: as long again as the change has been announced for. It is no
back-off: nothing has failed, and no attempts are counted."""
RESUMABLE_FOR = timedelta(hours=6)
"""How long after it began an interrupted listing may be resumed."""
RECHECK_MISSING_AFTER = timedelta(hours=1)
"""How long after a lookup that found nothing the next one may confirm that content has left its catalog."""

_RUN_KEY = re.compile(r"course-v1:([^+]*\+[^+]*)\+[^+]*")  # the course's key is the middle


def fresh_for(kind: str) -> timedelta:
    """Return the duration in `CONTENT_FRESHNESS` for this kind, at most the longest delay of a leased row."""
    found: timedelta = settings.CONTENT_FRESHNESS[kind]
    return min(found, leases.MAX_DELAY)


def fresh_until(content: Content, *, now: datetime) -> datetime:
    """Return until when a record that was fetched at `now` is fresh; a course is as urgent as its runs."""
    dates = (date for one in (content, *content.runs) for date in (one.start_date, one.enroll_by))
    return now + fresh_for(freshness_kind(content.completeness, content.active, dates, now=now))


def freshness_kind(
    completeness: str, active: bool, dates: Iterable[datetime | None], *, now: datetime
) -> str:
    """Return the entry of `CONTENT_FRESHNESS` that applies; `dates` are all starts and ends of enrolment."""
    if completeness == Completeness.FULL and not active:
        return "inactive"
    soon = any(date and now <= date <= now + settings.CONTENT_SOON for date in dates)
    return "soon" if soon else "ordinary"


def retry_delay(failures: int) -> timedelta:
    """Return the wait after so many failures in a row: full jitter, a random fraction of the ceiling."""
    return retries.back_off(failures, first=FIRST_RETRY, longest=LONGEST_RETRY)


def retry_delay_ceiling(failures: int) -> timedelta:
    """Return the longest that `retry_delay` waits after so many failures in a row."""
    return retries.back_off_ceiling(failures, first=FIRST_RETRY, longest=LONGEST_RETRY)


def request_refresh(keys: Collection[str], *, now: datetime, until_changed: bool = False) -> int:
    """Make the rows of these keys due now, a run's course for a run; return the number of rows.

    With `until_changed`, keep polling, at growing intervals, until the payload's digest changes, for one day
    at most. Used for change events, which arrive before upstream's batch job has run. For a key without a
    row, the remembered answer that a catalog does not have it is deleted, so that the next reader asks again.
    """
    scheduled = 0
    announced = {"change_announced_at": now} if until_changed else {}
    for batch in chunks(sorted(filter(is_key, set(keys))), KEYS_PER_STATEMENT):
        scheduled += leases.schedule(_rows_to_refresh(batch), at=now, now=now, **announced)
        # Including requests in flight: their answers may be older than the change, and are not remembered.
        asked = ColdRead.objects.filter(content_key__in=batch).exclude(status=ColdReadStatus.SILENT)
        repeated_after_deadlocks(asked.delete)()
    return scheduled


def request_unless_scheduled(content: ContentMetadata, *, now: datetime) -> int:
    """Make content due that has no refresh scheduled; for a run, its course."""
    rows = ContentMetadata.objects.filter(pk=content.pk)
    if content.parent_key:
        rows = _rows_to_refresh([content.content_key])
    return leases.schedule(rows.filter(due_at=None), at=now, now=now)


def bring_forward(pks: Collection[int], *, now: datetime) -> int:
    """Make these rows due now, except leased ones and those in back-off; return the number of rows."""
    # A row that is due within the length of a lease may be leased, and is due soon anyway.
    later = Q(due_at__gt=now + settings.CONTENT_LEASE, failures=0)
    return leases.schedule(ContentMetadata.objects.filter(later, pk__in=pks), at=now, now=now)


def confirm_rows(
    until: Mapping[datetime, Collection[int]],
    *,
    changed: Collection[int],
    modified_times: Mapping[datetime, Collection[int]],
    served_digests: Mapping[str, Collection[int]],
    now: datetime,
    trigger: str,
) -> None:
    """Write that a fetch begun at `now` confirmed locked rows; `until` maps ends of freshness to their pks.

    They are due when they become stale. Rows that were scheduled after the fetch began stay due, and so do
    rows with an announced change that is not among the `changed`, or newer than the fetch. Leased rows are
    left to their worker, and runs have no `due_at`. `modified_times` maps a new `upstream_modified` to pks,
    `served_digests` a new `served_digest`.
    """
    _confirm.run(
        pks=[pk for found in until.values() for pk in found],
        until=until if len(until) > 1 else next(iter(until), now),
        changed=changed,
        modified_times=modified_times,
        served_digests=served_digests,
        now=now,
        trigger=trigger,
    )


@PreparedUpdate
def _confirm() -> tuple[QuerySet[ContentMetadata], dict[str, object]]:
    """Confirm rows. MariaDB assigns from left to right: columns that others compare with come last."""
    field = ContentMetadata._meta.get_field
    now, until = Parameter("now", field("checked_at")), Parameter("until", field("fresh_until"))
    announced_before = Q(change_announced_at__lte=now, pk__in=Parameter("changed", field("id")))
    not_awaited = Q(change_announced_at=None) | announced_before
    earlier = Q(due_at__lte=now) | Q(due_at=F("fresh_until"))
    earlier |= Q(due_at=None) & ~Q(content_type=ContentType.COURSERUN)
    return ContentMetadata.objects.filter(pk__in=Parameter("pks", ContentMetadata._meta.pk)), {
        **leases.postponed_columns(until=until, condition=not_awaited & earlier, now=now),
        "fresh_until": until,
        "checked_at": now,
        "failures": 0,
        "last_error": "",
        "quarantined_digest": "",
        "trigger": Parameter("trigger", field("trigger")),
        "upstream_modified": Parameter("modified_times", field("upstream_modified")),
        "served_digest": Parameter("served_digests", field("served_digest")),
        "served_digest_at": now,
    }


def claim(*, started: datetime, now: datetime, limit: int) -> list[ContentMetadata]:
    """Claim at most `limit` rows that were due at `started`, for a lease from `now`; payloads are deferred.

    So a run that began at `started` claims each row at most once, however long it takes.
    """
    lease = now - started + settings.CONTENT_LEASE
    return leases.claim(_without_payloads, now=started, lease=lease, limit=limit)


def _without_payloads() -> QuerySet[ContentMetadata]:
    return ContentMetadata.objects.defer("payload")


def catalog_keys_to_ask(rows: Iterable[ContentMetadata]) -> dict[int, CatalogKey]:
    """Return the catalog to ask for each row, by pk, and the key to ask it for.

    It is the catalog that the row was fetched from, unless only others hold the row now. A row that no
    catalog holds, and that names no origin, is left out. A run is asked for by the key of the course that
    names it.
    """
    holders: dict[int, dict[UUID, str]] = defaultdict(dict)
    held = CatalogMembership.objects.filter(content__in=[row.pk for row in rows]).order_by("catalog_uuid")
    for content, catalog_uuid, via_course in held.values_list("content", "catalog_uuid", "via_course"):
        holders[content][catalog_uuid] = via_course
    asked: dict[int, CatalogKey] = {}
    for row in rows:
        catalog = next(iter(holders[row.pk]), None)
        with suppress(ValueError):  # where it does not say
            origin = UUID(row.fetched_from.rpartition(":")[2])
            if origin in holders[row.pk] or not holders[row.pk]:
                catalog = origin
        if catalog:
            course = holders[row.pk].get(catalog, row.parent_key)
            asked[row.pk] = CatalogKey(catalog, course or row.content_key)
    return asked


def settle_fetched(rows: Sequence[ContentMetadata], *, catalog_uuid: UUID, now: datetime) -> None:
    """Settle claimed rows that a fetch begun at `now` returned: due again when they are stale.

    A row with an announced change that upstream does not show yet is polled, with intervals that double. A
    row that this catalog no longer holds, because it is served the course with other restricted runs, is due
    now, to be fetched through a catalog that holds it.
    """

    def settle() -> None:
        finished: list[ContentMetadata] = []
        polled: dict[int, datetime] = {}
        fresh: dict[int, datetime] = {}
        current = _as_they_are(rows)
        held = CatalogMembership.objects.filter(content__in=[row.pk for row in current]).order_by()
        holders = set(held.values_list("content", "catalog_uuid"))
        here = {pk for pk, catalog in holders if catalog == catalog_uuid}
        elsewhere = {pk for pk, _catalog in holders} - here
        courses = {row.parent_key for row in current if row.content_type == ContentType.COURSERUN}
        known = set(_keys_of_courses(courses)) if courses else set()
        for row in current:
            announced_at = row.change_announced_at
            if row.pk in elsewhere:
                fresh[row.pk] = now
            elif announced_at and abs(now - announced_at) < POLLED_FOR:
                polled[row.pk] = now + min(max(now - announced_at, SHORTEST_POLL), LONGEST_POLL)
            elif row.content_type == ContentType.COURSERUN and row.parent_key in known:
                finished.append(row)
            else:
                # If the record was refused, as older or a summary, the row is still stale.
                fresh[row.pk] = row.fresh_until if row.fresh_until > now else now + fresh_for("ordinary")
        claimed = {row.pk: row for row in rows}
        leases.settle([claimed[pk] for pk in polled], due_at=polled, now=now)
        asked_for = [claimed[pk] for pk in fresh if pk not in elsewhere]
        leases.settle([claimed[pk] for pk in sorted(elsewhere)], due_at=fresh, now=now)
        leases.settle(asked_for, due_at=fresh, now=now, change_announced_at=None)
        leases.settle([claimed[row.pk] for row in finished], due_at=None, now=now, change_announced_at=None)

    in_transaction(settle)


def settle_missing(rows: Sequence[ContentMetadata], *, recheck: Collection[int], now: datetime) -> None:
    """Settle claimed rows that upstream did not have: those in `recheck` are due soon, others much later."""

    def settle() -> None:
        soon, seldom = now + RECHECK_MISSING_AFTER, now + fresh_for("gone")
        due_at = {
            row.pk: soon if row.pk in recheck and row.gone_at is None else seldom
            for row in _as_they_are(rows)
        }
        leases.settle(rows, due_at=due_at, now=now)

    in_transaction(settle)


def settle_failed(rows: Sequence[ContentMetadata | CatalogListing], *, error: str, now: datetime) -> None:
    """Settle claimed rows that could not be fetched: due again after an exponential back-off."""
    due_at = {row.pk: now + retry_delay(row.failures + 1) for row in rows}
    leases.settle(rows, due_at=due_at, now=now, failures=F("failures") + 1, last_error=error)


def add_listings(catalogs: Collection[UUID], *, now: datetime) -> None:
    """Insert the missing rows of these catalogs; a catalog that was never listed is due now."""
    rows = [CatalogListing(catalog_uuid=uuid, due_at=now, early=leases.NOT_BEFORE) for uuid in catalogs]
    insert_missing(rows, unique=["catalog_uuid"])


def claim_listing(catalogs: Collection[UUID], *, now: datetime) -> CatalogListing | None:
    """Claim the listing that has been due longest, of these catalogs; return None if none is due."""
    rows = CatalogListing.objects.filter(catalog_uuid__in=list(catalogs)).order_by()
    known = dict(rows.values_list("catalog_uuid", "pk"))
    if missing := [uuid for uuid in catalogs if uuid not in known]:
        add_listings(missing, now=now)
        known = dict(rows.values_list("catalog_uuid", "pk"))
    pks, lease = [*known.values()], settings.CONTENT_LEASE
    claimed = leases.claim(CatalogListing.objects.all, now=now, lease=lease, limit=1, pks=pks)
    return claimed[0] if claimed else None


def settle_listing(listing: CatalogListing, *, error: str = "", now: datetime) -> None:
    """Settle a claimed listing: due after a day or, with an `error`, after an exponential back-off."""
    if error:
        settle_failed([listing], error=error, now=now)
    else:
        leases.settle([listing], due_at=now + fresh_for("listing"), now=now, failures=0, last_error="")


def _as_they_are(rows: Sequence[ContentMetadata]) -> list[ContentMetadata]:
    """Return claimed rows, read again and locked: events and batches may have changed them since."""
    current = ContentMetadata.objects.filter(pk__in=[row.pk for row in rows])
    return list(locked_in_order(current).defer("payload"))


def _keys_of_courses(keys: Collection[str]) -> QuerySet[ContentMetadata, str]:
    courses = ContentMetadata.objects.filter(content_key__in=keys, content_type=ContentType.COURSE)
    return courses.order_by().values_list("content_key", flat=True)


def _rows_to_refresh(keys: Sequence[str]) -> QuerySet[ContentMetadata]:
    """Return the rows of these keys, or of their courses: every variant, one for each set of restricted runs.

    For an unknown run, the course that its key names by convention. It is only a hint. A run without a row
    of its course is refreshed without one.
    """
    former = FormerContentKey.objects.filter(former_key__in=keys).values_list("content_key", flat=True)
    rows = ContentMetadata.objects.filter(content_key__in=[*keys, *former])
    known = dict(rows.order_by().values_list("content_key", "parent_key"))
    hinted = {match[1] for key in keys if key not in known and (match := _RUN_KEY.fullmatch(key))}
    courses = set(_keys_of_courses({*filter(None, known.values()), *hinted}))
    without_course = {key for key, course in known.items() if course not in courses}
    return ContentMetadata.objects.filter(content_key__in=without_course | courses)
