"""How content leaves a catalog: never because one listing left it out.

A listing leaves out what is inactive, and may be cut short without saying so. So whatever a whole listing
did not name is asked for by key, and its membership ends when two such questions, some time apart, found
nothing. All that only while the catalog does not shrink by more than a fifth at once.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Q, QuerySet

from bursary.lib.locks import for_update
from bursary.lib.retries import in_transaction
from bursary.replica import store
from bursary.replica.freshness import AHEAD, written_ahead
from bursary.replica.ingest import BATCH, content_changed
from bursary.replica.merge import FetchContext
from bursary.replica.models import CatalogListing, CatalogMembership, ContentChange, ContentMetadata

GUARDED_SHARE = 5
"""One in so many may go missing."""
HANDFUL = 5
"""So few may always go missing: in a catalog of four, one is more than a fifth."""
CONFIRM_AFTER = timedelta(hours=1)
ACCEPTED_FOR = timedelta(days=2)
"""How long an operator's word counts that much may go: longer than two confirmations take."""


def accept_listing(look: FetchContext, *, begun_at: datetime, listed: int, accept_drop: bool) -> str:
    """Judge a whole listing, read since it began; return why it is not believed, or nothing.

    One that is believed counts from now on as the catalog's size. A catalog whose first listing this is has
    the members that we know of. One that began before another that was judged already says nothing new.
    """

    def judge() -> str:
        state = _state(look.catalog_uuid)
        if accept_drop:
            _lower_guard(state, until=look.now + ACCEPTED_FOR)
        judged_at = (state.started_at, None if accept_drop else state.alarmed_at)
        if any(at and begun_at < at <= begun_at + AHEAD for at in judged_at):
            return ""
        alarm = predict_alarm(look.catalog_uuid, listed=listed, accept_drop=accept_drop)
        if alarm:
            _raise_alarm(state, alarm, now=look.now)
            return alarm
        state.started_at, state.listed = begun_at, listed
        state.alarm, state.alarmed_at = "", None
        state.save(update_fields=["started_at", "listed", "alarm", "alarmed_at"])
        return ""

    return in_transaction(judge)


def predict_alarm(catalog_uuid: UUID, *, listed: int, accept_drop: bool) -> str:
    """Return why a listing that names so many would not be believed, or nothing."""
    if accept_drop:
        return ""
    state = CatalogListing.objects.filter(catalog_uuid=catalog_uuid).exclude(started_at=None).first()
    return _alarm_at_listing(listed, before=state.listed if state else members(catalog_uuid).count())


def held(catalog_uuid: UUID, *, keys: Collection[str]) -> list[int]:
    """Return the pks of the content among these keys that the catalog holds, as far as we know."""
    rows = members(catalog_uuid).filter(content__content_key__in=keys)
    return list(rows.order_by("content_id").values_list("content", flat=True))


def seen_since(catalog_uuid: UUID, keys: Sequence[str], *, begun_at: datetime) -> set[str]:
    """Return which of these keys the catalog was seen to hold since then."""
    rows = members(catalog_uuid).filter(
        content__content_key__in=keys, seen_at__gte=begun_at, missing_since=None
    )
    return set(rows.order_by().values_list("content__content_key", flat=True))


def unseen_since(catalog_uuid: UUID, *, begun_at: datetime) -> Iterator[list[tuple[int, str]]]:
    """Yield, in batches, the content (pk, key) of the catalog that has not been seen since then."""
    last = 0
    while True:
        rows = members(catalog_uuid).filter(seen_at__lt=begun_at, content__gt=last)
        batch = list(rows.order_by("content_id").values_list("content", "content__content_key")[:BATCH])
        if not batch:
            return
        yield batch
        last = batch[-1][0]


def record_missing(pks: Collection[int], *, look: FetchContext) -> tuple[int, set[int], str]:
    """Note that the catalog, asked by key, did not have this content.

    Return how many memberships ended; the content that was missed for the first time just now, or not long
    enough ago; and the alarm that kept memberships from ending, if one did. Under the locks that whoever sees
    the content again takes first, so that it is either seen or over.
    """
    missed = members(look.catalog_uuid).filter(content__in=list(pks), seen_at__lt=look.now)

    def note() -> tuple[int, set[int], str]:
        rows = _locked_with_runs(pks)
        state = _state(look.catalog_uuid)
        ahead = written_ahead("seen_at", now=look.now) | written_ahead("missing_since", now=look.now)
        asked = members(look.catalog_uuid).filter(ahead, content__in=list(pks))
        asked.update(seen_at=look.now, missing_since=None)  # a clock was ahead: the next question counts
        since = dict(missed.order_by("content_id").values_list("content", "missing_since"))
        missed.filter(missing_since=None).update(missing_since=look.now)
        waiting = {pk for pk, at in since.items() if at is None or at > look.now - CONFIRM_AFTER}
        believed = missed.filter(seen_at__lt=state.started_at) if state.started_at else missed.none()
        confirmed = list(believed.exclude(content__in=waiting).values_list("content", flat=True))
        if not confirmed:
            return 0, waiting, ""
        if alarm := _alarm_at_leaving(state, now=look.now):
            _raise_alarm(state, alarm, now=look.now)
            return 0, waiting, alarm
        return _end(confirmed, rows=rows, look=look), waiting, ""

    return in_transaction(note)


def members(catalog_uuid: UUID) -> QuerySet[CatalogMembership]:
    """Return what a catalog holds, as far as we know."""
    return CatalogMembership.objects.filter(catalog_uuid=catalog_uuid)


def alarms(catalogs: Collection[UUID] | None = None) -> dict[UUID, str]:
    """Return the catalogs (all, or of these) of which too much is missing, and in a sentence how much."""
    rows = CatalogListing.objects.exclude(alarm="")
    if catalogs is not None:
        rows = rows.filter(catalog_uuid__in=list(catalogs))
    return dict(rows.values_list("catalog_uuid", "alarm"))


def _state(catalog_uuid: UUID) -> CatalogListing:
    row = CatalogListing(catalog_uuid=catalog_uuid)
    CatalogListing.objects.bulk_create([row], ignore_conflicts=True)
    return for_update(CatalogListing.objects.all()).get(catalog_uuid=catalog_uuid)


def _alarm_at_listing(listed: int, *, before: int) -> str:
    missing = before - listed
    if missing * GUARDED_SHARE <= before or (missing < HANDFUL and listed):
        return ""
    return (
        f"The listing names {listed} where the one before named {before}: more than a fifth is missing. "
        "Nothing was removed."
    )


def _alarm_at_leaving(state: CatalogListing, *, now: datetime) -> str:
    if state.guard_off_until and now < state.guard_off_until:
        return ""
    held = members(state.catalog_uuid)
    total, missing = held.count(), held.filter(missing_since__isnull=False).count()
    if missing * GUARDED_SHARE <= total or missing < HANDFUL:
        return ""
    return (
        f"Asked by key, the catalog does not have {missing} of the {total} that it held: more than a fifth. "
        "Nothing was removed."
    )


def _lower_guard(state: CatalogListing, *, until: datetime) -> None:
    state.guard_off_until = max(until, state.guard_off_until or until)
    state.save(update_fields=["guard_off_until"])


def _raise_alarm(state: CatalogListing, alarm: str, *, now: datetime) -> None:
    state.alarm, state.alarmed_at = alarm, state.alarmed_at or now
    state.save(update_fields=["alarm", "alarmed_at"])


def _locked_with_runs(pks: Collection[int]) -> dict[int, int | None]:
    """Lock content and its runs, before their memberships; return each one's course."""
    concerned = ContentMetadata.objects.filter(Q(pk__in=pks) | Q(parent__in=pks)).order_by("content_key")
    return dict(store.locked(concerned).values_list("pk", "parent"))


def _end(pks: Collection[int], *, rows: Mapping[int, int | None], look: FetchContext) -> int:
    """End memberships, and mark what no catalog holds any more, with its runs. The rows stay.

    `rows` are the locked content and its runs, with each one's course.
    """
    over = members(look.catalog_uuid).filter(
        content__in=list(pks), seen_at__lt=look.now, missing_since__isnull=False
    )
    left = sorted(over.values_list("content", flat=True))
    over.filter(content__in=left).delete()
    others = CatalogMembership.objects.filter(content__in=left)
    others.update(digest="")  # our row may be as this catalog had it: the next that another serves is news
    kept = set(others.values_list("content", flat=True))
    orphaned = set(left) - kept
    gone = ContentMetadata.objects.filter(Q(pk__in=orphaned) | Q(parent__in=orphaned), gone_at=None)
    gone_pks = list(gone.values_list("pk", flat=True))
    ContentMetadata.objects.filter(pk__in=gone_pks).update(gone_at=look.now)
    _tell(left, gone_pks, look=look)
    announced = sorted(pk for pk, parent in rows.items() if pk in left or parent in left)
    content_changed.send(sender=ContentMetadata, pks=announced, now=look.now)
    return len(left)


def _tell(left: Collection[int], gone: Collection[int], *, look: FetchContext) -> None:
    changes: list[tuple[int, str, object, object]] = [
        *((pk, "membership", str(look.catalog_uuid), None) for pk in left),
        *((pk, "gone_at", None, look.now.isoformat()) for pk in gone),
    ]
    ContentChange.objects.bulk_create(
        ContentChange(content_id=pk, field=field, old=old, new=new, source=look.by, created=look.now)
        for pk, field, old, new in changes
    )
