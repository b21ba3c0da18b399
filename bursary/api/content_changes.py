"""Changes of content, and their effects on open assignments."""

from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import Q, QuerySet
from django.http import Http404
from django.utils import timezone
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import generics, serializers
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from bursary.access.permissions import Permission, granted, may_anywhere
from bursary.access.zones import zone_of
from bursary.api.authentication import caller
from bursary.api.content import ContentDetail, ReadsContent, Scoped
from bursary.api.content_scope import CATALOG
from bursary.api.inputs import InstantField, validated
from bursary.api.paging import PageOutput, Pages
from bursary.api.refusals import CatalogNeeded
from bursary.api.serializers import AssignmentSerializer
from bursary.assignments import impact
from bursary.assignments.filters import MomentFilter
from bursary.assignments.impact import Impact
from bursary.assignments.models import LearnerContentAssignment
from bursary.lib import moments
from bursary.replica.models import ContentChange, ContentMetadata, RefreshTrigger

DEFAULT_PERIOD = timedelta(days=30)


class ReadsAssignments(BasePermission):
    """Permits users that may see some organisation's assignments. The query limits results to these."""

    message = "Your role does not permit you to see any organisation's assignments."

    def has_permission(self, request: Request, view: APIView) -> bool:
        return request.user.is_authenticated and may_anywhere(request.user, Permission.READ_ASSIGNMENTS)


@extend_schema_field({"description": "A value of the field, of any type; null for none"})
class AnyValueField(serializers.JSONField):
    """A value of any type."""


class ContentChangeSerializer(serializers.ModelSerializer[ContentChange]):
    """A changed field: the old and the new value, when it was recorded, and what caused the fetch."""

    content_key = serializers.CharField(source="content.content_key", read_only=True)
    source = serializers.ChoiceField(RefreshTrigger.choices, source="trigger")  # type: ignore[assignment]
    old = AnyValueField(read_only=True)
    new = AnyValueField(read_only=True)

    class Meta:
        model = ContentChange
        fields = ("id", "content_key", "field", "old", "new", "source", "created")


class ChangeFilters(filters.FilterSet):
    field = filters.CharFilter(label="The changed field: a column, `membership` or `gone_at`")
    since = MomentFilter(
        field_name="created", lookup_expr="gte", label="Changes that were recorded at this time or later"
    )

    class Meta:
        model = ContentChange
        fields = ("field", "since")

    @property
    def zone(self) -> ZoneInfo:
        """The time zone of dates without one."""
        return zone_of(caller(self.request))


class _OfContent(Scoped):
    """A view below the URL of a course or run."""

    ending: str
    reasons = {400: (CatalogNeeded.reason,)}

    def content(self) -> ContentMetadata:
        """Return the content in the URL. Raises Http404, CatalogNeeded."""
        return self.scope.row_with_history(self.kwargs["content_key"])

    def handle_exception(self, exc: Exception) -> Response:
        """Return the content itself if its key ends like this URL: keys may contain slashes."""
        if not isinstance(exc, Http404):
            return super().handle_exception(exc)
        whole = {"content_key": f"{self.kwargs['content_key']}/{self.ending}"}
        detail = ContentDetail(kwargs=whole, request=self.request, format_kwarg=None)
        detail.args = ()
        try:
            return detail.retrieve(self.request)
        except Http404:
            return super().handle_exception(exc)
        except CatalogNeeded as needed:
            return super().handle_exception(needed)


class Changes(_OfContent, generics.ListAPIView[ContentChange]):
    """List the changes of a course or run, newest first."""

    ending = "changes"
    permission_classes = (ReadsContent,)
    serializer_class = ContentChangeSerializer
    pagination_class = Pages
    filter_backends = (filters.DjangoFilterBackend,)
    filterset_class = ChangeFilters
    queryset = ContentChange.objects.all()

    def get_queryset(self) -> QuerySet[ContentChange]:
        """Return the changes of the content in the URL that the caller's catalogs have."""
        rows = self.scope.changes().filter(content=self.content())
        return rows.select_related("content").defer("content__payload").order_by("-created", "-pk")


class TouchSerializer(serializers.Serializer[Any]):
    """The effect of one change on one assignment."""

    change = serializers.IntegerField(help_text="The `id` of the change")
    field = serializers.CharField()
    effect = serializers.ChoiceField(choices=[one.value for one in impact.Effect])
    old = AnyValueField(
        help_text="The value before the change: a date, an amount in cents, or the availability"
    )
    new = AnyValueField(help_text="The value after the change")
    old_reason = serializers.CharField(help_text="What decides the old deadline; empty for other effects")
    new_reason = serializers.CharField()


class TouchedAssignmentSerializer(AssignmentSerializer):
    """An open assignment that changes affect, with the effect of each."""

    policy_uuid = serializers.UUIDField(source="budget.uuid")
    touches = serializers.SerializerMethodField()

    class Meta(AssignmentSerializer.Meta):
        fields = (
            "uuid",
            "policy_uuid",
            "assignment_configuration",
            "learner_email",
            "content_key",
            "content_quantity",
            "state",
            "earliest_possible_expiration",
            "touches",
        )

    @extend_schema_field(TouchSerializer(many=True))
    def get_touches(self, assignment: LearnerContentAssignment) -> list[dict[str, object]]:
        """Return the effect of each change, newest first."""
        found: Impact = self.context["impact"]
        # Without a serializer, which would take seconds: a page may have 25,000 effects.
        return [
            {
                "change": one.change.pk,
                "field": one.change.field,
                "effect": one.effect.value,
                "old": one.old,
                "new": one.new,
                "old_reason": one.old_reason,
                "new_reason": one.new_reason,
            }
            for one in found.effects_on(assignment)
        ]


class ImpactOutput(PageOutput):
    """The newest changes, and a page of the assignments that they affect."""

    since = serializers.DateTimeField()
    changes = ContentChangeSerializer(many=True)
    more_changes = serializers.BooleanField(help_text="Whether there are older changes, which are left out")
    results = TouchedAssignmentSerializer(many=True)


class _SinceInput(serializers.Serializer[Any]):
    since = InstantField(
        required=False, help_text="Changes that were recorded at this time or later; by default 30 days ago"
    )


class ImpactOfChanges(_OfContent):
    """List the open assignments that a change of dates, price or availability affects."""

    ending = "impact"
    query = (CATALOG, _SinceInput)
    pagination_class = Pages
    permission_classes = (ReadsAssignments,)

    @extend_schema(responses=ImpactOutput)
    def get(self, request: Request, content_key: str) -> Response:
        zone = zone_of(caller(request)) if "since" in request.query_params else moments.UTC_ZONE
        query = validated(_SinceInput, request.query_params, zone=zone)
        since = query.get("since", timezone.now() - DEFAULT_PERIOD).astimezone(zone)
        found = impact.of_content(self.content(), among=self.scope.changes(), since=since)
        visible = Q(granted(caller(request), Permission.READ_ASSIGNMENTS, customer="budget__customer_id"))
        if self.scope.catalog:
            visible &= Q(budget__catalog_uuid=self.scope.catalog)
        pages = Pages()
        page = pages.paginate_queryset(found.assignments.filter(visible), request, view=self) or []
        rows = TouchedAssignmentSerializer(page, many=True, context={"impact": found}).data
        response = pages.get_paginated_response(rows)
        response.data["since"] = moments.iso(since, zone=zone) if "since" in query else since
        response.data["changes"] = ContentChangeSerializer(found.changes, many=True).data
        response.data["more_changes"] = found.more_changes
        return response
