"""Record 0023's six phases on one live service: from fetch and cache to the replica alone, and back once."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings

from bursary.access.models import Role, User
from bursary.assignments.choices import ExpiryReason
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.ops import scheduler
from bursary.replica.models import ContentMetadata
from tests.api.door import Answer, Door, allocating, door_of
from tests.enterprise_catalog import faults
from tests.enterprise_catalog.server import Upstream
from tests.replica.reading import CLOSES, DAY, a_course, keys_asked, read_over_http, run_of
from tests.smtp import MailServer
from tests.world import ALICE, BOB, CAROL, NOW, PRICE, deliver, given_api_key, given_budget, given_user

pytestmark = pytest.mark.django_db(transaction=True)

TIDES, KNOTS = "RiversideX+TIDES", "RiversideX+KNOTS"
TITLES = {TIDES: "Tidal Engines", KNOTS: "Knots"}


class Service:
    """The service as an operator, an administrator and a learner meet it, on a clock that they turn."""

    def __init__(self, settings: Settings, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings, self.upstream, self.now = settings, upstream, NOW
        monkeypatch.setattr(timezone, "now", lambda: self.now)
        self.budget: Budget = given_budget(seats=10)
        self.admin = door_of(Role.ADMINISTRATOR, customer=self.budget.customer)
        self.alice: User = given_user(Role.LEARNER, customer=self.budget.customer, email=ALICE)
        self.learner = Door(key=given_api_key(self.alice))

    def read_in(self, mode: str) -> None:
        """Restart in that mode, some time later: nothing that was read before is fresh."""
        self.settings.CONTENT_READS = mode
        self.later()

    def later(self, by: timedelta = timedelta(hours=1)) -> None:
        self.now += by

    def allocate(self, key: str, *addresses: str) -> Answer:
        body = {"content_key": key, "content_price_cents": PRICE, "learner_emails": list(addresses)}
        return self.admin.post(allocating(self.budget), body)

    def titles(self, **filters: object) -> dict[str, str | None]:
        """Return what the administrator's list shows, by learner."""
        answer = self.admin.assignments(self.budget, ordering="content_title", **filters)
        assert answer.status_code == 200, answer.content
        return {row["learner_email"]: row["content_title"] for row in answer.json()["results"]}

    def credits(self) -> list[tuple[str, str]]:
        """Return title and enrol-by of what the learner sees."""
        answer = self.learner.get(
            "policy-redemption/credits_available/",
            enterprise_customer_uuid=str(self.budget.customer.uuid),
        )
        assert answer.status_code == 200, answer.content
        rows = [row for policy in answer.json() for row in policy["learner_content_assignments"]]
        return [(row["content_title"], row["content_metadata"]["enroll_by"]) for row in rows]

    def command(self, name: str, **options: object) -> tuple[int, dict[str, Any]]:
        """Return a command's exit code and what it said."""
        said, code = StringIO(), 0
        try:
            call_command(name, json=True, stdout=said, stderr=StringIO(), **options)
        except CommandError:
            code = 1
        return code, json.loads(said.getvalue())

    def linked(self) -> dict[str, str | None]:
        """Return which content each assignment refers to."""
        return dict(LearnerContentAssignment.objects.values_list("learner_email", "content__content_key"))


@pytest.fixture
def service(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    records = [a_course(key, title=title) for key, title in TITLES.items()]
    with read_over_http(settings, *records, mode="upstream") as upstream:
        yield Service(settings, upstream, monkeypatch)


def deadlines() -> set[tuple[datetime, str]]:
    return set(LearnerContentAssignment.objects.values_list("expires_at", "expires_reason"))


def iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def test_record_0023_from_fetch_and_cache_to_the_replica_and_back(service: Service, mail: MailServer) -> None:
    everything_is_fetched_and_cached(service, mail)
    the_model_is_filled_and_nothing_reads_it(service)
    both_are_written_and_what_was_there_is_joined(service)
    the_shadow_finds_a_difference(service)
    a_refresh_heals_it_and_the_report_stands_at_zero(service)
    the_replica_alone_is_read_while_upstream_is_away(service)
    the_way_back(service)


def everything_is_fetched_and_cached(service: Service, mail: MailServer) -> None:
    """1 to 3: the model is there, with its serializer and the nullable key; nothing uses them."""
    assert service.allocate(TIDES, ALICE, BOB).status_code == 202
    deliver(now=service.now)
    assert service.linked() == {ALICE: None, BOB: None}
    assert not ContentMetadata.objects.exists()
    assert deadlines() == {(CLOSES, ExpiryReason.ENROLL_BY)}
    assert service.titles() == {ALICE: "Tidal Engines", BOB: "Tidal Engines"}
    assert service.credits() == [("Tidal Engines", iso(CLOSES))]
    assert len(mail.received) == 2
    assert all("Tidal Engines" in str(one["Subject"]) for one in mail.received)
    assert len(keys_asked(service.upstream)) == 1  # asked once, served since
    refused = service.admin.assignments(service.budget, content_title="Tidal Engines")
    assert (refused.status_code, refused.json()["reason"]) == (400, "content_filters_unavailable")


def the_model_is_filled_and_nothing_reads_it(service: Service) -> None:
    """4 and 5: scheduled tasks fill and refresh it."""
    service.later()
    for task in scheduler.TASKS:
        task.run(timezone.now)
    assert set(ContentMetadata.objects.values_list("content_key", flat=True)) >= {TIDES, KNOTS}
    assert service.linked() == {ALICE: None, BOB: None}


def both_are_written_and_what_was_there_is_joined(service: Service) -> None:
    service.read_in("shadow")
    assert service.allocate(KNOTS, CAROL).status_code == 202
    assert service.linked() == {ALICE: None, BOB: None, CAROL: KNOTS}

    assert service.command("backfill_content", dry_run=True)[1]["attached"] == 2
    assert service.linked() == {ALICE: None, BOB: None, CAROL: KNOTS}
    code, done = service.command("backfill_content")
    assert (code, done["attached"], done["left_out_total"]) == (0, 2, 0)
    assert service.linked() == {ALICE: TIDES, BOB: TIDES, CAROL: KNOTS}
    assert deadlines() == {(CLOSES, ExpiryReason.ENROLL_BY)}


def the_shadow_finds_a_difference(service: Service) -> None:
    """Upstream is what is served; our rows are compared with it, field by field."""
    ContentMetadata.objects.filter(content_key=TIDES).update(title="Tidal Engine", price_cents=1)
    service.later()
    assert service.titles()[ALICE] == "Tidal Engines"
    code, report = service.command("shadow_report")
    assert (code, report["standing"]) == (1, 2)
    found = [
        (one["content_key"], one["field"], one["upstream"], one["replica"]) for one in report["differences"]
    ]
    assert found == [
        (TIDES, "price_cents", PRICE, 1),
        (TIDES, "title", "Tidal Engines", "Tidal Engine"),
    ]


def a_refresh_heals_it_and_the_report_stands_at_zero(service: Service) -> None:
    service.later()
    assert service.command("refresh_content")[0] == 0
    service.later()
    service.titles()
    code, report = service.command("shadow_report")
    assert (code, report["standing"], report["healed"], report["unrecorded"]) == (0, 0, 2, 0)
    assert report["compared"] >= 4
    assert report["fields_compared"] >= 4 * 9


def the_replica_alone_is_read_while_upstream_is_away(service: Service) -> None:
    """6: no read fails, and no reader asks upstream."""
    service.read_in("replica")
    service.upstream.fails_with(faults.status(503))
    asked = len(service.upstream.requests)
    for _day in range(3):
        assert service.titles(content_title__icontains="tidal") == dict.fromkeys(
            (ALICE, BOB), "Tidal Engines"
        )
        assert service.titles(search="knots") == {CAROL: "Knots"}
        assert service.credits() == [("Tidal Engines", iso(CLOSES))]
        service.later(DAY)
    assert service.allocate(TIDES, CAROL).status_code == 202
    assert len(service.upstream.requests) == asked


def the_way_back(service: Service) -> None:
    """All is as before the replica; what is allocated meanwhile is attached afterwards."""
    service.upstream.recovers()
    service.read_in("upstream")
    service.upstream.edit(KNOTS, title="Knots and Hitches")
    assert service.allocate(KNOTS, BOB).status_code == 202
    assert LearnerContentAssignment.objects.get(content_key=KNOTS, learner_email=BOB).content is None
    rows = service.admin.assignments(service.budget).json()["results"]
    assert {row["content_title"] for row in rows} == {"Tidal Engines", "Knots and Hitches"}
    redeemed = service.learner.post(
        f"policy-redemption/{service.budget.uuid}/redeem/", {"content_key": run_of(TIDES)}
    )
    assert redeemed.json()["state"] == "committed"

    service.read_in("replica")
    assert service.command("backfill_content")[1]["attached"] == 1
    assert not LearnerContentAssignment.objects.filter(content=None).exists()
    assert service.command("refresh_content")[0] == 0
    assert service.titles(search="hitches") == dict.fromkeys((BOB, CAROL), "Knots and Hitches")
