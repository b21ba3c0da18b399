"""Content as a catalog offers it: the replica's row beside what upstream says, and what has no runs."""

from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from pytest_django import DjangoAssertNumQueries

from bursary.assignments import offers
from bursary.assignments.matching import Verdict
from bursary.assignments.models import LearnerContentAssignment
from bursary.assignments.offers import KnownOffer
from bursary.budgets.models import Budget
from bursary.replica.joining import JoiningTerms, RunTerms
from bursary.replica.models import CatalogMembership, Completeness, ContentMetadata, ContentType
from bursary.replica.types import CatalogKey, UpstreamContent
from tests.world import (
    ALICE,
    CATALOG,
    NOW,
    PRICE,
    allocate,
    given_assignment,
    given_budget,
    given_content,
    given_run,
)

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
BEFORE = NOW + 90 * DAY  # when the allocation would end by its age
CLOSES = NOW + 40 * DAY
ELSEWHERE = UUID("00000000-0000-4000-8000-00000000ca7b")  # another catalog


@pytest.fixture
def budget() -> Budget:
    return given_budget()


@pytest.fixture
def course() -> ContentMetadata:
    return given_content("TidesX+1", start_date=NOW + 60 * DAY, enroll_by=CLOSES)


def assigned(budget: Budget) -> LearnerContentAssignment:
    """Return an assignment of a course of its own."""
    return given_assignment(budget, given_content())


def served(course: ContentMetadata, **changes: Any) -> UpstreamContent:
    """Return the course as upstream serves it, with its advertised run; `changes` are of both."""
    run = ContentMetadata.objects.get(content_key=course.advertised_run)
    for one in (course, run):
        for name, value in changes.items():
            setattr(one, name, value)
    copied = {
        name: getattr(course, name) for name in UpstreamContent.__annotations__ if hasattr(course, name)
    }
    return UpstreamContent(**copied, parent_content_key="", runs=(RunTerms.of(run),))


def test_what_upstream_says_decides_and_the_row_that_says_the_same_is_referred_to(
    budget: Budget, course: ContentMetadata
) -> None:
    upstream = served(course, price_cents=1)

    offer = offers.load(
        KnownOffer(course.pk, upstream), budget=budget, now=NOW, must_open_before=BEFORE, lock=False
    )

    assert (offer.content, offer.row, offer.in_catalog) == (upstream, course, True)
    assert (offer.runs, offer.parent_key, offer.course_key) == (upstream.runs, "", course.content_key)


@pytest.mark.parametrize(
    "changes",
    [{"title": "Tidal Turbines"}, {"start_date": NOW + 61 * DAY}, {"enroll_by": CLOSES + DAY}],
    ids=["title", "start", "last run closes"],
)
def test_a_row_from_which_other_columns_would_be_derived_is_not_referred_to(
    budget: Budget, course: ContentMetadata, changes: dict[str, Any]
) -> None:
    known = KnownOffer(course.pk, served(course, **changes))

    assert offers.load(known, budget=budget, now=NOW, must_open_before=BEFORE, lock=False).row is None


def test_a_run_that_opens_after_the_allocation_would_end_makes_no_difference(
    budget: Budget, course: ContentMetadata
) -> None:
    opens = NOW + 20 * DAY
    given_content(
        "course-v1:TidesX+1+R2",
        parent=course,
        catalog=None,
        content_type=ContentType.COURSERUN,
        enroll_start=opens,
        enroll_by=CLOSES + DAY,
    )
    known = KnownOffer(course.pk, served(course))

    rows = [
        offers.load(known, budget=budget, now=NOW, must_open_before=at, lock=False).row
        for at in (opens, opens + DAY)
    ]

    assert rows == [course, None]


def test_a_program_is_allocated_on_its_own_terms_having_no_runs(budget: Budget) -> None:
    program = given_content(
        "a2e5d8f1-0000-4000-8000-000000000001", content_type=ContentType.PROGRAM, enroll_by=CLOSES
    )

    done = allocate(budget, program, ALICE)

    assert done.terms == JoiningTerms("", PRICE, CLOSES)
    assert [one.expires_at for one in done.assignments(Verdict.NEW)] == [CLOSES]
    endless = given_content(content_type=ContentType.PROGRAM)
    assert allocate(budget, endless, ALICE).terms == JoiningTerms("", PRICE, None)


def test_of_the_replica_the_row_and_its_own_runs_in_the_catalog_are_read_and_locked_on_request(
    budget: Budget, course: ContentMetadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_content()
    run, elsewhere = course.advertised_run, given_run(course, "course-v1:TidesX+1+R2")
    elsewhere.memberships.update(catalog_uuid=ELSEWHERE)
    load = partial(offers.load, KnownOffer(course.pk, None), budget=budget, now=NOW, must_open_before=BEFORE)
    for lock in (False, True):
        offer = load(lock=lock)
        assert ([one.key for one in offer.runs], offer.in_catalog) == ([run], True)
    keys = {lock: [one.content_key for one in rows.read(pk=course.pk)] for lock, rows in offers._ROWS.items()}
    assert keys[False] == [course.content_key]
    assert sorted(keys[True]) == sorted([course.content_key, run, elsewhere.content_key])
    locks = {lock: offers._rows(lock=lock).query.select_for_update for lock in (False, True)}
    assert locks == {False: False, True: True}

    ContentMetadata.objects.filter(pk=course.pk).update(gone_at=NOW)
    assert not load(lock=True).in_catalog
    ContentMetadata.objects.filter(pk=course.pk).update(gone_at=None)
    course.memberships.all().delete()
    assert not load(lock=True).in_catalog


def test_what_a_catalog_offers_is_known_but_of_a_thin_course_and_of_content_without_a_row(
    budget: Budget,
) -> None:
    linked, unlinked, unknown, thin = (assigned(budget) for _each in range(4))
    for one in (unlinked, unknown):
        LearnerContentAssignment.objects.filter(pk=one.pk).update(content=None)
        one.refresh_from_db()
    CatalogMembership.objects.filter(content__content_key=unknown.content_key).delete()
    ContentMetadata.objects.filter(content_key=thin.content_key).update(completeness=Completeness.THIN)

    found = offers.of_assignments([linked, unlinked, unknown, thin], now=NOW)

    assert {pk: offer and offer.content.content_key for pk, offer in found.items()} == {
        one.pk: one.content_key for one in (linked, unlinked)
    }


def test_what_a_catalog_holds_of_many_keys_is_read_in_one_query(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    keys = [CatalogKey(CATALOG, given_content().content_key) for _each in range(2)]
    with django_assert_num_queries(1):
        assert set(offers.by_key(keys)) == set(keys)


def test_what_its_catalog_holds_no_more_is_offered_no_more(budget: Budget) -> None:
    gone, left = (assigned(budget) for _each in range(2))
    ContentMetadata.objects.filter(content_key=gone.content_key).update(gone_at=NOW)
    CatalogMembership.objects.filter(content=left.content_id).delete()

    assert offers.of_assignments([gone, left], now=NOW) == {gone.pk: None, left.pk: None}
