"""Users, roles, links and API keys: what the tables hold, and what they refuse."""

from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from bursary.access.models import ApiKey, LearnerLink, Role, RoleGrant, User, learner_key
from tests.world import ALICE, NOW, given_customer, given_user

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("written", [ALICE, ALICE.upper(), f"  {ALICE}", f"{ALICE}\r\n", f"\t{ALICE} "])
def test_an_address_is_compared_trimmed_and_without_case(written: str) -> None:
    assert learner_key(written) == learner_key(ALICE)


def test_two_addresses_have_two_keys() -> None:
    keys = {learner_key(address) for address in (ALICE, f"x{ALICE}", f"{ALICE}.org", "ali.ce@x")}
    assert len(keys) == 4
    assert {len(key) for key in keys} == {64}


def test_a_users_key_follows_their_address() -> None:
    user = given_user(email=ALICE)
    assert User.objects.get().learner_key == learner_key(ALICE)
    user.email = "ALICE@elsewhere.example"
    user.save()
    assert User.objects.get().learner_key == learner_key("alice@elsewhere.example")
    user.email = ""
    user.save()
    assert User.objects.get().learner_key == ""


def test_a_users_key_follows_also_where_only_the_address_is_saved() -> None:
    user = given_user(email=ALICE)
    user.email = "alice@elsewhere.example"
    user.save(update_fields=["email"])
    assert User.objects.get().learner_key == learner_key("alice@elsewhere.example")


def test_what_is_saved_of_a_user_is_what_was_asked_for() -> None:
    user = given_user(email=ALICE)
    user.email, user.first_name = "alice@elsewhere.example", "Alice"
    user.save(update_fields=["first_name"])
    stored = User.objects.get()
    assert (stored.first_name, stored.email, stored.learner_key) == ("Alice", ALICE, learner_key(ALICE))


@pytest.mark.on_every_engine
def test_an_lms_user_is_one_user_and_most_users_are_none() -> None:
    given_user(lms_user_id=7)
    given_user()
    given_user()
    with pytest.raises(IntegrityError), transaction.atomic():
        given_user(lms_user_id=7)


@pytest.mark.on_every_engine
def test_a_role_is_given_once() -> None:
    customer = given_customer()
    ada = given_user(Role.ADMINISTRATOR, customer=customer)
    RoleGrant.objects.create(user=ada, role=Role.LEARNER, customer=customer)
    RoleGrant.objects.create(user=ada, role=Role.ADMINISTRATOR, customer=given_customer())
    with pytest.raises(IntegrityError), transaction.atomic():
        RoleGrant.objects.create(user=ada, role=Role.ADMINISTRATOR, customer=customer)


@pytest.mark.on_every_engine
def test_a_role_is_given_once_in_bulk_and_by_form_too() -> None:
    customer = given_customer()
    ada, olga = given_user(Role.ADMINISTRATOR, customer=customer), given_user(Role.OPERATOR)
    for duplicate in (
        RoleGrant(user=ada, role=Role.ADMINISTRATOR, customer=customer),
        RoleGrant(user=olga, role=Role.OPERATOR),
    ):
        with pytest.raises(ValidationError, match="has this role already"):
            duplicate.full_clean()
        duplicate.set_scope()
        with pytest.raises(IntegrityError), transaction.atomic():
            RoleGrant.objects.bulk_create([duplicate])
    assert RoleGrant.objects.count() == 2


@pytest.mark.on_every_engine
def test_an_operators_role_is_given_once() -> None:
    olga = given_user(Role.OPERATOR)
    with pytest.raises(IntegrityError), transaction.atomic():
        RoleGrant.objects.create(user=olga, role=Role.OPERATOR)


@pytest.mark.parametrize("role", [Role.ADMINISTRATOR, Role.LEARNER])
@pytest.mark.on_every_engine
def test_administrators_and_learners_serve_one_organisation(role: Role) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        given_user(role)


@pytest.mark.on_every_engine
def test_an_operator_serves_them_all_and_names_none() -> None:
    given_user(Role.OPERATOR)
    with pytest.raises(IntegrityError), transaction.atomic():
        given_user(Role.OPERATOR, customer=given_customer())


@pytest.mark.on_every_engine
def test_a_learner_is_linked_to_an_organisation_once() -> None:
    first, second = given_customer(), given_customer()
    link = {"learner_key": learner_key(ALICE), "learner_email": ALICE, "created": NOW}
    LearnerLink.objects.create(customer=first, **link)
    LearnerLink.objects.create(customer=second, **link)
    with pytest.raises(IntegrityError), transaction.atomic():
        LearnerLink.objects.create(customer=first, **link)


def test_a_key_is_shown_once_and_kept_as_a_digest() -> None:
    row, key = ApiKey.issue(given_user(), name="laptop")
    stored = ApiKey.objects.values().get()
    assert key not in str(stored)
    assert stored["digest"] == ApiKey.digest_of(key)
    assert key.startswith(stored["prefix"])
    assert len(key) >= 40
    assert str(row) == f"{key[:12]}…"


def test_no_two_keys_are_alike() -> None:
    user = given_user()
    assert len({ApiKey.issue(user, name="same")[1] for _again in range(20)}) == 20


@pytest.mark.parametrize(("revoked_in", "works"), [(None, True), (1, True), (0, False), (-1, False)], ids=str)
def test_a_key_works_until_the_second_in_which_it_is_revoked(revoked_in: int | None, works: bool) -> None:
    key, _secret = ApiKey.issue(given_user(), name="laptop")
    key.revoked_at = None if revoked_in is None else NOW + timedelta(seconds=revoked_in)
    assert key.works_at(NOW) is works


def test_no_name_or_address_is_printed_with_a_row() -> None:
    """Logs print rows."""
    customer = given_customer()
    user = given_user(Role.LEARNER, customer=customer, email=ALICE, username="alice")
    link = LearnerLink.objects.create(
        customer=customer, learner_key=learner_key(ALICE), learner_email=ALICE, created=NOW
    )
    for row in (user, user.role_grants.get(), link):
        assert "alice" not in str(row)
