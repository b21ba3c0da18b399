"""The sweeps that the scheduler and the commands run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from django.core.management.base import CommandError
from django.utils import timezone

from bursary.assignments import expiry, reminders
from bursary.assignments.sweeps import SweepResult
from bursary.lib.batches import ProgressCallback
from bursary.ops.console import OperatorCommand, counted_in_words, progress, to_json


@dataclass(frozen=True)
class SweepDefinition:
    """A sweep over assignments: functions that count due assignments and process them, and its words."""

    participle: str
    """What was done to the assignments, in the summary, such as `expired`."""
    dry_run_text: str
    """The words after the number in a dry run."""
    count: Callable[[datetime], Mapping[str, object]]
    """Return the number of due assignments as `due`, and perhaps more."""
    run: Callable[[datetime, ProgressCallback | None], SweepResult]


def summary_of(sweep: SweepDefinition, swept: SweepResult) -> dict[str, object]:
    """Return a sweep's result as plain values."""
    return {sweep.participle: swept.done, "failed_budgets": swept.failed}


def _count_expiring(now: datetime) -> Mapping[str, object]:
    reasons = expiry.count_due(now)
    return {"due": sum(reasons.values()), "reasons": reasons}


EXPIRING = SweepDefinition(
    "expired",
    "would expire",
    _count_expiring,
    lambda now, on_progress: expiry.expire_due(now=now, on_progress=on_progress),
)
REMINDING = SweepDefinition(
    "reminded",
    "would be checked; not each of them gets a mail",
    lambda now: {"due": reminders.to_remind(now).count()},
    lambda now, on_progress: reminders.remind_due(now=now, on_progress=on_progress),
)
NUDGING = SweepDefinition(
    "nudged",
    "would be checked; not each of them gets a mail",
    lambda now: {"due": reminders.to_nudge(now).count()},
    lambda now, on_progress: reminders.nudge_due(now=now, on_progress=on_progress),
)


class SweepCommand(OperatorCommand):
    """A command that runs one sweep, or with --dry-run counts what is due."""

    sweep: ClassVar[SweepDefinition]
    dry_run_help = "Count what is due and do nothing."

    def run(self, *, dry_run: bool, **_options: Any) -> None:
        sweep, now = self.sweep, timezone.now()
        if dry_run:
            found = sweep.count(now)  # over all budgets; the sweep itself never needs this query
            text = f"{found['due']} {sweep.dry_run_text}."
            return self.answer({"dry_run": True, **found}, text)
        with progress(f"{sweep.participle.capitalize()}") as on_progress:
            swept = sweep.run(now, on_progress)
        summary = {"dry_run": False, **summary_of(sweep, swept)}
        if swept.failed:
            self.stderr.write(to_json(summary))
            failed = counted_in_words(len(swept.failed), "budget")
            raise CommandError(f"{failed} failed, without a change to any assignment.")
        return self.answer(summary, f"{swept.done} {sweep.participle}.")
