"""The frozen values that the service knows content by."""

import enum
from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from bursary.catalog.fields import MAX_COUNT, MAX_KEY, MAX_SLUG
from bursary.catalog.prices import MAX_CENTS

Key = Annotated[str, Field(min_length=1, max_length=MAX_KEY)]
Slug = Annotated[str, Field(max_length=MAX_SLUG)]


class Completeness(enum.StrEnum):
    """How much of a record upstream served; a thin record never replaces a full one."""

    THIN = "thin"
    """A search hit: no owners, no entitlements, no price that means anything."""
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


class Content(BaseModel):
    """One record of the catalog, of any type. None and "" mean unknown; `notes` says what was not usable."""

    model_config = ConfigDict(frozen=True, strict=True)

    content_key: Key
    """A course's or a run's key; the uuid, in lower case, of a program or a pathway."""
    content_type: ContentType
    uuid: UUID | None = None
    parent_key: Key | None = None
    """The key of a run's course."""
    title: str = ""
    course_type: Slug = ""
    product_source: Slug = ""
    """Who sells it: `edx`, `2u`, …"""
    partners: tuple[Partner, ...] = ()
    image_url: str = ""
    start_date: AwareDatetime | None = None
    """A run's dates are its own, a course's those of its advertised run. All are UTC."""
    end_date: AwareDatetime | None = None
    enroll_start: AwareDatetime | None = None
    enroll_by: AwareDatetime | None = None
    price_cents: Annotated[int, Field(ge=0, le=MAX_CENTS)] | None = None
    """US cents; None is unknown, 0 is free."""
    pacing: Slug = ""
    """`self_paced` or `instructor_paced`; a course's is its advertised run's, like `weeks_to_complete`."""
    weeks_to_complete: Annotated[int, Field(ge=0, le=MAX_COUNT)] | None = None
    advertised_run: str = ""
    """The key of the run that upstream recommends today; "" for none, or for one that it does not list."""
    active: bool = False
    """Whether upstream, at its last sync, found somebody able to enroll."""
    upstream_modified: AwareDatetime | None = None
    """Moves at every sync of upstream's, changed or not: good only to refuse an older record."""
    completeness: Completeness
    payload: dict[str, object] = Field(repr=False)
    """The record as served, less what no database stores, and less links: all catalogs share it."""
    links: dict[str, object] = Field(default_factory=dict, repr=False)
    """The record's own links, which are for the catalog alone that it was asked of; see `links.py`."""
    digest: str
    """Hex SHA-256 of the payload's lasting part; equal digests mean unchanged content."""
    runs: tuple["Content", ...] = Field(default=(), repr=False)
    """A course's runs, in upstream's order, each key once."""
    notes: tuple[str, ...] = ()
    """What was not usable and is stored as unknown, such as "enrollment_end 'soon' is not a date"."""
