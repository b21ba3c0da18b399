"""A course as one catalog is served it: with the restricted runs that its query allows, and no other.

Upstream serves another record as a whole, in which the price, the dates and whether the course is active
follow from the runs that are in it.
"""

from collections.abc import Collection, Iterator
from typing import Any

Record = dict[str, Any]

NORMALIZED_NOTHING = {
    "start_date": None,
    "end_date": None,
    "enroll_by_date": None,
    "enroll_start_date": None,
    "content_price": 0.0,
}
NORMALIZED = ("normalized_metadata", "normalized_metadata_by_run")


def runs_of(record: Record) -> Iterator[Record]:
    """Yield the runs in a record, without what is none and what has no key."""
    runs = record.get("course_runs")
    yield from (
        (run for run in runs if isinstance(run, dict) and run.get("key")) if isinstance(runs, list) else ()
    )


def restricted_runs(record: Record) -> set[str]:
    """Return the keys of the restricted runs in a record."""
    return {run["key"] for run in runs_of(record) if run.get("restriction_type")}


def as_served(record: Record, *, allowed: Collection[str]) -> Record:
    """Return a course's record without the restricted runs that are not allowed, with all that follows."""
    hidden = restricted_runs(record) - set(allowed)
    if not hidden:
        return record
    shown = [run for run in runs_of(record) if run["key"] not in hidden]
    served = record | {"course_runs": shown}
    for name, of_run in (("course_run_keys", "key"), ("course_run_statuses", "status")):
        if name in record:
            served[name] = [run[of_run] for run in shown]
    served["active"] = record.get("active") is not False and any(map(_is_active, shown))
    if NORMALIZED[0] not in record:
        return served
    by_run = {key: terms for key, terms in record[NORMALIZED[1]].items() if key not in hidden}
    uuid, key = _advertised(record, shown)
    normalized = by_run.get(key, NORMALIZED_NOTHING)
    return (
        served
        | dict(zip(NORMALIZED, (normalized, by_run), strict=True))
        | {"advertised_course_run_uuid": uuid}
    )


def _advertised(record: Record, shown: list[Record]) -> tuple[object, object]:
    """Return uuid and key of the advertised run; if it is hidden, those of the first that is active.

    A course without one goes on naming the hidden run.
    """
    uuid = record.get("advertised_course_run_uuid")
    still = [run for run in shown if run.get("uuid") == uuid] or [run for run in shown if _is_active(run)]
    return (still[0]["uuid"], still[0]["key"]) if still else (uuid, None)


def _is_active(run: Record) -> bool:
    listed = run.get("status") == "published" and run.get("is_marketable")
    return bool(run.get("is_enrollable") and (listed or run.get("is_marketable_external")))


def search_document(record: Record, run_key: str) -> Record:
    """Return the record of its own that upstream has of a restricted run."""
    run = next(run for run in runs_of(record) if run["key"] == run_key)
    kept = ("title", "start", "end", "enrollment_start", "enrollment_end", "pacing_type", "weeks_to_complete")
    return {name: run.get(name) for name in (*kept, "is_enrollable", "restriction_type")} | {
        "content_type": "courserun",
        "key": run_key,
        "aggregation_key": f"courserun:{record['key']}",
        "parent_content_key": record["key"],
        "published": run.get("status") == "published",
        "content_last_modified": record.get("content_last_modified"),
    }


def force_included(record: Record) -> Record:
    """Return a course's record as upstream serves it when an operator has force-included the course."""
    runs = [run | {"status": "published", "availability": "Current"} for run in runs_of(record)]
    rest = {name: value for name, value in record.items() if name not in NORMALIZED}
    return rest | {
        "content_type": None,
        "aggregation_key": None,
        "enterprise_force_included": True,
        "course_runs": runs,
        "course_run_statuses": [run["status"] for run in runs],
    }


def renamed(record: Record, old: str, new: str) -> Record:
    """Return the record of a course, or of one of its runs, after the course's key has changed."""
    changed: Record = {
        name: value.replace(old, new)
        for name, value in record.items()
        if name in ("aggregation_key", "parent_content_key") and isinstance(value, str)
    }
    if record.get("key") == old:
        changed["key"] = new
        named = {"parent_content_key": new}
        changed["course_runs"] = [
            run | named if run.get("parent_content_key") == old else run for run in runs_of(record)
        ]
    return record | changed
