"""Assignments as CSV: streamed in pages, harmless in a spreadsheet, and logged.

Cells and lines are separated as in RFC 4180. The text is UTF-8 with a byte-order mark, without which Excel
decodes it by the computer's code page; programs skip the mark, in Python by `utf-8-sig`.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import StringIO
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Count, QuerySet
from django.utils import translation
from django.utils.translation import gettext as _

from bursary.access import anonymisation
from bursary.access.models import User
from bursary.assignments import content_display, error_texts, listing, statuses
from bursary.assignments.choices import LearnerState, State
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.lib import batches
from bursary.lib.moments import FAR_FUTURE

ROWS_PER_PAGE = 500
LONGEST_FILTER = 2000  # characters of it in the log
EXPORTED = 4
"""The log's flag of an export, beside Django's own for records that were added, changed and deleted."""
ENTRIES_PER_STATEMENT = 1000

_BYTE_ORDER_MARK = "\ufeff"
_STARTS_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")  # the last four are = + - @ in full width


@dataclass(frozen=True)
class AssignmentExport:
    """A file that is sent while it is made, as an HTTP response needs it."""

    file_name: str
    content_type: str
    lines: Iterator[bytes]
    """The file, a page of assignments at a time; each is read when it is asked for."""
    count: int
    """The number of assignments when it began."""


def export(
    assignments: QuerySet[LearnerContentAssignment],
    *,
    user: User,
    filters: str,
    zone: ZoneInfo,
    now: datetime,
) -> AssignmentExport:
    """Log the export of a filtered set, in any order, and return its file, ordered by age.

    Instants are in `zone`, the organisation's; where there are several with different ones, give UTC.
    `filters` is the query string that describes the set. The log has an entry for each budget with
    assignments in it, on that budget's history in the Django admin. The caller checks the permission.
    """
    rows = assignments.order_by()
    counts = dict(rows.values_list("budget").annotate(count=Count("pk")))
    of_budgets = ContentType.objects.get_for_model(Budget)
    entries = [
        LogEntry(
            action_time=now,
            user=user,
            content_type=of_budgets,
            object_id=str(budget.pk),
            object_repr=budget.name[:200],
            action_flag=EXPORTED,
            change_message=f"Assignments exported as CSV: {counts[budget.pk]}; filter: "
            f"{filters[:LONGEST_FILTER] or 'none'}",
        )
        for budget in Budget.objects.filter(pk__in=counts).order_by("pk").only("name")
    ]
    LogEntry.objects.bulk_create(entries, batch_size=ENTRIES_PER_STATEMENT)
    return AssignmentExport(
        file_name=f"assignments-{now.astimezone(zone):%Y-%m-%d}.csv",
        content_type="text/csv; charset=utf-8",
        lines=_lines(rows, language=translation.get_language(), zone=zone, now=now),
        count=sum(counts.values()),
    )


def delete_old_log(*, now: datetime) -> int:
    """Delete the log's entries about exports older than `KEEP_EXPORTS`; return their number, bounded."""
    old = LogEntry.objects.filter(action_flag=EXPORTED, action_time__lte=now - settings.KEEP_EXPORTS)
    return batches.delete_first(old.order_by("pk"))


def _header(zone: ZoneInfo) -> list[str]:
    """Return the columns' names; the last three are for programs, and hold the API's words."""
    local = {"zone": zone.key}
    return [
        *(_("Learner"), _("Course"), _("Course key"), _("Offered by"), _("Price (USD)")),
        *(_("Status"), _("What failed")),
        _("Assigned (%(zone)s)") % local,
        _("Assigned or reminded (%(zone)s)") % local,
        _("Deadline (%(zone)s)") % local,
        _("Deadline decided by"),
        _("Accepted or ended (%(zone)s)") % local,
        _("Why it ended"),
        _("Start (%(zone)s)") % local,
        *(_("Budget"), _("Assignment")),
        *("state", "learner_state", "cause"),
    ]


def _lines(
    rows: QuerySet[LearnerContentAssignment], *, language: str, zone: ZoneInfo, now: datetime
) -> Iterator[bytes]:
    """Yield the file in pages, each in the language of the request, which ends before they are sent."""
    with translation.override(language):
        header = _encoded([_header(zone)], before=_BYTE_ORDER_MARK)
    yield header
    for pks in batches.keyset_pages(rows.values_list("pk", flat=True), size=ROWS_PER_PAGE):
        shown = listing.with_timelines(pks, now=now, with_join_by=False)
        starts = content_display.starts_of(shown, now=now)
        with translation.override(language):
            page = _encoded([_cells(one, zone, starts_at=starts[one.pk]) for one in shown])
        yield page


def _encoded(rows: Sequence[Sequence[str]], *, before: str = "") -> bytes:
    buffer = StringIO(newline="")
    buffer.write(before)
    writer = csv.writer(buffer)
    for row in rows:
        # After an apostrophe, a spreadsheet shows a formula as text and does not evaluate it.
        writer.writerow([f"'{cell}" if cell.startswith(_STARTS_FORMULA) else cell for cell in row])
    return buffer.getvalue().encode(errors="replace")


def _cells(assignment: LearnerContentAssignment, zone: ZoneInfo, *, starts_at: datetime | None) -> list[str]:
    content: Any = assignment.shown_content
    failed = assignment.current_failure()
    is_open = assignment.state == State.ALLOCATED
    status = statuses.status_of(assignment.state, assignment.learner_state)
    return [
        anonymisation.shown_address(assignment.learner_email),
        content.title if content else "",
        assignment.content_key,
        content.partner_names if content else "",
        f"{assignment.price_cents // 100}.{assignment.price_cents % 100:02}",
        str(statuses.STATUSES[status]),
        str(error_texts.for_code(failed.error_code).sentence) if failed else "",
        _local(assignment.allocated_at, zone),
        _local(assignment.recent_action_at, zone),
        _local(assignment.expires_at if is_open else None, zone),
        str(statuses.DECIDED_BY[assignment.expires_reason]) if is_open else "",
        _local(statuses.closed_at(assignment), zone),
        statuses.why_ended(assignment),
        _local(starts_at, zone),
        assignment.budget.name,
        str(assignment.uuid),
        assignment.state,
        LearnerState(assignment.learner_state).label,
        failed.error_code if failed else "",
    ]


def _local(moment: datetime | None, zone: ZoneInfo) -> str:
    """Return an instant as spreadsheets read it; empty for none."""
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M}" if moment and moment < FAR_FUTURE else ""
