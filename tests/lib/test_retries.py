"""A transaction that the database undid for another's sake is tried again, a few times."""

import itertools
import time
from typing import Any

import psycopg
import pytest
from django.db import DatabaseError, IntegrityError, OperationalError, connection, connections, transaction
from django.db.backends.signals import connection_created

from bursary.lib import retries
from bursary.lib.retries import in_transaction, jittered, repeated_after_deadlocks
from bursary.replica.models import CatalogListing
from tests.replica.listing import CATALOG, NOW

pytestmark = pytest.mark.django_db


class Deadlocks:
    """Writes, and is undone so many times."""

    def __init__(self, count: int, error: DatabaseError) -> None:
        self.left, self.error, self.tries = count, error, 0

    def __call__(self) -> str:
        self.tries += 1
        CatalogListing.objects.create(catalog_uuid=CATALOG)
        if self.left:
            self.left -= 1
            raise self.error
        return "done"


def postgres(error: type[psycopg.Error]) -> OperationalError:
    raised = OperationalError("deadlock detected")
    raised.__cause__ = error()
    return raised


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


@pytest.mark.parametrize(
    "error",
    [
        postgres(psycopg.errors.DeadlockDetected),
        postgres(psycopg.errors.SerializationFailure),
        OperationalError(1213, "Deadlock found when trying to get lock; try restarting transaction"),
    ],
)
def test_a_deadlocked_transaction_is_tried_again_from_the_beginning(
    error: OperationalError, pauses: list[float]
) -> None:
    work = Deadlocks(2, error)

    assert in_transaction(work) == "done"
    assert (work.tries, len(pauses), CatalogListing.objects.count()) == (3, 2, 1)


def test_the_tries_are_limited() -> None:
    work = Deadlocks(99, OperationalError(1213, "Deadlock found"))

    with pytest.raises(OperationalError):
        in_transaction(work)
    assert work.tries == retries.ATTEMPTS
    assert not CatalogListing.objects.exists()


def test_the_pauses_grow_from_a_twentieth_of_a_second_and_none_is_longer_than_four_fifths(
    pauses: list[float],
) -> None:
    in_transaction(Deadlocks(7, OperationalError(1213, "Deadlock found")))

    shortest = [0.05, 0.1, 0.2, 0.4, 0.8, 0.8, 0.8]
    assert all(least <= pause <= min(least + 0.2, 0.8) for least, pause in zip(shortest, pauses, strict=True))


def test_two_that_met_do_not_pause_equally_long(pauses: list[float]) -> None:
    for _one in range(2):
        in_transaction(Deadlocks(1, OperationalError(1213, "Deadlock found")))
        CatalogListing.objects.all().delete()

    assert pauses[0] != pauses[1]


def test_a_pause_with_jitter_is_between_half_and_one_and_a_half_times_as_long() -> None:
    pauses = [jittered(10.0) for _draw in range(200)]

    assert 5 <= min(pauses) < 7 < 13 < max(pauses) <= 15  # by chance once in 10¹⁹ runs


def test_what_takes_minutes_is_tried_as_often(monkeypatch: pytest.MonkeyPatch) -> None:
    minutes = itertools.count()
    monkeypatch.setattr(time, "monotonic", lambda: 60.0 * next(minutes))

    assert in_transaction(Deadlocks(7, OperationalError(1213, "Deadlock found"))) == "done"


@pytest.mark.parametrize(
    "error",
    [
        OperationalError(2006, "Server has gone away"),
        OperationalError(1205, "Lock wait timeout exceeded"),  # tried again, it would wait as long again
        IntegrityError(1213, "Duplicate entry"),
    ],
)
def test_other_troubles_are_not_tried_again(error: DatabaseError) -> None:
    work = Deadlocks(1, error)

    with pytest.raises(type(error)):
        in_transaction(work)
    assert work.tries == 1


@pytest.mark.django_db(transaction=True)
def test_inside_somebodys_transaction_it_is_refused() -> None:
    with transaction.atomic(), pytest.raises(RuntimeError):
        in_transaction(lambda: None)


@pytest.mark.django_db(transaction=True)
def test_what_is_one_transaction_by_itself_is_repeated_whole() -> None:
    work = Deadlocks(2, OperationalError(1213, "Deadlock found"))

    @repeated_after_deadlocks
    def written(answer: str) -> str:
        with transaction.atomic():
            work()
        return answer

    assert written("done") == "done"
    assert (work.tries, CatalogListing.objects.count()) == (3, 1)


@pytest.mark.django_db(transaction=True)
def test_within_its_callers_transaction_it_is_not_repeated() -> None:
    work = Deadlocks(1, OperationalError(1213, "Deadlock found"))

    with pytest.raises(OperationalError), transaction.atomic():
        repeated_after_deadlocks(work)()
    assert work.tries == 1


class LoneStatement:
    """A statement that is undone so many times, as the connection's wrappers see it."""

    def __init__(self, error: OperationalError, *, undone: int) -> None:
        self.error, self.undone, self.tries = error, undone, 0
        self.many: list[bool] = []

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        assert context["connection"] == connection
        self.many.append(many)
        self.tries += 1
        if self.tries <= self.undone:
            raise self.error
        return execute(sql, params, many, context)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("undone", [1, 2, retries.ATTEMPTS])
def test_a_statement_outside_a_transaction_is_repeated(undone: int) -> None:
    CatalogListing.objects.create(catalog_uuid=CATALOG)
    lone = LoneStatement(OperationalError(1213, "Deadlock found"), undone=undone)

    with connection.execute_wrapper(lone):
        assert CatalogListing.objects.update(begun_at=NOW) == 1

    assert lone.many == [False] * (undone + 1)
    assert CatalogListing.objects.get().begun_at == NOW


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_is_opened_repeats_its_statements_around_what_watches_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lone = LoneStatement(OperationalError(1213, "Deadlock found"), undone=2)
    with monkeypatch.context() as opened:
        opened.setattr(connections["default"], "execute_wrappers", [lone])
        connection_created.send(sender=type(connection), connection=connection)
        CatalogListing.objects.update(begun_at=NOW)

    assert lone.tries == 3


@pytest.mark.django_db(transaction=True)
def test_how_often_a_statement_is_repeated_is_limited() -> None:
    lone = LoneStatement(OperationalError(1213, "Deadlock found"), undone=99)
    retries.repeat_lone_statements(connection)  # as when it was lost, and is opened again

    with connection.execute_wrapper(lone), pytest.raises(OperationalError):
        CatalogListing.objects.update(begun_at=NOW)

    assert lone.tries == retries.ATTEMPTS + 1


@pytest.mark.django_db(transaction=True)
def test_a_statement_of_a_transaction_is_not_repeated_without_it() -> None:
    lone = LoneStatement(OperationalError(1213, "Deadlock found"), undone=1)

    with pytest.raises(OperationalError), transaction.atomic(), connection.execute_wrapper(lone):
        CatalogListing.objects.update(begun_at=NOW)

    assert lone.tries == 1


@pytest.mark.django_db(transaction=True)
def test_many_statements_in_one_call_are_not_repeated_as_some_of_them_may_have_been_made() -> None:
    lone = LoneStatement(OperationalError(1213, "Deadlock found"), undone=1)
    sql = f"DELETE FROM {CatalogListing._meta.db_table} WHERE id = %s"  # of no request

    with connection.execute_wrapper(lone), pytest.raises(OperationalError), connection.cursor() as cursor:
        cursor.executemany(sql, [(1,), (2,)])

    assert lone.many == [True]


@pytest.mark.django_db(transaction=True)
def test_a_statement_in_other_trouble_is_not_repeated() -> None:
    lone = LoneStatement(OperationalError(2006, "Server has gone away"), undone=1)

    with connection.execute_wrapper(lone), pytest.raises(OperationalError):
        CatalogListing.objects.update(begun_at=NOW)

    assert lone.tries == 1
