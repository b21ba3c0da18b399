"""Responses in enterprise-access' format: a price is a negative quantity in cents."""

from datetime import datetime
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from bursary.assignments.choices import ActionType, ErrorReason, ExpiryReason, LearnerState, Status
from bursary.assignments.learner_accounts import AccountEnded
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.assignments.outcomes import FIRST_OCCURRENCES
from bursary.replica import reads
from bursary.replica.models import ContentMetadata, RefreshTrigger

LEARNER_STATES = [state.label for state in LearnerState if state.label]
INTERNAL_OF_ATTEMPTS = ("traceback", "counted", FIRST_OCCURRENCES)  # for people, and for the runner


class TextOrNullField(serializers.CharField):
    """Read-only text; null if it is empty or its source is missing."""

    def __init__(self, **options: Any) -> None:
        super().__init__(read_only=True, allow_null=True, **options)

    def to_representation(self, value: str) -> str | None:  # type: ignore[override]  # None is its purpose
        """Return the text, or None."""
        return value or None


class ExpirationOutput(serializers.Serializer[Any]):
    """A deadline, and the date that decides it."""

    date = serializers.DateTimeField()
    reason = serializers.ChoiceField(choices=ExpiryReason.choices)


class RecentActionOutput(serializers.Serializer[Any]):
    """The latest allocation or successful reminder."""

    action_type = serializers.ChoiceField(choices=["assigned", "reminded"])
    timestamp = serializers.DateTimeField()


class FailureOutput(serializers.Serializer[Any]):
    """The latest failure, in enterprise-access' words; `cause` is the exact code."""

    action_type = serializers.ChoiceField(choices=ActionType.choices)
    error_reason = serializers.ChoiceField(choices=ErrorReason.choices)
    cause = serializers.CharField()


class AttemptOutput(serializers.Serializer[Any]):
    """A failed attempt: its number, time, cause and error."""

    open_ended = True


class ActionSerializer(serializers.ModelSerializer[LearnerContentAssignmentAction]):
    """An action in lists. Without stack traces."""

    completed_at = serializers.SerializerMethodField(
        help_text="When the action succeeded, was skipped or was superseded; null before, and for a final "
        "failure, which the timeline dates by `failed_at`"
    )
    error_reason = TextOrNullField(
        help_text="The reason of a final failure, in enterprise-access' words, else null"
    )
    cause = serializers.CharField(source="error_code", read_only=True)

    class Meta:
        model = LearnerContentAssignmentAction
        fields: tuple[str, ...] = (
            "created",
            "modified",
            "uuid",
            "action_type",
            "completed_at",
            "error_reason",
            "status",
            "cause",
            "cycle",
        )

    def get_completed_at(self, action: LearnerContentAssignmentAction) -> datetime | None:
        """Return when it ended. Clients expect null for a failure; its time is `failed_at`."""
        return None if action.status == Status.FAILED else action.completed_at


class TimelineActionSerializer(ActionSerializer):
    """An action on the timeline, with its attempts, their errors and the time of the next one."""

    retry_of = serializers.UUIDField(source="retry_of.uuid", default=None, allow_null=True, read_only=True)
    occasion = serializers.CharField(source="dedup_key", read_only=True)
    content_run_key = TextOrNullField(
        help_text="The key of the run that a redemption of a course is for; else null"
    )
    attempt_log = serializers.SerializerMethodField()
    failed_at = serializers.SerializerMethodField(
        help_text="When the action failed for good; null if it did not"
    )

    class Meta(ActionSerializer.Meta):
        fields = (
            *ActionSerializer.Meta.fields,
            "failed_at",
            "detail",
            "content_run_key",
            "occasion",
            "attempts",
            "attempt_log",
            "due_at",
            "recipient",
            "provider_ref",
            "retry_of",
        )
        extra_kwargs = {  # DRF's own attribute
            "due_at": {"help_text": "When the action must be worked on next; null once it is finished"}
        }

    def get_failed_at(self, action: LearnerContentAssignmentAction) -> datetime | None:
        """Return when it finally failed, else null."""
        return action.completed_at if action.status == Status.FAILED else None

    @extend_schema_field(AttemptOutput(many=True))
    def get_attempt_log(self, action: LearnerContentAssignmentAction) -> list[dict[str, Any]]:
        """Return the failed attempts, the last ten, without stack traces."""
        return [
            {name: value for name, value in entry.items() if name not in INTERNAL_OF_ATTEMPTS}
            for entry in action.attempt_log
        ]


class ContentOfAssignmentSerializer(serializers.ModelSerializer[ContentMetadata]):
    """An assignment's content. `as_of` is the last time that upstream confirmed it."""

    as_of = serializers.DateTimeField(
        source="checked_at", read_only=True, help_text="When upstream last confirmed the content"
    )

    class Meta:
        model = ContentMetadata  # or upstream's answer, which has the same attributes
        fields = (
            "title",
            "start_date",
            "end_date",
            "enroll_by",
            "price_cents",
            "course_type",
            "partners",
            "as_of",
        )


class AssignmentSerializer(serializers.ModelSerializer[LearnerContentAssignment]):
    """An assignment."""

    assignment_configuration = serializers.UUIDField(source="budget.assignment_configuration_uuid")
    parent_content_key = TextOrNullField(
        help_text="The content key of a run's course; null for other content"
    )
    is_assigned_course_run = serializers.BooleanField(read_only=True)
    content_title = TextOrNullField(
        source="shown_content.title", help_text="The content's title; null if it is unknown"
    )
    content_quantity = serializers.SerializerMethodField(help_text="The price in cents, zero or negative")
    earliest_possible_expiration = serializers.SerializerMethodField()
    actions = ActionSerializer(many=True, read_only=True)
    lms_user_id = serializers.SerializerMethodField(
        help_text="The learner's LMS user id; null if it is unknown or the person is no learner of "
        "the budget's organisation"
    )

    class Meta:
        model = LearnerContentAssignment
        fields: tuple[str, ...] = (
            "uuid",
            "assignment_configuration",
            "learner_email",
            "lms_user_id",
            "content_key",
            "parent_content_key",
            "is_assigned_course_run",
            "content_title",
            "content_quantity",
            "state",
            "transaction_uuid",
            "actions",
            "earliest_possible_expiration",
        )

    def get_lms_user_id(self, assignment: LearnerContentAssignment) -> int | None:
        """Return the id if the person is a learner of the budget's organisation, as `listing` determines."""
        return assignment.lms_user_id if getattr(assignment, "learns_here", False) else None

    def get_content_quantity(self, assignment: LearnerContentAssignment) -> int:
        """Return the assigned price in cents, negative."""
        return -assignment.price_cents

    @extend_schema_field(ExpirationOutput)
    def get_earliest_possible_expiration(self, assignment: LearnerContentAssignment) -> dict[str, Any]:
        """Return the deadline and its reason."""
        return {"date": _iso(assignment.expires_at), "reason": assignment.expires_reason}


class AdminAssignmentSerializer(AssignmentSerializer):
    """An assignment for administrators."""

    recent_action = serializers.SerializerMethodField()
    learner_state = serializers.SerializerMethodField()
    error_reason = serializers.SerializerMethodField()
    join_by = serializers.DateTimeField(
        read_only=True,
        allow_null=True,
        help_text="When enrolment closes in the last run that the learner can join in time; null without a "
        "date. Filters and orderings name it `content_enroll_by`",
    )
    account_ended = serializers.SerializerMethodField()
    content_metadata = ContentOfAssignmentSerializer(source="shown_content", read_only=True, allow_null=True)

    class Meta(AssignmentSerializer.Meta):
        fields = (
            *AssignmentSerializer.Meta.fields,
            "recent_action",
            "learner_state",
            "error_reason",
            "account_ended",
            "join_by",
            "content_metadata",
        )

    @extend_schema_field(RecentActionOutput)
    def get_recent_action(self, assignment: LearnerContentAssignment) -> dict[str, Any]:
        """Return the latest allocation or successful reminder; never null."""
        reminded = assignment.recent_action_at > assignment.allocated_at
        return {
            "action_type": "reminded" if reminded else "assigned",
            "timestamp": _iso(assignment.recent_action_at),
        }

    @extend_schema_field(serializers.ChoiceField(choices=LEARNER_STATES, allow_null=True))
    def get_learner_state(self, assignment: LearnerContentAssignment) -> str | None:
        """Return `notifying`, `waiting`, `expired`, `failed` or null."""
        return LearnerState(assignment.learner_state).label or None

    @extend_schema_field(serializers.ChoiceField(choices=AccountEnded.choices, allow_null=True))
    def get_account_ended(self, assignment: LearnerContentAssignment) -> str | None:
        """Return `deactivated` or `deleted` if the learner's account is, as it gets no mails; else null."""
        return getattr(assignment, "account_ended", "") or None

    @extend_schema_field(FailureOutput(allow_null=True))
    def get_error_reason(self, assignment: LearnerContentAssignment) -> dict[str, Any] | None:
        """Return the latest failure without a retry; `cause` is the exact code."""
        failed = assignment.current_failure()
        if failed is None:
            return None
        return {
            "action_type": failed.action_type,
            "error_reason": failed.error_reason,
            "cause": failed.error_code,
        }


class ContentMetadataSerializer(serializers.ModelSerializer[ContentMetadata]):
    """A course, run, program or pathway of the replica."""

    parent = serializers.SerializerMethodField(  # type: ignore[assignment]  # shadows DRF's own
        help_text="The content key of a run's course; null for other content"
    )
    source = serializers.ChoiceField(  # type: ignore[assignment]  # likewise
        RefreshTrigger.choices, source="trigger", help_text="What caused the last fetch"
    )
    as_of = serializers.DateTimeField(
        source="checked_at", read_only=True, help_text="When upstream last confirmed the content"
    )

    class Meta:
        model = ContentMetadata
        fields: tuple[str, ...] = (
            "content_key",
            "content_type",
            "uuid",
            "parent",
            "title",
            "course_type",
            "product_source",
            "partners",
            "image_url",
            "start_date",
            "end_date",
            "enroll_start",
            "enroll_by",
            "price_cents",
            "pacing",
            "weeks_to_complete",
            "advertised_run",
            "active",
            "completeness",
            "source",
            "upstream_modified",
            "fetched_at",
            "checked_at",
            "changed_at",
            "fresh_until",
            "gone_at",
            "as_of",
        )

    @extend_schema_field(serializers.CharField(allow_null=True))
    def get_parent(self, content: ContentMetadata) -> str | None:
        """Return the key of a run's course."""
        return content.parent_key or None


class ContentMetadataWithPayloadSerializer(ContentMetadataSerializer):
    """Content with the record that upstream serves."""

    # `context["memberships"]` has the memberships with links to show.

    payload = serializers.SerializerMethodField()

    class Meta(ContentMetadataSerializer.Meta):
        fields = (
            *ContentMetadataSerializer.Meta.fields,
            "payload",
        )

    @extend_schema_field(serializers.DictField())
    def get_payload(self, content: ContentMetadata) -> dict[str, object]:
        """Return the record, with links if only one catalog holds it."""
        held = self.context["memberships"].filter(content=content)
        return reads.served_record(content, catalogs=held.values_list("catalog_uuid", flat=True))


def _iso(moment: datetime) -> str:
    return str(serializers.DateTimeField().to_representation(moment))
