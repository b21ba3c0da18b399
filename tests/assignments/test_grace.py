"""A deadline that moves into the past waits a day, and administrators are told before anything expires."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import transaction

from bursary.access.models import Role
from bursary.assignments import backfill, derived, expiry, grace
from bursary.assignments.choices import State
from bursary.assignments.deadline_notices import DeadlineNotice
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets import terms
from bursary.budgets.models import Budget
from bursary.delivery import emails, notices
from bursary.replica.models import ContentMetadata
from bursary.replica.refresh import content_changed
from tests.letters import text_of
from tests.smtp import MailServer
from tests.world import NOW, addresses, allocate, given_assignment, given_budget, given_content, given_user

pytestmark = pytest.mark.django_db

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def moves_enrolment(content: ContentMetadata, *, to: datetime | None, now: datetime) -> None:
    content.enroll_by = to
    content.save()
    with transaction.atomic():
        content_changed.send(sender=ContentMetadata, pks=[content.pk], now=now)


def expired(now: datetime) -> int:
    return expiry.expire_due(now=now).done


def tell(now: datetime) -> None:
    notices.send_due(clock=lambda: now)


def test_a_deadline_that_moved_into_the_past_lets_nothing_expire_for_a_day(mail: MailServer) -> None:
    budget, content = given_budget(), given_content()
    given_user(Role.ADMINISTRATOR, customer=budget.customer, email="ada@people.example")
    allocate(budget, content, *addresses(2))
    moves_enrolment(content, to=NOW - DAY, now=NOW + HOUR)

    tell(NOW + HOUR)
    assert expired(NOW + HOUR + DAY - timedelta(microseconds=1)) == 0
    assert expired(NOW + HOUR + DAY) == 2

    (told,) = mail.received
    assert told["To"] == "ada@people.example"
    assert told["Subject"].strip() == "The deadline of 2 assignments of “Tidal Engines” is suddenly over"
    notice = DeadlineNotice.objects.get()
    assert (notice.assignments, notice.told_at, notice.due_at) == (2, NOW + HOUR, None)


def test_a_deadline_that_moves_back_expires_nobody(mail: MailServer) -> None:
    assignment = given_assignment(content=(content := given_content()))
    moves_enrolment(content, to=NOW - DAY, now=NOW + HOUR)
    moves_enrolment(content, to=None, now=NOW + 2 * HOUR)
    tell(NOW + 2 * HOUR)
    assert not grace.current(NOW + 2 * HOUR)  # no page goes on saying it
    assert expired(NOW + 30 * DAY) == 0
    assignment.refresh_from_db()
    assert assignment.expires_at == NOW + 90 * DAY


def test_a_budget_that_ends_in_the_past_waits_as_well() -> None:
    assignment = given_assignment(given_budget(starts_at=NOW - DAY))
    terms.change(assignment.budget, now=NOW + HOUR, terms={"ends_at": NOW})
    assert DeadlineNotice.objects.get().grace_until == NOW + HOUR + DAY
    tell(NOW + HOUR)
    assert [expired(NOW + 2 * HOUR), expired(NOW + HOUR + DAY)] == [0, 1]


def test_a_deadline_that_passes_in_its_own_time_has_no_grace() -> None:
    given_assignment(content=(content := given_content(enroll_by=NOW + DAY)))
    moves_enrolment(content, to=NOW + 2 * HOUR, now=NOW + HOUR)
    assert not DeadlineNotice.objects.exists()
    assert expired(NOW + 2 * HOUR) == 1


def test_nothing_expires_before_somebody_was_told(mail: MailServer) -> None:
    budget, content = given_budget(), given_content()
    given_user(Role.ADMINISTRATOR, customer=budget.customer)
    given_assignment(budget, content)
    other = given_assignment(given_budget(), given_content(enroll_by=NOW + DAY))
    moves_enrolment(content, to=NOW - DAY, now=NOW)
    mail.go()
    tell(NOW)
    assert expired(NOW + 3 * DAY) == 1
    other.refresh_from_db()
    assert other.state == State.EXPIRED

    mail.come()
    tell(NOW + 3 * DAY)
    # Told at last, an administrator still has half a day; the mail says until when.
    assert [expired(NOW + 3 * DAY), expired(NOW + 3 * DAY + 12 * HOUR)] == [0, 1]
    assert "Thursday, 5 March 2026, 22:00 (Madrid time)" in " ".join(text_of(mail.received[0]).split())


def test_one_full_mailbox_makes_no_other_administrator_read_it_twice(mail: MailServer) -> None:
    budget, content = given_budget(), given_content()
    for name in ("ada", "full"):
        given_user(Role.ADMINISTRATOR, customer=budget.customer, email=f"{name}@people.example")
    mail.mailbox_full.add("full@people.example")
    given_assignment(budget, content)
    moves_enrolment(content, to=NOW - DAY, now=NOW)
    for hour in range(24):
        tell(NOW + hour * HOUR)
    mail.mailbox_full.clear()
    tell(NOW + 24 * HOUR)
    assert [sent["To"] for sent in mail.received] == ["ada@people.example", "full@people.example"]
    assert DeadlineNotice.objects.get().told_at == NOW
    assert expired(NOW + DAY) == 1


def test_a_mail_server_that_comes_back_after_days_still_brings_the_notice(mail: MailServer) -> None:
    budget, content = given_budget(), given_content()
    given_user(Role.ADMINISTRATOR, customer=budget.customer)
    given_assignment(budget, content)
    moves_enrolment(content, to=NOW - DAY, now=NOW)
    mail.go()
    for hour in range(4 * 24):
        tell(NOW + hour * HOUR)
    mail.come()
    tell(NOW + 4 * DAY + HOUR)
    assert len(mail.received) == 1


def test_a_deadline_that_moves_back_has_no_grace_left() -> None:
    assignment = given_assignment(content=(content := given_content()))
    moves_enrolment(content, to=NOW - DAY, now=NOW + HOUR)
    moves_enrolment(content, to=NOW + 4 * HOUR, now=NOW + 2 * HOUR)
    assignment.refresh_from_db()
    assert assignment.grace_until is None
    assert expired(NOW + 4 * HOUR) == 1


def test_a_catalog_that_cannot_decide_is_one_notice_a_day(mail: MailServer) -> None:
    budget, content = given_budget(), given_content()
    given_user(Role.ADMINISTRATOR, customer=budget.customer)
    given_assignment(budget, content)
    for hour in range(0, 20, 2):
        moves_enrolment(content, to=NOW - DAY, now=NOW + hour * HOUR)
        tell(NOW + hour * HOUR)
        moves_enrolment(content, to=None, now=NOW + (hour + 1) * HOUR)
    assert len(mail.received) == 1


def joined_in_batches(
    content: ContentMetadata, monkeypatch: pytest.MonkeyPatch, *, begun: datetime, seconds: int = 1
) -> int:
    """Join to `content` what is not yet, two a transaction, each some seconds after the one before."""
    monkeypatch.setattr(derived, "ASSIGNMENTS_PER_STATEMENT", 2)
    moments = (begun + timedelta(seconds=seconds * number) for number in range(100))
    return backfill.join(content.pk, clock=lambda: next(moments))


def given_unjoined(content: ContentMetadata, budget: Budget, count: int, *, start: int = 0) -> None:
    known = given_content()
    allocate(budget, known, *addresses(count, start=start))
    LearnerContentAssignment.objects.filter(content=known).update(
        content=None, content_key=content.content_key
    )


def subjects(mail: MailServer) -> list[str]:
    return [sent["Subject"].strip().partition(" of “")[0] for sent in mail.received]


def test_what_comes_in_batches_is_told_once_and_in_all(
    mail: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget, content = given_budget(), given_content(enroll_by=NOW - DAY)
    given_user(Role.ADMINISTRATOR, customer=budget.customer)
    given_unjoined(content, budget, 7)

    assert joined_in_batches(content, monkeypatch, begun=NOW) == 7
    tell(NOW + timedelta(minutes=1))
    assert subjects(mail) == []
    tell(NOW + HOUR)

    assert subjects(mail) == ["The deadline of 7 assignments"]
    assert DeadlineNotice.objects.get().assignments == 7
    assert [expired(NOW + DAY - HOUR), expired(NOW + DAY + HOUR)] == [0, 7]


def test_who_was_told_of_fewer_is_told_again_of_all(
    mail: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget, content = given_budget(), given_content(enroll_by=NOW - DAY)
    given_user(Role.ADMINISTRATOR, customer=budget.customer)
    given_unjoined(content, budget, 3)
    joined_in_batches(content, monkeypatch, begun=NOW)
    tell(NOW + HOUR)
    given_unjoined(content, budget, 2, start=3)
    joined_in_batches(content, monkeypatch, begun=NOW + 2 * HOUR)
    mail.go()
    tell(NOW + 3 * HOUR)
    assert expired(NOW + 2 * DAY) == 0  # nobody was told of the later ones
    mail.come()
    tell(NOW + 2 * DAY)

    assert subjects(mail) == [f"The deadline of {count} assignments" for count in (3, 5)]
    assert len({sent["Message-ID"] for sent in mail.received}) == 2
    assert expired(NOW + 3 * DAY) == 5


def test_what_comes_while_it_is_told_is_told_as_well(
    mail: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget, content = given_budget(), given_content(enroll_by=NOW - DAY)
    given_user(Role.ADMINISTRATOR, customer=budget.customer)
    given_unjoined(content, budget, 3)
    joined_in_batches(content, monkeypatch, begun=NOW)
    given_unjoined(content, budget, 2, start=3)
    send = emails.send

    def meanwhile(*arguments: Any, **more: Any) -> Any:
        joined_in_batches(content, monkeypatch, begun=NOW + HOUR)
        return send(*arguments, **more)

    monkeypatch.setattr(emails, "send", meanwhile)
    tell(NOW + HOUR)
    tell(NOW + 2 * HOUR)

    assert subjects(mail) == [f"The deadline of {count} assignments" for count in (3, 5)]


def test_another_contents_notice_keeps_nobody_waiting(mail: MailServer) -> None:
    budget, graced, other = given_budget(), given_content(), given_content()
    given_user(Role.ADMINISTRATOR, customer=budget.customer)
    for content in (graced, other):
        given_assignment(budget, content)
    moves_enrolment(graced, to=NOW - DAY, now=NOW)
    tell(NOW)
    moves_enrolment(other, to=NOW - DAY, now=NOW + HOUR)
    mail.go()
    assert expired(NOW + 2 * DAY) == 1


def test_a_notice_that_cannot_be_sent_holds_the_money_for_a_week_at_most(mail: MailServer) -> None:
    budget, content = given_budget(), given_content()
    given_user(Role.ADMINISTRATOR, customer=budget.customer)
    given_assignment(budget, content)
    moves_enrolment(content, to=NOW - DAY, now=NOW)
    mail.go()
    tell(NOW)
    assert [expired(NOW + 7 * DAY - HOUR), expired(NOW + 7 * DAY)] == [0, 1]


def test_who_has_no_administrator_with_an_address_reads_it_on_the_first_page() -> None:
    given_assignment(content=(content := given_content()))
    moves_enrolment(content, to=NOW - DAY, now=NOW)
    tell(NOW)
    notice = DeadlineNotice.objects.get()
    assert (notice.last_error, notice.told_at) == ("nobody_to_tell", NOW)
    assert list(grace.current(NOW)) == [notice]
    assert expired(NOW + DAY) == 1


def test_one_address_that_is_refused_keeps_nobody_else_from_knowing(mail: MailServer) -> None:
    budget, content = given_budget(), given_content()
    for name in ("gone", "ada"):
        given_user(Role.ADMINISTRATOR, customer=budget.customer, email=f"{name}@people.example")
    mail.refuses.add("gone@people.example")
    given_assignment(budget, content)
    moves_enrolment(content, to=NOW - DAY, now=NOW)
    tell(NOW)
    assert [sent["To"] for sent in mail.received] == ["ada@people.example"]
    assert DeadlineNotice.objects.get().told_at == NOW


def test_telling_again_sends_nothing_again(mail: MailServer) -> None:
    budget, content = given_budget(), given_content()
    given_user(Role.ADMINISTRATOR, customer=budget.customer)
    given_assignment(budget, content)
    moves_enrolment(content, to=NOW - DAY, now=NOW)
    tell(NOW)
    tell(NOW + HOUR)
    assert len(mail.received) == 1


def test_a_change_that_is_rolled_back_leaves_no_notice() -> None:
    given_assignment(content=(content := given_content()))
    content.enroll_by = NOW - DAY
    content.save()
    with transaction.atomic():
        content_changed.send(sender=ContentMetadata, pks=[content.pk], now=NOW)
        transaction.set_rollback(True)
    assert not DeadlineNotice.objects.exists()
    assert LearnerContentAssignment.objects.get().grace_until is None
