"""`bursary explain_content`: print where each value of a piece of content came from."""

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from bursary.ops import explain_report
from bursary.ops.console import OperatorCommand, to_json


class Command(OperatorCommand):
    help = "Print where each value of a piece of content came from, and when it is refreshed next."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "content_key", metavar="KEY", help="The key of a course or a run, such as AcmeX+101."
        )

    def run(self, *, content_key: str, **_options: Any) -> None:
        report = explain_report.load(content_key, now=timezone.now())
        if not report["known"]:
            if self.as_json:
                self.stdout.write(to_json(report))
            raise CommandError(explain_report.unknown_in_words(report))
        self.answer(report, self.rendered(explain_report.render(report)))
