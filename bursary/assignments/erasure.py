"""Erasure of learners' personal data, keeping what happened.

Each assignment gets its own placeholder address, so that no two of them match. Its actions keep type, status,
times and codes; all columns that may name people are cleared. A sweep erases expired assignments when the
learner was notified, or after thirty days. On request, all data of an address is erased, in any state.

Mails belong to a layer above: the caller passes the function that removes them by action. It is called before
the rows change and must be idempotent, because after a crash in between the rows are found and erased again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet

from bursary.access import anonymisation, suppressions
from bursary.access.models import LearnerLink, User, learner_key, of_mailboxes
from bursary.assignments import actions, learner_identity, lifecycle, sweeps
from bursary.assignments.choices import UNFINISHED, WORK, ActionType, State, Status
from bursary.assignments.learner_identity import Identity
from bursary.assignments.models import (
    LearnerContentAssignment,
    LearnerContentAssignmentAction,
)
from bursary.assignments.sweeps import SweepResult
from bursary.budgets import ledger
from bursary.lib.batches import ProgressCallback, chunks
from bursary.lib.locks import for_update
from bursary.lib.prepared import Parameter
from bursary.lib.retries import repeated_after_deadlocks

AT_THE_LATEST = timedelta(days=30)  # after expiry, notified or not
ROWS_PER_STATEMENT = 2000

_AGAIN = "Try again when that is done, in some minutes."
_BEING_REDEEMED: Mapping[str, object] = {
    "reason": "being_redeemed",
    "detail": "It is being accepted at this moment.",
    "next_step": _AGAIN,
}
_BEING_SENT: Mapping[str, object] = {
    "reason": "being_sent",
    "detail": "A mail to the address is being sent at this moment.",
    "next_step": _AGAIN,
}
"""Why an assignment cannot be erased yet."""

Remove = Callable[[Sequence[UUID]], int]
"""Removes the mails of these actions, idempotently; returns their number."""


@dataclass(frozen=True)
class ErasurePreview:
    """The numbers of an address's assignments by state, others' actions sent to it, links and accounts."""

    assignments: dict[str, int]
    elsewhere: int
    links: int
    accounts: int


@dataclass
class ErasureResult:
    """The result of a request: what was done, what has to wait and why, and the failed budgets (uuids).

    `elsewhere` is the number of erased actions of others, as in the preview.
    """

    cancelled: int = 0
    forgotten: int = 0
    elsewhere: int = 0
    mails: int = 0
    links: int = 0
    accounts: int = 0
    not_yet: list[dict[str, object]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def __iadd__(self, other: "ErasureResult") -> "ErasureResult":
        """Add the result of another budget."""
        self.cancelled += other.cancelled
        self.forgotten += other.forgotten
        self.elsewhere += other.elsewhere
        self.mails += other.mails
        self.not_yet += other.not_yet
        return self

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do."""
        return not (self.not_yet or self.failed)


def to_erase(now: datetime | Parameter) -> QuerySet[LearnerContentAssignment]:
    """Return the expired assignments to erase at `now`: those without open work.

    After thirty days also those with pending work, but never those with running work.
    """
    rows = LearnerContentAssignmentAction.objects.filter(assignment=OuterRef("pk"))
    settled = ~Exists(rows.filter(status__in=UNFINISHED))
    overdue = Q(expired_at__lte=now - AT_THE_LATEST) & ~Exists(
        rows.filter(status=Status.RUNNING, due_at__gt=now)
    )
    return LearnerContentAssignment.objects.filter(settled | overdue, state=State.EXPIRED, forgotten_at=None)


def forget_due(
    *, now: datetime, remove: Remove, on_progress: ProgressCallback | None = None
) -> tuple[SweepResult, int]:
    """Erase the personal data of everything due, batch by batch; return the result and the mails removed.

    The LMS user id stays: it is no name, and the learner's own pages still show what expired. Idempotent.
    """
    removed = 0

    def forget_batch(budget_pk: int, _before: int) -> int:
        nonlocal removed
        with transaction.atomic():
            budget = ledger.lock(budget_pk)
            batch = to_erase(now).filter(budget=budget_pk).order_by("expired_at", "id")[: sweeps.BATCH]
            pks = sorted(batch.values_list("pk", flat=True))
            _locked_assignments(pks)
            rows = _locked_actions(Q(assignment__in=pks))
            # Evaluated again with the locks: rows that were moved or claimed meanwhile are skipped.
            forgotten = {one.pk: one for one in to_erase(now).filter(pk__in=pks).order_by("pk")}
            rows = [row for row in rows if row.assignment_id in forgotten]
            addresses_of = {row.recipient for row in rows} | {one.learner_email for one in forgotten.values()}
            mails = _wipe(rows, now=now, remove=remove)
            _anonymise(list(forgotten.values()), now=now)
            _unlink(anonymisation.links_of(addresses_of).filter(customer=budget.customer_id))
        removed += mails
        return len(forgotten)

    swept = sweeps.sweep(to_erase, forget_batch, now=now, order="expired_at", on_progress=on_progress)
    return swept, removed


def preview(address: str) -> ErasurePreview:
    """Return what `forget` would erase, changing nothing. Raises matching.BadAddresses."""
    learner = learner_identity.trace(address)
    assigned = LearnerContentAssignment.objects.filter(learner.rows)
    counts = assigned.order_by().values_list("state").annotate(count=Count("pk"))
    sent = LearnerContentAssignmentAction.objects.filter(_names(learner))
    return ErasurePreview(
        assignments={str(state): count for state, count in counts},
        elsewhere=sent.exclude(assignment__in=assigned.values("pk")).count(),
        links=LearnerLink.objects.filter(of_mailboxes(list(learner.keys))).count(),
        accounts=len(learner.accounts),
    )


def forget(
    address: str,
    *,
    now: datetime,
    remove: Remove,
    actor: User | None = None,
    learner: Identity | None = None,
) -> ErasureResult:
    """Erase a person, known by this address: in every budget and state, their links and accounts.

    `learner` is what an earlier call has traced. Open assignments are cancelled first, without a notice.
    Those being redeemed, or sent a mail, at this moment stay, and with them links and accounts: `not_yet`
    names them, and a later call completes it. Raises matching.BadAddresses.
    """
    learner = learner or learner_identity.trace(address)
    outcome = ErasureResult()
    own = LearnerContentAssignment.objects.filter(learner.rows).order_by()
    sent = LearnerContentAssignmentAction.objects.filter(_names(learner)).order_by()
    budgets = set(own.values_list("budget", "budget__uuid").distinct())
    budgets |= set(sent.values_list("assignment__budget", "assignment__budget__uuid").distinct())
    for budget_pk, budget_uuid in sorted(budgets):
        try:
            outcome += _forget_in(budget_pk, learner, now=now, remove=remove, actor=actor)
        except sweeps.RECOVERABLE as failure:
            outcome.failed[str(budget_uuid)] = sweeps.log_failure(failure, budget_uuid)
    if outcome.complete:
        outcome.accounts, outcome.links = _forget_accounts(learner, now=now)
    return outcome


def _names(learner: Identity) -> Q:
    """Return the condition on actions that they name the learner, as recipient or in a corrected address."""
    named = learner.spelt("recipient")
    for address in sorted(learner.addresses):
        old = Q(detail__istartswith=f"From {address} to ") | Q(detail__iendswith=f" to {address}.")
        named |= Q(old, action_type=ActionType.EMAIL_CORRECTED)
    return named


@repeated_after_deadlocks
def _forget_in(
    budget_pk: int, learner: Identity, *, now: datetime, remove: Remove, actor: User | None
) -> ErasureResult:
    """Erase the learner in one budget, in one transaction."""
    with transaction.atomic():
        budget = ledger.lock(budget_pk)
        here = LearnerContentAssignment.objects.filter(budget=budget_pk)
        own = set(here.filter(learner.rows).values_list("pk", flat=True))
        sent = LearnerContentAssignmentAction.objects.filter(_names(learner), assignment__budget=budget_pk)
        others = set(sent.values_list("assignment", flat=True)) - own
        found = [one for one in _locked_assignments(sorted(own | others)) if one.pk in own]
        free = [one for one in found if not one.redeeming_since]
        cancelled = [one for one in free if lifecycle.allows(one, ActionType.CANCELLED)]
        lifecycle.move(budget, cancelled, ActionType.CANCELLED, now=now, actor=actor)
        actions.supersede([one.pk for one in free], WORK, now=now, error_code="forgotten")
        of_others = Q(_names(learner), assignment__in=others)
        rows = _locked_actions(Q(assignment__in=[one.pk for one in free]) | of_others)
        busy = {
            row.assignment_id: row.assignment.uuid
            for row in rows
            if row.status == Status.RUNNING and row.due_at and row.due_at > now
        }
        forgotten = [one for one in free if one.pk not in busy]
        quiet = [row for row in rows if row.assignment_id not in busy]
        mails = _wipe(quiet, now=now, remove=remove)
        _anonymise(forgotten, now=now, lms_user_id=None)
    not_yet = [{"assignment": one.uuid, **_BEING_REDEEMED} for one in found if one.redeeming_since]
    not_yet += [{"assignment": uuid, **_BEING_SENT} for uuid in busy.values()]
    return ErasureResult(
        cancelled=len(cancelled),
        forgotten=len(forgotten),
        elsewhere=sum(row.assignment_id in others for row in quiet),
        mails=mails,
        not_yet=not_yet,
    )


@repeated_after_deadlocks
def _forget_accounts(learner: Identity, *, now: datetime) -> tuple[int, int]:
    """Erase what no budget has, in one transaction; return the numbers of accounts and of links."""
    with transaction.atomic():
        accounts = list(for_update(User.objects.filter(pk__in=learner.accounts)).order_by("pk"))
        anonymisation.anonymise(accounts, now=now)
        for spelling in sorted(learner.addresses):
            anonymisation.wipe_log(spelling)
            anonymisation.forget_notice_address(spelling)
        suppressions.forget(learner.addresses)
        return len(accounts), _unlink(LearnerLink.objects.filter(of_mailboxes(list(learner.keys))))


def _locked_assignments(pks: Sequence[int]) -> list[LearnerContentAssignment]:
    rows = LearnerContentAssignment.objects.filter(pk__in=pks).order_by("pk")
    return list(for_update(rows))


def _locked_actions(which: Q) -> list[LearnerContentAssignmentAction]:
    """Lock actions, so that no worker claims them; return their identifying columns."""
    rows = LearnerContentAssignmentAction.objects.filter(which).order_by("pk")
    return list(for_update(rows).only("uuid", "assignment", "action_type", "status", "due_at", "recipient"))


def _wipe(rows: Sequence[LearnerContentAssignmentAction], *, now: datetime, remove: Remove) -> int:
    """Remove the actions' mails, then clear every column that may name people; return the number of mails.

    Types, times and error codes stay. Open work is superseded, so that a late worker loses its claim.
    """
    mails = remove([row.uuid for row in rows if row.action_type in WORK])
    for pks in chunks([row.pk for row in rows], ROWS_PER_STATEMENT):
        chunk = LearnerContentAssignmentAction.objects.filter(pk__in=pks)
        actions.supersede_rows(chunk.filter(status__in=UNFINISHED), now=now, error_code="forgotten")
        # Some providers name a mail by its recipient.
        chunk.exclude(recipient="").filter(provider_ref__icontains=F("recipient")).update(provider_ref="")
        chunk.update(recipient="", payload={}, attempt_log=[], detail="", traceback="", modified=now)
    return mails


def _anonymise(assignments: Sequence[LearnerContentAssignment], *, now: datetime, **more: object) -> None:
    """Replace each address by a placeholder; write `more` columns too."""
    for one in assignments:
        one.learner_email = anonymisation.placeholder_email()
        one.learner_key = one.mailbox_key = learner_key(one.learner_email)
    LearnerContentAssignment.objects.bulk_update(assignments, ["learner_email", "learner_key", "mailbox_key"])
    LearnerContentAssignment.objects.filter(pk__in=[one.pk for one in assignments]).update(
        decline_reason="", forgotten_at=now, modified=now, **more
    )


def _unlink(links: QuerySet[LearnerLink]) -> int:
    """Delete links to customers without an assignment of the address; return their number."""
    locked = list(for_update(links).order_by("pk"))
    keys = {link.learner_key for link in locked}
    assigned = LearnerContentAssignment.objects.filter(of_mailboxes(keys)).order_by()
    columns = assigned.values_list("budget__customer", "mailbox_key", "learner_key").distinct()
    needed = {(customer, key or older) for customer, key, older in columns}
    gone = [link.pk for link in locked if (link.customer_id, link.learner_key) not in needed]
    LearnerLink.objects.filter(pk__in=gone).delete()
    return len(gone)
