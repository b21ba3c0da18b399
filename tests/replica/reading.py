"""A catalog over HTTP that is read in one of the modes, by a process that has read nothing before."""

import contextlib
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.core.cache import cache
from pytest_django import Settings

from tests.enterprise_catalog.database import Record
from tests.enterprise_catalog.server import CLIENT_ID, CLIENT_SECRET, Upstream, enterprise_catalog
from tests.world import CATALOG, NOW, PRICE

DAY = timedelta(days=1)
STARTS, CLOSES = NOW + 60 * DAY, NOW + 40 * DAY


@contextlib.contextmanager
def read_over_http(settings: Settings, *records: Record, mode: str) -> Iterator[Upstream]:
    """Serve records from the budgets' catalog, and read them in that mode."""
    with enterprise_catalog(
        records, catalogs={CATALOG: [str(record["key"]) for record in records]}
    ) as upstream:
        settings.CATALOG_URL, settings.OAUTH_URL = upstream.url, upstream.url
        settings.OAUTH_CLIENT_ID, settings.OAUTH_CLIENT_SECRET = CLIENT_ID, CLIENT_SECRET
        settings.UPSTREAM_DEADLINE = timedelta(seconds=5)
        settings.CONTENT_READS = mode
        cache.clear()
        try:
            yield upstream
        finally:
            cache.clear()


def a_course(key: str, *, title: str = "", **terms: Any) -> Record:
    """Return a course at PRICE, as upstream serves one, with a run that is advertised."""
    terms = {
        "start_date": STARTS.isoformat(),
        "end_date": None,
        "enroll_by_date": CLOSES.isoformat(),
        "content_price": PRICE / 100,
    } | terms
    run = {
        "key": run_of(key),
        "uuid": str(UUID(int=7)),
        "title": title or f"About {key}",
        "parent_content_key": key,
        "status": "published",
        "is_marketable": True,
        "is_enrollable": True,
    }
    return {
        "content_type": "course",
        "key": key,
        "title": title or f"About {key}",
        "course_type": "verified-audit",
        "active": True,
        "owners": [{"key": "Riverside", "name": "Riverside School", "uuid": str(UUID(int=8))}],
        "advertised_course_run_uuid": run["uuid"],
        "content_last_modified": NOW.isoformat(),
        "course_runs": [run],
        "normalized_metadata": terms,
        "normalized_metadata_by_run": {run["key"]: terms},
    }


def run_of(key: str) -> str:
    return f"course-v1:{key}+1T2026"


def keys_asked(upstream: Upstream) -> list[list[str]]:
    """Return the keys of each question so far."""
    return [asked.keys for asked in upstream.asked("get_content_metadata")]
