"""The page of one assigned course: deadline and answer first, then what it is and where to ask."""

import json
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from bursary.access.models import Role
from bursary.assignments import signed_links
from bursary.assignments.models import AllocationBatch, LearnerContentAssignment
from bursary.budgets.models import Customer
from bursary.replica.models import ContentMetadata
from tests import world
from tests.world import ALICE

pytestmark = pytest.mark.django_db

MaxQueries = Callable[[int], AbstractContextManager[Any]]
COURSES = Path(__file__).parents[1] / "data" / "catalog-courses.jsonl"
HOSTILE = '"><script>alert(1)</script>{{ 7|add:7 }}{% now "Y" %}\u202e'


def given(*, title: str, payload: dict[str, Any]) -> LearnerContentAssignment:
    links: dict[str, object] = {
        name: payload[name] for name in ("marketing_url", "enrollment_url") if name in payload
    }
    content = world.given_content(
        title=title, payload=payload, links=links, weeks_to_complete=5, pacing="instructor_paced"
    )
    return world.given_assignment(content=content, now=timezone.now())


def by_link(assignment: LearnerContentAssignment, **query: str) -> str:
    token = signed_links.token_for(assignment, address=ALICE, now=timezone.now())
    return Client().get(f"/a/{token}/", query).content.decode()


def words(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def test_the_organisations_message_is_shown_as_in_the_mail() -> None:
    assignment = given(title="Tidal Engines", payload={})
    assert "A message from" not in by_link(assignment)
    message = "See https://people.example/start\n<b>Good luck</b>"
    AllocationBatch.objects.update(message=message)

    seen = by_link(assignment)
    assert "A message from <bdi>" in seen
    assert "See https://people.example/start\n&lt;b&gt;Good luck&lt;/b&gt;</blockquote>" in seen


def test_the_deadline_and_the_answer_come_before_what_the_course_is() -> None:
    payload = json.loads(COURSES.read_text(encoding="utf-8").splitlines()[0])
    seen = words(by_link(given(title=payload["title"], payload=payload)))
    in_order = [
        "Introduction to Project Management",
        "Your answer",
        "Deadline",
        "after that it cannot be accepted any more.",
        "Accept",
        "Decline instead",
        "Questions? Ask Larkspur Logistics .",
        "About the course",
        "Learn project management with Globe Open University.",
        "Length 5 weeks",
        "Pace with fixed dates",
        "The course's own page",
    ]
    places = [seen.index(one) for one in in_order]
    assert places == sorted(places)


def test_the_course_and_the_organisations_contact_are_linked() -> None:
    assignment = given(title="Tides", payload={"marketing_url": "https://www.example-edx.org/tides?a=1&b=2"})
    Customer.objects.update(contact_email="learning+tides@larkspur.example")
    html = by_link(assignment)
    assert 'href="https://www.example-edx.org/tides?a=1&amp;b=2"' in html
    assert 'href="mailto:learning%2Btides@larkspur.example"' in html


def test_a_hostile_title_and_description_are_text() -> None:
    html = by_link(
        given(title=HOSTILE, payload={"short_description": f"&lt;img src=x onerror=1&gt;{HOSTILE}"})
    )
    assert "<script>" not in html
    assert "<img src=x" not in html
    assert HOSTILE in unescape(html)


def test_signed_in_and_by_link_the_page_takes_at_most_twelve_queries(
    client: Client, django_assert_max_num_queries: MaxQueries
) -> None:
    assignment = given(title="Tides", payload={"short_description": "All about them."})
    client.force_login(world.given_user(Role.LEARNER, customer=assignment.budget.customer, email=ALICE))
    with django_assert_max_num_queries(12):
        signed_in = client.get(reverse("assignment", args=[assignment.uuid])).content.decode()
    with django_assert_max_num_queries(12):
        linked = by_link(assignment)
    assert "All about them." in signed_in
    assert "All about them." in linked


@pytest.mark.parametrize(
    ("days", "read"),
    [((-270, 30), ("Started", "Ends")), ((-270, -1), ("Started", "Ended")), ((1, 30), ("Starts", "Ends"))],
)
def test_a_start_and_an_end_that_have_passed_are_said_to_have_passed(
    days: tuple[int, int], read: tuple[str, str]
) -> None:
    assignment, now = given(title="Tides", payload={}), timezone.now()
    start, end = (now + timedelta(days=number) for number in days)
    ContentMetadata.objects.update(start_date=start, end_date=end)
    html = by_link(assignment)
    terms = re.findall(r"<dt>(Start.*?|End.*?)</dt>", html)
    assert tuple(terms) == read
