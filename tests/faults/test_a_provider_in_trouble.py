"""A provider that is slow, resets the connection after acceptance or answers garbage, and is well later.

All mails end finished without a human, and the timeline says what was met: no answer before the message was
handed over is a server that was not reached; none after that is a mail that may have arrived.
"""

import email
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

import pytest
from pytest_django import Settings

from bursary.assignments.choices import ActionType, Status
from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.delivery import mail_server, runner
from tests.cut_off import cut_off_after_each
from tests.scripted_smtp import RESETS, SILENCE, ScriptedServer, scripted_server
from tests.world import ALICE, BOB, NOW, allocate, deliver, given_budget, given_content

pytestmark = pytest.mark.django_db

GARBAGE = "\x00\x17 ÿ HTTP/1.1 400 Bad Request"
ENDLESS = "2" * 10_000  # longer than any line of SMTP
UNREACHED, LOST = "mail_server_unreachable", "answer_lost"
SOON = timedelta(seconds=0.3)


@pytest.fixture
def provider(settings: Settings) -> Iterator[ScriptedServer]:
    with scripted_server(settings) as server:
        yield server


@pytest.fixture
def mails() -> list[LearnerContentAssignmentAction]:
    """The mails to two learners; the first meets the trouble."""
    budget, content = given_budget(), given_content()
    for address in (ALICE, BOB):
        allocate(budget, content, address)
    return list(LearnerContentAssignmentAction.objects.filter(action_type=ActionType.NOTIFIED).order_by("pk"))


def arrivals(provider: ScriptedServer) -> Counter[str]:
    return Counter(email.message_from_bytes(message)["Message-ID"] for message in provider.received)


def send_first(mails: list[LearnerContentAssignmentAction]) -> None:
    """Try Alice's mail once, and no other work."""
    assert runner.drain(clock=lambda: NOW, limit=1, pks=[mails[0].pk]) == 1


def test_a_provider_that_answers_byte_by_byte_within_the_deadline_is_waited_for(
    provider: ScriptedServer, mails: list[LearnerContentAssignmentAction]
) -> None:
    provider.seconds_a_byte = 0.001
    deliver()
    for mail in mails:
        mail.refresh_from_db()
        assert (mail.status, mail.attempts, mail.attempt_log) == (Status.DONE, 1, [])
    assert sorted(arrivals(provider).values()) == [1, 1]


@pytest.mark.parametrize(
    ("slow_at", "error_code", "copies"),
    [("", UNREACHED, 1), ("RCPT", UNREACHED, 1), ("message", LOST, 2)],
    ids=["a greeting byte by byte", "silence", "silence after the mail"],
)
def test_a_provider_that_is_slower_than_the_deadline_is_tried_again(
    provider: ScriptedServer,
    mails: list[LearnerContentAssignmentAction],
    settings: Settings,
    slow_at: str,
    error_code: str,
    copies: int,
) -> None:
    settings.SEND_DEADLINE = timedelta(minutes=1) if error_code == LOST else SOON
    if slow_at:
        provider.answers[slow_at] = SILENCE
    else:  # the greeting, which would end in time if each byte gave it more
        provider.seconds_a_byte = 0.1
    with cut_off_after_each(provider.received):
        send_first(mails)
    settings.SEND_DEADLINE = timedelta(minutes=1)
    assert_well_again(provider, mails, error_code=error_code, copies=copies)


@pytest.mark.parametrize(
    ("verb", "answer", "error_code", "copies"),
    [
        ("connection", GARBAGE, UNREACHED, 1),
        ("RCPT", GARBAGE, UNREACHED, 1),
        ("message", GARBAGE, LOST, 2),
        ("message", ENDLESS, LOST, 2),
        ("RCPT", RESETS, UNREACHED, 1),
        ("message", RESETS, LOST, 2),
    ],
    ids=[
        "garbage",
        "garbage to RCPT",
        "garbage to the mail",
        "an endless line",
        "reset",
        "reset after the mail",
    ],
)
def test_a_provider_that_answers_garbage_or_resets_is_tried_again(
    provider: ScriptedServer,
    mails: list[LearnerContentAssignmentAction],
    verb: str,
    answer: str,
    error_code: str,
    copies: int,
) -> None:
    provider.answers[verb] = answer
    send_first(mails)
    assert_well_again(provider, mails, error_code=error_code, copies=copies)


def assert_well_again(
    provider: ScriptedServer, mails: list[LearnerContentAssignmentAction], *, error_code: str, copies: int
) -> None:
    """Let the provider be well, and check how the mails end: Alice's at the second attempt, Bob's at once."""
    provider.answers.clear()
    provider.seconds_a_byte = 0.0
    for hours in (1, 2):
        deliver(now=NOW + timedelta(hours=hours))

    met, spared = mails
    for mail in mails:
        mail.refresh_from_db()
        assert (mail.status, mail.provider_ref) == (Status.DONE, f"<{mail.uuid}@testserver>")
    assert (met.attempts, [entry["cause"] for entry in met.attempt_log]) == (2, [error_code])
    assert (spared.attempts, spared.attempt_log) == (1, [])
    assert arrivals(provider) == {met.provider_ref: copies, spared.provider_ref: 1}
    assert mail_server.in_trouble() is None


@pytest.mark.parametrize(
    ("verb", "answer", "error_code", "copies"),
    [("RCPT", GARBAGE, UNREACHED, 0), ("RCPT", RESETS, UNREACHED, 0), ("message", RESETS, LOST, 3)],
    ids=["garbage", "reset", "reset after the mail"],
)
def test_a_provider_that_is_never_well_again_leaves_no_mail_unfinished(
    provider: ScriptedServer,
    mails: list[LearnerContentAssignmentAction],
    verb: str,
    answer: str,
    error_code: str,
    copies: int,
) -> None:
    provider.answers[verb] = answer
    for day in range(8):
        deliver(now=NOW + timedelta(hours=16 * day))
    for mail in mails:
        mail.refresh_from_db()
        assert (mail.status, mail.error_code, mail.due_at) == (Status.FAILED, error_code, None)
        assert mail.completed_at
        assert arrivals(provider)[f"<{mail.uuid}@testserver>"] == copies
