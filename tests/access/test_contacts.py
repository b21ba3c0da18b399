"""Learners with a question have an address to write to, and notices have addresses to go to."""

from datetime import datetime

import pytest
from django.core.exceptions import ValidationError

from bursary.access import contacts
from bursary.access.contacts import SEEN_WITHIN, contact
from bursary.access.models import NoticeAddress, Role, SeenAdministrator
from bursary.access.permissions import Permission, may_anywhere
from bursary.budgets.models import Customer
from tests.world import NOW, given_customer, given_user

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


def for_notices(customer: Customer, *, now: datetime = NOW, without: tuple[int, ...] = ()) -> list[str]:
    return [one.email for one in contacts.for_notices(customer.pk, now=now, without=without, limit=3)]


def test_notices_go_to_administrators_by_role_and_to_those_seen_by_token_in_ninety_days() -> None:
    customer = given_customer()
    by_role = given_user(Role.ADMINISTRATOR, customer=customer, email="ada@larkspur.example")
    seen = given_user(email="bea@larkspur.example")
    SeenAdministrator.objects.create(user=seen, customer=customer, seen_at=NOW)
    SeenAdministrator.objects.create(user=by_role, customer=customer, seen_at=NOW)
    for changes in ({"email": ""}, {"is_active": False}):
        other = given_user(**changes)
        SeenAdministrator.objects.create(user=other, customer=customer, seen_at=NOW)
    SeenAdministrator.objects.create(user=given_user(), customer=given_customer(), seen_at=NOW)

    assert for_notices(customer) == [by_role.email, seen.email]
    assert for_notices(customer, without=(by_role.pk,)) == [seen.email]
    assert for_notices(customer, now=NOW + SEEN_WITHIN) == [by_role.email]
    assert contact(customer) == by_role.email
    assert not may_anywhere(seen, Permission.LEARN)  # it grants nothing


def test_addresses_that_a_customer_names_take_the_place_of_its_administrators() -> None:
    customer = given_customer()
    given_user(Role.ADMINISTRATOR, customer=customer)
    named = [NoticeAddress(customer=customer, address=f"Desk{n}@Larkspur.example") for n in range(5)]
    for one in named:
        one.full_clean()
        one.save()

    assert for_notices(customer) == [f"desk{n}@larkspur.example" for n in range(3)]
    assert for_notices(customer, without=(-named[0].pk,)) == [f"desk{n}@larkspur.example" for n in (1, 2, 3)]
    assert for_notices(customer, without=tuple(-one.pk for one in named)) == []


def test_an_address_for_notices_is_one_that_mail_can_be_sent_to() -> None:
    with pytest.raises(ValidationError):
        NoticeAddress(customer=given_customer(), address="\u0131@larkspur.example").clean()


def test_contacts_by_token_that_were_not_seen_for_ninety_days_are_deleted() -> None:
    customer = given_customer()
    for seen_at in (NOW, NOW - SEEN_WITHIN):
        SeenAdministrator.objects.create(user=given_user(), customer=customer, seen_at=seen_at)
    assert contacts.delete_unseen(now=NOW) == 1
    assert SeenAdministrator.objects.get().seen_at == NOW
