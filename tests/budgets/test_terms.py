"""Changing a budget's terms: in one place, announced in the same transaction."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.core.exceptions import ValidationError
from django.db import connection

from bursary.budgets import terms
from bursary.budgets.models import Account, Budget
from bursary.budgets.terms import TERMS, budget_changed
from tests.world import NOW, given_budget

pytestmark = pytest.mark.django_db


@contextmanager
def listening(receiver: Callable[..., None]) -> Iterator[None]:
    budget_changed.connect(receiver)
    try:
        yield
    finally:
        budget_changed.disconnect(receiver)


@pytest.mark.on_every_engine
def test_a_change_is_stored_and_returned() -> None:
    budget = given_budget(limit_cents=500)
    changed = terms.change(budget, now=NOW, terms={"limit_cents": 100, "name": "Crafts"})
    stored = Budget.objects.get()
    assert (stored.limit_cents, stored.name) == (100, "Crafts")
    assert (changed.limit_cents, changed.name) == (100, "Crafts")


@pytest.mark.parametrize(
    ("term", "value"),
    [
        ("name", "Crafts"),
        ("description", "For everybody"),
        ("catalog_uuid", uuid4()),
        ("limit_cents", None),
        ("starts_at", NOW),
        ("ends_at", NOW + timedelta(days=9)),
        ("allocation_age_days", 30),
        ("active", False),
        ("retired_at", NOW),
    ],
    ids=lambda value: value if value in TERMS else "",
)
def test_every_term_can_be_changed(term: str, value: object) -> None:
    terms.change(given_budget(limit_cents=5), now=NOW, terms={term: value})
    assert getattr(Budget.objects.get(), term) == value


def test_these_are_all_the_terms() -> None:
    others = {
        "id",
        "uuid",
        "assignment_configuration_uuid",
        "customer",
        "account",
        "reserved_cents",
        "spent_cents",
    }
    fields = {field.name for field in Budget._meta.fields}
    assert fields - TERMS == others | {"created", "modified"}


@pytest.mark.parametrize("name", ["reserved_cents", "spent_cents", "uuid", "customer", "account", "colour"])
def test_what_is_no_term_is_not_changed(name: str) -> None:
    budget = given_budget()
    with pytest.raises(TypeError, match=name):
        terms.change(budget, now=NOW, terms={"name": "Crafts", name: 1})
    assert Budget.objects.get().name == "Skills"


@pytest.mark.parametrize(
    "change",
    [
        {"limit_cents": -1},
        {"limit_cents": "plenty"},
        {"name": ""},
        {"name": "n" * 256},
        {"catalog_uuid": "x"},
        {"catalog_uuid": None},
        {"allocation_age_days": -1},
        {"allocation_age_days": 0},
        {"description": None},
        {"remind_days_after": None},
        {"remind_days_before": None},
        {"nudge_days_before": None},
        {"starts_at": NOW, "ends_at": NOW},
        {"ends_at": "soon"},
    ],
    ids=str,
)
def test_a_value_that_no_budget_may_have_is_refused(change: dict[str, object]) -> None:
    budget = given_budget()
    before = Budget.objects.values().get()
    with pytest.raises(ValidationError):
        terms.change(budget, now=NOW, terms=change)
    assert Budget.objects.values().get() == before


def test_only_the_terms_are_written_whatever_the_caller_holds() -> None:
    budget = given_budget(limit_cents=500)
    Budget.objects.update(reserved_cents=70)  # after the caller read it
    changed = terms.change(budget, now=NOW, terms={"name": "Crafts"})
    assert (changed.reserved_cents, Budget.objects.get().reserved_cents) == (70, 70)


def test_a_limit_may_be_lowered_below_what_is_reserved() -> None:
    budget = given_budget(limit_cents=500)
    Budget.objects.update(reserved_cents=400)
    Account.objects.update(reserved_cents=400)
    terms.change(budget, now=NOW, terms={"limit_cents": 100})
    assert Budget.objects.get().limit_cents == 100


def test_a_change_is_announced_within_its_transaction() -> None:
    budget = given_budget()
    received: list[Any] = []

    def hear(*, sender: object, pks: list[int], now: object, **_signal: object) -> None:
        received.append((sender, pks, now, Budget.objects.get().name, connection.in_atomic_block))

    with listening(hear):
        terms.change(budget, now=NOW, terms={"name": "Crafts"})
    assert received == [(Budget, [budget.pk], NOW, "Crafts", True)]


@pytest.mark.on_every_engine
def test_what_a_receiver_raises_takes_the_change_back() -> None:
    budget = given_budget()

    def refuse(**_signal: object) -> None:
        raise RuntimeError("No.")

    with listening(refuse), pytest.raises(RuntimeError, match="No"):
        terms.change(budget, now=NOW, terms={"name": "Crafts"})
    assert Budget.objects.get().name == "Skills"


def test_what_is_refused_is_not_announced() -> None:
    budget = given_budget()
    received: list[Any] = []

    def hear(**signal: object) -> None:
        received.append(signal)

    with listening(hear), pytest.raises(ValidationError):
        terms.change(budget, now=NOW, terms={"limit_cents": -1})
    assert received == []
