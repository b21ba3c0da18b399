"""Allocating content to learners within a budget."""

from datetime import timedelta
from functools import partial

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from bursary.assignments import allocation
from bursary.assignments.allocation import AllocationRefused
from bursary.assignments.cancellation import cancel
from bursary.assignments.choices import ActionType, ExpiryReason, LearnerState, State, Status
from bursary.assignments.matching import BadAddresses, TooManyAddresses, Verdict
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.budgets.models import Account, Budget
from bursary.replica.models import ContentMetadata, ContentType
from tests.world import (
    ALICE,
    BOB,
    CAROL,
    NOW,
    PRICE,
    addresses,
    allocate,
    given_budget,
    given_content,
    given_customer,
    given_run,
    given_user,
    timeline,
)

pytestmark = pytest.mark.django_db


@pytest.mark.on_every_engine
def test_every_address_becomes_an_assignment_with_its_work_and_its_money() -> None:
    budget, content, ada = given_budget(seats=3), given_content(), given_user()

    done = allocate(budget, content, ALICE, BOB, actor=ada)

    created = done.assignments(Verdict.NEW)
    assert [assignment.learner_email for assignment in created] == [ALICE, BOB]
    stored = LearnerContentAssignment.objects.get(learner_email=ALICE)
    assert stored.state == State.ALLOCATED
    assert stored.learner_state == LearnerState.NOTIFYING
    assert (stored.price_cents, stored.cycle, stored.allocated_at) == (PRICE, 1, NOW)
    assert stored.content == content
    assert stored.allocated_by == ada
    assert timeline(stored) == [
        (ActionType.ALLOCATED, Status.DONE),
        (ActionType.LEARNER_LINKED, Status.DONE),
        (ActionType.NOTIFIED, Status.PENDING),
    ]
    assert {action.actor for action in stored.actions.all()} == {ada}
    budget.refresh_from_db()
    assert budget.reserved_cents == 2 * PRICE


@pytest.mark.on_every_engine
def test_an_account_holds_what_its_budgets_hold() -> None:
    budget = given_budget()
    allocate(budget, given_content(), ALICE)
    assert Account.objects.get().reserved_cents == PRICE


@pytest.mark.on_every_engine
def test_repeating_a_request_changes_nothing_and_costs_nothing() -> None:
    budget, content = given_budget(seats=2), given_content()
    allocate(budget, content, ALICE, BOB)

    again = allocate(budget, content, ALICE, BOB, now=NOW + timedelta(hours=1))

    assert [one.verdict for one in again.matches] == [Verdict.ALREADY_ASSIGNED, Verdict.ALREADY_ASSIGNED]
    assert LearnerContentAssignment.objects.count() == 2
    assert LearnerContentAssignmentAction.objects.count() == 6
    assert Budget.objects.get().reserved_cents == 2 * PRICE


def test_addresses_are_trimmed_and_compared_without_case() -> None:
    budget, content = given_budget(seats=1), given_content()

    done = allocate(budget, content, f"  {ALICE}\r", ALICE.upper(), ALICE)

    assert [one.verdict for one in done.matches] == [Verdict.NEW, Verdict.DUPLICATE, Verdict.DUPLICATE]
    assert [one.duplicate_of for one in done.matches] == [None, 0, 0]
    assert LearnerContentAssignment.objects.get().learner_email == ALICE


def test_bad_addresses_are_named_with_their_positions_and_nothing_is_done() -> None:
    budget, content = given_budget(), given_content()
    with pytest.raises(BadAddresses) as refused:
        allocate(budget, content, ALICE, "not-an-address", BOB, "")
    assert sorted(refused.value.errors) == [1, 3]
    assert not LearnerContentAssignment.objects.exists()


def test_more_than_ten_thousand_addresses_are_refused() -> None:
    budget, content = given_budget(), given_content()
    with pytest.raises(TooManyAddresses):
        allocate(budget, content, *addresses(10_001))
    assert not LearnerContentAssignment.objects.exists()


@pytest.mark.on_every_engine
def test_a_cancelled_assignment_is_allocated_again_in_a_new_cycle() -> None:
    budget, content = given_budget(seats=1), given_content()
    (first,) = allocate(budget, content, ALICE).assignments(Verdict.NEW)
    cancel(budget, uuids=[first.uuid], now=NOW + timedelta(days=1))
    later = NOW + timedelta(days=2)

    done = allocate(budget, content, ALICE, now=later, price_cents=PRICE - 100)

    assert [one.verdict for one in done.matches] == [Verdict.REALLOCATED]
    again = LearnerContentAssignment.objects.get()
    assert (again.uuid, again.state, again.cycle) == (first.uuid, State.ALLOCATED, 2)
    assert (again.allocated_at, again.cancelled_at) == (later, None)
    assert again.price_cents == PRICE - 100
    assert again.learner_state == LearnerState.NOTIFYING
    assert again.expires_at == later + timedelta(days=90)
    assert Budget.objects.get().reserved_cents == PRICE - 100
    assert timeline(again)[-3:] == [
        (ActionType.ALLOCATED, Status.DONE),
        (ActionType.LEARNER_LINKED, Status.DONE),
        (ActionType.NOTIFIED, Status.PENDING),
    ]


@pytest.mark.on_every_engine
def test_only_what_is_new_must_fit_the_budget() -> None:
    budget, content = given_budget(seats=3), given_content()
    allocate(budget, content, ALICE, BOB)

    allocate(budget, content, ALICE, BOB, CAROL)

    assert Budget.objects.get().reserved_cents == 3 * PRICE


@pytest.mark.on_every_engine
def test_over_budget_is_refused_with_both_figures_and_nothing_is_done() -> None:
    budget, content = given_budget(seats=1), given_content()
    with pytest.raises(AllocationRefused) as refused:
        allocate(budget, content, ALICE, BOB)
    assert refused.value.reason == "policy_spend_limit_reached"
    assert refused.value.details == {"requested_cents": 2 * PRICE, "available_cents": PRICE}
    assert not LearnerContentAssignment.objects.exists()
    assert Budget.objects.get().reserved_cents == 0


@pytest.mark.on_every_engine
def test_budgets_that_share_an_account_share_its_limit() -> None:
    customer = given_customer()
    account = Account.objects.create(customer=customer, name="Shared", limit_cents=PRICE)
    first = given_budget(customer=customer, account=account)
    second = given_budget(customer=customer, account=account)
    content = given_content()
    allocate(first, content, ALICE)
    with pytest.raises(AllocationRefused) as refused:
        allocate(second, content, BOB)
    assert refused.value.reason == "not_enough_value_in_subsidy"


@pytest.mark.on_every_engine
def test_a_limit_lowered_below_what_is_reserved_refuses_new_money_only() -> None:
    budget, content = given_budget(seats=2), given_content()
    allocate(budget, content, ALICE, BOB)
    Budget.objects.update(limit_cents=PRICE)
    budget.refresh_from_db()

    allocate(budget, content, ALICE)  # known already: costs nothing
    with pytest.raises(AllocationRefused) as refused:
        allocate(budget, content, CAROL)
    assert refused.value.details["available_cents"] == 0


@pytest.mark.on_every_engine
def test_the_assignments_of_one_request_share_its_columns_and_no_others() -> None:
    budget, content, ada = given_budget(), given_content(), given_user()
    due_date, later = NOW + timedelta(days=5), NOW + timedelta(hours=1)
    (old,) = allocate(budget, content, CAROL).assignments(Verdict.NEW)
    cancel(budget, uuids=[old.uuid], now=NOW)

    allocate(budget, content, ALICE, CAROL, now=later, due_date=due_date, actor=ada)
    (bobs,) = allocate(budget, content, BOB).assignments(Verdict.NEW)

    new, again = (LearnerContentAssignment.objects.get(learner_email=one) for one in (ALICE, CAROL))
    assert (new.created, new.modified, again.created, again.modified) == (later, later, NOW, later)
    assert new.allocation_batch_uuid == again.allocation_batch_uuid
    assert bobs.allocation_batch_uuid not in (None, new.allocation_batch_uuid, old.allocation_batch_uuid)
    for one in (new, again):
        assert (one.due_date, one.allocated_by, one.allocated_at) == (due_date, ada, later)
    assert {action.actor for action in again.actions.filter(cycle=2)} == {ada}
    assert again.actions.get(cycle=2, action_type=ActionType.ALLOCATED).created == later


def test_a_preview_names_the_deadline_and_its_reason() -> None:
    budget, content = given_budget(), given_content(enroll_by=NOW + timedelta(days=5))
    see = partial(
        allocation.preview, budget, content_key=content.content_key, price_cents=PRICE, entries=[ALICE]
    )
    seen = see(now=NOW)
    assert (seen.deadline, seen.deadline_reason) == (NOW + timedelta(days=5), ExpiryReason.ENROLL_BY)
    assert seen.remaining_cents is None
    seen = see(now=NOW, due_date=NOW + timedelta(days=2))
    assert (seen.deadline, seen.deadline_reason) == (NOW + timedelta(days=2), ExpiryReason.DUE_DATE)
    seen = see(now=NOW, due_date=NOW)
    assert [one.reason for one in seen.refusals] == ["deadline_passed"]
    assert (seen.deadline, seen.deadline_reason) == (NOW, ExpiryReason.DUE_DATE)


def test_a_run_with_enrolment_that_opens_after_the_due_date_decides_no_deadline_of_a_preview() -> None:
    budget, course = given_budget(), given_content(enroll_by=NOW + timedelta(days=5))
    opens = NOW + timedelta(days=20)
    given_run(course, f"{course.content_key}+R2", enroll_start=opens, enroll_by=NOW + timedelta(days=60))
    see = partial(
        allocation.preview,
        budget,
        content_key=course.content_key,
        price_cents=PRICE,
        entries=[ALICE],
        now=NOW,
    )
    later = see(due_date=opens + timedelta(days=1))
    assert (later.deadline, later.deadline_reason) == (opens + timedelta(days=1), ExpiryReason.DUE_DATE)
    before = see(due_date=opens - timedelta(days=1))
    assert (before.deadline, before.deadline_reason) == (NOW + timedelta(days=5), ExpiryReason.ENROLL_BY)


def test_a_preview_counts_what_is_allocated_again() -> None:
    budget, content = given_budget(seats=2), given_content()
    (old,) = allocate(budget, content, ALICE).assignments(Verdict.NEW)
    cancel(budget, uuids=[old.uuid], now=NOW)
    seen = allocation.preview(
        Budget.objects.get(), content_key=content.content_key, price_cents=PRICE, entries=[ALICE], now=NOW
    )
    assert [one.verdict for one in seen.matches] == [Verdict.REALLOCATED]
    assert (seen.cost_cents, seen.remaining_cents) == (PRICE, PRICE)


@pytest.mark.on_every_engine
def test_a_run_knows_its_course_and_belongs_where_its_course_belongs() -> None:
    course = given_content("RiversideX+TIDE")
    run = given_content(
        "course-v1:RiversideX+TIDE+2026",
        content_type=ContentType.COURSERUN,
        parent=course,
        catalog=None,
        enroll_by=NOW + timedelta(days=10),
    )

    allocate(given_budget(), run, ALICE)

    stored = LearnerContentAssignment.objects.get()
    assert stored.parent_content_key == "RiversideX+TIDE"
    assert stored.is_assigned_course_run
    assert (stored.expires_at, stored.expires_reason) == (run.enroll_by, ExpiryReason.ENROLL_BY)


@pytest.mark.parametrize(
    ("ends", "reason"),
    [
        ({"enroll_by": 5, "budget": 9, "due": 9}, ExpiryReason.ENROLL_BY),
        ({"enroll_by": 9, "budget": 5, "due": 9}, ExpiryReason.BUDGET_END),
        ({"enroll_by": 9, "budget": 9, "due": 5}, ExpiryReason.DUE_DATE),
        ({"enroll_by": 99, "budget": 99, "due": 99}, ExpiryReason.ALLOCATION_AGE),
    ],
    ids=["enrolment", "budget", "due date", "age"],
)
def test_the_deadline_is_the_nearest_of_four_dates(ends: dict[str, int], reason: ExpiryReason) -> None:
    days = {name: NOW + timedelta(days=count) for name, count in ends.items()}
    budget, content = given_budget(ends_at=days["budget"]), given_content(enroll_by=days["enroll_by"])

    allocate(budget, content, ALICE, due_date=days["due"])

    stored = LearnerContentAssignment.objects.get()
    expected = NOW + timedelta(days=90) if reason == ExpiryReason.ALLOCATION_AGE else min(days.values())
    assert (stored.expires_at, stored.expires_reason) == (expected, reason)


@pytest.mark.on_every_engine
def test_two_rows_of_one_person_are_not_mixed_up() -> None:
    """Cancelled under the new address, open under the old one: the open one answers."""
    budget, content = given_budget(), given_content()
    (old,) = allocate(budget, content, "alice@old.example").assignments(Verdict.NEW)
    (new,) = allocate(budget, content, ALICE).assignments(Verdict.NEW)
    cancel(budget, uuids=[new.uuid], now=NOW)
    LearnerContentAssignment.objects.filter(pk=old.pk).update(lms_user_id=7)
    given_user(email=ALICE, lms_user_id=7)

    done = allocate(budget, content, ALICE)

    assert [(one.verdict, one.assignment) for one in done.matches] == [(Verdict.ALREADY_ASSIGNED, old)]
    assert done.matches[0].known_by_other_address


@pytest.mark.on_every_engine
def test_two_closed_rows_of_one_person_reopen_the_one_with_the_address() -> None:
    budget, content = given_budget(), given_content()
    (old,) = allocate(budget, content, "alice@old.example").assignments(Verdict.NEW)
    (new,) = allocate(budget, content, ALICE).assignments(Verdict.NEW)
    cancel(budget, uuids=[old.uuid, new.uuid], now=NOW)
    LearnerContentAssignment.objects.filter(pk=old.pk).update(lms_user_id=7)
    given_user(email=ALICE, lms_user_id=7)

    done = allocate(budget, content, ALICE)

    assert [(one.verdict, one.assignment) for one in done.matches] == [(Verdict.REALLOCATED, new)]
    assert LearnerContentAssignment.objects.get(pk=new.pk).state == State.ALLOCATED
    assert LearnerContentAssignment.objects.get(pk=old.pk).state == State.CANCELLED


def test_a_new_allocation_is_mailed_to_the_new_address_of_the_person() -> None:
    budget, content = given_budget(), given_content()
    (old,) = allocate(budget, content, "alice@old.example").assignments(Verdict.NEW)
    LearnerContentAssignment.objects.filter(pk=old.pk).update(lms_user_id=7)
    cancel(budget, uuids=[old.uuid], now=NOW)
    given_user(email=ALICE, lms_user_id=7)

    allocate(budget, content, ALICE)

    moved = LearnerContentAssignment.objects.get()
    assert moved.learner_email == ALICE
    assert {row.recipient for row in moved.actions.filter(cycle=2, status=Status.PENDING)} == {ALICE}
    assert moved.actions.filter(action_type=ActionType.EMAIL_CORRECTED, cycle=2).count() == 1


def test_a_preview_says_what_would_happen_and_changes_nothing() -> None:
    budget, content = given_budget(seats=3), given_content()
    allocate(budget, content, ALICE)

    seen = allocation.preview(
        budget := Budget.objects.get(),
        content_key=content.content_key,
        price_cents=PRICE,
        entries=[ALICE, BOB, "nobody", BOB.upper(), CAROL],
        now=NOW,
    )

    verdicts = [(one.addressee.position, one.verdict) for one in seen.matches]
    assert verdicts == [
        (0, Verdict.ALREADY_ASSIGNED),
        (1, Verdict.NEW),
        (3, Verdict.DUPLICATE),
        (4, Verdict.NEW),
    ]
    assert list(seen.bad_addresses) == [2]
    assert (seen.cost_cents, seen.remaining_cents) == (2 * PRICE, 0)
    assert (seen.deadline, seen.refusals) == (NOW + timedelta(days=90), [])
    assert LearnerContentAssignment.objects.count() == 1


def test_a_preview_of_too_much_says_so_with_both_figures() -> None:
    budget, content = given_budget(seats=1), given_content()
    seen = allocation.preview(
        budget, content_key=content.content_key, price_cents=PRICE, entries=[ALICE, BOB], now=NOW
    )
    assert [one.reason for one in seen.refusals] == ["policy_spend_limit_reached"]
    assert seen.refusals[0].details == {"requested_cents": 2 * PRICE, "available_cents": PRICE}
    assert seen.remaining_cents == -PRICE


@pytest.mark.needs_row_locks
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("count", [1, 100, 1000])
@pytest.mark.parametrize("again", [False, True], ids=["new", "again"])
@pytest.mark.on_every_engine
def test_allocating_many_takes_few_queries(count: int, again: bool) -> None:
    budget, content = given_budget(), given_content()
    learners = addresses(count)
    if again:
        done = allocate(budget, content, *learners)
        cancel(budget, uuids=[one.uuid for one in done.assignments(Verdict.NEW)], now=NOW)

    with CaptureQueriesContext(connection) as queries:
        allocate(budget, content, *learners)

    # BEGIN and COMMIT are counted, the runs by which a course is joined, and the request's own row.
    # Allocating again asks for those that were declined, and takes back what the last cycle left open.
    # Linking takes five: the customer, the links there are, new links, and the accounts by two addresses.
    assert len(queries) <= 19 + count / 100 + (2 if again else 0)
    assert LearnerContentAssignment.objects.filter(state=State.ALLOCATED).count() == count


@pytest.mark.on_every_engine
def test_content_is_read_again_under_its_lock() -> None:
    """The deadline is derived from what a change committed between the read and the lock."""
    budget, content = given_budget(), given_content()
    ContentMetadata.objects.filter(content_key=content.advertised_run).update(
        enroll_by=NOW + timedelta(days=3)
    )
    allocate(budget, content, ALICE)
    assert LearnerContentAssignment.objects.get().expires_at == NOW + timedelta(days=3)
