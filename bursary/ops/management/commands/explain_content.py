"""`bursary explain_content`: where everything about a piece of content came from."""

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from bursary.ops import explain_report
from bursary.ops.console import OperatorCommand, rendered, to_json


class Command(OperatorCommand):
    help = "Print where every value of a piece of content came from, and when it is looked at next."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("content_key", metavar="KEY")

    def handle(self, *args: Any, **options: Any) -> None:
        self.require_tables()
        now, key = timezone.now(), options["content_key"]
        story = explain_report.load(key, now=now)
        if story is None:
            if options["json"]:
                self.stdout.write(to_json(explain_report.unknown(key, now=now)))
            raise CommandError(explain_report.unknown_in_words(key, now=now))
        picture = rendered(explain_report.render(story), terminal=self.stdout.isatty())
        self.answer(explain_report.summary(story), picture, as_json=options["json"])
