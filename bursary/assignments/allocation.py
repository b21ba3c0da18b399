"""Allocation of content to learners within a budget: one decision for every address, then all or nothing.

Order of work and of locks: content, account and budget, assignments, actions. Only newly allocated learners
cost money. Repeating a request changes nothing, but that a mail which failed is sent again.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import UUID, uuid4

from django.db import transaction
from django.utils.translation import gettext as _

from bursary.access.models import User
from bursary.assignments import (
    actions,
    dates,
    derived,
    failures,
    lifecycle,
    matching,
    offers,
    preview_warnings,
)
from bursary.assignments.choices import ActionType, State
from bursary.assignments.matching import (
    CHARGED,
    LEARNER_COLUMNS,
    LEFT_AS_IS,
    NO_OVERRIDES,
    Match,
    Overrides,
    Verdict,
)
from bursary.assignments.models import AllocationBatch, LearnerContentAssignment
from bursary.assignments.offers import KnownOffer, Offer
from bursary.assignments.preview_warnings import PreviewWarning
from bursary.budgets import ledger
from bursary.budgets.models import Budget, NotInUse
from bursary.lib import inserts, moments
from bursary.lib.batches import chunks
from bursary.lib.money import dollars
from bursary.lib.retries import repeated_after_deadlocks
from bursary.replica import reads
from bursary.replica.joining import JoiningTerms, NotJoinable
from bursary.replica.types import AnyContent

ROWS_PER_STATEMENT = 1000
LONGEST_MESSAGE = 1000  # characters
LOWEST_PRICE, HIGHEST_PRICE = 95, 105  # percent of the catalog's price: decision 0004


@dataclass
class AllocationRefused(Exception):
    """The allocation is not possible. `reason` is stable; `details` are cents, dates or keys."""

    reason: str
    sentence: str
    next_step: str
    details: dict[str, object]

    def __str__(self) -> str:
        return self.sentence


@dataclass(frozen=True)
class Allocation:
    """The result of an allocation: the verdict on each address, and the assignments."""

    content: AnyContent
    matches: list[Match]
    terms: JoiningTerms
    """The run that learners can join, and until when."""
    batch: AllocationBatch

    def assignments(self, *verdicts: Verdict) -> list[LearnerContentAssignment]:
        """Return the assignments of these verdicts in the order of their addresses."""
        return [one.assignment for one in self.matches if one.verdict in verdicts and one.assignment]


@dataclass(frozen=True)
class Preview:
    """The result that an allocation would have now. `remaining_cents` is None for an unlimited budget."""

    matches: list[Match]
    bad_addresses: dict[int, str]
    refusals: list[AllocationRefused]
    cost_cents: int
    remaining_cents: int | None
    deadline: datetime | None
    deadline_reason: str
    terms: JoiningTerms | None
    warnings: dict[int, list[PreviewWarning]]
    """By position."""


@repeated_after_deadlocks
def allocate(
    budget: Budget,
    *,
    content_key: str,
    price_cents: int,
    entries: Sequence[object],
    now: datetime,
    actor: User | None = None,
    due_date: datetime | None = None,
    overrides: Overrides = NO_OVERRIDES,
    message: str = "",
    batch_uuid: UUID | None = None,
) -> Allocation:
    """Allocate one course or run to every address, within the budget, all or nothing; mail the `message`.

    One transaction locks content and budget, checks, matches, reserves the money, and writes the batch, the
    assignments and their actions, in this order. Raises matching.BadAddresses, matching.TooManyAddresses,
    AllocationRefused, reads.ContentUnavailable, and IntegrityError for a `batch_uuid` in use.
    """
    learners = matching.learners_of(matching.read_all_addresses(entries))
    known = _find(budget, content_key, now=now)
    must_open_before = dates.deadline_without_enroll_by_at_allocation(budget, now=now, due_date=due_date)
    with transaction.atomic():
        offer = offers.load(known, budget=budget, now=now, must_open_before=must_open_before, lock=True)
        locked = ledger.lock(budget.pk)
        terms = _check(locked, offer, price_cents=price_cents, now=now, due_date=due_date)
        match = partial(matching.match_learners, learners=learners, now=now, lock=True, overrides=overrides)
        matches = match(locked, content_key=offer.content.content_key, course_key=offer.course_key)
        _reserve(locked, cents=price_cents * sum(one.verdict in CHARGED for one in matches))
        batch = AllocationBatch(
            uuid=batch_uuid or uuid4(),
            budget=locked,
            price_cents=price_cents,
            due_date=due_date,
            message=message,
            actor=actor,
            created=now,
        )
        _write(batch, offer, matches)
    return Allocation(offer.content, matches, terms, batch)


def _write(batch: AllocationBatch, offer: Offer, matches: Sequence[Match]) -> None:
    """Write the batch, its assignments and their actions, with the budget locked and the money reserved."""
    budget, now, actor = batch.budget, batch.created, batch.actor
    batch.content_key = offer.content.content_key
    by_verdict: dict[Verdict, list[Match]] = defaultdict(list)
    for one in matches:
        by_verdict[one.verdict].append(one)
    batch.counts = {verdict.value: len(found) for verdict, found in by_verdict.items()}
    batch.unchanged = {
        verdict.value: [one.assignment.pk for one in found if one.assignment]
        for verdict, found in by_verdict.items()
        if verdict in LEFT_AS_IS
    }
    batch.save()
    columns: dict[str, object] = {
        "content": offer.row,
        "price_cents": batch.price_cents,
        "allocation_batch_uuid": batch.uuid,
        "allocated_by": actor,
        "due_date": batch.due_date,
        **derived.at_allocation(budget, offer=offer, now=now, due_date=batch.due_date),
    }
    new, again = by_verdict[Verdict.NEW], by_verdict[Verdict.REALLOCATED]
    unnotified = by_verdict[Verdict.NOTIFIED_AGAIN]
    _create(batch, offer, new, columns)
    existing = [one.assignment for one in again if one.assignment]
    assign_identity(again)
    lifecycle.move(
        budget, existing, ActionType.ALLOCATED, now=now, actor=actor, changes=columns, turn=len(new)
    )
    readdressed = [one.assignment for one in again if one.assignment and one.known_by_other_address]
    actions.record(readdressed, ActionType.EMAIL_CORRECTED, now=now, actor=actor)
    _notify_again(unnotified, batch, turn=len(new) + len(again))


def preview(
    budget: Budget,
    *,
    content_key: str,
    price_cents: int,
    entries: Sequence[object],
    now: datetime,
    due_date: datetime | None = None,
    overrides: Overrides = NO_OVERRIDES,
) -> Preview:
    """Return what `allocate` would do now, address by address, and change nothing.

    Raises matching.TooManyAddresses and reads.ContentUnavailable; other refusals are in the result.
    """
    addressees, bad = matching.read_addresses(entries)
    refusals: list[AllocationRefused] = []
    expires_at, reason, terms, key, course_key = None, "", None, content_key, content_key
    try:
        known = _find(budget, content_key, now=now)
        must_open_before = dates.deadline_without_enroll_by_at_allocation(budget, now=now, due_date=due_date)
        offer = offers.load(known, budget=budget, now=now, must_open_before=must_open_before, lock=False)
        key, course_key = offer.content.content_key, offer.course_key
        join_by = offer.join_by(now=now, must_open_before=must_open_before)
        expires_at, reason = dates.deadline(budget, join_by=join_by, allocated_at=now, due_date=due_date)
        terms = _check(budget, offer, price_cents=price_cents, now=now, due_date=due_date)
    except AllocationRefused as refused:
        refusals.append(refused)
    learners = matching.learners_of(addressees)
    match = partial(matching.match_learners, learners=learners, now=now, overrides=overrides)
    matches = match(budget, content_key=key, course_key=course_key)
    charged = [one for one in matches if one.verdict in CHARGED]
    cost = price_cents * len(charged)
    available = ledger.available_cents(budget)
    if short := ledger.shortage(budget, cents=cost):
        refusals.append(_too_expensive(short))
    remaining = None if available is None else available - cost
    warnings = preview_warnings.find(budget, charged, course_key=course_key, price_cents=price_cents, now=now)
    return Preview(matches, bad, refusals, cost, remaining, expires_at, reason, terms, warnings)


def _find(budget: Budget, content_key: str, *, now: datetime) -> KnownOffer:
    """Find the content. This may send requests to upstream, so it comes before the transaction."""
    try:
        return offers.find(content_key, budget=budget, now=now)
    except reads.UnknownContent as unknown:
        raise _not_in_catalog(content_key) from unknown


def _check(
    budget: Budget, offer: Offer, *, price_cents: int, now: datetime, due_date: datetime | None
) -> JoiningTerms:
    """Return the terms on which learners of this allocation can join; raises AllocationRefused."""
    _check_budget(budget, now=now)
    if not offer.in_catalog:
        raise _not_in_catalog(offer.content.content_key)
    must_open_before, reason = dates.deadline(budget, join_by=None, allocated_at=now, due_date=due_date)
    if must_open_before <= now:
        when = moments.in_words(must_open_before, zone=budget.customer.zone)
        raise AllocationRefused(
            "deadline_passed",
            _("The due date %(day)s has passed.") % {"day": when},
            _("Choose a later due date."),
            {"deadline": must_open_before, "deadline_reason": reason},
        )
    try:
        terms = offer.terms(now=now, must_open_before=must_open_before)
    except NotJoinable as refused:
        raise AllocationRefused(
            refused.reason,
            offers.in_words(refused, now=now, must_open_before=must_open_before, zone=budget.customer.zone),
            _("Choose content with a run that learners can join in time."),
            offers.details(refused, must_open_before=must_open_before),
        ) from refused
    _check_price(terms.price_cents, price_cents=price_cents)
    return terms


def _check_budget(budget: Budget, *, now: datetime) -> None:
    unused = budget.not_in_use(now)
    if unused in (NotInUse.RETIRED, NotInUse.INACTIVE):
        raise AllocationRefused(
            "policy_expired",
            _("This budget is switched off or retired."),
            _("Choose another budget."),
            {},
        )
    if unused:
        raise AllocationRefused(
            "subsidy_expired",
            _("This budget is not open today."),
            _("Choose another budget, or have this one's dates changed."),
            {"starts_at": budget.starts_at, "ends_at": budget.ends_at},
        )


def _check_price(known: int | None, *, price_cents: int) -> None:
    if known is None:
        raise AllocationRefused(
            "content_price_unknown",
            _("The catalog has no price for this, so the price cannot be checked."),
            _("Try again when the catalog has a price, or choose a run that has one."),
            {},
        )
    if not known * LOWEST_PRICE <= price_cents * 100 <= known * HIGHEST_PRICE:
        raise AllocationRefused(
            "price_out_of_band",
            _("The price of %(price)s is too far from the catalog's, %(known)s.")
            % {"price": dollars(price_cents), "known": dollars(known)},
            _("Enter a price between %(lowest)d and %(highest)d percent of the catalog's.")
            % {"lowest": LOWEST_PRICE, "highest": HIGHEST_PRICE},
            {"requested_price_cents": price_cents, "catalog_price_cents": known},
        )


def _not_in_catalog(content_key: str) -> AllocationRefused:
    return AllocationRefused(
        "content_not_in_catalog",
        _("This content is not in the budget's catalog."),
        _("Choose content from the budget's catalog."),
        {"content_key": content_key},
    )


def _reserve(budget: Budget, *, cents: int) -> None:
    try:
        ledger.reserve(budget, cents=cents)
    except ledger.InsufficientFunds as short:
        raise _too_expensive(short) from short


def _too_expensive(short: ledger.InsufficientFunds) -> AllocationRefused:
    return AllocationRefused(
        short.reason,
        str(short),
        _("Assign to fewer learners, or have the budget raised."),
        {"requested_cents": short.requested_cents, "available_cents": short.available_cents},
    )


def _create(
    batch: AllocationBatch, offer: Offer, matches: Sequence[Match], columns: dict[str, object]
) -> None:
    now = batch.created
    model = LearnerContentAssignment(
        budget=batch.budget,
        content_key=offer.content.content_key,
        parent_content_key=offer.parent_key,
        state=State.ALLOCATED,
        allocated_at=now,
        created=now,
        modified=now,
        **columns,
    )
    created = [
        inserts.unsaved_copy(
            model,
            learner_email=one.addressee.address,
            learner_key=one.addressee.learner_key,
            mailbox_key=one.addressee.learner_key,
            lms_user_id=one.lms_user_id,
        )
        for one in matches
    ]
    inserts.insert_all(created, size=ROWS_PER_STATEMENT)
    # MySQL returns no primary keys of bulk inserts.
    for chunk in chunks([one for one in created if one.pk is None], ROWS_PER_STATEMENT):
        uuids = [assignment.uuid for assignment in chunk]
        pks = dict(LearnerContentAssignment.objects.filter(uuid__in=uuids).values_list("uuid", "pk"))
        for assignment in chunk:
            assignment.pk = pks[assignment.uuid]
    for one, assignment in zip(matches, created, strict=True):
        one.assignment = assignment
    work = lifecycle.MOVES[ActionType.ALLOCATED].requests
    actions.record_and_request(created, ActionType.ALLOCATED, work=work, now=now, actor=batch.actor)


def assign_identity(matches: Iterable[Match]) -> None:
    """Write the requested address and LMS user id to assignments that are allocated again."""
    changed = []
    for one in matches:
        assignment, addressee = one.assignment, one.addressee
        if assignment is None:
            continue
        before = (assignment.learner_email, assignment.mailbox_or_learner_key, assignment.lms_user_id)
        lms_user_id = one.lms_user_id or assignment.lms_user_id
        if before == (addressee.address, addressee.learner_key, lms_user_id):
            continue
        assignment.learner_email, assignment.lms_user_id = addressee.address, lms_user_id
        if assignment.mailbox_or_learner_key != addressee.learner_key:
            assignment.learner_key = assignment.mailbox_key = addressee.learner_key
            assignment.duplicate_pk = 0
        changed.append(assignment)
    LearnerContentAssignment.objects.bulk_update(changed, LEARNER_COLUMNS, batch_size=500)


def _notify_again(matches: Sequence[Match], batch: AllocationBatch, *, turn: int) -> None:
    """Mail the learners again that the mail did not reach; their assignments now belong to this batch."""
    for chunk in chunks([one.assignment for one in matches if one.assignment], ROWS_PER_STATEMENT):
        named = LearnerContentAssignment.objects.filter(pk__in=[assignment.pk for assignment in chunk])
        named.update(allocation_batch_uuid=batch.uuid, modified=batch.created)
        failures.notify_again(chunk, now=batch.created, actor=batch.actor, turn=turn)
        turn += len(chunk)
