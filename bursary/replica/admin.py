"""The content replica in the Django admin, read only: `refresh.py` is its only writer."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from bursary.replica.models import (
    CatalogListing,
    CatalogMembership,
    ColdRead,
    ContentChange,
    ContentMetadata,
    ShadowDifference,
    ShadowTally,
)


class ReadOnly(admin.ModelAdmin):  # type: ignore[type-arg]  # Django's class takes no parameters when run
    show_full_result_count = False
    heavy: tuple[str, ...] = ()
    """Columns that lists do without."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer(*self.heavy)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(ContentMetadata)
class ContentMetadataAdmin(ReadOnly):
    list_display = (
        "content_key",
        "content_type",
        "title",
        "price_cents",
        "enroll_by",
        "checked_at",
        "due_at",
        "failures",
        "gone_at",
    )
    list_filter = ("content_type", "completeness", "active")
    search_fields = ("content_key", "title")
    heavy = ("payload",)


@admin.register(CatalogMembership)
class CatalogMembershipAdmin(ReadOnly):
    list_display = ("catalog_uuid", "content", "created", "seen_at", "missing_since")
    list_select_related = ("content",)
    search_fields = ("=catalog_uuid", "content__content_key")
    heavy = ("links", "content__payload")


@admin.register(ContentChange)
class ContentChangeAdmin(ReadOnly):
    list_display = ("created", "content", "field", "old", "new", "source")
    list_select_related = ("content",)
    list_filter = ("source",)
    search_fields = ("content__content_key", "=field")
    ordering = ("-id",)
    heavy = ("content__payload",)


@admin.register(CatalogListing)
class CatalogListingAdmin(ReadOnly):
    list_display = ("catalog_uuid", "started_at", "listed", "due_at", "failures", "alarm")
    search_fields = ("=catalog_uuid",)


@admin.register(ColdRead)
class ColdReadAdmin(ReadOnly):
    list_display = ("content_key", "catalog_uuid", "answer", "asked_at", "due_at")
    list_filter = ("answer",)
    search_fields = ("=catalog_uuid", "content_key")
    ordering = ("-id",)


@admin.register(ShadowDifference)
class ShadowDifferenceAdmin(ReadOnly):
    list_display = (
        "content_key",
        "field",
        "upstream_value",
        "replica_value",
        "first_seen",
        "last_seen",
        "times",
        "healed_at",
    )
    list_filter = ("field",)
    search_fields = ("=catalog_uuid", "content_key")
    ordering = ("-last_seen", "-id")


@admin.register(ShadowTally)
class ShadowTallyAdmin(ReadOnly):
    list_display = ("catalog_uuid", "since", "last_at", "compared", "different", "incomparable", "unrecorded")
    search_fields = ("=catalog_uuid",)
