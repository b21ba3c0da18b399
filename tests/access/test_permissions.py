"""The permission table, and the four questions asked of it."""

import pytest
from pytest_django import DjangoAssertNumQueries

from bursary.access.models import KeyScope, Role, RoleGrant
from bursary.access.permissions import (
    PERMISSIONS,
    Permission,
    ScopeTooNarrow,
    granted,
    may,
    may_anywhere,
    may_everywhere,
    own_customers,
    permissions_by_customer,
    roles_of,
)
from bursary.budgets.models import Budget, Customer
from tests.world import given_budget, given_customer, given_user

pytestmark = pytest.mark.django_db

EXPECTED = {
    Permission.READ_BUDGET: {Role.ADMINISTRATOR, Role.OPERATOR},
    Permission.READ_ASSIGNMENTS: {Role.ADMINISTRATOR, Role.OPERATOR},
    Permission.ALLOCATE: {Role.ADMINISTRATOR, Role.OPERATOR},
    Permission.CANCEL: {Role.ADMINISTRATOR, Role.OPERATOR},
    Permission.REMIND: {Role.ADMINISTRATOR, Role.OPERATOR},
    Permission.READ_OWN: {Role.LEARNER, Role.ADMINISTRATOR, Role.OPERATOR},
    Permission.LEARN: {Role.LEARNER, Role.ADMINISTRATOR, Role.OPERATOR},
    Permission.READ_CONTENT: {Role.LEARNER, Role.ADMINISTRATOR, Role.OPERATOR},
    Permission.MAKE_KEYS: {Role.ADMINISTRATOR, Role.OPERATOR},
}


@pytest.fixture
def customer() -> Customer:
    return given_customer()


def test_every_permission_is_in_the_table() -> None:
    assert set(PERMISSIONS) == set(Permission)
    assert {permission: set(roles) for permission, roles in PERMISSIONS.items()} == EXPECTED


@pytest.mark.parametrize("permission", Permission)
@pytest.mark.parametrize("role", Role)
def test_a_role_may_what_the_table_says_for_its_own_organisation(
    customer: Customer, role: Role, permission: Permission
) -> None:
    user = given_user(role, customer=None if role is Role.OPERATOR else customer)
    expected = role in EXPECTED[permission]
    assert may(user, permission, customer_pk=customer.pk) is expected
    assert may_anywhere(user, permission) is expected


@pytest.mark.parametrize("permission", Permission)
@pytest.mark.parametrize("role", Role)
def test_only_an_operator_may_anything_for_another_organisation(
    customer: Customer, role: Role, permission: Permission
) -> None:
    user = given_user(role, customer=None if role is Role.OPERATOR else given_customer())
    assert may(user, permission, customer_pk=customer.pk) is (role is Role.OPERATOR)


@pytest.mark.parametrize("permission", Permission)
def test_without_a_role_nothing_is_permitted(customer: Customer, permission: Permission) -> None:
    for user in (given_user(), given_user(is_staff=True, is_superuser=True)):
        assert not may(user, permission, customer_pk=customer.pk)
        assert not may_anywhere(user, permission)


@pytest.mark.parametrize("role", Role)
def test_only_an_operator_acts_for_every_organisation(customer: Customer, role: Role) -> None:
    user = given_user(role, customer=None if role is Role.OPERATOR else customer)
    assert may_everywhere(user) is (role is Role.OPERATOR)


def test_the_roles_for_an_organisation_are_those_in_it_and_the_operators(customer: Customer) -> None:
    user = given_user(Role.LEARNER, customer=customer)
    RoleGrant.objects.create(user=user, role=Role.ADMINISTRATOR, customer=given_customer())

    assert roles_of(user, customer_pk=customer.pk) == {Role.LEARNER}
    operator = given_user(Role.OPERATOR)
    assert roles_of(operator, customer_pk=customer.pk) == {Role.OPERATOR}
    assert roles_of(given_user(), customer_pk=customer.pk) == set()


def test_roles_add_up_over_organisations(customer: Customer) -> None:
    other = given_customer()
    user = given_user(Role.LEARNER, customer=customer)
    RoleGrant.objects.create(user=user, role=Role.ADMINISTRATOR, customer=other)
    assert not may(user, Permission.ALLOCATE, customer_pk=customer.pk)
    assert may(user, Permission.ALLOCATE, customer_pk=other.pk)
    assert may_anywhere(user, Permission.ALLOCATE)


def test_a_role_is_its_users_alone(customer: Customer) -> None:
    given_user(Role.ADMINISTRATOR, customer=customer)
    given_user(Role.OPERATOR)
    other = given_user()
    assert not may(other, Permission.READ_BUDGET, customer_pk=customer.pk)
    assert not may_anywhere(other, Permission.READ_BUDGET)
    assert not may_everywhere(other)


@pytest.mark.parametrize(
    ("role", "seen"), [(Role.ADMINISTRATOR, 1), (Role.LEARNER, 0), (Role.OPERATOR, 2), (None, 0)]
)
def test_rows_are_those_that_the_role_may_see(customer: Customer, role: Role | None, seen: int) -> None:
    given_budget(customer=customer)
    given_budget()
    user = given_user(role, customer=None if role in {Role.OPERATOR, None} else customer)
    mine = Budget.objects.filter(granted(user, Permission.READ_BUDGET, customer="customer_id"))
    assert mine.count() == seen


def test_two_roles_do_not_show_a_row_twice(customer: Customer) -> None:
    given_budget(customer=customer)
    user = given_user(Role.ADMINISTRATOR, customer=customer)
    RoleGrant.objects.create(user=user, role=Role.OPERATOR)
    mine = Budget.objects.filter(granted(user, Permission.READ_BUDGET, customer="customer_id"))
    assert mine.count() == 1


def test_a_question_takes_one_query(
    customer: Customer, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    user = given_user(Role.ADMINISTRATOR, customer=customer)
    with django_assert_num_queries(1):
        may(user, Permission.CANCEL, customer_pk=customer.pk)
    with django_assert_num_queries(1):
        may_anywhere(user, Permission.CANCEL)


def test_a_role_ends_with_its_organisation_or_its_user(customer: Customer) -> None:
    user = given_user(Role.ADMINISTRATOR, customer=customer)
    customer.delete()
    assert not may_anywhere(user, Permission.READ_BUDGET)


def test_a_token_gives_its_roles_alone_and_for_its_organisations_alone(customer: Customer) -> None:
    user, other = given_user(Role.OPERATOR), given_customer()
    user.token_roles = frozenset({(Role.ADMINISTRATOR, customer.uuid), (Role.LEARNER, other.uuid)})

    assert may(user, Permission.ALLOCATE, customer_pk=customer.pk)
    assert not may(user, Permission.ALLOCATE, customer_pk=other.pk)
    assert may(user, Permission.LEARN, customer_pk=other.pk)
    assert roles_of(user, customer_pk=customer.pk) == {Role.ADMINISTRATOR}
    assert roles_of(user, customer_pk=other.pk) == {Role.LEARNER}
    assert not may_everywhere(user)


def test_a_token_of_an_operator_gives_everything_everywhere(customer: Customer) -> None:
    user = given_user()
    user.token_roles = frozenset({(Role.OPERATOR, None)})

    assert may(user, Permission.ALLOCATE, customer_pk=customer.pk)
    assert roles_of(user, customer_pk=customer.pk) == {Role.OPERATOR}
    assert may_anywhere(user, Permission.ALLOCATE)
    assert may_everywhere(user)


def test_a_key_permits_what_its_scope_does_of_its_users_roles(customer: Customer) -> None:
    user = given_user(Role.ADMINISTRATOR, customer=customer)
    user.key_scope = KeyScope.READ

    assert may(user, Permission.READ_BUDGET, customer_pk=customer.pk)
    with pytest.raises(ScopeTooNarrow, match="This API key has the scope “read”") as refused:
        may(user, Permission.ALLOCATE, customer_pk=customer.pk)
    assert refused.value.permission == Permission.ALLOCATE
    with pytest.raises(ScopeTooNarrow):
        granted(user, Permission.CANCEL, customer="pk")
    with pytest.raises(ScopeTooNarrow):
        may_anywhere(user, Permission.REMIND)


def test_the_organisations_of_a_learner_are_named_in_order_with_what_is_permitted_there() -> None:
    second, _others, first = given_customer(name="B"), given_customer(name="A"), given_customer(name="A")
    user = given_user(Role.LEARNER, customer=second)
    RoleGrant.objects.create(user=user, role=Role.ADMINISTRATOR, customer=first)
    learns = [Permission.READ_OWN, Permission.LEARN, Permission.READ_CONTENT]

    assert list(own_customers(user)) == [first, second]
    assert permissions_by_customer(user, limit=9) == [(first, list(Permission)), (second, learns)]
    assert permissions_by_customer(user, limit=1) == [(first, list(Permission))]

    user.key_scope = KeyScope.READ
    reads = [Permission.READ_BUDGET, Permission.READ_ASSIGNMENTS, *learns[::2]]
    assert permissions_by_customer(user, limit=1) == [(first, reads)]


@pytest.mark.on_every_engine
def test_organisations_of_one_name_are_in_the_order_in_which_they_were_made() -> None:
    user = given_user(Role.OPERATOR)
    made = [given_customer(name="A") for _number in range(3)]

    Customer.objects.filter(pk=made[0].pk).update(contact_email="changed@people.example")

    assert list(own_customers(user)) == made
