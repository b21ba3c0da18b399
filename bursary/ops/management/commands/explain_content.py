"""`bursary explain_content`: where each value of a piece of content came from."""

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from bursary.ops import explain_report
from bursary.ops.console import OperatorCommand, rendered, to_json


class Command(OperatorCommand):
    help = "Print where each value of a piece of content came from, and when it is refreshed next."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("content_key", metavar="KEY")

    def handle(self, *args: Any, **options: Any) -> None:
        self.require_tables()
        report = explain_report.load(options["content_key"], now=timezone.now())
        if not report["known"]:
            if options["json"]:
                self.stdout.write(to_json(report))
            raise CommandError(explain_report.unknown_in_words(report))
        text = rendered(explain_report.render(report), terminal=self.stdout.isatty())
        self.answer(report, text, as_json=options["json"])
