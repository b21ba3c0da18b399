"""The content that is shown of assignments: by the read mode, the replica's row or upstream's content."""

import re
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from html import unescape
from typing import Any

from django.db.models import Exists, F, OuterRef, Q
from django.db.models.functions import Coalesce
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy

from bursary.assignments import derived, statuses
from bursary.assignments.choices import State
from bursary.assignments.models import AdministratorNotice, LearnerContentAssignment
from bursary.lib.moments import FAR_FUTURE, MICROSECOND
from bursary.lib.prepared import Parameter, as_expression
from bursary.replica import joining, reads
from bursary.replica.models import CatalogMembership, ContentMetadata, ContentType
from bursary.replica.types import CatalogKey, UpstreamContent

LONGEST_DESCRIPTION = 600  # characters that are shown
_READ = 20_000  # characters of a description

_PACES: Mapping[str, Any] = {
    "self_paced": gettext_lazy("at your own pace"),
    "instructor_paced": gettext_lazy("with fixed dates"),
}
"""By upstream's value."""
_INVISIBLE = re.compile(r"<(script|style)\b.*?(?:</\1\s*>|\Z)", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"<[/!a-z][^<>]*>", re.IGNORECASE)


@dataclass(frozen=True)
class About:
    """The content as shown to a learner before the answer; fields are empty or None if not known."""

    description: str
    """Plain text on one line, at most `LONGEST_DESCRIPTION` characters."""
    page_url: str
    starts_at: datetime | None
    ends_at: datetime | None
    weeks: int | None
    pace: str
    """In words, to follow "Learn …"."""


def about(assignment: LearnerContentAssignment, *, now: datetime) -> About:
    """Return what a learner reads of the assignment's content, once `load_shown_content` has run.

    At most two queries, unless `load_texts` was called.
    """
    shown = assignment.shown_content
    if "_text" not in vars(assignment):
        load_texts([assignment])
    text: reads.CourseText = vars(assignment)["_text"]
    starts_at, ends_at = _dates(assignment, now=now)
    return About(
        description=text.description,
        page_url=text.page_url,
        starts_at=starts_at,
        ends_at=ends_at,
        # Upstream's answer, in the read mode `upstream`, has neither.
        weeks=getattr(shown, "weeks_to_complete", None),
        pace=str(_PACES.get(getattr(shown, "pacing", ""), "")),
    )


def load_texts(assignments: Sequence[LearnerContentAssignment]) -> None:
    """Load what `about` needs besides the content: texts and runs. Two queries, however many there are."""
    course_of = {one: (one.budget.catalog_uuid, _course_key(one)) for one in assignments}
    texts = {
        course: text._replace(description=Truncator(plain_text(text.description)).chars(LONGEST_DESCRIPTION))
        for course, text in reads.texts_of(set(course_of.values())).items()
    }
    for one, course in course_of.items():
        vars(one)["_text"] = texts[course]
    _load_runs(assignments)


def starts_of(
    assignments: Sequence[LearnerContentAssignment], *, now: datetime
) -> dict[int, datetime | None]:
    """Return the start that learners read of each, by primary key; load content first. At most one query."""
    by_runs = [one for one in assignments if _joinable_at(one, now=now)]
    if by_runs and not reads.are_from_upstream():
        _load_runs(by_runs)
    return {one.pk: _dates(one, now=now)[0] for one in assignments}


def _course_key(assignment: LearnerContentAssignment) -> str:
    return (assignment.content or assignment).content_key


def _load_runs(assignments: Sequence[LearnerContentAssignment]) -> None:
    """Load the runs of each content. One query."""
    catalogs = {one.budget.catalog_uuid for one in assignments}
    runs = joining.runs_of({_course_key(one) for one in assignments}, catalogs=catalogs)
    for one in assignments:
        vars(one)["_runs"] = tuple(runs.get((one.budget.catalog_uuid, _course_key(one)), ()))


def _dates(assignment: LearnerContentAssignment, *, now: datetime) -> tuple[datetime | None, datetime | None]:
    """Return the start and the end to show: those of the displayed content, unless another run has others.

    A course's own dates are those of its advertised run. Once that has started, the run that the learner can
    join decides: of several, the next to start; the dates are None where all have started, as they differ.
    Where no run can be joined, the course's own dates stay. A closed assignment keeps the dates from when it
    was accepted or ended.
    """
    shown, starts_at, at = assignment.shown_content, start(assignment), _joinable_at(assignment, now=now)
    if at is None or shown is None:
        return starts_at, shown.end_date if shown else None
    runs = shown.runs if isinstance(shown, UpstreamContent) else vars(assignment)["_runs"]
    joinable = [run for run in runs if run.refusal(now=at, must_open_before=assignment.expires_at) is None]
    if not joinable:
        return starts_at, shown.end_date
    if len(joinable) == 1:
        return joinable[0].start, joinable[0].end
    dated = [(run.start, run.end) for run in joinable if run.start and run.start > at]
    return min(dated, key=lambda dates: dates[0], default=(None, None))


def _joinable_at(assignment: LearnerContentAssignment, *, now: datetime) -> datetime | None:
    """Return the instant at which a run must be joinable to decide the dates; None where no run decides them.

    It is now while the assignment is open, else when it was accepted or ended; always before the deadline, at
    which enrolment may close. No run decides them where the content is unknown or is not a course, or where
    its advertised run has not started by that instant.
    """
    # A refunded assignment keeps the dates from when it was accepted.
    closed_at = assignment.accepted_at or statuses.closed_at(assignment)
    at = now if assignment.state == State.ALLOCATED else closed_at
    shown, starts_at = assignment.shown_content, start(assignment)
    if at is None or shown is None or shown.content_type != ContentType.COURSE:
        return None
    at = min(at, assignment.expires_at - MICROSECOND)
    return at if (starts_at or at) <= at else None


def starts_ahead(now: datetime | Parameter, *, prefix: str) -> Q:
    """Return the condition that learners read a start after `now`, by the replica: `starts_of` as SQL.

    It is one on rows that refer by `prefix` to open or accepted assignments.
    """
    own, deadline = f"{prefix}content_start", OuterRef(f"{prefix}expires_at")
    at, joined_at = (Coalesce(of(f"{prefix}accepted_at"), as_expression(now)) for of in (F, OuterRef))
    joinable = CatalogMembership.objects.filter(
        joining.open_runs(now=joined_at, must_open_before=deadline, prefix="content__"),
        content__parent_key=OuterRef(f"{prefix}content__content_key"),
        catalog_uuid=OuterRef(f"{prefix}budget__catalog_uuid"),
    )
    started = joinable.filter(content__start_date__gt=joined_at, content__start_date__lte=now)
    further = Exists(joinable.filter(content__start_date__gt=now)) & ~Exists(started)
    own_is_past = Q(**{f"{own}__lte": at}) | Q(**{f"{own}__gte": FAR_FUTURE})
    return Q(**{f"{own}__gt": now, f"{own}__lt": FAR_FUTURE}) | Q(own_is_past, further)


def plain_text(html: str) -> str:
    """Return the text of a piece of HTML on one line, of its first 20,000 characters."""
    text = _TAG.sub(" ", _INVISIBLE.sub(" ", html[:_READ]))
    return " ".join(unescape(text).split())


def load_shown_content(assignments: Sequence[LearnerContentAssignment], *, now: datetime) -> None:
    """Set `shown_content` of the assignments to upstream's where `BURSARY_CONTENT_READS` requires it.

    One call for all of them, within one deadline; they need their budgets loaded. Where upstream does not
    answer, they have no content. Not for use inside a transaction.

    A row of the replica that the budget's catalog no longer holds may have changed for another catalog. Of
    it, only what the assignment has recorded is shown. One query, unless `in_catalog` is annotated.
    """
    if not reads.are_from_upstream():
        with_content = [one for one in assignments if one.content_id]
        unknown = [one.pk for one in with_content if not hasattr(one, "in_catalog")]
        rows = LearnerContentAssignment.objects.filter(derived.in_catalog(), pk__in=unknown).order_by()
        held = set(rows.values_list("pk", flat=True)) if unknown else set()
        for one in with_content:
            if not getattr(one, "in_catalog", one.pk in held):
                one.shown_content = _recorded(one)
        return
    key_of = {one.pk: CatalogKey(one.budget.catalog_uuid, one.content_key) for one in assignments}
    asked = {key_of[one.pk]: one.parent_content_key or one.content_key for one in assignments}
    known = reads.from_upstream(asked, now=now)
    for one in assignments:
        one.shown_content = known.get(key_of[one.pk])


def _recorded(assignment: LearnerContentAssignment) -> ContentMetadata:
    """Return its content with no other field than the title, and that only if it is as recorded."""
    shown = copy(assignment.content)
    assert shown is not None  # noqa: S101  # it has content
    if derived.title_key(shown.title) != assignment.content_title:
        shown.title = ""
    shown.start_date = shown.end_date = shown.enroll_by = shown.price_cents = None
    shown.partners, shown.partner_names, shown.course_type, shown.image_url = [], "", "", ""
    shown.pacing, shown.weeks_to_complete = "", None
    return shown


def start(assignment: LearnerContentAssignment) -> datetime | None:
    """Return the start of the displayed content, or else the one that the assignment has recorded."""
    recorded = assignment.content_start if assignment.content_start < FAR_FUTURE else None
    shown = assignment.shown_content
    return (shown.start_date if shown else None) or recorded


def title(assignment: LearnerContentAssignment) -> str:
    """Return the title to use in a mail, which cannot be corrected once it is sent.

    The displayed content's; else the replica's; else the content key. At most one query.
    """
    shown = assignment.shown_content
    key, catalog_uuid = assignment.content_key, assignment.budget.catalog_uuid
    return (shown.title if shown else "") or reads.title_of(key, catalog_uuid=catalog_uuid) or key


def notice_title(notice: AdministratorNotice) -> str:
    """Return the title of a notice's content, if it is as its assignments have recorded it, else the key.

    It changed after the budget's catalog had lost the content. Empty without content. One query, unless
    `recorded_title` is annotated.
    """
    content = notice.content
    if content is None:
        return ""
    recorded = getattr(notice, "recorded_title", None)
    if recorded is None:
        rows = LearnerContentAssignment.objects.filter(budget=notice.budget_id, content=content)
        recorded = rows.order_by("pk").values_list("content_title", flat=True).first()
    return content.title if derived.title_key(content.title) == recorded else content.content_key
