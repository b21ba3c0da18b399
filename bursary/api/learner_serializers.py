"""What the learner's client reads: budgets with the learner's own assignments in them."""

from datetime import datetime
from typing import Any

from django.conf import settings
from django.urls import reverse
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from bursary.api.serializers import (
    POLICY_TYPE,
    AssignmentSerializer,
    ContentOfAssignmentSerializer,
)
from bursary.assignments.acknowledgement import FACT_OF
from bursary.assignments.choices import State
from bursary.assignments.models import FAR_FUTURE, LearnerContentAssignment
from bursary.budgets import ledger
from bursary.budgets.models import Budget


class LearnerAssignmentSerializer(AssignmentSerializer):
    """An assignment as its learner's client shows it. A passed deadline counts before the sweep comes."""

    state = serializers.SerializerMethodField()
    content_metadata = ContentOfAssignmentSerializer(source="shown_content", read_only=True, allow_null=True)
    learner_acknowledged = serializers.SerializerMethodField()

    class Meta(AssignmentSerializer.Meta):
        fields = (
            *AssignmentSerializer.Meta.fields,
            "content_metadata",
            "learner_acknowledged",
        )

    def get_state(self, assignment: LearnerContentAssignment) -> str:
        """Return the state as of now."""
        return state_at(assignment, now=self.context["now"])

    @extend_schema_field(serializers.BooleanField(allow_null=True))
    def get_learner_acknowledged(self, assignment: LearnerContentAssignment) -> bool | None:
        """Return false for what ended; what was acknowledged is not shown, and the rest has no end."""
        return False if self.get_state(assignment) in FACT_OF else None


def state_at(assignment: LearnerContentAssignment, *, now: datetime) -> str:
    """Return the assignment's state, expired from the moment of its deadline on."""
    held = assignment.redeeming_since is not None
    passed = assignment.state == State.ALLOCATED and assignment.expires_at <= now and not held
    return State.EXPIRED.value if passed else assignment.state


def policy_of_learner(budget: Budget, *, assignments: list[Any]) -> dict[str, Any]:
    """Return a budget as the learner's client reads it, with these assignments, serialized."""
    return {
        "uuid": str(budget.uuid),
        "policy_type": POLICY_TYPE,
        "display_name": budget.name,
        "description": budget.description,
        "active": budget.active,
        "catalog_uuid": str(budget.catalog_uuid),
        "enterprise_customer_uuid": str(budget.customer.uuid),
        "subsidy_uuid": str(budget.account.uuid),
        "assignment_configuration": str(budget.assignment_configuration_uuid),
        "subsidy_expiration_date": (budget.ends_at or FAR_FUTURE).isoformat(),
        "is_late_redemption_allowed": False,
        "group_associations": [],
        "policy_redemption_url": redemption_url(budget),
        "remaining_balance": ledger.available_cents(budget),
        "learner_content_assignments": assignments,
        "learner_requests": [],
    }


def redemption_url(budget: Budget) -> str:
    """Return the absolute address at which clients redeem from the budget."""
    return str(settings.BASE_URL) + reverse("redeem", kwargs={"policy_uuid": budget.uuid})
