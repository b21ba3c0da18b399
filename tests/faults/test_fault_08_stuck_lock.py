"""Fault 8 of the peer: a process killed in allocation left its lock, and all others got 429 for minutes."""

import signal
from pathlib import Path

import pytest
from django.utils import timezone

from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from tests.celery_stack import database_url
from tests.elapsed import AT_ONCE, taking_at_most, until
from tests.forked import Forked
from tests.ops.processes import environment
from tests.world import ALICE, PRICE, addresses, allocate, given_budget, given_content

pytestmark = pytest.mark.django_db(transaction=True)

HANGS_WITH_ITS_LOCKS = """
import sys, time
import django; django.setup()
from bursary.assignments import allocation
from bursary.budgets.models import Budget
from tests.world import allocate, addresses
from bursary.replica.models import ContentMetadata
def hang(*_):
    print("reserved", flush=True)
    time.sleep(600)
allocation._write = hang
content = ContentMetadata.objects.get(content_key=sys.argv[1])
allocate(Budget.objects.get(), content, *addresses(10))
"""


def test_fault_08_a_process_that_is_killed_in_allocation_leaves_no_lock(tmp_path: Path) -> None:
    budget, content = given_budget(seats=10), given_content()
    env = environment(
        tmp_path,
        DJANGO_SETTINGS_MODULE="bursary.config.settings",
        BURSARY_DATABASE_URL=database_url(),
        BURSARY_SECRET_KEY="a-key-of-tests-that-signs-nothing-else",
    )
    said = tmp_path / "said"
    program = ("-c", HANGS_WITH_ITS_LOCKS, content.content_key)
    dying = Forked(*program, env=env, folder=tmp_path, out=said, err=said)
    try:
        until(lambda: bool(said.read_bytes()))
        assert said.read_text() == "reserved\n"
    finally:
        dying.kill()
    assert dying.wait() == -signal.SIGKILL

    with taking_at_most(AT_ONCE):
        allocate(budget, content, ALICE, *addresses(9), now=timezone.now())
    assert LearnerContentAssignment.objects.count() == 10
    assert Budget.objects.get().reserved_cents == 10 * PRICE
