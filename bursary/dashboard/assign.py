"""Assigning a course in the browser: what can be chosen, and what came of trying it out or doing it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Q

from bursary.access.models import User
from bursary.access.permissions import Permission, granted
from bursary.assignments import allocation
from bursary.assignments.addresses import BadAddresses, TooManyAddresses
from bursary.assignments.allocation import AllocationRefused
from bursary.assignments.choices import ExpiryReason
from bursary.assignments.matching import Verdict
from bursary.budgets.models import Budget
from bursary.dashboard import messages
from bursary.dashboard.forms import AssignForm, Choice, Entry
from bursary.dashboard.messages import CheckedEntry, Problem
from bursary.delivery.emails import DeadlineText, in_words
from bursary.replica import reads
from bursary.replica.models import ContentMetadata, ContentType

MOST_OFFERS = 20


@dataclass(frozen=True)
class CatalogChoice:
    """A course or run that can be chosen, at its price."""

    content: ContentMetadata
    choice: Choice
    chosen: bool


@dataclass(frozen=True)
class CatalogChoices:
    """What can be chosen, and whether the catalog holds more of it than is shown."""

    offers: Sequence[CatalogChoice]
    has_more: bool


@dataclass(frozen=True)
class AssignPreview:
    """What assigning would do now. Cents; `remaining_cents` is None where the budget is unlimited."""

    judged: Sequence[CheckedEntry]
    learners: int
    """Those who cost something."""
    price_cents: int
    cost_cents: int
    remaining_cents: int | None
    deadline: DeadlineText | None


@dataclass(frozen=True)
class AssignResult:
    """What came of an order: it was done, or tried out, or there are problems; a trial may have some too."""

    done: str = ""
    trial: AssignPreview | None = None
    problems: Sequence[Problem] = ()
    price_moved: bool = False
    """What was chosen is not on offer at that price any more."""


def budget_for(user: User, uuid: UUID) -> Budget | None:
    """Return the budget that the user may allocate from; None where there is none, or none for them."""
    may = granted(user, Permission.ALLOCATE, customer="customer")
    return Budget.objects.select_related("customer", "account").filter(may, uuid=uuid).first()


def catalog_choices(budget: Budget, *, words: str, now: datetime, chosen: Choice | None) -> CatalogChoices:
    """Return what can be assigned from the budget, with these words in its title.

    What was `chosen` keeps its price, so that what is done is what was tried out.
    """
    contents = (
        reads.held_by(budget.catalog_uuid)
        .filter(
            Q(enroll_by=None) | Q(enroll_by__gt=now),
            Q(end_date=None) | Q(end_date__gt=now),
            content_type__in=[ContentType.COURSE, ContentType.COURSERUN],
            title__icontains=words,
            active=True,
            gone_at=None,
            price_cents__isnull=False,
        )
        .defer("payload")
        .order_by("title", "content_type", "start_date", "pk")[: MOST_OFFERS + 1]
    )
    found = [_offer(content, chosen) for content in contents]
    return CatalogChoices(found[:MOST_OFFERS], has_more=len(found) > MOST_OFFERS)


def answer_form(
    form: AssignForm, budget: Budget, *, really: bool, actor: User, now: datetime
) -> AssignResult:
    """Return what comes of the form: `really` done, or tried out. Nothing where it is not filled in right."""
    if not form.is_valid():
        return AssignResult()
    choice, entries = form.cleaned_data["course"], form.cleaned_data["addresses"]
    if really:
        return _assign(budget, choice, entries, actor=actor, now=now)
    return _try_out(budget, choice, entries, now=now)


def _assign(
    budget: Budget, choice: Choice, entries: Sequence[Entry], *, actor: User, now: datetime
) -> AssignResult:
    """Allocate, all or nothing, and say so; or say why not."""
    try:
        done = allocation.allocate(
            budget,
            content_key=choice.content_key,
            price_cents=choice.price_cents,
            entries=[entry.text for entry in entries],
            actor=actor,
            now=now,
        )
    except (BadAddresses, TooManyAddresses, AllocationRefused, reads.ContentUnavailable) as refused:
        return AssignResult(problems=messages.problems(refused, entries), price_moved=_price_moved(refused))
    return AssignResult(done=messages.done(done, budget, price_cents=choice.price_cents))


def _try_out(budget: Budget, choice: Choice, entries: Sequence[Entry], *, now: datetime) -> AssignResult:
    """Return what `_assign` would do now, changing nothing."""
    try:
        seen = allocation.preview(
            budget,
            content_key=choice.content_key,
            price_cents=choice.price_cents,
            entries=[entry.text for entry in entries],
            now=now,
        )
    except (TooManyAddresses, reads.ContentUnavailable) as refused:
        return AssignResult(problems=messages.problems(refused, entries))
    refusals = [messages.refusal(refused) for refused in seen.refusals]
    trial = AssignPreview(
        judged=messages.judged(seen, entries),
        learners=sum(one.verdict in (Verdict.NEW, Verdict.AGAIN) for one in seen.outcomes),
        price_cents=choice.price_cents,
        cost_cents=seen.cost_cents,
        remaining_cents=seen.remaining_cents,
        deadline=_deadline(seen, budget),
    )
    return AssignResult(
        trial=trial,
        problems=[*refusals, *messages.bad_lines(seen.bad_addresses, entries)],
        price_moved=any(_price_moved(refused) for refused in seen.refusals),
    )


def _deadline(seen: allocation.Preview, budget: Budget) -> DeadlineText | None:
    if seen.deadline is None:
        return None
    return in_words(seen.deadline, ExpiryReason(seen.deadline_reason), customer=budget.customer)


def _price_moved(refused: Exception) -> bool:
    return isinstance(refused, AllocationRefused) and refused.reason == messages.PRICE_MOVED


def _offer(content: ContentMetadata, chosen: Choice | None) -> CatalogChoice:
    if chosen and chosen.content_key == content.content_key:
        return CatalogChoice(content, chosen, chosen=True)
    return CatalogChoice(content, Choice(content.price_cents or 0, content.content_key), chosen=False)
