"""`bursary shadow_report`: whether the replica agrees with upstream, by the comparisons of shadow mode."""

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from bursary.ops.console import OperatorCommand, number
from bursary.replica import shadow

NAMED = 100


class Command(OperatorCommand):
    help = "Report the comparisons of shadow mode. It ends with 1 unless the replica agrees."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--threshold",
            type=number,
            default=0,
            metavar="N",
            help="The number of standing differences that is no failure; 0 by default.",
        )
        parser.add_argument(
            "--look-again",
            action="store_true",
            help="First compare the content with standing differences again, asking upstream for it.",
        )
        parser.add_argument("--reset", action="store_true", help="Delete all differences and counts.")

    def run(self, *, threshold: int, look_again: bool, reset: bool, **_options: Any) -> None:
        if reset:
            shadow.reset()
            return self.answer({"reset": True}, "Deleted. Counting begins anew.")
        if look_again:
            shadow.compare_again(clock=timezone.now)
        report = shadow.report(limit=NAMED)
        lines = [
            f"{report.standing} differences in {report.compared} comparisons of {report.fields_compared} "
            f"fields; {report.healed} healed, {report.incomparable} not comparable, {report.unrecorded} not "
            "recorded."
        ]
        lines += [
            f"{one['content_key']}  {one['field']}: upstream {one['upstream']!r}, "
            f"replica {one['replica']!r}, {one['times']} times since {one['first_seen']:%Y-%m-%d %H:%M} UTC"
            for one in report.differences
        ]
        self.answer(vars(report), "\n".join(lines))
        if not report.compared:
            raise CommandError("Nothing was compared: let the service run in mode shadow for a while first.")
        if report.standing + report.unrecorded > threshold:
            raise CommandError("The replica does not agree with upstream. Refresh it, then run --look-again.")
        return None
