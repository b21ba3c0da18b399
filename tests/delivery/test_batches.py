"""Work that is claimed together: a row begins when its turn comes, and what does not begin is given back."""

from collections.abc import Callable
from datetime import datetime, timedelta
from math import inf

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext

from bursary.assignments import actions, address_corrections
from bursary.assignments.cancellation import cancel
from bursary.assignments.choices import ActionType, Status
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.delivery import handlers, runner
from bursary.delivery.handlers import Handler
from bursary.lib import leases
from tests import world
from tests.smtp import MailServer
from tests.world import ALICE, BOB, CAROL, NOW, allocate, deliver, given_budget, given_content

pytestmark = pytest.mark.django_db

ALONE = 21  # statements: the claim, what the mail says, and its own
EACH = 7
"""Statements of each further mail: to begin, to ask how the mail server does, and a transaction to finish."""
ROWS = LearnerContentAssignmentAction.objects.filter(action_type=ActionType.NOTIFIED).order_by("pk")


@pytest.fixture
def at_the_first(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Let something happen while the first mail is sent."""

    def stand_in(happens: Callable[[], object]) -> None:
        def first(action: LearnerContentAssignmentAction, *, now: datetime) -> object:
            kinds[ActionType.NOTIFIED] = usual
            happens()
            return usual(action, now=now)

        usual: Handler = handlers.HANDLERS[ActionType.NOTIFIED]
        kinds: dict[ActionType, object] = {**handlers.HANDLERS, ActionType.NOTIFIED: first}
        monkeypatch.setattr(handlers, "HANDLERS", kinds)

    return stand_in


def places() -> list[tuple[object, ...]]:
    return list(ROWS.values_list("status", "attempts", "due_at", "early", "lease_until"))


def test_what_was_claimed_and_has_not_begun_counts_no_attempt_and_is_due_when_the_lease_ends() -> None:
    allocate(given_budget(), given_content(), ALICE, BOB)
    first, second = actions.claim(now=NOW, lease=settings.LEASE, limit=2, start_attempts=False)
    later = NOW + timedelta(minutes=1)
    assert actions.begin(first, now=later, lease=settings.LEASE)
    assert places() == [
        (Status.RUNNING, 1, later + settings.LEASE, 0, later + settings.LEASE),
        (Status.PENDING, 0, NOW + settings.LEASE, 0, NOW + settings.LEASE),
    ]

    # The worker died. The one that had begun is counted, and may begin again in another's hands.
    over = later + settings.LEASE
    again = actions.claim(now=over, lease=settings.LEASE, limit=2, start_attempts=False)
    assert {one.pk for one in again} == {first.pk, second.pk}
    assert not actions.begin(second, now=over, lease=settings.LEASE)  # the dead one's claim
    assert [actions.begin(one, now=over, lease=settings.LEASE) for one in again] == [True, True]
    assert [(status, attempts) for status, attempts, *_more in places()] == [
        (Status.RUNNING, 2),
        (Status.RUNNING, 1),
    ]


def test_what_is_given_back_is_due_as_before() -> None:
    allocate(given_budget(), given_content(), ALICE, BOB, CAROL)
    before = places()
    claimed = actions.claim(now=NOW, lease=settings.LEASE, limit=3, start_attempts=False)
    leases.schedule(ROWS.filter(pk=claimed[1].pk), at=NOW + timedelta(seconds=1) / 2, now=NOW)
    assert leases.release(claimed) == 3
    before[1] = (Status.PENDING, 0, NOW + timedelta(seconds=1) / 2, 0, None)  # sooner, as was asked meanwhile
    assert places() == before

    late = actions.claim(now=NOW, lease=settings.LEASE, limit=3, start_attempts=False)
    assert leases.release(claimed) == 0
    assert {one.lease_until for one in ROWS.all()} == {late[0].lease_until, None}


def test_a_batch_ends_with_its_time_and_others_may_claim_the_rest(
    mail: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "BATCH_SECONDS", -1.0)
    allocate(given_budget(), given_content(), ALICE, BOB, CAROL)
    assert deliver() == 3
    assert len(mail.received) == 3
    assert [(one.status, one.attempts, one.fence) for one in ROWS.all()] == [
        (Status.DONE, 1, 1),
        (Status.DONE, 1, 2),
        (Status.DONE, 1, 2),  # the next claim took as many as there was time for
    ]


def test_a_worker_that_is_interrupted_gives_back_what_it_has_not_begun(
    at_the_first: Callable[[Callable[[], object]], None],
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    at_the_first(interrupt)
    allocate(given_budget(), given_content(), ALICE, BOB, CAROL)
    _alice, *before = places()
    with pytest.raises(KeyboardInterrupt):
        deliver()
    (status, *_more), *others = places()
    assert (status, others) == (Status.RUNNING, before)


def test_what_is_cancelled_while_another_mail_of_its_batch_is_sent_is_not_sent(
    mail: MailServer, at_the_first: Callable[[Callable[[], object]], None]
) -> None:
    budget = given_budget()
    allocate(budget, given_content(), ALICE, BOB)
    _alice, bobs = LearnerContentAssignment.objects.order_by("pk")
    at_the_first(lambda: cancel(budget, uuids=[bobs.uuid], now=NOW))
    deliver()
    assert [message["To"] for message in mail.received] == [ALICE]
    assert world.action_of(bobs, ActionType.NOTIFIED).status == Status.SUPERSEDED
    assert world.action_of(bobs, ActionType.CANCELLATION_NOTIFIED).error_code == "never_notified"


def test_an_address_that_is_corrected_meanwhile_gets_the_mail(
    mail: MailServer, at_the_first: Callable[[Callable[[], object]], None]
) -> None:
    allocate(given_budget(), given_content(), ALICE, BOB)
    _alice, bobs = LearnerContentAssignment.objects.order_by("pk")
    at_the_first(lambda: address_corrections.correct_assignment(bobs, address=CAROL, now=NOW))
    deliver()
    assert [message["To"] for message in mail.received] == [ALICE, CAROL]
    assert [(one.status, one.attempts) for one in ROWS.all()] == [(Status.DONE, 1), (Status.DONE, 1)]


def test_each_further_mail_costs_a_handful_of_statements(
    mail: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted: all that the runner sends to the database, begin and commit of transactions included."""

    def statements(learners: int) -> tuple[int, int]:
        people = world.addresses(learners, start=LearnerContentAssignment.objects.count())
        with CaptureQueriesContext(connection) as allocating:
            allocate(budget, content, *people)
        with CaptureQueriesContext(connection) as delivering:
            assert deliver(limit=learners) == learners
        return len(allocating), len(delivering)

    monkeypatch.setattr(runner, "FIRST_BATCH", runner.BATCH)
    monkeypatch.setattr(runner, "BATCH_SECONDS", inf)  # one batch, however slow the machine is
    budget, content = given_budget(), given_content()
    statements(1)
    one, many = statements(1), statements(runner.BATCH)
    assert one[1] <= ALONE
    assert many[1] - one[1] == EACH * (runner.BATCH - 1)
    assert sum(many) - sum(one) <= 10 * (runner.BATCH - 1)  # with the learner's link, made as it is allocated
