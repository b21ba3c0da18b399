"""Rebuilds the assignments' derived columns once after an update that changed their rules, a part at a time.

How far that came is in the task's summary. Until it is finished nothing is expired by the rules before.
"""

from collections.abc import Mapping
from typing import Any

from bursary.assignments import derived_audit
from bursary.lib.clock import Clock
from bursary.ops.models import ScheduledTask

TASK = "rebuild"
RULES = 2
"""Raise it with each change of a rule by which derived columns are computed."""
PART = 20_000
"""Assignments that are compared in a run."""


def run(*, clock: Clock) -> Mapping[str, object]:
    """Compare the next `PART` assignments and rewrite what is wrong; return how far it came.

    A deadline that is brought forward has its grace, and administrators are notified, as after any change.
    """
    before = _progress(ScheduledTask.objects.filter(name=TASK).first())
    if before.get("finished"):
        return before
    done = derived_audit.rebuild(clock=clock, after=before.get("last", 0), most=PART)
    return {
        "rules": RULES,
        "last": done.last,
        "finished": done.before.looked_at < PART,
        "rewritten": before.get("rewritten", 0) + done.before.wrong,
        "still_wrong": before.get("still_wrong", 0) + done.after.wrong,
    }


def unfinished() -> bool:
    """Return whether the task still has columns of the rules before an update, and does not fail at them."""
    task = ScheduledTask.objects.filter(name=TASK).first()
    return task is not None and not task.failures and not _progress(task).get("finished")


def _progress(task: ScheduledTask | None) -> dict[str, Any]:
    """Return the summary of the last run by these rules, empty without one."""
    summary: dict[str, Any] = task.summary if task else {}
    return summary if summary.get("rules") == RULES else {}
