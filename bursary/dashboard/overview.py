"""The home page: budgets, newest assignments and notices that the user may see."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet

from bursary.access.models import Role, RoleGrant, User
from bursary.access.permissions import Permission, granted
from bursary.assignments import content_display, deadline_notices, redemption
from bursary.assignments.choices import State
from bursary.assignments.models import DeadlineNotice, LearnerContentAssignment
from bursary.budgets import ledger
from bursary.budgets.models import Budget
from bursary.dashboard.learner_answers import state_in_words
from bursary.delivery.emails import DeadlineText, deadline_in_words

MOST_BUDGETS = 50
NEWEST = 10


@dataclass(frozen=True)
class BudgetLine:
    """A budget and the cents available within its own limit and its account's; None is unlimited."""

    budget: Budget
    available_cents: int | None


@dataclass(frozen=True)
class OwnLine:
    """An assignment of the user's own; `state` as learners read it, the deadline while it is open."""

    assignment: LearnerContentAssignment
    state: str
    deadline: DeadlineText | None


@dataclass(frozen=True)
class Overview:
    """The content of a user's home page."""

    budgets: list[BudgetLine]
    newest: list[LearnerContentAssignment]
    own: list[OwnLine]
    """Assigned to the user."""
    operates: bool
    notices: list[DeadlineNotice]
    """Deadlines that a change has brought forward, in their grace period."""


def overview(user: User, *, now: datetime) -> Overview:
    """Return the home page of `user`. Six queries at most."""
    budgets = (
        Budget.objects.filter(granted(user, Permission.READ_BUDGET, customer="customer"), retired_at=None)
        .select_related("account", "customer")
        .order_by("name", "pk")[:MOST_BUDGETS]
    )
    visible = LearnerContentAssignment.objects.filter(
        granted(user, Permission.READ_ASSIGNMENTS, customer="budget__customer")
    )
    newest, own = _newest(visible), _newest(own_assignments(user))
    content_display.attach_content([*newest, *own], now=now)
    declined = redemption.which_declined(own)
    return Overview(
        budgets=[BudgetLine(budget, ledger.available_cents(budget)) for budget in budgets],
        newest=newest,
        own=[_own_line(assignment, now=now, declined=declined) for assignment in own],
        operates=operates(user),
        notices=list(
            deadline_notices.current(now).filter(
                granted(user, Permission.READ_ASSIGNMENTS, customer="budget__customer")
            )[:NEWEST]
        ),
    )


def _newest(assignments: QuerySet[LearnerContentAssignment]) -> list[LearnerContentAssignment]:
    shown = assignments.select_related("budget__customer", "content").defer("content__payload")
    return list(shown.order_by("-pk")[:NEWEST])


def _own_line(assignment: LearnerContentAssignment, *, now: datetime, declined: set[int]) -> OwnLine:
    state = state_in_words(assignment, now=now, declined=assignment.pk in declined)
    deadline = deadline_in_words(assignment) if assignment.state == State.ALLOCATED else None
    return OwnLine(assignment, state, deadline)


def own_assignments(user: User) -> QuerySet[LearnerContentAssignment]:
    """Return the assignments of the user, by address or by LMS user id."""
    return redemption.of_learner(lms_user_id=user.lms_user_id, learner_key=user.learner_key)


def operates(user: User) -> bool:
    """Return whether the user is an operator."""
    return RoleGrant.objects.filter(user=user, role=Role.OPERATOR).exists()
