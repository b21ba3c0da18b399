"""What administrators must be told before it happens: deadlines that a change has moved into the past."""

import uuid
from datetime import timedelta

from django.db import models

from bursary.budgets.models import Budget
from bursary.replica.models import ContentMetadata

LONGEST_WAIT_FOR_NOTICE = timedelta(days=7)
"""A notice that reaches nobody holds the money no longer than this, and is not tried any longer."""


class DeadlineNotice(models.Model):
    """A change moved the deadlines of a budget's open assignments of one content into the past.

    They do not expire before `grace_until`, nor before an administrator was told.
    """

    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    budget = models.ForeignKey(Budget, on_delete=models.PROTECT, related_name="deadline_notices")
    content = models.ForeignKey(ContentMetadata, null=True, on_delete=models.PROTECT, related_name="+")
    assignments = models.PositiveIntegerField(help_text="How many it concerned")
    grace_until = models.DateTimeField()
    created = models.DateTimeField()
    told = models.JSONField(default=list, help_text="The administrators (pks) who were told")
    told_at = models.DateTimeField(null=True, blank=True, help_text="When the first of them was")
    due_at = models.DateTimeField(null=True, blank=True, help_text="When to tell; empty: nobody is left")
    attempts = models.PositiveIntegerField(default=0)
    last_error = models.TextField(blank=True)

    class Meta:
        ordering = ("created", "id")
        constraints = [
            models.UniqueConstraint(fields=["budget", "content", "created"], name="one_notice_for_a_change"),
        ]
        indexes = [
            models.Index(fields=["due_at", "id"], name="deadline_notice_due"),
            models.Index(fields=["budget", "created"], name="deadline_notice_of_budget"),
        ]

    def __str__(self) -> str:
        return str(self.uuid)
