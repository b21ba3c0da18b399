"""Matches addresses to existing assignments, also of a learner known by another address."""

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from django.db.models import Q

from bursary.access import known_learners
from bursary.access.models import of_mailboxes
from bursary.assignments.addresses import IDENTITY, Addressee
from bursary.assignments.choices import State
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.lib.locks import for_update

ROWS_PER_QUERY = 5000

_SETTLED = (State.ALLOCATED, State.ACCEPTED)
"""Open or accepted: allocating it again changes nothing."""


class Verdict(enum.StrEnum):
    NEW = "new"
    """A first assignment for this learner."""
    AGAIN = "reallocated"
    """It was cancelled, expired or reversed, and is allocated again."""
    UNCHANGED = "already_assigned"
    """The learner has it already; it costs nothing."""
    DUPLICATE = "duplicate"
    """An earlier entry is the same learner."""


@dataclass
class Match:
    """The verdict on one address of a request."""

    addressee: Addressee
    verdict: Verdict
    lms_user_id: int | None = None
    assignment: LearnerContentAssignment | None = None
    known_by_other_address: bool = False
    duplicate_of: int | None = None
    known_by: Sequence[str | int] = ()
    """Every key of the learner's addresses, and the LMS user id if there is one; empty for a duplicate."""


def match_learners(
    budget: Budget, *, content_key: str, addressees: Sequence[Addressee], lock: bool
) -> list[Match]:
    """Return the match of each addressee, in order. With `lock`, existing assignments stay locked.

    Addresses are compared by their keys, learners by the LMS user ids and the other addresses of their
    accounts.
    """
    keys = list(dict.fromkeys(one.learner_key for one in addressees))
    people_known = known_learners.lms_user_ids(keys)
    others = known_learners.other_keys(keys)
    all_keys = list(dict.fromkeys([*keys, *chain.from_iterable(others.values())]))
    existing = _existing(budget, content_key, all_keys, list(people_known.values()), lock=lock)
    # Of twins the settled one counts, else the one that stayed.
    existing.sort(key=lambda one: (one.state in _SETTLED, not one.twin, -one.pk))
    by_key = {assignment.present_key: assignment for assignment in existing}
    by_person = {assignment.lms_user_id: assignment for assignment in existing if assignment.lms_user_id}
    first_at: dict[int | str, int] = {}
    outcomes = []
    for addressee in addressees:
        person = people_known.get(addressee.learner_key)
        own, other = by_key.get(addressee.learner_key), by_person.get(person) if person else None
        same = others.get(addressee.learner_key, [])
        other = other or next((by_key[key] for key in same if key in by_key), None)
        assignment = _best(own, other)
        if own and other and own is not other:
            person = None  # the other row has the LMS user id, which is unique
        # Entries of one learner, or that would share an assignment, count once.
        identity = (assignment and assignment.uuid.hex) or person or min([addressee.learner_key, *same])
        if identity in first_at:
            first = first_at[identity]
            outcomes.append(Match(addressee, Verdict.DUPLICATE, person, duplicate_of=first))
            continue
        first_at[identity] = addressee.position
        match = _judge(addressee, person, assignment)
        ids = [people_known[key] for key in (addressee.learner_key,) if key in people_known]
        match.known_by = (addressee.learner_key, *same, *ids)
        outcomes.append(match)
    return outcomes


def assign_identity(outcomes: Iterable[Match]) -> None:
    """Write the address and LMS user id of the request to assignments that are allocated again."""
    changed = []
    for one in outcomes:
        assignment, addressee = one.assignment, one.addressee
        if assignment is None:
            continue
        before = (assignment.learner_email, assignment.present_key, assignment.lms_user_id)
        person = one.lms_user_id or assignment.lms_user_id
        if before == (addressee.address, addressee.learner_key, person):
            continue
        assignment.learner_email, assignment.lms_user_id = addressee.address, person
        if assignment.present_key != addressee.learner_key:
            assignment.learner_key = assignment.mailbox_key = addressee.learner_key
            assignment.twin = 0
        changed.append(assignment)
    LearnerContentAssignment.objects.bulk_update(changed, IDENTITY, batch_size=500)


def _existing(
    budget: Budget, content_key: str, keys: Sequence[str], persons: Sequence[int], *, lock: bool
) -> list[LearnerContentAssignment]:
    rows = LearnerContentAssignment.objects.filter(budget=budget, content_key=content_key)
    if lock:
        rows = for_update(rows)
    found: dict[int, LearnerContentAssignment] = {}
    for start in range(0, max(len(keys), len(persons)), ROWS_PER_QUERY):
        window = slice(start, start + ROWS_PER_QUERY)
        mine = of_mailboxes(keys[window]) | Q(lms_user_id__in=persons[window])
        found.update((assignment.pk, assignment) for assignment in rows.filter(mine).order_by("pk"))
    return list(found.values())


def _best(
    by_key: LearnerContentAssignment | None, by_person: LearnerContentAssignment | None
) -> LearnerContentAssignment | None:
    """Return the open or accepted one of the two, else the one with the address."""
    if by_person and by_person.state in _SETTLED and not (by_key and by_key.state in _SETTLED):
        return by_person
    return by_key or by_person


def _judge(addressee: Addressee, person: int | None, assignment: LearnerContentAssignment | None) -> Match:
    if assignment is None:
        return Match(addressee, Verdict.NEW, person)
    verdict = Verdict.UNCHANGED if assignment.state in _SETTLED else Verdict.AGAIN
    # A forgotten learner's placeholder is not another address of theirs.
    known_by_other_address = (
        assignment.present_key != addressee.learner_key and assignment.forgotten_at is None
    )
    return Match(addressee, verdict, person, assignment, known_by_other_address)
