"""The report of `explain_content`: where each value came from, and when the content is refreshed next."""

import shlex
from datetime import datetime
from typing import Any

from django.db.models import Q
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.text import Text

from bursary.assignments.choices import State
from bursary.assignments.models import LearnerContentAssignment
from bursary.ops import console
from bursary.ops.console import counted_in_words
from bursary.replica import explain
from bursary.replica.explain import Explanation, RefreshReason
from bursary.replica.models import ContentMetadata

MAX_COUNTED = 10_000
_REASONS = {
    RefreshReason.WITH_COURSE: "with its course {course}",
    RefreshReason.WHEN_ASKED_FOR: "when it is read after it is stale",
    RefreshReason.QUARANTINED: "upstream's newest record could not be used and is tried again when it has "
    "changed; the last error was {last_error}",
    RefreshReason.FAILED: "{failures} refreshes in a row failed; the wait is at most {longest_wait}",
    RefreshReason.AWAITED: "an event announced a change that upstream does not show yet",
    RefreshReason.GONE: "no catalog holds it, so every {interval}",
    RefreshReason.MISSING: "a catalog returned nothing for its key, and is asked again to confirm it",
    RefreshReason.DUE: "it is due: a refresh was requested, or it is no longer fresh",
    RefreshReason.INACTIVE: "closed for enrolment, so every {interval}",
    RefreshReason.SOON: "it starts or closes soon, so every {interval}",
    RefreshReason.ORDINARY: "every {interval}",
}
_ANSWERS = {"absent": "did not have it", "silent": "did not answer", "asking": "is being asked for it"}


def load(content_key: str, *, now: datetime) -> Explanation:
    """Return the report as `--json` prints it, including the open assignments that depend on the content."""
    content_key = content_key.strip()
    report = explain.explain(content_key, now=now)
    if report is None:
        return explain.unknown(content_key, now=now)
    content_key = report["content_key"]
    contents = ContentMetadata.objects.filter(Q(content_key=content_key) | Q(parent_key=content_key))
    rows = LearnerContentAssignment.objects.filter(content__in=contents, state=State.ALLOCATED).order_by()
    report["open_assignments"] = rows.values("pk")[:MAX_COUNTED].count()
    if not report["open_assignments"]:
        report["next_look"]["brought_forward_at"] = None
    return report


def render(report: Explanation) -> RenderableType:
    """Return a report as a heading and two tables."""
    values = console.table("field", "value", "read from", "last change (UTC)")
    for one in report["values"]:
        changed = _change_in_words(one["changed"]) if one["changed"] else ""
        values.add_row(one["field"], _shown(one["value"]), escape(one["read_from"]), changed)
    row = console.table("row", "value (times in UTC)")
    for name, value in report["row"].items():
        row.add_row(name.replace("_", " "), _shown(value))
    for change in report["other_changes"]:
        row.add_row(change["field"].replace("_", " "), _change_in_words(change))
    for one in report["variants"] if len(report["variants"]) > 1 else ():
        catalogs = ", ".join(map(str, one["catalogs"])) or "no catalog"
        price = "unknown" if one["price_cents"] is None else f"{one['price_cents']} cents"
        dates = f"price {price}, enrol by {_shown(one['enroll_by'])}"
        row.add_row("variant", f"{one['variant'][:8] or 'ordinary'}: {dates}, in {catalogs}")
    for held in report["catalogs"]:
        missing = f", missing since {_shown(held['missing_since'])}" if held["missing_since"] else ""
        row.add_row("catalog", f"{held['catalog_uuid']}, seen {_shown(held['seen_at'])}{missing}")
    row.add_row("runs", escape(", ".join(report["runs"])))
    row.add_row("open assignments", str(report["open_assignments"]))
    field = {one["field"]: one["value"] for one in report["values"]}
    heading = Text.assemble(
        (f"{field['title'] or report['content_key']}\n", "bold"),
        f"{report['content_key']}, {field['completeness']} {field['content_type']}\n",
        f"{_next_refresh_in_words(report, course=field['parent'])}\n",
    )
    return Group(heading, values, row)


def unknown_in_words(report: Explanation) -> str:
    """Return, for a key without content, the report as sentences that end with the next step."""
    key = report["content_key"]
    remembered = (
        f"Catalog {one['catalog_uuid']} {_ANSWERS[one['answer']]} at {_shown(one['asked_at'])} UTC; "
        f"that is remembered until {one['until']:%H:%M:%S}."
        for one in report["remembered"]
    )
    advice = f"`bursary refresh_content --key {shlex.quote(key)}` asks for it now, in every budget's catalog."
    return " ".join((f"There is no content {key} in the replica.", *remembered, advice))


def _next_refresh_in_words(report: Explanation, *, course: str | None) -> str:
    planned, row = report["next_look"], report["row"]
    reason = _REASONS[planned["why"]].format(
        course=course,
        last_error=row["last_error"],
        failures=row["failures"],
        interval=_in_words(planned["good_for_seconds"] or 0).removeprefix("1 "),
        longest_wait=_in_words(planned["longest_pause_seconds"] or 0),
    )
    scheduled = f"{_shown(planned['at'])} UTC" if planned["at"] else "not scheduled"
    at = f"{scheduled} ({reason})."
    if sooner := planned["brought_forward_at"]:
        at = f"{_shown(sooner)} UTC, as open assignments depend on it; without them {at}"
    return f"Next refresh: {at}"


def _in_words(seconds: int) -> str:
    """Return a duration as `1 hour`, `6 hours` or `90 minutes`: whole, in its largest unit."""
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds and seconds % length == 0:
            return counted_in_words(seconds // length, unit)
    return counted_in_words(seconds, "second")


def _change_in_words(change: dict[str, Any]) -> str:
    old, new = _shown(change["old"]), _shown(change["new"])
    return f"{_shown(change['created'])} by {change['source']}: {old} → {new}"


def _shown(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return "-" if value is None or value == "" else escape(str(value))
