"""What a learner reads of the content before answering, as the budget's catalog serves it."""

from datetime import UTC, datetime
from typing import Any

import pytest

from bursary.assignments.content_display import About, about, attach_content, plain_text
from bursary.assignments.models import LearnerContentAssignment
from bursary.replica.models import CatalogMembership, ContentMetadata
from tests.world import NOW, given_assignment, given_content

pytestmark = pytest.mark.django_db

PAGE = "https://www.example-edx.org/course/tidal-engines"


def read(**columns: Any) -> About:
    links = columns.pop("links", {"marketing_url": PAGE})
    return read_of(given_assignment(content=given_content(links=links, **columns)))


def read_of(assignment: LearnerContentAssignment) -> About:
    assignment = LearnerContentAssignment.objects.select_related("budget", "content").get(pk=assignment.pk)
    attach_content([assignment], now=NOW)
    return about(assignment)


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
