"""Each statement that is prepared gives what its query set gives with the same values, of random rows."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.db.models import Model, QuerySet

from bursary.access import contacts, known_learners
from bursary.access.models import AccountAddress, Role, RoleGrant, User, learner_key
from bursary.access.permissions import Permission, granted_to_account
from bursary.api import permitted, redemption
from bursary.assignments import actions as timeline
from bursary.assignments import (
    erasure,
    expected_values,
    expiry,
    failures_by_code,
    listing,
    offers,
    preview_warnings,
    reminders,
    shown_assignments,
    signed_links,
    sweeps,
)
from bursary.assignments.choices import ActionType, Status
from bursary.assignments.models import (
    LearnerContentAssignment,
    LearnerContentAssignmentAction,
)
from bursary.budgets.models import Budget, Customer
from bursary.dashboard import catalog_choices, shell
from bursary.delivery import emails
from bursary.lib import leases
from bursary.lib.prepared import Parameter, PreparedSelect, prepared_select
from bursary.replica import joining, reads
from bursary.replica.models import CatalogMembership, ContentMetadata
from tests.world import NOW, allocate, given_budget, given_content, given_customer, given_user

pytestmark = pytest.mark.django_db

ROUNDS = 5 if connection.vendor == "sqlite" else 2
"""Of random values. Servers are asked what they make of the values' types, for which few values do."""
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
        budget.save(update_fields=["catalog_uuid"])
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


class Comparison:
    """Random rows, and prepared statements that are compared with their query sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.chance = random.Random(7)
        self.world = made(self.chance)
        self._monkeypatch = monkeypatch

    def some(self, of: Sequence[Any]) -> list[Any]:
        return self.chance.sample(list(of), self.chance.randint(1, 3))

    def pks(self, of: Sequence[Model]) -> list[int]:
        return [one.pk for one in self.some(of)]

    def check(self, module: ModuleType, *statements: PreparedSelect, **given: Any) -> None:
        """Build each query set anew, with the values in the places of the parameters."""
        for prepared in statements:
            found = compared(prepared.read(**given))  # first: it is built with its parameters
            with self._monkeypatch.context() as then:
                then.setattr(module, "Parameter", lambda name, _field: given[name])
                for name, parameter in [*vars(module).items()]:
                    if isinstance(parameter, Parameter) and parameter.name in given:
                        then.setattr(module, name, given[parameter.name])
                rows: Callable[[], QuerySet[Any, Any]] = prepared._rows
                assert found == compared(list(rows()))


@pytest.fixture
def comparison(monkeypatch: pytest.MonkeyPatch) -> Comparison:
    return Comparison(monkeypatch)


def test_those_about_content_give_what_their_query_sets_give(comparison: Comparison) -> None:
    check, some, world = comparison.check, comparison.some, comparison.world
    for _ in range(ROUNDS):
        keys, catalogs = [one.content_key for one in some(world.contents)], some(world.catalogs)
        check(joining, *joining._HELD.values(), keys=keys, catalogs=catalogs)
        check(joining, joining._runs, courses=keys, catalogs=catalogs)
        check(reads, reads._texts, keys=keys, catalogs=catalogs)
        check(reads, reads._row, key=keys[0], catalog=catalogs[0])
        days = {"now": NOW, "must_open_before": NOW + timedelta(days=90)}
        offered = {"catalog": catalogs[0], "courses": keys, "key": keys[0]} | days
        choices = (prepared_select(catalog_choices._first), prepared_select(catalog_choices._chosen))
        check(catalog_choices, *choices, prepared_select(catalog_choices._runs, 100), **offered)
        content = comparison.chance.choice(world.contents)
        check(offers, *offers._ROWS.values(), pk=content.pk)
        check(offers, offers._members, pk=content.pk, key=content.content_key, catalog=catalogs[0])


def test_those_about_assignments_give_what_their_query_sets_give(comparison: Comparison) -> None:
    check, some, world = comparison.check, comparison.some, comparison.world
    actions = list(LearnerContentAssignmentAction.objects.all())
    for _ in range(ROUNDS):
        pks = comparison.pks(world.assignments)
        check(shown_assignments, shown_assignments._timelines, assignments=pks)
        check(shown_assignments, shown_assignments._budgets, pks=comparison.pks(world.budgets))
        named = LearnerContentAssignment.objects.filter(pk__in=pks)
        for ended, prepared in shown_assignments._NAMED.items():
            expected = shown_assignments.annotated(named, with_account_ended=ended)
            assert compared(prepared.read(pks=pks)) == compared(list(expected))
        now = NOW + timedelta(days=comparison.chance.randint(-5, 100))
        check(listing, *listing._SHOWN.values(), pks=pks, now=now)
        check(expected_values, expected_values._assignments, pks=pks)
        check(expected_values, expected_values._actions, assignments=pks)
        check(emails, emails._account_ended_and_in_catalog, pks=pks)
        batches = [one.allocation_batch_uuid for one in some(world.assignments)]
        check(emails, emails._messages, batches=batches)
        pks, rows = comparison.pks(actions), timeline._with_assignments
        claimed = prepared_select(leases._of_pks, rows).read(pks=pks)
        assert compared(claimed) == compared(list(rows().filter(pk__in=pks)))
        one = comparison.chance.choice(world.assignments)
        check(signed_links, *signed_links._NAMED.values(), uuid=one.uuid, cycle=one.cycle)


def test_those_about_failed_work_give_what_their_query_sets_give(comparison: Comparison) -> None:
    failed = {"status": Status.FAILED, "error_code": "address_rejected", "error_reason": "email_error"}
    of_invitations = LearnerContentAssignmentAction.objects.filter(action_type=ActionType.NOTIFIED)
    of_invitations.update(**failed, completed_at=NOW, due_at=None, early=None)
    found = 0
    for _ in range(ROUNDS):
        check, statement = partial(comparison.check, failures_by_code), failures_by_code._among
        budgets = comparison.pks(comparison.world.budgets)
        assignments = comparison.pks(comparison.world.assignments)
        check(prepared_select(statement, "assignment__budget"), keys=budgets)
        check(prepared_select(statement, "assignment"), keys=assignments)
        check(prepared_select(failures_by_code._in_time), budgets=budgets, now=NOW + timedelta(days=200))
        found += len(failures_by_code.of_assignments(assignments)) + len(
            failures_by_code.in_budget_pks(budgets)
        )
    assert found


def test_those_about_what_sweeps_find_give_what_their_query_sets_give(comparison: Comparison) -> None:
    kinds = {expiry.to_expire: "expires_at", erasure.to_erase: "expired_at"}
    kinds |= {reminders.to_remind: "remind_at", reminders.to_nudge: "nudge_at"}
    found, a_day = Counter[str](), timedelta(days=1)
    LearnerContentAssignment.objects.update(nudge_at=NOW)
    for days in (95, 150):
        for due, order in kinds.items():
            for chosen in (False, True):
                for after in (-a_day, days * a_day):
                    given = {"now": NOW + after, "pks": comparison.pks(comparison.world.budgets)}
                    statement = prepared_select(sweeps._budgets, due, order, chosen)
                    comparison.check(sweeps, statement, **given)
                    found[order] += len(statement.read(**given))
        expiry.expire_due(now=NOW + 100 * a_day)
        open_work = LearnerContentAssignmentAction.objects.filter(status=Status.PENDING)
        timeline.supersede_rows(open_work, now=NOW, error_code="no_longer_wanted")
    assert all(found[order] for order in kinds.values()), found


def test_those_about_people_give_what_their_query_sets_give(comparison: Comparison) -> None:
    check, some, chance, world = comparison.check, comparison.some, comparison.chance, comparison.world
    for _ in range(ROUNDS):
        keys, customers = some(ADDRESSES), comparison.pks(world.customers)
        check(known_learners, known_learners._accounts, keys=keys)
        check(contacts, contacts._first_administrators, customers=customers)
        one, ids = chance.choice(world.assignments), some(range(1, 6))
        of_course = {"course": one.content_key, "customer": customers[0]}
        check(
            preview_warnings,
            preview_warnings._same_course,
            keys=[learner_key(address) for address in keys],
            ids=ids,
            **of_course,
        )
        now = NOW + timedelta(days=chance.randint(-5, 400))
        statements = [redemption._part(1, others=others) for others in (True, False)]
        check(redemption, *statements, keys=keys, lms_user_id=ids[0], customer=customers[0], now=now)
        user, budget = chance.choice(world.users), chance.choice(world.budgets)
        check(shell, shell._first_grants, user=user.pk)
        check_permissions(user, budget)
        RoleGrant.objects.filter(user=user).delete()  # between two requests
        RoleGrant.objects.create(user=user, role=Role.LEARNER, customer=chance.choice(world.customers))
