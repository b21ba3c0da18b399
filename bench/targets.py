"""What each case may take, in one place: at most so many times the floor, and so many milliseconds.

Targets are PostgreSQL's, and of a ratio to the floor also MariaDB's and SQLite's where they say so: a floor
within the process, as SQLite's, has no round trips that would hide what Python costs. A case without a target
is measured and reported.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """`ratio` times the floor, where there is one, and `ms` milliseconds more."""

    ratio: float = 0.0
    ms: float = 0.0
    source: str = ""
    mariadb: float | None = None
    sqlite: float | None = None

    def limit(self, engine: str, floor: float | None, *, share: float = 1.0) -> float | None:
        """Return how many milliseconds it may take on an engine; None where nothing is promised."""
        if engine == "postgres":
            return round(self.ratio * (floor or 0.0) + self.ms * share, 2)
        ratio = self.mariadb if engine == "mariadb" else self.sqlite
        return None if ratio is None or floor is None else round(ratio * floor, 2)

    def __str__(self) -> str:
        parts = [f"{self.ratio:g} times the floor"] if self.ratio else []
        said = " and ".join([*parts, f"{self.ms:,g} ms"] if self.ms else parts)
        others = {"MariaDB": self.mariadb, "SQLite": self.sqlite}
        return "; ".join([said, *(f"{name} {ratio:g} times" for name, ratio in others.items() if ratio)])


_GOALS = "the goals for a million assignments"
_MEASURED = "a prototype's measured ratios, and room for what it did not do"

TARGETS = {
    "allocate, the verb": Target(3, source=_GOALS, mariadb=4, sqlite=7),
    "allocate, a request": Target(ms=250, source=f"{_GOALS}: 1,000 learners"),
    "allocate, a request, summary": Target(ms=2_500, source=f"{_GOALS}: 10,000 learners, in proportion"),
    "allocate, a request again, summary": Target(ms=600, source=f"{_GOALS}: 10,000 learners, in proportion"),
    "list, first page": Target(2, 4, source=_GOALS),
    "list, middle page": Target(2, 4, source=_GOALS),
    "list, by start of content": Target(1.2, source=f"{_MEASURED}; against the first page"),
    "list, by cursor, deep": Target(1.5, source=f"{_MEASURED}; against the first page by cursor"),
    "list, one address": Target(ms=10, source=f"{_GOALS}: an index look-up"),
    "list, search": Target(ms=150, source=f"{_GOALS}: up to 1,000 matches"),
    "list, search, nothing": Target(ms=150, source=f"{_GOALS}: as one that finds something"),
    "counts by state": Target(1.3, 1, source=_MEASURED),
    "credits, 1": Target(ms=6, source=_GOALS),
    "credits, 50": Target(ms=10, source=_GOALS),
    "credits, 200": Target(ms=24, source=_GOALS),
    "claim and settle": Target(3, source=_GOALS, mariadb=3, sqlite=9),
    "expire": Target(3, source=_GOALS, mariadb=3),
    "nudge": Target(4.5, source=_GOALS, mariadb=3),
    "replica, new": Target(1.8, source=_GOALS, mariadb=3, sqlite=5.5),
    "replica, unchanged": Target(1.3, source=_GOALS),
    "replica, changed": Target(1.8, source=_GOALS, mariadb=3, sqlite=5.5),
    "replica, unchanged to changed": Target(0.15, source=_GOALS, mariadb=0.15, sqlite=0.15),
}
