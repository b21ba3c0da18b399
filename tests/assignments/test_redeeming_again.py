"""Redeeming again spends nothing: what an accepted assignment of the course covers is not paid twice."""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial

import pytest

from bursary.access.models import AccountAddress, learner_key
from bursary.assignments import address_corrections, redemption
from bursary.assignments.cancellation import cancel
from bursary.assignments.choices import State
from bursary.assignments.matching import Overrides
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.budgets.models import Account, Budget, LedgerEntry
from bursary.delivery import runner
from bursary.replica.models import ContentMetadata
from tests.together import together
from tests.world import ALICE, BOB, NOW, PRICE, allocate, given_budget, given_content, given_run, given_user

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
COURSE, SPRING, AUTUMN = "RiversideX+TIDE", "course-v1:TIDE+spring", "course-v1:TIDE+autumn"
ANOTHER = Overrides(allow_another=True)


@pytest.fixture
def budget() -> Budget:
    course = given_content(COURSE, with_run=False)
    given_run(course, SPRING)
    given_run(course, AUTUMN)
    return given_budget(seats=10)


def assigned(budget: Budget, key: str, *, address: str = ALICE, after: timedelta = timedelta(0)) -> None:
    content = ContentMetadata.objects.get(content_key=key)
    allocate(budget, content, address, now=NOW + after, overrides=ANOTHER)


def of(key: str) -> LearnerContentAssignment:
    return LearnerContentAssignment.objects.get(content_key=key, learner_email=ALICE)


def redeem(assignment: LearnerContentAssignment, *, key: str = "") -> LearnerContentAssignmentAction:
    """Redeem an assignment, by the key of a run if one is given, and return the action."""
    action = redemption.begin(assignment, now=NOW + DAY, content_key=key)
    runner.drain(clock=lambda: NOW + DAY, limit=1, pks=[action.pk])
    action.refresh_from_db()
    return action


def answering(*keys: str) -> list[str]:
    """Return the content key of the assignment that answers each key."""
    courses = {key: None if key == COURSE else COURSE for key in keys}
    rows = LearnerContentAssignment.objects.all()
    found = redemption.chosen_by_key(rows, courses=courses, now=NOW + DAY)
    return [one.content_key if one else "" for one in (found[key] for key in keys)]


def spent(entries: int) -> bool:
    """Return whether there are so many ledger entries, in agreement with the account."""
    account = Account.objects.get()
    return (LedgerEntry.objects.count(), account.spent_cents) == (entries, entries * PRICE)


@pytest.mark.parametrize(("first", "then"), [(SPRING, COURSE), (COURSE, SPRING)])
@pytest.mark.on_every_engine
def test_the_course_and_its_run_are_paid_once(budget: Budget, first: str, then: str) -> None:
    for key in (SPRING, COURSE):
        assigned(budget, key)
    paid = redeem(of(first))
    assert redeem(of(then)) == paid
    assert redeem(of(first)) == paid
    assert spent(1)
    assert (of(first).state, of(then).state) == (State.ACCEPTED, State.ALLOCATED)
    assert answering(SPRING, COURSE) == [first, first]


def test_a_run_of_an_accepted_course_is_covered_by_it(budget: Budget) -> None:
    assigned(budget, COURSE)
    assigned(budget, AUTUMN)
    paid = redeem(of(COURSE), key=SPRING)
    assert redeem(of(AUTUMN)) == paid
    assert answering(SPRING, AUTUMN) == [COURSE, COURSE]
    assert spent(1)


def test_another_run_is_not_covered_by_an_accepted_one(budget: Budget) -> None:
    for key in (SPRING, AUTUMN):
        assigned(budget, key)
        redeem(of(key))
    assert answering(SPRING, AUTUMN) == [SPRING, AUTUMN]
    assert spent(2)


def test_what_is_being_redeemed_counts_as_accepted(budget: Budget) -> None:
    for key in (SPRING, COURSE):
        assigned(budget, key)
    begun = redemption.begin(of(SPRING), now=NOW + DAY)
    assert answering(COURSE, SPRING) == [SPRING, SPRING]
    assert redemption.begin(of(COURSE), now=NOW + DAY) == begun
    assert of(COURSE).redeeming_since is None


def test_what_was_allocated_on_request_after_the_acceptance_is_paid_for(budget: Budget) -> None:
    assigned(budget, COURSE)
    redeem(of(COURSE))
    assigned(budget, SPRING, after=2 * DAY)
    assert answering(SPRING, AUTUMN) == [SPRING, COURSE]
    redeem(of(SPRING))
    assert spent(2)


@pytest.mark.on_every_engine
def test_what_was_allocated_at_the_moment_of_the_acceptance_is_covered(budget: Budget) -> None:
    assigned(budget, COURSE)
    redeem(of(COURSE))
    assigned(budget, SPRING, after=DAY)
    accepted_at = of(COURSE).accepted_at
    LearnerContentAssignment.objects.filter(content_key=SPRING).update(allocated_at=accepted_at)
    assert answering(SPRING) == [COURSE]


def test_an_address_that_is_corrected_meanwhile_does_not_stop_a_redemption(budget: Budget) -> None:
    assigned(budget, COURSE)
    as_read = of(COURSE)
    address_corrections.correct_assignment(of(COURSE), address=BOB, now=NOW)
    redeem(as_read)
    redeemed = LearnerContentAssignment.objects.get()
    assert (redeemed.learner_email, redeemed.state) == (BOB, State.ACCEPTED)


def test_a_learner_without_an_account_is_known_by_the_lms_user_id_of_the_rows(budget: Budget) -> None:
    assigned(budget, SPRING, address=BOB)
    assigned(budget, COURSE)
    LearnerContentAssignment.objects.update(lms_user_id=7)
    redeem(LearnerContentAssignment.objects.get(learner_email=BOB))
    redeem(of(COURSE))
    assert spent(1)


def test_an_accepted_run_that_has_ended_does_not_cover_its_course(budget: Budget) -> None:
    for key in (SPRING, COURSE):
        assigned(budget, key)
    redeem(of(SPRING))
    ContentMetadata.objects.filter(content_key=SPRING).update(end_date=NOW + DAY)
    assert answering(SPRING, COURSE, AUTUMN) == [SPRING, COURSE, COURSE]
    redeem(of(COURSE), key=AUTUMN)
    assert spent(2)


@pytest.mark.parametrize("ended", ["cancelled", "refunded"])
def test_what_is_not_accepted_any_more_covers_nothing(budget: Budget, ended: str) -> None:
    for key in (SPRING, COURSE):
        assigned(budget, key)
    if ended == "cancelled":
        cancel(budget, uuids=[of(SPRING).uuid], now=NOW)
    else:
        redeem(of(SPRING))
        redemption.reverse(LedgerEntry.objects.get().uuid, now=NOW + DAY)
    redeem(of(COURSE))
    assert of(COURSE).state == State.ACCEPTED


def test_other_budgets_and_learners_are_paid_for(budget: Budget) -> None:
    other = given_budget(customer=budget.customer, account=budget.account)
    assigned(budget, SPRING)
    assigned(other, COURSE)
    assigned(budget, COURSE, address=BOB)
    redeem(of(SPRING))
    redeem(of(COURSE))
    redeem(LearnerContentAssignment.objects.get(learner_email=BOB))
    assert spent(3)


@pytest.mark.parametrize("known_by", ["LMS user id", "earlier address", "no id on the row yet"])
@pytest.mark.on_every_engine
def test_a_learner_with_two_addresses_pays_once(budget: Budget, known_by: str) -> None:
    old = "alice@old.example"
    assigned(budget, SPRING, address=old)
    assigned(budget, COURSE)
    user = given_user(email=ALICE, lms_user_id=7)
    if known_by == "earlier address":
        AccountAddress.objects.create(user=user, address=old, learner_key=learner_key(old))
    else:
        rows = LearnerContentAssignment.objects.all()
        (rows if known_by == "LMS user id" else rows.filter(learner_email=old)).update(lms_user_id=7)
    redeem(LearnerContentAssignment.objects.get(learner_email=old))
    redeem(of(COURSE))
    assert spent(1)


@pytest.mark.needs_row_locks
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("keys", [[SPRING], [COURSE], [SPRING, COURSE]], ids=["run", "course", "both"])
@pytest.mark.on_every_engine
def test_eight_threads_that_redeem_spend_once(budget: Budget, keys: Sequence[str]) -> None:
    for key in (SPRING, COURSE):
        assigned(budget, key)
    calls = [partial(redeem, of(keys[number % len(keys)])) for number in range(8)]
    done = together(calls)
    assert {type(one) for one in done} == {LearnerContentAssignmentAction}, done
    assert len({one.pk for one in done if isinstance(one, LearnerContentAssignmentAction)}) == 1
    deadline = NOW + 2 * DAY
    runner.drain(clock=lambda: deadline, limit=1000)
    assert spent(1)
    assert sorted([of(SPRING).state, of(COURSE).state]) == [State.ACCEPTED, State.ALLOCATED]
