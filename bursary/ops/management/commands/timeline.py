"""`bursary timeline`: the actions of an assignment."""

from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser

from bursary.assignments.models import LearnerContentAssignment
from bursary.ops import timeline_report
from bursary.ops.console import OperatorCommand, rendered


class Command(OperatorCommand):
    help = "Print what was done about an assignment, and what failed and why; --traceback adds stack traces."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("assignment", type=UUID, metavar="ASSIGNMENT_UUID")

    def handle(self, *args: Any, **options: Any) -> None:
        self.require_tables()
        try:
            report = timeline_report.load(options["assignment"])
        except LearnerContentAssignment.DoesNotExist as none:
            raise CommandError(
                f"There is no assignment {options['assignment']}. Its uuid is in the API and the dashboard."
            ) from none
        traces = options["traceback"]  # Django's own option
        table = rendered(timeline_report.render(report, traces=traces), terminal=self.stdout.isatty())
        self.answer(timeline_report.summary(report, traces=traces), table, as_json=options["json"])
