"""What a refresh did, in numbers and in the names of what it could not use."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Self

from bursary.replica.merge import MergeDecision

NAMED = 500
"""Unusable records that a report names; it counts them all."""


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """A record that was left out. `reason` is stable, `detail` is for people; `key` is "" if unreadable."""

    key: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class RefreshReport:
    """Counts of one refresh: upstream's pages and records, and our rows, to which runs belong too.

    Reports add up. Every row is counted under one word, once each time that it was met.
    """

    pages: int = 0
    records: int = 0
    created: int = 0
    changed: int = 0
    unchanged: int = 0
    refused_older: int = 0
    refused_thin: int = 0
    listed: int = 0
    """Courses, programs and pathways that the catalog named."""
    passed_over: int = 0
    """Those of them that were read before the listing was interrupted."""
    quarantined: int = 0
    """Records that could not be used before and are still the same: passed over in silence."""
    unanswered: int = 0
    """Keys that we have and that the catalog, asked for them, did not have."""
    ended: int = 0
    """Memberships that were over, and were ended."""
    postponed: int = 0
    """Looks that failed and will be tried again."""
    unparsable_total: int = 0
    unparsable: tuple[RejectedRecord, ...] = ()
    """The first `NAMED` of them."""
    alarm: str = ""
    """Why nothing went, where too much of a catalog was missing."""

    def __add__(self, other: Self) -> "RefreshReport":
        counts = {
            field.name: getattr(self, field.name) + getattr(other, field.name)
            for field in fields(self)
            if field.name not in ("unparsable", "alarm")
        }
        named = (*self.unparsable, *other.unparsable)[:NAMED]
        return RefreshReport(**counts, unparsable=named, alarm=self.alarm or other.alarm)

    @classmethod
    def of(cls, outcomes: Iterable[tuple[str, MergeDecision]]) -> "RefreshReport":
        """Count what became of content keys."""
        outcomes = list(outcomes)
        count = Counter(verdict for _key, verdict in outcomes)
        conflicts = [key for key, verdict in outcomes if verdict is MergeDecision.REFUSED_TYPE]
        return cls(
            created=count[MergeDecision.CREATED],
            changed=count[MergeDecision.CHANGED],
            unchanged=count[MergeDecision.UNCHANGED] + count[MergeDecision.REPEATED],
            refused_older=count[MergeDecision.REFUSED_OLDER],
            refused_thin=count[MergeDecision.REFUSED_THIN],
        ) + cls.of_unusable(
            RejectedRecord(key, "content_type_changed", "The key belongs to content of another type.")
            for key in conflicts
        )

    @classmethod
    def of_unusable(cls, left_out: Iterable[RejectedRecord]) -> "RefreshReport":
        """Count and name what was left out."""
        named = tuple(left_out)
        return cls(unparsable_total=len(named), unparsable=named[:NAMED])

    def as_dict(self) -> dict[str, object]:
        """Return the report as plain values, ready for JSON."""
        return {**asdict(self), "unparsable": [asdict(left_out) for left_out in self.unparsable]}
