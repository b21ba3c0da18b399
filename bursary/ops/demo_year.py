"""The demonstration's year of two organisations, week by week: assignments, answers, mails and failures.

It is made by the service's own functions, with the `now` of those days and with random numbers that are the
same each time. A week is made once; after an interruption, the year continues with the next week.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import Protocol

from bursary.access.models import User
from bursary.assignments import (
    address_corrections,
    allocation,
    cancellation,
    declining,
    expiry,
    extension,
    redemption,
    reminders,
)
from bursary.assignments.choices import LearnerState, State
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.budgets.models import Budget
from bursary.delivery import runner
from bursary.lib.batches import ProgressCallback
from bursary.ops.demo_mail import demonstration_mail
from bursary.replica import joining
from bursary.replica.models import ContentType

WEEKS = 52
PEOPLE = 90  # in each organisation
SIZES = (1, 1, 1, 1, 2, 2, 2, 3, 4, 7)
"""Numbers of learners in one allocation."""
COURSES = 30  # only the first courses of the catalog, by key, are assigned
LOWEST, HIGHEST = 4_000, 45_000
"""Prices of assigned courses, in cents."""
EXTENSION = timedelta(days=21)
MAX_DUE = 5_000  # actions after one step

FIRST_NAMES = """
Abena Adrian Aisha Alba Amir Anneke Anton Asha Beatriz Benno Bruno Carmen Chidi Clara Daan Daria
Deniz Elif Elena Emil Fatima Felix Gita Hana Hugo Ines Ivan Jamila Joris Kofi Lars Leila Lin Luca
Mara Mateo Mei Milan Nadia Nils Noor Oluchi Omar Petra Priya Rafael Rosa Samir Sanne Sofia Tariq
Teresa Tomas Uma Vera Viktor Wei Yara Yusuf Zoe
"""
LAST_NAMES = """
Abara Aydin Bakker Baptiste Bergman Cardoso Chaudhry Costa Danso Dvorak Eriksen Farouk Ferrari
Garrido Haddad Hoffmann Ibarra Jansen Kaya Kowalski Lehto Lindqvist Marino Mensah Moreau Nakata
Novak Okafor Olsen Pereira Petrov Quispe Rahman Rossi Sandoval Schuster Silva Tanaka Varga Vermeer
Watts Yilmaz Zanetti Ziegler
"""
REASONS = (
    "",
    "",
    "I took a course like this last year.",
    "Not before the summer: we are short of people in the warehouse.",
    "My manager and I agreed on another course.",
)


@dataclass(frozen=True)
class DemoYear:
    """An organisation's budgets, its administrator, and the domain of its learners' addresses."""

    budgets: Sequence[Budget]
    administrator: User
    domain: str

    def people(self) -> list[str]:
        """Return the addresses of its learners, the same each time."""
        random = Random(self.domain)  # noqa: S311  # no secret
        names = [(first, last) for first in FIRST_NAMES.split() for last in LAST_NAMES.split()]
        return [f"{first}.{last}@{self.domain}".lower() for first, last in random.sample(names, PEOPLE)]


class Step(Protocol):
    """A function to be called with one moment of the year."""

    def __call__(self, *, now: datetime) -> object:
        """Do it."""


def load(years: Sequence[DemoYear], *, began: datetime, weeks: int, on_progress: ProgressCallback) -> int:
    """Make the missing weeks before `began`; return their number."""
    budgets = [budget for year in years for budget in year.budgets]
    past = LearnerContentAssignmentAction.objects.filter(assignment__budget__in=budgets, created__lt=began)
    latest = past.order_by("-created").values_list("created", flat=True).first()
    made = 0
    for done, weeks_ago in enumerate(range(weeks, 0, -1), start=1):
        start = began - timedelta(weeks=weeks_ago)
        if latest is None or latest < start:
            with demonstration_mail():
                for year in years:
                    _Week(year, weeks_ago, start=start).run()
            made += 1
        on_progress(done)
    return made


class _Week:
    """One week of an organisation: first the allocations, then all other steps in order of time."""

    def __init__(self, year: DemoYear, weeks_ago: int, *, start: datetime) -> None:
        self.year, self.weeks_ago, self.start = year, weeks_ago, start
        self.random = Random(f"{year.domain} {weeks_ago}")  # noqa: S311  # no secret
        self.rows = LearnerContentAssignment.objects.filter(budget__in=year.budgets)

    def run(self) -> None:
        """Run the week's steps in order, and deliver the actions that each requests."""
        for at, step in [*self._allocations()]:
            self._make_step(step, at)
        sweeps = [(self.start + timedelta(days=day), _sweep) for day in (3.0, 6.95)]
        steps = [*self._reactions(), *self._reminders_and_extensions(), *self._repairs(), *sweeps]
        for at, step in sorted(steps, key=lambda one: one[0]):
            self._make_step(step, at)

    def _make_step(self, step: Step, at: datetime) -> None:
        with suppress(allocation.AllocationRefused, redemption.RedemptionRefused, declining.DeclineRefused):
            step(now=at)
        runner.drain(clock=lambda: at, limit=MAX_DUE)

    def _at(self, first: float, last: float) -> datetime:
        """Return a random moment between `first` and `last` days after the week's start."""
        return self.start + timedelta(days=self.random.uniform(first, last))

    def _allocations(self) -> Iterator[tuple[datetime, Step]]:
        for budget in self.random.sample(list(self.year.budgets), 1 + (self.weeks_ago % 5 == 0)):
            at = self._at(0, 0.3)
            # The courses can be joined now, and still when a learner answers late.
            must_open_before = at + timedelta(days=budget.allocation_age_days)
            courses = joining.joinable(
                catalog_uuid=budget.catalog_uuid, now=at, must_open_before=must_open_before
            ).filter(content_type=ContentType.COURSE, joining_price__range=(LOWEST, HIGHEST))
            rows = courses.order_by("content_key").values_list("content_key", "joining_price")[:COURSES]
            if priced := list(rows):
                content_key, price_cents = self.random.choice(priced)
                entries = self.random.sample(self.year.people(), self.random.choice(SIZES))
                entries = [
                    self._mistyped(entry) if self.random.random() < 0.04 else entry for entry in entries
                ]
                yield at, self._allocating(budget, content_key, price_cents, entries)

    def _allocating(self, budget: Budget, content_key: str, price_cents: int, entries: list[str]) -> Step:
        return partial(
            allocation.allocate,
            budget,
            content_key=content_key,
            price_cents=price_cents,
            entries=entries,
            actor=self.year.administrator,
        )

    def _mistyped(self, address: str) -> str:
        local, _, domain = address.partition("@")
        return f"{local}@{domain.replace('r', '', 1)}"

    def _reactions(self) -> Iterator[tuple[datetime, Step]]:
        """Yield the learners' answers. Most come early, and some learners do not answer."""
        actor = self.year.administrator
        for one in self.rows.filter(state=State.ALLOCATED, learner_state=LearnerState.WAITING).order_by("pk"):
            early = self.start - one.allocated_at < timedelta(days=14)
            chance, accepts = self.random.random(), 0.2 if early else 0.04
            if chance < accepts:
                yield self._at(0.5, 6.9), partial(redemption.begin, one)
            elif chance < accepts + 0.02:
                at, reason = self._at(0.5, 6.9), self.random.choice(REASONS)
                yield at, partial(declining.decline, one, reason=reason)
            elif chance < accepts + 0.03:
                cancel = partial(cancellation.cancel, one.budget, uuids=[one.uuid], actor=actor)
                yield self._at(0.5, 6.9), cancel

    def _reminders_and_extensions(self) -> Iterator[tuple[datetime, Step]]:
        actor = self.year.administrator
        waiting = self.rows.filter(state=State.ALLOCATED, learner_state=LearnerState.WAITING)
        if self.weeks_ago % 6 == 0:
            for budget in self.year.budgets:
                first = waiting.filter(budget=budget).order_by("pk").values_list("uuid", flat=True)[:6]
                yield self._at(2, 3), partial(reminders.remind, budget, uuids=list(first), actor=actor)
        if self.weeks_ago % 4 == 1:
            some = list(waiting.select_related("budget").order_by("pk"))
            for one in self.random.sample(some, min(2, len(some))):
                until = one.expires_at + EXTENSION
                extend = partial(extension.extend, one.budget, uuids=[one.uuid], until=until, actor=actor)
                yield self._at(0.4, 1), extend

    def _repairs(self) -> Iterator[tuple[datetime, Step]]:
        """Yield corrections of addresses, second allocations of expired assignments, and refunds."""
        actor = self.year.administrator
        failed = self.rows.filter(state=State.ALLOCATED, learner_state=LearnerState.FAILED).order_by("pk")
        for number, one in enumerate(failed):
            known = f"{one.learner_email.partition('@')[0]}@{self.year.domain}"
            if self.weeks_ago > 4 and one.learner_email != known and number % 3 == 0:
                correct = partial(address_corrections.correct_pair, one.learner_email, known, actor=actor)
                yield self._at(1, 4), correct
        if self.weeks_ago % 7 == 0:
            for one in (
                self.rows.filter(state=State.EXPIRED, cycle=1).select_related("budget").order_by("pk")[:3]
            ):
                again = self._allocating(one.budget, one.content_key, one.price_cents, [one.learner_email])
                yield self._at(1, 4), again
        accepted = self.rows.filter(state=State.ACCEPTED).order_by("-modified", "pk").first()
        if accepted and accepted.transaction_uuid and self.weeks_ago % 5 == 2:
            yield self._at(3, 6), partial(redemption.reverse, accepted.transaction_uuid)


def _sweep(*, now: datetime) -> None:
    """Run the scheduled tasks of that day."""
    expiry.expire_due(now=now)
    reminders.remind_due(now=now)
    reminders.nudge_due(now=now)
