"""Retention of `ContentChange`: changes of content that was never assigned are deleted after a while."""

from datetime import datetime

from django.db.models import Q

from bursary.lib.batches import keyset_pages
from bursary.replica.models import ContentChange

ROWS_PER_STATEMENT = 1000
KEPT_FOR_GOOD = ("membership",)
"""Whether content is new to a catalog or has returned to it is read from these."""


def delete_old(*, before: datetime, kept: Q, after: int, limit: int) -> tuple[int, int]:
    """Delete changes made before an instant that do not match `kept`; return how many, and where to go on.

    Begins with the first above the primary key `after`, and looks at about `limit`. Changes are stored about
    in the order of their dates, so that a page with a newer one ends the run.
    """
    deleted, looked_at = 0, 0
    for page in keyset_pages(
        ContentChange.objects.values_list("pk", "created"), size=ROWS_PER_STATEMENT, after=after
    ):
        old = [pk for pk, created in page if created < before]
        if old:
            rows = ContentChange.objects.filter(pk__in=old).exclude(field__in=KEPT_FOR_GOOD)
            deleted += rows.exclude(kept).delete()[0]
        looked_at += len(page)
        if len(old) < len(page) or looked_at >= limit:
            break
        after = page[-1][0]
    return deleted, after
