"""What content can be joined: a run by its own terms, a course by those of its runs (decision 0004).

The rule stands here twice, in Python and in SQL; a test compares the two.
"""

import enum
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple, Protocol, Self
from uuid import UUID

from django.db.models import Case, Exists, F, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce, Least, NullIf

from bursary.catalog.records import Completeness, ContentType
from bursary.lib.moments import FAR_FUTURE
from bursary.lib.prepared import Parameter, PreparedSelect
from bursary.replica.models import CatalogMembership, ContentMetadata


class RunContent(Protocol):
    """A run, from wherever it was read: a row of the replica, or upstream's record."""

    @property
    def content_key(self) -> str: ...
    @property
    def offered(self) -> bool: ...
    @property
    def enrollable(self) -> bool: ...
    @property
    def start_date(self) -> datetime | None: ...
    @property
    def end_date(self) -> datetime | None: ...
    @property
    def enroll_start(self) -> datetime | None: ...
    @property
    def enroll_by(self) -> datetime | None: ...
    @property
    def price_cents(self) -> int | None: ...


class RecordedContent(Protocol):
    """Content of any type, from wherever it was read."""

    @property
    def content_type(self) -> str: ...
    @property
    def completeness(self) -> str: ...


class JoiningRefusal(enum.StrEnum):
    """Why a run cannot be joined: the first that applies. A course has the last of its runs' reasons."""

    NOT_ACTIVE = "content_not_active"
    """No run is published and marketable, or enrolment is closed without a date."""
    ENDED = "content_ended"
    """The run is over."""
    NOT_IN_TIME = "enrollment_not_open_in_time"
    """Enrolment is closed, or opens after the allocation would end."""


@dataclass(frozen=True, slots=True)
class RunTerms:
    """What decides whether a run can be joined, and its price. A missing date limits nothing."""

    key: str
    offered: bool
    """Published and marketable, or marketable outside upstream's own site."""
    enrollable: bool
    """Upstream's flag at its last sync. It counts only where neither enrolment date is known."""
    start: datetime | None
    end: datetime | None
    enroll_start: datetime | None
    enroll_by: datetime | None
    price_cents: int | None

    @classmethod
    def of(cls, run: RunContent) -> Self:
        """Return the terms of a run."""
        return cls(
            key=run.content_key,
            offered=run.offered,
            enrollable=run.enrollable,
            start=run.start_date,
            end=run.end_date,
            enroll_start=run.enroll_start,
            enroll_by=run.enroll_by,
            price_cents=run.price_cents,
        )

    @property
    def closes(self) -> datetime | None:
        """When enrolment closes: the enrol-by date or the end, if that is earlier. None: no date is known."""
        return closing(self.enroll_by, self.end)

    def opens_before(self, bound: datetime) -> bool:
        """Return whether the run is offered and its enrolment opens before `bound`.

        It may have closed since. False for a run with dates by which enrolment closes before it opens.
        """
        if self.enroll_start is None:
            return self.offered and (self.enrollable or self.enroll_by is not None)
        return self.offered and self.enroll_start < min(bound, self.closes or FAR_FUTURE)

    def refusal(self, *, now: datetime, must_open_before: datetime) -> JoiningRefusal | None:
        """Return why the run cannot be joined at `now` or later, or opens too late; None where it can."""
        if not self.offered:
            return JoiningRefusal.NOT_ACTIVE
        if (self.end or FAR_FUTURE) <= now:
            return JoiningRefusal.ENDED
        if self.enroll_start is None and self.enroll_by is None and not self.enrollable:
            return JoiningRefusal.NOT_ACTIVE
        in_time = self.opens_before(must_open_before) and (self.enroll_by or FAR_FUTURE) > now
        return None if in_time else JoiningRefusal.NOT_IN_TIME


@dataclass(frozen=True, slots=True)
class JoiningTerms:
    """The terms of joining content: the run that gives the price, and when the last run closes."""

    run_key: str
    price_cents: int | None
    join_by: datetime | None
    """None: no date is known."""


class NotJoinable(Exception):
    """No run can be joined. `run` is the one that came nearest; None without any."""

    def __init__(self, reason: JoiningRefusal, run: RunTerms | None) -> None:
        super().__init__(reason, run)
        self.reason = reason
        self.run = run


def is_summary(content: RecordedContent) -> bool:
    """Return whether only a summary record is known: no price, and of a course nothing of its runs."""
    return content.completeness == Completeness.THIN


def lacks_runs(content: RecordedContent) -> bool:
    """Return whether it is a course of which only a summary record is known: nothing of its runs."""
    return content.content_type == ContentType.COURSE and is_summary(content)


def closing(enroll_by: datetime | None, end: datetime | None) -> datetime | None:
    """Return the earlier of the two dates that are known, None where neither is."""
    return min((date for date in (enroll_by, end) if date is not None), default=None)


def joining_terms(
    runs: Iterable[RunTerms], *, advertised: str, now: datetime, must_open_before: datetime
) -> JoiningTerms:
    """Return the terms on which one of these runs can be joined at `now` or later.

    Its enrolment must open before `must_open_before`. The price is that of the run that upstream advertises,
    if it can be joined, else that of the first to start. A run alone is passed as the only one.

    Raises NotJoinable.
    """
    judged = [(run, run.refusal(now=now, must_open_before=must_open_before)) for run in runs]
    joinable = [run for run, refused in judged if refused is None]
    if not joinable:
        raise _nearest([(run, refused) for run, refused in judged if refused])
    chosen = min(joinable, key=lambda run: (run.key != advertised, run.start or FAR_FUTURE, run.key))
    return JoiningTerms(chosen.key, chosen.price_cents, _latest(joinable))


def join_by(
    runs: Iterable[RunTerms], *, now: datetime, must_open_before: datetime, otherwise: datetime | None
) -> datetime | None:
    """Return when the last of a course's runs closes that can be joined at `now` or later.

    Where none can be, when the last of them all closes: what is not offered now may be offered again, and a
    course is over once all of its runs are. Without runs, `otherwise`, unless that has passed.
    """
    known = list(runs)
    joinable = [run for run in known if run.refusal(now=now, must_open_before=must_open_before) is None]
    if known:
        return _latest(joinable or known)
    return otherwise if otherwise and otherwise > now else None


def _latest(runs: Sequence[RunTerms]) -> datetime | None:
    latest = max(run.closes or FAR_FUTURE for run in runs)
    return None if latest == FAR_FUTURE else latest


def _nearest(refused: Sequence[tuple[RunTerms, JoiningRefusal]]) -> NotJoinable:
    """Return the refusal of the run that comes nearest to being joined: of those alike, the last to close."""
    if not refused:
        return NotJoinable(JoiningRefusal.NOT_ACTIVE, None)
    order = list(JoiningRefusal)
    run, reason = max(refused, key=lambda one: (order.index(one[1]), one[0].closes or FAR_FUTURE, one[0].key))
    return NotJoinable(reason, run)


# -- The replica's rows -------------------------------------------------------------------------------------

RUN_COLUMNS = (
    "offered",
    "enrollable",
    "start_date",
    "end_date",
    "enroll_start",
    "enroll_by",
    "price_cents",
)
"""The columns of `RunTerms`, after the key."""


def runs_of(
    courses: Collection[str], *, catalogs: Collection[UUID]
) -> dict[tuple[UUID, str], list[RunTerms]]:
    """Return the runs of these courses that the catalogs hold, by catalog and course. One query."""
    found: dict[tuple[UUID, str], list[RunTerms]] = defaultdict(list)
    for catalog, course, *terms in _runs.read(courses=list(courses), catalogs=list(catalogs)):
        found[catalog, course].append(RunTerms(*terms))
    return dict(found)


@PreparedSelect
def _runs() -> QuerySet[CatalogMembership, Any]:
    """Return the runs that these catalogs hold of these courses."""
    courses = Parameter("courses", ContentMetadata._meta.get_field("parent_key"))
    runs = Q(content__parent_key__in=courses, content__content_type=ContentType.COURSERUN)
    catalogs = Parameter("catalogs", CatalogMembership._meta.get_field("catalog_uuid"))
    memberships = CatalogMembership.objects.filter(runs, catalog_uuid__in=catalogs).order_by()
    columns = ("catalog_uuid", "content__parent_key", "content__content_key")
    return memberships.values_list(*columns, *(f"content__{name}" for name in RUN_COLUMNS))


def _held(*, with_runs: bool) -> QuerySet[CatalogMembership, Any]:
    """Return what these catalogs hold with these keys, as `HeldContent` is made of it."""
    keys = Parameter("keys", ContentMetadata._meta.get_field("content_key"))
    condition = Q(content__content_key__in=keys)
    if with_runs:
        condition |= Q(content__content_type=ContentType.COURSERUN, content__parent_key__in=keys)
    catalogs = Parameter("catalogs", CatalogMembership._meta.get_field("catalog_uuid"))
    memberships = CatalogMembership.objects.filter(condition, catalog_uuid__in=catalogs)
    columns = ("catalog_uuid", "content", "content__parent_key", "content__content_key")
    return memberships.order_by("pk").values_list(*columns, *(f"content__{name}" for name in RUN_COLUMNS))


_HELD = {with_runs: PreparedSelect(partial(_held, with_runs=with_runs)) for with_runs in (False, True)}


class HeldContent(NamedTuple):
    """What some catalogs hold: contents by catalog and pk, and the runs of courses by catalog and key."""

    contents: set[tuple[UUID, int]]
    runs: dict[tuple[UUID, str], list[RunTerms]]


def held_content(keys: Collection[str], *, catalogs: Collection[UUID], with_runs: bool = True) -> HeldContent:
    """Return which content with these keys the catalogs hold; `with_runs`, also courses' runs. One query."""
    found = HeldContent(set(), defaultdict(list))
    if not (keys and catalogs):
        return found
    for catalog, pk, course, *terms in _HELD[with_runs].read(keys=set(keys), catalogs=set(catalogs)):
        found.contents.add((catalog, pk))
        if course:
            found.runs[catalog, course].append(RunTerms(*terms))
    return found


def with_courses(pks: Collection[int]) -> QuerySet[ContentMetadata]:
    """Return these rows, and every variant of the courses of the runs among them. One query, for the runs.

    Their keys are values of the condition: of a subquery in an OR, PostgreSQL reads every row of the table.
    """
    runs = ContentMetadata.objects.filter(pk__in=pks, content_type=ContentType.COURSERUN)
    keys = set(runs.order_by().values_list("parent_key", flat=True))
    courses = Q(content_type=ContentType.COURSE, content_key__in=keys)
    return ContentMetadata.objects.filter(Q(pk__in=pks) | courses)


def open_runs(*, now: datetime | Combinable, must_open_before: datetime | Combinable, prefix: str = "") -> Q:
    """Return the condition that `RunTerms.refusal` returns None for a run.

    It is one on runs, or on rows that refer to them by `prefix`.
    """
    undated = Q(**{f"{prefix}enroll_start": None})
    dated = Q(**{f"{prefix}enroll_by__isnull": False}) | Q(**{f"{prefix}enrollable": True})
    until = Least(must_open_before, closing_sql(prefix=prefix))
    opens = Q(**{f"{prefix}enroll_start__lt": until}) | (undated & dated)
    end, enroll_by = f"{prefix}end_date", f"{prefix}enroll_by"
    not_over = Q(**{end: None}) | Q(**{f"{end}__gt": now})
    not_closed = Q(**{enroll_by: None}) | Q(**{f"{enroll_by}__gt": now})
    offered = Q(**{f"{prefix}offered": True, f"{prefix}content_type": ContentType.COURSERUN})
    return offered & opens & not_over & not_closed


def closing_sql(*, prefix: str = "") -> Least:
    """Return `closing` as SQL, FAR_FUTURE where no date is known."""
    return Least(*(Coalesce(F(f"{prefix}{date}"), FAR_FUTURE) for date in ("enroll_by", "end_date")))


def joinable(
    *, catalog_uuid: UUID | Parameter, now: datetime | Parameter, must_open_before: datetime | Parameter
) -> QuerySet[Any]:
    """Return the courses and runs of a catalog that can be joined, each with its `JoiningTerms`.

    They are annotated as `joining_run`, `joining_price` and `join_by`; NULL is unknown.
    """
    memberships = CatalogMembership.objects.filter(content=OuterRef("pk"), catalog_uuid=catalog_uuid)
    runs = ContentMetadata.objects.filter(
        open_runs(now=now, must_open_before=must_open_before), Exists(memberships)
    )
    here = runs.filter(Q(pk=OuterRef("pk")) | Q(parent_key=OuterRef("content_key")))
    advertised = here.filter(content_key=OuterRef("advertised_run"))
    first = here.order_by(F("start_date").asc(nulls_last=True), "content_key")
    last = here.annotate(closes=closing_sql()).order_by("-closes")

    def of_chosen(column: str) -> Case:
        chosen = [Subquery(runs.values(column)[:1]) for runs in (advertised, first)]
        return Case(When(Exists(advertised), then=chosen[0]), default=chosen[1])

    return ContentMetadata.objects.filter(
        Exists(memberships), Exists(here), content_type__in=[ContentType.COURSE, ContentType.COURSERUN]
    ).annotate(
        joining_run=of_chosen("content_key"),
        joining_price=of_chosen("price_cents"),
        join_by=NullIf(Subquery(last.values("closes")[:1]), Value(FAR_FUTURE)),
    )
