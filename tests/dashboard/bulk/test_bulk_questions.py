"""The question before bulk work and the result after it: what they say, and that they can be loaded again."""

import html
import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from bursary.access.models import Role
from bursary.assignments import actions
from bursary.assignments import reminders as reminders_of
from bursary.assignments.choices import ActionType, ErrorReason, State, Status
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.assignments.outcomes import Failed, Failure
from bursary.budgets.models import Budget
from bursary.dashboard import bulk_questions, bulk_results, bulk_work, kept_results
from tests import world
from tests.dashboard.bulk.forms import (
    SELECTED,
    form_of,
    heading,
    post,
    reminders,
    rows,
    send,
    states,
    text,
)

pytestmark = pytest.mark.django_db


def given_failed_reminder(assignment: LearnerContentAssignment) -> None:
    """Let a reminder of the assignment be refused for good."""
    now = world.NOW + timedelta(hours=1)
    reminders_of.remind(assignment.budget, uuids=[assignment.uuid], now=now)
    reminded = world.action_of(assignment, ActionType.REMINDED)
    (claimed,) = actions.claim(now=now, lease=timedelta(hours=1), limit=1, pks=[reminded.pk])
    failure = Failure(ErrorReason.EMAIL_ERROR, "message_refused", "554 No.", "")
    assert actions.finish(claimed, Failed(failure), now=now)


@pytest.mark.on_every_engine
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

    monkeypatch.setattr(bulk_questions, "MAX_BUDGETS", 5)
    assert "$398.00 (2 more budgets)" in text(post(client, verb="cancel", everything="yes", query=""))


def test_of_failures_of_long_ago_the_learners_are_named_before_they_are_retried(
    client: Client, budget: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("leo", "mia", "noa"):
        world.given_assignment(budget, world.given_content(), address=f"{name}@nowhere.invalid")
    world.deliver()
    form = {"verb": "retry", "everything": "yes", "query": ""}
    assert "30 days ago" not in text(post(client, **form))

    failed = LearnerContentAssignmentAction.objects.filter(status="failed")
    of_leo = failed.filter(assignment__learner_email__startswith="leo")
    of_leo.update(completed_at=world.NOW - timedelta(days=30))
    question = text(post(client, **form))
    assert "One of those that are retried failed more than 30 days ago" in question
    assert "any more: \u2068leo@nowhere.invalid\u2069. To leave it out, select only the others" in question
    assert ">Retry (3)</button>" in question

    failed.update(completed_at=world.NOW - timedelta(days=30))
    monkeypatch.setattr(bulk_questions, "MAX_LEARNERS", 2)
    question = text(post(client, **form))
    assert "3 of those that are retried failed more than 30 days ago" in question
    assert (
        "\u2068leo@nowhere.invalid\u2069, \u2068mia@nowhere.invalid\u2069, 1 more. To leave them" in question
    )


def test_a_get_of_what_is_only_sent_leads_to_a_page(client: Client, budget: Budget) -> None:
    assert client.get(SELECTED).headers["Location"] == "/assignments/"
    assert client.get("/sign-out/").headers["Location"] == "/"
    assert "Sign out" in client.get("/").content.decode()


@pytest.mark.parametrize("address", [SELECTED, "/assignments/export/"])
def test_without_a_session_nothing_is_done_and_the_list_says_so(
    client: Client, budget: Budget, address: str
) -> None:
    user = world.given_user(Role.ADMINISTRATOR, customer=budget.customer, password="long and winding")
    client.logout()
    form = {"verb": "cancel", "everything": "yes", "query": "status=waiting", "confirmed": 5}

    asked = client.post(address, form, follow=True)
    assert "Your sign-in had ended; nothing was done." in text(asked)
    fields = dict(re.findall(r'name="(next|unsent)" value="(.*?)"', html.unescape(asked.content.decode())))
    signed_in = client.post(
        "/sign-in/", {**fields, "username": user.username, "password": "long and winding"}, follow=True
    )

    assert signed_in.redirect_chain == [("/assignments/?status=waiting", 302)]
    assert "Your sign-in had ended; nothing was done." in text(signed_in)
    in_another_tab = client.post("/sign-in/", fields, follow=True)
    assert in_another_tab.redirect_chain == [("/assignments/?status=waiting", 302)]
    assert "Your sign-in had ended; nothing was done." in text(in_another_tab)
    assert State.CANCELLED not in states()


def test_the_question_and_the_result_can_be_loaded_again_and_do_nothing_then(
    client: Client, budget: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_work, "BATCH", 3)
    asked = post(client, verb="cancel", everything="yes", query="status=waiting")
    (question, status), *_more = asked.redirect_chain
    assert status == 303
    assert "Cancel 5 assignments?" in text(client.get(question))

    half = send(client, form_of(text(asked)))
    ((address, _status),) = half.redirect_chain
    assert "3 of 5 so far" in text(client.get(address))
    assert client.get(question).headers["Location"] == "/assignments/?status=waiting"
    done = send(client, form_of(text(half)))

    assert done.redirect_chain == [(address, 303)]
    for _time in range(2):
        result = text(client.get(address))
        assert heading(result) == "Cancelled: 5"
        assert 'name="step"' not in result
    assert states() == [State.CANCELLED] * 5


def test_the_question_names_the_learners_and_the_course(
    client: Client, budget: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_questions, "MAX_LEARNERS", 2)
    names = [f"\u2068{row.learner_email}\u2069" for row in rows()]
    for verb, count in (("remind", 3), ("cancel", 2), ("extend", 5)):
        question = text(post(client, verb=verb, uuid=[str(row.uuid) for row in rows()[:count]]))
        more = f" and {count - 2} more" if count > 2 else ""
        assert f"The learners: {names[0]}, {names[1]}{more}." in question
        assert "Course: <bdi>Tidal Engines</bdi>" in question

    other = world.given_assignment(budget, world.given_content(), address="other@people.example")
    question = text(post(client, verb="remind", uuid=[str(rows()[0].uuid), str(other.uuid)]))
    assert "<bdi>Tidal Engines</bdi>" not in question


def test_the_button_has_the_number_of_those_that_it_is_done_to(client: Client, budget: Budget) -> None:
    accepted, late, *_others = rows()
    LearnerContentAssignment.objects.filter(pk=accepted.pk).update(state=State.ACCEPTED)
    LearnerContentAssignment.objects.filter(pk=late.pk).update(expires_at=world.NOW)
    named = [str(row.uuid) for row in rows()]
    for verb, numbers in (
        ("remind", "3 of 5"),
        ("cancel", "4 of 5"),
        ("extend", "4 of 5"),
    ):
        question = text(post(client, verb=verb, uuid=named))
        assert f"({numbers})</button>" in question
        assert "One of them is left as it is:" in question
        assert "<li>The learner has accepted it. (1)</li>" in question


def test_a_question_about_a_repair_has_the_number_of_those_that_cannot_be_and_why(
    client: Client, budget: Budget
) -> None:
    late, well, *_others = rows()
    given_failed_reminder(late)
    world.given_assignment(budget, world.given_content(), address="leo@nowhere.invalid")
    world.deliver()
    leo = rows()[-1]
    LearnerContentAssignment.objects.filter(pk=late.pk).update(expires_at=world.NOW)
    of_late = LearnerContentAssignmentAction.objects.filter(assignment=late, status=Status.FAILED)
    of_late.update(completed_at=world.NOW - timedelta(days=40))
    named = [str(one.uuid) for one in (late, well, leo)]

    retrying = text(post(client, verb="retry", uuid=named))
    assert "Retry 3 assignments?" in retrying
    assert "2 of them are left as they are:" in retrying
    assert "30 days ago" not in retrying
    assert "<li>It is too late for what failed: skip it instead. (1)</li>" in retrying
    assert "<li>Nothing of it failed. (1)</li>" in retrying
    assert ">Retry (1 of 3)</button>" in retrying
    done = text(send(client, form_of(retrying)))
    assert heading(done) == "Retried: 1 of 3"
    assert ">2 were left as they are.</p>" in done
    assert done.count('class="why"') == 2

    skipping = text(post(client, verb="skip", uuid=named))
    assert "2 of them are left as they are:" in skipping
    assert "<li>Nothing of it failed. (2)</li>" in skipping
    assert ">Skip (1 of 3)</button>" in skipping


def test_what_can_be_done_to_none_of_them_has_no_button(client: Client, budget: Budget) -> None:
    named = [str(row.uuid) for row in rows()]
    LearnerContentAssignment.objects.update(state=State.ACCEPTED)
    for verb, why in (
        ("skip", "Nothing of it failed."),
        ("retry", "Nothing of it failed."),
        ("extend", "The learner has accepted it."),
        ("cancel", "The learner has accepted it."),
    ):
        question = text(post(client, verb=verb, uuid=named)).partition("<main")[2]
        assert "All of them are left as they are:" in question
        assert f"<li>{why} (5)</li>" in question
        assert "<button" not in question
        assert "<textarea" not in question
        assert ">There is nothing to do</h1>" in question
        assert "The money is free at once." not in question


def test_those_that_had_a_mail_a_moment_ago_are_counted_before_and_named_after(
    client: Client, budget: Budget
) -> None:
    form = {"verb": "remind", "everything": "yes", "query": ""}
    first, *_others = rows()
    now = timezone.now() - timedelta(minutes=3, seconds=30)
    reminders_of.remind(budget, uuids=[first.uuid], now=now)

    question = text(send(client, form))
    assert (
        "One of them had an e-mail a moment ago, and gets no other one now. Come again in 7 min." in question
    )
    assert ">Remind (4 of 5)</button>" in question
    done = text(send(client, form_of(text(send(client, form)))))
    assert heading(done) == "Reminded: 4 of 5"
    assert ">Had an e-mail a moment ago: 1.</p>" in done
    assert f"<bdi>{first.learner_email}</bdi>" in done.partition("Had an e-mail a moment ago</h2>")[2]

    question = text(send(client, form))
    assert (
        "No learner can be reminded now: each had an e-mail a moment ago. Come again in 10 min." in question
    )
    done = text(send(client, form_of(question)))
    assert heading(done) == "Nothing was done"
    assert ">Had an e-mail a moment ago: 5.</p>" in done
    assert reminders() == 5


def test_the_way_back_is_to_the_page_that_it_came_from(client: Client, budget: Budget) -> None:
    listed = text(client.get("/assignments/", {"sort": "price_cents", "cursor": "a&b"}))
    assert '<input type="hidden" name="cursor" value="a&b">' in listed
    question = text(
        post(client, verb="remind", query="sort=price_cents", cursor="a&b", uuid=[str(rows()[0].uuid)])
    )
    back = 'href="/assignments/?sort=price_cents&cursor=a%26b"'

    assert f"{back}>No, back to the list" in question
    assert f"{back}>Back to the list" in text(send(client, form_of(question)))


def test_a_result_names_those_of_every_batch_and_is_kept_with_the_latest_ones_of_a_session(
    client: Client, budget: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_work, "BATCH", 2)
    monkeypatch.setattr(kept_results, "MAX_KEPT", 2)
    asked_of_all = {"verb": "remind", "everything": "yes", "query": ""}
    question = form_of(text(send(client, asked_of_all)))
    LearnerContentAssignment.objects.update(expires_at=world.NOW)
    page = send(client, question)
    for _step in range(2):
        page = send(client, form_of(text(page)))

    ((address, _status),) = page.redirect_chain
    assert all(f"<bdi>{row.learner_email}</bdi>" in text(page) for row in rows())
    assert "not named here" not in text(page)
    stranger = Client()
    stranger.force_login(world.given_user(Role.ADMINISTRATOR, customer=budget.customer))
    assert stranger.get(address).headers["Location"] == "/assignments/"
    for _other in range(2):
        send(client, asked_of_all)
    assert client.get(address).headers["Location"] == "/assignments/"


def test_a_question_of_another_tab_is_kept_while_a_batch_is_worked_on(
    client: Client, budget: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, do_batch, other = [str(row.uuid) for row in rows()], bulk_work.do_batch, Client()
    other.cookies = client.cookies
    questions = []

    def asked_meanwhile(*work: Any, **more: Any) -> Any:
        questions.append(post(other, verb="remind", uuid=named[2:]).redirect_chain[0][0])
        return do_batch(*work, **more)

    monkeypatch.setattr(bulk_work, "do_batch", asked_meanwhile)
    done = post(client, verb="cancel", uuid=named[:2], confirmed=2)

    assert heading(text(done)) == "Cancelled: 2"
    assert "Remind the learners of 3 assignments?" in text(other.get(questions[0]))
    assert heading(text(client.get(done.redirect_chain[0][0]))) == "Cancelled: 2"


def test_a_result_has_the_number_of_those_that_it_does_not_name(
    client: Client, budget: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_work, "BATCH", 2)
    monkeypatch.setattr(bulk_results, "MAX_REMARKS", 1)
    page = post(client, verb="remind", everything="yes", query="")
    LearnerContentAssignment.objects.update(expires_at=world.NOW)
    for _step in range(3):
        page = send(client, form_of(text(page)))

    assert "and 4 more, which are not named here." in text(page)


def test_no_step_follows_a_question_that_was_not_answered(client: Client, budget: Budget) -> None:
    before = states()

    for verb in ("cancel", "extend"):
        for until in ("", "2026-06-30", "soon"):
            form = {"verb": verb, "everything": "yes", "query": "", "after": 1, "last": 10**9, "until": until}
            assert 'name="confirmed"' in post(client, **form).content.decode()

    assert states() == before
    assert set(LearnerContentAssignment.objects.values_list("extended_until", flat=True)) == {None}


def test_a_step_is_accepted_only_as_it_was_signed(
    client: Client, budget: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_work, "BATCH", 2)
    question = text(post(client, verb="cancel", everything="yes", query=""))
    step = form_of(text(send(client, form_of(question))))
    assert states().count(State.CANCELLED) == 2

    for changed in (
        {**step, "query": "status=waiting"},
        {**step, "step": step["step"] + "x"},
        {"verb": "cancel", "everything": "yes", "query": "", "done": "1000", "refused": "7", "after": "1"},
    ):
        assert 'name="confirmed"' in send(client, changed).content.decode()
    assert states().count(State.CANCELLED) == 2
    assert "4 of 5 so far" in text(send(client, step))


def test_a_reminder_that_came_too_late_is_skipped_for_a_reason_from_home(
    client: Client, budget: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = rows()[0]
    given_failed_reminder(first)
    reminded = LearnerContentAssignmentAction.objects.filter(action_type=ActionType.REMINDED)
    assert "Ask the operator of this service, then retry it." in text(client.get("/"))

    LearnerContentAssignment.objects.filter(pk=first.pk).update(expires_at=timezone.now())
    home = text(client.get("/"))
    form = {"verb": "retry", "everything": "yes", "query": "cause=message_refused", "confirmed": 1}
    assert "It is too late for what failed: skip it instead." in text(post(client, **form))

    assert "It is too late to do it again: skip it." in home
    assert "then retry it" not in home
    assert 'name="verb" value="skip">Skip<' in home
    question = text(post(client, **form | {"verb": "skip", "confirmed": ""}))
    assert "Skip what failed of one assignment?" in question
    assert "Give a reason" in text(send(client, form_of(question)), status=422)
    done = text(send(client, {**form_of(question), "reason": "The course is over."}))
    assert heading(done) == "Skipped: 1"
    assert [(one.status, one.detail) for one in reminded.order_by("pk")] == [
        (Status.FAILED, "554 No."),
        (Status.SKIPPED, "The course is over."),
    ]
    assert " failed for " not in text(client.get("/"))
