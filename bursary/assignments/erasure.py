"""Privacy: taking out who a learner was, and keeping what happened.

An assignment's address becomes a tombstone of its own, so that no two ever meet. Its actions keep their
type, status, times and codes, and lose whatever names people. The sweep does it to what has expired, once the
learner was told or after thirty days. On request everything of an address goes, whatever its state.

Mails lie above this layer: the caller hands in what removes them by action. It is called before the rows
change and must be repeatable: after a crash in between, the rows are found and done again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID, uuid5

from django.db import transaction
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet

from bursary.access import anonymisation
from bursary.access.models import LearnerLink, User, learner_key
from bursary.assignments import actions, addresses, lifecycle, sweeps
from bursary.assignments.models import (
    OPEN,
    WORK,
    ActionType,
    DeadlineNotice,
    LearnerContentAssignment,
    LearnerContentAssignmentAction,
    State,
    Status,
)
from bursary.assignments.sweeps import SweepResult
from bursary.budgets import ledger
from bursary.lib.locks import for_update

AT_THE_LATEST = timedelta(days=30)  # after expiry, told or not
ROWS_PER_STATEMENT = 2000

Remove = Callable[[Sequence[UUID]], int]
"""Removes the mails of these actions, repeatably; returns how many there were."""


@dataclass(frozen=True)
class ErasurePreview:
    """What is known of an address: assignments by state, actions sent to it for others, links, accounts."""

    assignments: dict[str, int]
    elsewhere: int
    links: int
    accounts: int


@dataclass
class ErasureResult:
    """What came of a request: what was done, what waits and why, and budgets (pks) in which it failed."""

    cancelled: int = 0
    forgotten: int = 0
    mails: int = 0
    links: int = 0
    accounts: int = 0
    not_yet: list[dict[str, object]] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)

    def __iadd__(self, other: "ErasureResult") -> "ErasureResult":
        """Add what came of it in another budget."""
        self.cancelled += other.cancelled
        self.forgotten += other.forgotten
        self.mails += other.mails
        self.not_yet += other.not_yet
        return self

    @property
    def complete(self) -> bool:
        """Tell whether nothing is left to be done."""
        return not (self.not_yet or self.failed)


def due(now: datetime) -> QuerySet[LearnerContentAssignment]:
    """Return what is to be forgotten at `now`: expired, and nobody is to be written to any more.

    After thirty days pending work is waited for no longer; what is being done at this moment, always.
    """
    rows = LearnerContentAssignmentAction.objects.filter(assignment=OuterRef("pk"))
    told = ~Exists(rows.filter(status__in=OPEN))
    overdue = Q(expired_at__lte=now - AT_THE_LATEST) & ~Exists(
        rows.filter(status=Status.RUNNING, due_at__gt=now)
    )
    return LearnerContentAssignment.objects.filter(told | overdue, state=State.EXPIRED, forgotten_at=None)


def count_due(now: datetime) -> int:
    """Return how many assignments are to be forgotten."""
    return due(now).count()


def forget_due(
    *, now: datetime, remove: Remove, progress: Callable[[int], None] | None = None
) -> tuple[SweepResult, int]:
    """Forget who everything due was for, batch by batch; return what was done, and how many mails went.

    The learner's id in the LMS stays: it names nobody by itself, and their own pages still show what expired.
    Repeating it does no harm.
    """
    removed = 0

    def forget_batch(budget_pk: int) -> int:
        nonlocal removed
        forgotten, mails = _forget_batch(budget_pk, now=now, remove=remove)
        removed += mails
        return forgotten

    swept = sweeps.sweep(due, forget_batch, now=now, order="expired_at", progress=progress)
    return swept, removed


def preview(address: str) -> ErasurePreview:
    """Return what `forget` would take up, changing nothing. Raises addresses.BadAddresses."""
    person = _person(address)
    assigned = LearnerContentAssignment.objects.filter(person.theirs)
    counts = assigned.order_by().values_list("state").annotate(count=Count("pk"))
    sent = LearnerContentAssignmentAction.objects.filter(pk__in=person.sent)
    return ErasurePreview(
        assignments={str(state): count for state, count in counts},
        elsewhere=sent.exclude(assignment__in=assigned.values("pk")).count(),
        links=anonymisation.links_of([address]).count(),
        accounts=anonymisation.accounts_of(address).count(),
    )


def forget(address: str, *, now: datetime, remove: Remove, actor: User | None = None) -> ErasureResult:
    """Forget an address, and the person whose account has it: in every budget and state, links and accounts.

    What is open is cancelled first, without a word to the learner. What is being redeemed or sent at this
    moment stays, and with it links and accounts: `not_yet` says so, and repeating it later finishes it.
    Raises addresses.BadAddresses.
    """
    person = _person(address)
    outcome = ErasureResult()
    for budget_pk in _budgets_of(person):
        try:
            outcome += _forget_in(budget_pk, person, now=now, remove=remove, actor=actor)
        except sweeps.RECOVERABLE as failure:
            outcome.failed[budget_pk] = sweeps.said(failure, budget_pk)
    if outcome.complete:
        with transaction.atomic():
            accounts = list(for_update(anonymisation.accounts_of(address)).order_by("pk"))
            outcome.mails += _remove_notices(accounts, remove=remove)
            anonymisation.anonymise(accounts, now=now)
            anonymisation.wipe_log(person.address)
            outcome.accounts = len(accounts)
            outcome.links = _unlink(anonymisation.links_of([address]))
    return outcome


def _remove_notices(accounts: Sequence[User], *, remove: Remove) -> int:
    """Remove the mails by which the accounts were told of moved deadlines; return how many there were.

    Of every customer: whose administrator an account once was, nothing says any more.
    """
    tried = DeadlineNotice.objects.filter(attempts__gt=0).order_by("pk")
    removed = last = 0
    while accounts and (
        rows := list(tried.filter(pk__gt=last).values_list("pk", "uuid")[:ROWS_PER_STATEMENT])
    ):
        last = rows[-1][0]
        # The name of such a mail: the notice's own, for each who was told.
        removed += remove([uuid5(notice, str(account.pk)) for _pk, notice in rows for account in accounts])
    return removed


def _forget_batch(budget_pk: int, *, now: datetime, remove: Remove) -> tuple[int, int]:
    """Forget a budget's next batch; return how many assignments that were, and how many mails."""
    with transaction.atomic():
        budget = ledger.lock(budget_pk)
        batch = due(now).filter(budget=budget_pk).order_by("expired_at", "id")[: sweeps.BATCH]
        pks = sorted(batch.values_list("pk", flat=True))
        _locked_assignments(pks)
        rows = _locked_actions(Q(assignment__in=pks))
        # Asked again now that nothing moves: what moved or was taken up meanwhile is left alone.
        forgotten = {one.pk: one for one in due(now).filter(pk__in=pks).order_by("pk")}
        rows = [row for row in rows if row.assignment_id in forgotten]
        addresses_of = {row.recipient for row in rows} | {one.learner_email for one in forgotten.values()}
        mails = _wipe(rows, now=now, remove=remove)
        _bury(list(forgotten.values()), now=now)
        _unlink(anonymisation.links_of(addresses_of).filter(customer=budget.customer_id))
    return len(forgotten), mails


@dataclass(frozen=True)
class _Person:
    """Whom to forget: an address, the condition of their assignments, and the actions (pks) sent to it."""

    address: str
    theirs: Q
    sent: list[int]


def _person(address: str) -> _Person:
    (addressee,) = addresses.read_all([address])
    ids = anonymisation.accounts_of(addressee.address).exclude(lms_user_id=None)
    theirs = Q(learner_key=addressee.learner_key)
    theirs |= Q(lms_user_id__in=list(ids.values_list("lms_user_id", flat=True)))
    # An assignment whose address was corrected remembers the old one in its actions; no index knows it.
    sent = LearnerContentAssignmentAction.objects.filter(recipient__iexact=addressee.address)
    return _Person(addressee.address, theirs, sorted(sent.order_by().values_list("pk", flat=True)))


def _budgets_of(person: _Person) -> list[int]:
    theirs = LearnerContentAssignment.objects.filter(person.theirs).order_by()
    sent = LearnerContentAssignmentAction.objects.filter(pk__in=person.sent).order_by()
    budgets = set(theirs.values_list("budget", flat=True).distinct())
    return sorted(budgets | set(sent.values_list("assignment__budget", flat=True).distinct()))


def _forget_in(
    budget_pk: int, person: _Person, *, now: datetime, remove: Remove, actor: User | None
) -> ErasureResult:
    """Forget the person in one budget, in one transaction."""
    with transaction.atomic():
        budget = ledger.lock(budget_pk)
        here = LearnerContentAssignment.objects.filter(budget=budget_pk)
        theirs = set(here.filter(person.theirs).values_list("pk", flat=True))
        sent = LearnerContentAssignmentAction.objects.filter(pk__in=person.sent, assignment__budget=budget_pk)
        others = set(sent.values_list("assignment", flat=True)) - theirs
        found = [one for one in _locked_assignments(sorted(theirs | others)) if one.pk in theirs]
        free = [one for one in found if not one.redeeming_since]
        cancelled = [one for one in free if lifecycle.allows(one, ActionType.CANCELLED)]
        lifecycle.move(budget, cancelled, ActionType.CANCELLED, now=now, actor=actor)
        actions.supersede([one.pk for one in free], WORK, now=now, error_code="forgotten")
        of_others = Q(pk__in=person.sent, assignment__in=others)
        rows = _locked_actions(Q(assignment__in=[one.pk for one in free]) | of_others)
        busy = {
            row.assignment_id: row.assignment.uuid
            for row in rows
            if row.status == Status.RUNNING and row.due_at and row.due_at > now
        }
        forgotten = [one for one in free if one.pk not in busy]
        quiet = [row for row in rows if row.assignment_id not in busy]
        mails = _wipe(quiet, now=now, remove=remove)
        _bury(forgotten, now=now, lms_user_id=None)
    redeeming = [_being_redeemed(one.uuid) for one in found if one.redeeming_since]
    return ErasureResult(
        cancelled=len(cancelled),
        forgotten=len(forgotten),
        mails=mails,
        not_yet=[*redeeming, *map(_being_sent, busy.values())],
    )


def _being_redeemed(assignment: UUID) -> dict[str, object]:
    return {
        "assignment": assignment,
        "reason": "being_redeemed",
        "detail": "It is being taken up at this moment.",
        "next_step": "Try again when that is done, in some minutes.",
    }


def _being_sent(assignment: UUID) -> dict[str, object]:
    return {
        "assignment": assignment,
        "reason": "being_sent",
        "detail": "Something is being sent to the address at this moment.",
        "next_step": "Try again when that is done, in some minutes.",
    }


def _locked_assignments(pks: Sequence[int]) -> list[LearnerContentAssignment]:
    rows = LearnerContentAssignment.objects.filter(pk__in=pks).order_by("pk")
    return list(for_update(rows))


def _locked_actions(which: Q) -> list[LearnerContentAssignmentAction]:
    """Lock actions, so that nobody takes them up, and return what tells them apart."""
    rows = LearnerContentAssignmentAction.objects.filter(which).order_by("pk")
    return list(for_update(rows).only("uuid", "assignment", "action_type", "status", "due_at", "recipient"))


def _wipe(rows: Sequence[LearnerContentAssignmentAction], *, now: datetime, remove: Remove) -> int:
    """Remove the actions' mails, then take from them whatever names people; return how many mails there were.

    What was done, when, and the code of why it failed stay. What is still open is superseded: a late worker
    finds its claim gone.
    """
    mails = remove([row.uuid for row in rows if row.action_type in WORK])
    pks = [row.pk for row in rows]
    for start in range(0, len(pks), ROWS_PER_STATEMENT):
        chunk = LearnerContentAssignmentAction.objects.filter(pk__in=pks[start : start + ROWS_PER_STATEMENT])
        actions.supersede_rows(chunk.filter(status__in=OPEN), now=now, error_code="forgotten")
        # A provider may call a mail by the address that it went to.
        chunk.exclude(recipient="").filter(provider_ref__icontains=F("recipient")).update(provider_ref="")
        chunk.update(recipient="", payload={}, attempt_log=[], detail="", traceback="", modified=now)
    return mails


def _bury(assignments: Sequence[LearnerContentAssignment], *, now: datetime, **more: object) -> None:
    """Put a tombstone in the place of each address, with `more` columns."""
    for one in assignments:
        one.learner_email = anonymisation.placeholder_email()
        one.learner_key = learner_key(one.learner_email)
    LearnerContentAssignment.objects.bulk_update(assignments, ["learner_email", "learner_key"])
    LearnerContentAssignment.objects.filter(pk__in=[one.pk for one in assignments]).update(
        decline_reason="", forgotten_at=now, modified=now, **more
    )


def _unlink(links: QuerySet[LearnerLink]) -> int:
    """Delete those of the links whose customer has nothing else assigned to the address; return how many."""
    locked = list(for_update(links).order_by("pk"))
    keys = {link.learner_key for link in locked}
    assigned = LearnerContentAssignment.objects.filter(learner_key__in=keys).order_by()
    needed = set(assigned.values_list("budget__customer", "learner_key").distinct())
    gone = [link.pk for link in locked if (link.customer_id, link.learner_key) not in needed]
    LearnerLink.objects.filter(pk__in=gone).delete()
    return len(gone)
