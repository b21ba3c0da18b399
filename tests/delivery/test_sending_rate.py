"""BURSARY_SENDS_PER_MINUTE: in no minute more, however many workers send; what waits holds nothing."""

from bisect import bisect_left
from datetime import datetime, timedelta
from functools import partial
from itertools import count

import pytest
from pytest_django import Settings

from bursary.access.models import Role
from bursary.assignments import redemption
from bursary.assignments.choices import ActionType, Status
from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.delivery import notices, runner, sending_rate
from bursary.delivery.models import SendingRate
from tests.smtp import MailServer
from tests.standing_clock import StandingClock
from tests.together import together
from tests.world import (
    NOW,
    addresses,
    allocate,
    change_content,
    deliver,
    given_assignment,
    given_budget,
    given_content,
    given_customer,
    given_user,
)

MINUTE = timedelta(minutes=1)


@pytest.mark.django_db
@pytest.mark.parametrize("rate", [1, 7, 60, 150])  # of 150, two slots are used at once
def test_no_minute_has_more_and_three_minutes_have_nearly_as_many(rate: int, settings: Settings) -> None:
    settings.SENDS_PER_MINUTE = rate
    sent: list[datetime] = []
    now = NOW
    while now < NOW + 3 * MINUTE:
        sent += [now] * sending_rate.take_slots(20, now=now)
        now += max(sending_rate.wait(now=now), timedelta(milliseconds=1))
    for number, first in enumerate(sent):
        assert bisect_left(sent, first + MINUTE) - number <= rate
    assert len(sent) >= 3 * rate * 60 / 61 - 1


@pytest.mark.django_db
def test_without_a_rate_nothing_is_asked(mail: MailServer) -> None:
    allocate(given_budget(), given_content(), *addresses(3))
    assert deliver() == 3
    assert sending_rate.available(now=NOW) is None
    assert not SendingRate.objects.exists()


@pytest.mark.on_every_engine
@pytest.mark.django_db
def test_mails_that_wait_for_the_rate_are_claimed_by_no_worker_and_other_work_goes_on(
    mail: MailServer, settings: Settings
) -> None:
    settings.SENDS_PER_MINUTE = 60
    allocate(given_budget(), given_content(), *addresses(4))
    mails = LearnerContentAssignmentAction.objects.filter(action_type=ActionType.NOTIFIED)
    columns = ("status", "attempts", "due_at", "early", "lease_until")
    _first, *before = mails.order_by("pk").values_list(*columns)
    redemption.begin(given_assignment(now=NOW + timedelta(seconds=30)), now=NOW + timedelta(seconds=30))

    at = NOW + timedelta(minutes=1)
    assert runner.drain(clock=lambda: at, limit=2) == 2
    assert runner.drain(clock=lambda: at, limit=100, seconds=0.3) == 0  # no slot: however slow the machine is
    assert len(mail.received) == 1
    redeemed = LearnerContentAssignmentAction.objects.get(action_type=ActionType.REDEEMED)
    assert redeemed.status == Status.DONE
    (status, *_more), *others = mails.order_by("pk").values_list(*columns)[:4]
    assert (status, others) == (Status.DONE, before)

    later = at + timedelta(seconds=2)
    assert runner.drain(clock=lambda: later, limit=1) == 1
    assert len(mail.received) == 2


@pytest.mark.django_db
def test_a_runner_sleeps_until_the_rate_allows_the_next_mail_or_its_round_ends(
    mail: MailServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SENDS_PER_MINUTE = 6
    standing, reads = StandingClock(), count()
    began = standing.now
    monkeypatch.setattr(runner, "time", standing)
    allocate(given_budget(), given_content(), *addresses(3))

    def clock() -> datetime:
        assert next(reads) < 300, "asks for a slot again and again, without a sleep"
        return NOW + timedelta(seconds=standing.now - began)

    assert runner.drain(clock=clock, limit=2, seconds=60) == 2
    interval = sending_rate.interval().total_seconds()
    slept = round(standing.now - began, 6)  # as exact as the clock that the runner reads
    assert interval <= slept < interval + runner.MAX_WAIT_SECONDS

    began_round = standing.now
    assert runner.drain(clock=clock, limit=1, seconds=interval / 2) == 0
    assert standing.now - began_round == pytest.approx(interval / 2)
    assert max(standing.slept) == runner.MAX_WAIT_SECONDS


@pytest.mark.on_every_engine
@pytest.mark.django_db
def test_a_mail_that_does_not_wait_counts_and_a_clock_that_was_ahead_stops_nothing(
    settings: Settings,
) -> None:
    settings.SENDS_PER_MINUTE = 6
    for _mail in range(4):
        sending_rate.take_slot_anyway(now=NOW)
    assert sending_rate.wait(now=NOW) == 4 * sending_rate.interval()
    assert sending_rate.available(now=NOW) == 0
    SendingRate.objects.update(free_at=NOW + timedelta(days=300))
    assert sending_rate.take_slots(1, now=NOW) == 1
    assert sending_rate.take_slots(1, now=NOW) == 0


@pytest.mark.django_db
@pytest.mark.parametrize("rate", [1, 60])
def test_a_notice_waits_behind_no_queue_of_mails_but_behind_the_notice_before_it(
    rate: int, mail: MailServer, settings: Settings
) -> None:
    settings.SENDS_PER_MINUTE = rate
    customer = given_customer()
    for name in ("ada", "olga"):
        given_user(Role.ADMINISTRATOR, customer=customer, email=f"{name}@people.example")
    for budget in (given_budget(customer=customer), given_budget(customer=customer)):
        given_assignment(budget, content := given_content())
        change_content(content, now=NOW, enroll_by=NOW - timedelta(days=1))
    while sending_rate.take_slots(20, now=NOW):  # as workers do that have mails without end
        pass

    assert notices.send_due(clock=lambda: NOW) == 1
    assert sorted(str(one["To"]) for one in mail.received) == ["ada@people.example", "olga@people.example"]
    assert notices.send_due(clock=lambda: NOW) == 0

    assert sending_rate.take_slots(1, now=(later := NOW + 2 * sending_rate.interval())) == 0
    assert notices.send_due(clock=lambda: later) == 1
    assert len(mail.received) == 4


@pytest.mark.django_db
def test_mails_that_do_not_wait_let_others_wait_no_longer_than_an_hour(settings: Settings) -> None:
    settings.SENDS_PER_MINUTE = 1
    for _mail in range(100):
        sending_rate.take_slot_anyway(now=NOW)
    assert sending_rate.take_slots(1, now=NOW) == 0
    assert timedelta(minutes=58) < sending_rate.wait(now=NOW) <= timedelta(hours=1)


@pytest.mark.on_every_engine
@pytest.mark.django_db(transaction=True)
def test_many_workers_at_once_take_no_slot_twice(settings: Settings) -> None:
    settings.SENDS_PER_MINUTE = 600
    takes = [partial(sending_rate.take_slots, 4, now=NOW)] * 4
    taken = sum(one for _round in range(3) for one in together(takes) if isinstance(one, int))
    second = sending_rate.AT_ONCE // sending_rate.interval()
    assert (taken, sending_rate.available(now=NOW)) == (second, 0)
