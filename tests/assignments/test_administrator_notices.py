"""A deadline that is brought forward waits a day, and administrators are notified before it expires."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import transaction

from bursary.access.models import NoticeAddress, Role, SeenAdministrator
from bursary.assignments import administrator_notices, backfill, derived, expiry, redemption
from bursary.assignments.choices import State
from bursary.assignments.models import AdministratorNotice, LearnerContentAssignment
from bursary.budgets import terms
from bursary.budgets.models import Budget
from bursary.delivery import emails, notices
from bursary.replica.models import ContentMetadata
from tests.letters import text_of
from tests.smtp import MailServer
from tests.world import (
    NOW,
    addresses,
    allocate,
    change_content,
    given_assignment,
    given_budget,
    given_content,
    given_user,
)

pytestmark = [pytest.mark.django_db, pytest.mark.takes_long]

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def moves_enrolment(content: ContentMetadata, *, to: datetime | None, now: datetime) -> None:
    change_content(content, now=now, enroll_by=to)


def expired(now: datetime) -> int:
    return expiry.expire_due(now=now).done


def notify(now: datetime) -> None:
    notices.send_due(clock=lambda: now)


@pytest.mark.on_every_engine
def test_a_deadline_that_moved_into_the_past_lets_nothing_expire_for_a_day(mail: MailServer) -> None:
    budget, content = given_budget(), given_content()
    given_user(Role.ADMINISTRATOR, customer=budget.customer, email="ada@people.example")
    allocate(budget, content, *addresses(2))
    moves_enrolment(content, to=NOW - DAY, now=NOW + HOUR)

    notify(NOW + HOUR)
    assert expired(NOW + HOUR + DAY - timedelta(microseconds=1)) == 0
    assert expired(NOW + HOUR + DAY) == 2

    (sent,) = mail.received
    assert sent["To"] == "ada@people.example"
    subject = "The deadline of 2 assignments of “Tidal Engines” has been brought forward"
    assert sent["Subject"].strip() == subject
    notice = AdministratorNotice.objects.get()
    assert (notice.assignments, notice.notified_at, notice.due_at) == (2, NOW + HOUR, None)


def test_a_deadline_that_moves_back_expires_no_assignment(mail: MailServer) -> None:
    assignment = given_assignment(content=(content := given_content()))
    moves_enrolment(content, to=NOW - DAY, now=NOW + HOUR)
    moves_enrolment(content, to=None, now=NOW + 2 * HOUR)
    notify(NOW + 2 * HOUR)
    assert not administrator_notices.current(NOW + 2 * HOUR)  # no page shows it any more
    assert expired(NOW + 30 * DAY) == 0
    assignment.refresh_from_db()
    assert assignment.expires_at == NOW + 90 * DAY


def test_a_budget_that_ends_in_the_past_waits_as_well() -> None:
    assignment = given_assignment(given_budget(starts_at=NOW - DAY))
    terms.change(assignment.budget, now=NOW + HOUR, terms={"ends_at": NOW})
    assert AdministratorNotice.objects.get().no_expiry_before == NOW + HOUR + DAY
    notify(NOW + HOUR)
    assert [expired(NOW + 2 * HOUR), expired(NOW + HOUR + DAY)] == [0, 1]


def test_a_deadline_brought_forward_to_75_seconds_ahead_expires_nothing_for_a_day(mail: MailServer) -> None:
    content = given_content(enroll_by=NOW + 600 * DAY)
    assignment = given_assignment(content=content)
    given_user(Role.ADMINISTRATOR, customer=assignment.budget.customer)
    closes = NOW + HOUR + timedelta(seconds=75)
    moves_enrolment(content, to=closes, now=NOW + HOUR)

    assert [expired(closes), expired(NOW + HOUR + DAY)] == [0, 0]  # no administrator was notified
    notify(NOW + HOUR)
    assert [expired(NOW + HOUR + DAY - timedelta(microseconds=1)), expired(NOW + HOUR + DAY)] == [0, 1]

    assert "brought a deadline forward, into the past or to less than a day from now" in " ".join(
        text_of(mail.received[0]).split()
    )


def test_it_can_be_accepted_until_the_deadline_that_was_brought_forward() -> None:
    content = given_content(enroll_by=NOW + 600 * DAY)
    given_assignment(content=content)
    moves_enrolment(content, to=NOW + 2 * HOUR, now=NOW + HOUR)
    assignment = LearnerContentAssignment.objects.get()
    assert redemption.refusal(assignment, now=NOW + 2 * HOUR - timedelta(seconds=1)) is None
    refused = redemption.refusal(assignment, now=NOW + 2 * HOUR)
    assert refused is not None
    assert refused.reason == "reason_learner_assignment_expired"


@pytest.mark.parametrize(
    ("at_first", "then", "graced"),
    [
        (30 * HOUR, 24 * HOUR - timedelta(microseconds=1), True),
        (30 * HOUR, 24 * HOUR, False),  # a day is left
        (5 * HOUR, 3 * HOUR, True),
        (3 * HOUR, 3 * HOUR, False),  # something else changed
        (3 * HOUR, 5 * HOUR, False),  # put off
    ],
)
@pytest.mark.on_every_engine
def test_only_what_is_brought_forward_to_less_than_a_day_has_its_grace(
    at_first: timedelta, then: timedelta, graced: bool
) -> None:
    given_assignment(content=(content := given_content(enroll_by=NOW + at_first)))
    moves_enrolment(content, to=NOW + then, now=NOW)
    assert AdministratorNotice.objects.exists() is graced
    assert expired(NOW + then) == (not graced)


def test_a_deadline_put_off_within_its_grace_keeps_it() -> None:
    given_assignment(content=(content := given_content()))
    moves_enrolment(content, to=NOW + HOUR, now=NOW)
    moves_enrolment(content, to=NOW + 2 * HOUR, now=NOW + timedelta(minutes=1))
    assert LearnerContentAssignment.objects.get().grace_until == NOW + DAY


def test_a_budgets_end_brought_near_waits_as_well() -> None:
    assignment = given_assignment()
    terms.change(assignment.budget, now=NOW, terms={"ends_at": NOW + HOUR})
    assert AdministratorNotice.objects.get().no_expiry_before == NOW + DAY
    assert expired(NOW + HOUR) == 0


def test_a_deadline_that_passes_in_its_own_time_has_no_grace() -> None:
    given_assignment(content=(content := given_content(enroll_by=NOW + 2 * HOUR)))
    change_content(content, now=NOW + HOUR, title="Renamed")
    assert not AdministratorNotice.objects.exists()
    assert expired(NOW + 2 * HOUR) == 1


@pytest.mark.on_every_engine
def test_nothing_expires_before_an_administrator_was_notified(mail: MailServer) -> None:
    budget, content = given_budget(), given_content()
    given_user(Role.ADMINISTRATOR, customer=budget.customer)
    given_assignment(budget, content)
    other = given_assignment(given_budget(), given_content(enroll_by=NOW + DAY))
    moves_enrolment(content, to=NOW - DAY, now=NOW)
    mail.go()
    notify(NOW)
    assert expired(NOW + 3 * DAY) == 1
    other.refresh_from_db()
    assert other.state == State.EXPIRED

    mail.come()
    notify(NOW + 3 * DAY)
    # Notified at last, an administrator still has half a day; the mail says until when.
    assert [expired(NOW + 3 * DAY), expired(NOW + 3 * DAY + 12 * HOUR)] == [0, 1]
    assert "Thursday, 5 March 2026, 22:00 (Madrid time)" in " ".join(text_of(mail.received[0]).split())


def test_one_full_mailbox_sends_no_other_administrator_the_mail_twice(mail: MailServer) -> None:
    budget, content = given_budget(), given_content()
    for name in ("ada", "full"):
        given_user(Role.ADMINISTRATOR, customer=budget.customer, email=f"{name}@people.example")
    mail.mailbox_full.add("full@people.example")
    given_assignment(budget, content)
    moves_enrolment(content, to=NOW - DAY, now=NOW)
    for hour in range(0, 20, 4):
        notify(NOW + hour * HOUR)
    mail.mailbox_full.clear()
    notify(NOW + 20 * HOUR)
    assert [sent["To"] for sent in mail.received] == ["ada@people.example", "full@people.example"]
    assert all("3 March 2026, 10:00" in " ".join(text_of(sent).split()) for sent in mail.received)
    assert AdministratorNotice.objects.get().notified_at == NOW
    assert expired(NOW + DAY) == 1


def test_notices_reach_those_seen_by_token_or_the_addresses_that_the_customer_names(mail: MailServer) -> None:
    by_token, by_name = given_budget(), given_budget()
    SeenAdministrator.objects.create(
        user=given_user(email="seen@people.example"), customer=by_token.customer, seen_at=NOW
    )
    given_user(Role.ADMINISTRATOR, customer=by_name.customer)
    for name in ("desk", "full"):
        NoticeAddress.objects.create(customer=by_name.customer, address=f"{name}@people.example")
    mail.mailbox_full.add("full@people.example")
    for budget in (by_token, by_name):
        content = given_content()
        given_assignment(budget, content)
        moves_enrolment(content, to=NOW - DAY, now=NOW)

    for hour in range(0, 24, 6):
        notify(NOW + hour * HOUR)
    mail.mailbox_full.clear()
    notify(NOW + 24 * HOUR)

    received = sorted(str(sent["To"]) for sent in mail.received)
    assert received == ["desk@people.example", "full@people.example", "seen@people.example"]


def test_a_mail_server_that_comes_back_after_days_still_brings_the_notice(mail: MailServer) -> None:
    budget, content = given_budget(), given_content()
    given_user(Role.ADMINISTRATOR, customer=budget.customer)
    given_assignment(budget, content)
    moves_enrolment(content, to=NOW - DAY, now=NOW)
    mail.go()
    for hour in range(0, 4 * 24, 4):
        notify(NOW + hour * HOUR)
    mail.come()
    notify(NOW + 4 * DAY + HOUR)
    assert len(mail.received) == 1


def test_a_deadline_that_moves_back_has_no_grace_left() -> None:
    assignment = given_assignment(content=(content := given_content()))
    moves_enrolment(content, to=NOW - DAY, now=NOW + HOUR)
    moves_enrolment(content, to=NOW + 4 * DAY, now=NOW + 2 * HOUR)
    assignment.refresh_from_db()
    assert assignment.grace_until is None
    assert expired(NOW + 4 * DAY) == 1


def test_a_catalog_that_cannot_decide_is_one_notice_a_day(mail: MailServer) -> None:
    budget, content = given_budget(), given_content()
    given_user(Role.ADMINISTRATOR, customer=budget.customer)
    given_assignment(budget, content)
    for hour in range(0, 20, 6):
        moves_enrolment(content, to=NOW - DAY, now=NOW + hour * HOUR)
        notify(NOW + hour * HOUR)
        moves_enrolment(content, to=None, now=NOW + (hour + 1) * HOUR)
    assert len(mail.received) == 1


def joined_in_batches(
    content: ContentMetadata, monkeypatch: pytest.MonkeyPatch, *, begun: datetime, seconds: int = 1
) -> int:
    """Join to `content` what is not yet, two a transaction, each some seconds after the one before."""
    monkeypatch.setattr(derived, "ASSIGNMENTS_PER_STATEMENT", 2)
    moments = (begun + timedelta(seconds=seconds * number) for number in range(100))
    return backfill.attach(content.pk, clock=lambda: next(moments))


def given_unattached(content: ContentMetadata, budget: Budget, count: int, *, start: int = 0) -> None:
    known = given_content()
    allocate(budget, known, *addresses(count, start=start))
    LearnerContentAssignment.objects.filter(content=known).update(
        content=None, content_key=content.content_key
    )


def subjects(mail: MailServer) -> list[str]:
    return [sent["Subject"].strip().partition(" of “")[0] for sent in mail.received]


def test_a_change_in_batches_is_one_mail_with_the_total(
    mail: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget, content = given_budget(), given_content(enroll_by=NOW - DAY)
    given_user(Role.ADMINISTRATOR, customer=budget.customer)
    given_unattached(content, budget, 7)

    assert joined_in_batches(content, monkeypatch, begun=NOW) == 7
    notify(NOW + timedelta(minutes=1))
    assert subjects(mail) == []
    notify(NOW + HOUR)

    assert subjects(mail) == ["The deadline of 7 assignments"]
    assert AdministratorNotice.objects.get().assignments == 7
    assert [expired(NOW + DAY - HOUR), expired(NOW + DAY + HOUR)] == [0, 7]


def test_administrators_notified_of_fewer_are_notified_again_of_all(
    mail: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget, content = given_budget(), given_content(enroll_by=NOW - DAY)
    given_user(Role.ADMINISTRATOR, customer=budget.customer)
    given_unattached(content, budget, 3)
    joined_in_batches(content, monkeypatch, begun=NOW)
    notify(NOW + HOUR)
    given_unattached(content, budget, 2, start=3)
    joined_in_batches(content, monkeypatch, begun=NOW + 2 * HOUR)
    mail.go()
    notify(NOW + 3 * HOUR)
    assert expired(NOW + 2 * DAY) == 0  # the later ones are not in any mail yet
    mail.come()
    notify(NOW + 2 * DAY)

    assert subjects(mail) == [f"The deadline of {count} assignments" for count in (3, 5)]
    assert len({sent["Message-ID"] for sent in mail.received}) == 2
    assert expired(NOW + 3 * DAY) == 5


def test_assignments_that_come_while_the_mail_is_sent_are_in_another_mail(
    mail: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget, content = given_budget(), given_content(enroll_by=NOW - DAY)
    given_user(Role.ADMINISTRATOR, customer=budget.customer)
    given_unattached(content, budget, 3)
    joined_in_batches(content, monkeypatch, begun=NOW)
    given_unattached(content, budget, 2, start=3)
    send = emails.send

    def meanwhile(*arguments: Any, **more: Any) -> Any:
        joined_in_batches(content, monkeypatch, begun=NOW + HOUR)
        return send(*arguments, **more)

    monkeypatch.setattr(emails, "send", meanwhile)
    notify(NOW + HOUR)
    notify(NOW + 2 * HOUR)

    assert subjects(mail) == [f"The deadline of {count} assignments" for count in (3, 5)]


def test_a_notice_of_other_content_delays_no_expiry(mail: MailServer) -> None:
    budget, graced, other = given_budget(), given_content(), given_content()
    given_user(Role.ADMINISTRATOR, customer=budget.customer)
    for content in (graced, other):
        given_assignment(budget, content)
    moves_enrolment(graced, to=NOW - DAY, now=NOW)
    notify(NOW)
    moves_enrolment(other, to=NOW - DAY, now=NOW + HOUR)
    mail.go()
    assert expired(NOW + 2 * DAY) == 1


def test_a_notice_that_cannot_be_sent_holds_the_money_for_a_week_at_most(mail: MailServer) -> None:
    budget, content = given_budget(), given_content()
    given_user(Role.ADMINISTRATOR, customer=budget.customer)
    given_assignment(budget, content)
    moves_enrolment(content, to=NOW - DAY, now=NOW)
    mail.go()
    notify(NOW)
    assert [expired(NOW + 7 * DAY - HOUR), expired(NOW + 7 * DAY)] == [0, 1]


def test_without_an_administrator_with_an_address_the_first_page_shows_the_notice() -> None:
    given_assignment(content=(content := given_content()))
    moves_enrolment(content, to=NOW - DAY, now=NOW)
    notify(NOW)
    notice = AdministratorNotice.objects.get()
    assert (notice.last_error, notice.notified_at) == ("no_administrator", NOW)
    assert list(administrator_notices.current(NOW)) == [notice]
    assert expired(NOW + DAY) == 1


def test_a_refused_address_does_not_stop_the_mails_to_others(mail: MailServer) -> None:
    budget, content = given_budget(), given_content()
    for name in ("gone", "ada"):
        given_user(Role.ADMINISTRATOR, customer=budget.customer, email=f"{name}@people.example")
    mail.refuses.add("gone@people.example")
    given_assignment(budget, content)
    moves_enrolment(content, to=NOW - DAY, now=NOW)
    notify(NOW)
    assert [sent["To"] for sent in mail.received] == ["ada@people.example"]
    assert AdministratorNotice.objects.get().notified_at == NOW


def test_an_address_that_cannot_be_encoded_stops_no_mail_and_repeats_none(mail: MailServer) -> None:
    budget, content = given_budget(), given_content()
    for email in ("ada@people.example", f"a@{'ü' * 60}.example", "ole@people.example"):
        given_user(Role.ADMINISTRATOR, customer=budget.customer, email=email)
    given_assignment(budget, content)
    moves_enrolment(content, to=NOW - DAY, now=NOW)
    for hours in range(3):
        notify(NOW + hours * HOUR)
    assert [sent["To"] for sent in mail.received] == ["ada@people.example", "ole@people.example"]
    notice = AdministratorNotice.objects.get()
    assert (notice.notified_at, notice.last_error, notice.due_at) == (NOW, "address_rejected", None)


def test_a_notice_that_was_sent_is_not_sent_again(mail: MailServer) -> None:
    budget, content = given_budget(), given_content()
    given_user(Role.ADMINISTRATOR, customer=budget.customer)
    given_assignment(budget, content)
    moves_enrolment(content, to=NOW - DAY, now=NOW)
    notify(NOW)
    notify(NOW + HOUR)
    assert len(mail.received) == 1


@pytest.mark.on_every_engine
def test_a_change_that_is_rolled_back_leaves_no_notice() -> None:
    given_assignment(content=(content := given_content()))
    with transaction.atomic():
        change_content(content, enroll_by=NOW - DAY)
        transaction.set_rollback(True)
    assert not AdministratorNotice.objects.exists()
    assert LearnerContentAssignment.objects.get().grace_until is None
