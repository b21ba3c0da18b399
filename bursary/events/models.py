"""The inbox: what others told us, each event once, until it is settled."""

from django.db import models
from django.db.models import Q

LONGEST_ID = 255  # characters


class EventSource(models.TextChoices):
    """By which way an event came. Ids are unique within one: two senders may choose the same."""

    BUS = "bus", "Event bus"
    WEBHOOK = "webhook", "Webhook"


class EventKind(models.TextChoices):
    """What an event says, as webhooks spell it."""

    CONTENT_CHANGED = "content.changed", "Content changed"
    TRANSACTION_REVERSED = "transaction.reversed", "Transaction reversed"
    UNREADABLE = "unreadable", "Unreadable"


class EventOutcome(models.TextChoices):
    """How an event was settled."""

    WANTED = "wanted", "Content wanted"
    NOTHING_HELD = "nothing_held", "No such content here"
    REVERSED = "reversed", "Assignment reversed"
    ALREADY_REVERSED = "already_reversed", "Already reversed"
    UNKNOWN_TRANSACTION = "unknown_transaction", "Transaction never heard of"
    NOT_REVERSIBLE = "not_reversible", "Assignment cannot be reversed"
    FAILED = "failed", "Failed"
    UNREADABLE = "unreadable", "Unreadable"


class InboxEvent(models.Model):
    """An event as it was told: only what is acted upon, and nothing about a person."""

    source = models.CharField(max_length=16, choices=EventSource.choices)
    event_id = models.CharField(
        max_length=LONGEST_ID, help_text="The sender's id for it: what comes twice is one"
    )
    kind = models.CharField(max_length=32, choices=EventKind.choices)
    payload = models.JSONField(default=dict)
    received_at = models.DateTimeField()
    due_at = models.DateTimeField(
        null=True, help_text="When somebody must look; while it is applied, when the lease ends"
    )
    attempts = models.PositiveIntegerField(default=0, help_text="Counts claims: a late one writes nothing")
    settled_at = models.DateTimeField(null=True)
    outcome = models.CharField(max_length=32, choices=EventOutcome.choices, blank=True)
    last_error = models.TextField(blank=True)

    class Meta:
        ordering = ("-id",)
        constraints = [
            models.UniqueConstraint(fields=("source", "event_id"), name="event_told_once"),
            models.CheckConstraint(
                condition=Q(due_at=None, settled_at__isnull=False)
                | Q(due_at__isnull=False, settled_at=None, outcome=""),
                name="event_due_until_settled",
            ),
        ]
        indexes = [
            models.Index(fields=("due_at", "id"), name="event_due"),
            models.Index(fields=("settled_at",), name="event_settled"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.event_id}"
