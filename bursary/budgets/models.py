"""Customers, accounts, budgets and ledger entries. Money is in whole US cents, never negative."""

import uuid
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from bursary.lib.moments import FIRST_YEAR, LAST_YEAR
from bursary.lib.numbers import from_digits
from bursary.lib.texts import is_line

LONGEST_AGE_DAYS = 3650
ALLOCATION_AGE_DAYS = 90  # the default time for the learner's answer
REMIND_DAYS_AFTER, REMIND_DAYS_BEFORE, NUDGE_DAYS_BEFORE = "7,30,60", "7,1", "7,1"
MAX_DAYS = 10


def check_time_zone(name: str) -> None:
    """Refuse a name that is not in the IANA time zone database."""
    if name not in available_timezones():
        raise ValidationError("%(name)s is not a time zone, such as Europe/Madrid.", params={"name": name})


def check_name(name: str) -> None:
    """Refuse a name of spaces only, or with a line break or another control character."""
    if not is_line(name):
        raise ValidationError(_("Give a name in one line, without control characters."))


def check_sender_name(name: str) -> None:
    """Refuse a name that could be read as an address, or end a mail's header."""
    if any(one in '@<>"\\,;:()[]' or not (one.isprintable()) for one in name):
        raise ValidationError("Give a name without line breaks, quotation marks, brackets, commas and @.")


def check_moment(moment: datetime) -> None:
    """Refuse an instant outside the years that every calendar and time zone can represent."""
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise ValidationError(f"Give a date between the years {FIRST_YEAR} and {LAST_YEAR}.")


def check_days(text: str) -> None:
    """Refuse a text that is not a short list of whole days, such as 7,30."""
    parts = [part.strip() for part in text.split(",")]
    days = {from_digits(part, max_digits=18) for part in parts}
    in_range = all(day is not None and 1 <= day <= LONGEST_AGE_DAYS for day in days)
    if len(days) < len(parts) or len(parts) > MAX_DAYS or not in_range:
        raise ValidationError(
            f"Give at most {MAX_DAYS} different whole numbers of days from 1 to {LONGEST_AGE_DAYS}, "
            "separated by commas, such as 7,30; nothing for never."
        )


def read_days(text: str) -> tuple[int, ...]:
    """Return the days in a text that `check_days` accepts."""
    return tuple(int(part) for part in text.split(",")) if text.strip() else ()


class Customer(models.Model):
    """The organisation that pays. Its dates are entered and shown in its time zone."""

    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    slug = models.SlugField(max_length=64, unique=True)
    name = models.CharField(max_length=255, validators=[check_name])
    time_zone = models.CharField(max_length=64, default="UTC", validators=[check_time_zone])
    reallocate_declined = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Whether content that a learner declined is assigned again, if a request does "
        "not decide it",
    )
    contact_email = models.EmailField(
        blank=True,
        default="",
        db_default="",
        help_text="The address that learners write and reply to; empty: the first administrator's",
    )
    sender_name = models.CharField(
        max_length=100,
        blank=True,
        default="",
        db_default="",
        validators=[check_sender_name],
        help_text="The sender's name in mails to the organisation's learners; empty: the name in "
        "BURSARY_FROM_EMAIL",
    )
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("name", "id")

    def __str__(self) -> str:
        return self.name

    @property
    def zone(self) -> ZoneInfo:
        """The time zone in which its dates are entered and shown."""
        return ZoneInfo(self.time_zone)


class Account(models.Model):
    """Money that budgets may share (clients call it a subsidy)."""

    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="accounts")
    name = models.CharField(max_length=255, validators=[check_name])
    limit_cents = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="Limit in cents; empty: unlimited"
    )
    reserved_cents = models.PositiveBigIntegerField(db_column="held_cents", default=0, editable=False)
    spent_cents = models.PositiveBigIntegerField(default=0, editable=False)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("name", "id")
        constraints = [
            models.CheckConstraint(name="account_held_not_negative", condition=Q(reserved_cents__gte=0)),
            models.CheckConstraint(name="account_spent_not_negative", condition=Q(spent_cents__gte=0)),
        ]

    def __str__(self) -> str:
        return self.name


def _list_of_days(default: str, help_text: str) -> "models.CharField[str, str]":
    return models.CharField(
        max_length=64,
        blank=True,
        default=default,
        db_default=default,
        validators=[check_days],
        help_text=help_text,
    )


class NotInUse(models.TextChoices):
    """Why a budget is not in use (decision 0012)."""

    RETIRED = "retired", _("Retired")
    """It was retired for good."""
    INACTIVE = "inactive", _("Switched off")
    """It is switched off."""
    NOT_YET_OPEN = "not_yet_open", _("Not open yet")
    """Its start is in the future."""
    ENDED = "ended", _("Ended")
    """Its end has passed."""

    @property
    def refusal_reason(self) -> str:
        """Return its value on the wire."""
        return "policy_expired" if self in (NotInUse.RETIRED, NotInUse.INACTIVE) else "subsidy_expired"


class Budget(models.Model):
    """Money that a customer may spend on the content of one catalog, within dates.

    Clients use two uuids for one budget: the policy's (`uuid`) and its assignment configuration's.
    """

    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    assignment_configuration_uuid = models.UUIDField(unique=True, editable=False)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="budgets")
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="budgets")
    name = models.CharField(max_length=255, validators=[check_name])
    description = models.TextField(blank=True)
    catalog_uuid = models.UUIDField(help_text="The catalog with the content that this budget pays for")
    limit_cents = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="Limit in cents; empty: unlimited"
    )
    reserved_cents = models.PositiveBigIntegerField(db_column="held_cents", default=0, editable=False)
    spent_cents = models.PositiveBigIntegerField(default=0, editable=False)
    starts_at = models.DateTimeField(null=True, blank=True, validators=[check_moment])
    ends_at = models.DateTimeField(null=True, blank=True, validators=[check_moment])
    allocation_age_days = models.PositiveIntegerField(
        default=ALLOCATION_AGE_DAYS, validators=[MinValueValidator(1), MaxValueValidator(LONGEST_AGE_DAYS)]
    )
    remind_days_after = _list_of_days(
        REMIND_DAYS_AFTER,
        "Days after the allocation on which learners who have not answered are reminded, such as 7,30",
    )
    remind_days_before = _list_of_days(
        REMIND_DAYS_BEFORE, "Days before the deadline on which learners who have not answered are reminded"
    )
    nudge_days_before = _list_of_days(
        NUDGE_DAYS_BEFORE,
        "Days before the start of the content on which learners are mailed that it starts soon",
    )
    active = models.BooleanField(default=True)
    retired_at = models.DateTimeField(null=True, blank=True)
    created = models.DateTimeField(auto_now_add=True)
    modified = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("name", "id")
        constraints = [
            models.CheckConstraint(name="budget_held_not_negative", condition=Q(reserved_cents__gte=0)),
            models.CheckConstraint(name="budget_spent_not_negative", condition=Q(spent_cents__gte=0)),
            models.CheckConstraint(
                name="budget_ends_after_it_starts",
                condition=Q(starts_at=None) | Q(ends_at=None) | Q(ends_at__gt=F("starts_at")),
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save; the assignment configuration's uuid defaults to the policy's."""
        self.assignment_configuration_uuid = self.assignment_configuration_uuid or self.uuid
        super().save(*args, **kwargs)

    def clean(self) -> None:
        """Refuse an account of another customer."""
        if self.account_id and self.customer_id and self.account.customer_id != self.customer_id:
            raise ValidationError({"account": "This account belongs to another customer."})

    def not_in_use(self, now: datetime) -> NotInUse | None:
        """Return why nothing can be assigned, requested or accepted at `now`; None if the budget is in use.

        No other code decides this. Decision 0012 lists the consequences.
        """
        if self.retired_at is not None and self.retired_at <= now:
            return NotInUse.RETIRED
        if not self.active:
            return NotInUse.INACTIVE
        if self.starts_at is not None and now < self.starts_at:
            return NotInUse.NOT_YET_OPEN
        return NotInUse.ENDED if self.ends_at is not None and self.ends_at <= now else None

    def open_at(self, now: datetime) -> bool:
        """Return whether `now` lies within the budget's dates."""
        started = self.starts_at is None or self.starts_at <= now
        return started and (self.ends_at is None or now < self.ends_at)


class LedgerEntryState(models.TextChoices):
    COMMITTED = "committed"
    """The money is spent."""
    REVERSED = "reversed"
    """The money was refunded."""


class LedgerEntry(models.Model):
    """Money spent on one assignment. The idempotency key is the only reference to the assignment."""

    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    budget = models.ForeignKey(Budget, on_delete=models.PROTECT, related_name="transactions")
    idempotency_key = models.CharField(max_length=255, unique=True)
    cents = models.PositiveBigIntegerField()
    state = models.CharField(
        max_length=16, choices=LedgerEntryState.choices, default=LedgerEntryState.COMMITTED
    )
    created_at = models.DateTimeField()
    reversed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("created_at", "id")
        verbose_name_plural = "ledger entries"

    def __str__(self) -> str:
        return str(self.uuid)
