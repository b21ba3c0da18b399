"""Upstream's JSON, parsed once at the edge into frozen values, each field with the path it was read from.

The facts about upstream that this package states were observed on a running enterprise-catalog.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from bursary.catalog.payload import Unstorable, digest, own_links, storable, without_links
from bursary.catalog.payload import fingerprint as fingerprint
from bursary.catalog.records import Completeness as Completeness
from bursary.catalog.records import Content as Content
from bursary.catalog.records import ContentType as ContentType
from bursary.catalog.records import Partner, Unfetched, UnreadableElement
from bursary.catalog.records import UnusableRecord as UnusableRecord
from bursary.catalog.shapes import (
    CollectionShape,
    CourseShape,
    Fields,
    Json,
    NestedRunShape,
    NormalizedTerms,
    Notes,
    OwnDates,
    PartnerShape,
    RunKeyShape,
    SeparateRunShape,
    listed_cents,
    objects,
    quoted,
)
from bursary.catalog.values import UnusableValue, is_key, uuid
from bursary.catalog.values import key as usable_key

_KNOWN_BY_UUID = {ContentType.PROGRAM, ContentType.LEARNERPATHWAY}


def parse(payload: object) -> Content:
    """Parse one element of a catalog's listing: a decoded JSON value, or what stands in its place.

    Tolerant of everything but the record's identity: an unusable field becomes unknown, with a note.
    Raises UnusableRecord, and nothing else, whatever a JSON decoder produced.
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
    """Return the records that can be used, and why each of the others cannot."""
    records: list[Content] = []
    unusable: list[UnusableRecord] = []
    for payload in payloads:
        try:
            records.append(parse(payload))
        except UnusableRecord as bad:
            unusable.append(bad)
    return records, unusable


def keys(payload: object) -> tuple[str, ...]:
    """Return the keys by which a record may be asked for: its own, then those of its runs. () if it has none.

    Cheaper than `parse`, and never raises; a record that `parse` refuses may have keys as well.
    """
    own = own_key(payload)
    runs = payload.get("course_runs") if isinstance(payload, dict) else None
    if not own or not isinstance(runs, list):
        return (own,) if own else ()
    named = (run.get("key") for run in runs if isinstance(run, dict))
    return tuple(dict.fromkeys((own, *filter(is_key, named))))


def own_key(payload: object) -> str:
    """Return the key of an element itself, also where `parse` refuses it; "" if that cannot be read."""
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


# -- Records of each type -----------------------------------------------------------------------------------


class _Course(NamedTuple):
    """The parts of a course that its runs share; `normalized` has upstream's dates and prices by run key."""

    key: str
    fields: Fields
    executive_cents: int | None
    normalized: Json


def _course(raw: Json, key: str) -> Content:
    """Return a course with its runs; raises Unstorable.

    Full means that `normalized_metadata` is an object. Until upstream has fetched the whole course, and for
    as long as it cannot, it serves the thin search hit: a price of 0.0 and an `active` that mean nothing.
    """
    payload, notes = storable(raw), Notes()
    record = CourseShape.read(raw, notes)
    full = record.normalized_metadata is not None
    shared: Fields = {
        "title": (record.title, "title"),
        "course_type": (record.course_type, "course_type"),
        "product_source": record.seller(notes),
        "partners": (_partners(record.owners, notes, "owners"), "owners"),
        "image_url": record.picture(notes),
        "upstream_modified": (record.content_last_modified, "content_last_modified"),
        "completeness": (
            Completeness.FULL if full else Completeness.THIN,
            "normalized_metadata, whether it is there",
        ),
    }
    course = _Course(key, shared, record.executive_cents(notes), record.normalized_metadata_by_run or {})
    runs = _nested_runs(record, course, notes)
    advertised = _advertised(record, runs, notes)
    of_run = f"course_runs[{advertised.content_key if advertised else 'advertised'}]"
    terms = NormalizedTerms.read(record.normalized_metadata or {}, notes, "normalized_metadata.")
    joinable = (any(run.active for run in runs), "course_runs[], whether any can be joined")
    fields = shared | {
        "uuid": (record.uuid, "uuid"),
        **terms.dates("normalized_metadata."),
        "price_cents": _course_price(terms, advertised, course, notes),
        "pacing": (advertised.pacing if advertised else "", f"{of_run}.pacing_type"),
        "weeks_to_complete": (advertised and advertised.weeks_to_complete, f"{of_run}.weeks_to_complete"),
        "advertised_run": (advertised.content_key if advertised else "", "advertised_course_run_uuid"),
        "active": joinable if record.active is None else (record.active, "active"),
    }
    return _content(ContentType.COURSE, key, payload, fields, notes, runs=runs)


def _nested_run(raw: Json, key: str, course: _Course) -> Content:
    """Return a run cut from its course's payload, with the dates and the price normalized for it.

    Where upstream did not normalize them, the run's own dates hold, and its listed price.
    """
    payload, notes, path = storable(raw), Notes(), f"course_runs[{key}]."
    run = NestedRunShape.read(raw, notes)
    normalized = course.normalized.get(key)
    terms = NormalizedTerms.read(normalized, notes, "normalized.") if isinstance(normalized, dict) else None
    # Published, marketable and enrollable, as upstream stored it at its last sync: the rule by which upstream
    # computes a course's own `active`. It agrees with 200 of 200 recorded courses.
    active = run.status == "published" and run.is_marketable is True and run.is_enrollable is True
    fields = course.fields | {
        "parent_key": (course.key, "key"),
        "uuid": (run.uuid, f"{path}uuid"),
        **(
            terms.dates(f"normalized_metadata_by_run[{key}].")
            if terms
            else OwnDates.read(raw, notes).dates(path)
        ),
        "price_cents": _run_price(raw, key, terms, course, notes),
        "pacing": (run.pacing_type, f"{path}pacing_type"),
        "weeks_to_complete": (run.weeks_to_complete, f"{path}weeks_to_complete"),
        "active": (active, f"{path}status, is_marketable, is_enrollable"),
    }
    if run.title:
        fields["title"] = (run.title, f"{path}title")
    image_url, image_path = run.picture(notes)
    if image_url:
        fields["image_url"] = (image_url, path + image_path)
    basis = _run_basis(payload, normalized if terms else None, fields["price_cents"][0], course)
    return _content(ContentType.COURSERUN, key, payload, fields, notes, basis=basis)


def _run_basis(payload: Json, normalized: Json | None, price_cents: object, course: _Course) -> Json:
    """Return all that a run's fields are read from, the course's part included: its digest is over that."""
    shared = {name: value for name, (value, _path) in course.fields.items()}
    return {
        "course_runs": [payload],
        "normalized": storable(normalized) if normalized is not None else None,
        "price_cents": price_cents,
        "course": [
            course.key,
            *(shared[name] for name in ("title", "course_type", "product_source", "image_url")),
        ],
        "partners": [partner.model_dump(mode="json") for partner in shared["partners"]],
    }


def _separate_run(raw: Json, key: str) -> Content:
    """Return a run's record of its own, a search document without price or seats; raises Unstorable.

    Thin, so that the run cut from its course wins.
    """
    payload, notes = storable(raw), Notes()
    run = SeparateRunShape.read(raw, notes)
    active = run.published is True and run.is_enrollable is True
    fields: Fields = {
        "parent_key": (run.parent_content_key or None, "parent_content_key"),
        "uuid": (run.uuid, "uuid"),
        "title": (run.title, "title"),
        "image_url": run.picture(notes),
        **OwnDates.read(raw, notes).dates(),
        "pacing": (run.pacing_type, "pacing_type"),
        "weeks_to_complete": (run.weeks_to_complete, "weeks_to_complete"),
        "active": (active, "published, is_enrollable"),
        "upstream_modified": (run.content_last_modified, "content_last_modified"),
        "completeness": (Completeness.THIN, ""),
    }
    return _content(ContentType.COURSERUN, key, payload, fields, notes)


def _collection(raw: Json, key: str, content_type: ContentType) -> Content:
    """Return a program or a pathway. It is always served whole, and has neither dates nor a price."""
    payload, notes = storable(raw), Notes()
    record = CollectionShape.read(raw, notes)
    owners = "authoring_organizations"
    fields: Fields = {
        "uuid": (record.uuid, "uuid"),
        "title": (record.title, "title"),
        "partners": (_partners(record.authoring_organizations, notes, owners), owners),
        "image_url": record.picture(notes),
        "active": (record.status == "active", "status"),
        "upstream_modified": (record.content_last_modified, "content_last_modified"),
        "completeness": (Completeness.FULL, ""),
    }
    return _content(content_type, key, payload, fields, notes)


def _content(
    content_type: ContentType,
    key: str,
    payload: Json,
    fields: Fields,
    notes: Notes,
    *,
    runs: tuple[Content, ...] = (),
    basis: Json | None = None,
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
        digest=digest(basis or payload),
        runs=runs,
        paths=paths,
        notes=tuple(notes),
        **values,
    )


# -- Parts of records ---------------------------------------------------------------------------------------


def _nested_runs(record: CourseShape, course: _Course, notes: Notes) -> tuple[Content, ...]:
    """Return the course's runs with a usable key; of several with one key, the first."""
    runs: dict[str, Content] = {}
    for raw, path in objects(record.course_runs, notes, "course_runs"):
        key = RunKeyShape.read(raw, notes, f"{path}.").key
        if not key:
            notes.add(f"{path} has no usable key")
        elif key in runs or key == course.key:
            notes.add(f"{path} repeats the key '{key}'")
        else:
            runs[key] = _nested_run(raw, key, course)
    return tuple(runs.values())


def _advertised(record: CourseShape, runs: tuple[Content, ...], notes: Notes) -> Content | None:
    """Return the run that upstream recommends; it may name one that it does not list."""
    named = record.advertised_course_run_uuid
    advertised = next((run for run in runs if named and run.uuid == named), None)
    if named and advertised is None:
        notes.add(f"advertised_course_run_uuid '{named}' names no run of the course")
    return advertised


def _partners(owners: Any, notes: Notes, path: str) -> tuple[Partner, ...]:
    read = (PartnerShape.read(raw, notes, f"{where}.") for raw, where in objects(owners, notes, path))
    return tuple(Partner(**owner.model_dump()) for owner in read)


# -- Prices -------------------------------------------------------------------------------------------------


def _course_price(
    terms: NormalizedTerms, advertised: Content | None, course: _Course, notes: Notes
) -> tuple[int | None, str]:
    """Return the normalized price. Upstream serves 0.0 for free and for unknown alike.

    So 0.0 without an advertised run is unknown; with one, it gives way to the price which that run lists.
    """
    path = "normalized_metadata.content_price"
    if terms.content_price == 0 and advertised is None:
        notes.add(f"{path} 0 without an advertised run is not a price")
        return None, path
    if terms.content_price != 0 or advertised is None:
        return terms.content_price, path
    # Without notes: where it matters, the run has them.
    return _listed_price(advertised.payload, advertised.content_key, course, Notes())


def _run_price(
    raw: Json, key: str, terms: NormalizedTerms | None, course: _Course, notes: Notes
) -> tuple[int | None, str]:
    """Return the normalized price, or the listed one where that is missing or 0.0; unknown in a thin record.

    Only a normalized 0.0 makes a run free: where nothing is normalized and nothing listed, it is unknown.
    """
    path = f"normalized_metadata_by_run[{key}].content_price"
    if course.fields["completeness"][0] is Completeness.THIN:
        return None, path
    if terms and terms.content_price != 0:
        return terms.content_price, path
    listed, path = _listed_price(raw, key, course, notes)
    return listed if terms else listed or None, path


def _listed_price(run: Json, key: str, course: _Course, notes: Notes) -> tuple[int | None, str]:
    """Return the first price above 0, in the order in which upstream itself normalizes; 0 for none.

    An unusable one makes the price unknown (None): the next source would give another price. The last one is
    cut to whole dollars upstream: a seat of 149.50 is served as 149.
    """
    price_cents = listed_cents(run, "fixed_price_usd", notes)
    if price_cents == 0:
        price_cents = course.executive_cents
    if price_cents == 0:
        price_cents = listed_cents(run, "first_enrollable_paid_seat_price", notes)
    return price_cents, f"course_runs[{key}], the price that it lists"
