"""The assignments of a budget that a request names by uuid: locking them, and the result of each."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Self
from uuid import UUID

from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.lib.locks import for_update


def lock(budget: Budget, uuids: Sequence[UUID]) -> dict[UUID, LearnerContentAssignment]:
    """Lock the assignments of a locked budget with these uuids; return those that it has, by uuid."""
    named = LearnerContentAssignment.objects.filter(budget=budget, uuid__in=uuids)
    return {one.uuid: one for one in for_update(named).order_by("pk")}


@dataclass
class NamedResult:
    """The result for each named assignment. Subclasses have the lists of those that were not refused."""

    refused: dict[UUID, str] = field(default_factory=dict)
    """By uuid: `unknown`, or the reason."""

    def known(
        self, uuids: Sequence[UUID], found: Mapping[UUID, LearnerContentAssignment]
    ) -> Iterator[LearnerContentAssignment]:
        """Yield the found assignment of each uuid, once and in this order; refuse the others as `unknown`."""
        for uuid in dict.fromkeys(uuids):
            if uuid in found:
                yield found[uuid]
            else:
                self.refused[uuid] = "unknown"

    def add(self, batch: Self) -> None:
        """Add the result of a further batch."""
        self.refused |= batch.refused
        for column in fields(self):
            if column.name != "refused":
                getattr(self, column.name).extend(getattr(batch, column.name))
