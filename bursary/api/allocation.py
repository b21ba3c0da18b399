"""Allocating, and trying out an allocation."""

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
from bursary.api.inputs import AllocateInput
from bursary.api.refusals import refusal
from bursary.api.serializers import AssignmentSerializer
from bursary.assignments import allocation, listing
from bursary.assignments.matching import Match, Verdict
from bursary.assignments.models import LearnerContentAssignment


class AllocateOutput(serializers.Serializer[Any]):
    """Which assignments are new, which were allocated again, and which were there already."""

    created = AssignmentSerializer(many=True)
    updated = AssignmentSerializer(many=True)
    no_change = AssignmentSerializer(many=True)
    known_by_other_address = serializers.ListField(
        child=serializers.DictField(), help_text="Addresses of learners known under another address"
    )
    duplicates = serializers.ListField(
        child=serializers.DictField(),
        help_text="Entries that repeat a learner, with the first one's position",
    )


class CanAllocateOutput(serializers.Serializer[Any]):
    """What allocating would do now. Cents; null where the budget is unlimited."""

    can_allocate = serializers.BooleanField()
    content_key = serializers.CharField()
    cost_cents = serializers.IntegerField()
    remaining_cents = serializers.IntegerField(allow_null=True)
    deadline = serializers.DictField(allow_null=True)
    refusals = serializers.ListField(child=serializers.DictField())
    learners = serializers.ListField(child=serializers.DictField())


class Allocate(APIView):
    """Assign one course or run to every address, within the budget, all or nothing.

    Repeating it changes nothing and costs nothing.
    """

    @extend_schema(request=AllocateInput, responses={202: AllocateOutput})
    def post(self, request: Request, policy_uuid: UUID) -> Response:
        """Allocate."""
        budget = permitted_budget(request, Permission.ALLOCATE, uuid=policy_uuid)
        asked = _asked(request)
        done = allocation.allocate(budget, **asked, now=timezone.now(), actor=caller(request))
        body = {
            "created": _serialized(done.assignments(Verdict.NEW)),
            "updated": _serialized(done.assignments(Verdict.AGAIN)),
            "no_change": _serialized(done.assignments(Verdict.UNCHANGED)),
            "recognised": [_verdict(one) for one in done.outcomes if one.known_by_other_address],
            "duplicates": [_verdict(one) for one in done.outcomes if one.verdict is Verdict.DUPLICATE],
        }
        return Response(body, status=status.HTTP_202_ACCEPTED)


class CanAllocate(APIView):
    """Try an allocation out: a verdict on every address, the cost, what would remain, the deadline.

    Nothing is changed.
    """

    @extend_schema(request=AllocateInput, responses={200: CanAllocateOutput})
    def post(self, request: Request, policy_uuid: UUID) -> Response:
        """Preview."""
        budget = permitted_budget(request, Permission.ALLOCATE, uuid=policy_uuid)
        asked = _asked(request)
        seen = allocation.preview(budget, **asked, now=timezone.now())
        bad = [
            {
                "position": position,
                "address": asked["entries"][position],
                "verdict": "invalid",
                "problem": problem,
            }
            for position, problem in seen.bad_addresses.items()
        ]
        learners = sorted([*bad, *(_verdict(one) for one in seen.outcomes)], key=lambda one: one["position"])
        body = {
            "can_allocate": not seen.refusals and not seen.bad_addresses,
            "content_key": asked["content_key"],
            "cost_cents": seen.cost_cents,
            "remaining_cents": seen.remaining_cents,
            "deadline": seen.deadline and {"date": seen.deadline, "reason": seen.deadline_reason},
            "refusals": [refusal(one, policy_uuid=policy_uuid) for one in seen.refusals],
            "learners": learners,
        }
        return Response(body)


def _asked(request: Request) -> dict[str, Any]:
    body = AllocateInput(data=request.data)
    body.is_valid(raise_exception=True)
    return {
        "content_key": body.validated_data["content_key"],
        "price_cents": body.validated_data["content_price_cents"],
        "entries": body.validated_data["learner_emails"],
        "due_date": body.validated_data.get("due_date"),
    }


def _serialized(assignments: Iterable[LearnerContentAssignment]) -> Any:
    rows = listing.with_timelines([assignment.pk for assignment in assignments], now=timezone.now())
    return AssignmentSerializer(rows, many=True).data


def _verdict(one: Match) -> dict[str, Any]:
    return {
        "position": one.addressee.position,
        "address": one.addressee.address,
        "verdict": one.verdict.value,
        "recognised": one.known_by_other_address,
        "duplicate_of": one.duplicate_of,
        "assignment_uuid": str(one.assignment.uuid) if one.assignment else None,
    }
