"""From a catalog to a mail, its timeline and the acceptance, over the doors that people and machines use."""

import html
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from bursary.access.models import LearnerLink, Role, learner_key
from bursary.budgets.models import Budget
from bursary.delivery import runner
from bursary.replica import refresh
from bursary.replica.models import ContentMetadata, RefreshTrigger
from tests.letters import link_in
from tests.smtp import MailServer
from tests.world import (
    ALICE,
    BOB,
    CATALOG,
    NOW,
    deliver,
    given_api_key,
    given_assignment,
    given_budget,
    given_content,
    given_user,
)

pytestmark = pytest.mark.django_db

SAMPLE = Path(__file__).parent.parent / "data" / "catalog-courses.jsonl"


@pytest.fixture
def replicated(settings: Settings) -> ContentMetadata:
    """Return a run open for enrolment, from a replica of the recorded catalog."""
    settings.CATALOG_URL = SAMPLE.as_uri()
    now = timezone.now()
    report = refresh.refresh_catalog(
        CATALOG, source=refresh.configured_source(), now=now, trigger=RefreshTrigger.CRON
    )
    assert report.created > 200
    open_runs = ContentMetadata.objects.filter(
        content_type="courserun", price_cents__gt=0, enroll_by__gt=now + timedelta(days=30)
    )
    run = open_runs.order_by("content_key").first()
    assert run is not None
    return run


class Administrator:
    """An administrator with an API key."""

    def __init__(self, client: Client, budget: Budget) -> None:
        key = given_api_key(given_user(Role.ADMINISTRATOR, customer=budget.customer))
        self._client, self._headers = client, {"Authorization": f"Bearer {key}"}

    def get(self, address: str) -> Any:
        answer = self._client.get(f"/api/v1/{address}", headers=self._headers)
        assert answer.status_code == 200
        return answer.json()

    def post(self, address: str, body: object, *, expected: int) -> Any:
        answer = self._client.post(
            f"/api/v1/{address}", body, content_type="application/json", headers=self._headers
        )
        assert answer.status_code == expected
        return answer.json()


def test_catalog_to_acceptance(replicated: ContentMetadata, mail: MailServer, client: Client) -> None:
    budget = given_budget()
    ada = Administrator(client, budget)
    # The administrator looks, tries it out, and allocates.
    content = ada.get(f"content-metadata/{replicated.content_key}/")
    asked = {
        "content_key": content["content_key"],
        "content_price_cents": content["price_cents"],
        "learner_emails": [ALICE, BOB],
    }
    door = f"policy-allocation/{budget.uuid}"
    preview = ada.post(f"{door}/can-allocate/", asked, expected=200)
    assert preview["can_allocate"] is True
    assert preview["cost_cents"] == 2 * content["price_cents"]
    allocated = ada.post(f"{door}/allocate/", asked, expected=202)
    assert len(allocated["created"]) == 2
    # The runner links and notifies both learners.
    runner.drain(clock=timezone.now, limit=100)
    both_learners_were_notified(mail, replicated)
    links = set(LearnerLink.objects.values_list("learner_key", flat=True))
    assert links == {learner_key(ALICE), learner_key(BOB)}

    # The list and the timeline say so.
    listed = f"assignment-configurations/{budget.assignment_configuration_uuid}/admin/assignments/"
    rows = ada.get(listed)
    assert rows["learner_state_counts"] == [{"learner_state": "waiting", "count": 2}]
    timeline = ada.get(f"{listed}{rows['results'][0]['uuid']}/actions/")
    timeline_rows = [(row["action_type"], row["status"]) for row in timeline["results"]]
    assert timeline_rows == [("allocated", "done"), ("learner_linked", "done"), ("notified", "done")]
    assert all(row["completed_at"] for row in timeline["results"])
    assert (timeline["latest_successful"]["action_type"], timeline["failures"]) == ("notified", [])

    # Alice follows the link in her mail and accepts; Bob has not answered.
    alices = next(message for message in mail.received if message["To"] == ALICE)
    answer = Client().post(link_in(alices), {"answer": "accept"})
    assert answer.status_code == 303
    states = {row["learner_email"]: row["state"] for row in ada.get(listed)["results"]}
    assert states == {ALICE: "accepted", BOB: "allocated"}
    budget.refresh_from_db()
    assert (budget.spent_cents, budget.reserved_cents) == (content["price_cents"],) * 2


def both_learners_were_notified(mail: MailServer, run: ContentMetadata) -> None:
    assert {message["To"] for message in mail.received} == {ALICE, BOB}
    for message in mail.received:
        for kind in ("plain", "html"):
            body = message.get_body((kind,))
            assert body is not None
            words = body.get_content()
            for expected in (run.title, run.partner_names, "Larkspur Logistics", "Madrid time"):
                assert html.escape(expected) in words or expected in words
            assert "http://testserver/a/answer." in words


def test_the_mail_gives_the_deadline_in_the_organisations_time_zone_and_its_reason(mail: MailServer) -> None:
    closes = datetime(2026, 3, 29, 15, 0, tzinfo=UTC)  # the day on which Madrid's clocks change
    given_assignment(content=given_content(enroll_by=closes), now=NOW)
    deliver()
    body = mail.received[0].get_body(("plain",))
    assert body is not None
    assert "Sunday, 29 March 2026, 17:00 (Madrid time): enrolment closes then" in (
        " ".join(body.get_content().split())
    )
