"""Assigning a course in the browser: the courses to choose from, the preview, and the assignment itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from bursary.access.models import User
from bursary.access.permissions import Permission, granted
from bursary.assignments import allocation, deadlines, preview_warnings
from bursary.assignments.addresses import BadAddresses, TooManyAddresses
from bursary.assignments.allocation import AllocationRefused
from bursary.assignments.choices import ExpiryReason
from bursary.assignments.matching import COSTLY, OTHER_ASSIGNMENT, Repeats, Verdict
from bursary.assignments.preview_warnings import WarningSummary
from bursary.budgets.models import Budget
from bursary.dashboard import messages
from bursary.dashboard.forms import AssignForm, Choice
from bursary.dashboard.messages import CheckedEntry, Problem
from bursary.delivery.emails import DeadlineText, in_words
from bursary.lib import moments
from bursary.replica import joining, reads
from bursary.replica.models import ContentMetadata

MOST_CHOICES = 20


@dataclass(frozen=True)
class CatalogChoice:
    """A course or run of the catalog, at its price."""

    content: ContentMetadata
    value: Choice
    chosen: bool
    join_by: datetime | None
    """When enrolment closes in the last run that learners can join."""


@dataclass(frozen=True)
class CatalogChoices:
    """The first courses and runs that match; `has_more` if the catalog holds others."""

    choices: Sequence[CatalogChoice]
    has_more: bool


@dataclass(frozen=True)
class AssignPreview:
    """What assigning would do now. Cents; `remaining_cents` is None if nothing limits the budget."""

    checked: Sequence[CheckedEntry]
    learners: int
    """Learners that cost something."""
    price_cents: int
    cost_cents: int
    remaining_cents: int | None
    deadline: DeadlineText | None
    has_others: bool
    """Some learners have the same course by another key: assigning another can be chosen."""
    has_declined: bool
    """Some learners declined it: assigning it again can be chosen."""
    due_date: str
    """As it was understood; empty if none was given."""
    left_out: str
    """A sentence about names and headings in the list; empty if there are none."""
    warnings: Sequence[WarningSummary]


@dataclass(frozen=True)
class AssignResult:
    """The result of a submitted form: `done`, a preview, or problems. A preview may have problems, too."""

    done: str = ""
    preview: AssignPreview | None = None
    problems: Sequence[Problem] = ()
    price_moved: bool = False
    """The catalog's price has changed since the course was chosen."""


def budget_for(user: User, uuid: UUID) -> Budget | None:
    """Return the budget if the user may allocate from it, else None."""
    may = granted(user, Permission.ALLOCATE, customer="customer")
    return Budget.objects.select_related("customer", "account").filter(may, uuid=uuid).first()


def catalog_choices(
    budget: Budget, *, words: str, now: datetime, chosen: Choice | None, due_date: datetime | None
) -> CatalogChoices:
    """Return the courses and runs that can be assigned from the budget, with `words` in their title.

    Until `due_date`, unless that has passed: then nothing could be assigned. `chosen` keeps its price, so
    that what is assigned is what was previewed.
    """
    until = due_date if due_date and due_date > now else None
    before, _reason = deadlines.deadline(budget, enroll_by=None, allocated_at=now, due_date=until)
    contents = (
        joining.joinable(catalog_uuid=budget.catalog_uuid, now=now, before=before)
        .filter(title__icontains=words, gone_at=None, joining_price__isnull=False)
        .defer("payload")
        .order_by("title", "content_type", "start_date", "pk")[: MOST_CHOICES + 1]
    )
    found = []
    for content in contents:
        is_chosen = chosen is not None and chosen.content_key == content.content_key
        value = chosen if chosen and is_chosen else Choice(content.joining_price, content.content_key)
        found.append(CatalogChoice(content, value, chosen=is_chosen, join_by=content.join_by))
    return CatalogChoices(found[:MOST_CHOICES], has_more=len(found) > MOST_CHOICES)


def submit(form: AssignForm, budget: Budget, *, preview: bool, actor: User, now: datetime) -> AssignResult:
    """Assign, all or nothing, or preview that without changing anything. An invalid form does neither."""
    if not form.is_valid():
        return AssignResult()
    choice, people, due_date = form.cleaned_data["course"], form.cleaned_data["addresses"], form.due_date
    entries = people.entries
    asked = {
        "content_key": choice.content_key,
        "price_cents": choice.price_cents,
        "entries": [entry.text for entry in entries],
        "repeats": Repeats(form.cleaned_data["allow_another"], form.cleaned_data["reallocate_declined"]),
        "due_date": due_date,
        "now": now,
    }
    try:
        if preview:
            return _preview(allocation.preview(budget, **asked), budget, form)
        done = allocation.allocate(budget, **asked, actor=actor)
    except (BadAddresses, TooManyAddresses, AllocationRefused, reads.ContentUnavailable) as refused:
        return AssignResult(problems=messages.problems(refused, entries), price_moved=_price_moved(refused))
    sentences = [
        messages.done(done, budget, price_cents=choice.price_cents),
        f"The due date is {_due(budget, due_date)}." if due_date else "",
        messages.left_out(people),
    ]
    return AssignResult(done=" ".join(filter(None, sentences)))


def _due(budget: Budget, due_date: datetime | None) -> str:
    """Return the due date as it was understood; empty if there is none."""
    return moments.in_words(due_date, zone=budget.customer.zone) if due_date else ""


def _preview(found: allocation.Preview, budget: Budget, form: AssignForm) -> AssignResult:
    choice, people = form.cleaned_data["course"], form.cleaned_data["addresses"]
    deadline, entries, verdicts = None, people.entries, [one.verdict for one in found.outcomes]
    if found.deadline:
        reason = ExpiryReason(found.deadline_reason)
        deadline = in_words(found.deadline, reason, customer=budget.customer)
    preview = AssignPreview(
        checked=messages.checked(found, entries),
        learners=sum(one in COSTLY for one in verdicts),
        price_cents=choice.price_cents,
        cost_cents=found.cost_cents,
        remaining_cents=found.remaining_cents,
        deadline=deadline,
        has_others=any(one in OTHER_ASSIGNMENT for one in verdicts),
        has_declined=Verdict.DECLINED in verdicts,
        due_date=_due(budget, form.due_date),
        left_out=messages.left_out(people),
        warnings=preview_warnings.summary(found.warnings),
    )
    refusals = [messages.refusal(refused) for refused in found.refusals]
    return AssignResult(
        preview=preview,
        problems=[*refusals, *messages.bad_lines(found.bad_addresses, entries)],
        price_moved=any(_price_moved(refused) for refused in found.refusals),
    )


def _price_moved(refused: Exception) -> bool:
    return isinstance(refused, AllocationRefused) and refused.reason == messages.PRICE_MOVED
