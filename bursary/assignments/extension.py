"""Extension of deadlines: an administrator gives open assignments more time.

The new date takes the place of allocation age and due date. The end of enrolment in the content and the
budget's end still bind: where one of them comes first, the deadline is extended to that, or not at all.
"""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import translation
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from bursary.access.models import User
from bursary.assignments import actions, derived, lifecycle
from bursary.assignments.choices import ActionType, ExpiryReason, State
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets import ledger
from bursary.budgets.models import Budget
from bursary.lib import moments
from bursary.lib.batches import chunks
from bursary.lib.locks import for_update
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
    ExpiryReason.EXTENSION: _("as was set"),
}


@dataclass(frozen=True)
class Extension:
    """A deadline that was extended: before, after, and which date decides it now."""

    assignment: UUID
    old: datetime
    new: datetime
    decided_by: ExpiryReason
    """`EXTENSION`, unless the content or the budget ends it before the date that was asked for."""


@dataclass
class ExtensionResult:
    """The deadlines that were extended, and the other assignments with the reason."""

    extended: list[Extension] = field(default_factory=list)
    refused: dict[UUID, str] = field(default_factory=dict)
    """By uuid: `unknown`, an ExtensionRefusal, or the state that forbids it."""

    def add(self, batch: "ExtensionResult") -> None:
        """Add the result of a further batch."""
        self.extended += batch.extended
        self.refused |= batch.refused


def extend(
    budget: Budget,
    *,
    uuids: Sequence[UUID],
    until: datetime,
    now: datetime,
    actor: User | None = None,
    dry_run: bool = False,
) -> ExtensionResult:
    """Extend the deadlines of the budget's assignments with these uuids, where they are open.

    What has expired is not revived: allocating it again does that. Links in mails sent before last as long as
    the new deadline. Idempotent. Each batch is a transaction of its own, which a dry run rolls back.
    """
    outcome = ExtensionResult()
    for batch in chunks(dict.fromkeys(uuids), BATCH):
        with transaction.atomic():
            outcome.add(_extend_batch(budget, batch, until=until, now=now, actor=actor))
            transaction.set_rollback(dry_run)
    return outcome


def _extend_batch(
    budget: Budget, uuids: Sequence[UUID], *, until: datetime, now: datetime, actor: User | None
) -> ExtensionResult:
    outcome = ExtensionResult()
    found = _locked(budget, uuids)
    outcome.refused = {uuid: why for uuid in uuids if (why := _objection(found.get(uuid), until, now))}
    before = {one.pk: one for uuid, one in found.items() if uuid not in outcome.refused}
    rows = LearnerContentAssignment.objects.filter(pk__in=before)
    rows.update(extended_until=until, modified=now)
    derived.follow_extension(list(before), now=now)
    after = rows.in_bulk()
    bound = [pk for pk, one in after.items() if one.expires_at <= before[pk].expires_at]
    _undo([before[pk] for pk in bound], now=now)
    outcome.refused |= {
        before[pk].uuid: _BOUND_BY.get(after[pk].expires_reason, ExtensionRefusal.NOT_LATER) for pk in bound
    }
    extended = [after[pk] for pk in sorted(before) if pk not in set(bound)]
    outcome.extended = [
        Extension(one.uuid, before[one.pk].expires_at, one.expires_at, ExpiryReason(one.expires_reason))
        for one in extended
    ]
    details = {one.pk: _in_words(it, budget) for one, it in zip(extended, outcome.extended, strict=True)}
    occasion = f"{now:%Y-%m-%dT%H%M%S.%f}"
    actions.record(
        extended, ActionType.DEADLINE_EXTENDED, now=now, actor=actor, dedup_key=occasion, detail=details
    )
    return outcome


def _locked(budget: Budget, uuids: Sequence[UUID]) -> dict[UUID, LearnerContentAssignment]:
    """Lock the budget's assignments with these uuids, after their content and the budget; return them."""
    named = LearnerContentAssignment.objects.filter(budget=budget, uuid__in=uuids)
    assigned = ContentMetadata.objects.filter(pk__in=named.values("content"))
    list(for_update(assigned.order_by("content_key")).only("pk"))
    ledger.lock(budget.pk)
    return {one.uuid: one for one in for_update(named).order_by("pk")}


def _objection(assignment: LearnerContentAssignment | None, until: datetime, now: datetime) -> str:
    """Return why the deadline cannot be extended, as far as the assignment alone decides it."""
    if assignment is None:
        return "unknown"
    if assignment.state == State.EXPIRED:
        return ExtensionRefusal.EXPIRED
    if assignment.state != State.ALLOCATED or assignment.redeeming_since:
        return lifecycle.standing(assignment)
    in_grace = assignment.grace_until is not None and assignment.grace_until > now
    if assignment.expires_at <= now and not in_grace:
        return ExtensionRefusal.EXPIRED
    return ExtensionRefusal.NOT_LATER if until <= max(assignment.expires_at, now) else ""


def _undo(unchanged: Sequence[LearnerContentAssignment], *, now: datetime) -> None:
    """Write back what the extension would not have changed."""
    LearnerContentAssignment.objects.bulk_update(unchanged, ["extended_until"], batch_size=BATCH)
    derived.follow_extension([one.pk for one in unchanged], now=now)


def _in_words(extension: Extension, budget: Budget) -> str:
    """Return what the timeline keeps of it: in the language of mails, whatever that of the actor."""
    zone = budget.customer.zone
    with translation.override(settings.LANGUAGE_CODE):
        return gettext("From %(old)s to %(new)s: %(decided_by)s.") % {
            "old": moments.in_words(extension.old, zone=zone),
            "new": moments.in_words(extension.new, zone=zone),
            "decided_by": _DECIDED_BY[extension.decided_by],
        }
