"""The words of assignments and actions: states, types, statuses and reasons, as stored and on the wire."""

from collections.abc import Mapping

from django.db import models
from django.utils.translation import gettext_lazy as _


class State(models.TextChoices):
    ALLOCATED = "allocated"
    """The money is reserved and the learner is invited."""
    ACCEPTED = "accepted"
    """The learner accepted it; the money is spent."""
    CANCELLED = "cancelled"
    """An administrator cancelled it, or the learner declined; the money is free again."""
    EXPIRED = "expired"
    """The deadline passed without an answer; the money is free again."""
    REVERSED = "reversed"
    """It was accepted, and the money was refunded."""


IN_FORCE = (State.ALLOCATED, State.ACCEPTED)
"""Open or accepted: allocating it again changes nothing, and its learner may be nudged."""


class LearnerState(models.IntegerChoices):
    """The state shown in administrators' lists, numbered in its sort order."""

    NOTIFYING = 0, "notifying"
    """The learner's mail is on its way."""
    WAITING = 1, "waiting"
    """The learner was notified and has not answered."""
    EXPIRED = 2, "expired"
    """The deadline passed."""
    FAILED = 3, "failed"
    """Linking or notifying the learner finally failed; or the mail was skipped, and no other requested."""
    DECLINED = 998, ""
    """The learner declined it. On the wire none, as for what an administrator cancelled."""
    NONE = 999, ""
    """None is shown: accepted, cancelled or reversed."""


class ActionType(models.TextChoices):
    """Facts are recorded with a change; work is requested with it and done later."""

    ALLOCATED = "allocated"
    """Fact: content was assigned, for the first time or again."""
    CANCELLED = "cancelled"
    """Fact: an administrator cancelled it."""
    EXPIRED = "expired"
    """Fact: the deadline passed."""
    REVERSED = "reversed"
    """Fact: the money of an accepted assignment was refunded."""
    DECLINED = "declined"
    """Fact: the learner declined it."""
    CANCELLED_ACKNOWLEDGED = "cancelled_acknowledged"
    """Fact: the learner acknowledged the cancellation."""
    EXPIRED_ACKNOWLEDGED = "expired_acknowledged"
    """Fact: the learner acknowledged the expiry."""
    EMAIL_CORRECTED = "email_corrected"
    """Fact: the learner's address was corrected."""
    RUN_CHANGED = "run_changed"
    """Fact: it was moved to another run of the course."""
    DEADLINE_EXTENDED = "deadline_extended"
    """Fact: an administrator extended the deadline."""
    DELIVERED = "delivered"
    """Fact: the mail provider reported a delivered mail."""
    BOUNCED = "bounced"
    """Fact: the mail provider reported an undelivered mail."""
    COMPLAINED = "complained"
    """Fact: the mail provider reported that the learner called a mail unwanted."""

    LEARNER_LINKED = "learner_linked"
    """Work: link the learner to the customer."""
    NOTIFIED = "notified"
    """Work: notify the learner of the new assignment."""
    REMINDED = "reminded"
    """Work: remind the learner of it."""
    NUDGED = "nudged"
    """Work: remind the learner that the content starts soon."""
    REDEEMED = "redeemed"
    """Work: spend the money and enrol the learner."""
    CANCELLATION_NOTIFIED = "cancellation_notified"
    """Work: notify the learner of the cancellation."""
    EXPIRATION_NOTIFIED = "expiration_notified"
    """Work: notify the learner of the expiry."""


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
MAILS = WORK - {ActionType.LEARNER_LINKED, ActionType.REDEEMED}
"""Work that needs the mail server."""
LINK_AND_NOTIFY = (ActionType.LEARNER_LINKED, ActionType.NOTIFIED)
"""The work of an allocation, without which its learner does not know of it."""
ASKING_MAILS = (ActionType.NOTIFIED, ActionType.REMINDED)
"""Mails that ask the learner for an answer."""
END_MAILS = (ActionType.CANCELLATION_NOTIFIED, ActionType.EXPIRATION_NOTIFIED)
"""Mails that an assignment has ended."""


class Status(models.TextChoices):
    PENDING = "pending"
    """To be done."""
    RUNNING = "running"
    """Being done by a worker with a lease."""
    DONE = "done"
    """Done."""
    FAILED = "failed"
    """Failed for good, with a reason."""
    SUPERSEDED = "superseded"
    """No longer needed: the assignment changed first."""
    SKIPPED = "skipped"
    """Deliberately not done, with a reason."""


UNFINISHED = (Status.PENDING, Status.RUNNING)
"""Still to be done, or being done."""


class ErrorReason(models.TextChoices):
    """Why work failed, by the three values that Open edX's clients expect; `error_code` says exactly."""

    EMAIL_ERROR = "email_error"
    """The address was rejected."""
    ENROLLMENT_ERROR = "enrollment_error"
    """A redemption failed."""
    INTERNAL_API_ERROR = "internal_api_error"
    """Anything else."""


class NoticeReason(models.TextChoices):
    """Why learners cannot join what was assigned to them, or cannot be written to."""

    NOT_ACTIVE = "content_not_active", _("The catalog does not offer it for enrolment any more.")
    """No run is published and marketable."""
    ENDED = "content_ended", _("It is over.")
    """Its end has come."""
    NOT_IN_TIME = (
        "enrollment_not_open_in_time",
        _("Enrolment is closed, or opens after the deadline of these assignments."),
    )
    """Enrolment is closed, or opens too late."""
    NOT_IN_CATALOG = "content_not_in_catalog", _("The budget's catalog does not have it any more.")
    """It left the catalog, or the budget has another one."""
    ADDRESS_BOUNCED = "address_bounced", _("The mail server of the address refused a mail for good.")
    """A mail provider reported that a mail came back for good."""
    MAIL_UNWANTED = "mail_unwanted", _("The learner reported a mail as unwanted.")
    """A mail provider reported a complaint."""


ADDRESS_REASONS = (NoticeReason.ADDRESS_BOUNCED, NoticeReason.MAIL_UNWANTED)
"""Reasons that concern a learner's address. All others concern the content of assignments."""


class ExpiryReason(models.TextChoices):
    """The date that decides the deadline. Where Open edX's clients have a value for it, it is theirs."""

    ALLOCATION_AGE = "NINETY_DAYS_PASSED"
    """The allocation reached the greatest age that its budget allows."""
    ENROLL_BY = "ENROLLMENT_DATE_PASSED"
    """Enrolment in the content closes."""
    BUDGET_END = "SUBSIDY_EXPIRED"
    """The budget ends."""
    DUE_DATE = "DUE_DATE_PASSED"
    """The administrator's own deadline."""
    EXTENSION = "EXTENSION_PASSED"
    """The date to which an administrator extended it."""


APPLIES_IN: Mapping[ActionType, frozenset[State]] = {
    ActionType.LEARNER_LINKED: frozenset({State.ALLOCATED, State.ACCEPTED}),
    ActionType.NOTIFIED: frozenset({State.ALLOCATED}),
    ActionType.REMINDED: frozenset({State.ALLOCATED}),
    ActionType.NUDGED: frozenset({State.ALLOCATED, State.ACCEPTED}),
    # Accepted, too: a worker may have died between the move and finishing the action.
    ActionType.REDEEMED: frozenset({State.ALLOCATED, State.ACCEPTED}),
    ActionType.CANCELLATION_NOTIFIED: frozenset({State.CANCELLED}),
    ActionType.EXPIRATION_NOTIFIED: frozenset({State.EXPIRED}),
}
"""The states in which each kind of work is carried out: checked when it is claimed and when it is retried."""
