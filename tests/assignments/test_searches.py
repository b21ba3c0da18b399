"""Searches of lists: the same rows on every engine, by trigrams on PostgreSQL; many are estimated there."""

import re
from collections.abc import Iterator
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection
from pytest_django import DjangoDbBlocker

from bursary.assignments import listing, searches
from bursary.assignments.listing import AssignmentFilters
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.config.database_checks import check_indexes
from bursary.lib import mailbox
from tests import world
from tests.once import made_once

pytestmark = pytest.mark.django_db

LIKE_PATTERNS = (
    "%",
    "_",
    "\\",
    "100%",
    "0%_s",
    "%%",
    "__",
    "\\%",
    "a%z",
    "_.",
    "[a-z]",
    "*",
    "?",
    ".*",
    "^a",
)
QUOTES = ("'", '"', "'; --", "\\'", "$1", "%s", "%(a)s", "{0}", "&amp;", "<b>")
LETTERS = (
    "MÖWE",
    "möwe",
    "Straße",
    "STRASSE",
    "İstanbul",
    "ISTANBUL",
    "Ἀθῆναι",
    "日本",
    "🙂",
    "e\u0301",
    "é",
)
PARTS = ("abel", "ABEL", "abel@", "@", "@learners", "larkspur.example", "o'neill", "a.b", "+tag", "x" * 255)
WORDS = (
    "of",
    "the",
    "of the",
    "kites abel",
    "abel kites",
    "kites  dora",
    "no such thing",
    "nosuchthing",
    "i",
    "ki",
)
FILTERS = AssignmentFilters({}, queryset=LearnerContentAssignment.objects.none())
TERMS = (*LIKE_PATTERNS, *QUOTES, *LETTERS, *PARTS, *WORDS)
TITLES = {
    "abel@larkspur.example": "Kites of the Möwe",
    "o'neill+tag@learners.example": '100%_safe: it\'s "a" \\ way',
    "a.b_c%d@learners.example": "Straße nach İstanbul",
    "dora@learners.example": "Ἀθῆναι, 日本 and 🙂: café",
}


AS_IF_A_MILLION = (
    "ANALYZE assignments_learnercontentassignment; SET LOCAL enable_seqscan = off;"
    " UPDATE pg_class SET reltuples = 1000000 WHERE oid = 'assignments_learnercontentassignment'::regclass"
)
"""What lets PostgreSQL use its trigrams of a few rows."""


@pytest.fixture(scope="module")
def filled(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Budget]:
    """Fill a budget once for all tests: they read."""
    with made_once(django_db_blocker):
        budget = world.given_budget()
        for address, title in TITLES.items():
            world.allocate(budget, world.given_content(title=title), address)
        yield budget


@pytest.fixture
def rows(filled: Budget) -> Any:
    return LearnerContentAssignment.objects.filter(budget=filled.pk)


def found(rows: Any, term: str) -> Any:
    return FILTERS.in_title_or_address(rows, "search", term)


def test_every_engine_finds_the_rows_with_each_word_in_title_or_address(
    rows: Any, subtests: pytest.Subtests
) -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(AS_IF_A_MILLION)
        assert f"Bitmap Index Scan on {searches.INDEX}" in found(rows, "nosuchthing").explain()
    texts = list(rows.values_list("pk", "content_title", "learner_email"))
    for term in TERMS:
        expected = {
            pk
            for pk, title, address in texts
            if all(
                word.casefold() in title or mailbox.comparable_text(word).lower() in address
                for word in term.split()
            )
        }
        with subtests.test(term):
            result = searches.find(found(rows, term))
            assert set(result.rows.values_list("pk", flat=True)) == expected
            assert not result.are_estimated


def test_more_matches_than_are_counted_are_estimated_on_postgresql_alone(
    rows: Any, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    monkeypatch.setattr(searches, "MAX_COUNTED", 2)
    expected = 0
    monkeypatch.setattr(searches, "estimates", lambda *queries: [expected for _one in queries])

    def page(number: int, term: str = "example") -> tuple[bool, int, int]:
        asked = found(rows, term).order_by("pk")
        read = listing.page(asked, number=number, size=1, now=world.NOW, is_search=True)
        return read.are_estimated, read.count, len(read.rows)

    if connection.vendor != "postgresql":
        assert page(1) == (False, 4, 1)
        return
    with subtests.test("an estimate that is too low never ends a list"):
        assert [page(number) for number in (1, 2, 3)] == [(True, 2, 1), (True, 3, 1), (True, 4, 1)]
    expected = 1_234
    with subtests.test("of each learner state, and their sum to two digits"):
        assert page(1) == (True, 7_400, 1)
    with subtests.test("one that is too high ends with the list"):
        assert (page(4), page(5)) == ((True, 4, 1), (True, 4, 0))
    with subtests.test("as many as are counted"):
        assert page(1, "larkspur") == (False, 1, 1)
        assert page(1, "nosuchthing") == (False, 0, 0)


@pytest.mark.only_on("postgresql", because="it alone has extensions")
def test_without_the_extension_the_migration_leaves_searches_as_they_were(
    rows: Any, subtests: pytest.Subtests
) -> None:
    migration: Any = import_module("bursary.assignments.migrations.0017_trigrams_for_searches")
    editor = SimpleNamespace(connection=connection)

    def warnings() -> list[Any]:
        return list(check_indexes(databases=["default"]))

    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        assert warnings() == []
        cursor.execute("DROP EXTENSION pg_trgm CASCADE")
        cursor.execute("CREATE ROLE restricted")
        cursor.execute("SET LOCAL ROLE restricted")
        migration.add(None, editor)
        cursor.execute("RESET ROLE")
        [warning] = warnings()
        with subtests.test("a role that may not make it"):
            assert warning.id == "bursary.W046"
            assert found(rows, "kites").count() == 1
        with subtests.test("what the warning says an administrator runs"):
            for statement in re.findall("-c '(.*?)'", warning.hint):
                cursor.execute(statement.replace(" CONCURRENTLY", ""))  # in a test's transaction
            assert warnings() == []
            migration.add(None, editor)  # as before, and no error
        with subtests.test("backwards and forwards"):
            migration.remove(None, editor)
            assert [one.id for one in warnings()] == ["bursary.W046"]
            migration.add(None, editor)
            assert warnings() == []
        with subtests.test("an index that was broken off is made anew"):
            cursor.execute(
                "UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", [searches.INDEX]
            )
            assert [one.id for one in warnings()] == ["bursary.W046"]
            migration.add(None, editor)
            assert warnings() == []
