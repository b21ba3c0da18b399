"""The addresses that an account had before: kept when its address changes, and each one account's alone."""

import pytest
from django.core.exceptions import ValidationError
from django.db import transaction

from bursary.access import known_learners
from bursary.access.known_learners import KnownLearner
from bursary.access.models import AccountAddress, User, learner_key
from tests.world import ALICE, BOB, CAROL, given_user

pytestmark = pytest.mark.django_db


def kept() -> list[tuple[int, str]]:
    return list(AccountAddress.objects.order_by("pk").values_list("user", "address"))


def change(user: User, address: str) -> None:
    user.email = address
    user.save(update_fields=["email"])


def test_an_address_that_is_replaced_stays_known() -> None:
    person = given_user(email=ALICE, lms_user_id=7)
    change(person, BOB)
    change(person, CAROL)
    assert kept() == [(person.pk, ALICE), (person.pk, BOB)]
    keys = [learner_key(address) for address in (ALICE, BOB, CAROL)]
    assert known_learners.by_keys(keys) == {
        key: KnownLearner(7, tuple(sorted({*keys} - {key}))) for key in keys
    }


def test_another_spelling_of_the_same_mailbox_is_no_other_address() -> None:
    change(given_user(email=ALICE), ALICE.upper())
    assert kept() == []


def test_an_address_that_is_restored_is_the_present_one_only() -> None:
    person = given_user(email=ALICE)
    change(person, BOB)
    change(person, ALICE)
    assert kept() == [(person.pk, BOB)]


def test_an_address_that_another_account_gets_is_no_longer_the_first_ones() -> None:
    change(given_user(email=ALICE, lms_user_id=7), BOB)
    given_user(email=ALICE, lms_user_id=8)
    assert kept() == []
    assert known_learners.by_keys([learner_key(ALICE)]) == {learner_key(ALICE): KnownLearner(8)}


def test_saving_anything_else_keeps_nothing() -> None:
    person = given_user(email=ALICE)
    User._base_manager.filter(pk=person.pk).update(email=BOB)
    person.save(update_fields=["last_login"])
    assert kept() == []


def test_an_address_is_not_changed_past_save_which_keeps_the_earlier_one() -> None:
    person = given_user(email=ALICE)
    with pytest.raises(TypeError, match="by saving it"):
        User.objects.filter(pk=person.pk).update(email=BOB)
    person.email = BOB
    with pytest.raises(TypeError, match="by saving it"), transaction.atomic():
        User.objects.bulk_update([person], ["email"])
    assert User.objects.filter(pk=person.pk).update(first_name="Al") == 1
    person.refresh_from_db()
    assert (person.email, person.first_name) == (ALICE, "Al")


@pytest.mark.parametrize(
    ("address", "why"),
    [("root@localhost", "has no full stop"), ("al\u0131ce@learners.example", "DOTLESS I")],
)
def test_an_account_is_not_given_an_address_that_no_mail_can_be_sent_to(address: str, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        User(username="alice", password="-", email=address).full_clean()
    User(username="alice", password="-").full_clean()
