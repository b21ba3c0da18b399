"""What `bench/modes.py` asks for, and the catalog in the replica."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

from django.conf import settings

from bench import allocate, credits, lists
from bench.refresh_memory import CATALOG
from bursary.replica import refresh
from bursary.replica.models import ContentMetadata, RefreshTrigger
from tests import world

LEARNERS = 10
"""Of an allocation."""


class Stage:
    """One organisation: learners with 1, 50 and 200 assignments, a list of 100, and a course to allocate."""

    def __init__(self) -> None:
        now, found = datetime.now(UTC), ContentMetadata.objects.filter(content_type="course")
        courses = list(found.order_by("content_key"))
        self.learners = credits.Stage(courses=courses)
        self.list = lists.Stage(0)
        for number, course in enumerate(courses[: lists.SIZE]):
            world.allocate(self.list.budget, course, f"learner-{number}@many.example", now=now)
        world.deliver(now=now)
        self.allocation = allocate.Stage(now=now, content=courses[0])

    def requests(self) -> dict[str, Callable[[], object]]:
        """Return what is asked for, by name."""
        dashboards = {
            f"credits, {count}": partial(self.learners.ask, count, None) for count in self.learners.clients
        }
        return {**dashboards, "list of 100": self.page, f"allocation to {LEARNERS}": self.allocate}

    def allocate(self) -> None:
        """Allocate to learners that have nothing yet."""
        self.allocation.request(allocate.fresh(LEARNERS))

    def page(self) -> None:
        """Ask for a page of 100 assignments, each of another course."""
        rows = self.list.page("read", page_size=100)["results"]
        if len({row["content_metadata"]["title"] for row in rows}) != len(rows):
            raise RuntimeError("Content is missing.")


def prepare(upstream_url: str, *, courses: int) -> None:
    """Name the catalog in the settings, and bring it into the replica."""
    settings.CATALOG_URL = settings.OAUTH_URL = upstream_url
    settings.OAUTH_CLIENT_ID, settings.OAUTH_CLIENT_SECRET = "bench", "no secret"
    settings.UPSTREAM_DEADLINE = settings.CONTENT_READ_DEADLINE = timedelta(seconds=30)
    source, now = refresh.configured_source(), datetime.now(UTC)
    report = refresh.refresh_catalog(CATALOG, source=source, now=now, trigger=RefreshTrigger.CRON)
    if report.created < courses:
        raise RuntimeError(str(report))
