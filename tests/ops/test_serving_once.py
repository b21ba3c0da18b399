"""Two processes of `bursary serve`, to which the same POST comes many times at once: it is done once."""

import json
import os
import sqlite3
import threading
import time
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest
from django.urls import reverse

from bursary.access.models import Role
from tests import world
from tests.api.door import asking
from tests.ops.processes import environment, start
from tests.ops.test_serving import answers, copy, free_port, until
from tests.together import together

TIMES = 100 if os.environ.get("BURSARY_TEST_SOAK") else 10
TABLES = (
    *("budgets_customer", "budgets_account", "budgets_budget", "access_user", "access_rolegrant"),
    *("access_apikey", "replica_contentmetadata", "replica_catalogmembership"),
)
PATIENCE = 120  # seconds


def count(folder: Path, table: str) -> int:
    with closing(sqlite3.connect(folder / "bursary.sqlite3", timeout=20)) as database:
        rows: int = database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    return rows


@pytest.mark.takes_long
@pytest.mark.django_db(transaction=True)
def test_the_same_post_sent_many_times_at_once_is_done_once(installed: Path) -> None:
    budget, content = world.given_budget(), world.given_content()
    key = world.given_api_key(world.given_user(Role.ADMINISTRATOR, customer=budget.customer))
    copy(*TABLES, to=installed)
    port = free_port()
    headers = {
        "Authorization": f"Bearer {key}",
        "Content-Type": "application/json",
        "Idempotency-Key": "the same",
    }
    learners = world.addresses(TIMES)
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{reverse('allocate', args=[budget.uuid])}",
        json.dumps(asking(content, *learners)).encode(),
        headers,
    )

    def send() -> tuple[int, str, bytes]:
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return answer.status, "", answer.read()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.headers["Retry-After"], b""

    health: list[int] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            health.append(answers(port, "/healthz"))
            stop.wait(0.1)

    env = environment(installed, PORT=str(port), BURSARY_CLOCK="none", BURSARY_EXECUTOR="none")
    server = start("serve", "--workers", "2", env=env)
    watcher = threading.Thread(target=watch)
    try:
        until(lambda: answers(port, "/healthz") == 200, server)
        watcher.start()
        sent = together([send] * TIMES)
        end = time.monotonic() + PATIENCE
        while (last := send())[0] == 409 and time.monotonic() < end:
            time.sleep(0.1)
    finally:
        stop.set()
        if watcher.ident:
            watcher.join()
        server.kill()
        server.wait()

    assert [one for one in sent if isinstance(one, Exception)] == []
    done = {one for one in sent if isinstance(one, tuple) and one[0] != 409}
    assert {one[1] for one in sent if isinstance(one, tuple) and one[0] == 409} <= {"2"}
    assert len(done) == 1
    [(status, _, body)] = done
    assert (status, len(json.loads(body)["created"])) == (202, TIMES)
    assert (last[0], json.loads(last[2])) == (202, json.loads(body))
    assert count(installed, "assignments_allocationbatch") == 1
    assert count(installed, "assignments_learnercontentassignment") == TIMES
    assert set(health) == {200}
