"""The timeline's verbs, and the only writer of actions (decision 0002).

Four verbs write the timeline: `record` a fact, `request` work, `finish` it, `retry` it. Work is claimed, and
superseded when the assignment moves on. A failure is resolved by its follow-up, a later row that points to it
(`retry_of`): a retry, or a skip (`add_outcome`). Within a cycle, the dedup key distinguishes repetitions of
an action, such as `after-7-days`: no two rows have the same. Rows are never deleted; `erasure` clears the
columns that name a forgotten learner.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, QuerySet, Value, prefetch_related_objects
from django.db.models.functions import Concat, Trim
from django.dispatch import Signal
from django.utils.translation import gettext

from bursary.access import known_learners
from bursary.access.models import User
from bursary.assignments import derived, outcomes
from bursary.assignments.choices import APPLIES_IN, FACTS, WORK, ActionType, State, Status
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.assignments.outcomes import PAID_RETRY_WAIT, AttemptResult, Failed, NotTried, Postponed, Skipped
from bursary.budgets.models import Customer
from bursary.lib import inserts, leases
from bursary.lib.locks import for_update
from bursary.lib.prepared import Parameter, PreparedSelect
from bursary.lib.retries import repeated_after_deadlocks

requested = Signal()
"""Sent after commit with `pks`, the actions that were requested.

It only wakes the runner, which finds due actions by `due_at` even if a signal is lost.
"""

ROWS_PER_STATEMENT = 2000


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
    detail: str | Mapping[int, str] = "",
    cycle: int | None = None,
) -> None:
    """Record that `fact` happened to each assignment: an action that is complete at once.

    `detail` may map pks to different texts. The action belongs to the present cycle, unless `cycle` names an
    earlier one. Raises IntegrityError if the fact is recorded already for that cycle and `dedup_key`.
    """
    if fact not in FACTS:
        raise ValueError(f"{fact} is work: request it.")
    details = dict.fromkeys((one.pk for one in assignments), detail) if isinstance(detail, str) else detail
    _insert(
        [
            _new(one, fact, now=now, actor=actor, dedup_key=dedup_key, detail=details[one.pk], cycle=cycle)
            for one in assignments
        ]
    )


def request(
    assignments: Sequence[LearnerContentAssignment],
    work: Iterable[ActionType],
    *,
    now: datetime,
    actor: User | None = None,
    dedup_key: str = "",
    content_run_key: str = "",
    turn: int = 0,
) -> None:
    """Request each kind of work for each assignment; send `requested` after commit.

    The work of one assignment is due at once. That of many takes turns with what is requested later
    (`leases.at_turn`): the first assignment has this `turn`, which a request in batches goes on counting.
    Learners are linked at once. `content_run_key` is the run that a redemption is for, where that is not the
    assigned content.
    """
    kinds = tuple(work)
    if not WORK.issuperset(kinds):
        raise ValueError(f"{sorted(set(kinds) - WORK)} are facts: record them.")
    more: dict[str, Any] = {"dedup_key": dedup_key, "content_run_key": content_run_key}
    _insert(_of_each(assignments, kinds, now=now, actor=actor, turn=turn, **more))


def record_and_request(
    assignments: Sequence[LearnerContentAssignment],
    fact: ActionType,
    *,
    work: Iterable[ActionType],
    now: datetime,
    actor: User | None = None,
    detail: str = "",
    turn: int = 0,
) -> None:
    """Record a fact and request the work that follows from it, as `request` does, in one insert."""
    _insert(_of_each(assignments, (fact, *work), now=now, actor=actor, turn=turn, detail=detail))


def supersede(
    assignments: Sequence[int], work: Iterable[ActionType], *, now: datetime, error_code: str
) -> None:
    """Supersede pending work of these assignments (pks). Running work is not superseded."""
    pending = LearnerContentAssignmentAction.objects.filter(
        assignment__in=assignments, action_type__in=list(work), status=Status.PENDING
    )
    supersede_rows(pending, now=now, error_code=error_code)


def supersede_rows(rows: QuerySet[LearnerContentAssignmentAction], *, now: datetime, error_code: str) -> None:
    """Supersede these actions, locked by the caller. A worker with a claim on one can no longer settle it."""
    rows.update(status=Status.SUPERSEDED, error_code=error_code, modified=now, **leases.finished_columns())


def add_to_detail(assignment: LearnerContentAssignment, sentence: str, *, now: datetime) -> None:
    """Append a sentence to the detail of the allocation, about an event that has no action type.

    The sentence names no person, and says when it happened.
    """
    this_cycle = LearnerContentAssignmentAction.objects.filter(assignment=assignment, cycle=assignment.cycle)
    detail = Trim(Concat("detail", Value(f" {sentence}")))
    this_cycle.filter(action_type=ActionType.ALLOCATED).update(detail=detail, modified=now)


def readdress(assignment: LearnerContentAssignment, *, now: datetime) -> None:
    """Give pending work the assignment's present address."""
    LearnerContentAssignmentAction.objects.filter(assignment=assignment, status=Status.PENDING).update(
        recipient=assignment.learner_email, modified=now
    )


def claim(
    *, now: datetime, lease: timedelta, limit: int, pks: leases.Pks = None, start_attempts: bool = True
) -> list[LearnerContentAssignmentAction]:
    """Claim at most `limit` due actions (of `pks`, if given) for `lease`; return them with their assignments.

    Actions that no longer fit their assignment's cycle or state are superseded instead. With
    `start_attempts`, each is running, and its attempt is counted; without, `begin` does so later for each.
    """
    columns = _attempt_started(now) if start_attempts else {}
    claimed = leases.claim(_with_assignments, now=now, lease=lease, limit=limit, pks=pks, **columns)
    obsolete = [action for action in claimed if not still_applies(action)]
    superseded: dict[str, Any] = {"finished_wins": True, "status": Status.SUPERSEDED}
    leases.settle(obsolete, due_at=None, now=now, error_code="no_longer_wanted", **superseded)
    return [action for action in claimed if action not in obsolete]


def _with_assignments() -> QuerySet[LearnerContentAssignmentAction]:
    rows = LearnerContentAssignmentAction.objects.select_related("assignment__budget__customer")
    return rows.select_related("assignment__content").defer("assignment__content__payload")


def begin(action: LearnerContentAssignmentAction, *, now: datetime, lease: timedelta) -> bool:
    """Begin an attempt at a claimed action: count it, and renew the lease. One statement.

    Return False, with nothing written, if the claim was lost, the action was superseded, or its address was
    corrected.
    """
    same_address = {"recipient": action.recipient}
    started = _attempt_started(now) | {"attempts": action.attempts + 1}  # counted under this claim alone
    if not leases.renew(action, now=now, lease=lease, condition=same_address, **started):
        return False
    action.status, action.attempts, action.modified = Status.RUNNING, action.attempts + 1, now
    return True


def _attempt_started(now: datetime) -> dict[str, Any]:
    return {"status": Status.RUNNING, "attempts": F("attempts") + 1, "modified": now}


def still_applies(action: LearnerContentAssignmentAction) -> bool:
    """Return whether the work fits its assignment's cycle and state, and the learner is not forgotten."""
    assignment = action.assignment
    kind = ActionType(action.action_type)
    return (
        assignment.forgotten_at is None
        and action.cycle == assignment.cycle
        and State(assignment.state) in APPLIES_IN[kind]
    )


@repeated_after_deadlocks
def finish(action: LearnerContentAssignmentAction, outcome: AttemptResult, *, now: datetime) -> bool:
    """Write the outcome of a claimed action. Return False, with nothing written, if the claim was lost."""
    with transaction.atomic():
        # Lock order: assignment before action.
        [present_address] = _locked_address.read(pk=action.assignment_id)
        if isinstance(outcome, Failed) and outcomes.is_paid(action):
            outcome = Postponed(outcome.failure, until=now + PAID_RETRY_WAIT)
        columns = outcomes.columns_after(action, outcome, now=now)
        due_at = outcome.until if isinstance(outcome, Postponed | NotTried) else None
        is_redemption = action.action_type == ActionType.REDEEMED  # and goes to no address
        unsuccessful = isinstance(outcome, Postponed | NotTried | Failed)
        if unsuccessful and not is_redemption and action.recipient != present_address:
            # The address was corrected meanwhile, and another action mails the new one.
            due_at = None
            columns = {"status": Status.SUPERSEDED, "error_code": ActionType.EMAIL_CORRECTED}
        # If it is finished, a `due_at` that was set during its lease is dropped.
        written = leases.settle([action], due_at=due_at, now=now, finished_wins=True, modified=now, **columns)
        if written and is_redemption and isinstance(outcome, Failed):
            # A redemption that finally failed spent nothing: the assignment is open, its money reserved.
            LearnerContentAssignment.objects.filter(pk=action.assignment_id).update(redeeming_since=None)
        if written and not isinstance(outcome, Postponed | NotTried):
            derived.recompute_progress([action.assignment_id])
    return bool(written)


@PreparedSelect
def _locked_address() -> QuerySet[LearnerContentAssignment, str]:
    rows = LearnerContentAssignment.objects.filter(pk=Parameter("pk", LearnerContentAssignment._meta.pk))
    return for_update(rows).values_list("learner_email", flat=True)


@repeated_after_deadlocks
def retry(
    action: LearnerContentAssignmentAction,
    *,
    now: datetime,
    actor: User | None = None,
    content_run_key: str | None = None,
    turn: int = 0,
) -> LearnerContentAssignmentAction:
    """Request failed work again: a new action that points to the old one, for the present address.

    A redemption is for the same run as before, unless `content_run_key` names another, or none (empty).
    Raises RetryRefused unless the action failed, is not resolved, and still fits its assignment.
    """
    with transaction.atomic():
        assignment = for_update(LearnerContentAssignment.objects.all()).get(pk=action.assignment_id)
        failed = for_update(LearnerContentAssignmentAction.objects.all()).get(pk=action.pk)
        failed.assignment = assignment
        if failed.status != Status.FAILED:
            raise RetryRefused(gettext("Only what failed can be retried."))
        if later := LearnerContentAssignmentAction.objects.filter(retry_of=failed).first():
            skipped = later.error_code == outcomes.SKIPPED_ON_REQUEST.error_code
            raise RetryRefused(gettext("It was skipped.") if skipped else gettext("It was retried already."))
        if not still_applies(failed):
            raise RetryRefused(gettext("The assignment has moved on; this does not apply any more."))
        again = _follow_up(failed, now=now, actor=actor, turn=turn)
        again.content_run_key = failed.content_run_key if content_run_key is None else content_run_key
        _insert([again])
        derived.recompute_progress([assignment.pk])
    return LearnerContentAssignmentAction.objects.get(uuid=again.uuid)


def retry_all(
    failed: Sequence[LearnerContentAssignmentAction],
    *,
    now: datetime,
    actor: User | None = None,
    turn: int = 0,
) -> None:
    """Request each failed action again, like `retry`, to its assignment's present address.

    The caller has locked them, with their assignments, and found that they can be retried. The first of them
    has the `turn`, as in `request`.
    """
    turns = {
        pk: turn + number for number, pk in enumerate(dict.fromkeys(one.assignment_id for one in failed))
    }
    _insert([_follow_up(one, now=now, actor=actor, turn=turns[one.assignment_id]) for one in failed])
    derived.recompute_progress(sorted({one.assignment_id for one in failed}))


def add_outcome(
    rows: Sequence[LearnerContentAssignmentAction],
    outcome: Skipped | Failed,
    *,
    now: datetime,
    actor: User | None = None,
) -> None:
    """Append a finished follow-up of each action to its timeline; the action itself stays as it is.

    Of failed work, it says that it was skipped; of a mail that was done, that it failed: it came back. The
    caller locks as for `retry_all`.
    """
    _insert([_follow_up(one, now=now, actor=actor, outcome=outcome) for one in rows])
    derived.recompute_progress(sorted({one.assignment_id for one in rows}))


def _follow_up(
    original: LearnerContentAssignmentAction,
    *,
    now: datetime,
    actor: User | None,
    turn: int = 0,
    outcome: Skipped | Failed | None = None,
) -> LearnerContentAssignmentAction:
    """Return a new, unsaved row of the same work that points to `original`; finished, if with an `outcome`.

    Its dedup key is that of `original` with `retry-1`, then `retry-2` and so on at the end.
    """
    before, _, count = original.dedup_key.partition("retry-")
    dedup_key = f"{before}retry-{int(count or 0) + 1}"
    kind = ActionType(original.action_type)
    # A concurrent request may have read the clock later and retried first. A retry is never older than that.
    now = max(now, original.created)
    final = outcomes.final_columns(outcome) if outcome else {}
    row = _new(original.assignment, kind, now=now, actor=actor, dedup_key=dedup_key, turn=turn, final=final)
    row.content_run_key, row.retry_of = original.content_run_key, original
    return row


def _of_each(
    assignments: Sequence[LearnerContentAssignment], kinds: Iterable[ActionType], *, turn: int, **more: Any
) -> list[LearnerContentAssignmentAction]:
    """Return an action of each kind for each assignment: copies of one model instance per kind."""
    templates = [_new(assignments[0], kind, turn=turn, **more) for kind in kinds] if assignments else []
    found = []
    for number, assignment in enumerate(assignments, start=turn):
        for one in templates:
            own: dict[str, Any] = {"assignment": assignment, "cycle": assignment.cycle}
            if one.action_type not in FACTS:
                own["recipient"] = assignment.learner_email
            if one.status == Status.PENDING:
                own |= leases.at_turn(number, now=one.created)
            found.append(inserts.unsaved_copy(one, **own))
    return found


def _new(
    assignment: LearnerContentAssignment,
    kind: ActionType,
    *,
    now: datetime,
    actor: User | None,
    dedup_key: str = "",
    detail: str = "",
    content_run_key: str = "",
    turn: int = 0,
    cycle: int | None = None,
    final: Mapping[str, object] | None = None,
) -> LearnerContentAssignmentAction:
    """Return a fact, complete at once, or work that is due at its turn, not yet stored.

    Work with `final` columns is finished, too, and so is a link: `_link` makes it.
    """
    state: dict[str, object]
    if kind in FACTS:
        state = {"status": Status.DONE, "completed_at": now, "detail": detail}
    elif final:
        state = {"completed_at": now, "recipient": assignment.learner_email, **final}
    elif kind == ActionType.LEARNER_LINKED:
        state = {"status": Status.DONE, "completed_at": now, "recipient": assignment.learner_email}
    else:
        state = {"status": Status.PENDING, "recipient": assignment.learner_email}
        state |= leases.at_turn(turn, now=now)
    return LearnerContentAssignmentAction(
        assignment=assignment,
        action_type=kind,
        cycle=cycle or assignment.cycle,
        dedup_key=dedup_key,
        content_run_key=content_run_key,
        created=now,
        modified=now,
        actor=actor,
        **state,
    )


def _insert(rows: Sequence[LearnerContentAssignmentAction]) -> None:
    _link(rows)
    inserts.insert_all(rows, size=ROWS_PER_STATEMENT)
    # MySQL returns no keys of many inserted rows; the runner finds them by `due_at`.
    pks = [row.pk for row in rows if row.pk is not None and row.status == Status.PENDING]
    if pks:
        transaction.on_commit(lambda: requested.send_robust(LearnerContentAssignmentAction, pks=pks))


def _link(rows: Sequence[LearnerContentAssignmentAction]) -> None:
    """Link the learners where actions, not stored yet, say that it is done; name the link on them.

    As many queries for many learners of a customer as for one (decision 0018).
    """
    linked = [
        one for one in rows if one.action_type == ActionType.LEARNER_LINKED and one.status == Status.DONE
    ]
    one_of = {one.assignment.budget_id: one.assignment for one in linked}
    prefetch_related_objects([*one_of.values()], "budget__customer")
    by_customer: dict[Customer, list[LearnerContentAssignmentAction]] = defaultdict(list)
    for one in linked:
        by_customer[one_of[one.assignment.budget_id].budget.customer].append(one)
    for customer, theirs in by_customer.items():
        addresses = {one.assignment.mailbox_or_learner_key: one.recipient for one in theirs}
        links = known_learners.link(customer, addresses, now=theirs[0].created)
        for one in theirs:
            one.provider_ref = known_learners.reference(links[one.assignment.mailbox_or_learner_key])
