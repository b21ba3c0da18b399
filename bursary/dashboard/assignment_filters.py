"""The filters and the order of the list of assignments, from the query string of its page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import django_filters
from django.db.models import Count, QuerySet, Sum, Value
from django.http import Http404, QueryDict
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from bursary.access.models import User
from bursary.access.permissions import Permission, granted
from bursary.assignments import error_texts, failures, failures_by_code, listing, searches, statuses
from bursary.assignments.choices import State
from bursary.assignments.filters import MomentFilter, TextFilter
from bursary.assignments.listing import ContentFiltersUnavailable
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import LONGEST_AGE_DAYS, Budget
from bursary.lib.moments import UTC_ZONE

MAX_BUDGETS = 200  # budgets to choose from
MAX_FAILED = 5_000
"""Up to so many failures of an error code are looked up once for a page, which uses them three times."""

SORTS: Mapping[str, Any] = {
    "learner_email": gettext_lazy("Learner"),
    "content_title": gettext_lazy("Course"),
    "price_cents": gettext_lazy("Price"),
    "learner_state": gettext_lazy("Status"),
    "recent_action_at": gettext_lazy("Assigned or reminded"),
    "expires_at": gettext_lazy("Deadline"),
    "content_start": gettext_lazy("Start"),
}
"""The columns by which the list can be sorted. Each has an index with the budget, and is never NULL."""
NEWEST = "-recent_action_at"

FailedByCode = Mapping[str, set[int]] | None
"""Assignments (pks) by the error code of their failed work; None if they are not looked up."""
_Rows = QuerySet[LearnerContentAssignment]
_NO_FILTERS = ("budget", "status", "sort", "cursor")

_RANGES = [(f"{name}_from", f"{name}_to") for name in ("price", "assigned", "due", "ended")]
_WRONG_VALUES: Mapping[str, Any] = {
    "min_value": gettext_lazy("Give %(limit_value)s or more."),
    "max_value": gettext_lazy("Give %(limit_value)s or less."),
    "max_length": gettext_lazy("It is too long."),
}
"""Sentences for a wrong value, by the code of the form's error; other errors are sentences already."""

WITHIN_DAYS = (
    (7, gettext_lazy("7 days")),
    (14, gettext_lazy("14 days")),
    (30, gettext_lazy("30 days")),
    (90, gettext_lazy("90 days")),
)


class ListFilters(listing.AssignmentFilters):
    """The filters of the API's list, with more for people: dollars, dates, days to the deadline.

    Only the filters that the query string names are made.
    """

    price_from = django_filters.NumberFilter(
        method="costs_from", label=gettext_lazy("Price from"), min_value=0, max_value=10**12, decimal_places=2
    )
    price_to = django_filters.NumberFilter(
        method="costs_to", label=gettext_lazy("Price to"), min_value=0, max_value=10**12, decimal_places=2
    )
    assigned_from = MomentFilter(
        field_name="allocated_at", lookup_expr="gte", label=gettext_lazy("Assigned from")
    )
    assigned_to = MomentFilter(
        field_name="allocated_at", lookup_expr="lte", label=gettext_lazy("Assigned until")
    )
    ended_from = MomentFilter(method="closed_since", label=gettext_lazy("Accepted or ended from"))
    ended_to = MomentFilter(
        method="closed_until", lookup_expr="lte", label=gettext_lazy("Accepted or ended until")
    )
    due_from = MomentFilter(method="due_since", label=gettext_lazy("Deadline from"))
    due_to = MomentFilter(method="due_until", lookup_expr="lte", label=gettext_lazy("Deadline until"))
    within = django_filters.NumberFilter(
        method="ends_within", label=gettext_lazy("Deadline within"), min_value=1, max_value=LONGEST_AGE_DAYS
    )
    search = TextFilter(method="in_title_or_address", label=gettext_lazy("Learner or course"))
    content_key = TextFilter(method="of_course")
    exact_content_key = TextFilter(field_name="content_key")
    """A course without its runs, or a run."""

    def __init__(
        self, query: Mapping[str, Any], *, now: datetime, failed: FailedByCode = None, **kwargs: Any
    ) -> None:
        self.now, self.failed = now, failed
        super().__init__(query, only={*query, "ordering"}, **kwargs)

    def with_failed_work(
        self, queryset: QuerySet[LearnerContentAssignment], _name: str, value: Sequence[str]
    ) -> QuerySet[LearnerContentAssignment]:
        """Keep the assignments with failed work to repair, of one of these error codes."""
        if self.failed is None:
            return super().with_failed_work(queryset, _name, value)
        return queryset.filter(pk__in=set().union(*(self.failed.get(one, ()) for one in value)))

    def costs_from(self, queryset: QuerySet[Any], _name: str, value: Decimal) -> QuerySet[Any]:
        """Keep assignments that cost `value` dollars or more."""
        return queryset.filter(price_cents__gte=int(value * 100))

    def costs_to(self, queryset: QuerySet[Any], _name: str, value: Decimal) -> QuerySet[Any]:
        """Keep assignments that cost `value` dollars or less."""
        return queryset.filter(price_cents__lte=int(value * 100))

    def ends_within(self, queryset: QuerySet[Any], _name: str, value: Decimal) -> QuerySet[Any]:
        """Keep open assignments with a deadline in the next `value` days."""
        until = self.now + timedelta(days=int(value))
        return queryset.filter(state=State.ALLOCATED, expires_at__gt=self.now, expires_at__lte=until)

    def due_since(self, queryset: QuerySet[Any], _name: str, value: datetime) -> QuerySet[Any]:
        """Keep open assignments with a deadline at that instant or later."""
        return queryset.filter(state=State.ALLOCATED, expires_at__gte=value)

    def due_until(self, queryset: QuerySet[Any], _name: str, value: datetime) -> QuerySet[Any]:
        """Keep open assignments with a deadline at that instant or earlier."""
        return queryset.filter(state=State.ALLOCATED, expires_at__lte=value)

    def of_course(self, queryset: QuerySet[Any], _name: str, value: str) -> QuerySet[Any]:
        """Keep the assignments of a course and of its runs."""
        return queryset.filter(content_key=value) | queryset.filter(parent_content_key=value)


@dataclass
class StatusTotal:
    """The number of assignments with a status, and their prices in cents."""

    count: int = 0
    cents: int = 0


@dataclass(frozen=True)
class Selection:
    """The assignments that a query string selects for a user, from the user's budgets, unordered."""

    budgets: list[Budget]
    """The budgets to choose from, with their customers."""
    budget: Budget | None
    """The chosen budget, or the only one."""
    filters: ListFilters
    status: str
    """A key of `statuses.STATUSES`, or empty for all."""
    sort: str
    zone: ZoneInfo
    problems: Sequence[str]
    """Errors in the query string, as sentences; empty if it is valid."""
    _found: QuerySet[LearnerContentAssignment]
    _of_any_code: QuerySet[LearnerContentAssignment]
    _budget_pks: Any
    _narrowed: bool
    """Whether a filter other than budget, error code and status is in use."""
    are_estimated: bool = False
    """Whether a text search finds so many assignments that the numbers are estimated."""

    @property
    def rows(self) -> QuerySet[LearnerContentAssignment]:
        """The selected assignments with the status."""
        return with_status(self._found, self.status)

    def searched(self) -> "Selection":
        """Return the same selection with the results of its text search, if it has one.

        At most two queries; none without a text search.
        """
        if self.problems or not self.filters.is_search:
            return self
        found = searches.find(self._found)
        one_query = self._of_any_code is self._found
        others = found if one_query else searches.find(self._of_any_code)
        return replace(self, _found=found.rows, _of_any_code=others.rows, are_estimated=found.are_estimated)

    def total(self) -> tuple[int, bool]:
        """Return the number of assignments with the status, for a search that finds very many.

        Also return whether it is an estimate, as few may have the status. Two queries.
        """
        found = searches.find(self.rows)
        if not found.are_estimated:
            return found.rows.count(), False
        [estimated] = searches.estimates(self.rows)
        return searches.total(estimated, seen=0, has_more=True), True

    def totals(
        self, everything: Sequence[LearnerContentAssignment] | None, *, with_money: bool
    ) -> dict[str, StatusTotal]:
        """Return the number of assignments by status, whichever is chosen, `with_money` if true.

        The empty status has the total. One query, which reads only an index if there is no text search and no
        money to add up; none if `everything`, all assignments found, is given.
        """
        if everything is None:
            groups: Any = self._found.order_by().values_list("state", "learner_state")
            # A column that is not in the index would need a full scan.
            cents: Any = Sum("price_cents") if with_money else Value(0)
            groups = groups.annotate(count=Count("*"), cents=cents)
        else:
            groups = [(row.state, row.learner_state, 1, row.price_cents) for row in everything]
        totals = {status: StatusTotal() for status in ("", *statuses.STATUSES)}
        for state, learner_state, count, cents in groups:
            for status in ("", statuses.status_of(state, learner_state)):
                totals[status].count += count
                totals[status].cents += cents
        return totals

    def error_codes(
        self, everything: Sequence[LearnerContentAssignment] | None
    ) -> list[tuple[str, str, int]]:
        """Return each error code of failed work, its sentence and its number of assignments. One query.

        It counts the assignments that the filters find; `everything` has them if they are loaded.
        """
        chosen = self.filters.data.get("cause", "")
        if self.filters.failed is not None:
            return _in_words({chosen: 0, **self._counted(self.filters.failed)})
        if everything is not None and not chosen:
            counts = failures_by_code.of_assignments([row.pk for row in everything])
        elif self.status or self._narrowed:
            rows = with_status(self._of_any_code, self.status).order_by()
            counts = _by_code(assignment__in=rows.values("pk"))
        elif isinstance(self._budget_pks, list):  # saves a lookup of each assignment
            counts = failures_by_code.in_budget_pks(self._budget_pks)
        else:
            counts = _by_code(assignment__budget__in=self._budget_pks)
        return _in_words({chosen: 0, **counts})

    def _counted(self, failed: Mapping[str, set[int]]) -> dict[str, int]:
        """Return by code how many of these the other filters find, most first. At most one query."""
        if self.status or self._narrowed:
            rows = with_status(self._of_any_code, self.status).order_by()
            found = set(rows.filter(pk__in=set().union(*failed.values())).values_list("pk", flat=True))
            failed = {code: pks & found for code, pks in failed.items()}
        counts = {code: len(pks) for code, pks in failed.items() if pks}
        return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def _by_code(**among: Any) -> dict[str, int]:
    return dict(failures_by_code.by_error_code(failures.to_repair().filter(**among)))


def _in_words(counts: Mapping[str, int]) -> list[tuple[str, str, int]]:
    return [(one, str(error_texts.for_code(one).sentence), count) for one, count in counts.items() if one]


def with_status(rows: QuerySet[LearnerContentAssignment], status: str) -> QuerySet[LearnerContentAssignment]:
    """Return the rows with a status of `statuses.STATUSES`; all rows if it is empty."""
    return rows.filter(statuses.CONDITIONS[status]) if status else rows


def selection(
    user: User, query: QueryDict, *, now: datetime, permission: Permission = Permission.READ_ASSIGNMENTS
) -> Selection:
    """Return the assignments that a query string selects for the user. One or two queries.

    Raises Http404 for a budget that the user may not see, and for a user without budgets.
    """
    permitted = Budget.objects.filter(granted(user, permission, customer="customer"))
    budgets = list(permitted.select_related("customer").order_by("name", "pk")[:MAX_BUDGETS])
    budget = budgets[0] if len(budgets) == 1 else None
    asked = query.get("budget", "")
    if asked and _is_uuid(asked):
        budget = _asked(permitted, budgets, UUID(asked))
    if not budgets:
        raise Http404("There are no assignments to administer.")
    keys = _keys(user, [budget] if budget else budgets, permission=permission)
    of_budgets = LearnerContentAssignment.objects.filter(budget__in=keys)
    zones = {one.customer.zone for one in ([budget] if budget else budgets)}
    zone = zones.pop() if len(zones) == 1 else UTC_ZONE
    failed = failures_by_code.assignments_by_code(keys, limit=MAX_FAILED) if query.get("cause") else None
    filters = ListFilters(query, queryset=of_budgets, zone=zone, now=now, failed=failed)
    status, sort = query.get("status", ""), query.get("sort", "")
    problems, found, of_any_code = _found(query, filters)
    return Selection(
        budgets=budgets,
        budget=budget,
        filters=filters,
        status=status if status in statuses.STATUSES else "",
        sort=sort if sort.removeprefix("-") in SORTS else NEWEST,
        zone=zone,
        problems=problems,
        _found=found,
        _of_any_code=of_any_code,
        _budget_pks=keys,
        _narrowed=any(query[name] for name in set(query) - {*_NO_FILTERS, "cause"}),
    )


def _found(query: QueryDict, filters: ListFilters) -> tuple[list[str], _Rows, _Rows]:
    """Return the problems of a query string, the rows that it finds, and those with any error code.

    An invalid query string finds no rows: if it found all, bulk work or an export would use too many.
    """
    nothing = filters.queryset.none()
    if problems := _problems(query, filters):
        return problems, nothing, nothing
    others = {name: query[name] for name in query if name != "cause"}
    try:
        found: _Rows = filters.qs
        if len(others) == len(query):
            return [], found, found
        of_any = ListFilters(others, queryset=filters.queryset, zone=filters.zone, now=filters.now)
        return [], found, of_any.qs
    except ContentFiltersUnavailable as refused:
        return [str(refused)], nothing, nothing


def _problems(query: QueryDict, filters: ListFilters) -> list[str]:
    """Return the errors in a query string, as sentences."""
    found = []
    for name, (error, *_more) in filters.errors.as_data().items():
        label = str(filters.filters[name].label or "")
        limits = error.params or {}
        sentence = _WRONG_VALUES[error.code] % limits if error.code in _WRONG_VALUES else error.messages[0]
        found.append(f"{name if label.startswith('[') else label or name}: {sentence}")
    asked = {} if found else filters.form.cleaned_data
    for first, last in _RANGES:
        if asked.get(first) and asked.get(last) and asked[first] > asked[last]:
            found.append(
                f"{filters.filters[first].label}: {_('It is beyond the other end: nothing can match.')}"
            )
    unknown = sorted(set(query) - {*filters.filters, *_NO_FILTERS})
    found += [_("There is no filter “%(name)s”.") % {"name": name} for name in unknown]
    status = query.get("status", "")
    if status and status not in statuses.STATUSES:
        found.append(_("There is no status “%(name)s”.") % {"name": status})
    if (budget := query.get("budget", "")) and not _is_uuid(budget):
        found.append(_("There is no budget “%(name)s”: choose one below.") % {"name": budget})
    return found


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def of_budgets_of(
    user: User, budgets: Sequence[Budget], *, permission: Permission
) -> QuerySet[LearnerContentAssignment]:
    """Return the assignments of the budgets, for which the user has the permission.

    If no budgets or `MAX_BUDGETS` are given, return those of all budgets with the permission.
    """
    return LearnerContentAssignment.objects.filter(budget__in=_keys(user, budgets, permission=permission))


def _keys(user: User, budgets: Sequence[Budget], *, permission: Permission) -> Any:
    """Return the keys of the budgets, or a query for them.

    With a few keys, a database plans better than with the condition.
    """
    keys = [budget.pk for budget in budgets]
    if 0 < len(keys) < MAX_BUDGETS:
        return keys
    # An uncorrelated subquery is evaluated once, unlike `granted` on each row.
    permitted = Budget.objects.filter(granted(user, permission, customer="customer"))
    return permitted.order_by().values("pk")


def _asked(permitted: QuerySet[Budget], budgets: list[Budget], uuid: UUID) -> Budget:
    """Return the requested budget, by a query if it is not in the list. Raises Http404."""
    budget = next((one for one in budgets if one.uuid == uuid), None)
    budget = budget or permitted.select_related("customer").filter(uuid=uuid).first()
    if budget is None:
        raise Http404("There is no such budget.")
    return budget
