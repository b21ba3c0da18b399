"""In random worlds, a preview has the verdicts and the cost of the allocation that follows it."""

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db.models import Sum

from bursary.access.models import AccountAddress, User, learner_key
from bursary.assignments import account_linking, allocation, cancellation, declining, expiry, redemption
from bursary.assignments.choices import State
from bursary.assignments.matching import CHARGED, Overrides, Verdict
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from tests.world import NOW, PRICE, given_budget, given_content, given_customer, given_run, given_user

pytestmark = pytest.mark.django_db

COURSE, SPRING, AUTUMN = "RiversideX+TIDE", "course-v1:TIDE+spring", "course-v1:TIDE+autumn"
PEOPLE = [f"learner-{number}@learners.example" for number in range(6)]
MOVES = 15
PAUSES = [timedelta(hours=1), timedelta(days=2), timedelta(days=40)]

Dice = random.Random
Move = Callable[[Dice, datetime], None]


def any_assignment(dice: Dice, **which: Any) -> LearnerContentAssignment | None:
    rows = list(LearnerContentAssignment.objects.filter(**which).order_by("pk"))
    return dice.choice(rows) if rows else None


def allocate(dice: Dice, now: datetime) -> None:
    """Preview, allocate and repeat it: the preview comes true, and the repetition costs nothing."""
    budget = dice.choice(list(Budget.objects.select_related("customer", "account").order_by("pk")))
    before = budget.reserved_cents
    asked: dict[str, Any] = {
        "content_key": dice.choice([COURSE, SPRING, AUTUMN]),
        "price_cents": PRICE,
        "entries": [dice.choice([str.upper, str.lower])(dice.choice(PEOPLE)) for _ in range(4)],
        "now": now,
        "overrides": Overrides(dice.random() < 0.4, dice.choice([None, True, False])),
    }
    seen = allocation.preview(budget, **asked)
    if seen.refusals:
        with pytest.raises(allocation.AllocationRefused) as refused:
            allocation.allocate(budget, **asked)
        assert refused.value.reason == seen.refusals[0].reason
        return
    done = allocation.allocate(budget, **asked)
    assert [(one.verdict, one.duplicate_of, one.known_by_other_address) for one in seen.matches] == [
        (one.verdict, one.duplicate_of, one.known_by_other_address) for one in done.matches
    ]
    named = [one.assignment for one in done.matches if one.verdict is not Verdict.NEW]
    assert [one.assignment for one in seen.matches if one.verdict is not Verdict.NEW] == named
    budget.refresh_from_db()
    assert budget.reserved_cents - before == seen.cost_cents
    again = allocation.allocate(budget, **asked)
    assert [one for one in again.matches if one.verdict in CHARGED] == []


def accept(dice: Dice, now: datetime) -> None:
    """Accept, and repeat it: the money is spent once."""
    if assignment := any_assignment(dice):
        with suppress(redemption.RedemptionRefused):
            redemption.fulfil(redemption.begin(assignment, now=now), now=now)
            spent = Budget.objects.get(pk=assignment.budget_id).spent_cents
            redemption.fulfil(redemption.begin(assignment, now=now), now=now)
            assert Budget.objects.get(pk=assignment.budget_id).spent_cents == spent


def decline(dice: Dice, now: datetime) -> None:
    if assignment := any_assignment(dice):
        with suppress(declining.DeclineRefused):
            declining.decline(assignment, reason="", now=now)


def cancel(dice: Dice, now: datetime) -> None:
    if assignment := any_assignment(dice):
        cancellation.cancel(assignment.budget, uuids=[assignment.uuid], now=now)


def reverse(dice: Dice, now: datetime) -> None:
    assignment = any_assignment(dice, state=State.ACCEPTED)
    if assignment and assignment.transaction_uuid:
        redemption.reverse(assignment.transaction_uuid, now=now)


def register(dice: Dice, _now: datetime) -> None:
    address = dice.choice(PEOPLE)
    if not User.objects.filter(email=address).exists():
        given_user(email=address, lms_user_id=dice.choice([None, dice.randrange(1, 2**40)]))


def rename(dice: Dice, _now: datetime) -> None:
    if user := User.objects.order_by("pk").first():
        user.email = dice.choice(PEOPLE)
        user.save()


def join(dice: Dice, _now: datetime) -> None:
    address, user = dice.choice(PEOPLE), User.objects.order_by("pk").last()
    if user and not User.objects.filter(learner_key=learner_key(address)).exists():
        AccountAddress.objects.get_or_create(
            learner_key=learner_key(address), defaults={"user": user, "address": address}
        )


def link(_dice: Dice, now: datetime) -> None:
    assert not account_linking.link_registered_users(now=now).failed
    assert not account_linking.link_registered_users(now=now).done


def expire(_dice: Dice, now: datetime) -> None:
    assert not expiry.expire_due(now=now).failed


WEIGHTS: Sequence[tuple[Move, int]] = [
    *((allocate, 6), (accept, 3), (decline, 2), (cancel, 1), (reverse, 1)),
    *((register, 1), (rename, 1), (join, 1), (link, 1), (expire, 1)),
]
DECK = [move for move, weight in WEIGHTS for _ in range(weight)]


@pytest.mark.parametrize("seed", range(8))
def test_a_preview_comes_true_and_repeating_costs_nothing(seed: int) -> None:
    dice, now = random.Random(seed), NOW
    course = given_content(COURSE, with_run=False)
    given_run(course, SPRING)
    given_run(course, AUTUMN)
    customer = given_customer(reallocate_declined=bool(seed % 2))
    first = given_budget(seats=(100, 8)[seed % 2], customer=customer)
    given_budget(seats=100, customer=customer, account=first.account)

    for move in dice.choices(DECK, k=MOVES):
        now += dice.choice(PAUSES)
        move(dice, now)

    for budget in Budget.objects.all():
        of_state = LearnerContentAssignment.objects.filter(budget=budget).order_by().values_list("state")
        cents = dict(of_state.annotate(cents=Sum("price_cents")))
        assert budget.reserved_cents == cents.get(State.ALLOCATED, 0)
        assert budget.spent_cents == cents.get(State.ACCEPTED, 0)
