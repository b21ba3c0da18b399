"""Privacy on request: everything of an address goes, in every state; what is in hand, the next time."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from uuid import UUID

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.db import OperationalError
from django.test import Client

from bursary.access import suppressions
from bursary.access.models import (
    ApiKey,
    ExternalIdentity,
    LearnerLink,
    NoticeAddress,
    Role,
    RoleGrant,
    SeenAdministrator,
    User,
    learner_key,
)
from bursary.assignments import (
    actions,
    address_corrections,
    cancellation,
    erasure,
    expiry,
    outcomes,
    redemption,
)
from bursary.assignments.choices import ActionType, State, Status
from bursary.assignments.erasure import ErasureResult
from bursary.assignments.matching import BadAddresses, Verdict
from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.budgets.models import Budget
from tests.smtp import MailServer
from tests.world import (
    ALICE,
    BOB,
    NOW,
    PRICE,
    action_of,
    allocate,
    deliver,
    given_api_key,
    given_assignment,
    given_budget,
    given_customer,
    given_user,
    words_of,
)

pytestmark = pytest.mark.django_db

OVER = NOW + timedelta(days=90)


def no_files(_actions: Sequence[UUID]) -> int:
    return 0


def forget(address: str = ALICE) -> ErasureResult:
    return erasure.forget(address, now=NOW, remove=no_files)


def test_a_person_known_by_tokens_is_no_contact_for_notices_and_no_identity_any_more() -> None:
    customer, account = given_customer(), given_user(email=ALICE)
    ExternalIdentity.objects.create(user=account, issuer="https://lms.example", username="alice")
    SeenAdministrator.objects.create(user=account, customer=customer, seen_at=NOW)
    NoticeAddress.objects.create(customer=customer, address=ALICE)
    NoticeAddress.objects.create(customer=customer, address=BOB)

    assert forget(ALICE.upper()).complete

    assert not ExternalIdentity.objects.exists()
    assert not SeenAdministrator.objects.exists()
    assert [one.address for one in NoticeAddress.objects.all()] == [BOB]


@pytest.mark.on_every_engine
@pytest.mark.django_db(transaction=True)
def test_accounts_and_links_are_erased_again_after_a_deadlock_and_counted_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given_assignment()
    account = given_user(email=ALICE)
    forget_suppressions, named = suppressions.forget, []

    def deadlocked(addresses: Iterable[str]) -> int:
        named.append(User.objects.get(pk=account.pk).email == ALICE)
        if len(named) == 1:
            raise OperationalError(1213, "Deadlock found when trying to get lock; try restarting transaction")
        return forget_suppressions(addresses)

    monkeypatch.setattr(suppressions, "forget", deadlocked)

    done = forget()

    assert (done.complete, done.accounts, done.links) == (True, 1, 1)
    assert named == [False, False]
    account.refresh_from_db()
    assert ALICE not in (account.email, account.username)
    assert not LearnerLink.objects.exists()


@pytest.mark.parametrize("state", [State.ACCEPTED, State.CANCELLED, State.EXPIRED, State.ALLOCATED])
def test_on_request_every_state_is_forgotten(mail: MailServer, state: State) -> None:
    assignment = given_assignment()
    deliver()
    if state == State.ACCEPTED:
        redemption.begin(assignment, now=NOW)
    if state == State.CANCELLED:
        cancellation.cancel(assignment.budget, uuids=[assignment.uuid], now=NOW)
    if state == State.EXPIRED:
        expiry.expire_due(now=OVER)
    deliver(now=NOW)
    done = forget()
    assignment.refresh_from_db()
    assert done.complete
    assert "alice" not in words_of(assignment)
    assert assignment.forgotten_at == NOW
    assert Budget.objects.get().reserved_cents == 0


def test_on_request_what_is_open_is_cancelled_without_a_word(mail: MailServer) -> None:
    budget = given_budget()
    assignment = given_assignment(budget)
    deliver()
    sent = len(mail.received)
    done = forget(f" {ALICE.upper()} ")
    assert (done.cancelled, done.forgotten, done.links) == (1, 1, 1)
    assert deliver() == 0
    assert len(mail.received) == sent
    budget.refresh_from_db()
    assert budget.reserved_cents == 0
    notice = action_of(assignment, ActionType.CANCELLATION_NOTIFIED)
    assert (notice.status, notice.error_code) == (Status.SUPERSEDED, "forgotten")
    assert forget() == ErasureResult()


def test_what_is_being_redeemed_is_finished_first_and_forgotten_the_next_time(mail: MailServer) -> None:
    assignment, open_one = given_assignment(), given_assignment()
    deliver()
    redemption.begin(assignment, now=NOW)
    done = forget()
    assert [(one["assignment"], one["reason"]) for one in done.not_yet] == [
        (assignment.uuid, "being_redeemed")
    ]
    assert (done.forgotten, done.links, "alice" in words_of(open_one)) == (1, 0, False)
    deliver()
    assert forget().complete
    assignment.refresh_from_db()
    assert (assignment.state, "alice" in words_of(assignment)) == (State.ACCEPTED, False)
    assert Budget.objects.get(pk=assignment.budget_id).spent_cents == PRICE


def test_what_is_being_sent_is_forgotten_the_next_time(mail: MailServer) -> None:
    assignment = given_assignment()
    claimed = actions.claim(now=NOW, lease=timedelta(minutes=4), limit=2)
    done = forget()
    assert (done.cancelled, done.forgotten) == (1, 0)
    assert [one["reason"] for one in done.not_yet] == ["being_sent"]
    for action in claimed:
        actions.finish(action, outcomes.Done(payload={"text": ALICE}), now=NOW)
    assert forget().complete
    assert "alice" not in words_of(assignment)


def test_an_action_of_others_that_is_being_sent_is_counted_once_it_is_erased() -> None:
    given_assignment(address=BOB)
    actions.claim(now=NOW, lease=timedelta(minutes=4), limit=1)
    LearnerContentAssignmentAction.objects.filter(status=Status.RUNNING).update(recipient=ALICE)

    waiting = forget()
    done = erasure.forget(ALICE, now=NOW + timedelta(minutes=5), remove=no_files)

    assert ([one["reason"] for one in waiting.not_yet], waiting.elsewhere) == (["being_sent"], 0)
    assert (done.complete, done.elsewhere) == (True, 1)


@pytest.mark.on_every_engine
def test_on_request_the_address_goes_from_every_customer(mail: MailServer) -> None:
    theirs = [given_assignment(given_budget(customer=given_customer())) for _ in range(3)]
    bobs = given_assignment(theirs[0].budget, address=BOB)
    deliver()
    assert forget().forgotten == 3
    assert [link.learner_email for link in LearnerLink.objects.all()] == [BOB]
    assert not any("alice" in words_of(assignment) for assignment in theirs)
    assert "bob" in words_of(bobs)


def test_an_address_that_was_corrected_is_forgotten_without_the_assignment(mail: MailServer) -> None:
    assignment = given_assignment()
    deliver()
    address_corrections.correct_assignment(assignment, address=BOB, now=NOW)
    deliver()
    assert erasure.preview(ALICE).elsewhere == 3  # linked, notified, and the correction
    assert forget().complete
    assignment.refresh_from_db()
    assert (assignment.learner_email, assignment.state) == (BOB, State.ALLOCATED)
    assert "alice" not in words_of(assignment)
    assert action_of(assignment, ActionType.NOTIFIED).recipient == BOB


@pytest.mark.on_every_engine
def test_an_account_is_anonymised_and_its_deeds_keep_their_actor(client: Client) -> None:
    customer = given_customer()
    account = given_user(Role.LEARNER, customer=customer, email=ALICE, username=ALICE, lms_user_id=7)
    account.first_name, account.is_staff = "Alice", True
    account.save()
    given_api_key(account)
    client.force_login(account)
    assignment = given_assignment()
    redemption.begin(assignment, now=NOW, actor=account)
    deliver()
    LogEntry.objects.create(
        user=given_user(),
        content_type=ContentType.objects.get_for_model(User),
        object_id=str(account.pk),
        object_repr=ALICE,
        change_message=f"Changed {ALICE}.",
        action_flag=CHANGE,
    )
    assert forget().accounts == 1
    account.refresh_from_db()
    assert "alice" not in str([*User.objects.values(), *LogEntry.objects.values()]).lower()
    assert (account.is_active, account.is_staff, account.lms_user_id) == (False, False, None)
    assert not account.has_usable_password()
    assert account.learner_key == learner_key(account.email) != learner_key(ALICE)
    assert not RoleGrant.objects.filter(user=account).exists()
    assert not ApiKey.objects.get().works_at(NOW)
    assert not Session.objects.exists()
    assignment.refresh_from_db()
    assert assignment.lms_user_id is None
    assert action_of(assignment, ActionType.REDEEMED).actor == account


def test_other_peoples_sessions_go_on(client: Client) -> None:
    client.force_login(given_user(email=BOB))
    given_user(email=ALICE)
    assert forget().accounts == 1
    assert Session.objects.count() == 1


def test_on_request_the_same_persons_other_address_goes_with_the_account(mail: MailServer) -> None:
    account = given_user(email=BOB, lms_user_id=7)
    assignment = given_assignment(address=BOB)
    account.email = ALICE
    account.save()
    assert forget(ALICE).forgotten == 1
    assignment.refresh_from_db()
    assert (assignment.lms_user_id, "bob" in words_of(assignment)) == (None, False)


@pytest.mark.on_every_engine
def test_an_address_erased_on_request_can_be_assigned_to_anew(mail: MailServer) -> None:
    given_user(email=ALICE, lms_user_id=7)
    assignment = given_assignment()
    forget()
    assert assignment.content is not None
    done = allocate(assignment.budget, assignment.content, ALICE)
    assert [one.verdict for one in done.matches] == [Verdict.NEW]


def test_what_is_no_address_is_refused() -> None:
    given_user(username="alice", email="")
    for none in (" ", "alice"):
        with pytest.raises(BadAddresses):
            forget(none)
    assert User.objects.get().is_active


def test_what_is_known_is_counted_and_nothing_is_changed(mail: MailServer) -> None:
    given_assignment()
    deliver()
    given_user(email=ALICE)
    assert erasure.preview(ALICE) == erasure.ErasurePreview(
        {"allocated": 1}, elsewhere=0, links=1, accounts=1
    )
    assert erasure.preview(BOB) == erasure.ErasurePreview({}, elsewhere=0, links=0, accounts=0)
    assert LearnerContentAssignmentAction.objects.filter(recipient=ALICE).count() == 2
