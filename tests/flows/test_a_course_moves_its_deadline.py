"""A course moves its enrolment deadline: the replica changes, and the open assignments with it."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from bursary.assignments import derived
from bursary.assignments.choices import ExpiryReason, State
from bursary.assignments.models import LearnerContentAssignment
from bursary.delivery import notices
from bursary.ops import scheduler
from bursary.replica import refresh
from bursary.replica.models import ContentMetadata, RefreshTrigger
from tests.smtp import MailServer
from tests.world import CATALOG, NOW, PRICE, addresses, allocate, deliver, given_budget

pytestmark = pytest.mark.django_db

KEY = "RiversideX+TIDES"
RUN = {
    "key": f"course-v1:{KEY}+2026",
    "uuid": "00000000-0000-4000-8000-000000000001",
    "status": "published",
    "is_marketable": True,
    "is_enrollable": True,
}
DAY = timedelta(days=1)
TABLE = LearnerContentAssignment._meta.db_table

Edit = Callable[[datetime, datetime], None]


@pytest.fixture
def upstream(tmp_path: Path, settings: Settings) -> Edit:
    """Return the catalog's editor: it sets the course's enrolment deadline at a time, and refreshes."""
    file = tmp_path / "courses.jsonl"
    settings.CATALOG_URL = file.as_uri()

    def edit(enroll_by: datetime, now: datetime) -> None:
        dates = {"enroll_by_date": enroll_by.isoformat(), "content_price": PRICE / 100}
        course = {
            "content_type": "course",
            "key": KEY,
            "title": "Tidal Engines",
            "active": True,
            "advertised_course_run_uuid": RUN["uuid"],
            "course_runs": [RUN],
            "content_last_modified": now.isoformat(),
            "normalized_metadata": dates,
            "normalized_metadata_by_run": {RUN["key"]: dates},
        }
        file.write_text(json.dumps(course))
        report = refresh.refresh_catalog(
            CATALOG, source=refresh.configured_source(), now=now, trigger=RefreshTrigger.CRON
        )
        assert report.unparsable_total == 0

    return edit


def deadlines() -> set[tuple[datetime, str]]:
    return set(LearnerContentAssignment.objects.values_list("expires_at", "expires_reason"))


def test_a_course_moves_its_enrolment_deadline(
    upstream: Edit, mail: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, later = NOW + 20 * DAY, NOW + 40 * DAY
    upstream(first, NOW)
    content = ContentMetadata.objects.get(content_key=KEY)
    budget = given_budget()
    allocate(budget, content, *addresses(30))
    deliver()
    assert deadlines() == {(first, ExpiryReason.ENROLL_BY)}

    # The replica changes, and every open assignment with it, by two statements.
    with CaptureQueriesContext(connection) as queries:
        upstream(later, NOW + DAY)
    update = f"UPDATE {connection.ops.quote_name(TABLE)}"
    assert sum(query["sql"].startswith(update) for query in queries) == 2
    assert deadlines() == {(later, ExpiryReason.ENROLL_BY)}

    # In the same transaction: where the assignments cannot follow, the replica does not change.
    def break_down(*_args: object, **_more: object) -> None:
        raise RuntimeError("The assignments cannot follow.")

    with monkeypatch.context() as patch:
        patch.setattr(derived, "_write_content", break_down)
        with pytest.raises(RuntimeError, match="cannot follow"):
            upstream(first, NOW + 2 * DAY)
    content.refresh_from_db()
    assert content.enroll_by == later
    assert deadlines() == {(later, ExpiryReason.ENROLL_BY)}

    # Moved into the past, it waits a day; then the scheduler expires what is still open.
    upstream(NOW + DAY, NOW + 3 * DAY)
    for task in scheduler.TASKS:
        task.run(lambda: NOW + 3 * DAY)
    notices.send_due(clock=lambda: NOW + 3 * DAY)
    assert not LearnerContentAssignment.objects.filter(state=State.EXPIRED).exists()
    expiring = next(task for task in scheduler.TASKS if task.name == "expire")
    assert expiring.run(lambda: NOW + 4 * DAY) == {"expired": 30, "failed_budgets": {}}
