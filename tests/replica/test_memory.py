"""A refresh streams: what it needs does not grow with the catalog."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from bursary.catalog.records import KeysToSkip
from bursary.replica import audit, ingest, refresh, removal
from bursary.replica.models import CatalogMembership, ContentMetadata, RefreshTrigger
from tests.memory import is_hardly_more, peak_while
from tests.replica.listing import NOW, Listing, Record

pytestmark = pytest.mark.django_db

PAGE = 10
FEW, MANY = 2 * PAGE, 10 * PAGE  # of more than a page: while the next page is made, the last one is there


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work on ten records at a time instead of fifty, so that a fifth of the content shows as much."""
    for module in (audit, refresh, removal):
        monkeypatch.setattr(module, "BATCH", PAGE)
    monkeypatch.setattr(audit, "WINDOW", audit.WINDOW * PAGE // ingest.BATCH)


class Endless(Listing):
    """A catalog that makes its records as they are asked for."""

    def __init__(self, catalog_uuid: UUID, size: int) -> None:
        super().__init__([])
        self.catalog_uuid, self.size = catalog_uuid, size

    def pages(
        self, catalog_uuid: UUID, *, size: int, skip: KeysToSkip | None = None
    ) -> Iterator[Sequence[object]]:
        for start in range(0, self.size, size):
            yield [self._course(number) for number in range(start, min(start + size, self.size))]

    def fetch(
        self,
        catalog_uuid: UUID,
        *,
        keys: Sequence[str],
        timeout: timedelta | None = None,
    ) -> Sequence[object]:
        numbers = (int(key.rpartition("+C")[2]) for key in keys)
        return [self._course(number) for number in numbers if number < self.size]

    def _course(self, number: int) -> Record:
        return {
            "content_type": "course",
            "key": f"{self.catalog_uuid.hex[:8]}X+C{number}",
            "title": f"Course {number}",
            "full_description": f"{number:05} " * 1500,
            "normalized_metadata": {"content_price": 149.0},
        }


def refresh_from(source: Endless, *, hours: int) -> None:
    now = NOW + timedelta(hours=hours)
    refresh.refresh_catalog(source.catalog_uuid, source=source, now=now, trigger=RefreshTrigger.CRON)


def peak_of(source: Endless, *, hours: int) -> int:
    """Return the most bytes that a refresh held at one time."""
    return peak_while(lambda: refresh_from(source, hours=hours))


def test_five_times_as_much_content_takes_hardly_more_memory() -> None:
    few, many = Endless(uuid4(), FEW), Endless(uuid4(), MANY)
    first = Endless(uuid4(), FEW)
    for hours in (0, 1):
        refresh_from(first, hours=hours)  # what is made once: compiled queries, caches

    assert is_hardly_more(peak_of(many, hours=0), than=peak_of(few, hours=0))  # all of it new
    assert ContentMetadata.objects.count() == MANY + 2 * FEW
    for source in (few, many):
        source.size = int(source.size * 0.9)
    assert is_hardly_more(peak_of(many, hours=1), than=peak_of(few, hours=1))  # a tenth is missing
    assert CatalogMembership.objects.exclude(missing_since=None).count() == (MANY + FEW) / 10


def test_an_audit_of_five_times_as_much_content_takes_hardly_more_memory() -> None:
    few, many = Endless(uuid4(), FEW), Endless(uuid4(), MANY)
    for source in (few, many):
        refresh_from(source, hours=0)  # without a look at its memory, which takes several times as long

    def peak_of_audit(source: Endless) -> int:
        catalog = source.catalog_uuid
        return peak_while(
            lambda: audit.audit(source=source, clock=lambda: NOW, catalog_uuid=catalog, listed=[catalog])
        )

    peak_of_audit(few)  # what is made once
    assert is_hardly_more(peak_of_audit(many), than=peak_of_audit(few))
