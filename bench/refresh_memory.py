"""What a refresh of a large catalog needs, against one of a tenth of its size: memory, and time.

Usage: `python bench/refresh_memory.py [--courses 100000]`. Makes catalogs and SQLite databases in a temporary
folder; each refresh runs in a process of its own. Prints one JSON line a case, and ends with 1 where the
larger needs more than `LIMIT` times the memory of the smaller.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

CATALOG = UUID("00000000-0000-4000-8000-00000000ca7a")
LIMIT = 1.3
TEXT = "What a course has to say of itself. " * 40
CASES = ("new", "unchanged", "changed", "a tenth missing")


def write_catalog(folder: Path, *, courses: int, title: str = "Course") -> None:
    """Write courses of some two kilobytes, each with one run."""
    with (folder / f"{CATALOG}.jsonl").open("w", encoding="utf-8") as file:
        for number in range(courses):
            terms = {"start_date": "2027-03-01T00:00:00Z", "content_price": 149.0}
            run = f"course-v1:BenchX+C{number:07}+1"
            course = {
                "content_type": "course",
                "key": f"BenchX+C{number:07}",
                "title": f"{title} {number:07}",
                "full_description": TEXT,
                "active": True,
                "course_runs": [{"key": run, "status": "published"}],
                "normalized_metadata": terms,
                "normalized_metadata_by_run": {run: terms},
            }
            file.write(json.dumps(course) + "\n")


def refresh_once(hours: int) -> None:
    """Refresh the configured catalog, in this process, and print what that took."""
    import django  # noqa: PLC0415  # only the child processes have settings

    django.setup()
    from bursary.replica import refresh  # noqa: PLC0415  # needs the settings
    from bursary.replica.models import RefreshSource  # noqa: PLC0415  # needs the settings

    before = time.monotonic()
    report = refresh.refresh_catalog(
        CATALOG,
        source=refresh.configured_source(),
        now=datetime(2026, 11, 22, tzinfo=UTC) + timedelta(hours=hours),
        by=RefreshSource.CRON,
    )
    print(
        json.dumps(
            {
                "records": report.records,
                "created": report.created,
                "changed": report.changed,
                "unanswered": report.unanswered,
                "seconds": round(time.monotonic() - before, 1),
                "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            }
        )
    )


def measure(folder: Path, *, courses: int) -> list[float]:
    """Return the peak memory of each case, in megabytes."""
    environment = os.environ | {
        "BURSARY_VAR_DIR": str(folder),
        "BURSARY_CATALOG_URL": f"file://{folder}/",
        "DJANGO_SETTINGS_MODULE": "bursary.config.settings",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    subprocess.run(
        [sys.executable, "-m", "bursary.config.cli", "migrate", "--verbosity", "0"],
        env=environment,
        check=True,
    )
    peaks: list[float] = []
    for hours, case in enumerate(CASES):
        write_catalog(
            folder,
            courses=courses if hours < 3 else courses * 9 // 10,
            title="Course" if hours < 2 else "New course",
        )
        child = [sys.executable, __file__, "--hours", str(hours)]
        said = subprocess.run(child, env=environment, check=True, capture_output=True, text=True).stdout
        print(json.dumps({"case": case, "courses": courses} | json.loads(said)), flush=True)
        peaks.append(json.loads(said)["peak_mb"])
    return peaks


def main() -> int:
    """Measure both sizes, compare them, and return the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--courses", type=int, default=100_000)
    parser.add_argument("--hours", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.hours is not None:
        refresh_once(chosen.hours)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        few, many = Path(folder, "few"), Path(folder, "many")
        few.mkdir()
        many.mkdir()
        small = measure(few, courses=chosen.courses // 10)
        large = measure(many, courses=chosen.courses)
    ratios = {case: round(more / less, 2) for case, less, more in zip(CASES, small, large, strict=True)}
    print(json.dumps({"ratios": ratios, "limit": LIMIT}))
    return 1 if max(ratios.values()) > LIMIT else 0


if __name__ == "__main__":
    sys.exit(main())
