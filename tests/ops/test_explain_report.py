"""`bursary explain_content`: where every value came from, and when somebody looks next."""

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from bursary.ops import explain_report
from bursary.replica.explain import RefreshReason
from bursary.replica.models import (
    CatalogMembership,
    ColdRead,
    ColdReadStatus,
    ContentChange,
    ContentMetadata,
    ContentType,
)
from tests import world
from tests.world import CATALOG, NOW

pytestmark = pytest.mark.django_db

KEY = "RiversideX+Tides"
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timezone, "now", lambda: NOW)


def run(*flags: str, key: str = KEY) -> tuple[str, str]:
    said = StringIO()
    try:
        call_command("explain_content", key, *flags, stdout=said)
    except CommandError as refusal:
        return said.getvalue(), str(refusal)
    return said.getvalue(), ""


def told(key: str = KEY) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(run("--json", key=key)[0])
    return answer


def why(key: str = KEY) -> RefreshReason:
    return RefreshReason(told(key)["next_look"]["why"])


def given(**columns: Any) -> ContentMetadata:
    columns = {"due_at": NOW + 6 * HOUR, "fresh_until": NOW + 6 * HOUR} | columns
    return world.given_content(KEY, **columns)


def test_each_value_is_told_with_its_origin_and_its_last_change() -> None:
    content = given(payload={"title": "Tidal Engines", "normalized_metadata": {"content_price": 199}})
    for number, price in enumerate((100, 150, world.PRICE)):
        ContentChange.objects.create(
            content=content,
            field="price_cents",
            old=number,
            new=price,
            source="event",
            created=NOW + number * HOUR,
        )

    values = {one["field"]: one for one in told()["values"]}

    assert values["price_cents"] == {
        "field": "price_cents",
        "value": world.PRICE,
        "read_from": "normalized_metadata.content_price",
        "changed": {
            "field": "price_cents",
            "old": 2,
            "new": world.PRICE,
            "source": "event",
            "created": "2026-03-02T11:00:00Z",
        },
    }
    assert values["title"]["changed"] is None
    assert values["enroll_by"]["read_from"] == "normalized_metadata.enroll_by_date"


def test_the_rows_own_story_is_told_for_people_and_programs() -> None:
    content = given(quarantined_digest="f" * 64, last_error="key_missing: No key.", fetched_from="folder:x")
    world.given_content("course-v1:Tides+1", parent=content, content_type=ContentType.COURSERUN, catalog=None)
    CatalogMembership.objects.update(missing_since=NOW)
    ContentChange.objects.create(
        content=content, field="membership", old=str(CATALOG), new=None, source="cron", created=NOW
    )

    story = told()
    assert story["row"]["quarantined_digest"] == "f" * 64
    assert story["catalogs"] == [
        {
            "catalog_uuid": str(CATALOG),
            "seen_at": "2026-03-02T09:00:00Z",
            "missing_since": "2026-03-02T09:00:00Z",
        }
    ]
    assert story["runs"] == ["course-v1:Tides+1"]
    assert [one["field"] for one in story["other_changes"]] == ["membership"]
    said, _why = run()
    for expected in (
        "Tidal Engines",
        "key_missing: No key.",
        "folder:x",
        "course-v1:Tides+1",
        "missing since",
    ):
        assert expected in said


def test_open_assignments_are_counted_and_bring_the_next_look_forward() -> None:
    content = given()
    budget = world.given_budget()
    world.allocate(budget, content, *world.addresses(3))

    story = told()

    assert story["open_assignments"] == 3
    assert story["next_look"]["at"] == "2026-03-02T15:00:00Z"
    assert story["next_look"]["brought_forward_at"] == "2026-03-02T10:00:00Z"
    assert "Brought forward to 2026-03-02 10:00:00: open assignments depend on it." in run()[0]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({}, RefreshReason.ORDINARY),
        ({"active": False}, RefreshReason.INACTIVE),
        ({"enroll_by": NOW + 48 * HOUR}, RefreshReason.SOON),
        ({"due_at": None}, RefreshReason.WHEN_ASKED_FOR),
        ({"due_at": NOW - HOUR}, RefreshReason.WANTED),
        ({"gone_at": NOW}, RefreshReason.GONE),
        ({"expected_since": NOW}, RefreshReason.AWAITED),
        ({"failures": 3, "due_at": NOW + HOUR}, RefreshReason.FAILED),
        ({"failures": 1, "quarantined_digest": "0" * 64}, RefreshReason.QUARANTINED),
        ({"failures": 1, "quarantined_digest": "0" * 64, "due_at": NOW + HOUR}, RefreshReason.QUARANTINED),
    ],
)
def test_the_reason_for_the_next_look_is_the_first_that_fits(
    columns: dict[str, Any], expected: RefreshReason
) -> None:
    given(**columns)

    assert why() == expected
    assert "Next look: " in run()[0]


def test_what_a_catalog_did_not_have_is_looked_at_to_be_sure() -> None:
    given()
    CatalogMembership.objects.update(missing_since=NOW)
    assert why() == RefreshReason.MISSING


def test_a_pause_after_failures_says_how_long_it_may_be() -> None:
    given(failures=3, due_at=NOW + timedelta(minutes=2), last_error="catalog_unavailable: down")
    assert told()["next_look"]["longest_pause_seconds"] == 240
    assert "3 looks in a row failed; the pause is at most 0:04:00" in run()[0]


def test_what_is_in_quarantine_says_so_and_why() -> None:
    given(failures=1, quarantined_digest="0" * 64, last_error="unknown_content_type: A record's is one of …")
    said = " ".join(run()[0].split())
    assert "upstream's newest record could not be used and is tried again when it has changed" in said
    assert "the last error was unknown_content_type: A record's is one of …" in said


def test_a_run_is_looked_at_with_its_course() -> None:
    course = given()
    run_key = "course-v1:RiversideX+Tides+1"
    world.given_content(run_key, parent=course, content_type=ContentType.COURSERUN, catalog=None, due_at=None)

    assert why(run_key) == RefreshReason.WITH_COURSE
    assert told(run_key)["catalogs"][0]["catalog_uuid"] == str(CATALOG)
    assert f"with its course {KEY}" in run(key=run_key)[0]


def test_an_unknown_key_says_so_what_is_remembered_and_what_to_do() -> None:
    said, refusal = run()
    assert (said, refusal[:48]) == ("", f"There is no content {KEY} in the replica."[:48])
    assert f"`bursary refresh_content --key {KEY}` asks for it now" in refusal

    ColdRead.objects.create(
        catalog_uuid=CATALOG,
        content_key=KEY,
        answer=ColdReadStatus.ABSENT,
        asked_at=NOW,
        due_at=NOW + HOUR / 6,
    )
    assert f"Catalog {CATALOG} did not have it at 2026-03-02 09:00:00 UTC" in run()[1]
    assert told()["remembered"][0]["answer"] == "absent"
    ColdRead.objects.update(due_at=NOW)
    assert told() == {"content_key": KEY, "known": False, "remembered": []}


def test_counting_those_who_depend_on_it_ends_somewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain_report, "MOST_COUNTED", 2)
    world.allocate(world.given_budget(), given(), *world.addresses(5))
    assert told()["open_assignments"] == 2
