"""A send ends by its deadline, whatever the mail server does."""

import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from pytest_django import Settings

from bursary.assignments.choices import ActionType, Status
from tests.cut_off import cut_off_after_each
from tests.elapsed import AT_ONCE, taking_at_most
from tests.smtp import MailServer
from tests.world import NOW, action_of, deliver, given_assignment

pytestmark = [pytest.mark.django_db, pytest.mark.takes_long]

DEADLINE = timedelta(seconds=1)


@pytest.fixture
def dripping_server(settings: Settings) -> Iterator[None]:
    """A mail server that greets one byte at a time and never gets to the end of it."""
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        connection, _address = listener.accept()
        with connection:
            while not over.wait(0.1):
                try:
                    connection.sendall(b"2")
                except OSError:
                    return

    server = threading.Thread(target=drip)
    server.start()
    settings.EMAIL_BACKEND = "bursary.delivery.smtp_backend.SmtpEmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = listener.getsockname()
    settings.EMAIL_TIMEOUT, settings.SEND_DEADLINE = 5, DEADLINE
    yield
    over.set()
    server.join()
    listener.close()


def test_a_server_that_drips_for_ever_is_cut_off(dripping_server: None) -> None:
    assignment = given_assignment()
    began = time.monotonic()
    with taking_at_most(AT_ONCE):
        deliver()
    assert time.monotonic() - began > DEADLINE.total_seconds()
    waiting = action_of(assignment, ActionType.NOTIFIED)
    assert waiting.status == Status.PENDING
    assert waiting.attempt_log[-1]["cause"] == "mail_server_unreachable"


def test_a_server_that_thinks_for_longer_than_one_answer_may_take_is_waited_for(
    mail: MailServer, settings: Settings
) -> None:
    settings.EMAIL_TIMEOUT, mail.thinks_for = 4, 4.5
    assignment = given_assignment()
    deliver()
    assert action_of(assignment, ActionType.NOTIFIED).status == Status.DONE
    assert len(mail.received) == 1


def test_a_mail_that_may_have_arrived_is_tried_few_times_and_says_so(
    mail: MailServer,
) -> None:
    mail.holds_answers = True
    assignment = given_assignment()
    with cut_off_after_each(mail.received):
        for hour in range(5):
            deliver(now=NOW + timedelta(hours=hour))
    failed = action_of(assignment, ActionType.NOTIFIED)
    assert (failed.status, failed.error_code, failed.attempts) == (Status.FAILED, "answer_lost", 3)
    assert "may have arrived" in failed.detail
