"""E-mail addresses that an administrator enters: read and checked here, and corrected later."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext, ngettext

from bursary.access import known_learners
from bursary.access.models import User, key_of_canonical, of_mailboxes
from bursary.assignments import actions, derived
from bursary.assignments.choices import ActionType, State, Status
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.budgets import ledger
from bursary.lib import mailbox
from bursary.lib.locks import for_update
from bursary.lib.retries import repeated_after_deadlocks

MOST_ADDRESSES = 10_000
CORRECTED = "From {old} to {new}."
"""The detail of a correction, in every language: `corrected_addresses` reads it."""
IDENTITY = ("learner_email", "learner_key", "mailbox_key", "second_row", "lms_user_id")
"""The columns of an assignment that say which learner it is of."""


@dataclass(frozen=True)
class Addressee:
    """One address of a request: canonical, with its position in the list and its key for comparison."""

    position: int
    address: str
    learner_key: str


@dataclass
class BadAddresses(Exception):
    """Some entries are not e-mail addresses: `errors` by position. Nothing was done.

    `items` has the position of the item that each entry was read from, if an item may have several.
    """

    errors: Mapping[int, str]
    items: Sequence[int] = ()
    reason = "invalid_addresses"

    def __str__(self) -> str:
        words = ngettext(
            "%(count)s of the addresses cannot be used.",
            "%(count)s of the addresses cannot be used.",
            len(self.errors),
        )
        return words % {"count": len(self.errors)}

    def by_item(self) -> dict[int, list[str]]:
        """Return all errors of each item."""
        found: dict[int, list[str]] = {}
        for position, error in sorted(self.errors.items()):
            found.setdefault(self.items[position] if self.items else position, []).append(error)
        return found


@dataclass
class TooManyAddresses(Exception):
    """The request has too many addresses. Nothing was done."""

    count: int
    reason = "too_many_addresses"

    def __str__(self) -> str:
        sentence = gettext("%(count)s addresses are more than the %(most)s that one request may carry.")
        return sentence % {"count": f"{self.count:,}", "most": f"{MOST_ADDRESSES:,}"}


class AddressTaken(Exception):
    """Another assignment of the same content and budget belongs to that learner. Nothing was changed."""

    reason = "address_taken"


class AddressHeld(Exception):
    """The assignment is being accepted at that address. Nothing was changed; retry in some minutes."""

    reason = "being_redeemed"


def read(entries: Sequence[object]) -> tuple[list[Addressee], dict[int, str]]:
    """Return the valid addressees and, by position, the errors of the other entries.

    Raises TooManyAddresses.
    """
    if len(entries) > MOST_ADDRESSES:
        raise TooManyAddresses(len(entries))
    good: list[Addressee] = []
    bad: dict[int, str] = {}
    for position, entry in enumerate(entries):
        try:
            address = mailbox.canonical(entry if isinstance(entry, str) else "")
        except mailbox.BadAddress as problem:
            bad[position] = str(problem)
        else:
            good.append(Addressee(position, address, key_of_canonical(address)))
    return good, bad


def read_all(entries: Sequence[object]) -> list[Addressee]:
    """Return all addressees. Raises BadAddresses for any other entry, and TooManyAddresses."""
    good, bad = read(entries)
    if bad:
        raise BadAddresses(bad)
    return good


@repeated_after_deadlocks
def correct(
    assignment: LearnerContentAssignment,
    *,
    address: str,
    now: datetime,
    actor: User | None = None,
    place: int = 0,
) -> None:
    """Correct an open assignment's address; link and notify the new one.

    `place` is the number of assignments that the same request corrected before.
    Links in mails sent so far stop working, also where an earlier address is restored.
    Raises BadAddresses, AddressTaken, AddressHeld while it is being redeemed, or actions.RetryRefused where
    the assignment is not open.
    """
    (addressee,) = read_all([address])
    with transaction.atomic():
        ledger.lock(assignment.budget_id)  # so that no allocation to the new address runs meanwhile
        locked = for_update(LearnerContentAssignment.objects.all()).get(pk=assignment.pk)
        if locked.state != State.ALLOCATED:
            raise actions.RetryRefused(gettext("Only an open assignment's address can be corrected."))
        if locked.redeeming_since:
            raise AddressHeld(gettext("It is being accepted at this moment. Try again in some minutes."))
        # Names people: erased with them, by whichever of the two they are known (`erasure`, `ops/mentions`).
        detail = CORRECTED.format(old=locked.learner_email, new=addressee.address)
        _write_address(locked, addressee, now)
        history = locked.actions.filter(cycle=locked.cycle)
        dedup_key = str(1 + history.filter(action_type=ActionType.EMAIL_CORRECTED).count())
        actions.record(
            [locked], ActionType.EMAIL_CORRECTED, now=now, actor=actor, dedup_key=dedup_key, detail=detail
        )
        _start_over(locked, dedup_key=dedup_key, now=now, actor=actor, place=place)
        derived.follow_progress([locked.pk])
    assignment.refresh_from_db()


def corrected_addresses(detail: str) -> dict[str, str]:
    """Return the `old` and the `new` address of a correction's detail; empty where they are erased."""
    found = re.fullmatch(CORRECTED.format(old=r"(?P<old>\S+)", new=r"(?P<new>\S+)"), detail)
    return found.groupdict() if found else {}


def _write_address(assignment: LearnerContentAssignment, addressee: Addressee, now: datetime) -> None:
    assignment.learner_email = addressee.address
    assignment.learner_key = assignment.mailbox_key = addressee.learner_key
    assignment.second_row = 0
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
    assignment.save(update_fields=[*IDENTITY, "links_revoked_at", "modified"])


def _start_over(
    assignment: LearnerContentAssignment, *, dedup_key: str, now: datetime, actor: User | None, place: int
) -> None:
    """Retry what failed at the old address, redirect what is pending, and repeat what was done."""
    failures = LearnerContentAssignmentAction.objects.filter(assignment=assignment).unanswered_failures()
    # A redemption goes to no address, and only the learner starts it.
    for failed in failures.exclude(action_type=ActionType.REDEEMED):
        actions.retry(failed, now=now, actor=actor, place=place)
    actions.redirect(assignment, now=now)
    waiting = assignment.actions.filter(cycle=assignment.cycle, status=Status.PENDING)
    covered = set(waiting.values_list("action_type", flat=True))
    again = [kind for kind in (ActionType.LEARNER_LINKED, ActionType.NOTIFIED) if kind not in covered]
    dedup_key = f"address-{dedup_key}"
    actions.request([assignment], again, now=now, actor=actor, dedup_key=dedup_key, place=place)
