"""The shapes of upstream's JSON, read tolerantly: an unusable value becomes unknown, with a warning.

Prices of courses and runs are read here as well: the normalized price, or the one that the run lists.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, Field, ValidationError

from bursary.catalog.records import Content
from bursary.catalog.values import (
    Cents,
    Count,
    Flag,
    Instant,
    JsonList,
    JsonObject,
    Key,
    Slug,
    Text,
    UnusableValue,
    Uuid,
    cents,
    is_key,
)
from bursary.lib.texts import storable

MAX_WARNINGS = 50  # a record may be wrong in a thousand places
DATES = ("start_date", "end_date", "enroll_start", "enroll_by")
QUOTED = 60  # characters of an unusable value that a warning repeats

EXECUTIVE_EDUCATION = "executive-education-2u"
_SEATS = ("verified", "professional", "no-id-professional", "unpaid-executive-education", "audit")
"""Types of seats. A run's upgrade deadline is that of its first seat in this order."""

_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")

Json = dict[str, Any]
Fields = dict[str, tuple[Any, str]]
"""By the name of a field of `Content`, its value and the path that it was read from."""
PriceWithPath = tuple[int | None, str]
"""US cents, None for unknown, and the path that they were read from."""


class ParseWarnings(list[str]):
    """Sentences about unusable values, at most `MAX_WARNINGS`."""

    def add(self, sentence: str) -> None:
        if len(self) < MAX_WARNINGS:
            self.append(sentence)


class JsonShape(BaseModel):
    """The fields to read from an object. A missing or null value is unknown, without a warning."""

    @classmethod
    def read(cls, raw: Json, warnings: ParseWarnings, path: str = "") -> Self:
        """Read an object at a path; an unusable field becomes unknown, and a warning names its path."""
        try:
            return cls.model_validate(raw)
        except ValidationError as invalid:
            unusable: Json = {}
            for error in invalid.errors(include_url=False):
                name = str(error["loc"][0])
                warnings.add(f"{path}{name} {quoted(error['input'])} {error['ctx']['error']}")
                unusable[name] = None
            return cls.model_validate(raw | unusable)


class ImageShape(JsonShape):
    src: Text = ""


class SourceShape(JsonShape):
    slug: Slug = ""
    name: Text = ""


class WithImage(JsonShape):
    image_url: Text = ""
    card_image_url: Text = ""
    image: JsonObject = None

    def own_image(self, warnings: ParseWarnings) -> tuple[str, str]:
        """Return the record's own image, under any of upstream's names for it, and its path."""
        if self.image_url:
            return self.image_url, "image_url"
        if self.card_image_url:
            return self.card_image_url, "card_image_url"
        return ImageShape.read(self.image or {}, warnings, "image.").src, "image.src"


class CommonShape(WithImage):
    """The fields of records of every type."""

    uuid: Uuid = None
    title: Text = ""
    content_last_modified: Instant = None


class CourseShape(CommonShape):
    course_type: Slug = ""
    product_source: Any = None
    owners: JsonList = ()
    entitlements: JsonList = ()
    course_runs: JsonList = ()
    normalized_metadata: JsonObject = None
    normalized_metadata_by_run: JsonObject = None
    advertised_course_run_uuid: Uuid = None
    active: Flag = None

    def seller(self, warnings: ParseWarnings) -> tuple[str, str]:
        """Return the seller's slug and its path.

        If upstream has only a name, it serves null as the slug; then the name is returned.
        """
        source, name, path = self.product_source, "", "product_source"
        if isinstance(source, str):
            name = storable(source)
        elif isinstance(source, dict):
            read = SourceShape.read(source, warnings, "product_source.")
            if read.slug:
                return read.slug, "product_source.slug"
            name, path = read.name, "product_source.name"
        elif source is not None:
            warnings.add(f"product_source {quoted(source)} is not an object")
        slug = name.strip().lower()
        return slug if _SLUG.fullmatch(slug) else "", path

    def entitlement_cents(self, warnings: ParseWarnings) -> int | None:
        """Return the price of a course's entitlement to executive education, 0 for a course without one.

        The seats of such a course always cost 0.00.
        """
        for entitlement, path in objects(self.entitlements, warnings, "entitlements"):
            executive = entitlement.get("mode") == "paid-executive-education"
            if executive and entitlement.get("currency") in (None, "USD"):
                return listed_cents(entitlement, "price", warnings, f"{path}.")
        return 0


class SeatShape(JsonShape):
    type: Text = ""
    upgrade_deadline: Instant = None
    upgrade_deadline_override: Instant = None


class NestedRunShape(WithImage):
    uuid: Uuid = None
    title: Text = ""
    pacing_type: Slug = ""
    weeks_to_complete: Count = None
    status: Text = ""
    is_marketable: Flag = None
    is_marketable_external: Flag = None
    is_enrollable: Flag = None
    seats: JsonList = ()

    @property
    def offered(self) -> bool:
        """Whether it is published and marketable, or externally marketable with any status."""
        published = self.status.lower() == "published"
        return (published and self.is_marketable is True) or self.is_marketable_external is True

    def upgrade_by(self, warnings: ParseWarnings, path: str) -> datetime | None:
        """Return the upgrade deadline of its first seat in the order of `_SEATS`."""
        read = [
            SeatShape.read(raw, warnings, f"{where}.") for raw, where in objects(self.seats, warnings, path)
        ]
        rank = {kind: place for place, kind in enumerate(_SEATS)}
        best = min(read, key=lambda seat: rank.get(seat.type, len(rank)), default=None)
        return (best.upgrade_deadline_override or best.upgrade_deadline) if best else None


class SeparateRunShape(CommonShape):
    parent_content_key: Key = ""
    aggregation_key: Text = ""
    pacing_type: Slug = ""
    weeks_to_complete: Count = None
    published: Flag = None
    is_marketable: Flag = None
    is_marketable_external: Flag = None
    is_enrollable: Flag = None

    @property
    def offered(self) -> bool:
        """Whether it is published, and not marked as unmarketable. Search documents lack that mark."""
        published = self.published is True and self.is_marketable is not False
        return published or self.is_marketable_external is True

    def course(self) -> tuple[str | None, str]:
        """Return the key of its course, which may be in the aggregation key, and that key's path."""
        named = self.aggregation_key.removeprefix("courserun:")
        if not self.parent_content_key and named != self.aggregation_key and is_key(named):
            return named, "aggregation_key"
        return self.parent_content_key or None, "parent_content_key"


class CollectionShape(CommonShape):
    authoring_organizations: JsonList = ()
    status: Text = ""


class PartnerShape(JsonShape):
    uuid: Uuid = None
    key: Text = ""
    name: Text = ""
    logo_image_url: Text = ""


class RunKeyShape(JsonShape):
    key: Key = ""


class _Dates(JsonShape):
    def dates(self, path: str = "") -> Fields:
        """Return the four dates as fields, for an object at a path."""
        return {name: (getattr(self, name), f"{path}{type(self).model_fields[name].alias}") for name in DATES}


class NormalizedMetadata(_Dates):
    """The dates and the price that upstream computes for a course, and for each of its runs."""

    start_date: Instant = Field(default=None, alias="start_date")
    end_date: Instant = Field(default=None, alias="end_date")
    enroll_start: Instant = Field(default=None, alias="enroll_start_date")
    enroll_by: Instant = Field(default=None, alias="enroll_by_date")
    content_price: Cents = None


class OwnDates(_Dates):
    """The dates of a run itself."""

    start_date: Instant = Field(default=None, alias="start")
    end_date: Instant = Field(default=None, alias="end")
    enroll_start: Instant = Field(default=None, alias="enrollment_start")
    enroll_by: Instant = Field(default=None, alias="enrollment_end")


def objects(items: Sequence[object], warnings: ParseWarnings, path: str) -> Iterator[tuple[Json, str]]:
    """Yield the objects in a list, each with its path; warn of other values."""
    for position, item in enumerate(items):
        if isinstance(item, dict):
            yield item, f"{path}[{position}]"
        else:
            warnings.add(f"{path}[{position}] {quoted(item)} is not an object")


def course_price(
    normalized: NormalizedMetadata,
    advertised: Content | None,
    *,
    entitlement_cents: int | None,
    warnings: ParseWarnings,
) -> PriceWithPath:
    """Return the normalized price of a course.

    Upstream serves 0.0 both for free and for unknown. So for 0.0, return the price that the advertised run
    lists, and None (unknown) without such a run.
    """
    path = "normalized_metadata.content_price"
    if normalized.content_price == 0 and advertised is None:
        warnings.add(f"{path} 0 without an advertised run is not a price")
        return None, path
    if normalized.content_price != 0 or advertised is None:
        return normalized.content_price, path
    # Without warnings: the run itself has them.
    return _listed_price(advertised.payload, advertised.content_key, entitlement_cents, ParseWarnings())


def run_price(
    raw: Json,
    key: str,
    normalized: NormalizedMetadata | None,
    *,
    entitlement_cents: int | None,
    warnings: ParseWarnings,
) -> PriceWithPath:
    """Return the price of a run: the normalized one if it is not 0, else the listed one.

    A normalized record without a price makes it None (unknown). Where nothing is listed, a normalized 0 makes
    the run free, and without a normalized record its price is unknown.
    """
    if normalized and normalized.content_price != 0:
        return normalized.content_price, f"normalized_metadata_by_run[{key}].content_price"
    listed, path = _listed_price(raw, key, entitlement_cents, warnings)
    return listed if normalized else listed or None, path


def _listed_price(
    run: Json, key: str, entitlement_cents: int | None, warnings: ParseWarnings
) -> PriceWithPath:
    """Return the first listed price above 0, in upstream's order of normalization; 0 if there is none.

    An unusable price makes it unknown (None), because the next one may be another price. Upstream cuts the
    price of a seat to whole dollars: 149.50 is served as 149.
    """
    price_cents = listed_cents(run, "fixed_price_usd", warnings)
    if price_cents == 0:
        price_cents = entitlement_cents
    if price_cents == 0:
        price_cents = listed_cents(run, "first_enrollable_paid_seat_price", warnings)
    return price_cents, f"course_runs[{key}], the price that it lists"


def listed_cents(raw: Json, name: str, warnings: ParseWarnings, path: str = "") -> int | None:
    """Return a listed price in cents: 0 if there is none, None if it is unusable."""
    value = raw.get(name)
    try:
        return 0 if value is None else cents(value)
    except UnusableValue as unusable:
        warnings.add(f"{path}{name} {quoted(value)} {unusable}")
        return None


def quoted(value: object) -> str:
    """Return an unusable value as quoted in a warning."""
    match value:
        case str():
            return repr(value[:QUOTED]) + ("…" if len(value) > QUOTED else "")
        case dict():
            return "(an object)"
        case list():
            return "(a list)"
        case int() if value.bit_length() > 128:
            return "(an enormous number)"
        case _:
            return repr(value)
