"""The responses to an allocation and to its preview."""

from typing import Any

from drf_spectacular.utils import PolymorphicProxySerializer
from rest_framework import serializers

from bursary.api.serializers import AssignmentSerializer
from bursary.assignments.choices import ExpiryReason, State
from bursary.assignments.matching import FREE_OF_CHARGE, BadAddresses, Verdict
from bursary.assignments.preview_warnings import WarningCode
from bursary.replica.joining import JoiningRefusal

_READ_COLUMN = (
    "The heading of the only column of addresses, if it names other people, such as managers; else absent"
)
REFUSED = (
    *("content_not_in_catalog", *JoiningRefusal, "content_price_unknown", "price_out_of_band"),
    *("deadline_passed", "policy_expired", "subsidy_expired"),
    *("policy_spend_limit_reached", "not_enough_value_in_subsidy", BadAddresses.reason),
)
"""The reasons for which an allocation is refused."""


class UnchangedAssignmentSerializer(AssignmentSerializer):
    """An assignment that a learner already has, or declined, so that none was allocated, and the verdict."""

    verdict = serializers.ChoiceField(choices=[one.value for one in FREE_OF_CHARGE], read_only=True)

    class Meta(AssignmentSerializer.Meta):
        fields = (*AssignmentSerializer.Meta.fields, "verdict")


class UnderstoodOutput(serializers.Serializer[Any]):
    """The instant that the due date means."""

    due_date = serializers.DateTimeField()


class JoiningOutput(serializers.Serializer[Any]):
    """The run that gives the price, and when enrolment closes in the last run that learners can join."""

    content_run_key = serializers.CharField()
    content_price_cents = serializers.IntegerField(allow_null=True)
    join_by = serializers.DateTimeField(
        allow_null=True,
        help_text="When enrolment closes in the last run that learners can join; null without a date",
    )


class DroppedOutput(serializers.Serializer[Any]):
    """A part of an entry that was left out, such as a name."""

    position = serializers.IntegerField(
        help_text="The position in the list that was sent, from 0, of the entry that it was part of"
    )
    text = serializers.CharField()
    column = serializers.CharField(
        allow_null=True,
        help_text="The heading of the column of an address that was left out; null for other parts",
    )


class AssignedOutput(serializers.Serializer[Any]):
    """An existing assignment of a learner."""

    uuid = serializers.UUIDField()
    content_key = serializers.CharField()
    state = serializers.ChoiceField(choices=State.choices)


class EntryOutput(serializers.Serializer[Any]):
    """One entry of the list, and the result for its learner."""

    position = serializers.IntegerField(help_text="The position in the list that was sent, from 0")
    address = serializers.CharField()
    verdict = serializers.ChoiceField(choices=[*Verdict])
    recognised = serializers.BooleanField(help_text="Whether the learner is known by another address")
    duplicate_of = serializers.IntegerField(
        allow_null=True,
        help_text="The position of the learner's first entry; null unless the verdict is `duplicate`",
    )
    assignment_uuid = serializers.UUIDField(allow_null=True)
    assignment = AssignedOutput(allow_null=True)


class WarningOutput(serializers.Serializer[Any]):
    """A warning to check one entry, with its figures."""

    open_ended = True

    code = serializers.ChoiceField(choices=[*WarningCode])
    user_message = serializers.CharField()
    next_step = serializers.CharField()


class CountedWarningOutput(WarningOutput):
    """One kind of warning, and the number of entries with it."""

    open_ended = False

    count = serializers.IntegerField()


class PreviewedEntryOutput(EntryOutput):
    """One entry of a previewed list. An entry that is not a valid address has the verdict `invalid`."""

    verdict = serializers.ChoiceField(choices=[*Verdict, "invalid"])
    problem = serializers.CharField(
        required=False, help_text="Why the entry is not a valid address, in a sentence; absent if it is valid"
    )
    warnings = WarningOutput(many=True)


class PreviewedDeadlineOutput(serializers.Serializer[Any]):
    """The deadline that the assignments would have, and the date that decides it."""

    date = serializers.DateTimeField()
    reason = serializers.ChoiceField(choices=ExpiryReason.choices)


class PreviewedRefusalOutput(serializers.Serializer[Any]):
    """Why an allocation would be refused, with the figures behind it."""

    open_ended = True

    reason = serializers.ChoiceField(choices=REFUSED)
    user_message = serializers.CharField()
    next_step = serializers.CharField()
    policy_uuids = serializers.ListField(child=serializers.UUIDField())


class AllocateOutput(serializers.Serializer[Any]):
    """The assignments by result. Amounts are in cents."""

    understood = UnderstoodOutput(
        required=False, help_text="The instant that the due date means; absent if none was sent"
    )
    allocation_batch_uuid = serializers.UUIDField(help_text="The uuid of the batch that records this request")
    created = AssignmentSerializer(many=True, help_text="New assignments, of learners without an earlier one")
    updated = AssignmentSerializer(many=True, help_text="Ended assignments that were allocated again")
    no_change = UnchangedAssignmentSerializer(
        many=True, help_text="Existing assignments that were not allocated again: open, accepted or declined"
    )
    recognised = EntryOutput(many=True, help_text="Entries of learners that are known by another address")
    dropped = DroppedOutput(many=True)
    read_column = serializers.CharField(required=False, help_text=_READ_COLUMN)
    duplicates = EntryOutput(many=True, help_text="Entries that repeat the learner of an earlier entry")
    joining = JoiningOutput()


class AllocateSummaryInput(serializers.Serializer[Any]):
    """The query parameters of allocate."""

    summary = serializers.BooleanField(
        default=False, help_text="Whether to answer with counts and uuids in place of the assignments"
    )


class AllocatedCountsOutput(serializers.Serializer[Any]):
    """The number of assignments by result."""

    created = serializers.IntegerField()
    updated = serializers.IntegerField()
    no_change = serializers.IntegerField()


class AllocatedUuidsOutput(serializers.Serializer[Any]):
    """The uuids of assignments by result."""

    created = serializers.ListField(child=serializers.UUIDField())
    updated = serializers.ListField(child=serializers.UUIDField())
    no_change = serializers.ListField(child=serializers.UUIDField())


class AllocateSummaryOutput(serializers.Serializer[Any]):
    """The result as counts and uuids, for large requests."""

    understood = UnderstoodOutput(
        required=False, help_text="The instant that the due date means; absent if none was sent"
    )
    allocation_batch_uuid = serializers.UUIDField(help_text="The uuid of the batch that records this request")
    counts = AllocatedCountsOutput()
    uuids = AllocatedUuidsOutput()
    verdicts = serializers.DictField(
        child=serializers.ChoiceField(choices=[one.value for one in FREE_OF_CHARGE]),
        help_text="The verdict on each assignment that was not allocated again, by its uuid",
    )
    recognised = EntryOutput(many=True, help_text="Entries of learners that are known by another address")
    dropped = DroppedOutput(many=True)
    read_column = serializers.CharField(required=False, help_text=_READ_COLUMN)
    duplicates = EntryOutput(many=True, help_text="Entries that repeat the learner of an earlier entry")
    joining = JoiningOutput()


ALLOCATED = PolymorphicProxySerializer(
    component_name="Allocated",
    serializers=[AllocateOutput, AllocateSummaryOutput],
    resource_type_field_name=None,
)


class CanAllocateOutput(serializers.Serializer[Any]):
    """The result that allocating would have now. Amounts are in cents."""

    understood = UnderstoodOutput(
        required=False, help_text="The instant that the due date means; absent if none was sent"
    )
    can_allocate = serializers.BooleanField()
    content_key = serializers.CharField()
    cost_cents = serializers.IntegerField(
        help_text="The cost, in cents, of the assignments that would be allocated"
    )
    remaining_cents = serializers.IntegerField(
        allow_null=True,
        help_text="The amount available afterwards, in cents; negative if the money is short, null "
        "if nothing limits it",
    )
    deadline = PreviewedDeadlineOutput(allow_null=True)
    joining = JoiningOutput(
        allow_null=True, help_text="The run that learners would join; null where the content is refused"
    )
    refusals = PreviewedRefusalOutput(
        many=True, help_text="The reasons for which the allocation would be refused; empty if it would not"
    )
    warnings = CountedWarningOutput(many=True, help_text="The kinds of warnings to check before allocating")
    learners = PreviewedEntryOutput(
        many=True, help_text="The result for each entry of the list, in its order"
    )
    dropped = DroppedOutput(many=True)
    read_column = serializers.CharField(required=False, help_text=_READ_COLUMN)
