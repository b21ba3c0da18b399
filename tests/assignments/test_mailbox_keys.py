"""Rows of an earlier release get the key of their mailbox, and those of one learner meet."""

import hashlib
import os
import random
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import IntegrityError, OperationalError, connections
from django.db.models import QuerySet, Sum

from bursary.access import known_learners, links
from bursary.access.links import Link
from bursary.access.models import LearnerLink, User, learner_key
from bursary.assignments import account_linking, erasure, mailbox_keys, redemption, signed_links
from bursary.assignments.choices import ActionType, State, Status
from bursary.assignments.mailbox_keys import RekeyResult
from bursary.assignments.matching import Verdict
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets import ledger
from bursary.budgets.models import Account, Budget
from bursary.lib.batches import chunks
from bursary.replica.models import ContentMetadata
from tests.smtp import MailServer
from tests.world import (
    ALICE,
    BOB,
    NOW,
    PRICE,
    action_of,
    addresses,
    allocate,
    deliver,
    given_assignment,
    given_budget,
    given_content,
    given_user,
)

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
HIDDEN = f"{ALICE}\u200b"
PERSON = 7001


def older_key(address: str) -> str:
    """Return the key by the earlier release's rule."""
    return hashlib.sha256(address.strip().lower().encode()).hexdigest()


def as_before(assignment: LearnerContentAssignment, address: str) -> LearnerContentAssignment:
    """Store an assignment as the earlier release did, with that address."""
    LearnerContentAssignment.objects.filter(pk=assignment.pk).update(
        learner_email=address, learner_key=older_key(address), mailbox_key=None
    )
    assignment.refresh_from_db()
    return assignment


def rekey() -> RekeyResult:
    return mailbox_keys.rekey(clock=lambda: NOW + 2 * DAY)


@pytest.fixture
def two_rows() -> tuple[LearnerContentAssignment, LearnerContentAssignment]:
    """Return two assignments of one course that the earlier release made for one mailbox."""
    budget, content = given_budget(), given_content()
    older = given_assignment(budget, content, address=BOB, now=NOW)
    newer = given_assignment(budget, content, address=ALICE, now=NOW + DAY)
    return as_before(older, HIDDEN), as_before(newer, ALICE)


def reloaded(*rows: LearnerContentAssignment) -> list[LearnerContentAssignment]:
    for row in rows:
        row.refresh_from_db()
    return list(rows)


@pytest.mark.on_every_engine
def test_every_row_gets_the_key_of_its_mailbox_and_a_second_run_changes_nothing() -> None:
    user = given_user(email="info@straße.example", lms_user_id=PERSON)
    User.objects.filter(pk=user.pk).update(mailbox_key=None, learner_key=older_key(user.email))
    assignment = as_before(given_assignment(address=BOB), f"\ufeff{BOB}")
    link = LearnerLink.objects.create(
        customer=assignment.budget.customer, learner_email=HIDDEN, learner_key=older_key(HIDDEN), created=NOW
    )

    assert rekey() == RekeyResult(users=1, links=1, assignments=1)

    for row, address in ((user, "info@xn--strae-oqa.example"), (assignment, BOB), (link, ALICE)):
        row.refresh_from_db()
        assert row.mailbox_key == learner_key(address)
    assert rekey() == RekeyResult()


@pytest.mark.on_every_engine
def test_a_row_is_matched_before_and_after_it_has_its_key() -> None:
    assignment = as_before(given_assignment(), ALICE)
    assert assignment.content
    for _before_and_after in range(2):
        done = allocate(assignment.budget, assignment.content, HIDDEN.upper())
        assert done.assignments(Verdict.ALREADY_ASSIGNED) == [assignment]
        rekey()
    assert LearnerContentAssignment.objects.count() == 1


@pytest.mark.on_every_engine
def test_of_two_of_one_mailbox_the_older_open_one_stays_and_the_money_of_the_other_is_released(
    two_rows: tuple[LearnerContentAssignment, LearnerContentAssignment],
) -> None:
    assert Budget.objects.get().reserved_cents == 2 * PRICE

    assert rekey() == RekeyResult(assignments=2)

    older, newer = reloaded(*two_rows)
    assert (older.state, older.mailbox_key, older.duplicate_pk) == (State.ALLOCATED, learner_key(ALICE), 0)
    assert (newer.state, newer.mailbox_key, newer.duplicate_pk) == (
        State.CANCELLED,
        learner_key(ALICE),
        newer.pk,
    )
    cancelled = action_of(newer, ActionType.CANCELLED)
    assert cancelled.detail == f"The learner has the same course by assignment {older.uuid}."
    assert action_of(newer, ActionType.CANCELLATION_NOTIFIED).status == Status.SUPERSEDED
    assert Budget.objects.get().reserved_cents == Account.objects.get().reserved_cents == PRICE
    assert older.content
    done = allocate(older.budget, older.content, ALICE)
    assert done.assignments(Verdict.ALREADY_ASSIGNED) == [older]


def test_what_was_accepted_stays_although_it_is_newer(
    two_rows: tuple[LearnerContentAssignment, LearnerContentAssignment],
) -> None:
    older, newer = two_rows
    redemption.begin(newer, now=NOW + DAY)
    deliver(now=NOW + DAY)
    rekey()
    reloaded(older, newer)
    assert (newer.state, newer.duplicate_pk) == (State.ACCEPTED, 0)
    assert (older.state, older.duplicate_pk) == (State.CANCELLED, older.pk)
    budget = Budget.objects.get()
    assert (budget.reserved_cents, budget.spent_cents) == (0, PRICE)


def test_two_that_were_both_accepted_stay_and_both_are_the_learners(
    two_rows: tuple[LearnerContentAssignment, LearnerContentAssignment],
) -> None:
    for one in two_rows:
        redemption.begin(one, now=NOW + DAY)
    deliver(now=NOW + DAY)
    rekey()
    assert {one.state for one in reloaded(*two_rows)} == {State.ACCEPTED}
    assert Budget.objects.get().spent_cents == 2 * PRICE
    theirs = redemption.of_learner(lms_user_id=None, learner_key=learner_key(ALICE))
    assert set(theirs) == set(two_rows)


def test_what_is_being_redeemed_waits_for_the_next_run(
    two_rows: tuple[LearnerContentAssignment, LearnerContentAssignment],
) -> None:
    older, newer = two_rows
    redemption.begin(newer, now=NOW + DAY)
    assert (rekey().left, newer.state) == (2, State.ALLOCATED)
    deliver(now=NOW + DAY)
    assert rekey().left == 0
    reloaded(older, newer)
    assert (older.state, newer.state) == (State.CANCELLED, State.ACCEPTED)


def test_the_one_that_stays_gets_the_lms_user_id_of_the_other(
    two_rows: tuple[LearnerContentAssignment, LearnerContentAssignment],
) -> None:
    older, newer = two_rows
    LearnerContentAssignment.objects.filter(pk=newer.pk).update(lms_user_id=PERSON)
    rekey()
    assert [one.lms_user_id for one in reloaded(older, newer)] == [PERSON, None]


def test_forgotten_rows_are_left_as_they_are() -> None:
    assignment = given_assignment()
    erasure.forget(ALICE, now=NOW, remove=len)
    LearnerContentAssignment.objects.update(mailbox_key=None)
    before = LearnerContentAssignment.objects.values().get()
    rekey()
    after = LearnerContentAssignment.objects.values().get()
    assert after == before | {"mailbox_key": before["learner_key"]}
    assert not redemption.of_learner(lms_user_id=None, learner_key=learner_key(ALICE)).exists()
    assignment.refresh_from_db()
    assert assignment.forgotten_at == NOW


def test_a_row_that_the_earlier_release_changed_afterwards_is_keyed_again() -> None:
    assignment = given_assignment()
    LearnerContentAssignment.objects.update(learner_email=BOB, learner_key=older_key(BOB))
    assert rekey() == RekeyResult(assignments=1)
    assignment.refresh_from_db()
    assert assignment.mailbox_key == learner_key(BOB)


@pytest.mark.on_every_engine
def test_of_two_links_to_one_mailbox_one_stays() -> None:
    customer = given_budget().customer
    for address in (ALICE, HIDDEN, BOB):
        LearnerLink.objects.create(
            customer=customer, learner_email=address, learner_key=older_key(address), created=NOW
        )
    rekey()
    assert LearnerLink.objects.count() == 2
    assert {link.mailbox_key for link in LearnerLink.objects.all()} == {learner_key(ALICE), learner_key(BOB)}


def test_links_in_mails_that_were_sent_before_still_open() -> None:
    assignment = given_assignment()
    as_before(assignment, HIDDEN)
    token = signed_links.token_for(assignment, address=HIDDEN, now=NOW)
    digest = links.digest_of(assignment.uuid.hex, older_key(HIDDEN), "")
    sent = links.token(Link(assignment.uuid, assignment.cycle, digest, NOW))
    rekey()
    for link in (token, sent):
        assert signed_links.opened(link, now=NOW + DAY) == assignment


@pytest.mark.parametrize("rekeyed", [False, True])
def test_what_an_earlier_release_left_to_be_sent_is_mailed_to_the_mailbox_that_is_keyed(
    mail: MailServer, rekeyed: bool
) -> None:
    assignment = as_before(given_assignment(), "Info@straße.example\u200b")
    assignment.actions.update(recipient=assignment.learner_email)
    if rekeyed:
        rekey()
    deliver()
    [sent] = mail.received
    assert sent["To"] == "info@xn--strae-oqa.example"
    assert learner_key(sent["To"]) == learner_key(assignment.learner_email)


@pytest.mark.on_every_engine
def test_a_registered_learner_is_found_once_both_have_their_keys() -> None:
    assignment = as_before(given_assignment(), HIDDEN)
    given_user(email=ALICE, lms_user_id=PERSON)
    assert account_linking.link_registered_users(now=NOW).done == 0
    rekey()
    assert account_linking.link_registered_users(now=NOW).done == 1
    assignment.refresh_from_db()
    assert assignment.lms_user_id == PERSON


@pytest.mark.on_every_engine
def test_a_batch_that_fails_stops_no_other_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    broken, other = (as_before(given_assignment(address=address), address) for address in (ALICE, BOB))
    lock = ledger.lock

    def refuse(budget_pk: int) -> Budget:
        if budget_pk == broken.budget_id:
            raise IntegrityError(f"Duplicate entry '{ALICE}'")
        return lock(budget_pk)

    monkeypatch.setattr(ledger, "lock", refuse)
    result = rekey()
    assert (result.assignments, len(result.failed)) == (1, 1)
    assert ALICE not in str(result.failed)
    assert str(broken.budget.uuid) in str(result.failed)
    assert [one.mailbox_key for one in reloaded(broken, other)] == [None, learner_key(BOB)]


@pytest.mark.on_every_engine
def test_a_batch_is_repeated_after_a_deadlock_and_counted_once(
    two_rows: tuple[LearnerContentAssignment, LearnerContentAssignment], monkeypatch: pytest.MonkeyPatch
) -> None:
    older, newer = two_rows
    LearnerContentAssignment.objects.filter(pk=older.pk).update(redeeming_since=NOW)
    free = as_before(given_assignment(older.budget, given_content(key="FreeX+F1"), address=BOB), BOB)
    accounts_of, tries = known_learners.accounts_of, []

    def deadlocked(keys: Iterable[str]) -> QuerySet[User]:
        tries.append(keys)
        if len(tries) == 1:
            raise OperationalError(1213, "Deadlock found when trying to get lock; try restarting transaction")
        return accounts_of(keys)

    monkeypatch.setattr(known_learners, "accounts_of", deadlocked)
    assert rekey() == RekeyResult(assignments=1, left=2)
    assert len(tries) == 2
    assert [one.mailbox_key for one in reloaded(older, newer, free)] == [None, None, learner_key(BOB)]


LEARNERS = 100_000 if "BURSARY_TEST_SOAK" in os.environ else 600  # one in five of them is there twice


def planted(budgets: list[Budget], content: ContentMetadata) -> int:
    """Fill the budgets as an earlier release did; return the number of learners' duplicate rows."""
    for number, chunk in enumerate(chunks(addresses(LEARNERS * 4 // 5), 8000)):
        allocate(budgets[number % 2], content, *chunk, *(f"odd-{one}" for one in chunk[::4]))
    two_rows = LearnerContentAssignment.objects.filter(learner_email__startswith="odd-").order_by("pk")
    count = two_rows.count()
    for page in chunks(list(two_rows), 1000):
        for row in page:
            row.learner_email = f"{row.learner_email.removeprefix('odd-')}\u200b"
            row.learner_key = older_key(row.learner_email)
        LearnerContentAssignment.objects.bulk_update(page, ["learner_email", "learner_key"])
    LearnerContentAssignment.objects.update(mailbox_key=None)
    return count


def allocate_until(done: threading.Event, budgets: list[Budget], content: ContentMetadata) -> None:
    """Allocate to addresses with a hidden character, at random, until `done`."""
    chance = random.Random(11)
    try:
        while not done.is_set():
            some = (f"learner-{chance.randrange(LEARNERS)}@learners.example\u200b" for _ in range(5))
            allocate(chance.choice(budgets), content, *some)
    finally:
        connections.close_all()


@pytest.mark.takes_long
@pytest.mark.needs_row_locks
@pytest.mark.django_db(transaction=True)
def test_an_upgrade_while_allocations_go_on_keeps_the_money_and_leaves_one_of_each_mailbox() -> None:
    budgets, content = [given_budget(), given_budget()], given_content()
    two_rows = planted(budgets, content)
    rows = LearnerContentAssignment.objects
    total, before, done = rows.count(), held(budgets), threading.Event()
    assert total >= LEARNERS

    with ThreadPoolExecutor(1) as thread:
        allocating = thread.submit(allocate_until, done, budgets, content)
        try:
            assert rekey().failed == {}
        finally:
            done.set()
        allocating.result(timeout=120)
    rekey()

    assert not rows.filter(mailbox_key=None).exists()
    kept, met = rows.filter(state=State.ALLOCATED), rows.filter(state=State.CANCELLED).count()
    assert kept.count() == kept.values("budget", "mailbox_key").distinct().count()
    assert rows.count() > total  # allocations went on meanwhile
    assert met >= two_rows
    assert held(budgets) == before + (rows.count() - total - met) * PRICE


def held(budgets: list[Budget]) -> int:
    """Return the money that is set aside, in cents: alike in budgets, accounts and open assignments."""
    total = 0
    for budget in budgets:
        budget.refresh_from_db()
        open_ones = budget.assignments.filter(state=State.ALLOCATED)
        assert budget.reserved_cents == (open_ones.aggregate(cents=Sum("price_cents"))["cents"] or 0)
        assert Account.objects.get(pk=budget.account_id).reserved_cents == budget.reserved_cents
        total += budget.reserved_cents
    return total
