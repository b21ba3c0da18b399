"""A piece of content explained: where each value came from, and when somebody looks again."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Q
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from bursary.assignments.choices import State
from bursary.assignments.models import LearnerContentAssignment
from bursary.replica import explain
from bursary.replica.explain import Explanation, RefreshReason
from bursary.replica.models import ColdReadStatus, ContentChange, ContentMetadata

MOST_COUNTED = 10_000
LONGEST_VALUE = 60  # characters of a value that a table shows
_STORY = (
    "source",
    "fetched_from",
    "fetched_at",
    "checked_at",
    "changed_at",
    "fresh_until",
    "expected_since",
    "failures",
    "last_error",
    "quarantined_digest",
    "gone_at",
    "digest",
    "upstream_modified",
)


@dataclass(frozen=True)
class ContentReport:
    """An explanation, and how many open assignments depend on the content, counted to `MOST_COUNTED`."""

    explained: Explanation
    depending: int
    brought_forward_at: datetime | None
    """When the clock looks all the same, because assignments depend on it; None where that is no sooner."""


def load(content_key: str, *, now: datetime) -> ContentReport | None:
    """Return the story of a piece of content; None where we do not have it."""
    explained = explain.explain(content_key, now=now)
    if explained is None:
        return None
    content = explained.content
    depending = _count_open(content)
    return ContentReport(explained, depending, _brought_forward_at(explained) if depending else None)


def _brought_forward_at(explained: Explanation) -> datetime | None:
    """Return when what is depended on is made due (see `refreshing.bring_forward`), None if no sooner."""
    course = explained.content.parent or explained.content
    held = explained.memberships
    if course.due_at is None or course.failures or course.gone_at or not held:
        return None
    sooner = max(one.seen_at for one in held) + settings.CONTENT_FRESHNESS["depended_on"]
    missing = any(one.missing_since for one in held)
    return sooner if sooner < course.due_at and not missing else None


def _count_open(content: ContentMetadata) -> int:
    depends = Q(content=content) | Q(content__parent=content)
    rows = LearnerContentAssignment.objects.filter(depends, state=State.ALLOCATED)
    return rows.order_by().values("pk")[:MOST_COUNTED].count()


def unknown(content_key: str, *, now: datetime) -> dict[str, object]:
    """Return what is known of a key that we have no content for."""
    return {
        "content_key": content_key,
        "known": False,
        "remembered": [
            {
                "catalog_uuid": one.catalog_uuid,
                "answer": one.answer,
                "asked_at": one.asked_at,
                "until": one.until,
            }
            for one in explain.cold_reads_of(content_key, now=now)
        ],
    }


def unknown_in_words(content_key: str, *, now: datetime) -> str:
    """Return the same in sentences, with what to do."""
    said = [f"There is no content {content_key} in the replica."]
    words = {
        ColdReadStatus.ABSENT: "did not have it",
        ColdReadStatus.SILENT: "did not answer",
        ColdReadStatus.ASKING: "is being asked for it",
    }
    said += [
        f"Catalog {one.catalog_uuid} {words[ColdReadStatus(one.answer)]} at "
        f"{one.asked_at:%Y-%m-%d %H:%M:%S} UTC; that is remembered until {one.until:%H:%M:%S}."
        for one in explain.cold_reads_of(content_key, now=now)
    ]
    said.append(f"`bursary refresh_content --key {content_key}` asks for it now, in every budget's catalog.")
    return " ".join(said)


def summary(story: ContentReport) -> dict[str, object]:
    """Return the story as plain values."""
    told = story.explained
    content, look = told.content, told.look
    return {
        "content_key": content.content_key,
        "known": True,
        "values": [
            {
                "field": one.column,
                "value": one.value,
                "read_from": one.read_from,
                "changed": _change(one.change),
            }
            for one in told.values
        ],
        "other_changes": [_change(change) for change in told.other_changes],
        "row": {name: getattr(content, name) for name in _STORY},
        "next_look": {
            "at": look.at,
            "why": look.why,
            "good_for_seconds": _seconds(look.good_for),
            "longest_pause_seconds": _seconds(look.longest),
            "brought_forward_at": story.brought_forward_at,
        },
        "catalogs": [
            {"catalog_uuid": one.catalog_uuid, "seen_at": one.seen_at, "missing_since": one.missing_since}
            for one in told.memberships
        ],
        "runs": list(told.runs),
        "open_assignments": story.depending,
    }


def render(story: ContentReport) -> RenderableType:
    """Return the story as a heading and tables."""
    told = story.explained
    values = Table("field", "value", "read from", "last change (UTC)")
    for one in told.values:
        values.add_row(one.column, _brief(one.value), escape(one.read_from), _change_in_words(one.change))
    row = Table("of the row", "")
    for name in _STORY:
        row.add_row(name.replace("_", " "), _brief(getattr(told.content, name)))
    for change in told.other_changes:
        row.add_row(change.field.replace("_", " "), _change_in_words(change))
    for held in told.memberships:
        missing = f", missing since {_time(held.missing_since)}" if held.missing_since else ""
        row.add_row("catalog", f"{held.catalog_uuid}, seen {_time(held.seen_at)}{missing}")
    row.add_row("runs", escape(", ".join(told.runs)))
    row.add_row("open assignments", str(story.depending))
    return Group(_heading(story), values, row)


def _heading(story: ContentReport) -> Text:
    content = story.explained.content
    return Text.assemble(
        (f"{content.title or content.content_key}\n", "bold"),
        f"{content.content_key}, {content.completeness} {content.content_type}\n",
        f"{next_look_in_words(story)}\n",
    )


def next_look_in_words(story: ContentReport) -> str:
    """Return when somebody looks next, and why."""
    look, content = story.explained.look, story.explained.content
    course = content.parent.content_key if content.parent else ""
    reasons = {
        RefreshReason.WITH_COURSE: f"with its course {course}",
        RefreshReason.WHEN_ASKED_FOR: "when somebody reads it after it is stale",
        RefreshReason.QUARANTINED: "upstream's newest record could not be used and is tried again when "
        f"it has changed; the last error was {content.last_error}",
        RefreshReason.FAILED: f"{content.failures} looks in a row failed; the pause is up to {look.longest}",
        RefreshReason.AWAITED: "an event announced a change that upstream does not show yet",
        RefreshReason.MISSING: "a catalog did not have it when asked, and is asked again to be sure",
        RefreshReason.GONE: f"no catalog holds it, so every {look.good_for}",
        RefreshReason.WANTED: "it is due: wanted, or not fresh any more",
        RefreshReason.INACTIVE: f"nobody can enrol, so a look is good for {look.good_for}",
        RefreshReason.SOON: f"it starts or closes soon, so a look is good for {look.good_for}",
        RefreshReason.ORDINARY: f"a look is good for {look.good_for}",
    }
    said = f"Next look: {_time(look.at) or 'not planned'} ({reasons[look.why]})."
    if story.brought_forward_at:
        said += f" Brought forward to {_time(story.brought_forward_at)}: open assignments depend on it."
    return said


def _change(change: ContentChange | None) -> dict[str, object] | None:
    if change is None:
        return None
    names = ("field", "old", "new", "source", "created")
    return {name: getattr(change, name) for name in names}


def _change_in_words(change: ContentChange | None) -> str:
    if change is None:
        return ""
    return f"{_time(change.created)} by {change.source}: {_brief(change.old)} → {_brief(change.new)}"


def _brief(value: object) -> str:
    if isinstance(value, datetime):
        return _time(value)
    if value is None or value == "":
        return "-"
    text = str(value)
    return escape(text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…")


def _time(instant: datetime | None) -> str:
    return f"{instant:%Y-%m-%d %H:%M:%S}" if instant else ""


def _seconds(span: timedelta | None) -> int | None:
    return int(span.total_seconds()) if span is not None else None
