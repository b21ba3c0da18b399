"""A run that its catalog has no more stays assigned, and other catalogs' edits do not change it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pytest_django import Settings

from bursary.access.models import Role
from bursary.assignments import derived_audit, impact
from bursary.assignments.models import AdministratorNotice, LearnerContentAssignment
from bursary.budgets import terms
from bursary.replica.models import ContentChange, ContentMetadata
from tests.api.door import door_of
from tests.replica.serving import ALLOWED, HOUR, NOW, ORDINARY, PRIV, PRIVATE_RUN, Catalogs, row_of
from tests.world import ALICE, BOB, allocate, given_budget

pytestmark = pytest.mark.django_db

OTHER = UUID("33333333-3333-4333-8333-333333333333")
CLOSES = datetime(2027, 12, 5, tzinfo=UTC)
EARLIER = datetime(2027, 6, 1, tzinfo=UTC)
KEPT = ("content_title", "content_start", "content_enroll_by", "expires_at", "expires_reason")


@pytest.fixture
def catalogs(tmp_path: Path, settings: Settings) -> Catalogs:
    """Two catalogs that may have the restricted run, and one that may not."""
    served = Catalogs.configured(tmp_path / "catalogs", settings)
    served.records[OTHER] = {PRIV: served.records[ALLOWED][PRIV]}
    served.write()
    served.sync_both()
    served.sync(OTHER)
    return served


def assigned(catalog: UUID, *, to: str) -> LearnerContentAssignment:
    budget = given_budget(catalog_uuid=catalog, allocation_age_days=3650)
    run = ContentMetadata.objects.get(content_key=PRIVATE_RUN)
    allocate(budget, run, to, now=NOW, price_cents=run.price_cents or 0)
    return LearnerContentAssignment.objects.get(budget=budget)


def kept(assignment: LearnerContentAssignment) -> dict[str, Any]:
    columns: dict[str, Any] = LearnerContentAssignment.objects.filter(pk=assignment.pk).values(*KEPT).get()
    return columns


def withdraw(catalogs: Catalogs) -> Any:
    allowed = catalogs.records[ALLOWED][PRIV]
    catalogs.serve(ALLOWED, catalogs.records[ORDINARY][PRIV])
    catalogs.sync(ALLOWED, hours=1)
    return allowed


def edited(record: dict[str, Any]) -> dict[str, Any]:
    """Return the course with other dates and another price of the restricted run."""
    run = record["normalized_metadata_by_run"][PRIVATE_RUN]
    changed = run | {
        "enroll_by_date": EARLIER.isoformat(),
        "content_price": 1.0,
        "start_date": EARLIER.isoformat(),
    }
    by_run = record["normalized_metadata_by_run"] | {PRIVATE_RUN: changed}
    stamp = "2026-11-28T00:00:00Z"
    return record | {"normalized_metadata_by_run": by_run, "content_last_modified": stamp}


def test_an_edit_for_another_catalog_moves_no_deadline_and_is_not_shown(catalogs: Catalogs) -> None:
    ours, theirs = assigned(ALLOWED, to=ALICE), assigned(OTHER, to=BOB)
    withdraw(catalogs)
    before = kept(ours)
    assert before["expires_at"] == CLOSES

    catalogs.serve(OTHER, edited(catalogs.records[OTHER][PRIV]))
    catalogs.sync(OTHER, hours=20)

    run = row_of(OTHER, PRIVATE_RUN)
    assert (run.enroll_by, run.price_cents) == (EARLIER, 100)
    assert kept(theirs)["expires_at"] == EARLIER
    assert kept(ours) == before
    assert derived_audit.audit(clock=lambda: NOW + 21 * HOUR).wrong == 0
    assert not AdministratorNotice.objects.filter(budget=ours.budget, reason="").exists()
    door = door_of(Role.ADMINISTRATOR, customer=ours.budget.customer)
    row = door.assignment(ours).json()
    shown = {name: row["content_metadata"][name] for name in ("start_date", "enroll_by", "price_cents")}
    assert shown == dict.fromkeys(shown)
    assert row["join_by"] == row["earliest_possible_expiration"]["date"] == "2027-12-05T00:00:00Z"
    seen = impact.of_content(run, among=ContentChange.objects.all(), since=NOW)
    by_assignment = {
        one.pk: {effect.change.field for effect in seen.effects_on(one)} for one in seen.assignments
    }
    assert by_assignment[ours.pk] == {"membership"}
    assert {"enroll_by", "price_cents"} <= by_assignment[theirs.pk]


def test_neither_a_rebuild_nor_a_budgets_terms_bring_another_catalogs_dates(catalogs: Catalogs) -> None:
    ours = assigned(ALLOWED, to=ALICE)
    withdraw(catalogs)
    catalogs.serve(OTHER, edited(catalogs.records[OTHER][PRIV]))
    catalogs.sync(OTHER, hours=20)
    before = kept(ours)

    terms.change(ours.budget, now=NOW + 21 * HOUR, terms={"allocation_age_days": 3000})
    LearnerContentAssignment.objects.filter(pk=ours.pk).update(expires_at=NOW)
    done = derived_audit.rebuild(clock=lambda: NOW + 22 * HOUR)

    assert (done.before.wrong, done.after.wrong) == (1, 0)
    assert kept(ours) == before


def test_what_the_catalog_is_served_again_is_followed_again(catalogs: Catalogs) -> None:
    ours = assigned(ALLOWED, to=ALICE)
    allowed = withdraw(catalogs)
    catalogs.serve(OTHER, edited(catalogs.records[OTHER][PRIV]))
    catalogs.sync(OTHER, hours=20)

    catalogs.serve(ALLOWED, edited(allowed))
    catalogs.sync(ALLOWED, hours=21)

    assert kept(ours)["expires_at"] == kept(ours)["content_enroll_by"] == EARLIER
    assert derived_audit.audit(clock=lambda: NOW + 22 * HOUR).wrong == 0
