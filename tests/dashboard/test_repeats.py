"""Assigning in the browser what a learner has by another key, or declined: said in words, and offered."""

import pytest
from django.utils import timezone

from bursary.assignments import declining, redemption
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Customer
from bursary.replica.models import ContentMetadata
from tests import world
from tests.dashboard.desk import Desk, stored
from tests.world import ALICE, BOB, PRICE

pytestmark = pytest.mark.django_db

ANOTHER, DECLINED = 'name="allow_another"', 'name="reallocate_declined"'


@pytest.fixture
def course() -> ContentMetadata:
    return world.given_content()


@pytest.fixture
def run(course: ContentMetadata) -> ContentMetadata:
    return ContentMetadata.objects.get(content_key=course.advertised_run)


def assigned(desk: Desk, content: ContentMetadata, address: str = ALICE) -> LearnerContentAssignment:
    world.allocate(desk.budget, content, address, now=timezone.now())
    return LearnerContentAssignment.objects.latest("pk")


def test_each_verdict_is_named_with_the_other_assignment(
    desk: Desk, course: ContentMetadata, run: ContentMetadata
) -> None:
    assigned(desk, run)
    redemption.fulfil(redemption.begin(assigned(desk, run, BOB), now=timezone.now()), now=timezone.now())
    text = desk.preview(course, f"{ALICE}\n{BOB}")
    key = run.content_key
    assert f"would not be assigned: the run {key} of its course is assigned" in text
    assert f"would not be assigned: {key}, of the same course, is accepted already" in text
    text = desk.preview(run, world.CAROL)
    assert "would not be" not in text
    assigned(desk, course, world.CAROL)
    assert f"its course, {course.content_key}, is assigned" in desk.preview(run, world.CAROL)


def test_another_is_offered_where_it_matters_and_assigned_where_it_is_chosen(
    desk: Desk, course: ContentMetadata, run: ContentMetadata
) -> None:
    assigned(desk, run)
    assert ANOTHER not in desk.open()
    assert ANOTHER not in desk.preview(course, BOB)
    text = desk.preview(course, ALICE)
    assert ANOTHER in text
    assert DECLINED not in text

    text = desk.preview(course, ALICE, allow_another="on")
    assert f'{ANOTHER} id="allow_another" checked' in text
    assert "would be assigned<" in text
    assert len(stored()) == 1

    assert "nothing new is assigned." in desk.assign(course, ALICE)
    assert len(stored()) == 1
    assert "is assigned to 1 learner" in desk.assign(course, ALICE, allow_another="on")
    assert len(stored()) == 2


def test_asking_again_is_offered_where_it_matters_and_done_where_it_is_chosen(
    desk: Desk, course: ContentMetadata
) -> None:
    declining.decline(assigned(desk, course), reason="", now=timezone.now())
    text = desk.preview(course, ALICE)
    assert "would not be assigned: the learner declined it before" in text
    assert DECLINED in text
    assert ANOTHER not in text

    done = desk.assign(course, ALICE)
    assert f"{ALICE} declined “{course.title}” before; nothing new is assigned." in done
    assert stored() == [(ALICE, "cancelled", PRICE)]
    desk.assign(course, ALICE, reallocate_declined="on")
    assert stored() == [(ALICE, "allocated", PRICE)]


def test_the_organisations_setting_asks_again_unasked(desk: Desk, course: ContentMetadata) -> None:
    declining.decline(assigned(desk, course), reason="", now=timezone.now())
    Customer.objects.update(reallocate_declined=True)
    assert "would be assigned again: it was cancelled" in desk.preview(course, ALICE)
    desk.assign(course, ALICE)
    assert stored() == [(ALICE, "allocated", PRICE)]
