"""Allocate a course, and preview an allocation."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from bursary.access.permissions import Permission
from bursary.api.authentication import caller
from bursary.api.budgets import permitted_budget
from bursary.api.inputs import AllocateInput, validated
from bursary.api.refusals import refusal
from bursary.api.serializers import AssignmentSerializer
from bursary.assignments import allocation, listing
from bursary.assignments.matching import Match, Verdict
from bursary.assignments.models import LearnerContentAssignment
from bursary.replica.joining import JoiningTerms

_JOINING = (
    "The run that gives the price (`content_run_key`, `content_price_cents`), and `join_by`: when enrolment "
    "closes in the last run that learners can join, null without a date"
)


class AllocateOutput(serializers.Serializer[Any]):
    """The assignments by what happened to them. Amounts are in cents."""

    created = AssignmentSerializer(many=True, help_text="New assignments")
    updated = AssignmentSerializer(many=True, help_text="Ended assignments, allocated again")
    no_change = AssignmentSerializer(many=True, help_text="Assignments that were open or accepted already")
    recognised = serializers.ListField(
        child=serializers.DictField(), help_text="Addresses of learners known by another address"
    )
    duplicates = serializers.ListField(
        child=serializers.DictField(),
        help_text="Entries that repeat a learner, with the position of the first entry",
    )
    joining = serializers.DictField(help_text=_JOINING)


class CanAllocateOutput(serializers.Serializer[Any]):
    """The result that allocating would have now. Amounts are in cents."""

    can_allocate = serializers.BooleanField()
    content_key = serializers.CharField()
    cost_cents = serializers.IntegerField(help_text="For the learners that would be allocated")
    remaining_cents = serializers.IntegerField(
        allow_null=True,
        help_text="Available afterwards; negative if the money is short, null if nothing limits it",
    )
    deadline = serializers.DictField(allow_null=True, help_text="`date` and `reason`")
    joining = serializers.DictField(allow_null=True, help_text=f"{_JOINING}; null where it is refused")
    refusals = serializers.ListField(child=serializers.DictField(), help_text="Why it would be refused")
    learners = serializers.ListField(child=serializers.DictField(), help_text="One for each entry, in order")


class Allocate(APIView):
    """Allocate one course or run to every address, within the budget, all or nothing.

    Reserves the money and sends each learner an e-mail. A repeated request changes nothing and costs nothing.
    """

    @extend_schema(request=AllocateInput, responses={202: AllocateOutput})
    def post(self, request: Request, policy_uuid: UUID) -> Response:
        budget = permitted_budget(request, Permission.ALLOCATE, uuid=policy_uuid)
        done = allocation.allocate(budget, **_parsed(request), now=timezone.now(), actor=caller(request))
        body = {
            "created": _serialized(done.assignments(Verdict.NEW)),
            "updated": _serialized(done.assignments(Verdict.AGAIN)),
            "no_change": _serialized(done.assignments(Verdict.UNCHANGED)),
            "recognised": [_match(one) for one in done.outcomes if one.known_by_other_address],
            "duplicates": [_match(one) for one in done.outcomes if one.verdict is Verdict.DUPLICATE],
            "joining": _joining(done.terms),
        }
        return Response(body, status=status.HTTP_202_ACCEPTED)


class CanAllocate(APIView):
    """Preview an allocation: the result for each address, the cost, the remaining money, the deadline.

    Changes nothing.
    """

    @extend_schema(request=AllocateInput, responses={200: CanAllocateOutput})
    def post(self, request: Request, policy_uuid: UUID) -> Response:
        budget = permitted_budget(request, Permission.ALLOCATE, uuid=policy_uuid)
        asked = _parsed(request)
        preview = allocation.preview(budget, **asked, now=timezone.now())
        invalid = [
            {
                "position": position,
                "address": asked["entries"][position],
                "verdict": "invalid",
                "problem": why,
            }
            for position, why in preview.bad_addresses.items()
        ]
        learners = [*invalid, *(_match(one) for one in preview.outcomes)]
        body = {
            "can_allocate": not preview.refusals and not preview.bad_addresses,
            "content_key": asked["content_key"],
            "cost_cents": preview.cost_cents,
            "remaining_cents": preview.remaining_cents,
            "deadline": preview.deadline and {"date": preview.deadline, "reason": preview.deadline_reason},
            "joining": preview.terms and _joining(preview.terms),
            "refusals": [refusal(one, policy_uuid=policy_uuid) for one in preview.refusals],
            "learners": sorted(learners, key=lambda one: one["position"]),
        }
        return Response(body)


def _parsed(request: Request) -> dict[str, Any]:
    body = validated(AllocateInput, request.data)
    return {
        "content_key": body["content_key"],
        "price_cents": body["content_price_cents"],
        "entries": body["learner_emails"],
        "due_date": body.get("due_date"),
    }


def _serialized(assignments: Iterable[LearnerContentAssignment]) -> Any:
    rows = listing.with_timelines([assignment.pk for assignment in assignments], now=timezone.now())
    return AssignmentSerializer(rows, many=True).data


def _joining(terms: JoiningTerms) -> dict[str, Any]:
    return {
        "content_run_key": terms.run_key,
        "content_price_cents": terms.price_cents,
        "join_by": terms.join_by,
    }


def _match(one: Match) -> dict[str, Any]:
    return {
        "position": one.addressee.position,
        "address": one.addressee.address,
        "verdict": one.verdict.value,
        "recognised": one.known_by_other_address,
        "duplicate_of": one.duplicate_of,
        "assignment_uuid": str(one.assignment.uuid) if one.assignment else None,
    }
