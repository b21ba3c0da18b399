"""Attaches assignments without content to the row that their budget's catalog holds (decision 0009).

Such assignments are older than the replica, or were allocated while content was read upstream.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db import transaction
from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from bursary.assignments import administrator_notices, derived
from bursary.assignments.models import LearnerContentAssignment
from bursary.lib.batches import keyset_pages
from bursary.lib.clock import Clock
from bursary.lib.locks import for_update
from bursary.lib.retries import repeated_after_deadlocks
from bursary.replica import renamed_keys
from bursary.replica.models import CatalogMembership, ContentMetadata, FormerContentKey

KEYS = 50  # a page, and a request to a catalog


@dataclass(frozen=True, slots=True)
class Unattached:
    """A content key, and the number of its assignments without content."""

    content_key: str
    assignments: int


def unattached() -> Iterator[list[Unattached]]:
    """Yield the keys of assignments without content, in pages of `KEYS`, in the order of keys."""
    groups = _unattached().values_list("content_key").annotate(count=Count("pk"))
    for page in keyset_pages(groups, size=KEYS, after="", key="content_key"):
        yield [Unattached(key, count) for key, count in page]


def count_unattached() -> int:
    """Return the number of assignments without content."""
    return _unattached().count()


def contents_of(keys: Collection[str]) -> dict[str, dict[int, int]]:
    """Return for each key the rows that it can be attached to, by pk, with the number of assignments of each.

    A course with a renamed key is found by its former key.
    """
    current = renamed_keys.current_keys(keys)
    rows = ContentMetadata.objects.filter(content_key__in=set(current.values()))
    found: dict[str, list[int]] = defaultdict(list)
    for pk, key in rows.order_by("variant").values_list("pk", "content_key"):
        found[key].append(pk)
    counts = {
        key: {pk: _waiting(pk).filter(content_key=key).count() for pk in found[new]}
        for key, new in current.items()
    }
    return {key: {pk: count for pk, count in rows.items() if count} for key, rows in counts.items()}


def keys_to_look_up(keys: Collection[str]) -> dict[UUID, dict[str, str]]:
    """Return by catalog of these budgets the keys without a row there, each with the key to ask for."""
    held = CatalogMembership.objects.filter(
        content__content_key=OuterRef("content_key"), catalog_uuid=OuterRef("budget__catalog_uuid")
    )
    rows = _unattached().filter(~Exists(held), content_key__in=list(keys)).order_by()
    asked: dict[UUID, dict[str, str]] = defaultdict(dict)
    for catalog_uuid, key, course in rows.values_list(
        "budget__catalog_uuid", "content_key", "parent_content_key"
    ).distinct():
        asked[catalog_uuid][key] = course or key  # a run that has ended is found by its course alone
    return asked


def attach(content_pk: int, *, clock: Clock) -> int:
    """Attach the assignments of a row's key that have it in their catalogs; return the number attached.

    A transaction a batch, repeated after deadlocks. Where that brings a deadline forward, administrators are
    notified and nothing expires for a day, as after any change of content.
    """
    waiting = _waiting(content_pk).values_list("pk", flat=True)
    pages = keyset_pages(waiting, size=derived.ASSIGNMENTS_PER_STATEMENT)
    return sum(_attach_batch(content_pk, pks, clock=clock) for pks in pages)


@repeated_after_deadlocks
def _attach_batch(content_pk: int, pks: Sequence[int], *, clock: Clock) -> int:
    with transaction.atomic():
        content = for_update(ContentMetadata.objects.all()).defer("payload").get(pk=content_pk)
        now = clock()
        attached = derived.attach(content, pks=pks, now=now)
        administrator_notices.write_for_content(pks=[content_pk], now=now, in_batches=True)
    return attached


def _waiting(content_pk: int) -> QuerySet[LearnerContentAssignment]:
    """Return the assignments without content that have this row in their catalogs, by any of its keys."""
    row = ContentMetadata.objects.filter(pk=content_pk).values("content_key")
    former = FormerContentKey.objects.filter(content_key__in=row).values("former_key")
    held = CatalogMembership.objects.filter(content=content_pk, catalog_uuid=OuterRef("budget__catalog_uuid"))
    about = Q(content_key__in=row) | Q(content_key__in=former)
    return _unattached().filter(about, Exists(held))


def _unattached() -> QuerySet[LearnerContentAssignment]:
    return LearnerContentAssignment.objects.filter(content=None)
