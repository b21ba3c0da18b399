"""An allocation batch: the fields of the request, and the states of its assignments."""

from collections import Counter
from typing import Any
from uuid import UUID

from django.http import Http404
from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from bursary.access.permissions import Permission, granted
from bursary.api.assignment_bodies import admin_bodies
from bursary.api.assignments import OF_LISTS, BudgetTimeZoneFilters
from bursary.api.authentication import caller
from bursary.api.paging import AssignmentPages, LearnerStateCountOutput, PageOutput
from bursary.api.repairs import CauseOutput
from bursary.api.serializers import LEARNER_STATES, AdminAssignmentSerializer
from bursary.api.views import APIView
from bursary.assignments import allocation_batches, listing
from bursary.assignments.choices import State
from bursary.assignments.matching import FREE_OF_CHARGE, Verdict
from bursary.assignments.models import AllocationBatch, LearnerContentAssignment

MAX_UNCHANGED = 1000


class VerdictCountOutput(serializers.Serializer[Any]):
    """A verdict, and its number of addresses."""

    verdict = serializers.ChoiceField(choices=[*Verdict])
    count = serializers.IntegerField()


class StateCountOutput(serializers.Serializer[Any]):
    """A displayed state, and its number of assignments."""

    state = serializers.ChoiceField(choices=State.choices)
    learner_state = serializers.ChoiceField(choices=LEARNER_STATES, allow_null=True)
    count = serializers.IntegerField()


class LeftUnchangedOutput(serializers.Serializer[Any]):
    """An assignment for which nothing was allocated, and why."""

    assignment_uuid = serializers.UUIDField()
    verdict = serializers.ChoiceField(choices=[one.value for one in FREE_OF_CHARGE])


class AllocationBatchOutput(serializers.Serializer[Any]):
    """A batch, the counts of its assignments, and a page of them. Amounts are in cents."""

    uuid = serializers.UUIDField()
    policy_uuid = serializers.UUIDField(source="budget.uuid")
    assignment_configuration = serializers.UUIDField(source="budget.assignment_configuration_uuid")
    actor = serializers.SerializerMethodField(help_text="The user name of the administrator; null if unknown")
    content_key = serializers.CharField()
    content_price_cents = serializers.IntegerField(source="price_cents")
    due_date = serializers.DateTimeField(allow_null=True)
    message = serializers.CharField()
    created = serializers.DateTimeField()
    verdicts = serializers.SerializerMethodField(help_text="The number of addresses by verdict")

    def get_actor(self, batch: AllocationBatch) -> str | None:
        """Return the user name."""
        return batch.actor.username if batch.actor else None

    @extend_schema_field(VerdictCountOutput(many=True))
    def get_verdicts(self, batch: AllocationBatch) -> list[dict[str, Any]]:
        """Return each verdict with its count, most frequent first."""
        ordered = sorted(batch.counts.items(), key=lambda counted: (-counted[1], counted[0]))
        return [{"verdict": verdict, "count": count} for verdict, count in ordered]


class AllocationBatchPageOutput(PageOutput, AllocationBatchOutput):
    """A batch, the counts of its assignments, and a page of them."""

    results = AdminAssignmentSerializer(many=True)
    learner_state_counts = LearnerStateCountOutput(many=True, required=False)
    states = StateCountOutput(many=True)
    no_change = LeftUnchangedOutput(
        many=True, help_text=f"The assignments that were not allocated again; at most {MAX_UNCHANGED}"
    )
    causes = CauseOutput(many=True)
    as_of = serializers.DateTimeField()


class AllocationBatchDetail(APIView):
    """Read one batch: the learners notified, those not, and why; the assignments in pages."""

    reasons = OF_LISTS
    queryset = LearnerContentAssignment.objects.all()
    pagination_class = AssignmentPages
    filter_backends = (BudgetTimeZoneFilters,)
    filterset_class = listing.AssignmentFilters

    @extend_schema(responses=AllocationBatchPageOutput)
    def get(self, request: Request, batch_uuid: UUID) -> Response:
        permitted = granted(caller(request), Permission.READ_ASSIGNMENTS, customer="budget__customer_id")
        batches = AllocationBatch.objects.select_related("budget__customer", "actor")
        batch = batches.filter(permitted, uuid=batch_uuid).first()
        if batch is None:
            raise Http404("There is no such batch.")
        zone = batch.budget.customer.zone
        rows = allocation_batches.assignments(batch)
        filters = listing.AssignmentFilters(request.query_params, queryset=rows, request=request, zone=zone)
        if not filters.is_valid():
            raise serializers.ValidationError(filters.errors)
        pages = AssignmentPages()
        page = pages.paginate_queryset(filters.qs, request, view=self)
        response = pages.get_paginated_response(admin_bodies(page))
        found = allocation_batches.progress(batch)
        # By the states on the wire, where declined assignments are cancelled ones.
        states: Counter[tuple[str, str]] = Counter()
        for state, shown, count in found.by_state:
            states[state, shown.label] += count
        response.data |= {
            **AllocationBatchOutput(batch).data,
            "states": [
                {"state": state, "learner_state": label or None, "count": count}
                for (state, label), count in states.most_common()
            ],
            "no_change": [
                {"assignment_uuid": str(one.assignment.uuid), "verdict": one.verdict.value}
                for one in allocation_batches.left_unchanged(batch, start=0, size=MAX_UNCHANGED)
            ],
            "causes": [{"cause": code, "count": count} for code, count in found.by_code.items()],
            "as_of": timezone.now(),
        }
        return response
