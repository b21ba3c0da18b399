"""Two catalogs, one row: each has links of its own, and neither disturbs the other."""

from copy import deepcopy
from uuid import UUID

import pytest

from bursary.catalog import payload as payloads
from bursary.replica import reads
from bursary.replica.models import CatalogMembership, ContentChange, ContentMetadata
from tests.replica.listing import (
    BEFORE,
    CATALOG,
    COURSE,
    LATER,
    NOW,
    OTHER_CATALOG,
    RUNS,
    Record,
    a_course,
    a_run,
    a_thin_course,
    enrolling_by,
    recorded,
)
from tests.replica.replicated import HOUR, announcements, bring_in, row

pytestmark = pytest.mark.django_db


def as_served_to(customer: str, record: Record, **changes: object) -> Record:
    """Return the record with another customer's links."""
    theirs = deepcopy(record) | changes
    for one in (theirs, *theirs.get("course_runs", [])):
        for name in payloads.LINKS & one.keys():
            one[name] = str(one[name]).replace("acme-corp", customer)
    return theirs


def globex(record: Record, **changes: object) -> Record:
    return as_served_to("globex", record, **changes)


def url(content_key: str = COURSE, *, catalog_uuid: UUID = CATALOG) -> str:
    return reads.courseware_url(content_key, catalog_uuid=catalog_uuid)


def test_each_catalog_has_its_own_links_whichever_was_fetched_last() -> None:
    ours, theirs = a_course(), globex(a_course())
    for hours, (record, catalog) in enumerate([(ours, CATALOG), (theirs, OTHER_CATALOG), (ours, CATALOG)]):
        bring_in(record, catalog_uuid=catalog, now=NOW + hours * HOUR)

        assert reads.served_record(row(), catalogs=[catalog]) == record
        run = next(one for one in record["course_runs"] if one["key"] == RUNS[2])
        assert reads.served_record(row(RUNS[2]), catalogs=[catalog]) == run

    assert reads.served_record(row(), catalogs=[OTHER_CATALOG]) == theirs
    assert "/acme-corp/" in url()
    assert "/globex/" in url(catalog_uuid=OTHER_CATALOG)
    assert "/globex/" in url(RUNS[2], catalog_uuid=OTHER_CATALOG)
    assert "acme-corp" not in str(row().payload) + str(row(RUNS[2]).payload)


def test_two_catalogs_that_alternate_write_no_payload_and_record_no_change() -> None:
    courses = recorded("courses")[:10]
    bring_in(*courses)
    bring_in(*map(globex, courses), catalog_uuid=OTHER_CATALOG, now=NOW + HOUR)
    before = list(ContentMetadata.objects.order_by("pk").values_list("payload", "fetched_at", "fetched_from"))

    for hours in range(2, 6):
        catalog, customer = ((CATALOG, "acme-corp"), (OTHER_CATALOG, "globex"))[hours % 2]
        synced = f"2026-11-22T0{hours}:00:00Z"
        moved = [as_served_to(customer, course, content_last_modified=synced) for course in courses]
        with announcements() as announced:
            report = bring_in(*moved, catalog_uuid=catalog, now=NOW + hours * HOUR)
        assert (report.created, report.changed, announced) == (0, 0, [])

    after = ContentMetadata.objects.order_by("pk").values_list("payload", "fetched_at", "fetched_from")
    assert list(after) == before
    assert not ContentChange.objects.exists()
    assert (
        reads.served_record(row(), catalogs=[OTHER_CATALOG])["enrollment_url"] != a_course()["enrollment_url"]
    )


def test_a_link_that_moves_is_followed_and_is_no_change_of_content() -> None:
    bring_in(a_course())

    with announcements() as announced:
        report = bring_in(globex(a_course(synced=LATER)), now=NOW + HOUR)

    assert (report.unchanged, announced) == (4, [])
    assert "/globex/" in url()
    assert not ContentChange.objects.exists()


def test_a_thin_record_brings_links_to_a_catalog_without_any_and_overwrites_none() -> None:
    bring_in(a_course())
    bring_in(globex(a_thin_course()), catalog_uuid=OTHER_CATALOG, now=NOW + HOUR)
    bring_in(globex(a_thin_course()), now=NOW + 2 * HOUR)

    assert "/globex/" in url(catalog_uuid=OTHER_CATALOG)
    assert reads.served_record(row(), catalogs=[CATALOG]) == a_course()


def test_an_older_fetch_does_not_bring_old_links_back() -> None:
    bring_in(globex(a_course()), now=NOW + HOUR)

    bring_in(a_course(), now=NOW)

    assert "/globex/" in url()


def test_a_slow_fetch_does_not_bring_old_links_back_whatever_its_stamp() -> None:
    bring_in(globex(a_course(synced=BEFORE)), now=NOW + 2 * HOUR)

    bring_in(a_course(synced=LATER), now=NOW + HOUR)

    assert "/globex/" in url()


def test_a_run_that_its_course_does_not_list_has_the_links_of_its_own_record() -> None:
    hidden = a_run(key=f"course-v1:{COURSE}+hidden")
    bring_in(a_course())
    bring_in(globex(hidden), now=NOW + HOUR)
    bring_in(a_course(), now=NOW + 2 * HOUR)

    assert row(hidden["key"]).parent_key == COURSE
    assert url(hidden["key"]) == globex(hidden)["enrollment_url"]
    assert url(hidden["key"], catalog_uuid=OTHER_CATALOG) == ""
    assert "/acme-corp/" in url()


def test_among_several_catalogs_or_none_a_record_is_without_links() -> None:
    bring_in(a_course())
    bring_in(globex(a_course()), catalog_uuid=OTHER_CATALOG, now=NOW + HOUR)

    for catalogs in ([CATALOG, OTHER_CATALOG], [], [UUID(int=1)]):
        assert reads.served_record(row(), catalogs=catalogs) == payloads.without_links(a_course())


def test_a_changed_record_is_written_without_links() -> None:
    bring_in(a_course())
    bring_in(enrolling_by("2028-09-01T00:00:00Z", synced=LATER), now=NOW + HOUR)

    assert row().payload == payloads.without_links(enrolling_by("2028-09-01T00:00:00Z", synced=LATER))
    assert CatalogMembership.objects.get(content=row()).links == payloads.own_links(a_course())
