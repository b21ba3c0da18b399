"""The table of wrong passwords: see sign_in_limits.py."""

from django.db import models


class SignInFailures(models.Model):
    """The number of wrong passwords since a moment, for a name, an address, or both."""

    digest = models.CharField(
        max_length=64,
        unique=True,
        help_text="Keyed digest of the name, the address, or both, that failures are counted for",
    )
    failures = models.PositiveIntegerField()
    since = models.DateTimeField(db_index=True)  # for the deletion of old rows

    class Meta:
        verbose_name_plural = "sign-in failures"

    def __str__(self) -> str:
        return str(self.pk)
