"""Extension of deadlines: an administrator gives open assignments more time.

The new date takes the place of allocation age and due date. The end of enrolment in the content and the
budget's end still bind: where one of them comes first, the deadline is extended to that, or not at all.
"""

import enum
from calendar import monthrange
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Case, CharField, Count, F, Q, QuerySet, Value, When
from django.utils import translation
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from bursary.access.models import User
from bursary.assignments import actions, derived, lifecycle, named_assignments
from bursary.assignments.choices import ActionType, ExpiryReason, State
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.assignments.named_assignments import NamedResult
from bursary.assignments.open_assignments import awaits_answer
from bursary.budgets import ledger
from bursary.budgets.models import Budget
from bursary.lib import moments, updates
from bursary.lib.batches import chunks
from bursary.lib.locks import locked_in_order
from bursary.lib.retries import repeated_after_deadlocks
from bursary.replica.models import ContentMetadata

BATCH = derived.CONTENTS_PER_STATEMENT


class ExtensionRefusal(enum.StrEnum):
    EXPIRED = "expired_already"
    """The deadline has passed: only allocating it again makes a new one."""
    NOT_LATER = "deadline_not_later"
    """The date is not after the deadline."""
    BOUND_BY_ENROLMENT = "bound_by_enrolment"
    """The deadline is the end of enrolment, or of the content."""
    BOUND_BY_BUDGET = "bound_by_budget"
    """The deadline is the budget's end."""


_BOUND_BY: Mapping[str, ExtensionRefusal] = {
    ExpiryReason.ENROLL_BY: ExtensionRefusal.BOUND_BY_ENROLMENT,
    ExpiryReason.BUDGET_END: ExtensionRefusal.BOUND_BY_BUDGET,
}
_DECIDED_BY: Mapping[str, Any] = {
    ExpiryReason.ENROLL_BY: _("enrolment closes then"),
    ExpiryReason.BUDGET_END: _("the budget ends then"),
    ExpiryReason.EXTENSION: _("as an administrator chose"),
}


class Span(enum.StrEnum):
    """A duration by which each deadline is extended, to the end of that day."""

    TWO_WEEKS = "two_weeks"
    MONTH = "month"
    """As many days as the deadline's month has."""

    def after(self, day: date) -> date:
        """Return the day that is so much later."""
        return day + timedelta(days=14 if self == Span.TWO_WEEKS else monthrange(day.year, day.month)[1])


@dataclass(frozen=True)
class Extension:
    """A deadline that was extended: before, after, and which date decides it now."""

    assignment: UUID
    old: datetime
    new: datetime
    decided_by: ExpiryReason
    """`EXTENSION`, unless the content or the budget ends it before the date that was asked for."""


@dataclass
class ExtensionResult(NamedResult):
    """The deadlines that were extended, and the others, with an ExtensionRefusal or the forbidding state."""

    extended: list[Extension] = field(default_factory=list)
    unchanged: list[UUID] = field(default_factory=list)
    """Extended before, with the same dedup key."""


_REFUSAL = Case(
    When(~Q(state=State.ALLOCATED), then=F("state")),
    When(budget__ends_at__lte=F("expires_at"), then=Value(ExtensionRefusal.BOUND_BY_BUDGET.value)),
    When(content_enroll_by__lte=F("expires_at"), then=Value(ExtensionRefusal.BOUND_BY_ENROLMENT.value)),
    default=Value(""),
    output_field=CharField(),
)
"""Why no day extends an assignment; empty where one does."""


def extend(
    budget: Budget,
    *,
    uuids: Sequence[UUID],
    until: datetime | Span,
    now: datetime,
    actor: User | None = None,
    dry_run: bool = False,
    dedup_key: str = "",
) -> ExtensionResult:
    """Extend the deadlines of the budget's assignments with these uuids, where they are open.

    What has expired is not revived: allocating it again does that. Links in mails sent before last as long as
    the new deadline. To a date it is idempotent; by a span, where the `dedup_key` is the same, of at
    most 64 characters. Each batch is a transaction of its own, which a dry run rolls back.
    """

    @repeated_after_deadlocks
    def extend_batch(batch: Sequence[UUID]) -> ExtensionResult:
        with transaction.atomic():
            done = _extend_batch(budget, batch, until=until, now=now, actor=actor, dedup_key=dedup_key)
            transaction.set_rollback(dry_run)
        return done

    outcome = ExtensionResult()
    for batch in chunks(dict.fromkeys(uuids), BATCH):
        outcome.add(extend_batch(batch))
    return outcome


def only_partly_extensible(
    rows: QuerySet[LearnerContentAssignment], *, until: datetime | Span, now: datetime
) -> QuerySet[LearnerContentAssignment]:
    """Return the assignments that enrolment or the budget keeps from being extended as far as asked for.

    Among them are those that would not be extended at all. By a span it is so to a day or two: here it ends
    at the deadline's time of the day, and a month is as long as this one.
    """
    rows = rows.filter(state=State.ALLOCATED)
    if isinstance(until, Span):
        days = until.after(now.date()) - now.date()
        asked_for = F("expires_at") + Value(days)
        return rows.filter(Q(content_enroll_by__lt=asked_for) | Q(budget__ends_at__lt=asked_for))
    is_sooner = Q(content_enroll_by__lt=until) | Q(budget__ends_at__lt=until)
    return rows.filter(is_sooner, expires_at__lt=until)


def expected_refusals(rows: QuerySet[LearnerContentAssignment]) -> dict[str, int]:
    """Return the number of assignments that no date extends, by state or ExtensionRefusal. One query."""
    counted = rows.order_by().values_list(_REFUSAL).annotate(count=Count("pk")).order_by("-count")
    return {reason: count for reason, count in counted if reason}


def extensible(rows: QuerySet[LearnerContentAssignment]) -> QuerySet[LearnerContentAssignment]:
    """Return those that a later date would extend."""
    return rows.alias(refusal=_REFUSAL).filter(refusal="")


def _extend_batch(
    budget: Budget,
    uuids: Sequence[UUID],
    *,
    until: datetime | Span,
    now: datetime,
    actor: User | None,
    dedup_key: str,
) -> ExtensionResult:
    found = _locked(budget, uuids)
    outcome = ExtensionResult(unchanged=_extended_before(found, dedup_key=dedup_key) if dedup_key else [])
    asked = [uuid for uuid in uuids if uuid not in set(outcome.unchanged)]
    days = {uuid: _day(one, until, budget=budget, now=now) for uuid, one in found.items()}
    for one in outcome.known(asked, found):
        if why := refusal(one, until=days[one.uuid], now=now):
            outcome.refused[one.uuid] = why
    before = {found[uuid].pk: found[uuid] for uuid in asked if uuid not in outcome.refused}
    instants = {one.pk: days[uuid] for uuid, one in found.items() if one.pk in before}
    with transaction.atomic():
        after = _written(instants, now=now)
        bound = [pk for pk, one in after.items() if one.expires_at <= before[pk].expires_at]
        transaction.set_rollback(bool(bound))  # so that no column of a refused one changes
    if bound:
        _written({pk: day for pk, day in instants.items() if pk not in set(bound)}, now=now)
    outcome.refused |= {
        before[pk].uuid: _BOUND_BY.get(after[pk].expires_reason, ExtensionRefusal.NOT_LATER) for pk in bound
    }
    extended = [after[pk] for pk in sorted(before) if pk not in set(bound)]
    outcome.extended = [
        Extension(one.uuid, before[one.pk].expires_at, one.expires_at, ExpiryReason(one.expires_reason))
        for one in extended
    ]
    details = {one.pk: _in_words(it, budget) for one, it in zip(extended, outcome.extended, strict=True)}
    key = dedup_key or f"{now:%Y-%m-%dT%H%M%S.%f}"
    actions.record(
        extended, ActionType.DEADLINE_EXTENDED, now=now, actor=actor, dedup_key=key, detail=details
    )
    return outcome


def _written(days: Mapping[int, datetime], *, now: datetime) -> dict[int, LearnerContentAssignment]:
    """Write the instants that these assignments, by pk, are extended to; return them as they are then."""
    rows = LearnerContentAssignment.objects.filter(pk__in=days)
    if days:
        rows.update(extended_until=updates.by_key(days), modified=now)
    derived.recompute_deadlines(list(days), now=now)
    return rows.in_bulk()


def _day(
    assignment: LearnerContentAssignment, until: datetime | Span, *, budget: Budget, now: datetime
) -> datetime:
    """Return the instant to extend the assignment's deadline to."""
    if not isinstance(until, Span):
        return until
    zone = budget.customer.zone
    day = max(assignment.expires_at, now).astimezone(zone).date()
    return moments.end_of(until.after(day), zone=zone)


def _extended_before(found: Mapping[UUID, LearnerContentAssignment], *, dedup_key: str) -> list[UUID]:
    """Return which of these were extended with this dedup key before."""
    facts = LearnerContentAssignmentAction.objects.filter(
        assignment__in=found.values(), action_type=ActionType.DEADLINE_EXTENDED, dedup_key=dedup_key
    )
    return list(facts.values_list("assignment__uuid", flat=True))


def _locked(budget: Budget, uuids: Sequence[UUID]) -> dict[UUID, LearnerContentAssignment]:
    """Lock the budget's assignments with these uuids, after their content and the budget; return them."""
    named = LearnerContentAssignment.objects.filter(budget=budget, uuid__in=uuids)
    assigned = ContentMetadata.objects.filter(pk__in=named.values("content"))
    list(locked_in_order(assigned).only("pk"))
    return named_assignments.lock(ledger.lock(budget.pk), uuids)


def refusal(assignment: LearnerContentAssignment, *, until: datetime, now: datetime) -> str:
    """Return why the deadline cannot be extended, as far as the assignment alone decides it; else ''.

    It is an ExtensionRefusal, or the state that forbids it.
    """
    if assignment.state == State.EXPIRED:
        return ExtensionRefusal.EXPIRED
    if not awaits_answer(assignment):
        return lifecycle.blocking_state(assignment)
    in_grace = assignment.grace_until is not None and assignment.grace_until > now
    if assignment.expires_at <= now and not in_grace:
        return ExtensionRefusal.EXPIRED
    return ExtensionRefusal.NOT_LATER if until <= max(assignment.expires_at, now) else ""


def _in_words(extension: Extension, budget: Budget) -> str:
    """Return what the timeline keeps of it: in the language of mails, whatever that of the actor."""
    zone = budget.customer.zone
    with translation.override(settings.LANGUAGE_CODE):
        return gettext("From %(old)s to %(new)s: %(decided_by)s.") % {
            "old": moments.in_words(extension.old, zone=zone),
            "new": moments.in_words(extension.new, zone=zone),
            "decided_by": _DECIDED_BY[extension.decided_by],
        }
