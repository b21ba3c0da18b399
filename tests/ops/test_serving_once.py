"""Two processes of `bursary serve`, to which the same POST comes many times at once: it is done once."""

import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
from django.urls import reverse

from bursary.access.models import RequestTally, Role
from bursary.assignments.models import AllocationBatch, LearnerContentAssignment
from tests import world
from tests.api.door import body_of
from tests.elapsed import until
from tests.ops.processes import database_url, environment, start
from tests.ops.test_serving import answers
from tests.together import together

TIMES = 100
POSTS_A_MINUTE = 200
LEFT = 5  # POSTs of the minute
LEARNERS = 100 if os.environ.get("BURSARY_TEST_SOAK") else 10
PATIENCE = 120  # seconds


class Sent(NamedTuple):
    """What one POST was answered with."""

    status: int
    retry_after: str
    body: bytes


def send(request: urllib.request.Request) -> Sent:
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return Sent(answer.status, "", answer.read())
    except urllib.error.HTTPError as refused:
        with refused:
            return Sent(refused.code, refused.headers["Retry-After"], b"")


def an_allocation(port: int) -> urllib.request.Request:
    """Return the POST that allocates to some learners, with a key."""
    budget, content = world.given_budget(), world.given_content()
    key = world.given_api_key(world.given_user(Role.ADMINISTRATOR, customer=budget.customer))
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    return urllib.request.Request(
        f"http://127.0.0.1:{port}{reverse('allocate', args=[budget.uuid])}",
        json.dumps(body_of(content, *world.addresses(LEARNERS))).encode(),
        headers | {"Idempotency-Key": "the same"},
    )


def posts_within_a_minute(port: int) -> list[Sent]:
    """Send four times the POSTs that a new key has left, at once; again, if the minute ended meanwhile."""
    for _ in range(10):
        customer = world.given_customer()
        key = world.given_api_key(world.given_user(Role.LEARNER, customer=customer))
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}{reverse('portal-search')}",
            json.dumps({"enterprise_customer_slug": customer.slug}).encode(),
            {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )
        send(request)
        begun = RequestTally.objects.latest("pk").minute
        RequestTally.objects.filter(minute=begun, count=1).update(count=POSTS_A_MINUTE - LEFT)
        sent = together([partial(send, request)] * (4 * LEFT))
        if time.time() // 60 == begun:
            return [one for one in sent if isinstance(one, Sent)]
    raise AssertionError("No minute was long enough.")


@contextmanager
def served(folder: Path, port: int) -> Iterator[list[int]]:
    """Serve with two processes; yield the statuses of `/healthz`, which is asked ten times a second."""
    health: list[int] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.1):
            health.append(answers(port, "/healthz"))

    # Without mails, which would change what the assignments look like between two answers.
    (folder / "secret.key").write_text("a-key-of-tests-that-signs-nothing-else")
    env = environment(
        folder,
        PORT=str(port),
        BURSARY_DATABASE_URL=database_url(),
        BURSARY_CLOCK="none",
        BURSARY_EXECUTOR="none",
        BURSARY_POSTS_PER_MINUTE=str(POSTS_A_MINUTE),
    )
    server = start("serve", "--workers", "2", env=env)
    watcher = threading.Thread(target=watch)
    try:
        until(lambda: answers(port, "/healthz") == 200, server)
        watcher.start()
        yield health
    finally:
        stop.set()
        if watcher.ident:
            watcher.join()
        server.kill()
        server.wait()


@pytest.mark.takes_long
@pytest.mark.django_db(transaction=True)
def test_the_same_post_sent_a_hundred_times_at_once_is_done_once_and_posts_are_limited_together(
    tmp_path: Path, port: int
) -> None:
    request = an_allocation(port)
    with served(tmp_path, port) as health:
        sent = together([lambda: send(request)] * TIMES)
        end = time.monotonic() + PATIENCE
        while (last := send(request)).status == 409 and time.monotonic() < end:
            time.sleep(0.1)
        posted = posts_within_a_minute(port)

    passed = [one.status for one in posted].count(200)
    assert (passed, len(posted)) == (LEFT, 4 * LEFT)
    waits = {one.retry_after for one in posted if one.status != 200}
    assert {one.status for one in posted} == {200, 429}
    assert all(wait.isdecimal() and 1 <= int(wait) <= 60 for wait in waits)
    assert [one for one in sent if not isinstance(one, Sent)] == []
    refused = {one for one in sent if isinstance(one, Sent) and one.status == 409}
    assert {one.retry_after for one in refused} <= {"2"}
    done = [one for one in sent if isinstance(one, Sent) and one not in refused]
    assert {one.status for one in (*done, last)} == {202}
    [first, *others] = [json.loads(one.body) for one in (*done, last)]  # PostgreSQL keeps no order of keys
    assert len(first["created"]) == LEARNERS
    assert all(other == first for other in others)
    assert AllocationBatch.objects.count() == 1
    assert LearnerContentAssignment.objects.count() == LEARNERS
    assert set(health) == {200}
