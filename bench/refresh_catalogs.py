"""What a full refresh of many catalogs needs over HTTP: requests, memory and rows.

Usage: `make catalogs`, or `python -m bench.refresh_catalogs [--catalogs 50] [--courses 2000] [--step 2000]`.
A catalog begins `--step` courses after the one before: with fewer than `--courses`, neighbours share some.
One course in a hundred has a restricted run, which every other catalog may have. Prints one JSON line a case,
and ends with 1 where there are more than `MAX_ROWS` rows for each distinct course and run, or more requests
than one for the keys of each catalog and one for every fifty records.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import django

from bench.refresh_memory import Catalog, installed, peak_mb, served

MAX_ROWS = 1.05
RECORDS_A_REQUEST = 50
RESTRICTED = 100
"""One course in so many has a restricted run."""
CASES = ("new", "unchanged")


@dataclass
class Catalogs(Catalog):
    """Overlapping catalogs of `courses` each. `asked` counts requests by the last part of their path."""

    step: int = 0
    asked: Counter[str] = field(default_factory=Counter)

    def answer(self, path: str, *, keys: list[str]) -> object:
        """Return what enterprise-catalog says at an address, of the catalog that the address names."""
        self.asked[path.rpartition("/")[2]] += 1
        named = re.search(r"enterprise-catalogs/([-0-9a-f]+)/", path)
        if named is None:
            return super().answer(path, keys=keys)
        catalog = UUID(named.group(1)).int - 1
        first = catalog * self.step
        if path.endswith("/generate_diff"):
            held = [{"content_key": f"BenchX+C{first + number:07}"} for number in range(self.courses)]
            return {"items_not_found": [], "items_found": [], "items_not_included": held}
        numbers = [int(key.removeprefix("BenchX+C")) for key in keys]
        found = [self._served(number, restricted=catalog % 2 == 1) for number in numbers]
        return {"count": len(found), "next": None, "previous": None, "results": found}

    def _served(self, number: int, *, restricted: bool) -> dict[str, Any]:
        record: dict[str, Any] = self.course(number)
        if restricted and number % RESTRICTED == 0:
            run = f"course-v1:BenchX+C{number:07}+restricted"
            record["course_runs"] += [
                {"key": run, "status": "published", "restriction_type": "custom-b2b-enterprise"}
            ]
            record["normalized_metadata"] = record["normalized_metadata"] | {"content_price": 199.0}
            record["normalized_metadata_by_run"][run] = record["normalized_metadata"]
        return record


def refresh_all(hours: int, *, catalogs: int) -> None:
    """Refresh every catalog, in this process, and print what that took and left."""
    django.setup()
    from bursary.replica import refresh  # noqa: PLC0415  # needs the settings
    from bursary.replica.models import ContentMetadata, RefreshTrigger  # noqa: PLC0415  # needs the settings

    before, records = time.monotonic(), 0
    for catalog in range(catalogs):
        report = refresh.refresh_catalog(
            UUID(int=catalog + 1),
            source=refresh.configured_source(),
            now=datetime(2026, 11, 27, tzinfo=UTC) + timedelta(hours=hours, minutes=catalog),
            trigger=RefreshTrigger.CRON,
        )
        records += report.records
    seconds, peak = round(time.monotonic() - before, 1), peak_mb()
    rows = ContentMetadata.objects.order_by()
    print(
        json.dumps(
            {
                "records": records,
                "rows": rows.count(),
                "distinct": rows.values("content_key").distinct().count(),
                "seconds": seconds,
                "peak_mb": peak,
            }
        )
    )


def measure(folder: Path, upstream: Catalogs, *, catalogs: int) -> bool:
    """Print the figures of each case; return whether all are within the bounds."""
    most = catalogs * (1 + -(-upstream.courses // RECORDS_A_REQUEST))
    within = True
    with served(upstream) as url:
        environment = installed(folder, url=url)
        for hours, case in enumerate(CASES):
            upstream.asked.clear()
            child = [sys.executable, __file__, "--hours", str(hours), "--catalogs", str(catalogs)]
            printed = subprocess.run(child, env=environment, check=True, stdout=subprocess.PIPE).stdout
            asked = upstream.asked["generate_diff"] + upstream.asked["get_content_metadata"]
            measured = {"case": case, "step": upstream.step, "requests": asked} | json.loads(printed)
            print(json.dumps(measured), flush=True)
            within &= asked <= most and measured["rows"] <= MAX_ROWS * measured["distinct"]
    return within


def main() -> int:
    """Measure, and return the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--catalogs", type=int, default=50)
    parser.add_argument("--courses", type=int, default=2000)
    parser.add_argument("--step", type=int, default=2000)
    parser.add_argument("--hours", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.hours is not None:
        refresh_all(chosen.hours, catalogs=chosen.catalogs)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        upstream = Catalogs(chosen.courses, step=chosen.step)
        return 0 if measure(Path(folder), upstream, catalogs=chosen.catalogs) else 1


if __name__ == "__main__":
    sys.exit(main())
