"""The content that assignments display: the replica's row or, by the read mode, upstream's content."""

from collections.abc import Sequence
from copy import copy
from datetime import datetime

from bursary.assignments.models import LearnerContentAssignment
from bursary.replica import read_modes, reads
from bursary.replica.models import ContentMetadata
from bursary.replica.types import CatalogKey


def attach_content(assignments: Sequence[LearnerContentAssignment], *, now: datetime) -> None:
    """Attach upstream's content to the assignments where `BURSARY_CONTENT_READS` demands it.

    One call for all of them, within one deadline; they need their budgets loaded. Where upstream does not
    answer they have no content. Not for use inside a transaction.

    Of the replica's rows, those that the budget's catalog does not hold (`is_held`, where that is annotated)
    are displayed without what another catalog may have changed since: price and dates.
    """
    if not read_modes.reads_upstream():
        for one in assignments:
            if one.content and not getattr(one, "is_held", True):
                one.shown_content = _of_other_catalogs(one.content)
        return
    key_of = {one.pk: CatalogKey(one.budget.catalog_uuid, one.content_key) for one in assignments}
    asked = {key_of[one.pk]: one.parent_content_key or one.content_key for one in assignments}
    known = read_modes.from_upstream(asked, now=now)
    for one in assignments:
        one.shown_content = known.get(key_of[one.pk])


def _of_other_catalogs(row: ContentMetadata) -> ContentMetadata:
    shown = copy(row)
    shown.start_date = shown.end_date = shown.enroll_by = shown.price_cents = None
    return shown


def title(assignment: LearnerContentAssignment) -> str:
    """Return the title to use in a mail, which cannot be corrected once it is sent.

    The displayed content's; else the replica's; else the content key. At most one query.
    """
    shown = assignment.shown_content
    key, catalog_uuid = assignment.content_key, assignment.budget.catalog_uuid
    return (shown.title if shown else "") or reads.title_of(key, catalog_uuid=catalog_uuid) or key
