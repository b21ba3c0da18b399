"""The terms of what a catalog offers, why it cannot be joined, and what is assigned but offered no more."""

import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import Mock
from zoneinfo import ZoneInfo

import pytest

from bursary.assignments import offers
from bursary.assignments.models import LearnerContentAssignment
from bursary.assignments.offers import Offer
from bursary.replica import reads
from bursary.replica.joining import JoiningRefusal, NotJoinable, RunTerms
from bursary.replica.models import CatalogMembership, Completeness, ContentMetadata, ContentType
from bursary.replica.types import CatalogKey, UpstreamContent
from tests.world import NOW, given_assignment, given_budget, given_content, given_membership, given_run

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
BEFORE = NOW + 90 * DAY
ELSEWHERE = uuid.UUID("7d1f3c52-0000-4000-8000-00000000000c")

RUN = RunTerms(
    key="course-v1:TidesX+1+R1",
    offered=True,
    enrollable=True,
    start=None,
    end=None,
    enroll_start=None,
    enroll_by=None,
    price_cents=100,
)


def offer_of(content: ContentMetadata, *runs: RunTerms) -> Offer:
    return Offer(content, content, content.parent_key, in_catalog=True, runs=runs)


def test_the_end_of_a_program_bounds_its_deadline_where_it_comes_before_enrol_by() -> None:
    program = given_content(
        content_type=ContentType.PROGRAM, enroll_by=NOW + 40 * DAY, end_date=NOW + 30 * DAY
    )

    assert offer_of(program).terms(now=NOW, must_open_before=BEFORE).join_by == NOW + 30 * DAY
    assert offer_of(program).join_by(now=NOW, must_open_before=BEFORE) == NOW + 30 * DAY


def test_a_course_has_the_price_of_its_advertised_run_though_another_starts_earlier() -> None:
    course = given_content("TidesX+1", advertised_run="course-v1:TidesX+1+R2", with_run=False)
    earlier = replace(RUN, start=NOW + DAY)
    advertised = replace(RUN, key="course-v1:TidesX+1+R2", start=NOW + 2 * DAY, price_cents=200)

    terms = offer_of(course, earlier, advertised).terms(now=NOW, must_open_before=BEFORE)

    assert (terms.run_key, terms.price_cents) == (advertised.key, 200)


def test_a_course_of_which_no_run_is_known_bounds_the_deadline_itself() -> None:
    course = given_content(enroll_by=NOW + 5 * DAY, with_run=False)

    assert offer_of(course).join_by(now=NOW, must_open_before=BEFORE) == NOW + 5 * DAY


ENDED, NOT_IN_TIME, NOT_ACTIVE = (
    JoiningRefusal.ENDED,
    JoiningRefusal.NOT_IN_TIME,
    JoiningRefusal.NOT_ACTIVE,
)
MAY, JUNE, JULY = (datetime(2026, month, 2, 12, tzinfo=UTC) for month in (5, 6, 7))
NOT_OFFERED = "The catalog does not offer this for enrolment."


@pytest.mark.parametrize(
    ("reason", "dates", "sentence"),
    [
        (ENDED, {"end": MAY}, "It ended on Saturday, 2 May 2026, 12:00 (UTC)."),
        (ENDED, None, NOT_OFFERED),
        (
            NOT_IN_TIME,
            {"enroll_by": MAY, "end": JULY},
            "Enrolment closed on Saturday, 2 May 2026, 12:00 (UTC).",
        ),
        (
            NOT_IN_TIME,
            {"enroll_start": JULY, "end": JULY + DAY},
            "Enrolment opens on Thursday, 2 July 2026, 12:00 (UTC), and the assignment ends on",
        ),
        (NOT_IN_TIME, None, NOT_OFFERED),
        (NOT_ACTIVE, {"enroll_by": MAY, "end": MAY}, NOT_OFFERED),
    ],
)
def test_what_cannot_be_joined_says_the_date_that_decides(
    reason: JoiningRefusal, dates: Mapping[str, Any] | None, sentence: str
) -> None:
    run = None if dates is None else replace(RUN, **dates)

    said = offers.in_words(NotJoinable(reason, run), now=JUNE, must_open_before=JULY, zone=ZoneInfo("UTC"))

    assert said.startswith(sentence)


def served(content: ContentMetadata) -> UpstreamContent:
    """Return a course as upstream serves it, with the runs that the replica has of it."""
    copied = {
        name: getattr(content, name) for name in UpstreamContent.__annotations__ if hasattr(content, name)
    }
    runs = ContentMetadata.objects.filter(parent_key=content.content_key)
    return UpstreamContent(**copied, parent_content_key="", runs=tuple(RunTerms.of(run) for run in runs))


def upstream_answers(
    monkeypatch: pytest.MonkeyPatch, known: Mapping[CatalogKey, UpstreamContent | None]
) -> None:
    """Read content from an upstream that answers for these keys and is silent about every other."""
    monkeypatch.setattr(reads, "are_from_upstream", lambda: True)
    monkeypatch.setattr(reads, "from_upstream", lambda _keys, *, now: known)


def key_of(assignment: LearnerContentAssignment) -> CatalogKey:
    return CatalogKey(assignment.budget.catalog_uuid, assignment.content_key)


def test_content_that_upstream_holds_no_more_is_offered_no_more_and_of_a_summary_nothing_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    budget = given_budget()
    whole, summary, departed, silent = (given_assignment(budget, given_content()) for _each in range(4))
    rows = ContentMetadata.objects.in_bulk([whole.content_id, summary.content_id])
    rows[summary.content_id].completeness = Completeness.THIN
    answers = {key_of(one): served(rows[one.content_id]) for one in (whole, summary)}
    upstream_answers(monkeypatch, {**answers, key_of(departed): None})

    found = offers.of_assignments([whole, summary, departed, silent], now=NOW)

    assert {pk: offer and offer.content.content_key for pk, offer in found.items()} == {
        whole.pk: whole.content_key,
        departed.pk: None,
    }


def test_upstream_is_asked_for_a_run_by_its_course_and_for_a_course_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    budget, from_upstream = given_budget(), Mock(return_value={})
    course, run = (given_assignment(budget, given_content()) for _each in range(2))
    run.parent_content_key = "TidesX+1"
    monkeypatch.setattr(reads, "are_from_upstream", lambda: True)
    monkeypatch.setattr(reads, "from_upstream", from_upstream)

    assert offers.of_assignments([course, run], now=NOW) == {}

    from_upstream.assert_called_once_with(
        {key_of(course): course.content_key, key_of(run): "TidesX+1"}, now=NOW
    )


def test_a_summary_of_upstream_refuses_what_was_asked_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    budget, content = given_budget(), given_content(completeness=Completeness.THIN)
    answers = {CatalogKey(budget.catalog_uuid, content.content_key): served(content)}
    upstream_answers(monkeypatch, answers)

    with pytest.raises(reads.ContentUnavailable, match=r"^The catalog has not the whole record yet\.$"):
        offers.find(content.content_key, budget=budget, now=NOW)


@pytest.mark.parametrize("same", [True, False])
def test_what_is_asked_of_upstream_refers_to_the_row_that_ends_the_assignment_alike(
    monkeypatch: pytest.MonkeyPatch, same: bool
) -> None:
    course = given_content(enroll_by=NOW + 40 * DAY)
    assignment = given_assignment(given_budget(), course)
    theirs = served(course)
    opens = assignment.expires_at - DAY if not same else assignment.expires_at
    given_run(course, "later", enroll_start=opens, enroll_by=NOW + 80 * DAY)
    upstream_answers(monkeypatch, {})
    monkeypatch.setattr(reads, "one_from_upstream", lambda _key, **_more: theirs)

    offer = offers.of_assignment_or_fetched(assignment, now=NOW)

    assert offer is not None
    assert offer.row == (course if same else None)


def test_of_a_catalog_no_more_is_held_than_its_own() -> None:
    budget, course = given_budget(), given_content()
    given_membership(course, catalog=ELSEWHERE)
    key = CatalogKey(budget.catalog_uuid, course.content_key)

    held = offers.by_key([key])

    assert list(held) == [key]
    assert held[key].in_catalog is True
    assert [run.key for run in held[key].runs] == [course.advertised_run]


def cannot_be_joined(assignment: LearnerContentAssignment, *, now: datetime = NOW) -> bool:
    rows = LearnerContentAssignment.objects.filter(pk=assignment.pk)
    return rows.filter(offers.cannot_be_joined(now=now)).exists()


def test_a_course_with_an_open_run_can_be_joined_while_its_catalog_holds_it() -> None:
    budget = given_budget()
    held, departed, gone, moved = (given_assignment(budget, given_content()) for _each in range(4))
    CatalogMembership.objects.filter(content=departed.content_id).delete()
    ContentMetadata.objects.filter(content_key=gone.content_key).update(gone_at=NOW)
    CatalogMembership.objects.filter(content=moved.content_id).update(catalog_uuid=ELSEWHERE)

    # The run of each is still there, in the budget's catalog.
    assert [cannot_be_joined(one) for one in (held, departed, gone, moved)] == [False, True, True, True]


@pytest.mark.parametrize(("opens", "joinable"), [(-DAY, True), (DAY, False)])
def test_a_run_can_be_joined_that_opens_before_the_assignment_ends(opens: timedelta, joinable: bool) -> None:
    course = given_content()
    assignment = given_assignment(given_budget(), course)
    run = ContentMetadata.objects.filter(content_key=course.advertised_run)
    run.update(enroll_start=assignment.expires_at + opens, enroll_by=assignment.expires_at + 9 * DAY)

    assert cannot_be_joined(assignment) is not joinable


def test_the_runs_of_another_catalog_do_not_make_a_course_joinable() -> None:
    course = given_content()
    assignment = given_assignment(given_budget(), course)
    runs = CatalogMembership.objects.filter(content__content_key=course.advertised_run)
    runs.update(catalog_uuid=ELSEWHERE)

    assert cannot_be_joined(assignment)


def test_a_run_alone_can_be_joined_and_a_program_is_not_joined_by_runs() -> None:
    budget, course = given_budget(), given_content()
    run = ContentMetadata.objects.get(content_key=course.advertised_run)
    program = given_content(content_type=ContentType.PROGRAM)
    of_run, of_program = (given_assignment(budget, one) for one in (run, program))

    assert [cannot_be_joined(one) for one in (of_run, of_program)] == [False, False]
    ContentMetadata.objects.filter(pk=run.pk).update(offered=False)
    assert [cannot_be_joined(one) for one in (of_run, of_program)] == [True, False]


def test_of_a_course_with_a_summary_record_nothing_is_known_of_its_runs() -> None:
    course = given_content()
    assignment = given_assignment(given_budget(), course)
    ContentMetadata.objects.filter(content_key=course.advertised_run).update(offered=False)
    assert cannot_be_joined(assignment)

    ContentMetadata.objects.filter(pk=course.pk).update(completeness=Completeness.THIN)
    assert not cannot_be_joined(assignment)
