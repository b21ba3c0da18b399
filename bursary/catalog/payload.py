"""The raw record: what of it every database can store, and the fingerprint that says whether it changed."""

import hashlib
import json
import math
import re

from bursary.catalog.links import LINKS

MAX_DEPTH = 100  # levels of nesting; upstream's deepest record has 9
_TOLD = 4096  # characters of a value that tell it from another
_MAX_BITS = 1023  # a whole number beyond a double is refused by MySQL's JSON

_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")

# Upstream moves its time stamps at every sync, changed content or not (seen on 415 of 415 records), and
# writes the customer's name into its links. Neither says that the content changed.
_VOLATILE = LINKS | {
    "active",  # computed per request from flags of the runs, which do count
    "content_last_modified",
    "data_modified_timestamp",
    "editable",
    "modified",
}
_VOLATILE_ENDING = "enrollment_count"
_VOLATILE_IN_RUNS = "parent_content_key"  # comes and goes with the run's own record upstream


class Unstorable(ValueError):
    """Not a JSON value, or nested too deeply to be walked safely."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def storable_text(text: str) -> str:
    """The text without NUL characters and lone surrogates, which PostgreSQL refuses; all else stays."""
    if text.isascii() and "\x00" not in text:  # nearly every text, in a tenth of the time
        return text
    return _UNSTORABLE.sub("", text)


def storable(record: dict[str, object]) -> dict[str, object]:
    """A deep copy that every database stores as JSON: clean text; NaN, infinities and enormous integers null.

    Raises `Unstorable`: `nested_too_deeply` beyond `MAX_DEPTH`, `not_json` for a type that JSON has not.
    """
    return _storable_object(record, depth=1)


def _storable_object(value: dict[str, object], *, depth: int) -> dict[str, object]:
    return {_storable_name(name): _storable(item, depth=depth + 1) for name, item in value.items()}


def _storable(value: object, *, depth: int) -> object:
    if depth > MAX_DEPTH:
        raise Unstorable("nested_too_deeply")
    if isinstance(value, dict):
        return _storable_object(value, depth=depth)
    if isinstance(value, list):
        return [_storable(item, depth=depth + 1) for item in value]
    return _storable_leaf(value)


def _storable_name(name: object) -> str:
    if not isinstance(name, str):
        raise Unstorable("not_json")
    return storable_text(name)


def _storable_leaf(value: object) -> object:
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        return value if value.bit_length() <= _MAX_BITS else None
    if value is None:
        return None
    raise Unstorable("not_json")


def digest(value: object) -> str:
    """SHA-256, in hex, of the storable value's canonical JSON without what changes although nothing changed.

    Left out at any depth: time stamps of syncs and edits, links that carry the customer's name, enrollment
    counts, `editable`, and `active` (computed upstream from flags of the runs, which are kept in).
    """
    canonical = json.dumps(
        _lasting(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(canonical.encode()).hexdigest()


def fingerprint(record: dict[str, object]) -> str:
    """`digest` of a record as served, usable or not: equal ones mean that upstream still serves the same.

    A record nested too deeply for us is told by its top level alone. Never raises for decoded JSON.
    """
    try:
        return digest(storable(record))
    except Unstorable as exc:
        top = {storable_text(str(name)): _told(item) for name, item in record.items()}
        return digest({"unstorable": exc.reason, "top": top})


def _told(item: object) -> object:
    if isinstance(item, dict | list):
        return [type(item).__name__, len(item)]
    if isinstance(item, int):
        return [type(item).__name__, item.bit_length(), item % 1_000_003]
    return storable_text(repr(item)[:_TOLD])


def _lasting(value: object, *, in_run: bool = False) -> object:
    if isinstance(value, dict):
        return {
            name: _lasting(item, in_run=name == "course_runs")
            for name, item in value.items()
            if not (_is_volatile(name) or (in_run and name == _VOLATILE_IN_RUNS))
        }
    if isinstance(value, list):
        return [_lasting(item, in_run=in_run) for item in value]
    return value


def _is_volatile(name: str) -> bool:
    return name in _VOLATILE or name.endswith(_VOLATILE_ENDING)
