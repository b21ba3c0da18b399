"""Current failures: unresolved ones of a cycle that are the latest action of their type in it."""

from collections.abc import Sequence
from typing import Any, TypeVar

from bursary.assignments.choices import Status

Action = TypeVar("Action", bound=Any)
"""An action, or a plain row of one with the same names."""


def newest_current(timeline: Sequence[Action], *, cycle: int) -> Action | None:
    """Return the newest failure of a cycle that is unresolved, and the latest action of its type; or None.

    It is one that `failures.to_repair` returns, too, if the assignment's state still allows its repair.
    """
    followed_up = {row.retry_of_id for row in timeline}
    here = [row for row in timeline if row.cycle == cycle]
    latest = {row.action_type: row.created for row in sorted(here, key=lambda row: row.created)}
    unresolved = [row for row in here if row.status == Status.FAILED and row.pk not in followed_up]
    current = [row for row in unresolved if row.created == latest[row.action_type]]
    return max(current, key=lambda row: (row.created, row.pk), default=None)
