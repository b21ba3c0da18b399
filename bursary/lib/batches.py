"""Many items, a few at a time: chunks, halves, pages by primary key, deletions, and random samples."""

import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import nsmallest
from itertools import islice
from typing import Any, Generic, TypeVar

from django.db.models import Max, Min, QuerySet

from bursary.lib.retries import repeated_after_deadlocks

KEYS_PER_PAGE = 5000
ROWS_PER_DELETION = 1000
MAX_DELETIONS = 200
"""The most batches, of 1,000 rows each, in one run. A daily task leaves the rest to the next day's."""

T = TypeVar("T")
ProgressCallback = Callable[[int], None]
"""Called with the number of items that are done so far."""


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the items in lists of `size`, the last one shorter."""
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


def slices(count: int, size: int) -> Iterator[slice]:
    """Yield the slices of `size` that part `count` items; for several sequences of the same items."""
    for start in range(0, count, size):
        yield slice(start, start + size)


class Halving(Generic[T]):
    """Yields all items, then the halves of each part that fails, until the failing item is alone.

    Halves are yielded after all waiting parts, so that one bad item does not cause failures in a row.
    """

    def __init__(self, items: Sequence[T]) -> None:
        self.waiting: deque[Sequence[T]] = deque([items] if items else [])
        """The parts that are not done, including the one that was yielded last."""

    def __iter__(self) -> Iterator[Sequence[T]]:
        while self.waiting:
            yield self.waiting[0]
            self.waiting.popleft()

    def halve(self, part: Sequence[T]) -> bool:
        """Add the halves of a part to those to yield; return False if it is a single item."""
        middle = len(part) // 2
        if middle:
            self.waiting += (part[:middle], part[middle:])
        return middle > 0


def keyset_pages(
    rows: QuerySet[Any, T], *, size: int, after: int | str = 0, key: str = "pk"
) -> Iterator[list[T]]:
    """Yield rows in pages of `size`, ascending by `key`, from the first above `after`.

    Each page is a query of its own that begins where the one before ended, so that the caller may change,
    add and delete rows meanwhile. Of `values_list()`, `key` must be the first column.
    """
    while True:
        page = list(rows.filter(**{f"{key}__gt": after}).order_by(key)[:size])
        if page:
            yield page
        if len(page) < size:
            return
        last: Any = page[-1]
        match last:
            case tuple():
                after = last[0]
            case int() | str():
                after = last
            case _:
                after = getattr(last, key)


def primary_keys(rows: QuerySet[Any, Any], *, after: int = 0) -> Iterator[int]:
    """Yield the primary keys above `after`, ascending, without ever holding all of them."""
    for page in keyset_pages(rows.values_list("pk", flat=True), size=KEYS_PER_PAGE, after=after):
        yield from page


def delete_first(rows: QuerySet[Any, Any]) -> int:
    """Delete rows in their order, in at most `MAX_DELETIONS` batches; return the number of deleted rows.

    Each batch is a query and a transaction of its own, so that rows may be added and deleted meanwhile.
    """
    deleted = 0
    for _ in range(MAX_DELETIONS):
        pks = list(rows.values_list("pk", flat=True)[:ROWS_PER_DELETION])
        if not pks:
            break
        deleted += repeated_after_deadlocks(rows.model._base_manager.filter(pk__in=pks).delete)()[0]
    return deleted


def sample(rows: QuerySet[Any, Any], *, size: int) -> list[int]:
    """Return the primary keys of `size` rows, each as likely as any other, ascending."""
    return sorted(nsmallest(size, primary_keys(rows), key=lambda _pk: random.random()))  # noqa: S311  # no secret


def sample_of_range(rows: QuerySet[Any, T], *, size: int) -> QuerySet[Any, T]:
    """Return at most `size` of the rows, chosen at random from the range of their primary keys.

    Takes constant time. Fewer where keys are missing in the range; all, where it has up to `size` keys.
    """
    ends = rows.aggregate(first=Min("pk"), last=Max("pk"))
    if ends["first"] is None:
        return rows
    keys_in_range = range(ends["first"], ends["last"] + 1)
    return rows.filter(pk__in=random.sample(keys_in_range, k=min(size, len(keys_in_range))))
