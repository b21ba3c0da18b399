"""Reading a list of addresses, and matching them to existing assignments, by all addresses of each learner.

A learner is assigned a course once: an assignment of the same course, or of one of its runs, matches, too.
"""

import enum
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import chain
from typing import Any
from uuid import UUID

from django.db.models import F, Q, QuerySet
from django.utils.translation import gettext, ngettext

from bursary.access import known_learners
from bursary.access.known_learners import KnownLearner
from bursary.access.models import key_of_canonical, of_mailboxes
from bursary.assignments import failures
from bursary.assignments.choices import IN_FORCE, ActionType, LearnerState, State
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.assignments.open_assignments import still_open
from bursary.budgets.models import Budget
from bursary.lib import mailbox
from bursary.lib.batches import slices
from bursary.lib.locks import for_update
from bursary.lib.prepared import Parameter, PreparedSelect
from bursary.replica.models import ContentMetadata

MAX_ADDRESSES = 10_000
ROWS_PER_QUERY = 5000

LEARNER_COLUMNS = ("learner_email", "learner_key", "mailbox_key", "duplicate_pk", "lms_user_id")
"""The columns of an assignment that identify its learner."""
COLUMNS = (
    *("uuid", "budget", "content", "content_key", "parent_content_key", *LEARNER_COLUMNS),
    *("state", "cycle", "learner_state", "redeeming_since", "expires_at", "forgotten_at"),
)
"""The columns of an existing assignment that matching and allocating again read; no others are loaded."""

_Rank = Callable[[LearnerContentAssignment], tuple[int, ...]]


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
        return sentence % {"count": f"{self.count:,}", "most": f"{MAX_ADDRESSES:,}"}


class Verdict(enum.StrEnum):
    NEW = "new"
    """A first assignment for this learner."""
    REALLOCATED = "reallocated"
    """It was cancelled, expired or reversed, and is allocated again."""
    ALREADY_ASSIGNED = "already_assigned"
    """The learner has it already; it costs nothing."""
    NOTIFIED_AGAIN = "notified_again"
    """The learner has it, open, and the mail about it failed: it is sent again, and costs nothing."""
    HAS_OTHER_RUN = "has_other_run"
    """The learner has an open assignment of another run of its course, or of a run of this course."""
    HAS_COURSE = "has_course"
    """The learner has an open assignment of this run's course."""
    ACCEPTED = "accepted_already"
    """The learner has accepted its course, or another run of it, which has not ended."""
    DECLINED = "declined_before"
    """The learner declined it."""
    DUPLICATE = "duplicate"
    """An earlier entry is the same learner."""


CHARGED = (Verdict.NEW, Verdict.REALLOCATED)
"""Verdicts on which content is allocated: its price is reserved."""
OTHER_ASSIGNMENT = (Verdict.HAS_OTHER_RUN, Verdict.HAS_COURSE, Verdict.ACCEPTED)
"""Verdicts about an assignment of the same course by another key."""
LEFT_AS_IS = (Verdict.ALREADY_ASSIGNED, *OTHER_ASSIGNMENT, Verdict.DECLINED)
"""Verdicts about an existing assignment that stays as it is."""
FREE_OF_CHARGE = (Verdict.ALREADY_ASSIGNED, Verdict.NOTIFIED_AGAIN, *OTHER_ASSIGNMENT, Verdict.DECLINED)
"""Verdicts about an existing assignment that costs nothing: it stays, or its mail is sent again."""


@dataclass(frozen=True)
class Overrides:
    """The verdicts that an administrator overrules in a request, so that the content is allocated."""

    allow_another: bool = False
    """Also where the learner has an assignment of the same course by another key."""
    reallocate_declined: bool | None = None
    """Also where the learner declined it before; None: as the customer has set."""


NO_OVERRIDES = Overrides()


@dataclass
class Match:
    """The verdict on one address of a request, and the assignment that it is about."""

    addressee: Addressee
    verdict: Verdict
    lms_user_id: int | None = None
    assignment: LearnerContentAssignment | None = None
    known_by_other_address: bool = False
    duplicate_of: int | None = None
    known_by: Sequence[str | int] = ()
    """Every key of the learner's addresses, and the LMS user id if there is one; empty for a duplicate."""


@dataclass(frozen=True)
class Learners:
    """The learners of a request: their addresses in order, and by key what is known of them."""

    addressees: Sequence[Addressee]
    known: Mapping[str, KnownLearner]


def read_addresses(entries: Sequence[object]) -> tuple[list[Addressee], dict[int, str]]:
    """Return the valid addressees and, by position, the errors of the other entries.

    Raises TooManyAddresses.
    """
    if len(entries) > MAX_ADDRESSES:
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


def read_all_addresses(entries: Sequence[object]) -> list[Addressee]:
    """Return all addressees. Raises BadAddresses for any other entry, and TooManyAddresses."""
    good, bad = read_addresses(entries)
    if bad:
        raise BadAddresses(bad)
    return good


def learners_of(addressees: Sequence[Addressee]) -> Learners:
    """Return the learners with these addresses. It needs no lock: call it before one is taken."""
    keys = list(dict.fromkeys(one.learner_key for one in addressees))
    return Learners(addressees, known_learners.by_keys(keys))


class _Found:
    """Assignments by the keys and LMS user ids of their learners; of several, the one of the highest rank."""

    def __init__(self, assignments: Iterable[LearnerContentAssignment], *, rank: _Rank) -> None:
        ascending = sorted(assignments, key=rank)
        self._by: dict[str | int, LearnerContentAssignment] = {
            one.mailbox_or_learner_key: one for one in ascending
        }
        self._by |= {one.lms_user_id: one for one in ascending if one.lms_user_id}

    def of(self, identities: Iterable[str | int]) -> list[LearnerContentAssignment]:
        """Return the assignments of these keys and LMS user ids, each once, in their order."""
        found: list[LearnerContentAssignment] = []
        for identity in identities:
            one = self._by.get(identity)
            if one is not None and one not in found:
                found.append(one)
        return found


def match_learners(
    budget: Budget,
    *,
    content_key: str,
    course_key: str,
    learners: Learners,
    now: datetime,
    lock: bool = False,
    overrides: Overrides = NO_OVERRIDES,
) -> list[Match]:
    """Return the match of each addressee, in order. With `lock`, existing assignments stay locked.

    Addresses are compared by their keys, learners by the LMS user ids and the other addresses of their
    accounts. `course_key` is that of the course, also where its run is allocated.
    """
    known, keys = learners.known, list(learners.known)
    all_keys = list(dict.fromkeys([*keys, *chain.from_iterable(one.other_keys for one in known.values())]))
    lms_user_ids = [one.lms_user_id for one in known.values() if one.lms_user_id]
    same = {"budget": budget.pk, "content_key": content_key, "course_key": course_key}
    existing = _existing(all_keys, lms_user_ids, lock=lock, **same)
    earlier = _Earlier(existing, budget=budget, content_key=content_key, now=now, overrides=overrides)
    first_at: dict[str | int | UUID, int] = {}
    matches = []
    for addressee in learners.addressees:
        learner, position = known[addressee.learner_key], addressee.position
        lms_user_id = learner.lms_user_id
        ids = [lms_user_id] if lms_user_id else []
        identities: list[str | int] = [addressee.learner_key, *ids, *learner.other_keys]
        found, of_others = earlier.same.of(identities), earlier.elsewhere.of(identities)
        # Entries of one learner, or that would share an assignment, count once.
        shared = [*identities, *(one.uuid for one in (*found, *of_others))]
        first = min(first_at.setdefault(one, position) for one in shared)
        if first < position:
            first_at |= dict.fromkeys(shared, first)
            match = Match(addressee, Verdict.DUPLICATE, lms_user_id, duplicate_of=first)
        else:
            match = _match(addressee, lms_user_id, found, of_others, earlier)
            match.known_by = identities
        matches.append(match)
    return matches


def of_course(course_key: str | Parameter) -> Q:
    """Return the condition that an assignment is of this course or of one of its runs."""
    return Q(content_key=course_key) | Q(parent_content_key=course_key)


def still_valid(
    assignments: Sequence[LearnerContentAssignment], *, now: datetime
) -> list[LearnerContentAssignment]:
    """Return the assignments that are still open, and the accepted ones with content that has not ended.

    Content without a row, or without an end, has not ended. At most one query.
    """
    accepted = {one.content_id for one in assignments if one.state == State.ACCEPTED and one.content_id}
    past_end = ContentMetadata.objects.filter(pk__in=accepted, end_date__lte=now)
    ended = set(past_end.values_list("pk", flat=True)) if accepted else set()
    return [
        one
        for one in assignments
        if still_open(one, now=now) or (one.state == State.ACCEPTED and one.content_id not in ended)
    ]


def which_declined(assignments: Sequence[LearnerContentAssignment]) -> set[int]:
    """Return the pks of assignments that their learners declined in the current cycle. At most one query."""
    cancelled = [assignment.pk for assignment in assignments if assignment.state == State.CANCELLED]
    if not cancelled:
        return set()
    facts = LearnerContentAssignmentAction.objects.filter(
        assignment__in=cancelled, action_type=ActionType.DECLINED, cycle=F("assignment__cycle")
    )
    return set(facts.values_list("assignment_id", flat=True))


def _existing(
    keys: Sequence[str], lms_user_ids: Sequence[int], *, lock: bool, **same: Any
) -> list[LearnerContentAssignment]:
    """Return the assignments of learners with these keys or LMS user ids, of the `same` budget and course."""
    found: dict[int, LearnerContentAssignment] = {}
    for part in slices(max(len(keys), len(lms_user_ids)), ROWS_PER_QUERY):
        rows = _EXISTING[lock].read(keys=keys[part], lms_user_ids=lms_user_ids[part], **same)
        found.update((assignment.pk, assignment) for assignment in rows)
    return list(found.values())


def _of_learners(*, lock: bool) -> QuerySet[LearnerContentAssignment]:
    """Return the assignments that `_existing` asks for; with `lock`, locked."""
    parameters = {
        name: Parameter(name, LearnerContentAssignment._meta.get_field(column))
        for name, column in (
            ("budget", "budget"),
            ("content_key", "content_key"),
            ("course_key", "content_key"),
            ("keys", "learner_key"),
            ("lms_user_ids", "lms_user_id"),
        )
    }
    same_course = of_course(parameters["course_key"]) | Q(content_key=parameters["content_key"])
    mine = of_mailboxes(parameters["keys"]) | Q(lms_user_id__in=parameters["lms_user_ids"])
    rows = LearnerContentAssignment.objects.filter(same_course, mine, budget=parameters["budget"])
    rows = rows.only(*COLUMNS).order_by("pk")
    return for_update(rows) if lock else rows


_EXISTING = {lock: PreparedSelect(partial(_of_learners, lock=lock)) for lock in (False, True)}


class _Earlier:
    """The assignments that decide about a list: of the same content, and elsewhere of the same course."""

    def __init__(
        self,
        existing: Sequence[LearnerContentAssignment],
        *,
        budget: Budget,
        content_key: str,
        now: datetime,
        overrides: Overrides,
    ) -> None:
        same = [one for one in existing if one.content_key == content_key]
        others = [one for one in existing if one.content_key != content_key]
        # The pks of declined ones, unless they are to be allocated again.
        asked_for = overrides.reallocate_declined
        self.declined = set() if asked_for else which_declined(same)
        if self.declined and asked_for is None and budget.customer.reallocate_declined:
            self.declined = set()
        failed = [one for one in same if one.learner_state == LearnerState.FAILED]
        self.unnotified = failures.not_notified(failed, now=now) if failed else set()
        # Of a learner's two rows the one in force counts, else the one that stayed when they were re-keyed.
        self.same = _Found(same, rank=lambda one: (*_rank(one, self.declined), not one.duplicate_pk, -one.pk))
        valid = [] if overrides.allow_another else still_valid(others, now=now)
        self.elsewhere = _Found(valid, rank=lambda one: (one.state == State.ACCEPTED, -one.pk))


def _rank(assignment: LearnerContentAssignment, declined: Collection[int]) -> tuple[bool, bool]:
    return assignment.state in IN_FORCE, assignment.pk in declined


def _match(
    addressee: Addressee,
    lms_user_id: int | None,
    found: Sequence[LearnerContentAssignment],
    others: Sequence[LearnerContentAssignment],
    earlier: _Earlier,
) -> Match:
    """Return the verdict by the learner's assignments of this content, and `others` of the same course."""
    assignment = max(found, key=lambda one: _rank(one, earlier.declined), default=None)
    other = max(others, key=lambda one: one.state == State.ACCEPTED, default=None)
    if assignment is not None and assignment.state in IN_FORCE:
        at_this_address = assignment.mailbox_or_learner_key == addressee.learner_key
        unnotified = at_this_address and assignment.pk in earlier.unnotified
        verdict = Verdict.NOTIFIED_AGAIN if unnotified else Verdict.ALREADY_ASSIGNED
    elif other is not None:
        assignment = other
        verdict = Verdict.HAS_OTHER_RUN if other.is_assigned_course_run else Verdict.HAS_COURSE
        if other.state == State.ACCEPTED:
            verdict = Verdict.ACCEPTED
    elif assignment is None:
        verdict = Verdict.NEW
    else:
        verdict = Verdict.DECLINED if assignment.pk in earlier.declined else Verdict.REALLOCATED
    # A forgotten learner's placeholder is not another address of theirs.
    known_by_other_address = (
        assignment is not None
        and assignment.mailbox_or_learner_key != addressee.learner_key
        and assignment.forgotten_at is None
    )
    # Where the learner has several rows, another of them may have the LMS user id, which only one can have.
    return Match(
        addressee, verdict, None if len(found) > 1 else lms_user_id, assignment, known_by_other_address
    )
