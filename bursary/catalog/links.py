"""What a record says to one catalog alone: links that carry the customer's name. The rest all catalogs share.

Observed on courses, on the runs in them and on the records of runs and programs; what is nested deeper is
nobody's own.
"""

from collections.abc import Mapping

LINKS = frozenset({"enrollment_url", "marketing_url", "xapi_activity_id"})

Record = Mapping[str, object]
Links = dict[str, object]


def own(record: Record) -> Links:
    """Return the links of the record itself, without those of its runs."""
    return {name: record[name] for name in sorted(LINKS & record.keys())}


def without(record: Record) -> dict[str, object]:
    """Return what all catalogs share of a record: no links, neither its own nor those of its runs."""
    return {name: _runs_without(value) if name == "course_runs" else value for name, value in _rest(record)}


def served(record: Record, content_key: str, links: Mapping[str, Links]) -> dict[str, object]:
    """Return the record as one catalog serves it, with that catalog's links, by content key, and no other."""
    shared = without(record)
    runs = shared.get("course_runs")
    if isinstance(runs, list):
        shared["course_runs"] = [
            run | links.get(str(run.get("key")), {}) if isinstance(run, dict) else run for run in runs
        ]
    return shared | links.get(content_key, {})


def _runs_without(runs: object) -> object:
    if not isinstance(runs, list):
        return runs
    return [dict(_rest(run)) if isinstance(run, dict) else run for run in runs]


def _rest(record: Record) -> list[tuple[str, object]]:
    return [(name, value) for name, value in record.items() if name not in LINKS]
