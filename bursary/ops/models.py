"""The table of scheduled tasks: one row for each, claimed by the first process that finds it due."""

from django.db import models
from django.db.models import Q

from bursary.lib.leases import LeasedRow


class ScheduledTask(LeasedRow):
    """A scheduled task: when it runs next, and the result of its last run."""

    name = models.CharField(max_length=32, unique=True)
    failures = models.PositiveIntegerField(default=0, help_text="Number of failed runs in a row")
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    summary = models.JSONField(default=dict, help_text="Result of the last successful run")
    last_error = models.TextField(blank=True)

    class Meta:
        ordering = ("name",)
        constraints = [
            models.CheckConstraint(
                name="scheduled_task_always_due", condition=Q(due_at__isnull=False, early__isnull=False)
            ),
        ]
        indexes = [models.Index(fields=["early", "due_at"], name="scheduled_task_due")]

    def __str__(self) -> str:
        return self.name
