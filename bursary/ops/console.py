"""What commands say: one JSON object for programs; sentences, tables and a bar of progress for people."""

import json
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import StringIO
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder
from django.db import DatabaseError
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from bursary.ops.database import NotReady, require_tables

PLAIN_WIDTH = 160  # columns, where the output is not a terminal and has no width of its own

Advance = Callable[[int], None]


class OperatorCommand(BaseCommand):
    """A command that answers people in words and, with --json, programs with exactly one object on stdout."""

    def add_arguments(self, parser: CommandParser) -> None:
        """Add what every such command takes."""
        parser.add_argument("--json", action="store_true", help="Print one JSON object and nothing else.")

    def require_tables(self) -> None:
        """Raise CommandError, saying what to do, unless the database can be worked with."""
        try:
            require_tables()
        except NotReady as why:
            raise CommandError(str(why)) from why

    def answer(self, summary: Mapping[str, object], text: str, *, as_json: bool) -> None:
        """Print the summary or the text."""
        self.stdout.write(to_json(summary) if as_json else text)

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run; a database that breaks off is a failure in one sentence, not a stack trace."""
        try:
            return super().execute(*args, **options)
        except DatabaseError as error:
            raise CommandError(f"The database refused: {error}") from error


def counted(text: str) -> int:
    """Return a whole number from 1 up, as an option gives it. Raises ArgumentTypeError."""
    if not text.isdecimal() or len(text) > 9 or not int(text):
        raise ArgumentTypeError(f"{text!r} is not a number from 1 up")
    return int(text)


def add_sample(parser: CommandParser, *, default: int, everything: str) -> None:
    """Add --sample N and --all, of which one may be said; `everything` is what the second means."""
    which = parser.add_mutually_exclusive_group()
    said = f"So many at random; {default} if not said."
    which.add_argument("--sample", type=counted, metavar="N", default=default, help=said)
    which.add_argument("--all", action="store_true", help=everything)


def percent(text: str) -> float:
    """Return a share from 0 to 100, as an option gives it. Raises ArgumentTypeError."""
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 100:
        raise ArgumentTypeError(f"{text!r} is not a share from 0 to 100")
    return share


def to_json(summary: Mapping[str, object]) -> str:
    """Return a summary as indented JSON; dates and uuids as text."""
    return json.dumps(summary, cls=DjangoJSONEncoder, indent=2, ensure_ascii=False)


def rendered(renderable: RenderableType, *, terminal: bool) -> str:
    """Return a table as text: coloured and as wide as the terminal, or plain and wide enough to read."""
    buffer = StringIO()
    width = None if terminal else PLAIN_WIDTH
    console = Console(file=buffer, force_terminal=terminal, width=width, highlight=False)
    console.print(renderable)
    return buffer.getvalue().rstrip("\n")


@contextmanager
def progress(description: str, *, total: int | None = None) -> Iterator[Advance]:
    """Show a bar on stderr while it is a terminal; yield the function that is told how many are done."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=Console(file=sys.stderr),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    with bar:
        task = bar.add_task(description, total=total)
        yield lambda done: bar.update(task, completed=done)


def dollars(cents: int | None) -> str:
    """Return an amount for people; None is a budget without a limit."""
    return "unlimited" if cents is None else f"${cents // 100:,}.{cents % 100:02}"
