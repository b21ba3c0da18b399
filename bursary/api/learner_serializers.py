"""Responses to learners' clients: budgets with the learner's assignments."""

from datetime import datetime
from typing import Any

from django.conf import settings
from django.urls import reverse
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from bursary.api.policy_serializers import POLICY_TYPE, finite
from bursary.api.serializers import AssignmentSerializer, ContentOfAssignmentSerializer
from bursary.assignments import redemption
from bursary.assignments.acknowledgement import FACT_OF
from bursary.assignments.choices import State
from bursary.assignments.models import LearnerContentAssignment
from bursary.assignments.open_assignments import is_overdue
from bursary.budgets import ledger
from bursary.budgets.models import Budget, NotInUse
from bursary.lib.moments import FAR_FUTURE


class NotAcceptableOutput(serializers.Serializer[Any]):
    """Why an open assignment cannot be accepted at present."""

    reason = serializers.CharField()
    user_message = serializers.CharField()
    next_step = serializers.CharField()


class LearnerAssignmentSerializer(AssignmentSerializer):
    """An assignment for its learner. It is `expired` from its deadline on, even before the task has run."""

    state = serializers.SerializerMethodField()
    content_metadata = ContentOfAssignmentSerializer(source="shown_content", read_only=True, allow_null=True)
    join_by = serializers.DateTimeField(
        read_only=True,
        allow_null=True,
        help_text="When enrolment closes in the last run that you can join in time; null without a date",
    )
    learner_acknowledged = serializers.SerializerMethodField()
    not_acceptable_now = serializers.SerializerMethodField()

    class Meta(AssignmentSerializer.Meta):
        fields = (
            *AssignmentSerializer.Meta.fields,
            "content_metadata",
            "join_by",
            "learner_acknowledged",
            "not_acceptable_now",
        )

    @extend_schema_field(NotAcceptableOutput(allow_null=True))
    def get_not_acceptable_now(self, assignment: LearnerContentAssignment) -> dict[str, str] | None:
        """Return why an open assignment cannot be accepted at present, else null.

        Either its budget is not in use, or its content cannot be joined: see `context["joining_refusals"]`.
        """
        if self.get_state(assignment) != State.ALLOCATED:
            return None
        pair = (assignment.pk, assignment.content_key)
        of_joining = self.context.get("joining_refusals", {}).get(pair)
        refusal = redemption.budget_refusal(assignment, now=self.context["now"]) or of_joining
        if refusal is None:
            return None
        return {
            "reason": refusal.reason,
            "user_message": refusal.sentence,
            "next_step": refusal.next_step,
        }

    @extend_schema_field(serializers.ChoiceField(choices=State.choices))
    def get_state(self, assignment: LearnerContentAssignment) -> str:
        """Return the state as of `context["now"]`."""
        return state_at(assignment, now=self.context["now"])

    @extend_schema_field(serializers.BooleanField(allow_null=True))
    def get_learner_acknowledged(self, assignment: LearnerContentAssignment) -> bool | None:
        """Return false if it has ended, else null. An acknowledged assignment is not listed."""
        return False if self.get_state(assignment) in FACT_OF else None


class PolicyOfLearnerOutput(serializers.Serializer[Any]):
    """A budget from which a learner has assignments. Amounts are in cents."""

    uuid = serializers.UUIDField()
    policy_type = serializers.CharField()
    display_name = serializers.CharField()
    description = serializers.CharField()
    active = serializers.BooleanField()
    not_in_use = serializers.ChoiceField(choices=NotInUse.choices, allow_null=True)
    catalog_uuid = serializers.UUIDField()
    enterprise_customer_uuid = serializers.UUIDField()
    subsidy_uuid = serializers.UUIDField()
    assignment_configuration = serializers.UUIDField()
    subsidy_expiration_date = serializers.DateTimeField()
    is_late_redemption_allowed = serializers.BooleanField()
    group_associations = serializers.ListField(child=serializers.CharField(), help_text="Always empty")
    policy_redemption_url = serializers.URLField(help_text="The URL to POST to in order to redeem")
    remaining_balance = serializers.IntegerField()
    learner_content_assignments = LearnerAssignmentSerializer(many=True)
    learner_requests = serializers.ListField(child=serializers.DictField(), help_text="Always empty")


def state_at(assignment: LearnerContentAssignment, *, now: datetime) -> str:
    """Return the state at `now`; `expired` from the deadline on, unless it is being redeemed."""
    return State.EXPIRED if is_overdue(assignment, now=now) else assignment.state


def policy_of_learner(budget: Budget, *, assignments: list[Any], now: datetime) -> dict[str, Any]:
    """Return the body of a budget for a learner, with these serialized assignments. Amounts in cents."""
    return {
        "uuid": str(budget.uuid),
        "policy_type": POLICY_TYPE,
        "display_name": budget.name,
        "description": budget.description,
        "active": budget.active and budget.retired_at is None,
        "not_in_use": budget.not_in_use(now),
        "catalog_uuid": str(budget.catalog_uuid),
        "enterprise_customer_uuid": str(budget.customer.uuid),
        "subsidy_uuid": str(budget.account.uuid),
        "assignment_configuration": str(budget.assignment_configuration_uuid),
        "subsidy_expiration_date": (budget.ends_at or FAR_FUTURE).isoformat(),
        "is_late_redemption_allowed": False,
        "group_associations": [],
        "policy_redemption_url": redemption_url(budget),
        "remaining_balance": finite(ledger.available_cents(budget)),
        "learner_content_assignments": assignments,
        "learner_requests": [],
    }


def redemption_url(budget: Budget) -> str:
    """Return the absolute URL at which clients redeem from the budget."""
    return str(settings.BASE_URL) + reverse("redeem", kwargs={"policy_uuid": budget.uuid})
