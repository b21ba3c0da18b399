"""The administrator's assignments: list, one, its timeline."""

from functools import cached_property
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import Http404
from django.utils import timezone
from django_filters import rest_framework as filters
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from bursary.access.permissions import Permission
from bursary.api.budgets import permitted_budget
from bursary.api.paging import AssignmentPages, Pages
from bursary.api.serializers import AdminAssignmentSerializer, TimelineActionSerializer
from bursary.assignments import listing
from bursary.assignments.choices import ActionType
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.budgets.models import Budget


class OfOneBudget(APIView):
    """Views whose address names an assignment configuration, which is a budget."""

    permission = Permission.READ_ASSIGNMENTS

    @cached_property
    def budget(self) -> Budget:
        """Return the budget that the address names, or refuse."""
        which = self.kwargs["configuration_uuid"]
        return permitted_budget(self.request, self.permission, assignment_configuration_uuid=which)

    def assignment(self) -> LearnerContentAssignment:
        """Return the assignment that the address names, with its timeline. Raises Http404."""
        mine = LearnerContentAssignment.objects.filter(
            budget=self.budget, uuid=self.kwargs["assignment_uuid"]
        )
        rows = listing.with_timelines(list(mine.values_list("pk", flat=True)), now=timezone.now())
        if not rows:
            raise Http404("There is no such assignment in this budget.")
        return rows[0]


class AssignmentList(OfOneBudget, generics.ListAPIView[LearnerContentAssignment]):
    """The budget's assignments: filtered, searched, sorted, counted by learner state, in pages."""

    serializer_class = AdminAssignmentSerializer
    pagination_class = AssignmentPages
    filter_backends = (filters.DjangoFilterBackend,)
    filterset_class = listing.AssignmentFilters

    def get_queryset(self) -> QuerySet[LearnerContentAssignment]:
        """Return the budget's assignments."""
        if getattr(self, "swagger_fake_view", False):
            return LearnerContentAssignment.objects.none()
        return LearnerContentAssignment.objects.filter(budget=self.budget)


class AssignmentDetail(OfOneBudget):
    """One assignment as the list shows it."""

    @extend_schema(responses=AdminAssignmentSerializer)
    def get(self, request: Request, **_address: UUID) -> Response:
        """Return it."""
        return Response(AdminAssignmentSerializer(self.assignment()).data)


class TimelineOutput(serializers.Serializer[Any]):
    """Record 0013's three questions, answered."""

    latest_successful = TimelineActionSerializer(allow_null=True)
    failures = TimelineActionSerializer(many=True)
    results = TimelineActionSerializer(many=True)


class Timeline(OfOneBudget):
    """What happened to an assignment: all of it in order, what went well last, and what failed and why."""

    MOST_FAILURES = 50
    UNREAD = ("retry_of__payload", "retry_of__traceback", "retry_of__attempt_log")

    @extend_schema(
        parameters=[OpenApiParameter("action_type", str, description="Only these types, comma-separated")],
        responses=TimelineOutput,
    )
    def get(self, request: Request, **_address: UUID) -> Response:
        """Return the timeline, oldest first."""
        actions = LearnerContentAssignmentAction.objects.filter(assignment=self.assignment())
        actions = actions.select_related("retry_of").defer("payload", "traceback", *self.UNREAD)
        pages = Pages()
        page = pages.paginate_queryset(actions.timeline(types=self._types()), request, view=self)
        latest = actions.latest_successful()
        response = pages.get_paginated_response(TimelineActionSerializer(page, many=True).data)
        response.data["latest_successful"] = TimelineActionSerializer(latest).data if latest else None
        failures = actions.failures()[: self.MOST_FAILURES]
        response.data["failures"] = TimelineActionSerializer(failures, many=True).data
        return response

    def _types(self) -> list[ActionType]:
        asked = [name for name in self.request.query_params.get("action_type", "").split(",") if name]
        unknown = [name for name in asked if name not in ActionType.values]
        if unknown:
            raise serializers.ValidationError({"action_type": [f"There is no action type {unknown[0]}."]})
        return [ActionType(name) for name in asked]
