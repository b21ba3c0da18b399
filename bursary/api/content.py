"""The content replica on the wire, under its columns' names."""

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
from bursary.api.paging import Pages
from bursary.api.serializers import ContentMetadataSerializer, ContentMetadataWithPayloadSerializer
from bursary.budgets.models import Budget
from bursary.replica import reads
from bursary.replica.models import CONTENT_TYPES, ContentMetadata


class ReadsContent(BasePermission):
    """Whoever has a role with any organisation sees the replica."""

    message = "You have no role with any organisation."

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Ask the permission table."""
        return request.user.is_authenticated and may_anywhere(request.user, Permission.READ_CONTENT)


class ContentFilters(filters.FilterSet):
    """What a list of content can be asked for."""

    content_type = filters.ChoiceFilter(choices=CONTENT_TYPES)
    parent = filters.CharFilter(field_name="parent__content_key", label="A course's key: its runs")
    catalog = filters.UUIDFilter(method="in_catalog", label="A catalog's uuid: what it holds")

    class Meta:
        model = ContentMetadata
        fields = ("content_type", "parent", "catalog")

    def in_catalog(
        self, queryset: QuerySet[ContentMetadata], _name: str, value: UUID
    ) -> QuerySet[ContentMetadata]:
        """Keep what the catalog holds."""
        return queryset.filter(reads.membership(value))


class BoundedSearch(SearchFilter):
    """Every word in the title. Databases refuse a search of thousands of words, so it is refused before."""

    MOST_CHARACTERS = 255

    def get_search_terms(self, request: Request) -> list[str]:
        """Return the words. Raises ValidationError."""
        asked = request.query_params.get(self.search_param, "")
        if len(asked) > self.MOST_CHARACTERS:
            problem = f"Search for at most {self.MOST_CHARACTERS} characters."
            raise ValidationError({self.search_param: [problem]})
        return super().get_search_terms(request)


class ContentList(generics.ListAPIView[ContentMetadata]):
    """The content that the replica holds. `as_of` is when upstream was last seen to agree."""

    permission_classes = (ReadsContent,)
    serializer_class = ContentMetadataSerializer
    pagination_class = Pages
    filter_backends = (filters.DjangoFilterBackend, BoundedSearch)
    filterset_class = ContentFilters
    search_fields = ("title",)
    queryset = (
        ContentMetadata.objects.select_related("parent").defer("payload", "parent__payload").order_by("pk")
    )


def visible_catalogs(user: User) -> QuerySet[Budget, UUID]:
    """Return the catalogs of the budgets that a user may see."""
    budgets = Budget.objects.filter(granted(user, Permission.READ_BUDGET, customer="customer"))
    return budgets.order_by().values_list("catalog_uuid", flat=True).distinct()


class _OfCatalog(serializers.Serializer[Any]):
    catalog = serializers.UUIDField(required=False)


class ContentDetail(generics.RetrieveAPIView[ContentMetadata]):
    """One piece of content, with the record as upstream served it.

    The record's links are those of `catalog`, or else of the one catalog that holds it, among the catalogs
    of the caller's budgets; where several do, or none, it is without links.
    """

    permission_classes = (ReadsContent,)
    serializer_class = ContentMetadataWithPayloadSerializer
    lookup_field = "content_key"
    queryset = ContentMetadata.objects.select_related("parent").defer("parent__payload")

    @extend_schema(parameters=[OpenApiParameter("catalog", OpenApiTypes.UUID, description="Whose links")])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return it."""
        return super().get(request, *args, **kwargs)

    def get_serializer_context(self) -> dict[str, Any]:
        """Add whose links may be shown. Raises ValidationError."""
        asked = _OfCatalog(data=self.request.query_params)
        asked.is_valid(raise_exception=True)
        catalogs = visible_catalogs(caller(self.request))
        if catalog := asked.validated_data.get("catalog"):
            catalogs = catalogs.filter(catalog_uuid=catalog)
        return {**super().get_serializer_context(), "catalogs": catalogs}
