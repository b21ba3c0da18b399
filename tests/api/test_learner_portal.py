"""The pages of the learner portal: which organisations the caller sees."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from bursary.access.models import Role, RoleGrant, User
from bursary.budgets.models import Customer
from tests.api.door import Door, refusal_of
from tests.world import given_api_key, given_customer, given_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def customer() -> Customer:
    return given_customer(name="Larkspur Logistics")


@pytest.fixture
def lena(customer: Customer) -> User:
    return given_user(Role.LEARNER, customer=customer, lms_user_id=7)


def page(door: Door, **body: object) -> dict[str, Any]:
    answer = door.post("bffs/learner/search/", body)
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = answer.json()
    return found


def linked(found: dict[str, Any]) -> list[tuple[str, bool]]:
    return [
        (one["enterprise_customer"]["name"], one["active"])
        for one in found["all_linked_enterprise_customer_users"]
    ]


def test_the_organisation_that_was_asked_for_comes_first_and_then_the_others_of_the_caller(
    customer: Customer, lena: User
) -> None:
    given_customer(name="Another one")
    for name in ("Heather Hotels", "Aster Airlines"):
        RoleGrant.objects.create(user=lena, role=Role.LEARNER, customer=given_customer(name=name))
    found = page(Door(key=given_api_key(lena)), enterprise_customer_slug=customer.slug)

    assert linked(found) == [
        ("Larkspur Logistics", True),
        ("Aster Airlines", False),
        ("Heather Hotels", False),
    ]


def test_the_organisation_may_be_named_by_its_uuid(customer: Customer, lena: User) -> None:
    found = page(Door(key=given_api_key(lena)), enterprise_customer_uuid=str(customer.uuid))

    assert found["enterprise_customer"]["slug"] == customer.slug


def test_the_contact_is_an_administrator_where_the_organisation_names_none(
    customer: Customer, lena: User
) -> None:
    door = Door(key=given_api_key(lena))
    assert page(door, enterprise_customer_slug=customer.slug)["enterprise_customer"]["admin_users"] == []

    ada = given_user(Role.ADMINISTRATOR, customer=customer)
    found = page(door, enterprise_customer_slug=customer.slug)["enterprise_customer"]
    assert (found["contact_email"], found["admin_users"]) == (
        ada.email,
        [{"email": ada.email, "lms_user_id": None}],
    )


def test_an_organisation_must_be_named(lena: User) -> None:
    answer = Door(key=given_api_key(lena)).post("bffs/learner/search/", {})

    assert refusal_of(answer) == (400, "invalid_request")
    assert "enterprise_customer_slug" in answer.json()


def test_many_organisations_take_as_many_queries_as_one_and_are_bounded(customer: Customer) -> None:
    door = Door(key=given_api_key(given_user(Role.OPERATOR)))
    page(
        door, enterprise_customer_slug=customer.slug
    )  # its first POST makes the row in which they are counted
    counts = []
    for more in (0, 110):
        Customer.objects.bulk_create(
            Customer(slug=f"org-{number}", name=f"Organisation {number}") for number in range(more)
        )
        with CaptureQueriesContext(connection) as queries:
            found = page(door, enterprise_customer_slug=customer.slug)
        counts.append(len(queries))

    assert counts[0] == counts[1]
    assert len(linked(found)) == 100
