"""Assignments and the actions on their timelines: words, columns, constraints and named questions.

Each of the tables' columns has one writer: `lifecycle` writes state, `actions` writes actions, `derived`
writes the derived columns, and whoever allocates, redeems or repairs writes the rest.
"""

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Self

from django.conf import settings
from django.db import models
from django.db.models import Exists, OuterRef, Q

from bursary.budgets.models import Budget
from bursary.lib.leases import LeasedRow
from bursary.replica.models import ContentMetadata
from bursary.replica.upstream_cache import AnyContent

FAR_FUTURE = datetime(9000, 1, 1, tzinfo=UTC)
"""Stands for 'no date' where every engine must sort alike."""
LOOK_NOW = datetime(1970, 1, 1, tzinfo=UTC)
"""Stands for 'not reckoned yet': whoever looks for what is due finds it first, and reckons."""


class State(models.TextChoices):
    ALLOCATED = "allocated"
    """Money is held and the learner is asked."""
    ACCEPTED = "accepted"
    """The learner took it up; the money is spent."""
    CANCELLED = "cancelled"
    """An administrator took it back, or the learner declined; the money is free again."""
    EXPIRED = "expired"
    """The deadline passed unanswered; the money is free again."""
    REVERSED = "reversed"
    """It was accepted, and the money came back."""


class LearnerState(models.IntegerChoices):
    """What the administrator's list says of an assignment, numbered as it is sorted."""

    NOTIFYING = 0, "notifying"
    """The learner's mail is on its way."""
    WAITING = 1, "waiting"
    """The learner was told and has not answered."""
    EXPIRED = 2, "expired"
    """The deadline passed."""
    FAILED = 3, "failed"
    """Linking or notifying the learner finally failed."""
    NONE = 999, ""
    """Nothing to say: accepted, cancelled or reversed."""


class ActionType(models.TextChoices):
    """What an action is about. Facts are recorded with a change; work is requested with it, done later."""

    ALLOCATED = "allocated"
    """Fact: content was assigned, for the first time or again."""
    CANCELLED = "cancelled"
    """Fact: an administrator took it back."""
    EXPIRED = "expired"
    """Fact: the deadline passed."""
    REVERSED = "reversed"
    """Fact: the money of an accepted assignment came back."""
    DECLINED = "declined"
    """Fact: the learner said no."""
    CANCELLED_ACKNOWLEDGED = "cancelled_acknowledged"
    """Fact: the learner has seen that it was cancelled."""
    EXPIRED_ACKNOWLEDGED = "expired_acknowledged"
    """Fact: the learner has seen that it expired."""
    EMAIL_CORRECTED = "email_corrected"
    """Fact: the learner's address was put right."""
    RUN_CHANGED = "run_changed"
    """Fact: it was moved to another run of the course."""
    DELIVERED = "delivered"
    """Fact: the mail provider says that a mail arrived."""
    BOUNCED = "bounced"
    """Fact: the mail provider says that a mail did not arrive."""

    LEARNER_LINKED = "learner_linked"
    """Work: link the learner to the customer."""
    NOTIFIED = "notified"
    """Work: tell the learner of the new assignment."""
    REMINDED = "reminded"
    """Work: remind the learner of it."""
    NUDGED = "nudged"
    """Work: tell the learner that it starts soon."""
    REDEEMED = "redeemed"
    """Work: spend the money and enrol the learner."""
    CANCELLATION_NOTIFIED = "cancellation_notified"
    """Work: tell the learner that it was cancelled."""
    EXPIRATION_NOTIFIED = "expiration_notified"
    """Work: tell the learner that it expired."""


WORK = frozenset(
    {
        ActionType.LEARNER_LINKED,
        ActionType.NOTIFIED,
        ActionType.REMINDED,
        ActionType.NUDGED,
        ActionType.REDEEMED,
        ActionType.CANCELLATION_NOTIFIED,
        ActionType.EXPIRATION_NOTIFIED,
    }
)
FACTS = frozenset(ActionType) - WORK


class Status(models.TextChoices):
    PENDING = "pending"
    """To be done, not before `due_at`."""
    RUNNING = "running"
    """Being done; `due_at` is when its lease ends."""
    DONE = "done"
    """Done."""
    FAILED = "failed"
    """Given up, with a reason."""
    SUPERSEDED = "superseded"
    """No longer wanted: something else happened to the assignment first."""
    SKIPPED = "skipped"
    """Not done on purpose, with a reason."""


OPEN = (Status.PENDING, Status.RUNNING)


class ErrorReason(models.TextChoices):
    """Why work failed, in the three words that clients know; `cause` says exactly."""

    EMAIL_ERROR = "email_error"
    """The address was rejected."""
    ENROLLMENT_ERROR = "enrollment_error"
    """A redemption failed."""
    INTERNAL_API_ERROR = "internal_api_error"
    """Anything else."""


class ExpiryReason(models.TextChoices):
    """Which date makes the deadline. The values are the clients' words where they have one."""

    ALLOCATION_AGE = "NINETY_DAYS_PASSED"
    """The allocation has waited as long as its budget lets it."""
    ENROLL_BY = "ENROLLMENT_DATE_PASSED"
    """Enrolment in the content closes."""
    BUDGET_END = "SUBSIDY_EXPIRED"
    """The budget ends."""
    DUE_DATE = "DUE_DATE_PASSED"
    """The administrator set a date."""


class LearnerContentAssignment(models.Model):
    """One learner, one piece of content, one budget, over all the times that it was allocated."""

    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    budget = models.ForeignKey(Budget, on_delete=models.PROTECT, related_name="assignments")
    content = models.ForeignKey(
        ContentMetadata, null=True, blank=True, on_delete=models.PROTECT, related_name="assignments"
    )
    content_key = models.CharField(max_length=255)
    parent_content_key = models.CharField(max_length=255, blank=True, help_text="A run's course")
    learner_email = models.CharField(max_length=254)
    learner_key = models.CharField(max_length=64)
    lms_user_id = models.PositiveBigIntegerField(null=True, blank=True)
    price_cents = models.PositiveBigIntegerField(help_text="What it costs: held while open, then spent")

    state = models.CharField(max_length=16, choices=State.choices)
    cycle = models.PositiveIntegerField(default=1, help_text="How often it was allocated")
    redeeming_since = models.DateTimeField(null=True, blank=True, help_text="The hold of a redemption")
    transaction_uuid = models.UUIDField(null=True, blank=True)
    allocation_batch_uuid = models.UUIDField(null=True, blank=True)
    allocated_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    due_date = models.DateTimeField(null=True, blank=True, help_text="The administrator's own deadline")
    decline_reason = models.TextField(blank=True)
    links_revoked_at = models.DateTimeField(
        null=True, blank=True, help_text="Links in mails from before that open nothing"
    )

    allocated_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True)
    cancelled_at = models.DateTimeField(null=True, blank=True)
    expired_at = models.DateTimeField(null=True, blank=True)
    reversed_at = models.DateTimeField(null=True, blank=True)
    forgotten_at = models.DateTimeField(
        null=True, blank=True, help_text="When the learner's personal data was removed"
    )
    created = models.DateTimeField()
    modified = models.DateTimeField()

    # Derived: an index over what is true elsewhere. Written by derived.py alone, never serialized as content.
    age_ends_at = models.DateTimeField(help_text="When the allocation has waited long enough")
    expires_at = models.DateTimeField()
    expires_reason = models.CharField(max_length=32, choices=ExpiryReason.choices)
    learner_state = models.PositiveSmallIntegerField(choices=LearnerState.choices)
    recent_action_at = models.DateTimeField()
    grace_until = models.DateTimeField(
        null=True, blank=True, help_text="A deadline that moved into the past lets nothing expire before"
    )
    remind_at = models.DateTimeField(
        default=LOOK_NOW,
        db_default=LOOK_NOW,
        help_text="When reminding must look; never later than it is due",
    )
    nudge_at = models.DateTimeField(
        default=LOOK_NOW, db_default=LOOK_NOW, help_text="When nudging must look; never later than it is due"
    )
    content_title = models.CharField(max_length=255, blank=True)
    content_start = models.DateTimeField(default=FAR_FUTURE)
    content_enroll_by = models.DateTimeField(default=FAR_FUTURE)

    class Meta:
        ordering = ("id",)
        constraints = [
            models.UniqueConstraint(
                fields=["budget", "learner_key", "content_key"], name="one_assignment_for_an_address"
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
            # The list, sorted by each of its columns within one budget.
            models.Index(fields=["budget", "recent_action_at", "id"], name="assignment_by_action"),
            models.Index(fields=["budget", "learner_state", "id"], name="assignment_by_learner_state"),
            models.Index(fields=["budget", "price_cents", "id"], name="assignment_by_price"),
            models.Index(fields=["budget", "content_title", "id"], name="assignment_by_title"),
            models.Index(fields=["budget", "content_start", "id"], name="assignment_by_start"),
            models.Index(fields=["budget", "content_enroll_by", "id"], name="assignment_by_enroll_by"),
            models.Index(fields=["budget", "expires_at", "id"], name="assignment_by_deadline"),
            models.Index(fields=["budget", "learner_email", "id"], name="assignment_by_learner"),
            # The list's counts, from the index alone.
            models.Index(fields=["budget", "state", "learner_state"], name="assignment_counts"),
            # The sweeps: what is open and past its deadline, or to be reminded or nudged.
            models.Index(fields=["state", "expires_at", "id"], name="assignment_due"),
            models.Index(fields=["state", "remind_at", "id"], name="assignment_remind"),
            models.Index(fields=["state", "nudge_at", "id"], name="assignment_nudge"),
            # The other sweep: what has expired and still names somebody.
            models.Index(fields=["state", "forgotten_at", "expired_at", "id"], name="assignment_to_forget"),
            # One learner's assignments, over all budgets.
            models.Index(fields=["learner_key"], name="assignment_of_address"),
            models.Index(fields=["lms_user_id"], name="assignment_of_person"),
        ]

    def __str__(self) -> str:
        return str(self.uuid)

    @property
    def shown_content(self) -> AnyContent | None:
        """Return the content that is shown: our row, unless `showing.py` said otherwise."""
        if "_shown" in self.__dict__:
            shown: AnyContent | None = self.__dict__["_shown"]
            return shown
        return self.content

    @shown_content.setter
    def shown_content(self, content: AnyContent | None) -> None:
        self.__dict__["_shown"] = content

    @property
    def is_assigned_course_run(self) -> bool:
        """Tell whether a run was assigned, rather than a course."""
        return bool(self.parent_content_key)

    def last_failure(self) -> "LearnerContentAssignmentAction | None":
        """Return the newest failure of this cycle that nobody retried; prefetched actions serve it."""
        rows = list(self.actions.all())
        retried = {row.retry_of_id for row in rows}
        failed = [
            row
            for row in rows
            if row.status == Status.FAILED and row.cycle == self.cycle and row.pk not in retried
        ]
        return max(failed, key=lambda row: (row.created, row.pk), default=None)


class ActionQuerySet(models.QuerySet["LearnerContentAssignmentAction"]):
    """Record 0013's three questions."""

    def timeline(self, *, types: Iterable[ActionType] = ()) -> Self:
        """Return actions of `types` (all, when empty) in the timeline's total order."""
        wanted = self.filter(action_type__in=list(types)) if types else self.all()
        return wanted.order_by("created", "id")

    def latest_successful(self) -> "LearnerContentAssignmentAction | None":
        """Return the action that was completed last with success, or None."""
        return self.filter(status=Status.DONE).order_by("-completed_at", "-id").first()

    def failures(self) -> Self:
        """Return what failed for good, newest first; each row says when and why."""
        return self.filter(status=Status.FAILED).order_by("-completed_at", "-id")

    def unanswered_failures(self) -> Self:
        """Return failures of the assignment's current cycle that have not been retried."""
        retries = LearnerContentAssignmentAction.objects.filter(retry_of=OuterRef("pk"))
        return self.filter(~Exists(retries), status=Status.FAILED, cycle=models.F("assignment__cycle"))


class LearnerContentAssignmentAction(LeasedRow):
    """One intent on an assignment's timeline: one row, from requested to finished.

    Record 0013: the type, when it was created and completed, and on failure the type of error and the
    stack trace. The other columns guarantee that it happens, once.
    """

    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    assignment = models.ForeignKey(LearnerContentAssignment, on_delete=models.PROTECT, related_name="actions")
    action_type = models.CharField(max_length=32, choices=ActionType.choices)
    cycle = models.PositiveIntegerField(help_text="The allocation that it belongs to")
    dedup_key = models.CharField(max_length=64, default="", blank=True, help_text="Tells repetitions apart")
    status = models.CharField(max_length=16, choices=Status.choices)
    created = models.DateTimeField()
    modified = models.DateTimeField()
    completed_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    attempt_log = models.JSONField(default=list, help_text="The last ten failed attempts")
    recipient = models.CharField(max_length=254, blank=True)
    provider_ref = models.CharField(max_length=255, blank=True)
    payload = models.JSONField(default=dict, help_text="What was sent, stored once")
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    retry_of = models.OneToOneField(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="retried_by"
    )
    error_reason = models.CharField(max_length=32, blank=True, choices=ErrorReason.choices)
    error_code = models.CharField(max_length=64, blank=True, help_text="Why it failed or was not done")
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
                condition=Q(status__in=OPEN, due_at__isnull=False, early__isnull=False)
                | (~Q(status__in=OPEN) & Q(due_at=None, early=None)),
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
            # A timeline in its order.
            models.Index(fields=["assignment", "created", "id"], name="action_timeline"),
        ]

    def __str__(self) -> str:
        return str(self.uuid)


class DeadlineNotice(LeasedRow):
    """A mail to administrators: a change moved deadlines of open assignments, of one budget and content, into
    the past. They do not expire before `grace_until`, nor before an administrator was notified."""

    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    budget = models.ForeignKey(Budget, on_delete=models.PROTECT, related_name="deadline_notices")
    content = models.ForeignKey(ContentMetadata, null=True, on_delete=models.PROTECT, related_name="+")
    assignments = models.PositiveIntegerField(help_text="Number of assignments that it concerns")
    grace_until = models.DateTimeField()
    created = models.DateTimeField()
    notified = models.JSONField(default=list, help_text="The administrators (pks) who were notified")
    notified_at = models.DateTimeField(null=True, blank=True, help_text="When the first of them was")
    attempts = models.PositiveIntegerField(default=0)
    last_error = models.TextField(blank=True)

    class Meta:
        ordering = ("created", "id")
        constraints = [
            models.UniqueConstraint(fields=["budget", "content", "created"], name="one_notice_for_a_change"),
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
