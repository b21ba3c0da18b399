"""The words of assignments and actions: states, types, statuses and reasons, as stored and on the wire."""

from django.db import models


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
