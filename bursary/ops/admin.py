"""Scheduled tasks in the Django admin, read only."""

from django.contrib import admin

from bursary.lib.admin import ReadOnlyAdmin
from bursary.ops.models import ScheduledTask


@admin.register(ScheduledTask)
class ScheduledTaskAdmin(ReadOnlyAdmin):
    list_display = ("name", "due_at", "started_at", "finished_at", "failures", "last_error")
