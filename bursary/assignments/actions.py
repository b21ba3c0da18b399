"""The timeline's verbs, and the only writer of actions (record 0013).

Four verbs write the timeline: `record` a fact, `request` work, `finish` it, `retry` it. `claim` and
`supersede` are how work is taken up and taken back. A row is one intent; it is never erased, but `privacy`
takes what names a forgotten learner out of it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import QuerySet
from django.dispatch import Signal

from bursary.access.models import User
from bursary.assignments import derived
from bursary.assignments.choices import FACTS, WORK, ActionType, ErrorReason, State, Status
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.budgets.models import LedgerEntry
from bursary.lib.locks import for_update

requested = Signal()
"""Sent after commit with `pks`, the actions that were requested.

A hint: who misses it finds them by `due_at`.
"""

ROWS_PER_STATEMENT = 2000
ATTEMPTS_LOGGED = 10
PAID_WAIT = timedelta(minutes=30)  # between attempts to accept what is paid, once any other work is given up
TRACEBACK_LENGTH = 20_000  # characters

WANTED_IN: Mapping[ActionType, frozenset[State]] = {
    ActionType.LEARNER_LINKED: frozenset({State.ALLOCATED, State.ACCEPTED}),
    ActionType.NOTIFIED: frozenset({State.ALLOCATED}),
    ActionType.REMINDED: frozenset({State.ALLOCATED}),
    ActionType.NUDGED: frozenset({State.ALLOCATED, State.ACCEPTED}),
    # Accepted, too: a worker that died between the move and the last stroke is followed by another.
    ActionType.REDEEMED: frozenset({State.ALLOCATED, State.ACCEPTED}),
    ActionType.CANCELLATION_NOTIFIED: frozenset({State.CANCELLED}),
    ActionType.EXPIRATION_NOTIFIED: frozenset({State.EXPIRED}),
}
"""In which states work is still wanted: checked when it is claimed and when it is retried."""


@dataclass(frozen=True)
class Done:
    """It was done. `payload` is what was sent, `provider_ref` the provider's name for it."""

    provider_ref: str = ""
    payload: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """Why an attempt did not succeed: the clients' word, the exact cause, a sentence, the stack trace."""

    reason: ErrorReason
    error_code: str
    detail: str
    traceback: str


@dataclass(frozen=True)
class Postponed:
    """It did not succeed this time; try again at `until`."""

    failure: Failure
    until: datetime


@dataclass(frozen=True)
class Failed:
    """It did not succeed and is given up."""

    failure: Failure


@dataclass(frozen=True)
class Skipped:
    """It was not done on purpose."""

    error_code: str
    detail: str


AttemptResult = Done | Postponed | Failed | Skipped


class RetryRefused(Exception):
    """The action cannot be retried; the message says why. Nothing was changed."""

    reason = "retry_refused"


def record(
    assignments: Sequence[LearnerContentAssignment],
    fact: ActionType,
    *,
    now: datetime,
    actor: User | None = None,
    dedup_key: str = "",
    detail: str = "",
) -> None:
    """Record that `fact` happened to each assignment, complete at once.

    Raises IntegrityError if it is already recorded for that cycle and occasion.
    """
    if fact not in FACTS:
        raise ValueError(f"{fact} is work: request it.")
    _insert([_fact(assignment, fact, now, actor, dedup_key, detail) for assignment in assignments])


def request(
    assignments: Sequence[LearnerContentAssignment],
    work: Iterable[ActionType],
    *,
    now: datetime,
    actor: User | None = None,
    dedup_key: str = "",
) -> None:
    """Request each kind of work for each assignment, due at once, and hint at it after commit."""
    kinds = tuple(work)
    if not WORK.issuperset(kinds):
        raise ValueError(f"{sorted(set(kinds) - WORK)} are facts: record them.")
    _insert([_work(assignment, kind, now, actor, dedup_key) for assignment in assignments for kind in kinds])


def record_and_request(
    assignments: Sequence[LearnerContentAssignment],
    fact: ActionType,
    *,
    work: Iterable[ActionType],
    now: datetime,
    actor: User | None = None,
    detail: str = "",
) -> None:
    """Record a fact and request the work that follows from it, in one insert."""
    kinds = tuple(work)
    _insert(
        [
            row
            for assignment in assignments
            for row in (
                _fact(assignment, fact, now, actor, "", detail),
                *(_work(assignment, kind, now, actor, "") for kind in kinds),
            )
        ]
    )


def supersede(
    assignments: Sequence[int], work: Iterable[ActionType], *, now: datetime, error_code: str
) -> None:
    """Take back pending work of these assignments (pks). What is running finishes truthfully."""
    LearnerContentAssignmentAction.objects.filter(
        assignment__in=assignments, action_type__in=list(work), status=Status.PENDING
    ).update(status=Status.SUPERSEDED, due_at=None, error_code=error_code, modified=now)


def redirect(assignment: LearnerContentAssignment, *, now: datetime) -> None:
    """Send pending work to the assignment's present address."""
    LearnerContentAssignmentAction.objects.filter(assignment=assignment, status=Status.PENDING).update(
        recipient=assignment.learner_email, modified=now
    )


def claim(
    *, now: datetime, lease: timedelta, limit: int, pks: Sequence[int] | None = None
) -> list[LearnerContentAssignmentAction]:
    """Take up at most `limit` due actions (of `pks`, if given) for `lease`, oldest first.

    Two claimers never get the same row: rows locked by another are passed over, and each claim raises the
    row's fence. What is no longer wanted, by its cycle or its assignment's state, is superseded instead.
    """
    due = LearnerContentAssignmentAction.objects.due(now)
    if pks is not None:
        due = due.filter(pk__in=pks)
    with transaction.atomic():
        # The order comes from the index (due_at, id): with a sort MySQL would lock every row it scanned.
        locked = list(for_update(due, skip_locked=True).values_list("pk", flat=True)[:limit])
        if not locked:
            return []
        rows = list(_with_context().filter(pk__in=locked).order_by("due_at", "id"))
        wanted = [row for row in rows if still_wanted(row)]
        unwanted = [row.pk for row in rows if not still_wanted(row)]
        _supersede_rows(unwanted, now=now)
        for row in wanted:
            row.status, row.fence, row.attempts = Status.RUNNING, row.fence + 1, row.attempts + 1
            row.due_at, row.modified = now + lease, now
        LearnerContentAssignmentAction.objects.bulk_update(
            wanted, ["status", "fence", "attempts", "due_at", "modified"]
        )
    return wanted


def any_due(*, now: datetime, pks: Sequence[int] | None = None) -> bool:
    """Tell whether anything (of `pks`, if given) is due."""
    due = LearnerContentAssignmentAction.objects.due(now)
    return (due if pks is None else due.filter(pk__in=pks)).exists()


def still_wanted(action: LearnerContentAssignmentAction) -> bool:
    """Tell whether the work fits the assignment's current cycle and state, and its learner is known."""
    assignment = action.assignment
    if assignment.forgotten_at is not None:
        return False
    kind = ActionType(action.action_type)
    return action.cycle == assignment.cycle and State(assignment.state) in WANTED_IN.get(kind, frozenset())


def finish(action: LearnerContentAssignmentAction, outcome: AttemptResult, *, now: datetime) -> bool:
    """Write how a claimed action went. Return False, having written nothing, if the claim was lost.

    Only the claim's own fence may write: after its lease another worker may have finished the row.
    """
    with transaction.atomic():
        # Lock order: assignment before action.
        assignment = for_update(LearnerContentAssignment.objects.all()).get(pk=action.assignment_id)
        if isinstance(outcome, Failed) and is_paid(action):
            outcome = Postponed(outcome.failure, until=now + PAID_WAIT)
        columns = _outcome_columns(action, outcome, now)
        redeems = action.action_type == ActionType.REDEEMED  # and goes to no address
        unsuccessful = isinstance(outcome, Postponed | Failed)
        if unsuccessful and not redeems and action.recipient != assignment.learner_email:
            # The address was put right meanwhile: the new one is asked by an action of its own.
            columns = {"status": Status.SUPERSEDED, "due_at": None, "error_code": ActionType.EMAIL_CORRECTED}
        written = LearnerContentAssignmentAction.objects.filter(
            pk=action.pk, fence=action.fence, status=Status.RUNNING
        ).update(modified=now, **columns)
        if written and redeems and isinstance(outcome, Failed):
            # A redemption that is given up lets the assignment go: it is open as before.
            LearnerContentAssignment.objects.filter(pk=action.assignment_id).update(redeeming_since=None)
        if written and not isinstance(outcome, Postponed):
            derived.follow_progress([action.assignment_id])
    return bool(written)


def is_paid(action: LearnerContentAssignmentAction) -> bool:
    """Return whether the action is a redemption whose money is spent.

    It is never given up: the assignment would be open again, and its reserved money freed a second time.
    """
    if action.action_type != ActionType.REDEEMED:
        return False
    return LedgerEntry.objects.filter(idempotency_key=action.assignment.spending_key).exists()


def retry(
    action: LearnerContentAssignmentAction, *, now: datetime, actor: User | None = None
) -> LearnerContentAssignmentAction:
    """Request failed work again as a new row that points to the old one, to the assignment's present address.

    Raises RetryRefused unless it failed, was not retried yet, and still fits the assignment.
    """
    with transaction.atomic():
        assignment = for_update(LearnerContentAssignment.objects.all()).get(pk=action.assignment_id)
        failed = for_update(LearnerContentAssignmentAction.objects.all()).get(pk=action.pk)
        failed.assignment = assignment
        if failed.status != Status.FAILED:
            raise RetryRefused("Only what failed can be retried.")
        if LearnerContentAssignmentAction.objects.filter(retry_of=failed).exists():
            raise RetryRefused("It was retried already.")
        if not still_wanted(failed):
            raise RetryRefused("The assignment has moved on; this is no longer wanted.")
        kind = ActionType(failed.action_type)
        again = _work(assignment, kind, now, actor, _next_occasion(failed.dedup_key))
        again.retry_of = failed
        _insert([again])
        derived.follow_progress([assignment.pk])
    return LearnerContentAssignmentAction.objects.get(uuid=again.uuid)


def _fact(
    assignment: LearnerContentAssignment,
    fact: ActionType,
    now: datetime,
    actor: User | None,
    dedup_key: str,
    detail: str,
) -> LearnerContentAssignmentAction:
    return LearnerContentAssignmentAction(
        assignment=assignment,
        action_type=fact,
        cycle=assignment.cycle,
        dedup_key=dedup_key,
        status=Status.DONE,
        created=now,
        modified=now,
        completed_at=now,
        actor=actor,
        detail=detail,
    )


def _work(
    assignment: LearnerContentAssignment, kind: ActionType, now: datetime, actor: User | None, dedup_key: str
) -> LearnerContentAssignmentAction:
    return LearnerContentAssignmentAction(
        assignment=assignment,
        action_type=kind,
        cycle=assignment.cycle,
        dedup_key=dedup_key,
        status=Status.PENDING,
        created=now,
        modified=now,
        due_at=now,
        actor=actor,
        recipient=assignment.learner_email,
    )


def _insert(rows: Sequence[LearnerContentAssignmentAction]) -> None:
    inserted = LearnerContentAssignmentAction.objects.bulk_create(rows, batch_size=ROWS_PER_STATEMENT)
    # MySQL does not tell the keys of many inserted rows; the sweep finds them all the same.
    pks = [row.pk for row in inserted if row.pk is not None and row.status == Status.PENDING]
    if pks:
        transaction.on_commit(lambda: _hint(pks), robust=True)


def _hint(pks: Sequence[int]) -> None:
    requested.send_robust(sender=LearnerContentAssignmentAction, pks=pks)


def _with_context() -> QuerySet[LearnerContentAssignmentAction]:
    return LearnerContentAssignmentAction.objects.select_related(
        "assignment__budget__customer", "assignment__content"
    ).defer("assignment__content__payload")


def _supersede_rows(pks: Sequence[int], *, now: datetime) -> None:
    if pks:
        LearnerContentAssignmentAction.objects.filter(pk__in=pks).update(
            status=Status.SUPERSEDED, due_at=None, error_code="no_longer_wanted", modified=now
        )


def _outcome_columns(
    action: LearnerContentAssignmentAction, outcome: AttemptResult, now: datetime
) -> dict[str, object]:
    match outcome:
        case Done():
            return {
                "status": Status.DONE,
                "due_at": None,
                "completed_at": now,
                "provider_ref": outcome.provider_ref,
                "payload": dict(outcome.payload),
            }
        case Skipped():
            return {
                "status": Status.SKIPPED,
                "due_at": None,
                "completed_at": now,
                "error_code": outcome.error_code,
                "detail": outcome.detail,
            }
        case Postponed():
            logged = _logged(action, outcome.failure, now)
            return {"status": Status.PENDING, "due_at": outcome.until, "attempt_log": logged}
        case Failed(failure):
            return {
                "status": Status.FAILED,
                "due_at": None,
                "completed_at": now,
                "attempt_log": _logged(action, failure, now),
                "error_reason": failure.reason,
                "error_code": failure.error_code,
                "detail": _storable(failure.detail),
                "traceback": _storable(failure.traceback),
            }


def _logged(
    action: LearnerContentAssignmentAction, failure: Failure, now: datetime
) -> list[dict[str, object]]:
    entry = {
        "at": now.isoformat(),
        "attempt": action.attempts,
        "cause": failure.error_code,
        "detail": _storable(failure.detail),
        "traceback": _storable(failure.traceback),
    }
    return [*action.attempt_log, entry][-ATTEMPTS_LOGGED:]


def _storable(text: str) -> str:
    """Return the text's end as every database takes it: what servers answer may hold a NUL."""
    return text[-TRACEBACK_LENGTH:].replace("\0", "\N{REPLACEMENT CHARACTER}")


def _next_occasion(dedup_key: str) -> str:
    """Return `retry-1` after the first try, `retry-2` after that, keeping what told the occasion apart."""
    match = re.fullmatch(r"(.*?)(?:retry-(\d+))?", dedup_key)
    before, count = match.groups() if match else (dedup_key, None)
    return f"{before}retry-{int(count or 0) + 1}"
