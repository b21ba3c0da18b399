"""The links in learners' mails: the assignment that each opens, and whether it still works.

A link is for one assignment in one cycle at one address. It works until the deadline that its mail names, or
to its age where that is later; where an administrator has extended the deadline, until then. It stops earlier
when the assignment is allocated again, its address is corrected or erased, or its links are revoked.
"""

import logging
from datetime import UTC, datetime, timedelta
from functools import partial

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import translation
from django.utils.translation import gettext

from bursary.access import links
from bursary.access.links import Link, LinkExpired, LinkRevoked, Purpose
from bursary.access.models import User, learner_key
from bursary.assignments import actions
from bursary.assignments.choices import ASKING_MAILS, UNFINISHED, ActionType
from bursary.assignments.models import LearnerContentAssignment
from bursary.assignments.open_assignments import can_be_answered
from bursary.budgets import ledger
from bursary.budgets.models import Customer
from bursary.lib import moments
from bursary.lib.locks import for_update
from bursary.lib.prepared import Parameter, PreparedSelect
from bursary.lib.retries import repeated_after_deadlocks

logger = logging.getLogger(__name__)


def token_for(assignment: LearnerContentAssignment, *, address: str, now: datetime) -> str:
    """Return the token of a new link, for a mail to `address`."""
    digest = _digest(assignment, learner_key(address))
    # The mail names the deadline, and the link must last as long: its end is rounded up to a second.
    until = assignment.expires_at.replace(microsecond=0) + timedelta(seconds=1)
    issued_at = now.replace(microsecond=0)
    return links.token(Link(assignment.uuid, assignment.cycle, digest, issued_at, until=until))


def opened(token: str, *, now: datetime) -> LearnerContentAssignment:
    """Return the assignment that a link opens, with its budget, customer and content in the same query.

    Raises links.LinkRefused: LinkTruncated, LinkTampered, LinkForOtherPurpose, LinkExpired, LinkRevoked.
    """
    return _opened(_working(token, now=now))


def opened_and_locked(token: str, *, now: datetime) -> LearnerContentAssignment:
    """Return the assignment that a link opens, locked after its budget until the answer is written.

    Call it inside a transaction. Raises links.LinkRefused.
    """
    link = _working(token, now=now)
    ledger.lock(_opened(link).budget_id)
    return _opened(link, lock=True)


def can_be_renewed(expired: LinkExpired, *, now: datetime) -> bool:
    """Return whether the reader of a link that is too old may request another one.

    Raises LinkRevoked where the link was revoked, whatever its age.
    """
    return _awaits_answer(_opened(expired.link), now=now)


@repeated_after_deadlocks
def renew(token: str, *, now: datetime) -> bool | None:
    """Request a mail with a new link to the address on file; False where that was done today, in UTC.

    None where the link still works. Only for links that are too old, while the assignment is open; a pending
    mail counts, because it brings a new link. Raises links.LinkRefused.
    """
    try:
        _opened(_working(token, now=now))
        return None
    except LinkExpired as expired:
        link = expired.link
    with transaction.atomic():
        assignment = _opened(link, lock=True)
        if not _awaits_answer(assignment, now=now):
            raise LinkExpired(link)
        this_cycle = assignment.actions.filter(cycle=assignment.cycle)
        if this_cycle.filter(action_type__in=ASKING_MAILS, status__in=UNFINISHED).exists():
            return True
        dedup_key = f"link-{now.astimezone(UTC):%Y-%m-%d}"
        if this_cycle.filter(action_type=ActionType.REMINDED, dedup_key=dedup_key).exists():
            return False
        actions.request([assignment], [ActionType.REMINDED], now=now, dedup_key=dedup_key)
    return True


def customer_of(token: str) -> Customer | None:
    """Return the organisation that a genuine link is from, even if it works no more; None for others."""
    link = links.verified_even_if_expired(token, purpose=Purpose.ANSWER)
    if link is None:
        return None
    rows = LearnerContentAssignment.objects.filter(uuid=link.subject).select_related("budget__customer")
    assignment = rows.first()
    return assignment.budget.customer if assignment else None


@repeated_after_deadlocks
def revoke(assignment: LearnerContentAssignment, *, now: datetime, actor: User | None = None) -> None:
    """Revoke all links sent so far, as the timeline says. The next mail brings one that works.

    The timeline's sentence names no person: the log has the user.
    """
    with translation.override(settings.LANGUAGE_CODE):  # kept on the timeline, for all its readers
        at = moments.in_words(now, zone=assignment.budget.customer.zone)
        sentence = gettext("Its e-mail links were revoked on %(moment)s.") % {"moment": at}
    with transaction.atomic():
        LearnerContentAssignment.objects.filter(pk=assignment.pk).update(links_revoked_at=now, modified=now)
        actions.add_to_detail(assignment, sentence, now=now)
    by = actor.pk if actor else None
    logger.info("The links of an assignment were revoked: assignment=%s user=%s", assignment.uuid, by)
    assignment.links_revoked_at = assignment.modified = now


def _working(token: str, *, now: datetime) -> Link:
    """Return the token's link if it works at `now`, by an extended deadline too. Raises links.LinkRefused."""
    try:
        return links.verified(token, purpose=Purpose.ANSWER, now=now)
    except LinkExpired as expired:
        link = expired.link
        lasting = LearnerContentAssignment.objects.filter(extended_until__isnull=False, expires_at__gt=now)
        if not lasting.filter(uuid=link.subject, cycle=link.cycle).exists():
            raise
        return link


def _opened(link: Link, *, lock: bool = False) -> LearnerContentAssignment:
    assignment: LearnerContentAssignment | None = _NAMED[lock].first(uuid=link.subject, cycle=link.cycle)
    if assignment is None:
        raise LinkRevoked
    # Mails of an earlier release bear the older key, which a row keeps when it is re-keyed.
    if link.digest not in [
        _digest(assignment, key) for key in (assignment.mailbox_or_learner_key, assignment.learner_key)
    ]:
        raise LinkRevoked
    return assignment


def _named(*, lock: bool) -> QuerySet[LearnerContentAssignment]:
    """Return the assignment that a link names, with its content; with `lock`, it alone."""
    field = LearnerContentAssignment._meta.get_field
    uuid, cycle = (Parameter(name, field(name)) for name in ("uuid", "cycle"))
    rows = LearnerContentAssignment.objects.filter(uuid=uuid, cycle=cycle)
    if lock:
        return for_update(rows)  # without joins, which would lock what they join
    return rows.select_related("budget__customer", "content").defer("content__payload")


_NAMED = {lock: PreparedSelect(partial(_named, lock=lock)) for lock in (False, True)}


def _awaits_answer(assignment: LearnerContentAssignment, *, now: datetime) -> bool:
    """Return whether the learner can answer now: the budget is in use, too."""
    return can_be_answered(assignment, now=now) and not assignment.budget.not_in_use(now)


def _digest(assignment: LearnerContentAssignment, of_address: str) -> str:
    revoked_at = assignment.links_revoked_at
    return links.digest_of(assignment.uuid.hex, of_address, revoked_at.isoformat() if revoked_at else "")
