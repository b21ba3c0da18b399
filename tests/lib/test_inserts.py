"""Many rows in one statement, as `bulk_create` inserts them, whatever columns they share."""

from datetime import timedelta

import pytest
from django.db import DataError, connection, transaction
from pytest_django import DjangoAssertNumQueries

from bursary.access.models import LearnerLink
from bursary.assignments.choices import ActionType, Status
from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.budgets.models import Customer
from bursary.lib import inserts
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
        assert not row._state.adding
    keys = LearnerLink.objects.order_by("learner_key").values_list("learner_key", flat=True)
    assert list(keys) == [f"key-{number}" for number in range(5)]


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
    for keys in (["k" * 65] * 2, ["k", "l" * 65]):
        rows = [action(ActionType.ALLOCATED, cycle=7 + n, dedup_key=key) for n, key in enumerate(keys)]
        with (
            subtests.test("a text that is too long", keys=keys),
            pytest.raises(DataError),
            transaction.atomic(),
        ):
            inserts.insert_all(rows, size=10)


def test_a_row_like_another_has_what_is_its_own_and_new_defaults() -> None:
    assignment, other = (given_assignment(given_budget(), given_content()) for _ in range(2))
    model = LearnerContentAssignmentAction(
        assignment=assignment, action_type=ActionType.NOTIFIED, cycle=1, status=Status.PENDING, created=NOW
    )
    model.pk, model._state.adding = 7, False
    row = inserts.alike(model, pk=None, assignment=other, cycle=2)
    assert not row.pk
    assert (row.assignment, row.assignment_id, row.cycle) == (other, other.pk, 2)
    assert (row.action_type, row.status, row.created) == (ActionType.NOTIFIED, Status.PENDING, NOW)
    assert row.uuid != model.uuid
    row.attempt_log.append({"attempt": 1})
    row.payload["subject"] = "Its own"
    assert (model.attempt_log, model.payload) == ([], {})
    assert row._state.adding
    assert (model.assignment, model.cycle, model._state.adding) == (assignment, 1, False)
