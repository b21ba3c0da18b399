"""`bursary forget_learners`: erase the personal data of expired assignments."""

from typing import Any

from django.core.management.base import CommandError
from django.utils import timezone

from bursary.assignments import erasure
from bursary.ops import erasure_runs
from bursary.ops.console import OperatorCommand, progress, to_json


class Command(OperatorCommand):
    help = (
        "Erase the personal data of expired assignments, once the learner was notified or after thirty days."
    )
    dry_run_help = "Count what is due; change nothing."

    def run(self, *, dry_run: bool, **_options: Any) -> None:
        now = timezone.now()
        due = erasure.to_erase(now).count()
        if dry_run:
            return self.answer({"dry_run": True, "due": due}, f"{due} would be forgotten.")
        with progress("Forgetting", total=due) as on_progress:
            done = {"dry_run": False} | erasure_runs.run(now=now, on_progress=on_progress)
        if failed := done["failed_budgets"]:
            self.stderr.write(to_json(done))
            raise CommandError(f"It failed in these budgets: {failed}. Their assignments are untouched.")
        self.answer(done, f"{done['forgotten']} forgotten.")
        if not done["traces_removed"]:
            self.stderr.write(f"Warning: {erasure_runs.TRACES_LEFT}")
        return None
