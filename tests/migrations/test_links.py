"""Links move from shared payloads to the memberships of their catalogs, and back."""

from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps
from django.db import connection

from bursary.replica import reads
from bursary.replica.models import CatalogMembership, ContentMetadata, ContentType
from tests.migrations.test_upgrade import apps_at
from tests.replica.listing import CATALOG, OTHER_CATALOG, Record, a_course
from tests.world import given_content, given_membership

pytestmark = pytest.mark.django_db(transaction=True)

MOVE = import_module("bursary.replica.migrations.0006_move_links_to_their_catalogs")


@pytest.fixture
def course() -> Record:
    """A course and its runs as an earlier release stored them: with the links of the last catalog asked."""
    course = a_course()
    stored = given_content(course["key"], payload=course, fetched_from=f"listing:{CATALOG}", catalog=None)
    for run in course["course_runs"]:
        given_content(
            run["key"],
            payload=run,
            parent=stored,
            content_type=ContentType.COURSERUN,
            fetched_from=f"listing:{CATALOG}",
            catalog=None,
        )
    for catalog in (CATALOG, OTHER_CATALOG):
        given_membership(stored, catalog=catalog)
    return course


def forwards() -> None:
    """Move the links of rows that are there now: how it runs among all others, `test_upgrade` shows."""
    MOVE.fill(apps, SimpleNamespace(connection=connection))


def backwards() -> None:
    MOVE.put_back(apps, SimpleNamespace(connection=connection))


def payloads() -> dict[str, Any]:
    return dict(ContentMetadata.objects.values_list("content_key", "payload"))


def test_links_go_to_the_catalog_that_they_came_from_and_the_way_back_restores_them(course: Record) -> None:
    before = payloads()
    forwards()
    assert reads.courseware_url(course["key"], catalog_uuid=CATALOG) == course["enrollment_url"]
    for run in course["course_runs"]:
        url = run.get("enrollment_url") or run["marketing_url"]
        assert reads.courseware_url(run["key"], catalog_uuid=CATALOG) == url
        assert reads.courseware_url(run["key"], catalog_uuid=OTHER_CATALOG) == ""
    stored = ContentMetadata.objects.get(content_key=course["key"])
    assert reads.record(stored, catalogs=[CATALOG]) == course
    assert payloads() == before  # the release before reads links there

    for row in ContentMetadata.objects.all():  # as they are written from now on
        ContentMetadata.objects.filter(pk=row.pk).update(payload=reads.record(row, catalogs=[]))
    backwards()
    assert payloads() == before


def test_links_that_were_learned_meanwhile_stay(course: Record) -> None:
    learned = {course["key"]: {"enrollment_url": "https://new.example"}}
    CatalogMembership.objects.filter(catalog_uuid=CATALOG).update(links=learned)

    forwards()

    assert CatalogMembership.objects.get(catalog_uuid=CATALOG).links == learned


def test_a_release_that_does_not_know_of_links_goes_on_writing_memberships(course: Record) -> None:
    before = apps_at({"replica": "0004_quarantine_index"})
    CatalogMembership.objects.all().delete()
    content = ContentMetadata.objects.get(content_key=course["key"])
    moment = content.checked_at

    old = before.get_model("replica", "CatalogMembership")
    old._default_manager.create(catalog_uuid=CATALOG, content_id=content.pk, created=moment, seen_at=moment)

    assert CatalogMembership.objects.get().links == {}
