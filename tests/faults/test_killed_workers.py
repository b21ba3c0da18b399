"""Workers are killed at set points and at random, or paused: nothing lost or stuck, copies of one Message-ID.

Real workers, real SIGKILLs, a real mail server on loopback. What a dead worker had claimed is free when its
lease ends, which is minutes later. So in the small form every worker dies in the end, and what is left is
carried out in this process by a clock past the leases: the runner takes the time as an argument.

The long form (`make faults`) turns no clock. A worker that was killed is replaced at once, work is added as
it is done, and leases end while other workers are killed. They are as long as a send of five seconds needs,
75 seconds; after the last kill, the workers that live must find what the dead left within a time.
"""

import math
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from queue import Queue

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session
from django.db import connection
from django.db.models import QuerySet, Sum
from django.utils import timezone
from pytest_django import Settings

from bursary.assignments import actions, derived_audit, redemption
from bursary.assignments.choices import ActionType, LearnerState, State, Status
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.budgets.models import Budget, LedgerEntry
from bursary.delivery import executors, runner
from bursary.replica.models import ContentMetadata
from tests import world
from tests.elapsed import PATIENCE, until
from tests.faults import forking
from tests.faults.crew import AT_ONCE_PER_WORKER, Crew, Executor, Worker, crew
from tests.smtp import MailServer

# In the group of those that share Celery's processes: these wait most of the time, too, and where one process
# of the test run does all the waiting, the others have the processor to themselves.
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.xdist_group("celery"),
    pytest.mark.takes_long,
]

LONG = "BURSARY_TEST_KILLS" in os.environ
KILLS = int(os.environ.get("BURSARY_TEST_KILLS", "2"))
TABLE = os.environ.get("BURSARY_TEST_TABLE", "")
"""The file to which the long form adds a line of its table."""
WORKERS = 2
BACKLOG = 30
"""Mails that wait at least, so that no worker is ever idle when it is killed."""
SEND_DEADLINE = 5 if LONG else 60  # seconds
LEASE = timedelta(seconds=3 * SEND_DEADLINE + 60)
RECOVERY = 1.2 * (LEASE.total_seconds() + executors.POLL_SECONDS)  # seconds
BETWEEN_ACCEPTANCE_AND_ANSWER = 0.005  # seconds: so long it is not known whether a mail was accepted
MAX_PAUSE = 0.02  # seconds, between the mail after which a worker is killed and its death


class WatchedServer(MailServer):
    """A mail server that calls a function at each recipient."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.thinks_for = BETWEEN_ACCEPTANCE_AND_ANSWER
        self.at_recipient: Callable[[], None] = lambda: None
        self._counted: Counter[str] = Counter()

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name for it
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Call the function, and answer."""
        self.at_recipient()
        return await super().handle_RCPT(server, session, envelope, address, options)

    def arrivals(self) -> Counter[str]:
        """Return how often each Message-ID was accepted."""
        for message in self.received[self._counted.total() :]:
            self._counted[str(message["Message-ID"])] += 1
        return Counter(self._counted)


@pytest.fixture
def server(settings: Settings, port: int) -> Iterator[WatchedServer]:
    watched = WatchedServer(port)
    watched.come()
    settings.EMAIL_BACKEND = "bursary.delivery.smtp_backend.SmtpEmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", watched.port
    settings.LEASE = LEASE
    yield watched
    watched.go()


@pytest.fixture(params=Executor)
def workers(
    request: pytest.FixtureRequest, server: WatchedServer, settings: Settings, tmp_path: Path
) -> Iterator[Crew]:
    deadline = {"BURSARY_SEND_DEADLINE_SECONDS": str(SEND_DEADLINE)}
    with crew(tmp_path, request.param, settings, smtp_port=server.port, **deadline) as started:
        yield started
    assert "Traceback" not in started.log.read_text()


@pytest.fixture
def budget() -> Budget:
    return world.given_budget(seats=1_000_000)


@pytest.fixture
def content(budget: Budget) -> ContentMetadata:
    return world.given_content()


def allocate(budget: Budget, content: ContentMetadata, *learners: str) -> None:
    """Allocate now; the mails are left to the workers."""
    world.allocate(budget, content, *learners, now=timezone.now())


def mails() -> QuerySet[LearnerContentAssignmentAction]:
    rows = LearnerContentAssignmentAction.objects.filter(action_type=ActionType.NOTIFIED)
    return rows.defer("payload").order_by("pk")


def message_id(action: LearnerContentAssignmentAction) -> str:
    return f"<{action.uuid}@testserver>"


def unfinished() -> int:
    return LearnerContentAssignmentAction.objects.filter(due_at__isnull=False).count()


def deliver_the_rest() -> None:
    """Carry out what is left, after the leases of the dead have ended. No worker lives any more."""
    for later in (1, 2):
        world.deliver(now=timezone.now() + later * LEASE, limit=10_000)


def keep_busy(budget: Budget, content: ContentMetadata) -> None:
    """Add work where little is left, and accept for two learners with a mail."""
    if mails().filter(status=Status.PENDING).count() < BACKLOG:
        allocate(budget, content, *world.addresses(BACKLOG, start=mails().count()))
    waiting = LearnerContentAssignment.objects.filter(
        learner_state=LearnerState.WAITING, redeeming_since=None
    )
    for assignment in waiting[:2]:
        redemption.begin(assignment, now=timezone.now())


class DoubtfulMails:
    """What the workers would send again if all were killed: accepted, and their claims not settled.

    A claim that was there one count before is a dead worker's.
    """

    def __init__(self, server: WatchedServer) -> None:
        self._server = server
        self._claims: set[tuple[int, int]] = set()
        self.met = 0
        """The sum of all counts."""

    def count(self) -> None:
        """Count them now."""
        running = {(one.pk, one.fence): message_id(one) for one in mails().filter(status=Status.RUNNING)}
        arrivals = self._server.arrivals()
        self.met += sum(running[claim] in arrivals for claim in running.keys() - self._claims)
        self._claims = set(running)


def assert_all_is_true(server: WatchedServer, budget: Budget) -> None:
    """Check timelines, learners' mails and money against each other."""
    assignments = LearnerContentAssignment.objects.all()
    arrivals = server.arrivals()
    assert {message_id(one): one.status for one in mails()} == dict.fromkeys(arrivals, Status.DONE)
    assert all(arrivals[message_id(one)] <= one.attempts for one in mails())
    # A provider that honours the key keeps one mail of a Message-ID: each learner then has one.
    kept = {str(message["Message-ID"]): str(message["To"]) for message in server.received}
    assert Counter(kept.values()) == Counter(assignments.values_list("learner_email", flat=True))

    steps = [(ActionType.ALLOCATED, Status.DONE), (ActionType.LEARNER_LINKED, Status.DONE)]
    steps.append((ActionType.NOTIFIED, Status.DONE))
    accepted = [*steps, (ActionType.REDEEMED, Status.DONE)]
    for one in assignments.order_by("pk"):
        assert sorted(world.timeline(one)) == sorted(accepted if one.state == State.ACCEPTED else steps)
    assert derived_audit.audit(clock=timezone.now).wrong == 0

    budget.refresh_from_db()
    reserved = assignments.filter(state=State.ALLOCATED).aggregate(cents=Sum("price_cents"))["cents"] or 0
    spent = LedgerEntry.objects.aggregate(cents=Sum("cents"))["cents"] or 0
    assert spent == world.PRICE * assignments.filter(state=State.ACCEPTED).count()
    for counted in (budget, budget.account):
        assert (counted.reserved_cents, counted.spent_cents) == (reserved, spent)


def write_line(request: pytest.FixtureRequest, *figures: int, began: float) -> None:
    """Add a line to the table of `make faults`."""
    executor = request.node.callspec.params["workers"].setting
    cells = (connection.vendor, executor, *figures, round(time.monotonic() - began))
    with Path(TABLE).open("a") as table:
        table.write(f"| {' | '.join(str(cell) for cell in cells)} |\n")


def test_a_worker_killed_at_six_set_points_loses_nothing_and_repeats_only_what_was_in_doubt(
    workers: Crew, server: WatchedServer, budget: Budget, content: ContentMetadata
) -> None:
    def killed(*, dies: str = "") -> None:
        allocate(budget, content, *world.addresses(1, start=mails().count()))
        worker = workers.start(dies=dies)
        victims.put(worker)
        worker.wait_for_death()

    victims: Queue[Worker] = Queue()
    killed(dies=forking.AFTER_THE_CLAIM)
    killed(dies=forking.AFTER_THE_BEGINNING)
    killed(dies=forking.BEFORE_THE_SETTLE)
    killed(dies=forking.AFTER_THE_SETTLE)
    victims.queue.clear()
    server.at_recipient = lambda: victims.get(timeout=PATIENCE).kill()
    killed()
    server.at_recipient = lambda: None
    # The last, because its row stays free: the next worker would take it.
    killed(dies=forking.BEFORE_THE_CLAIM_COMMITS)
    assert [(one.status, one.attempts) for one in mails()] == [
        (Status.PENDING, 0),  # claimed, but none that was tried
        (Status.RUNNING, 1),
        (Status.RUNNING, 1),
        (Status.DONE, 1),
        (Status.RUNNING, 1),
        (Status.PENDING, 0),
    ]

    deliver_the_rest()
    arrivals = server.arrivals()
    assert [(one.status, one.attempts, arrivals[message_id(one)]) for one in mails()] == [
        (Status.DONE, 1, 1),
        (Status.DONE, 2, 1),
        (Status.DONE, 2, 2),
        (Status.DONE, 1, 1),
        (Status.DONE, 2, 1),
        (Status.DONE, 1, 1),
    ]
    assert_all_is_true(server, budget)


def test_workers_killed_at_random_lose_nothing_and_leave_nothing_unfinished(
    request: pytest.FixtureRequest,
    workers: Crew,
    server: WatchedServer,
    budget: Budget,
    content: ContentMetadata,
) -> None:
    began, doubtful, kills = time.monotonic(), DoubtfulMails(server), KILLS
    alive = [workers.start() for _number in range(WORKERS)]
    for _kill in range(KILLS):
        enough = len(server.received) + random.randint(5, 15)  # less than the backlog
        keep_busy(budget, content)
        until(partial(lambda enough: len(server.received) >= enough, enough))
        time.sleep(random.uniform(0, MAX_PAUSE))
        doubtful.count()
        chosen = random.randrange(WORKERS)
        alive[chosen].kill()
        alive[chosen] = workers.start()
    if LONG:
        with suppress(AssertionError):  # what is left is counted below
            until(lambda: not unfinished(), seconds=RECOVERY)
    else:
        for one in alive:
            one.kill()
        kills += WORKERS
        deliver_the_rest()

    arrivals = server.arrivals()
    copies = arrivals.total() - len(arrivals)
    expected = doubtful.met / WORKERS
    most = expected + 2 * math.sqrt(expected)
    if TABLE:
        lost = mails().count() - len(arrivals)
        write_line(request, kills, mails().count(), lost, unfinished(), copies, math.ceil(most), began=began)
    assert unfinished() == 0
    assert copies <= kills * AT_ONCE_PER_WORKER
    assert copies <= most or not LONG
    assert_all_is_true(server, budget)


def test_a_worker_paused_beyond_its_lease_writes_nothing_about_that_mail_and_works_on(
    workers: Crew, server: WatchedServer, budget: Budget, content: ContentMetadata
) -> None:
    """Both send: that is what a lease cannot prevent. The row is the other worker's."""

    def pause() -> None:
        server.at_recipient = lambda: None
        started.get(timeout=PATIENCE).pause()
        paused.set()

    started: Queue[Worker] = Queue()
    paused = threading.Event()
    server.at_recipient = pause
    allocate(budget, content, world.ALICE)
    worker = workers.start()
    started.put(worker)
    assert paused.wait(PATIENCE)

    def later() -> datetime:
        return timezone.now() + LEASE

    [taken] = actions.claim(now=later(), lease=LEASE, limit=1)  # by another worker
    allocate(budget, content, world.BOB)
    first, second = mails()
    worker.go_on()
    until(lambda: server.arrivals().total() == 2 and mails().get(pk=second.pk).status == Status.DONE)
    worker.kill()
    first.refresh_from_db()
    assert (first.status, first.attempts, first.lease_until) == (Status.RUNNING, 2, taken.lease_until)

    assert actions.finish(taken, runner.attempt(taken, clock=later), now=later())
    assert server.arrivals() == {message_id(first): 2, message_id(second): 1}
    assert_all_is_true(server, budget)
