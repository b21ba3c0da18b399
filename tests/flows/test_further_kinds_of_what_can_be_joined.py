"""Courses of the kinds of the recorded cases, at the edges of each rule, through a file and over HTTP."""

import contextlib
import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from pytest_django import Settings

from bursary.access.models import Role
from bursary.assignments.models import LearnerContentAssignment
from bursary.replica import refresh
from bursary.replica.models import ContentMetadata, RefreshTrigger
from tests.api.door import Door, allocating, refusal_of
from tests.enterprise_catalog.server import CLIENT_ID, CLIENT_SECRET, enterprise_catalog
from tests.replica.listing import Record
from tests.world import ALICE, CATALOG, given_api_key, given_budget, given_user

pytestmark = pytest.mark.django_db

CASES = Path(__file__).parents[1] / "data" / "cases" / "joinable.jsonl"
[SOON] = [one for one in map(json.loads, CASES.read_text().splitlines()) if one["key"] == "SoonX+1"]
NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
AGE = NOW + timedelta(days=90)
JOINED, PRICE = "", 7_000


def iso(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def of_run(
    *, opens: datetime | None = None, by: datetime | None = None, ends: datetime | None = None
) -> Record:
    """Return the dates of a run as upstream normalizes them; the start stays."""
    names = {"enroll_start_date": opens, "enroll_by_date": by, "end_date": ends}
    return {name: iso(at) if at else None for name, at in names.items()}


LATER = NOW + timedelta(days=30)
HIDDEN = {"status": "unpublished", "is_marketable": False}
OUTSIDE = {"is_marketable": False, "is_marketable_external": True}
DATED = of_run(by=LATER)
KINDS: dict[str, tuple[Record, Record, str, datetime]] = {
    # The dates of its run, what else the run has; the reason of the refusal; the deadline.
    "ends now": (of_run(ends=NOW), {}, "content_ended", AGE),
    "ends in a second": (of_run(ends=NOW + SECOND), {"is_enrollable": True}, JOINED, NOW + SECOND),
    "closes now": (of_run(by=NOW), {}, "enrollment_not_open_in_time", AGE),
    "closes in a second": (of_run(by=NOW + SECOND), {}, JOINED, NOW + SECOND),
    "opens as it ends": (of_run(opens=AGE), {}, "enrollment_not_open_in_time", AGE),
    "opens just before": (of_run(opens=AGE - SECOND), {}, JOINED, AGE),
    "closes before it opens": (
        of_run(opens=LATER, by=LATER - SECOND),
        {},
        "enrollment_not_open_in_time",
        AGE,
    ),
    "closes as it opens": (of_run(opens=LATER, by=LATER), {}, "enrollment_not_open_in_time", AGE),
    "ends before it opens": (
        of_run(opens=LATER, ends=LATER - SECOND),
        {},
        "enrollment_not_open_in_time",
        AGE,
    ),
    "frozen flag, opened": (of_run(opens=NOW - SECOND), {}, JOINED, AGE),
    "frozen flag, closes": (DATED, {}, JOINED, LATER),
    "frozen flag, no date": (of_run(), {}, "content_not_active", AGE),
    "frozen flag, an end alone": (of_run(ends=LATER), {}, "content_not_active", AGE),
    "flag, no date": (of_run(), {"is_enrollable": True}, JOINED, AGE),
    "flag, closed": (of_run(by=NOW - SECOND), {"is_enrollable": True}, "enrollment_not_open_in_time", AGE),
    "reviewed, outside": (DATED, {"status": "reviewed"} | OUTSIDE, JOINED, LATER),
    "reviewed, inside": (DATED, {"status": "reviewed"}, "content_not_active", AGE),
    "not marketable": (DATED, {"is_marketable": False}, "content_not_active", AGE),
    "archived": (DATED, {"availability": "Archived", "is_marketable": False}, "content_not_active", AGE),
    "unpublished": (DATED, HIDDEN, "content_not_active", AGE),
    "flags null": (DATED, {"is_marketable": None, "is_marketable_external": None}, "content_not_active", AGE),
}


def record(number: int, dates: Record, changes: Record) -> Record:
    """Return the course of a kind, in all three places where upstream has dates."""
    course = deepcopy(SOON)
    key = f"KindX+{number}"
    run_key, uuid = f"course-v1:{key}+R1", f"00000000-0000-4000-8000-00000000{number:02}01"
    own = {"enrollment_start": dates["enroll_start_date"], "enrollment_end": dates["enroll_by_date"]}
    [run] = course["course_runs"]
    run |= own | {"end": dates["end_date"], "key": run_key, "uuid": uuid} | changes
    terms = course["normalized_metadata"] | dates
    made: Record = course | {
        "key": key,
        "uuid": f"00000000-0000-4000-8000-00000000{number:02}00",
        "advertised_course_run_uuid": uuid,
        "normalized_metadata": terms,
        "normalized_metadata_by_run": {run_key: terms},
    }
    return made


def force_included(course: Record) -> Record:
    """Return the course as one that an operator has force-included in the catalog."""
    kept = {name: value for name, value in course.items() if not name.startswith("normalized_metadata")}
    return kept | {"content_type": None, "aggregation_key": None}


RECORDS = {kind: record(number, *edits[:2]) for number, (kind, edits) in enumerate(KINDS.items(), start=10)}


@contextlib.contextmanager
def file(served: list[Record], folder: Path) -> Iterator[dict[str, str]]:
    (folder / "catalog.jsonl").write_text("\n".join(map(json.dumps, served)), encoding="utf-8")
    yield {"CATALOG_URL": (folder / "catalog.jsonl").as_uri()}


@contextlib.contextmanager
def http(served: list[Record], _folder: Path) -> Iterator[dict[str, str]]:
    with enterprise_catalog() as upstream:
        upstream.serve(CATALOG, served)
        access = {"OAUTH_CLIENT_ID": CLIENT_ID, "OAUTH_CLIENT_SECRET": CLIENT_SECRET}
        yield {"CATALOG_URL": upstream.url, "OAUTH_URL": upstream.url} | access


OF_THE_SOURCE = ("id", "fetched_from", "payload", "digest", "served_digest")
SOURCES = [(file, deepcopy), (http, force_included)]
"""Ordinary records of a file, and force-included ones over HTTP."""


def stored() -> dict[str, Record]:
    """Return every column of every row that does not depend on where it came from."""
    columns = [one.attname for one in ContentMetadata._meta.concrete_fields]
    return {
        row["content_key"]: {name: row[name] for name in columns if name not in OF_THE_SOURCE}
        for row in ContentMetadata.objects.values(*columns)
    }


@pytest.fixture
def bring_in(tmp_path: Path, settings: Settings) -> Callable[..., dict[str, Record]]:
    """Return how to read the courses of all kinds from a source."""

    def read(source: Callable[..., Any], shape: Callable[[Record], Record]) -> dict[str, Record]:
        with source([shape(one) for one in RECORDS.values()], tmp_path) as access:
            for name, value in access.items():
                setattr(settings, name, value)
            catalog = refresh.configured_source()
            refresh.refresh_catalog(CATALOG, source=catalog, now=NOW - SECOND, trigger=RefreshTrigger.CRON)
        return stored()

    return read


def test_each_is_stored_alike_by_either_source(bring_in: Callable[..., dict[str, Record]]) -> None:
    before = transaction.savepoint()
    of_a_file = bring_in(*SOURCES[0])
    transaction.savepoint_rollback(before)

    assert len(of_a_file) == 2 * len(KINDS)
    assert bring_in(*SOURCES[1]) == of_a_file


def test_each_is_previewed_allocated_offered_and_redeemed_or_refused_alike(
    bring_in: Callable[..., dict[str, Record]], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.POSTS_PER_MINUTE = 0
    monkeypatch.setattr(timezone, "now", lambda: NOW)
    budget = given_budget(seats=100)
    admin = Door(key=given_api_key(given_user(Role.ADMINISTRATOR, customer=budget.customer)))
    learner = Door(key=given_api_key(given_user(Role.LEARNER, customer=budget.customer, email=ALICE)))
    bring_in(*SOURCES[1])
    for kind, (_dates, _changes, reason, deadline) in KINDS.items():
        key = RECORDS[kind]["key"]
        for content_key in (key, f"course-v1:{key}+R1"):
            asked = {
                "learner_emails": [ALICE],
                "content_key": content_key,
                "content_price_cents": PRICE,
                "allow_another": True,
            }
            preview = admin.post(allocating(budget, dry=True), asked).json()
            assert [one["reason"] for one in preview["refusals"]] == ([reason] if reason else []), kind
            answer = admin.post(allocating(budget), asked)
            if reason:
                assert refusal_of(answer) == (422, reason), kind
                continue
            assert answer.status_code == 202, (kind, answer.content)
            stored = LearnerContentAssignment.objects.get(content_key=content_key)
            assert stored.expires_at == deadline, kind
            body = learner.post(f"policy-redemption/{budget.uuid}/redeem/", {"content_key": content_key})
            assert body.status_code == 200, (kind, body.content)
