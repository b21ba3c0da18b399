"""The parser of upstream's JSON into frozen values. It records the path that each field is read from.

Statements about upstream in this package were observed on a running enterprise-catalog.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from bursary.catalog.payload import Unstorable, content_digest, own_links, storable_record, without_links
from bursary.catalog.payload import fingerprint as fingerprint
from bursary.catalog.records import Completeness as Completeness
from bursary.catalog.records import Content as Content
from bursary.catalog.records import ContentType as ContentType
from bursary.catalog.records import Partner, Unfetched, UnreadableElement
from bursary.catalog.records import UnusableRecord as UnusableRecord
from bursary.catalog.shapes import (
    DATES,
    EXECUTIVE_EDUCATION,
    CollectionShape,
    CourseShape,
    Fields,
    Json,
    NestedRunShape,
    NormalizedMetadata,
    OwnDates,
    ParseWarnings,
    PartnerShape,
    PriceWithPath,
    RunKeyShape,
    SeparateRunShape,
    course_price,
    objects,
    quoted,
    run_price,
)
from bursary.catalog.values import UnusableValue, is_key, uuid
from bursary.catalog.values import key as usable_key

_KNOWN_BY_UUID = {ContentType.PROGRAM, ContentType.LEARNERPATHWAY}


def parse(payload: object) -> Content:
    """Parse one element of a catalog's listing: a decoded JSON value, UnreadableElement or Unfetched.

    An unusable field becomes unknown, with a warning, unless it identifies the record. Raises UnusableRecord
    and no other error, for any JSON value.
    """
    if isinstance(payload, Unfetched):
        raise UnusableRecord(payload.reason, payload.detail, payload.content_key)
    if isinstance(payload, UnreadableElement):
        detail = f"Element {payload.position} cannot be read ({payload.reason})."
        raise UnusableRecord("not_json", detail, payload.content_key)
    if not isinstance(payload, dict):
        raise UnusableRecord("not_an_object", f"A record is a JSON object, not a {type(payload).__name__}.")
    content_type, content_key = _identity(payload)
    try:
        match content_type:
            case ContentType.COURSE:
                return _course(payload, content_key)
            case ContentType.COURSERUN:
                return _separate_run(payload, content_key)
            case ContentType.PROGRAM | ContentType.LEARNERPATHWAY:
                return _collection(payload, content_key, content_type)
    except Unstorable as exc:
        raise UnusableRecord(exc.reason, "The record cannot be stored as JSON.", content_key) from exc


def parse_all(payloads: Iterable[object]) -> tuple[list[Content], list[UnusableRecord]]:
    """Return the usable records, and an error for each of the others."""
    records: list[Content] = []
    unusable: list[UnusableRecord] = []
    for payload in payloads:
        try:
            records.append(parse(payload))
        except UnusableRecord as bad:
            unusable.append(bad)
    return records, unusable


def content_keys(payload: object) -> tuple[str, ...]:
    """Return the keys by which a record may be requested: its own, then those of its runs.

    Cheaper than `parse`, and never raises. A record that `parse` refuses may have keys, too.
    """
    own = own_key(payload)
    runs = payload.get("course_runs") if isinstance(payload, dict) else None
    if not own or not isinstance(runs, list):
        return (own,) if own else ()
    named = (run.get("key") for run in runs if isinstance(run, dict))
    return tuple(dict.fromkeys((own, *filter(is_key, named))))


def own_key(payload: object) -> str:
    """Return the key of the element itself, even if `parse` refuses it; "" if the key cannot be read."""
    if isinstance(payload, UnreadableElement | Unfetched):
        return payload.content_key
    if not isinstance(payload, dict):
        return ""
    try:
        return _identity(payload)[1]
    except UnusableRecord as refused:
        return refused.content_key


def paths(payload: object, content_key: str) -> dict[str, str]:
    """Return, by column, the path in a record that the value for this key is read from; {} if it has none."""
    try:
        content = parse(payload)
    except UnusableRecord:
        return {}
    return next((one.paths for one in (content, *content.runs) if one.content_key == content_key), {})


def _identity(payload: Json) -> tuple[ContentType, str]:
    value, key = payload.get("content_type"), payload.get("key")
    if _is_force_included(payload):
        value = ContentType.COURSE.value
    try:
        content_type = ContentType(value if isinstance(value, str) else "")
    except ValueError as exc:
        detail = f"A record's content_type is one of {', '.join(ContentType)}."
        known = key if is_key(key) else ""
        raise UnusableRecord("unknown_content_type", detail, known) from exc
    name = "uuid" if content_type in _KNOWN_BY_UUID else "key"
    if (identity := payload.get(name)) in (None, ""):
        raise UnusableRecord("key_missing", f"A {content_type} is known by its {name}, which is missing.")
    try:
        return content_type, str(uuid(identity)) if name == "uuid" else usable_key(identity)
    except UnusableValue as exc:
        raise UnusableRecord("key_unusable", f"{name} {quoted(identity)} {exc}.") from exc


def _is_force_included(payload: Json) -> bool:
    """Return whether an operator of upstream has force-included this course: it has runs, but no type.

    Upstream serves such a course completely, without normalized metadata.
    """
    return payload.get("content_type") is None and isinstance(payload.get("course_runs"), list)


# -- Records of each type -----------------------------------------------------------------------------------


class _Course(NamedTuple):
    """The parts of a course that its runs share.

    `normalized` has upstream's dates and prices by run key, None for a force-included course.
    """

    key: str
    fields: Fields
    entitlement_cents: int | None
    normalized: Json | None


def _course(raw: Json, key: str) -> Content:
    """Return a course with its runs; raises Unstorable.

    A record is full if `normalized_metadata` is an object. Until upstream has fetched the complete course, it
    serves a summary (`THIN`), with a price of 0.0 and an `active` that mean nothing. A force-included course
    is full without `normalized_metadata`.
    """
    payload, warnings = storable_record(raw), ParseWarnings()
    record = CourseShape.read(raw, warnings)
    bare = _is_force_included(raw) and record.normalized_metadata is None  # without normalized metadata
    shared: Fields = {
        "title": (record.title, "title"),
        "course_type": (record.course_type, "course_type"),
        "product_source": record.seller(warnings),
        "partners": (_partners(record.owners, warnings, "owners"), "owners"),
        "image_url": record.own_image(warnings),
        "upstream_modified": (record.content_last_modified, "content_last_modified"),
        "completeness": (
            Completeness.FULL if bare or record.normalized_metadata is not None else Completeness.THIN,
            "content_type, whether it is null" if bare else "normalized_metadata, whether it is there",
        ),
    }
    normalized = None if bare else record.normalized_metadata_by_run or {}
    course = _Course(key, shared, record.entitlement_cents(warnings), normalized)
    runs = _nested_runs(record, course, warnings)
    advertised = _advertised(record, runs, warnings)
    of_run = f"course_runs[{advertised.content_key if advertised else 'advertised'}]"
    joinable = (any(run.active for run in runs), "course_runs[], whether any can be joined")
    fields = shared | {
        "uuid": (record.uuid, "uuid"),
        **_course_dates_and_price(record, advertised, course, warnings),
        "pacing": (advertised.pacing if advertised else "", f"{of_run}.pacing_type"),
        "weeks_to_complete": (advertised and advertised.weeks_to_complete, f"{of_run}.weeks_to_complete"),
        "advertised_run": (advertised.content_key if advertised else "", "advertised_course_run_uuid"),
        "active": joinable if record.active is None else (record.active, "active"),
        "variant": (_variant(runs), "course_runs[].restriction_type"),
    }
    return _content(ContentType.COURSE, key, payload, fields, warnings, runs=runs)


def _nested_run(raw: Json, key: str, course: _Course) -> Content:
    """Return a run from its course's payload, with its normalized dates and price."""
    payload, warnings, path = storable_record(raw), ParseWarnings(), f"course_runs[{key}]."
    run = NestedRunShape.read(raw, warnings)
    served = (course.normalized or {}).get(key)
    normalized = (
        NormalizedMetadata.read(served, warnings, "normalized.") if isinstance(served, dict) else None
    )
    enrollable = run.is_enrollable is True
    fields = course.fields | {
        "parent_key": (course.key, "key"),
        "uuid": (run.uuid, f"{path}uuid"),
        **_run_dates_and_price(raw, key, run, normalized, course, warnings),
        "pacing": (run.pacing_type, f"{path}pacing_type"),
        "weeks_to_complete": (run.weeks_to_complete, f"{path}weeks_to_complete"),
        "offered": (run.offered, f"{path}status, is_marketable, is_marketable_external"),
        "enrollable": (enrollable, f"{path}is_enrollable"),
        # Upstream computes a course's `active` by the same rule, from the values of its last sync.
        "active": (
            run.offered and enrollable,
            f"{path}status, is_marketable, is_marketable_external, is_enrollable",
        ),
    }
    if run.title:
        fields["title"] = (run.title, f"{path}title")
    image_url, image_path = run.own_image(warnings)
    if image_url:
        fields["image_url"] = (image_url, path + image_path)
    digest_input = _run_digest_input(
        payload, served if normalized else None, fields["price_cents"][0], course
    )
    return _content(ContentType.COURSERUN, key, payload, fields, warnings, digest_input=digest_input)


def _run_dates_and_price(
    raw: Json,
    key: str,
    run: NestedRunShape,
    normalized: NormalizedMetadata | None,
    course: _Course,
    warnings: ParseWarnings,
) -> Fields:
    """Return a run's normalized dates and price; without these, its own dates and its listed price.

    For a force-included course, enrolment ends at the upgrade's deadline if that is earlier, except in
    executive education. Upstream normalizes other courses by the same rule: it agrees with 467 of 467
    recorded runs. In a summary record, the price is unknown.
    """
    path, normalized_path = f"course_runs[{key}].", f"normalized_metadata_by_run[{key}]."
    dates = normalized.dates(normalized_path) if normalized else OwnDates.read(raw, warnings).dates(path)
    if course.normalized is None and course.fields["course_type"][0] != EXECUTIVE_EDUCATION:
        ends = filter(None, (dates["enroll_by"][0], run.upgrade_by(warnings, "seats")))
        dates["enroll_by"] = (min(ends, default=None), f"{path}enrollment_end, seats[].upgrade_deadline")
    if course.fields["completeness"][0] is Completeness.THIN:
        price: PriceWithPath = None, f"{normalized_path}content_price"
    else:
        price = run_price(raw, key, normalized, entitlement_cents=course.entitlement_cents, warnings=warnings)
    return dates | {"price_cents": price}


def _run_digest_input(payload: Json, normalized: Json | None, price_cents: object, course: _Course) -> Json:
    """Return all data that a run's fields are read from, its course's included, to make the digest of."""
    shared = {name: value for name, (value, _path) in course.fields.items()}
    return {
        "course_runs": [payload],
        "normalized": storable_record(normalized) if normalized is not None else None,
        "price_cents": price_cents,
        "course": [
            course.key,
            *(shared[name] for name in ("title", "course_type", "product_source", "image_url")),
        ],
        "partners": [partner.model_dump(mode="json") for partner in shared["partners"]],
    }


def _separate_run(raw: Json, key: str) -> Content:
    """Return a run from its own record, a search document without price or seats; raises Unstorable.

    It is a summary (`THIN`), so that the run from its course's record takes precedence. A catalog may have
    such a run without its course.
    """
    payload, warnings = storable_record(raw), ParseWarnings()
    run = SeparateRunShape.read(raw, warnings)
    enrollable = run.is_enrollable is True
    fields: Fields = {
        "parent_key": run.course(),
        "uuid": (run.uuid, "uuid"),
        "title": (run.title, "title"),
        "image_url": run.own_image(warnings),
        **OwnDates.read(raw, warnings).dates(),
        "pacing": (run.pacing_type, "pacing_type"),
        "weeks_to_complete": (run.weeks_to_complete, "weeks_to_complete"),
        "offered": (run.offered, "published, is_marketable, is_marketable_external"),
        "enrollable": (enrollable, "is_enrollable"),
        "active": (
            run.offered and enrollable,
            "published, is_marketable, is_marketable_external, is_enrollable",
        ),
        "upstream_modified": (run.content_last_modified, "content_last_modified"),
        "completeness": (Completeness.THIN, ""),
    }
    return _content(ContentType.COURSERUN, key, payload, fields, warnings)


def _collection(raw: Json, key: str, content_type: ContentType) -> Content:
    """Return a program or a pathway. Its record is always complete, and has neither dates nor a price."""
    payload, warnings = storable_record(raw), ParseWarnings()
    record = CollectionShape.read(raw, warnings)
    owners = "authoring_organizations"
    fields: Fields = {
        "uuid": (record.uuid, "uuid"),
        "title": (record.title, "title"),
        "partners": (_partners(record.authoring_organizations, warnings, owners), owners),
        "image_url": record.own_image(warnings),
        "active": (record.status == "active", "status"),
        "upstream_modified": (record.content_last_modified, "content_last_modified"),
        "completeness": (Completeness.FULL, ""),
    }
    return _content(content_type, key, payload, fields, warnings)


def _content(
    content_type: ContentType,
    key: str,
    payload: Json,
    fields: Fields,
    warnings: ParseWarnings,
    *,
    runs: tuple[Content, ...] = (),
    digest_input: Json | None = None,
) -> Content:
    values: Json = {name: value for name, (value, _path) in fields.items()}
    paths = {name: path for name, (_value, path) in fields.items()}
    paths["partner_names"] = f"{paths['partners']}[].name" if "partners" in paths else ""
    paths["parent"] = paths.pop("parent_key", "")
    return Content(
        content_key=key,
        content_type=content_type,
        payload=without_links(payload),
        links=own_links(payload),
        digest=content_digest(digest_input or payload),
        runs=runs,
        paths=paths,
        warnings=tuple(warnings),
        **values,
    )


# -- Parts of records ---------------------------------------------------------------------------------------


def _nested_runs(record: CourseShape, course: _Course, warnings: ParseWarnings) -> tuple[Content, ...]:
    """Return the course's runs with a usable key; of several runs with the same key, the first."""
    runs: dict[str, Content] = {}
    for raw, path in objects(record.course_runs, warnings, "course_runs"):
        key = RunKeyShape.read(raw, warnings, f"{path}.").key
        if not key:
            warnings.add(f"{path} has no usable key")
        elif key in runs or key == course.key:
            warnings.add(f"{path} repeats the key '{key}'")
        else:
            runs[key] = _nested_run(raw, key, course)
    return tuple(runs.values())


def _advertised(record: CourseShape, runs: tuple[Content, ...], warnings: ParseWarnings) -> Content | None:
    """Return the run that upstream recommends; None if that is not among the course's runs."""
    named = record.advertised_course_run_uuid
    advertised = next((run for run in runs if named and run.uuid == named), None)
    if named and advertised is None:
        warnings.add(f"advertised_course_run_uuid '{named}' names no run of the course")
    return advertised


def _variant(runs: Sequence[Content]) -> str:
    restricted = sorted(run.content_key for run in runs if run.payload.get("restriction_type"))
    return hashlib.sha256("\n".join(restricted).encode()).hexdigest() if restricted else ""


def _partners(owners: Any, warnings: ParseWarnings, path: str) -> tuple[Partner, ...]:
    read = (PartnerShape.read(raw, warnings, f"{where}.") for raw, where in objects(owners, warnings, path))
    return tuple(Partner(**owner.model_dump()) for owner in read)


def _course_dates_and_price(
    record: CourseShape, advertised: Content | None, course: _Course, warnings: ParseWarnings
) -> Fields:
    """Return a course's normalized dates and price; without these, the advertised run's, as upstream does."""
    if course.normalized is not None:
        path = "normalized_metadata."
        normalized = NormalizedMetadata.read(record.normalized_metadata or {}, warnings, path)
        price = course_price(
            normalized, advertised, entitlement_cents=course.entitlement_cents, warnings=warnings
        )
        return normalized.dates(path) | {"price_cents": price}
    if advertised is None:
        return dict.fromkeys((*DATES, "price_cents"), (None, "advertised_course_run_uuid"))
    return {name: (getattr(advertised, name), advertised.paths[name]) for name in (*DATES, "price_cents")}
