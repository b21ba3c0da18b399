"""The courses of a budget's catalog to choose from, each with the runs that learners can join."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import DateTimeField, Exists, F, OuterRef, Q, QuerySet

from bursary.assignments import dates
from bursary.budgets.models import Budget
from bursary.dashboard.forms import Choice
from bursary.lib.prepared import Parameter, prepared_select
from bursary.replica import joining
from bursary.replica.models import CatalogMembership, ContentMetadata, ContentType

MAX_COURSES = 20
MAX_RUNS = 100
"""The runs of all courses that are shown at most."""
RUNS_SHOWN = 4
"""The runs of a course that are shown unfolded."""
MAX_WORDS = 8


@dataclass(frozen=True)
class CatalogChoice:
    """A course or run of the catalog with its price."""

    content: ContentMetadata
    value: Choice
    chosen: bool
    join_by: datetime | None
    """When enrolment closes in the last run that learners can join."""

    @property
    def is_run(self) -> bool:
        """Whether it is a run, rather than a course with runs from which the learner chooses."""
        return self.content.content_type == ContentType.COURSERUN


@dataclass(frozen=True)
class CourseChoices:
    """The choices of a course: the course, if it has a price, and its runs; or a run alone."""

    content: ContentMetadata
    """The course, or a run without its course in the catalog."""
    shown: Sequence[CatalogChoice]
    folded: Sequence[CatalogChoice]
    fresh: bool
    """Whether its record was checked recently enough."""


@dataclass(frozen=True)
class CatalogChoices:
    """The chosen course, then the first courses that match; `has_more` if the catalog holds others."""

    courses: Sequence[CourseChoices]
    found: int
    has_more: bool


def catalog_choices(
    budget: Budget, *, words: str, now: datetime, chosen: Choice | None, due_date: datetime | None
) -> CatalogChoices:
    """Return content that can be assigned from the budget, with each of `words` in title, key or partner.

    Learners must be able to join it before `due_date`; a past date is ignored. `chosen` is included even if
    the words do not match, at the price when it was chosen, so that the allocation is the one previewed. At
    most three queries.
    """
    until = due_date if due_date and due_date > now else None
    must_open_before = dates.deadline_without_enroll_by_at_allocation(budget, now=now, due_date=until)
    asked: dict[str, Any] = {
        "catalog": budget.catalog_uuid,
        "now": now,
        "must_open_before": must_open_before,
    }
    found = list(_searched(words, **asked)) if words.split() else prepared_select(_first).read(**asked)
    heads = found[:MAX_COURSES]
    courses = [one.content_key for one in heads if one.content_type == ContentType.COURSE]
    runs: dict[str, list[Any]] = defaultdict(list)
    for run in prepared_select(_runs, MAX_RUNS).read(courses=courses, **asked) if courses else ():
        runs[run.parent_key].append(run)
    groups = [_group(one, runs[one.content_key], chosen=chosen, now=now) for one in heads]
    keys = {one.content_key for one in heads} | {run.content_key for of in runs.values() for run in of}
    if chosen and chosen.content_key not in keys:
        kept = prepared_select(_chosen).first(key=chosen.content_key, **asked)
        groups = [*([_group(kept, [], chosen=chosen, now=now)] if kept else []), *groups]
    groups = [one for one in groups if one.shown]
    return CatalogChoices(groups, found=len(heads), has_more=len(found) > MAX_COURSES)


def _joinable(
    catalog: UUID | Parameter, now: datetime | Parameter, must_open_before: datetime | Parameter
) -> QuerySet[Any]:
    return (
        joining.joinable(catalog_uuid=catalog, now=now, must_open_before=must_open_before)
        .filter(gone_at=None)
        .defer("payload")
    )


def _searched(
    words: str,
    *,
    catalog: UUID | Parameter,
    now: datetime | Parameter,
    must_open_before: datetime | Parameter,
) -> QuerySet[Any]:
    """Return the first matches, and one more: courses, and runs of which the catalog has no course."""
    here = CatalogMembership.objects.filter(content=OuterRef("pk"), catalog_uuid=catalog)
    held = ContentMetadata.objects.filter(Exists(here))
    courses = held.filter(content_key=OuterRef("parent_key"), content_type=ContentType.COURSE)
    found = _joinable(catalog, now, must_open_before)
    found = found.filter(Q(content_type=ContentType.COURSE) | ~Exists(courses))
    for word in words.split()[:MAX_WORDS]:
        matches = Q(title__icontains=word) | Q(content_key__icontains=word) | Q(partner_names__icontains=word)
        if "+" in word:  # it is a part of a run's key; a word such as “course” is in each run's key
            runs = held.filter(parent_key=OuterRef("content_key"), content_key__icontains=word)
            matches |= Q(Exists(runs))
        found = found.filter(matches)
    return found.order_by("title", "content_type", "start_date", "pk")[: MAX_COURSES + 1]


_KEY = ContentMetadata._meta.get_field("content_key")
_CATALOG = Parameter("catalog", CatalogMembership._meta.get_field("catalog_uuid"))
_NOW, _MUST_OPEN_BEFORE = Parameter("now", DateTimeField()), Parameter("must_open_before", DateTimeField())


def _first() -> QuerySet[Any]:
    return _searched("", catalog=_CATALOG, now=_NOW, must_open_before=_MUST_OPEN_BEFORE)


def _priced() -> QuerySet[Any]:
    return _joinable(_CATALOG, _NOW, _MUST_OPEN_BEFORE).filter(joining_price__isnull=False)


def _runs(limit: int) -> QuerySet[Any]:
    """Return the runs of courses, the earliest start first."""
    runs = _priced().filter(content_type=ContentType.COURSERUN, parent_key__in=Parameter("courses", _KEY))
    return runs.order_by(F("start_date").asc(nulls_last=True), "content_key")[:limit]


def _chosen() -> QuerySet[Any]:
    return _priced().filter(content_key=Parameter("key", _KEY)).order_by("pk")[:1]


def _group(content: Any, runs: Sequence[Any], *, chosen: Choice | None, now: datetime) -> CourseChoices:
    choices = []
    for one in (content, *runs):
        if one.joining_price is None:
            continue
        is_chosen = chosen is not None and chosen.content_key == one.content_key
        value = chosen if chosen and is_chosen else Choice(one.joining_price, one.content_key)
        choices.append(CatalogChoice(one, value, chosen=is_chosen, join_by=one.join_by))
    # The chosen run is shown unfolded, however many runs start before it.
    visible = [at <= RUNS_SHOWN or one.chosen for at, one in enumerate(choices)]
    return CourseChoices(
        content,
        shown=[one for one, shows in zip(choices, visible, strict=True) if shows],
        folded=[one for one, shows in zip(choices, visible, strict=True) if not shows],
        fresh=content.fresh(now),
    )
