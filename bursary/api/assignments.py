"""An administrator's assignments: the list, one assignment, its timeline."""

from collections.abc import Mapping, Sequence
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

from bursary.access.permissions import Permission
from bursary.api.assignment_bodies import admin_bodies
from bursary.api.budgets import permitted_budget
from bursary.api.paging import AssignmentPages, PageOutput, Pages
from bursary.api.refusals import PageBesideCursor
from bursary.api.rendering import FastJSONRenderer
from bursary.api.serializers import AdminAssignmentSerializer, TimelineActionSerializer
from bursary.api.views import APIView
from bursary.assignments import listing
from bursary.assignments.choices import ActionType
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.budgets.models import Budget


class BudgetView(APIView):
    """A view with an assignment configuration, which is a budget, in its URL.

    Views load the budget before they read the body, so that callers without the permission get no errors
    about the body.
    """

    permission = Permission.READ_ASSIGNMENTS

    @cached_property
    def budget(self) -> Budget:
        """The budget in the URL. Raises Http404, ScopeTooNarrow."""
        uuid = self.kwargs["configuration_uuid"]
        return permitted_budget(self.request, self.permission, assignment_configuration_uuid=uuid)

    def assignment(self) -> LearnerContentAssignment:
        """Return the assignment in the URL, with its timeline. Raises Http404."""
        named = LearnerContentAssignment.objects.filter(
            budget=self.budget, uuid=self.kwargs["assignment_uuid"]
        )
        rows = listing.with_timelines(list(named.values_list("pk", flat=True)), now=timezone.now())
        if not rows:
            raise Http404("There is no such assignment in this budget.")
        return rows[0]


OF_FILTERS = {400: (listing.ContentFiltersUnavailable.reason,)}
"""The reasons to refuse filters of assignments, by status."""
OF_LISTS = {400: (*OF_FILTERS[400], PageBesideCursor.reason)}
"""The reasons to refuse a page of a list of assignments, by status."""


class BudgetTimeZoneFilters(filters.DjangoFilterBackend):
    """Filters by dates that are meant in the time zone of the budget's organisation."""

    def get_filterset_kwargs(self, request: Request, queryset: QuerySet[Any], view: Any) -> dict[str, Any]:
        """Add the time zone; for JSON also the parameters in use, as only a page shows all filters."""
        named: dict[str, Any] = super().get_filterset_kwargs(request, queryset, view)
        as_page = request.accepted_renderer.format != FastJSONRenderer.format
        only = None if as_page else {*request.query_params, "ordering"}
        return {**named, "zone": view.budget.customer.zone, "only": only}

    def get_filterset(self, request: Request, queryset: QuerySet[Any], view: Any) -> Any:
        """Return the filter set, and keep it in the view, which responds with the instants of its dates."""
        view.filterset = super().get_filterset(request, queryset, view)
        return view.filterset


class FilteredBudgetView(BudgetView):
    """A view of the budget's assignments that match the filters in the query string, as in the list."""

    passes_over_empty = False  # otherwise a request would act on too many assignments
    reasons: Mapping[int, Sequence[str]] = OF_FILTERS
    queryset = LearnerContentAssignment.objects.all()
    filter_backends = (BudgetTimeZoneFilters,)
    filterset_class = listing.AssignmentFilters


class AssignmentList(BudgetView, generics.ListAPIView[LearnerContentAssignment]):
    """List a budget's assignments in pages, filtered and sorted, with counts by learner state."""

    reasons = OF_LISTS
    serializer_class = AdminAssignmentSerializer
    pagination_class = AssignmentPages
    filter_backends = (BudgetTimeZoneFilters,)
    filterset_class = listing.AssignmentFilters
    filterset: listing.AssignmentFilters
    queryset = LearnerContentAssignment.objects.all()

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return the page; if dates filter it, with the instants of these dates."""
        pages, rows = AssignmentPages(), self.filter_queryset(self.get_queryset())
        pages.is_search = self.filterset.is_search
        found = pages.paginate_queryset(rows, request, view=self)
        response = pages.get_paginated_response(admin_bodies(found))
        if understood := self.filterset.understood():
            response.data["understood"] = understood
        return response

    def get_queryset(self) -> QuerySet[LearnerContentAssignment]:
        """Return the assignments of the budget in the URL."""
        return super().get_queryset().filter(budget=self.budget)


class AssignmentDetail(BudgetView):
    """Read one assignment, in the shape of the list."""

    @extend_schema(responses=AdminAssignmentSerializer)
    def get(self, request: Request, **_url: UUID) -> Response:
        return Response(AdminAssignmentSerializer(self.assignment()).data)


class TimelineOutput(PageOutput):
    """An assignment's actions; in fields of their own, the latest successful action and the failures."""

    latest_successful = TimelineActionSerializer(allow_null=True)
    failures = TimelineActionSerializer(many=True, help_text="The newest 50, newest first")
    results = TimelineActionSerializer(many=True, help_text="All actions in pages, oldest first")


class AssignmentTimeline(BudgetView):
    """Read an assignment's timeline: all actions in order, the latest successful one, and the failures."""

    query = (
        OpenApiParameter(
            "action_type",
            {"type": "array", "items": {"type": "string", "enum": ActionType.values}},
            description="Only these action types, comma-separated",
            explode=False,
        ),
    )
    pagination_class = Pages
    MAX_FAILURES = 50
    DEFERRED = ("retry_of__payload", "retry_of__traceback", "retry_of__attempt_log")

    @extend_schema(responses=TimelineOutput)
    def get(self, request: Request, **_url: UUID) -> Response:
        named = [name for name in request.query_params.get("action_type", "").split(",") if name]
        if unknown := [name for name in named if name not in ActionType.values]:
            raise serializers.ValidationError({"action_type": [f"There is no action type {unknown[0]}."]})
        types = [ActionType(name) for name in named]
        actions = LearnerContentAssignmentAction.objects.filter(assignment=self.assignment())
        actions = actions.select_related("retry_of").defer("payload", "traceback", *self.DEFERRED)
        pages = Pages()
        page = pages.paginate_queryset(actions.timeline(types=types), request, view=self)
        latest = actions.latest_successful()
        response = pages.get_paginated_response(TimelineActionSerializer(page, many=True).data)
        response.data["latest_successful"] = TimelineActionSerializer(latest).data if latest else None
        failures = actions.failures()[: self.MAX_FAILURES]
        response.data["failures"] = TimelineActionSerializer(failures, many=True).data
        return response
