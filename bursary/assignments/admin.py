"""Assignments and their actions in the Django admin, read-only: they change by their own verbs."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from bursary.access.admin import FindsMailboxes
from bursary.assignments import models
from bursary.lib.admin import ReadOnlyAdmin


class Timeline(admin.TabularInline):  # type: ignore[type-arg]  # Django's class takes no parameters when run
    """The assignment's actions, in their order."""

    model = models.LearnerContentAssignmentAction
    verbose_name_plural = "timeline"
    fields = ("action_type", "status", "created", "completed_at", "attempts", "error_code", "detail")
    readonly_fields = fields
    ordering = ("created", "id")
    show_change_link = True
    can_delete = False
    extra = 0

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("payload", "attempt_log", "traceback")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(models.LearnerContentAssignment)
class LearnerContentAssignmentAdmin(FindsMailboxes, ReadOnlyAdmin):
    organisation_path = "budget.customer"
    list_display = (
        "uuid",
        "learner_email",
        "content_title",
        "budget",
        "state",
        "learner_state",
        "expires_at",
    )
    list_select_related = ("budget",)
    list_filter = ("state", "learner_state")
    search_fields = ("=uuid", "=learner_email", "=content_key")
    ordering = ("-id",)
    inlines = (Timeline,)


@admin.register(models.LearnerContentAssignmentAction)
class LearnerContentAssignmentActionAdmin(ReadOnlyAdmin):
    organisation_path = "assignment.budget.customer"
    list_display = ("uuid", "assignment", "action_type", "status", "created", "completed_at", "error_code")
    list_select_related = ("assignment",)
    list_filter = ("status", "action_type")
    search_fields = ("=uuid", "=assignment__uuid", "=recipient")
    ordering = ("-id",)
    deferred = ("payload", "attempt_log", "traceback")


@admin.register(models.AllocationBatch)
class AllocationBatchAdmin(ReadOnlyAdmin):
    organisation_path = "budget.customer"
    list_display = ("uuid", "budget", "content_key", "actor", "created")
    list_select_related = ("budget", "actor")
    search_fields = ("=uuid", "=content_key")
    ordering = ("-id",)


@admin.register(models.AdministratorNotice)
class AdministratorNoticeAdmin(ReadOnlyAdmin):
    organisation_path = "budget.customer"
    list_display = (
        "budget",
        "content",
        "assignments",
        "reason",
        "no_expiry_before",
        "notified_at",
        "last_error",
    )
    list_select_related = ("budget", "content")
    ordering = ("-id",)
