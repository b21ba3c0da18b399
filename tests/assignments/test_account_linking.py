"""A learner registers: assignments by address know the person, and of two that meet one stays."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import IntegrityError, OperationalError

from bursary.access.models import AccountAddress, User, learner_key
from bursary.assignments import account_linking, redemption
from bursary.assignments.cancellation import cancel
from bursary.assignments.choices import ActionType, State, Status
from bursary.assignments.models import LearnerContentAssignment
from bursary.assignments.sweeps import SweepResult
from bursary.budgets import ledger
from bursary.budgets.models import Budget
from bursary.ops import scheduler
from bursary.ops.models import ScheduledTask
from tests.world import (
    ALICE,
    BOB,
    CAROL,
    NOW,
    PRICE,
    action_of,
    allocate,
    deliver,
    given_assignment,
    given_budget,
    given_content,
    given_user,
    timeline,
)

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
PERSON = 7001


@pytest.fixture
def two() -> tuple[LearnerContentAssignment, LearnerContentAssignment]:
    """Return two assignments of one course, of a known person and of an address that is theirs as well."""
    budget, content = given_budget(), given_content()
    given_user(email=BOB, lms_user_id=PERSON)
    older = given_assignment(budget, content, address=BOB, now=NOW)
    newer = given_assignment(budget, content, address=ALICE, now=NOW + DAY)
    assert (older.lms_user_id, newer.lms_user_id) == (PERSON, None)
    return older, newer


def moves_to(address: str) -> User:
    """Let the person register with another address."""
    person = User.objects.get(lms_user_id=PERSON)
    person.email = address
    person.save()
    return person


@pytest.mark.on_every_engine
def test_an_assignment_by_address_is_linked_to_a_learner_registered_later() -> None:
    assignment = given_assignment()
    given_user(email=ALICE.upper(), lms_user_id=PERSON)
    assert account_linking.link_registered_users(now=NOW) == SweepResult(done=1)
    assert account_linking.link_registered_users(now=NOW) == SweepResult()
    assignment.refresh_from_db()
    assert assignment.lms_user_id == PERSON


@pytest.mark.on_every_engine
def test_of_two_that_meet_the_older_stays_and_the_other_says_why(
    two: tuple[LearnerContentAssignment, LearnerContentAssignment],
) -> None:
    older, newer = two
    moves_to(ALICE)
    account_linking.link_registered_users(now=NOW + 2 * DAY)
    older.refresh_from_db()
    newer.refresh_from_db()
    assert (older.state, older.lms_user_id) == (State.ALLOCATED, PERSON)
    assert (newer.state, newer.lms_user_id) == (State.CANCELLED, None)
    assert action_of(newer, ActionType.CANCELLED).detail == (
        f"The learner has the same course by assignment {older.uuid}."
    )
    notice = action_of(newer, ActionType.CANCELLATION_NOTIFIED)
    assert (notice.status, notice.error_code) == (Status.SUPERSEDED, "assigned_twice")
    assert Budget.objects.get().reserved_cents == PRICE


def test_the_older_stays_also_where_it_is_the_one_that_did_not_know_the_person() -> None:
    budget, content = given_budget(), given_content()
    older = given_assignment(budget, content, address=ALICE, now=NOW)
    given_user(email=BOB, lms_user_id=PERSON)
    newer = given_assignment(budget, content, address=BOB, now=NOW + DAY)
    moves_to(ALICE)
    account_linking.link_registered_users(now=NOW + 2 * DAY)
    older.refresh_from_db()
    newer.refresh_from_db()
    assert (older.state, older.lms_user_id) == (State.ALLOCATED, PERSON)
    assert (newer.state, newer.lms_user_id) == (State.CANCELLED, None)


def test_the_older_is_what_was_allocated_first_whichever_row_is_older(
    two: tuple[LearnerContentAssignment, LearnerContentAssignment],
) -> None:
    again, newer = two
    again.allocated_at = newer.allocated_at + DAY
    assert account_linking.preferred_first([again, newer]) == [newer, again]


def test_what_was_accepted_stays_although_it_is_newer() -> None:
    budget, content = given_budget(), given_content()
    older = given_assignment(budget, content, address=ALICE, now=NOW)
    given_user(email=BOB, lms_user_id=PERSON)
    newer = given_assignment(budget, content, address=BOB, now=NOW + DAY)
    redemption.begin(newer, now=NOW + DAY)
    deliver(now=NOW + DAY)
    moves_to(ALICE)
    account_linking.link_registered_users(now=NOW + 2 * DAY)
    older.refresh_from_db()
    newer.refresh_from_db()
    assert (newer.state, newer.lms_user_id) == (State.ACCEPTED, PERSON)
    assert older.state == State.CANCELLED


def test_what_has_ended_gives_way_without_a_trace(
    two: tuple[LearnerContentAssignment, LearnerContentAssignment],
) -> None:
    older, newer = two
    cancel(older.budget, uuids=[older.uuid], now=NOW + DAY)
    before = timeline(older)
    moves_to(ALICE)
    account_linking.link_registered_users(now=NOW + 2 * DAY)
    older.refresh_from_db()
    newer.refresh_from_db()
    assert (newer.state, newer.lms_user_id, older.lms_user_id) == (State.ALLOCATED, PERSON, None)
    assert timeline(older) == before


def test_what_is_being_redeemed_waits_for_the_next_time(
    two: tuple[LearnerContentAssignment, LearnerContentAssignment],
) -> None:
    older, newer = two
    redemption.begin(older, now=NOW + DAY)
    moves_to(ALICE)
    assert account_linking.link_registered_users(now=NOW + 2 * DAY) == SweepResult()
    deliver(now=NOW + 2 * DAY)
    assert account_linking.link_registered_users(now=NOW + 3 * DAY) == SweepResult(done=1)
    newer.refresh_from_db()
    assert newer.state == State.CANCELLED


@pytest.mark.on_every_engine
def test_every_registered_learner_is_found() -> None:
    budget, content = given_budget(), given_content()
    allocate(budget, content, ALICE, BOB)
    given_user(email=ALICE, lms_user_id=PERSON)
    given_user(email=BOB)  # signs in here, and is unknown to the LMS
    assert [
        account_linking.link_registered_users(now=NOW).done,
        account_linking.link_registered_users(now=NOW).done,
    ] == [1, 0]


@pytest.mark.on_every_engine
def test_one_that_fails_stops_no_other_and_the_tick_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken, *others = [given_assignment(given_budget(), address=address) for address in (ALICE, BOB, CAROL)]
    for number, address in enumerate((ALICE, BOB, CAROL)):
        given_user(email=address, lms_user_id=PERSON + number)
    lock = ledger.lock

    def refuse(budget_pk: int) -> Budget:
        if budget_pk == broken.budget_id:
            raise IntegrityError(f"Duplicate entry '{ALICE}' for key\nDETAIL: ({ALICE})")
        return lock(budget_pk)

    monkeypatch.setattr(ledger, "lock", refuse)
    scheduler.run_due(clock=lambda: NOW, tasks=[task for task in scheduler.TASKS if task.name == "sweep"])

    known = LearnerContentAssignment.objects.filter(lms_user_id__isnull=False).order_by("pk")
    assert list(known) == others
    tick = ScheduledTask.objects.get(name="sweep")
    assert tick.last_error == (
        f"2 linked; assignments failed: {{'{broken.uuid}': \"IntegrityError: Duplicate entry '…' for key\"}}"
    )
    assert ALICE not in caplog.text
    assert f"Linking failed: assignment={broken.uuid}: IntegrityError" in caplog.text


def test_where_everything_fails_it_is_not_tried_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account_linking, "MAX_FAILURES", 2)
    tried: list[int] = []

    def refuse(budget_pk: int) -> Budget:
        tried.append(budget_pk)
        raise OperationalError("The database is locked.")

    allocate(given_budget(), given_content(), ALICE, BOB, CAROL)
    for number, address in enumerate((ALICE, BOB, CAROL)):
        given_user(email=address, lms_user_id=PERSON + number)
    monkeypatch.setattr(ledger, "lock", refuse)

    assert len(account_linking.link_registered_users(now=NOW).failed) == len(tried) == 2


@pytest.fixture
def both_accepted() -> None:
    """Two assignments of one person, both accepted before they were linked."""
    budget, content = given_budget(), given_content()
    given_user(email=BOB, lms_user_id=PERSON)
    for address in (ALICE, BOB):
        redemption.begin(given_assignment(budget, content, address=address), now=NOW)
    deliver()
    moves_to(ALICE)


@pytest.mark.usefixtures("both_accepted")
def test_two_that_were_both_accepted_stay_as_they_are() -> None:
    before = list(LearnerContentAssignment.objects.order_by("pk").values())
    assert account_linking.link_registered_users(now=NOW + DAY) == SweepResult()
    assert list(LearnerContentAssignment.objects.order_by("pk").values()) == before


@pytest.mark.usefixtures("both_accepted")
@pytest.mark.on_every_engine
def test_learners_without_assignments_to_link_keep_no_other_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account_linking, "USERS_PER_PASS", 1)
    carol = given_assignment(address=CAROL)
    given_user(email=CAROL, lms_user_id=PERSON + 1)
    # Of two that changed alike, either comes first; the other has its turn then, whatever comes of it.
    runs = [account_linking.link_registered_users(now=NOW + DAY) for _ in range(2)]
    assert sum(run.done for run in runs) == 1
    carol.refresh_from_db()
    assert carol.lms_user_id == PERSON + 1


@pytest.mark.parametrize(
    "change",
    [
        {"mailbox_key": learner_key(CAROL)},
        {"lms_user_id": PERSON + 1},
        {"forgotten_at": NOW},
        {"state": State.EXPIRED},
        {"redeeming_since": NOW},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_changed_since_it_was_found_is_left_alone(
    change: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    given_assignment()
    given_user(email=ALICE, lms_user_id=PERSON)
    meanwhile(monkeypatch, lambda: LearnerContentAssignment.objects.update(**change))
    assert account_linking.link_registered_users(now=NOW) == SweepResult()
    assert LearnerContentAssignment.objects.get().lms_user_id == change.get("lms_user_id")


@pytest.mark.parametrize(
    ("change", "linked"), [({"email": CAROL}, PERSON), ({"lms_user_id": None}, None)], ids=["email", "id"]
)
def test_a_learner_changed_since_being_found_is_linked_as_long_as_the_account_had_the_address(
    change: dict[str, object], linked: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_assignment()
    person = given_user(email=ALICE, lms_user_id=PERSON)

    def move() -> None:
        moved = User.objects.get(pk=person.pk)
        for name, value in change.items():
            setattr(moved, name, value)
        moved.save()

    meanwhile(monkeypatch, move)
    account_linking.link_registered_users(now=NOW)
    assert LearnerContentAssignment.objects.get().lms_user_id == linked


def test_an_assignment_to_an_address_that_the_account_had_before_is_linked() -> None:
    person = given_user(email=ALICE, lms_user_id=PERSON)
    person.email = CAROL
    person.save()
    given_assignment(address=ALICE)
    LearnerContentAssignment.objects.update(lms_user_id=None)
    assert account_linking.link_registered_users(now=NOW) == SweepResult(done=1)
    assert LearnerContentAssignment.objects.get().lms_user_id == PERSON


def meanwhile(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Let something happen after the assignments were listed and before their budget is locked."""
    lock = ledger.lock

    def late(budget_pk: int) -> Budget:
        happens()
        return lock(budget_pk)

    monkeypatch.setattr(ledger, "lock", late)


# -- Accounts that the LMS does not know --------------------------------------------------------------------


@pytest.fixture
def joined() -> tuple[LearnerContentAssignment, LearnerContentAssignment]:
    """Return two assignments of one course, to both addresses of an account without an LMS user id."""
    budget, content = given_budget(), given_content()
    older = given_assignment(budget, content, address=ALICE, now=NOW)
    newer = given_assignment(budget, content, address=BOB, now=NOW + DAY)
    person = given_user(email=BOB)
    AccountAddress.objects.create(user=person, address=ALICE, learner_key=learner_key(ALICE))
    return older, newer


def test_two_of_an_account_that_the_lms_does_not_know_meet_too(
    joined: tuple[LearnerContentAssignment, LearnerContentAssignment],
) -> None:
    older, newer = joined
    given_assignment(older.budget, given_content(), address=ALICE)  # has no counterpart
    given_assignment(older.budget, older.content, address=CAROL)
    assert account_linking.link_registered_users(now=NOW + 2 * DAY) == SweepResult(done=1)
    assert account_linking.link_registered_users(now=NOW + 2 * DAY) == SweepResult()
    older.refresh_from_db()
    newer.refresh_from_db()
    assert (older.state, newer.state) == (State.ALLOCATED, State.CANCELLED)
    cancelled = action_of(newer, ActionType.CANCELLED)
    assert cancelled.detail == f"The learner has the same course by assignment {older.uuid}."
    assert action_of(newer, ActionType.CANCELLATION_NOTIFIED).status == Status.SUPERSEDED
    assert Budget.objects.get(pk=older.budget_id).reserved_cents == 3 * PRICE


@pytest.mark.parametrize("accepted", ["older", "newer"])
def test_what_such_an_account_has_accepted_stays(
    joined: tuple[LearnerContentAssignment, LearnerContentAssignment], accepted: str
) -> None:
    both = dict(zip(("older", "newer"), joined, strict=True))
    redemption.begin(both[accepted], now=NOW + DAY)
    assert account_linking.link_registered_users(now=NOW + DAY) == SweepResult()  # it is being redeemed
    deliver(now=NOW + DAY)
    assert account_linking.link_registered_users(now=NOW + 2 * DAY).done == 1
    for name, one in both.items():
        one.refresh_from_db()
        assert one.state == (State.ACCEPTED if name == accepted else State.CANCELLED)


def test_two_that_were_accepted_before_the_addresses_were_joined_both_stay(
    joined: tuple[LearnerContentAssignment, LearnerContentAssignment],
) -> None:
    address = AccountAddress.objects.get()
    address.delete()
    for one in joined:
        redemption.begin(one, now=NOW + DAY)
    deliver(now=NOW + DAY)
    address.save(force_insert=True)
    assert account_linking.link_registered_users(now=NOW + 2 * DAY) == SweepResult()
    assert set(LearnerContentAssignment.objects.values_list("state", flat=True)) == {State.ACCEPTED}


@pytest.mark.parametrize("change", [{"redeeming_since": NOW}, {"forgotten_at": NOW}, {"state": "expired"}])
@pytest.mark.on_every_engine
def test_what_such_an_account_has_is_read_again_under_the_lock(
    joined: tuple[LearnerContentAssignment, LearnerContentAssignment],
    change: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    older, newer = joined
    rows = LearnerContentAssignment.objects.filter(pk=older.pk)
    meanwhile(monkeypatch, lambda: rows.update(**change))
    assert account_linking.link_registered_users(now=NOW + 2 * DAY) == SweepResult()
    newer.refresh_from_db()
    assert newer.state == State.ALLOCATED
