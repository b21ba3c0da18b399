"""`bursary backfill_content`: assignments without content are attached to it, or named with the reason."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.utils import timezone
from pytest_django import Settings

from bursary.assignments import administrator_notices, backfill, derived
from bursary.assignments.choices import ExpiryReason, State
from bursary.assignments.models import AdministratorNotice, LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.lib.moments import FAR_FUTURE
from bursary.replica.models import ContentMetadata
from tests.enterprise_catalog import faults
from tests.enterprise_catalog.server import Upstream
from tests.replica.reading import CLOSES, DAY, STARTS, a_course, keys_asked, read_over_http, run_of
from tests.world import NOW, addresses, allocate, given_budget, given_content

pytestmark = pytest.mark.django_db(transaction=True)

TIDES, GONE = "RiversideX+TIDES", "RiversideX+GONE"
MANY = 30


@pytest.fixture(autouse=True)
def _today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timezone, "now", lambda: NOW)


@pytest.fixture
def upstream(settings: Settings) -> Iterator[Upstream]:
    with read_over_http(settings, a_course(TIDES, title="Tidal Engines"), mode="replica") as running:
        yield running


@pytest.fixture
def budget() -> Budget:
    return given_budget()


def given_unattached(budget: Budget, key: str, *, count: int = 1, parent: str = "") -> None:
    """Allocate to that many, as before the replica: content and what is derived from it are unknown."""
    known = given_content(f"BeforeX+{LearnerContentAssignment.objects.count()}")
    allocate(budget, known, *addresses(count, start=LearnerContentAssignment.objects.count()))
    LearnerContentAssignment.objects.filter(content=known).update(
        content=None,
        content_key=key,
        parent_content_key=parent,
        content_title="",
        content_start=FAR_FUTURE,
        content_enroll_by=FAR_FUTURE,
    )


def run(*, fails: bool = False, **options: Any) -> dict[str, Any]:
    out = StringIO()
    if fails:
        with pytest.raises(CommandError, match="Not every catalog answered"):
            call_command("backfill_content", json=True, stdout=out, stderr=StringIO(), **options)
    else:
        call_command("backfill_content", json=True, stdout=out, stderr=StringIO(), **options)
    answer: dict[str, Any] = json.loads(out.getvalue())
    return answer


def unattached() -> int:
    return LearnerContentAssignment.objects.filter(content=None).count()


@pytest.mark.on_every_engine
def test_what_the_replica_has_is_joined_with_what_is_derived_from_it_and_no_request_is_sent(
    upstream: Upstream, budget: Budget
) -> None:
    content = given_content(TIDES, title="Tidal Engines", start_date=STARTS, enroll_by=CLOSES)
    given_unattached(budget, TIDES, count=MANY)

    answer = run()

    assert (answer["attached"], answer["contents"], answer["left_out"]) == (MANY, 1, [])
    rows = LearnerContentAssignment.objects.values_list(
        "content", "content_title", "content_start", "content_enroll_by", "expires_at", "expires_reason"
    )
    assert set(rows) == {
        (content.pk, "tidal engines", STARTS, CLOSES, CLOSES, str(ExpiryReason.ENROLL_BY)),
    }
    assert not upstream.requests


def test_what_we_do_not_have_is_fetched_in_one_question(upstream: Upstream, budget: Budget) -> None:
    given_unattached(budget, TIDES, count=2)
    given_unattached(budget, run_of(TIDES))
    given_unattached(budget, GONE, count=3)

    answer = run()

    assert keys_asked(upstream) == [sorted([TIDES, run_of(TIDES), GONE])]
    assert (answer["attached"], answer["contents"], answer["left_out_total"]) == (3, 2, 3)
    [left] = answer["left_out"]
    assert (left["content_key"], left["assignments"], left["why"]) == (GONE, 3, "content_not_in_catalog")
    run_row = LearnerContentAssignment.objects.get(content_key=run_of(TIDES))
    assert (run_row.parent_content_key, run_row.content_title) == (TIDES, "tidal engines")


def test_a_run_that_is_over_is_found_by_its_course(upstream: Upstream, budget: Budget) -> None:
    given_unattached(budget, run_of(TIDES), parent=TIDES)

    assert run()["attached"] == 1
    assert keys_asked(upstream) == [[TIDES]]


def test_a_dry_run_sends_no_request_and_changes_nothing(upstream: Upstream, budget: Budget) -> None:
    given_content(TIDES)
    given_unattached(budget, TIDES, count=2)
    given_unattached(budget, GONE)

    answer = run(dry_run=True)

    assert (answer["dry_run"], answer["attached"], answer["left_out_total"]) == (True, 2, 1)
    assert answer["left_out"][0]["why"] == "unknown_here"
    assert (unattached(), upstream.requests) == (3, [])


def test_what_is_attached_is_counted_in_a_sentence(budget: Budget) -> None:
    def in_words(**options: Any) -> str:
        out = StringIO()
        call_command("backfill_content", stdout=out, stderr=StringIO(), **options)
        return out.getvalue().strip()

    assert in_words(dry_run=True) == "Each assignment has its content: there is nothing to attach."
    given_unattached(budget, TIDES, count=2)
    assert in_words(dry_run=True) == "No assignment would be attached."
    given_content(TIDES)
    assert in_words(dry_run=True) == "2 assignments would be attached, to 1 row of content."
    assert in_words() == "2 assignments attached, to 1 row of content."


def test_a_catalog_that_does_not_answer_is_named_and_the_rest_is_joined(
    upstream: Upstream, budget: Budget
) -> None:
    given_content(TIDES)
    given_unattached(budget, TIDES)
    given_unattached(budget, GONE)
    upstream.fails_with(faults.status(503))

    answer = run(fails=True)

    assert answer["attached"] == 1
    assert [one["why"] for one in answer["left_out"]] == ["catalog_unavailable"]
    assert list(answer["unavailable"]) == [str(budget.catalog_uuid)]


@pytest.mark.on_every_engine
def test_broken_off_it_is_begun_anew(
    upstream: Upstream, budget: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_content(TIDES)
    given_unattached(budget, TIDES, count=MANY)
    monkeypatch.setattr(derived, "ASSIGNMENTS_PER_STATEMENT", 10)
    attach, batches = derived.attach, iter(range(2))

    def broken(*args: Any, **more: Any) -> int:
        if next(batches, None) is None:
            raise KeyboardInterrupt
        return attach(*args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(derived, "attach", broken)
        with pytest.raises(KeyboardInterrupt):
            call_command("backfill_content", stdout=StringIO())
    assert unattached() == MANY - 20

    assert run()["attached"] == MANY - 20
    assert run()["attached"] == 0


def test_a_thousand_take_as_many_queries_as_one(
    budget: Budget, django_assert_max_num_queries: Callable[[int], AbstractContextManager[Any]]
) -> None:
    content = given_content(TIDES)
    given_unattached(budget, TIDES, count=900)

    with django_assert_max_num_queries(20):
        assert backfill.attach(content.pk, clock=lambda: NOW) == 900


@pytest.mark.on_every_engine
def test_a_batch_is_joined_again_after_a_deadlock_and_counted_once(
    budget: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = given_content(TIDES)
    given_unattached(budget, TIDES, count=3)
    write_for_content, left = administrator_notices.write_for_content, []

    def deadlocked(**of: Any) -> None:
        left.append(unattached())
        if len(left) == 1:
            raise OperationalError(1213, "Deadlock found when trying to get lock; try restarting transaction")
        write_for_content(**of)

    monkeypatch.setattr(administrator_notices, "write_for_content", deadlocked)

    assert backfill.attach(content.pk, clock=lambda: NOW) == 3
    assert (left, unattached()) == ([0, 0], 0)


@pytest.mark.on_every_engine
def test_a_deadline_that_the_join_moves_into_the_past_has_its_grace(
    upstream: Upstream, budget: Budget
) -> None:
    given_content(TIDES, enroll_by=NOW - DAY)
    given_unattached(budget, TIDES, count=2)

    run()

    rows = LearnerContentAssignment.objects.values_list("state", "expires_at", "grace_until")
    assert set(rows) == {(State.ALLOCATED, NOW - DAY, NOW + timedelta(hours=24))}
    assert AdministratorNotice.objects.get().assignments == 2


def test_what_refers_to_content_already_is_left_alone(upstream: Upstream, budget: Budget) -> None:
    given_unattached(budget, TIDES)
    given_content(TIDES)
    other = given_content("RiversideX+OTHER")
    allocate(budget, other, "zoe@learners.example")

    run()

    assert set(LearnerContentAssignment.objects.values_list("content__content_key", flat=True)) == {
        TIDES,
        "RiversideX+OTHER",
    }
    assert ContentMetadata.objects.get(content_key=TIDES).assignments.count() == 1
