"""The failures on a timeline that nothing has resolved yet."""

from collections.abc import Sequence
from typing import Any, TypeVar

from bursary.assignments.choices import Status

Action = TypeVar("Action", bound=Any)
"""An action, or a plain row of one with the same names."""


def newest_failure(timeline: Sequence[Action], *, cycle: int) -> Action | None:
    """Return the newest failure of a cycle that is not retried, and that no later action of its type follows.

    So it is one that `failures.to_repair` returns, too, if the assignment's state still allows its repair.
    """
    retried = {row.retry_of_id for row in timeline}
    here = [row for row in timeline if row.cycle == cycle]
    latest = {row.action_type: row.created for row in sorted(here, key=lambda row: row.created)}
    failed = [row for row in here if row.status == Status.FAILED and row.pk not in retried]
    unresolved = [row for row in failed if row.created == latest[row.action_type]]
    return max(unresolved, key=lambda row: (row.created, row.pk), default=None)
