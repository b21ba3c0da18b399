"""The clock's part of refreshing: listings that are due, what assignments depend on, what is stale."""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings

from bursary.assignments.models import LearnerContentAssignment
from bursary.ops import refresh_runs, scheduler
from bursary.ops.models import ScheduledTask as TickRow
from bursary.ops.refresh_runs import CatalogRefresh
from bursary.replica import refresh, schedule
from bursary.replica.models import CatalogListing, CatalogMembership, ContentMetadata
from bursary.replica.refresh import RefreshReport
from tests import world
from tests.world import CATALOG, NOW

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)
COURSE, OTHER = "RiversideX+T1", "RiversideX+T2"


class Folder:
    """The configured catalog, a file that can be rewritten and taken away."""

    def __init__(self, path: Path) -> None:
        self.file = path / f"{CATALOG}.jsonl"

    def serve(self, *keys: str, **changes: object) -> None:
        self.file.write_text("\n".join(json.dumps(course(key) | changes) for key in keys))


def course(key: str) -> dict[str, object]:
    """Return the record of a course without runs."""
    return {
        "content_type": "course",
        "key": key,
        "title": "Tidal Engines",
        "active": True,
        "normalized_metadata": {"content_price": world.PRICE / 100},
    }


def with_run(key: str) -> dict[str, object]:
    """Return what makes a course of it that can be joined: one run."""
    run = {"key": f"course-v1:{key}+R1", "status": "published", "is_marketable": True, "is_enrollable": True}
    terms = {run["key"]: {"content_price": world.PRICE / 100}}
    return {"course_runs": [run], "normalized_metadata_by_run": terms}


@pytest.fixture
def folder(tmp_path: Path, settings: Settings) -> Folder:
    settings.CATALOG_URL = f"file://{tmp_path}/"
    return Folder(tmp_path)


class TaskResults(NamedTuple):
    """The results of both tasks."""

    catalogs: list[CatalogRefresh]
    due: RefreshReport
    brought_forward: int


def run_tasks(now: datetime) -> TaskResults:
    """Run the tasks `listing` and `refresh`."""
    read = refresh_runs.read_listing(clock=lambda: now)
    done = refresh_runs.refresh_run(clock=lambda: now)
    return TaskResults([read] if read else [], done.due, done.brought_forward)


def run(**options: Any) -> dict[str, Any]:
    said = StringIO()
    call_command("refresh_content", json=True, stdout=said, stderr=StringIO(), **options)
    answer: dict[str, Any] = json.loads(said.getvalue())
    return answer


def refused(**options: Any) -> tuple[dict[str, Any], str]:
    said = StringIO()
    with pytest.raises(CommandError) as refusal:
        call_command("refresh_content", json=True, stdout=said, stderr=StringIO(), **options)
    return json.loads(said.getvalue()), str(refusal.value)


def titles(*keys: str) -> Sequence[str]:
    rows = ContentMetadata.objects.filter(content_key__in=keys).order_by("content_key")
    return list(rows.values_list("title", flat=True))


def test_scheduled_tasks_alone_read_a_catalog_once_a_day_and_keep_it_fresh(folder: Folder) -> None:
    world.given_budget()
    folder.serve(COURSE)

    first, second = run_tasks(NOW), run_tasks(NOW + HOUR)
    assert [one.report.created for one in first.catalogs] == [1]
    assert (second.catalogs, second.due.records) == ([], 0)

    folder.serve(COURSE, OTHER, title="New")
    third = run_tasks(NOW + 7 * HOUR)
    assert (third.catalogs, third.due.changed, titles(COURSE, OTHER)) == ([], 1, ["New"])

    assert [one.report.created for one in run_tasks(NOW + 24 * HOUR).catalogs] == [1]
    assert titles(COURSE, OTHER) == ["New", "New"]


def test_a_catalog_that_is_silent_is_read_again_after_a_pause_and_recovers_by_itself(folder: Folder) -> None:
    world.given_budget()

    silent = run_tasks(NOW)
    listing = CatalogListing.objects.get()
    assert "cannot be read" in silent.catalogs[0].unavailable
    assert (listing.failures, listing.last_error[:21]) == (1, "catalog_unavailable: ")
    assert listing.due_at is not None
    assert listing.due_at <= NOW + timedelta(minutes=1)

    folder.serve(COURSE)
    run_tasks(NOW + timedelta(minutes=1))
    listing.refresh_from_db()
    assert (listing.failures, listing.last_error) == (0, "")
    assert titles(COURSE) == ["Tidal Engines"]


def test_a_listing_that_was_cut_short_is_read_again_soon_and_the_alarm_ends(folder: Folder) -> None:
    world.given_budget()
    keys = [f"RiversideX+T{number}" for number in range(20)]
    folder.serve(*keys)
    run_tasks(NOW)
    folder.serve(COURSE)
    assert run_tasks(NOW + 24 * HOUR).catalogs[0].report.alarm
    folder.serve(*keys)

    run_tasks(NOW + 24 * HOUR + timedelta(minutes=1))

    assert (CatalogListing.objects.get().alarm, CatalogListing.objects.get().failures) == ("", 0)


@pytest.mark.on_every_engine
def test_only_catalogs_of_budgets_in_use_are_read_one_a_run(folder: Folder) -> None:
    folder.serve(COURSE)
    world.given_budget(retired_at=NOW)
    assert run_tasks(NOW).catalogs == []

    world.given_budget()
    other = uuid4()
    world.given_budget(catalog_uuid=other)
    read = [one.catalog_uuid for _ in range(2) for one in run_tasks(NOW).catalogs]
    assert sorted(read) == sorted([CATALOG, other])


@pytest.mark.on_every_engine
def test_two_runs_at_once_read_a_catalog_once(folder: Folder) -> None:
    world.given_budget()
    folder.serve(COURSE)
    assert schedule.claim_listing([CATALOG], now=NOW) is not None

    assert run_tasks(NOW + timedelta(minutes=1)).catalogs == []
    assert len(run_tasks(NOW + HOUR).catalogs) == 1  # the process with the lease has died


def test_while_a_listing_is_read_what_is_due_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, folder: Folder
) -> None:
    world.given_budget()
    folder.serve(COURSE)
    scheduler.run_due(clock=lambda: NOW)
    later = NOW + 25 * HOUR
    source = refresh.configured_source()
    pages = source.pages
    meanwhile: list[str] = []

    def slow_pages(catalog_uuid: UUID, **more: Any) -> Iterator[Sequence[object]]:
        folder.serve(COURSE, title="New")
        meanwhile.extend(scheduler.run_due(clock=lambda: later))  # as another thread does
        assert titles(COURSE) == ["New"]
        yield from pages(catalog_uuid, **more)

    monkeypatch.setattr(source, "pages", slow_pages)
    only_the_listing = [task for task in scheduler.TASKS if task.name == "listing"]

    scheduler.run_due(clock=lambda: later, tasks=only_the_listing)

    assert "refresh" in meanwhile
    assert "listing" not in meanwhile
    assert not TickRow.objects.exclude(last_error="").exists()


@pytest.mark.on_every_engine
def test_what_open_assignments_depend_on_is_refreshed_every_hour(folder: Folder) -> None:
    world.given_budget()
    folder.serve(COURSE, **with_run(COURSE))
    run_tasks(NOW)
    budget = world.given_budget()
    world.allocate(budget, ContentMetadata.objects.get(content_key=COURSE), world.ALICE)
    folder.serve(COURSE, **with_run(COURSE), title="New")

    assert run_tasks(NOW + HOUR / 2).brought_forward == 0
    hourly = run_tasks(NOW + HOUR)

    assert (hourly.brought_forward, hourly.due.records) == (1, 1)
    assert titles(COURSE) == ["New"]


@pytest.mark.parametrize(
    "refused",
    [
        {"content_last_modified": "2026-02-01T00:00:00Z", "title": "Old"},
        {"content_type": "courserun"},
    ],
)
def test_what_upstream_serves_older_or_as_another_type_is_looked_at_hourly_and_not_at_every_tick(
    folder: Folder, refused: dict[str, object]
) -> None:
    budget = world.given_budget()
    folder.serve(COURSE, **with_run(COURSE), content_last_modified="2026-03-01T00:00:00Z")
    run_tasks(NOW)
    world.allocate(budget, ContentMetadata.objects.get(content_key=COURSE), world.ALICE)
    folder.serve(COURSE, **with_run(COURSE) | refused)

    refreshed = [
        minute for minute in range(50, 130, 5) if run_tasks(NOW + timedelta(minutes=minute)).due.records
    ]

    assert refreshed == [60, 120]
    assert titles(COURSE) == ["Tidal Engines"]


@pytest.mark.on_every_engine
def test_ended_assignments_bring_no_refresh_forward(folder: Folder) -> None:
    world.given_assignment()
    LearnerContentAssignment.objects.update(state="cancelled")
    ContentMetadata.objects.update(due_at=NOW + 24 * HOUR)

    assert refresh_runs.bring_forward(now=NOW + 2 * HOUR) == 0


@pytest.mark.on_every_engine
def test_an_assigned_run_has_its_course_refreshed(folder: Folder) -> None:
    course = world.given_content(COURSE)
    run_of_it = world.given_content("course-v1:RiversideX+T1+1", catalog=None, parent=course)
    ContentMetadata.objects.update(due_at=NOW + 24 * HOUR)
    world.allocate(world.given_budget(), run_of_it, world.ALICE)
    ContentMetadata.objects.filter(pk=run_of_it.pk).update(due_at=None)

    assert refresh_runs.bring_forward(now=NOW + 2 * HOUR) == 1
    course.refresh_from_db()
    assert course.due_at == NOW + 2 * HOUR


def test_the_command_looks_at_what_is_stale_and_at_nothing_else(folder: Folder) -> None:
    world.given_budget()
    folder.serve(COURSE, OTHER)
    run()
    ContentMetadata.objects.filter(content_key=OTHER).update(due_at=timezone.now() - HOUR)
    folder.serve(COURSE, OTHER, title="New")

    assert run(stale=True, dry_run=True)["were_due"] == 1
    assert titles(COURSE, OTHER) == ["Tidal Engines", "Tidal Engines"]
    answer = run(stale=True)

    assert (answer["were_due"], answer["still_due"], answer["due"]["changed"]) == (1, 0, 1)
    assert titles(COURSE, OTHER) == ["Tidal Engines", "New"]


def test_the_command_says_what_it_had_to_postpone(folder: Folder) -> None:
    world.given_budget()
    folder.serve(COURSE)
    run()
    ContentMetadata.objects.update(due_at=timezone.now() - HOUR)
    folder.file.unlink()

    answer, said = refused(stale=True)

    assert answer["due"]["postponed"] == 1
    assert said == "1 could not be refreshed and will be tried again."


def test_the_command_asks_for_keys_where_they_are_held_and_names_the_unknown(folder: Folder) -> None:
    world.given_budget()
    folder.serve(COURSE, OTHER)
    run()
    folder.serve(COURSE, OTHER, "RiversideX+T3", title="New")

    answer, said = refused(key=[COURSE, "RiversideX+T3", "NobodyX+N1"])

    assert (answer["unknown"], said) == (["NobodyX+N1"], "No catalog has NobodyX+N1.")
    assert [(one["changed"], one["created"]) for one in answer["catalogs"]] == [(1, 1)]
    assert titles(COURSE, OTHER, "RiversideX+T3") == ["New", "Tidal Engines", "New"]


def test_a_catalog_that_shrank_ends_the_command_with_an_alarm_until_it_is_accepted(folder: Folder) -> None:
    world.given_budget()
    folder.serve(*(f"RiversideX+T{number}" for number in range(20)))
    run()
    folder.serve(COURSE)

    answer, said = refused()
    assert "names 1 where the one before named 20" in answer["catalogs"][0]["alarm"]
    assert "more than a fifth is missing" in said
    assert refused(stale=True)[0]["alarms"] == [f"Catalog {CATALOG}: {answer['catalogs'][0]['alarm']}"]

    assert run(accept_drop=True)["catalogs"][0]["alarm"] == ""
    assert CatalogMembership.objects.exclude(missing_since=None).count() == 19
    assert run(stale=True)["alarms"] == []


def test_what_is_due_is_due_in_every_catalog() -> None:
    with pytest.raises(CommandError, match="goes without --catalog"):
        call_command("refresh_content", stale=True, catalog=[CATALOG])
