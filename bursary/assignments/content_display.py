"""What assignments show of their content: our row, or, where the read mode says so, what upstream says."""

from collections.abc import Sequence
from datetime import datetime

from bursary.assignments.models import LearnerContentAssignment
from bursary.replica import read_modes, reads
from bursary.replica.upstream_cache import CatalogKey


def attach_content(assignments: Sequence[LearnerContentAssignment], *, now: datetime) -> None:
    """Let each of them show its content as `BURSARY_CONTENT_READS` says; nothing to do for the replica.

    Upstream is asked for all of them at once, within one deadline, and never for each: load their budgets
    with them. Where it does not answer they show no content. Not for use inside a transaction.
    """
    if not read_modes.reads_upstream():
        return
    place_of = {one.pk: CatalogKey(one.budget.catalog_uuid, one.content_key) for one in assignments}
    wanted = {place_of[one.pk]: one.parent_content_key or one.content_key for one in assignments}
    known = read_modes.from_upstream(wanted, now=now)
    for one in assignments:
        one.shown_content = known.get(place_of[one.pk])


def title(assignment: LearnerContentAssignment) -> str:
    """Return the title of the content that it shows, for what nobody can put right once it is said.

    Where that has none, or upstream is silent, it is our row's; without one, the key. At most a query.
    """
    shown = assignment.shown_content
    return (shown.title if shown else "") or reads.title_of(assignment.content_key) or assignment.content_key
