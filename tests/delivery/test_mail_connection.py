"""Many mails by one connection; a server that ends it is asked by another, and no mail goes out twice."""

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from bursary.assignments.choices import ActionType, Status
from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.delivery import mail_server
from tests.scripted_smtp import BREAKS, RESETS, ScriptedServer, scripted_server
from tests.world import addresses, allocate, deliver, given_budget, given_content

pytestmark = pytest.mark.django_db

MAILS = 3


@pytest.fixture
def server(settings: Settings) -> Iterator[ScriptedServer]:
    with scripted_server(settings) as server:
        yield server


def test_many_mails_go_by_one_connection_which_the_round_closes(server: ScriptedServer) -> None:
    allocate(given_budget(), given_content(), *addresses(MAILS))
    assert deliver() == MAILS
    assert (server.connections, len(server.received)) == (1, MAILS)

    allocate(given_budget(), given_content(), *addresses(MAILS))
    assert deliver() == MAILS  # the server answers one connection at a time
    assert (server.connections, len(server.received)) == (2, 2 * MAILS)


@pytest.mark.parametrize(
    ("verb", "answer"),
    [
        ("MAIL", "421 4.7.0 Too many messages in this connection"),
        ("MAIL", "452 4.5.3 Too many messages in this session"),
        ("MAIL", BREAKS),
        ("MAIL", RESETS),
        ("RCPT", "421 4.4.2 This connection has lasted too long"),
        ("message", "421 4.3.0 Closing"),
    ],
)
def test_a_server_that_ends_a_connection_after_a_mail_is_in_no_trouble(
    server: ScriptedServer, verb: str, answer: str
) -> None:
    server.later_answers[verb] = answer
    allocate(given_budget(), given_content(), *addresses(MAILS))
    deliver()
    mails = LearnerContentAssignmentAction.objects.filter(action_type=ActionType.NOTIFIED)
    assert {(one.status, one.attempts, len(one.attempt_log)) for one in mails} == {(Status.DONE, 1, 0)}
    taken = [message for message in server.received if b"Message-ID" in message]
    assert len({message.partition(b"Message-ID: ")[2].partition(b"\r")[0] for message in taken}) == MAILS
    assert server.connections == MAILS
    assert mail_server.in_trouble() is None


def test_what_is_answered_about_a_mail_counts_also_where_its_connection_is_not_new(
    server: ScriptedServer,
) -> None:
    server.later_answers["RCPT"] = "550 5.1.1 No such user"
    allocate(given_budget(), given_content(), *addresses(2))
    deliver()
    mails = LearnerContentAssignmentAction.objects.filter(action_type=ActionType.NOTIFIED)
    found = sorted((one.status, one.error_code) for one in mails)
    assert found == [(Status.DONE, ""), (Status.FAILED, "address_rejected")]
    assert server.connections == 1


def test_a_mail_that_got_no_answer_is_not_sent_again_by_another_connection(server: ScriptedServer) -> None:
    server.later_answers["message"] = BREAKS
    allocate(given_budget(), given_content(), *addresses(2))
    deliver()
    mails = LearnerContentAssignmentAction.objects.filter(action_type=ActionType.NOTIFIED)
    assert [one.attempt_log[-1]["cause"] for one in mails if one.attempt_log] == ["answer_lost"]
    assert (server.connections, len(server.received)) == (1, 2)
