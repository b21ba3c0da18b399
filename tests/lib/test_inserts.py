"""Many rows in one statement, as `bulk_create` inserts them, whatever columns they share."""

from collections.abc import Sequence
from contextlib import nullcontext
from datetime import timedelta
from itertools import product
from typing import Any
from uuid import uuid4

import pytest
from django.db import DEFAULT_DB_ALIAS, DataError, IntegrityError, OperationalError, connection, transaction
from django.db.models import Model, Value
from django.db.models.functions import Lower
from django.db.transaction import atomic
from django.utils.translation import gettext_lazy
from pytest_django import DjangoAssertNumQueries

from bursary.access.models import LearnerLink
from bursary.access.sign_in_failures import SignInFailures
from bursary.assignments.choices import ActionType, Status
from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.budgets.models import Budget, Customer
from bursary.lib import inserts
from bursary.replica.models import ContentChange
from tests.world import NOW, given_assignment, given_budget, given_content, given_customer

pytestmark = pytest.mark.django_db


def links(customer: Customer, count: int) -> list[LearnerLink]:
    return [
        LearnerLink(
            customer=customer,
            learner_key=f"key-{number}",
            mailbox_key=None if number % 2 else f"key-{number}",
            learner_email=f"learner-{number}@learners.example",
            created=NOW + timedelta(seconds=number),
        )
        for number in range(count)
    ]


def test_rows_are_stored_as_they_are_and_know_their_keys(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    rows = links(given_customer(), 5)
    with django_assert_num_queries(3):
        inserts.insert_all(rows, size=2)
    for row in rows if connection.features.can_return_rows_from_bulk_insert else ():
        found = LearnerLink.objects.get(pk=row.pk)
        assert (found.learner_key, found.mailbox_key) == (row.learner_key, row.mailbox_key)
        assert (found.learner_email, found.created) == (row.learner_email, row.created)
        assert (row._state.adding, row._state.db) == (False, DEFAULT_DB_ALIAS)
    keys = LearnerLink.objects.order_by("learner_key").values_list("learner_key", flat=True)
    assert list(keys) == [f"key-{number}" for number in range(5)]


@pytest.mark.only_on("sqlite", because="it bounds the values of a statement")
def test_a_statement_has_as_many_rows_as_it_may_have_values(
    monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    monkeypatch.setattr(connection.features, "max_query_params", 12)
    rows = links(given_customer(), 5)  # the customer, and of each row four values: thirteen are too many
    with django_assert_num_queries(3):
        inserts.insert_all(rows, size=5)
    stored = LearnerLink.objects.values_list("pk", "learner_key")
    assert set(stored) == {(row.pk, row.learner_key) for row in rows}


def test_a_row_alone_is_stored_and_knows_its_key() -> None:
    [row] = links(given_customer(), 1)
    inserts.insert_all([row], size=10, unique=("customer", "learner_key"), update=["mailbox_key"])
    if connection.features.can_return_rows_from_bulk_insert:
        assert LearnerLink.objects.get(pk=row.pk).mailbox_key == "key-0"
    inserts.insert_all(links(row.customer, 1), size=10, unique=("customer", "learner_key"))
    assert LearnerLink.objects.get().learner_email == "learner-0@learners.example"


def test_documents_and_texts_that_are_too_long_are_neither_lost_nor_cut(subtests: pytest.Subtests) -> None:
    assignment = given_assignment(given_budget(), given_content())

    def action(kind: ActionType, **columns: object) -> LearnerContentAssignmentAction:
        columns = {"cycle": 9, "status": Status.DONE, "created": NOW, "modified": NOW} | columns
        return LearnerContentAssignmentAction(assignment=assignment, action_type=kind, **columns)

    payloads = [{"subject": "One"}, {"subject": "Two"}]
    for case in (payloads, payloads[:1] * 2):
        with subtests.test("documents, alike or not", case=case):
            rows = [
                action(kind, payload=payload)
                for kind, payload in zip((ActionType.ALLOCATED, ActionType.DECLINED), case, strict=True)
            ]
            inserts.insert_all(rows, size=10)
            written = LearnerContentAssignmentAction.objects.filter(cycle=9).order_by("pk")
            assert list(written.values_list("payload", flat=True)) == case
            assert list(written.values_list("action_type", flat=True)) == ["allocated", "declined"]
            written.delete()
    if connection.vendor == "sqlite":
        return  # it knows no lengths
    for keys, unique in product((["k" * 65] * 2, ["k", "l" * 65]), ((), ("uuid",))):
        rows = [action(ActionType.ALLOCATED, cycle=7 + n, dedup_key=key) for n, key in enumerate(keys)]
        with (
            subtests.test("a text that is too long", keys=keys, unique=unique),
            pytest.raises(DataError),
            transaction.atomic(),
        ):
            inserts.insert_all(rows, size=10, unique=unique)


@pytest.mark.parametrize(
    "documents",
    [
        ["text", "", "null"],
        [1, 2, 3],
        [None, {"a": None}, None],
        [1, True, 1.0],
        [{"a": 0}, {"a": False}],
        ["x"] * 2,
    ],
    ids=str,
)
def test_documents_of_any_kind_are_stored_as_they_are(documents: list[object]) -> None:
    content = given_content()
    rows = [
        ContentChange(content=content, field=str(number), old=one, new=[one], trigger="cron", created=NOW)
        for number, one in enumerate(documents)
    ]
    inserts.insert_all(rows, size=10)
    stored = ContentChange.objects.order_by("pk").values_list("old", "new")
    assert repr(list(stored)) == repr([(one, [one]) for one in documents])
    assert ContentChange.objects.filter(old__isnull=True).count() == documents.count(None)


def test_rows_that_are_there_stay_but_for_what_is_to_update(subtests: pytest.Subtests) -> None:
    customer = given_customer()
    [known] = links(customer, 1)
    known.save()
    later = links(customer, 3)[::-1]
    for row in later:
        row.learner_email, row.mailbox_key = f"new-{row.learner_key}@learners.example", "new"
    unique = ("customer", "learner_key")

    def stored() -> list[tuple[str, str | None, str]]:
        columns = "learner_key", "mailbox_key", "learner_email"
        return list(LearnerLink.objects.order_by("learner_key").values_list(*columns))

    added = [(f"key-{number}", "new", f"new-key-{number}@learners.example") for number in (1, 2)]
    for rows in (later, later[-1:]):
        with subtests.test("what is there stays", rows=len(rows)):
            inserts.insert_all(rows, size=10, unique=unique)
            assert stored() == [("key-0", "key-0", "learner-0@learners.example"), *added]
    as_known = {"mailbox_key": known.mailbox_key, "learner_email": known.learner_email}
    as_new = {"mailbox_key": "new", "learner_email": "new-key-0@learners.example"}
    for rows, update in product((later, later[-1:]), (["mailbox_key"], ["mailbox_key", "learner_email"])):
        with subtests.test("what is to update is updated", rows=len(rows), update=update):
            LearnerLink.objects.filter(pk=known.pk).update(**as_known)
            inserts.insert_all(rows, size=10, unique=unique, update=update)
            written = as_known | {name: as_new[name] for name in update}
            assert stored() == [("key-0", *written.values()), *added]
    assert LearnerLink.objects.get(learner_key="key-0").pk == known.pk


def test_what_is_missing_is_inserted_and_what_is_there_stays() -> None:
    known = SignInFailures.objects.create(digest="known", failures=7, since=NOW)
    rows = [SignInFailures(digest=digest, failures=0, since=NOW) for digest in ("known", "new", "newer")]

    for missing in (rows[:2], rows, rows[:1], []):
        inserts.insert_missing(missing, unique=["digest"])

    stored = SignInFailures.objects.order_by("failures", "digest").values_list("digest", "failures")
    assert list(stored) == [("new", 0), ("newer", 0), ("known", 7)]
    assert SignInFailures.objects.get(digest="known").pk == known.pk


def test_missing_rows_are_inserted_in_the_order_of_what_they_are_known_by() -> None:
    rows = [SignInFailures(digest=digest, failures=0, since=NOW) for digest in ("b", "d", "a", "c")]

    inserts.insert_missing(rows, unique=["digest"])

    stored = SignInFailures.objects.order_by("pk").values_list("digest", flat=True)
    assert list(stored) == ["a", "b", "c", "d"]


def test_missing_rows_are_inserted_in_statements_of_a_set_size(
    monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    monkeypatch.setattr(inserts, "MISSING_PER_STATEMENT", 2)
    rows = [SignInFailures(digest=digest, failures=0, since=NOW) for digest in "abcde"]

    with django_assert_num_queries(3):
        inserts.insert_missing(rows, unique=["digest"])

    assert SignInFailures.objects.count() == 5


def test_what_is_wrong_with_a_missing_row_is_an_error_and_not_taken_for_one_that_is_there() -> None:
    nothing: Any = None  # of which MySQL's INSERT IGNORE would make 0
    wrong = SignInFailures(digest="new", failures=nothing, since=NOW)

    with pytest.raises(IntegrityError), transaction.atomic():
        inserts.insert_missing([wrong], unique=["digest"])


@pytest.mark.parametrize("own", [True, False])
def test_missing_rows_are_inserted_again_after_a_deadlock_but_not_in_a_callers_transaction(
    own: bool, monkeypatch: pytest.MonkeyPatch, transactional_db: None
) -> None:
    insert_all, tries = inserts.insert_all, []

    def deadlocked(rows: Sequence[Model], **options: Any) -> None:
        tries.append(connection.in_atomic_block)
        insert_all(rows, **options)
        if len(tries) == 1:
            raise OperationalError(1213, "Deadlock found when trying to get lock; try restarting transaction")

    monkeypatch.setattr(inserts, "insert_all", deadlocked)
    row = SignInFailures(digest="new", failures=0, since=NOW)
    with nullcontext() if own else pytest.raises(OperationalError), nullcontext() if own else atomic():
        inserts.insert_missing([row], unique=["digest"])

    assert tries == [True] * (2 if own else 1)
    assert SignInFailures.objects.count() == own


@pytest.mark.parametrize("size", [1, 10])
def test_columns_are_computed_by_the_database_where_a_row_says_so(size: int) -> None:
    rows = links(given_customer(), 3)
    rows[1].learner_email = Lower(Value("ONE@LEARNERS.EXAMPLE"))
    inserts.insert_all(rows, size=size, unique=("customer", "learner_key"))
    stored = LearnerLink.objects.order_by("learner_key").values_list("learner_email", flat=True)
    assert list(stored) == [f"{name}@learners.example" for name in ("learner-0", "one", "learner-2")]


def test_rows_that_are_there_stay_where_the_database_computes_others() -> None:
    [known, other] = links(given_customer(), 2)
    known.save()
    again = LearnerLink(customer=known.customer, learner_key="key-0", created=NOW)
    again.learner_email = other.learner_email = Lower(Value("ONE@LEARNERS.EXAMPLE"))
    unique = ("customer", "learner_key")
    inserts.insert_all([again, other], size=10, unique=unique)
    emails = LearnerLink.objects.order_by("learner_key").values_list("learner_email", flat=True)
    assert list(emails) == ["learner-0@learners.example", "one@learners.example"]
    inserts.insert_all([again], size=10, unique=unique, update=["learner_email"])
    assert list(emails.all()) == ["one@learners.example"] * 2


def test_rows_that_are_alike_in_everything_are_all_stored() -> None:
    content = given_content()
    rows = [ContentChange(content=content, field="title", old="a", new="b", created=NOW) for _ in range(2)]
    inserts.insert_all(rows, size=10)
    assert ContentChange.objects.filter(content=content, field="title").count() == 2


def test_instants_that_are_set_when_a_row_is_stored_are_set() -> None:
    known = given_budget()
    rows = [
        Budget(
            customer=known.customer,
            account=known.account,
            catalog_uuid=known.catalog_uuid,
            assignment_configuration_uuid=uuid4(),
        )
        for _ in range(2)
    ]
    inserts.insert_all(rows, size=10)
    stored = Budget.objects.exclude(pk=known.pk).values_list("uuid", "created", "modified")
    assert set(stored) == {(row.uuid, row.created, row.modified) for row in rows}


def test_a_text_that_is_translated_later_is_stored_as_it_reads_now() -> None:
    rows = links(given_customer(), 2)
    rows[1].mailbox_key = gettext_lazy("Waiting")  # type: ignore[assignment]  # a text once it is read
    inserts.insert_all(rows, size=10)
    assert LearnerLink.objects.get(learner_key="key-1").mailbox_key == "Waiting"


def test_a_row_like_another_has_what_is_its_own_and_new_defaults() -> None:
    assignment, other = (given_assignment(given_budget(), given_content()) for _ in range(2))
    model = LearnerContentAssignmentAction(
        assignment=assignment, action_type=ActionType.NOTIFIED, cycle=1, status=Status.PENDING, created=NOW
    )
    model.pk, model._state.adding = 7, False
    row = inserts.unsaved_copy(model, pk=None, assignment=other, cycle=2)
    assert not row.pk
    assert (row.assignment, row.assignment_id, row.cycle) == (other, other.pk, 2)
    assert (row.action_type, row.status, row.created) == (ActionType.NOTIFIED, Status.PENDING, NOW)
    assert row.uuid != model.uuid
    row.attempt_log.append({"attempt": 1})
    row.payload["subject"] = "Its own"
    assert (model.attempt_log, model.payload) == ([], {})
    assert row._state.adding
    assert (model.assignment, model.cycle, model._state.adding) == (assignment, 1, False)
