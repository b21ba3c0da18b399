"""The demonstration's assignments and their past, made by the service's own functions."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import F, QuerySet

from bursary.access.models import User
from bursary.assignments import allocation, cancellation
from bursary.assignments.choices import ActionType
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.budgets.models import Budget
from bursary.delivery import runner
from bursary.ops import demo_mail
from bursary.replica import joining, reads
from bursary.replica.models import ContentMetadata, ContentType

COMFORTABLE, TIGHT = "Professional skills", "Short courses"

LENA = "lena.learner@larkspur.example"
LIAM = "liam.learner@larkspur.example"
LUCY = "lucy.learner@larkspur.example"
MISTYPED = "leo.learner@larkspur.invalid"
"""An address that cannot receive mail: its timeline shows a failure."""

PRICES = {COMFORTABLE: (4_000, 30_000), TIGHT: (8_000, 13_000)}
"""Lowest and highest price in cents: the tight budget can pay for one course, but not for two."""
ROOM_TO_ENROL = timedelta(days=60)


@dataclass(frozen=True)
class DemoScenario:
    """One learner's assignment of one course; `steps` has each step by how many days ago it was done."""

    budget: str
    address: str
    steps: Mapping[int, ActionType]


SCENARIOS = (
    DemoScenario(COMFORTABLE, LENA, {40: ActionType.ALLOCATED}),
    DemoScenario(COMFORTABLE, LIAM, {35: ActionType.ALLOCATED, 20: ActionType.CANCELLED}),
    DemoScenario(
        COMFORTABLE,
        LUCY,
        {30: ActionType.ALLOCATED, 25: ActionType.CANCELLED, 10: ActionType.ALLOCATED},
    ),
    DemoScenario(COMFORTABLE, MISTYPED, {5: ActionType.ALLOCATED}),
    DemoScenario(TIGHT, LIAM, {14: ActionType.ALLOCATED}),
    DemoScenario(COMFORTABLE, LENA, {0: ActionType.ALLOCATED}),
)
"""Each has a course of its own, in the order of their keys, and in its budget a first day of its own."""


def load(budgets: Sequence[Budget], *, administrator: User) -> None:
    """Run each scenario's missing steps; days are counted back from when the customer was made.

    A scenario with steps already run continues with its course. It is left out if the catalog has no
    suitable course, or the budget no money.
    """
    began = budgets[0].customer.created
    by_name = {budget.name: budget for budget in budgets}
    with_courses = [(one, _course_of(one, by_name[one.budget], began=began)) for one in SCENARIOS]
    used = [course.pk for _scenario, course in with_courses if course]
    unused = {
        name: iter(_suitable(budget, began=began).exclude(pk__in=used)[: len(SCENARIOS)])
        for name, budget in by_name.items()
    }
    with demo_mail.expected_failures_unlogged():
        for scenario, known in with_courses:
            if course := known or next(unused[scenario.budget], None):
                with suppress(allocation.AllocationRefused):
                    budget = by_name[scenario.budget]
                    _run(scenario, budget, course, began=began, administrator=administrator)


def courses_of(budget: Budget) -> QuerySet[ContentMetadata]:
    """Return the courses that the budget pays for, by their keys."""
    courses = reads.held_by(budget.catalog_uuid).filter(content_type=ContentType.COURSE)
    return courses.defer("payload").order_by("content_key")


def _begun(scenario: DemoScenario, budget: Budget, *, began: datetime) -> QuerySet[LearnerContentAssignment]:
    """Return the assignment of a scenario with steps already run: that which was allocated at that moment.

    Not by its learner: the address may have been corrected or erased since.
    """
    first = LearnerContentAssignmentAction.objects.filter(
        assignment__budget=budget,
        action_type=ActionType.ALLOCATED,
        created=began - timedelta(days=next(iter(scenario.steps))),
    )
    return LearnerContentAssignment.objects.filter(pk__in=first.values("assignment"))


def _course_of(scenario: DemoScenario, budget: Budget, *, began: datetime) -> ContentMetadata | None:
    """Return the course of a scenario with steps already run."""
    key = _begun(scenario, budget, began=began).values_list("content_key", flat=True).first()
    return ContentMetadata.objects.defer("payload").filter(content_key=key).first() if key else None


def _suitable(budget: Budget, *, began: datetime) -> QuerySet[ContentMetadata]:
    """Return the courses with an advertised run that can be joined in every scenario, and gives the price."""
    first_allocated = began - timedelta(days=max(day for one in SCENARIOS for day in one.steps))
    courses = joining.joinable(
        catalog_uuid=budget.catalog_uuid,
        now=began + ROOM_TO_ENROL,
        must_open_before=first_allocated + timedelta(days=budget.allocation_age_days),
    )
    return courses.filter(
        content_type=ContentType.COURSE,
        joining_run=F("advertised_run"),
        joining_price=F("price_cents"),
        price_cents__range=PRICES[budget.name],
    ).defer("payload")


def _run(
    scenario: DemoScenario, budget: Budget, course: ContentMetadata, *, began: datetime, administrator: User
) -> None:
    """Run the missing steps, and deliver the actions that each requests."""
    assignments = _begun(scenario, budget, began=began)
    actions = LearnerContentAssignmentAction.objects.filter(assignment__in=assignments)
    done = actions.filter(action_type__in=[ActionType.ALLOCATED, ActionType.CANCELLED]).count()
    for days_ago, step in list(scenario.steps.items())[done:]:
        then = began - timedelta(days=days_ago)
        if step is ActionType.ALLOCATED:
            allocation.allocate(
                budget,
                content_key=course.content_key,
                price_cents=course.price_cents or 0,
                entries=[scenario.address],
                now=then,
                actor=administrator,
            )
        else:
            uuids = list(assignments.values_list("uuid", flat=True))
            cancellation.cancel(budget, uuids=uuids, now=then, actor=administrator)
        pks = list(actions.values_list("pk", flat=True))
        runner.drain(clock=lambda: then, limit=len(pks), pks=pks)  # noqa: B023  # it ends before the next step
