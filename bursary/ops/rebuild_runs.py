"""Rebuilds the assignments' derived columns once, after an update that changed their rules, a part at a time.

The task's summary has the progress. While it is unfinished and its last run did not fail, the scheduled task
`expire` does nothing, as deadlines may be by the earlier rules; `bursary expire_assignments` does not wait.
While its runs fail, assignments expire by the deadlines that they have.
"""

from collections.abc import Mapping
from typing import Any

from bursary.assignments import derived_audit
from bursary.lib.clock import Clock
from bursary.ops.models import ScheduledTask

TASK = "rebuild"
RULES = 2
"""The version of the rules by which derived columns are computed; to be raised with each change of them."""
PART = 20_000
"""Assignments that one run compares."""


def run(*, clock: Clock) -> Mapping[str, object]:
    """Compare the next `PART` assignments and rewrite wrong columns; return the progress.

    As after any change, learners get a grace period if a deadline becomes earlier, and administrators are
    notified.
    """
    before = _progress(ScheduledTask.objects.filter(name=TASK).first())
    if before.get("finished"):
        return before
    done = derived_audit.rebuild(clock=clock, after=before.get("last", 0), limit=PART)
    return {
        "rules": RULES,
        "last": done.last,
        "finished": done.before.looked_at < PART,
        "rewritten": before.get("rewritten", 0) + done.before.wrong,
        "still_wrong": before.get("still_wrong", 0) + done.after.wrong,
    }


def unfinished() -> bool:
    """Return whether the rebuild after an update is still to be finished, and its last run did not fail."""
    task = ScheduledTask.objects.filter(name=TASK).first()
    return task is not None and not task.failures and not _progress(task).get("finished")


def _progress(task: ScheduledTask | None) -> dict[str, Any]:
    """Return the summary of the last run by these rules; empty if there was none."""
    summary: dict[str, Any] = task.summary if task else {}
    return summary if summary.get("rules") == RULES else {}
