"""The content that assignments display: the replica's row or, by the read mode, upstream's content."""

from collections.abc import Iterator, Sequence
from copy import copy
from datetime import datetime

from bursary.assignments import derived
from bursary.assignments.models import FAR_FUTURE, DeadlineNotice, LearnerContentAssignment
from bursary.replica import read_modes, reads
from bursary.replica.models import ContentMetadata
from bursary.replica.types import CatalogKey


def attach_content(assignments: Sequence[LearnerContentAssignment], *, now: datetime) -> None:
    """Attach upstream's content to the assignments where `BURSARY_CONTENT_READS` demands it.

    One call for all of them, within one deadline; they need their budgets loaded. Where upstream does not
    answer they have no content. Not for use inside a transaction.

    Of the replica's rows, those that the budget's catalog does not hold are displayed by what the assignments
    have recorded of them: they may be as another catalog has them since. One query, unless `is_held` is
    annotated.
    """
    if not read_modes.reads_upstream():
        for one in _not_held(assignments):
            one.shown_content = _recorded(one)
        return
    key_of = {one.pk: CatalogKey(one.budget.catalog_uuid, one.content_key) for one in assignments}
    asked = {key_of[one.pk]: one.parent_content_key or one.content_key for one in assignments}
    known = read_modes.from_upstream(asked, now=now)
    for one in assignments:
        one.shown_content = known.get(key_of[one.pk])


def _not_held(assignments: Sequence[LearnerContentAssignment]) -> Iterator[LearnerContentAssignment]:
    unknown = [one.pk for one in assignments if one.content_id and not hasattr(one, "is_held")]
    rows = LearnerContentAssignment.objects.filter(derived.held(), pk__in=unknown).order_by()
    held = set(rows.values_list("pk", flat=True)) if unknown else set()
    return (one for one in assignments if one.content_id and not getattr(one, "is_held", one.pk in held))


def _recorded(assignment: LearnerContentAssignment) -> ContentMetadata:
    """Return its content with nothing but the title, and that only if it is as it was."""
    shown = copy(assignment.content)
    assert shown is not None  # noqa: S101  # it has content
    if derived.title_key(shown.title) != assignment.content_title:
        shown.title = ""
    shown.start_date = shown.end_date = shown.enroll_by = shown.price_cents = None
    shown.partners, shown.partner_names, shown.course_type, shown.image_url = [], "", "", ""
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


def notice_title(notice: DeadlineNotice) -> str:
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
