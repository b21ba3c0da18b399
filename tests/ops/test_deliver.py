"""`bursary deliver`: what is due is done once, or as it comes."""

import json
import threading
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import OperationalError
from django.utils import timezone
from pytest_django import Settings

from bursary.assignments import actions
from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.delivery import mail_server, runner
from bursary.ops import deliver, health, scheduler
from bursary.ops.scheduler import TaskDefinition
from tests import world
from tests.scripted_smtp import scripted_server

pytestmark = pytest.mark.django_db


def run(**options: Any) -> dict[str, Any]:
    said = StringIO()
    call_command("deliver", json=True, stdout=said, **options)
    answer: dict[str, Any] = json.loads(said.getvalue())
    return answer


def test_what_is_due_is_done_and_counted(mailoutbox: list[Any]) -> None:
    assignment = world.given_assignment(now=timezone.now())

    assert run() == {"dry_run": False, "tried": 1, "ended": {"done": 1}}
    assert world.timeline(assignment)[1:] == [("learner_linked", "done"), ("notified", "done")]
    assert [mail.to for mail in mailoutbox] == [[world.ALICE]]


def test_a_final_failure_is_counted_and_is_no_failure_of_the_run() -> None:
    world.given_assignment(address="nobody@nowhere.invalid", now=timezone.now())

    assert run()["ended"] == {"failed": 1}


def test_more_than_one_chunk_is_done_to_the_end() -> None:
    budget, content = world.given_budget(), world.given_content()
    world.allocate(budget, content, *world.addresses(30), now=timezone.now())
    seen: list[int] = []

    ended = deliver.deliver_once(now=timezone.now(), on_progress=seen.append)

    assert ended == {"done": 30}
    assert seen == [20, 30]


def test_work_that_is_not_due_yet_is_left_alone() -> None:
    world.given_assignment(now=timezone.now() + timedelta(hours=1))

    assert run()["tried"] == 0


def test_a_dry_run_counts_and_does_nothing(mailoutbox: list[Any]) -> None:
    assignment = world.given_assignment(now=timezone.now())

    assert run(dry_run=True) == {"dry_run": True, "due": 1}
    assert world.timeline(assignment)[1:] == [("learner_linked", "done"), ("notified", "pending")]
    assert mailoutbox == []


def test_for_people_it_says_in_words_what_came_of_it() -> None:
    world.given_assignment(now=timezone.now())
    said = StringIO()

    call_command("deliver", stdout=said)

    call_command("deliver", stdout=said)
    assert said.getvalue() == "Done: 1.\nNothing was due.\n"


def test_for_people_it_says_what_was_not_done(settings: Settings) -> None:
    with scripted_server(settings) as server:
        said = StringIO()
        for answer in ("451 4.3.0 Try later", "550 5.1.1 No such user"):
            server.answers["RCPT"] = answer
            world.given_assignment(now=timezone.now())
            call_command("deliver", postponed=True, stdout=said)
    assert said.getvalue().splitlines() == [
        "Done: 0. Not done, to be tried again: 1. `bursary status` says why.",
        "Done: 0. Failed for good: 2. `bursary status` says why.",
    ]


@pytest.mark.django_db(transaction=True)
def test_a_loop_works_until_it_is_stopped() -> None:
    assignment = world.given_assignment(now=timezone.now())

    class StopWhenIdle(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            self.set()
            return True

    assert deliver.deliver_until(StopWhenIdle()) == 1
    assert world.timeline(assignment)[-1] == ("notified", "done")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "error", [OperationalError("the server has gone away"), KeyError("a programming error")]
)
def test_a_loop_survives_any_error_of_one_round(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assignment = world.given_assignment(now=timezone.now())
    drain, rounds = runner.drain, []

    def broken_once(**more: Any) -> int:
        rounds.append(more)
        if len(rounds) == 1:
            raise error
        return drain(**more)

    class StopAtSecondIdle(threading.Event):
        waited = 0

        def wait(self, timeout: float | None = None) -> bool:
            self.waited += 1
            if self.waited == 2:
                self.set()
            return True

    monkeypatch.setattr(runner, "drain", broken_once)

    assert deliver.deliver_until(StopAtSecondIdle()) == 1
    assert world.timeline(assignment)[-1] == ("notified", "done")
    assert "A round of deliveries failed" in caplog.text


def test_what_a_clock_that_was_ahead_has_dated_is_due_now_on_request(mailoutbox: list[Any]) -> None:
    now = timezone.now()
    world.given_assignment(now=now + timedelta(days=3))
    scheduler.run_due(
        clock=lambda: now + timedelta(days=3),
        tasks=[TaskDefinition("expire", timedelta(hours=1), lambda _clock: {})],
    )
    world.given_assignment(address=world.BOB, now=now)
    assert run() == {"dry_run": False, "tried": 1, "ended": {"done": 1}}

    assert run(dated_ahead=True) == {"brought_back": 2}
    assert run() == {"dry_run": False, "tried": 1, "ended": {"done": 1}}
    assert health.examine(now=timezone.now()).problems == []
    assert len(mailoutbox) == 2


def test_on_request_what_waits_for_a_repaired_mail_server_is_sent_at_once(
    settings: Settings, mailoutbox: list[Any]
) -> None:
    now, repaired = timezone.now(), settings.EMAIL_BACKEND
    settings.EMAIL_BACKEND = "bursary.delivery.smtp_backend.SmtpEmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    world.allocate(world.given_budget(), world.given_content(), *world.addresses(3), now=now)
    assert run()["ended"] == {"pending": 3}
    settings.EMAIL_BACKEND = repaired
    assert run()["tried"] == 0

    assert run(postponed=True) == {"dry_run": False, "postponed": 3, "tried": 3, "ended": {"done": 3}}
    assert len(mailoutbox) == 3
    assert mail_server.in_trouble() is None


def test_postponed_work_that_a_worker_has_is_left_to_it(mailoutbox: list[Any]) -> None:
    now = timezone.now()
    world.given_assignment(now=now)
    claimed = actions.claim(now=now, lease=timedelta(minutes=5), limit=10)

    assert run(postponed=True) == {"dry_run": False, "postponed": 0, "tried": 0, "ended": {}}
    assert {one.due_at for one in LearnerContentAssignmentAction.objects.filter(due_at__isnull=False)} == {
        claimed[0].lease_until
    }
