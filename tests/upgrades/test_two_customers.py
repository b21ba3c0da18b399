"""A database in which two customers shared the row of a course that upstream serves each of them otherwise.

`upgrade-two-customers.json` was written by the release before, which had one row a key. It had read
`restricted-ordinary`, then `restricted-allowed`, and `joinable` as catalogs 1 to 3, each with a budget.
"""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection

from bursary.assignments import derived_audit, expiry
from bursary.assignments.models import AdministratorNotice, LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.catalog.jsonl_source import FolderCatalog
from bursary.delivery.notices import send_due
from bursary.ops.management.commands.migrate import WholeMigrations
from bursary.replica import audit, reads, refresh
from bursary.replica.models import RefreshTrigger
from tests.migrated import vacuum_into
from tests.upgrades.recording import load
from tests.upgrades.test_upgrade import migrate
from tests.world import ALICE, BOB

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.takes_long]

DATA = Path(__file__).parents[1] / "data"
ORDINARY, ALLOWED, JOINABLE = (UUID(int=number) for number in (1, 2, 3))
FILES = {ORDINARY: "restricted-ordinary", ALLOWED: "restricted-allowed", JOINABLE: "joinable"}
UPGRADED = datetime(2027, 1, 20, 12, tzinfo=UTC)
"""LateX+1 has ended, which was no deadline before, and EndX+1 had before it was allocated."""
HOUR = timedelta(hours=1)
MOVED_INTO_THE_PAST = {"LateX+1", "EndX+1"}
KEPT = ("uuid", "state", "price_cents", "learner_email", "content_key", "allocated_at", "accepted_at")

Recording = dict[str, Any]


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where a copy of the upgraded database is kept: two tests begin with it."""
    return tmp_path_factory.mktemp("upgraded") / "bursary.sqlite3"


@pytest.fixture
def recording(no_tables: None, upgraded: Path) -> Recording:
    """Make the recorded tables, fill them, and upgrade them."""
    recorded: Recording = json.loads((DATA / "upgrade-two-customers.json").read_text(encoding="utf-8"))
    if upgraded.exists():
        connection.close()
        shutil.copy(upgraded, connection.settings_dict["NAME"])
        return recorded
    then = list(recorded["migrations"].items())
    executor = migrate(then)
    load(recorded, apps=executor.loader.project_state(then).apps)
    upgrade()
    vacuum_into(upgraded)
    return recorded


@pytest.fixture
def source(tmp_path: Path) -> FolderCatalog:
    for catalog, name in FILES.items():
        shutil.copy(DATA / "cases" / f"{name}.jsonl", tmp_path / f"{catalog}.jsonl")
    return FolderCatalog(tmp_path)


def upgrade() -> None:
    migrate(WholeMigrations(connection).loader.graph.leaf_nodes())


def refresh_all(source: FolderCatalog, *, now: datetime) -> None:
    for catalog in FILES:
        refresh.refresh_catalog(catalog, source=source, now=now, trigger=RefreshTrigger.CRON)


def check_nothing_is_lost(recording: Recording) -> None:
    """Assignments and money are as they were recorded: none has expired, each refers to its catalog's row."""
    then = {row["id"]: row for row in recording["rows"]["assignments.LearnerContentAssignment"]}
    now = LearnerContentAssignment.objects.in_bulk()
    assert now.keys() == then.keys()
    for pk, row in then.items():
        assert json.loads(
            json.dumps({name: getattr(now[pk], name) for name in KEPT}, cls=DjangoJSONEncoder)
        ) == {name: row[name] for name in KEPT}
        content = now[pk].content
        assert content is not None
        assert content.content_key == row["content_key"]
        assert content in reads.held_by(now[pk].budget.catalog_uuid)
    for row in recording["rows"]["budgets.Budget"]:
        budget = Budget.objects.get(pk=row["id"])
        assert (budget.reserved_cents, budget.spent_cents) == (row["held_cents"], row["spent_cents"])


def deadlines() -> dict[tuple[UUID, str, str], datetime]:
    rows = LearnerContentAssignment.objects.filter(state="allocated").values_list(
        "budget__catalog_uuid", "content_key", "learner_email", "expires_at"
    )
    return {(catalog, key, address): at for catalog, key, address, at in rows}


def test_an_upgrade_expires_nothing_and_its_first_refresh_gives_each_customer_its_own_rows(
    recording: Recording, source: FolderCatalog
) -> None:
    expiry.expire_due(now=UPGRADED)

    check_nothing_is_lost(recording)
    recorded = recording["rows"]["assignments.LearnerContentAssignment"]
    assert sorted(deadlines().values()) == sorted(
        datetime.fromisoformat(row["expires_at"]) for row in recorded if row["state"] == "allocated"
    )

    refresh_all(source, now=UPGRADED)
    derived_audit.rebuild(clock=lambda: UPGRADED)

    expiry.expire_due(now=UPGRADED + HOUR)
    send_due(clock=lambda: UPGRADED + HOUR)
    expiry.expire_due(now=UPGRADED + 23 * HOUR)  # within a day of the refresh

    check_nothing_is_lost(recording)
    ends = deadlines()
    assert ends[ORDINARY, "PrivX+1", ALICE] == datetime(2028, 4, 14, 23, 59, 59, tzinfo=UTC)
    assert ends[ALLOWED, "course-v1:PrivX+1+PRIV", BOB] == datetime(2027, 12, 5, tzinfo=UTC)
    assert ends[JOINABLE, "LateX+1", ALICE] == datetime(2027, 1, 10, tzinfo=UTC)
    assert reads.title_of("course-v1:PrivX+1+PRIV", catalog_uuid=ORDINARY) == ""
    courses = {catalog: reads.held_by(catalog).get(content_key="PrivX+1") for catalog in (ORDINARY, ALLOWED)}
    prices = {catalog: course.price_cents for catalog, course in courses.items()}
    assert prices == {ORDINARY: 5000, ALLOWED: 7500}
    found = audit.audit(source=source, clock=lambda: UPGRADED + HOUR, listed=list(FILES))
    assert (found.found, found.unavailable) == ([], {})
    assert derived_audit.audit(clock=lambda: UPGRADED).wrong == 0
    notices = AdministratorNotice.objects.filter(reason="").select_related("content")
    assert {one.content.content_key for one in notices if one.content} == MOVED_INTO_THE_PAST

    expiry.expire_due(now=UPGRADED + 25 * HOUR)

    expired = LearnerContentAssignment.objects.filter(state="expired")
    assert set(expired.values_list("content_key", flat=True)) == MOVED_INTO_THE_PAST


def test_backwards_each_assignment_keeps_its_content_and_forwards_again_nothing_is_lost(
    recording: Recording, source: FolderCatalog
) -> None:
    refresh_all(source, now=UPGRADED)
    refers_to = dict(LearnerContentAssignment.objects.values_list("pk", "content"))
    then = list(recording["migrations"].items())

    executor = migrate(then)

    apps = executor.loader.project_state(then).apps
    rows = apps.get_model("assignments", "LearnerContentAssignment").objects.order_by("pk")
    assert dict(rows.values_list("pk", "content")) == refers_to
    recorded = recording["rows"]["assignments.LearnerContentAssignment"]
    assert [(row.pk, row.state, row.content_key) for row in rows] == [
        (row["id"], row["state"], row["content_key"]) for row in recorded
    ]
    keys = apps.get_model("replica", "ContentMetadata").objects.values_list("content_key", flat=True)
    assert len(keys) == len(set(keys))
    held = apps.get_model("replica", "CatalogMembership").objects
    assert held.count() >= len(recording["rows"]["replica.CatalogMembership"])

    upgrade()
    refresh_all(source, now=UPGRADED + 2 * HOUR)

    expiry.expire_due(now=UPGRADED + 3 * HOUR)
    check_nothing_is_lost(recording)
