"""Some of many rows, at random, without ever holding all of their keys."""

import random
from collections.abc import Iterator
from heapq import nsmallest
from typing import Any

from django.db.models import QuerySet

KEYS_PER_QUERY = 5000


def keys_of(rows: QuerySet[Any, Any], *, after: int = 0) -> Iterator[int]:
    """Yield the primary keys above `after`, ascending, read in batches: rows may come and go meanwhile."""
    while True:
        batch = list(rows.filter(pk__gt=after).order_by("pk").values_list("pk", flat=True)[:KEYS_PER_QUERY])
        yield from batch
        if len(batch) < KEYS_PER_QUERY:
            return
        after = batch[-1]


def sampled(rows: QuerySet[Any, Any], *, size: int) -> list[int]:
    """Return the primary keys of `size` of the rows, each as likely as any other, ascending."""
    return sorted(nsmallest(size, keys_of(rows), key=lambda _pk: random.random()))  # noqa: S311  # no secret
