"""Requests that are made up from the schema, sent to a served instance: each is answered as the schema says.

`make fuzz` sends many more, of more kinds.
"""

import os
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone

from bursary.access.models import Role
from bursary.assignments import redemption
from bursary.assignments.models import AllocationBatch, LearnerContentAssignment
from tests import world
from tests.elapsed import PATIENCE, until
from tests.ops.processes import ROOT, environment, start
from tests.ops.test_serving import answers

EXAMPLES = int(os.environ.get("BURSARY_TEST_FUZZ", "0"))
"""Of each operation; 0: as many as every run of the tests has time for."""
ONLY = os.environ.get("BURSARY_TEST_FUZZ_ONLY", "")
"""A pattern of the addresses that are asked; empty: all."""
FEW = 3
"""`make fuzz` sends thirty times as many."""
SEED = 1
SECONDS = 3600  # at most

ROLES = (Role.ADMINISTRATOR, Role.LEARNER, Role.OPERATOR)


@pytest.fixture
def known(tmp_path: Path) -> dict[str, str]:
    """Return what there is in the served database, by the names that the configuration has for it."""
    now = timezone.now()
    budget, content = world.given_budget(), world.given_content()
    keys: dict[str, str] = {}
    for role in ROLES:
        customer = None if role is Role.OPERATOR else budget.customer
        user = world.given_user(role, customer=customer, lms_user_id=len(keys) + 1)
        keys[f"key of {role}"] = world.given_api_key(user)
        if role is Role.LEARNER:
            world.allocate(budget, content, user.email, *world.addresses(3), now=now)
            accepted = world.given_assignment(budget, address=user.email, now=now)
            action = redemption.begin(accepted, now=now, content_key=accepted.content_key, actor=user)
    world.deliver(now=now + timedelta(seconds=1))
    first = LearnerContentAssignment.objects.earliest("pk")
    with closing(sqlite3.connect(connection.settings_dict["NAME"])) as made:
        made.execute("VACUUM INTO ?", [str(tmp_path / "bursary.sqlite3")])
    (tmp_path / "secret.key").write_text(settings.SECRET_KEY)
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / f"{world.CATALOG}.jsonl").write_text("")  # no other content is known
    return keys | {
        "BURSARY_FUZZ_BUDGET": str(budget.uuid),
        "BURSARY_FUZZ_CUSTOMER": str(budget.customer.uuid),
        "BURSARY_FUZZ_ACCOUNT": str(budget.account.uuid),
        "BURSARY_FUZZ_ASSIGNMENT": str(first.uuid),
        "BURSARY_FUZZ_BATCH": str(AllocationBatch.objects.earliest("pk").uuid),
        "BURSARY_FUZZ_REDEMPTION": str(action.uuid),
        "BURSARY_FUZZ_CONTENT": content.content_key,
    }


@contextmanager
def served(folder: Path, port: int) -> Iterator[str]:
    """Serve with two processes where much is asked, and with one for little; yield the address."""
    env = environment(
        folder,
        PORT=str(port),
        BURSARY_CLOCK="none",
        BURSARY_EXECUTOR="none",
        BURSARY_POSTS_PER_MINUTE="0",
        BURSARY_GETS_PER_MINUTE="0",
        BURSARY_WEBHOOK_SECRETS="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    )
    server = start("serve", "--workers", "2" if EXAMPLES else "1", env=env)
    try:
        until(lambda: answers(port, "/healthz") == 200, server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def described(address: str, folder: Path) -> Path:
    """Save the schema as it is served; the program itself would wait ten seconds for it, and give up."""
    file = folder / "schema.json"
    with urllib.request.urlopen(f"{address}/api/v1/schema/?format=json", timeout=PATIENCE) as answer:
        file.write_bytes(answer.read())
    return file


def fuzzed(address: str, schema: Path, role: Role, known: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Send requests with the key of one role; the process fails with a finding."""
    # Nothing else: the program reads all of its environment twice for each request.
    settings = {name: value for name, value in known.items() if name.startswith("BURSARY_")}
    kinds = [] if EXAMPLES else ["--phases", "fuzzing"]
    kinds += ["--include-path-regex", ONLY] if ONLY else []
    return subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--no-color"),
            *("--config-file", str(ROOT / "tests/fuzz/schemathesis.toml")),
            *("run", str(schema), "--seed", str(SEED)),
            *("--max-examples", str(EXAMPLES or FEW), *kinds),
        ],
        cwd=ROOT,
        env={
            **settings,
            "BURSARY_FUZZED": address,
            "BURSARY_FUZZ_KEY": known[f"key of {role}"],
        },
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.mark.takes_long
@pytest.mark.django_db(transaction=True)
def test_made_up_requests_are_answered_as_the_schema_says(
    known: dict[str, str], tmp_path: Path, port: int, subtests: pytest.Subtests
) -> None:
    with served(tmp_path, port) as address:
        schema = described(address, tmp_path)
        for role in ROLES if EXAMPLES else ROLES[:1]:
            with subtests.test(role.value):
                done = fuzzed(address, schema, role, known)
                assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in (tmp_path / "stderr").read_text()
