"""What was spent from an account: its ledger entries with the assignments that they paid for.

The ledger knows an assignment only by the idempotency key of an entry (`ledger_key`), by which the
assignments of a page are found. Filters and orderings by learner or title use the indexed column
`transaction_uuid` instead, which names an entry, refunded ones included, until the assignment is allocated
again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import django_filters
from django.db.models import Exists, OuterRef, QuerySet
from django_filters.fields import MultipleChoiceField

from bursary.assignments import listing
from bursary.assignments.choices import ActionType
from bursary.assignments.filters import NumberFilter, TextFilter
from bursary.assignments.listing import AssignmentFilters, StableOrdering
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import LedgerEntry

COMMITTED = "committed"
STATES = ("created", "pending", COMMITTED, "failed")
"""The clients' states. An entry of this ledger is committed at once, and stays so: a refund is beside it."""

ORDERINGS = {
    "created": "created_at",
    "enrollment_date": "created_at",
    "quantity": "-cents",
    "course_list_price": "cents",
    "content_title": "paid_title",
    "course_title": "paid_title",
    "lms_user_email": "paid_address",
    "user_email": "paid_address",
}
"""The fields of an entry, and what the administrators' client calls them. Quantities are negative."""


@dataclass(frozen=True)
class PaidAssignment:
    """A ledger entry, and what it paid for."""

    entry: LedgerEntry
    assignment: LearnerContentAssignment | None
    """None only where the ledger was written by something else."""
    content_key: str
    """The key of the run that was redeemed, else of the assigned content; empty without an assignment."""


class _StatesField(MultipleChoiceField):
    """Any of the states. An empty value is as if it was left out."""

    def to_python(self, value: Any) -> list[str]:
        """Return the values that are given."""
        return [one for one in super().to_python(value) if one]


class _StatesFilter(django_filters.MultipleChoiceFilter):
    field_class = _StatesField


class LedgerEntryFilters(django_filters.FilterSet):
    """The query parameters of an account's ledger entries."""

    subsidy_access_policy_uuid = django_filters.UUIDFilter(field_name="budget__uuid")
    state = _StatesFilter(
        choices=[(state, state) for state in STATES],
        method="in_states",
        label="The transaction's state: all are `committed`, the other states match none",
    )
    lms_user_id = NumberFilter(method="of_assignments")
    content_key = TextFilter(
        method="of_assignments", label="The key of the assigned content, present or former"
    )
    search = TextFilter(
        method="of_assignments", label="Words that each occur in the content's title or the learner's address"
    )
    ordering = StableOrdering(columns=ORDERINGS, default="-created")

    def in_states(
        self, queryset: QuerySet[LedgerEntry], _name: str, value: Sequence[str]
    ) -> QuerySet[LedgerEntry]:
        """Keep all entries if they are asked for, else none."""
        return queryset if COMMITTED in value else queryset.none()

    def of_assignments(self, queryset: QuerySet[LedgerEntry], name: str, value: Any) -> QuerySet[LedgerEntry]:
        """Keep the entries of assignments that the same parameter of their list finds.

        Raises listing.ContentFiltersUnavailable.
        """
        found = AssignmentFilters({name: value}, queryset=_paid()).qs
        return queryset.filter(Exists(found.order_by()))


def of_account(account_uuid: UUID) -> QuerySet[LedgerEntry]:
    """Return the account's ledger entries, to be filtered by `LedgerEntryFilters`."""
    title, address = (_paid().values(name)[:1] for name in ("content_title", "learner_email"))
    entries = LedgerEntry.objects.filter(budget__account__uuid=account_uuid).select_related("budget")
    return entries.alias(paid_title=title, paid_address=address)


def with_assignments(entries: Sequence[LedgerEntry], *, now: datetime) -> list[PaidAssignment]:
    """Return the entries in this order, with their assignments as lists show them. Four queries."""
    uuids = [uuid for entry in entries if (uuid := _spent_for(entry)[0])]
    # Of the entry's own budget: a key is free text.
    known = LearnerContentAssignment.objects.filter(
        uuid__in=uuids, budget__in={entry.budget_id for entry in entries}
    )
    pks = list(known.order_by().values_list("pk", flat=True))
    rows = listing.with_timelines(pks, now=now, with_join_by=False)
    found = {row.uuid: row for row in rows}
    paid = []
    for entry in entries:
        uuid, cycle = _spent_for(entry)
        assignment = found.get(uuid) if uuid else None
        key = assignment.content_key if assignment else ""
        for action in assignment.actions.all() if assignment else ():  # prefetched, in order
            if action.action_type == ActionType.REDEEMED and str(action.cycle) == cycle:
                key = action.redeemed_content_key
        paid.append(PaidAssignment(entry, assignment, key))
    return paid


def _paid() -> QuerySet[LearnerContentAssignment]:
    return LearnerContentAssignment.objects.filter(transaction_uuid=OuterRef("uuid"))


def _spent_for(entry: LedgerEntry) -> tuple[UUID | None, str]:
    """Return the assignment's uuid and the cycle in an entry's key; None if it is another kind of key."""
    uuid, _, cycle = entry.idempotency_key.partition(":")
    try:
        return UUID(uuid), cycle
    except ValueError:
        return None, ""
