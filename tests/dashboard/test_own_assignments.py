"""A learner's own list: what is open first, by deadline, and a way to all of it."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoDbBlocker, Settings

from bursary.access.models import Role
from bursary.assignments.cancellation import cancel
from bursary.assignments.choices import State
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.dashboard import learner_answers
from bursary.replica.models import ContentMetadata
from tests import world
from tests.once import made_once
from tests.world import ALICE

pytestmark = pytest.mark.django_db

MaxQueries = Callable[[int], AbstractContextManager[Any]]


@pytest.fixture(scope="module", autouse=True)
def _sixty_two(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """A learner with 62 assignments: the newest 60 are cancelled, the two before them are open."""
    with made_once(django_db_blocker):
        budget, now = world.given_budget(), timezone.now()
        for number, days in enumerate([20, 40, *range(60)]):
            content = world.given_content(title=f"Course {number}", enroll_by=now + timedelta(days=days + 1))
            world.allocate(budget, content, ALICE, now=now)
        ended = LearnerContentAssignment.objects.order_by("pk").values_list("uuid", flat=True)[2:]
        cancel(budget, uuids=list(ended), now=now)
        yield


@pytest.fixture
def sixty_two(client: Client) -> Budget:
    """The budget of those 62; their learner is signed in."""
    budget = Budget.objects.get()
    client.force_login(world.given_user(Role.LEARNER, customer=budget.customer, email=ALICE))
    return budget


def titles(html: str) -> list[str]:
    return re.findall(r"<bdi>(Course \d+)</bdi>", html)


@pytest.mark.usefixtures("sixty_two")
def test_what_is_open_is_first_and_the_nearest_deadline_before_the_others(client: Client) -> None:
    html = client.get(reverse("home")).content.decode()

    assert titles(html)[:3] == ["Course 0", "Course 1", "Course 61"]
    assert len(titles(html)) == 10
    assert f'href="{reverse("own-assignments")}"' in html
    assert "(Madrid time)" in html


@pytest.mark.usefixtures("sixty_two")
def test_every_one_is_on_one_of_the_pages(client: Client, django_assert_max_num_queries: MaxQueries) -> None:
    seen = []
    for number in (1, 2, 3):
        with django_assert_max_num_queries(8):
            html = client.get(reverse("own-assignments"), {"page": number}).content.decode()
        assert (f"Page {number} of 3, 62 in all" in html, 'rel="next"' in html) == (True, number < 3)
        seen += titles(html)

    assert seen[:2] == ["Course 0", "Course 1"]
    assert sorted(seen) == sorted(f"Course {number}" for number in range(62))


@pytest.mark.usefixtures("sixty_two")
def test_an_accepted_course_is_a_press_away(client: Client, settings: Settings) -> None:
    accepted = LearnerContentAssignment.objects.order_by("pk").first()
    assert accepted
    LearnerContentAssignment.objects.filter(pk=accepted.pk).update(
        state=State.ACCEPTED, accepted_at=timezone.now()
    )
    settings.COURSEWARE_URL = "https://lms.example/{run}"
    ContentMetadata.objects.filter(content_key=accepted.content_key).update(parent_key="edX+Tides")
    url = learner_answers.course_url(LearnerContentAssignment.objects.get(pk=accepted.pk))

    html = client.get(reverse("own-assignments")).content.decode()

    assert url
    assert html.count("Go to the course<") == 1
    assert f'href="{url}"' in html
    assert re.search(r"<h1[^>]*>.*My courses.*</h1>", html)


def test_a_page_that_is_not_there_shows_the_nearest(client: Client) -> None:
    client.force_login(world.given_user())

    for number in ("0", "99", "x"):
        assert (
            "No course is assigned to you."
            in client.get(reverse("own-assignments"), {"page": number}).content.decode()
        )


def test_a_stranger_is_asked_to_sign_in(client: Client) -> None:
    assert client.get(reverse("own-assignments")).headers["Location"].startswith("/sign-in/")


def test_the_api_lists_in_the_same_order_and_names_the_next_page(
    client: Client, sixty_two: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bursary.api.redemption.MAX_ASSIGNMENTS", 50)
    address = (
        f"/api/v1/policy-redemption/credits_available/?enterprise_customer_uuid={sixty_two.customer.uuid}"
    )

    first = client.get(address)
    rest = client.get(re.findall(r"<(.*)>; rel", first.headers["Link"])[0])

    rows = [
        row["content_title"]
        for page in (first, rest)
        for row in page.json()[0]["learner_content_assignments"]
    ]
    assert rows[:2] == ["Course 0", "Course 1"]
    assert len(set(rows)) == 62
    assert "Link" not in rest.headers


def test_the_deadline_is_labelled_and_the_price_names_the_organisation_that_pays(
    client: Client, sixty_two: Budget
) -> None:
    html = client.get(reverse("own-assignments")).content.decode()
    assert re.search(r'<td data-label="Accept by">\w+, \d+ \w+ \d{4}', html)
    # The ended ones are paid by none.
    assert html.count(f"paid by <bdi>{sixty_two.customer.name}</bdi>") == 2
