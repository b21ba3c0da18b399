"""The dates that the pages show: the same ones for the administrator and the learner."""

import csv
import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from bursary.access.models import Role
from bursary.assignments import cancellation, declining, redemption
from bursary.budgets.models import Budget
from tests import world

pytestmark = pytest.mark.django_db


@pytest.fixture
def budget(client: Client, monkeypatch: pytest.MonkeyPatch) -> Budget:
    """A budget on the day of its assignments; its administrator is signed in."""
    monkeypatch.setattr(timezone, "now", lambda: world.NOW + timedelta(hours=1))
    budget = world.given_budget()
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=budget.customer))
    return budget


def test_the_list_has_the_start_of_the_next_run_to_join_as_the_learner_reads_it(
    client: Client, monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    monkeypatch.setattr(timezone, "now", lambda: world.NOW + timedelta(hours=1))
    budget = world.given_budget()
    for number in range(3):
        course = world.given_content(start_date=world.NOW - timedelta(days=30))
        for name, days in (("R2", 40 + number), ("R3", 90)):
            starts = world.NOW + timedelta(days=days)
            world.given_run(course, f"course-v1:{course.content_key}+{name}", start_date=starts)
        world.given_assignment(budget, course)
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=budget.customer))

    with django_assert_max_num_queries(12):
        listed = client.get("/assignments/?sort=learner_email").content.decode()

    shown = re.findall(r'data-label="Start" class="time">(.*?)</td>', listed)
    assert shown == ["11 Apr 2026", "12 Apr 2026", "13 Apr 2026"]


def test_from_right_to_left_each_date_of_a_page_is_isolated_from_the_text_around_it(
    client: Client, settings: Settings
) -> None:
    settings.LANGUAGES, settings.LANGUAGE_CODE = [("ur", "Urdu")], "ur"
    assignment = world.given_assignment(now=timezone.now())
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=assignment.budget.customer))

    for address in (
        "/assignments/",
        f"/assignments/{assignment.uuid}/",
        f"/assignments/{assignment.uuid}/extend/",
    ):
        shown = client.get(address).content.decode()
        assert 'dir="rtl"' in shown
        years = re.findall(rf"([^<>]*\b{assignment.expires_at.year}\b[^<>]*)<", shown)
        assert years
        assert all("\u2068" in one.partition(str(assignment.expires_at.year))[0] for one in years), years


def test_the_exported_file_has_the_start_that_the_list_shows(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timezone, "now", lambda: world.NOW + timedelta(hours=1))
    budget = world.given_budget()
    course = world.given_content(start_date=world.NOW - timedelta(days=30))
    starts = world.NOW + timedelta(days=40)
    world.given_run(course, f"course-v1:{course.content_key}+R2", start_date=starts)
    world.given_assignment(budget, course)
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=budget.customer))

    exported = b"".join(client.get("/assignments/export/")).decode("utf-8-sig")

    (row,) = csv.DictReader(exported.splitlines())
    assert [row[name][:10] for name in row if name.startswith("Start (")] == [f"{starts:%Y-%m-%d}"]


def test_after_declining_the_list_the_file_and_the_pages_keep_the_start_that_was_read(
    client: Client, monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    monkeypatch.setattr(timezone, "now", lambda: world.NOW + timedelta(hours=1))
    budget = world.given_budget()
    course = world.given_content(start_date=world.NOW - timedelta(days=30))
    world.given_run(course, f"course-v1:{course.content_key}+R2", start_date=world.NOW + timedelta(days=40))
    assignment = world.given_assignment(budget, course, address=world.ALICE)
    alice = world.given_user(Role.LEARNER, customer=budget.customer, email=world.ALICE)
    ada = world.given_user(Role.ADMINISTRATOR, customer=budget.customer)

    def read() -> list[str]:
        client.force_login(alice)
        own = client.get(f"/assignments/{assignment.uuid}/").content.decode()
        client.force_login(ada)
        with django_assert_max_num_queries(12):
            listed = client.get("/assignments/").content.decode()
        with django_assert_max_num_queries(12):
            one = client.get(f"/assignments/{assignment.uuid}/").content.decode()
        exported = b"".join(client.get("/assignments/export/")).decode("utf-8-sig")
        (row,) = csv.DictReader(exported.splitlines())
        return [
            *re.findall(r"<dt>Starts</dt><dd>(.*?)</dd>", own),
            *re.findall(r"<dt>Start</dt><dd>(.*?)<", one),
            *re.findall(r'data-label="Start" class="time">(.*?)</td>', listed),
            *(row[name] for name in row if name.startswith("Start (")),
        ]

    before = read()
    assert len(before) == 4
    declining.decline(assignment, reason="No time", now=world.NOW + timedelta(hours=1))
    monkeypatch.setattr(timezone, "now", lambda: world.NOW + timedelta(days=50))
    assert read()[-3:] == before[-3:]
    monkeypatch.setattr(timezone, "now", lambda: world.NOW + timedelta(days=30))
    assert read() == before


def test_a_list_sorted_by_start_says_that_it_shows_other_starts_only_where_it_does(
    client: Client, budget: Budget
) -> None:
    world.given_assignment(budget, world.given_content(start_date=world.NOW + timedelta(days=9)))
    remark = "Sorted by the start that the catalog gives for each course."
    for sort in ("content_start", "-content_start"):
        assert remark not in client.get(f"/assignments/?sort={sort}").content.decode()

    course = world.given_content(start_date=world.NOW - timedelta(days=30))
    starts = world.NOW + timedelta(days=40)
    world.given_run(course, f"course-v1:{course.content_key}+R2", start_date=starts)
    world.given_assignment(budget, course)

    for sort in ("content_start", "-content_start"):
        assert remark in client.get(f"/assignments/?sort={sort}").content.decode()
    assert remark not in client.get("/assignments/?sort=expires_at").content.decode()


def test_a_list_says_by_what_else_it_is_sorted_than_its_column_shows(client: Client, budget: Budget) -> None:

    def listed(**query: str) -> str:
        return client.get("/assignments/", query).content.decode()

    by_deadline = "What was accepted, or has ended, is sorted by the deadline that it had."
    by_status = "Accepted, cancelled and refunded ones are not sorted apart: choose one status above."
    accepted, cancelled, declined, _waiting = [
        world.given_assignment(budget, address=f"{name}@people.example") for name in ("ann", "bo", "cy", "di")
    ]
    declining.decline(declined, reason="No time", now=world.NOW)
    redemption.fulfil(redemption.begin(accepted, now=world.NOW), now=world.NOW)
    assert by_status not in listed(sort="learner_state")
    assert by_deadline in listed(sort="-expires_at")
    assert by_deadline not in listed(sort="expires_at", status="waiting")

    cancellation.cancel(budget, uuids=[cancelled.uuid], now=world.NOW)
    for sort in ("learner_state", "-learner_state"):
        assert by_status in listed(sort=sort)
    assert by_status not in listed(sort="learner_state", status="cancelled")
    assert by_status not in listed()
