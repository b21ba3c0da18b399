"""`bursary deliver`: carry out due work, from a terminal, a timer or a process of its own."""

import threading
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from bursary.ops import deliver
from bursary.ops.console import OperatorCommand, progress


class Command(OperatorCommand):
    help = "Deliver what is due: link learners, send mails. Once, unless --loop is given."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--once", action="store_true", help="Do what is due now, then end (the default).")
        how.add_argument("--loop", action="store_true", help="Go on until interrupted.")
        how.add_argument("--dry-run", action="store_true", help="Count what is due and do nothing.")

    def handle(self, *args: Any, **options: Any) -> None:
        self.require_tables()
        if options["loop"]:
            return self._loop(as_json=options["json"])
        now = timezone.now()
        due = deliver.count_due(now=now)
        if options["dry_run"]:
            return self.answer({"dry_run": True, "due": due}, f"{due} due.", as_json=options["json"])
        with progress("Delivering", total=due) as advance:
            ended = deliver.deliver_once(now=now, advance=advance)
        words = ", ".join(f"{count} {status}" for status, count in sorted(ended.items())) or "nothing was due"
        summary = {"dry_run": False, "tried": ended.total(), "ended": dict(ended)}
        return self.answer(summary, f"Delivered: {words}.", as_json=options["json"])

    def _loop(self, *, as_json: bool) -> None:
        stop = threading.Event()
        deliver.stop_on_signals(stop)
        tried = deliver.deliver_until(stop)
        self.answer({"tried": tried}, f"Stopped; {tried} tried.", as_json=as_json)
