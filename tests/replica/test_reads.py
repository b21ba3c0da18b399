"""What the replica answers, fresh, stale, cold, and while upstream is out."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.conf import LazySettings
from pytest_django import Settings

from bursary.replica import reads, refresh
from bursary.replica.models import CatalogMembership, ContentMetadata, RefreshTrigger, in_catalog
from tests.replica.listing import (
    CATALOG,
    COURSE,
    NOW,
    OTHER_CATALOG,
    RUNS,
    Listing,
    Record,
    a_course,
    a_run,
    recorded,
)
from tests.world import given_content

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


@pytest.fixture
def upstream(tmp_path: Path, settings: LazySettings) -> Callable[..., Path]:
    """Let upstream's catalog be a file of these records; without it, upstream does not answer."""
    file = tmp_path / "catalog.jsonl"
    settings.CATALOG_URL = file.as_uri()

    def serve(*records: Record) -> Path:
        file.write_text("\n".join(map(json.dumps, records)))
        return file

    return serve


@pytest.fixture
def replicated(upstream: object) -> None:
    refresh.refresh_catalog(CATALOG, source=Listing([a_course()]), now=NOW, trigger=RefreshTrigger.CRON)


@pytest.mark.usefixtures("replicated")
@pytest.mark.on_every_engine
def test_fresh_content_is_one_query(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        content = reads.content_for(COURSE, catalog_uuid=CATALOG, now=NOW + HOUR)

    assert (content.content_key, content.due_at) == (COURSE, NOW + 6 * HOUR)


@pytest.mark.usefixtures("replicated")
def test_stale_content_is_served_while_upstream_is_down_and_requests_one_refresh(
    django_assert_num_queries: Any,
) -> None:
    later = NOW + 7 * HOUR
    ContentMetadata.objects.update(due_at=None)  # as rows were before there was a refresher
    with django_assert_num_queries(3):  # read, lock, schedule
        content = reads.content_for(COURSE, catalog_uuid=CATALOG, now=later)
    with django_assert_num_queries(1):
        again = reads.content_for(COURSE, catalog_uuid=CATALOG, now=later + HOUR)

    assert content.title == a_course()["title"]
    assert content.checked_at == NOW
    assert again.due_at == later


@pytest.mark.on_every_engine
def test_content_without_a_row_is_fetched_once(
    upstream: Callable[..., Path], django_assert_num_queries: Any
) -> None:
    file = upstream(*recorded("courses"))

    content = reads.content_for(COURSE, catalog_uuid=CATALOG, now=NOW)
    file.unlink()

    assert (content.title, content.trigger, content.fetched_at) == (a_course()["title"], "read", NOW)
    assert ContentMetadata.objects.count() == 4
    with django_assert_num_queries(1):
        assert reads.content_for(COURSE, catalog_uuid=CATALOG, now=NOW) == content


def test_a_run_without_a_row_comes_with_its_course(upstream: Callable[..., Path]) -> None:
    upstream(*recorded("courses"))

    content = reads.content_for(RUNS[1], catalog_uuid=CATALOG, now=NOW)

    assert content.parent_key == COURSE


@pytest.mark.parametrize("content_key", ["NobodyX+N1", "", "two words", "x" * 256, "null\x00"])
def test_what_upstream_does_not_have_either_is_unknown(
    upstream: Callable[..., Path], content_key: str
) -> None:
    upstream(*recorded("courses")[:3])

    with pytest.raises(reads.UnknownContent) as unknown:
        reads.content_for(content_key, catalog_uuid=CATALOG, now=NOW)

    assert (unknown.value.reason, unknown.value.content_key) == ("content_not_in_catalog", content_key)


@pytest.mark.usefixtures("replicated")
def test_while_upstream_is_out_only_content_without_a_row_is_unavailable() -> None:
    assert reads.content_for(COURSE, catalog_uuid=CATALOG, now=NOW).content_key == COURSE
    with pytest.raises(reads.ContentUnavailable) as silence:
        reads.content_for("GlobeX+B114", catalog_uuid=CATALOG, now=NOW)

    assert silence.value.reason == "catalog_unavailable"


@pytest.mark.usefixtures("replicated")
def test_a_catalog_holds_its_courses_and_their_runs(django_assert_num_queries: Any) -> None:
    elsewhere = [record for record in recorded("courses") if record["key"] == "GlobeX+B114"]
    refresh.refresh_catalog(OTHER_CATALOG, source=Listing(elsewhere), now=NOW, trigger=RefreshTrigger.CRON)
    orphan = a_run(key="course-v1:NobodyX+N1+1", parent_content_key="NobodyX+N1")
    refresh.refresh_catalog(CATALOG, source=Listing([orphan]), now=NOW, trigger=RefreshTrigger.CRON)

    held = reads.held_by(CATALOG).values_list("content_key", flat=True)
    assert set(held) == {COURSE, *RUNS, orphan["key"]}

    with django_assert_num_queries(1):
        rows = ContentMetadata.objects.annotate(held=in_catalog(OTHER_CATALOG)).values_list(
            "content_key", "held"
        )
        assert {key for key, holds in rows if holds} == {
            "GlobeX+B114",
            *(run["key"] for run in elsewhere[0]["course_runs"]),
        }


@pytest.mark.usefixtures("replicated")
@pytest.mark.on_every_engine
def test_membership_is_learned_as_the_row_is_locked() -> None:
    rows = ContentMetadata.objects.annotate(held=in_catalog(CATALOG)).select_for_update()

    assert rows.values_list("held", flat=True).get(content_key=RUNS[0]) is True


def test_a_course_leads_to_the_link_of_its_own_catalog_and_to_no_other() -> None:
    content = given_content(catalog=CATALOG, links={"enrollment_url": "https://learn.example.org/larkspur"})
    key, other = content.content_key, UUID("00000000-0000-4000-8000-0000000000ff")
    assert reads.courseware_url(key, catalog_uuid=CATALOG) == "https://learn.example.org/larkspur"
    assert reads.courseware_url(key, catalog_uuid=other) == ""


def test_a_run_leads_into_itself_by_the_operators_pattern_also_after_it_has_left(settings: Settings) -> None:
    settings.COURSEWARE_URL = "https://learning.example.org/course/{run}/home"
    content = given_content(catalog=CATALOG, links={"enrollment_url": "https://learn.example.org/larkspur"})
    run = content.advertised_run
    into_run = f"https://learning.example.org/course/{run}/home"

    assert reads.courseware_url(run, catalog_uuid=CATALOG) == into_run
    assert reads.courseware_url(content.content_key, catalog_uuid=CATALOG) == into_run
    CatalogMembership.objects.all().delete()
    assert reads.courseware_url(run, catalog_uuid=CATALOG) == into_run
    assert reads.courseware_url(content.content_key, catalog_uuid=CATALOG) == ""


def test_a_course_without_a_run_leads_to_the_link_of_its_catalog_also_with_a_pattern(
    settings: Settings,
) -> None:
    settings.COURSEWARE_URL = "https://learning.example.org/course/{run}/home"
    links: dict[str, object] = {"enrollment_url": "https://learn.example.org/larkspur"}
    content = given_content(catalog=CATALOG, links=links, with_run=False)

    url = reads.courseware_url(content.content_key, catalog_uuid=CATALOG)
    assert url == "https://learn.example.org/larkspur"
