"""MOVES, the table of an assignment's life; and move(), the only writer of its state.

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
from bursary.assignments.choices import FACTS, ActionType, State
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets import ledger
from bursary.budgets.models import Budget

_ASKING = (ActionType.NOTIFIED, ActionType.REMINDED)
_EVERYTHING_ASKED = (ActionType.LEARNER_LINKED, *_ASKING, ActionType.NUDGED)
_FAREWELLS = (ActionType.CANCELLATION_NOTIFIED, ActionType.EXPIRATION_NOTIFIED)


@dataclass(frozen=True)
class Move:
    """One way from state to state, and what comes with it."""

    sources: frozenset[State]
    target: State
    stamp: str
    """The column that says when."""
    requests: tuple[ActionType, ...] = ()
    """Work that follows, requested in the same transaction."""
    supersedes: tuple[ActionType, ...] = ()
    """Pending work that is no longer wanted."""
    frees_money: bool = False
    """The money that was held is free again."""
    under_hold: bool = False
    """Happens while a redemption holds the assignment; nothing else does."""


MOVES: Mapping[ActionType, Move] = {
    ActionType.ALLOCATED: Move(
        sources=frozenset({State.CANCELLED, State.EXPIRED, State.REVERSED}),
        target=State.ALLOCATED,
        stamp="allocated_at",
        requests=(ActionType.LEARNER_LINKED, ActionType.NOTIFIED),
        supersedes=_FAREWELLS,
    ),
    ActionType.REDEEMED: Move(
        sources=frozenset({State.ALLOCATED}),
        target=State.ACCEPTED,
        stamp="accepted_at",
        supersedes=_ASKING,
        under_hold=True,
    ),
    ActionType.CANCELLED: Move(
        sources=frozenset({State.ALLOCATED}),
        target=State.CANCELLED,
        stamp="cancelled_at",
        requests=(ActionType.CANCELLATION_NOTIFIED,),
        supersedes=_EVERYTHING_ASKED,
        frees_money=True,
    ),
    ActionType.DECLINED: Move(
        sources=frozenset({State.ALLOCATED}),
        target=State.CANCELLED,
        stamp="cancelled_at",
        supersedes=_EVERYTHING_ASKED,
        frees_money=True,
    ),
    ActionType.EXPIRED: Move(
        sources=frozenset({State.ALLOCATED}),
        target=State.EXPIRED,
        stamp="expired_at",
        requests=(ActionType.EXPIRATION_NOTIFIED,),
        supersedes=_EVERYTHING_ASKED,
        frees_money=True,
    ),
    ActionType.REVERSED: Move(
        sources=frozenset({State.ACCEPTED}),
        target=State.REVERSED,
        stamp="reversed_at",
        supersedes=(ActionType.NUDGED,),
    ),
}

_STARTS_AFRESH: Mapping[str, object] = {
    "accepted_at": None,
    "cancelled_at": None,
    "expired_at": None,
    "reversed_at": None,
    "transaction_uuid": None,
    "decline_reason": "",
    "forgotten_at": None,
}
"""What an allocation forgets of the cycle before; the timeline remembers it."""


@dataclass
class MoveRefused(Exception):
    """An assignment's state or hold does not allow the move. Nothing was changed."""

    by: ActionType
    refused: list[LearnerContentAssignment]
    reason = "move_refused"

    def __str__(self) -> str:
        found = ", ".join(f"{assignment.uuid} is {standing(assignment)}" for assignment in self.refused)
        return f"{self.by.label} is not possible: {found}."


def standing(assignment: LearnerContentAssignment) -> str:
    """Return where the assignment stands, in a word: its state, or `being redeemed`."""
    return "being redeemed" if assignment.redeeming_since else assignment.state


def allows(assignment: LearnerContentAssignment, by: ActionType) -> bool:
    """Tell whether the assignment, as read, may move by `by`."""
    rule = MOVES[by]
    held = assignment.redeeming_since is not None
    return assignment.state in rule.sources and held == rule.under_hold


def move(
    budget: Budget,
    assignments: Sequence[LearnerContentAssignment],
    by: ActionType,
    *,
    now: datetime,
    actor: User | None = None,
    changes: Mapping[str, object] | None = None,
    detail: str = "",
) -> None:
    """Move assignments of one budget, all or none, with the facts, work and money that MOVES says.

    Call it inside a transaction, with the budget locked by `ledger.lock` and the assignments after it.
    `changes` are further columns to write. The instances are brought up to date.
    Raises MoveRefused, naming each assignment whose state or hold forbids it.
    """
    rule = MOVES[by]
    if refused := [assignment for assignment in assignments if not allows(assignment, by)]:
        raise MoveRefused(by, refused)
    if not assignments:
        return
    with transaction.atomic(savepoint=False):
        pks = [assignment.pk for assignment in assignments]
        columns = _columns(rule, by, now=now, changes=changes or {})
        moved = LearnerContentAssignment.objects.filter(
            pk__in=pks, state__in=rule.sources, redeeming_since__isnull=not rule.under_hold
        ).update(**columns)
        if moved != len(pks):
            # Somebody moved one of them although we hold its budget: the caller did not lock.
            raise MoveRefused(by, list(LearnerContentAssignment.objects.filter(pk__in=pks)))
        if rule.frees_money:
            ledger.release(budget, cents=sum(assignment.price_cents for assignment in assignments))
        _bring_up_to_date(assignments, columns, by)
        actions.supersede(pks, rule.supersedes, now=now, error_code=by)
        _tell_timeline(assignments, by, now=now, actor=actor, detail=detail)


def _columns(
    rule: Move, by: ActionType, *, now: datetime, changes: Mapping[str, object]
) -> dict[str, object]:
    afresh = {**_STARTS_AFRESH, "cycle": F("cycle") + 1} if by == ActionType.ALLOCATED else {}
    return {
        **afresh,
        **derived.at_move(rule.target),
        **changes,
        "state": rule.target,
        rule.stamp: now,
        "redeeming_since": None,
        "modified": now,
    }


def _bring_up_to_date(
    assignments: Sequence[LearnerContentAssignment], columns: Mapping[str, object], by: ActionType
) -> None:
    for assignment in assignments:
        for name, value in columns.items():
            if name != "cycle":
                setattr(assignment, name, value)
        if by == ActionType.ALLOCATED:
            assignment.cycle += 1


def _tell_timeline(
    assignments: Sequence[LearnerContentAssignment],
    by: ActionType,
    *,
    now: datetime,
    actor: User | None,
    detail: str,
) -> None:
    """Record the fact with the work that follows. A redemption is work: it is finished, not recorded."""
    work = MOVES[by].requests
    if by in FACTS:
        actions.record_and_request(assignments, by, work=work, now=now, actor=actor, detail=detail)
    else:
        actions.request(assignments, work, now=now, actor=actor)
