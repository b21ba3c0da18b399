"""The remedies that the page of an assignment offers: those that fit, and none that would be refused."""

import html
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from bursary.access.models import Role
from bursary.assignments import cancellation, failures
from bursary.assignments.choices import ActionType, State
from bursary.assignments.models import LearnerContentAssignment
from tests import world
from tests.dashboard.remedies import OF_ACTIONS, REMEDIES
from tests.world import NOW

pytestmark = pytest.mark.django_db

MaxQueries = Callable[[int], AbstractContextManager[Any]]

WRONG = "alice@nowhere.invalid"


@pytest.fixture(autouse=True)
def _tomorrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timezone, "now", lambda: NOW + timedelta(days=1))


def notified(client: Client, address: str) -> LearnerContentAssignment:
    """Return an assignment of which the invitation was tried; its administrator is signed in."""
    row = world.given_assignment(world.given_budget(seats=3), address=address)
    world.deliver()
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=row.budget.customer))
    return row


@pytest.fixture
def assignment(client: Client) -> LearnerContentAssignment:
    return notified(client, world.ALICE)


@pytest.fixture
def failed(client: Client) -> LearnerContentAssignment:
    return notified(client, WRONG)


def at(name: str, row: LearnerContentAssignment) -> str:
    return reverse(name, args=[row.uuid])


def page(client: Client, row: LearnerContentAssignment) -> str:
    answer = client.get(at("assignment", row))
    assert answer.status_code == 200
    return " ".join(html.unescape(answer.content.decode()).split())


def test_a_failure_has_the_remedies_that_fit_it(failed: LearnerContentAssignment, client: Client) -> None:
    shown = page(client, failed)

    entry = shown.partition('class="timeline"')[2].partition('class="failed">')[2].partition("</li>")[0]
    assert f'btn-primary" href="{at("correct-address", failed)}">Correct the address' in entry
    retry = f'action="{at("retry-action", failed)}"'
    assert retry not in entry  # to the same address, it would fail again
    failed.actions.filter(action_type=ActionType.NOTIFIED).update(error_code="message_refused")
    assert retry in page(client, failed)
    assert (
        f'href="{at("skip-action", failed)}?action={world.action_of(failed, ActionType.NOTIFIED).uuid}"'
        in entry
    )
    assert at("remind-learner", failed) not in shown  # the learner was not notified yet


def test_what_waits_can_be_reminded_extended_and_cancelled(
    assignment: LearnerContentAssignment, client: Client
) -> None:
    shown = page(client, assignment)

    for name in ("remind-learner", "extend-deadline", "cancel-assignment", "correct-address"):
        assert at(name, assignment) in shown
    for name in OF_ACTIONS:
        assert at(name, assignment) not in shown


@pytest.mark.parametrize(
    ("columns", "withheld"),
    [
        ({"state": State.ACCEPTED}, (*REMEDIES,)),
        ({"state": State.EXPIRED}, (*REMEDIES,)),
        ({"redeeming_since": NOW}, (*REMEDIES,)),
        ({"expires_at": NOW}, ("remind-learner", "extend-deadline")),
        ({"expires_reason": "ENROLLMENT_DATE_PASSED"}, ("extend-deadline",)),
        ({"expires_reason": "SUBSIDY_EXPIRED"}, ("extend-deadline",)),
        ({"forgotten_at": NOW}, ("remind-learner", "correct-address")),
    ],
)
def test_what_would_be_refused_is_not_offered(
    assignment: LearnerContentAssignment, client: Client, columns: dict[str, Any], withheld: tuple[str, ...]
) -> None:
    LearnerContentAssignment.objects.update(**columns)

    shown = page(client, assignment)

    assert [name for name in REMEDIES if at(name, assignment) not in shown] == [*withheld]
    # Where only another date is in the way of a later deadline, the page says so beside the deadline.
    assert ("It cannot be extended beyond that." in shown) is ("expires_reason" in columns)


def test_a_budget_that_is_not_in_use_is_not_reminded_of(
    assignment: LearnerContentAssignment, client: Client
) -> None:
    assignment.budget.active = False
    assignment.budget.save()

    assert at("remind-learner", assignment) not in page(client, assignment)


def test_a_failed_redemption_is_the_learners_own_to_repeat(
    failed: LearnerContentAssignment, client: Client
) -> None:
    failed.actions.filter(action_type=ActionType.NOTIFIED).update(
        action_type=ActionType.REDEEMED, error_code="ledger_refused"
    )

    shown = page(client, failed)

    assert "Accepting the course failed: the money could not be spent." in shown
    assert at("retry-action", failed) not in shown


@pytest.mark.parametrize("name", ["extend-deadline", "cancel-assignment", "correct-address", *OF_ACTIONS])
def test_each_question_takes_few_queries(
    failed: LearnerContentAssignment,
    client: Client,
    name: str,
    django_assert_max_num_queries: MaxQueries,
) -> None:
    named = {"action": str(world.action_of(failed, ActionType.NOTIFIED).uuid)}

    with django_assert_max_num_queries(12) as queries:
        assert client.get(at(name, failed), named).status_code == 200
    assert '"payload"' not in str(queries.captured_queries)


def test_a_learner_with_an_ended_account_is_skipped_and_not_retried(
    failed: LearnerContentAssignment, client: Client
) -> None:
    world.given_user(email=WRONG, is_active=False)

    shown = page(client, failed)

    assert at("retry-action", failed) not in shown
    assert at("skip-action", failed) in shown
    assert "Skip it: the learner's account has ended." in shown


@pytest.mark.parametrize("columns", [{"state": State.ACCEPTED}, {"expires_at": NOW}])
def test_a_deadline_that_cannot_be_extended_has_no_form_and_says_why(
    assignment: LearnerContentAssignment, client: Client, columns: dict[str, Any]
) -> None:
    LearnerContentAssignment.objects.update(**columns)

    shown = html.unescape(client.get(at("extend-deadline", assignment)).content.decode())

    assert 'name="until"' not in shown
    assert ("The learner has accepted it." in shown) or ("Its deadline has passed" in shown)


def test_a_cancelled_one_says_so_instead_of_the_form_and_to_a_reminder(
    assignment: LearnerContentAssignment, client: Client
) -> None:
    cancellation.cancel(assignment.budget, uuids=[assignment.uuid], now=NOW)
    why = "It was cancelled on Monday, 2 March 2026: nothing is changed about it or sent any more."

    shown = client.get(at("extend-deadline", assignment)).content.decode()
    reminded = client.post(at("remind-learner", assignment), follow=True).content.decode()

    assert (why in shown, why in reminded) == (True, True)
    assert 'name="until"' not in shown


def test_a_deadline_is_extended_by_a_button_with_its_day(
    assignment: LearnerContentAssignment, client: Client
) -> None:
    shown = client.get(at("extend-deadline", assignment)).content.decode()
    days = re.findall(r'name="until" value="(\S+)" class="[^"]*"><span>(.*?): ', shown)
    assert days == [("2026-06-14", "+2 weeks"), ("2026-07-01", "+1 month")]
    assert "The learner gets no e-mail about the extension." in shown

    client.post(at("extend-deadline", assignment), {"until": days[0][0]})

    assignment.refresh_from_db()
    assert f"{assignment.expires_at.astimezone(assignment.budget.customer.zone):%Y-%m-%d %H:%M}" == (
        "2026-06-14 23:59"
    )


def test_a_skipped_invitation_is_shown_with_the_reason_for_which_it_was(
    failed: LearnerContentAssignment, client: Client
) -> None:
    def notes() -> list[str]:
        texts = [client.get("/assignments/").content.decode(), page(client, failed).partition("<h2")[0]]
        return [note for text in texts for note in re.findall(r'<span class="note"[^>]*>(.*?)</', text)]

    before = notes()
    assert before == ["The address does not exist."] * 2
    failures.skip(failed.budget, uuids=[failed.uuid], reason="Alice knows", now=NOW + timedelta(hours=1))
    assert notes() == ["Skipped: Alice knows"] * 2

    cancellation.cancel(failed.budget, uuids=[failed.uuid], now=NOW + timedelta(hours=2))
    assert notes() == []
