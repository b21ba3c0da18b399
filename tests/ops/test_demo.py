"""`bursary demo`, for real: a process of its own and an empty folder."""

import json
import shutil
import sqlite3
import stat
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings

from bursary.access.models import User
from bursary.assignments import address_corrections, erasure
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.budgets.models import Budget, Customer
from bursary.ops import demo as demo_module
from bursary.ops import demo_history, serving
from bursary.ops.demo import Demo, NotADemonstration, load
from bursary.ops.management.commands.demo import _text
from tests.ops.processes import Demonstration, demonstrated
from tests.world import given_budget, given_content, given_customer, given_run, given_user

TABLES = (
    "access_user",
    "access_apikey",
    "access_rolegrant",
    "access_learnerlink",
    "budgets_customer",
    "budgets_account",
    "budgets_budget",
    "replica_contentmetadata",
    "replica_catalogmembership",
    "replica_contentchange",
    "assignments_learnercontentassignment",
    "assignments_learnercontentassignmentaction",
)
OWN_TABLES = "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY 1"
"""With their columns in order, their constraints and their indexes."""


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(folder / "bursary.sqlite3")
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def counts(folder: Path) -> dict[str, int]:
    return {table: rows(folder, f"SELECT COUNT(*) FROM {table}")[0][0] for table in TABLES}


def close_enrolment(folder: Path, *, keys: set[str]) -> None:
    """Edit the catalog's file, as a user of the demonstration may."""
    (catalog,) = (folder / "catalog").iterdir()
    records = [json.loads(line) for line in catalog.read_text(encoding="utf-8").splitlines()]
    for record in records:
        if record["key"] in keys:
            record["normalized_metadata"]["enroll_by_date"] = timezone.now().isoformat()
    catalog.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")


@pytest.mark.xdist_group("demonstration")
@pytest.mark.takes_long
def test_an_empty_folder_becomes_a_demonstration_and_running_it_again_does_no_harm(
    demonstration: Demonstration, tmp_path: Path
) -> None:
    answer = demonstration.printed
    shutil.copytree(demonstration.folder, tmp_path, dirs_exist_ok=True)

    file = tmp_path / "demo.json"
    first = file.read_text()
    assert (answer["contents"], answer["assignments"]) == (200, 6)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    check_what_the_file_says(json.loads(first), tmp_path)
    check_the_past(tmp_path)
    before, catalog = counts(tmp_path), next((tmp_path / "catalog").iterdir()).stat().st_mtime_ns

    again = demonstrated(tmp_path, port="")  # a server may run at the address that the file names

    assert again.printed["base_url"] == "http://127.0.0.1:8123"
    assert file.read_text() == first
    assert counts(tmp_path) == before
    assert next((tmp_path / "catalog").iterdir()).stat().st_mtime_ns == catalog

    file.unlink()
    close_enrolment(
        tmp_path, keys={key for (key,) in rows(tmp_path, f"SELECT content_key FROM {TABLES[-2]}")}
    )
    assert demonstrated(tmp_path).printed["assignments"] == 6  # although other courses would do now
    before["replica_contentchange"] = counts(tmp_path)["replica_contentchange"]

    second = json.loads(file.read_text())
    assert second["budgets"] == json.loads(first)["budgets"]
    assert second["users"]["learner"]["password"] != json.loads(first)["users"]["learner"]["password"]
    assert counts(tmp_path) == before | {"access_apikey": before["access_apikey"] + 3}


@pytest.mark.django_db
@pytest.mark.xdist_group("demonstration")
def test_the_tables_that_tests_use_are_those_that_the_command_makes(
    demonstration: Demonstration, empty_database: Path
) -> None:
    made = rows(demonstration.folder, OWN_TABLES)
    assert len(made) > 100
    assert rows(empty_database.parent, OWN_TABLES) == made


def check_what_the_file_says(record: dict[str, Any], folder: Path) -> None:
    assert set(record) == {"base_url", "customer_uuid", "catalog_uuid", "budgets", "users"}
    assert record["base_url"] == "http://127.0.0.1:8123"
    assert [path.name for path in (folder / "catalog").iterdir()] == [f"{record['catalog_uuid']}.jsonl"]
    assert [set(budget) for budget in record["budgets"]] == [
        {"uuid", "assignment_configuration_uuid", "name", "organisation"}
    ] * 2
    assert list(record["users"]) == ["administrator", "learner", "operator"]
    for user in record["users"].values():
        assert set(user) == {"username", "password", "email", "lms_user_id", "api_key", "sees"}
        assert all(user.values())
    assert len(rows(folder, "SELECT 1 FROM access_rolegrant WHERE role = 'learner'")) == 3
    assert rows(folder, "SELECT username FROM access_user WHERE is_staff OR is_superuser") == [("olga",)]


def check_the_past(folder: Path) -> None:
    states = rows(
        folder, "SELECT state, cycle, COUNT(*) FROM assignments_learnercontentassignment GROUP BY 1, 2"
    )
    assert states == [("allocated", 1, 4), ("allocated", 2, 1), ("cancelled", 1, 1)]
    failed = rows(
        folder,
        "SELECT error_code, attempts, traceback LIKE 'Traceback%' "
        "FROM assignments_learnercontentassignmentaction WHERE status = 'failed'",
    )
    assert failed == [("address_rejected", 1, 1)]
    unfinished = rows(
        folder, "SELECT 1 FROM assignments_learnercontentassignmentaction WHERE due_at IS NOT NULL"
    )
    assert unfinished == []
    oldest = rows(
        folder,
        "SELECT julianday('now') - julianday(MIN(created)) FROM assignments_learnercontentassignmentaction",
    )
    assert 39 < oldest[0][0] < 41
    assert len(list((folder / "mail").iterdir())) > 0
    over = rows(
        folder,
        "SELECT limit_cents - held_cents FROM budgets_budget ORDER BY limit_cents",
    )
    assert 0 < over[0][0] < 8_000 < over[1][0]


@pytest.mark.django_db
def test_the_demonstration_keeps_out_of_a_real_installation() -> None:
    given_customer(name="A real organisation")
    with pytest.raises(NotADemonstration, match="BURSARY_VAR_DIR"):
        load(now=timezone.now(), on_progress=lambda _done: None)
    assert not User.objects.exists()


@pytest.mark.django_db
def test_a_real_installation_is_refused_before_anything_is_printed_bound_or_migrated(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.VAR_DIR = tmp_path
    given_customer(name="A real organisation")
    for module, name in ((serving, "listen"), (demo_module, "call_command")):
        monkeypatch.setattr(module, name, Mock(side_effect=AssertionError(name)))
    with pytest.raises(CommandError, match="BURSARY_VAR_DIR"):
        call_command("demo")
    assert capsys.readouterr() == ("", "")


@pytest.mark.django_db
def test_every_budget_and_every_sign_in_is_printed_with_what_that_user_sees(
    settings: Settings, tmp_path: Path
) -> None:
    settings.VAR_DIR = tmp_path
    customer = given_customer()
    other = given_customer(name=demo_module.OTHER_CUSTOMER)
    for one, slug in ((customer, demo_module.SLUG), (other, demo_module.OTHER_SLUG)):
        Customer.objects.filter(pk=one.pk).update(slug=slug)
    catalog_uuid = given_budget(customer=customer, name="Languages").catalog_uuid
    given_budget(customer=other, name="Clinical skills", catalog_uuid=uuid4())
    users = {"administrator": given_user(username="ada"), "other administrator": given_user(username="grace")}

    record = demo_module._record(customer, catalog_uuid, users, serves=False)
    printed = _text(Demo(tmp_path, record, contents=200, assignments=6), serves=False)

    assert "200 courses, 2 budgets" in printed
    assert f"Clinical skills ({demo_module.OTHER_CUSTOMER})" in printed
    for role in users:
        entry = record["users"][role]
        assert f"{entry['password']}  sees {demo_module.VISIBLE_TO[role]}" in printed
        assert User.objects.get(username=entry["username"]).check_password(entry["password"])


@pytest.mark.django_db
def test_the_file_names_the_address_that_is_served_or_given_and_else_keeps_its_own(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.VAR_DIR, settings.BASE_URL = tmp_path, "http://127.0.0.1:8000"
    for name in ("PORT", "BURSARY_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    customer = given_customer()

    def named(*, before: str, serves: bool = False) -> str:
        demo_module.demo_file().write_text(before, encoding="utf-8")
        record = demo_module._record(customer, uuid4(), {}, serves=serves)
        return str(record["base_url"])

    elsewhere = json.dumps({"base_url": "http://127.0.0.1:8123"})
    assert named(before=elsewhere) == "http://127.0.0.1:8123"
    assert named(before=elsewhere, serves=True) == settings.BASE_URL
    for nothing in ("{}", "[]", "no JSON"):
        assert named(before=nothing) == settings.BASE_URL
    for name in ("PORT", "BURSARY_BASE_URL"):
        with monkeypatch.context() as given:
            given.setenv(name, "8000")
            assert named(before=elsewhere) == settings.BASE_URL


@pytest.mark.django_db
def test_courses_are_chosen_by_what_learners_can_join_and_not_by_upstreams_flag() -> None:
    customer, now = given_customer(), timezone.now()
    budgets = [given_budget(customer=customer, name=name) for name in demo_history.PRICES]
    joinable = given_content("Z+1", active=False, price_cents=9_000)
    given_run(given_content("A+1", price_cents=9_000, with_run=False), offered=False)
    given_run(given_content("A+2", price_cents=9_000, with_run=False), end_date=now)
    given_run(given_content("A+3", price_cents=9_000, with_run=False), price_cents=100)

    demo_history.load(budgets, administrator=given_user())

    assert {one.content for one in LearnerContentAssignment.objects.all()} == {joinable}


@pytest.mark.django_db
def test_after_an_address_was_corrected_or_erased_nothing_is_assigned_again(
    subtests: pytest.Subtests,
) -> None:
    customer, administrator = given_customer(), given_user()
    budgets = [given_budget(customer=customer, name=name) for name in demo_history.PRICES]
    for number in range(1, 10):
        given_content(f"A+{number}", price_cents=9_000)
    demo_history.load(budgets, administrator=administrator)
    before, now = what_is_stored(), timezone.now()
    assert before["assignments"] == 6
    assert before["reserved"] == [(demo_history.COMFORTABLE, 4 * 9_000), (demo_history.TIGHT, 9_000)]
    right = "leo.learner@larkspur.example"

    with subtests.test("corrected"):
        address_corrections.correct_pair(demo_history.MISTYPED, right, now=now, actor=administrator)
        corrected = what_is_stored()
        demo_history.load(budgets, administrator=administrator)
        assert what_is_stored() == corrected
        assert corrected["reserved"] == before["reserved"]
        assert not LearnerContentAssignment.objects.filter(learner_email=demo_history.MISTYPED).exists()

    with subtests.test("erased"):
        erasure.forget(demo_history.LENA, now=now, remove=lambda _paths: 0)
        erased = what_is_stored()
        demo_history.load(budgets, administrator=administrator)
        assert what_is_stored() == erased


def what_is_stored() -> dict[str, Any]:
    return {
        "assignments": LearnerContentAssignment.objects.count(),
        "actions": LearnerContentAssignmentAction.objects.count(),
        "reserved": list(Budget.objects.order_by("name").values_list("name", "reserved_cents")),
    }
