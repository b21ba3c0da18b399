"""What comes over HTTP ends in the same rows as what comes from a file."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from pytest_django import Settings

from bursary.catalog.source import CatalogSource, open_source
from bursary.replica import reads, refresh
from bursary.replica.models import CatalogMembership, ContentChange, ContentMetadata, RefreshTrigger
from bursary.replica.refresh import RefreshReport
from tests.enterprise_catalog import faults
from tests.enterprise_catalog.database import content_key
from tests.enterprise_catalog.server import CATALOG, CLIENT_ID, CLIENT_SECRET, Upstream, enterprise_catalog
from tests.replica.listing import COURSE, LATER, NOW, RUNS, Record, a_course, enrolling_by, recorded
from tests.replica.replicated import over_http

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
OF_THE_SOURCE = {"id", "parent_id", "fetched_from"}


def in_a_file(records: list[Record], folder: Path) -> CatalogSource:
    path = folder / "catalog.jsonl"
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")
    return open_source(path.as_uri())


def some_recorded(name: str) -> list[Record]:
    """Return a third of many, which is more than a page. All come in test_every_recorded_line.py."""
    records = recorded(name)
    return records[:: 3 if len(records) > 100 else 1]


def rows() -> dict[str, dict[str, Any]]:
    """Return every column of every row that does not depend on where it came from, and its course."""
    return {
        row["content_key"]: {name: value for name, value in row.items() if name not in OF_THE_SOURCE}
        for row in ContentMetadata.objects.values(
            *(field.attname for field in ContentMetadata._meta.concrete_fields)
        )
    }


def bring_in(source: CatalogSource, *, keys: list[str] | None = None) -> RefreshReport:
    if keys is None:
        return refresh.refresh_catalog(CATALOG, source=source, now=NOW, trigger=RefreshTrigger.CRON)
    return refresh.refresh_keys(
        keys, catalog_uuid=CATALOG, source=source, now=NOW, trigger=RefreshTrigger.CRON
    )


def held() -> set[str]:
    """Return the keys that the catalog holds."""
    return set(CatalogMembership.objects.values_list("content__content_key", flat=True))


Replicated = tuple[dict[str, dict[str, Any]], set[str]]


@pytest.fixture(scope="module")
def as_of_a_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Replicated]:
    """Return how to find the rows that a file of recorded lines gives, and what is held: once for each."""

    @cache
    def found(name: str) -> Replicated:
        before = transaction.savepoint()
        bring_in(in_a_file(some_recorded(name), tmp_path_factory.mktemp("catalog")))
        both = rows(), held()
        transaction.savepoint_rollback(before)
        return both

    return found


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with enterprise_catalog([a_course(), *recorded("courses")[1:5]]) as running:
        yield running


@pytest.mark.parametrize(
    ("name", "by_key"),
    [
        ("courses", True),
        ("courses", False),
        ("other-types", True),
        ("other-types", False),
        ("thin-courses", True),
        ("thin-courses", False),
        ("hostile", True),
        ("hostile", False),
    ],
)
def test_every_record_ends_in_the_row_that_a_file_gives(
    name: str, by_key: bool, as_of_a_file: Callable[[str], Replicated]
) -> None:
    of_a_file = as_of_a_file(name)
    records = some_recorded(name)
    with enterprise_catalog(records) as upstream:
        asked = [content_key(record) for record in records] if by_key else None
        report = bring_in(over_http(upstream), keys=asked)

    assert (rows(), held()) == of_a_file
    assert report.unparsable_total == (1 if name == "hostile" else 0)


def test_a_sync_that_changed_nothing_writes_no_payload_and_no_history() -> None:
    with enterprise_catalog([*recorded("courses")[:5], *recorded("hostile")[:9]]) as upstream:
        bring_in(over_http(upstream))
        before = rows()
        upstream.sync()
        report = refresh.refresh_catalog(
            CATALOG, source=over_http(upstream), now=NOW + HOUR, trigger=RefreshTrigger.CRON
        )

    assert (report.changed, report.created, report.unchanged) == (0, 0, len(before))
    assert not ContentChange.objects.exists()
    kept = ("payload", "digest", "fetched_at", "changed_at")
    after = rows()
    assert all(after[key][name] == before[key][name] for key in before for name in kept)
    assert {row["checked_at"] for row in after.values()} == {NOW + HOUR}


def test_a_change_upstream_arrives_with_its_history(upstream: Upstream) -> None:
    bring_in(over_http(upstream))
    upstream.database.put(enrolling_by("2028-09-01T00:00:00Z", synced=LATER), catalogs=[str(CATALOG)])

    report = bring_in(over_http(upstream), keys=[RUNS[2]])

    assert report.changed == 2
    assert ContentChange.objects.filter(field="enroll_by", content__content_key=COURSE).count() == 1


def test_a_record_that_upstream_fails_on_keeps_its_last_good_row_and_says_why(upstream: Upstream) -> None:
    bring_in(over_http(upstream))
    before = rows()
    upstream.fails_with(faults.status(500), key=COURSE)
    upstream.sync()

    report = refresh.refresh_catalog(
        CATALOG, source=over_http(upstream), now=NOW + HOUR, trigger=RefreshTrigger.CRON
    )

    [left_out] = report.unparsable
    assert (left_out.key, left_out.reason) == (COURSE, "upstream_error")
    row = rows()[COURSE]
    assert row["last_error"] == "upstream_error: It answered with 500."
    assert (row["failures"], row["checked_at"], row["title"]) == (1, NOW, before[COURSE]["title"])
    others = [one for key, one in rows().items() if key not in {COURSE, *RUNS}]
    assert {one["checked_at"] for one in others} == {NOW + HOUR}

    upstream.recovers()
    bring_in(over_http(upstream))
    refresh.refresh_catalog(CATALOG, source=over_http(upstream), now=NOW + HOUR, trigger=RefreshTrigger.CRON)
    assert (rows()[COURSE]["failures"], rows()[COURSE]["last_error"]) == (0, "")


def test_an_outage_leaves_every_row_as_it_is(upstream: Upstream) -> None:
    bring_in(over_http(upstream))
    before = rows()
    upstream.fails_with(faults.status(503))

    with pytest.raises(refresh.ContentUnavailable, match="503"):
        bring_in(over_http(upstream))

    assert rows() == before


@pytest.fixture
def configured(upstream: Upstream, settings: Settings) -> Upstream:
    settings.CATALOG_URL, settings.OAUTH_URL = upstream.url, upstream.url
    settings.OAUTH_CLIENT_ID, settings.OAUTH_CLIENT_SECRET = CLIENT_ID, CLIENT_SECRET
    settings.UPSTREAM_DEADLINE = timedelta(seconds=5)
    return upstream


@pytest.mark.usefixtures("configured")
def test_the_configured_catalog_is_asked_for_what_we_never_saw() -> None:
    assert refresh.configured_source() is refresh.configured_source()

    content = reads.content_for(RUNS[2], catalog_uuid=CATALOG, now=NOW)

    assert content.parent_key == COURSE
    assert content.fetched_from == f"enterprise-catalog:{CATALOG}"
    with pytest.raises(reads.UnknownContent):
        reads.content_for("NobodyX+N1", catalog_uuid=CATALOG, now=NOW)


@pytest.mark.parametrize("fault", [faults.status(500), faults.status(503), faults.hang])
def test_a_fault_upstream_is_not_taken_for_unknown_content(
    configured: Upstream, fault: faults.Fault, settings: Settings
) -> None:
    settings.CONTENT_READ_DEADLINE = timedelta(seconds=0.3)
    configured.fails_with(fault)

    with pytest.raises(reads.ContentUnavailable):
        reads.content_for(COURSE, catalog_uuid=CATALOG, now=NOW)


def test_an_address_of_the_web_without_credentials_is_not_opened(settings: Settings) -> None:
    settings.CATALOG_URL = "https://catalog.example.org"

    with pytest.raises(ValueError, match="credentials"):
        refresh.configured_source()
