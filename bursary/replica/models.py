"""The replica's tables: a few typed columns, the raw payload beside them, and how each row was refreshed.

`refresh.py` and the modules below it are the only writers. Content keys are upstream's own, unique over all
content types.
"""

from datetime import datetime
from uuid import UUID

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Exists, OuterRef, Q

from bursary.catalog.records import Completeness as Completeness
from bursary.catalog.records import ContentType as ContentType
from bursary.lib.leases import LeasedRow
from bursary.lib.prepared import Parameter

CONTENT_TYPES = [(one.value, one.name.capitalize()) for one in ContentType]
"""The content types as choices of a field."""


class RefreshTrigger(models.TextChoices):
    """What caused a fetch from upstream."""

    EVENT = "event"
    """An event announced a change."""
    CRON = "cron"
    """A scheduled task or an operator's command."""
    READ = "read"
    """A reader asked for content that the replica did not have."""


class ColdReadStatus(models.TextChoices):
    """Where the request to upstream for a key without content stands."""

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
    """One course, run, program or pathway as last fetched, for all catalogs that are served the same record.

    A course has a row for each `variant`: catalogs with different restricted runs are served different
    records of it (decision 0014). All catalogs share a run's row.

    `due_at` is when it is refreshed next: when it becomes stale, when a refresh was requested, or when a
    back-off ends. A run is refreshed with its course and has no `due_at`, unless its course has no row.
    """

    content_key = models.CharField(max_length=255)
    variant = models.CharField(
        max_length=64,
        blank=True,
        default="",
        help_text="Digest of the restricted runs that the course's record names; empty: none",
    )
    content_type = models.CharField(max_length=16, choices=CONTENT_TYPES)
    uuid = models.UUIDField(null=True, blank=True, db_index=True)
    parent_key = models.CharField(
        max_length=255,
        blank=True,
        default="",
        db_index=True,
        help_text="The content key of a run's course; empty for other content",
    )
    title = models.TextField(blank=True)
    course_type = models.CharField(max_length=64, blank=True)
    product_source = models.CharField(max_length=64, blank=True)
    partners = models.JSONField(
        default=list, help_text="The partners, as [{uuid, key, name, logo_image_url}]"
    )
    partner_names = models.TextField(blank=True, help_text="The partners' names, for search and sorting")
    image_url = models.TextField(blank=True)
    start_date = models.DateTimeField(null=True, blank=True)
    end_date = models.DateTimeField(null=True, blank=True)
    enroll_start = models.DateTimeField(null=True, blank=True)
    enroll_by = models.DateTimeField(null=True, blank=True)
    price_cents = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="Price in cents; empty: unknown; 0: free"
    )
    pacing = models.CharField(max_length=64, blank=True)
    weeks_to_complete = models.PositiveIntegerField(null=True, blank=True)
    advertised_run = models.CharField(
        max_length=255, blank=True, help_text="The content key of a course's advertised run; empty: none"
    )
    active = models.BooleanField(default=False)
    offered = models.BooleanField(
        default=False,
        help_text="Whether a run is published and marketable, or marketable outside upstream's own site",
    )
    enrollable = models.BooleanField(
        default=False, help_text="Whether upstream flagged a run as enrollable at its last sync"
    )

    payload = models.JSONField(default=dict, help_text="The record as upstream served it, without links")
    digest = models.CharField(max_length=64, help_text="Digest of the payload without volatile fields")
    served_digest = models.CharField(
        max_length=64,
        blank=True,
        default="",
        db_default="",
        help_text="Digest of the whole record that the row was last merged from; empty: unknown",
    )
    served_digest_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="Value of checked_at when served_digest was written; once checked_at differs, "
        "the digest is not used",
    )
    completeness = models.CharField(
        max_length=8, choices=[(one.value, one.name.capitalize()) for one in Completeness]
    )

    trigger = models.CharField(
        max_length=8,
        choices=RefreshTrigger.choices,
        db_column="source",
        help_text="What caused the last fetch",
    )
    fetched_from = models.CharField(
        max_length=128, help_text="The upstream and the catalog that served the payload"
    )
    upstream_modified = models.DateTimeField(null=True, blank=True)
    fetched_at = models.DateTimeField(help_text="When the stored payload was fetched")
    checked_at = models.DateTimeField(help_text="When a fetch last confirmed the row")
    changed_at = models.DateTimeField(help_text="When the payload last changed")
    fresh_until = models.DateTimeField()
    change_announced_at = models.DateTimeField(
        null=True,
        blank=True,
        db_column="expected_since",
        help_text="When an event announced a change that upstream does not show yet; empty: none",
    )
    failures = models.PositiveIntegerField(default=0, help_text="Failed fetches since the last good one")
    last_error = models.TextField(blank=True)
    quarantined_digest = models.CharField(
        max_length=64,
        blank=True,
        help_text="Digest of a record that cannot be used, which is ignored until its digest "
        "changes; empty: none",
    )
    gone_at = models.DateTimeField(
        null=True, blank=True, help_text="When the content left its last catalog; empty: a catalog holds it"
    )

    LOCK_ORDER = ("content_key", "variant")

    class Meta:
        verbose_name_plural = "content metadata"
        ordering = ("content_key", "variant")
        indexes = [
            models.Index(fields=["early", "due_at"], name="content_due"),
            # The metrics: what is in quarantine, counted without reading the rest.
            models.Index(fields=["quarantined_digest", "id"], name="content_quarantined"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["content_key", "variant"], name="content_once_a_variant"),
            models.CheckConstraint(
                name="content_price_unknown_or_not_negative",
                condition=Q(price_cents=None) | Q(price_cents__gte=0),
            ),
        ]

    def __str__(self) -> str:
        return self.content_key

    def fresh(self, now: datetime) -> bool:
        """Return whether the row may be served without being refreshed first."""
        return now < self.fresh_until


class CatalogMembership(models.Model):
    """A catalog holds content: one row of a key. A run has rows of its own, with its course or without."""

    catalog_uuid = models.UUIDField()
    content = models.ForeignKey(ContentMetadata, on_delete=models.PROTECT, related_name="memberships")
    created = models.DateTimeField()
    via_course = models.CharField(
        max_length=255,
        blank=True,
        db_column="named_by",
        default="",
        help_text="Key of the course with the full record that names the run; empty: the catalog lists it",
    )
    seen_at = models.DateTimeField(help_text="When the catalog last returned the content")
    missing_since = models.DateTimeField(
        null=True,
        blank=True,
        help_text="When a lookup first found nothing; empty: not missing",
    )
    links = models.JSONField(default=dict, db_default={}, help_text="The catalog's own links to this content")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["catalog_uuid", "content"], name="content_once_in_a_catalog"),
        ]
        # With the content, so that paging through what a catalog lists itself needs no sorting.
        indexes = [models.Index(fields=["via_course", "catalog_uuid", "content"], name="content_named_by")]

    def __str__(self) -> str:
        return f"{self.content_id} in {self.catalog_uuid}"


def in_catalog(catalog_uuid: UUID | Parameter) -> Exists:
    """Return a condition, or annotation, on content: the catalog holds this row."""
    return Exists(CatalogMembership.objects.filter(content=OuterRef("pk"), catalog_uuid=catalog_uuid))


class FormerContentKey(models.Model):
    """A key that upstream used for a course before it had `content_key`; the course is found by both."""

    former_key = models.CharField(max_length=255, unique=True)
    content_key = models.CharField(max_length=255, db_index=True)

    class Meta:
        ordering = ("former_key",)

    def __str__(self) -> str:
        return f"{self.former_key}, now {self.content_key}"


class ContentChange(models.Model):
    """One field of one row changed: old and new value, when, and what caused the fetch."""

    content = models.ForeignKey(ContentMetadata, on_delete=models.PROTECT, related_name="changes")
    field = models.CharField(max_length=32)
    old = models.JSONField(null=True)
    new = models.JSONField(null=True)
    catalog_uuid = models.UUIDField(
        null=True,
        blank=True,
        help_text="The only catalog that the change concerns; empty: all that hold the content",
    )
    trigger = models.CharField(max_length=8, choices=RefreshTrigger.choices, db_column="source")
    created = models.DateTimeField()

    class Meta:
        ordering = ("created", "id")
        indexes = [models.Index(fields=["content", "created", "id"], name="content_change_history")]

    def __str__(self) -> str:
        return f"{self.field} of {self.content_id}"


class CatalogListing(LeasedRow):
    """A catalog's listings: the last complete one, the one being read, and the alarm, if there is one.

    `due_at` is when the catalog is listed next.
    """

    catalog_uuid = models.UUIDField(unique=True)
    started_at = models.DateTimeField(null=True, blank=True, help_text="When the last accepted listing began")
    begun_at = models.DateTimeField(
        null=True, blank=True, help_text="When the unfinished listing began; empty: none is unfinished"
    )
    listed = models.PositiveIntegerField(
        default=0, help_text="Number of entries of the last accepted listing"
    )
    failures = models.PositiveIntegerField(default=0)
    last_error = models.TextField(blank=True)
    alarm = models.TextField(
        blank=True,
        help_text="Why nothing is removed, as a sentence on what is missing; empty: no alarm",
    )
    alarmed_at = models.DateTimeField(null=True, blank=True)
    removals_allowed_until = models.DateTimeField(
        null=True,
        blank=True,
        db_column="guard_off_until",
        help_text="Until when an operator allows any number of removals; empty: never allowed",
    )
    contradictions = models.PositiveBigIntegerField(
        default=0,
        help_text="Number of records that differed from another catalog's of the same variant and "
        "modified time",
    )

    class Meta:
        ordering = ("catalog_uuid",)
        indexes = [models.Index(fields=["early", "due_at"], name="catalog_listing_due")]

    def __str__(self) -> str:
        return str(self.catalog_uuid)


class ColdRead(LeasedRow):
    """A key without content that a catalog was asked for; the answer is remembered until `due_at`.

    For lookups with a cache in the process (`upstream_cache.py`), the key is the name of the process: one of
    its lookups at a time asks a catalog.
    """

    catalog_uuid = models.UUIDField()
    content_key = models.CharField(max_length=255)
    status = models.CharField(max_length=8, choices=ColdReadStatus.choices, db_column="answer")
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
    times = models.PositiveIntegerField(
        default=1, help_text="Number of comparisons that found the difference"
    )
    healed_at = models.DateTimeField(
        null=True, blank=True, help_text="When a comparison no longer found the difference; empty: it stands"
    )

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
    compared = models.PositiveBigIntegerField(
        default=0, help_text="Number of upstream's answers that were compared"
    )
    fields_compared = models.PositiveBigIntegerField(default=0)
    different = models.PositiveBigIntegerField(
        default=0, help_text="Number of fields that differed, counted in each comparison"
    )
    incomparable = models.PositiveBigIntegerField(
        default=0, help_text="Number of upstream's answers that leave out what the row keeps on purpose"
    )
    unrecorded = models.PositiveBigIntegerField(
        default=0, help_text="Number of differences that were not recorded, beyond the limit"
    )

    class Meta:
        verbose_name_plural = "shadow tallies"
        ordering = ("catalog_uuid",)

    def __str__(self) -> str:
        return str(self.catalog_uuid)
