"""An administrator's remedies for one assignment: which are available, and the result of each.

Each remedy calls the same function as the API, for one assignment. A remedy that would be refused is not
available; if the assignment has changed since the page was loaded, the refusal is shown with its next step.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib.messages import ERROR, INFO, SUCCESS
from django.db.models import Max, Q
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from bursary.access.models import Role, User, learner_key, of_mailboxes
from bursary.access.permissions import PERMISSIONS, Permission, may_everywhere
from bursary.assignments import (
    address_corrections,
    cancellation,
    extension,
    failures,
    learner_accounts,
    lifecycle,
    reminders,
)
from bursary.assignments.choices import ActionType, ExpiryReason, LearnerState, State
from bursary.assignments.extension import Extension, ExtensionRefusal
from bursary.assignments.failures import RepairRefusal
from bursary.assignments.models import LearnerContentAssignment
from bursary.assignments.open_assignments import awaits_answer
from bursary.budgets.models import LONGEST_AGE_DAYS
from bursary.dashboard import bulk_questions, bulk_work
from bursary.delivery.emails import was_notified
from bursary.lib import moments
from bursary.lib.moments import FAR_FUTURE
from bursary.lib.money import dollars

_BOUND = (ExpiryReason.ENROLL_BY, ExpiryReason.BUDGET_END)

_NEXT_STEPS: Mapping[str, Any] = {
    "forgotten": gettext_lazy("Nothing more can be done about it."),
    "being redeemed": gettext_lazy("Reload the page in a minute."),
    "past its deadline": gettext_lazy("Assign the course again: the learner then has a new deadline."),
    "from a budget that is not in use": gettext_lazy("Ask the operator of this service about the budget."),
    RepairRefusal.NOTHING_FAILED: gettext_lazy("It may have been retried meanwhile: see the timeline."),
    RepairRefusal.ONLY_BY_LEARNER: gettext_lazy("Ask the learner to accept it again."),
    ExtensionRefusal.BOUND_BY_ENROLMENT: gettext_lazy("Assign a later run of the course."),
    ExtensionRefusal.BOUND_BY_BUDGET: gettext_lazy("Ask the operator of this service to move the end."),
    State.EXPIRED: gettext_lazy("Assign the course again: the learner then has a new deadline."),
    State.CANCELLED: gettext_lazy("Assign the course again."),
}
_FOR_OPERATORS: Mapping[str, Any] = {
    "from a budget that is not in use": gettext_lazy("Change the budget in the administration."),
    ExtensionRefusal.BOUND_BY_BUDGET: gettext_lazy("Move the budget's end in the administration."),
}
"""The next steps for operators, instead of asking one."""
_RELOAD = gettext_lazy("Reload the page: it may have changed.")
_CLIPPED_BY: Mapping[str, Any] = {
    ExpiryReason.ENROLL_BY: gettext_lazy("enrolment in the course closes then"),
    ExpiryReason.BUDGET_END: gettext_lazy("the budget ends then"),
}


@dataclass(frozen=True)
class RemedyResult:
    """The result in words, and the level of the message that shows it."""

    level: int
    sentence: str

    @property
    def refused(self) -> bool:
        """Whether the remedy was refused, and changed nothing."""
        return self.level == ERROR


@dataclass(frozen=True)
class AvailableRemedies:
    """The remedies that the reader of the page can use now."""

    remind: bool
    extend: bool
    bound: bool
    """Whether the deadline cannot be extended only because another date limits it."""
    correct: bool
    cancel: bool
    repair: bool
    """Whether failed work may be skipped and, if `retry`, retried."""
    retry: bool
    revoke_links: bool


def available(
    assignment: LearnerContentAssignment, *, roles: Collection[Role], now: datetime
) -> AvailableRemedies:
    """Return the remedies for a reader with these roles. The assignment is loaded with its budget."""

    def may(permission: Permission) -> bool:
        return not PERMISSIONS[permission].isdisjoint(roles)

    is_open = awaits_answer(assignment)
    in_time = assignment.expires_at > now
    in_grace = assignment.grace_until is not None and assignment.grace_until > now
    waits = assignment.learner_state == LearnerState.WAITING and not assignment.forgotten_at
    account_ended = bool(getattr(assignment, "account_ended", ""))  # such an account gets no mails
    waits &= not account_ended
    in_use = not assignment.budget.not_in_use(now)
    extendable = is_open and (in_time or in_grace) and may(Permission.ALLOCATE)
    bound = assignment.expires_reason in _BOUND
    return AvailableRemedies(
        remind=is_open and in_time and waits and in_use and may(Permission.REMIND),
        extend=extendable and not bound,
        bound=extendable and bound,
        correct=is_open and not assignment.forgotten_at and may(Permission.ALLOCATE),
        cancel=lifecycle.allows(assignment, ActionType.CANCELLED) and may(Permission.CANCEL),
        repair=may(Permission.ALLOCATE),
        retry=may(Permission.ALLOCATE) and not account_ended,
        revoke_links=is_open and may(Permission.CANCEL),
    )


def remind(assignment: LearnerContentAssignment, *, now: datetime, actor: User) -> RemedyResult:
    """Remind the learner."""
    found = reminders.remind(assignment.budget, uuids=[assignment.uuid], now=now, actor=actor)
    if found.on_their_way:
        of_it = LearnerContentAssignment.objects.filter(pk=assignment.pk)
        mails = reminders.too_recent_mails(of_it, now=now)
        latest = mails.aggregate(latest=Max("created"))["latest"] or now
        sentence = _(
            "A mail was sent a moment ago, or is being sent, so that no reminder was requested. "
            "Come again in %(minutes)s min."
        )
        minutes = bulk_questions.minutes_to_wait(latest, now=now)
        return RemedyResult(INFO, sentence % {"minutes": minutes})
    return _refusal(found.refused, assignment, actor=actor) or RemedyResult(
        SUCCESS, _("A reminder was requested: the timeline says what becomes of it.")
    )


def retry(
    assignment: LearnerContentAssignment, *, action_uuid: UUID, now: datetime, actor: User
) -> RemedyResult:
    """Retry one failed action."""
    found = failures.retry(
        assignment.budget, uuids=[assignment.uuid], which=Q(uuid=action_uuid), now=now, actor=actor
    )
    return _refusal(found.refused, assignment, actor=actor) or RemedyResult(
        SUCCESS, _("It is tried again now.")
    )


def skip(
    assignment: LearnerContentAssignment, *, action_uuid: UUID, reason: str, now: datetime, actor: User
) -> RemedyResult:
    """Skip one failed action, for a reason that stays on the timeline."""
    found = failures.skip(
        assignment.budget,
        uuids=[assignment.uuid],
        which=Q(uuid=action_uuid),
        reason=reason,
        now=now,
        actor=actor,
    )
    return _refusal(found.refused, assignment, actor=actor) or RemedyResult(
        SUCCESS, _("It is skipped, and counts as failed no more.")
    )


def cancel(assignment: LearnerContentAssignment, *, now: datetime, actor: User) -> RemedyResult:
    """Cancel the assignment."""
    found = cancellation.cancel(assignment.budget, uuids=[assignment.uuid], now=now, actor=actor)
    if found.unchanged:
        return RemedyResult(INFO, _("This assignment was cancelled before."))
    if refused := _refusal(found.refused, assignment, actor=actor):
        return refused
    money = dollars(assignment.price_cents)
    if was_notified(assignment, cycle=assignment.cycle):
        sentence = _("Cancelled: %(money)s is free again, and the learner gets an e-mail.")
    else:
        sentence = _("Cancelled: %(money)s is free again, and the learner had no e-mail about it yet.")
    return RemedyResult(SUCCESS, sentence % {"money": money})


def consequence_of_cancelling(assignment: LearnerContentAssignment) -> list[str]:
    """Return what cancelling does to the money, mails and links, as sentences; empty if it is refused."""
    if not lifecycle.allows(assignment, ActionType.CANCELLED):
        return []
    words = {"money": dollars(assignment.price_cents), "budget": assignment.budget.name}
    freed = _("%(money)s is free again in %(budget)s, at once.") % words
    if not was_notified(assignment, cycle=assignment.cycle):
        return [freed, _("No e-mail is sent: the learner had none about it.")]
    if learner_accounts.account_ended(assignment):
        mail = _("No e-mail is sent: the learner's account has ended.")
    else:
        mail = _("The learner gets an e-mail that it was cancelled.")
    links = _("The links in earlier e-mails lead to a page that says so; nothing can be accepted by them.")
    return [freed, mail, links]


def others_at_its_address(assignment: LearnerContentAssignment) -> int:
    """Return the number of the organisation's other open assignments that a corrected address moves."""
    rows = LearnerContentAssignment.objects.filter(
        of_mailboxes([learner_key(assignment.learner_email)]),
        budget__customer=assignment.budget.customer_id,
        state=State.ALLOCATED,
    )
    return rows.exclude(pk=assignment.pk).count()


def correct(
    assignment: LearnerContentAssignment, *, address: str, now: datetime, actor: User
) -> RemedyResult:
    """Correct the learner's address in all open assignments of the organisation."""
    within = Q(budget__customer=assignment.budget.customer_id)
    pair = (assignment.learner_email, address)
    (found,) = address_corrections.correct_pairs([pair], now=now, actor=actor, within=within)
    if found.reason:
        return RemedyResult(ERROR, f"{found.sentence} {found.next_step}")
    sentence = ngettext(
        "The address is corrected: the invitation goes to %(address)s.",
        "The address is corrected in %(count)s assignments: their invitations go to %(address)s.",
        len(found.corrected),
    )
    return RemedyResult(SUCCESS, sentence % {"address": address.strip(), "count": len(found.corrected)})


def extend(
    assignment: LearnerContentAssignment,
    *,
    until: datetime,
    now: datetime,
    actor: User,
    dry_run: bool = False,
) -> tuple[RemedyResult, Extension | None]:
    """Extend the deadline; return the result, and the extension if it is possible."""
    found = extension.extend(
        assignment.budget, uuids=[assignment.uuid], until=until, now=now, actor=actor, dry_run=dry_run
    )
    if ExtensionRefusal.NOT_LATER in found.refused.values():
        when = moments.day_in_words(assignment.expires_at, zone=assignment.budget.customer.zone)
        sentence = _("The deadline is already %(when)s. Choose a day after it.") % {"when": when}
        if until <= now:
            sentence = _("That day is over. Choose a day that is still to come.")
        return RemedyResult(ERROR, sentence), None
    if refused := _refusal(found.refused, assignment, actor=actor):
        return refused, None
    (extended,) = found.extended
    words = {"when": moments.in_words(extended.new, zone=assignment.budget.customer.zone)}
    sentence = _("The deadline is extended to %(when)s.") % words
    if why := _CLIPPED_BY.get(extended.decided_by):
        words["why"] = why
        sentence = _("The deadline is extended to %(when)s, and no further: %(why)s.") % words
    return RemedyResult(SUCCESS, sentence), extended


def days_to_extend_to(assignment: LearnerContentAssignment, *, now: datetime) -> tuple[date, date]:
    """Return the first and the last day to which its deadline can be extended, in the organisation's zone.

    The last one is the day on which enrolment in its content closes or its budget ends, and not more than
    `LONGEST_AGE_DAYS` after the first.
    """
    first = max(assignment.expires_at, now) + timedelta(seconds=1)
    ends = (assignment.content_enroll_by, assignment.budget.ends_at or FAR_FUTURE)
    last = min(first + timedelta(days=LONGEST_AGE_DAYS), *ends)
    zone = assignment.budget.customer.zone
    return first.astimezone(zone).date(), max(first, last).astimezone(zone).date()


def closed_to_extension(assignment: LearnerContentAssignment, *, now: datetime, actor: User) -> str:
    """Return why no later deadline can be chosen for an assignment; empty if one can."""
    why = extension.refusal(assignment, until=FAR_FUTURE, now=now)
    refused = _refusal({assignment.uuid: why} if why else {}, assignment, actor=actor)
    return refused.sentence if refused else ""


def clipped_in_words(extended: Extension, assignment: LearnerContentAssignment) -> str:
    """Return a sentence with the deadline that would result, and the date that limits it."""
    when = moments.in_words(extended.new, zone=assignment.budget.customer.zone)
    words = {"when": when, "why": _CLIPPED_BY[extended.decided_by]}
    return _("It would become %(when)s, sooner than that day: %(why)s.") % words


def is_clipped(extended: Extension) -> bool:
    """Return whether another date limits the deadline to less than was requested."""
    return extended.decided_by in _CLIPPED_BY


def _refusal(
    refused: Mapping[UUID, str], assignment: LearnerContentAssignment, *, actor: User
) -> RemedyResult | None:
    """Return the refusal for the assignment, with its next step; None if there is none."""
    for why in refused.values():
        if why == State.CANCELLED and assignment.cancelled_at:
            day = moments.day_in_words(assignment.cancelled_at, zone=assignment.budget.customer.zone)
            sentence = _("It was cancelled on %(day)s: nothing is changed about it or sent any more.")
            next_step = _("To give the learner the course after all, assign it again.")
            return RemedyResult(ERROR, f"{sentence % {'day': day}} {next_step}")
        sentence = bulk_work.REFUSALS.get(why, _("It cannot be done."))
        next_step = _NEXT_STEPS.get(why, _RELOAD)
        if why in _FOR_OPERATORS and may_everywhere(actor):
            next_step = _FOR_OPERATORS[why]
        return RemedyResult(ERROR, f"{sentence} {next_step}")
    return None
