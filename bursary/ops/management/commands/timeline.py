"""`bursary timeline`: print the actions of an assignment."""

from typing import Any

from django.core.management.base import CommandParser
from django.db.models import Q, QuerySet
from django.utils import timezone

from bursary.assignments.choices import LearnerState
from bursary.assignments.models import LearnerContentAssignment
from bursary.lib.moments import zone_in_words
from bursary.ops import timeline_ids, timeline_report
from bursary.ops.console import OperatorCommand, counted_in_words

MAX_LISTED = 100
TIME = "%Y-%m-%d %H:%M:%S"


class Command(OperatorCommand):
    help = (
        "Print what was done about an assignment, and what failed and why; --traceback adds stack traces. "
        "Of an id or a learner's address with several assignments, list them."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        ids = timeline_ids.IDS.removeprefix("the ")
        parser.add_argument("id", metavar="ID", help=f"The {ids}.")

    def run(self, *, id: str, traceback: bool, **_options: Any) -> None:
        found = timeline_ids.require(id, now=timezone.now())
        uuids = list(found.values_list("uuid", flat=True)[:2])
        if len(uuids) > 1:
            return self._list(found)
        report = timeline_report.load(uuids[0])
        # Django defines --traceback itself.
        text = self.rendered(timeline_report.render(report, traces=traceback, asked=id))
        return self.answer(timeline_report.summary(report, traces=traceback), text)

    def _list(self, found: QuerySet[LearnerContentAssignment]) -> None:
        count, zone = found.count(), found.select_related("budget__customer")[0].budget.customer.zone
        columns = ("uuid", "learner_email", "content_key", "state", "allocated_at", "recent_action_at")
        is_declined = Q(learner_state=LearnerState.DECLINED)
        rows = list(found.annotate(declined=is_declined).values(*columns, "declined")[:MAX_LISTED])
        lines = [f"{counted_in_words(count, 'assignment')}, assigned or reminded ({zone_in_words(zone)}):"]
        for row in rows:
            at = f"{row['recent_action_at'].astimezone(zone):{TIME}}"
            state = "declined" if row["declined"] else row["state"]
            parts = [at, str(row["uuid"]), row["learner_email"], row["content_key"], state]
            lines.append("  ".join(parts))
        lines += [f"and {count - len(rows)} more"] if count > len(rows) else []
        self.answer({"count": count, "assignments": rows}, "\n".join(lines))
