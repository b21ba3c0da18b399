"""The request and response bodies of redemptions."""

from typing import Any

from rest_framework import serializers

from bursary.api.inputs import NumberField, TextField, example
from bursary.api.learner_serializers import LearnerAssignmentSerializer
from bursary.replica.joining import JoiningRefusal
from bursary.replica.reads import ContentUnavailable

NOT_REDEEMED = (
    *("reason_learner_not_assigned_content", "reason_learner_assignment_cancelled"),
    *("reason_learner_assignment_expired", "reason_learner_assignment_reversed"),
    *("policy_expired", "subsidy_expired", "content_not_in_catalog", *JoiningRefusal),
)
"""The reasons for which an assignment cannot be redeemed."""


class PriceOutput(serializers.Serializer[Any]):
    """A price, in dollars and in cents."""

    usd = serializers.FloatField()
    usd_cents = serializers.IntegerField()


class RedeemablePolicyOutput(serializers.Serializer[Any]):
    """The budget to redeem from, and the URL to POST to."""

    uuid = serializers.UUIDField()
    policy_type = serializers.CharField()
    policy_redemption_url = serializers.URLField()
    per_learner_enrollment_limit = serializers.IntegerField(allow_null=True, help_text="Always null")
    per_learner_spend_limit = serializers.IntegerField(allow_null=True, help_text="Always null")


class ReasonOutput(serializers.Serializer[Any]):
    """The reason for which content cannot be redeemed, with its figures."""

    open_ended = True

    reason = serializers.ChoiceField(choices=[*NOT_REDEEMED, ContentUnavailable.reason])
    user_message = serializers.CharField()
    next_step = serializers.CharField()
    metadata = serializers.DictField(help_text="An object with `enterprise_administrators`, an empty array")


class RedeemOutput(serializers.Serializer[Any]):
    """A redemption. `state` is `committed`, `pending` (poll the status URL) or `failed`."""

    uuid = serializers.UUIDField()
    state = serializers.ChoiceField(choices=["committed", "pending", "failed"])
    lms_user_id = serializers.IntegerField(allow_null=True)
    content_key = serializers.CharField()
    subsidy_access_policy_uuid = serializers.UUIDField()
    transaction_status_api_url = serializers.URLField()
    courseware_url = serializers.CharField()


class RedeemabilityOutput(serializers.Serializer[Any]):
    """Whether one content key can be redeemed, from which budget and at which price, or why not."""

    content_key = serializers.CharField()
    can_redeem = serializers.BooleanField()
    has_successful_redemption = serializers.BooleanField()
    list_price = PriceOutput(
        allow_null=True, help_text="The price at which the content is assigned; null if it is not assigned"
    )
    redeemable_subsidy_access_policy = RedeemablePolicyOutput(allow_null=True)
    redemptions = RedeemOutput(many=True)
    reasons = ReasonOutput(many=True)
    display_reason = ReasonOutput(allow_null=True)


@example({"content_key": "course-v1:GlobeX+M245+2027"})
class RedeemInput(serializers.Serializer[Any]):
    """The body of redeem. The learner is the authenticated user; an operator may name another one."""

    content_key = TextField(max_length=255)
    lms_user_id = NumberField(required=False, min_value=1, max_value=2**63 - 1)
    metadata = serializers.DictField(required=False)


class AcknowledgeOutput(serializers.Serializer[Any]):
    """Your named assignments, by result."""

    acknowledged_assignments = LearnerAssignmentSerializer(many=True)
    already_acknowledged_assignments = LearnerAssignmentSerializer(many=True)
    unacknowledged_assignments = LearnerAssignmentSerializer(
        many=True, help_text="Assignments that have not ended"
    )
