"""Failed work that can be repaired: finding it, retrying it, and skipping it.

A failure can be repaired while it is current, and fits its assignment's state. It is current while it is
unresolved (neither retried nor skipped), and the latest action of its type in the assignment's current cycle.
So an assignment has at most one of each type.
"""

import enum
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from functools import partial, reduce
from operator import or_
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db import transaction
from django.db.models import (
    Case,
    Count,
    Exists,
    F,
    IntegerField,
    Max,
    OuterRef,
    Q,
    QuerySet,
    Value,
    When,
)

from bursary.access.models import User
from bursary.assignments import actions, content_display, named_assignments
from bursary.assignments.choices import APPLIES_IN, LINK_AND_NOTIFY, UNFINISHED, ActionType, State, Status
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.assignments.named_assignments import NamedResult
from bursary.assignments.open_assignments import can_be_answered
from bursary.assignments.outcomes import SKIPPED_ON_REQUEST
from bursary.budgets import ledger
from bursary.budgets.models import Budget
from bursary.lib import moments
from bursary.lib.batches import chunks
from bursary.lib.locks import for_update
from bursary.lib.prepared import Parameter
from bursary.lib.retries import repeated_after_deadlocks

DAYS_APART = 30
"""Failures of the last days, so many, are counted by day; older ones together."""
MAX_COUNTS = 1000
LONGEST_REASON = 1000  # characters, of skipping
ROWS_PER_STATEMENT = 1000

_NONE = Q(pk__in=())
_UNTIL_A_DATE = (ActionType.REMINDED, ActionType.NUDGED)
"""Mails that make no sense after some date: see `too_late`."""


class RepairRefusal(enum.StrEnum):
    NOTHING_FAILED = "nothing_failed"
    """Nothing of it failed that can be repaired."""
    TOO_LATE = "too_late_to_repeat"
    """It would be skipped: the content has started, or the deadline has passed."""
    ONLY_BY_LEARNER = "only_the_learner_accepts"
    """A redemption failed, which the learner starts again."""


def to_repair() -> QuerySet[LearnerContentAssignmentAction]:
    """Return the failed work of all assignments that can be retried or skipped."""
    applies = reduce(
        or_, (Q(action_type=kind, assignment__state__in=states) for kind, states in APPLIES_IN.items())
    )
    later = LearnerContentAssignmentAction.objects.filter(
        assignment=OuterRef("assignment"),
        cycle=OuterRef("cycle"),
        action_type=OuterRef("action_type"),
        created__gt=OuterRef("created"),
    )
    unresolved = LearnerContentAssignmentAction.objects.all().unresolved_failures()
    current = unresolved.filter(~Exists(later), cycle=F("assignment__cycle"))
    return current.filter(applies, assignment__forgotten_at=None)


def with_failures(error_codes: Sequence[str] = ()) -> Exists:
    """Return the condition that an assignment has failed work, of these error codes (all, when empty)."""
    failed = to_repair().filter(assignment=OuterRef("pk"))
    return Exists(failed.filter(error_code__in=error_codes) if error_codes else failed)


@dataclass(frozen=True)
class FailureCount:
    """Failed work of one budget, error code, type and day."""

    budget: Budget
    error_code: str
    action_type: str
    error_reason: str
    day: date | None
    """In the time zone asked for; None for what is older than `DAYS_APART`."""
    count: int
    latest: datetime


def counts(budgets: Collection[Budget], *, zone: ZoneInfo, now: datetime) -> list[FailureCount]:
    """Count the failed work of these budgets by budget, error code, type and day: the newest `MAX_COUNTS`.

    One query, aggregated by the database.
    """
    today = now.astimezone(zone).date()
    days = [today - timedelta(days=ago) for ago in range(DAYS_APART)]
    starts = [moments.parse(day.isoformat(), zone=zone, end_of_day=False) for day in days]
    ago = Case(
        *(When(completed_at__gte=start, then=Value(index)) for index, start in enumerate(starts)),
        default=Value(None),
        output_field=IntegerField(),
    )
    by_pk = {budget.pk: budget for budget in budgets}
    found = (
        to_repair()
        .filter(assignment__budget__in=by_pk)
        .order_by()
        .values_list("assignment__budget", "error_code", "action_type", "error_reason", ago)
        .annotate(count=Count("pk"), latest=Max("completed_at"))
        .order_by("-latest", "error_code", "action_type")
    )
    return [
        FailureCount(by_pk[budget], code, kind, reason, None if index is None else days[index], count, latest)
        for budget, code, kind, reason, index, count, latest in found[:MAX_COUNTS]
    ]


def too_late(now: datetime | Parameter) -> Q:
    """Return the condition that a retry of failed work would be skipped: its date has passed.

    It is a reminder after the deadline, or a nudge without a start ahead that learners read.
    """
    started = ~content_display.starts_ahead(now, prefix="assignment__")
    past = Q(assignment__state=State.ALLOCATED, assignment__expires_at__lte=now)
    return Q(Q(action_type=ActionType.NUDGED), started) | Q(past, action_type__in=_UNTIL_A_DATE)


def expected_refusals(
    rows: QuerySet[LearnerContentAssignment], *, late: Q | None = None, which: Q | None = None
) -> dict[str, int]:
    """Return the number of assignments without work to repair, by RepairRefusal. Two queries.

    Only `which` actions are to be repaired. Failed work that is `late` cannot be.
    """
    not_redemptions = ~Q(action_type=ActionType.REDEEMED)
    in_time = not_redemptions & ~late if late else not_redemptions
    failed = to_repair().filter(which or Q(), assignment__in=rows.order_by().values("pk")).order_by()
    found = failed.aggregate(
        any=Count("assignment", distinct=True),
        not_redemptions=Count("assignment", distinct=True, filter=not_redemptions),
        in_time=Count("assignment", distinct=True, filter=in_time),
    )
    counted: dict[str, int] = {
        RepairRefusal.TOO_LATE: found["not_redemptions"] - found["in_time"],
        RepairRefusal.ONLY_BY_LEARNER: found["any"] - found["not_redemptions"],
        RepairRefusal.NOTHING_FAILED: rows.order_by().count() - found["any"],
    }
    return {why: count for why, count in counted.items() if count}


@dataclass
class RepairResult(NamedResult):
    """The assignments of which failed work was repaired, and the others with a RepairRefusal."""

    repaired: list[UUID] = field(default_factory=list)


def retry(
    budget: Budget,
    *,
    uuids: Sequence[UUID],
    now: datetime,
    which: Q | None = None,
    actor: User | None = None,
    turn: int = 0,
) -> RepairResult:
    """Retry the failed work of the budget's assignments with these uuids: of it, `which` actions.

    A redemption is refused: only the learner can repeat it. So is a mail that would be skipped when it is
    sent. `turn` is that of `actions.request`.
    """

    def again(before: int, failed: list[LearnerContentAssignmentAction]) -> None:
        actions.retry_all(failed, now=now, actor=actor, turn=turn + before)

    return _repair(budget, uuids, again, which or Q(), too_late(now))


def skip(
    budget: Budget,
    *,
    uuids: Sequence[UUID],
    reason: str,
    now: datetime,
    which: Q | None = None,
    actor: User | None = None,
) -> RepairResult:
    """Skip the failed work of the budget's assignments with these uuids; record the reason.

    It is no longer work to repair. An assignment of which no mail was sent keeps the learner state
    `failed` until the mail is requested again.
    """

    def skip_all(_before: int, failed: list[LearnerContentAssignmentAction]) -> None:
        actions.add_outcome(failed, replace(SKIPPED_ON_REQUEST, detail=reason), now=now, actor=actor)

    return _repair(budget, uuids, skip_all, which or Q())


def _repair(
    budget: Budget,
    uuids: Sequence[UUID],
    repair: Callable[[int, list[LearnerContentAssignmentAction]], None],
    which: Q,
    late: Q = _NONE,
) -> RepairResult:
    """Repair the failed work of the named assignments in batches, each in a transaction of its own.

    The first argument of `repair` is the number of assignments repaired in earlier batches.
    """
    outcome = RepairResult()
    for batch in chunks(dict.fromkeys(uuids), ROWS_PER_STATEMENT):
        before = len(outcome.repaired)
        outcome.add(_repair_batch(budget, batch, partial(repair, before), which, late))
    return outcome


@repeated_after_deadlocks
def _repair_batch(
    budget: Budget,
    uuids: Sequence[UUID],
    repair: Callable[[list[LearnerContentAssignmentAction]], None],
    which: Q,
    late: Q,
) -> RepairResult:
    outcome = RepairResult()
    with transaction.atomic():
        found = named_assignments.lock(ledger.lock(budget.pk), uuids)
        of_pk = {one.pk: one for one in found.values()}
        failed = _locked(to_repair().filter(which, assignment__in=of_pk), of_pk)
        not_redemptions = [one for one in failed if one.action_type != ActionType.REDEEMED]
        mails = [one.pk for one in not_redemptions if one.action_type in _UNTIL_A_DATE]
        late_mails = LearnerContentAssignmentAction.objects.filter(late, pk__in=mails)
        too_late_now = set(late_mails.values_list("pk", flat=True))
        repairable = [one for one in not_redemptions if one.pk not in too_late_now]
        repair(repairable)
        repaired = {one.assignment_id for one in repairable}
        refusals: dict[int, str] = {one.assignment_id: RepairRefusal.ONLY_BY_LEARNER for one in failed}
        refusals |= {one.assignment_id: RepairRefusal.TOO_LATE for one in not_redemptions}
        for one in outcome.known(uuids, found):
            if one.pk in repaired:
                outcome.repaired.append(one.uuid)
            else:
                outcome.refused[one.uuid] = refusals.get(one.pk, RepairRefusal.NOTHING_FAILED)
    return outcome


def _locked(
    failed: QuerySet[LearnerContentAssignmentAction], assignments: dict[int, LearnerContentAssignment]
) -> list[LearnerContentAssignmentAction]:
    """Lock and return actions of locked assignments, without the stored mails."""
    pks = sorted(failed.order_by().values_list("pk", flat=True))
    rows = LearnerContentAssignmentAction.objects.filter(pk__in=pks).defer(
        "payload", "traceback", "attempt_log"
    )
    locked = list(for_update(rows).order_by("pk"))
    for one in locked:
        one.assignment = assignments[one.assignment_id]
    return locked


def not_notified(assignments: Sequence[LearnerContentAssignment], *, now: datetime) -> set[int]:
    """Return the pks of open assignments of which the mail failed, or was skipped on request. One query.

    Of others, no mail is sent again: one is done or under way, or the learner's account has ended.
    """
    waiting = [one.pk for one in assignments if can_be_answered(one, now=now)]
    if not waiting:
        return set()
    mails = LearnerContentAssignmentAction.objects.filter(
        assignment__in=waiting, action_type=ActionType.NOTIFIED, cycle=F("assignment__cycle")
    )
    found = list(mails.values_list("assignment", "status", "error_code"))
    arrived = {pk for pk, status, _code in found if status in (*UNFINISHED, Status.DONE)}
    return {
        pk
        for pk, status, code in found
        if pk not in arrived and (status == Status.FAILED or code == SKIPPED_ON_REQUEST.error_code)
    }


def notify_again(
    assignments: Sequence[LearnerContentAssignment],
    *,
    now: datetime,
    actor: User | None = None,
    turn: int = 0,
) -> None:
    """Link and notify the learners of these locked assignments again: retry what failed of it.

    Where the mail was skipped on request, another one is requested. `turn` is that of `actions.request`.
    """
    found = {one.pk: one for one in assignments}
    failed = _locked(to_repair().filter(assignment__in=found, action_type__in=LINK_AND_NOTIFY), found)
    actions.retry_all(failed, now=now, actor=actor, turn=turn)
    retried = {one.assignment_id for one in failed if one.action_type == ActionType.NOTIFIED}
    others = [one for pk, one in found.items() if pk not in retried]
    asked_at = f"asked-{now:%Y-%m-%dT%H%M%S.%f}"
    actions.request(
        others, [ActionType.NOTIFIED], now=now, actor=actor, dedup_key=asked_at, turn=turn + len(retried)
    )
