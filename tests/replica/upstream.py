"""An upstream that can be down, slow, or changed at any moment, and remembers what it was asked."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from bursary.catalog import parser
from bursary.catalog.records import CatalogUnavailable, KeysToSkip, Unfetched
from bursary.replica import refresh
from bursary.replica.models import RefreshTrigger
from bursary.replica.refresh import RefreshReport
from tests.replica.listing import CATALOG, NOW, SYNCED, Listing, Record, a_course


class Upstream(Listing):
    """`questions` are the keys of each question. `hidden` ones are answered by key and not listed.

    What `withheld` names is there and not handed over.
    """

    def __init__(self, records: Iterable[object] = ()) -> None:
        super().__init__(records)
        self.questions: list[tuple[str, ...]] = []
        self.deadlines: list[timedelta | None] = []
        self.hidden: list[object] = []
        self.withheld: set[str] = set()
        self.down: set[UUID] | bool = False
        self.meanwhile: Callable[[], object] = lambda: None

    def pages(
        self, catalog_uuid: UUID, *, size: int, skip: KeysToSkip | None = None
    ) -> Iterator[Sequence[object]]:
        self._be_there(catalog_uuid)
        yield from super().pages(catalog_uuid, size=size, skip=skip)

    def fetch(
        self,
        catalog_uuid: UUID,
        *,
        keys: Sequence[str],
        timeout: timedelta | None = None,
    ) -> Sequence[object]:
        self.questions.append(tuple(keys))
        self.deadlines.append(timeout)
        self._be_there(catalog_uuid)
        answer = Listing([*self.records, *self.hidden]).fetch(catalog_uuid, keys=keys)
        self.meanwhile()
        handed_over = [one for one in answer if self.withheld.isdisjoint(parser.content_keys(one))]
        return [*handed_over, *(_unfetched(key) for key in keys if key in self.withheld)]

    def _be_there(self, catalog_uuid: UUID) -> None:
        if self.down is True or (isinstance(self.down, set) and catalog_uuid in self.down):
            raise CatalogUnavailable("The catalog does not answer.")


def _unfetched(key: str) -> Unfetched:
    return Unfetched(key, "upstream_error", "It answered with 500.")


def courses(count: int, *, start: int = 0) -> list[Record]:
    """Return that many full, active courses of one run: a tenth of what a recorded one has, and as fast."""
    return [_small_course(f"SmallX+C{number}") for number in range(start, start + count)]


def _small_course(key: str) -> Record:
    run_key = f"course-v1:{key}+1T2027"
    terms = {
        "enroll_by_date": "2027-05-01T00:00:00Z",
        "start_date": "2027-05-10T00:00:00Z",
        "content_price": 149.0,
    }
    run = {"key": run_key, "status": "published", "is_marketable": True, "is_enrollable": True}
    return {
        "content_type": "course",
        "key": key,
        "title": f"Course {key}",
        "content_last_modified": SYNCED,
        "active": True,
        "course_runs": [run],
        "normalized_metadata": terms,
        "normalized_metadata_by_run": {run_key: terms},
    }


def keys_of(records: Iterable[object]) -> list[str]:
    return [parser.own_key(record) for record in records]


def listing_of(
    upstream: Upstream,
    *,
    now: datetime = NOW,
    catalog_uuid: UUID = CATALOG,
    dry_run: bool = False,
    accept_drop: bool = False,
) -> RefreshReport:
    """Read the whole catalog."""
    return refresh.refresh_catalog(
        catalog_uuid,
        source=upstream,
        now=now,
        trigger=RefreshTrigger.CRON,
        dry_run=dry_run,
        accept_drop=accept_drop,
    )


def refresh_rows_due(upstream: Upstream, *, now: datetime, limit: int = 1000) -> RefreshReport:
    """Refresh what is due."""
    return refresh.refresh_due(clock=lambda: now, source=upstream, limit=limit)


def given_catalog(size: int = 30, *, catalog_uuid: UUID = CATALOG) -> Upstream:
    """Return a catalog of that many courses, listed once; COURSE is the first."""
    upstream = Upstream([a_course(), *courses(size - 1, start=40)])
    listing_of(upstream, catalog_uuid=catalog_uuid)
    return upstream
