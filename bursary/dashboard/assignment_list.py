"""The list of assignments: a page of rows by cursor, the counts by status, and the links to other views."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.http import QueryDict
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from bursary.access.models import User
from bursary.assignments import content_display, cursors, listing, statuses
from bursary.assignments.choices import LearnerState, State
from bursary.assignments.models import LearnerContentAssignment
from bursary.dashboard import assignment_filters, chips
from bursary.dashboard.assignment_filters import SORTS, WITHIN_DAYS, Selection, StatusTotal
from bursary.dashboard.chips import Chip
from bursary.lib import moments

PAGE = 50

_FOLDED = (
    *("cause", "content_title__icontains", "content_partner__icontains", "price_from", "price_to"),
    *("assigned_from", "assigned_to", "ended_from", "ended_to", "due_from", "due_to"),
)

_CLOSED: Mapping[str, Any] = {
    State.ACCEPTED: gettext_lazy("accepted %(day)s"),
    statuses.DECLINED: gettext_lazy("declined %(day)s"),
    State.EXPIRED: gettext_lazy("expired %(day)s"),
    State.CANCELLED: gettext_lazy("cancelled %(day)s"),
    State.REVERSED: gettext_lazy("refunded %(day)s"),
}


@dataclass(frozen=True)
class AssignmentRow:
    """An assignment of the list."""

    assignment: LearnerContentAssignment
    chip: Chip
    starts_at: datetime | None

    @property
    def deadline(self) -> str:
        """The date that decides the deadline, in words; empty unless the assignment is open."""
        is_open = self.assignment.state == State.ALLOCATED
        return str(statuses.DECIDED_BY[self.assignment.expires_reason]) if is_open else ""

    @property
    def closed(self) -> str:
        """How and when the assignment was accepted or ended, in words; empty while it is open."""
        at = statuses.closed_at(self.assignment)
        if not at:
            return ""
        words = _CLOSED[statuses.status_of(self.assignment.state, self.assignment.learner_state)]
        return str(words) % {"day": moments.dated(at.astimezone(self.assignment.budget.customer.zone))}

    @property
    def reminded(self) -> bool:
        """Whether the recent action is a reminder, not the allocation."""
        return self.assignment.recent_action_at > self.assignment.allocated_at


@dataclass(frozen=True)
class Column:
    """A column heading: the URL that sorts by it, and its present order as a value of `aria-sort`."""

    name: str
    label: str
    query: str
    sorted: str


@dataclass(frozen=True)
class Tab:
    """A status to choose, with its number of assignments; None if they are not counted."""

    label: str
    query: str
    count: int | None
    current: bool


@dataclass(frozen=True)
class ListPage:
    """A page of the list."""

    selection: Selection
    rows: Sequence[AssignmentRow]
    columns: Sequence[Column]
    tabs: Sequence[Tab]
    total: int
    """The number of assignments that the filters, including the status, find."""
    is_estimated: bool
    """Whether the total is estimated, as a search finds very many."""
    cents: int | None
    """Their prices together; None on later pages, and for the whole list, as pages of budgets show them."""
    earlier: str
    later: str
    query: str
    """The query string without its cursor, which a selection of everything refers to."""
    filtered: bool
    more_filters: bool
    """Whether one of the folded filters is in use."""
    error_codes: Sequence[tuple[str, str, int]]
    """Each error code of failed work, its sentence and its number of assignments; empty on later pages."""
    remarks: Sequence[str]
    """Sentences on an order or a page that was ignored, and on an order that the rows do not show."""
    within: Sequence[tuple[int, Any]] = WITHIN_DAYS

    @property
    def total_in_words(self) -> str:
        """The total with grouped thousands."""
        return number_format(self.total, use_l10n=True, force_grouping=True)


def load(user: User, query: QueryDict, *, now: datetime) -> ListPage:
    """Return the requested page. At most twelve queries. Raises Http404."""
    chosen = assignment_filters.selection(user, query, now=now).searched()
    descending, column = chosen.sort.startswith("-"), chosen.sort.removeprefix("-")
    cursor = query.get("cursor", "")
    found = cursors.cursor_page(chosen.rows, column=column, descending=descending, size=PAGE, cursor=cursor)
    rows = listing.with_timelines(found.pks, now=now, with_join_by=False)
    starts = content_display.starts_of(rows, now=now)
    is_everything = not (cursor or found.later or chosen.status)
    everything = rows if is_everything else None
    filtered = any(query[name] for name in query if name not in ("sort", "cursor", "status", "budget"))
    # For an estimate, money and the numbers by status are left out. Only the first page shows money.
    with_money = filtered and not (cursor or chosen.are_estimated)
    totals = None if chosen.are_estimated else chosen.totals(everything, with_money=with_money)
    total, is_estimated = chosen.total() if totals is None else (totals[chosen.status].count, False)
    return ListPage(
        selection=chosen,
        rows=[AssignmentRow(one, chips.chip(one, now=now), starts[one.pk]) for one in rows],
        columns=[_column(name, query, chosen.sort) for name in SORTS],
        tabs=_tabs(query, chosen.status, totals),
        total=total,
        is_estimated=is_estimated,
        cents=totals[chosen.status].cents if totals and with_money else None,
        earlier=found.earlier and query_with(query, cursor=found.earlier),
        later=found.later and query_with(query, cursor=found.later),
        query=query_with(query),
        filtered=filtered or bool(query.get("budget")),
        error_codes=() if cursor else chosen.error_codes(everything),
        more_filters=any(query.get(name) for name in _FOLDED),
        remarks=[
            *_remarks(query, chosen, page_found=found.understood),
            *_of_order(rows, starts, sort=column),
        ],
    )


def without_empty(query: QueryDict) -> str | None:
    """Return the query string without its empty parameters; None if it has none."""
    if all(query[name] for name in query):
        return None
    return urlencode([(name, query[name]) for name in query if query[name]])


def _remarks(query: QueryDict, chosen: Selection, *, page_found: bool) -> list[str]:
    found, sort = [], query.get("sort", "")
    if sort and sort != chosen.sort:
        found.append(
            _("The list cannot be sorted by “%(name)s”: the latest come first.")
            % {"name": sort.removeprefix("-")}
        )
    if not page_found:
        found.append(_("The page that the address names does not exist: this is the first one."))
    return found


def _of_order(
    rows: Sequence[LearnerContentAssignment], starts: Mapping[int, datetime | None], *, sort: str
) -> list[str]:
    """Return a sentence if some rows are sorted by another value than the column shows."""
    alike = {one.state for one in rows if one.learner_state == LearnerState.NONE}
    match sort:
        case "content_start" if any(starts[one.pk] != content_display.start(one) for one in rows):
            words = _(
                "Sorted by the start that the catalog gives for each course. Where that has passed, the list "
                "shows when the next run starts that the learner can join, or no date."
            )
        case "expires_at" if any(one.state != State.ALLOCATED for one in rows):
            words = _("What was accepted, or has ended, is sorted by the deadline that it had.")
        case "learner_state" if len(alike) > 1:
            words = _("Accepted, cancelled and refunded ones are not sorted apart: choose one status above.")
        case _:
            return []
    return [words]


def query_with(query: QueryDict, **parameters: str) -> str:
    """Return the query string with these parameters, without empty ones and without its cursor."""
    kept = {name: str(query[name]) for name in query if name != "cursor"}
    return urlencode({name: value for name, value in (kept | parameters).items() if value})


def _column(name: str, query: QueryDict, sort: str) -> Column:
    current = name == sort.removeprefix("-")
    descending = sort.startswith("-")
    # The first click sorts dates and amounts in descending order; a second one reverses the order.
    first = name if name in ("learner_email", "content_title", "expires_at", "content_start") else f"-{name}"
    other = name if descending else f"-{name}"
    return Column(
        name=name,
        label=str(SORTS[name]),
        query=query_with(query, sort=other if current else first),
        sorted=("descending" if descending else "ascending") if current else "none",
    )


def _tabs(query: QueryDict, status: str, totals: Mapping[str, StatusTotal] | None) -> list[Tab]:
    from_all = {"": _("All"), **statuses.STATUSES}
    return [
        Tab(
            label=str(words),
            query=query_with(query, status=name),
            count=None if totals is None else totals[name].count,
            current=name == status,
        )
        for name, words in from_all.items()
        if not name or name == status or totals is None or totals[name].count
    ]
