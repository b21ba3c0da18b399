"""Work on many assignments: asked first, done batch by batch, each that could not be done by name."""

import html
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from bursary.access.models import Role
from bursary.assignments import actions, cancellation
from bursary.assignments import reminders as reminders_of
from bursary.assignments.actions import Failed, Failure
from bursary.assignments.choices import ActionType, ErrorReason, State, Status
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.budgets import terms
from bursary.budgets.models import Budget
from bursary.dashboard import bulk_work
from tests import world
from tests.once import made_once

pytestmark = pytest.mark.django_db

SELECTED = "/assignments/selected/"


@pytest.fixture(autouse=True)
def _today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timezone, "now", lambda: world.NOW + timedelta(hours=1))


@pytest.fixture(scope="module", autouse=True)
def _notified(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """A budget with five learners, notified a while ago."""
    with made_once(django_db_blocker):
        world.allocate(world.given_budget(name="Languages"), world.given_content(), *world.addresses(5))
        world.deliver()
        mails = LearnerContentAssignmentAction.objects.filter(action_type=ActionType.NOTIFIED)
        mails.update(created=world.NOW - timedelta(days=1))
        yield


@pytest.fixture
def budget(client: Client) -> Budget:
    """That budget; its administrator is signed in."""
    budget = Budget.objects.get()
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=budget.customer))
    return budget


def rows() -> list[LearnerContentAssignment]:
    return list(LearnerContentAssignment.objects.order_by("pk"))


def states() -> list[str]:
    return [row.state for row in rows()]


def reminders() -> int:
    return LearnerContentAssignmentAction.objects.filter(action_type=ActionType.REMINDED).count()


def post(client: Client, **form: Any) -> Any:
    return client.post(SELECTED, form)


def text(answer: Any, *, status: int = 200) -> str:
    assert answer.status_code == status
    return " ".join(html.unescape(answer.content.decode()).split())


def form_of(page: str) -> dict[str, Any]:
    """Return the hidden fields of the page's form, as a browser sends them."""
    fields: dict[str, Any] = {"uuid": []}
    within = page.partition("<main")[2] or page
    for name, value in re.findall(r'<input type="hidden" name="(\w+)" value="(.*?)">', within):
        if name == "uuid":
            fields["uuid"].append(value)
        else:
            fields[name] = value
    return fields


def test_nothing_is_done_before_it_is_confirmed(client: Client, budget: Budget) -> None:
    named = [str(row.uuid) for row in rows()[:2]]

    question = text(post(client, verb="cancel", uuid=named))

    assert "Cancel 2 assignments?" in question
    assert "Their money is free at once" in question
    assert "What comes free: $398.00 (\u2068Languages\u2069)." in question
    assert f"The learners: \u2068{rows()[0].learner_email}\u2069, " in question
    assert set(states()) == {State.ALLOCATED}

    done = text(client.post(SELECTED, form_of(question)))

    assert "Cancelled: 2." in done
    assert states() == [State.CANCELLED] * 2 + [State.ALLOCATED] * 3
    budget.refresh_from_db()
    assert budget.held_cents == 3 * world.PRICE


def test_each_that_could_not_be_done_is_named_with_the_reason(client: Client, budget: Budget) -> None:
    accepted, cancelled, *_others = rows()
    LearnerContentAssignment.objects.filter(pk=accepted.pk).update(state=State.ACCEPTED)
    cancellation.cancel(budget, uuids=[cancelled.uuid], now=world.NOW)

    done = text(post(client, verb="remind", uuid=[str(row.uuid) for row in rows()], confirmed=5))

    assert "Reminded: 3." in done
    assert "2 were left as they are." in done
    assert f"<bdi>{accepted.learner_email}</bdi>" in done
    assert 'Tidal Engines</small> <span class="why">The learner has accepted it.' in done
    assert "It is cancelled." in done
    assert reminders() == 3


def test_those_of_a_later_step_take_their_turn_behind_those_of_the_earlier_ones(
    client: Client, budget: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_work, "BATCH", 2)
    page = text(post(client, verb="remind", everything="yes", query=f"budget={budget.uuid}&status=waiting"))
    for _step in range(3):
        page = text(client.post(SELECTED, form_of(page)))

    mails = LearnerContentAssignmentAction.objects.filter(action_type=ActionType.REMINDED)
    assert list(mails.order_by("due_at").values_list("due_at", flat=True)) == [
        timezone.now() + timedelta(seconds=place) for place in range(5)
    ]


def test_those_of_several_budgets_take_turns_with_each_other(client: Client, budget: Budget) -> None:
    other = world.given_budget(customer=budget.customer)
    world.given_assignment(other, address="other@people.example")

    post(client, verb="cancel", uuid=[str(row.uuid) for row in rows()], confirmed=6)

    mails = LearnerContentAssignmentAction.objects.filter(action_type=ActionType.CANCELLATION_NOTIFIED)
    assert len(set(mails.values_list("due_at", flat=True))) == 6


def test_all_that_the_filter_finds_are_reminded(client: Client, budget: Budget) -> None:
    other = world.given_budget(customer=budget.customer)
    world.given_assignment(other, address="other@people.example")

    question = text(
        post(client, verb="remind", everything="yes", query=f"budget={budget.uuid}&status=waiting")
    )
    assert "Remind the learners of 5 assignments?" in question
    done = text(client.post(SELECTED, form_of(question)))

    assert "Reminded: 5." in done
    assert f'href="/assignments/?budget={budget.uuid}&status=waiting"' in done
    assert reminders() == 5


def test_it_is_refused_where_the_count_has_changed_since(client: Client, budget: Budget) -> None:
    question = text(post(client, verb="cancel", everything="yes", query=""))
    cancellation.cancel(budget, uuids=[rows()[0].uuid], now=world.NOW)

    refused = text(client.post(SELECTED, form_of(question)), status=409)

    assert "it was 5, and is 4 now. Nothing was done." in refused
    assert states().count(State.ALLOCATED) == 4
    assert "Cancelled: 4." in text(client.post(SELECTED, form_of(refused)))


def test_every_budget_that_gets_its_money_back_is_named_and_all_of_it_added_up(
    client: Client, budget: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        other = world.given_budget(name=f"Budget {number}", customer=budget.customer)
        world.given_assignment(other, address=f"learner-{number}@people.example")

    question = text(post(client, verb="cancel", everything="yes", query=""))
    assert (
        "What comes free: $2,189.00, that is $995.00 (\u2068Languages\u2069), $199.00 (\u2068Bu" in question
    )
    assert all(f"(\u2068Budget {number}\u2069)" in question for number in range(6))

    monkeypatch.setattr(bulk_work, "MOST_BUDGETS", 5)
    assert "$398.00 (2 more budgets)" in text(post(client, verb="cancel", everything="yes", query=""))


def test_a_long_list_is_done_in_batches_and_says_how_far_it_is(
    client: Client, budget: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_work, "BATCH", 2)
    question = text(post(client, verb="cancel", everything="yes", query=""))

    step = text(client.post(SELECTED, form_of(question)))
    assert "2 of 5 so far" in step
    assert states().count(State.CANCELLED) == 2
    step = text(client.post(SELECTED, form_of(step), headers={"HX-Request": "true"}))
    assert "4 of 5 so far" in step
    assert "<html" not in step
    assert "outcome" not in step
    done = text(client.post(SELECTED, form_of(step), headers={"HX-Request": "true"}))

    # It goes to the beginning of the page, where the first answer has the place for it.
    outcome = done.partition('<div id="outcome" hx-swap-oob="innerHTML">')[2]
    assert "Cancelled: 5." in outcome
    assert set(states()) == {State.CANCELLED}


def test_what_failed_is_retried(client: Client, budget: Budget) -> None:
    world.given_assignment(budget, world.given_content(), address="leo@nowhere.invalid")
    world.deliver()

    question = text(post(client, verb="retry", everything="yes", query="cause=address_rejected"))
    assert "Retry one assignment?" in question
    done = text(client.post(SELECTED, form_of(question)))

    assert "Retried: 1." in done
    leo = rows()[-1]
    assert [row for row in world.timeline(leo) if row[0] == ActionType.NOTIFIED] == [
        ("notified", "failed"),
        ("notified", "pending"),
    ]


def test_a_deadline_is_extended_to_the_end_of_the_day_in_the_organisations_zone(
    client: Client, budget: Budget
) -> None:
    first, *_others = rows()

    question = text(post(client, verb="extend", uuid=[str(first.uuid)]))
    assert 'type="date"' in question
    for until in ("", "soon"):
        refused = text(client.post(SELECTED, {**form_of(question), "until": until}), status=422)
        assert "Give a day from 2 Mar 2026 to 28 Feb 2036." in refused
    done = text(client.post(SELECTED, {**form_of(question), "until": "2026-06-30"}))

    assert "Extended: 1." in done
    first.refresh_from_db()
    assert first.expires_at == datetime(2026, 6, 30, 21, 59, 59, tzinfo=UTC)
    too_early = text(client.post(SELECTED, {**form_of(question), "until": "2026-06-29"}))
    assert "Its deadline is not before that day." in too_early
    assert 'role="status"> <p class="alert alert-warning">Extended: 0. 1 was left as it is.' in too_early


def test_an_extension_that_another_date_cuts_short_says_so(client: Client, budget: Budget) -> None:
    terms.change(budget, now=world.NOW, terms={"ends_at": datetime(2026, 6, 10, 20, tzinfo=UTC)})
    first, *_others = rows()
    form = {"verb": "extend", "uuid": [str(first.uuid)], "confirmed": 1, "until": "2026-06-30"}

    done = text(post(client, **form))

    assert "Extended: 1." in done
    assert f"<bdi>{first.learner_email}</bdi>" in done
    assert "Extended to 10 Jun 2026 only: its budget ends then." in done


def test_without_a_selection_it_says_to_select(client: Client, budget: Budget) -> None:
    answer = client.post(SELECTED, {"verb": "cancel", "query": "status=waiting"}, follow=True)

    assert answer.redirect_chain == [("/assignments/?status=waiting", 303)]
    assert "Select some assignments first, or all that the filter finds." in text(answer)


def test_failures_of_long_ago_are_asked_about_before_they_are_retried(client: Client, budget: Budget) -> None:
    world.given_assignment(budget, world.given_content(), address="leo@nowhere.invalid")
    world.deliver()
    form = {"verb": "retry", "everything": "yes", "query": ""}
    assert "30 days ago" not in text(post(client, **form))

    failed = LearnerContentAssignmentAction.objects.filter(status="failed")
    failed.update(completed_at=world.NOW - timedelta(days=30))

    assert "One of them failed more than 30 days ago" in text(post(client, **form))


def test_others_assignments_are_never_touched(client: Client, budget: Budget) -> None:
    stranger = world.given_assignment(address="stranger@elsewhere.example")

    named = post(client, verb="cancel", uuid=[str(stranger.uuid)], confirmed=1)
    assert named.headers["Location"] == "/assignments/?"
    asked = {"verb": "cancel", "everything": "yes", "query": f"budget={stranger.budget.uuid}", "confirmed": 1}
    assert post(client, **asked).status_code == 404
    assert post(client, **asked, after=1, last=10**9).status_code == 404

    client.force_login(world.given_user(Role.LEARNER, customer=budget.customer))
    assert post(client, verb="cancel", everything="yes", confirmed=5).status_code == 404
    stranger.refresh_from_db()
    assert stranger.state == State.ALLOCATED
    assert State.CANCELLED not in states()


def test_it_needs_the_form_of_this_site(budget: Budget) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=budget.customer))

    assert post(client, verb="cancel", everything="yes", confirmed=5).status_code == 403
    assert State.CANCELLED not in states()


@pytest.mark.parametrize("form", [{}, {"verb": "delete"}, {"verb": "cancel", "uuid": "nonsense"}])
def test_what_is_no_such_form_is_not_found(client: Client, budget: Budget, form: dict[str, str]) -> None:
    assert post(client, **form).status_code == 404
    assert client.get(SELECTED).status_code == 405


def test_no_step_follows_a_question_that_was_not_answered(client: Client, budget: Budget) -> None:
    before = states()

    for verb in ("cancel", "extend"):
        for until in ("", "2026-06-30", "soon"):
            form = {"verb": verb, "everything": "yes", "query": "", "after": 1, "last": 10**9, "until": until}
            assert 'name="confirmed"' in post(client, **form).content.decode()

    assert states() == before
    assert set(LearnerContentAssignment.objects.values_list("extended_until", flat=True)) == {None}


def test_a_step_is_believed_only_as_it_was_signed(
    client: Client, budget: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_work, "BATCH", 2)
    question = text(post(client, verb="cancel", everything="yes", query=""))
    step = form_of(text(client.post(SELECTED, form_of(question))))
    assert states().count(State.CANCELLED) == 2

    for changed in (
        {**step, "query": "status=waiting"},
        {**step, "step": step["step"] + "x"},
        {"verb": "cancel", "everything": "yes", "query": "", "done": "1000", "refused": "7", "after": "1"},
    ):
        assert 'name="confirmed"' in client.post(SELECTED, changed).content.decode()
    assert states().count(State.CANCELLED) == 2
    assert "4 of 5 so far" in text(client.post(SELECTED, step))


def test_a_day_that_some_zone_cannot_have_is_refused_before_anything_is_extended(
    client: Client, budget: Budget
) -> None:
    for until in ("8999-12-31", "9999-12-31", "0001-01-01"):
        form = {"verb": "extend", "everything": "yes", "query": "", "confirmed": 5, "until": until}
        assert post(client, **form).status_code == 422
    assert set(LearnerContentAssignment.objects.values_list("extended_until", flat=True)) == {None}


def test_a_status_that_there_is_none_of_finds_nothing_to_work_on(client: Client, budget: Budget) -> None:
    form = {"verb": "cancel", "everything": "yes", "query": "status=allocated", "confirmed": 5}
    assert post(client, **form).status_code == 303
    assert State.CANCELLED not in states()


def test_a_reminder_that_came_too_late_is_skipped_for_a_reason_from_home(
    client: Client, budget: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = rows()[0]
    now = world.NOW + timedelta(hours=1)
    reminders_of.remind(budget, uuids=[first.uuid], now=now)
    reminded = LearnerContentAssignmentAction.objects.filter(action_type=ActionType.REMINDED)
    claimed = actions.claim(now=now, lease=timedelta(hours=1), limit=1, pks=[reminded.get().pk])
    failure = Failure(ErrorReason.EMAIL_ERROR, "message_refused", "554 No.", "")
    assert actions.finish(claimed[0], Failed(failure), now=now)
    assert "Ask the operator of this service, then retry it." in text(client.get("/"))

    LearnerContentAssignment.objects.filter(pk=first.pk).update(expires_at=now)
    home = text(client.get("/"))
    form = {"verb": "retry", "everything": "yes", "query": "cause=message_refused", "confirmed": 1}
    assert "It is too late for what failed: skip it instead." in text(post(client, **form))

    assert "It is too late to do it again: skip it." in home
    assert "then retry it" not in home
    assert 'name="verb" value="skip">Skip<' in home
    question = text(post(client, **form | {"verb": "skip", "confirmed": ""}))
    assert "Skip what failed of one assignment?" in question
    assert "Give a reason" in text(client.post(SELECTED, form_of(question)), status=422)
    done = text(client.post(SELECTED, {**form_of(question), "reason": "The course is over."}))
    assert "Skipped: 1." in done
    assert [(one.status, one.detail) for one in reminded.order_by("pk")] == [
        (Status.FAILED, "554 No."),
        (Status.SKIPPED, "The course is over."),
    ]
    assert " failed for " not in text(client.get("/"))
