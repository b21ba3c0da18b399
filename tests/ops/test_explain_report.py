"""`bursary explain_content`: where each value came from, and when the content is refreshed next."""

import json
import re
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings

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
    out = StringIO()
    try:
        call_command("explain_content", key, *flags, stdout=out)
    except CommandError as refusal:
        return out.getvalue(), str(refusal)
    return out.getvalue(), ""


def reported(key: str = KEY) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(run("--json", key=key)[0])
    return answer


def why(key: str = KEY) -> RefreshReason:
    return RefreshReason(reported(key)["next_look"]["why"])


def given(**columns: Any) -> ContentMetadata:
    columns = {"due_at": NOW + 6 * HOUR, "fresh_until": NOW + 6 * HOUR} | columns
    return world.given_content(KEY, **columns)


def test_each_value_has_its_path_in_the_record_and_its_last_change() -> None:
    terms = {"content_price": 199, "enroll_by_date": "2026-05-01T00:00:00Z"}
    record = {"content_type": "course", "key": KEY, "title": "Tidal Engines", "normalized_metadata": terms}
    content = given(payload=record)
    for number, price in enumerate((100, 150, world.PRICE)):
        ContentChange.objects.create(
            content=content,
            field="price_cents",
            old=number,
            new=price,
            trigger="event",
            created=NOW + number * HOUR,
        )

    values = {one["field"]: one for one in reported()["values"]}

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


def test_columns_of_runs_have_no_value_for_a_course() -> None:
    course = given(with_run=False)
    run_key = "course-v1:Tides+1"
    world.given_content(run_key, parent=course, content_type=ContentType.COURSERUN)

    ContentMetadata.objects.filter(content_key=run_key).update(offered=True, enrollable=False)

    of_runs = ("offered", "enrollable")
    for key, expected in ((KEY, [None, None]), (run_key, [True, False])):
        values = {one["field"]: one["value"] for one in reported(key)["values"]}
        assert [values[name] for name in of_runs] == expected
    lines = [line.split() for line in run()[0].splitlines()]
    assert [line[line.index(name) + 2] for name in of_runs for line in lines if name in line] == ["-", "-"]


def test_the_row_its_catalogs_and_its_runs_are_reported_as_text_and_json() -> None:
    content = given(
        with_run=False,
        quarantined_digest="f" * 64,
        last_error="key_missing: No key.",
        fetched_from="folder:x",
        change_announced_at=NOW,
    )
    world.given_content("course-v1:Tides+1", parent=content, content_type=ContentType.COURSERUN, catalog=None)
    CatalogMembership.objects.update(missing_since=NOW)
    ContentChange.objects.create(
        content=content, field="membership", old=str(CATALOG), new=None, trigger="cron", created=NOW
    )

    report = reported()
    assert report["row"]["quarantined_digest"] == "f" * 64
    assert datetime.fromisoformat(report["row"]["expected_since"]) == NOW
    assert report["catalogs"] == [
        {
            "catalog_uuid": str(CATALOG),
            "named_by": "",
            "seen_at": "2026-03-02T09:00:00Z",
            "missing_since": "2026-03-02T09:00:00Z",
        }
    ]
    assert report["runs"] == ["course-v1:Tides+1"]
    assert [one["field"] for one in report["other_changes"]] == ["membership"]
    text, _error = run()
    for expected in (
        "Tidal Engines",
        "key_missing: No key.",
        "folder:x",
        "course-v1:Tides+1",
        "missing since",
    ):
        assert expected in text


def test_open_assignments_are_counted_and_bring_the_next_refresh_forward() -> None:
    content = given()
    budget = world.given_budget()
    world.allocate(budget, content, *world.addresses(3))

    report = reported()

    assert report["open_assignments"] == 3
    assert report["next_look"]["at"] == "2026-03-02T15:00:00Z"
    assert report["next_look"]["brought_forward_at"] == "2026-03-02T10:00:00Z"
    assert (
        "Next refresh: 2026-03-02 10:00:00 UTC, as open assignments depend on it; without them "
        "2026-03-02 15:00:00 UTC (every 6 hours)." in run()[0]
    )


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({}, RefreshReason.ORDINARY),
        ({"active": False}, RefreshReason.INACTIVE),
        ({"enroll_by": NOW + 48 * HOUR}, RefreshReason.SOON),
        ({"due_at": None}, RefreshReason.WHEN_ASKED_FOR),
        ({"due_at": NOW - HOUR}, RefreshReason.DUE),
        ({"gone_at": NOW}, RefreshReason.GONE),
        ({"change_announced_at": NOW}, RefreshReason.AWAITED),
        ({"failures": 3, "due_at": NOW + HOUR}, RefreshReason.FAILED),
        ({"failures": 1, "quarantined_digest": "0" * 64}, RefreshReason.QUARANTINED),
        ({"failures": 1, "quarantined_digest": "0" * 64, "due_at": NOW + HOUR}, RefreshReason.QUARANTINED),
    ],
)
def test_the_reason_for_the_next_refresh_is_the_first_that_applies(
    columns: dict[str, Any], expected: RefreshReason
) -> None:
    given(**columns)

    assert why() == expected
    assert re.search(r"Next refresh: (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC|not scheduled) \(", run()[0])


def test_content_that_a_lookup_by_key_did_not_find_is_refreshed_to_confirm_it() -> None:
    given()
    CatalogMembership.objects.update(missing_since=NOW)
    assert why() == RefreshReason.MISSING


def test_the_longest_wait_after_failures_is_reported() -> None:
    given(failures=3, due_at=NOW + timedelta(minutes=2), last_error="catalog_unavailable: down")
    assert reported()["next_look"]["longest_pause_seconds"] == 240
    assert "3 refreshes in a row failed; the wait is at most 4 minutes" in run()[0]


@pytest.mark.parametrize(
    ("interval", "words"),
    [(HOUR, "every hour"), (6 * HOUR, "every 6 hours"), (HOUR / 40, "every 90 seconds")],
)
def test_the_interval_of_refreshes_is_in_words(interval: timedelta, words: str, settings: Settings) -> None:
    settings.CONTENT_FRESHNESS = settings.CONTENT_FRESHNESS | {"ordinary": interval}
    given()
    assert f"({words})." in run()[0]


def test_the_partners_are_named_in_full() -> None:
    partners = ", ".join(f"Institute of Applied Mechanics {number}" for number in range(1, 6))
    given(partner_names=partners)
    cells = [line.split("│")[2].strip() for line in run()[0].splitlines() if line.count("│") == 5]
    assert partners in " ".join(cells)


@pytest.mark.parametrize("columns", ["60", "118", ""])
def test_no_value_and_no_path_of_a_value_is_cut(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    record = {"content_type": "course", "key": KEY, "title": "Tides", "normalized_metadata": {}}
    course = given(payload=record, image_url=f"https://images.example/{'i' * 200}.png", digest="d" * 64)
    ContentChange.objects.create(
        content=course, field="title", old="o" * 90, new="n" * 90, created=NOW, trigger="cron"
    )
    rows = [line.split("│") for line in run()[0].splitlines() if "│" in line]
    text = "".join(row[place].strip() for place in range(1, 5) for row in rows if place < len(row))
    for whole in (f"{'i' * 200}.png", "d" * 64, "o" * 90, "n" * 90, "normalized_metadata.enroll_start_date"):
        assert whole in text


def test_the_error_of_quarantined_content_is_reported() -> None:
    given(failures=1, quarantined_digest="0" * 64, last_error="unknown_content_type: A record's is one of …")
    text = " ".join(run()[0].split())
    assert "upstream's newest record could not be used and is tried again when it has changed" in text
    assert "the last error was unknown_content_type: A record's is one of …" in text


def test_a_run_is_refreshed_with_its_course() -> None:
    course = given()
    run_key = "course-v1:RiversideX+Tides+1"
    world.given_content(run_key, parent=course, content_type=ContentType.COURSERUN, catalog=None, due_at=None)

    assert why(run_key) == RefreshReason.WITH_COURSE
    assert reported(run_key)["catalogs"][0]["catalog_uuid"] == str(CATALOG)
    assert f"with its course {KEY}" in run(key=run_key)[0]


def test_an_unknown_key_is_reported_with_remembered_answers_and_what_to_do() -> None:
    text, refusal = run()
    assert (text, refusal[:48]) == ("", f"There is no content {KEY} in the replica."[:48])
    assert f"`bursary refresh_content --key {KEY}` asks for it now" in refusal

    ColdRead.objects.create(
        catalog_uuid=CATALOG,
        content_key=KEY,
        status=ColdReadStatus.ABSENT,
        asked_at=NOW,
        due_at=NOW + HOUR / 6,
    )
    assert f"Catalog {CATALOG} did not have it at 2026-03-02 09:00:00 UTC" in run()[1]
    assert reported()["remembered"][0]["answer"] == "absent"
    ColdRead.objects.update(due_at=NOW)
    assert reported() == {"content_key": KEY, "known": False, "remembered": []}


def test_spaces_around_a_key_are_left_out_and_a_key_with_spaces_is_quoted_to_be_copied() -> None:
    assert f"`bursary refresh_content --key {KEY}` asks for it now" in run(key=f" {KEY} ")[1]
    assert reported(f" {KEY} ") == {"content_key": KEY, "known": False, "remembered": []}
    assert "`bursary refresh_content --key 'no key'` asks for it now" in run(key="no key")[1]
    given()
    assert reported(f" {KEY} ")["content_key"] == KEY


def test_the_count_of_open_assignments_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain_report, "MAX_COUNTED", 2)
    world.allocate(world.given_budget(), given(), *world.addresses(5))
    assert reported()["open_assignments"] == 2
