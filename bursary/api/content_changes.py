"""What changed in a piece of content, and which assignments that touched."""

from datetime import timedelta
from typing import Any

from django.db.models import QuerySet
from django.http import Http404
from django.utils import timezone
from django_filters import rest_framework as filters
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import generics, serializers
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from bursary.access.models import User
from bursary.access.permissions import Permission, granted, may_anywhere
from bursary.api.authentication import caller
from bursary.api.content import ContentDetail, ReadsContent, visible_catalogs
from bursary.api.paging import Pages
from bursary.assignments import impact
from bursary.assignments.impact import Impact, Touch
from bursary.assignments.listing import MomentFilter
from bursary.assignments.models import LearnerContentAssignment
from bursary.replica.models import ContentChange, ContentMetadata

LOOKS_BACK = timedelta(days=30)


class ReadsAssignments(BasePermission):
    """Whoever may see some organisation's assignments; which ones, the query decides."""

    message = "Your role does not let you see assignments of any organisation."

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Ask the permission table."""
        return request.user.is_authenticated and may_anywhere(request.user, Permission.READ_ASSIGNMENTS)


class ContentChangeSerializer(serializers.ModelSerializer[ContentChange]):
    """One field changed: from what to what, when we learned of it, and what made us look."""

    content_key = serializers.CharField(source="content.content_key", read_only=True)

    class Meta:
        model = ContentChange
        fields = ("id", "content_key", "field", "old", "new", "source", "created")

    def to_representation(self, instance: ContentChange) -> dict[str, Any]:
        """Return the change; which catalog it was about, only to who may see a budget of it."""
        shown = super().to_representation(instance)
        if instance.field == "membership":
            visible = self.context["catalogs"]
            shown |= {side: shown[side] if shown[side] in visible else None for side in ("old", "new")}
        return shown


def _names_of_catalogs(user: User) -> set[str]:
    return {str(uuid) for uuid in visible_catalogs(user)}


class ChangeFilters(filters.FilterSet):
    """What the changes of a piece of content can be asked for."""

    field = filters.CharFilter(label="A column's name, `membership` or `gone_at`")
    since = MomentFilter(field_name="created", lookup_expr="gte", label="Not before this instant")

    class Meta:
        model = ContentChange
        fields = ("field", "since")


class _OfContent(APIView):
    """Views below the address of a piece of content."""

    ending: str

    def content(self) -> ContentMetadata:
        """Return the content that the address names. Raises Http404."""
        rows = ContentMetadata.objects.filter(content_key=self.kwargs["content_key"])
        content = rows.only("pk", "content_key", "parent").first()
        if content is None:
            raise Http404("There is no such content.")
        return content

    def handle_exception(self, exc: Exception) -> Response:
        """Answer; a key may itself end like this address, and then it is the content that is asked for."""
        whole = f"{self.kwargs['content_key']}/{self.ending}"
        named = isinstance(exc, Http404) and ContentMetadata.objects.filter(content_key=whole).exists()
        if not named:
            return super().handle_exception(exc)
        itself = ContentDetail(kwargs={"content_key": whole}, request=self.request, format_kwarg=None)
        itself.args = ()
        return itself.retrieve(self.request)


class Changes(_OfContent, generics.ListAPIView[ContentChange]):
    """What changed in a piece of content, newest first, as we learned of it."""

    ending = "changes"
    permission_classes = (ReadsContent,)
    serializer_class = ContentChangeSerializer
    pagination_class = Pages
    filter_backends = (filters.DjangoFilterBackend,)
    filterset_class = ChangeFilters

    def get_serializer_context(self) -> dict[str, Any]:
        """Add which catalogs the caller may know of."""
        return {**super().get_serializer_context(), "catalogs": _names_of_catalogs(caller(self.request))}

    def get_queryset(self) -> QuerySet[ContentChange]:
        """Return the content's changes."""
        if getattr(self, "swagger_fake_view", False):
            return ContentChange.objects.none()
        changes = ContentChange.objects.filter(content=self.content()).order_by("-created", "-pk")
        return changes.select_related("content").defer("content__payload")


class TouchSerializer(serializers.Serializer[Any]):
    """What one change meant for one assignment."""

    change = serializers.IntegerField(help_text="Its `id` among the changes")
    field = serializers.CharField()
    effect = serializers.ChoiceField(choices=[one.value for one in impact.Effect])
    old = serializers.JSONField(help_text="A date, cents, or whether it was available")
    new = serializers.JSONField(help_text="The same after the change")
    old_reason = serializers.CharField(help_text="Of a deadline, else empty")
    new_reason = serializers.CharField()


def _told(touch: Touch) -> dict[str, object]:
    # Plain, as a page may tell of 25,000: a serializer for each would take seconds.
    return {
        "change": touch.change.pk,
        "field": touch.change.field,
        "effect": touch.effect.value,
        "old": touch.old,
        "new": touch.new,
        "old_reason": touch.old_reason,
        "new_reason": touch.new_reason,
    }


class TouchedAssignmentSerializer(serializers.ModelSerializer[LearnerContentAssignment]):
    """An open assignment that changes touched, with what each meant for it."""

    assignment_configuration = serializers.UUIDField(source="budget.assignment_configuration_uuid")
    policy_uuid = serializers.UUIDField(source="budget.uuid")
    content_quantity = serializers.SerializerMethodField(help_text="Cents, zero or negative")
    earliest_possible_expiration = serializers.SerializerMethodField()
    touches = serializers.SerializerMethodField()

    class Meta:
        model = LearnerContentAssignment
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

    def get_content_quantity(self, assignment: LearnerContentAssignment) -> int:
        """Return what it was assigned for."""
        return -assignment.price_cents

    @extend_schema_field(serializers.DictField())
    def get_earliest_possible_expiration(self, assignment: LearnerContentAssignment) -> dict[str, Any]:
        """Return its deadline as it is now."""
        return {"date": assignment.expires_at, "reason": assignment.expires_reason}

    @extend_schema_field(TouchSerializer(many=True))
    def get_touches(self, assignment: LearnerContentAssignment) -> list[dict[str, object]]:
        """Return what each change meant for it, newest first."""
        found: Impact = self.context["impact"]
        return [_told(touch) for touch in found.touches(assignment)]


class ImpactOutput(serializers.Serializer[Any]):
    """The changes, and a page of the assignments that they touched."""

    since = serializers.DateTimeField()
    changes = ContentChangeSerializer(many=True)
    more_changes = serializers.BooleanField(help_text="There are older changes, which are not told of")
    results = TouchedAssignmentSerializer(many=True)


class _SinceInput(serializers.Serializer[Any]):
    since = serializers.DateTimeField(required=False)


class ImpactOfChanges(_OfContent):
    """The open assignments that changes of content touched: deadline, dates, price, availability."""

    ending = "impact"
    permission_classes = (ReadsAssignments,)

    @extend_schema(
        parameters=[
            OpenApiParameter(
                "since", OpenApiTypes.DATETIME, description="Not before; 30 days ago by default"
            ),
            OpenApiParameter("page", int),
            OpenApiParameter("page_size", int),
        ],
        responses=ImpactOutput,
    )
    def get(self, request: Request, content_key: str) -> Response:
        """Return a page of the assignments that the caller may see."""
        asked = _SinceInput(data=request.query_params)
        asked.is_valid(raise_exception=True)
        since = asked.validated_data.get("since", timezone.now() - LOOKS_BACK)
        found = impact.of_content(self.content(), since=since)
        mine = granted(caller(request), Permission.READ_ASSIGNMENTS, customer="budget__customer_id")
        pages = Pages()
        page = pages.paginate_queryset(found.assignments.filter(mine), request, view=self) or []
        rows = TouchedAssignmentSerializer(page, many=True, context={"impact": found}).data
        response = pages.get_paginated_response(rows)
        response.data["since"] = since
        context = {"catalogs": _names_of_catalogs(caller(request))}
        response.data["changes"] = ContentChangeSerializer(found.changes, many=True, context=context).data
        response.data["more_changes"] = found.more_changes
        return response
