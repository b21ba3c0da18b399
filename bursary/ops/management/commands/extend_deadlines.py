"""`bursary extend_deadlines`: give a budget's open assignments more time."""

from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from bursary.assignments import extension
from bursary.assignments.choices import State
from bursary.assignments.extension import ExtensionResult
from bursary.assignments.models import LearnerContentAssignment
from bursary.lib import moments
from bursary.ops import repair_commands
from bursary.ops.console import OperatorCommand, counted_in_words


class Command(OperatorCommand):
    help = "Extend the deadlines of a budget's open assignments; without --confirm, count them."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("budget", type=UUID, metavar="BUDGET_UUID")
        when = "The new deadline: a date for the end of that day, in the organisation's time zone."
        parser.add_argument("until", metavar="DATE", help=when)
        parser.add_argument("--content", metavar="KEY", help="Only assignments of this content.")
        repair_commands.add_confirm(parser)

    def run(
        self, *, budget: UUID, until: str, content: str | None, confirm: int | None, **_options: Any
    ) -> None:
        found = repair_commands.require_budget(budget)
        zone = found.customer.zone
        try:
            moment = moments.read(until, zone=zone, end_of_day=True)
        except moments.MomentUnreadable as unreadable:
            raise CommandError(str(unreadable), returncode=2) from unreadable
        rows = LearnerContentAssignment.objects.filter(budget=found, state=State.ALLOCATED)
        rows = rows.filter(content_key=content) if content else rows
        count = rows.count()
        if confirm is not None:
            repair_commands.require_confirmed(confirm, count=count)
        total, now, dry_run = ExtensionResult(), timezone.now(), confirm is None
        for uuids in repair_commands.pages_of(rows):
            total.add(extension.extend(found, uuids=uuids, until=moment, now=now, dry_run=dry_run))
        refused, text = repair_commands.refused_in_words(total.refused)
        summary = {"dry_run": dry_run, "extended": len(total.extended), "until": moment, **refused}
        if not dry_run:
            return self.answer(summary, f"{len(total.extended)} extended.{text}")
        what, when = counted_in_words(count, "open assignment"), moments.in_words(moment, zone=zone)
        would = (
            f"It is about {what}: until {when} at the latest. {len(total.extended)} would be extended.{text}"
        )
        would = (
            f"{would} Do it by --confirm {count}." if total.extended else f"{would} There is nothing to do."
        )
        none = "The budget has no open assignment: there is nothing to do."
        return self.answer({**summary, "count": count}, would if count else none)
