"""The home page of an administrator: what needs attention, the way to deal with it, and the picture."""

import html
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client
from django.utils import timezone

from bursary.access.models import Role, RoleGrant, User
from bursary.assignments import administrator_notices, cancellation, error_texts
from bursary.assignments.choices import ActionType, ErrorReason, NoticeReason, State, Status
from bursary.assignments.models import (
    AdministratorNotice,
    LearnerContentAssignment,
    LearnerContentAssignmentAction,
)
from bursary.budgets.models import Budget
from bursary.dashboard.attention import Attention, items
from bursary.delivery.models import MailServer
from bursary.lib import leases, moments
from tests import world
from tests.world import ALICE

pytestmark = [pytest.mark.django_db, pytest.mark.takes_long]

TODAY = world.NOW + timedelta(hours=1)


@pytest.fixture
def budget(client: Client, monkeypatch: pytest.MonkeyPatch) -> Budget:
    """A budget for ten, on the day of the assignments; its administrator is signed in."""
    monkeypatch.setattr(timezone, "now", lambda: TODAY)
    budget = world.given_budget(seats=10, name="Languages")
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=budget.customer))
    return budget


def home(client: Client) -> str:
    answer = client.get("/")
    assert answer.status_code == 200
    return " ".join(html.unescape(answer.content.decode()).split())


def attention(client: Client) -> str:
    return home(client).partition('id="attention"')[2].partition("</section>")[0]


def change(budget: Budget, **columns: Any) -> None:
    Budget.objects.filter(pk=budget.pk).update(**columns)


def test_without_trouble_it_says_so(client: Client, budget: Budget) -> None:
    world.given_assignment(budget)

    assert "Nothing needs your attention" in attention(client)


def test_what_failed_is_named_with_its_cause_and_what_to_do(client: Client, budget: Budget) -> None:
    world.allocate(
        budget, world.given_content(), "leo@nowhere.invalid", "lea@nowhere.invalid", "lu@people.example"
    )
    world.deliver()

    shown = attention(client)

    assert "The invitation failed for 2 assignments, since 2 Mar 2026. The address does not exist." in shown
    assert "Correct the address." in shown
    assert "“Not notified” in the list counts open assignments without their invitation." in shown
    assert 'href="/assignments/?cause=address_rejected"' in shown
    assert 'value="retry"' not in shown  # the same address is refused again
    listed = client.get("/assignments/?cause=address_rejected").content.decode()
    assert "leo@" in listed
    assert "lu@" not in listed


def test_several_works_that_failed_by_one_cause_stand_in_one_sentence(client: Client, budget: Budget) -> None:
    world.allocate(budget, world.given_content(), "leo@nowhere.invalid", "lea@nowhere.invalid")
    world.deliver()
    failed = LearnerContentAssignmentAction.objects.filter(action_type=ActionType.NOTIFIED)
    failed.filter(assignment__learner_email="leo@nowhere.invalid").update(action_type=ActionType.REMINDED)

    assert "since 2 Mar 2026 (the invitation: 1, a reminder: 1)." in attention(client)


def test_a_failed_mail_about_an_end_is_to_be_skipped_and_stands_behind_what_failed_since(
    client: Client, budget: Budget
) -> None:
    row = world.given_assignment(budget)
    world.deliver()
    cancellation.cancel(budget, uuids=[row.uuid], now=world.NOW)
    notice = LearnerContentAssignmentAction.objects.filter(action_type=ActionType.CANCELLATION_NOTIFIED)
    notice.update(recipient="alice@nowhere.invalid")
    world.deliver()
    notice.update(
        status=Status.FAILED,
        completed_at=world.NOW - timedelta(days=15),
        error_reason=ErrorReason.EMAIL_ERROR,
        error_code="message_refused",
    )
    world.given_assignment(budget, address="leo@nowhere.invalid")
    world.deliver()

    shown = attention(client)

    latest, _between, oldest = shown.partition(
        "The mail about the cancellation failed for 1 assignment on 15 Feb"
    )
    assert "The invitation failed for 1 assignment on 2 Mar 2026." in latest
    assert 'name="verb" value="skip"' in oldest
    assert 'value="retry"' not in oldest


def test_a_mail_servers_trouble_is_named_with_its_beginning_and_its_fault(
    client: Client, budget: Budget
) -> None:
    MailServer.objects.create(name="default", trouble_since=TODAY, error_code="mail_server_unreachable")
    world.given_assignment(budget)

    shown = attention(client)

    assert f"Mails have been delayed since {moments.in_words(TODAY, zone=budget.customer.zone)}." in shown
    assert "The mail server does not answer. That is no learner's fault" in unescape(shown)
    assert 'href="/assignments/?status=notifying"' in shown
    assert world.ALICE in client.get("/assignments/?status=notifying").content.decode()


def test_a_mail_that_was_reported_as_unwanted_is_shown_for_a_month_while_the_assignment_is_open(
    client: Client, budget: Budget
) -> None:
    content = world.given_content(title="Tidal Engines")
    world.allocate(budget, content, ALICE)
    row, reason = LearnerContentAssignment.objects.get(), NoticeReason.MAIL_UNWANTED
    administrator_notices.write_for_address(row, reason, now=TODAY - timedelta(days=29))

    shown = attention(client)
    assert "<bdi>Tidal Engines</bdi>" in shown
    assert "1 learner reported a mail as unwanted on Sunday, 1 February 2026" in shown
    assert f'href="/assignments/?budget={budget.uuid}&content_key={quote(content.content_key, "")}"' in shown

    AdministratorNotice.objects.update(created=TODAY - timedelta(days=30))
    assert "unwanted" not in attention(client)
    AdministratorNotice.objects.update(created=TODAY)
    cancellation.cancel(budget, uuids=[row.uuid], now=TODAY)
    assert "unwanted" not in attention(client)


@pytest.mark.on_every_engine
def test_near_deadlines_are_counted_with_the_money_that_comes_free(client: Client, budget: Budget) -> None:
    world.allocate(budget, world.given_content(), *world.addresses(3))
    near, past, _far = LearnerContentAssignment.objects.order_by("pk")
    for row, days in ((near, 6), (past, -1)):
        LearnerContentAssignment.objects.filter(pk=row.pk).update(expires_at=TODAY + timedelta(days=days))

    shown = attention(client)

    assert "1 assignment has its deadline in the next seven days. $199.00 comes free" in shown
    assert ">Show it<" in shown
    assert 'name="query" value="within=7&sort=expires_at"' in shown
    assert 'value="remind"' in shown


def test_near_deadlines_say_when_they_were_reminded_and_come_last_while_that_is_new(
    client: Client, budget: Budget
) -> None:
    world.given_assignment(budget)
    world.deliver()
    change(budget, limit_cents=world.PRICE)
    row = LearnerContentAssignment.objects.filter(budget=budget)
    row.update(expires_at=TODAY + timedelta(days=6))
    assert "The last reminder" not in attention(client)
    for ago, main, last in ((timedelta(days=4), True, False), (timedelta(days=1), False, True)):
        at = TODAY - ago
        row.update(recent_action_at=at, allocated_at=TODAY - timedelta(days=20))

        shown = attention(client)

        assert f"The last reminder was sent on {moments.in_words(at, zone=budget.customer.zone)}." in shown
        assert ('btn-primary" name="verb" value="remind"' in shown) == main
        assert (shown.index("nearly used up") < shown.index("its deadline")) == last


def test_the_last_reminder_is_dated_in_its_own_organisations_time_zone(
    client: Client, budget: Budget
) -> None:
    auckland = world.given_customer(time_zone="Pacific/Auckland")
    RoleGrant.objects.create(user=User.objects.get(), role=Role.ADMINISTRATOR, customer=auckland)
    for of, at, last in (
        (budget, datetime(2026, 2, 26, 21, tzinfo=UTC), "Thursday, 26 February 2026, 22:00 (Madrid time)"),
        (
            world.given_budget(customer=auckland),
            datetime(2026, 2, 28, 21, tzinfo=UTC),
            "Sunday, 1 March 2026, 10:00 (Auckland time)",
        ),
    ):
        row = LearnerContentAssignment.objects.filter(pk=world.given_assignment(of).pk)
        row.update(allocated_at=TODAY - timedelta(days=20), expires_at=TODAY + timedelta(days=6))
        row.update(recent_action_at=at)

        assert f"The last reminder was sent on {last}." in attention(client)

    assert "2 assignments have their deadline in the next seven days. $398.00 comes free" in attention(client)


def test_failures_in_organisations_with_several_time_zones_are_dated_in_utc(
    client: Client, budget: Budget
) -> None:
    RoleGrant.objects.create(
        user=User.objects.get(),
        role=Role.ADMINISTRATOR,
        customer=world.given_customer(time_zone="Pacific/Auckland"),
    )
    world.given_budget(customer=RoleGrant.objects.latest("pk").customer, name="Zealand")
    world.given_assignment(budget, address="leo@nowhere.invalid", now=datetime(2026, 3, 1, 23, tzinfo=UTC))
    world.deliver(now=datetime(2026, 3, 1, 23, 30, tzinfo=UTC))  # the next day in Madrid

    assert "on 1 Mar 2026." in attention(client)


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"limit_cents": 2 * world.PRICE}, None),
        ({"limit_cents": world.PRICE + 100}, "nearly used up: $1.00 of $200.00 is free"),
        ({"ends_at": TODAY + timedelta(days=29)}, ":00 (Madrid time). Still free: $"),
        ({"ends_at": TODAY + timedelta(days=31)}, None),
        ({"ends_at": TODAY + timedelta(days=29), "active": False}, None),
    ],
)
def test_a_budget_that_is_nearly_used_up_or_ends_soon_is_named(
    client: Client, budget: Budget, columns: dict[str, Any], sentence: str | None
) -> None:
    world.given_assignment(budget)
    change(budget, **columns)

    shown = attention(client)

    assert (sentence or "Nothing needs your attention") in shown
    assert (f'href="/budgets/{budget.uuid}/"' in shown) == bool(sentence)


@pytest.mark.on_every_engine
def test_the_picture_has_its_figures_in_a_table(client: Client, budget: Budget) -> None:
    world.allocate(budget, world.given_content(), *world.addresses(5))
    rows = LearnerContentAssignment.objects.order_by("pk")
    accepted, expired, cancelled = rows[:3]
    LearnerContentAssignment.objects.filter(pk=accepted.pk).update(state=State.ACCEPTED)
    LearnerContentAssignment.objects.filter(pk=expired.pk).update(state=State.EXPIRED)
    cancellation.cancel(budget, uuids=[cancelled.uuid], now=world.NOW)
    long_ago = world.NOW - timedelta(days=120)
    world.given_assignment(budget, address="before@people.example", now=long_ago)

    shown = home(client)

    assert 'role="img" aria-label="Assignments in each of the last 13 weeks, ' in shown
    week = '<th scope="row" class="time">2 Mar 2026</th><td class="number">1</td><td class="number">2</td>'
    assert f'{week}<td class="number">1</td><td class="number">1</td>' in shown
    assert "Declined, cancelled or refunded" in shown
    listed = client.get("/assignments/?assigned_from=2025-12-08").content.decode()
    assert 'href="/assignments/?assigned_from=2025-12-08"' in shown
    assert 'All <span class="count">5<' in listed  # as many as the figures add up to
    assert (
        'All weeks</th><td class="number">1</td><td class="number">2</td><td class="number">1</td>' in shown
    )


def test_others_figures_are_not_in_it(client: Client, budget: Budget) -> None:
    stranger = world.given_budget(name="Elsewhere", seats=1)
    world.given_assignment(stranger, address="stranger@nowhere.invalid")
    world.deliver()

    shown = home(client)

    assert "Elsewhere" not in shown
    assert " failed for " not in shown
    assert "Nothing was assigned in the last 13 weeks." in shown


def test_an_operator_is_not_sent_to_the_operator_when_the_mail_server_is_in_trouble(
    client: Client, budget: Budget
) -> None:
    MailServer.objects.create(
        name="default", trouble_since=TODAY, error_code="mail_server_unreachable", due_at=TODAY, early=0
    )
    assert "Ask the operator" in attention(client)
    client.force_login(world.given_user(Role.OPERATOR))
    shown = attention(client)
    assert "Ask the operator" not in shown
    assert "The command “bursary status” says what is at fault." in shown


def test_what_is_to_be_retried_has_the_button_and_an_operator_is_sent_to_no_operator(
    client: Client, budget: Budget
) -> None:
    world.given_assignment(budget, address="one@nowhere.invalid")
    world.deliver()
    administrator, operator = User.objects.get(), world.given_user(Role.OPERATOR)
    sent_to_the_operator = []
    for error_code, words in error_texts.ERROR_TEXTS.items():
        failed_by(error_code)
        shown = failure_for(administrator, budget)
        assert (shown.verb == "retry") is words.retried, error_code
        assert ("retry it" in shown.sentence.lower()) <= words.retried, error_code
        if "Ask the operator" in shown.sentence:
            sent_to_the_operator.append(error_code)
            assert "Ask the operator" not in failure_for(operator, budget).sentence, error_code
    assert sent_to_the_operator

    failed_by(next(code for code, words in error_texts.ERROR_TEXTS.items() if words.retried))
    assert 'name="verb" value="retry"' in attention(client)


def failed_by(error_code: str) -> None:
    """Let what failed have failed by that cause."""
    LearnerContentAssignmentAction.objects.filter(status=Status.FAILED).update(error_code=error_code)


def failure_for(user: User, budget: Budget) -> Attention:
    """Return the only notice of a budget, as that user is shown it."""
    rows = LearnerContentAssignment.objects.filter(budget=budget)
    (shown,) = items(user, [budget], rows, zone=budget.customer.zone, now=TODAY)
    return shown


def test_notices_are_asked_for_by_the_roles_of_a_token_where_one_has_signed_in(budget: Budget) -> None:
    assignment = world.given_assignment(budget)
    AdministratorNotice.objects.create(
        budget=budget,
        content=assignment.content,
        reason=NoticeReason.NOT_IN_CATALOG,
        assignments=1,
        created=TODAY,
        due_at=TODAY,
        early=leases.NOT_BEFORE,
    )
    user = User.objects.get()
    rows = LearnerContentAssignment.objects.none()
    assert len(items(user, [], rows, zone=budget.customer.zone, now=TODAY)) == 1

    user.token_roles = frozenset({(Role.ADMINISTRATOR, world.given_customer().uuid)})
    assert items(user, [], rows, zone=budget.customer.zone, now=TODAY) == []
