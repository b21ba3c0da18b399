"""`bursary serve` as it is by default, with 10,000 learners of a budget waiting: another's is not kept."""

import json
import logging
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse

from tests import world
from tests.elapsed import until
from tests.forked import Forked
from tests.ops.processes import Environment, bursary, environment, start
from tests.ops.test_serving import ACTIONS, answers
from tests.ops.test_unattended import done, query

logger = logging.getLogger(__name__)

MANY = 10_000
AT_MOST_SECONDS = 30


def set_up(budget: str, *, env: Environment) -> dict[str, Any]:
    """Make a budget of the demonstration's organisation; return it with its administrator's new key."""
    (catalog,) = query(Path(env["BURSARY_VAR_DIR"]), "SELECT catalog_uuid FROM budgets_budget LIMIT 1")
    names = ("--customer", "Larkspur Logistics", "--administrator-email", "ada.admin@larkspur.example")
    money = ("--budget", budget, "--limit", "unlimited", "--catalog-uuid", str(catalog[0]))
    run = bursary("setup", *names, *money, "--new-key", "--json", env=env)
    assert run.returncode == 0, run.stderr
    made: dict[str, Any] = json.loads(run.stdout)
    return made


def allocate(port: int, made: dict[str, Any], course: tuple[object, ...], *learners: str) -> int:
    """Assign a course over HTTP; return the status."""
    key, price = course
    body = {"content_key": key, "content_price_cents": price, "learner_emails": learners}
    address = f"http://127.0.0.1:{port}{reverse('allocate', args=[made['budget']['uuid']])}"
    headers = {
        "Authorization": f"Bearer {made['administrator']['api_key']}",
        "Content-Type": "application/json",
    }
    request = urllib.request.Request(address, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            status: int = answer.status
            return status
    except urllib.error.HTTPError as refused:
        with refused:
            logger.info("%s", refused.read())
        return refused.code


def courses(folder: Path) -> list[tuple[object, ...]]:
    """Return the keys and prices of the courses that cost something."""
    return query(
        folder,
        "SELECT content_key, price_cents FROM replica_contentmetadata "
        "WHERE content_type = 'course' AND price_cents > 0 ORDER BY id",
    )


@contextmanager
def serving(port: int, env: Environment) -> Iterator[Forked]:
    """Serve meanwhile; require that the health is 200 each time that it is asked for."""
    healthy: set[int] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.5):
            healthy.add(answers(port, "/healthz"))

    server, watcher = start("serve", env=env), threading.Thread(target=watch)
    try:
        until(lambda: answers(port, "/healthz") == 200, server)
        watcher.start()
        yield server
        over.set()
        watcher.join()
    finally:
        over.set()
        server.kill()
        server.wait()
    assert healthy == {200}
    logger.info("/healthz answered 200 each time")


@pytest.mark.skipif("BURSARY_TEST_SOAK" not in os.environ, reason="takes minutes: `make soak`")
def test_one_learner_behind_ten_thousand_is_mailed_within_half_a_minute(installed: Path, port: int) -> None:
    env = environment(installed, PORT=str(port))
    assert bursary("demo", "--no-serve", "--weeks", "0", env=env).returncode == 0
    many, one = set_up("Everyone", env=env), set_up("One", env=env)
    hers = f"SELECT status FROM {ACTIONS} WHERE action_type = 'notified' AND recipient = '{world.ALICE}'"

    with serving(port, env) as server:
        course = next(course for course in courses(installed) if allocate(port, one, course, world.BOB) < 300)
        before = done(installed, "notified")
        assert allocate(port, many, course, *world.addresses(MANY)) < 300
        until(lambda: done(installed, "notified") >= before + 50, server)

        assert allocate(port, one, course, world.ALICE) < 300
        began = time.monotonic()
        until(lambda: query(installed, hers) == [("done",)], server)
        took = time.monotonic() - began
        sent = done(installed, "notified") - before
        logger.info("mailed after %.1f s, with %s of the others' mails sent by then", took, sent - 1)
        assert took < AT_MOST_SECONDS
        assert sent < MANY

        until(lambda: done(installed, "notified") >= before + sent + 500, server)
