"""Correction of an address in every open assignment that has it: for a pair of addresses, all or nothing."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from bursary.access.models import User, learner_key, of_mailboxes
from bursary.assignments import addresses
from bursary.assignments.choices import State
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets import ledger

MOST_PAIRS = 1000
MOST_ASSIGNMENTS = 1000  # of one address

_REFUSALS: Mapping[str, tuple[str, str]] = {
    "same_address": ("Both are the same address.", "Give another address."),
    "address_in_other_pair": (
        "An old address is in another pair, too, so that the order would decide.",
        "Send these pairs one after the other.",
    ),
    "nothing_to_correct": ("No open assignment has this address.", "Check the address in the list."),
    "too_many_assignments": (
        f"More than {MOST_ASSIGNMENTS} open assignments have this address.",
        "Correct it in one organisation after the other.",
    ),
    "address_taken": (
        "The learner at the new address has an assignment of the same content.",
        "Cancel the assignment at the old address.",
    ),
    "being_redeemed": ("One of them is being accepted at this moment.", "Try again in some minutes."),
}


@dataclass(frozen=True)
class Correction:
    """What was done for one pair of addresses, or why nothing was."""

    old: str
    new: str
    reason: str
    """Empty where it was done."""
    sentence: str
    next_step: str
    corrected: list[UUID] = field(default_factory=list)


class _Undo(Exception):
    """Ends a dry run, so that its transaction is undone."""


def correct_all(
    pairs: Sequence[tuple[str, str]],
    *,
    now: datetime,
    actor: User | None = None,
    within: Q | None = None,
    dry_run: bool = False,
) -> list[Correction]:
    """Correct pairs of an old and a new address, each like `correct`.

    An old address that another pair has, too, is refused in both: to exchange two learners' addresses one
    after the other would give all to one of them, and a dry run could not show it.
    """
    keys = [(learner_key(old), learner_key(new)) for old, new in pairs]
    olds = Counter(old for old, _new in keys)
    named = Counter(key for pair in keys for key in set(pair))
    found = []
    for (old, new), (old_key, new_key) in zip(pairs, keys, strict=True):
        if named[old_key] > 1 or olds[new_key] > (old_key == new_key):
            found.append(_refused(old, new, "address_in_other_pair"))
        else:
            found.append(correct(old, new, now=now, actor=actor, within=within, dry_run=dry_run))
    return found


def correct(
    old: str,
    new: str,
    *,
    now: datetime,
    actor: User | None = None,
    within: Q | None = None,
    dry_run: bool = False,
) -> Correction:
    """Move the open assignments (those `within`, if given) from an address to another, all or none.

    Links in mails to the old address stop working; the new address is linked and notified. A dry run finds
    the same and changes nothing.
    """
    done: list[UUID] = []
    try:
        (addressee,) = addresses.read_all([new])
        if learner_key(old) == addressee.learner_key:
            return _refused(old, new, "same_address")
        with transaction.atomic():
            done = _correct(old, new, now=now, actor=actor, within=within or Q())
            if not done:
                return _refused(old, new, "nothing_to_correct")
            if len(done) > MOST_ASSIGNMENTS:
                transaction.set_rollback(True)
                return _refused(old, new, "too_many_assignments")
            if dry_run:
                raise _Undo
    except _Undo:
        pass
    except addresses.BadAddresses as bad:
        return Correction(old, new, bad.reason, " ".join(bad.errors.values()), "Correct the new address.")
    except (addresses.AddressTaken, addresses.AddressHeld) as refused:
        return _refused(old, new, refused.reason)
    return Correction(old, new, "", "", "", done)


def _correct(old: str, new: str, *, now: datetime, actor: User | None, within: Q) -> list[UUID]:
    here = LearnerContentAssignment.objects.filter(
        within, of_mailboxes([learner_key(old)]), state=State.ALLOCATED
    )
    ledger.lock_all(here.order_by().values_list("budget", flat=True).distinct())
    rows = list(here.order_by("pk")[: MOST_ASSIGNMENTS + 1])
    if len(rows) <= MOST_ASSIGNMENTS:
        for row in rows:
            addresses.correct(row, address=new, now=now, actor=actor)
    return [row.uuid for row in rows]


def _refused(old: str, new: str, reason: str) -> Correction:
    sentence, next_step = _REFUSALS[reason]
    return Correction(old, new, reason, sentence, next_step)
