"""A catalog that serves some courses of `joinable.jsonl`, one of them edited."""

import json
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

from bursary.replica import refresh
from bursary.replica.models import RefreshTrigger
from tests.replica.listing import Listing, Record
from tests.world import CATALOG

CASES = Path(__file__).parent.parent / "data" / "cases" / "joinable.jsonl"
NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
COURSE = "RevX+1"
RUN = "course-v1:RevX+1+R1"

Edit = Callable[[Record], None]
SERVED: list[Record] = [
    record
    for record in map(json.loads, CASES.read_text(encoding="utf-8").splitlines())
    if record["key"] in (COURSE, "SoonX+1", "LateX+1")
]


def serve(edit: Edit | None = None, *, now: datetime, without: str = "", catalog: UUID = CATALOG) -> None:
    """Refresh a catalog, which serves the course, edited, and two others."""
    served = deepcopy(SERVED)
    for record in served:
        if record["key"] == COURSE:
            record["content_last_modified"] = now.isoformat()
            if edit:
                edit(record)
    listing = Listing(one for one in served if one["key"] != without)
    refresh.refresh_catalog(catalog, source=listing, now=now, trigger=RefreshTrigger.CRON)


def of_run(record: Record, **dates: object) -> None:
    for terms_ in (record["normalized_metadata"], record["normalized_metadata_by_run"][RUN]):
        terms_ |= dates


def unpublished(record: Record) -> None:
    record["course_runs"][0] |= {"status": "unpublished", "is_marketable_external": False}


def unmarketable(record: Record) -> None:
    record["course_runs"][0] |= {"is_marketable": False, "is_marketable_external": False}


def without_runs(record: Record) -> None:
    record |= {"course_runs": [], "normalized_metadata_by_run": {}}


def opening_too_late(record: Record) -> None:
    of_run(record, enroll_start_date="2028-01-01T00:00:00Z", end_date="2029-01-01T00:00:00Z")


def over(record: Record) -> None:
    of_run(record, end_date="2026-11-01T00:00:00Z")


def closed(record: Record) -> None:
    of_run(record, enroll_by_date="2026-11-01T00:00:00Z")


def over_with_a_restricted_run(record: Record) -> None:
    over(record)
    restricted = {"key": f"{RUN}-PRIVATE", "uuid": str(uuid4()), "restriction_type": "custom-b2b-enterprise"}
    record["course_runs"].append(record["course_runs"][0] | restricted)
