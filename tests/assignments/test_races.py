"""Allocations that overlap, all at once."""

import random
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial

import pytest
from django.db import connection, transaction
from django.db.models import Count

from bursary.assignments import derived, extension
from bursary.assignments.allocation import Allocation, AllocationRefused
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.budgets import terms
from bursary.budgets.models import Account, Budget
from bursary.lib.locks import for_update
from bursary.replica import refresh
from bursary.replica.models import ContentMetadata, RefreshTrigger
from tests.elapsed import until
from tests.replica.listing import OTHER_CATALOG, Listing
from tests.together import together, until_a_lock_is_waited_for
from tests.world import (
    ALICE,
    CATALOG,
    NOW,
    PRICE,
    addresses,
    allocate,
    change_content,
    given_assignment,
    given_budget,
    given_content,
)

THREADS, BATCHES, LEARNERS, SEATS = 8, 10, 70, 50


@pytest.mark.needs_row_locks
@pytest.mark.django_db(transaction=True)
def test_eight_threads_of_overlapping_batches_never_overspend_nor_duplicate() -> None:
    budget, content = given_budget(seats=SEATS), given_content()
    learners = addresses(LEARNERS)
    chance = random.Random(20260302)

    def allocate_batches(batches: list[list[str]]) -> list[object]:
        outcomes: list[object] = []
        for batch in batches:
            try:
                outcomes.append(allocate(budget, content, *batch))
            except AllocationRefused as refused:
                outcomes.append(refused)
        return outcomes

    plans = [[chance.sample(learners, 10) for _ in range(BATCHES)] for _ in range(THREADS)]
    outcomes = together([partial(allocate_batches, plan) for plan in plans])

    flat = [one for thread in outcomes if isinstance(thread, list) for one in thread]
    assert len(flat) == THREADS * BATCHES
    assert {type(one) for one in flat} <= {Allocation, AllocationRefused}
    assigned = LearnerContentAssignment.objects.filter(budget=budget)
    assert 40 < assigned.count() <= SEATS
    assert (
        Budget.objects.get().reserved_cents
        == assigned.count() * PRICE
        == Account.objects.get().reserved_cents
    )
    by_kind = (
        LearnerContentAssignmentAction.objects.values("assignment", "action_type")
        .annotate(count=Count("pk"))
        .values_list("count", flat=True)
    )
    assert set(by_kind) == {1}
    assert len(by_kind) == 3 * assigned.count()


@pytest.mark.django_db(transaction=True)
def test_both_budgets_of_one_account_allocate_at_once_without_deadlock() -> None:
    first = given_budget(seats=100)
    second = given_budget(seats=100, customer=first.customer, account=first.account)
    contents = [given_content(), given_content()]
    calls = [
        partial(allocate, budget, content, *addresses(5))
        for budget in (first, second)
        for content in contents
    ]
    assert {type(outcome) for outcome in together(calls)} == {Allocation}
    assert Account.objects.get().reserved_cents == 20 * PRICE


def on_terms(content: ContentMetadata, *, enroll_by: datetime) -> dict[str, object]:
    """Return the part of a course's record that says when enrolment closes in its run."""
    terms = {"content_price": PRICE / 100, "enroll_by_date": enroll_by.isoformat()}
    run = {"key": content.advertised_run, "status": "published", "is_marketable": True, "is_enrollable": True}
    return {
        "active": True,
        "course_runs": [run],
        "normalized_metadata": terms,
        "normalized_metadata_by_run": {content.advertised_run: terms},
    }


@pytest.mark.django_db(transaction=True)
def test_an_allocation_that_meets_a_content_change_has_the_new_deadline() -> None:
    budget, content = given_budget(), given_content(enroll_by=NOW + timedelta(days=30))
    earlier = NOW + timedelta(days=5)
    allocating: list[Future[Allocation]] = []
    asking = threading.Event()

    def allocate_meanwhile(**_announcement: object) -> None:
        # The new date is written and not committed yet.
        allocating.append(thread.submit(in_a_thread))
        assert asking.wait(120)
        if connection.vendor != "sqlite":  # there, its first statement waits for all that others write
            until_a_lock_is_waited_for()
        assert not allocating[0].done()

    def say(execute: Callable[..., object], *statement: object) -> object:
        asking.set()
        return execute(*statement)

    def in_a_thread() -> Allocation:
        try:
            with connection.execute_wrapper(say):
                return allocate(budget, content, ALICE)
        finally:
            connection.close()

    record = {
        "content_type": "course",
        "key": content.content_key,
        "title": content.title,
        **on_terms(content, enroll_by=earlier),
    }
    with ThreadPoolExecutor(1) as thread:
        refresh.content_changed.connect(allocate_meanwhile)
        try:
            refresh.refresh_catalog(CATALOG, source=Listing([record]), now=NOW, trigger=RefreshTrigger.CRON)
        finally:
            refresh.content_changed.disconnect(allocate_meanwhile)
        allocating[0].result(timeout=120)

    assert LearnerContentAssignment.objects.get().expires_at == earlier


@pytest.mark.django_db(transaction=True)
def test_whichever_of_a_content_change_and_allocations_comes_first_the_new_deadline_holds() -> None:
    budget, content = given_budget(), given_content(enroll_by=NOW + timedelta(days=30))
    for days in (5, 20):
        moved = NOW + timedelta(days=days)
        record = {
            "content_type": "course",
            "key": content.content_key,
            **on_terms(content, enroll_by=moved),
        }
        change = partial(
            refresh.refresh_catalog, CATALOG, source=Listing([record]), now=NOW, trigger=RefreshTrigger.EVENT
        )
        allocations = [
            partial(allocate, budget, content, *addresses(5, start=days * 100 + 5 * n)) for n in range(6)
        ]

        calls: list[Callable[[], object]] = [*allocations[:3], change, *allocations[3:]]
        outcomes = together(calls)

        assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        assert set(LearnerContentAssignment.objects.values_list("expires_at", flat=True)) == {moved}
    assert LearnerContentAssignment.objects.count() == 60


@pytest.mark.needs_row_locks
@pytest.mark.django_db(transaction=True)
def test_a_budget_that_changes_its_catalog_during_a_content_change_waits_for_none_and_follows_it() -> None:
    budget, ours = given_budget(), given_content()
    theirs = given_content(ours.content_key, variant="v", catalog=OTHER_CATALOG, with_run=False)
    allocate(budget, ours, ALICE)
    moved = NOW + timedelta(days=5)

    def change_catalog() -> None:
        try:
            terms.change(budget, now=NOW, terms={"catalog_uuid": OTHER_CATALOG})
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as thread:
        with transaction.atomic():
            change_content(theirs, enroll_by=moved)  # written and announced, and not committed yet
            changing = thread.submit(change_catalog)
            # InnoDB lets it wait, because what was announced refers to the budget. It follows all the same.
            if connection.vendor != "mysql":
                until(lambda: Budget.objects.get().catalog_uuid == OTHER_CATALOG)
        changing.result(timeout=120)

    stored = LearnerContentAssignment.objects.get()
    assert (stored.content, stored.expires_at) == (theirs, moved)


@pytest.mark.only_on("postgresql", because="InnoDB locks rows as it finds them, before it sorts them")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("work", ["extend", "rebuild"])
def test_variants_of_a_course_are_locked_in_the_order_in_which_a_refresh_locks_them(work: str) -> None:
    budget = given_budget()
    second = given_content("RiversideX+Variants", variant="v", with_run=False)  # with the lower primary key
    first = given_content(second.content_key, with_run=False)
    for content in (second, first):
        LearnerContentAssignment.objects.filter(pk=given_assignment(budget).pk).update(content=content)
    rows = LearnerContentAssignment.objects.order_by("pk")

    def lock_both() -> None:
        try:
            if work == "extend":
                uuids = rows.values_list("uuid", flat=True)
                extension.extend(budget, uuids=list(uuids), until=NOW + timedelta(days=100), now=NOW)
            else:
                with transaction.atomic():
                    derived.rebuild(list(rows.values_list("pk", flat=True)), now=NOW)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as thread:
        with transaction.atomic():
            for_update(ContentMetadata.objects.all()).get(pk=first.pk)
            waiting = thread.submit(lock_both)
            until_a_lock_is_waited_for()
            ContentMetadata.objects.select_for_update(nowait=True).get(pk=second.pk)
        waiting.result(timeout=120)
