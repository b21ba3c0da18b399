"""Joins assignments without content to the replica's row of their key (record 0023, step 3).

Such assignments are older than the replica, or were allocated while content was read upstream.
"""

from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import Count, QuerySet

from bursary.assignments import deadline_notices, derived
from bursary.assignments.models import LearnerContentAssignment
from bursary.lib.batches import keyset_pages
from bursary.lib.locks import for_update
from bursary.replica.models import ContentMetadata

KEYS = 50  # a page, and a request to a catalog


@dataclass(frozen=True, slots=True)
class Unjoined:
    """A content key, and the number of its assignments without content."""

    content_key: str
    assignments: int


def unjoined(*, after: str) -> list[Unjoined]:
    """Return the next `KEYS` keys of assignments without content, in the order of keys."""
    groups = (
        _unjoined()
        .filter(content_key__gt=after)
        .values_list("content_key")
        .annotate(count=Count("pk"))
        .order_by("content_key")[:KEYS]
    )
    return [Unjoined(key, count) for key, count in groups]


def count_unjoined() -> int:
    """Return the number of assignments without content."""
    return _unjoined().count()


def contents_of(keys: Collection[str]) -> dict[str, int]:
    """Return the pks of the replica's rows for these keys."""
    rows = ContentMetadata.objects.filter(content_key__in=list(keys))
    return dict(rows.values_list("content_key", "pk"))


def catalogs_to_ask(keys: Collection[str]) -> dict[UUID, dict[str, str]]:
    """Return for each catalog of the budgets concerned the keys, and the key to ask it for."""
    rows = _unjoined().filter(content_key__in=list(keys)).order_by()
    asked: dict[UUID, dict[str, str]] = defaultdict(dict)
    for catalog_uuid, key, course in rows.values_list(
        "budget__catalog_uuid", "content_key", "parent_content_key"
    ).distinct():
        asked[catalog_uuid][key] = course or key  # a run that has ended is found by its course alone
    return asked


def join(content_pk: int, *, clock: Callable[[], datetime]) -> int:
    """Join the assignments of a content's key to it, a transaction a batch; return the number joined.

    Where that brings a deadline forward, administrators are notified and nothing expires for a day, as
    after any change of content.
    """
    key = ContentMetadata.objects.values_list("content_key", flat=True).get(pk=content_pk)
    waiting = _unjoined().filter(content_key=key).values_list("pk", flat=True)
    joined = 0
    for pks in keyset_pages(waiting, size=derived.ASSIGNMENTS_PER_STATEMENT):
        with transaction.atomic():
            content = for_update(ContentMetadata.objects.all()).defer("payload").get(pk=content_pk)
            now = clock()
            joined += derived.join(content, pks=pks, now=now)
            deadline_notices.notice_content(pks=[content_pk], now=now, in_batches=True)
    return joined


def _unjoined() -> QuerySet[LearnerContentAssignment]:
    return LearnerContentAssignment.objects.filter(content=None)
