"""A request with a key is claimed once, remembered for a day, and free again when it failed."""

from datetime import datetime, timedelta
from functools import partial

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from bursary.access import idempotency
from bursary.access.idempotency import LEASE, KeyReused, RequestRunning
from bursary.access.models import IdempotentRequest, User
from bursary.ops import scheduler
from tests.inserted import inserted_by_another
from tests.together import together
from tests.world import NOW, given_user

RETENTION = [task for task in scheduler.TASKS if task.name == "retention"]

KEPT_FOR = timedelta(days=1)

pytestmark = pytest.mark.django_db


@pytest.fixture
def user() -> User:
    return given_user()


def begin(user: User, *, asked: str = "body", now: datetime = NOW) -> IdempotentRequest:
    return idempotency.begin(user, identity="1" * 64, fingerprint=asked, now=now)


def test_a_request_that_is_being_done_is_refused_until_its_lease_ends(user: User) -> None:
    first = begin(user)
    assert first.status is None
    for now in (NOW, NOW + LEASE - timedelta(seconds=1)):
        with pytest.raises(RequestRunning):
            begin(user, now=now)
    after = begin(user, now=NOW + LEASE)
    assert (after.pk, after.status) == (first.pk, None)
    assert not idempotency.finish(first, status=200, body={"late": True}, now=NOW + LEASE)
    assert idempotency.finish(after, status=200, body={}, now=NOW + LEASE)


@pytest.mark.on_every_engine
def test_a_request_that_another_process_begins_at_the_same_moment_is_claimed_once(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    met = inserted_by_another(monkeypatch, idempotency)

    assert (begin(user).status, len(met), IdempotentRequest.objects.count()) == (None, 1, 1)
    with pytest.raises(RequestRunning):
        begin(user)


def test_a_request_that_is_being_done_is_refused_without_waiting_for_a_lock(user: User) -> None:
    begin(user)
    with CaptureQueriesContext(connection) as asked, pytest.raises(RequestRunning):
        begin(user)
    assert {one["sql"].split()[0] for one in asked} == {"SELECT"}
    assert "FOR " not in str([*asked])


def test_the_daily_task_deletes_what_has_lapsed(user: User) -> None:
    idempotency.finish(begin(user), status=200, body={}, now=NOW)
    for now, left in ((NOW + KEPT_FOR, 1), (NOW + KEPT_FOR * 2, 0)):
        assert scheduler.run_due(clock=partial(max, now, NOW), tasks=RETENTION) == ["retention"]
        assert IdempotentRequest.objects.count() == left


def test_an_answer_is_remembered_for_a_day_and_the_key_is_free_then(user: User) -> None:
    assert idempotency.finish(begin(user), status=202, body={"created": [1]}, abridged=True, now=NOW)
    almost = NOW + KEPT_FOR - timedelta(seconds=1)
    answered = begin(user, now=almost)
    assert (answered.status, answered.body, answered.abridged) == (202, {"created": [1]}, True)
    with pytest.raises(KeyReused):
        begin(user, asked="another body", now=almost)
    anew = begin(user, asked="another body", now=NOW + KEPT_FOR)
    assert (anew.status, anew.body, anew.fingerprint) == (None, None, "another body")


def test_another_body_is_refused_while_the_first_is_being_done(user: User) -> None:
    begin(user)
    with pytest.raises(KeyReused):
        begin(user, asked="another body")


def test_failed_work_may_be_done_again_at_once(user: User) -> None:
    idempotency.give_up(begin(user))
    assert begin(user).status is None


def test_what_has_lapsed_is_deleted_and_what_is_kept_or_runs_is_not(user: User) -> None:
    def given(name: str, now: datetime) -> IdempotentRequest:
        return idempotency.begin(user, identity=name, fingerprint="", now=now)

    for name, ago in (("old", KEPT_FOR + LEASE), ("recent", timedelta(hours=1))):
        idempotency.finish(given(name, NOW - ago), status=200, body={}, now=NOW - ago)
    given("killed", NOW - LEASE - timedelta(seconds=1))
    given("running", NOW - timedelta(seconds=1))
    assert idempotency.delete_old(now=NOW) == 2
    left = IdempotentRequest.objects.values_list("identity", flat=True)
    assert set(left) == {"recent", "running"}


@pytest.mark.django_db(transaction=True)
def test_of_ten_at_the_same_moment_one_is_done() -> None:
    user = given_user()
    begun = together([lambda: begin(user)] * 10)
    assert sum(isinstance(one, IdempotentRequest) for one in begun) == 1
    assert sum(isinstance(one, RequestRunning) for one in begun) == 9
    assert IdempotentRequest.objects.get().fence == 1
