"""People change their addresses, and stay one learner with one seat."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from bursary.access.models import AccountAddress, Role, RoleGrant, User
from bursary.assignments import account_linking, learner_accounts, signed_links
from bursary.assignments.choices import ActionType, State, Status
from bursary.assignments.matching import Verdict
from bursary.assignments.models import LearnerContentAssignment
from bursary.dashboard.overview import own_assignments
from tests.smtp import MailServer
from tests.world import (
    ALICE,
    BOB,
    CAROL,
    NOW,
    PRICE,
    action_of,
    allocate,
    deliver,
    given_assignment,
    given_budget,
    given_content,
    given_customer,
    given_user,
)

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("lms_user_id", [7, None], ids=["in the LMS", "here only"])
@pytest.mark.parametrize("second", [ALICE, BOB], ids=["the old address", "the new one"])
@pytest.mark.parametrize("first", [ALICE, BOB], ids=["first the old", "first the new"])
def test_he_changed_his_name(first: str, second: str, lms_user_id: int | None) -> None:
    budget, content = given_budget(seats=5), given_content()
    person = given_user(Role.LEARNER, customer=budget.customer, email=ALICE, lms_user_id=lms_user_id)
    person.email = BOB
    person.save()

    allocate(budget, content, first)
    again = allocate(budget, content, second)

    assert [one.verdict for one in again.matches] == [Verdict.ALREADY_ASSIGNED]
    both = allocate(budget, given_content(), first, second)
    assert [one.verdict for one in both.matches] == ([Verdict.NEW, Verdict.DUPLICATE])
    budget.refresh_from_db()
    assert budget.reserved_cents == 2 * PRICE
    assert own_assignments(person).count() == 2


def test_what_was_assigned_to_the_address_before_it_changed_stays_the_learners() -> None:
    budget, content = given_budget(), given_content()
    allocate(budget, content, ALICE)
    person = given_user(Role.LEARNER, customer=budget.customer, email=ALICE, lms_user_id=7)
    person.email = BOB
    person.save()
    account_linking.link_registered_users(now=NOW)
    assert own_assignments(person).count() == 1
    assert allocate(budget, content, BOB).matches[0].verdict is Verdict.ALREADY_ASSIGNED
    assert LearnerContentAssignment.objects.get().state == State.ALLOCATED


# -- She registered under another address -------------------------------------------------------------------


def link_to(assignment: LearnerContentAssignment) -> str:
    now = timezone.now()
    token = signed_links.token_for(assignment, address=assignment.learner_email, now=now)
    return reverse("answer", args=[token])


def test_she_registered_under_another_address(mail: MailServer) -> None:
    now = timezone.now()
    budget, content = given_budget(), given_content()
    home = given_assignment(budget, content, address=ALICE, now=now)
    other = given_assignment(given_budget(customer=budget.customer), address=ALICE, now=now)
    deliver(now=now)
    she = given_user(email=BOB, lms_user_id=7)
    work = given_assignment(budget, content, address=BOB, now=now)
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(she)

    page = browser.get(link_to(home))
    assert "add-address/" in page.content.decode()
    asked = browser.get(f"{link_to(home)}add-address/")
    assert "Both addresses are mine" in asked.content.decode()
    assert not AccountAddress.objects.exists()
    assert browser.post(f"{link_to(home)}add-address/").status_code == 403  # without the form's CSRF token
    csrf = {"csrfmiddlewaretoken": browser.cookies["csrftoken"].value}
    added = browser.post(f"{link_to(home)}add-address/", csrf)

    assert added.headers["Location"] == reverse("assignment", args=[home.uuid])
    assert "The learner added its address to an account" in action_of(home, ActionType.ALLOCATED).detail
    assert set(own_assignments(she)) == {home, other, work}
    assert RoleGrant.objects.filter(user=she, role=Role.LEARNER, customer=budget.customer).exists()
    assert browser.post(f"{link_to(home)}add-address/", csrf).status_code == 303
    assert AccountAddress.objects.count() == 1
    assert "add-address/" not in browser.get(link_to(home)).content.decode()
    account_linking.link_registered_users(now=now)
    home.refresh_from_db()
    work.refresh_from_db()
    assert (home.state, work.state) == (State.ALLOCATED, State.CANCELLED)
    again = allocate(budget, content, ALICE, BOB, now=now)
    assert [one.verdict for one in again.matches] == [Verdict.ALREADY_ASSIGNED, Verdict.DUPLICATE]


@pytest.mark.parametrize("how", ["present", "earlier", "added"])
def test_the_address_of_another_account_cannot_be_joined(client: Client, how: str) -> None:
    assignment = given_assignment(address=ALICE, now=timezone.now())
    owner = given_user(email=ALICE if how != "added" else CAROL)
    if how == "earlier":
        owner.email = CAROL
        owner.save()
    if how == "added":
        client.force_login(owner)
        assert client.post(f"{link_to(assignment)}add-address/").status_code == 303
    client.force_login(given_user(email=BOB))
    assert "add-address/" not in client.get(link_to(assignment)).content.decode()
    refused = client.post(f"{link_to(assignment)}add-address/")
    assert (refused.status_code, "belongs to another account" in refused.content.decode()) == (422, True)
    assert set(AccountAddress.objects.values_list("user", flat=True)) <= {owner.pk}


def test_an_account_without_an_address_is_refused_with_the_true_reason(client: Client) -> None:
    assignment = given_assignment(address=ALICE, now=timezone.now())
    client.force_login(given_user(email=""))
    for answer in (
        client.get(f"{link_to(assignment)}add-address/"),
        client.post(f"{link_to(assignment)}add-address/"),
    ):
        page = answer.content.decode()
        assert (answer.status_code, "Your account has no e-mail address" in page) == (422, True)
        assert "another account" not in page
        assert "Both addresses are mine" not in page
    assert not AccountAddress.objects.exists()


def test_adding_an_address_asks_to_sign_in_first_and_a_broken_link_adds_nothing(client: Client) -> None:
    assignment = given_assignment(now=timezone.now())
    assert client.post(f"{link_to(assignment)}add-address/").headers["Location"].startswith("/sign-in/")
    client.force_login(given_user())
    assert client.post("/a/broken/add-address/").status_code == 404
    assert not AccountAddress.objects.exists()


# -- The whole department left ------------------------------------------------------------------------------


def leave(accounts: Sequence[User], how: str) -> None:
    for account in accounts:
        if how == "deleted":
            account.delete()
        else:
            account.is_active = False
            account.save()


@pytest.mark.parametrize("ended", ["deactivated", "deleted"])
def test_the_whole_department_left(mail: MailServer, client: Client, ended: str) -> None:
    customer = given_customer()
    budget, content = given_budget(seats=5, customer=customer), given_content()
    left = [given_user(email=ALICE, lms_user_id=7), given_user(email=BOB, lms_user_id=8)]
    given_user(email=CAROL, lms_user_id=9)
    allocate(budget, content, ALICE, BOB, CAROL, "unknown@learners.example")
    leave(left, ended)

    deliver()

    assert {one["To"] for one in mail.received} == {CAROL, "unknown@learners.example"}
    assignment = LearnerContentAssignment.objects.get(learner_email=ALICE)
    notified = action_of(assignment, ActionType.NOTIFIED)
    assert (notified.status, notified.error_code) == (Status.SKIPPED, f"account_{ended}")
    assert ended in notified.detail

    client.force_login(given_user(Role.ADMINISTRATOR, customer=customer))
    assert f"the account is {ended}" in client.get(f"/assignments/{assignment.uuid}/").content.decode()
    api = f"/api/v1/assignment-configurations/{budget.assignment_configuration_uuid}/admin/assignments/"
    rows = client.get(api).json()["results"]
    assert sorted((one["learner_email"], one["account_ended"]) for one in rows) == [
        (ALICE, ended),
        (BOB, ended),
        (CAROL, None),
        ("unknown@learners.example", None),
    ]
    listed = client.get(api, {"account_ended": ended}).json()["results"]
    assert {one["learner_email"] for one in listed} == {ALICE, BOB}
    assert {(one["learner_state"], one["error_reason"]) for one in listed} == {("failed", None)}
    cancelled = client.post(f"{api}cancel-all/?account_ended={ended}")
    assert cancelled.json()["cancelled"] == 2
    budget.refresh_from_db()
    assert budget.reserved_cents == 2 * PRICE
    deliver()
    assert len(mail.received) == 2


def test_a_deactivated_account_counts_by_each_of_its_addresses_and_an_active_one_first() -> None:
    person = given_user(email=ALICE)
    person.email, person.is_active = BOB, False
    person.save()
    earlier = given_assignment(address=ALICE)
    assert learner_accounts.account_ended(earlier) == "deactivated"
    given_user(email=ALICE)
    assert learner_accounts.account_ended(earlier) is None


# -- A department has another domain ------------------------------------------------------------------------


def test_an_administrator_corrects_the_addresses_of_their_own_organisation_alone(client: Client) -> None:
    mine, others = given_assignment(), given_assignment()
    budget = mine.budget
    url = f"/api/v1/assignment-configurations/{budget.assignment_configuration_uuid}/admin/assignments/"
    pair = {"old_address": ALICE, "new_address": BOB}
    unknown = {"old_address": CAROL, "new_address": BOB}
    asked = {"corrections": [pair, unknown]}

    def post(body: Mapping[str, object]) -> Any:
        return client.post(f"{url}correct-addresses/", body, content_type="application/json")

    client.force_login(given_user(Role.LEARNER, customer=budget.customer))
    assert post(asked).status_code == 404
    client.force_login(given_user(Role.ADMINISTRATOR, customer=budget.customer))
    for dry_run in (True, False):
        done = post(asked | {"dry_run": dry_run})
        assert done.json()["corrected"] == [{**pair, "assignment_uuids": [str(mine.uuid)]}]
        (refused,) = done.json()["not_corrected"]
        assert (refused["reason"], refused["old_address"]) == ("nothing_to_correct", CAROL)
        mine.refresh_from_db()
        assert mine.learner_email == (ALICE if dry_run else BOB)
    others.refresh_from_db()
    assert others.learner_email == ALICE
    refused_all = post({"corrections": [unknown]})
    assert (refused_all.status_code, refused_all.json()[0]["reason"]) == (422, "nothing_to_correct")
