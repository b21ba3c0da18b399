"""The inbox in the Django admin, read only."""

from django.contrib import admin

from bursary.budgets.admin import ReadOnly
from bursary.events.models import InboxEvent


@admin.register(InboxEvent)
class InboxEventAdmin(ReadOnly):
    list_display = ("event_id", "source", "kind", "received_at", "due_at", "attempts", "outcome")
    list_filter = ("source", "kind", "outcome")
    search_fields = ("event_id",)
