"""Correction of an address in every open assignment that has it: for a pair of addresses, all or nothing."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from bursary.access import known_learners
from bursary.access.models import User, learner_key, of_mailboxes
from bursary.assignments import addresses
from bursary.assignments.choices import State
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets import ledger
from bursary.lib.retries import repeated_after_deadlocks

MOST_PAIRS = 1000
MOST_ASSIGNMENTS = 1000  # of one address

REFUSALS: Mapping[str, tuple[Any, Any]] = {
    "same_address": (_("Both are the same address."), _("Give another address.")),
    "address_in_other_pair": (
        _("An old address is in another pair, too, so that the order would decide."),
        _("Send these pairs one after the other."),
    ),
    "nothing_to_correct": (_("No open assignment has this address."), _("Check the address in the list.")),
    "too_many_assignments": (
        _("More than %(most)s open assignments have this address."),
        _("Correct it in one organisation after the other."),
    ),
    "address_taken": (
        _("The learner at the new address has an assignment of the same content."),
        _("Cancel the assignment at the old address."),
    ),
    "being_redeemed": (
        _("One of them is being accepted at this moment."),
        _("Try again in some minutes."),
    ),
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
    after the other would give all to one of them. A dry run judges each pair with the earlier ones done, and
    changes nothing: two that lead to one learner may have assignments of the same content.
    """
    keys = [(learner_key(old), learner_key(new)) for old, new in pairs]
    olds = Counter(old for old, _new in keys)
    named = Counter(key for pair in keys for key in set(pair))
    found: dict[int, Correction] = {}
    to_one_learner: dict[str, list[int]] = defaultdict(list)
    known = known_learners.by_keys([new_key for _old_key, new_key in keys])
    place = 0
    for at, ((old, new), (old_key, new_key)) in enumerate(zip(pairs, keys, strict=True)):
        if named[old_key] > 1 or olds[new_key] > (old_key == new_key):
            found[at] = _refused(old, new, "address_in_other_pair")
        else:
            to_one_learner[min((new_key, *known[new_key].other_keys))].append(at)
    for group in to_one_learner.values():
        with _undone([keys[at][0] for at in group], within or Q()) if dry_run else nullcontext():
            for at in group:
                found[at] = correct(*pairs[at], now=now, actor=actor, within=within, place=place)
                place += len(found[at].corrected)
    return [found[at] for at in range(len(pairs))]


@repeated_after_deadlocks
def correct(
    old: str,
    new: str,
    *,
    now: datetime,
    actor: User | None = None,
    within: Q | None = None,
    dry_run: bool = False,
    place: int = 0,
) -> Correction:
    """Move the open assignments (those `within`, if given) from an address to another, all or none.

    Links in mails to the old address stop working; the new address is linked and notified. A dry run finds
    the same and changes nothing. `place` is the number of assignments that the same request corrected before.
    """
    done: list[UUID] = []
    try:
        (addressee,) = addresses.read_all([new])
        if learner_key(old) == addressee.learner_key:
            return _refused(old, new, "same_address")
        with transaction.atomic():
            done = _correct(old, new, now=now, actor=actor, within=within or Q(), place=place)
            if not done:
                return _refused(old, new, "nothing_to_correct")
            if len(done) > MOST_ASSIGNMENTS:
                transaction.set_rollback(True)
                return _refused(old, new, "too_many_assignments")
            transaction.set_rollback(dry_run)
    except addresses.BadAddresses as bad:
        return Correction(
            old, new, bad.reason, " ".join(bad.errors.values()), gettext("Correct the new address.")
        )
    except (addresses.AddressTaken, addresses.AddressHeld) as refused:
        return _refused(old, new, refused.reason)
    return Correction(old, new, "", "", "", done)


@contextmanager
def _undone(old_keys: Sequence[str], within: Q) -> Iterator[None]:
    """Undo what is corrected inside.

    All budgets are locked first, in their order: each correction locks those of its own address alone.
    """
    with transaction.atomic():
        _lock_budgets(_open(old_keys, within))
        yield
        transaction.set_rollback(True)


def _open(learner_keys: Sequence[str], within: Q) -> QuerySet[LearnerContentAssignment]:
    return LearnerContentAssignment.objects.filter(within, of_mailboxes(learner_keys), state=State.ALLOCATED)


def _lock_budgets(rows: QuerySet[LearnerContentAssignment]) -> None:
    ledger.lock_all(rows.order_by().values_list("budget", flat=True).distinct())


def _correct(old: str, new: str, *, now: datetime, actor: User | None, within: Q, place: int) -> list[UUID]:
    here = _open([learner_key(old)], within)
    _lock_budgets(here)
    rows = list(here.order_by("pk")[: MOST_ASSIGNMENTS + 1])
    if len(rows) <= MOST_ASSIGNMENTS:
        for number, row in enumerate(rows, start=place):
            addresses.correct(row, address=new, now=now, actor=actor, place=number)
    return [row.uuid for row in rows]


def _refused(old: str, new: str, reason: str) -> Correction:
    sentence, next_step = REFUSALS[reason]
    return Correction(old, new, reason, sentence % {"most": MOST_ASSIGNMENTS}, str(next_step))
