"""Corrections of addresses: in one open assignment, or in every one that has the address, all or nothing."""

import re
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
from bursary.assignments import actions, derived, matching
from bursary.assignments.choices import LINK_AND_NOTIFY, ActionType, State, Status
from bursary.assignments.matching import LEARNER_COLUMNS, Addressee
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.budgets import ledger
from bursary.lib import mailbox
from bursary.lib.locks import for_update
from bursary.lib.retries import repeated_after_deadlocks

MAX_PAIRS = 1000
MAX_ASSIGNMENTS = 1000  # of one address
CORRECTED = "From {old} to {new}."
"""The detail of a correction, in every language: `corrected_addresses` reads it."""

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


class AddressTaken(Exception):
    """Another assignment of the same content and budget belongs to that learner. Nothing was changed."""

    reason = "address_taken"


class AssignmentNotOpen(Exception):
    """The assignment is accepted or has ended. Nothing was changed."""

    reason = "assignment_not_open"


class AssignmentBeingRedeemed(Exception):
    """The assignment is being accepted at that address. Nothing was changed; retry in some minutes."""

    reason = "being_redeemed"


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


@repeated_after_deadlocks
def correct_assignment(
    assignment: LearnerContentAssignment,
    *,
    address: str,
    now: datetime,
    actor: User | None = None,
    turn: int = 0,
) -> None:
    """Correct an open assignment's address; link and notify the new one.

    Links in mails sent so far stop working, also where an earlier address is restored. `turn` is that of
    `actions.request`. Raises matching.BadAddresses, AddressTaken, AssignmentNotOpen and
    AssignmentBeingRedeemed.
    """
    (addressee,) = matching.read_all_addresses([address])
    with transaction.atomic():
        ledger.lock(assignment.budget_id)  # so that no allocation to the new address runs meanwhile
        locked = for_update(LearnerContentAssignment.objects.all()).get(pk=assignment.pk)
        if locked.state != State.ALLOCATED:
            raise AssignmentNotOpen(gettext("Only an open assignment's address can be corrected."))
        if locked.redeeming_since:
            raise AssignmentBeingRedeemed(
                gettext("It is being accepted at this moment. Try again in some minutes.")
            )
        # Names people: erased with them, by whichever of the two they are known (`erasure`, `ops/mentions`).
        detail = CORRECTED.format(old=locked.learner_email, new=addressee.address)
        _write_address(locked, addressee, now)
        history = locked.actions.filter(cycle=locked.cycle)
        dedup_key = str(1 + history.filter(action_type=ActionType.EMAIL_CORRECTED).count())
        actions.record(
            [locked], ActionType.EMAIL_CORRECTED, now=now, actor=actor, dedup_key=dedup_key, detail=detail
        )
        _start_over(locked, dedup_key=dedup_key, now=now, actor=actor, turn=turn)
        derived.recompute_progress([locked.pk])
    assignment.refresh_from_db()


def corrected_addresses(detail: str) -> dict[str, str]:
    """Return the `old` and the `new` address of a correction's detail; empty where they are erased."""
    found = re.fullmatch(CORRECTED.format(old=r"(?P<old>\S+)", new=r"(?P<new>\S+)"), detail)
    return found.groupdict() if found else {}


def corrected_from(address: str, *, since: datetime) -> QuerySet[LearnerContentAssignment]:
    """Return the assignments from which this address was corrected away since then, unless it is erased."""
    begins = CORRECTED.partition("{new}")[0].format(old=mailbox.comparable_text(address))
    corrections = LearnerContentAssignmentAction.objects.filter(
        status=Status.DONE,
        completed_at__gte=since,
        action_type=ActionType.EMAIL_CORRECTED,
        detail__istartswith=begins,
    )
    return LearnerContentAssignment.objects.filter(pk__in=corrections.values("assignment"))


def _write_address(assignment: LearnerContentAssignment, addressee: Addressee, now: datetime) -> None:
    assignment.learner_email = addressee.address
    assignment.learner_key = assignment.mailbox_key = addressee.learner_key
    assignment.duplicate_pk = 0
    known = known_learners.by_keys([addressee.learner_key])
    assignment.lms_user_id = known[addressee.learner_key].lms_user_id
    # Links are bound to an address: an old one would work again where that address is restored.
    assignment.links_revoked_at = assignment.modified = now
    siblings = LearnerContentAssignment.objects.filter(
        of_mailboxes([addressee.learner_key])
        | Q(lms_user_id=assignment.lms_user_id, lms_user_id__isnull=False),
        budget=assignment.budget_id,
        content_key=assignment.content_key,
    )
    if siblings.exclude(pk=assignment.pk).exists():
        raise AddressTaken(gettext("Another assignment of this content belongs to that learner."))
    assignment.save(update_fields=[*LEARNER_COLUMNS, "links_revoked_at", "modified"])


def _start_over(
    assignment: LearnerContentAssignment, *, dedup_key: str, now: datetime, actor: User | None, turn: int
) -> None:
    """Retry what failed at the old address, readdress what is pending, and repeat what was done."""
    this_cycle = LearnerContentAssignmentAction.objects.filter(assignment=assignment, cycle=assignment.cycle)
    # A redemption goes to no address, and only the learner starts it.
    for failed in this_cycle.unresolved_failures().exclude(action_type=ActionType.REDEEMED):
        actions.retry(failed, now=now, actor=actor, turn=turn)
    actions.readdress(assignment, now=now)
    waiting = assignment.actions.filter(cycle=assignment.cycle, status=Status.PENDING)
    covered = set(waiting.values_list("action_type", flat=True))
    again = [kind for kind in LINK_AND_NOTIFY if kind not in covered]
    dedup_key = f"address-{dedup_key}"
    actions.request([assignment], again, now=now, actor=actor, dedup_key=dedup_key, turn=turn)


def correct_pairs(
    pairs: Sequence[tuple[str, str]],
    *,
    now: datetime,
    actor: User | None = None,
    within: Q | None = None,
    dry_run: bool = False,
) -> list[Correction]:
    """Correct pairs of an old and a new address, each like `correct_pair`.

    Two pairs with the same old address, or where one's old is the other's new, are refused: exchanging two
    learners' addresses in sequence would give both learners' assignments to one. A dry run rolls all of it
    back, so that it also sees conflicts between pairs.
    """
    keys = [(learner_key(old), learner_key(new)) for old, new in pairs]
    olds = Counter(old for old, _new in keys)
    named = Counter(key for pair in keys for key in set(pair))
    found: dict[int, Correction] = {}
    to_one_learner: dict[str, list[int]] = defaultdict(list)
    known = known_learners.by_keys([new_key for _old_key, new_key in keys])
    turn = 0
    for at, ((old, new), (old_key, new_key)) in enumerate(zip(pairs, keys, strict=True)):
        if named[old_key] > 1 or olds[new_key] > (old_key == new_key):
            found[at] = _refused(old, new, "address_in_other_pair")
        else:
            to_one_learner[min((new_key, *known[new_key].other_keys))].append(at)
    for group in to_one_learner.values():
        with _undone([keys[at][0] for at in group], within or Q()) if dry_run else nullcontext():
            for at in group:
                found[at] = correct_pair(*pairs[at], now=now, actor=actor, within=within, turn=turn)
                turn += len(found[at].corrected)
    return [found[at] for at in range(len(pairs))]


@repeated_after_deadlocks
def correct_pair(
    old: str,
    new: str,
    *,
    now: datetime,
    actor: User | None = None,
    within: Q | None = None,
    turn: int = 0,
) -> Correction:
    """Move all open assignments (those `within`, if given) from the `old` address to the `new` one, or none.

    Links in mails to the old address stop working; the new address is linked and notified. `turn` is that of
    `actions.request`.
    """
    try:
        (addressee,) = matching.read_all_addresses([new])
        if learner_key(old) == addressee.learner_key:
            return _refused(old, new, "same_address")
        with transaction.atomic():
            here = _open([learner_key(old)], within or Q())
            _lock_budgets(here)
            rows = list(here.order_by("pk")[: MAX_ASSIGNMENTS + 1])
            if not rows:
                return _refused(old, new, "nothing_to_correct")
            if len(rows) > MAX_ASSIGNMENTS:
                return _refused(old, new, "too_many_assignments")
            for number, row in enumerate(rows, start=turn):
                correct_assignment(row, address=new, now=now, actor=actor, turn=number)
    except matching.BadAddresses as bad:
        return Correction(
            old, new, bad.reason, " ".join(bad.errors.values()), gettext("Correct the new address.")
        )
    except (AddressTaken, AssignmentBeingRedeemed) as refused:
        return _refused(old, new, refused.reason)
    return Correction(old, new, "", "", "", [row.uuid for row in rows])


@contextmanager
def _undone(old_keys: Sequence[str], within: Q) -> Iterator[None]:
    """Roll back the corrections made inside.

    All budgets are locked first, in their order: each correction would lock only those of its own address.
    """
    with transaction.atomic():
        _lock_budgets(_open(old_keys, within))
        yield
        transaction.set_rollback(True)


def _open(learner_keys: Sequence[str], within: Q) -> QuerySet[LearnerContentAssignment]:
    return LearnerContentAssignment.objects.filter(within, of_mailboxes(learner_keys), state=State.ALLOCATED)


def _lock_budgets(rows: QuerySet[LearnerContentAssignment]) -> None:
    ledger.lock_all(rows.order_by().values_list("budget", flat=True).distinct())


def _refused(old: str, new: str, reason: str) -> Correction:
    sentence, next_step = REFUSALS[reason]
    return Correction(old, new, reason, sentence % {"most": MAX_ASSIGNMENTS}, str(next_step))
