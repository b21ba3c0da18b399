"""The floors that `make bench` compares with leave the same rows as the application does."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import Model

from bench import allocate, claims, lists, replica, sweeps
from bursary.access.models import LearnerLink
from bursary.assignments.models import LearnerContentAssignment as Assignment
from bursary.assignments.models import LearnerContentAssignmentAction as Action
from bursary.budgets.models import Account, Budget
from bursary.replica.models import CatalogMembership, ContentChange, ContentMetadata
from tests import world

pytestmark = pytest.mark.django_db

OWN = {"id", "uuid", "allocation_batch_uuid", "assignment_configuration_uuid", "learner_key", "mailbox_key"}
"""Columns that differ from row to row by design."""


def rows(model: type[Model], ignoring: set[str], **which: Any) -> list[dict[str, Any]]:
    """Return the rows as dictionaries, less what differs by design, in the order of keys."""
    found = model._default_manager.filter(**which).order_by("pk").values()
    kept = [{name: value for name, value in row.items() if name not in OWN | ignoring} for row in found]
    return sorted(kept, key=repr)  # in whatever order they were inserted


def links_of(budget: Budget) -> list[Any]:
    """Return the addresses of the budget's actions that name a link: that of their own address."""
    links = {
        f"link:{one.pk}": one.learner_email for one in LearnerLink.objects.filter(customer=budget.customer)
    }
    named = Action.objects.filter(assignment__budget=budget).exclude(provider_ref="")
    return sorted((links[one.provider_ref], one.assignment.learner_email) for one in named)


def stored(budget: Budget) -> list[list[dict[str, Any]]]:
    """Return what a budget's work left, to be compared with another budget's."""
    names = {"budget_id", "account_id", "customer_id", "assignment_id", "content_id", "slug", "name"}
    keys = names | {"content_key"}
    return [
        rows(Assignment, keys, budget=budget),
        rows(Action, keys | {"provider_ref"}, assignment__budget=budget),
        links_of(budget),
        rows(LearnerLink, keys, customer=budget.customer),
        rows(Budget, keys | {"created", "modified"}, pk=budget.pk),
        rows(Account, keys | {"created", "modified"}, pk=budget.account_id),
    ]


@pytest.mark.parametrize(
    ("ours", "floor", "days", "notified"),
    [(sweeps.expire, sweeps.raw_expire, 400, False), (sweeps.nudge, sweeps.raw_nudge, 25, True)],
    ids=["expire", "nudge"],
)
def test_a_sweep_by_hand_leaves_what_the_sweep_leaves(
    ours: Callable[[sweeps.Due], None], floor: Callable[[sweeps.Due], None], days: int, notified: bool
) -> None:
    by_hand, by_us = (sweeps.filled(3, after=timedelta(days=days), notified=notified) for _side in range(2))
    floor(by_hand)
    ours(by_us)
    assert stored(by_hand.budget) == stored(by_us.budget)
    assert Action.objects.filter(assignment__budget=by_us.budget, created=by_us.now).exists()


def test_an_allocation_by_hand_leaves_what_an_allocation_leaves() -> None:
    addresses = ["ada@many.example", "ben@many.example", "cleo@many.example"]
    by_hand, by_us = (allocate.Stage(now=world.NOW) for _side in range(2))
    by_hand.raw(addresses)
    by_us.verb(addresses)
    assert stored(by_hand.budget) == stored(by_us.budget)
    assert by_us.budget.assignments.count() == 4


def test_claims_by_hand_leave_what_claims_leave() -> None:
    left = []
    for side in (claims.raw, claims.ours):
        side(claims.fill(3, now=world.NOW))
        left.append(stored(Budget.objects.latest("pk")))
    assert left[0] == left[1]
    assert not Action.objects.filter(due_at__isnull=False).exists()


def test_a_refresh_by_hand_leaves_what_a_refresh_leaves() -> None:
    left = []
    for side in (replica.raw, replica.ours):
        for hours, (count, title) in enumerate(((3, "Course"), (3, "Course"), (2, "Another"))):
            side(replica.fetched(range(count), title=title, now=world.NOW + timedelta(hours=hours)))
        left.append(
            [
                rows(ContentMetadata, set()),
                rows(CatalogMembership, {"content_id"}),
                rows(ContentChange, {"content_id"}),
            ]
        )
        for model in (ContentChange, CatalogMembership, ContentMetadata):
            model._default_manager.all().delete()
    assert left[0] == left[1]
    assert {row["field"] for row in left[0][2]} == {"title"}


def test_a_list_by_hand_shows_what_the_list_shows() -> None:
    stage = lists.Stage(60)
    counts, page, actions = stage.raw(0)
    body = stage.page("read", page=1, page_size=lists.SIZE)
    assert [row[2] for row in page] == [row["learner_email"] for row in body["results"]]
    assert len(actions) == sum(len(row["actions"]) for row in body["results"])
    assert sum(row[1] for row in counts) == 60
    assert stage.raw_counts() == stage.counts()
