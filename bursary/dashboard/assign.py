"""Assigning a course in the browser: the preview, which shows problems first, and the allocation."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import UUID

from django.db import IntegrityError
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from bursary.access.models import User
from bursary.access.permissions import Permission, granted
from bursary.assignments import allocation, preview_warnings
from bursary.assignments.allocation import AllocationRefused
from bursary.assignments.choices import ExpiryReason
from bursary.assignments.matching import (
    CHARGED,
    OTHER_ASSIGNMENT,
    BadAddresses,
    Overrides,
    TooManyAddresses,
    Verdict,
)
from bursary.assignments.models import AllocationBatch
from bursary.assignments.preview_warnings import WarningSummary
from bursary.budgets.models import Budget
from bursary.dashboard import messages
from bursary.dashboard.forms import AssignForm
from bursary.dashboard.messages import CheckedEntry, Problem
from bursary.delivery.emails import DeadlineText, deadline_text_at
from bursary.lib import moments
from bursary.replica import reads

MAX_ENTRIES_SHOWN = 1000
"""The entries of each group that are shown at most; the others are counted."""


@dataclass(frozen=True)
class EntryGroup:
    """Entries of one kind, such as entries to correct. `more` is the number of entries that are not shown."""

    summary: str
    shown: Sequence[CheckedEntry]
    more: int
    folded: bool = False


@dataclass(frozen=True)
class AssignPreview:
    """The result that assigning would have now. `remaining_cents` is None if nothing limits the budget."""

    groups: Sequence[EntryGroup]
    """Entries to correct, entries to check, entries that change nothing, and the others."""
    learners: int
    """The number of learners that cost something."""
    price_cents: int
    cost_cents: int
    remaining_cents: int | None
    deadline: DeadlineText | None
    has_others: bool
    """Some learners have the course by another key; the form offers to assign it to them, too."""
    has_declined: bool
    """Some learners declined it; the form offers to assign it again."""
    due_date: str
    """The due date in words; empty if none was given."""
    due_date_overruled: bool
    """An earlier date is the deadline instead."""
    left_out: str
    """Sentences about lines without an address and about other columns; empty if there are none."""
    warnings: Sequence[WarningSummary]


@dataclass(frozen=True)
class AssignResult:
    """The result of a submitted form: a batch, a preview, or problems; also a preview with problems."""

    batch_uuid: UUID | None = None
    done: str = ""
    """The result in sentences; empty if an earlier submission of the form made the batch."""
    preview: AssignPreview | None = None
    problems: Sequence[Problem] = ()
    price_moved: bool = False
    """Whether the catalog's price has changed since the course was chosen."""


def budget_for(user: User, uuid: UUID) -> Budget | None:
    """Return the budget if the user may allocate from it, else None."""
    may = granted(user, Permission.ALLOCATE, customer="customer")
    return Budget.objects.select_related("customer", "account").filter(may, uuid=uuid).first()


def submit(form: AssignForm, budget: Budget, *, preview: bool, actor: User, now: datetime) -> AssignResult:
    """Allocate, all or nothing, or preview the allocation without changes. An invalid form does neither.

    A repeated form is the same request: its result is the batch that the first one made. A refused allocation
    is previewed, too, so that the user can check the entries.
    """
    if not form.is_valid():
        return AssignResult()
    choice, entries = form.cleaned_data["course"], form.cleaned_data["addresses"].entries
    asked = {
        "content_key": choice.content_key,
        "price_cents": choice.price_cents,
        "entries": [entry.text for entry in entries],
        "overrides": Overrides(form.cleaned_data["allow_another"], form.cleaned_data["reallocate_declined"]),
        "due_date": form.due_date,
        "now": now,
    }
    uuid, message = form.batch_uuid, form.cleaned_data["message"]
    made = AllocationBatch.objects.filter(uuid=uuid, budget=budget)
    try:
        if preview:
            return _preview(allocation.preview(budget, **asked), budget, form)
        if made.exists():
            return AssignResult(uuid)
        done = allocation.allocate(budget, **asked, actor=actor, message=message, batch_uuid=uuid)
    except (BadAddresses, TooManyAddresses, AllocationRefused, reads.ContentUnavailable) as refused:
        problems, price_moved = messages.problems(refused, entries), _price_moved(refused)
        seen = AssignResult() if preview else submit(form, budget, preview=True, actor=actor, now=now)
        return AssignResult(preview=seen.preview, problems=problems, price_moved=price_moved)
    except IntegrityError:  # a concurrent request with the same form was first
        if made.exists():
            return AssignResult(uuid)
        raise
    return AssignResult(uuid, _done(done, budget, form))


def _done(done: allocation.Allocation, budget: Budget, form: AssignForm) -> str:
    due = _("The due date is %(moment)s.") % {"moment": _due(budget, form.due_date)} if form.due_date else ""
    sentences = [
        messages.done(done, budget, price_cents=form.cleaned_data["course"].price_cents),
        due,
        form.cleaned_data["left_out"],
        messages.left_out(form.cleaned_data["addresses"]),
    ]
    return " ".join(filter(None, sentences))


def _due(budget: Budget, due_date: datetime | None) -> str:
    """Return the due date in words; empty if there is none."""
    return moments.in_words(due_date, zone=budget.customer.zone) if due_date else ""


def _preview(found: allocation.Preview, budget: Budget, form: AssignForm) -> AssignResult:
    choice, people = form.cleaned_data["course"], form.cleaned_data["addresses"]
    deadline, entries, verdicts = None, people.entries, [one.verdict for one in found.matches]
    if found.deadline:
        reason = ExpiryReason(found.deadline_reason)
        deadline = deadline_text_at(found.deadline, reason, customer=budget.customer)
    preview = AssignPreview(
        groups=_groups(messages.checked(found, entries)),
        learners=sum(one in CHARGED for one in verdicts),
        price_cents=choice.price_cents,
        cost_cents=found.cost_cents,
        remaining_cents=found.remaining_cents,
        deadline=deadline,
        has_others=any(one in OTHER_ASSIGNMENT for one in verdicts),
        has_declined=Verdict.DECLINED in verdicts,
        due_date=_due(budget, form.due_date),
        due_date_overruled=bool(form.due_date and found.deadline and found.deadline < form.due_date),
        left_out=messages.left_out(people),
        warnings=preview_warnings.summary(found.warnings),
    )
    refusals = [messages.refusal(refused) for refused in found.refusals]
    return AssignResult(
        preview=preview,
        problems=[*refusals, *messages.bad_lines(found.bad_addresses, entries)],
        price_moved=any(_price_moved(refused) for refused in found.refusals),
    )


def _groups(checked: Sequence[CheckedEntry]) -> list[EntryGroup]:
    """Return the entries grouped by what the reader must do, the most urgent first, ordinary ones folded."""
    bad = [one for one in checked if not one.usable]
    doubtful = [one for one in checked if one.usable and one.warnings]
    fine = [one for one in checked if one.usable and not one.warnings]
    unchanged = [one for one in fine if not one.costs]
    beyond = [one for one in fine if one.beyond_available]
    new = [one for one in fine if one.costs and not one.beyond_available]
    of_kind = (
        (bad, partial(ngettext, "%(count)s entry to correct", "%(count)s entries to correct")),
        (doubtful, partial(ngettext, "%(count)s entry to check", "%(count)s entries to check")),
        (unchanged, partial(ngettext, "%(count)s entry changes nothing", "%(count)s entries change nothing")),
        (
            beyond,
            partial(
                ngettext,
                "%(count)s learner for whom no money is left, in the order of the list",
                "%(count)s learners for whom no money is left, in the order of the list",
            ),
        ),
        (new, partial(ngettext, "%(count)s learner without remarks", "%(count)s learners without remarks")),
    )
    return [
        EntryGroup(
            words(len(found)) % {"count": f"{len(found):,}"},
            found[:MAX_ENTRIES_SHOWN],
            more=max(0, len(found) - MAX_ENTRIES_SHOWN),
            folded=found is new or found is beyond,
        )
        for found, words in of_kind
        if found
    ]


def _price_moved(refused: Exception) -> bool:
    return isinstance(refused, AllocationRefused) and refused.reason == messages.PRICE_MOVED
