"""`bursary deliver`: run due actions, from a terminal, a timer or a process of its own."""

import threading
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from bursary.assignments.choices import Status
from bursary.ops import deliver
from bursary.ops.console import OperatorCommand, progress

OUTCOMES = {
    Status.PENDING: "Not done, to be tried again",
    Status.RUNNING: "In another worker's hands",
    Status.FAILED: "Failed for good",
    Status.SKIPPED: "Skipped",
}


class Command(OperatorCommand):
    help = "Deliver what is due: link learners, send mails. It runs once unless --loop is given."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--once", action="store_true", help="Do what is due now, then end (the default).")
        how.add_argument("--loop", action="store_true", help="Deliver what becomes due, until interrupted.")
        how.add_argument(
            "--dated-ahead",
            action="store_true",
            help="Make due now what was dated too late by a clock that ran ahead; do nothing else.",
        )
        how.add_argument(
            "--postponed",
            action="store_true",
            help="Do what is due and what was postponed, for example once the mail server is repaired.",
        )
        how.add_argument("--dry-run", action="store_true", help="Count what is due and do nothing.")

    def run(self, *, loop: bool, dry_run: bool, dated_ahead: bool, postponed: bool, **_options: Any) -> None:
        if loop:
            stop = threading.Event()
            deliver.stop_on_signals(stop)
            tried = deliver.deliver_until(stop)
            return self.answer({"tried": tried}, f"Stopped; {tried} tried.")
        now = timezone.now()
        if dated_ahead:
            brought = deliver.reschedule_dated_ahead(now=now)
            return self.answer({"brought_back": brought}, f"{brought} due now.")
        forward = {"postponed": deliver.make_postponed_due(now=now)} if postponed else {}
        due = deliver.count_due(now=now)
        if dry_run:
            return self.answer({"dry_run": True, "due": due}, f"{due} due.")
        with progress("Delivering", total=due) as on_progress:
            ended = deliver.deliver_once(now=now, on_progress=on_progress)
        summary = {"dry_run": False, **forward, "tried": ended.total(), "ended": dict(ended)}
        if not ended:
            return self.answer(summary, "Nothing was due.")
        others = [f"{words}: {ended[status]}." for status, words in OUTCOMES.items() if ended[status]]
        advice = ["`bursary status` says why."] if others else []
        return self.answer(summary, " ".join([f"Done: {ended[Status.DONE]}.", *others, *advice]))
