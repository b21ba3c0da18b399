"""Which of two records wins where their instants, their types or their completeness are close to a bound."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bursary.catalog import parser
from bursary.catalog.records import Completeness, Content, ContentType, Partner
from bursary.replica import merge
from bursary.replica.merge import MergeDecision
from tests.replica.listing import (
    BEFORE,
    COURSE,
    LATER,
    NOW,
    OTHER_CATALOG,
    RUNS,
    a_course,
    a_run,
    a_thin_course,
    enrolling_by,
)
from tests.replica.replicated import HOUR, bring_in, row

pytestmark = pytest.mark.django_db

FIRST, SECOND = "2028-09-01T00:00:00Z", "2028-01-01T00:00:00Z"


def test_a_version_from_the_moment_of_the_fetch_is_compared() -> None:
    bring_in(enrolling_by(FIRST, synced=BEFORE), now=NOW + HOUR)

    report = bring_in(enrolling_by(SECOND, synced=NOW.isoformat()), now=NOW)

    assert (report.refused_older, row().enroll_by) == (0, datetime(2028, 1, 1, tzinfo=UTC))


def test_a_version_is_older_than_one_from_the_moment_of_the_fetch() -> None:
    bring_in(enrolling_by(FIRST, synced=NOW.isoformat()))

    report = bring_in(enrolling_by(SECOND, synced=BEFORE))

    assert (report.refused_older, row().enroll_by) == (4, datetime(2028, 9, 1, tzinfo=UTC))


def test_a_row_confirmed_a_day_after_the_fetch_began_is_newer_and_one_after_that_was_written_by_a_clock() -> (
    None
):
    bring_in(enrolling_by(FIRST), now=NOW + timedelta(days=1))

    assert bring_in(enrolling_by(SECOND), now=NOW).refused_older == 4
    assert bring_in(enrolling_by(SECOND), now=NOW - timedelta(microseconds=1)).refused_older == 0


def test_what_differs_outside_the_columns_is_a_change_too() -> None:
    bring_in(a_course())

    report = bring_in(a_course(full_description="Anew."), now=NOW + HOUR)

    assert (report.changed, report.unchanged) == (1, 3)
    assert row().payload["full_description"] == "Anew."


def test_a_record_that_was_refused_as_older_is_accepted_once_it_is_newer() -> None:
    bring_in(enrolling_by(FIRST))
    bring_in(enrolling_by(SECOND, synced=BEFORE), now=NOW + HOUR)

    bring_in(enrolling_by(SECOND, synced=LATER), now=NOW + 2 * HOUR)

    assert row().enroll_by == datetime(2028, 1, 1, tzinfo=UTC)


def test_a_second_catalog_that_goes_on_agreeing_changes_nothing() -> None:
    bring_in(a_course())
    for hours in (1, 2):
        report = bring_in(a_course(), catalog_uuid=OTHER_CATALOG, now=NOW + hours * HOUR)
        assert (report.unchanged, report.changed) == (4, 0)


def test_partners_with_a_name_are_listed_with_commas() -> None:
    partners = (given_partner("Globe"), given_partner(""), given_partner("Riverside"))
    course = replace(parser.parse(a_course()), partners=partners)

    assert merge.column_values(course)["partner_names"] == "Globe, Riverside"


def test_of_two_records_of_a_key_a_course_wins_over_a_run_in_either_order() -> None:
    course = replace(parser.parse(a_thin_course()), runs=())
    run = replace(parser.parse(a_run(synced=LATER)), content_key=COURSE, completeness=Completeness.FULL)

    for records in ([course, run], [run, course]):
        chosen, lost = merge.choose_records(records)
        assert chosen[COURSE].content_type is ContentType.COURSE
        assert lost == [(COURSE, MergeDecision.REFUSED_TYPE)]


@pytest.mark.parametrize("run_first", [True, False])
def test_a_run_nested_in_a_thin_course_wins_over_its_own_newer_record(run_first: bool) -> None:
    course, run = parser.parse(a_thin_course()), parser.parse(a_run(synced=LATER))

    chosen, lost = merge.choose_records([run, course] if run_first else [course, run])

    assert chosen[RUNS[2]] in course.runs
    assert lost == [(RUNS[2], MergeDecision.REFUSED_OLDER)]


def test_of_two_copies_that_are_equal_in_rank_the_first_is_kept() -> None:
    first, second = copies(a_course(title="First"), a_course(title="Second"))

    chosen, lost = merge.choose_records([first, second])

    assert chosen == {COURSE: first}
    assert lost == [(COURSE, MergeDecision.REFUSED_OLDER)]


def test_a_thin_record_loses_to_a_full_one_as_thin_and_to_a_thin_one_as_older() -> None:
    full, old, new = copies(
        a_course(synced=BEFORE), a_thin_course(synced=BEFORE), a_thin_course(synced=LATER)
    )

    assert merge.choose_records([new, full])[1] == [(COURSE, MergeDecision.REFUSED_THIN)]
    assert merge.choose_records([new, old])[1] == [(COURSE, MergeDecision.REFUSED_OLDER)]


def copies(*records: dict[str, object]) -> list[Content]:
    """Return courses without their runs."""
    return [replace(parser.parse(record), runs=()) for record in records]


def given_partner(name: str) -> Partner:
    return Partner(uuid=None, key=name, name=name, logo_image_url="")
