"""Many catalogs that share courses, one in a hundred with a restricted run: requests, rows and memory."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from bursary.catalog.http_source import HttpCatalog
from bursary.replica import refresh
from bursary.replica.models import ContentMetadata, RefreshTrigger
from tests.enterprise_catalog.database import CatalogDatabase, Record
from tests.enterprise_catalog.without_sockets import WithoutSockets
from tests.memory import is_hardly_more, peak_while
from tests.replica.listing import NOW
from tests.replica.upstream import courses, keys_of

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
CATALOGS = [UUID(int=number) for number in range(1, 5)]
A_REQUEST = 50
"""Records that are asked for at a time."""
DESCRIPTION = "Every record of a course has some kilobytes of it. " * 150
MAX_ROWS = 1.05
"""For each key of a course or run, where one course in a hundred has restricted runs."""


def restricted(record: Record) -> Record:
    """Return the course with a run more, the advertised one, that only some catalogs may have."""
    [public] = record["course_runs"]
    own = {"key": f"{public['key']}+private", "uuid": "private", "restriction_type": "custom-b2b-enterprise"}
    terms = record["normalized_metadata"] | {"content_price": 199.0}
    return record | {
        "advertised_course_run_uuid": own["uuid"],
        "course_runs": [public | {"uuid": "public"}, public | own],
        "normalized_metadata": terms,
        "normalized_metadata_by_run": record["normalized_metadata_by_run"] | {own["key"]: terms},
    }


def catalogs_of(size: int, *, description: str = "") -> WithoutSockets:
    """Return catalogs of that many courses, of which the next one has half.

    Every other catalog may have the restricted runs: of two that share a course, one is served another.
    """
    step = size // 2
    public = [one | {"full_description": description} for one in courses(step * (len(CATALOGS) + 1))]
    keys = keys_of(public)
    with_more = dict(zip(keys[step::100], map(restricted, public[step::100]), strict=True))
    database = CatalogDatabase([with_more.get(one["key"], one) for one in public], map(str, CATALOGS))
    for number, catalog in enumerate(CATALOGS):
        for key in {*keys} - {*keys[number * step : number * step + size]}:
            database.remove(key, catalog=str(catalog))
        if number % 2:
            for record in with_more.values():
                database.allow_restricted(catalog, record["course_runs"][1]["key"])
    return WithoutSockets(database)


def refresh_all(upstream: WithoutSockets, *, hours: int, catalogs: Sequence[UUID] = CATALOGS) -> int:
    """Refresh the catalogs, and return how many requests that took."""
    before = upstream.questions
    for catalog in catalogs:
        refresh.refresh_catalog(
            catalog, source=HttpCatalog(upstream), now=NOW + hours * HOUR, trigger=RefreshTrigger.CRON
        )
    return upstream.questions - before


def test_the_keys_of_each_catalog_are_asked_for_and_fifty_records_at_a_time() -> None:
    upstream = catalogs_of(size := 2 * A_REQUEST)
    expected = len(CATALOGS) * (1 + size // A_REQUEST)

    assert refresh_all(upstream, hours=0) == expected  # all of it new
    _what_is_due_takes_as_many_requests_as_without_restricted_runs(upstream, now=NOW + HOUR)
    upstream.database.sync()
    assert refresh_all(upstream, hours=2) == expected  # stamped anew, and the same

    rows = ContentMetadata.objects.order_by()
    keys = rows.values("content_key").distinct().count()
    assert keys < rows.count() <= MAX_ROWS * keys


def _what_is_due_takes_as_many_requests_as_without_restricted_runs(
    upstream: WithoutSockets, *, now: datetime
) -> None:
    due = ContentMetadata.objects.exclude(due_at=None)
    due.update(due_at=now)
    before = upstream.questions

    report = refresh.refresh_due(clock=lambda: now, source=HttpCatalog(upstream), limit=10_000)

    assert (report.records, report.changed) == (due.count(), 0)
    # Rows are claimed fifty at a time, in the order in which they are due: a batch may be of two catalogs.
    assert upstream.questions - before <= -(-due.count() // A_REQUEST) + len(CATALOGS)
    assert not due.filter(due_at__lte=now).exists()


def test_a_refresh_of_many_catalogs_takes_hardly_more_memory_than_of_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(refresh, "BATCH", page := 10)  # a fifth, as are the catalogs
    upstream = catalogs_of(2 * page, description=DESCRIPTION)
    refresh_all(upstream, hours=0)  # what is made once: compiled queries, caches
    upstream.database.sync()
    one = peak_while(lambda: refresh_all(upstream, hours=1, catalogs=CATALOGS[:1]))
    assert is_hardly_more(peak_while(lambda: refresh_all(upstream, hours=1)), than=one)
