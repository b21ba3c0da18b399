from datetime import timedelta

import pytest

from bursary.lib.breaker import Breaker, BreakerOpen, BreakerState


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(failures=3, cool_down=timedelta(seconds=30), clock=clock)


def fail(breaker: Breaker, *, times: int) -> None:
    for _ in range(times):
        breaker.failed(breaker.enter(), because="It answered with 503.")


def state_of(breaker: Breaker) -> BreakerState:
    return breaker.state


def test_it_opens_after_so_many_failures_in_a_row(breaker: Breaker) -> None:
    fail(breaker, times=2)
    breaker.succeeded(breaker.enter())
    fail(breaker, times=2)
    assert state_of(breaker) is BreakerState.CLOSED

    fail(breaker, times=1)

    assert state_of(breaker) is BreakerState.OPEN
    with pytest.raises(BreakerOpen, match="left alone") as refused:
        breaker.enter()
    assert str(refused.value).endswith("Last: It answered with 503.")
    assert 15 <= refused.value.seconds <= 45


def test_after_the_cool_down_one_call_tries_and_the_others_are_refused(
    breaker: Breaker, clock: Clock
) -> None:
    fail(breaker, times=3)
    clock.seconds += 45
    assert state_of(breaker) is BreakerState.HALF_OPEN

    probe = breaker.enter()
    with pytest.raises(BreakerOpen):
        breaker.enter()
    breaker.succeeded(probe)

    assert state_of(breaker) is BreakerState.CLOSED
    fail(breaker, times=2)
    assert state_of(breaker) is BreakerState.CLOSED


def test_a_probe_that_fails_opens_it_again_at_once(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, times=3)
    clock.seconds += 45

    fail(breaker, times=1)

    assert state_of(breaker) is BreakerState.OPEN
    clock.seconds += 14
    assert state_of(breaker) is BreakerState.OPEN


def test_a_probe_that_never_came_back_gives_way_to_another(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, times=3)
    clock.seconds += 45
    lost = breaker.enter()
    clock.seconds += 30

    probe = breaker.enter()
    breaker.succeeded(lost)
    assert state_of(breaker) is BreakerState.HALF_OPEN
    breaker.succeeded(probe)

    assert state_of(breaker) is BreakerState.CLOSED


def test_what_was_asked_before_it_opened_says_nothing_afterwards(breaker: Breaker) -> None:
    early, late = breaker.enter(), breaker.enter()
    fail(breaker, times=3)

    breaker.succeeded(early)
    breaker.failed(late, because="It hung up.")

    assert state_of(breaker) is BreakerState.OPEN


def test_the_pauses_of_two_breakers_differ(clock: Clock) -> None:
    pauses = set()
    for _ in range(5):
        breaker = Breaker(failures=1, clock=clock)
        fail(breaker, times=1)
        with pytest.raises(BreakerOpen) as refused:
            breaker.enter()
        pauses.add(refused.value.seconds)

    assert len(pauses) == 5


def test_without_jitter_the_pause_is_the_cool_down(clock: Clock) -> None:
    breaker = Breaker(failures=1, jitter=False, clock=clock)
    fail(breaker, times=1)
    with pytest.raises(BreakerOpen) as refused:
        breaker.enter()
    assert refused.value.seconds == 30


def test_only_what_begins_or_ends_an_outage_says_so(clock: Clock) -> None:
    breaker = Breaker(failures=2, jitter=False, clock=clock)
    tickets = [breaker.enter() for _ in range(3)]
    assert [breaker.failed(ticket, because="It hung up.") for ticket in tickets] == [False, True, False]
    clock.seconds += 30
    assert not breaker.failed(breaker.enter(), because="It hung up.")
    clock.seconds += 30
    probe = breaker.enter()
    assert [breaker.succeeded(probe), breaker.succeeded(probe)] == [True, False]
