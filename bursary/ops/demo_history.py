"""What happened in the demonstration before today: each assignment's past, told by the verbs themselves."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Q, QuerySet

from bursary.access.models import User, learner_key
from bursary.assignments import allocation, cancellation
from bursary.assignments.choices import ActionType
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.budgets.models import Budget
from bursary.delivery import runner
from bursary.lib import leases
from bursary.replica import reads
from bursary.replica.models import ContentMetadata, ContentType

COMFORTABLE, TIGHT = "Professional skills", "Short courses"

LENA = "lena.learner@larkspur.example"
LIAM = "liam.learner@larkspur.example"
LUCY = "lucy.learner@larkspur.example"
MISTYPED = "leo.learner@larkspur.invalid"
"""An address that cannot receive mail: its timeline shows a failure."""

PRICES = {COMFORTABLE: (4_000, 30_000), TIGHT: (8_000, 13_000)}
"""Cents, from and to: of the second, one fits into its budget and two do not."""
ROOM_TO_ENROL = timedelta(days=60)


@dataclass(frozen=True)
class Step:
    """Something that was done so many days ago."""

    days_ago: int
    what: ActionType


@dataclass(frozen=True)
class DemoScenario:
    """One learner's assignment of one course: the steps that made it what it is."""

    budget: str
    address: str
    steps: tuple[Step, ...]


TALES = (
    DemoScenario(COMFORTABLE, LENA, (Step(40, ActionType.ALLOCATED),)),
    DemoScenario(COMFORTABLE, LIAM, (Step(35, ActionType.ALLOCATED), Step(20, ActionType.CANCELLED))),
    DemoScenario(
        COMFORTABLE,
        LUCY,
        (Step(30, ActionType.ALLOCATED), Step(25, ActionType.CANCELLED), Step(10, ActionType.ALLOCATED)),
    ),
    DemoScenario(COMFORTABLE, MISTYPED, (Step(5, ActionType.ALLOCATED),)),
    DemoScenario(TIGHT, LIAM, (Step(14, ActionType.ALLOCATED),)),
    DemoScenario(COMFORTABLE, LENA, (Step(0, ActionType.ALLOCATED),)),
)
"""One course each, in the order of the courses' keys."""


def play(budgets: Sequence[Budget], *, administrator: User) -> None:
    """Tell every tale from where it was left; all days are counted back from when the customer was made.

    A tale that has begun goes on with its course, however that has changed since. One for which the catalog
    has no course, or the budget no money any more, is left out.
    """
    began = budgets[0].customer.created
    by_name = {budget.name: budget for budget in budgets}
    courses = {name: _not_told_of(budget, began=began) for name, budget in by_name.items()}
    with _expected_failures_unlogged():
        for tale in TALES:
            budget = by_name[tale.budget]
            course = _course_of(tale, budget, began=began) or next(courses[tale.budget], None)
            if course:
                with suppress(allocation.AllocationRefused):
                    _tell(tale, budget, course, began=began, administrator=administrator)


def offered(budget: Budget) -> QuerySet[ContentMetadata]:
    """Return the courses that the budget pays for, by their keys."""
    courses = reads.held_by(budget.catalog_uuid).filter(content_type=ContentType.COURSE)
    return courses.defer("payload").order_by("content_key")


def _course_of(tale: DemoScenario, budget: Budget, *, began: datetime) -> ContentMetadata | None:
    """Return the course of a tale that has begun."""
    first = LearnerContentAssignmentAction.objects.filter(
        assignment__budget=budget,
        assignment__learner_key=learner_key(tale.address),
        action_type=ActionType.ALLOCATED,
        created=began - timedelta(days=tale.steps[0].days_ago),
    )
    key = first.values_list("assignment__content_key", flat=True).first()
    return ContentMetadata.objects.defer("payload").filter(content_key=key).first() if key else None


def _not_told_of(budget: Budget, *, began: datetime) -> Iterator[ContentMetadata]:
    """Return courses for tales, those that no tale has yet."""
    told = [_course_of(tale, budget, began=began) for tale in TALES if tale.budget == budget.name]
    return iter(_suitable(budget, began=began).exclude(pk__in=[one.pk for one in told if one])[: len(TALES)])


def _suitable(budget: Budget, *, began: datetime) -> QuerySet[ContentMetadata]:
    lowest, highest = PRICES[budget.name]
    return offered(budget).filter(
        Q(enroll_by=None) | Q(enroll_by__gt=began + ROOM_TO_ENROL),
        active=True,
        price_cents__gte=lowest,
        price_cents__lte=highest,
    )


def _tell(
    tale: DemoScenario, budget: Budget, course: ContentMetadata, *, began: datetime, administrator: User
) -> None:
    for step in tale.steps[_steps_taken(tale, budget, course) :]:
        then = began - timedelta(days=step.days_ago)
        if step.what is ActionType.ALLOCATED:
            allocation.allocate(
                budget,
                content_key=course.content_key,
                price_cents=course.price_cents or 0,
                entries=[tale.address],
                now=then,
                actor=administrator,
            )
        else:
            uuids = list(_told(tale, budget, course).values_list("uuid", flat=True))
            cancellation.cancel(budget, uuids=uuids, now=then, actor=administrator)
        _deliver(tale, budget, course, then=then)


def _told(tale: DemoScenario, budget: Budget, course: ContentMetadata) -> QuerySet[LearnerContentAssignment]:
    return LearnerContentAssignment.objects.filter(
        budget=budget, learner_key=learner_key(tale.address), content_key=course.content_key
    )


def _steps_taken(tale: DemoScenario, budget: Budget, course: ContentMetadata) -> int:
    return LearnerContentAssignmentAction.objects.filter(
        assignment__in=_told(tale, budget, course),
        action_type__in=[ActionType.ALLOCATED, ActionType.CANCELLED],
    ).count()


def _deliver(tale: DemoScenario, budget: Budget, course: ContentMetadata, *, then: datetime) -> None:
    actions = LearnerContentAssignmentAction.objects.filter(assignment__in=_told(tale, budget, course))
    pks = leases.first_due(actions, now=then, limit=actions.count())
    runner.drain(clock=lambda: then, most=len(pks), pks=pks)


@contextmanager
def _expected_failures_unlogged() -> Iterator[None]:
    """Keep quiet about the mail that is meant to fail."""
    logger = logging.getLogger(runner.__name__)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
