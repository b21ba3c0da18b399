"""The frozen values of content, and the elements that replace a missing or unreadable record."""

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
    """A summary, as in search results: without owners, entitlements and a meaningful price."""
    FULL = "full"
    """The complete record, with the dates and the price of its runs."""


class ContentType(enum.StrEnum):
    """The type of a record. Upstream has no others."""

    COURSE = "course"
    """A course, with its runs."""
    COURSERUN = "courserun"
    """A run of a course, with its own dates and price."""
    PROGRAM = "program"
    """Courses that lead to one credential."""
    LEARNERPATHWAY = "learnerpathway"
    """Courses and programs in a recommended order."""


class Partner(BaseModel):
    """An organisation that offers the content. `logo_image_url` may be relative to upstream's host."""

    model_config = ConfigDict(frozen=True, strict=True)

    uuid: UUID | None
    key: str
    name: str
    logo_image_url: str


@pydantic.dataclasses.dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(strict=True))
class Content:
    """One record of a catalog, of any type. None and "" mean unknown; `warnings` lists unusable values."""

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
    """The key of the run that upstream recommends now; "" for none, or for one that is not in the record."""
    active: bool = False
    """Whether learners could enrol at upstream's last sync. A run is active if `offered` and `enrollable`."""
    variant: str = ""
    """Hex SHA-256 of the sorted keys of the restricted runs in a course's record, "" for none.

    Upstream serves such runs only to catalogs that allow them, so a course may have several records.
    """
    offered: bool = False
    """Whether a run is published and marketable, or externally marketable; False for other types."""
    enrollable: bool = False
    """Upstream's `is_enrollable` of a run. It depends on the time, and is from upstream's last sync."""
    upstream_modified: AwareDatetime | None = None
    """Upstream sets it at every sync, even without a change. Used only to refuse an older record."""
    completeness: Completeness
    payload: dict[str, object] = Field(repr=False)
    """The storable part of the record as served, without links. All catalogs share it."""
    links: dict[str, object] = Field(default_factory=dict, repr=False)
    """The record's own links, which belong only to the catalog that served it; see `payload.LINKS`."""
    digest: str
    """`payload.content_digest` of the payload; equal digests mean unchanged content."""
    runs: tuple["Content", ...] = Field(default=(), repr=False)
    """A course's runs, in upstream's order, each key once."""
    paths: dict[str, str] = Field(default_factory=dict, repr=False)
    """By column of the replica, the path in the served record that its value was read from."""
    warnings: tuple[str, ...] = ()
    """The unusable values, which are stored as unknown, such as "enrollment_end 'soon' is not a date"."""


@dataclass(frozen=True, slots=True)
class UnreadableElement:
    """An element of a listing that is not JSON; it replaces a record.

    `position` counts lines (or elements) from 1; `reason` is `line_too_long`, `not_utf8` or `not_json`.
    `content_key` is the requested key, if it is known.
    """

    position: int
    reason: str
    content_key: str = ""


@dataclass(frozen=True, slots=True)
class Unfetched:
    """Replaces a record that the catalog has, but did not serve.

    `content_key` is the requested key, "" if the listing has none. `reason` is `upstream_error`, `too_large`,
    `not_served` or `key_unusable`; `detail` is for people.
    """

    content_key: str
    reason: str
    detail: str


class CatalogUnavailable(Exception):
    """The catalog is unreachable, refuses our requests, or failed while it was read."""

    reason: ClassVar[str] = "catalog_unavailable"


KeysToSkip = Callable[[Sequence[str]], Collection[str]]
"""Returns the subset of the keys that need not be fetched."""


class UnusableRecord(Exception):
    """A record that cannot be stored.

    `reason` is stable: `not_json`, `not_an_object`, `nested_too_deeply`, `unknown_content_type`,
    `key_missing` or `key_unusable`, or that of an `Unfetched`. `detail` is for people. `content_key` is "" if
    it could not be read.
    """

    def __init__(self, reason: str, detail: str, content_key: str = "") -> None:
        super().__init__(reason, detail, content_key)
        self.reason = reason
        self.detail = detail
        self.content_key = content_key

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"
