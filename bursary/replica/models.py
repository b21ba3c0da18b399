"""The replica's tables: a few typed columns, the raw payload beside them, and how each row was refreshed.

`refresh.py` and the modules below it are the only writers. Content keys are upstream's own, unique over all
content types.
"""

from datetime import datetime

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q

from bursary.catalog.records import Completeness as Completeness
from bursary.catalog.records import ContentType as ContentType
from bursary.lib.leases import LeasedRow

CONTENT_TYPES = [(one.value, one.name.capitalize()) for one in ContentType]
"""The content types as choices of a field."""


class RefreshSource(models.TextChoices):
    """What caused a fetch from upstream."""

    EVENT = "event"
    """An event announced a change."""
    CRON = "cron"
    """A scheduled task or an operator's command."""
    READ = "read"
    """A reader asked for content that the replica did not have."""


class ColdReadStatus(models.TextChoices):
    """The answer to a request for a key without content."""

    ASKING = "asking"
    """Upstream is being asked; other readers of the key wait for its answer."""
    ABSENT = "absent"
    """Upstream has no such content, or no record that can be used."""
    SILENT = "silent"
    """Upstream did not answer."""


class ReadMode(models.TextChoices):
    """Where lists, pages, mails and allocation read content."""

    REPLICA = "replica"
    """From the replica's rows."""
    SHADOW = "shadow"
    """From upstream; each answer is compared with the replica's row."""
    UPSTREAM = "upstream"
    """From upstream, through a cache."""


class ContentMetadata(LeasedRow):
    """One course, run, program or pathway as last fetched.

    `due_at` is when it is refreshed next: the end of its freshness, a request, or the end of a back-off. A
    run is refreshed with its course and has none.
    """

    content_key = models.CharField(max_length=255, unique=True)
    content_type = models.CharField(max_length=16, choices=CONTENT_TYPES)
    uuid = models.UUIDField(null=True, blank=True)
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="runs")
    title = models.TextField(blank=True)
    course_type = models.CharField(max_length=64, blank=True)
    product_source = models.CharField(max_length=64, blank=True)
    partners = models.JSONField(default=list, help_text="[{uuid, key, name, logo_image_url}]")
    partner_names = models.TextField(blank=True, help_text="The partners' names, for search and sorting")
    image_url = models.TextField(blank=True)
    start_date = models.DateTimeField(null=True, blank=True)
    end_date = models.DateTimeField(null=True, blank=True)
    enroll_start = models.DateTimeField(null=True, blank=True)
    enroll_by = models.DateTimeField(null=True, blank=True)
    price_cents = models.PositiveBigIntegerField(null=True, blank=True, help_text="Empty: unknown; 0: free")
    pacing = models.CharField(max_length=64, blank=True)
    weeks_to_complete = models.PositiveIntegerField(null=True, blank=True)
    advertised_run = models.CharField(max_length=255, blank=True, help_text="That run's content key")
    active = models.BooleanField(default=False)

    payload = models.JSONField(default=dict, help_text="The record as upstream served it, without links")
    digest = models.CharField(max_length=64, help_text="Of the payload without volatile fields")
    completeness = models.CharField(
        max_length=8, choices=[(one.value, one.name.capitalize()) for one in Completeness]
    )

    source = models.CharField(max_length=8, choices=RefreshSource.choices, help_text="Of the last fetch")
    fetched_from = models.CharField(max_length=128, help_text="The upstream and the catalog that served it")
    upstream_modified = models.DateTimeField(null=True, blank=True)
    fetched_at = models.DateTimeField(help_text="When the stored payload was fetched")
    checked_at = models.DateTimeField(help_text="When a fetch last confirmed the row")
    changed_at = models.DateTimeField(help_text="When the payload last changed")
    fresh_until = models.DateTimeField()
    expected_since = models.DateTimeField(
        null=True, blank=True, help_text="When an event announced a change that upstream does not show yet"
    )
    failures = models.PositiveIntegerField(default=0, help_text="Failed fetches since the last good one")
    last_error = models.TextField(blank=True)
    quarantined_digest = models.CharField(
        max_length=64,
        blank=True,
        help_text="Of a record that cannot be used; ignored while it is the same",
    )
    gone_at = models.DateTimeField(null=True, blank=True, help_text="When its last catalog lost it")

    LOCK_ORDER = "content_key"

    class Meta:
        verbose_name_plural = "content metadata"
        ordering = ("content_key",)
        indexes = [
            models.Index(fields=["early", "due_at"], name="content_due"),
            # The metrics: what is in quarantine, counted without reading the rest.
            models.Index(fields=["quarantined_digest", "id"], name="content_quarantined"),
        ]
        constraints = [
            models.CheckConstraint(
                name="content_price_unknown_or_not_negative",
                condition=Q(price_cents=None) | Q(price_cents__gte=0),
            ),
        ]

    def __str__(self) -> str:
        return self.content_key

    @property
    def key_to_fetch(self) -> str:
        """The key that upstream is asked for: a run's course's, or its own."""
        return self.parent.content_key if self.parent else self.content_key

    def fresh(self, now: datetime) -> bool:
        """Return whether the row may be served without being refreshed first."""
        return now < self.fresh_until


class CatalogMembership(models.Model):
    """A catalog holds a course, program or pathway. Runs, and their links, belong to their course."""

    catalog_uuid = models.UUIDField()
    content = models.ForeignKey(ContentMetadata, on_delete=models.PROTECT, related_name="memberships")
    created = models.DateTimeField()
    seen_at = models.DateTimeField(help_text="When the catalog last returned it")
    missing_since = models.DateTimeField(null=True, blank=True, help_text="First lookup that found nothing")
    links = models.JSONField(
        default=dict,
        db_default={},
        help_text="The catalog's own, for the content and its runs, by key",
    )
    digest = models.CharField(
        max_length=64, blank=True, default="", db_default="", help_text="Of the record that it last served"
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["catalog_uuid", "content"], name="content_once_in_a_catalog"),
        ]

    def __str__(self) -> str:
        return f"{self.content_id} in {self.catalog_uuid}"


class ContentChange(models.Model):
    """One field of one row changed: old and new value, when, and what caused the fetch."""

    content = models.ForeignKey(ContentMetadata, on_delete=models.PROTECT, related_name="changes")
    field = models.CharField(max_length=32)
    old = models.JSONField(null=True)
    new = models.JSONField(null=True)
    source = models.CharField(max_length=8, choices=RefreshSource.choices)
    created = models.DateTimeField()

    class Meta:
        ordering = ("created", "id")
        indexes = [models.Index(fields=["content", "created", "id"], name="content_change_history")]

    def __str__(self) -> str:
        return f"{self.field} of {self.content_id}"


class CatalogListing(LeasedRow):
    """A catalog's listings: the last complete one, the one being read, and the standing alarm.

    `due_at` is when the catalog is listed next.
    """

    catalog_uuid = models.UUIDField(unique=True)
    started_at = models.DateTimeField(null=True, blank=True, help_text="When the last accepted listing began")
    begun_at = models.DateTimeField(null=True, blank=True, help_text="When the unfinished listing began")
    listed = models.PositiveIntegerField(default=0, help_text="Entries of the last accepted listing, no runs")
    failures = models.PositiveIntegerField(default=0)
    last_error = models.TextField(blank=True)
    alarm = models.TextField(blank=True, help_text="Why nothing is removed: too much is missing")
    alarmed_at = models.DateTimeField(null=True, blank=True)
    guard_off_until = models.DateTimeField(
        null=True, blank=True, help_text="Until when an operator allows any number of removals"
    )

    class Meta:
        ordering = ("catalog_uuid",)
        indexes = [models.Index(fields=["early", "due_at"], name="catalog_listing_due")]

    def __str__(self) -> str:
        return str(self.catalog_uuid)


class ColdRead(LeasedRow):
    """A key without content that a catalog was asked for; its answer is remembered until `due_at`."""

    catalog_uuid = models.UUIDField()
    content_key = models.CharField(max_length=255)
    answer = models.CharField(max_length=8, choices=ColdReadStatus.choices)
    asked_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "cold reads"
        constraints = [models.UniqueConstraint(fields=["catalog_uuid", "content_key"], name="cold_read_once")]
        indexes = [models.Index(fields=["early", "due_at"], name="cold_read_due")]

    def __str__(self) -> str:
        return f"{self.content_key} in {self.catalog_uuid}"


class ShadowDifference(models.Model):
    """A field in which upstream's record and the replica's row differed in some comparison."""

    catalog_uuid = models.UUIDField()
    content_key = models.CharField(max_length=255)
    field = models.CharField(max_length=32)
    upstream_value = models.JSONField(null=True, encoder=DjangoJSONEncoder)
    replica_value = models.JSONField(null=True, encoder=DjangoJSONEncoder)
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField()
    times = models.PositiveIntegerField(default=1, help_text="Number of comparisons that found it")
    healed_at = models.DateTimeField(null=True, blank=True, help_text="When a comparison no longer found it")

    class Meta:
        ordering = ("catalog_uuid", "content_key", "field")
        constraints = [
            models.UniqueConstraint(
                fields=["catalog_uuid", "content_key", "field"], name="shadow_difference_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.field} of {self.content_key}"


class ShadowTally(models.Model):
    """The number of comparisons of a catalog since the last reset."""

    catalog_uuid = models.UUIDField(unique=True)
    since = models.DateTimeField()
    last_at = models.DateTimeField()
    compared = models.PositiveBigIntegerField(default=0, help_text="Answers of upstream that were compared")
    fields_compared = models.PositiveBigIntegerField(default=0)
    different = models.PositiveBigIntegerField(default=0, help_text="Fields that differed, each time")
    incomparable = models.PositiveBigIntegerField(default=0, help_text="Answers with less than the row")
    unrecorded = models.PositiveBigIntegerField(default=0, help_text="Differences beyond the limit")

    class Meta:
        verbose_name_plural = "shadow tallies"
        ordering = ("catalog_uuid",)

    def __str__(self) -> str:
        return str(self.catalog_uuid)
