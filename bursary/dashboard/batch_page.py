"""The page of an allocation batch: learners notified, learners not notified and why, learners unchanged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from bursary.access.models import User
from bursary.access.permissions import Permission, granted, may, may_everywhere
from bursary.assignments import allocation_batches, cursors, error_texts, listing, statuses
from bursary.assignments.allocation_batches import MailsPlanned
from bursary.assignments.choices import LearnerState, State, Status
from bursary.assignments.matching import CHARGED, Verdict
from bursary.assignments.models import AllocationBatch, LearnerContentAssignment
from bursary.dashboard import chips
from bursary.dashboard.chips import Chip
from bursary.lib.numbers import from_digits
from bursary.replica import reads

PAGE = 50
MAX_FAILED = 50

_WHY_UNCHANGED: Mapping[str, Any] = {
    Verdict.ALREADY_ASSIGNED: gettext_lazy("It was assigned before."),
    Verdict.HAS_OTHER_RUN: gettext_lazy("Another run of the course was assigned before: %(key)s."),
    Verdict.HAS_COURSE: gettext_lazy("The course was assigned before: %(key)s."),
    Verdict.ACCEPTED: gettext_lazy("The course was accepted before: %(key)s."),
    Verdict.DECLINED: gettext_lazy("The learner declined it before."),
}
_ENDED = (statuses.DECLINED, State.EXPIRED, State.CANCELLED, State.REVERSED)


@dataclass(frozen=True)
class BatchRow:
    """An assignment of the batch."""

    assignment: LearnerContentAssignment
    chip: Chip
    operates: bool
    """Whether the reader is an operator."""

    @property
    def waits_until(self) -> datetime | None:
        """When its mail is tried again, if it could not be sent yet."""
        cycle, actions = self.assignment.cycle, self.assignment.actions.all()
        waiting = [one for one in actions if one.status == Status.PENDING and one.attempts]
        return min((one.due_at for one in waiting if one.cycle == cycle and one.due_at), default=None)

    @property
    def remedy(self) -> str:
        """What the reader can do about the failure; empty if there is none."""
        failed = self.assignment.current_failure()
        return error_texts.for_code(failed.error_code).next_step_of(operates=self.operates) if failed else ""


@dataclass(frozen=True)
class NotAssigned:
    """A learner of the request without a new assignment, and the learner's existing assignment."""

    assignment: LearnerContentAssignment
    why: str


@dataclass(frozen=True)
class MailProgress:
    """The progress of the mails: numbers of assignments, and percentages for the bar."""

    notified: int
    """Includes assignments that were accepted, or have ended, since."""
    failed: int
    on_their_way: int
    ended: int
    """Assignments that ended before a mail was sent."""
    since: Sequence[tuple[str, int]]
    """The present statuses, in words, of notified and ended assignments, with their numbers."""
    planned: MailsPlanned
    at_once: bool
    """Whether each mail is attempted within a minute."""

    @property
    def total(self) -> int:
        """The number of all assignments of the batch."""
        return self.notified + self.failed + self.on_their_way + self.ended

    @property
    def finished(self) -> bool:
        """Whether no mail is still to be sent."""
        return not self.on_their_way

    @property
    def sentence(self) -> str:
        """A sentence with the number of notified learners."""
        words = ngettext(
            "%(notified)s of %(total)s learner is notified.",
            "%(notified)s of %(total)s learners are notified.",
            self.total,
        )
        return words % {"notified": f"{self.notified:,}", "total": f"{self.total:,}"}

    @property
    def notified_width(self) -> float:
        """The percentage of notified assignments."""
        return round(100 * self.notified / max(1, self.total), 2)

    @property
    def failed_width(self) -> float:
        """The percentage of assignments with a failed mail."""
        return round(100 * self.failed / max(1, self.total), 2)


@dataclass(frozen=True)
class BatchPage:
    """A batch at its present state."""

    batch: AllocationBatch
    title: str
    progress: MailProgress
    failed: Sequence[BatchRow]
    rows: Sequence[BatchRow]
    earlier: str
    later: str
    query: str
    """The query string of the list of this batch's assignments."""
    may_retry: bool
    """Whether the reader may retry failed work, and a retry can succeed."""


@dataclass(frozen=True)
class Unchanged:
    """A page of the learners without a new assignment, and the number of all."""

    learners: Sequence[NotAssigned]
    total: int
    unnamed: int
    """The number of learners that the batch does not name, if it is from an earlier release."""
    duplicates: int
    earlier: str
    later: str


def batch_for(user: User, uuid: UUID) -> AllocationBatch | None:
    """Return the batch if the user may read its assignments, else None."""
    permitted = granted(user, Permission.READ_ASSIGNMENTS, customer="budget__customer_id")
    batches = AllocationBatch.objects.select_related("budget__customer", "actor")
    return batches.filter(permitted, uuid=uuid).first()


def load(batch: AllocationBatch, *, reader: User, cursor: str, now: datetime) -> BatchPage:
    """Return a batch's present state, with a page of its assignments. At most ten queries."""
    progress = _progress(batch, now=now)
    rows = allocation_batches.assignments(batch)
    failed = rows.filter(state=State.ALLOCATED, learner_state=LearnerState.FAILED)
    pks = list(failed.order_by("pk").values_list("pk", flat=True)[:MAX_FAILED]) if progress.failed else []
    others = rows.exclude(state=State.ALLOCATED, learner_state=LearnerState.FAILED)
    page = cursors.cursor_page(others, column="id", descending=False, size=PAGE, cursor=cursor)
    found = listing.with_timelines([*pks, *page.pks], now=now, with_join_by=False)
    operates = bool(pks) and may_everywhere(reader)
    shown = [BatchRow(one, chips.chip(one, now=now), operates) for one in found]
    content = found[0].shown_content if found else None
    title = (
        content.title
        if content
        else reads.title_of(batch.content_key, catalog_uuid=batch.budget.catalog_uuid)
    )
    error_codes = {one.error_code for row in shown[: len(pks)] if (one := row.assignment.current_failure())}
    return BatchPage(
        batch=batch,
        title=title or batch.content_key,
        progress=progress,
        failed=shown[: len(pks)],
        rows=shown[len(pks) :],
        earlier=page.earlier and urlencode({"cursor": page.earlier}),
        later=page.later and urlencode({"cursor": page.later}),
        query=urlencode({"allocation_batch": batch.uuid}),
        may_retry=any(error_texts.for_code(one).retried for one in error_codes)
        and may(reader, Permission.REMIND, customer_pk=batch.budget.customer_id),
    )


def unchanged(batch: AllocationBatch, *, start: str) -> Unchanged:
    """Return the learners without a new assignment, from the position `start` on. At most one query."""
    first = from_digits(start, max_digits=8) or 0
    named = sum(map(len, batch.unchanged.values()))
    counted = sum(batch.counts.get(verdict, 0) for verdict in _WHY_UNCHANGED)
    return Unchanged(
        learners=[
            NotAssigned(
                one.assignment, str(_WHY_UNCHANGED[one.verdict]) % {"key": one.assignment.content_key}
            )
            for one in allocation_batches.left_unchanged(batch, start=first, size=PAGE)
        ],
        total=counted,
        unnamed=max(0, counted - named),
        duplicates=batch.counts.get(Verdict.DUPLICATE, 0),
        earlier=urlencode({"others": max(0, first - PAGE)}) if first else "",
        later=urlencode({"others": first + PAGE}) if named > first + PAGE else "",
    )


def summary(batch: AllocationBatch) -> str:
    """Return the result of the request, as one or two sentences."""
    new = sum(batch.counts.get(verdict, 0) for verdict in CHARGED)
    again = batch.counts.get(Verdict.NOTIFIED_AGAIN, 0)
    sentences = [
        ngettext("Assigned to %(count)s learner.", "Assigned to %(count)s learners.", new)
        % {"count": f"{new:,}"}
        if new
        else _("Nothing new was assigned."),
        ngettext(
            "%(count)s learner had it, and is notified again.",
            "%(count)s learners had it, and are notified again.",
            again,
        )
        % {"count": f"{again:,}"}
        if again
        else "",
    ]
    return " ".join(filter(None, sentences))


def _progress(batch: AllocationBatch, *, now: datetime) -> MailProgress:
    counted = dict.fromkeys(statuses.STATUSES, 0)
    for state, learner_state, count in allocation_batches.by_state(batch):
        counted[statuses.status_of(state, learner_state)] += count
    on_their_way = counted[statuses.NOTIFYING]
    planned = allocation_batches.mails_planned(batch) if on_their_way else MailsPlanned(0, None)
    ended = sum(counted[status] for status in _ENDED)
    notified_and_ended = allocation_batches.notified_and_ended(batch) if ended else 0
    since = (statuses.WAITING, State.ACCEPTED, *_ENDED)
    return MailProgress(
        notified=counted[statuses.WAITING] + counted[State.ACCEPTED] + notified_and_ended,
        failed=counted[statuses.FAILED],
        on_their_way=on_their_way,
        ended=ended - notified_and_ended,
        since=[(str(statuses.STATUSES[status]), counted[status]) for status in since if counted[status]],
        planned=planned,
        at_once=bool(planned.until and planned.until <= now + timedelta(minutes=1)),
    )
