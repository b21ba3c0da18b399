"""`bursary demo`: load the demonstration and serve it."""

from argparse import ArgumentTypeError
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from bursary.lib.numbers import from_digits
from bursary.ops import demo, serving
from bursary.ops.console import OperatorCommand, progress
from bursary.ops.demo import Demo
from bursary.ops.demo_year import WEEKS
from bursary.replica.refresh import ContentUnavailable


def _weeks(text: str) -> int:
    weeks = from_digits(text, max_digits=9)
    if weeks is None or weeks > WEEKS:
        raise ArgumentTypeError(f"{text!r} is not a number from 0 to {WEEKS}")
    return weeks


class Command(OperatorCommand):
    help = "Load two invented organisations with courses, budgets and a year behind them, then serve them."
    needs_tables = False  # it makes them

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--no-serve", action="store_true", help="Load them and end, without serving.")
        weeks = f"Weeks of the past year to make; {WEEKS}, if not given."
        parser.add_argument("--weeks", type=_weeks, default=WEEKS, metavar="N", help=weeks)

    def run(self, *, no_serve: bool, weeks: int, **_options: Any) -> None:
        now = timezone.now()
        try:
            demo.refuse_real_database()
            # The address is bound first: if that fails, the demonstration is not loaded in vain.
            listener = None if no_serve else serving.listen(serving.default_bind())
            if weeks and not self.as_json and not demo.demo_file().exists():
                self.stdout.write("Making the demonstration; this takes about half a minute.")
                self.stdout.flush()
            with (
                progress("Loading the sample catalog", total=200) as on_progress,
                progress("Going through a year", total=weeks) as on_week,
            ):
                loaded = demo.load(
                    now=now, on_progress=on_progress, weeks=weeks, on_week=on_week, serves=not no_serve
                )
        except (serving.CannotListen, demo.NotADemonstration) as why:
            raise CommandError(str(why)) from why
        except ContentUnavailable as silent:
            raise CommandError(f"{silent} Check BURSARY_CATALOG_URL, or leave it out.") from silent
        summary = {
            "base_url": loaded.record["base_url"],
            "file": str(loaded.file),
            "contents": loaded.contents,
            "assignments": loaded.assignments,
        }
        self.answer(summary, _text(loaded, serves=listener is not None))
        if listener:
            self.stdout.flush()
            serving.serve(listener)


def _text(loaded: Demo, *, serves: bool) -> str:
    record = loaded.record
    people = "\n".join(
        f"  {user['username']:<6} {user['password']}  sees {user['sees']}"
        for user in record["users"].values()
    )
    budgets = "\n".join(f"  {budget['name']} ({budget['organisation']})" for budget in record["budgets"])
    return (
        f"Bursary's demonstration: {loaded.contents} courses, {len(record['budgets'])} budgets, "
        f"{loaded.assignments} assignments.\n\n"
        f"  {record['base_url']}/\n\n"
        f"Budgets\n{budgets}\n\n"
        f"Sign in as\n{people}\n\n"
        f"API keys and uuids: {loaded.file}\n"
        f"{'Stop with Ctrl-C.' if serves else 'Serve it with `bursary serve`.'}"
    )
