"""What a change of content does to open assignments, of the content and of its course: old and new."""

from collections.abc import Iterator
from datetime import datetime

import pytest
from django.db import connection
from pytest_django import DjangoDbBlocker

from bursary.assignments import allocation, impact
from bursary.assignments.models import LearnerContentAssignment
from bursary.replica.models import ContentChange, ContentMetadata
from tests.assignments.joinable import (
    COURSE,
    DAY,
    HOUR,
    NOW,
    RUN,
    Edit,
    closed,
    of_run,
    opening_too_late,
    over,
    over_with_a_restricted_run,
    serve,
    unmarketable,
    unpublished,
    without_runs,
)
from tests.once import made_once, undone
from tests.replica.listing import OTHER_CATALOG, Record
from tests.world import CATALOG, addresses, given_budget

pytestmark = pytest.mark.django_db

LATER = NOW + HOUR
AGES = (90, 800)


@pytest.fixture(autouse=True, scope="module")
def _assigned(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Assign the course and its run, from budgets that end allocations after 90 and after 800 days."""
    with made_once(django_db_blocker):
        serve(now=NOW)
        serve(now=NOW, catalog=OTHER_CATALOG)
        for catalog in (CATALOG, OTHER_CATALOG):
            for days in AGES:
                budget = given_budget(allocation_age_days=days, catalog_uuid=catalog)
                for number, key in enumerate((COURSE, RUN)):
                    learners = addresses(1, start=number)
                    allocation.allocate(budget, content_key=key, price_cents=6_200, entries=learners, now=NOW)
        yield


def effects(
    key: str = COURSE, *, days: int = 90, since: datetime = LATER
) -> list[tuple[str, object, object]]:
    """Return the effects on the first budget's assignment of this key."""
    found = impact.of_content(
        ContentMetadata.objects.filter(content_key=COURSE).earliest("pk"),
        among=ContentChange.objects.all(),
        since=since,
    )
    concerned = found.assignments.filter(content_key=key, budget__allocation_age_days=days).first()
    of_it = found.effects_on(concerned) if concerned else []
    return [(one.effect.value, one.old, one.new) for one in of_it]


@pytest.mark.parametrize("edit", [unpublished, unmarketable, without_runs])
@pytest.mark.parametrize("key", [COURSE, RUN])
def test_what_cannot_be_joined_any_more_is_an_effect(edit: Edit, key: str) -> None:
    serve(edit, now=LATER)
    assert ("availability", True, False) in effects(key)


@pytest.mark.on_every_engine
def test_enrolment_that_opens_too_late_affects_those_that_end_before() -> None:
    serve(opening_too_late, now=LATER)
    assert ("availability", True, False) in effects(days=90)
    assert "availability" not in {effect for effect, _old, _new in effects(days=800)}


@pytest.mark.parametrize("key", [COURSE, RUN])
@pytest.mark.parametrize("field", ["end_date", "enroll_by_date"])
@pytest.mark.on_every_engine
def test_a_date_of_a_run_moves_the_deadline_of_its_courses_assignments_as_well(key: str, field: str) -> None:
    moved = NOW + 9 * DAY
    serve(lambda record: of_run(record, **{field: moved.isoformat()}), now=LATER)
    assert ("deadline", NOW + 90 * DAY, moved) in effects(key)


EDITS: list[Edit] = [
    unpublished,
    over_with_a_restricted_run,
    lambda record: of_run(record, enroll_by_date=(NOW + 40 * DAY).isoformat()),
    lambda record: None,
]
MORE_EDITS: list[Edit] = [
    unmarketable,
    without_runs,
    opening_too_late,
    over,
    closed,
    lambda record: of_run(record, end_date=(NOW + 200 * DAY).isoformat()),
    lambda record: of_run(record, enroll_start_date=(NOW + 89 * DAY).isoformat()),
    lambda record: of_run(record, content_price=70.0),
]
"""They ask the database the same."""


def one_run(record: Record) -> None:
    """Leave the course as it is."""


def two_runs(record: Record) -> None:
    """Add a run that opens after 100 days and closes after 300."""
    later = f"{RUN}-LATER"
    record["course_runs"].append(record["course_runs"][0] | {"key": later, "uuid": later})
    record["normalized_metadata_by_run"][later] = {
        "enroll_start_date": (NOW + 100 * DAY).isoformat(),
        "enroll_by_date": (NOW + 300 * DAY).isoformat(),
        "content_price": 62.0,
    }


@pytest.mark.parametrize("start", [one_run, two_runs])
def test_old_and_new_are_what_was_and_is_stored_for_exactly_those_that_are_listed(
    start: Edit, subtests: pytest.Subtests
) -> None:
    serve(start, now=LATER)
    serve(start, now=LATER, catalog=OTHER_CATALOG)
    for number, edit in enumerate([*EDITS, *MORE_EDITS] if connection.vendor == "sqlite" else EDITS):
        with subtests.test(number=number), undone():
            are_what_was_and_is_stored(start, edit)


def are_what_was_and_is_stored(start: Edit, edit: Edit) -> None:
    """Edit the course as it was at the start, in both catalogs, and compare the effects with the rows."""

    def edited(record: Record) -> None:
        start(record)
        edit(record)

    before = dict(LearnerContentAssignment.objects.values_list("pk", "expires_at"))
    since = LATER + HOUR
    for catalog, at in ((OTHER_CATALOG, since), (CATALOG, since + HOUR)):
        serve(edited, now=at, catalog=catalog)

    rows = list(ContentMetadata.objects.filter(content_key=COURSE))
    found = [impact.of_content(row, among=ContentChange.objects.all(), since=since) for row in rows]
    listed = {one.pk for each in found for one in each.assignments}
    for one in LearnerContentAssignment.objects.select_related("budget"):
        touched = [effect for each in found for effect in each.effects_on(one)]
        assert (one.pk in listed) == bool(touched)
        moves = [effect for effect in touched if effect.effect is impact.Effect.DEADLINE]
        if not moves:
            assert one.expires_at == before[one.pk]
            continue
        assert {moves[0].new, moves[-1].old} >= {one.expires_at, before[one.pk]}
