"""Whatever happens, and in whatever order: when it is quiet again, the replica says what upstream says.

Hypothesis invents the histories: events, crons, reads and allocations, upstream's edits, outages and poison,
catalogs that differ, answers that overtake each other, and workers that die. `make soak` invents many more.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch
from uuid import UUID

import pytest
from django.db import transaction
from django.db.models import Q
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule, run_state_machine_as_test

from bursary.assignments import allocation, expected_values, expiry
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets import terms
from bursary.catalog.http_source import HttpCatalog
from bursary.catalog.parser import Completeness
from bursary.ops import refresh_runs
from bursary.replica import audit, reads, refresh, schedule
from bursary.replica.models import ContentChange, ContentMetadata, ContentType, RefreshTrigger
from tests.replica import agreement
from tests.replica.expected_content import CATALOGS, NAMES, PUBLIC, RESTRICTED
from tests.replica.listing import NOW
from tests.replica.replicated import announcements
from tests.replica.upstream_history import UpstreamHistory, catalogs, edits, names, ordinary_edits
from tests.world import given_budget

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
MOST = 500

ways = st.sampled_from(["listing", "keys", "due", "tick"])
asked = st.one_of(
    st.tuples(names, st.sampled_from(["", "former", *PUBLIC, *RESTRICTED])),
    st.sampled_from([("NobodyX+N1", "unknown"), ("course-v1:NobodyX+N1+a", "unknown"), ("", "unknown")]),
)
Asked = tuple[str, str]


class Died(BaseException):
    """The worker was killed: nothing catches this, and nothing is tidied up."""


class AnyOrder(UpstreamHistory):
    """Our side against upstream's records. Each history has the database for itself."""

    def __init__(self) -> None:
        super().__init__()
        self.source = HttpCatalog(self.upstream)
        self.versions: agreement.Versions = {}
        self.undo = ExitStack()
        self.undo.enter_context(_database_of_its_own())
        self.undo.enter_context(patch.object(refresh, "configured_source", lambda: self.source))
        one, other, third = CATALOGS.values()
        first = given_budget(catalog_uuid=one)
        second = given_budget(customer=first.customer, catalog_uuid=third)
        self.budgets = [first, given_budget(catalog_uuid=other), second]

    @initialize()
    def the_catalogs_are_known_and_learners_are_assigned(self) -> None:
        self.expected.edit(NAMES[1], runs=["a", "p"])
        self.expected.allow(self.key((NAMES[1], "p")), CATALOGS["other"], allowed=True)
        for catalog in CATALOGS.values():
            self.refresh("listing", catalog)
        for number in range(3):
            self.an_administrator_allocates((NAMES[1], ""), 1, number)
        self.an_administrator_allocates((NAMES[0], "a"), 1, 0)

    # -- We -------------------------------------------------------------------------------------------------

    @rule(minutes=st.sampled_from([1, 5, 61, 400, 1500, 4500, 20_000]))
    def time_passes(self, minutes: int) -> None:
        self.now += minutes * MINUTE

    @rule(announced=st.lists(asked, min_size=1, max_size=4), until_changed=st.booleans())
    def an_event_names_content(self, announced: list[Asked], until_changed: bool) -> None:
        for _repeated in range(2):
            schedule.request_refresh(
                [self.key(one) for one in announced], now=self.now, until_changed=until_changed
            )

    @rule(way=ways, catalog=catalogs)
    def the_replica_is_refreshed(self, way: str, catalog: UUID) -> None:
        self.refresh(way, catalog)

    @rule(name=names, changes=edits, stamped=st.booleans(), way=ways, catalog=catalogs)
    def an_edit_is_read(
        self, name: str, changes: dict[str, Any], stamped: bool, way: str, catalog: UUID
    ) -> None:
        self.upstream_edits(name, changes, stamped)
        self.refresh(way, catalog)

    @rule(
        slow=ways,
        fast=ways,
        catalog=catalogs,
        name=names,
        changes=ordinary_edits,
        minutes=st.sampled_from([0, 1, 5]),
    )
    def a_slow_answer_is_overtaken(
        self, slow: str, fast: str, catalog: UUID, name: str, changes: dict[str, Any], minutes: int
    ) -> None:
        def meanwhile() -> None:
            self.expected.edit(name, **changes, title=f"Overtaken on {self.now}")
            self.now += minutes * MINUTE
            schedule.request_refresh([self.key((name, ""))], now=self.now)
            self.refresh(fast, catalog)
            self.no_version_goes_backwards()

        self.upstream.recovers()
        self.upstream.meanwhile = meanwhile
        self.refresh(slow, catalog)
        self.upstream.meanwhile = None

    @rule(name=names, changes=ordinary_edits, order=st.permutations(sorted(CATALOGS)), stamped=st.booleans())
    def an_edit_falls_between_two_catalogs(
        self, name: str, changes: dict[str, Any], order: list[str], stamped: bool
    ) -> None:
        """One is read before it and the others after: no field flaps.

        A run that is known by its own record may follow that, and then the course that names it by now.
        """
        self.upstream.recovers()
        self.expected.edit(name, thin=False, poison="")
        for catalog in CATALOGS.values():
            self.now += MINUTE
            self.refresh("listing", catalog)
        last = ContentChange.objects.order_by("pk").values_list("pk", flat=True).last() or 0
        runs = ContentMetadata.objects.filter(content_type=ContentType.COURSERUN)
        thin = list(runs.filter(completeness=Completeness.THIN).values_list("pk", flat=True))
        self.expected.edit(name, stamped=stamped, **changes, title=f"Edited on {self.now}")
        for which in order * 2:
            self.now += MINUTE
            self.refresh("keys", CATALOGS[which])
        assert agreement.most_changes_of_a_field(since=last, but_for=thin) <= 1

    @rule(way=ways, catalog=catalogs, where=st.sampled_from(["asking", "writing", "settling"]))
    def a_worker_dies(self, way: str, catalog: UUID, where: str) -> None:
        def die(*_args: object, **_more: object) -> None:
            raise Died

        self.upstream.recovers()
        with ExitStack() as until_then, suppress(Died):
            if where == "asking":
                self.upstream.meanwhile = die
            elif where == "writing":
                refresh.content_changed.connect(die)
                until_then.callback(refresh.content_changed.disconnect, die)
            else:
                until_then.enter_context(patch.object(schedule, "settle_fetched", die))
            self.refresh(way, catalog)
        self.upstream.meanwhile = None

    @rule(which=asked, catalog=catalogs)
    def a_reader_asks(self, which: Asked, catalog: UUID) -> None:
        key = self.key(which)
        warm = reads.held_by(catalog).filter(content_key=key).exists()
        questions = self.upstream.questions
        try:
            content = reads.content_for(key, catalog_uuid=catalog, now=self.now)
        except (reads.UnknownContent, reads.ContentUnavailable):
            assert not warm
        else:
            assert content.content_key in self.expected.shown[catalog]
            assert content.content_key == key or which[1] == "former"
            assert content.checked_at <= self.now
        assert not warm or self.upstream.questions == questions

    @rule(which=asked, learner=st.integers(1, 3), number=st.integers(0, 2))
    def an_administrator_allocates(self, which: Asked, learner: int, number: int) -> None:
        key, budget = self.key(which), self.budgets[number]
        rows = ContentMetadata.objects.filter(Q(content_key=key) | Q(parent_key=key))
        for price in sorted({19_900, *filter(None, rows.values_list("price_cents", flat=True))}):
            with suppress(allocation.AllocationRefused, reads.ContentUnavailable):
                done = allocation.allocate(
                    budget,
                    content_key=key,
                    price_cents=price,
                    entries=[f"learner-{learner}@learners.example"],
                    now=self.now,
                )
                assert {done.content.content_key, done.terms.run_key} <= self.expected.shown[
                    budget.catalog_uuid
                ]

    @rule(days=st.one_of(st.none(), st.integers(30, 120)), number=st.integers(0, 2))
    def the_budget_ends_otherwise(self, days: int | None, number: int) -> None:
        ends_at = None if days is None else NOW + timedelta(days=days)
        self.budgets[number] = terms.change(self.budgets[number], now=self.now, terms={"ends_at": ends_at})

    @rule()
    def deadlines_pass(self) -> None:
        expiry.expire_due(now=self.now)
        agreement.check_expired(self.expected)

    def key(self, which: Asked) -> str:
        """Return the key that is asked for."""
        name, part = which
        if part in ("unknown", "former"):  # the first key, which the course may have no longer
            return name
        course = self.expected.courses[name]
        return course.run_key(part) if part else course.key

    def refresh(self, way: str, catalog: UUID) -> None:
        """Refresh in one of four ways. An outage is all that may come of it."""
        with suppress(refresh.ContentUnavailable):
            if way == "listing":
                refresh.refresh_catalog(
                    catalog, source=self.source, now=self.now, trigger=RefreshTrigger.CRON
                )
            elif way == "keys":
                keys = [course.key for course in self.expected.courses.values()]
                refresh.refresh_keys(
                    keys, catalog_uuid=catalog, source=self.source, now=self.now, trigger=RefreshTrigger.EVENT
                )
            elif way == "due":
                refresh.refresh_due(clock=self.clock, source=self.source, limit=MOST)
            else:
                self.tick()

    def tick(self) -> None:
        for _catalog in CATALOGS:
            refresh_runs.read_listing(clock=self.clock)
        refresh_runs.refresh_run(clock=self.clock)

    def clock(self) -> datetime:
        return self.now

    # -- What holds always, and what holds at last -----------------------------------------------------------

    @invariant()
    def no_version_goes_backwards(self) -> None:
        self.versions = agreement.versions_after(self.versions)

    @invariant()
    def no_price_comes_from_a_thin_record(self) -> None:
        thin = ContentMetadata.objects.filter(completeness=Completeness.THIN)
        assert not thin.exclude(price_cents=None).exists()

    @invariant()
    def every_course_is_due_at_some_time(self) -> None:
        assert not ContentMetadata.objects.filter(content_type=ContentType.COURSE, due_at=None).exists()

    @invariant()
    def memberships_and_derived_columns_say_what_is_true(self) -> None:
        agreement.check_memberships()
        agreement.check_assignments(self.expected, now=self.now)

    def teardown(self) -> None:
        with self.undo:
            if sys.exc_info()[0] is None:
                self.it_is_quiet_again()

    def it_is_quiet_again(self) -> None:
        """Nothing happens any more but the scheduled tasks, for six days."""
        self.upstream.recovers()
        self.expected.heal()
        for _tick in range(6):
            self.now += 25 * HOUR
            self.tick()
            self.no_version_goes_backwards()
        self.memberships_and_derived_columns_say_what_is_true()
        agreement.check_content(self.expected, now=self.now)
        agreement.check_history()
        assert audit.audit(source=self.source, clock=self.clock).found == []
        assert expected_values.compare(self.assignments, now=self.now) == []
        self.nothing_changes_any_more()

    def nothing_changes_any_more(self) -> None:
        self.expected.sync()
        before = agreement.what_lasts()
        with announcements() as announced:
            for catalog in CATALOGS.values():
                self.now += MINUTE
                self.refresh("listing", catalog)
                self.refresh("keys", catalog)
        assert announced == []
        assert agreement.what_lasts() == before

    @property
    def assignments(self) -> list[int]:
        return list(LearnerContentAssignment.objects.values_list("pk", flat=True))


@contextmanager
def _database_of_its_own() -> Iterator[None]:
    """Undo everything inside. Durable transactions are let through, as they are in Django's tests."""
    atomic = transaction.atomic()
    vars(atomic)["_from_testcase"] = True
    with atomic:
        yield
        transaction.set_rollback(True)


def _settings() -> settings:
    """Return the few histories that belong to every run, the same each time; or a soak's, always others."""
    histories = int(os.environ.get("BURSARY_TEST_SOAK", "0"))
    unhurried = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))
    if histories:
        return settings(unhurried, max_examples=histories, stateful_step_count=50, print_blob=True)
    return settings(unhurried, max_examples=4, stateful_step_count=22, derandomize=True)


@pytest.mark.sqlite_only  # the order of events is no matter of the engine; races are in test_concurrency.py
@pytest.mark.takes_long
@pytest.mark.django_db
def test_after_anything_in_any_order_and_then_quiet_the_replica_says_what_upstream_says() -> None:
    run_state_machine_as_test(AnyOrder, settings=_settings())
