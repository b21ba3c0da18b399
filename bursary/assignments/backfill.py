"""Joining assignments that do not refer to their content to our row of it (record 0023, step 3).

They were brought from before the replica, or allocated while content was read upstream.
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
from bursary.lib.locks import for_update
from bursary.replica.models import ContentMetadata

KEYS = 50  # a round, and a question to a catalog
MOST_BATCHES = 100_000


@dataclass(frozen=True, slots=True)
class Unjoined:
    """A content key, and how many assignments have it without referring to content."""

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
    """Return how many assignments have no content."""
    return _unjoined().count()


def contents_of(keys: Collection[str]) -> dict[str, int]:
    """Return the pks of our rows for these keys."""
    rows = ContentMetadata.objects.filter(content_key__in=list(keys))
    return dict(rows.values_list("content_key", "pk"))


def whom_to_ask(keys: Collection[str]) -> dict[UUID, dict[str, str]]:
    """Return, for each catalog of the budgets concerned, the keys, and what it is to be asked for."""
    rows = _unjoined().filter(content_key__in=list(keys)).order_by()
    asked: dict[UUID, dict[str, str]] = defaultdict(dict)
    for catalog_uuid, key, course in rows.values_list(
        "budget__catalog_uuid", "content_key", "parent_content_key"
    ).distinct():
        asked[catalog_uuid][key] = course or key  # a run that is over is found by its course alone
    return asked


def join(content_pk: int, *, clock: Callable[[], datetime]) -> int:
    """Join the assignments of a content's key to it, batch by batch; return how many.

    Each batch is one transaction, and stays if the next one fails. Where the join moves a deadline into the
    past, the administrators are told and nothing expires for a day, as with any change of content.
    """
    joined = last = 0
    for _batch in range(MOST_BATCHES):
        with transaction.atomic():
            content = _locked(content_pk)
            waiting = _unjoined().filter(content_key=content.content_key, pk__gt=last).order_by("pk")
            pks = list(waiting.values_list("pk", flat=True)[: derived.ASSIGNMENTS_PER_STATEMENT])
            if not pks:
                return joined
            now = clock()
            joined += derived.join(content, pks=pks, now=now)
            deadline_notices.notice_content(pks=[content_pk], now=now, in_batches=True)
        last = pks[-1]
    return joined


def _unjoined() -> QuerySet[LearnerContentAssignment]:
    return LearnerContentAssignment.objects.filter(content=None)


def _locked(content_pk: int) -> ContentMetadata:
    return for_update(ContentMetadata.objects.all()).defer("payload").get(pk=content_pk)
