"""Content of one row a key, its runs held by their courses, becomes content by variant, and back again.

It is that of release 0.1, which is upgraded here with all else that was recorded of it.
"""

import json
from copy import deepcopy
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone

from bursary.catalog import parser
from bursary.lib import leases
from bursary.replica.models import CatalogListing, CatalogMembership, ContentChange, ContentMetadata
from tests.upgrades.recording import load
from tests.upgrades.test_upgrade import RELEASE_0_1, check_everything, migrate
from tests.world import CATALOG

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.takes_long]

OTHER_CATALOG = UUID("00000000-0000-4000-8000-00000000ca7b")
CONTENT, MEMBERSHIP = "replica.ContentMetadata", "replica.CatalogMembership"
CHANGE = "replica.ContentChange"
BEFORE = [("replica", "0001_content_replica")]
UNNAMED = [("replica", "0004_courses_by_key_alone")]
"""Before changes of membership got their catalog."""


@pytest.fixture
def recording(no_tables: None) -> dict[str, Any]:
    """Return a recording in which another catalog holds all courses, and the first has a restricted run.

    In it are changes as they were when none of a membership named its catalog.
    """
    recorded: dict[str, Any] = json.loads(RELEASE_0_1.read_text(encoding="utf-8"))
    rows = {row["id"]: row for row in recorded["rows"][CONTENT]}
    course = next(row for row in rows.values() if row["content_type"] == "course")
    restricted = next(row for row in rows.values() if row["parent_id"] == course["id"])
    for run in (restricted["payload"], *course["payload"]["course_runs"]):
        if run["key"] == restricted["content_key"]:
            run["restriction_type"] = "custom-b2b-enterprise"
    held = deepcopy(recorded["rows"][MEMBERSHIP])
    for number, row in enumerate(held):
        row |= {"id": 1000 + number, "catalog_uuid": str(OTHER_CATALOG), "links": {}}
    recorded["rows"][MEMBERSHIP] += held
    changes = [
        ("membership", str(CATALOG), None),
        ("membership", None, str(OTHER_CATALOG)),
        ("title", "", "T"),
    ]
    recorded["rows"][CHANGE] += [
        recorded["rows"][CHANGE][0] | {"id": 1000 + number, "field": field, "old": old, "new": new}
        for number, (field, old, new) in enumerate(changes)
    ]
    recorded["restricted"] = restricted
    return recorded


def test_release_0_1_migrates_with_everything_and_runs_and_changes_get_what_they_name_and_back_again(
    recording: dict[str, Any],
) -> None:
    """Each step takes seconds, so one way there and back is for all of it."""
    then = list(recording["migrations"].items())
    executor = migrate(then)
    load(recording, apps=executor.loader.project_state(then).apps)
    rows = {row["id"]: row for row in recording["rows"][CONTENT]}
    changes = ContentChange.objects.order_by("-pk").values_list("catalog_uuid", flat=True)[:3]

    migrate(executor.loader.graph.leaf_nodes())

    check_everything(recording)
    assert [*changes.all()] == [None, OTHER_CATALOG, CATALOG]
    check_content(rows)
    restricted = ContentMetadata.objects.get(pk=recording["restricted"]["id"])
    course = ContentMetadata.objects.get(content_key=restricted.parent_key)
    assert course.variant == parser.parse(course.payload).variant != ""
    assert ContentMetadata.objects.exclude(variant="").count() == 1
    assert [one.catalog_uuid for one in restricted.memberships.all()] == [CATALOG]
    ordinary = ContentMetadata.objects.filter(parent_key=course.content_key).exclude(pk=restricted.pk)
    assert {one.memberships.count() for one in ordinary} == {2}
    [listed] = recording["rows"]["replica.CatalogListing"]
    assert CatalogListing.objects.filter(due_at__gt=listed["due_at"]).count() == 1  # due now, and not later
    assert leases.count_due(CatalogListing.objects.all(), now=timezone.now()) == 1

    migrate(UNNAMED)
    assert [*changes.all()] == [None, None, None]
    executor = migrate(BEFORE)

    then_rows = executor.loader.project_state(BEFORE).apps.get_model("replica", "ContentMetadata").objects
    for row in then_rows.all():
        assert (row.content_key, row.parent_id) == (rows[row.pk]["content_key"], rows[row.pk]["parent_id"])
    held = executor.loader.project_state(BEFORE).apps.get_model("replica", "CatalogMembership").objects
    recorded = {row["id"]: row["links"] for row in recording["rows"][MEMBERSHIP]}
    courses = dict(held.exclude(content__content_type="courserun").values_list("pk", "links"))
    assert courses == {pk: recorded[pk] for pk in courses}
    assert not held.filter(content__content_type="courserun").exists()


def check_content(rows: dict[int, dict[str, Any]]) -> None:
    """Every run refers to its course by key, with the links that were its own."""
    for run in ContentMetadata.objects.filter(content_type="courserun"):
        course = rows.get(rows[run.pk]["parent_id"])
        assert run.parent_key == (course["content_key"] if course else "")
        if course:
            recorded = next(
                one for one in parser.parse(course["payload"]).runs if one.content_key == run.content_key
            )
            assert (run.offered, run.enrollable) == (recorded.offered, recorded.enrollable)
    for one in CatalogMembership.objects.filter(catalog_uuid=CATALOG).select_related("content"):
        assert set(one.links) <= {"enrollment_url", "marketing_url", "xapi_activity_id"}
        assert one.via_course == one.content.parent_key
    assert (
        CatalogMembership.objects.filter(links={}, catalog_uuid=CATALOG, content__parent_key__gt="").count()
        == 0
    )
