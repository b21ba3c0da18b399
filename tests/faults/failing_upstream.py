"""A service that replicates from enterprise-catalog over HTTP, which can fail in every way; and its clock."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime, timedelta
from unittest.mock import Mock
from uuid import UUID

import pytest

from bursary.access.models import Role
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.catalog import parser
from bursary.catalog.http_source import HttpCatalog
from bursary.lib.breaker import Breaker
from bursary.ops import scheduler
from bursary.replica import merge, reads
from bursary.replica.models import CatalogMembership, ContentMetadata
from bursary.upstream.client import Client
from bursary.upstream.token import ClientCredentials
from tests.api.door import Answer, Door, door_of
from tests.enterprise_catalog.server import CATALOG, CLIENT_ID, CLIENT_SECRET, Upstream, enterprise_catalog
from tests.replica.listing import NOW, Record
from tests.world import ALICE, given_api_key, given_budget, given_user

PATIENT, HURRIED = timedelta(minutes=1), timedelta(seconds=0.05)
MEGABYTE = 1024 * 1024
MINUTE = timedelta(minutes=1)
TASKS = [task for task in scheduler.TASKS if task.name in ("refresh", "expire", "listing")]


class Service:
    """The service, at a time of its own: its scheduled tasks, its readers, and the time that reads take."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.now = NOW
        self.breaker = Breaker(clock=lambda: self.now.timestamp())
        self.source = self.asking()
        self.budget: Budget = given_budget(catalog_uuid=CATALOG)
        customer = self.budget.customer
        self.desk = door_of(Role.ADMINISTRATOR, customer=customer)
        self.alice = Door(
            key=given_api_key(given_user(Role.LEARNER, customer=customer, email=ALICE, lms_user_id=7))
        )

    def asking(self, *, deadline: timedelta = PATIENT) -> HttpCatalog:
        """Return the catalog, asked with this patience. Its breaker goes by our time."""
        who = ClientCredentials(self.upstream.url, CLIENT_ID, CLIENT_SECRET)
        return HttpCatalog(
            Client(
                self.upstream.url,
                credentials=who,
                deadline=deadline,
                max_bytes=2 * MEGABYTE,
                breaker=self.breaker,
            )
        )

    def configured_source(self) -> HttpCatalog:
        return self.source

    def clock(self) -> datetime:
        return self.now

    def passes(self, time: timedelta, *, every: timedelta = MINUTE) -> Iterator[datetime]:
        """Let time pass, with a look at the clock now and then; yield each time of day."""
        until = self.now + time
        while self.now < until:
            self.now += every
            scheduler.run_due(clock=self.clock, tasks=TASKS)
            yield self.now

    def allocate(self, content: ContentMetadata, *, to: str = ALICE) -> Answer:
        return self.desk.allocate(self.budget, content, to, content_price_cents=content.price_cents)

    def credits(self) -> Answer:
        return self.alice.get(
            "policy-redemption/credits_available/", enterprise_customer_uuid=self.budget.customer.uuid
        )

    def read_everything(self, contents: list[ContentMetadata]) -> None:
        """Read in all ways what we have: it is all there, says how old it is, and asks upstream nothing."""
        with self._asking_nothing():
            self._read(contents)

    @contextmanager
    def _asking_nothing(self) -> Iterator[None]:
        """Check that the catalog is not asked. What upstream counts may be a request that was given up."""
        source = self.source
        self.source = asked = Mock(spec=HttpCatalog)
        yield
        assert asked.mock_calls == []
        self.source = source

    def _read(self, contents: list[ContentMetadata]) -> None:
        for one in contents:
            content = ContentMetadata.objects.defer("payload").get(content_key=one.content_key)
            with pytest.raises(reads.UnknownContent) if content.gone_at else nullcontext():
                assert reads.content_for(one.content_key, catalog_uuid=CATALOG, now=self.now) == content
            detail = self.desk.get(f"content-metadata/{one.content_key}/")
            if content.gone_at:
                assert detail.status_code == 404  # no catalog holds it
                continue
            assert detail.status_code == 200
            assert datetime.fromisoformat(detail.json()["as_of"]) == content.checked_at <= self.now
        rows = self.desk.assignments(self.budget)
        assert (rows.status_code, rows.json()["count"]) == (200, LearnerContentAssignment.objects.count())
        assert self.credits().status_code == 200
        assert self.desk.content().status_code == 200


@contextmanager
def replicating(records: list[Record]) -> Iterator[Service]:
    """Yield a service with an upstream that has the records. Nothing is replicated yet."""
    with enterprise_catalog(records) as upstream:
        yield Service(upstream)


def check_that_all_is_as_upstream(upstream: Upstream, catalog_uuid: UUID = CATALOG) -> None:
    """Compare every row with what upstream serves for it now."""
    rows = {row.content_key: row for row in ContentMetadata.objects.all()}
    members = upstream.database.members(str(catalog_uuid))
    held = CatalogMembership.objects.filter(catalog_uuid=catalog_uuid)
    assert set(held.filter(via_course="").values_list("content__content_key", flat=True)) == members
    for record in upstream.database.by_keys(str(catalog_uuid), members):
        course = parser.parse(record)
        for content in (course, *course.runs):
            row = rows[content.content_key]
            assert {name: getattr(row, name) for name in merge.COLUMNS} == merge.column_values(content)
            assert (row.digest, row.failures, row.last_error) == (content.digest, 0, "")
