"""Assigning in the browser: permissions, stored rows, messages, and every refusal in words."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from bursary.access.models import Role
from bursary.assignments import allocation, matching
from bursary.assignments.choices import State
from bursary.assignments.models import AllocationBatch, LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.replica.models import CatalogMembership, ContentMetadata
from tests import world
from tests.dashboard.desk import Desk, nothing_was_done, stored
from tests.world import ALICE, BOB, PRICE

pytestmark = pytest.mark.django_db

LATE = datetime(2900, 1, 31, 23, 30, tzinfo=UTC)  # in Madrid, the first of February


# -- Roles -------------------------------------------------------------------------------------------------


def test_without_a_session_it_redirects_to_sign_in(client: Client, budget: Budget) -> None:
    address = reverse("assign", args=[budget.uuid])

    assert client.get(address).headers["Location"] == f"/sign-in/?next={address}"
    sent = client.post(address, {"assign": "yes"})
    assert sent.headers["Location"] == f"/sign-in/?next={address}&unsent=yes"


def test_without_the_permission_to_allocate_there_is_no_such_budget(client: Client, budget: Budget) -> None:
    content = world.given_content()
    strangers = [
        world.given_user(),
        world.given_user(Role.LEARNER, customer=budget.customer),
        world.given_user(Role.ADMINISTRATOR, customer=world.given_customer()),
    ]
    for user in strangers:
        desk = Desk(client, budget, user)
        assert client.get(desk.address).status_code == 404
        assert desk.press("assign", content, ALICE).status_code == 404
    assert nothing_was_done(budget)


def test_an_unknown_budget_is_not_found(client: Client) -> None:
    client.force_login(world.given_user(Role.OPERATOR))

    assert client.get(reverse("assign", args=[uuid4()])).status_code == 404


def test_an_operator_assigns_for_any_organisation(client: Client, budget: Budget) -> None:
    desk = Desk(client, budget, world.given_user(Role.OPERATOR))

    desk.assign(world.given_content(), ALICE)

    assert stored() == [(ALICE, State.ALLOCATED, PRICE)]


def test_another_site_cannot_assign(budget: Budget) -> None:
    client = Client(enforce_csrf_checks=True)
    desk = Desk(client, budget, world.given_user(Role.ADMINISTRATOR, customer=budget.customer))

    assert desk.press("assign", world.given_content(), ALICE).status_code == 403
    assert nothing_was_done(budget)


# -- Assigning ----------------------------------------------------------------------------------------------


def test_assigning_stores_the_actor_and_the_page_of_the_request_confirms_it_once(
    desk: Desk, budget: Budget
) -> None:
    content = world.given_content(title="Tidal Engines")

    answer = desk.press("assign", content, f"{ALICE}\n{BOB}, {ALICE}")

    batch = AllocationBatch.objects.get()
    assert answer.redirect_chain == [(f"/batches/{batch.uuid}/", 302)]
    said = "“Tidal Engines” is assigned to 2 learners: $398.00 is reserved in Languages."
    assert said in answer.content.decode()
    assert said not in desk.client.get("/").content.decode()
    assert stored() == [(ALICE, State.ALLOCATED, PRICE), (BOB, State.ALLOCATED, PRICE)]
    assert set(LearnerContentAssignment.objects.values_list("allocated_by", flat=True)) == {desk.user.pk}
    budget.refresh_from_db()
    assert budget.reserved_cents == 2 * PRICE


def test_what_is_assigned_while_another_tab_signs_out_leads_to_its_page_and_there_to_sign_in(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, other, allocate = world.given_content(), Client(), allocation.allocate
    other.cookies = desk.client.cookies

    def signed_out_meanwhile(*asked: Any, **more: Any) -> Any:
        other.post(reverse("sign-out"))
        return allocate(*asked, **more)

    monkeypatch.setattr(allocation, "allocate", signed_out_meanwhile)
    body = {"course": f"{PRICE} {content.content_key}", "addresses": ALICE, "assign": "yes"}
    answer = desk.client.post(desk.address, body)

    batch = reverse("batch", args=[AllocationBatch.objects.get().uuid])
    assert (answer.status_code, answer.get("Location")) == (302, batch)
    assert reverse("sign-in") in desk.client.get(batch).headers["Location"]


def test_each_of_two_tabs_confirms_what_was_assigned_in_it(desk: Desk) -> None:
    answers = []
    for title, learner in (("Tidal Engines", ALICE), ("Bookkeeping", BOB)):
        content = world.given_content(title=title)
        body = {"course": f"{PRICE} {content.content_key}", "addresses": learner, "assign": "yes"}
        # Sent before the answer to the other tab has come, with none of its cookies.
        desk.client.cookies.pop("messages", None)
        answers.append(desk.client.post(desk.address, body).headers["Location"])

    first, second = (desk.text(desk.client.get(address)) for address in answers)

    assert "“Tidal Engines” is assigned to 1 learner" in first
    assert "“Bookkeeping” is assigned to 1 learner" in second
    assert "is reserved in" not in desk.text(desk.client.get(answers[0]))


def test_a_request_for_the_headers_of_the_page_leaves_the_confirmation_to_the_page(desk: Desk) -> None:
    content = world.given_content(title="Tidal Engines")
    body = {"course": f"{PRICE} {content.content_key}", "addresses": ALICE, "assign": "yes"}
    page = desk.client.post(desk.address, body).headers["Location"]

    assert desk.client.head(page).status_code == 200

    assert "“Tidal Engines” is assigned to 1 learner" in desk.text(desk.client.get(page))


def test_a_course_and_its_run_of_the_same_title_are_distinguished(desk: Desk) -> None:
    course = world.given_content(title="Tidal Engines", with_run=False)
    run = world.given_run(
        course,
        title="Tidal Engines",
        start_date=datetime(2027, 2, 1, 9, tzinfo=UTC),
        end_date=datetime(2027, 5, 1, 9, tzinfo=UTC),
    )

    offers = " ".join(desk.open().split())

    of_course, of_run = re.findall(r'<input type="radio".*?</label>', offers)
    assert f'value="{PRICE} {course.content_key}"' in of_course
    assert "The course: the learner chooses a run" in of_course
    assert f'value="{PRICE} {run.content_key}"' in of_run
    assert "This run only: starts 1 Feb 2027, ends 1 May 2027" in of_run
    assert f"<bdi>{run.content_key}</bdi>" in of_run


def test_assigning_again_changes_nothing_and_says_so(desk: Desk, budget: Budget) -> None:
    content = world.given_content(title="Tidal Engines")
    desk.assign(content, ALICE)

    text = desk.assign(content, ALICE)

    assert f"{ALICE} had “Tidal Engines” already." in text
    assert "is reserved in" not in text
    budget.refresh_from_db()
    assert budget.reserved_cents == PRICE


def test_bad_addresses_are_named_by_their_lines_and_nothing_is_done(desk: Desk, budget: Budget) -> None:
    text = desk.assign(world.given_content(), f"{ALICE}\nnonsense\n{BOB}, @")

    assert 'role="alert"' in text
    assert "Line 2, “nonsense”: It has no @." in text
    assert "Line 3, “@”: There is nothing before the @." in text
    assert "nonsense\n" in text.replace("\r\n", "\n")
    assert nothing_was_done(budget)


def test_of_very_many_bad_addresses_the_first_are_named(desk: Desk) -> None:
    text = desk.assign(world.given_content(), "\n".join(f"bad-{number}" for number in range(23)))

    assert "“bad-19”" in text
    assert "“bad-20”" not in text
    assert "3 more entries are not addresses." in text


@pytest.mark.parametrize("button", ["preview", "assign"])
def test_too_many_addresses_are_refused(
    desk: Desk, budget: Budget, button: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "MAX_ADDRESSES", 2)

    text = desk.text(desk.press(button, world.given_content(), "\n".join(world.addresses(3))))

    assert "3 addresses are more than the 2 that one request may carry." in text
    assert nothing_was_done(budget)


@pytest.mark.parametrize("button", ["preview", "assign"])
def test_a_price_that_moved_is_said_and_what_it_belongs_to_is_chosen_anew(
    desk: Desk, budget: Budget, button: str
) -> None:
    content = world.given_content(price_cents=29_900)

    text = desk.text(desk.press(button, content, ALICE, price=PRICE))

    assert "The price was $199.00 when you chose it, and is $299.00 now." in text
    assert f'value="29900 {content.content_key}">' in text
    assert " checked" not in text
    assert ALICE in text
    assert nothing_was_done(budget)


def test_a_price_that_hardly_moved_is_what_was_shown(desk: Desk) -> None:
    content = world.given_content(price_cents=PRICE + 500)

    assert f'value="{PRICE} {content.content_key}" checked' in desk.preview(content, ALICE, price=PRICE)
    desk.assign(content, ALICE, price=PRICE)

    assert stored() == [(ALICE, State.ALLOCATED, PRICE)]


@pytest.mark.parametrize("button", ["preview", "assign"])
def test_what_closed_meanwhile_is_refused(desk: Desk, budget: Budget, button: str) -> None:
    content = world.given_content(enroll_by=datetime(2026, 1, 2, 3, 4, tzinfo=UTC))

    text = desk.text(desk.press(button, content, ALICE))

    assert "Enrolment closed on Friday, 2 January 2026, 04:04 (Madrid time)." in text
    assert "Choose content with a run that learners can join in time." in text
    assert nothing_was_done(budget)


@pytest.mark.usefixtures("empty_catalog")
def test_what_left_the_catalog_is_refused(desk: Desk, budget: Budget) -> None:
    content = world.given_content()
    CatalogMembership.objects.all().delete()

    text = desk.assign(content, ALICE)

    assert "This content is not in the budget's catalog." in text
    assert nothing_was_done(budget)


def test_a_budget_that_is_not_open_is_refused(desk: Desk, budget: Budget) -> None:
    Budget.objects.update(starts_at=LATE)

    text = desk.assign(world.given_content(), ALICE)

    assert "This budget is not open today." in text
    assert nothing_was_done(budget)


@pytest.mark.parametrize("button", ["preview", "assign"])
def test_that_the_catalog_does_not_answer_is_said(
    desk: Desk, budget: Budget, button: str, settings: Settings, tmp_path: Path
) -> None:
    settings.CATALOG_URL = f"file://{tmp_path}/nowhere/"
    unseen = ContentMetadata(content_key="RiversideX+Unseen", price_cents=PRICE)

    text = desk.text(desk.press(button, unseen, ALICE))

    assert "The catalog does not answer, and this content is not known yet." in text
    assert nothing_was_done(budget)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"course": ""}, "Choose a course or a run."),
        ({"course": "cheap RiversideX+T1"}, "Choose a course or a run."),
        ({"course": "1\0 RiversideX+T1"}, "Null characters are not allowed."),
        ({"addresses": ""}, "Enter at least one address."),
        ({"addresses": " \n , \n"}, "Enter at least one address."),
        ({"course": "", "addresses": ""}, "Choose a course or a run."),
        ({"addresses": "", "course": ""}, "Enter at least one address."),
        ({"addresses": f"{ALICE}\0"}, "Null characters are not allowed."),
    ],
)
@pytest.mark.parametrize("button", ["preview", "assign"])
def test_what_is_not_filled_in_is_asked_for_again(
    desk: Desk, budget: Budget, button: str, changes: dict[str, str], said: str
) -> None:
    text = desk.text(desk.press(button, world.given_content(), ALICE, **changes))

    assert 'role="alert"' in text
    field = next(iter(changes))
    assert f'<a href="#{field}">{said}</a>' in text
    assert f'id="{field}"' in text
    assert "<title>Problem: " in text
    assert nothing_was_done(budget)
