"""The raw record: the part that is stored, the links of each catalog, and the digests."""

import hashlib
import json
import math
from collections.abc import Mapping

from bursary.lib.texts import storable

MAX_DEPTH = 100  # levels of nesting; upstream's deepest record has 9
MAX_BITS = 1023  # of a whole number; MySQL's JSON refuses one beyond a double
FINGERPRINTED = 4096  # characters of a value in the fingerprint of a record that is not stored

LINKS = frozenset({"enrollment_url", "marketing_url", "xapi_activity_id"})
"""Fields with the customer's name, which therefore belong to one catalog.

Courses, the runs in them, and the records of runs and programs have them; deeper objects do not.
"""

# Upstream sets its modified times at every sync, even for unchanged content (in 415 of 415 records), and
# writes the customer's name into its links. Neither is a change of content.
_VOLATILE = LINKS | {
    "active",  # computed for each request from the runs' flags, which are digested
    "content_last_modified",
    "data_modified_timestamp",
    "editable",
    "modified",
}
_VOLATILE_ENDING = "enrollment_count"
_LEFT_OUT = _VOLATILE - {"active"}
"""The fields that `served_digest` leaves out; links and `content_last_modified` are compared separately."""
_VOLATILE_IN_RUNS = "parent_content_key"  # comes and goes with the run's own record upstream

Record = Mapping[str, object]
Links = dict[str, object]


class Unstorable(ValueError):
    """Not a JSON value, or nested too deeply to be walked safely."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def storable_record(record: Record) -> dict[str, object]:
    """Return a deep copy that every database stores as JSON. NaN, infinities and too large integers are null.

    Raises Unstorable: `nested_too_deeply` beyond `MAX_DEPTH`, `not_json` for a type that JSON does not have.
    """
    return {_storable_name(name): _storable(item, depth=2) for name, item in record.items()}


def _storable(value: object, *, depth: int) -> object:
    if depth > MAX_DEPTH:
        raise Unstorable("nested_too_deeply")
    if isinstance(value, dict):
        return {_storable_name(name): _storable(item, depth=depth + 1) for name, item in value.items()}
    if isinstance(value, list):
        return [_storable(item, depth=depth + 1) for item in value]
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, int):
        return value if value is None or value.bit_length() <= MAX_BITS else None
    raise Unstorable("not_json")


def _storable_name(name: object) -> str:
    if not isinstance(name, str):
        raise Unstorable("not_json")
    return storable(name)


# -- Links --------------------------------------------------------------------------------------------------


def own_links(record: Record) -> Links:
    """Return the record's own links, without those of its runs."""
    return {name: record[name] for name in sorted(LINKS & record.keys())}


def without_links(record: Record) -> dict[str, object]:
    """Return the part of a record that all catalogs share: without its own links and those of its runs."""

    def shared(fields: Record) -> dict[str, object]:
        return {name: value for name, value in fields.items() if name not in LINKS}

    rest = shared(record)
    runs = rest.get("course_runs")
    if isinstance(runs, list):
        rest["course_runs"] = [shared(run) if isinstance(run, dict) else run for run in runs]
    return rest


def with_links(record: Record, content_key: str, links: Mapping[str, Links]) -> dict[str, object]:
    """Return the record as one catalog serves it: only with that catalog's links, given by content key."""
    shared = without_links(record)
    runs = shared.get("course_runs")
    if isinstance(runs, list):
        shared["course_runs"] = [
            run | links.get(str(run.get("key")), {}) if isinstance(run, dict) else run for run in runs
        ]
    return shared | links.get(content_key, {})


# -- Digests ------------------------------------------------------------------------------------------------


def content_digest(value: object) -> str:
    """Return the SHA-256, in hex, of the storable value's canonical JSON without its volatile fields.

    Volatile, at any depth, are times of syncs and edits, links with the customer's name, enrolment counts,
    `editable`, and `active`, which upstream computes from the runs' flags; those are digested.
    """
    canonical = json.dumps(
        _lasting(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(canonical.encode()).hexdigest()


def _lasting(value: object, *, in_run: bool = False) -> object:
    if isinstance(value, dict):
        return {
            name: _lasting(item, in_run=name == "course_runs")
            for name, item in value.items()
            if not (
                name in _VOLATILE or name.endswith(_VOLATILE_ENDING) or (in_run and name == _VOLATILE_IN_RUNS)
            )
        }
    if isinstance(value, list):
        return [_lasting(item, in_run=in_run) for item in value]
    return value


def served_digest(record: Record, *, code: str) -> str:
    """Return a SHA-256, in hex, of a record as served and of `code`, the digest of the code that parses it.

    Records with equal digests are stored equally, except for links and modified times. Much cheaper than
    `content_digest`, because no storable copy is made. Returns "" for a value without a digest.
    """
    try:
        kept = _compared(record)
        runs = kept.get("course_runs")
        if isinstance(runs, list):
            kept["course_runs"] = [_compared(run) if isinstance(run, dict) else run for run in runs]
        # Faster encoders write NaN as null, so that a broken price would equal an unknown one.
        served = json.dumps(kept, sort_keys=True, separators=(",", ":"))
    except (AttributeError, TypeError, ValueError, RecursionError):  # not JSON, or nested too deeply
        return ""
    return hashlib.sha256(f"{code}{served}".encode()).hexdigest()


def _compared(fields: Record) -> dict[str, object]:
    """Return the fields of a record, or of a run in it, that are in `served_digest`."""
    return {
        name: value
        for name, value in fields.items()
        if not (name in _LEFT_OUT or name.endswith(_VOLATILE_ENDING)) or isinstance(value, dict | list)
    }


def fingerprint(payload: object) -> str:
    """Return `content_digest` of a record as served, usable or not; "" for any other value. Never raises.

    Equal fingerprints mean that upstream still serves the same record. If a record is nested too deeply to be
    stored, only its top level is digested.
    """
    if not isinstance(payload, dict):
        return ""
    try:
        return content_digest(storable_record(payload))
    except Unstorable as exc:
        top = {storable(str(name)): _brief(item) for name, item in payload.items()}
        return content_digest({"unstorable": exc.reason, "top": top})


def _brief(item: object) -> object:
    if isinstance(item, dict | list):
        return [type(item).__name__, len(item)]
    if isinstance(item, int):
        return [type(item).__name__, item.bit_length(), item % 1_000_003]
    return storable(repr(item)[:FINGERPRINTED])
