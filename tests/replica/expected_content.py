"""What is true upstream: a few courses that are edited, and what each catalog is served of them."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from tests.enterprise_catalog import views
from tests.enterprise_catalog.database import CatalogDatabase, Record
from tests.replica.listing import CATALOG, NOW, OTHER_CATALOG

CATALOGS = {"one": CATALOG, "other": OTHER_CATALOG, "third": UUID("33333333-3333-4333-8333-333333333333")}
NAMES = [f"RiversideX+T{number}" for number in range(1, 9)]
"""The first keys of the courses."""
MAX_AWAY = 4
"""More than four at once that a catalog does not have any more are an alarm, which a human must judge."""

PUBLIC, RESTRICTED = "abc", "pq"
_DAYS = {"a": 0.0, "b": 5.1, "c": -2.1, "p": -9.1, "q": 12.1}
"""A run's dates are so many days after its course's: by the hour one knows which run a date is of."""
_DOLLARS = {"a": 0.0, "b": 10.0, "c": 0.0, "p": -50.0, "q": 70.0}


@dataclass
class Course:
    """A course and its runs as upstream knows them; dates are days from NOW."""

    name: str
    key: str = ""
    title: str = "Tidal Engines"
    price: float | None = 199.0
    enroll_by: int | None = 60
    start: int | None = 80
    end: int | None = None
    runs: list[str] = field(default_factory=lambda: ["a", "b"])
    advertised: str = ""
    """The last run, where it is none of them."""
    active: bool = True
    thin: bool = False
    """Upstream has only the search hit."""
    force_included: bool = False
    """An operator has put it into catalogs."""
    poison: str = ""
    """An unknown content type."""

    def __post_init__(self) -> None:
        self.key = self.key or self.name

    def run_key(self, run: str) -> str:
        return f"course-v1:{self.name}+{run}"

    def closes(self, run: str) -> datetime | None:
        """Return when enrolment in the run closes."""
        dates = (_instant(date, run) for date in (self.enroll_by, self.end) if date is not None)
        return min(dates, default=None)

    def record(self) -> Record:
        """Return the record in which upstream keeps it, with every run, without its stamp."""
        runs = [run for run in self.runs if not self.thin or run in PUBLIC]
        record: Record = {
            "content_type": self.poison or "course",
            "key": self.key,
            "uuid": _uuid(self.name),
            "title": self.title,
            "course_runs": [self._run(run) for run in runs],
            "enrollment_url": f"https://enterprise.example.org/{self.key}",
            "active": self.active and not self.thin,
        }
        if self.thin:
            return record
        record |= self._what_a_search_hit_lacks()
        return views.force_included(record) if self.force_included and not self.poison else record

    def search_document(self, run: str) -> Record:
        """Return the record of a run that a catalog lists itself."""
        dates = self._dates(run)
        return {
            "content_type": "courserun",
            "key": self.run_key(run),
            "aggregation_key": f"courserun:{self.key}",
            "parent_content_key": self.key,
            "title": f"{self.title} ({run})",
            "published": True,
            "is_enrollable": self.active,
            **dates,
        }

    def _run(self, run: str) -> Record:
        shown = {
            "key": self.run_key(run),
            "title": self.title,
            "status": "published",
            "is_enrollable": self.active,
            **self._dates(run),
        }
        if run in RESTRICTED:
            shown["restriction_type"] = "custom-b2b-enterprise"
        price = None if self.price is None else str(self._price(run))
        more = {"uuid": _uuid(self.run_key(run)), "is_marketable": True, "fixed_price_usd": price}
        return shown if self.thin else shown | more

    def _dates(self, run: str) -> Record:
        return {
            "start": _date(self.start, run),
            "end": _date(self.end, run),
            "enrollment_end": _date(self.enroll_by, run),
        }

    def _price(self, run: str) -> float | None:
        return self.price and self.price + _DOLLARS[run]

    def _what_a_search_hit_lacks(self) -> Record:
        advertised = self.advertised if self.advertised in self.runs else "".join(self.runs[-1:])
        by_run = {self.run_key(run): self._terms(run) for run in self.runs}
        return {
            "owners": [{"key": "RiversideX", "name": "Riverside College"}],
            "advertised_course_run_uuid": _uuid(self.run_key(advertised)) if advertised else None,
            "normalized_metadata": by_run.get(self.run_key(advertised), views.NORMALIZED_NOTHING),
            "normalized_metadata_by_run": by_run,
        }

    def _terms(self, run: str) -> Record:
        return {
            "start_date": _date(self.start, run),
            "end_date": _date(self.end, run),
            "enroll_start_date": None,
            "enroll_by_date": _date(self.enroll_by, run),
            "content_price": self._price(run),
        }


class ExpectedContent:
    """The courses, and the database that serves them. What is edited here is served at once."""

    def __init__(self) -> None:
        self.courses = {name: Course(name) for name in NAMES}
        self.database = CatalogDatabase(
            [one.record() for one in self.courses.values()], map(str, CATALOGS.values())
        )
        self.away: dict[UUID, set[str]] = {catalog_uuid: set() for catalog_uuid in CATALOGS.values()}
        self.shown: dict[UUID, set[str]] = {catalog_uuid: set() for catalog_uuid in CATALOGS.values()}
        """Every key that a catalog was ever served."""
        self.dates: dict[str, set[datetime]] = {}
        """Every date on which enrolment in a run has ever closed."""
        self.allowed: set[tuple[UUID, str]] = set()
        self._alone: dict[str, tuple[Course, str]] = {}
        self._stamp = ""
        for name in NAMES[4:]:
            for catalog_uuid in (OTHER_CATALOG, CATALOGS["third"]):
                self.database.remove(name, catalog=str(catalog_uuid))
        self.sync()

    def sync(self) -> None:
        """Stamp everything, and change nothing else."""
        self.database.sync()
        self._stamp = next(str(stamp) for stamp in self.database.updated(str(CATALOG)).values())
        self._note()

    def edit(self, name: str, *, stamped: bool = True, **changes: Any) -> None:
        """Change a course. Where it is not `stamped`, no time stamp shows it."""
        course = self.courses[name]
        for attribute, value in changes.items():
            setattr(course, attribute, value)
        self._put(course.record())
        for of, run in self._alone.values():
            if of is course:
                self._put(course.search_document(run))
        self._note()
        if stamped:
            self.sync()

    def members(self, catalog_uuid: UUID) -> set[str]:
        return self.database.members(str(catalog_uuid))

    def remove(self, key: str, catalog_uuid: UUID) -> None:
        """Take a course, or a run that is listed itself, out of a catalog, unless too many are away."""
        held, away = self.members(catalog_uuid), self.away[catalog_uuid]
        courses = held - self._alone.keys()
        if key in held and len(courses - {key}) > 0 and len(away) < MAX_AWAY:
            away.add(self._lasting(key))
            self.database.remove(key, catalog=str(catalog_uuid))

    def restore(self, name: str, catalog_uuid: UUID) -> None:
        """Put a course into a catalog."""
        self.away[catalog_uuid].discard(name)
        self._put(self.courses[name].record(), catalog_uuid)
        self._note()

    def list_run(self, name: str, run: str, catalog_uuid: UUID) -> None:
        """Let a catalog list a run itself, be its course there or not."""
        course = self.courses[name]
        self._alone[course.run_key(run)] = (course, run)
        self.away[catalog_uuid].discard(course.run_key(run))
        self._put(course.search_document(run), catalog_uuid)
        self._note()

    def allow(self, run_key: str, catalog_uuid: UUID, *, allowed: bool) -> None:
        """Let a catalog's query allow a restricted run, or no longer."""
        if allowed:
            self.allowed.add((catalog_uuid, run_key))
            self.database.allow_restricted(catalog_uuid, run_key)
        elif (catalog_uuid, run_key) in self.allowed:
            self.allowed.remove((catalog_uuid, run_key))
            self.database.withdraw_restricted(catalog_uuid, run_key)
        self._note()

    def rename_key(self, name: str, number: int) -> None:
        """Give a course another key, or its first one back."""
        course = self.courses[name]
        key = f"{name}.{number}" if number else name
        if key != course.key:
            self.database.rename_key(course.key, key)
            course.key = key
            self._note()

    def heal(self) -> None:
        """Serve every course whole and usable."""
        for name in NAMES:
            self.edit(name, thin=False, poison="")

    def records(self, catalog_uuid: UUID) -> list[Record]:
        """Return all that the catalog is served."""
        return self.database.by_keys(str(catalog_uuid), self.members(catalog_uuid))

    def course_of(self, key: str) -> Course:
        """Return the course of a key that it or one of its runs has, or had."""
        name = key.removeprefix("course-v1:").rpartition("+")[0] if key.startswith("course-v1:") else key
        return self.courses[name.partition(".")[0]]

    def closings(self, key: str, catalog_uuid: UUID) -> set[datetime]:
        """Return when enrolment in a run, or in the runs of a course, has ever closed.

        Restricted runs count only where the catalog was ever served them.
        """
        course = self.course_of(key)
        shown = [run for run in RESTRICTED if course.run_key(run) in self.shown[catalog_uuid]]
        runs = {course.run_key(run) for run in (*PUBLIC, *shown)}
        return set().union(*(self.dates[run] for run in runs if key == run or key not in self.dates))

    def _put(self, record: Record, catalog_uuid: UUID | None = None) -> None:
        catalogs = [str(catalog_uuid)] if catalog_uuid else []
        self.database.put(record | {"content_last_modified": self._stamp}, catalogs=catalogs)

    def _lasting(self, key: str) -> str:
        return key if key in self._alone else self.course_of(key).name

    def _note(self) -> None:
        """Remember what is served now."""
        for catalog_uuid in CATALOGS.values():
            members = self.members(catalog_uuid)
            self.shown[catalog_uuid] |= members
            for course in self.courses.values():
                if course.key in members:
                    runs = {course.run_key(run): run in PUBLIC for run in course.runs}
                    shown = (
                        key for key, public in runs.items() if public or (catalog_uuid, key) in self.allowed
                    )
                    self.shown[catalog_uuid].update(shown)
        for course in self.courses.values():
            for run in PUBLIC + RESTRICTED:
                closes = course.closes(run)
                self.dates.setdefault(course.run_key(run), set()).update({closes} if closes else ())


def _uuid(key: str) -> str:
    return str(uuid5(NAMESPACE_URL, key))


def _date(days: int | None, run: str) -> str | None:
    return None if days is None else _instant(days, run).isoformat()


def _instant(days: int, run: str) -> datetime:
    return NOW + timedelta(days=days + _DAYS[run])
