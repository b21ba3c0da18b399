"""Content that a catalog has lost: what another changes of it since is not shown by the first one."""

import re
from datetime import datetime, timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from bursary.access.models import Role
from bursary.assignments import administrator_notices, reminders
from bursary.assignments.choices import ActionType
from bursary.assignments.models import AdministratorNotice, LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.delivery import notices
from bursary.replica.models import CatalogMembership, ContentMetadata
from tests import letters
from tests.api.door import Door
from tests.replica.listing import OTHER_CATALOG
from tests.smtp import MailServer
from tests.world import ALICE, allocate, deliver, given_api_key, given_budget, given_content, given_user

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
NOW = timezone.now().replace(microsecond=0)
SECRET = "Turnaround of Acme"
STARTS, MOVED = NOW + 6 * DAY, datetime(2099, 3, 3, tzinfo=NOW.tzinfo)

NUMBERED = re.compile(
    r"user-\d+|\+T\d+|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|csrfmiddlewaretoken[^>]*>|[\w-]{32,}"
)
"""Names that tests count, and texts by chance, in which the year or the price may be found."""


@pytest.fixture
def content() -> ContentMetadata:
    return given_content(start_date=STARTS, course_type="audit")


@pytest.fixture
def budget(content: ContentMetadata) -> Budget:
    budget = given_budget()
    allocate(budget, content, ALICE, now=NOW)
    deliver(now=NOW)
    return budget


def leave(content: ContentMetadata) -> None:
    """Let the budget's catalog lose the content, and another one change it."""
    CatalogMembership.objects.update(catalog_uuid=OTHER_CATALOG)
    changes = {
        "title": SECRET,
        "partner_names": "Acme",
        "partners": [{"name": "Acme"}],
        "course_type": "secret",
    }
    ContentMetadata.objects.filter(pk=content.pk).update(start_date=MOVED, price_cents=7_531, **changes)


def assert_nothing_shown(text: str) -> None:
    text = NUMBERED.sub("", text)
    for secret in (SECRET, "Acme", "secret", "2099", "7531", "75.31"):
        assert secret not in text


def test_not_on_pages_nor_in_lists(client: Client, content: ContentMetadata, budget: Budget) -> None:
    admin = given_user(Role.ADMINISTRATOR, customer=budget.customer)
    alice = given_user(Role.LEARNER, customer=budget.customer, email=ALICE)
    leave(content)
    administrator_notices.write_for_content(pks=[content.pk], now=NOW)
    assert AdministratorNotice.objects.get().reason == "content_not_in_catalog"
    own = reverse("assignment", args=[LearnerContentAssignment.objects.get().uuid])

    for user, pages in ((admin, ("/", own)), (alice, ("/", own))):
        client.force_login(user)
        for page in pages:
            shown = client.get(page).content.decode()
            assert_nothing_shown(shown)
            assert content.content_key in shown
    credits = {"enterprise_customer_uuid": budget.customer.uuid}
    assert_nothing_shown(
        Door(key=given_api_key(alice)).get("policy-redemption/credits_available/", **credits).content.decode()
    )


@pytest.mark.parametrize(
    "query",
    [
        {"content_title": SECRET},
        {"content_title__icontains": "acme"},
        {"content_price_cents": 7_531},
        {"content_price_cents__gte": 1},
        {"content_start__gte": "2099-01-01"},
        {"content_partner": "Acme"},
        {"content_course_type": "secret"},
        {"search": "turnaround"},
    ],
)
@pytest.mark.on_every_engine
def test_not_by_filters(content: ContentMetadata, budget: Budget, query: dict[str, object]) -> None:
    door = Door(key=given_api_key(given_user(Role.ADMINISTRATOR, customer=budget.customer)))
    leave(content)

    assert door.assignments(budget, **query).json()["count"] == 0
    assert_nothing_shown(door.assignments(budget).content.decode())
    assert door.assignments(budget).json()["count"] == 1


def test_a_title_that_is_as_it_was_is_found_and_shown(content: ContentMetadata, budget: Budget) -> None:
    door = Door(key=given_api_key(given_user(Role.ADMINISTRATOR, customer=budget.customer)))
    CatalogMembership.objects.update(catalog_uuid=OTHER_CATALOG)

    [row] = door.assignments(budget, search=content.title.split()[0]).json()["results"]
    assert row["content_title"] == content.title


def test_not_in_mails(mail: MailServer, content: ContentMetadata, budget: Budget) -> None:
    given_user(Role.ADMINISTRATOR, customer=budget.customer, email="ada@people.example")
    leave(content)
    administrator_notices.write_for_content(pks=[content.pk], now=NOW)
    notices.send_due(clock=lambda: NOW)
    LearnerContentAssignment.objects.update(remind_at=NOW)
    for due in (reminders.remind_due, reminders.nudge_due):
        due(now=NOW + 5 * DAY)
    deliver(now=NOW + 5 * DAY)

    sent = [letters.all_of(message) for message in mail.received]
    assert len(sent) >= 2
    for message in sent:
        assert_nothing_shown(message)
    nudges = LearnerContentAssignment.objects.get().actions.filter(action_type=ActionType.NUDGED)
    assert [one.status for one in nudges] == ["done"]  # by the start that was recorded
