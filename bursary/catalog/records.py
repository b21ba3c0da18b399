"""The frozen values that the service knows content by, and what may stand in a record's place."""

import enum
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar
from uuid import UUID

import pydantic.dataclasses
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from bursary.catalog.values import MAX_CENTS, MAX_COUNT, MAX_KEY, MAX_SLUG

ContentKey = Annotated[str, Field(min_length=1, max_length=MAX_KEY)]
ShortName = Annotated[str, Field(max_length=MAX_SLUG)]


class Completeness(enum.StrEnum):
    """How much of a record upstream served; a summary never replaces a full record."""

    THIN = "thin"
    """A summary, as in search results: no owners, no entitlements, no price that means anything."""
    FULL = "full"
    """The whole record, with the dates and the price of its runs."""


class ContentType(enum.StrEnum):
    """What a record describes. Upstream knows no other types."""

    COURSE = "course"
    """A course, with the runs it is offered in."""
    COURSERUN = "courserun"
    """One offering of a course, with dates and a price of its own."""
    PROGRAM = "program"
    """Courses that lead to one credential."""
    LEARNERPATHWAY = "learnerpathway"
    """Courses and programs in an order recommended to learners."""


class Partner(BaseModel):
    """An organisation that offers the content. `logo_image_url` may be relative to upstream's host."""

    model_config = ConfigDict(frozen=True, strict=True)

    uuid: UUID | None
    key: str
    name: str
    logo_image_url: str


@pydantic.dataclasses.dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(strict=True))
class Content:
    """One record of the catalog, of any type. None and "" mean unknown; `notes` names what was unusable."""

    content_key: ContentKey
    """A course's or a run's key; the uuid, in lower case, of a program or a pathway."""
    content_type: ContentType
    uuid: UUID | None = None
    parent_key: ContentKey | None = None
    """The key of a run's course."""
    title: str = ""
    course_type: ShortName = ""
    product_source: ShortName = ""
    """The seller: `edx`, `2u`, …"""
    partners: tuple[Partner, ...] = ()
    image_url: str = ""
    start_date: AwareDatetime | None = None
    """A run's dates are its own, a course's those of its advertised run. All are UTC."""
    end_date: AwareDatetime | None = None
    enroll_start: AwareDatetime | None = None
    enroll_by: AwareDatetime | None = None
    price_cents: Annotated[int, Field(ge=0, le=MAX_CENTS)] | None = None
    """US cents; None is unknown, 0 is free."""
    pacing: ShortName = ""
    """`self_paced` or `instructor_paced`; a course's is its advertised run's, like `weeks_to_complete`."""
    weeks_to_complete: Annotated[int, Field(ge=0, le=MAX_COUNT)] | None = None
    advertised_run: str = ""
    """The key of the run that upstream recommends today; "" for none, or for one that it does not list."""
    active: bool = False
    """Whether learners could enrol at upstream's last sync: a run that is both `offered` and `enrollable`."""
    variant: str = ""
    """Hex SHA-256 of the sorted keys of the restricted runs that a course's record names, "" for none.

    Upstream serves such runs to the catalogs that allow them alone, so one course has several records.
    """
    offered: bool = False
    """Whether a run is published and marketable, or marketable outside; False for all but runs."""
    enrollable: bool = False
    """Upstream's `is_enrollable` of a run, a function of the time that was frozen at its last sync."""
    upstream_modified: AwareDatetime | None = None
    """Moves at every sync of upstream's, changed or not: good only to refuse an older record."""
    completeness: Completeness
    payload: dict[str, object] = Field(repr=False)
    """The record as served, less what no database stores, and less links: all catalogs share it."""
    links: dict[str, object] = Field(default_factory=dict, repr=False)
    """The record's own links, for the catalog that served it alone; see `payload.LINKS`."""
    digest: str
    """Hex SHA-256 of the payload's lasting part; equal digests mean unchanged content."""
    runs: tuple["Content", ...] = Field(default=(), repr=False)
    """A course's runs, in upstream's order, each key once."""
    paths: dict[str, str] = Field(default_factory=dict, repr=False)
    """By column of the replica, the path in the served record that its value was read from."""
    notes: tuple[str, ...] = ()
    """What was unusable and is stored as unknown, such as "enrollment_end 'soon' is not a date"."""


@dataclass(frozen=True, slots=True)
class UnreadableElement:
    """An element of a listing that is not JSON; it stands in the place of a record.

    `position` counts lines (or elements) from 1; `reason` is `line_too_long`, `not_utf8` or `not_json`.
    `content_key` is the key that was asked for, where that is known.
    """

    position: int
    reason: str
    content_key: str = ""


@dataclass(frozen=True, slots=True)
class Unfetched:
    """A record that the catalog holds but did not serve; it stands in the place of a record.

    `content_key` is the key that was asked for, "" where the listing names none. `reason` is
    `upstream_error`, `too_large`, `not_served` or `key_unusable`; `detail` is for people.
    """

    content_key: str
    reason: str
    detail: str


class CatalogUnavailable(Exception):
    """The catalog did not answer: it is unreachable, refuses our requests, or failed while it was read."""

    reason: ClassVar[str] = "catalog_unavailable"


KnownKeys = Callable[[Sequence[str]], Collection[str]]
"""Returns those of some keys that need no fetching."""


class UnusableRecord(Exception):
    """A record that cannot be stored.

    `reason` is stable: `not_json`, `not_an_object`, `nested_too_deeply`, `unknown_content_type`,
    `key_missing` or `key_unusable`, or that of an `Unfetched`. `detail` is for people. `content_key` is ""
    where it could not be read.
    """

    def __init__(self, reason: str, detail: str, content_key: str = "") -> None:
        super().__init__(reason, detail, content_key)
        self.reason = reason
        self.detail = detail
        self.content_key = content_key

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"
