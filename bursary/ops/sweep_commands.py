"""The sweeps as the clock and the commands run them: what each does, counts and says."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from bursary.assignments import expiry, reminders
from bursary.assignments.sweeps import SweepResult
from bursary.ops.console import OperatorCommand, progress, to_json

Progress = Callable[[int], None]


@dataclass(frozen=True)
class SweepDefinition:
    """A sweep: what it does to an assignment, how many are due, and the doing of it."""

    done: str
    """In the answer: `expired`."""
    to_come: str
    """After a number, in a dry run."""
    count: Callable[[datetime], Mapping[str, object]]
    """With `due`, how many are to be looked at."""
    run: Callable[[datetime, Progress | None], SweepResult]


def summary_of(duty: SweepDefinition, swept: SweepResult) -> dict[str, object]:
    """Return what a sweep did as plain values."""
    return {duty.done: swept.done, "failed_budgets": {str(pk): why for pk, why in swept.failed.items()}}


def _count_expiring(now: datetime) -> Mapping[str, object]:
    reasons = expiry.count_due(now)
    return {"due": sum(reasons.values()), "reasons": reasons}


EXPIRING = SweepDefinition(
    "expired",
    "would expire",
    _count_expiring,
    lambda now, progress: expiry.expire_due(now=now, progress=progress),
)
REMINDING = SweepDefinition(
    "reminded",
    "would be looked at",
    lambda now: {"due": reminders.count_due(reminders.to_remind, now=now)},
    lambda now, progress: reminders.remind_due(now=now, progress=progress),
)
NUDGING = SweepDefinition(
    "nudged",
    "would be looked at",
    lambda now: {"due": reminders.count_due(reminders.to_nudge, now=now)},
    lambda now, progress: reminders.nudge_due(now=now, progress=progress),
)


class SweepCommand(OperatorCommand):
    """A command that runs one sweep, or says what it would find."""

    duty: ClassVar[SweepDefinition]

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--dry-run", action="store_true", help="Count what is due and do nothing.")

    def handle(self, *args: Any, **options: Any) -> None:
        self.require_tables()
        duty, now = self.duty, timezone.now()
        found = duty.count(now)
        if options["dry_run"]:
            text = f"{found['due']} {duty.to_come}."
            return self.answer({"dry_run": True, **found}, text, as_json=options["json"])
        with progress(f"{duty.done.capitalize()}") as advance:
            swept = duty.run(now, advance)
        summary = {"dry_run": False, **summary_of(duty, swept)}
        if swept.failed:
            self.stderr.write(to_json(summary))
            raise CommandError(f"{len(swept.failed)} budgets failed; their assignments are untouched.")
        return self.answer(summary, f"{swept.done} {duty.done}.", as_json=options["json"])
