"""Whatever happens, and in whatever order: when it is quiet again, the replica says what upstream says.

Hypothesis invents the histories: events, crons, reads and allocations, upstream's edits, outages and poison,
answers that overtake each other, and workers that die. `make soak` invents many more.
"""

import os
import sys
from contextlib import ExitStack, suppress
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from bursary.assignments import allocation
from bursary.budgets import terms
from bursary.catalog.http_source import HttpCatalog
from bursary.catalog.parser import Completeness
from bursary.ops import refresh_runs
from bursary.replica import reads, refresh, schedule
from bursary.replica.models import ContentMetadata, ContentType, RefreshSource
from tests.enterprise_catalog.without_sockets import WithoutSockets
from tests.replica import agreement
from tests.replica.listing import CATALOG, NOW
from tests.replica.truth import CATALOGS, KEYS, Truth
from tests.world import given_budget

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
MOST = 500

catalogs = st.sampled_from(sorted(CATALOGS)).map(CATALOGS.__getitem__)
keys = st.sampled_from(KEYS[:3])  # the others stand by: of three courses alone too many would be away
runs = st.lists(st.sampled_from("abc"), unique=True, max_size=3)
any_keys = st.one_of(
    keys,
    st.tuples(keys, st.sampled_from("abc")).map(lambda of: f"course-v1:{of[0]}+{of[1]}"),
    st.sampled_from(["NobodyX+N1", "course-v1:NobodyX+N1+a", ""]),
)
in_the_ordinary_way = {
    "price": st.sampled_from([None, 0.0, 199.0, 249.0]),
    "enroll_by": st.sampled_from([None, -1, 3, 20, 60, 100]),
    "start": st.sampled_from([None, 2, 80]),
    "runs": runs,
    "active": st.booleans(),
}
ordinary_edits = st.fixed_dictionaries({}, optional=in_the_ordinary_way)
edits = st.fixed_dictionaries(
    {},
    optional=in_the_ordinary_way
    | {
        "title": st.sampled_from(["Tidal Engines", "Tidal Engines II", "Wind"]),
        "thin": st.booleans(),
        "poison": st.sampled_from(["", "", "video"]),
    },
)
ways = st.sampled_from(["listing", "keys", "due", "tick"])


class Died(BaseException):
    """The worker was killed: nothing catches this, and nothing is tidied up."""


class AnyOrder(RuleBasedStateMachine):
    """Our side against upstream's truth. Each history has the database for itself."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.truth = Truth()
        self.upstream = WithoutSockets(self.truth.shelf)
        self.source = HttpCatalog(self.upstream)
        self.versions: agreement.Versions = {}
        self.undo = ExitStack()
        self.undo.enter_context(_database_of_its_own())
        self.undo.enter_context(patch.object(refresh, "configured_source", lambda: self.source))
        self.budget = given_budget(catalog_uuid=CATALOG)
        given_budget(customer=self.budget.customer, catalog_uuid=CATALOGS["other"])

    @initialize()
    def the_catalog_is_known_and_learners_are_assigned(self) -> None:
        self.refresh("listing", CATALOG)
        self.an_administrator_allocates(KEYS[0], 1)
        self.an_administrator_allocates(f"course-v1:{KEYS[1]}+a", 1)

    # -- Upstream -------------------------------------------------------------------------------------------

    @rule(key=keys, changes=edits, stamped=st.booleans(), way=st.none() | ways, catalog=catalogs)
    def upstream_edits(
        self, key: str, changes: dict[str, Any], stamped: bool, way: str | None, catalog: Any
    ) -> None:
        self.truth.edit(key, stamped=stamped, **changes)
        if way:
            self.refresh(way, catalog)

    @rule()
    def upstream_syncs_and_nothing_changed(self) -> None:
        self.truth.shelf.sync()

    @rule(key=keys, catalog=catalogs)
    def upstream_takes_a_course_out(self, key: str, catalog: Any) -> None:
        self.truth.remove(key, catalog)

    @rule(key=keys, catalog=catalogs)
    def upstream_puts_a_course_in(self, key: str, catalog: Any) -> None:
        self.truth.restore(key, catalog)

    @rule(down=st.booleans())
    def upstream_goes_or_comes(self, down: bool) -> None:
        self.upstream.down = down

    @rule(key=keys)
    def upstream_fails_on_a_course_or_no_more(self, key: str) -> None:
        self.upstream.fails_on ^= {key, *self.truth.courses[key].run_keys}

    @rule(shows=st.one_of(st.none(), st.integers(0, 7)))
    def upstream_lists_a_part(self, shows: int | None) -> None:
        self.upstream.shows = shows

    # -- We -------------------------------------------------------------------------------------------------

    @rule(minutes=st.sampled_from([1, 5, 61, 400, 1500, 4500]))
    def time_passes(self, minutes: int) -> None:
        self.now += minutes * MINUTE

    @rule(announced=st.lists(any_keys, min_size=1, max_size=4), until_changed=st.booleans())
    def an_event_names_content(self, announced: list[str], until_changed: bool) -> None:
        for _repeated in range(2):
            schedule.request_refresh(announced, now=self.now, until_changed=until_changed)

    @rule(way=ways, catalog=catalogs)
    def the_replica_is_refreshed(self, way: str, catalog: Any) -> None:
        self.refresh(way, catalog)

    @rule(
        slow=ways,
        fast=ways,
        catalog=catalogs,
        key=keys,
        changes=ordinary_edits,
        minutes=st.sampled_from([0, 1, 5]),
    )
    def a_slow_answer_is_overtaken(
        self, slow: str, fast: str, catalog: Any, key: str, changes: dict[str, Any], minutes: int
    ) -> None:
        def meanwhile() -> None:
            self.truth.edit(key, **changes, title=f"Overtaken on {self.now}")
            self.now += minutes * MINUTE
            schedule.request_refresh([key], now=self.now)
            self.refresh(fast, catalog)
            self.no_version_goes_backwards()

        self.upstream.recovers()
        self.upstream.meanwhile = meanwhile
        self.refresh(slow, catalog)
        self.upstream.meanwhile = None

    @rule(way=ways, catalog=catalogs, where=st.sampled_from(["asking", "writing", "settling"]))
    def a_worker_dies(self, way: str, catalog: Any, where: str) -> None:
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

    @rule(key=any_keys, catalog=catalogs)
    def a_reader_asks(self, key: str, catalog: Any) -> None:
        warm = reads.held_by(catalog).filter(content_key=key).exists()
        asked = self.upstream.questions
        try:
            content = reads.content_for(key, catalog_uuid=catalog, now=self.now)
        except (reads.UnknownContent, reads.ContentUnavailable):
            assert not warm
        else:
            assert content.content_key == key
            assert content.checked_at <= self.now
        assert not warm or self.upstream.questions == asked

    @rule(key=any_keys, learner=st.integers(1, 3))
    def an_administrator_allocates(self, key: str, learner: int) -> None:
        known = ContentMetadata.objects.filter(content_key=key).values_list("price_cents", flat=True).first()
        with suppress(allocation.AllocationRefused, reads.ContentUnavailable):
            allocation.allocate(
                self.budget,
                content_key=key,
                price_cents=19_900 if known is None else known,
                entries=[f"learner-{learner}@learners.example"],
                now=self.now,
            )

    @rule(days=st.one_of(st.none(), st.integers(30, 120)))
    def the_budget_ends_otherwise(self, days: int | None) -> None:
        ends_at = None if days is None else NOW + timedelta(days=days)
        self.budget = terms.change(self.budget, now=self.now, terms={"ends_at": ends_at})

    def refresh(self, way: str, catalog: Any) -> None:
        """Refresh in one of four ways. An outage is all that may come of it."""
        with suppress(refresh.ContentUnavailable):
            if way == "listing":
                refresh.refresh_catalog(catalog, source=self.source, now=self.now, by=RefreshSource.CRON)
            elif way == "keys":
                refresh.refresh_keys(
                    KEYS, catalog_uuid=catalog, source=self.source, now=self.now, by=RefreshSource.EVENT
                )
            elif way == "due":
                refresh.refresh_due(clock=self.clock, source=self.source, most=MOST)
            else:
                self.tick()

    def tick(self) -> None:
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
    def derived_columns_say_what_is_true(self) -> None:
        agreement.check_assignments()

    def teardown(self) -> None:
        with self.undo:
            if sys.exc_info()[0] is None:
                self.it_is_quiet_again()

    def it_is_quiet_again(self) -> None:
        """Nothing happens any more but the scheduled tasks, for six days."""
        self.upstream.recovers()
        self.truth.heal()
        for _tick in range(6):
            self.now += 25 * HOUR
            self.tick()
            self.no_version_goes_backwards()
        agreement.check_content(self.truth, now=self.now)
        self.derived_columns_say_what_is_true()


class _database_of_its_own:  # noqa: N801  # reads as what it is: a context
    """Everything inside is undone. Durable transactions are let through, as they are in Django's tests."""

    def __enter__(self) -> None:
        self._atomic = transaction.atomic()
        vars(self._atomic)["_from_testcase"] = True
        self._atomic.__enter__()

    def __exit__(self, *_failure: object) -> None:
        transaction.set_rollback(True)
        self._atomic.__exit__(None, None, None)


def _settings() -> settings:
    """Return the few histories that belong to every run, the same each time; or a soak's, always others."""
    histories = int(os.environ.get("BURSARY_TEST_SOAK", "0"))
    unhurried = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))
    if histories:
        return settings(unhurried, max_examples=histories, stateful_step_count=50, print_blob=True)
    return settings(unhurried, max_examples=12, stateful_step_count=25, derandomize=True)


@pytest.mark.takes_long
@pytest.mark.django_db
def test_after_anything_in_any_order_and_then_quiet_the_replica_says_what_upstream_says() -> None:
    run_state_machine_as_test(AnyOrder, settings=_settings())
