"""Addresses that a customer's automatic mails do not go to."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from bursary.budgets.models import Customer


class SuppressionReason(models.TextChoices):
    """Why automatic mails do not go to an address."""

    BOUNCED = "bounced", _("Refused by the address's mail server")
    """Its server refused a mail permanently."""
    COMPLAINED = "complained", _("Reported as unwanted")
    """The learner reported a mail as unwanted to their mail provider."""
    UNSUBSCRIBED = "unsubscribed", _("Unsubscribed from reminders")
    """The learner unsubscribed from reminders."""


class Suppression(models.Model):
    """A reason for which one customer's automatic mails do not go to an address, kept as a keyed hash.

    It does not affect other customers' mails, and is not shown to them.
    """

    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="suppressions")
    address_hash = models.CharField(max_length=64, editable=False)
    reason = models.CharField(max_length=16, choices=SuppressionReason.choices)
    since = models.DateTimeField(help_text="When the mail provider or the learner reported the reason")

    class Meta:
        ordering = ("since", "id")
        constraints = [
            models.UniqueConstraint(
                fields=["customer", "address_hash", "reason"], name="a_suppression_for_a_reason"
            ),
        ]
        indexes = [
            # For erasure by address, and for the daily deletion of old rows.
            models.Index(fields=["address_hash"], name="suppression_of_address"),
            models.Index(fields=["since"], name="suppression_by_age"),
        ]

    def __str__(self) -> str:
        return str(self.pk)
