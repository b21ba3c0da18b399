"""From a catalog to a mail and its timeline, over the doors that people and machines use."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from bursary.access.models import LearnerLink, Role, learner_key
from bursary.delivery import runner
from bursary.replica import refresh
from bursary.replica.models import ContentMetadata, RefreshSource
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
    """Return a run that can be taken up, from a replica of the recorded catalog."""
    settings.CATALOG_URL = SAMPLE.as_uri()
    now = timezone.now()
    report = refresh.refresh_catalog(
        CATALOG, source=refresh.configured_source(), now=now, by=RefreshSource.CRON
    )
    assert report.created > 200
    open_runs = ContentMetadata.objects.filter(
        content_type="courserun", price_cents__gt=0, enroll_by__gt=now + timedelta(days=30)
    )
    run = open_runs.order_by("content_key").first()
    assert run is not None
    return run


def test_catalog_to_mail_and_timeline(replicated: ContentMetadata, mail: MailServer, client: Client) -> None:
    budget = given_budget()
    ada = given_user(Role.ADMINISTRATOR, customer=budget.customer)
    signed_in = {"Authorization": f"Bearer {given_api_key(ada)}"}

    # The administrator looks, tries it out, and allocates.
    content = client.get(f"/api/v1/content-metadata/{replicated.content_key}/", headers=signed_in).json()
    body = json.dumps(
        {
            "content_key": content["content_key"],
            "content_price_cents": content["price_cents"],
            "learner_emails": [ALICE, BOB],
        }
    )
    door = f"/api/v1/policy-allocation/{budget.uuid}"
    post = {"content_type": "application/json", "headers": signed_in}
    preview = client.post(f"{door}/can-allocate/", body, **post).json()  # type: ignore[arg-type]
    assert preview["can_allocate"] is True
    assert preview["cost_cents"] == 2 * content["price_cents"]
    allocated = client.post(f"{door}/allocate/", body, **post)  # type: ignore[arg-type]
    assert allocated.status_code == 202
    assert len(allocated.json()["created"]) == 2

    # The runner links and tells both learners.
    runner.drain(clock=timezone.now, most=100)
    assert {message["To"] for message in mail.received} == {ALICE, BOB}
    for message in mail.received:
        text = message.get_body(("plain",))
        assert text is not None
        words = text.get_content()
        assert replicated.title in words
        assert replicated.partner_names in words
        assert "Larkspur Logistics" in words
        assert "Madrid time" in words
        assert "http://testserver/assignments/" in words
        assert message.get_body(("html",)) is not None
    links = set(LearnerLink.objects.values_list("learner_key", flat=True))
    assert links == {learner_key(ALICE), learner_key(BOB)}

    # The list and the timeline say so.
    configuration = budget.assignment_configuration_uuid
    listed = f"/api/v1/assignment-configurations/{configuration}/admin/assignments/"
    rows = client.get(listed, headers=signed_in).json()
    assert rows["learner_state_counts"] == [{"learner_state": "waiting", "count": 2}]
    uuid = rows["results"][0]["uuid"]
    timeline = client.get(f"{listed}{uuid}/actions/", headers=signed_in).json()
    told = [(row["action_type"], row["status"]) for row in timeline["results"]]
    assert told == [("allocated", "done"), ("learner_linked", "done"), ("notified", "done")]
    assert all(row["completed_at"] for row in timeline["results"])
    assert timeline["latest_successful"]["action_type"] == "notified"
    assert timeline["failures"] == []


def test_the_mail_tells_the_deadline_in_the_organisations_time_zone_and_why(mail: MailServer) -> None:
    closes = datetime(2026, 3, 29, 15, 0, tzinfo=UTC)  # the day on which Madrid's clocks change
    given_assignment(content=given_content(enroll_by=closes), now=NOW)
    deliver()
    body = mail.received[0].get_body(("plain",))
    assert body is not None
    assert "Sunday, 29 March 2026, 17:00 (Madrid time), because enrolment in it closes then" in (
        " ".join(body.get_content().split())
    )
