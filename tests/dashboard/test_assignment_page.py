"""One assignment's page, as its administrators and operators read it."""

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
from django.utils.html import strip_tags

from bursary.access.models import Role
from bursary.assignments import cancellation, csv_export, erasure
from bursary.assignments.choices import ActionType, Status
from bursary.assignments.models import (
    AllocationBatch,
    LearnerContentAssignment,
    LearnerContentAssignmentAction,
)
from bursary.dashboard.timeline_entries import PAGE
from bursary.lib.moments import UTC_ZONE
from bursary.replica.models import ContentChange
from tests import world
from tests.world import ALICE, NOW

pytestmark = pytest.mark.django_db

MaxQueries = Callable[[int], AbstractContextManager[Any]]


@pytest.fixture(autouse=True)
def _today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timezone, "now", lambda: NOW + timedelta(days=10))


@pytest.fixture
def assignment() -> LearnerContentAssignment:
    row = world.given_assignment(world.given_budget(seats=3, name="Languages"))
    world.deliver()
    return row


@pytest.fixture
def ada(client: Client, assignment: LearnerContentAssignment) -> Client:
    """The administrator's browser."""
    customer = assignment.budget.customer
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=customer, username="ada"))
    return client


def page(client: Client, assignment: LearnerContentAssignment, **query: Any) -> str:
    """Return the page with single spaces, as its source has it."""
    answer = client.get(reverse("assignment", args=[assignment.uuid]), query)
    assert answer.status_code == 200
    return " ".join(html.unescape(answer.content.decode()).split())


def test_the_header_says_what_it_is_about_and_how_it_stands(
    ada: Client, assignment: LearnerContentAssignment
) -> None:
    shown = page(ada, assignment)

    trail = f'<a href="{reverse("assignment-list")}">Assignments</a>'
    assert trail in shown
    assert f'aria-current="page"><bdi>{ALICE}</bdi>' in shown
    assert '<h1 class="page-title" dir="auto">Tidal Engines</h1>' in shown
    assert f"For <bdi>{ALICE}</bdi>" in shown
    assert '<span class="chip chip-info">Waiting</span>' in shown
    assert "<dd>$199.00</dd>" in shown
    assert f'<a href="{reverse("budget", args=[assignment.budget.uuid])}"><bdi>Languages</bdi></a>' in shown
    assert "31 May 2026, 11:00 (Madrid time): after that the assignment expires." in shown


def test_the_page_follows_work_that_is_under_way_and_not_for_ever(
    ada: Client, assignment: LearnerContentAssignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    poller, reload = "hx-get=", f'<a href="/assignments/{assignment.uuid}/?page=1">Reload</a>'
    now = timezone.now()
    cases = {
        "is due in five minutes": (timedelta(minutes=-5), (False, False)),
        "is due soon": (timedelta(minutes=-4), (True, True)),
        "has been due for some minutes": (timedelta(minutes=4), (True, True)),
        "has been due for five minutes": (timedelta(minutes=5), (False, True)),
    }
    assert poller not in page(ada, assignment)
    action = assignment.actions.get(action_type=ActionType.NOTIFIED)
    for case, (since, (follows, says)) in cases.items():
        columns = {"status": Status.PENDING, "completed_at": None, "early": 0, "due_at": now - since}
        LearnerContentAssignmentAction.objects.filter(pk=action.pk).update(**columns)
        shown = page(ada, assignment, page=1)
        assert (poller in shown, reload in shown) == (follows, says), case


def test_what_follows_it_gets_what_may_have_changed_and_leaves_the_messages(
    ada: Client, assignment: LearnerContentAssignment
) -> None:
    address = reverse("assignment", args=[assignment.uuid])
    ada.post(f"{address}remind/")

    part = ada.get(address, headers={"HX-Request": "true"}).content.decode()

    assert ("<html" in part, "A reminder was requested" in part) == (False, False)
    assert '<p id="status" hx-swap-oob="innerMorph"><span class="chip chip-info">Waiting</span>' in part
    assert '<div id="actions" hx-swap-oob="innerMorph">' in part
    assert "A reminder to" in part
    assert "A reminder was requested" in page(ada, assignment)


def test_the_picture_has_a_title_and_its_steps_in_words(
    ada: Client, assignment: LearnerContentAssignment
) -> None:
    shown = page(ada, assignment)

    assert 'aria-labelledby="life"' in shown
    steps = shown.partition('class="life-steps"')[2].partition("</ol>")[0].replace("\xa0", " ")
    assert re.findall("<strong>(.*?)</strong>", steps) == ["Assigned", "Notified", "Today", "Deadline"]
    assert re.findall("<small>(.*?)</small>", steps) == ["at once", "10 days later", "in 2 months, 2 weeks"]
    assert "style=" not in shown


def test_the_mail_is_shown_as_it_was_sent(ada: Client, assignment: LearnerContentAssignment) -> None:
    sent = world.action_of(assignment, ActionType.NOTIFIED)
    world.change_content(assignment.content, title="Another title")  # type: ignore[arg-type]

    shown = page(ada, assignment)

    assert sent.payload["subject"] in shown
    assert " ".join(sent.payload["text"].split()) in shown
    assert "Tidal Engines" in sent.payload["text"]
    assert "<html>" not in shown.partition("<main")[2]


def test_what_the_catalog_says_otherwise_now_is_marked(
    ada: Client, assignment: LearnerContentAssignment
) -> None:
    assert "Nothing of it has changed since it was assigned." in page(ada, assignment)
    assert assignment.content is not None
    starts = NOW + timedelta(days=60)
    world.change_content(assignment.content, now=NOW, price_cents=24_900, start_date=starts)
    before = (NOW + timedelta(days=40)).isoformat()
    for number, old in enumerate([before, (NOW + timedelta(days=50)).isoformat()]):
        ContentChange.objects.create(
            content=assignment.content,
            field="start_date",
            old=old,
            trigger="cron",
            created=NOW + timedelta(days=number + 1),
        )

    shown = page(ada, assignment)

    assert "Some of it has changed since it was assigned." in shown
    now = '<br><span class="chip chip-warning">now</span> <strong><bdi>'
    assert f"<bdi>$199.00</bdi>{now}$249.00</bdi></strong>" in shown
    assert f"<bdi>11 April 2026, 11:00</bdi>{now}1 May 2026, 11:00</bdi></strong>" in shown


def test_a_change_before_the_allocation_is_no_change(
    ada: Client, assignment: LearnerContentAssignment
) -> None:
    assert assignment.content is not None
    ContentChange.objects.create(
        content=assignment.content,
        field="title",
        old="An older title",
        new="Tidal Engines",
        trigger="cron",
        created=NOW - timedelta(seconds=1),
    )

    assert "An older title" not in page(ada, assignment)


def test_a_long_timeline_is_read_in_pages_the_newest_first_by_few_queries(
    ada: Client, assignment: LearnerContentAssignment, django_assert_max_num_queries: MaxQueries
) -> None:
    failing(assignment)
    actor = world.given_user(username="grace")
    LearnerContentAssignmentAction.objects.bulk_create(
        LearnerContentAssignmentAction(
            assignment=assignment,
            action_type=ActionType.REMINDED,
            cycle=1,
            dedup_key=f"asked-{number}",
            status=Status.DONE,
            recipient=f"reminder-{number}@learners.example",
            created=NOW + timedelta(hours=number + 1),
            modified=NOW + timedelta(hours=number + 1),
            completed_at=NOW + timedelta(hours=number + 1),
            actor=actor,
        )
        for number in range(200)
    )

    with django_assert_max_num_queries(12):
        first = page(ada, assignment)
    second = page(ada, assignment, page=2)
    last = page(ada, assignment, page=999)

    assert first.count(">reminder-") == PAGE
    assert first.index("reminder-199@") < first.index("reminder-198@")
    assert f"reminder-{200 - PAGE}@" in first
    assert f"reminder-{199 - PAGE}@" not in first
    assert f"reminder-{199 - PAGE}@" in second
    assert "The course was assigned" in last
    assert "more steps are in the timeline" in first


def test_the_newest_of_a_timeline_is_what_happened_last_and_not_what_was_requested_last(
    ada: Client, assignment: LearnerContentAssignment
) -> None:
    mail, link = (
        world.action_of(assignment, kind) for kind in (ActionType.NOTIFIED, ActionType.LEARNER_LINKED)
    )
    assert link.pk < mail.pk
    later = NOW + timedelta(hours=1)
    LearnerContentAssignmentAction.objects.filter(pk=link.pk).update(completed_at=later)

    text = page(ada, assignment)

    assert text.index("to the learners of") < text.index("The invitation to")


def failing(assignment: LearnerContentAssignment) -> None:
    """Let the invitation have failed: what stands is looked for, too."""
    mail = LearnerContentAssignmentAction.objects.filter(action_type=ActionType.NOTIFIED)
    columns = {"error_reason": "email_error", "error_code": "address_rejected", "actor": None}
    mail.filter(assignment=assignment).update(status=Status.FAILED, **columns)


def at_accept(assignment: LearnerContentAssignment) -> str:
    return reverse("accept", args=[assignment.uuid])


def test_an_administrator_that_learns_it_sees_both_parts_by_few_queries(
    client: Client, assignment: LearnerContentAssignment, django_assert_max_num_queries: MaxQueries
) -> None:
    customer = assignment.budget.customer
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=customer, email=ALICE))

    with django_assert_max_num_queries(12):
        shown = page(client, assignment)
    assert '<h2 id="timeline"' in shown
    assert 'href="?as=learner"' in shown

    with django_assert_max_num_queries(12):
        own = page(client, assignment, **{"as": "learner"})
    assert '<h2 id="timeline"' not in own
    assert at_accept(assignment) in own


def test_the_message_to_the_learners_is_shown(ada: Client) -> None:
    budget = LearnerContentAssignment.objects.get().budget
    world.allocate(budget, world.given_content(), world.BOB, message="Please answer <soon>.")

    row = LearnerContentAssignment.objects.latest("pk")
    raw = ada.get(reverse("assignment", args=[row.uuid])).content.decode()

    assert "Please answer &lt;soon&gt;." in raw
    assert f'href="{reverse("batch", args=[row.allocation_batch_uuid])}"' in raw

    AllocationBatch.objects.all().delete()
    assert "The whole request" not in ada.get(reverse("assignment", args=[row.uuid])).content.decode()


def test_an_erased_learner_is_shown_as_forgotten_wherever_there_was_an_address(
    ada: Client, assignment: LearnerContentAssignment
) -> None:
    erasure.forget(ALICE, now=NOW, remove=len)
    assignment.refresh_from_db()
    assert assignment.learner_email.endswith("@forgotten.invalid")

    rows = LearnerContentAssignment.objects.all()
    user = world.given_user()
    file = csv_export.export(rows, user=user, filters="", zone=UTC_ZONE, now=NOW)
    pages = {
        "page": page(ada, assignment),
        "list": ada.get(reverse("assignment-list")).content.decode(),
        "spent": ada.get(reverse("budget-spent", args=[assignment.budget.uuid])).getvalue().decode(),
        "csv": b"".join(file.lines).decode(),
    }
    assert "The name was removed on Monday, 2 March 2026, for data protection" in pages["page"]

    assert [name for name, shown in pages.items() if "forgotten.invalid" in shown] == []
    assert [name for name, shown in pages.items() if "Learner (name removed)" not in shown] == ["spent"]

    LearnerContentAssignment.objects.update(state="accepted")
    spent = ada.get(reverse("budget-spent", args=[assignment.budget.uuid])).getvalue().decode()
    assert ("Learner (name removed)" in spent, "forgotten.invalid" in spent) == (True, False)


def box(client: Client, assignment: LearnerContentAssignment) -> str:
    """Return what the page says of the course, then and now, without tags."""
    course = page(client, assignment).partition("The course, then and now")[2].partition("</section>")[0]
    return " ".join(strip_tags(course).split())


def test_of_a_course_the_date_that_bounds_its_deadline_is_beside_the_advertised_runs(client: Client) -> None:
    course = world.given_content(start_date=NOW - timedelta(days=400), enroll_by=NOW + timedelta(days=60))
    later = {"start_date": NOW + timedelta(days=100), "enroll_by": NOW + timedelta(days=120)}
    world.given_run(course, f"course-v1:{course.content_key}+later", **later)
    row = world.given_assignment(content=course)
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=row.budget.customer))

    next_run = "That is the next run that learners can join: the advertised run has started."
    start = "<dt>Start</dt><dd>Wednesday, 10 June 2026, 11:00 (Madrid time)"
    assert f"{start}<br><small>{next_run}</small></dd>" in page(client, row)
    LearnerContentAssignment.objects.update(state="accepted", accepted_at=NOW)
    could = "That was the next run that learners could join: the advertised run had started."
    assert could in page(client, row)
    LearnerContentAssignment.objects.update(state="allocated", accepted_at=None)

    shown = box(client, row)

    assert "Join by, in any run 30 June 2026, 11:00" in shown
    assert "Enrolment in it closes 1 May 2026, 11:00" in shown
    assert "Advertised run starts 26 January 2025, 10:00" in shown
    assert "A run is one edition of the course, with its own dates." in shown
    assert "Enrolment closes" not in shown

    type(course).objects.filter(pk=course.pk).update(start_date=NOW + timedelta(days=20))
    assert "<dt>Start</dt><dd>Sunday, 22 March 2026, 10:00 (Madrid time)</dd>" in page(client, row)


def test_a_run_alone_has_dates_of_its_own(client: Client) -> None:
    run = world.given_run(world.given_content(with_run=False), enroll_by=NOW + timedelta(days=60))
    row = world.given_assignment(content=run)
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=row.budget.customer))

    shown = box(client, row)

    assert "Enrolment closes 1 May 2026, 11:00" in shown
    assert ("any run" in shown, "Advertised" in shown) == (False, False)
    assert "the next run that" not in page(client, row)


def test_a_life_of_one_day_has_hours(ada: Client, assignment: LearnerContentAssignment) -> None:
    assert "March 2, 2026, 10:00" not in page(ada, assignment)
    cancellation.cancel(assignment.budget, uuids=[assignment.uuid], now=NOW + timedelta(hours=3))
    heading, _, rest = page(ada, assignment).partition('class="life-steps"')
    shown = rest.partition("</ol>")[0]
    assert "So far, all of it on 2 Mar 2026" in heading
    assert ('">10:00</small>' in shown, '">13:00</small>' in shown) == (True, True)
