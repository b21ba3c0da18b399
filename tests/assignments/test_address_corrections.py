"""Correcting an address: all open assignments of it, or none, with reasons."""

import pytest

from bursary.access.links import LinkRevoked
from bursary.access.models import AccountAddress, learner_key
from bursary.assignments import address_corrections, cancellation, redemption, signed_links
from bursary.assignments.choices import ActionType, State
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from tests.smtp import MailServer
from tests.world import (
    ALICE,
    BOB,
    CAROL,
    NOW,
    action_of,
    allocate,
    deliver,
    given_assignment,
    given_budget,
    given_content,
    given_user,
)

pytestmark = pytest.mark.django_db

TYPO = "alcie@learners.example"


def reason(old: str = TYPO, new: str = ALICE) -> str:
    before = list(LearnerContentAssignmentAction.objects.values())
    done = address_corrections.correct_pair(old, new, now=NOW)
    assert list(LearnerContentAssignmentAction.objects.values()) == before
    assert (bool(done.sentence), bool(done.next_step), done.corrected) == (True, True, [])
    return done.reason


def test_open_assignments_move_to_the_new_address_and_it_is_notified(mail: MailServer) -> None:
    first = given_assignment(address=TYPO)
    second = given_assignment(given_budget(customer=first.budget.customer), address=TYPO)
    ended = given_assignment(address=TYPO)
    cancellation.cancel(ended.budget, uuids=[ended.uuid], now=NOW)
    link = signed_links.token_for(first, address=TYPO, now=NOW)
    deliver()
    ada = given_user()

    done = address_corrections.correct_pair(TYPO.upper(), ALICE, now=NOW, actor=ada)

    assert done.corrected == [first.uuid, second.uuid]
    for one in (first, second):
        one.refresh_from_db()
        assert (one.learner_email, one.learner_key) == (ALICE, learner_key(ALICE))
        corrected = action_of(one, ActionType.EMAIL_CORRECTED)
        assert (corrected.actor, corrected.detail) == (ada, f"From {TYPO} to {ALICE}.")
    with pytest.raises(LinkRevoked):
        signed_links.opened(link, now=NOW)
    before = len(mail.received)
    deliver()
    assert [one["To"] for one in mail.received[before:]] == [ALICE, ALICE]
    ended.refresh_from_db()
    assert (ended.learner_email, ended.state) == (TYPO, State.CANCELLED)


def test_a_dry_run_says_the_same_and_changes_nothing(mail: MailServer) -> None:
    assignment = given_assignment(address=TYPO)
    before = list(LearnerContentAssignmentAction.objects.values())
    (found,) = address_corrections.correct_pairs([(TYPO, ALICE)], now=NOW, dry_run=True)
    assert found.corrected == [assignment.uuid]
    assert LearnerContentAssignment.objects.get().learner_email == TYPO
    assert list(LearnerContentAssignmentAction.objects.values()) == before


def test_where_one_cannot_be_corrected_none_is() -> None:
    given_assignment(address=TYPO)
    budget, content = given_budget(), given_content()
    allocate(budget, content, TYPO, ALICE)
    assert reason() == "address_taken"
    assert LearnerContentAssignment.objects.filter(learner_email=TYPO).count() == 2


def test_what_is_being_accepted_is_refused() -> None:
    redemption.begin(given_assignment(address=TYPO), now=NOW)
    assert reason() == "being_redeemed"


def test_what_makes_no_sense_is_refused() -> None:
    given_assignment(address=TYPO)
    assert reason(BOB) == "nothing_to_correct"
    assert reason(TYPO, TYPO.upper()) == "same_address"
    [same] = address_corrections.correct_pairs([(TYPO, TYPO)], now=NOW)
    assert same.reason == "same_address"
    assert reason(TYPO, "alice") == "invalid_addresses"


@pytest.mark.parametrize(
    ("pairs", "refused"),
    [
        ([(ALICE, BOB), (BOB.upper(), ALICE)], [True, True]),
        ([(ALICE, BOB), (BOB, CAROL)], [True, True]),
        ([(BOB, CAROL), (ALICE, BOB)], [True, True]),
        ([(ALICE, CAROL), (ALICE, TYPO)], [True, True]),
        ([(ALICE, CAROL), (ALICE, CAROL)], [True, True]),
        ([(ALICE, CAROL), (BOB, CAROL)], [False, False]),
        ([(ALICE, CAROL), (BOB, TYPO)], [False, False]),
    ],
)
@pytest.mark.parametrize("dry_run", [True, False])
def test_pairs_of_which_the_order_would_decide_are_refused(
    pairs: list[tuple[str, str]], refused: list[bool], dry_run: bool
) -> None:
    of_alice, of_bob = given_assignment(address=ALICE), given_assignment(address=BOB)

    done = address_corrections.correct_pairs(pairs, now=NOW, dry_run=dry_run)

    assert [one.reason == "address_in_other_pair" for one in done] == refused
    assert [one.corrected for one in done] == ([[], []] if any(refused) else [[of_alice.uuid], [of_bob.uuid]])
    of_alice.refresh_from_db()
    assert of_alice.learner_email == (ALICE if dry_run or any(refused) else CAROL)


@pytest.mark.parametrize("second", [CAROL, "carol.earlier@learners.example"])
@pytest.mark.parametrize("dry_run", [True, False])
def test_a_dry_run_judges_a_pair_with_the_earlier_ones_done(second: str, dry_run: bool) -> None:
    carol = given_user(email=CAROL, lms_user_id=7)
    AccountAddress.objects.create(
        user=carol,
        address="carol.earlier@learners.example",
        learner_key=learner_key("carol.earlier@learners.example"),
    )
    budget, content = given_budget(), given_content()
    allocate(budget, content, ALICE, BOB)

    done = address_corrections.correct_pairs([(ALICE, CAROL), (BOB, second)], now=NOW, dry_run=dry_run)

    assert [one.reason for one in done] == ["", "address_taken"]
    rows = LearnerContentAssignment.objects.order_by("pk").values_list("learner_email", flat=True)
    assert list(rows) == ([ALICE, BOB] if dry_run else [CAROL, BOB])
    assert not LearnerContentAssignmentAction.objects.filter(
        action_type=ActionType.EMAIL_CORRECTED, assignment__learner_email__in=[ALICE, BOB]
    ).exists()


def test_more_than_one_transaction_should_carry_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address_corrections, "MAX_ASSIGNMENTS", 1)
    given_assignment(address=TYPO)
    given_assignment(address=TYPO)
    assert reason() == "too_many_assignments"
