"""What an administrator does about one assignment: asked about first, done, or refused in words."""

import html
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.mail import EmailMessage
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from bursary.access.models import Role, User
from bursary.assignments.choices import ActionType, Status
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.budgets.models import Budget
from tests import world
from tests.dashboard.remedies import OF_ACTIONS, REMEDIES
from tests.world import BOB, NOW

pytestmark = pytest.mark.django_db

WRONG, RIGHT = "alice@nowhere.invalid", "alice@people.example"


@pytest.fixture
def today(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set the day: so many after the allocation; at first, one."""

    def set_day(days: int) -> None:
        monkeypatch.setattr(timezone, "now", lambda: NOW + timedelta(days=days))

    set_day(1)
    return set_day


@pytest.fixture
def assignment(today: Any) -> LearnerContentAssignment:
    row = world.given_assignment(world.given_budget(seats=3))
    world.deliver()
    return row


@pytest.fixture
def failed(today: Any) -> LearnerContentAssignment:
    """An assignment with a rejected invitation."""
    row = world.given_assignment(world.given_budget(seats=3), address=WRONG)
    world.deliver()
    return row


@pytest.fixture
def ada(client: Client) -> Client:
    """The administrator's browser."""
    budget = LearnerContentAssignment.objects.get().budget
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=budget.customer, username="ada"))
    return client


def at(name: str, row: LearnerContentAssignment) -> str:
    return reverse(name, args=[row.uuid])


def words(answer: Any, status: int = 200) -> str:
    assert answer.status_code == status
    return " ".join(html.unescape(answer.content.decode()).split())


def page(client: Client, row: LearnerContentAssignment) -> str:
    return words(client.get(at("assignment", row)))


def alerts(answer: Any) -> list[tuple[str, str]]:
    """Return the colour and the text of each message on the page."""
    return re.findall(r'<div class="alert alert-(\w+)" role="status">(.*?)</div>', words(answer))


def invitation(row: LearnerContentAssignment) -> LearnerContentAssignmentAction:
    return world.action_of(row, ActionType.NOTIFIED)


# -- Each remedy --------------------------------------------------------------------------------------------


def test_an_address_is_corrected_and_the_invitation_goes_there(
    failed: LearnerContentAssignment, ada: Client, mailoutbox: list[EmailMessage]
) -> None:
    other = world.given_content()
    world.allocate(failed.budget, other, WRONG)
    form = words(ada.get(at("correct-address", failed)))
    assert f'name="address" value="{WRONG}"' in form
    assert "1 other open assignment at this address gets the new one, too." in form

    done = ada.post(at("correct-address", failed), {"address": f" {RIGHT} "}, follow=True)

    assert alerts(done) == [
        ("success", f"The address is corrected in 2 assignments: their invitations go to {RIGHT}.")
    ]
    assert {row.learner_email for row in LearnerContentAssignment.objects.all()} == {RIGHT}
    world.deliver(now=timezone.now())
    assert [mail.to for mail in mailoutbox] == [[RIGHT], [RIGHT]]
    shown = page(ada, failed)
    assert f"The invitation to <bdi>{RIGHT}</bdi> was sent." in shown
    assert at("retry-action", failed) not in shown


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("", "This field is required."),
        (WRONG.upper(), "Both are the same address. Give another address."),
        ("alice at people", "Correct the new address."),
    ],
)
def test_an_address_that_cannot_be_used_is_an_error_of_the_field(
    failed: LearnerContentAssignment, ada: Client, typed: str, why: str
) -> None:
    refused = words(ada.post(at("correct-address", failed), {"address": typed}), 422)

    assert why in refused.partition('id="address_error"')[2].partition("</div>")[0]
    assert 'aria-invalid="true"' in refused
    failed.refresh_from_db()
    assert failed.learner_email == WRONG


def test_an_address_with_an_assignment_of_its_own_is_refused_with_what_to_do(
    failed: LearnerContentAssignment, ada: Client
) -> None:
    assert failed.content is not None
    world.allocate(failed.budget, failed.content, BOB)

    refused = words(ada.post(at("correct-address", failed), {"address": BOB}), 422)

    assert "Cancel the assignment at the old address." in refused


def test_what_failed_is_retried_at_the_press_of_a_button(
    failed: LearnerContentAssignment, ada: Client
) -> None:
    before = invitation(failed)

    done = ada.post(at("retry-action", failed), {"action": before.uuid}, follow=True)

    assert alerts(done) == [("success", "It is tried again now.")]
    again = invitation(failed)
    assert (again.retry_of, again.status, again.actor and again.actor.username) == (
        *(before, Status.PENDING),
        "ada",
    )


def test_a_second_retry_is_refused_and_says_so_as_an_error(
    failed: LearnerContentAssignment, ada: Client
) -> None:
    named = {"action": invitation(failed).uuid}
    ada.post(at("retry-action", failed), named)

    done = ada.post(at("retry-action", failed), named, follow=True)

    assert alerts(done)[-1] == (
        "danger",
        "Nothing of it failed. It may have been retried meanwhile: see the timeline.",
    )


def test_before_a_retry_of_what_failed_long_ago_the_page_says_so(
    failed: LearnerContentAssignment, ada: Client, today: Any
) -> None:
    failed.actions.filter(action_type=ActionType.NOTIFIED).update(error_code="message_refused")
    address = f"{at('retry-action', failed)}?action={invitation(failed).uuid}"
    today(30)
    ada.force_login(User.objects.get())  # the session has ended
    assert f'href="{address}"' not in page(ada, failed)
    assert "the learner may not expect" not in words(ada.get(address))

    today(33)
    ada.force_login(User.objects.get())  # the session has ended
    assert f'href="{address}"' in page(ada, failed)
    assert f'action="{at("retry-action", failed)}"' not in page(ada, failed)
    asked = words(ada.get(address))
    assert "That was 1 month ago, on Monday, 2 March 2026, 10:00 (Madrid time)" in asked
    assert "the learner may not expect this mail any more" in asked
    assert world.action_of(failed, ActionType.NOTIFIED).status == Status.FAILED


def test_what_failed_is_skipped_for_a_reason_that_stays(
    failed: LearnerContentAssignment, ada: Client
) -> None:
    named = {"action": invitation(failed).uuid}
    without = words(ada.post(at("skip-action", failed), {**named, "reason": " "}), 422)
    assert "This field is required." in without
    assert invitation(failed).status == Status.FAILED

    done = ada.post(at("skip-action", failed), {**named, "reason": "Asked by phone"}, follow=True)

    assert alerts(done)[0][0] == "success"
    assert (invitation(failed).status, invitation(failed).detail) == (Status.SKIPPED, "Asked by phone")
    shown = words(done)
    assert "Asked by phone" in shown
    assert "was not sent: an administrator decided so." in shown
    assert at("retry-action", failed) not in shown


def test_a_learner_is_reminded_once_within_ten_minutes(
    assignment: LearnerContentAssignment, ada: Client
) -> None:
    first = ada.post(at("remind-learner", assignment), follow=True)
    second = ada.post(at("remind-learner", assignment), follow=True)

    assert alerts(first)[0] == ("success", "A reminder was requested: the timeline says what becomes of it.")
    refused = "A mail was sent a moment ago, or is being sent, so that no reminder was requested."
    assert alerts(second)[0] == ("info", f"{refused} Come again in 10 min.")
    assert assignment.actions.filter(action_type=ActionType.REMINDED).count() == 1


def test_a_refused_reminder_is_an_error_with_its_next_step(
    assignment: LearnerContentAssignment, ada: Client
) -> None:
    LearnerContentAssignment.objects.update(expires_at=NOW)

    done = ada.post(at("remind-learner", assignment), follow=True)

    assert alerts(done) == [
        (
            "danger",
            "Its deadline has passed. Assign the course again: the learner then has a new deadline.",
        )
    ]


def test_a_deadline_is_extended_to_the_end_of_the_day_in_the_organisations_zone(
    assignment: LearnerContentAssignment, ada: Client
) -> None:
    form = words(ada.get(at("extend-deadline", assignment)))
    assert (
        "The deadline is Sunday, 31 May 2026, 11:00 (Madrid time): after that the assignment expires." in form
    )
    assert "until the end of that day, Madrid time" in form

    done = ada.post(at("extend-deadline", assignment), {"until": "2026-07-10"}, follow=True)

    assert alerts(done) == [
        ("success", "The deadline is extended to Friday, 10 July 2026, 23:59 (Madrid time).")
    ]
    assert "10 July 2026, 23:59 (Madrid time): it was extended." in words(done)
    again = words(ada.get(at("extend-deadline", assignment)))
    assert "The deadline is Friday, 10 July 2026, 23:59 (Madrid time): it was extended." in again


def test_a_deadline_that_another_date_cuts_short_says_so_before_and_after(ada_of_bounded: Any) -> None:
    ada, row = ada_of_bounded
    before = row.expires_at

    asked = words(ada.post(at("extend-deadline", row), {"until": "2026-07-10"}))

    cut = "Monday, 15 June 2026, 12:00 (Madrid time)"
    assert f"It would become {cut}, sooner than that day: enrolment in the course closes then." in asked
    row.refresh_from_db()
    assert (row.expires_at, row.extended_until) == (before, None)
    assert not row.actions.filter(action_type=ActionType.DEADLINE_EXTENDED).exists()

    (agreed,) = re.findall(r'name="agreed" value="(.*?)"', asked)
    form = {"until": "2026-07-10", "agreed": agreed}
    done = ada.post(at("extend-deadline", row), form, follow=True)
    assert alerts(done) == [
        (
            "success",
            f"The deadline is extended to {cut}, and no further: enrolment in the course closes then.",
        )
    ]


def test_the_field_for_a_deadline_has_the_days_from_the_deadline_to_what_binds_it(
    ada_of_bounded: Any,
) -> None:
    ada, row = ada_of_bounded
    assert 'min="2026-05-31" max="2026-06-15"' in words(ada.get(at("extend-deadline", row)))

    Budget.objects.update(ends_at=datetime.fromisoformat("2026-06-09T22:30:00Z"))
    assert 'min="2026-05-31" max="2026-06-10"' in words(ada.get(at("extend-deadline", row)))

    last_second = datetime.fromisoformat("2026-06-01T21:59:59Z")
    LearnerContentAssignment.objects.update(expires_at=last_second)
    assert 'min="2026-06-02" max="2026-06-10"' in words(ada.get(at("extend-deadline", row)))


def test_agreeing_to_one_date_is_not_agreeing_to_another(ada_of_bounded: Any) -> None:
    ada, row = ada_of_bounded

    asked = words(ada.post(at("extend-deadline", row), {"until": "2026-07-10", "agreed": "yes"}))

    assert "It would become" in asked
    row.refresh_from_db()
    assert row.extended_until is None


@pytest.fixture
def ada_of_bounded(client: Client, today: Any) -> tuple[Client, LearnerContentAssignment]:
    """An assignment of a course in which enrolment closes two weeks after the deadline; its administrator."""
    closes = datetime(2026, 6, 15, 10, tzinfo=UTC)
    row = world.given_assignment(content=world.given_content(enroll_by=closes))
    user = world.given_user(Role.ADMINISTRATOR, customer=row.budget.customer)
    client.force_login(user)
    return client, row


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("2026-05-30", "The deadline is already Sunday, 31 May 2026. Choose a day after it."),
        ("2026-03-01", "That day is over. Choose a day that is still to come."),
        ("soon", "Give a date"),
        ("", "This field is required."),
    ],
)
def test_a_day_that_cannot_be_used_is_an_error_of_the_field(
    assignment: LearnerContentAssignment, ada: Client, typed: str, why: str
) -> None:
    refused = words(ada.post(at("extend-deadline", assignment), {"until": typed}), 422)

    assert why in refused.partition('id="until_error"')[2].partition("</div>")[0]


# -- By permitted users alone -------------------------------------------------------------------------------


def test_others_find_no_such_page_and_change_nothing(
    failed: LearnerContentAssignment, subtests: pytest.Subtests
) -> None:
    named = {"action": str(invitation(failed).uuid), "address": RIGHT, "until": "2026-07-10", "reason": "x"}
    before = world.timeline(failed)
    customer = failed.budget.customer
    users = [
        world.given_user(Role.ADMINISTRATOR, customer=world.given_customer()),
        world.given_user(Role.LEARNER, customer=customer, email=WRONG),
        world.given_user(),
    ]

    clients = [Client() for _user in users]
    for client, user in zip(clients, users, strict=True):
        client.force_login(user)
    elsewhere = Client(enforce_csrf_checks=True)
    elsewhere.force_login(world.given_user(Role.ADMINISTRATOR, customer=customer))
    for name in (*REMEDIES, *OF_ACTIONS):
        with subtests.test(name):
            for client in clients:
                assert client.get(at(name, failed), named).status_code == 404
                assert client.post(at(name, failed), named).status_code == 404
            assert elsewhere.post(at(name, failed), named).status_code == 403
            assert Client().post(at(name, failed), named).headers["Location"].startswith("/sign-in/")

            assert world.timeline(failed) == before


def test_an_action_of_another_assignment_is_not_found(
    failed: LearnerContentAssignment, ada: Client, subtests: pytest.Subtests
) -> None:
    other = world.given_assignment(address="bob@nowhere.invalid")
    world.deliver()

    for name in OF_ACTIONS:
        for named in (str(invitation(other).uuid), "none", ""):
            with subtests.test(name, named=named):
                assert ada.get(at(name, failed), {"action": named}).status_code == 404
                assert ada.post(at(name, failed), {"action": named, "reason": "x"}).status_code == 404
    assert invitation(other).status == Status.FAILED
