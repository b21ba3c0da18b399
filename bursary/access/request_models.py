"""Tables of requests to the API: requests with an idempotency key, and counts of requests by caller."""

from django.conf import settings
from django.db import models

from bursary.lib.leases import LeasedRow


class IdempotentRequest(LeasedRow):
    """A POST with an `Idempotency-Key`. Its answer is kept until `due_at`; while it runs, it has none."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="idempotent_requests"
    )
    identity = models.CharField(
        max_length=64,
        unique=True,
        help_text="Digest of the user or API key, the URL, and the idempotency key",
    )
    fingerprint = models.CharField(max_length=64, help_text="Digest of the query string and the body")
    status = models.PositiveSmallIntegerField(
        null=True, help_text="HTTP status of the answer; empty: the request runs, or its process was killed"
    )
    body = models.JSONField(null=True)
    abridged = models.BooleanField(default=False, help_text="Whether the body has uuids in place of rows")
    created = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["early", "due_at"], name="idempotent_request_due")]

    def __str__(self) -> str:
        return str(self.pk)


class RequestTally(models.Model):
    """The POSTs of one API key, or of one user without a key, within one minute (decision 0023)."""

    caller = models.CharField(max_length=40, unique=True)
    minute = models.IntegerField(db_index=True, help_text="The minute of the count, in minutes since 1970")
    count = models.IntegerField()

    class Meta:
        verbose_name_plural = "request tallies"

    def __str__(self) -> str:
        return self.caller
