"""The inbox: events of other services, each stored once."""

from django.db import models
from django.db.models import Q

from bursary.lib.leases import LeasedRow

LONGEST_ID = 255  # characters


class EventSource(models.TextChoices):
    """How an event arrived. Ids are unique within a source: two senders may choose the same."""

    BUS = "bus", "Event bus"
    WEBHOOK = "webhook", "Webhook"
    MAIL = "mail", "Mail provider"


class EventKind(models.TextChoices):
    """The kind of an event. The values are those of webhooks."""

    CONTENT_CHANGED = "content.changed", "Content changed"
    TRANSACTION_REVERSED = "transaction.reversed", "Transaction reversed"
    MAIL_REPORTED = "mail.reported", "Mail reported"
    UNREADABLE = "unreadable", "Unreadable"


class EventOutcome(models.TextChoices):
    """How an event was settled."""

    REFRESH_REQUESTED = "wanted", "Refresh requested"
    NOT_IN_REPLICA = "nothing_held", "Content not in the replica"
    REVERSED = "reversed", "Assignment reversed"
    ALREADY_REVERSED = "already_reversed", "Already reversed"
    UNKNOWN_TRANSACTION = "unknown_transaction", "No such transaction"
    RECORDED = "recorded", "Recorded on the timeline"
    ALREADY_RECORDED = "already_recorded", "Recorded on the timeline before"
    UNKNOWN_MAIL = "unknown_mail", "No such mail to a learner"
    NOT_REVERSIBLE = "not_reversible", "Assignment cannot be reversed"
    FAILED = "failed", "Failed"
    UNREADABLE = "unreadable", "Unreadable"


class InboxEvent(LeasedRow):
    """A received event: only the data that handlers use, and no personal data."""

    source = models.CharField(max_length=16, choices=EventSource.choices)
    event_id = models.CharField(
        max_length=LONGEST_ID,
        help_text="The sender's id of the event; an event that is received twice has one row",
    )
    kind = models.CharField(max_length=32, choices=EventKind.choices)
    payload = models.JSONField(default=dict)
    received_at = models.DateTimeField()
    attempts = models.PositiveIntegerField(default=0)
    settled_at = models.DateTimeField(null=True)
    outcome = models.CharField(max_length=32, choices=EventOutcome.choices, blank=True)
    last_error = models.TextField(blank=True)

    class Meta:
        ordering = ("-id",)
        constraints = [
            models.UniqueConstraint(fields=("source", "event_id"), name="event_kept_once"),
            models.CheckConstraint(
                condition=Q(due_at=None, early=None, settled_at__isnull=False)
                | Q(due_at__isnull=False, early__isnull=False, settled_at=None, outcome=""),
                name="event_due_until_settled",
            ),
        ]
        indexes = [
            models.Index(fields=("early", "due_at"), name="event_due"),
            models.Index(fields=("settled_at",), name="event_settled"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.event_id}"
