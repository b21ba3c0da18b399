"""How large the cases are."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """The sizes of one run."""

    name: str
    learners: int
    """Of one allocation."""
    others: int
    """Assignments that are there already, in another budget."""
    listed: int
    """Assignments of the budget with the list that is read."""
    due: int
    """Assignments that a sweep finds due."""
    courses: int
    """Of a refresh."""


SCALES = {
    "small": Scale("small", learners=1_000, others=0, listed=10_000, due=400, courses=200),
    "100k": Scale("100k", learners=10_000, others=10_000, listed=100_000, due=10_000, courses=5_000),
    "1m": Scale("1m", learners=10_000, others=100_000, listed=1_000_000, due=10_000, courses=5_000),
}
