"""`bursary extend_deadlines`: give a budget's open assignments more time."""

from collections import Counter
from datetime import datetime
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from bursary.assignments import extension
from bursary.assignments.choices import State
from bursary.assignments.extension import ExtensionResult
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.lib import moments
from bursary.ops import repair_commands
from bursary.ops.console import OperatorCommand, counted_in_words
from bursary.replica.models import ContentMetadata


class Command(OperatorCommand):
    help = "Extend the deadlines of a budget's open assignments; without --confirm, count them."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "budget", type=UUID, metavar="BUDGET_UUID", help="The budget; its page shows its uuid."
        )
        when = "The new deadline; a date means the end of that day in the organisation's time zone."
        parser.add_argument("until", metavar="DATE", help=when)
        parser.add_argument("--content", metavar="KEY", help="Only assignments of this content.")
        repair_commands.add_confirm(parser)

    def run(
        self, *, budget: UUID, until: str, content: str | None, confirm: int | None, **_options: Any
    ) -> None:
        found = repair_commands.require_budget(budget)
        zone = found.customer.zone
        try:
            moment = moments.parse(until, zone=zone, end_of_day=True)
        except moments.MomentUnreadable as unreadable:
            raise CommandError(str(unreadable), returncode=2) from unreadable
        rows = LearnerContentAssignment.objects.filter(budget=found, state=State.ALLOCATED)
        every = rows.count()
        if content:
            _require_known(content, budget=found)
            rows = rows.filter(content_key=content)
        now = timezone.now()

        def extend(*, dry_run: bool) -> ExtensionResult:
            total = ExtensionResult()
            for uuids in repair_commands.pages_of(rows):
                total.add(extension.extend(found, uuids=uuids, until=moment, now=now, dry_run=dry_run))
            return total

        total, dry_run = extend(dry_run=True), confirm is None
        would = len(total.extended)
        if confirm is not None:
            refusals = Counter(map(str, total.refused.values()))
            repair_commands.require_confirmed(confirm, count=would, refused=refusals)
            total = extend(dry_run=False)
        counted, text = _counted_and_in_words(total, until=moment)
        summary = {"dry_run": dry_run, "until": moment, **counted}
        if not dry_run:
            return self.answer(summary, f"{len(total.extended)} extended.{text}")
        count = rows.count()
        what, when = counted_in_words(count, "open assignment"), moments.in_words(moment, zone=zone)
        text = f"Of {what}, {would} would be extended: until {when} at the latest.{text}"
        text = f"{text} To do it, add --confirm {would}." if would else f"{text} There is nothing to do."
        if not count:
            others = f" of {content}; of other content it has {every}" if content else ""
            text = f"The budget has no open assignment{others}: there is nothing to do."
        return self.answer({**summary, "count": would, "open_assignments": count}, text)


def _counted_and_in_words(result: ExtensionResult, *, until: datetime) -> tuple[dict[str, Any], str]:
    """Return the result as plain values, and the sentences about refusals and shorter extensions."""
    refused, text = repair_commands.refused_in_words(result.refused)
    if by_less := sum(one.new < until for one in result.extended):
        text = f" By less: {by_less}, as enrolment closes before, or the budget ends.{text}"
    return {"extended": len(result.extended), "extended_by_less": by_less, **refused}, text


def _require_known(content_key: str, *, budget: Budget) -> None:
    """Raise CommandError for a key that neither any content has nor any assignment of the budget."""
    assigned = LearnerContentAssignment.objects.filter(budget=budget, content_key=content_key)
    if not ContentMetadata.objects.filter(content_key=content_key).exists() and not assigned.exists():
        raise CommandError(f"There is no content {content_key}. `bursary explain_content` knows the keys.")
