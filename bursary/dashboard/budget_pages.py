"""The pages of budgets: their money as bars, when reserved money becomes free, and spendings."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.core.paginator import Page, Paginator
from django.db.models import Aggregate, Count, FloatField, Max, QuerySet, Sum
from django.db.models.functions import Cast
from django.utils.translation import gettext_lazy

from bursary.access import anonymisation
from bursary.access.models import User
from bursary.access.permissions import Permission, granted
from bursary.assignments import derived
from bursary.assignments.choices import State
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import ALLOCATION_AGE_DAYS, Budget, NotInUse
from bursary.dashboard import charts
from bursary.dashboard.charts import BarChart
from bursary.dashboard.money_bars import MoneyBar, money_bar

BUDGETS_PAGE = 50
MAX_SPENDERS = 10
WEEKS_AHEAD = ALLOCATION_AGE_DAYS // 7 + 2  # that many days end in one of them, from any day of the week


@dataclass(frozen=True)
class BudgetCard:
    """A budget and its money."""

    budget: Budget
    money: MoneyBar
    not_in_use: NotInUse | None


@dataclass(frozen=True)
class Spending:
    """The amount spent on one course, or for one learner."""

    name: str
    count: int
    cents: int
    query: str = ""
    """The query string of the list of these assignments, without the budget; empty if there is none."""


@dataclass(frozen=True)
class BudgetPage:
    """A budget's page."""

    card: BudgetCard
    freed: BarChart
    """Cents by week, reserved for open assignments with a deadline in that week."""
    freed_cents: int
    """All that."""
    freed_later_cents: int
    """Cents reserved for open assignments with a later deadline."""
    legend: Sequence[tuple[str, Any]] = (("reserved", gettext_lazy("Reserved")),)


@dataclass(frozen=True)
class SpendingsPage:
    """A budget's spendings, the greatest first. It is a page of its own, because it adds up many rows."""

    budget: Budget
    by_course: Sequence[Spending]
    by_learner: Sequence[Spending]
    other_courses_cents: int
    """Cents spent on all courses after the first `MAX_SPENDERS`."""
    other_learners_cents: int


def permitted(user: User) -> QuerySet[Budget]:
    """Return the budgets that the user may see, with their customers and accounts, sorted by name."""
    may_see = granted(user, Permission.READ_BUDGET, customer="customer")
    found = Budget.objects.filter(may_see, retired_at=None)
    return found.select_related("account", "customer").order_by("name", "pk")


def card(budget: Budget, *, now: datetime) -> BudgetCard:
    """Return the card of a budget that is loaded with its account."""
    return BudgetCard(budget, money_bar(budget), budget.not_in_use(now))


def budget_list(user: User, *, number: str, now: datetime) -> Page[Any]:
    """Return a page of `BudgetCard`; numbers start at 1, others give the nearest page. Two queries."""
    page: Page[Any] = Paginator(permitted(user), BUDGETS_PAGE).get_page(number)
    page.object_list = [card(budget, now=now) for budget in page.object_list]
    return page


def load(user: User, uuid: UUID, *, now: datetime) -> BudgetPage | None:
    """Return the budget's page; None if there is none that the user may see. Two queries."""
    budget = visible_budget(user, uuid)
    if budget is None:
        return None
    starts = charts.week_starts(now, zone=budget.customer.zone, weeks=WEEKS_AHEAD)
    waiting = LearnerContentAssignment.objects.filter(
        budget=budget,
        state=State.ALLOCATED,
        expires_at__gte=starts[0],
        expires_at__lt=charts.end_of(starts),
    )
    by_week = waiting.order_by().values_list(charts.PeriodOf("expires_at", starts))
    cents = {(week, "reserved"): cents for week, cents in by_week.annotate(cents=Sum("price_cents"))}
    freed_cents = sum(cents.values())
    return BudgetPage(
        card=card(budget, now=now),
        freed=charts.bar_chart(cents, series=["reserved"], starts=starts),
        freed_cents=freed_cents,
        freed_later_cents=max(budget.reserved_cents - freed_cents, 0),
    )


def spendings(budget: Budget) -> SpendingsPage:
    """Return the budget's spendings, with four queries."""
    spent = LearnerContentAssignment.objects.filter(budget=budget, state=State.ACCEPTED).order_by()
    by_learner, by_course = _by_learner(spent), _by_course(spent)
    # Up to `MAX_SPENDERS` are shown, so that with fewer there are no others.
    others = [
        max(budget.spent_cents - sum(one.cents for one in shown), 0) if len(shown) >= MAX_SPENDERS else 0
        for shown in (by_course, by_learner)
    ]
    return SpendingsPage(budget, by_course, by_learner, *others)


def _accepted(**filters: str) -> str:
    return urlencode({"status": State.ACCEPTED, **filters})


def visible_budget(user: User, uuid: UUID) -> Budget | None:
    """Return the budget with its account and customer; None if there is none that the user may see."""
    may_see = granted(user, Permission.READ_BUDGET, customer="customer")
    return Budget.objects.filter(may_see, uuid=uuid).select_related("account", "customer").first()


def _by_course(spent: QuerySet[LearnerContentAssignment]) -> list[Spending]:
    """Return the greatest spendings by course or run, each with the title of its newest assignment.

    The title is the content's, if it matches the recorded one, else the key.
    """
    groups = _greatest(spent, "content_key", newest=Max("pk"))
    newest = LearnerContentAssignment.objects.filter(pk__in=[pk for *_others, pk in groups])
    titles = {
        pk: title if title and derived.title_key(title) == recorded else ""
        for pk, recorded, title in newest.values_list("pk", "content_title", "content__title")
    }
    return [
        Spending(titles.get(pk) or key, count, cents, _accepted(exact_content_key=key))
        for key, count, cents, pk in groups
    ]


def _by_learner(spent: QuerySet[LearnerContentAssignment]) -> list[Spending]:
    """Return the greatest spendings by learner; the placeholder of an erased address is not a link.

    There may be as many learners as assignments, and PostgreSQL makes a decimal of each sum, which takes a
    third of the time. So the order is by sums of floats, exact up to 2**53 cents, and only the spendings to
    show are added up as whole numbers.
    """
    groups = spent.values_list("learner_email").annotate(sum=Sum(Cast("price_cents", FloatField())))
    first = [address for address, _sum in groups.order_by("-sum", "learner_email")[:MAX_SPENDERS]]
    found = []
    for address, count, cents in _greatest(spent.filter(learner_email__in=first), "learner_email"):
        name = anonymisation.shown_address(address)
        query = _accepted(learner_email=address) if name == address else ""
        found.append(Spending(name, count, cents, query))
    return found


def _greatest(spent: QuerySet[LearnerContentAssignment], name: str, **more: Aggregate) -> list[Any]:
    """Return the groups by `name` with the most cents: number, cents, and the aggregates in `more`.

    Every column is in an index, so that the rows, of which there are many, are not read.
    """
    groups = spent.values_list(name).annotate(count=Count("*"), cents=Sum("price_cents"), **more)
    return list(groups.order_by("-cents", name)[:MAX_SPENDERS])
