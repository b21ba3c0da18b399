"""Two organisations, and restricted runs that the catalog of one alone may have."""

import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from uuid import UUID

import pytest
from django.db.models import QuerySet
from django.utils import timezone
from pytest_django import Settings

from bursary.access.models import Role, User
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from tests.replica.serving import (
    ALLOWED,
    HOUR,
    MOVE,
    NOW,
    ONLY,
    ORDINARY,
    PRIV,
    PRIVATE_RUN,
    Catalogs,
    row_of,
)
from tests.world import allocate, deliver, given_budget, given_customer, given_user

CENTS = 73_519
"""What the restricted run costs: as no row's number, count or time of these tests is written."""
RESTRICTED = {
    "its key": r"\+PRIV\b",
    "its uuid": "00000000-0000-4000-8000-000000000002",
    "its price": r"(?<![\d.])735(\.19|19)(?!\.?\d)",
    "its dates": r"2027-12-05|\b5 December 2027|2027-11-15|15 November 2027|2028-01-01|\b1 January 2028",
}
"""Patterns of text for programs and for people that shows the restricted runs."""
OTHER = {"its name": "Thistle", "its learners": r"@thistle\.example", "its catalog": str(ALLOWED)}
"""Patterns of what shows the organisation that may have them."""
_RANDOM = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|/a/[\w:.-]+|csrfmiddlewaretoken[^>]*>|[\w-]{32,}"
)
"""Text without content, in which a price may be found by chance."""


@dataclass
class Organisation:
    """One of the two: its budget, its administrator and its learner."""

    budget: Budget
    administrator: User
    learner: User
    seen: list[tuple[str, str]] = field(default_factory=list)
    """Each question, and all of its answer."""

    @classmethod
    def of(cls, name: str, *, catalog: UUID, lms_user_id: int) -> "Organisation":
        customer = given_customer(name=name)
        budget = given_budget(customer=customer, catalog_uuid=catalog, allocation_age_days=3650)
        host = f"{name.split()[0].lower()}.example"
        administrator = given_user(Role.ADMINISTRATOR, customer=customer, email=f"ada@{host}")
        learner = given_user(Role.LEARNER, customer=customer, email=f"lee@{host}", lms_user_id=lms_user_id)
        return cls(budget, administrator, learner)

    @property
    def host(self) -> str:
        return self.learner.email.partition("@")[2]

    def assign(self, key: str, cents: int, *, name: str = "lee") -> LearnerContentAssignment:
        content = row_of(self.budget.catalog_uuid, key)
        allocate(self.budget, content, f"{name}@{self.host}", now=timezone.now(), price_cents=cents)
        return self.assignments().latest("pk")

    def assignments(self) -> QuerySet[LearnerContentAssignment]:
        return LearnerContentAssignment.objects.filter(budget=self.budget).order_by("pk")

    def found(self, patterns: dict[str, str]) -> dict[str, str]:
        """Return which patterns an answer has and its question has not, each with the first such question."""
        found: dict[str, str] = {}
        for asked, text in self.seen:
            without_random = _RANDOM.sub("", text)
            for name, pattern in patterns.items():
                whole = name in ("its uuid", "its catalog")
                if re.search(pattern, text if whole else without_random) and not re.search(pattern, asked):
                    found.setdefault(name, asked)
        return found


@dataclass
class Scene:
    """Both organisations, what upstream serves them, and the service's clock."""

    catalogs: Catalogs
    now: datetime
    ours: Organisation
    """It may not have the restricted runs."""
    theirs: Organisation
    """It may."""

    def beyond(self, one: Organisation) -> Organisation:
        """Return the other one."""
        return self.theirs if one is self.ours else self.ours


def two_organisations(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """Return both with notified learners, after their catalogs were read, changed, and read again.

    Changed are titles and, in one catalog, a restricted run's enrolment; another run is not served any more.
    """
    catalogs = Catalogs(tmp_path / "catalogs")
    settings.CATALOG_URL = catalogs.folder.as_uri() + "/"
    private = catalogs.records[ALLOWED][PRIV]
    private["course_runs"][1]["fixed_price_usd"] = str(CENTS / 100)
    for terms in (private["normalized_metadata"], private["normalized_metadata_by_run"][PRIVATE_RUN]):
        terms["content_price"] = CENTS / 100
    catalogs.write()
    catalogs.sync_both()
    scene = Scene(
        catalogs,
        NOW,
        Organisation.of("Larkspur Logistics", catalog=ORDINARY, lms_user_id=1),
        Organisation.of("Thistle Trading", catalog=ALLOWED, lms_user_id=2),
    )
    monkeypatch.setattr(timezone, "now", lambda: scene.now)
    for key, cents in ((PRIV, 5000), (MOVE, 2000)):
        scene.ours.assign(key, cents)
    scene.theirs.assign(PRIVATE_RUN, CENTS, name="leo")
    for key, cents in ((PRIV, CENTS), (ONLY, 9000), (MOVE, 2000)):
        scene.theirs.assign(key, cents)
    deliver(now=scene.now)

    private["course_runs"][1]["enrollment_end"] = "2027-11-15T00:00:00Z"
    for terms in (private["normalized_metadata"], private["normalized_metadata_by_run"][PRIVATE_RUN]):
        terms["enroll_by_date"] = "2027-11-15T00:00:00Z"
    catalogs.edit(PRIV, title="Negotiating", content_last_modified="2026-11-27T13:00:00Z")
    catalogs.serve(ALLOWED, catalogs.records[ORDINARY][ONLY])
    catalogs.edit(MOVE, title="Moved", content_last_modified="2026-11-27T13:00:00Z")
    catalogs.sync_both(hours=1)
    scene.now = NOW + 2 * HOUR
    return scene
