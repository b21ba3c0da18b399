"""A mail server in trouble: one mail tries it, the others wait, and no learner is failed for it."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial

import pytest
from django.conf import settings as django_settings
from django.db.models import QuerySet
from pytest_django import Settings

from bursary.assignments import actions, redemption
from bursary.assignments.choices import ActionType, Status
from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.delivery import mail_server, runner
from bursary.delivery.models import MailServer
from bursary.lib import leases
from tests.scripted_smtp import BREAKS, ScriptedServer, scripted_server
from tests.smtp import MailServer as Loopback
from tests.world import (
    ALICE,
    NOW,
    addresses,
    allocate,
    deliver,
    given_assignment,
    given_budget,
    given_content,
)

pytestmark = [pytest.mark.django_db, pytest.mark.takes_long]

WEEKEND = timedelta(hours=62)
HOUR = timedelta(hours=1)
LOG = "bursary.delivery.mail_server"


@pytest.fixture
def server(settings: Settings) -> Iterator[ScriptedServer]:
    with scripted_server(settings) as server:
        yield server


def mails() -> QuerySet[LearnerContentAssignmentAction]:
    return LearnerContentAssignmentAction.objects.filter(action_type=ActionType.NOTIFIED)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged of the server."""
    return [record.getMessage() for record in caplog.records if record.name == LOG]


def due_at() -> datetime:
    """Return when the server is tried next."""
    at = MailServer.objects.get().due_at
    assert at is not None
    return at


def test_a_weekend_without_a_mail_server_fails_no_learner(mail: Loopback) -> None:
    mail.go()
    allocate(given_budget(), given_content(), *addresses(5))
    for hour in range(0, int(WEEKEND / HOUR), 2):
        deliver(now=NOW + hour * HOUR)
    assert {one.status for one in mails()} == {Status.PENDING}

    mail.come()
    deliver(now=NOW + WEEKEND + HOUR)  # one tries it
    deliver(now=NOW + WEEKEND + 2 * HOUR)
    assert {one.status for one in mails()} == {Status.DONE}
    assert len(mail.received) == 5
    assert mail_server.in_trouble() is None


def test_a_dead_server_costs_one_connection_and_not_one_for_each_mail(server: ScriptedServer) -> None:
    server.answers["connection"] = BREAKS
    allocate(given_budget(), given_content(), *addresses(40))
    deliver()
    assert server.connections == 1
    assert not mails().filter(due_at__lte=NOW).exists()
    assert sum(mails().values_list("attempts", flat=True)) == 1

    again = due_at()
    deliver(now=again)
    assert server.connections == 2
    assert sum(mails().values_list("attempts", flat=True)) == 2


def test_the_others_work_goes_on_meanwhile(server: ScriptedServer) -> None:
    server.answers["connection"] = BREAKS
    redemption.begin(given_assignment(), now=NOW)
    allocate(given_budget(), given_content(), *addresses(3))
    deliver()
    assert LearnerContentAssignmentAction.objects.get(action_type=ActionType.REDEEMED).status == Status.DONE


def test_its_first_failure_and_its_recovery_are_one_line_each(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers["connection"] = "554 5.7.1 no mails from you, alice@learners.example"
    allocate(given_budget(), given_content(), *addresses(3))
    for hour in range(10):
        deliver(now=NOW + hour * HOUR)
    (failing,) = lines(caplog)
    assert failing.startswith("The mail server fails: mail_server_refuses_us. At fault: our account")
    assert "alice" not in failing

    server.answers.clear()
    for hour in range(10, 13):
        deliver(now=NOW + hour * HOUR)
    _failing, works = lines(caplog)
    assert works == "The mail server takes mails again: mail_server_refuses_us for 600 min."


def test_a_message_that_is_refused_for_good_does_not_end_the_trouble_and_an_address_does(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers["connection"] = "554 5.7.1 no mails from you"
    allocate(given_budget(), given_content(), *addresses(3))
    deliver()
    server.answers = {"MAIL": "552 5.3.4 Message size exceeds fixed limit"}
    deliver(now=due_at())
    deliver(now=NOW + HOUR)
    assert {one.status for one in mails()} == {Status.FAILED}
    assert MailServer.objects.get().trouble_since == NOW
    assert len(lines(caplog)) == 1

    server.answers = {"RCPT": "550 5.1.1 No such user"}
    given_assignment(address="bob@learners.example", now=NOW + 2 * HOUR)
    deliver(now=NOW + 2 * HOUR)
    assert mail_server.in_trouble() is None
    assert lines(caplog)[1:] == ["The mail server answers again: mail_server_refuses_us for 120 min."]


def test_another_cause_of_one_trouble_is_a_line_and_a_silent_server_is_named(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    given_assignment()
    for hour, answer in enumerate(["554 5.7.1 no mails from you", BREAKS, BREAKS]):
        server.answers["connection"] = answer
        deliver(now=NOW + hour * HOUR)
    _refused, broken = lines(caplog)
    assert broken.startswith("The mail server fails by another cause: mail_server_unreachable. At fault: ")
    assert f"127.0.0.1:{server.port}: " in broken
    assert f"127.0.0.1:{server.port}: " in MailServer.objects.get().detail


def test_while_one_worker_tries_the_server_the_others_mails_wait(server: ScriptedServer) -> None:
    server.answers["connection"] = BREAKS
    given_assignment()
    deliver()
    again = due_at()
    server.answers.clear()
    leases.claim(
        MailServer.objects.all(), now=again, lease=django_settings.LEASE, limit=1
    )  # and then it dies
    deliver(now=again + timedelta(seconds=40))
    assert server.connections == 1

    deliver(now=again + django_settings.LEASE + HOUR)
    assert len(server.received) == 1


def test_a_mail_that_breaks_the_connection_does_not_stop_the_others(server: ScriptedServer) -> None:
    server.answers["RCPT"] = BREAKS
    given_assignment()
    deliver()
    assert MailServer.objects.get().due_at is None
    server.answers.clear()
    given_assignment(address="bob@learners.example")
    deliver()
    assert len(server.received) == 1


def test_a_policy_met_five_times_in_a_row_lets_the_others_wait(server: ScriptedServer) -> None:
    server.answers["message"] = "550 5.7.1 likely unsolicited mail"
    allocate(given_budget(), given_content(), *addresses(20))
    deliver()
    assert server.connections == 5
    assert due_at() > NOW


def test_one_mail_that_a_policy_refuses_again_and_again_is_news_once(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers["RCPT"] = "550 5.7.1 Senders outside the organisation are not accepted"
    given_assignment()
    deliver()
    for hour in range(1, 5):
        server.answers = {}
        given_assignment(address=f"{hour}@learners.example", now=NOW + hour * HOUR - timedelta(minutes=1))
        newest = [mails().latest("pk").pk]
        runner.drain(clock=partial(lambda hour: NOW + hour * HOUR, hour), limit=5, pks=newest)
        server.answers = {"RCPT": "550 5.7.1 Senders outside the organisation are not accepted"}
        deliver(now=NOW + hour * HOUR)
    assert len(lines(caplog)) == 2


def test_after_four_days_the_mails_that_wait_are_given_up_with_the_servers_fault(mail: Loopback) -> None:
    mail.go()
    allocate(given_budget(), given_content(), *addresses(3))
    for half in range(8):
        deliver(now=NOW + half * timedelta(hours=12))
    assert {one.status for one in mails()} == {Status.PENDING}
    late = given_assignment(now=NOW + timedelta(days=4) - HOUR)
    for hour in range(4):
        deliver(now=NOW + timedelta(days=4, hours=hour))
    early = mails().exclude(assignment=late)
    assert {(one.status, one.error_code) for one in early} == {(Status.FAILED, "mail_server_unreachable")}
    assert late.actions.get(action_type=ActionType.NOTIFIED).status == Status.PENDING


def test_unknown_errors_count_and_what_the_server_answers_for_now_does_not(
    server: ScriptedServer,
) -> None:
    server.answers["RCPT"] = "451 4.3.0 Try later"
    assignment = given_assignment()
    for hour in range(30):
        deliver(now=NOW + hour * HOUR)
    waiting = assignment.actions.get(action_type=ActionType.NOTIFIED)
    assert (waiting.status, waiting.attempts > 20) == (Status.PENDING, True)
    for claim in range(19):  # and then workers die over it
        actions.claim(now=NOW + (40 + claim) * HOUR, lease=django_settings.LEASE, limit=1)
    server.answers.clear()
    deliver(now=NOW + 60 * HOUR)
    assert [message for message in server.received if ALICE.encode() in message]


def test_mails_that_waited_leave_room_for_what_comes_later(mail: Loopback) -> None:
    mail.go()
    allocate(given_budget(), given_content(), *addresses(60))
    deliver()
    again = due_at()
    slots = sorted(one.due_at for one in mails().filter(attempts=0) if one.due_at)
    assert slots[0] == again
    assert slots[58] >= again + timedelta(seconds=25)
