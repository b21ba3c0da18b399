"""`bursary deliver`: what is due is done once, or as it comes."""

import json
import threading
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from bursary.ops import deliver
from tests import world

pytestmark = pytest.mark.django_db


def run(**options: Any) -> dict[str, Any]:
    said = StringIO()
    call_command("deliver", json=True, stdout=said, **options)
    answer: dict[str, Any] = json.loads(said.getvalue())
    return answer


def test_what_is_due_is_done_and_counted(mailoutbox: list[Any]) -> None:
    assignment = world.given_assignment(now=timezone.now())

    assert run() == {"dry_run": False, "tried": 2, "ended": {"done": 2}}
    assert world.timeline(assignment)[1:] == [("learner_linked", "done"), ("notified", "done")]
    assert [mail.to for mail in mailoutbox] == [[world.ALICE]]


def test_a_final_failure_is_counted_and_is_no_failure_of_the_run() -> None:
    world.given_assignment(address="nobody@nowhere.invalid", now=timezone.now())

    assert run()["ended"] == {"done": 1, "failed": 1}


def test_more_than_one_chunk_is_done_to_the_end() -> None:
    budget, content = world.given_budget(), world.given_content()
    world.allocate(budget, content, *world.addresses(15), now=timezone.now())
    seen: list[int] = []

    ended = deliver.deliver_once(now=timezone.now(), advance=seen.append)

    assert ended == {"done": 30}
    assert seen == [20, 30]


def test_work_that_is_not_due_yet_is_left_alone() -> None:
    world.given_assignment(now=timezone.now() + timedelta(hours=1))

    assert run()["tried"] == 0


def test_a_dry_run_counts_and_does_nothing(mailoutbox: list[Any]) -> None:
    assignment = world.given_assignment(now=timezone.now())

    assert run(dry_run=True) == {"dry_run": True, "due": 2}
    assert world.timeline(assignment)[1:] == [("learner_linked", "pending"), ("notified", "pending")]
    assert mailoutbox == []


def test_for_people_it_says_in_words_what_came_of_it() -> None:
    world.given_assignment(now=timezone.now())
    said = StringIO()

    call_command("deliver", stdout=said)

    assert said.getvalue() == "Delivered: 2 done.\n"


@pytest.mark.django_db(transaction=True)
def test_a_loop_works_until_it_is_stopped() -> None:
    assignment = world.given_assignment(now=timezone.now())

    class StopWhenIdle(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            self.set()
            return True

    assert deliver.deliver_until(StopWhenIdle()) == 2
    assert world.timeline(assignment)[-1] == ("notified", "done")
