"""The failures on a timeline that nothing has answered yet."""

from collections.abc import Sequence
from typing import Any, TypeVar

from bursary.assignments.choices import Status

Action = TypeVar("Action", bound=Any)
"""An action, or a plain row of one with the same names."""


def newest_failure(timeline: Sequence[Action], *, cycle: int) -> Action | None:
    """Return the newest failure of a cycle that no action of the timeline has retried."""
    retried = {row.retry_of_id for row in timeline}
    failed = [row for row in timeline if row.status == Status.FAILED and row.cycle == cycle]
    unanswered = [row for row in failed if row.pk not in retried]
    return max(unanswered, key=lambda row: (row.created, row.pk), default=None)
