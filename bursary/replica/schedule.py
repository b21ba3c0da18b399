"""Who wants another look at content, and who takes it up: wishes and claims, all by `due_at`.

`due_at` is the next instant somebody must look at a row: the end of its freshness, a wish, the end of a
back-off, or of the lease of the refresher that holds it. A run is looked at with its course.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import Case, F, Q, QuerySet, Value, When

from bursary.catalog.values import is_key
from bursary.lib.retries import in_transaction
from bursary.replica import freshness, store
from bursary.replica.models import CatalogMembership, ColdRead, ColdReadStatus, ContentMetadata, ContentType

KEYS_PER_STATEMENT = 500


@dataclass(frozen=True, slots=True)
class RefreshClaim:
    """A row that is ours until `lease_end`, and what to ask for: which key, of which catalog."""

    pk: int
    content_key: str
    catalog_uuid: UUID | None
    """None where nobody can be asked: no catalog holds the row and it does not say where it came from."""
    fence: int
    failures: int
    lease_end: datetime
    expected_since: datetime | None
    with_course: bool
    """It is a run, and its course is asked for in its stead."""


def request_refresh(keys: Collection[str], *, now: datetime, until_changed: bool = False) -> int:
    """Ask for another look at this content, a run's course for a run; return how many rows are wanted.

    `until_changed`: somebody says that it changed and upstream may not show it yet, so that it is looked at
    again and again, ever more seldom, until its payload moves or a day has passed. A key that we do not have
    is not kept: nobody depends on it. But what a catalog's silence about it made us remember is forgotten.
    """
    wanted = 0
    ordered = sorted(filter(is_key, set(keys)))
    for start in range(0, len(ordered), KEYS_PER_STATEMENT):
        batch = ordered[start : start + KEYS_PER_STATEMENT]
        expected = {"expected_since": now} if until_changed else {}
        due_at = Case(When(due_at__lt=now, then=F("due_at")), default=Value(now))
        with transaction.atomic():
            pks = list(store.locked(_subjects(batch)).values_list("pk", flat=True))
            wanted += ContentMetadata.objects.filter(pk__in=pks).update(due_at=due_at, **expected)
        ColdRead.objects.filter(content_key__in=batch, answer=ColdReadStatus.ABSENT).delete()
    return wanted


def bring_forward(pks: Collection[int], *, now: datetime, lease: timedelta) -> int:
    """Make these rows due, for the clock; return how many. What is in flight or in back-off stays."""
    # Whatever is due within a lease may be in flight: nothing else tells, and it is due soon anyway.
    rows = ContentMetadata.objects.filter(pk__in=list(pks), due_at__gt=now + lease, failures=0)

    def update() -> int:
        found = list(store.locked(rows.order_by("content_key")).values_list("pk", flat=True))
        return ContentMetadata.objects.filter(pk__in=found).update(due_at=now)

    return in_transaction(update)


def bring_back(*, now: datetime, most: int) -> int:
    """Make due what is due later than anything can be, at most so many rows; return how many.

    A clock that was ahead has written that, and nobody would look at it until then.
    """
    latest, brought = freshness.latest(now), 0
    rows = ContentMetadata.objects.filter(due_at__gt=latest)
    stale = Case(When(fresh_until__gt=latest, then=Value(now)), default=F("fresh_until"))

    def update() -> int:
        pks = list(rows.order_by("due_at", "id").values_list("pk", flat=True)[:KEYS_PER_STATEMENT])
        found = list(
            store.locked(rows.filter(pk__in=pks).order_by("content_key")).values_list("pk", flat=True)
        )
        return ContentMetadata.objects.filter(pk__in=found).update(due_at=now, fresh_until=stale)

    while brought < most and (moved := in_transaction(update)):
        brought += moved
    return brought


def due(now: datetime) -> QuerySet[ContentMetadata]:
    """Return what somebody must look at by `now`, oldest first."""
    return ContentMetadata.objects.filter(due_at__lte=now).order_by("due_at", "id")


def claim(*, started: datetime, now: datetime, lease: timedelta, limit: int) -> list[RefreshClaim]:
    """Take up at most `limit` rows that were due at `started`, for `lease` from `now`, oldest first.

    Two claimers never get the same row: what another has locked is passed over, and each claim raises the
    row's fence.
    """

    def take_up() -> list[RefreshClaim]:
        # The order comes from the index (due_at, id): with a sort MySQL would lock every row it scanned.
        mine = store.locked(due(started), skip_locked=True)
        pks = list(mine.values_list("pk", flat=True)[:limit])
        if not pks:
            return []
        ContentMetadata.objects.filter(pk__in=pks).update(fence=F("fence") + 1, due_at=now + lease)
        return _claimed(pks, lease_end=now + lease)

    return in_transaction(take_up)


def looked(rows: Sequence[RefreshClaim], *, now: datetime) -> None:
    """Settle rows that upstream answered for: due again when they are not fresh any more.

    What was announced and does not show yet is looked at sooner. What was announced after this look, `now`,
    stays due.
    """
    awaited = {
        one.pk: now + freshness.expectant_wait(one.expected_since, now=now)
        for one in rows
        if one.expected_since and -freshness.AHEAD <= now - one.expected_since < freshness.EXPECTED_FOR
    }
    again = [When(pk=pk, expected_since__isnull=False, then=Value(at)) for pk, at in awaited.items()]
    ahead = freshness.written_ahead("expected_since", now=now)
    settled = Case(
        When(~ahead, expected_since__gt=now, then=F("due_at")),
        *again,
        When(pk__in=[one.pk for one in rows if one.with_course], then=None),
        # Where the answer was refused, as older or thin, the row is as stale as it was.
        When(fresh_until__gt=now, fresh_until__lte=freshness.latest(now), then=F("fresh_until")),
        default=Value(now + freshness.span("ordinary")),
    )
    given_up = [one.pk for one in rows if one.pk not in awaited]
    over = When(Q(expected_since__lte=now) | ahead, pk__in=given_up, then=None)
    expected = Case(over, default=F("expected_since"))
    _settle(rows, due_at=settled, expected_since=expected)


def not_answered(rows: Sequence[RefreshClaim], *, now: datetime, again: timedelta) -> None:
    """Settle rows that upstream, asked for them, did not have: look `again`, for what is gone seldom."""
    gone = Value(now + freshness.span("gone"))
    _settle(rows, due_at=Case(When(gone_at__isnull=False, then=gone), default=Value(now + again)))


def failed(rows: Sequence[RefreshClaim], *, now: datetime, error: str) -> None:
    """Settle rows that could not be looked at: again after a pause that grows with each failure in a row."""
    pauses = [When(pk=one.pk, then=Value(now + freshness.wait_after(one.failures + 1))) for one in rows]
    _settle(rows, due_at=Case(*pauses), failures=F("failures") + 1, last_error=error)


def release(rows: Sequence[RefreshClaim], *, now: datetime) -> None:
    """Give back rows that were not looked at after all."""
    _settle(rows, due_at=now)


def _settle(rows: Sequence[RefreshClaim], **columns: object) -> None:
    """Write where the claim still holds. Who wanted a row meanwhile has changed its `due_at`: it stays."""
    if not rows:
        return
    fences: dict[int, list[int]] = defaultdict(list)
    for one in rows:
        fences[one.fence].append(one.pk)
    held = Q()
    for fence, pks in fences.items():
        held |= Q(fence=fence, pk__in=pks)

    def write() -> None:
        mine = ContentMetadata.objects.filter(held, due_at=rows[0].lease_end).order_by("content_key")
        pks = list(store.locked(mine).values_list("pk", flat=True))
        ContentMetadata.objects.filter(pk__in=pks).update(**columns)

    in_transaction(write)


def _subjects(keys: Sequence[str]) -> QuerySet[ContentMetadata]:
    """Return what to look at for these keys, in the order of locks: the content, or the course of a run.

    For a run that we do not know yet, the course that its key names by convention. It is only a hint.
    """
    known = ContentMetadata.objects.filter(content_key__in=keys).values_list("content_key", "pk", "parent")
    found = {key: parent or pk for key, pk, parent in known.order_by()}
    courses = filter(None, (_course_by_convention(key) for key in keys if key not in found))
    hinted = Q(content_key__in=list(courses), content_type=ContentType.COURSE)
    return ContentMetadata.objects.filter(Q(pk__in=found.values()) | hinted).order_by("content_key")


def _course_by_convention(run_key: str) -> str:
    """Return `Org+Number` for `course-v1:Org+Number+Run`, "" for any other key."""
    scheme, _, rest = run_key.partition(":")
    parts = rest.split("+")
    return "+".join(parts[:2]) if scheme == "course-v1" and len(parts) == 3 else ""


def _claimed(pks: Sequence[int], *, lease_end: datetime) -> list[RefreshClaim]:
    rows = ContentMetadata.objects.filter(pk__in=pks).values(
        "pk",
        "content_key",
        "fence",
        "failures",
        "expected_since",
        "fetched_from",
        "parent",
        "parent__content_key",
    )
    found = list(rows.order_by("content_key"))
    subjects = {row["parent"] or row["pk"] for row in found}
    held: dict[int, list[UUID]] = defaultdict(list)
    for catalog_uuid, content in _memberships(subjects):
        held[content].append(catalog_uuid)
    return [
        RefreshClaim(
            pk=row["pk"],
            content_key=row["parent__content_key"] or row["content_key"],
            catalog_uuid=catalog_to_ask(row["fetched_from"], held[row["parent"] or row["pk"]]),
            fence=row["fence"],
            failures=row["failures"],
            lease_end=lease_end,
            expected_since=row["expected_since"],
            with_course=row["parent"] is not None,
        )
        for row in found
    ]


def _memberships(contents: Collection[int]) -> Iterator[tuple[UUID, int]]:
    rows = CatalogMembership.objects.filter(content__in=contents).order_by("catalog_uuid")
    yield from rows.values_list("catalog_uuid", "content")


def catalog_to_ask(fetched_from: str, holders: Sequence[UUID]) -> UUID | None:
    """Return which catalog to ask for a row: the one that it came from, unless only others hold it now.

    None where nobody can be asked.
    """
    try:
        origin = UUID(fetched_from.rpartition(":")[2])
    except ValueError:
        return holders[0] if holders else None
    return origin if origin in holders or not holders else holders[0]
