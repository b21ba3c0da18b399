"""Content: the list, and one course or run with its record."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import generics, serializers
from rest_framework.exceptions import ValidationError
from rest_framework.filters import SearchFilter
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from bursary.access.models import User
from bursary.access.permissions import Permission, granted, may_anywhere
from bursary.api.authentication import caller
from bursary.api.inputs import validated
from bursary.api.paging import Pages
from bursary.api.serializers import ContentMetadataSerializer, ContentMetadataWithPayloadSerializer
from bursary.budgets.models import Budget
from bursary.replica import reads
from bursary.replica.models import CONTENT_TYPES, ContentMetadata


class ReadsContent(BasePermission):
    """Permits users with a role in any organisation."""

    message = "You have no role in any organisation."

    def has_permission(self, request: Request, view: APIView) -> bool:
        return request.user.is_authenticated and may_anywhere(request.user, Permission.READ_CONTENT)


class ContentFilters(filters.FilterSet):
    content_type = filters.ChoiceFilter(choices=CONTENT_TYPES)
    parent = filters.CharFilter(field_name="parent_key", label="The runs of the course with this key")
    catalog = filters.UUIDFilter(method="in_catalog", label="The content of the catalog with this uuid")

    class Meta:
        model = ContentMetadata
        fields = ("content_type", "parent", "catalog")

    def in_catalog(
        self, queryset: QuerySet[ContentMetadata], _name: str, value: UUID
    ) -> QuerySet[ContentMetadata]:
        """Keep the catalog's content."""
        return queryset.filter(reads.membership(value))


class BoundedSearch(SearchFilter):
    """Matches every word in the title, within a length: databases fail on a search of thousands of words."""

    MOST_CHARACTERS = 255

    def get_search_terms(self, request: Request) -> list[str]:
        """Return the words. Raises ValidationError."""
        if len(request.query_params.get(self.search_param, "")) > self.MOST_CHARACTERS:
            problem = f"Search for at most {self.MOST_CHARACTERS} characters."
            raise ValidationError({self.search_param: [problem]})
        return super().get_search_terms(request)


class ContentList(generics.ListAPIView[ContentMetadata]):
    """List the content of the replica. `as_of` is the last time that upstream confirmed it."""

    permission_classes = (ReadsContent,)
    serializer_class = ContentMetadataSerializer
    pagination_class = Pages
    filter_backends = (filters.DjangoFilterBackend, BoundedSearch)
    filterset_class = ContentFilters
    search_fields = ("title",)
    queryset = ContentMetadata.objects.defer("payload").order_by("pk")


def visible_catalogs(user: User) -> QuerySet[Budget, UUID]:
    """Return the catalog uuids of the budgets that the user may see."""
    budgets = Budget.objects.filter(granted(user, Permission.READ_BUDGET, customer="customer"))
    return budgets.order_by().values_list("catalog_uuid", flat=True).distinct()


class _CatalogInput(serializers.Serializer[Any]):
    catalog = serializers.UUIDField(required=False)


class ContentDetail(generics.RetrieveAPIView[ContentMetadata]):
    """Read one course or run, with the record as upstream served it.

    The record has the links of `catalog`. Without `catalog` it has those of the one catalog of your budgets
    that holds the content; if several do, or none, it has no links.
    """

    permission_classes = (ReadsContent,)
    serializer_class = ContentMetadataWithPayloadSerializer
    lookup_field = "content_key"
    queryset = ContentMetadata.objects.all()

    @extend_schema(
        parameters=[
            OpenApiParameter("catalog", OpenApiTypes.UUID, description="The record has this catalog's links")
        ]
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)

    def get_serializer_context(self) -> dict[str, Any]:
        """Add the catalogs with links that may be shown. Raises ValidationError."""
        query = validated(_CatalogInput, self.request.query_params)
        catalogs = visible_catalogs(caller(self.request))
        if catalog := query.get("catalog"):
            catalogs = catalogs.filter(catalog_uuid=catalog)
        return {**super().get_serializer_context(), "catalogs": catalogs}
