"""Long lists answer byte for byte what the serializers describe, whatever has happened to an assignment."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import pytest
from django.utils.translation import gettext_lazy
from pytest_django import DjangoAssertNumQueries
from rest_framework.renderers import JSONRenderer

from bursary.access.models import Role
from bursary.api.assignment_bodies import admin_bodies, bodies, learner_body
from bursary.api.learner_serializers import LearnerAssignmentSerializer
from bursary.api.rendering import FastJSONRenderer
from bursary.api.serializers import AdminAssignmentSerializer, AssignmentSerializer
from bursary.assignments import actions, listing, redemption, shown_assignments
from bursary.assignments.choices import ActionType, ErrorReason, LearnerState, State
from bursary.assignments.models import LearnerContentAssignment
from bursary.assignments.outcomes import Failed, Failure
from bursary.budgets.models import Budget
from bursary.replica.models import CatalogMembership, ContentMetadata, ContentType
from tests.world import (
    ALICE,
    BOB,
    NOW,
    allocate,
    change_content,
    deliver,
    given_assignment,
    given_budget,
    given_content,
    given_run,
    given_user,
)

pytestmark = pytest.mark.django_db
LATER = NOW + timedelta(days=1)


def in_every_state(budget: Budget, course: ContentMetadata, late: ContentMetadata) -> None:
    """Make an assignment of each state and learner state, by hand."""
    for number, (state, shown) in enumerate(
        [(state, shown) for state in State for shown in LearnerState], start=1
    ):
        content = late if number % 3 == 0 else course
        one = given_assignment(budget, content, address=f"l{number}@learners.example")
        times = {f"{name}_at": NOW for name in ("accepted", "cancelled", "expired", "reversed")}
        extended = LATER if number % 4 == 0 else None
        LearnerContentAssignment.objects.filter(pk=one.pk).update(
            state=state,
            learner_state=shown,
            recent_action_at=LATER if number % 2 else NOW,
            expires_at=NOW + timedelta(days=number - 5),
            extended_until=extended,
            transaction_uuid=uuid4() if state == State.ACCEPTED else None,
            **times,
        )


def every_kind(budget: Budget) -> list[int]:
    """Return assignments in each state and learner state, and of each kind of content."""
    dated: dict[str, Any] = {
        "start_date": NOW,
        "end_date": NOW + timedelta(days=70),
        "enroll_by": NOW + timedelta(days=30),
    }
    course = given_content(title="Line\u2028ends \u2603 ☃", partners=[{"name": "Riverside"}], **dated)
    given_run(course, enroll_by=NOW + timedelta(days=50), key="course-v1:Riverside+R2")
    lost, gone = given_content(title="Left since"), given_content(title="Renamed since")
    undated = given_content(content_type=ContentType.PROGRAM, title="")
    run = given_run(given_content(), key="course-v1:Riverside+R3")
    late = given_content()
    given_user(Role.LEARNER, customer=budget.customer, email=ALICE, lms_user_id=7)
    given_user(email=BOB, lms_user_id=8, is_active=False)
    for content in (course, lost, gone, undated, run, given_content()):
        allocate(budget, content, ALICE, BOB)
    deliver()
    in_every_state(budget, course, late)
    failed = given_assignment(budget, course, address="failed@learners.example").actions.get(
        action_type=ActionType.NOTIFIED
    )
    [claimed] = actions.claim(now=NOW, lease=timedelta(minutes=5), limit=1, pks=[failed.pk])
    actions.finish(claimed, Failed(Failure(ErrorReason.EMAIL_ERROR, "address_rejected", "No.", "")), now=NOW)
    change_content(late, enroll_by=NOW + timedelta(hours=1))
    CatalogMembership.objects.filter(content__in=[lost.pk, gone.pk]).delete()
    change_content(gone, title="Another")
    LearnerContentAssignment.objects.filter(content=undated).update(content=None)
    return list(budget.assignments.order_by("pk").values_list("pk", flat=True))


@pytest.mark.on_every_engine
def test_they_are_the_serializers_bytes(subtests: pytest.Subtests) -> None:
    budget = given_budget()
    pks = every_kind(budget)
    rows = listing.with_timelines(pks, now=LATER)
    shown = shown_assignments.load_all(pks, now=LATER)
    joining_refusals = redemption.joining_refusals([(one, one.content_key) for one in rows], now=LATER)
    context = {"now": LATER, "joining_refusals": joining_refusals}
    assert joining_refusals
    ways: dict[str, tuple[Callable[[], Sequence[Any]], Any]] = {
        "an allocation's": (lambda: bodies(shown), AssignmentSerializer(rows, many=True)),
        "the list's": (lambda: admin_bodies(shown), AdminAssignmentSerializer(rows, many=True)),
        "a learner's": (
            lambda: [learner_body(one, now=LATER, joining_refusals=joining_refusals) for one in shown],
            LearnerAssignmentSerializer(rows, many=True, context=context),
        ),
    }
    for name, (fast, serializer) in ways.items():
        described = serializer.data
        for ours, theirs in zip(fast(), described, strict=True):
            with subtests.test(name, assignment=theirs["uuid"]):
                assert FastJSONRenderer().render(ours) == JSONRenderer().render(theirs)


def test_they_take_as_many_queries_for_many_as_for_one(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    budget = given_budget()
    allocate(budget, given_content(), *(f"l{number}@learners.example" for number in range(9)))
    allocate(budget, given_content(), *(f"l{number}@learners.example" for number in range(9)))
    pks = list(budget.assignments.values_list("pk", flat=True))
    for part in (pks[:1], pks):
        with django_assert_num_queries(4):
            found = shown_assignments.load_all(part, now=NOW)
            assert admin_bodies(found)
            assert [learner_body(one, now=NOW, joining_refusals={}) for one in found]


@pytest.mark.parametrize(
    "data",
    [
        None,
        {"of": datetime(2026, 3, 2, 9, 0, 0, 120, tzinfo=UTC), "at": NOW, "id": uuid4()},
        {"elsewhere": NOW.astimezone(timezone(timedelta(hours=2)))},
        {"lines": "one\u2028two\u2029three", "<&>": '☃\u0000\x7f"\\/'},
        {"large": 2**80, "negative": -(2**63)},
        {1: "a key that is no text"},
        {"lazy": gettext_lazy("Waiting"), "state": State.ALLOCATED, "number": LearnerState.WAITING},
        [[], {}, None, True, 1.5, 0.1],
    ],
    ids=lambda data: str(data)[:40],
)
def test_the_renderer_gives_the_bytes_of_drfs(data: object) -> None:
    assert FastJSONRenderer().render(data) == JSONRenderer().render(data)
    indented: tuple[str, dict[str, Any]] = ("application/json; indent=2", {})
    assert FastJSONRenderer().render(data, *indented) == JSONRenderer().render(data, *indented)
