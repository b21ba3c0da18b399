"""What each catalog holds, and what it says of that for itself: its links, and which record it last served.

Whoever writes memberships holds the locks of their content.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from django.db.models import Case, F, Q, When

from bursary.catalog.parser import Content
from bursary.lib.batches import unique_fields
from bursary.replica.freshness import AHEAD, written_ahead
from bursary.replica.merge import FetchContext, Merge, MergeDecision, StoredContent
from bursary.replica.models import CatalogMembership, ContentChange, ContentType

LinksByKey = dict[str, dict[str, object]]
Known = Mapping[int, CatalogMembership]
"""A catalog's memberships, by content pk."""


def known(stored: Mapping[str, StoredContent], *, look: FetchContext) -> Known:
    """Return what we know of the catalog's hold on these rows."""
    rows = CatalogMembership.objects.filter(
        catalog_uuid=look.catalog_uuid, content__in=[row.pk for row in stored.values()]
    )
    return {row.content_id: row for row in rows}


def repeated(chosen: Mapping[str, Content], *, stored: Mapping[str, StoredContent], known: Known) -> set[str]:
    """Return the keys of records that the catalog served before just like this, with those of their runs."""
    said = {key: known[row.pk].digest for key, row in stored.items() if row.pk in known}
    again = {key for key, content in chosen.items() if said.get(key) == content.digest}
    return again | {key for key, content in chosen.items() if content.parent_key in again}


def held(judgements: Iterable[Merge]) -> list[Merge]:
    """Return what a catalog itself holds: all but runs, which are held where their course is."""
    return [
        one
        for one in judgements
        if one.verdict is not MergeDecision.REFUSED_TYPE and one.row.content_type != ContentType.COURSERUN
    ]


def enlist(
    judgements: Collection[Merge], *, stored: Mapping[str, StoredContent], known: Known, look: FetchContext
) -> Collection[int]:
    """Note what the catalog holds, its links and what it served; return what had left and is held again."""
    members = {one.row.pk: one for one in held(judgements)}
    agreed, refused = (_links(judgements, stored=stored, agreed=verdict) for verdict in (True, False))
    concerned = members.keys() | (known.keys() & (agreed.keys() | refused.keys()))
    rows: list[CatalogMembership] = []
    for pk in sorted(concerned):
        before = known.get(pk)
        if before and look.now < before.seen_at <= look.now + AHEAD:
            continue
        links, digest = (before.links, before.digest) if before else ({}, "")
        row = CatalogMembership(
            catalog_uuid=look.catalog_uuid,
            content_id=pk,
            created=look.now,
            seen_at=look.now,
            links=refused.get(pk, {}) | links | agreed.get(pk, {}),
            digest=members[pk].content.digest if pk in members and members[pk].agreed else digest,
        )
        if not before or (row.links, row.digest) != (links, digest):
            rows.append(row)
    CatalogMembership.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=unique_fields("catalog_uuid", "content"),
        update_fields=["links", "digest"],
    )
    note_seen(members.keys() & known.keys(), look=look)
    created = {one.row.pk for one in judgements if one.verdict is MergeDecision.CREATED}
    return _had_left(members.keys() - known.keys() - created, look=look)


def note_seen(contents: Collection[int], *, look: FetchContext) -> None:
    """Note that the catalog named this content. What a later look saw, or missed, is never set back."""
    rows = CatalogMembership.objects.filter(catalog_uuid=look.catalog_uuid, content__in=contents)
    later = Q(missing_since__gt=look.now) & ~written_ahead("missing_since", now=look.now)
    missing_since = Case(When(later, then=F("missing_since")), default=None)
    rows = rows.filter(Q(seen_at__lt=look.now) | written_ahead("seen_at", now=look.now))
    rows.update(seen_at=look.now, missing_since=missing_since)


def _links(
    judgements: Iterable[Merge], *, stored: Mapping[str, StoredContent], agreed: bool
) -> dict[int, LinksByKey]:
    """Return the links of the records that we agree with, or of the others, by whom the catalog holds."""
    links: dict[int, LinksByKey] = defaultdict(dict)
    for one in judgements:
        is_run = one.row.content_type == ContentType.COURSERUN
        holder = stored.get(one.parent_key or "") if is_run else one.row
        if (
            one.content.links
            and holder
            and one.agreed is agreed
            and one.verdict is not MergeDecision.REFUSED_TYPE
        ):
            links[holder.pk][one.content.content_key] = one.content.links
    return links


def _had_left(joined: Collection[int], *, look: FetchContext) -> set[int]:
    """Return what of the content that just joined the catalog had once left it."""
    if not joined:
        return set()
    left = ContentChange.objects.filter(
        content__in=joined, field="membership", old=str(look.catalog_uuid)
    ).order_by()
    return set(left.values_list("content", flat=True).distinct())
