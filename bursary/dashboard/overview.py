"""The home page: notices, budgets, the chart of learners' reactions, and the user's own assignments."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.core.paginator import Page, Paginator
from django.db.models import Count, QuerySet
from django.utils.translation import gettext_lazy

from bursary.access.models import User
from bursary.access.permissions import Permission
from bursary.assignments import content_display, derived, listing, matching, redemption
from bursary.assignments.choices import IN_FORCE, State
from bursary.assignments.models import LearnerContentAssignment
from bursary.assignments.open_assignments import can_be_answered
from bursary.dashboard import attention, budget_pages, charts
from bursary.dashboard.assignment_filters import MAX_BUDGETS, of_budgets_of
from bursary.dashboard.attention import Attention
from bursary.dashboard.budget_pages import BudgetCard
from bursary.dashboard.charts import BarChart
from bursary.dashboard.chips import Chip
from bursary.dashboard.learner_answers import state_chip
from bursary.delivery.emails import DeadlineText, deadline_text
from bursary.lib.moments import UTC_ZONE
from bursary.replica import reads
from bursary.replica.types import CatalogKey

ATTENTION_SHOWN = 8
BUDGETS_SHOWN = 6
NEWEST = 10
OWN_PAGE = 25
ENDED = "ended"
REACTIONS = (State.ACCEPTED, State.ALLOCATED, State.EXPIRED, ENDED)
"""The series of the chart, from the bottom: every assignment is in one of them."""
LEGEND: Sequence[tuple[str, Any]] = (
    (State.ACCEPTED, gettext_lazy("Accepted")),
    (State.ALLOCATED, gettext_lazy("Open")),
    (State.EXPIRED, gettext_lazy("Expired")),
    (ENDED, gettext_lazy("Declined, cancelled or refunded")),
)


@dataclass(frozen=True)
class OwnLine:
    """One of the user's own assignments; `chip` is its state in the learner's words."""

    assignment: LearnerContentAssignment
    chip: Chip
    deadline: DeadlineText | None
    """None unless it is open."""
    answerable: bool
    """Whether it can be accepted or declined, judging by its row."""
    paid_by: str
    """The organisation that pays for it; empty once the assignment has ended."""
    course_url: str = ""
    """The enrolment URL of an accepted course; empty for other states, or if it is unknown."""


@dataclass(frozen=True)
class Overview:
    """The content of a user's home page."""

    attention: Sequence[Attention]
    less_urgent: Sequence[Attention]
    """Further notices, which are folded."""
    some_failed: bool
    """Whether a notice is about failed work."""
    budgets: Sequence[BudgetCard]
    """The first budgets."""
    has_more_budgets: bool
    reactions: BarChart | None
    """The number of assignments by the week of their allocation and their present state."""
    zone: ZoneInfo
    """The time zone of what may concern several budgets: the organisations'; UTC where they have several."""
    own: list[OwnLine]
    """The first assignments of the user, in the order of `listing.open_first`."""
    has_more_own: bool
    legend: Sequence[tuple[str, Any]] = LEGEND


def overview(user: User, *, now: datetime) -> Overview:
    """Return the home page of `user`. At most nine queries."""
    found = list(budget_pages.permitted(user)[: MAX_BUDGETS + 1])
    zones = {budget.customer.zone for budget in found}
    zone = zones.pop() if len(zones) == 1 else UTC_ZONE
    rows = of_budgets_of(user, found, permission=Permission.READ_ASSIGNMENTS)
    own_pks = list(listing.open_first(own_assignments(user), now=now)[: NEWEST + 1])
    own = _rows(own_pks[:NEWEST])
    content_display.load_shown_content(own, now=now)
    urgent = attention.items(user, found[:MAX_BUDGETS], rows, zone=zone, now=now) if found else []
    return Overview(
        attention=urgent[:ATTENTION_SHOWN],
        less_urgent=urgent[ATTENTION_SHOWN:],
        some_failed=any(one.kind == "danger" for one in urgent),
        budgets=[budget_pages.card(budget, now=now) for budget in found[:BUDGETS_SHOWN]],
        has_more_budgets=len(found) > BUDGETS_SHOWN,
        reactions=_reactions(rows, zone=zone, now=now) if found else None,
        zone=zone,
        own=_own_lines(own, now=now, linked=not found),  # an administrator's home has enough queries
        has_more_own=len(own_pks) > NEWEST,
    )


def _reactions(rows: QuerySet[LearnerContentAssignment], *, zone: ZoneInfo, now: datetime) -> BarChart:
    starts = charts.week_starts(now - timedelta(weeks=charts.WEEKS - 1), zone=zone)
    # No action is older than its allocation: the first condition excludes no more, but uses an index.
    recent = rows.filter(recent_action_at__gte=starts[0], allocated_at__gte=starts[0])
    recent = recent.order_by()
    by_week = recent.values_list(charts.PeriodOf("allocated_at", starts), "state")
    counts: Counter[tuple[int, str]] = Counter()
    for week, state, count in by_week.annotate(count=Count("pk")):
        counts[week, state if state in REACTIONS else ENDED] += count
    return charts.bar_chart(counts, series=REACTIONS, starts=starts)


def own_page(user: User, *, number: str, now: datetime) -> Page[Any]:
    """Return a page of `OwnLine`; numbers start at 1, others give the nearest page."""
    page: Page[Any] = Paginator(listing.open_first(own_assignments(user), now=now), OWN_PAGE).get_page(number)
    rows = _rows(list(page.object_list))
    content_display.load_shown_content(rows, now=now)
    page.object_list = _own_lines(rows, now=now, linked=True)
    return page


def _rows(pks: Sequence[int]) -> list[LearnerContentAssignment]:
    rows = LearnerContentAssignment.objects.select_related("budget__customer", "content")
    found = rows.defer("content__payload").annotate(in_catalog=derived.in_catalog()).in_bulk(pks)
    return [found[pk] for pk in pks if pk in found]


def _own_lines(own: Sequence[LearnerContentAssignment], *, now: datetime, linked: bool) -> list[OwnLine]:
    """Return the lines; if `linked`, those of accepted courses have the enrolment URL.

    The URLs take two queries, or none if no course is accepted.
    """
    declined = matching.which_declined(own)
    accepted = [one for one in own if linked and one.state == State.ACCEPTED]
    redeemed = redemption.redemptions(accepted)
    keys = {}
    for one in accepted:
        key = redeemed[one.pk].redeemed_content_key if one.pk in redeemed else one.content_key
        keys[one.pk] = CatalogKey(one.budget.catalog_uuid, key)
    urls = reads.courseware_urls(set(keys.values()))
    return [
        OwnLine(
            one,
            state_chip(one, now=now, declined=one.pk in declined),
            deadline_text(one, to_learner=True) if one.state == State.ALLOCATED else None,
            answerable=can_be_answered(one, now=now),
            paid_by=one.budget.customer.name if one.state in IN_FORCE else "",
            course_url=urls[keys[one.pk]] if one.pk in keys else "",
        )
        for one in own
    ]


def own_assignments(user: User) -> QuerySet[LearnerContentAssignment]:
    """Return the user's assignments, by address or by LMS user id."""
    return redemption.of_learner(lms_user_id=user.lms_user_id, learner_key=user.learner_key)
