"""Assignments and the actions on their timelines: columns, constraints and named queries.

Each column has one writer: `lifecycle` writes state, `actions` writes actions, `derived` writes the derived
columns; allocation, redemption and address corrections write the rest.
"""

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Self
from uuid import UUID, uuid5

from django.conf import settings
from django.db import models
from django.db.models import Exists, OuterRef, Q

from bursary.access.models import AddressedRow
from bursary.assignments.choices import (
    UNFINISHED,
    ActionType,
    ErrorReason,
    ExpiryReason,
    LearnerState,
    NoticeReason,
    State,
    Status,
)
from bursary.assignments.current_failures import newest_current
from bursary.budgets.models import Budget
from bursary.lib.leases import LeasedRow
from bursary.lib.moments import FAR_FUTURE
from bursary.replica.models import ContentMetadata
from bursary.replica.types import AnyContent

CHECK_NOW = datetime(1970, 1, 1, tzinfo=UTC)
"""Stands for 'not computed yet': the next sweep to remind or nudge finds such rows first, and computes it."""


class LearnerContentAssignment(AddressedRow):
    """One learner, one piece of content and one budget, through all its allocations."""

    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    budget = models.ForeignKey(Budget, models.PROTECT, related_name="assignments", db_index=False)
    content = models.ForeignKey(
        ContentMetadata, null=True, blank=True, on_delete=models.PROTECT, related_name="assignments"
    )
    content_key = models.CharField(max_length=255)
    parent_content_key = models.CharField(max_length=255, blank=True, help_text="Key of a run's course")
    learner_email = models.CharField(max_length=254)
    learner_key = models.CharField(max_length=64)
    duplicate_pk = models.PositiveBigIntegerField(
        default=0,
        db_column="second_row",
        db_default=0,
        editable=False,
        help_text="0, or the row's own pk if the learner has another row of the content in the budget",
    )
    lms_user_id = models.PositiveBigIntegerField(null=True, blank=True)
    price_cents = models.PositiveBigIntegerField(help_text="Cents: reserved while open, spent once accepted")

    state = models.CharField(max_length=16, choices=State.choices)
    cycle = models.PositiveIntegerField(default=1, help_text="Number of allocations")
    redeeming_since = models.DateTimeField(
        null=True, blank=True, help_text="Start of the redemption in flight; nothing else changes the state"
    )
    transaction_uuid = models.UUIDField(null=True, blank=True)
    allocation_batch_uuid = models.UUIDField(
        null=True, blank=True, help_text="Uuid of the batch that last allocated the assignment"
    )
    allocated_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    due_date = models.DateTimeField(null=True, blank=True, help_text="Deadline set by the administrator")
    extended_until = models.DateTimeField(
        null=True, blank=True, help_text="Deadline of an extension, in place of allocation age and due date"
    )
    decline_reason = models.TextField(blank=True)
    links_revoked_at = models.DateTimeField(
        null=True, blank=True, help_text="Links in mails sent before this instant no longer work"
    )

    allocated_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True)
    cancelled_at = models.DateTimeField(null=True, blank=True)
    expired_at = models.DateTimeField(null=True, blank=True)
    reversed_at = models.DateTimeField(null=True, blank=True)
    forgotten_at = models.DateTimeField(null=True, blank=True, help_text="When personal data was erased")
    created = models.DateTimeField()
    modified = models.DateTimeField()

    # Derived: computed from content, budget and actions. Written by derived.py alone, never serialized.
    age_ends_at = models.DateTimeField(help_text="When the allocation reaches its greatest age")
    expires_at = models.DateTimeField()
    expires_reason = models.CharField(max_length=32, choices=ExpiryReason.choices)
    learner_state = models.PositiveSmallIntegerField(choices=LearnerState.choices)
    recent_action_at = models.DateTimeField()
    grace_until = models.DateTimeField(
        null=True, blank=True, help_text="Earliest expiry after a change brought the deadline near"
    )
    # Never later than a reminder, or a nudge, is due.
    remind_at = models.DateTimeField(
        default=CHECK_NOW, db_default=CHECK_NOW, help_text="When it is next checked for a reminder"
    )
    nudge_at = models.DateTimeField(
        default=CHECK_NOW, db_default=CHECK_NOW, help_text="When it is next checked for a nudge"
    )
    content_title = models.CharField(max_length=255, blank=True)
    content_start = models.DateTimeField(default=FAR_FUTURE)
    content_enroll_by = models.DateTimeField(default=FAR_FUTURE)  # of the last run that can be joined

    class Meta:
        ordering = ("id",)
        constraints = [
            models.UniqueConstraint(
                fields=["budget", "learner_key", "content_key"], name="one_assignment_for_an_address"
            ),
            # A learner has a duplicate row where two turned out to be one learner's when they were re-keyed.
            models.UniqueConstraint(
                fields=["budget", "mailbox_key", "content_key", "duplicate_pk"],
                name="one_assignment_for_a_mailbox",
            ),
            models.UniqueConstraint(
                fields=["budget", "lms_user_id", "content_key"], name="one_assignment_for_a_person"
            ),
            models.CheckConstraint(name="assignment_price_not_negative", condition=Q(price_cents__gte=0)),
            models.CheckConstraint(name="assignment_state_known", condition=Q(state__in=State.values)),
            models.CheckConstraint(
                name="only_allocated_is_held", condition=Q(redeeming_since=None) | Q(state=State.ALLOCATED)
            ),
        ]
        indexes = [
            # The list, sorted by each of its columns within one budget, which needs no index of its own.
            models.Index(fields=["budget", "recent_action_at", "id"], name="assignment_by_action"),
            models.Index(fields=["budget", "learner_state", "id"], name="assignment_by_learner_state"),
            models.Index(fields=["budget", "content_title", "id"], name="assignment_by_title"),
            models.Index(fields=["budget", "content_start", "id"], name="assignment_by_start"),
            models.Index(fields=["budget", "content_enroll_by", "id"], name="assignment_by_enroll_by"),
            models.Index(fields=["budget", "expires_at", "id"], name="assignment_by_deadline"),
            models.Index(fields=["budget", "learner_email", "id"], name="assignment_by_learner"),
            # By price, and the sums by month of assignment; then the list's counts: from the index alone.
            models.Index(fields=["budget", "price_cents", "id", "allocated_at"], name="assignment_by_price"),
            models.Index(fields=["budget", "state", "learner_state"], name="assignment_counts"),
            # The sweeps, by budget. What has ended is checked for mails at FAR_FUTURE: no state is needed.
            # The first has the price, too: what comes free when is added up from the index alone.
            models.Index(
                fields=["budget", "state", "expires_at", "id", "price_cents"], name="assignment_to_expire"
            ),
            models.Index(fields=["budget", "remind_at", "id"], name="assignment_to_remind"),
            models.Index(fields=["budget", "nudge_at", "id"], name="assignment_to_nudge"),
            models.Index(
                fields=["budget", "state", "forgotten_at", "expired_at", "id"], name="assignment_to_erase"
            ),
            # What was spent, by learner and by content (also the order by state); then the order by content.
            models.Index(fields=["budget", "state", "learner_email", "price_cents"], name="spent_by_learner"),
            models.Index(fields=["budget", "state", "id", "content_key", "price_cents"], name="spent_by_key"),
            models.Index(
                fields=["budget", "content_key", "id", "state", "price_cents"], name="assignment_by_content"
            ),
            models.Index(fields=["budget", "parent_content_key"], name="assignment_of_course"),
            models.Index(fields=["allocation_batch_uuid", "id"], name="assignment_of_batch"),
            # The assignment of a payment, for refunds and support: written once, when it is accepted.
            models.Index(fields=["transaction_uuid"], name="assignment_of_transaction"),
            # One learner's assignments, over all budgets.
            models.Index(fields=["learner_key"], name="assignment_of_address"),
            models.Index(fields=["mailbox_key"], name="assignment_of_mailbox"),
            models.Index(fields=["lms_user_id"], name="assignment_of_person"),
        ]

    def __str__(self) -> str:
        return str(self.uuid)

    @property
    def mailbox_or_learner_key(self) -> str:
        """Return the key by which its learner is compared, also before it is re-keyed."""
        return self.mailbox_key or self.learner_key

    @property
    def shown_content(self) -> AnyContent | None:
        """The content to display: the replica's row, unless `content_display` loaded another."""
        if "_shown" in self.__dict__:
            shown: AnyContent | None = self.__dict__["_shown"]
            return shown
        return self.content

    @shown_content.setter
    def shown_content(self, content: AnyContent | None) -> None:
        self.__dict__["_shown"] = content

    @property
    def ledger_key(self) -> str:
        """Return the idempotency key of this allocation's money in the ledger: one for each cycle."""
        return f"{self.uuid}:{self.cycle}"

    @property
    def is_assigned_course_run(self) -> bool:
        """Whether a run was assigned, rather than a course."""
        return bool(self.parent_content_key)

    def current_failure(self) -> "LearnerContentAssignmentAction | None":
        """Return its newest current failure, if any; uses prefetched actions."""
        return newest_current(list(self.actions.all()), cycle=self.cycle)


class AllocationBatch(models.Model):
    """One request to allocate content to some learners. Its assignments name it by its uuid."""

    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    budget = models.ForeignKey(Budget, on_delete=models.PROTECT, related_name="allocation_batches")
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    content_key = models.CharField(max_length=255)
    price_cents = models.PositiveBigIntegerField(help_text="Price in cents for each learner")
    due_date = models.DateTimeField(null=True, blank=True)
    message = models.TextField(blank=True, help_text="Plain text for the mails about the assignment")
    counts = models.JSONField(default=dict, help_text="Number of addresses by verdict")
    unchanged = models.JSONField(
        default=dict,
        db_default={},
        help_text="Existing assignments (pks) that were not allocated again, by verdict",
    )
    created = models.DateTimeField()

    class Meta:
        verbose_name_plural = "allocation batches"
        ordering = ("created", "id")
        # A budget's requests, newest first.
        indexes = [models.Index(fields=["budget", "created"], name="allocation_batch_of_budget")]

    def __str__(self) -> str:
        return str(self.uuid)


class ActionQuerySet(models.QuerySet["LearnerContentAssignmentAction"]):
    """The three questions of decision 0002, and the queries for work."""

    def timeline(self, *, types: Iterable[ActionType] = ()) -> Self:
        """Return actions of `types` (all, when empty) in the timeline's total order."""
        rows = self.filter(action_type__in=list(types)) if types else self.all()
        return rows.order_by("created", "id")

    def latest_successful(self) -> "LearnerContentAssignmentAction | None":
        """Return the action that was completed last with success, or None."""
        return self.filter(status=Status.DONE).order_by("-completed_at", "-id").first()

    def failures(self) -> Self:
        """Return final failures, newest first."""
        return self.filter(status=Status.FAILED).order_by("-completed_at", "-id")

    def unresolved_failures(self) -> Self:
        """Return final failures, of any cycle, that were neither retried nor skipped."""
        follow_ups = LearnerContentAssignmentAction.objects.filter(retry_of=OuterRef("pk"))
        return self.filter(~Exists(follow_ups), status=Status.FAILED)


class LearnerContentAssignmentAction(LeasedRow):
    """One intent on an assignment's timeline: one row, from requested to finished.

    It has its type, its times and its failure (decision 0002). Other columns ensure that it happens, once.
    """

    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    assignment = models.ForeignKey(LearnerContentAssignment, on_delete=models.PROTECT, related_name="actions")
    action_type = models.CharField(max_length=32, choices=ActionType.choices)
    cycle = models.PositiveIntegerField(help_text="Number of the allocation that the action belongs to")
    dedup_key = models.CharField(max_length=64, default="", blank=True, help_text="Distinguishes repetitions")
    status = models.CharField(max_length=16, choices=Status.choices)
    created = models.DateTimeField()
    modified = models.DateTimeField()
    completed_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    attempt_log = models.JSONField(default=list, help_text="The last ten failed attempts")
    recipient = models.CharField(max_length=254, blank=True)
    provider_ref = models.CharField(max_length=255, blank=True)
    payload = models.JSONField(default=dict, help_text="The sent mail, without the tokens of its links")
    content_run_key = models.CharField(
        max_length=255,
        blank=True,
        default="",
        db_default="",
        help_text="The run of the assigned course that a redemption is for; empty: the assigned content",
    )
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    retry_of = models.OneToOneField(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="retried_by"
    )
    error_reason = models.CharField(max_length=32, blank=True, choices=ErrorReason.choices)
    error_code = models.CharField(max_length=64, blank=True, help_text="Code of why it failed or was skipped")
    detail = models.TextField(blank=True, help_text="The cause in a sentence")
    traceback = models.TextField(blank=True)

    objects = ActionQuerySet.as_manager()

    class Meta:
        ordering = ("created", "id")
        constraints = [
            models.UniqueConstraint(
                fields=["assignment", "action_type", "cycle", "dedup_key"], name="one_action_for_a_dedup_key"
            ),
            models.CheckConstraint(name="action_status_known", condition=Q(status__in=Status.values)),
            models.CheckConstraint(
                name="due_exactly_while_open",
                condition=Q(status__in=UNFINISHED, due_at__isnull=False, early__isnull=False)
                | (~Q(status__in=UNFINISHED) & Q(due_at=None, early=None)),
            ),
            models.CheckConstraint(
                name="failed_exactly_with_a_reason",
                condition=(Q(status=Status.FAILED) & ~Q(error_reason=""))
                | (~Q(status=Status.FAILED) & Q(error_reason="")),
            ),
        ]
        indexes = [
            # New work, retries, lost messages and dead workers, each found by one range.
            models.Index(fields=["early", "due_at"], name="action_due"),
            # What failed, and what was done, by when.
            models.Index(fields=["status", "completed_at"], name="action_by_outcome"),
            # A timeline in its order.
            models.Index(fields=["assignment", "created", "id"], name="action_timeline"),
        ]

    @property
    def redeemed_content_key(self) -> str:
        """The key that a redemption is for: the chosen run's, or the assigned content's."""
        return self.content_run_key or self.assignment.content_key

    @property
    def last_error(self) -> dict[str, str]:
        """Its failure's `error_code`, `detail` and `traceback`; while it is open, the last attempt's."""
        last = self.attempt_log[-1] if self.due_at and self.attempt_log else {}
        columns = (("error_code", "cause"), ("detail", "detail"), ("traceback", "traceback"))
        return {name: getattr(self, name) or last.get(logged, "") for name, logged in columns}

    def __str__(self) -> str:
        return str(self.uuid)


class AdministratorNotice(LeasedRow):
    """A mail to administrators about open assignments of one budget and content.

    A change brought their deadlines forward: they do not expire before the notice is sent. Or, by `reason`,
    learners cannot join the content or cannot be written to.
    """

    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    budget = models.ForeignKey(Budget, on_delete=models.PROTECT, related_name="administrator_notices")
    content = models.ForeignKey(ContentMetadata, null=True, on_delete=models.PROTECT, related_name="+")
    assignments = models.PositiveIntegerField(help_text="Number of assignments that the notice concerns")
    no_expiry_before = models.DateTimeField(
        null=True, blank=True, db_column="grace_until", help_text="Empty where there is a reason"
    )
    reason = models.CharField(
        max_length=32,
        blank=True,
        default="",
        db_default="",
        choices=NoticeReason.choices,
        help_text="Why learners cannot join the content; empty: a deadline was brought forward",
    )
    resolved_at = models.DateTimeField(null=True, blank=True, help_text="When joining became possible again")
    created = models.DateTimeField()
    edition = models.PositiveIntegerField(
        default=1,
        help_text="Version, raised when assignments are added after an attempt; all are notified again",
    )
    notified_contacts = models.JSONField(default=list, db_column="notified", help_text="Of this edition")
    # Set, too, once it is certain that no administrator can be notified.
    notified_at = models.DateTimeField(null=True, blank=True, help_text="First notification of this edition")
    attempts = models.PositiveIntegerField(default=0)
    last_error = models.TextField(blank=True)

    class Meta:
        db_table = "assignments_deadlinenotice"
        ordering = ("created", "id")
        constraints = [
            models.UniqueConstraint(
                fields=["budget", "content", "created", "reason"], name="one_notice_for_a_change"
            ),
            models.CheckConstraint(
                name="deadline_notice_has_grace_or_reason",
                condition=Q(reason="", no_expiry_before__isnull=False)
                | (~Q(reason="") & Q(no_expiry_before=None)),
            ),
            models.CheckConstraint(
                name="deadline_notice_due_or_finished",
                condition=Q(due_at=None, early=None) | Q(due_at__isnull=False, early__isnull=False),
            ),
        ]
        indexes = [
            models.Index(fields=["early", "due_at"], name="deadline_notice_due"),
            models.Index(fields=["budget", "created"], name="deadline_notice_of_budget"),
        ]

    def __str__(self) -> str:
        return str(self.uuid)

    def mail_uuid(self, contact_key: int, *, edition: int) -> UUID:
        """Return the name of the mail to a contact: its `Message-ID`, and its file's name."""
        return uuid5(self.uuid, f"{contact_key} {edition}")
