"""What a refresh of a large catalog over HTTP needs, against one of a tenth of its size: memory, and time.

Usage: `make memory`, or `python bench/refresh_memory.py [--courses 100000]`. The catalog is served on
loopback by this process; each refresh runs in one of its own, on SQLite in a temporary folder. Prints one
JSON line a case, and ends with 1 where the larger needs more than `LIMIT` times the memory of the smaller.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import django

CATALOG = UUID("00000000-0000-4000-8000-00000000ca7a")
LIMIT = 1.3
TEXT = "What a course has to say of itself. " * 100
CASES = ("new", "unchanged", "changed", "a tenth missing")


@dataclass
class Catalog:
    """What is served: that many courses of some four kilobytes, each with one run."""

    courses: int
    title: str = "Course"

    def answer(self, path: str, *, keys: list[str]) -> object:
        """Return what enterprise-catalog says at an address, the token endpoint's included."""
        if path.endswith("/access_token"):
            return {"access_token": "of-the-bench", "expires_in": 36_000, "token_type": "JWT"}
        if path.endswith("/generate_diff"):
            held = [{"content_key": f"BenchX+C{number:07}"} for number in range(self.courses)]
            return {"items_not_found": [], "items_found": [], "items_not_included": held}
        numbers = [int(key.removeprefix("BenchX+C")) for key in keys]
        found = [self.course(number) for number in numbers if number < self.courses]
        return {"count": len(found), "next": None, "previous": None, "results": found}

    def course(self, number: int) -> dict[str, object]:
        terms = {"start_date": "2027-03-01T00:00:00Z", "content_price": 149.0}
        run = f"course-v1:BenchX+C{number:07}+1"
        return {
            "content_type": "course",
            "key": f"BenchX+C{number:07}",
            "title": f"{self.title} {number:07}",
            "full_description": TEXT,
            "active": True,
            "course_runs": [{"key": run, "status": "published"}],
            "normalized_metadata": terms,
            "normalized_metadata_by_run": {run: terms},
        }


@contextlib.contextmanager
def served(catalog: Catalog) -> Iterator[str]:
    """Answer on loopback for the duration, and yield the address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:  # http.server's name for it
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = urlsplit(self.path)
            keys = parse_qs(asked.query).get("content_keys", [])
            body = json.dumps(catalog.answer(asked.path.rstrip("/"), keys=keys)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815  # http.server's name for it

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


def peak_mb() -> float:
    """Return the most memory that this process had. Not `ru_maxrss`: that begins with the parent's."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    kilobytes = next(line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return round(int(kilobytes) / 1024, 1)


def refresh_once(hours: int) -> None:
    """Refresh the configured catalog, in this process, and print what that took."""
    django.setup()
    from bursary.replica import refresh  # noqa: PLC0415  # needs the settings
    from bursary.replica.models import RefreshTrigger  # noqa: PLC0415  # needs the settings

    before = time.monotonic()
    report = refresh.refresh_catalog(
        CATALOG,
        source=refresh.configured_source(),
        now=datetime(2026, 11, 22, tzinfo=UTC) + timedelta(hours=hours),
        trigger=RefreshTrigger.CRON,
    )
    print(
        json.dumps(
            {
                "records": report.records,
                "created": report.created,
                "changed": report.changed,
                "unanswered": report.missing,
                "seconds": round(time.monotonic() - before, 1),
                "peak_mb": peak_mb(),
            }
        )
    )


def installed(folder: Path, *, url: str) -> dict[str, str]:
    """Migrate a database in the folder; return the environment of processes that use it and this upstream."""
    environment = os.environ | {
        "BURSARY_VAR_DIR": str(folder),
        "BURSARY_CATALOG_URL": url,
        "BURSARY_OAUTH_URL": url,
        "BURSARY_OAUTH_CLIENT_ID": "bench",
        "BURSARY_OAUTH_CLIENT_SECRET": "no secret",
        "DJANGO_SETTINGS_MODULE": "bursary.config.settings",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    migrate = [sys.executable, "-m", "bursary.config.cli", "migrate", "--verbosity", "0"]
    subprocess.run(migrate, env=environment, check=True)
    return environment


def measure(folder: Path, *, courses: int) -> list[float]:
    """Return the peak memory of each case, in megabytes."""
    catalog = Catalog(courses)
    with served(catalog) as url:
        environment = installed(folder, url=url)
        peaks: list[float] = []
        for hours, case in enumerate(CASES):
            catalog.title = "New course" if case == "changed" else catalog.title
            catalog.courses = courses * 9 // 10 if case == "a tenth missing" else courses
            child = [sys.executable, __file__, "--hours", str(hours)]
            said = json.loads(
                subprocess.run(child, env=environment, check=True, stdout=subprocess.PIPE).stdout
            )
            print(json.dumps({"case": case, "courses": courses} | said), flush=True)
            peaks.append(said["peak_mb"])
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
