"""Courses and their runs: which of upstream's many dates and prices hold."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from bursary.catalog import links
from bursary.catalog.fields import Fields
from bursary.catalog.payload import digest, storable
from bursary.catalog.records import Completeness, Content, ContentType, Partner

_NORMALIZED_DATES = ("start_date", "end_date", "enroll_start_date", "enroll_by_date")
_OWN_DATES = ("start", "end", "enrollment_start", "enrollment_end")
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


@dataclass(frozen=True, slots=True)
class _Shared:
    """What a course's runs have from their course."""

    key: str
    title: str
    course_type: str
    product_source: str
    partners: tuple[Partner, ...]
    image_url: str
    executive_cents: int | None
    upstream_modified: datetime | None
    completeness: Completeness


def course(record: Fields, key: str) -> Content:
    """A course with its runs; raises `Unstorable`.

    Full means that `normalized_metadata` is an object. Until upstream has fetched the whole course, and for
    as long as it cannot, it serves the thin search hit, whose price of 0.0 and whose `active` mean nothing.
    """
    payload = storable(record.raw)
    normalized = record.child("normalized_metadata")
    terms = normalized or Fields({})
    shared = _shared(record, key, completeness=Completeness.FULL if normalized else Completeness.THIN)
    runs = _nested_runs(record, shared)
    advertised = _advertised(record, runs)
    start_date, end_date, enroll_start, enroll_by = map(terms.instant, _NORMALIZED_DATES)
    active = record.flag("active")
    return Content(
        content_key=key,
        content_type=ContentType.COURSE,
        uuid=record.uuid("uuid"),
        title=shared.title,
        course_type=shared.course_type,
        product_source=shared.product_source,
        partners=shared.partners,
        image_url=shared.image_url,
        start_date=start_date,
        end_date=end_date,
        enroll_start=enroll_start,
        enroll_by=enroll_by,
        price_cents=_course_price(terms, advertised, shared),
        pacing=advertised.pacing if advertised else "",
        weeks_to_complete=advertised.weeks_to_complete if advertised else None,
        advertised_run=advertised.content_key if advertised else "",
        active=any(run.active for run in runs) if active is None else active,
        upstream_modified=shared.upstream_modified,
        completeness=shared.completeness,
        payload=links.without(payload),
        links=links.own(payload),
        digest=digest(payload),
        runs=runs,
        notes=tuple(record.notes),
    )


def separate_run(record: Fields, key: str) -> Content:
    """A run's record of its own, a search document without price or seats; raises `Unstorable`.

    Thin, so that the run cut from its course wins.
    """
    payload = storable(record.raw)
    start_date, end_date, enroll_start, enroll_by = map(record.instant, _OWN_DATES)
    return Content(
        content_key=key,
        content_type=ContentType.COURSERUN,
        uuid=record.uuid("uuid"),
        parent_key=record.key("parent_content_key") or None,
        title=record.text("title"),
        image_url=image_url(record),
        start_date=start_date,
        end_date=end_date,
        enroll_start=enroll_start,
        enroll_by=enroll_by,
        pacing=record.slug("pacing_type"),
        weeks_to_complete=record.count("weeks_to_complete"),
        active=record.flag("published") is True and record.flag("is_enrollable") is True,
        upstream_modified=record.instant("content_last_modified"),
        completeness=Completeness.THIN,
        payload=links.without(payload),
        links=links.own(payload),
        digest=digest(payload),
        notes=tuple(record.notes),
    )


def partners(record: Fields, name: str) -> Iterator[Partner]:
    """The organisations listed under that name."""
    for owner in record.children(name):
        yield Partner(
            uuid=owner.uuid("uuid"),
            key=owner.text("key"),
            name=owner.text("name"),
            logo_image_url=owner.text("logo_image_url"),
        )


def image_url(record: Fields) -> str:
    """The record's own picture, under whichever of upstream's names it is."""
    image = record.child("image") or Fields({})
    return record.text("image_url") or record.text("card_image_url") or image.text("src")


def _shared(record: Fields, key: str, *, completeness: Completeness) -> _Shared:
    return _Shared(
        key=key,
        title=record.text("title"),
        course_type=record.slug("course_type"),
        product_source=_product_source(record),
        partners=tuple(partners(record, "owners")),
        image_url=image_url(record),
        executive_cents=_executive_cents(record),
        upstream_modified=record.instant("content_last_modified"),
        completeness=completeness,
    )


def _product_source(record: Fields) -> str:
    """The slug. For a source that it stored as a bare name, upstream serves null: the name then stands in."""
    if isinstance(record.raw.get("product_source"), str):
        return _slug_of(record.text("product_source"))
    source = record.child("product_source") or Fields({})
    return source.slug("slug") or _slug_of(source.text("name"))


def _slug_of(name: str) -> str:
    candidate = name.strip().lower()
    return candidate if _SLUG.fullmatch(candidate) else ""


# -- Runs ---------------------------------------------------------------------------------------------------


def _nested_runs(record: Fields, shared: _Shared) -> tuple[Content, ...]:
    """The course's runs with a usable key; of several with one key, the first."""
    by_run = record.child("normalized_metadata_by_run") or Fields({})
    runs: dict[str, Content] = {}
    for offered in record.children("course_runs"):
        key = offered.key("key")
        if not key:
            offered.note(f"{offered.path} has no usable key")
        elif key in runs or key == shared.key:
            offered.note(f"{offered.path} repeats the key '{key}'")
        else:
            runs[key] = _nested_run(offered.raw, key, shared, normalized=by_run.raw.get(key))
    return tuple(runs.values())


def _nested_run(raw: dict[str, object], key: str, shared: _Shared, *, normalized: object) -> Content:
    """A run cut from its course's payload, with the dates and the price that upstream normalized for it.

    Where it did not, the run's own dates hold, and its listed price.
    """
    run = Fields(raw)
    terms = Fields(normalized, notes=run.notes, path="normalized") if isinstance(normalized, dict) else None
    dates = map(terms.instant, _NORMALIZED_DATES) if terms else map(run.instant, _OWN_DATES)
    start_date, end_date, enroll_start, enroll_by = dates
    price_cents = _run_price(run, terms, shared)
    payload = storable(raw)
    return Content(
        content_key=key,
        content_type=ContentType.COURSERUN,
        uuid=run.uuid("uuid"),
        parent_key=shared.key,
        title=run.text("title") or shared.title,
        course_type=shared.course_type,
        product_source=shared.product_source,
        partners=shared.partners,
        image_url=image_url(run) or shared.image_url,
        start_date=start_date,
        end_date=end_date,
        enroll_start=enroll_start,
        enroll_by=enroll_by,
        price_cents=price_cents,
        pacing=run.slug("pacing_type"),
        weeks_to_complete=run.count("weeks_to_complete"),
        active=_can_be_joined(run),
        upstream_modified=shared.upstream_modified,
        completeness=shared.completeness,
        payload=links.without(payload),
        links=links.own(payload),
        digest=_run_digest(payload, terms, shared, price_cents=price_cents),
        notes=tuple(run.notes),
    )


def _run_digest(
    payload: dict[str, object], terms: Fields | None, shared: _Shared, *, price_cents: int | None
) -> str:
    """Over all that the run's fields were read from, the course's part included."""
    return digest(
        {
            "course_runs": [payload],
            "normalized": storable(terms.raw) if terms else None,
            "price_cents": price_cents,
            "course": [shared.key, shared.title, shared.course_type, shared.product_source, shared.image_url],
            "partners": [partner.model_dump(mode="json") for partner in shared.partners],
        }
    )


def _can_be_joined(run: Fields) -> bool:
    """Published, marketable and enrollable, as upstream stored it at its last sync.

    The rule by which upstream computes a course's own `active`: it agrees with 200 of 200 recorded courses.
    """
    marketable = run.flag("is_marketable") is True
    enrollable = run.flag("is_enrollable") is True
    return run.text("status") == "published" and marketable and enrollable


def _advertised(record: Fields, runs: tuple[Content, ...]) -> Content | None:
    """The run that upstream recommends; it may name one that it does not list (restricted, or hidden)."""
    uuid = record.uuid("advertised_course_run_uuid")
    if uuid is None:
        return None
    for run in runs:
        if run.uuid == uuid:
            return run
    record.note(f"advertised_course_run_uuid '{uuid}' names no run of the course")
    return None


# -- Prices -------------------------------------------------------------------------------------------------


def _course_price(terms: Fields, advertised: Content | None, shared: _Shared) -> int | None:
    """The normalized price. Upstream serves 0.0 for free and for unknown alike.

    So 0.0 without an advertised run is unknown; with one, it gives way to the price which that run lists.
    """
    price_cents = terms.cents("content_price")
    if price_cents != 0:
        return price_cents
    if advertised is None:
        terms.note("normalized_metadata.content_price 0 without an advertised run is not a price")
        return None
    return _listed_price(Fields(advertised.payload), shared)


def _run_price(run: Fields, terms: Fields | None, shared: _Shared) -> int | None:
    """The normalized price, or the listed one where that is missing or 0.0; unknown in a thin record.

    Only a normalized 0.0 makes a run free: where nothing is normalized and nothing listed, nobody knows.
    """
    if shared.completeness is Completeness.THIN:
        return None
    if terms is None:
        return _listed_price(run, shared) or None
    price_cents = terms.cents("content_price")
    return _listed_price(run, shared) if price_cents == 0 else price_cents


def _listed_price(run: Fields, shared: _Shared) -> int | None:
    """The first price above 0, in the order in which upstream itself normalizes; 0 where none is listed.

    One that cannot be used makes the price unknown (None): the next source would give another price.
    The last one is cut to whole dollars upstream: a seat of 149.50 is served as 149.
    """
    price_cents = _listed(run, "fixed_price_usd")
    if price_cents == 0:
        price_cents = shared.executive_cents
    if price_cents == 0:
        price_cents = _listed(run, "first_enrollable_paid_seat_price")
    return price_cents


def _executive_cents(record: Fields) -> int | None:
    """What an executive education course costs, 0 for another; its seats are always served as 0.00."""
    for entitlement in record.children("entitlements"):
        executive = entitlement.raw.get("mode") == "paid-executive-education"
        if executive and entitlement.raw.get("currency") in (None, "USD"):
            return _listed(entitlement, "price")
    return 0


def _listed(fields: Fields, name: str) -> int | None:
    return 0 if fields.raw.get(name) is None else fields.cents(name)
