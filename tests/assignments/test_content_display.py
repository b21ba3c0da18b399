"""What a learner reads of the content before answering, as the budget's catalog serves it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from bursary.assignments.content_display import About, about, load_shown_content, plain_text, starts_of
from bursary.assignments.models import LearnerContentAssignment
from bursary.replica.models import CatalogMembership, ContentMetadata
from tests.world import NOW, given_assignment, given_content, given_run

pytestmark = pytest.mark.django_db

PAGE = "https://www.example-edx.org/course/tidal-engines"


def read(**columns: Any) -> About:
    links = columns.pop("links", {"marketing_url": PAGE})
    return read_of(given_assignment(content=given_content(links=links, **columns)))


def read_of(assignment: LearnerContentAssignment, *, now: datetime = NOW) -> About:
    assignment = LearnerContentAssignment.objects.select_related("budget", "content").get(pk=assignment.pk)
    load_shown_content([assignment], now=now)
    return about(assignment, now=now)


def test_it_has_description_length_dates_pace_and_page() -> None:
    starts, ends = datetime(2026, 5, 1, 8, tzinfo=UTC), datetime(2026, 8, 1, 8, tzinfo=UTC)
    assert read(
        start_date=starts,
        end_date=ends,
        pacing="self_paced",
        weeks_to_complete=5,
        payload={"short_description": "<p>Learn tides.</p>", "full_description": "<p>All of it.</p>"},
    ) == About(
        description="Learn tides.",
        page_url=PAGE,
        starts_at=starts,
        ends_at=ends,
        weeks=5,
        pace="at your own pace",
    )


@pytest.mark.parametrize("short", [None, "", 7, ["x"]])
def test_without_a_short_description_it_is_the_long_one(short: object) -> None:
    payload = {"short_description": short, "full_description": "<p>All of it.</p>"}
    assert read(payload=payload).description == "All of it."


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "", 7, None])
def test_a_page_that_a_browser_must_not_open_is_none(url: object) -> None:
    assert read(links={"marketing_url": url}).page_url == ""


def test_of_what_the_catalog_has_lost_nothing_is_read() -> None:
    payload = {"short_description": "Now as another catalog has it."}
    assignment = given_assignment(
        content=given_content(payload=payload, pacing="self_paced", weeks_to_complete=5)
    )
    CatalogMembership.objects.all().delete()
    ContentMetadata.objects.update(weeks_to_complete=6)
    shown = read_of(assignment)
    assert (shown.description, shown.page_url, shown.weeks, shown.pace) == ("", "", None, "")


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>One</p><ul><li>two &amp; three</li></ul>", "One two & three"),
        ("<script>alert(1)</script>Safe<style>p {}</style>", "Safe"),
        ("a < b and b > c", "a < b and b > c"),
        ("&lt;b&gt;bold&lt;/b&gt;", "<b>bold</b>"),  # text: pages and mails escape it
        ("<script>never closed", ""),
        ("<" * 20_000, "<" * 20_000),
        ("  \n ", ""),
    ],
)
def test_html_is_read_as_text_on_one_line(html: str, text: str) -> None:
    assert plain_text(html) == text


def test_a_long_description_is_cut() -> None:
    assert len(read(payload={"short_description": "tide " * 500}).description) == 600


STARTED, SOON, LATER = (NOW + timedelta(days=days) for days in (-480, 40, 90))


def given_started(**columns: Any) -> ContentMetadata:
    """Return a course with an advertised run that has started."""
    return given_content(start_date=STARTED, end_date=NOW + timedelta(days=20), **columns)


def test_of_several_runs_a_course_has_the_dates_of_the_next_that_can_be_joined() -> None:
    course = given_started()
    assignment = given_assignment(content=course)
    for starts in (LATER, SOON):
        key = f"course-v1:{course.content_key}+{starts:%j}"
        given_run(course, key, start_date=starts, end_date=starts + timedelta(days=30))
    closed = {"start_date": NOW + timedelta(days=5), "offered": False}
    given_run(course, f"course-v1:{course.content_key}+closed", **closed)

    shown = read_of(assignment)

    assert (shown.starts_at, shown.ends_at) == (SOON, SOON + timedelta(days=30))


def test_a_course_of_which_all_runs_have_started_has_no_start() -> None:
    course = given_started()
    given_run(course, f"course-v1:{course.content_key}+R2", start_date=NOW - timedelta(days=30))

    shown = read_of(given_assignment(content=course))

    assert (shown.starts_at, shown.ends_at) == (None, None)


def test_a_course_with_one_run_to_join_has_its_dates_though_it_has_started() -> None:
    course = given_started()
    shown = read_of(given_assignment(content=course))
    assert (shown.starts_at, shown.ends_at) == (STARTED, course.end_date)


CLOSED = {"accepted": "accepted_at", "cancelled": "cancelled_at", "expired": "expired_at"}


def close(state: str, *, at: datetime = NOW) -> None:
    LearnerContentAssignment.objects.update(**{"state": state, CLOSED[state]: at})


@pytest.mark.parametrize("state", CLOSED)
def test_what_is_accepted_or_ended_keeps_the_dates_that_were_shown(state: str) -> None:
    course = given_started()
    given_run(course, f"course-v1:{course.content_key}+R2", start_date=SOON)
    assignment = given_assignment(content=course)
    before = read_of(assignment)
    close(state)

    assert read_of(assignment, now=SOON + timedelta(days=9)).starts_at == before.starts_at == SOON


@pytest.mark.parametrize("state", ["allocated", *CLOSED])
def test_many_have_the_starts_that_each_has_alone_in_one_query(
    state: str, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    two, started, ahead = given_started(), given_started(), given_content(start_date=SOON)
    given_run(two, f"course-v1:{two.content_key}+R2", start_date=LATER)
    given_run(ahead, f"course-v1:{ahead.content_key}+R2", start_date=LATER)
    for course in (two, started, ahead):
        given_assignment(content=course)
    if state in CLOSED:
        close(state)
    rows = list(LearnerContentAssignment.objects.select_related("budget", "content").order_by("pk"))
    load_shown_content(rows, now=NOW)

    with django_assert_num_queries(1):
        found = starts_of(rows, now=NOW)

    assert list(found.values()) == [LATER, STARTED, SOON]
    assert found == {one.pk: about(one, now=NOW).starts_at for one in rows}


def test_courses_that_start_later_need_no_query(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    given_assignment(content=given_content(start_date=SOON))
    close("cancelled")
    rows = list(LearnerContentAssignment.objects.select_related("budget", "content"))
    load_shown_content(rows, now=NOW)
    with django_assert_num_queries(0):
        assert list(starts_of(rows, now=NOW).values()) == [SOON]


def test_what_has_expired_keeps_the_dates_of_a_run_that_closed_at_its_deadline() -> None:
    course = given_started(enroll_by=NOW - timedelta(days=1))
    deadline = NOW + timedelta(days=9)
    given_run(course, f"course-v1:{course.content_key}+R2", start_date=SOON, enroll_by=deadline)
    assignment = given_assignment(content=course)
    LearnerContentAssignment.objects.update(expires_at=deadline)
    assert read_of(assignment).starts_at == SOON

    late = deadline + timedelta(hours=1)
    assert read_of(assignment, now=late).starts_at == SOON
    close("expired", at=late)
    assert read_of(assignment, now=SOON + timedelta(days=9)).starts_at == SOON


def test_what_was_refunded_keeps_the_dates_of_when_it_was_accepted() -> None:
    course = given_started()
    for name, starts in (("R2", SOON), ("R3", LATER)):
        given_run(course, f"course-v1:{course.content_key}+{name}", start_date=starts, enroll_by=LATER)
    assignment = given_assignment(content=course)
    LearnerContentAssignment.objects.update(
        state="reversed", accepted_at=NOW, reversed_at=SOON + timedelta(days=9), expires_at=LATER
    )
    assert read_of(assignment, now=SOON + timedelta(days=10)).starts_at == SOON
