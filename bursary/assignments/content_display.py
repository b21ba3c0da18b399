"""The content that assignments display: the replica's row or, by the read mode, upstream's content."""

from collections.abc import Sequence
from datetime import datetime

from bursary.assignments.models import LearnerContentAssignment
from bursary.replica import read_modes, reads
from bursary.replica.types import CatalogKey


def attach_content(assignments: Sequence[LearnerContentAssignment], *, now: datetime) -> None:
    """Attach upstream's content to the assignments where `BURSARY_CONTENT_READS` demands it.

    One call for all of them, within one deadline; they need their budgets loaded. Where upstream does not
    answer they have no content. Not for use inside a transaction.
    """
    if not read_modes.reads_upstream():
        return
    key_of = {one.pk: CatalogKey(one.budget.catalog_uuid, one.content_key) for one in assignments}
    asked = {key_of[one.pk]: one.parent_content_key or one.content_key for one in assignments}
    known = read_modes.from_upstream(asked, now=now)
    for one in assignments:
        one.shown_content = known.get(key_of[one.pk])


def title(assignment: LearnerContentAssignment) -> str:
    """Return the title to use in a mail, which cannot be corrected once it is sent.

    The displayed content's; else the replica's; else the content key. At most one query.
    """
    shown = assignment.shown_content
    key, catalog_uuid = assignment.content_key, assignment.budget.catalog_uuid
    return (shown.title if shown else "") or reads.title_of(key, catalog_uuid=catalog_uuid) or key
