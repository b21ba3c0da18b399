"""MOVES, the table of an assignment's transitions, and move(), the only writer of its state.

    ┌───────────── allocated (again) ─────────────┐
    ▼                                             │
ALLOCATED ── cancelled · declined ──► CANCELLED ──┤
    │ └────────── expired ──────────► EXPIRED ────┤
    └─ redeemed ─► ACCEPTED ─ reversed ► REVERSED ┘
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import F

from bursary.access.models import User
from bursary.assignments import actions, derived
from bursary.assignments.choices import ASKING_MAILS, END_MAILS, FACTS, LINK_AND_NOTIFY, ActionType, State
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets import ledger
from bursary.budgets.models import Budget

_ALL_OPEN_WORK = (ActionType.LEARNER_LINKED, *ASKING_MAILS, ActionType.NUDGED)


@dataclass(frozen=True)
class Move:
    """One transition of state, with its consequences."""

    sources: frozenset[State]
    target: State
    time_column: str
    """The column for the time of the move."""
    requests: tuple[ActionType, ...] = ()
    """Work that is requested in the same transaction."""
    supersedes: tuple[ActionType, ...] = ()
    """Pending work that the move makes unnecessary."""
    frees_money: bool = False
    """The reserved money is free again."""
    while_redeeming: bool = False
    """Allowed only while a redemption is in flight, when all other moves are refused."""


MOVES: Mapping[ActionType, Move] = {
    ActionType.ALLOCATED: Move(
        sources=frozenset({State.CANCELLED, State.EXPIRED, State.REVERSED}),
        target=State.ALLOCATED,
        time_column="allocated_at",
        requests=LINK_AND_NOTIFY,
        supersedes=END_MAILS,
    ),
    ActionType.REDEEMED: Move(
        sources=frozenset({State.ALLOCATED}),
        target=State.ACCEPTED,
        time_column="accepted_at",
        supersedes=ASKING_MAILS,
        while_redeeming=True,
    ),
    ActionType.CANCELLED: Move(
        sources=frozenset({State.ALLOCATED}),
        target=State.CANCELLED,
        time_column="cancelled_at",
        requests=(ActionType.CANCELLATION_NOTIFIED,),
        supersedes=_ALL_OPEN_WORK,
        frees_money=True,
    ),
    ActionType.DECLINED: Move(
        sources=frozenset({State.ALLOCATED}),
        target=State.CANCELLED,
        time_column="cancelled_at",
        supersedes=_ALL_OPEN_WORK,
        frees_money=True,
    ),
    ActionType.EXPIRED: Move(
        sources=frozenset({State.ALLOCATED}),
        target=State.EXPIRED,
        time_column="expired_at",
        requests=(ActionType.EXPIRATION_NOTIFIED,),
        supersedes=_ALL_OPEN_WORK,
        frees_money=True,
    ),
    ActionType.REVERSED: Move(
        sources=frozenset({State.ACCEPTED}),
        target=State.REVERSED,
        time_column="reversed_at",
        supersedes=(ActionType.NUDGED,),
    ),
}

_OF_A_CYCLE: Mapping[str, object] = {
    "accepted_at": None,
    "cancelled_at": None,
    "expired_at": None,
    "reversed_at": None,
    "transaction_uuid": None,
    "decline_reason": "",
    "extended_until": None,
    "forgotten_at": None,
}
"""Columns that an allocation resets; the timeline keeps what they were."""


@dataclass
class MoveRefused(Exception):
    """The state of an assignment, or a redemption in flight, forbids the move. Nothing was changed."""

    action_type: ActionType
    refused: list[LearnerContentAssignment]
    reason = "move_refused"

    def __str__(self) -> str:
        found = ", ".join(f"{assignment.uuid} is {blocking_state(assignment)}" for assignment in self.refused)
        return f"{self.action_type.label} is not possible: {found}."


def blocking_state(assignment: LearnerContentAssignment) -> str:
    """Return what forbids a move: `being redeemed` while a redemption is in flight, else the state."""
    return "being redeemed" if assignment.redeeming_since else assignment.state


def allows(assignment: LearnerContentAssignment, action_type: ActionType) -> bool:
    """Return whether the assignment, as read, may move by an action of this type."""
    rule = MOVES[action_type]
    redeeming = assignment.redeeming_since is not None
    return assignment.state in rule.sources and redeeming == rule.while_redeeming


def move(
    budget: Budget,
    assignments: Sequence[LearnerContentAssignment],
    action_type: ActionType,
    *,
    now: datetime,
    actor: User | None = None,
    changes: Mapping[str, object] | None = None,
    detail: str = "",
    turn: int = 0,
) -> None:
    """Move assignments of one budget, all or none: write state, money, a fact and requested work by MOVES.

    Call it inside a transaction, with the budget locked by `ledger.lock` and the assignments after it.
    `changes` are further columns to write; `turn` is that of `actions.request`. The instances are updated.
    Raises MoveRefused, which names each assignment that may not move.
    """
    rule = MOVES[action_type]
    if refused := [assignment for assignment in assignments if not allows(assignment, action_type)]:
        raise MoveRefused(action_type, refused)
    if not assignments:
        return
    with transaction.atomic(savepoint=False):
        _write(assignments, action_type, now=now, changes=changes or {})
        if rule.frees_money:
            ledger.release(budget, cents=sum(assignment.price_cents for assignment in assignments))
        pks = [assignment.pk for assignment in assignments]
        actions.supersede(pks, rule.supersedes, now=now, error_code=action_type)
        if action_type in FACTS:  # a redemption is work: the runner finishes its action, and it requests none
            actions.record_and_request(
                assignments, action_type, work=rule.requests, now=now, actor=actor, detail=detail, turn=turn
            )


def _write(
    assignments: Sequence[LearnerContentAssignment],
    action_type: ActionType,
    *,
    now: datetime,
    changes: Mapping[str, object],
) -> None:
    """Write the move by compare-and-swap. Raises MoveRefused if another transaction moved one of them."""
    rule, reallocated = MOVES[action_type], action_type == ActionType.ALLOCATED
    columns: dict[str, object] = {
        **(_OF_A_CYCLE if reallocated else {}),
        **derived.at_move(action_type),
        **changes,
        "state": rule.target,
        rule.time_column: now,
        "redeeming_since": None,
        "modified": now,
    }
    rows = LearnerContentAssignment.objects.filter(pk__in=[assignment.pk for assignment in assignments])
    movable = rows.filter(state__in=rule.sources, redeeming_since__isnull=not rule.while_redeeming)
    if movable.update(**columns, cycle=F("cycle") + int(reallocated)) != len(assignments):
        raise MoveRefused(action_type, list(rows))  # the caller read them without locking their budget
    for assignment in assignments:
        for name, value in columns.items():
            setattr(assignment, name, value)
        assignment.cycle += reallocated
