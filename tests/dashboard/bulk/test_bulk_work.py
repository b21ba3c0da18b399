"""Work on many assignments: asked first, done batch by batch, each that could not be done by name."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.db.models import F
from django.test import Client
from django.utils import timezone

from bursary.access.models import Role
from bursary.assignments import cancellation, extension
from bursary.assignments.choices import ActionType, State
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.budgets import terms
from bursary.budgets.models import Budget
from bursary.dashboard import bulk_work
from tests import world
from tests.dashboard.bulk.forms import form_of, heading, post, reminders, rows, send, states, text

pytestmark = pytest.mark.django_db


def test_nothing_is_done_before_it_is_confirmed(client: Client, budget: Budget) -> None:
    named = [str(row.uuid) for row in rows()[:2]]

    question = text(post(client, verb="cancel", uuid=named))

    assert "Cancel 2 assignments?" in question
    assert "The money is free at once" in question
    assert "What comes free: $398.00 (\u2068Languages\u2069)." in question
    assert f"The learners: \u2068{rows()[0].learner_email}\u2069, " in question
    assert set(states()) == {State.ALLOCATED}

    done = text(send(client, form_of(question)))

    assert heading(done) == "Cancelled: 2"
    assert states() == [State.CANCELLED] * 2 + [State.ALLOCATED] * 3
    budget.refresh_from_db()
    assert budget.reserved_cents == 3 * world.PRICE


def test_each_that_could_not_be_done_is_named_with_the_reason(client: Client, budget: Budget) -> None:
    accepted, cancelled, *_others = rows()
    LearnerContentAssignment.objects.filter(pk=accepted.pk).update(state=State.ACCEPTED)
    cancellation.cancel(budget, uuids=[cancelled.uuid], now=world.NOW)

    done = text(post(client, verb="remind", uuid=[str(row.uuid) for row in rows()], confirmed=5))

    assert heading(done) == "Reminded: 3 of 5"
    assert '<p class="alert alert-success">2 were left as they are.</p>' in done
    assert "<title>Reminded: 3 of 5 · Bursary</title>" in done
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
        page = text(send(client, form_of(page)))

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
    assert ">Remind (5)</button>" in question
    done = text(send(client, form_of(question)))

    assert heading(done) == "Reminded: 5"
    assert 'class="alert' not in done  # the heading says all
    assert f'href="/assignments/?budget={budget.uuid}&status=waiting"' in done
    assert reminders() == 5


@pytest.mark.on_every_engine
def test_it_is_refused_where_the_count_has_changed_since(client: Client, budget: Budget) -> None:
    question = text(post(client, verb="cancel", everything="yes", query=""))
    cancellation.cancel(budget, uuids=[rows()[0].uuid], now=world.NOW)

    refused = text(send(client, form_of(question)), status=409)

    assert "it was 5, and is 4 now. Nothing was done." in refused
    assert states().count(State.ALLOCATED) == 4
    assert heading(text(send(client, form_of(refused)))) == "Cancelled: 4"


def test_a_long_list_is_done_in_batches_and_says_how_far_it_is(
    client: Client, budget: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_work, "BATCH", 2)
    question = text(post(client, verb="cancel", everything="yes", query=""))

    step = text(send(client, form_of(question)))
    assert "2 of 5 so far" in step
    assert states().count(State.CANCELLED) == 2
    step = text(send(client, form_of(step), headers={"HX-Request": "true"}))
    assert "4 of 5 so far" in step
    assert "<html" not in step
    assert "outcome" not in step
    done = text(send(client, form_of(step), headers={"HX-Request": "true"}))

    # It goes to the beginning of the page, where the first answer has the place for it.
    title = done.partition('<span id="title" hx-swap-oob="innerHTML">')[2]
    assert title.startswith('Cancelled: 5</span><div id="outcome" hx-swap-oob="innerHTML"> </div>')
    assert set(states()) == {State.CANCELLED}


@pytest.mark.on_every_engine
def test_what_failed_is_retried(client: Client, budget: Budget) -> None:
    world.given_assignment(budget, world.given_content(), address="leo@nowhere.invalid")
    world.deliver()

    question = text(post(client, verb="retry", everything="yes", query="cause=address_rejected"))
    assert "Retry one assignment?" in question
    assert "The learner: \u2068leo@nowhere.invalid\u2069." in question
    assert "<li>The invitation (1): the address does not exist.</li>" in question
    done = text(send(client, form_of(question)))

    assert heading(done) == "Retried: 1"
    leo = rows()[-1]
    assert [row for row in world.timeline(leo) if row[0] == ActionType.NOTIFIED] == [
        ("notified", "failed"),
        ("notified", "pending"),
    ]


def test_a_deadline_is_extended_to_the_end_of_the_day_in_the_organisations_zone(
    client: Client, budget: Budget
) -> None:
    first, *_others = rows()

    asked = post(client, verb="extend", uuid=[str(first.uuid)])
    question = text(asked)
    assert 'type="date"' in question
    assert "The deadline: " in question
    assert "No e-mail is sent about it." in question
    for until in ("", "soon"):
        refused = text(send(client, {**form_of(question), "until": until}), status=422)
        assert "Give a day from 2 Mar 2026 to 28 Feb 2036." in refused
    done = text(send(client, {**form_of(question), "until": "2026-06-30"}))

    assert heading(done) == "Extended: 1"
    first.refresh_from_db()
    assert first.expires_at == datetime(2026, 6, 30, 21, 59, 59, tzinfo=UTC)
    too_early = text(send(client, {**form_of(question), "until": "2026-06-29"}))
    assert "Its deadline is not before that day." in too_early
    assert heading(too_early) == "Nothing was done"
    assert 'aria-live="polite"> <p class="alert alert-warning">1 was left as it is.</p>' in too_early


def test_the_days_of_an_extension_are_of_those_that_it_extends(client: Client, budget: Budget) -> None:
    _early, late, *_others = rows()
    extension.extend(budget, uuids=[late.uuid], until=world.NOW + timedelta(days=120), now=world.NOW)
    bound = LearnerContentAssignment.objects.filter(pk=late.pk)
    bound.update(content_enroll_by=F("expires_at"))

    question = text(post(client, verb="extend", everything="yes", query=""))

    assert "Enrolment in its course closes at its deadline. (1)" in question
    assert "The deadline: Sunday, 31 May 2026." in question
    assert re.findall(r'name="until" value="\w+".*?>(.*?)</button>', question) == [
        "<span>+2 weeks: 14 Jun 2026</span>",
        "<span>+1 month: 1 Jul 2026</span>",
    ]


def test_each_deadline_becomes_later_by_a_span_once_however_often_that_is_sent(
    client: Client, budget: Budget
) -> None:
    early, late, *_others = rows()
    extension.extend(budget, uuids=[late.uuid], until=world.NOW + timedelta(days=120), now=world.NOW)

    question = text(post(client, verb="extend", everything="yes", query=""))
    assert "The deadlines: from Sunday, 31 May 2026 to Tuesday, 30 June 2026." in question
    spans = dict(re.findall(r'name="until" value="(\w+)".*?>(.*?)</button>', question))
    assert spans == {
        "two_weeks": "<span>+2 weeks: 14 Jun 2026 to 14 Jul 2026</span>",
        "month": "<span>+1 month: 1 Jul 2026 to 30 Jul 2026</span>",
    }
    answers = [text(send(client, {**form_of(question), "until": "two_weeks"})) for _time in range(2)]

    assert [heading(one) for one in answers] == ["Extended: 5", "Nothing was done"]
    assert '<p class="alert alert-warning">Extended before: 5.</p>' in answers[1]
    days = [datetime(2026, month, 14, 21, 59, 59, tzinfo=UTC) for month in (6, 7)]
    assert [row.expires_at for row in rows()[:2]] == days
    assert len(world.timeline(early)) == len(world.timeline(late)) - 1


def test_an_extension_that_another_date_cuts_short_is_asked_about_and_says_so(
    client: Client, budget: Budget
) -> None:
    terms.change(budget, now=world.NOW, terms={"ends_at": datetime(2026, 6, 10, 20, tzinfo=UTC)})
    first, accepted, *_others = rows()
    named = {"verb": "extend", "uuid": [str(first.uuid), str(accepted.uuid)], "confirmed": 2}
    LearnerContentAssignment.objects.filter(pk=accepted.pk).update(state=State.ACCEPTED)

    for until in ("2026-06-30", "two_weeks"):
        asked = text(post(client, **named, until=until))
        assert "One of them is extended by less than that: " in asked
        assert f'name="until" value="{until}"' in asked
    first.refresh_from_db()
    assert first.extended_until is None
    done = text(send(client, form_of(asked)))

    assert heading(done) == "Extended: 1 of 2"
    assert ">1 was left as it is.</p>" in done
    left, _heading, extended = done.partition(">Extended, but by less than that</h2>")
    assert ">Left as they are</h2> " in left
    assert f"<bdi>{accepted.learner_email}</bdi>" in left
    assert f"<bdi>{first.learner_email}</bdi>" in extended
    end = "Wednesday, 10 June 2026, 22:00 (Madrid time)"
    assert f"Extended to {end} only: its budget ends then." in done


@pytest.mark.on_every_engine
def test_where_no_deadline_can_be_extended_there_is_no_button(client: Client, budget: Budget) -> None:
    LearnerContentAssignment.objects.update(extended_until=None)
    first, second, *_others = rows()
    ends_at = first.expires_at - timedelta(days=3)
    terms.change(budget, now=world.NOW, terms={"ends_at": ends_at})
    named = {"verb": "extend", "uuid": [str(first.uuid), str(second.uuid)], "confirmed": 2}

    for given in ({"confirmed": ""}, {"until": "two_weeks"}):
        asked = text(post(client, **named | given)).partition("<main")[2]
        assert "All of them are left as they are:" in asked
        assert "<li>Its budget ends at its deadline. (2)</li>" in asked
        assert ("<button" in asked, 'name="until"' in asked) == (False, False)
        assert "No, back to the list" in asked

    LearnerContentAssignment.objects.filter(pk=first.pk).update(expires_at=ends_at - timedelta(days=1))
    asked = text(post(client, **named, until="month"))
    assert "One of them is extended by less than that: " in asked
    assert "Extend as far as that (1 of 2)" in asked
    assert "One of them is left as it is:" in asked


def test_what_the_question_said_is_left_as_it_is_does_not_make_it_ask_again(
    client: Client, budget: Budget
) -> None:
    LearnerContentAssignment.objects.update(extended_until=None)
    first, second, *_others = rows()
    ends_at = second.expires_at
    terms.change(budget, now=world.NOW, terms={"ends_at": ends_at})
    early = ends_at - timedelta(days=20)
    LearnerContentAssignment.objects.filter(pk=first.pk).update(expires_at=early)

    for until in ("two_weeks", (early + timedelta(days=14)).date().isoformat()):
        LearnerContentAssignment.objects.filter(pk=first.pk).update(expires_at=early, extended_until=None)
        question = text(post(client, verb="extend", uuid=[str(first.uuid), str(second.uuid)]))
        assert "<li>Its budget ends at its deadline. (1)</li>" in question

        done = text(send(client, {**form_of(question), "until": until}))

        assert heading(done) == "Extended: 1 of 2"
        assert ">Extended, but by less than that</h2>" not in done


def test_without_a_selection_it_says_to_select(client: Client, budget: Budget) -> None:
    answer = send(client, {"verb": "cancel", "query": "status=waiting"})

    assert answer.redirect_chain == [("/assignments/?status=waiting", 303)]
    assert "Select some assignments first, or all that the filter finds." in text(answer)


def test_others_assignments_are_never_touched(client: Client, budget: Budget) -> None:
    stranger = world.given_assignment(address="stranger@elsewhere.example")

    named = post(client, verb="cancel", uuid=[str(stranger.uuid)], confirmed=1)
    assert named.redirect_chain == [("/assignments/?", 303)]
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


def test_a_day_that_some_zone_cannot_have_is_refused_before_anything_is_extended(
    client: Client, budget: Budget
) -> None:
    for until in ("8999-12-31", "9999-12-31", "0001-01-01"):
        form = {"verb": "extend", "everything": "yes", "query": "", "confirmed": 5, "until": until}
        assert post(client, **form).status_code == 422
    assert set(LearnerContentAssignment.objects.values_list("extended_until", flat=True)) == {None}


def test_a_status_that_there_is_none_of_finds_nothing_to_work_on(client: Client, budget: Budget) -> None:
    form = {"verb": "cancel", "everything": "yes", "query": "status=allocated", "confirmed": 5}
    assert post(client, **form).redirect_chain == [("/assignments/?status=allocated", 303)]
    assert State.CANCELLED not in states()
