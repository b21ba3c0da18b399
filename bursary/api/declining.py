"""The learner's request to decline an assignment."""

from typing import Any
from uuid import UUID

from django.http import Http404
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from bursary.access.permissions import Permission
from bursary.api.authentication import caller
from bursary.api.budgets import permitted_budget
from bursary.api.inputs import TextField, example, validated
from bursary.api.views import APIView
from bursary.assignments import declining, redemption
from bursary.assignments.choices import State


@example(reason="No time this spring")
class DeclineInput(serializers.Serializer[Any]):
    """The body of decline. The learner is always the authenticated user."""

    reason = TextField(
        required=False,
        allow_blank=True,
        default="",
        help_text=f"The reason, which administrators see; at most {declining.LONGEST_REASON} characters",
    )


class DeclineOutput(serializers.Serializer[Any]):
    """The declined assignment; `no_change` is true if it was declined before."""

    uuid = serializers.UUIDField()
    state = serializers.CharField()
    no_change = serializers.BooleanField()


class Decline(APIView):
    """Decline your own open assignment. Its money is free at once. Safe to repeat."""

    reasons = {
        422: (
            *("reason_learner_assignment_cancelled", "reason_learner_assignment_expired"),
            *("reason_learner_assignment_reversed", "reason_learner_assignment_accepted"),
            *("reason_learner_assignment_being_redeemed", "decline_reason_too_long"),
            "decline_reason_unreadable",
        )
    }

    @extend_schema(request=DeclineInput, responses=DeclineOutput)
    def post(self, request: Request, configuration_uuid: UUID, assignment_uuid: UUID) -> Response:
        budget = permitted_budget(request, Permission.LEARN, assignment_configuration_uuid=configuration_uuid)
        user = caller(request)
        own = redemption.of_learner(lms_user_id=user.lms_user_id, learner_key=user.learner_key)
        assignment = own.filter(budget=budget, uuid=assignment_uuid).first()
        if assignment is None:
            raise Http404("You have no such assignment in this budget.")
        reason = validated(DeclineInput, request.data)["reason"]
        declined = declining.decline(assignment, reason=reason, now=timezone.now(), actor=user)
        return Response({"uuid": assignment.uuid, "state": State.CANCELLED, "no_change": not declined})
