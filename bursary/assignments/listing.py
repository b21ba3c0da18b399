"""Lists of assignments: filters, search, ordering, counts and pages, for the API and the dashboard.

Content is filtered through the foreign key (decision 0003). Title and start are sorted by derived columns;
`content_enroll_by` is also filtered by one. Orderings end in the primary key: pages miss and repeat no row.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import django_filters
from django.db.models import Case, Count, DateTimeField, F, OrderBy, Prefetch, Q, QuerySet, Value, When
from django.db.models.functions import NullIf
from django.db.models.query import prefetch_related_objects
from django.utils.translation import gettext as _
from django_filters.constants import EMPTY_VALUES

from bursary.access import known_learners
from bursary.access.models import learner_key, of_mailboxes
from bursary.assignments import (
    content_display,
    derived,
    failures,
    learner_accounts,
    searches,
    shown_assignments,
    statuses,
)
from bursary.assignments.choices import LearnerState, State
from bursary.assignments.filters import (
    ChoicesFilter,
    DayFilter,
    FlagFilter,
    MomentFilter,
    NumberFilter,
    NumbersFilter,
    TextFilter,
    TextsFilter,
)
from bursary.assignments.learner_accounts import AccountEnded
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.assignments.open_assignments import still_open_sql
from bursary.assignments.shown_assignments import JOIN_BY_COLUMN, ShownAssignment
from bursary.lib import mailbox, moments
from bursary.lib.moments import FAR_FUTURE, UTC_ZONE
from bursary.lib.prepared import Parameter, PreparedSelect
from bursary.replica import reads, renamed_keys

DEFAULT_ORDERING = "-recent_action_time"

ORDERINGS: Mapping[str, str] = {
    "recent_action_time": "recent_action_at",
    "learner_state_sort_order": "learner_state",
    "content_quantity": "-price_cents",
    "state": "state",
    "learner_email": "learner_email",
    "content_key": "content_key",
    "expires_at": "expires_at",
    "content_title": "content_title",
    "content_start": "content_start",
    "content_enroll_by": "content_enroll_by",
    "content_end": "content__end_date",
    "content_price_cents": "content__price_cents",
    "content_course_type": "content__course_type",
    "content_partner": "content__partner_names",
}
"""The sort keys of the clients, and the columns behind them. Quantities are negative prices."""

_STATES = [*State.choices, ("errored", "errored")]  # a state that clients send and no assignment has
_LEARNER_STATES = [(state.label, state.label) for state in LearnerState if state.label]


class StableOrdering(django_filters.OrderingFilter):
    """Orders by the given keys, unknown values last, then by the primary key in the same direction."""

    def __init__(self, *, columns: Mapping[str, str], default: str) -> None:
        self.columns, self.default = columns, default
        super().__init__(choices=[(sign + key, sign + key) for key in columns for sign in ("", "-")])

    def filter(self, qs: QuerySet[Any], value: Sequence[str] | None) -> QuerySet[Any]:
        """Return `qs` in a total order."""
        keys = [key for key in value or [] if key not in EMPTY_VALUES] or [self.default]
        terms = []
        for key in keys:
            column = self.columns[key.removeprefix("-")]
            descending = key.startswith("-") != column.startswith("-")
            column = column.removeprefix("-")
            nulls_last = True if "__" in column else None  # through the content, it may be NULL
            terms.append(OrderBy(F(column), descending=descending, nulls_last=nulls_last))
        return qs.order_by(*terms, OrderBy(F("pk"), descending=terms[0].descending))


def _content_filters() -> dict[str, django_filters.Filter]:
    """Return `content_{field}` with the lookups that make sense for it, through the foreign key.

    But `content_enroll_by` is the column that it is sorted by: until when the assignment's learner can join.
    """
    filters: dict[str, django_filters.Filter] = {}

    def add(name: str, column: str, lookups: Mapping[str, Callable[..., django_filters.Filter]]) -> None:
        for lookup, kind in lookups.items():
            parameter = name if lookup == "exact" else f"{name}__{lookup}"
            filters[parameter] = kind(field_name=column, lookup_expr=lookup)

    text = {"exact": TextFilter, "icontains": TextFilter, "in": TextsFilter}
    moment = {"exact": DayFilter, "gte": MomentFilter, "lte": MomentFilter}
    number = {"exact": NumberFilter, "gte": NumberFilter, "lte": NumberFilter, "in": NumbersFilter}
    for name, column in (("title", "title"), ("course_type", "course_type"), ("partner", "partner_names")):
        add(f"content_{name}", f"content__{column}", text)
    for name in ("start", "end"):
        add(f"content_{name}", f"content__{name}_date", moment)
    add(JOIN_BY_COLUMN, JOIN_BY_COLUMN, moment)
    add("content_price_cents", "content__price_cents", number)
    return filters


_OF_CONTENT = tuple(_content_filters())


class ContentFiltersUnavailable(Exception):
    """A filter needs the replica, and the read mode is upstream."""

    reason = "content_filters_unavailable"

    def __init__(self, parameters: Sequence[str]) -> None:
        sentence = _("Content is read upstream at present: %(names)s cannot be used.")
        super().__init__(sentence % {"names": ", ".join(parameters)})
        self.parameters = parameters


class AssignmentFilters(django_filters.FilterSet):
    """The query parameters of assignment lists. Dates without a time zone are meant in `zone`.

    Name the parameters that are used in `only`, and the others are not made.
    """

    state = django_filters.ChoiceFilter(choices=_STATES)
    state__in = ChoicesFilter(field_name="state", lookup_expr="in", choices=_STATES)
    learner_state = django_filters.ChoiceFilter(choices=_LEARNER_STATES, method="in_learner_states")
    learner_state__in = ChoicesFilter(choices=_LEARNER_STATES, method="in_learner_states")
    learner_email = TextFilter(method="of_addresses", label="The learner's address, however it is written")
    learner_email__in = TextsFilter(method="of_addresses", label="Any of these addresses of learners")
    lms_user_id = NumberFilter(method="of_own_learners")
    lms_user_id__in = NumbersFilter(method="of_own_learners")
    declined = FlagFilter(method="by_learners_refusal", label="Whether the learner declined the assignment")
    account_ended = django_filters.ChoiceFilter(choices=AccountEnded.choices, method="with_ended_account")
    ended_at__gte = MomentFilter(
        method="closed_since",
        label="Assignments that were accepted, or ended otherwise, at this time or later",
    )
    ended_at__lte = MomentFilter(
        method="closed_until",
        lookup_expr="lte",
        label="Assignments that were accepted, or ended otherwise, at this time or earlier",
    )
    cause = TextsFilter(method="with_failed_work", label="Any of these causes of failed work to repair")
    allocation_batch = django_filters.UUIDFilter(field_name="allocation_batch_uuid")
    content_key = TextFilter(method="of_content", label="The content's key, present or former")
    content_key__in = TextsFilter(
        method="of_content", label="Any of these keys of content, present or former"
    )
    search = TextFilter(
        method="in_title_or_address",
        label="Words that each occur in the content's title or the learner's address",
    )
    ordering = StableOrdering(columns=ORDERINGS, default=DEFAULT_ORDERING)

    def __init__(
        self, *args: Any, zone: ZoneInfo = UTC_ZONE, only: Container[str] | None = None, **kwargs: Any
    ) -> None:
        self.zone = zone
        if only is not None:  # the others would keep every row, and take longer than the database
            used = {name: one for name, one in self.base_filters.items() if name in only}
            self.__dict__["base_filters"] = used
        super().__init__(*args, **kwargs)

    @classmethod
    def get_filters(cls) -> dict[str, django_filters.Filter]:
        """Return the declared filters and those on content."""
        return {**super().get_filters(), **_content_filters()}

    def filter_queryset(
        self, queryset: QuerySet[LearnerContentAssignment]
    ) -> QuerySet[LearnerContentAssignment]:
        """Return the filtered set. Raises ContentFiltersUnavailable."""
        if reads.are_from_upstream() and (parameters := self._through_content()):
            raise ContentFiltersUnavailable(parameters)
        found: QuerySet[LearnerContentAssignment] = super().filter_queryset(queryset)
        used = {name for name in _OF_CONTENT if self.form.cleaned_data.get(name) not in EMPTY_VALUES}
        by_join_by = {name for name in used if name.startswith(JOIN_BY_COLUMN)}
        if used - by_join_by:
            found = found.filter(derived.in_catalog())  # what has left may be as another catalog has it
        return found.filter(**{f"{JOIN_BY_COLUMN}__lt": FAR_FUTURE}) if by_join_by else found

    @property
    def is_search(self) -> bool:
        """Whether text is searched for, which looks at many rows to find some (`searches`)."""
        return self.form.is_valid() and self.form.cleaned_data.get("search") not in EMPTY_VALUES

    def understood(self) -> dict[str, str]:
        """Return the instants that the filters in use mean, in ISO 8601 with the offset of `zone`."""
        asked = self.form.cleaned_data
        used = [
            name for name, one in self.filters.items() if isinstance(one, MomentFilter) and asked.get(name)
        ]
        return {name: self._iso(asked[name]) for name in used}

    def _iso(self, asked: datetime | tuple[datetime, datetime]) -> str:
        """Return an instant; of a span both ends, as ISO 8601 writes an interval."""
        ends = dict.fromkeys(asked) if isinstance(asked, tuple) else (asked,)
        return "/".join(moments.iso(end, zone=self.zone) for end in ends)

    def _through_content(self) -> list[str]:
        """Return the parameters in use that need the replica's rows."""
        asked = self.form.cleaned_data
        used = [name for name in (*_OF_CONTENT, "search") if asked.get(name) not in EMPTY_VALUES]
        keys = [key.removeprefix("-") for key in asked.get("ordering") or ()]
        return used + [f"ordering={key}" for key in keys if "__" in ORDERINGS.get(key, "")]

    def of_own_learners(
        self, queryset: QuerySet[LearnerContentAssignment], _name: str, value: int | Sequence[int]
    ) -> QuerySet[LearnerContentAssignment]:
        """Keep rows with these ids, of learners of the budget's organisation: others' ids are not shown."""
        ids = [value] if isinstance(value, int) else value
        return queryset.filter(known_learners.learns_at("budget__customer"), lms_user_id__in=ids)

    def in_learner_states(
        self, queryset: QuerySet[LearnerContentAssignment], _name: str, value: str | Sequence[str]
    ) -> QuerySet[LearnerContentAssignment]:
        """Translate the values of the API into the numbers that are stored."""
        words = [value] if isinstance(value, str) else value
        return queryset.filter(learner_state__in=[state for state in LearnerState if state.label in words])

    def by_learners_refusal(
        self, queryset: QuerySet[LearnerContentAssignment], _name: str, value: bool
    ) -> QuerySet[LearnerContentAssignment]:
        """Keep what learners declined; of false, everything else."""
        declined = Q(learner_state=LearnerState.DECLINED)
        return queryset.filter(declined if value else ~declined)

    def of_content(
        self, queryset: QuerySet[LearnerContentAssignment], _name: str, value: str | Sequence[str]
    ) -> QuerySet[LearnerContentAssignment]:
        """Keep the assignments of content with any of these keys, which a course may have had before."""
        keys = [value] if isinstance(value, str) else value
        return queryset.filter(content_key__in=renamed_keys.either_key(keys))

    def of_addresses(
        self, queryset: QuerySet[LearnerContentAssignment], _name: str, value: str | Sequence[str]
    ) -> QuerySet[LearnerContentAssignment]:
        """Keep the assignments of any of these addresses, by the keys of their mailboxes."""
        addresses = [value] if isinstance(value, str) else value
        return queryset.filter(of_mailboxes([learner_key(address) for address in addresses]))

    def closed_since(self, queryset: QuerySet[Any], _name: str, value: datetime) -> QuerySet[Any]:
        """Keep what was accepted, cancelled, declined, refunded or expired at that instant or later."""
        return queryset.filter(statuses.closed_at_compares("gte", value))

    def closed_until(self, queryset: QuerySet[Any], _name: str, value: datetime) -> QuerySet[Any]:
        """Keep what was accepted, cancelled, declined, refunded or expired at that instant or earlier."""
        return queryset.filter(statuses.closed_at_compares("lte", value))

    def with_ended_account(
        self, queryset: QuerySet[LearnerContentAssignment], _name: str, value: str
    ) -> QuerySet[LearnerContentAssignment]:
        """Keep the assignments of learners with a deactivated, or a deleted, account."""
        return queryset.alias(account_ended=learner_accounts.ended_column()).filter(account_ended=value)

    def with_failed_work(
        self, queryset: QuerySet[LearnerContentAssignment], _name: str, value: Sequence[str]
    ) -> QuerySet[LearnerContentAssignment]:
        """Keep the assignments with failed work to repair, of one of these error codes."""
        return queryset.filter(failures.with_failures(value))

    def in_title_or_address(
        self, queryset: QuerySet[LearnerContentAssignment], _name: str, value: str
    ) -> QuerySet[LearnerContentAssignment]:
        """Keep rows in which every word occurs in the content's title, as recorded, or the learner's address.

        Without a join, and without a subquery for each row: each row of the budget is looked at.
        """
        for word in value.split():
            address = mailbox.comparable_text(word)
            found = Q(content_title__contains=word.casefold()) | Q(learner_email__icontains=address)
            if "@" in address:  # a row of an earlier release spells it otherwise
                found |= of_mailboxes([learner_key(word)])
            queryset = queryset.filter(found)
        return queryset


def open_first(
    assignments: QuerySet[LearnerContentAssignment], *, now: datetime | Parameter
) -> QuerySet[LearnerContentAssignment, int]:
    """Return the primary keys, `in_learners_order`."""
    return in_learners_order(assignments, now=now).values_list("pk", flat=True)


def in_learners_order(
    assignments: QuerySet[LearnerContentAssignment], *, now: datetime | Parameter
) -> QuerySet[LearnerContentAssignment]:
    """Return the assignments: open ones by deadline, then accepted, then ended ones."""
    still_open = still_open_sql(now=now)
    rank = Case(When(still_open, then=Value(0)), When(state=State.ACCEPTED, then=Value(1)), default=Value(2))
    deadline = Case(When(still_open, then=F("expires_at")), default=Value(FAR_FUTURE))
    return assignments.order_by(rank, deadline, "-pk")


@dataclass(frozen=True)
class Page:
    """Some rows of a filtered set, and the whole set's counts."""

    rows: list[ShownAssignment]
    count: int
    learner_state_counts: list[tuple[LearnerState, int]]
    """Most common first, without those that have no word on the wire."""
    are_estimated: bool
    """The counts are: of a search that finds very many (`searches`)."""


def counts_by_learner_state(queryset: QuerySet[LearnerContentAssignment]) -> QuerySet[Any, tuple[int, int]]:
    """Return how many have each learner state, most common first. Of a state, an index is enough."""
    counts = queryset.order_by().values_list("learner_state").annotate(count=Count("*"))
    return counts.order_by("-count", "learner_state")


def estimates_by_learner_state(queryset: QuerySet[LearnerContentAssignment]) -> list[tuple[int, int]]:
    """Return the counts of `counts_by_learner_state` as PostgreSQL estimates them."""
    counts = searches.estimates(*(queryset.filter(learner_state=state) for state in LearnerState))
    found = [(state.value, count) for state, count in zip(LearnerState, counts, strict=True) if count]
    return sorted(found, key=lambda one: (-one[1], one[0]))


def page(
    queryset: QuerySet[LearnerContentAssignment],
    *,
    number: int,
    size: int,
    now: datetime,
    is_search: bool = False,
) -> Page:
    """Return page `number` (from 1) of an ordered set, with its content, actions and counts: six queries.

    One more where it `is_search`; then the counts of very many are estimated.
    """
    found = searches.find(queryset) if is_search else searches.SearchResult(queryset)
    counted = estimates_by_learner_state if found.are_estimated else counts_by_learner_state
    by_state = [(LearnerState(state), count) for state, count in counted(found.rows)]
    count = sum(count for _state, count in by_state)
    start = (number - 1) * size
    # The keys first, over an index, then the rows by key. One more: an estimate must not end a list.
    keys = list(found.rows.values_list("pk", flat=True)[start : start + size + found.are_estimated])
    rows = shown_assignments.load_all(keys[:size], now=now)
    if found.are_estimated:
        count = searches.total(count, seen=start + len(rows), has_more=len(keys) > size)
    return Page(
        rows=rows,
        count=count,
        learner_state_counts=[(state, count) for state, count in by_state if state.label],
        are_estimated=found.are_estimated,
    )


def with_timelines(
    pks: Sequence[int], *, now: datetime, with_join_by: bool = True
) -> list[LearnerContentAssignment]:
    """Return these assignments in this order, with content and actions, without what no list shows.

    `join_by` looks at the runs of each: leave it out where it is not shown, and they are thousands.
    """
    found = {one.pk: one for one in _SHOWN[with_join_by].read(pks=pks, now=now)} if pks else {}
    rows = [found[pk] for pk in pks if pk in found]
    timeline = LearnerContentAssignmentAction.objects.timeline().defer("attempt_log", "payload", "traceback")
    prefetch_related_objects(rows, Prefetch("actions", queryset=timeline))
    content_display.load_shown_content(rows, now=now)
    return rows


def _shown(*, with_join_by: bool) -> QuerySet[LearnerContentAssignment]:
    # The date of the column `content_enroll_by`, read from the content itself; NULL for none.
    last = derived.join_by_sql(now=Parameter("now", DateTimeField()))
    date = Case(When(derived.in_catalog(), then=last), default=F(JOIN_BY_COLUMN))
    more = {"join_by": NullIf(date, Value(FAR_FUTURE))} if with_join_by else {}
    return (
        LearnerContentAssignment.objects.filter(pk__in=Parameter("pks", LearnerContentAssignment._meta.pk))
        .select_related("content", "budget__customer", "budget__account")
        .annotate(
            learns_here=known_learners.learns_at("budget__customer"),
            account_ended=learner_accounts.ended_column(),
            in_catalog=derived.in_catalog(),
            **more,
        )
        .defer("content__payload")
        .order_by()
    )


_SHOWN = {shown: PreparedSelect(partial(_shown, with_join_by=shown)) for shown in (False, True)}
