"""Learners with a question have an address to write to."""

import pytest

from bursary.access.contacts import contact
from bursary.access.models import Role
from tests.world import given_customer, given_user

pytestmark = pytest.mark.django_db


def test_an_organisations_own_contact_comes_before_its_administrators() -> None:
    customer = given_customer(contact_email="learning@larkspur.example")
    given_user(Role.ADMINISTRATOR, customer=customer)
    assert contact(customer) == "learning@larkspur.example"


def test_without_one_it_is_the_first_administrator_that_can_be_written_to() -> None:
    customer = given_customer()
    given_user(Role.LEARNER, customer=customer)
    given_user(Role.ADMINISTRATOR, customer=given_customer())
    given_user(Role.ADMINISTRATOR, customer=customer, email="")
    given_user(Role.ADMINISTRATOR, customer=customer, is_active=False)
    assert contact(customer) == ""
    given_user(Role.ADMINISTRATOR, customer=customer, email="ada@larkspur.example")
    given_user(Role.ADMINISTRATOR, customer=customer, email="bea@larkspur.example")
    assert contact(customer) == "ada@larkspur.example"
