"""The mail server as a leased row, with its trouble and the next attempt; and the rate of mails."""

from django.db import models

from bursary.lib.leases import LeasedRow


class MailServer(LeasedRow):
    """The state of the mail server, for every process: at most one row, inserted at its first trouble.

    While `due_at` is set, mails wait with it. The mail of the worker that claims the row, once it is due,
    tries the server for all.
    """

    name = models.CharField(max_length=16, unique=True)
    trouble_since = models.DateTimeField(
        null=True, blank=True, help_text="When the server stopped accepting mails; empty: it accepts them"
    )
    error_code = models.CharField(max_length=64, blank=True, db_column="cause")  # the name when it was added
    detail = models.TextField(blank=True, help_text="The server's last answer, without e-mail addresses")
    failures = models.PositiveIntegerField(default=0, help_text="Number of failed attempts in a row")

    class Meta:
        indexes = [models.Index(fields=["early", "due_at"], name="mail_server_due")]

    def __str__(self) -> str:
        return self.name


class SendingRate(models.Model):
    """The next free slot in the queue of mails by `BURSARY_SENDS_PER_MINUTE`, over all processes."""

    name = models.CharField(max_length=16, unique=True)
    free_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name
