"""Mails that came back or were unwanted: once on the timeline, in the preview, never repeated automatically.

Known to the own organisation alone, repaired by an administrator, and forgotten with the person."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine
from pytest_django import Settings

from bursary.access import suppressions
from bursary.access.models import Role, Suppression, SuppressionReason
from bursary.assignments import (
    actions,
    address_corrections,
    allocation,
    failures,
    failures_by_code,
    reminders,
)
from bursary.assignments.choices import ActionType, LearnerState, NoticeReason, Status
from bursary.assignments.mail_reports import MailReport
from bursary.assignments.mail_reports import apply as apply_report
from bursary.assignments.models import AdministratorNotice, LearnerContentAssignment
from bursary.budgets.models import Budget, Customer
from bursary.delivery import notices
from bursary.ops import erasure_runs
from tests import mail_reports
from tests.letters import text_of
from tests.mail_reports import ANYMAIL, REPORTED_AT, send
from tests.smtp import MailServer
from tests.world import (
    ALICE,
    NOW,
    PRICE,
    action_of,
    deliver,
    given_assignment,
    given_budget,
    given_content,
    given_customer,
    given_user,
    timeline,
)

pytestmark = pytest.mark.django_db

LATER = NOW + timedelta(days=7, hours=1)
"""When the first automatic reminder is due."""
FACTS = (ActionType.DELIVERED, ActionType.BOUNCED, ActionType.COMPLAINED)


@pytest.fixture(autouse=True)
def listening(settings: Settings) -> Iterator[None]:
    settings.ANYMAIL = ANYMAIL
    with time_machine.travel(REPORTED_AT, tick=False):
        yield


def given_invited(**more: Any) -> LearnerContentAssignment:
    assignment = given_assignment(**more)
    deliver()
    return assignment


def report(name: str, assignment: LearnerContentAssignment, **how: Any) -> dict[str, int]:
    """Report something of the invitation, and apply it."""
    mail = action_of(assignment, ActionType.NOTIFIED, status=Status.DONE)
    answer = send(name, mail.uuid, **how)
    assert answer.status_code == 200
    return mail_reports.apply()


def facts(assignment: LearnerContentAssignment) -> list[str]:
    return [kind for kind, _status in timeline(assignment) if kind in FACTS]


def remind_by_itself(assignment: LearnerContentAssignment, *, now: datetime = LATER) -> str:
    """Let the sweep request a reminder, as for a learner that was notified; return how it ended."""
    LearnerContentAssignment.objects.filter(pk=assignment.pk).update(learner_state=LearnerState.WAITING)
    reminders.remind_due(now=now)
    deliver(now=now)
    mail = action_of(assignment, ActionType.REMINDED)
    return mail.error_code or mail.status


@pytest.mark.on_every_engine
def test_each_report_is_on_the_timeline_once_however_often_and_in_whatever_order_it_comes(
    mail: MailServer, subtests: pytest.Subtests
) -> None:
    for provider, bounced in (("mailgun", "failed-permanent"), ("resend", "bounced")):
        with subtests.test(provider):
            assignment = given_invited(address=f"{provider}@larkspur.example")
            report(f"{provider}-{bounced}", assignment)
            report(f"{provider}-delivered", assignment, delivery=f"{provider}-1")
            assert report(f"{provider}-delivered", assignment, delivery=f"{provider}-1") == {}
            again = report(f"{provider}-delivered", assignment, delivery=f"{provider}-2")
            assert again == {"already_recorded": 1}
            assert report(f"{provider}-{bounced}", assignment, delivery="3") == {"already_recorded": 1}
            report(f"{provider}-complained", assignment)
            assert facts(assignment) == [ActionType.BOUNCED, ActionType.DELIVERED, ActionType.COMPLAINED]


def test_a_mail_that_came_back_has_failed_after_all_and_can_be_repaired(mail: MailServer) -> None:
    budget = given_budget()
    assignment = given_invited(budget=budget)

    report("mailgun-failed-permanent", assignment)

    assignment.refresh_from_db()
    assert assignment.learner_state == LearnerState.FAILED
    failed = action_of(assignment, ActionType.NOTIFIED)
    assert (failed.status, failed.error_reason, failed.error_code) == (
        Status.FAILED,
        "email_error",
        "address_rejected",
    )
    assert failed.detail == "The mail server of the address refused it for good. 550 5.1.1"
    assert failed.retry_of == action_of(assignment, ActionType.NOTIFIED, status=Status.DONE)
    assert failures_by_code.in_budgets([budget]) == {"address_rejected": 1}

    # A retry is an administrator's decision: it is sent, and reopens the address.
    assert failures.retry(budget, uuids=[assignment.uuid], now=LATER).repaired == [assignment.uuid]
    deliver(now=LATER)
    assert action_of(assignment, ActionType.NOTIFIED).status == Status.DONE
    assert len(mail.received) == 2
    assert not Suppression.objects.exists()


def test_no_automatic_reminder_goes_to_an_address_that_was_refused_or_called_a_mail_unwanted(
    mail: MailServer, subtests: pytest.Subtests
) -> None:
    budget = given_budget()
    refused = ("mailgun-failed-permanent", "address_refused")
    for name, cause in (refused, ("resend-complained", "mail_unwanted")):
        with subtests.test(name):
            learner = f"{name}@larkspur.example"
            first = given_invited(budget=budget, address=learner)
            report(name, first)
            # Another course to the same address: an administrator's decision, so that its invitation is sent.
            other = given_invited(budget=budget, content=given_content(), address=learner)
            assert action_of(other, ActionType.NOTIFIED).status == Status.DONE
            mail.received.clear()

            assert remind_by_itself(other) == cause
            assert mail.received == []

            assert reminders.remind(budget, uuids=[other.uuid], now=LATER).requested == [other.uuid]
            deliver(now=LATER)
            assert len(mail.received) == 1
            assert suppressions.reasons(budget.customer_id, learner) == set()


def test_of_an_address_with_both_reports_it_counts_that_it_was_refused(mail: MailServer) -> None:
    assignment = given_invited()
    for reason in (SuppressionReason.COMPLAINED, SuppressionReason.BOUNCED):
        suppressions.add(assignment.budget.customer_id, ALICE, reason=reason, since=NOW)

    assert remind_by_itself(assignment) == "address_refused"


def test_what_says_nothing_of_the_address_stops_nothing(mail: MailServer, subtests: pytest.Subtests) -> None:
    for name in ("mailgun-failed-by-policy", "mailgun-failed-old", "resend-bounced-transient"):
        with subtests.test(name):
            assignment = given_invited(address=f"{name}@larkspur.example")
            report(name, assignment)
            assert facts(assignment) == [ActionType.BOUNCED]
            assert remind_by_itself(assignment) == Status.DONE
    assert not Suppression.objects.exists()
    assert not AdministratorNotice.objects.exists()


def test_a_later_mail_that_was_delivered_ends_a_bounce_and_an_earlier_one_does_not(mail: MailServer) -> None:
    assignment = given_invited()
    report("mailgun-failed-permanent", assignment)
    Suppression.objects.update(since=REPORTED_AT)  # reported of a minute before
    report("mailgun-delivered", assignment)
    assert Suppression.objects.exists()
    Suppression.objects.update(since=NOW - timedelta(days=1))
    report("resend-delivered", given_invited(content=given_content(), budget=assignment.budget))
    assert not Suppression.objects.exists()


@pytest.mark.on_every_engine
def test_a_mail_that_arrived_after_another_bounced_ends_the_bounce_in_whatever_order_they_are_reported(
    mail: MailServer, subtests: pytest.Subtests
) -> None:
    minute = timedelta(minutes=1)
    for order in (1, -1):
        with subtests.test(order=order):
            learner = f"learner{order}@larkspur.example"
            early = given_invited(address=learner)
            late = given_assignment(early.budget, given_content(), address=learner, now=LATER)
            deliver(now=LATER)
            mails = [action_of(one, ActionType.NOTIFIED).uuid for one in (early, late)]
            bounced = MailReport(ActionType.BOUNCED, at=NOW + minute, mail=mails[0], permanent=True)
            arrived = MailReport(ActionType.DELIVERED, at=LATER + minute, mail=mails[1])
            for one in (bounced, arrived)[::order]:
                assert apply_report(one, now=LATER + 5 * minute)
            customer = early.budget.customer_id
            assert suppressions.reasons(customer, learner) == set()
            assert action_of(early, ActionType.NOTIFIED).status == Status.FAILED

            # What bounces after it counts.
            bounced = MailReport(ActionType.BOUNCED, at=LATER + 2 * minute, mail=mails[1], permanent=True)
            assert apply_report(bounced, now=LATER + 5 * minute)
            assert suppressions.reasons(customer, learner) == {SuppressionReason.BOUNCED}


def test_of_two_bounces_the_later_counts_and_what_was_delivered_between_them_ends_neither() -> None:
    customer, hour = given_customer(), timedelta(hours=1)
    for at in (NOW + 2 * hour, NOW):  # a report may come late
        suppressions.add(customer.pk, ALICE, reason=SuppressionReason.BOUNCED, since=at)
    suppressions.add(customer.pk, ALICE, reason=SuppressionReason.BOUNCED, since=NOW + 4 * hour)
    between = NOW + 3 * hour
    assert not suppressions.end(customer.pk, ALICE, reasons=[SuppressionReason.BOUNCED], before=between)
    assert suppressions.reasons(customer.pk, ALICE) == {SuppressionReason.BOUNCED}


def test_a_report_of_a_mail_in_doubt_ends_the_doubt(mail: MailServer) -> None:
    mail.loses_answers = True
    assignment = given_invited()
    in_doubt = action_of(assignment, ActionType.NOTIFIED)
    assert in_doubt.status == Status.PENDING
    send("mailgun-delivered", in_doubt.uuid)
    mail_reports.apply()

    deliver(now=LATER)

    in_doubt.refresh_from_db()
    assert (in_doubt.status, len(mail.received)) == (Status.DONE, 1)


def test_what_was_reported_before_a_mail_was_requested_ends_none_of_its_attempts(mail: MailServer) -> None:
    first = given_invited()
    report("resend-complained", first)
    mail.mailbox_full.add(ALICE)
    other = given_assignment(first.budget, given_content(), now=LATER)
    deliver(now=LATER)
    assert action_of(other, ActionType.NOTIFIED).error_code == ""
    mail.mailbox_full.clear()

    deliver(now=LATER + timedelta(hours=2))

    invitation = action_of(other, ActionType.NOTIFIED)
    assert (invitation.status, invitation.attempts) == (Status.DONE, 2)


def test_what_is_reported_between_two_attempts_of_a_mail_ends_them(mail: MailServer) -> None:
    first = given_invited()
    mail.mailbox_full.add(ALICE)
    other = given_assignment(first.budget, given_content(), now=NOW)
    deliver()
    report("mailgun-failed-permanent", first)
    mail.received.clear()
    mail.mailbox_full.clear()

    deliver(now=LATER)

    invitation = action_of(other, ActionType.NOTIFIED)
    assert (invitation.status, invitation.error_code) == (Status.FAILED, "address_rejected")
    assert mail.received == []


def test_a_mail_that_is_being_sent_is_reported_of_later(mail: MailServer) -> None:
    assignment = given_assignment()
    (being_sent,) = actions.claim(now=NOW, lease=timedelta(minutes=4), limit=1)
    send("mailgun-delivered", being_sent.uuid)
    assert mail_reports.apply() == {"postponed": 1}
    assert facts(assignment) == []


@pytest.mark.on_every_engine
def test_administrators_of_the_own_organisation_are_written_to_once_and_others_learn_nothing(
    mail: MailServer,
) -> None:
    own, other = given_customer(), given_customer(name="Northgate")
    for customer, name in ((own, "olga"), (other, "nils")):
        given_user(Role.ADMINISTRATOR, customer=customer, email=f"{name}@{name}.example")
    budget, others, content = given_budget(customer=own), given_budget(customer=other), given_content()
    for learner in ("alice", "berta"):
        invited = given_invited(budget=budget, content=content, address=f"{learner}@l.example")
        report("mailgun-failed-permanent", invited)
    mail.received.clear()

    at = REPORTED_AT + timedelta(hours=1)
    notices.send_due(clock=lambda: at)
    notices.send_due(clock=lambda: at)

    assert [one["To"] for one in mail.received] == ["olga@olga.example"]
    written = text_of(mail.received[0])
    assert "mails to 2 learners" in " ".join(written.split())
    assert "The mail server of the address refused a mail for good." in " ".join(written.split())
    assert "alice" not in written
    assert [one.reason for one in AdministratorNotice.objects.all()] == [NoticeReason.ADDRESS_BOUNCED]
    # In the preview: of this organisation's allocations, not of another's.
    assert previewed(budget, "alice@l.example") == ["address_refused"]
    assert previewed(others, "alice@l.example") == []
    theirs = given_invited(budget=others, content=content, address="alice@l.example")
    assert remind_by_itself(theirs) == Status.DONE


def previewed(budget: Budget, address: str) -> list[str]:
    """Return the warnings of an allocation of another course to an address."""
    content = given_content()
    found = allocation.preview(
        budget, content_key=content.content_key, price_cents=PRICE, entries=[address], now=NOW
    )
    return [one.code.value for of_entry in found.warnings.values() for one in of_entry]


def test_a_corrected_address_is_written_to(mail: MailServer) -> None:
    assignment = given_invited()
    report("resend-bounced", assignment)
    address_corrections.correct_pair(ALICE, "alice.b@learners.example", now=LATER)
    deliver(now=LATER)
    assert mail.received[-1]["To"] == "alice.b@learners.example"
    assert suppressions.reasons(assignment.budget.customer_id, ALICE) == {SuppressionReason.BOUNCED}


@pytest.mark.on_every_engine
def test_it_is_forgotten_with_the_person_and_kept_for_others(mail: MailServer) -> None:
    for learner in (ALICE, "berta@larkspur.example"):
        assignment = given_invited(address=learner)
        report("mailgun-failed-permanent", assignment)
        report("resend-complained", assignment)
    erasure_runs.forget(ALICE, now=LATER)
    customer = Customer.objects.latest("pk")
    left = {one.address_hash for one in Suppression.objects.all()}
    assert left == {suppressions.hashed("berta@larkspur.example")}
    assert suppressions.reasons(customer.pk, ALICE) == set()


@pytest.mark.on_every_engine
def test_after_two_years_an_address_is_tried_again() -> None:
    customer = given_customer()
    for age in (suppressions.KEPT_FOR, suppressions.KEPT_FOR - timedelta(seconds=1)):
        address = f"a{age.seconds}@l.example"
        suppressions.add(customer.pk, address, reason=SuppressionReason.BOUNCED, since=NOW - age)
    assert suppressions.delete_old(now=NOW) == 1
    assert Suppression.objects.count() == 1
