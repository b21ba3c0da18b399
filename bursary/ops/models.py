"""The clock's table: one row for each tick, claimed by whoever comes first."""

from django.db import models


class ScheduledTask(models.Model):
    """When something that happens by itself is next due, and how it went last."""

    name = models.CharField(max_length=32, unique=True)
    due_at = models.DateTimeField(help_text="When it is next due; while it runs, when its lease ends")
    fence = models.PositiveIntegerField(default=0, help_text="Counts claims: a late runner writes nothing")
    failures = models.PositiveIntegerField(default=0, help_text="In a row")
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    summary = models.JSONField(default=dict, help_text="What it did last")
    last_error = models.TextField(blank=True)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name
