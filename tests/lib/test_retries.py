"""A transaction that the database undid for another's sake is tried again, a few times."""

import time

import psycopg
import pytest
from django.db import OperationalError, transaction

from bursary.lib import retries
from bursary.lib.retries import in_transaction, repeated_after_deadlocks
from bursary.replica.models import CatalogListing
from tests.replica.listing import CATALOG

pytestmark = pytest.mark.django_db


class Deadlocks:
    """Writes, and is undone so many times."""

    def __init__(self, count: int, error: OperationalError) -> None:
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
    assert max(pauses) < 2


def test_the_tries_are_limited() -> None:
    work = Deadlocks(99, OperationalError(1213, "Deadlock found"))

    with pytest.raises(OperationalError):
        in_transaction(work)
    assert work.tries == retries.ATTEMPTS
    assert not CatalogListing.objects.exists()


@pytest.mark.parametrize(
    "error",
    [
        OperationalError(2006, "Server has gone away"),
        OperationalError(1205, "Lock wait timeout exceeded"),  # tried again, it would wait as long again
    ],
)
def test_other_troubles_are_not_tried_again(error: OperationalError) -> None:
    work = Deadlocks(1, error)

    with pytest.raises(OperationalError):
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
