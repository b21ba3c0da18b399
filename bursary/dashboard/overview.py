"""The home page: budgets, newest assignments and notices that the user may see."""

from dataclasses import dataclass
from datetime import datetime

from django.core.paginator import Page, Paginator
from django.db.models import Case, F, Q, QuerySet, Value, When

from bursary.access.models import Role, RoleGrant, User
from bursary.access.permissions import Permission, granted
from bursary.assignments import content_display, deadline_notices, redemption
from bursary.assignments.choices import State
from bursary.assignments.models import FAR_FUTURE, DeadlineNotice, LearnerContentAssignment
from bursary.budgets import ledger
from bursary.budgets.models import Budget, NotInUse

MOST_BUDGETS = 50
NEWEST = 10
OWN_PAGE = 25


@dataclass(frozen=True)
class BudgetLine:
    """A budget, and the cents available within its own limit and its account's; None is unlimited."""

    budget: Budget
    available_cents: int | None
    not_in_use: NotInUse | None


@dataclass(frozen=True)
class Overview:
    """The content of a user's home page."""

    budgets: list[BudgetLine]
    newest: list[LearnerContentAssignment]
    own: list[LearnerContentAssignment]
    """Assigned to the user: the first of them, in the order of `own_in_order`."""
    has_more_own: bool
    operates: bool
    notices: list[DeadlineNotice]
    """Deadlines that a change has moved into the past, in their grace period."""


def overview(user: User, *, now: datetime) -> Overview:
    """Return the home page of `user`. Five queries."""
    budgets = (
        Budget.objects.filter(granted(user, Permission.READ_BUDGET, customer="customer"), retired_at=None)
        .select_related("account", "customer")
        .order_by("name", "pk")[:MOST_BUDGETS]
    )
    visible = LearnerContentAssignment.objects.filter(
        granted(user, Permission.READ_ASSIGNMENTS, customer="budget__customer")
    )
    newest = list(_shown(visible.order_by("-pk"))[:NEWEST])
    own = list(_shown(own_in_order(user, now=now))[: NEWEST + 1])
    has_more_own = len(own) > NEWEST
    own = own[:NEWEST]
    content_display.attach_content([*newest, *own], now=now)
    return Overview(
        budgets=[
            BudgetLine(budget, ledger.available_cents(budget), budget.not_in_use(now)) for budget in budgets
        ],
        newest=newest,
        own=own,
        has_more_own=has_more_own,
        operates=operates(user),
        notices=list(
            deadline_notices.current(now).filter(
                granted(user, Permission.READ_ASSIGNMENTS, customer="budget__customer")
            )[:NEWEST]
        ),
    )


def own_page(user: User, *, number: str, now: datetime) -> Page[LearnerContentAssignment]:
    """Return a page of the user's own assignments, from 1; the nearest page to a number that has none."""
    page = Paginator(_shown(own_in_order(user, now=now)), OWN_PAGE).get_page(number)
    page.object_list = list(page.object_list)
    content_display.attach_content(page.object_list, now=now)
    return page


def own_in_order(user: User, *, now: datetime) -> QuerySet[LearnerContentAssignment]:
    """Return the user's own assignments: open ones by deadline, then accepted ones, then ended ones."""
    still_open = Q(state=State.ALLOCATED) & (Q(expires_at__gt=now) | Q(redeeming_since__isnull=False))
    rank = Case(When(still_open, then=Value(0)), When(state=State.ACCEPTED, then=Value(1)), default=Value(2))
    deadline = Case(When(still_open, then=F("expires_at")), default=Value(FAR_FUTURE))
    return own_assignments(user).order_by(rank, deadline, "-pk")


def _shown(assignments: QuerySet[LearnerContentAssignment]) -> QuerySet[LearnerContentAssignment]:
    return assignments.select_related("budget__customer", "content").defer("content__payload")


def own_assignments(user: User) -> QuerySet[LearnerContentAssignment]:
    """Return the assignments of the user, by address or by LMS user id."""
    return redemption.of_learner(lms_user_id=user.lms_user_id, learner_key=user.learner_key)


def operates(user: User) -> bool:
    """Return whether the user is an operator."""
    return RoleGrant.objects.filter(user=user, role=Role.OPERATOR).exists()
