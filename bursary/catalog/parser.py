"""Upstream's JSON, parsed once at the edge into frozen values. Nothing outside this package knows its shape.

The facts about upstream that this package states were observed on a running enterprise-catalog.
"""

from collections.abc import Iterable

from bursary.catalog import links
from bursary.catalog.answers import Unfetched, UnreadableElement
from bursary.catalog.courses import course, image_url, partners, separate_run
from bursary.catalog.fields import Fields, is_key
from bursary.catalog.payload import Unstorable, digest, storable
from bursary.catalog.payload import fingerprint as _fingerprint
from bursary.catalog.records import Completeness, Content, ContentType, Partner

__all__ = [
    "Completeness",
    "Content",
    "ContentType",
    "Partner",
    "UnusableRecord",
    "fingerprint",
    "keys",
    "own_key",
    "parse",
    "parse_all",
]

_KNOWN_BY_UUID = {ContentType.PROGRAM, ContentType.LEARNERPATHWAY}


class UnusableRecord(Exception):
    """A record that cannot be stored at all.

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


def parse(payload: object) -> Content:
    """Parse one element of a catalog's listing: a decoded JSON value, or what stands in its place.

    Tolerant of everything but the record's identity: an unusable field becomes unknown, with a note.
    Raises `Unparsable`, and nothing else, whatever a JSON decoder produced.
    """
    if isinstance(payload, Unfetched):
        raise UnusableRecord(payload.reason, payload.detail, payload.content_key)
    if isinstance(payload, UnreadableElement):
        detail = f"Element {payload.position} cannot be read ({payload.reason})."
        raise UnusableRecord("not_json", detail, payload.content_key)
    if not isinstance(payload, dict):
        raise UnusableRecord("not_an_object", f"A record is a JSON object, not a {type(payload).__name__}.")
    content_type = _content_type(payload)
    content_key = _content_key(payload, content_type)
    try:
        return _content(Fields(payload), content_key, content_type)
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
    """The keys by which a record may be asked for: its own, then those of its runs. () if it has none.

    Cheaper than `parse`, and never raises; what `parse` refuses may have keys all the same.
    """
    own = own_key(payload)
    if not own or not isinstance(payload, dict):
        return (own,) if own else ()
    runs = (run.key("key") for run in Fields(payload).children("course_runs"))
    return tuple(dict.fromkeys((own, *filter(None, runs))))


def own_key(payload: object) -> str:
    """The key that an element claims for itself, also where `parse` refuses it; "" if that cannot be read.

    Never raises.
    """
    if isinstance(payload, UnreadableElement | Unfetched):
        return payload.content_key
    if not isinstance(payload, dict):
        return ""
    try:
        return _content_key(payload, _content_type(payload))
    except UnusableRecord as bad:
        return bad.content_key


def fingerprint(payload: object) -> str:
    """What tells an element from another with the same key; "" for what is no record. Never raises."""
    return _fingerprint(payload) if isinstance(payload, dict) else ""


def _content(record: Fields, content_key: str, content_type: ContentType) -> Content:
    match content_type:
        case ContentType.COURSE:
            return course(record, content_key)
        case ContentType.COURSERUN:
            return separate_run(record, content_key)
        case ContentType.PROGRAM | ContentType.LEARNERPATHWAY:
            return _collection(record, content_key, content_type)


def _content_type(payload: dict[str, object]) -> ContentType:
    value = payload.get("content_type")
    try:
        return ContentType(value if isinstance(value, str) else "")
    except ValueError as exc:
        detail = f"A record's content_type is one of {', '.join(ContentType)}."
        key = payload.get("key")
        known = key if isinstance(key, str) and is_key(key) else ""
        raise UnusableRecord("unknown_content_type", detail, known) from exc


def _content_key(payload: dict[str, object], content_type: ContentType) -> str:
    name = "uuid" if content_type in _KNOWN_BY_UUID else "key"
    if payload.get(name) in (None, ""):
        raise UnusableRecord("key_missing", f"A {content_type} is known by its {name}, which is missing.")
    record = Fields(payload)
    key = str(record.uuid(name) or "") if name == "uuid" else record.key(name)
    if not key:
        raise UnusableRecord("key_unusable", f"{record.notes[0]}.")
    return key


def _collection(record: Fields, content_key: str, content_type: ContentType) -> Content:
    """A program or a pathway. It is always served whole, and has neither dates nor a price of its own."""
    payload = storable(record.raw)
    return Content(
        content_key=content_key,
        content_type=content_type,
        uuid=record.uuid("uuid"),
        title=record.text("title"),
        partners=tuple(partners(record, "authoring_organizations")),
        image_url=image_url(record),
        active=record.text("status") == "active",
        upstream_modified=record.instant("content_last_modified"),
        completeness=Completeness.FULL,
        payload=links.without(payload),
        links=links.own(payload),
        digest=digest(payload),
        notes=tuple(record.notes),
    )
