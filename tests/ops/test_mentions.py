"""A person is planted in every text and JSON column of every table, and afterwards in none.

The columns are found by reflection over the models: a table that is added later is planted, too.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.db import connection, models, transaction
from django.test import Client
from pytest_django import Settings

from bursary.access.models import AccountAddress, User, learner_key
from bursary.assignments import account_linking, address_corrections
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.ops import erasure_runs
from tests.upgrades import recording
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
from tests.world import addresses as learners

pytestmark = pytest.mark.django_db

LONGEST_KEY = 64
PERSON = 884_471_108_154_711  # of more digits than chance puts side by side into a uuid or a digest
OLD, NEWEST = "alice.maiden@learners.example", "a.new-name@learners.example"
SPELLINGS = [f" {ALICE.upper()}\u200b".replace("@", "\uff20"), OLD, NEWEST, "alice@stra\u00dfe.example"]
"""One for each address; how else a mailbox may be written is tested in lib/test_mailbox.py."""


@pytest.fixture
def folder(settings: Settings, tmp_path: Path) -> Path:
    settings.EMAIL_BACKEND = "bursary.delivery.file_backend.FileEmailBackend"
    settings.EMAIL_FILE_PATH = str(tmp_path / "mail")
    (tmp_path / "mail").mkdir()
    return tmp_path / "mail"


def columns() -> Iterator[tuple[type[models.Model], Any]]:
    """Yield every column of text and JSON that has room for an address."""
    for model in apps.get_models(include_auto_created=True):
        for column in model._meta.concrete_fields:
            if not isinstance(column, models.CharField | models.TextField | models.JSONField):
                continue
            if column.choices or column.primary_key or (column.max_length or 99) < len(ALICE):
                continue
            yield model, column


def plant(model: type[models.Model], column: Any) -> bool:
    """Write the address, and its key where there is room, into one row; return whether there was a row."""
    row = model._base_manager.order_by("pk").first()
    if row is None:
        return False
    value: Any = ALICE.upper()
    if isinstance(column, models.JSONField):
        value = {"of": [{ALICE: f"<{ALICE}>", "lms_user_id": PERSON}], "key": learner_key(ALICE)}
    elif column.max_length == LONGEST_KEY:
        value = learner_key(ALICE)
    elif isinstance(column, models.TextField):
        value = f"Mail to <{ALICE}> ({learner_key(ALICE)}) failed."
    model._base_manager.filter(pk=row.pk).update(**{column.name: value})
    return True


def traces(*words: str) -> set[str]:
    """Return the tables that have any of the words in a row."""
    found = set()
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            rows = [str(row).lower() for row in cursor.fetchall()]
            found |= {table for row in rows if any(word.lower() in row for word in words)}
    return found


def test_what_is_planted_in_every_text_and_json_column_is_forgotten(folder: Path, client: Client) -> None:
    recording.fill()
    person = given_user(email=ALICE, lms_user_id=PERSON)
    AccountAddress.objects.create(user=person, address=OLD, learner_key=learner_key(OLD))
    group = Group.objects.create(name="Planted")
    group.permissions.add(Permission.objects.earliest("pk"))
    types = ContentType.objects.get_for_model(User)
    LogEntry.objects.create(user=person, content_type=types, object_id="1", action_flag=CHANGE)
    client.force_login(given_user(email=BOB))
    session = client.session
    session["_messages"] = f"We have written to {ALICE}."
    session.save()

    for model, column in columns():
        assert plant(model, column), f"{model._meta.label} has no row to write {column.name} into."
    assert len(traces(ALICE, learner_key(ALICE))) > 20
    done = erasure_runs.forget(ALICE, now=NOW)
    assert done["complete"], done["not_yet"]
    assert traces(ALICE, learner_key(ALICE), OLD, learner_key(OLD), str(PERSON)) == set()
    assert not Session.objects.exists()


@contextmanager
def undone(folder: Path) -> Iterator[None]:
    """At the end, have the rows and the files that there were before."""
    files = {file: file.read_bytes() for file in folder.iterdir()}
    with transaction.atomic():
        yield
        transaction.set_rollback(True)
    for file, content in files.items():
        file.write_bytes(content)


def test_a_person_of_three_addresses_and_a_deleted_account_is_forgotten_by_each(
    folder: Path, subtests: pytest.Subtests
) -> None:
    others = a_person_of_three_addresses_and_a_deleted_account()
    (folder / "0f0e0d0c-0000-4000-8000-000000000001.eml").write_bytes(
        b"To: bob@learners.example\nContent-Transfer-Encoding: base64\nContent-Type: text/plain\n\n"
        b"QXNrIGFsaWNlQGxlYXJuZXJzLmV4YW1wbGUu\n"
    )
    (folder / "notes.txt").write_text("Not a mail of ours.")
    for spelling in SPELLINGS if connection.vendor == "sqlite" else SPELLINGS[:1]:
        with subtests.test(spelling), undone(folder):
            done = erasure_runs.forget(spelling, now=NOW)
            assert (done["forgotten"], done["complete"]) == (4, True)
            nothing_is_left_of_that_person(folder)
            others.refresh_from_db()
            assert (others.learner_email, others.state) == (BOB, "allocated")


def a_person_of_three_addresses_and_a_deleted_account() -> LearnerContentAssignment:
    """Allocate to that person under each address, and to another one; return the other's assignment."""
    budget, earlier = given_budget(), "alice@stra\u00dfe.example"
    allocate(budget, given_content(), earlier)
    account = given_user(email=earlier, lms_user_id=PERSON)
    for address in (OLD, ALICE, NEWEST):
        account.email = address
        account.save()
        allocate(budget, given_content(), address)
    others = given_assignment(address=BOB)
    for _ in range(2):
        account_linking.link_registered_users(now=NOW)
        deliver()
    LearnerContentAssignment.objects.exclude(pk=others.pk).update(lms_user_id=PERSON)
    account.delete()
    return others


def nothing_is_left_of_that_person(folder: Path) -> None:
    earlier = "alice@stra\u00dfe.example"
    written = {ALICE, OLD, NEWEST, earlier, "alice@xn--strae-oqa.example"}
    words = written | {learner_key(address) for address in written} | {str(PERSON)}
    assert traces(*words) == set()
    left = {file.name: file.read_text() for file in folder.iterdir()}
    assert "notes.txt" in left
    assert [name for name, text in left.items() if any(word in text.lower() for word in words)] == []
    assert not (folder / "0f0e0d0c-0000-4000-8000-000000000001.eml").exists()


def test_a_second_row_of_the_same_mailbox_is_found_before_it_has_a_key() -> None:
    spelt = given_assignment(given_budget())
    LearnerContentAssignment.objects.filter(pk=spelt.pk).update(
        learner_email="\uff21lice@learners.example", learner_key="0" * 64, mailbox_key=None
    )
    given_assignment(spelt.budget)
    assert erasure_runs.forget(ALICE, now=NOW)["forgotten"] == 2
    assert traces("lice@learners", "\uff21lice") == set()


@pytest.mark.parametrize("forgotten", [OLD, pytest.param(NEWEST, marks=pytest.mark.sqlite_only)])
def test_a_corrected_address_is_forgotten_by_either(folder: Path, forgotten: str) -> None:
    assignment = given_assignment(address=OLD)
    address_corrections.correct_assignment(assignment, address=NEWEST, now=NOW)
    assert {OLD, NEWEST} <= set(assignment.actions.get(action_type="email_corrected").detail[:-1].split())
    deliver()
    assert erasure_runs.forget(forgotten, now=NOW)["complete"]
    assert traces(forgotten, learner_key(forgotten)) == set()


def test_another_persons_rows_are_not_touched(folder: Path) -> None:
    given_assignment(address="malice@learners.example")
    before = json.dumps(list(LearnerContentAssignment.objects.values()), default=str)
    erasure_runs.forget(ALICE, now=NOW)
    assert json.dumps(list(LearnerContentAssignment.objects.values()), default=str) == before


HOME = "o'alice@stra\u00dfe.example"  # U-label; its A-label is stored
LATIN = "o'alice@xn--strae-oqa.example"
WIDE = "".join(chr(ord(one) + 0xFEE0) for one in LATIN)
WRITTEN = [
    HOME,
    LATIN,
    LATIN.upper(),
    HOME.replace("@", "\uff20"),
    WIDE,
    WIDE.upper(),
    "o%27alice%40xn--strae-oqa.example",
    "o%27ALICE%40stra%c3%9fe.example",
    "o%27alice@stra%C3%9Fe.example",
    "o&#x27;alice@xn--strae-oqa.example",
    "o'alice@stra\\u00dfe.example",
    "o&#39;alice&#64;xn--strae-oqa.example",
    "&#111;&#39;&#97;&#108;&#105;&#99;&#101;&#64;xn--strae-oqa&#46;example",
    "&#x6f;&#x27;&#x61;&#x6c;&#x69;&#x63;&#x65;&#x40;xn--strae-oqa.example",
    "o&apos;alice&commat;xn--strae-oqa&period;example",
    "o%2527alice%2540xn--strae-oqa.example",
    "o%2527alice%2540stra%25C3%259Fe.example",
    "o'alice=40xn--strae-oqa.example",
    "o=27alice@stra=C3=9Fe.example",
    "o'ali=\nce@xn--str=\r\nae-oqa.example",
]
AROUND = "<{0}> https://lms.example/?email={0}&next=%2F%3Femail%3D{0}%26 To: x\\n{0}\\n '{0}'. {0}"


def actions_of_others(count: int) -> list[LearnerContentAssignmentAction]:
    """Return an action of as many other learners, to have texts written into."""
    allocate(given_budget(), given_content(), *learners(count))
    actions = LearnerContentAssignmentAction.objects.filter(action_type="learner_linked")
    return list(actions.filter(assignment__learner_email__startswith="learner-").order_by("pk"))


def test_no_way_to_write_an_address_in_a_text_outlives_it(folder: Path) -> None:
    given_assignment(address=HOME)
    others = actions_of_others(len(WRITTEN))
    for number, (action, written) in enumerate(zip(others, WRITTEN, strict=True)):
        action.detail = text = AROUND.format(written)
        action.payload = {"log": [text], written: 1}
        action.save(update_fields=["detail", "payload"])
        (folder / f"0f0e0d0c-0000-4000-8000-{number:012}.eml").write_text(
            f"To: {BOB}\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n{text}"
        )

    assert erasure_runs.forget(LATIN, now=NOW)["complete"]

    for action, written in zip(others, WRITTEN, strict=True):
        action.refresh_from_db()
        detail = re.sub(r"forgotten-[0-9a-f-]{36}@forgotten\.invalid", "{0}", action.detail)
        assert detail == AROUND, written
        assert written.lower() not in json.dumps(action.payload, ensure_ascii=False).lower()
        assert len(action.payload) == 2
    assert list(folder.glob("*.eml")) == []


CONTAINING = [
    f"m{ALICE}",
    f"x+{ALICE}",
    f"x.{ALICE}",
    f"x-{ALICE}",
    f"{ALICE}.org",
    f"{ALICE}-old",
    "x%2Balice%40learners.example",
    "x%252Balice%2540learners.example",
    "x=2Balice=40learners.example",
    "m&#97;lice&#64;learners.example",
    "alice&#64;learners.example.org",
    "alice",
    "\uff20",
]


def written_into_others(texts: Sequence[str]) -> Callable[[], list[tuple[str, object]]]:
    """Write each text into an action of another learner; return how to read what they have then."""
    others = actions_of_others(len(texts))
    for action, text in zip(others, texts, strict=True):
        action.detail, action.payload = text, {text: text}
        action.save(update_fields=["detail", "payload"])
    rows = LearnerContentAssignmentAction.objects.filter(pk__in=[action.pk for action in others])
    return lambda: list(rows.order_by("pk").values_list("detail", "payload"))


def test_another_address_that_contains_it_stays(folder: Path) -> None:
    given_assignment()
    written = written_into_others(CONTAINING)
    erasure_runs.forget(ALICE, now=NOW)
    assert written() == [(text, {text: text}) for text in CONTAINING]


MARKED = [
    "tom+lms@bu\u0308cher.example",
    "TOM+LMS@BU\u0308CHER.EXAMPLE",
    "?to=tom+lms@b%C3%BCcher.example",
    "?to=TOM%2BLMS%40B%C3%9CCHER.EXAMPLE",
    "?to=tom%2Blms%40bu%CC%88cher.example",
]
UNMARKED = ["tom+lms@bucher.example", "TOM+LMS@STRASSE.EXAMPLE"]


def test_letters_with_marks_are_found_however_they_are_composed_and_encoded() -> None:
    given_assignment(address="tom+lms@b\u00fccher.example")
    user = given_user(email="tom+lms@b\u00fccher.example")
    AccountAddress.objects.create(
        user=user,
        address="tom+lms@stra\u00dfe.example",
        learner_key=learner_key("tom+lms@stra\u00dfe.example"),
    )
    texts = [*MARKED, *UNMARKED]
    written = written_into_others(texts)

    assert erasure_runs.forget("tom+lms@b\u00fccher.example", now=NOW)["complete"]

    for text, (detail, payload) in zip(texts, written(), strict=True):
        left = text in UNMARKED
        assert (detail == text, payload == {text: text}) == (left, left), text
