"""The content that a caller may see: that of the catalogs of their organisations' budgets."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.http import Http404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.request import Request

from bursary.access.permissions import Permission, granted, may_everywhere
from bursary.api.authentication import caller
from bursary.api.inputs import validated
from bursary.api.refusals import CatalogNeeded
from bursary.budgets.models import Budget
from bursary.replica import renamed_keys
from bursary.replica.models import CatalogMembership, ContentChange, ContentMetadata

MAX_NAMED = 100
"""Catalogs that a refusal names at most."""

CATALOG = OpenApiParameter(
    "catalog",
    OpenApiTypes.UUID,
    description="Only what this catalog of your budgets holds; required where your catalogs hold "
    "several rows of the content",
)


class _CatalogInput(serializers.Serializer[Any]):
    catalog = serializers.UUIDField(required=False)


@dataclass(frozen=True)
class ContentScope:
    """The catalogs of which a request may show content: all of the caller's, or the one named by `catalog`.

    For a key, that is the row that such a catalog holds (decision 0014), with the changes of this row.
    """

    visible: QuerySet[Budget, UUID] | None
    """Catalog uuids. None, for operators, means all content, even that of no catalog."""
    catalog: UUID | None

    @classmethod
    def of(cls, request: Request) -> "ContentScope":
        """Return the scope by the caller and the parameter `catalog`. One query. Raises ValidationError."""
        catalog = validated(_CatalogInput, request.query_params).get("catalog")
        user = caller(request)
        if may_everywhere(user):
            return cls(None, catalog)
        budgets = Budget.objects.filter(granted(user, Permission.READ_CONTENT, customer="customer"))
        return cls(budgets.order_by().values_list("catalog_uuid", flat=True), catalog)

    @property
    def unlimited(self) -> bool:
        """Whether all content may be shown."""
        return self.visible is None and self.catalog is None

    @property
    def in_catalogs(self) -> Q:
        """The condition that a row's `catalog_uuid` is in the scope."""
        condition = Q() if self.visible is None else Q(catalog_uuid__in=self.visible)
        return condition if self.catalog is None else condition & Q(catalog_uuid=self.catalog)

    def memberships(self) -> QuerySet[CatalogMembership]:
        """Return the memberships of the catalogs."""
        return CatalogMembership.objects.filter(self.in_catalogs)

    def rows(self) -> QuerySet[ContentMetadata]:
        """Return the content that the catalogs hold. A course has a row for each set of restricted runs."""
        if self.unlimited:
            return ContentMetadata.objects.all()
        return ContentMetadata.objects.filter(Exists(self.memberships().filter(content=OuterRef("pk"))))

    def row(self, content_key: str) -> ContentMetadata:
        """Return the row for this key, current or former, with its payload deferred. At most three queries.

        Raises Http404 if the catalogs do not hold the content, CatalogNeeded if they are served different
        restricted runs.
        """
        found = self._rows_of(content_key) or self._rows_of(renamed_keys.current_key(content_key))
        if not found:
            raise Http404("There is no such content.")
        if len(found) > 1 and found[1].gone_at is None:
            held = self.memberships().filter(content__content_key=found[0].content_key)
            catalogs = held.order_by("catalog_uuid").values_list("catalog_uuid", flat=True)
            raise CatalogNeeded(list(catalogs[:MAX_NAMED]))
        return found[0]

    def row_with_history(self, content_key: str) -> ContentMetadata:
        """Return the row as `row` does; if there is none, the one that a catalog of the scope held last."""
        try:
            return self.row(content_key)
        except Http404:
            left = self._departures().filter(content__content_key=content_key).select_related("content")
            last = left.defer("content__payload").order_by("-created", "-pk").first()
            if last is None:
                raise
            return last.content

    def changes(self) -> QuerySet[ContentChange]:
        """Return the changes of content that the catalogs hold, or of content held before, up to its removal.

        A change that concerns only one catalog is left out if that catalog is outside the scope.
        """
        if self.unlimited:
            return ContentChange.objects.all()
        held = self.memberships().filter(content=OuterRef("content"))
        left_later = self._departures().filter(content=OuterRef("content"), created__gte=OuterRef("created"))
        shared = Q(catalog_uuid=None) & (Exists(held) | Exists(left_later))
        return ContentChange.objects.filter(self.in_catalogs | shared)

    def _rows_of(self, content_key: str) -> list[ContentMetadata]:
        """Return at most two rows of this key; present content first, then the last to disappear."""
        rows = self.rows().defer("payload").filter(content_key=content_key)
        return list(rows.order_by(F("gone_at").desc(nulls_first=True), "variant")[:2])

    def _departures(self) -> QuerySet[ContentChange]:
        return ContentChange.objects.filter(self.in_catalogs, field="membership", new__isnull=True)
