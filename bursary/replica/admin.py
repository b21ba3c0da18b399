"""The content replica in the Django admin, read only: `refresh.py` is its only writer."""

from django.contrib import admin

from bursary.lib.admin import ReadOnlyAdmin
from bursary.replica import models


@admin.register(models.ContentMetadata)
class ContentMetadataAdmin(ReadOnlyAdmin):
    list_display = (
        "content_key",
        "variant",
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
    deferred = ("payload",)


@admin.register(models.CatalogMembership)
class CatalogMembershipAdmin(ReadOnlyAdmin):
    list_display = ("catalog_uuid", "content", "via_course", "created", "seen_at", "missing_since")
    list_select_related = ("content",)
    search_fields = ("=catalog_uuid", "content__content_key")
    deferred = ("links", "content__payload")


@admin.register(models.ContentChange)
class ContentChangeAdmin(ReadOnlyAdmin):
    list_display = ("created", "content", "field", "old", "new", "catalog_uuid", "trigger")
    list_select_related = ("content",)
    list_filter = ("trigger",)
    search_fields = ("content__content_key", "=field")
    ordering = ("-id",)
    deferred = ("content__payload",)


@admin.register(models.FormerContentKey)
class FormerContentKeyAdmin(ReadOnlyAdmin):
    list_display = ("former_key", "content_key")
    search_fields = ("former_key", "content_key")


@admin.register(models.CatalogListing)
class CatalogListingAdmin(ReadOnlyAdmin):
    list_display = ("catalog_uuid", "started_at", "listed", "due_at", "failures", "contradictions", "alarm")
    search_fields = ("=catalog_uuid",)


@admin.register(models.ColdRead)
class ColdReadAdmin(ReadOnlyAdmin):
    list_display = ("content_key", "catalog_uuid", "status", "asked_at", "due_at")
    list_filter = ("status",)
    search_fields = ("=catalog_uuid", "content_key")
    ordering = ("-id",)


@admin.register(models.ShadowDifference)
class ShadowDifferenceAdmin(ReadOnlyAdmin):
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


@admin.register(models.ShadowTally)
class ShadowTallyAdmin(ReadOnlyAdmin):
    list_display = ("catalog_uuid", "since", "last_at", "compared", "different", "incomparable", "unrecorded")
    search_fields = ("=catalog_uuid",)
