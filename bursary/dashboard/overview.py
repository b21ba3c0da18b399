"""The home page: budgets, newest assignments and notices that the user may see."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import QuerySet

from bursary.access.models import Role, RoleGrant, User
from bursary.access.permissions import Permission, granted
from bursary.assignments import content_display, deadline_notices, derived, listing, matching, redemption
from bursary.assignments.choices import State
from bursary.assignments.models import DeadlineNotice, LearnerContentAssignment
from bursary.budgets import ledger
from bursary.budgets.models import Budget, NotInUse
from bursary.dashboard.learner_answers import state_in_words
from bursary.delivery.emails import DeadlineText, deadline_in_words

BUDGETS_PAGE = 50
NEWEST = 10
OWN_PAGE = 25


@dataclass(frozen=True)
class BudgetLine:
    """A budget, and the cents available within its own limit and its account's; None is unlimited."""

    budget: Budget
    available_cents: int | None
    not_in_use: NotInUse | None


@dataclass(frozen=True)
class OwnLine:
    """An assignment of the user's own; `state` as learners read it, the deadline while it is open."""

    assignment: LearnerContentAssignment
    state: str
    deadline: DeadlineText | None


@dataclass(frozen=True)
class Overview:
    """The content of a user's home page."""

    budgets: Page[Any]
    """A page of `BudgetLine`."""
    newest: list[LearnerContentAssignment]
    own: list[OwnLine]
    """Assigned to the user: the first of them, in the order of `listing.open_first`."""
    has_more_own: bool
    operates: bool
    notices: Page[DeadlineNotice]
    """Deadlines that a change has brought forward, in their grace period; content that cannot be joined."""


def overview(user: User, *, now: datetime, budgets: str = "1", notices: str = "1") -> Overview:
    """Return the home page of `user`, with these pages of budgets and notices. Eight queries at most."""
    permitted = Budget.objects.filter(
        granted(user, Permission.READ_BUDGET, customer="customer"), retired_at=None
    )
    in_order = permitted.select_related("account", "customer").order_by("name", "pk")
    budgets_page: Page[Any] = Paginator(in_order, BUDGETS_PAGE).get_page(budgets)
    budgets_page.object_list = [
        BudgetLine(budget, ledger.available_cents(budget), budget.not_in_use(now))
        for budget in budgets_page.object_list
    ]
    visible = LearnerContentAssignment.objects.filter(
        granted(user, Permission.READ_ASSIGNMENTS, customer="budget__customer")
    )
    newest = list(_shown(visible.order_by("-pk"))[:NEWEST])
    own_pks = list(listing.open_first(own_assignments(user), now=now)[: NEWEST + 1])
    own = _rows(own_pks[:NEWEST])
    content_display.attach_content([*newest, *own], now=now)
    affected = Paginator(
        deadline_notices.current(now)
        .filter(granted(user, Permission.READ_ASSIGNMENTS, customer="budget__customer"))
        .select_related("content", "budget__customer"),
        NEWEST,
    ).get_page(notices)
    affected.object_list = list(affected.object_list)
    for notice in affected.object_list:
        notice.shown_title = content_display.notice_title(notice)
    return Overview(
        budgets=budgets_page,
        newest=newest,
        own=_own_lines(own, now=now),
        has_more_own=len(own_pks) > NEWEST,
        operates=operates(user),
        notices=affected,
    )


def own_page(user: User, *, number: str, now: datetime) -> Page[Any]:
    """Return a page of `OwnLine`, from 1; the nearest page to a number that has none."""
    page: Page[Any] = Paginator(listing.open_first(own_assignments(user), now=now), OWN_PAGE).get_page(number)
    rows = _rows(list(page.object_list))
    content_display.attach_content(rows, now=now)
    page.object_list = _own_lines(rows, now=now)
    return page


def _rows(pks: Sequence[int]) -> list[LearnerContentAssignment]:
    found = _shown(LearnerContentAssignment.objects.all()).in_bulk(pks)
    return [found[pk] for pk in pks if pk in found]


def _shown(assignments: QuerySet[LearnerContentAssignment]) -> QuerySet[LearnerContentAssignment]:
    shown = assignments.select_related("budget__customer", "content").defer("content__payload")
    return shown.annotate(is_held=derived.held())


def _own_lines(own: Sequence[LearnerContentAssignment], *, now: datetime) -> list[OwnLine]:
    declined = matching.which_declined(own)
    return [
        OwnLine(
            one,
            state_in_words(one, now=now, declined=one.pk in declined),
            deadline_in_words(one, to_learner=True) if one.state == State.ALLOCATED else None,
        )
        for one in own
    ]


def own_assignments(user: User) -> QuerySet[LearnerContentAssignment]:
    """Return the assignments of the user, by address or by LMS user id."""
    return redemption.of_learner(lms_user_id=user.lms_user_id, learner_key=user.learner_key)


def operates(user: User) -> bool:
    """Return whether the user is an operator."""
    return RoleGrant.objects.filter(user=user, role=Role.OPERATOR).exists()
