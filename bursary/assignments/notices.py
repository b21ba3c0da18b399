"""What administrators must be told before it happens: deadlines that a change has moved into the past."""

import uuid

from django.db import models
from django.db.models import Q

from bursary.budgets.models import Budget
from bursary.replica.models import ContentMetadata


class DeadlineNotice(models.Model):
    """A change moved the deadlines of a budget's open assignments of one content into the past.

    They do not expire before `grace_until`, nor before the administrators were told.
    """

    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    budget = models.ForeignKey(Budget, on_delete=models.PROTECT, related_name="deadline_notices")
    content = models.ForeignKey(ContentMetadata, null=True, on_delete=models.PROTECT, related_name="+")
    assignments = models.PositiveIntegerField(help_text="How many it concerned")
    grace_until = models.DateTimeField()
    created = models.DateTimeField()
    told_at = models.DateTimeField(null=True, blank=True)
    due_at = models.DateTimeField(null=True, blank=True, help_text="When to tell; empty: told or given up")
    attempts = models.PositiveIntegerField(default=0)
    last_error = models.TextField(blank=True)

    class Meta:
        ordering = ("created", "id")
        constraints = [
            models.UniqueConstraint(fields=["budget", "content", "created"], name="one_notice_for_a_change"),
            models.CheckConstraint(name="told_is_not_due", condition=Q(told_at=None) | Q(due_at=None)),
        ]
        indexes = [
            models.Index(fields=["due_at", "id"], name="deadline_notice_due"),
            models.Index(fields=["budget", "created"], name="deadline_notice_of_budget"),
        ]

    def __str__(self) -> str:
        return str(self.uuid)
