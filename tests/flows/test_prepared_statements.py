"""Each statement that is prepared gives what its query set gives with the same values, of random rows."""

import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from types import ModuleType
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest
from django.db.models import Model, QuerySet

from bursary.access import known_learners
from bursary.access.models import AccountAddress, Role, RoleGrant, User
from bursary.access.permissions import Permission, granted_to_account
from bursary.api import permitted, redemption
from bursary.assignments import shown_assignments
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget, Customer
from bursary.lib.prepared import PreparedSelect
from bursary.replica import joining
from bursary.replica.models import CatalogMembership, ContentMetadata
from tests.world import NOW, allocate, given_budget, given_content, given_customer, given_user

pytestmark = pytest.mark.django_db

ROUNDS = 5
ADDRESSES = [f"learner-{number}@learners.example" for number in range(8)]


class World(NamedTuple):
    """What the statements are asked about."""

    customers: Sequence[Customer]
    catalogs: Sequence[UUID]
    contents: Sequence[ContentMetadata]
    users: Sequence[User]
    budgets: Sequence[Budget]
    assignments: Sequence[LearnerContentAssignment]


def made(chance: random.Random) -> World:
    """Make three organisations with learners, some known by several addresses, and what they are assigned."""
    customers, catalogs = [given_customer() for _ in range(3)], [uuid4() for _ in range(3)]
    budgets = [given_budget(customer=one) for one in customers]
    contents = [given_content() for _ in range(3)]
    for content, catalog in zip(contents, chance.sample(catalogs, 3), strict=True):
        CatalogMembership.objects.create(content=content, catalog_uuid=catalog, created=NOW, seen_at=NOW)
    users = []
    for number, address in enumerate(ADDRESSES[:5], 1):
        role = chance.choice([None, *Role])
        customer = chance.choice(customers) if role not in (None, Role.OPERATOR) else None
        lms_user_id = chance.choice([None, number])
        users.append(given_user(role, customer=customer, email=address, lms_user_id=lms_user_id))
    for address in ADDRESSES[5:]:
        AccountAddress.objects.create(user=chance.choice(users), learner_key=address)
    for budget in budgets:
        allocate(budget, chance.choice(contents), *chance.sample(ADDRESSES, 4))
        budget.catalog_uuid = chance.choice(catalogs)
        budget.save()
    return World(customers, catalogs, contents, users, budgets, list(LearnerContentAssignment.objects.all()))


def compared(rows: Sequence[Any]) -> list[str]:
    """Return rows in an order, each with all that was read of it, and its state."""
    read: list[dict[Any, Any]] = []
    for one in rows:
        if isinstance(one, Model):
            state = (one._state.db, one._state.adding, one._state.fields_cache)
            read.append({**vars(one), "_state": state})
        else:
            read.append(dict(enumerate(one)))
    return sorted(repr(sorted(one.items())) for one in read)


def check_permissions(user: User, budget: Budget) -> None:
    for permission in Permission:
        statement = permitted._statement(Budget.objects.all, permission, "customer_id", ("uuid",))
        allowed = granted_to_account(user.pk, permission, customer="customer_id")
        rows = Budget.objects.filter(uuid=budget.uuid).annotate(permitted=allowed)
        assert compared(statement.read(user=user.pk, uuid=budget.uuid)) == compared(list(rows))


def test_each_gives_what_its_query_set_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(7)
    world = made(chance)

    def some(of: Sequence[Any]) -> list[Any]:
        return chance.sample(list(of), chance.randint(1, 3))

    def check(module: ModuleType, prepared: PreparedSelect, **given: Any) -> None:
        """Build the query set anew, with the values in the places of the slots."""
        found = compared(prepared.read(**given))  # first: it is built with its slots
        with monkeypatch.context() as then:
            then.setattr(module, "Slot", lambda name, _field: given[name])
            rows: Callable[[], QuerySet[Any, Any]] = prepared._rows
            assert found == compared(list(rows()))

    for _ in range(ROUNDS):
        keys = some(ADDRESSES)
        check(known_learners, known_learners._ACCOUNTS, keys=keys)
        held = {"keys": [one.content_key for one in some(world.contents)], "catalogs": some(world.catalogs)}
        for prepared in joining._HELD.values():
            check(joining, prepared, **held)
        pks = [one.pk for one in some(world.assignments)]
        check(shown_assignments, shown_assignments._ACTIONS, assignments=pks)
        check(shown_assignments, shown_assignments._BUDGETS, pks=[one.pk for one in some(world.budgets)])
        named = LearnerContentAssignment.objects.filter(pk__in=pks)
        for ended, prepared in shown_assignments._NAMED.items():
            expected = shown_assignments.annotated(named, with_account_ended=ended)
            assert compared(prepared.read(pks=pks)) == compared(list(expected))
        learner = {
            "keys": keys,
            "lms_user_id": chance.randint(1, 5),
            "customer": chance.choice(world.customers).pk,
        }
        for others in (True, False):
            now = NOW + timedelta(days=chance.randint(-5, 400))
            check(redemption, redemption._part(1, others=others), **learner, now=now)
        user, budget = chance.choice(world.users), chance.choice(world.budgets)
        check_permissions(user, budget)
        RoleGrant.objects.filter(user=user).delete()  # between two requests
        RoleGrant.objects.create(user=user, role=Role.LEARNER, customer=chance.choice(world.customers))
