"""The inbox in the Django admin, read only."""

from django.contrib import admin

from bursary.events.models import InboxEvent
from bursary.lib.admin import ReadOnlyAdmin


@admin.register(InboxEvent)
class InboxEventAdmin(ReadOnlyAdmin):
    list_display = ("event_id", "source", "kind", "received_at", "due_at", "attempts", "outcome")
    list_filter = ("source", "kind", "outcome")
    search_fields = ("event_id",)
