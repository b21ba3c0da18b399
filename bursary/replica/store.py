"""How a batch of records becomes rows: the statements that `refresh.py` writes with.

Their number does not depend on the batch's size (SQLite alone cuts long inserts into several). They run in
one transaction, which the caller opens.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from django.conf import settings
from django.db import IntegrityError, connection
from django.db.models import Case, F, OuterRef, Q, QuerySet, Subquery, Value, When

from bursary.catalog.parser import Content
from bursary.lib.batches import unique_fields
from bursary.lib.locks import for_update
from bursary.replica import freshness, memberships, merge
from bursary.replica.merge import FetchContext, Merge, MergeDecision, StoredContent
from bursary.replica.models import ContentChange, ContentMetadata, ContentType

_WITH_PAYLOAD = ("payload", "digest", "fetched_from", "upstream_modified", "fetched_at", "changed_at")


def store(chosen: Mapping[str, Content], *, look: FetchContext) -> list[Merge]:
    """Insert what is missing, lock everything, and only then judge: by what is committed, and stays so.

    Two refreshers of one catalog wait for each other and neither fails. Inserting comes first, in the order
    of keys, and gives way to whoever was faster. A row that is not committed is invisible to those who lock.
    So who inserts waits for inserters of greater keys or for lockers, who locks waits for lockers of greater
    keys alone, and no circle can close.
    Raises IntegrityError, and the database's other complaints about values, for a record it does not take.
    """
    keys = _keys(chosen)
    inserted = _insert_missing(chosen, keys, look=look)
    stored = _read(locked(ContentMetadata.objects.filter(content_key__in=keys)))
    if refused := sorted(chosen.keys() - stored.keys()):
        # SQLite leaves out rows that break a constraint where PostgreSQL says so.
        raise IntegrityError(f"left out: {', '.join(refused)}")
    courses = _courses(stored)
    known = memberships.known(stored, look=look)
    repeated = memberships.repeated(chosen, stored=stored, known=known)
    judgements = [
        merge.decide(
            content,
            stored[key],
            look=look,
            courses=courses,
            inserted=key in inserted,
            repeated=key in repeated,
        )
        for key, content in chosen.items()
    ]
    _rewrite(having(judgements, MergeDecision.CHANGED), look=look)
    _link(having(judgements, MergeDecision.CREATED, MergeDecision.CHANGED), stored=stored)
    _confirm(having(judgements, MergeDecision.CHANGED, MergeDecision.UNCHANGED), look=look)
    _touch(having(judgements, MergeDecision.REFUSED_THIN), look=look)
    _bring_back([one for one in judgements if not one.agreed])
    _look_again(having(judgements, MergeDecision.REPEATED), look=look)
    returned = memberships.enlist(judgements, stored=stored, known=known, look=look)
    see([one.content.content_key for one in having(judgements, MergeDecision.REFUSED_TYPE)], look=look)
    judgements = [_rejoined(one, look=look) if one.row.pk in returned else one for one in judgements]
    _tell(judgements, look=look)
    return judgements


def forecast(chosen: Mapping[str, Content], *, look: FetchContext) -> dict[str, MergeDecision]:
    """Return what `store` would do, by rows as they are now, unlocked."""
    stored = _read(ContentMetadata.objects.filter(content_key__in=_keys(chosen)))
    courses = _courses(stored)
    courses |= {key for key, content in chosen.items() if content.content_type.value == ContentType.COURSE}
    verdicts = dict.fromkeys(chosen, MergeDecision.CREATED)
    repeated = memberships.repeated(chosen, stored=stored, known=memberships.known(stored, look=look))
    for key in chosen.keys() & stored.keys():
        judgement = merge.decide(
            chosen[key],
            stored[key],
            look=look,
            courses=courses,
            inserted=False,
            repeated=key in repeated,
        )
        verdicts[key] = judgement.verdict
    return verdicts


def having(judgements: Iterable[Merge], *verdicts: MergeDecision) -> list[Merge]:
    """Return the judgements with one of these verdicts."""
    return [one for one in judgements if one.verdict in verdicts]


def to_announce(judgements: Iterable[Merge]) -> list[int]:
    """Return the rows that others must hear of, in order; with what is held again, its runs."""
    judgements = list(judgements)
    back = {one.content.content_key for one in judgements if "membership" in one.changes}
    return sorted(
        one.row.pk
        for one in judgements
        if one.changes
        or one.parent_key in back
        or one.verdict in (MergeDecision.CREATED, MergeDecision.CHANGED)
    )


def quarantined(keys: Iterable[str]) -> dict[str, str]:
    """Return the digests, by key, of records that could not be used when they were last met."""
    rows = ContentMetadata.objects.filter(content_key__in=list(keys)).exclude(quarantined_digest="")
    return dict(rows.order_by().values_list("content_key", "quarantined_digest"))


def see(keys: Iterable[str], *, look: FetchContext) -> None:
    """Note that the catalog named this content, whatever it said of it."""
    rows = ContentMetadata.objects.filter(content_key__in=list(keys)).order_by("content_key")
    pks = list(locked(rows).values_list("pk", flat=True))
    memberships.note_seen(pks, look=look)


def quarantine(errors: Mapping[str, tuple[str, str]]) -> None:
    """Note, on the rows that we have, by key, why upstream's newest record was left out, and its digest."""
    rows = ContentMetadata.objects.filter(content_key__in=errors).order_by("content_key")
    keys = dict(locked(rows).values_list("pk", "content_key"))
    if keys:
        ContentMetadata.objects.filter(pk__in=keys).update(
            failures=F("failures") + 1,
            last_error=Case(*(When(pk=pk, then=Value(errors[key][0])) for pk, key in keys.items())),
            quarantined_digest=Case(*(When(pk=pk, then=Value(errors[key][1])) for pk, key in keys.items())),
        )


def locked(rows: QuerySet[ContentMetadata], *, skip_locked: bool = False) -> QuerySet[ContentMetadata]:
    """Return the rows locked, but not against those who only refer to them."""
    return for_update(rows, skip_locked=skip_locked)


def _keys(chosen: Mapping[str, Content]) -> list[str]:
    """Return the keys that a batch is about, those of its runs' courses included, in order."""
    parents = {content.parent_key for content in chosen.values() if content.parent_key}
    return sorted(parents | chosen.keys())


def _courses(stored: Mapping[str, StoredContent]) -> set[str]:
    return {key for key, row in stored.items() if row.content_type == ContentType.COURSE}


def _read(queryset: QuerySet[ContentMetadata]) -> dict[str, StoredContent]:
    parents = ContentMetadata.objects.filter(pk=OuterRef("parent")).values("content_key")[:1]
    own = [name for name in StoredContent.__annotations__ if name not in ("columns", "parent_key")]
    found = queryset.order_by("content_key").annotate(parent_key=Subquery(parents))
    names = dict.fromkeys(["content_key", "parent_key", *own, *merge.COLUMNS])
    return {
        row["content_key"]: StoredContent(
            parent_key=row["parent_key"],
            columns={name: row[name] for name in merge.COLUMNS},
            **{name: row[name] for name in own},
        )
        for row in found.values(*names)
    }


def _insert_missing(chosen: Mapping[str, Content], keys: Sequence[str], *, look: FetchContext) -> set[str]:
    present = ContentMetadata.objects.filter(content_key__in=keys).order_by()
    known = set(present.values_list("content_key", flat=True))
    missing = [key for key in keys if key in chosen and key not in known]
    rows = [_row(chosen[key], look=look) for key in missing]
    if connection.features.supports_update_conflicts_with_target:
        ContentMetadata.objects.bulk_create(rows, ignore_conflicts=True)
    else:
        # MySQL's INSERT IGNORE would bend values that do not fit. This writes nothing either, but complains.
        ContentMetadata.objects.bulk_create(rows, update_conflicts=True, update_fields=["content_key"])
    return set(missing)


def _row(content: Content, *, look: FetchContext) -> ContentMetadata:
    """Return the row of a record without its parent, whose primary key may not be known yet."""
    fresh_until = look.now + freshness.span(freshness.kind_of(content, now=look.now))
    return ContentMetadata(
        content_key=content.content_key,
        content_type=content.content_type.value,
        payload=content.payload,
        digest=content.digest,
        source=look.by,
        fetched_from=look.fetched_from,
        upstream_modified=content.upstream_modified,
        fetched_at=look.now,
        checked_at=look.now,
        changed_at=look.now,
        fresh_until=fresh_until,
        due_at=None if content.content_type.value == ContentType.COURSERUN else fresh_until,
        **merge.columns(content),
    )


def _rewrite(changed: Sequence[Merge], *, look: FetchContext) -> None:
    """Write the typed columns, and the payload only where it changed.

    An upsert, being the fastest way to update many rows: all of them are there, and we hold their locks.
    """
    for with_payload in (True, False):
        rows = [_row(one.content, look=look) for one in changed if one.rewrites_payload is with_payload]
        ContentMetadata.objects.bulk_create(
            rows,
            update_conflicts=True,
            unique_fields=unique_fields("content_key"),
            update_fields=[*merge.COLUMNS, *(_WITH_PAYLOAD if with_payload else ())],
        )


def _link(judgements: Sequence[Merge], *, stored: Mapping[str, StoredContent]) -> None:
    """Put runs under their courses."""
    runs_of: dict[int, list[int]] = defaultdict(list)
    for one in judgements:
        if one.parent_key is not None and one.parent_key != one.row.parent_key:
            runs_of[stored[one.parent_key].pk].append(one.row.pk)
    if runs_of:
        moved = [pk for runs in runs_of.values() for pk in runs]
        parent = Case(*(When(pk__in=runs, then=Value(course)) for course, runs in runs_of.items()))
        ContentMetadata.objects.filter(pk__in=moved).update(parent=parent)


def _confirm(agreed: Sequence[Merge], *, look: FetchContext) -> None:
    """Note that upstream was asked and that our rows say what it says. A later look is never set back.

    A wish from after this look stays, and so does an announced change that is younger than it: what moved
    may be something else. Where a row came from this catalog its version moves on, changed or not, so that
    no older record can come back; what a clock that was ahead has written is set right.
    """
    if not agreed:
        return
    versions: dict[Any, list[int]] = defaultdict(list)
    spans: dict[Any, list[int]] = defaultdict(list)
    for one in agreed:
        if one.content.upstream_modified and one.row.fetched_from == look.fetched_from:
            versions[one.content.upstream_modified].append(one.row.pk)
        spans[freshness.span(freshness.kind_of(one.content, now=look.now))].append(one.row.pk)
    newer = [When(pk__in=rows, then=Value(version)) for version, rows in versions.items()]
    fresh_until = Case(*(When(pk__in=rows, then=Value(look.now + span)) for span, rows in spans.items()))
    moved = [one.row.pk for one in agreed if one.rewrites_payload]
    rows = ContentMetadata.objects.filter(pk__in=[one.row.pk for one in agreed])
    rows.filter(Q(checked_at__lte=look.now) | _ahead("checked_at", look)).update(
        source=look.by,
        upstream_modified=Case(*newer, default=F("upstream_modified")),
        checked_at=look.now,
        # Before the column that it reads: MySQL sees what the same statement has written already.
        due_at=_due_after(fresh_until, moved=moved, look=look),
        fresh_until=fresh_until,
        failures=0,
        last_error="",
        quarantined_digest="",
        gone_at=None,
    )
    if moved:  # whatever a clock that was ahead has written as `checked_at`
        ContentMetadata.objects.filter(_shown_to(look), pk__in=moved).update(expected_since=None)


def _shown_to(look: FetchContext) -> Q:
    """Return the condition under which a change that this look saw is the one that was announced."""
    return Q(expected_since__lte=look.now) | _ahead("expected_since", look)


def _ahead(column: str, look: FetchContext) -> Q:
    return freshness.written_ahead(column, now=look.now)


def _due_after(fresh_until: Case, *, moved: Sequence[int], look: FetchContext) -> Case:
    """Return when to look next: by the table of freshness, unless somebody wanted it, or holds it, since.

    What an event announced is awaited until the payload moves. A run is looked at with its course.
    """
    since = Q(due_at__gt=look.now, due_at__lte=freshness.latest(look.now)) & ~Q(due_at=F("fresh_until"))
    awaited = Q(expected_since__isnull=False) & ~(_shown_to(look) & Q(pk__in=moved))
    return Case(
        When(since | awaited, then=F("due_at")),
        When(content_type=ContentType.COURSERUN, then=None),
        default=fresh_until,
    )


def _touch(thin: Sequence[Merge], *, look: FetchContext) -> None:
    """Note that upstream still has it. No more: a thin record says nothing of a price."""
    if thin:
        rows = ContentMetadata.objects.filter(pk__in=[one.row.pk for one in thin])
        rows.filter(Q(checked_at__lt=look.now) | _ahead("checked_at", look)).update(checked_at=look.now)


def _look_again(repeated: Sequence[Merge], *, look: FetchContext) -> None:
    """Let the catalog that our row came from be asked: that one's word counts, where two differ."""
    if repeated:
        rows = ContentMetadata.objects.filter(pk__in=[one.row.pk for one in repeated])
        rows.filter(due_at__gt=look.now + settings.CONTENT_LEASE).update(due_at=look.now)


def _bring_back(refused: Sequence[Merge]) -> None:
    """Note that what was gone is there again, although what is said of it is not taken."""
    if back := [one.row.pk for one in refused if "gone_at" in one.changes]:
        ContentMetadata.objects.filter(pk__in=back).update(gone_at=None)


def _rejoined(one: Merge, *, look: FetchContext) -> Merge:
    return replace(one, changes={**one.changes, "membership": (None, str(look.catalog_uuid))})


def _pks(judgements: Iterable[Merge]) -> set[int]:
    return {one.row.pk for one in judgements}


def _tell(judgements: Iterable[Merge], *, look: FetchContext) -> None:
    """Add to each row's story what changed in it."""
    ContentChange.objects.bulk_create(
        ContentChange(content_id=one.row.pk, field=field, old=old, new=new, source=look.by, created=look.now)
        for one in judgements
        for field, (old, new) in one.changes.items()
    )
