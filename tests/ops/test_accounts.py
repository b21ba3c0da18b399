"""Users and their roles: each is made once, also by two processes at once."""

from functools import partial

import pytest

from bursary.access.models import Role, RoleGrant, User
from bursary.ops import accounts
from tests.together import together
from tests.world import given_customer, given_user


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("role", [Role.OPERATOR, Role.ADMINISTRATOR])
def test_of_several_grants_of_a_role_at_once_one_is_made(role: Role) -> None:
    user, customer = given_user(), None if role is Role.OPERATOR else given_customer()
    made = together([partial(accounts.ensure_role, user, role, customer)] * 8)
    assert sorted(made, key=str) == [False] * 7 + [True]
    assert RoleGrant.objects.count() == 1


@pytest.mark.django_db
def test_with_a_user_name_of_its_own_an_account_may_have_any_address() -> None:
    user, is_new = accounts.ensure_user(accounts.Person("o'ada@larkspur.example", "ada"))
    assert (user.username, is_new) == ("ada", True)


@pytest.mark.django_db
def test_an_account_with_the_same_user_name_and_a_new_address_is_known_and_keeps_its_address() -> None:
    ada = given_user(username="ada", email="countess@larkspur.example")
    user, is_new = accounts.ensure_user(accounts.Person("ada@larkspur.example", "ada"))
    assert (user.pk, is_new) == (ada.pk, False)
    assert User.objects.get().email == "countess@larkspur.example"
