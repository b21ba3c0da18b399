"""What is true upstream: a few courses that are edited, and the records in which they are served."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from tests.enterprise_catalog.shelf import Record, Shelf
from tests.replica.listing import CATALOG, NOW, OTHER_CATALOG

CATALOGS = {"one": CATALOG, "other": OTHER_CATALOG}
KEYS = [f"RiversideX+T{number}" for number in range(1, 9)]
MOST_AWAY = 4
"""More than four at once that a catalog does not have any more are an alarm, which a human must judge."""


@dataclass
class Course:
    """A course and its runs as upstream knows them; dates are days from NOW."""

    key: str
    title: str = "Tidal Engines"
    price: float | None = 199.0
    enroll_by: int | None = 60
    start: int | None = 80
    runs: list[str] = field(default_factory=lambda: ["a", "b"])
    active: bool = True
    thin: bool = False
    """Upstream has only the search hit."""
    poison: str = ""
    """An unknown content type."""

    def run_key(self, run: str) -> str:
        return f"course-v1:{self.key}+{run}"

    @property
    def run_keys(self) -> list[str]:
        return [self.run_key(run) for run in self.runs]

    def record(self) -> Record:
        """Return the record in which upstream serves it, without its stamp."""
        record: Record = {
            "content_type": self.poison or "course",
            "key": self.key,
            "uuid": _uuid(self.key),
            "title": self.title,
            "course_runs": [self._run(run) for run in self.runs],
            "enrollment_url": f"https://enterprise.example.org/{self.key}",
            "active": self.active and not self.thin,
        }
        return record if self.thin else record | self._what_a_search_hit_lacks()

    def _run(self, run: str) -> Record:
        shown = {
            "key": self.run_key(run),
            "title": self.title,
            "status": "published",
            "start": _date(self.start),
            "enrollment_end": _date(self.enroll_by),
            "is_enrollable": self.active,
        }
        return shown if self.thin else shown | {"uuid": _uuid(self.run_key(run)), "is_marketable": True}

    def _what_a_search_hit_lacks(self) -> Record:
        terms: Record = {
            "start_date": _date(self.start),
            "end_date": None,
            "enroll_start_date": None,
            "enroll_by_date": _date(self.enroll_by),
            "content_price": self.price,
        }
        return {
            "owners": [{"key": "RiversideX", "name": "Riverside College"}],
            "advertised_course_run_uuid": _uuid(self.run_key(self.runs[-1])) if self.runs else None,
            "normalized_metadata": terms,
            "normalized_metadata_by_run": dict.fromkeys(self.run_keys, terms),
        }


class Truth:
    """The courses, and the shelf that serves them. What is edited here is served at once."""

    def __init__(self) -> None:
        self.courses = {key: Course(key) for key in KEYS}
        self.shelf = Shelf(
            [course.record() for course in self.courses.values()], [str(uuid) for uuid in CATALOGS.values()]
        )
        self.away: dict[UUID, set[str]] = {catalog_uuid: set() for catalog_uuid in CATALOGS.values()}
        for key in KEYS[4:]:
            self.shelf.remove(key, catalog=str(OTHER_CATALOG))
        self.shelf.sync()

    def edit(self, key: str, *, stamped: bool = True, **changes: Any) -> None:
        """Change a course. Where it is not `stamped`, no time stamp shows it."""
        course = self.courses[key]
        for name, value in changes.items():
            setattr(course, name, value)
        self.shelf.put(course.record() | {"content_last_modified": self.stamp()}, catalogs=[])
        if stamped:
            self.shelf.sync()

    def stamp(self) -> str:
        """Return upstream's last stamp."""
        return str(self.shelf.updated(str(CATALOG))[min(self.members(CATALOG))])

    def members(self, catalog_uuid: UUID) -> set[str]:
        return self.shelf.members(str(catalog_uuid))

    def remove(self, key: str, catalog_uuid: UUID) -> None:
        """Take a course out of a catalog, unless too many are away."""
        held, away = self.members(catalog_uuid), self.away[catalog_uuid]
        if key in held and len(held) > 1 and len(away) < MOST_AWAY:
            away.add(key)
            self.shelf.remove(key, catalog=str(catalog_uuid))

    def restore(self, key: str, catalog_uuid: UUID) -> None:
        """Put it into a catalog."""
        self.away[catalog_uuid].discard(key)
        record = self.courses[key].record() | {"content_last_modified": self.stamp()}
        self.shelf.put(record, catalogs=[str(catalog_uuid)])

    def heal(self) -> None:
        """Serve every course whole and usable."""
        for key in KEYS:
            self.edit(key, thin=False, poison="")


def _uuid(key: str) -> str:
    return str(uuid5(NAMESPACE_URL, key))


def _date(days: int | None) -> str | None:
    return None if days is None else _instant(days).isoformat()


def _instant(days: int) -> datetime:
    return NOW + timedelta(days=days)
