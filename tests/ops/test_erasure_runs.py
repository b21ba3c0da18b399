"""`bursary forget_learners` and `forget_learner`: afterwards no table and no file knows the address."""

import json
import os
import sqlite3
import sys
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from unittest.mock import Mock

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone
from pytest_django import Settings

from bursary.access.models import LearnerLink, Role, learner_key
from bursary.assignments import address_corrections, erasure, expiry, redemption
from bursary.assignments.choices import State
from bursary.assignments.learner_identity import Identity
from bursary.assignments.models import AdministratorNotice, LearnerContentAssignment
from bursary.delivery import file_backend, notices
from bursary.ops import erasure_runs, mentions
from tests.ops.processes import bursary, environment, python
from tests.world import (
    ALICE,
    BOB,
    NOW,
    allocate,
    deliver,
    given_assignment,
    given_budget,
    given_content,
    given_user,
)

# What each budget gave to each learner, and how many learners there were beside Alice.
COURSES, OTHERS = (2, 20) if "BURSARY_TEST_SOAK" in os.environ else (1, 9)
A_PAST = (
    f"COURSES, OTHERS = {COURSES}, {OTHERS}"
    + """
import django
django.setup()
from datetime import timedelta
from django.core.management import call_command
from django.db import connections
from django.utils import timezone
from bursary.assignments.choices import ActionType
from bursary.delivery import emails, handlers, runner
from tests import world

then = timezone.now() - timedelta(days=100)
budgets = [world.given_budget(), world.given_budget()]
for budget in budgets:
    for course in range(COURSES):
        learners = [*world.addresses(OTHERS), "Alice@Learners.example"]
        world.allocate(budget, world.given_content(), *learners, now=then)

def notify(action, *, now):
    if action.pk % 5 == 0:
        raise RuntimeError(f"No server accepts mails for {action.recipient}.")
    return emails.notify(action, now=now)

handlers.HANDLERS = dict(handlers.HANDLERS) | {ActionType.NOTIFIED: notify}
runner.MAX_ATTEMPTS = 2
world.deliver(now=then, limit=10_000)
world.deliver(now=then + timedelta(days=1), limit=10_000)
for command in ("expire_assignments", "deliver"):
    call_command(command, verbosity=0)
connections.close_all()
"""
)

LEARNERS = ["alice@learners.example", *(f"learner-{number}@learners.example" for number in range(OTHERS))]


def words() -> list[bytes]:
    """Return the traces of the learners: their addresses, in lower case, and the keys of these."""
    return [word.encode() for address in LEARNERS for word in (address, learner_key(address))]


def traces_in_files(folder: Path) -> dict[str, int]:
    """Return which files below the folder have traces of the learners, and how many."""
    traces = {}
    for file in folder.rglob("*"):
        if file.is_file():
            content = file.read_bytes().lower()
            traces[file.relative_to(folder).as_posix()] = sum(content.count(word) for word in words())
    return {name: count for name, count in traces.items() if count}


def rows_of_every_table() -> Iterator[tuple[str, str]]:
    """Yield each table's name with each of its rows as text."""
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            for row in cursor.fetchall():
                yield table, str(row).lower()


def tables_with_traces_of(address: str) -> set[str]:
    words = (address.lower(), learner_key(address))
    return {table for table, row in rows_of_every_table() if any(word in row for word in words)}


@pytest.mark.takes_long
@pytest.mark.sqlite_only  # in a process of its own, which uses SQLite
def test_afterwards_no_file_and_no_table_holds_a_forgotten_address(installed: Path) -> None:
    env = environment(installed, DJANGO_SETTINGS_MODULE="bursary.config.settings")
    prepared = python("-c", A_PAST, env=env)
    assert prepared.returncode == 0, prepared.stderr
    traces = traces_in_files(installed)
    assert traces["bursary.sqlite3"] > 12 * OTHERS
    assert len([name for name in traces if name.endswith(".eml")]) > OTHERS

    idle = sqlite3.connect(installed / "bursary.sqlite3")  # as the server has: the log outlives the command
    try:
        idle.execute("SELECT COUNT(*) FROM access_learnerlink").fetchall()
        done = bursary("forget_learners", "--json", env=env)
        assert done.returncode == 0, done.stderr
        summary = json.loads(done.stdout)
        assert (summary["forgotten"], summary["failed_budgets"], summary["traces_removed"]) == (
            2 * (OTHERS + 1) * COURSES,
            {},
            True,
        )
        assert traces_in_files(installed) == {}
        assert not (installed / "traces.due").exists()
        assert not any(file.suffix for file in (installed / "mail").iterdir())
        assert idle.execute("SELECT COUNT(*) FROM assignments_learnercontentassignment").fetchone() == (
            2 * (OTHERS + 1) * COURSES,
        )
    finally:
        idle.close()


@pytest.fixture
def folder(settings: Settings, tmp_path: Path) -> Path:
    """Mails as files, in a folder of their own."""
    settings.EMAIL_BACKEND = "bursary.delivery.file_backend.FileEmailBackend"
    settings.EMAIL_FILE_PATH = str(tmp_path / "mail")
    return tmp_path / "mail"


@pytest.fixture
def _one_due_and_one_not(folder: Path) -> None:
    now = timezone.now()
    allocate(given_budget(), given_content(), ALICE, now=now - timedelta(days=91))
    deliver(now=now - timedelta(days=91))
    allocate(given_budget(), given_content(), BOB, now=now)
    deliver(now=now)
    expiry.expire_due(now=now)
    deliver(now=now)


def run(*arguments: str) -> str:
    answer = StringIO()
    call_command(*arguments, stdout=answer, stderr=StringIO())
    return answer.getvalue().strip()


@pytest.mark.django_db
@pytest.mark.usefixtures("_one_due_and_one_not")
def test_the_sweep_erases_what_is_due_and_nothing_else(folder: Path) -> None:
    assert len(list(folder.iterdir())) == 3
    assert run("forget_learners") == "1 forgotten."
    assert tables_with_traces_of(ALICE) == set()
    assert len(tables_with_traces_of(BOB)) == 3
    (left,) = folder.iterdir()
    assert f"To: {BOB}" in left.read_text()
    assert run("forget_learners") == "0 forgotten."


@pytest.mark.django_db
@pytest.mark.usefixtures("_one_due_and_one_not")
def test_a_dry_run_counts_and_changes_nothing(folder: Path) -> None:
    assert json.loads(run("forget_learners", "--dry-run", "--json")) == {"dry_run": True, "due": 1}
    assert len(list(folder.iterdir())) == 3
    assert erasure.to_erase(timezone.now()).count() == 1


@pytest.mark.django_db
@pytest.mark.usefixtures("_one_due_and_one_not")
def test_a_folder_that_cannot_be_written_makes_the_command_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_actions: object) -> int:
        raise PermissionError("The folder is read-only.")

    monkeypatch.setattr(file_backend, "remove", refuse)
    with pytest.raises(CommandError, match="The folder is read-only"):
        run("forget_learners")
    assert tables_with_traces_of(ALICE)


@pytest.mark.django_db
def test_the_clock_gets_plain_values(folder: Path) -> None:
    assert json.loads(json.dumps(erasure_runs.run(now=timezone.now())))["forgotten"] == 0


@pytest.mark.django_db
@pytest.mark.on_every_engine
def test_on_request_no_table_and_no_file_knows_the_address(folder: Path) -> None:
    account = given_user(Role.LEARNER, customer=given_budget().customer, email=ALICE, username=ALICE)
    now = timezone.now()
    accepted, _open = given_assignment(now=now), given_assignment(now=now)
    redemption.begin(accepted, now=now, actor=account)
    deliver(now=now)
    assert len(list(folder.iterdir())) > 0
    done = json.loads(run("forget_learner", "Alice@Learners.example", "--yes", "--json"))
    assert (done["complete"], done["forgotten"], done["cancelled"], done["accounts_anonymised"]) == (
        True,
        2,
        1,
        1,
    )
    assert tables_with_traces_of(ALICE) == set()
    assert list(folder.iterdir()) == []


@pytest.mark.django_db
@pytest.mark.parametrize("still", [True, False], ids=["administrator", "no longer"])
def test_mails_about_moved_deadlines_go_with_the_administrator(
    folder: Path, monkeypatch: pytest.MonkeyPatch, still: bool
) -> None:
    monkeypatch.setattr(erasure, "ROWS_PER_STATEMENT", 1)
    budget, now = given_budget(), timezone.now()
    alice, bob = (
        given_user(Role.ADMINISTRATOR, customer=budget.customer, email=address) for address in (ALICE, BOB)
    )
    for minutes in range(3):
        AdministratorNotice.objects.create(
            budget=budget,
            assignments=1,
            no_expiry_before=now,
            created=now + timedelta(minutes=minutes),
            due_at=now,
            early=0,
        )
    notices.send_due(clock=lambda: now)
    AdministratorNotice.objects.update(edition=2, assignments=2, notified_contacts=[], due_at=now, early=0)
    notices.send_due(clock=lambda: now)
    if not still:
        alice.role_grants.all().delete()
    assert len(list(folder.iterdir())) == 2 * 3 * len({alice, bob})
    assert erasure_runs.forget(ALICE, now=now)["mails_removed"] == 6
    left = [file.read_text() for file in folder.iterdir()]
    assert [f"To: {BOB}" in mail for mail in left] == [True] * 6


@pytest.mark.django_db
def test_on_request_it_says_what_it_would_do(folder: Path) -> None:
    given_assignment()
    assert run("forget_learner", BOB, "--dry-run") == "Nothing is known of this address."
    assert run("forget_learner", ALICE, "--dry-run").startswith("1 assignment (1 open: to be cancelled)")
    assert LearnerContentAssignment.objects.get().state == State.ALLOCATED


@pytest.mark.django_db
def test_nothing_is_forgotten_without_a_yes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given_assignment()
    with pytest.raises(CommandError, match="Give --yes"):
        run("forget_learner", ALICE, "--json")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _question: "no")
    with pytest.raises(CommandError, match="Nothing was changed"):
        run("forget_learner", ALICE)
    assert LearnerContentAssignment.objects.get().state == State.ALLOCATED
    monkeypatch.setattr("builtins.input", lambda _question: "yes")
    assert run("forget_learner", ALICE).startswith("1 assignment forgotten, 1 cancelled first;")


@pytest.mark.django_db
def test_of_an_address_without_data_it_says_that_nothing_is_known(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_assignment()
    assert run("forget_learner", ALICE, "--yes") == (
        "1 assignment forgotten, 1 cancelled first; 0 actions of others, 0 mails, 1 link, 0 accounts and 0 "
        "other mentions."
    )
    nothing = "Nothing is known of this address. Nothing was changed."
    assert run("forget_learner", ALICE, "--yes") == nothing
    asked = Mock(return_value="yes")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", asked)
    assert run("forget_learner", BOB) == nothing
    question = "Nothing is known of this address. Type yes to search every text for it, and erase it there: "
    asked.assert_called_once_with(question)


@pytest.mark.django_db
def test_a_mention_in_a_text_alone_is_counted(folder: Path) -> None:
    given_budget(description=f"Ask {ALICE}.")
    assert run("forget_learner", ALICE, "--yes") == (
        "0 assignments forgotten, 0 cancelled first; 0 actions of others, 0 mails, 0 links, 0 accounts and 1 "
        "other mention."
    )


@pytest.mark.django_db
@pytest.mark.on_every_engine
def test_the_actions_of_others_that_a_dry_run_counts_are_counted_when_they_are_erased(folder: Path) -> None:
    for links in (1, 0):
        assignment = given_assignment()
        deliver()
        address_corrections.correct_assignment(assignment, address=BOB, now=NOW)
        if not links:
            LearnerLink.objects.all().delete()

        dry = run("forget_learner", ALICE, "--dry-run")
        dry_count = json.loads(run("forget_learner", ALICE, "--dry-run", "--json"))["elsewhere"]
        with transaction.atomic():
            done = json.loads(run("forget_learner", ALICE, "--yes", "--json"))
            transaction.set_rollback(True)

        assert "3 actions of others" in dry  # linked, notified, and the correction
        assert (dry_count, done["elsewhere"], done["links_removed"]) == (3, 3, links)
        assert run("forget_learner", ALICE, "--yes").startswith(
            f"0 assignments forgotten, 0 cancelled first; 3 actions of others, 0 mails, {links} link"
        )
        assert run("forget_learner", ALICE, "--yes") == (
            "Nothing is known of this address. Nothing was changed."
        )
        assert tables_with_traces_of(ALICE) == set()


@pytest.mark.django_db
def test_it_searches_again_where_it_erased_nothing_but_actions_of_others(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = given_assignment(), given_assignment(address=BOB)
    address_corrections.correct_assignment(first, address=BOB, now=NOW)
    erase = mentions.erase
    rounds: list[int] = []

    def another_writes_meanwhile(learner: Identity) -> int:
        erased = erase(learner)
        if not rounds:
            address_corrections.correct_assignment(second, address=ALICE, now=NOW)
            address_corrections.correct_assignment(second, address=BOB, now=NOW)
        rounds.append(erased)
        return erased

    monkeypatch.setattr(mentions, "erase", another_writes_meanwhile)
    done = erasure_runs.forget(ALICE, now=NOW)
    assert (done["complete"], done["forgotten"], rounds[0]) == (True, 0, 0)
    assert tables_with_traces_of(ALICE) == set()


@pytest.mark.django_db
def test_what_cannot_be_forgotten_yet_makes_the_command_fail_and_say_why(folder: Path) -> None:
    redemption.begin(given_assignment(now=timezone.now()), now=timezone.now())
    with pytest.raises(CommandError, match="Run it again"):
        run("forget_learner", ALICE, "--yes")


@pytest.mark.django_db
def test_what_is_no_address_is_refused_in_a_sentence() -> None:
    with pytest.raises(CommandError, match="Enter a valid email address") as refused:
        run("forget_learner", "alice", "--yes")
    assert refused.value.returncode == 2
