"""Linking learners to a customer: many at once, by two at a time, and while an erasure deletes a link."""

from functools import partial

import pytest
from django.db import transaction
from pytest_django import DjangoAssertNumQueries

from bursary.access import known_learners
from bursary.access.models import LearnerLink, Role, RoleGrant, learner_key
from bursary.budgets.models import Customer
from bursary.lib.locks import for_update
from bursary.lib.retries import repeated_after_deadlocks
from tests.together import Arrivals, together, until_a_lock_is_waited_for
from tests.world import ALICE, BOB, NOW, addresses, given_customer, given_user

pytestmark = pytest.mark.django_db


@repeated_after_deadlocks  # as what requests a link is
def link(customer: Customer, *learners: str) -> dict[str, int]:
    with transaction.atomic():
        return known_learners.link(customer, {learner_key(one): one for one in learners}, now=NOW)


def test_a_learner_without_an_account_is_linked_by_address() -> None:
    customer = given_customer()
    links = link(customer, ALICE)
    made = LearnerLink.objects.get()
    assert links == {learner_key(ALICE): made.pk}
    assert (made.customer, made.learner_email, made.created) == (customer, ALICE, NOW)
    assert made.learner_key == made.mailbox_key == learner_key(ALICE)
    assert not RoleGrant.objects.exists()


def test_a_learner_with_an_account_gets_the_role() -> None:
    alice, customer = given_user(email=ALICE.upper()), given_customer()
    link(customer, ALICE, BOB)
    grant = RoleGrant.objects.get()
    assert (grant.user, grant.role, grant.customer) == (alice, Role.LEARNER, customer)


def test_linking_again_changes_nothing() -> None:
    given_user(email=ALICE)
    customer, other = given_customer(), given_customer()
    link(other, ALICE)
    links = link(customer, ALICE)
    rows = list(LearnerLink.objects.order_by("pk").values())
    assert link(customer, BOB, ALICE)[learner_key(ALICE)] == links[learner_key(ALICE)]
    assert list(LearnerLink.objects.order_by("pk").values())[: len(rows)] == rows
    assert (LearnerLink.objects.count(), RoleGrant.objects.count()) == (3, 2)


def test_many_learners_take_no_more_queries_than_one(
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    customer = given_customer()
    given_user(email="learner-0@learners.example")
    for count in (1, 100):
        with django_assert_max_num_queries(6):  # a savepoint; known links, new ones; accounts, grants
            link(customer, *addresses(count))


@pytest.mark.django_db(transaction=True)
def test_two_requests_for_the_same_learners_at_the_same_time_link_each_once() -> None:
    customer, learners = given_customer(), addresses(50)
    both = together([partial(link, customer, *learners), partial(link, customer, *reversed(learners))])
    assert both[0] == both[1]
    assert LearnerLink.objects.count() == 50


@pytest.mark.needs_row_locks
@pytest.mark.django_db(transaction=True)
def test_a_link_that_is_being_deleted_is_waited_for_and_made_again() -> None:
    customer = given_customer()
    old = link(customer, ALICE)[learner_key(ALICE)]
    locked = Arrivals()
    found: list[int] = []

    def delete() -> None:
        with transaction.atomic():
            for_update(LearnerLink.objects.all()).get(pk=old)
            locked.come()
            until_a_lock_is_waited_for()
            LearnerLink.objects.filter(pk=old).delete()

    def link_again() -> None:
        locked.wait_for(1)
        found.append(link(customer, ALICE)[learner_key(ALICE)])

    together([delete, link_again])
    assert LearnerLink.objects.get().pk == found[0] != old
