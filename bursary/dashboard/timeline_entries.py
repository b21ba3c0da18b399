"""The timeline of an assignment in sentences: for each action its result, its failure, and the next step."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models.fields.json import KeyTextTransform
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from bursary.access import anonymisation
from bursary.assignments import error_texts
from bursary.assignments.address_corrections import corrected_addresses
from bursary.assignments.choices import WORK, ActionType, Status
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.lib import moments

PAGE = 25
LONG_AGO = timedelta(days=30)
"""Before a retry of an older failure, the page warns that the learner may not expect a mail any more."""

AGAIN = "again"
"""The key for pending work that failed before and is tried again."""

_FACTS: Mapping[str, Any] = {
    ActionType.ALLOCATED: gettext_lazy("The course was assigned, and its price reserved."),
    ActionType.CANCELLED: gettext_lazy("The assignment was cancelled: its money is free again."),
    ActionType.EXPIRED: gettext_lazy("The assignment expired without an answer: its money is free again."),
    ActionType.REVERSED: gettext_lazy("The money was refunded: the price came back to the budget."),
    ActionType.DECLINED: gettext_lazy("The learner declined the course: its money is free again."),
    ActionType.CANCELLED_ACKNOWLEDGED: gettext_lazy("The learner has read that it was cancelled."),
    ActionType.EXPIRED_ACKNOWLEDGED: gettext_lazy("The learner has read that it expired."),
    ActionType.EMAIL_CORRECTED: gettext_lazy("The learner's address was corrected."),
    ActionType.RUN_CHANGED: gettext_lazy("The assignment was moved to another run of the course."),
    ActionType.DEADLINE_EXTENDED: gettext_lazy("The deadline was extended."),
    ActionType.DELIVERED: gettext_lazy("A mail reached the learner's mailbox."),
    ActionType.BOUNCED: gettext_lazy("A mail came back: it did not reach the learner's mailbox."),
    ActionType.COMPLAINED: gettext_lazy("The learner reported a mail as unwanted."),
}
_ASSIGNED_AGAIN = gettext_lazy("The course was assigned again, and its price reserved.")
_MAIL: Mapping[str, Any] = {
    Status.PENDING: gettext_lazy("{mail} to {learner} is about to be sent."),
    AGAIN: gettext_lazy("{mail} to {learner} could not be sent yet: {why}"),
    Status.RUNNING: gettext_lazy("{mail} to {learner} is being sent."),
    Status.DONE: gettext_lazy("{mail} to {learner} was sent."),
    Status.FAILED: gettext_lazy("{mail} to {learner} failed: {why}"),
    Status.SUPERSEDED: gettext_lazy("{mail} to {learner} was not needed any more: {why}"),
    Status.SKIPPED: gettext_lazy("{mail} to {learner} was not sent: {why}"),
}
_LINK: Mapping[str, Any] = {
    Status.PENDING: gettext_lazy("About to add {learner} to the learners of {organisation}."),
    AGAIN: gettext_lazy("Adding {learner} to the learners of {organisation} has not succeeded yet: {why}"),
    Status.RUNNING: gettext_lazy("Adding {learner} to the learners of {organisation} at this moment."),
    Status.DONE: gettext_lazy("Added {learner} to the learners of {organisation}."),
    Status.FAILED: gettext_lazy("Adding {learner} to the learners of {organisation} failed: {why}"),
    Status.SUPERSEDED: gettext_lazy(
        "Adding {learner} to the learners of {organisation} was not needed any more: {why}"
    ),
    Status.SKIPPED: gettext_lazy("Adding {learner} to the learners of {organisation} was skipped: {why}"),
}
_ACCEPTANCE: Mapping[str, Any] = {
    Status.PENDING: gettext_lazy("The learner accepts the course: the money is about to be spent."),
    AGAIN: gettext_lazy("Accepting the course is not finished yet: {why}"),
    Status.RUNNING: gettext_lazy("The learner accepts the course: the money is being spent."),
    Status.DONE: gettext_lazy("The learner accepted the course: its money is spent."),
    Status.FAILED: gettext_lazy("Accepting the course failed: {why}"),
    Status.SUPERSEDED: gettext_lazy("Accepting the course was not needed any more: {why}"),
    Status.SKIPPED: gettext_lazy("Accepting the course was not tried again: {why}"),
}
_OTHERWISE: Mapping[str, Mapping[str, Any]] = {
    ActionType.LEARNER_LINKED: _LINK,
    ActionType.REDEEMED: _ACCEPTANCE,
}
_KINDS: Mapping[str, str] = {
    Status.PENDING: "waiting",
    Status.RUNNING: "waiting",
    Status.DONE: "done",
    Status.FAILED: "failed",
    Status.SUPERSEDED: "dropped",
    Status.SKIPPED: "dropped",
}


@dataclass(frozen=True)
class TimelineEntry:
    """An action in words, and what its reader can do about it."""

    action: LearnerContentAssignmentAction
    sentence: SafeString
    next_step: str
    """The next step after an unrepaired failure; empty if there is none."""
    traceback: str
    """The stack trace, for operators; empty for others."""
    repairable: bool
    """Whether it failed, and this reader can skip it and, if `retryable`, retry it."""
    retryable: bool
    correctable: bool
    """Whether another address may repair it."""
    failed_long_ago: bool
    text_ended: bool
    """Whether the mail was sent, and its text is not kept any more."""

    @property
    def kind(self) -> str:
        """One of done, fact, waiting, failed and dropped."""
        if self.action.action_type == ActionType.BOUNCED:
            return "failed"
        return _KINDS[self.action.status] if self.action.action_type in WORK else "fact"

    @property
    def by(self) -> str:
        """The actor's name; empty if Bursary did it."""
        return anonymisation.shown_actor(self.action.actor)

    @property
    def at(self) -> datetime:
        """The time of the action; for finished work, its end."""
        return happened_at(self.action)

    @property
    def took(self) -> str:
        """The time from its request to its end, in words; empty within the same second."""
        if not self.action.completed_at:
            return ""
        seconds = int((self.action.completed_at - self.action.created).total_seconds())
        if seconds >= 60:
            return moments.span_in_words(self.action.created, self.action.completed_at)
        return _("%(seconds)s s") % {"seconds": seconds} if seconds > 0 else ""

    @property
    def code(self) -> str:
        """The error code."""
        return self.action.last_error["error_code"]

    @property
    def detail(self) -> str:
        """The detail of the error or fact; in the reader's language if it is stored as values."""
        is_correction = self.action.action_type == ActionType.EMAIL_CORRECTED
        corrected = is_correction and corrected_addresses(self.action.detail)
        return _("From %(old)s to %(new)s.") % corrected if corrected else self.action.last_error["detail"]

    @property
    def text(self) -> str:
        """The text of the mail that was sent; empty if there is none, or it is not kept any more."""
        return getattr(self.action, "text", None) or ""

    @property
    def subject(self) -> str:
        """The subject of the mail that was sent; empty for none."""
        return getattr(self.action, "subject", None) or ""


@dataclass(frozen=True)
class EntryReader:
    """The reader's permissions on a timeline; `repairable` has the pks of actions to repair."""

    repairable: Collection[int]
    may_correct: bool
    operates: bool
    """Whether the reader is an operator, and sees stack traces and next steps for operators."""
    may_retry: bool = True
    """False if the learner's account has ended, as it gets no mails then."""
    corrected_at: datetime | None = None
    """When the address was last corrected; earlier bounces were of another address."""


def entries(
    pks: Sequence[int], *, of: LearnerContentAssignment, reader: EntryReader, now: datetime
) -> list[TimelineEntry]:
    """Return the entries of these actions in this order. The assignment has its budget. One query."""
    rows = LearnerContentAssignmentAction.objects.select_related("actor").defer("payload")
    rows = rows.annotate(subject=KeyTextTransform("subject", "payload"))
    found = rows.annotate(text=KeyTextTransform("text", "payload")).in_bulk(pks)
    return [_entry(found[pk], of, reader, now) for pk in pks if pk in found]


def _entry(
    action: LearnerContentAssignmentAction, of: LearnerContentAssignment, reader: EntryReader, now: datetime
) -> TimelineEntry:
    repairable = action.pk in reader.repairable
    failed = action.status == Status.FAILED
    why = error_texts.for_code(action.last_error["error_code"])
    came_back = (
        action.action_type == ActionType.BOUNCED
        and action.cycle == of.cycle
        and not (reader.corrected_at and reader.corrected_at >= action.created)
    )
    next_step = _("Correct the address.") if came_back and reader.may_correct else ""
    if failed and repairable:
        next_step = (
            why.next_step_of(operates=reader.operates)
            if reader.may_retry
            else _("Skip it: the learner's account has ended.")
        )
    is_sent_mail = (
        action.action_type in WORK and action.action_type not in _OTHERWISE and action.status == Status.DONE
    )
    sent_at = action.completed_at if is_sent_mail else None
    return TimelineEntry(
        action=action,
        sentence=sentence(action, of=of),
        next_step=next_step,
        traceback=action.last_error["traceback"] if reader.operates else "",
        repairable=repairable,
        # A retry would fail again at the same address.
        retryable=repairable and reader.may_retry and action.error_code != "address_rejected",
        correctable=reader.may_correct
        and (came_back or (repairable and action.error_code == "address_rejected")),
        failed_long_ago=failed_long_ago(action, now=now),
        text_ended=sent_at is not None and sent_at < now - settings.KEEP_MAILS,
    )


def sentence(action: LearnerContentAssignmentAction, *, of: LearnerContentAssignment) -> SafeString:
    """Return the action and its result as a sentence about the assignment's learner."""
    kind = action.action_type
    if kind not in WORK:
        again = kind == ActionType.ALLOCATED and action.cycle > 1
        return format_html("{}", _ASSIGNED_AGAIN if again else _FACTS[kind])
    retried = action.status == Status.PENDING and action.attempts > 0
    words = _OTHERWISE.get(kind, _MAIL)[AGAIN if retried else action.status]
    learner = anonymisation.shown_address(action.recipient or of.learner_email)
    return format_html(
        str(words),
        mail=error_texts.WORK_IN_WORDS[kind],
        learner=format_html("<bdi>{}</bdi>", learner),
        organisation=format_html("<bdi>{}</bdi>", of.budget.customer.name),
        why=error_texts.for_code(action.last_error["error_code"]).clause,
    )


def happened_at(action: LearnerContentAssignmentAction) -> datetime:
    """Return the time of an action that pages show: its end, else that of its last attempt."""
    return action.completed_at or action.modified


def failed_long_ago(action: LearnerContentAssignmentAction, *, now: datetime) -> bool:
    """Return whether it failed so long ago that a retry would surprise the learner."""
    return bool(action.completed_at and action.completed_at < now - LONG_AGO)
