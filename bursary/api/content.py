"""Content: the list, and single courses and runs with their records."""

from collections.abc import Sequence
from typing import Any

from django.db.models import QuerySet
from django.utils.functional import cached_property
from django_filters import rest_framework as filters
from drf_spectacular.utils import OpenApiParameter
from rest_framework import generics
from rest_framework.exceptions import ValidationError
from rest_framework.filters import SearchFilter
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.serializers import Serializer
from rest_framework.views import APIView as AnyView

from bursary.access.permissions import Permission, may_anywhere
from bursary.api.content_scope import CATALOG, ContentScope
from bursary.api.paging import Pages
from bursary.api.refusals import CatalogNeeded
from bursary.api.serializers import ContentMetadataSerializer, ContentMetadataWithPayloadSerializer
from bursary.api.views import APIView
from bursary.replica import renamed_keys
from bursary.replica.models import CONTENT_TYPES, ContentMetadata


class ReadsContent(BasePermission):
    """Permits users with a role in any organisation."""

    message = "You have no role in any organisation."

    def has_permission(self, request: Request, view: AnyView) -> bool:
        return request.user.is_authenticated and may_anywhere(request.user, Permission.READ_CONTENT)


class ContentFilters(filters.FilterSet):
    content_type = filters.ChoiceFilter(choices=CONTENT_TYPES)
    parent = filters.CharFilter(
        method="of_course", label="The runs of the course with this key, present or former"
    )

    class Meta:
        model = ContentMetadata
        fields = ("content_type", "parent")

    def of_course(
        self, queryset: QuerySet[ContentMetadata], _name: str, value: str
    ) -> QuerySet[ContentMetadata]:
        """Return the runs of the course."""
        return queryset.filter(parent_key__in=renamed_keys.either_key([value]))


class BoundedSearch(SearchFilter):
    """Searches titles for each word. The length is limited, as databases fail on thousands of words."""

    MAX_CHARACTERS = 255
    search_description = "Words that each occur in the title"

    def get_search_terms(self, request: Request) -> list[str]:
        """Return the words. Raises ValidationError."""
        if len(request.query_params.get(self.search_param, "")) > self.MAX_CHARACTERS:
            problem = f"Search for at most {self.MAX_CHARACTERS} characters."
            raise ValidationError({self.search_param: [problem]})
        return super().get_search_terms(request)


class Scoped(APIView):
    """A view of the content that the request may show."""

    query: Sequence[OpenApiParameter | type[Serializer[Any]]] = (CATALOG,)

    @cached_property
    def scope(self) -> ContentScope:
        """The content that the request may show. Raises ValidationError."""
        return ContentScope.of(self.request)


class ContentList(Scoped, generics.ListAPIView[ContentMetadata]):
    """List the content of your catalogs. `as_of` is the last time that upstream confirmed it.

    A course of which several catalogs have different records, with different restricted runs, has a row for
    each of these variants.
    """

    permission_classes = (ReadsContent,)
    serializer_class = ContentMetadataSerializer
    pagination_class = Pages
    filter_backends = (filters.DjangoFilterBackend, BoundedSearch)
    filterset_class = ContentFilters
    search_fields = ("title",)
    queryset = ContentMetadata.objects.all()

    def get_queryset(self) -> QuerySet[ContentMetadata]:
        """Return the rows of the caller's catalogs."""
        return self.scope.rows().defer("payload").order_by("pk")


class ContentDetail(Scoped, generics.RetrieveAPIView[ContentMetadata]):
    """Read one course or run, with upstream's record of it in the catalog that `catalog` names.

    Without `catalog`, it is the record in the one of your catalogs that holds the content. If several hold
    it, the record has no links; if their records differ otherwise, `catalog` is needed.
    """

    reasons = {400: (CatalogNeeded.reason,)}
    permission_classes = (ReadsContent,)
    serializer_class = ContentMetadataWithPayloadSerializer
    lookup_field = "content_key"
    queryset = ContentMetadata.objects.all()

    def get_object(self) -> ContentMetadata:
        """Return the row for the key in the URL. Raises Http404, CatalogNeeded."""
        return self.scope.row(self.kwargs["content_key"])

    def get_serializer_context(self) -> dict[str, Any]:
        """Add the memberships with links that the request may show."""
        return {**super().get_serializer_context(), "memberships": self.scope.memberships()}
