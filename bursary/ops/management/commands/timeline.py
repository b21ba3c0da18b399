"""`bursary timeline`: the actions of an assignment."""

from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser

from bursary.assignments.models import LearnerContentAssignment
from bursary.ops import timeline_report
from bursary.ops.console import OperatorCommand


class Command(OperatorCommand):
    help = "Print what was done about an assignment, and what failed and why; --traceback adds stack traces."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("assignment", type=UUID, metavar="ASSIGNMENT_UUID")

    def run(self, *, assignment: UUID, traceback: bool, **_options: Any) -> None:
        try:
            report = timeline_report.load(assignment)
        except LearnerContentAssignment.DoesNotExist as none:
            raise CommandError(
                f"There is no assignment {assignment}. Its uuid is in the API and the dashboard."
            ) from none
        # --traceback is Django's own option.
        text = self.rendered(timeline_report.render(report, traces=traceback))
        self.answer(timeline_report.summary(report, traces=traceback), text)
