"""Explains a row of the replica: where each value was read from, and when and why it is refreshed next."""

import enum
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import F, Max, QuerySet

from bursary.catalog import parser
from bursary.replica import merge, renamed_keys, schedule
from bursary.replica.models import CatalogMembership, ColdRead, ContentChange, ContentMetadata, ContentType

MAX_NAMED = 100
"""Runs, catalogs and remembered answers that an explanation names."""

_OF_THE_ROW = (
    "trigger",
    "fetched_from",
    "fetched_at",
    "checked_at",
    "changed_at",
    "fresh_until",
    "change_announced_at",
    "failures",
    "last_error",
    "quarantined_digest",
    "gone_at",
    "digest",
    "upstream_modified",
)
_KEY_OF = {"trigger": "source", "change_announced_at": "expected_since"}
"""The key of a column in the output, where it is not the column's name."""


_OF_RUNS = ("offered", "enrollable")
"""Columns that other content than runs has no values for."""


class RefreshReason(enum.StrEnum):
    """Why content is refreshed when it is. The first that applies holds."""

    WITH_COURSE = "with_course"
    """It is a run, and is refreshed with its course."""
    WHEN_ASKED_FOR = "when_asked_for"
    """No refresh is scheduled until the row is read while it is stale."""
    QUARANTINED = "quarantined"
    """Upstream's newest record cannot be used; it is tried again when it has changed."""
    FAILED = "failed"
    """The last refresh failed: again after a wait that grows."""
    AWAITED = "awaited"
    """An event announced a change that upstream does not show yet."""
    GONE = "gone"
    """No catalog holds it."""
    MISSING = "missing"
    """A lookup by key returned nothing; a second one confirms it."""
    DUE = "wanted"
    """It is due: a refresh was requested, or it is no longer fresh."""
    INACTIVE = "inactive"
    """Fresh until then; it is closed for enrolment."""
    SOON = "soon"
    """Fresh until then; it, or one of its runs, starts or closes soon."""
    ORDINARY = "ordinary"
    """Fresh until then."""


_BY_FRESHNESS = {RefreshReason.GONE, RefreshReason.INACTIVE, RefreshReason.SOON, RefreshReason.ORDINARY}

Explanation = dict[str, Any]
"""Plain values, as `explain_content --json` prints them."""


def explain(content_key: str, *, now: datetime) -> Explanation | None:
    """Return what is known of content, None where there is no row. Eight queries.

    `variants` names each row of the key, one for each set of restricted runs, with the catalogs that hold it;
    the rest is about the first of them. `values` holds each column, the path in upstream's record that it was
    read from, and its last change; `other_changes` the last changes of what is no column of the record:
    memberships, and being gone. `brought_forward_at` is when the row is refreshed if open assignments depend
    on it, where that is sooner.
    """
    found = ContentMetadata.objects.filter(content_key=renamed_keys.current_key(content_key))
    content = found.order_by(F("gone_at").asc(nulls_first=True), "variant").first()
    if content is None:
        return None
    course = ContentMetadata.objects.filter(content_key=content.parent_key).order_by("variant").first()
    newest = (
        content.changes.order_by().values("field").annotate(last=Max("pk")).values_list("last", flat=True)
    )
    rows = ContentChange.objects.filter(pk__in=list(newest)).order_by("field").annotate(source=F("trigger"))
    changes = {row["field"]: row for row in rows.values("field", "old", "new", "source", "created")}
    held = CatalogMembership.objects.filter(content=content).order_by("catalog_uuid")
    held_as = held.values("catalog_uuid", "seen_at", "missing_since", named_by=F("via_course"))
    catalogs = list(held_as[:MAX_NAMED])
    runs = ContentMetadata.objects.filter(parent_key=content.content_key).order_by("content_key")
    runs = runs.only("content_key", "start_date", "enroll_by")[:MAX_NAMED]
    return {
        "content_key": content.content_key,
        "known": True,
        "variants": _variants(found),
        "values": [one | {"changed": changes.pop(one["field"], None)} for one in _values(content, course)],
        "other_changes": list(changes.values()),
        "row": {_KEY_OF.get(name, name): getattr(content, name) for name in _OF_THE_ROW},
        "next_look": _next_refresh(content, course, catalogs, runs, now=now),
        "catalogs": catalogs,
        "runs": [run.content_key for run in runs],
    }


def unknown(content_key: str, *, now: datetime) -> Explanation:
    """Return what is remembered of cold reads of a key without content."""
    rows = ColdRead.objects.filter(content_key=content_key, due_at__gt=now).order_by("catalog_uuid")
    rows = rows.annotate(answer=F("status"), until=F("due_at"))
    remembered = rows.values("catalog_uuid", "answer", "asked_at", "until")[:MAX_NAMED]
    return {"content_key": content_key, "known": False, "remembered": list(remembered)}


def _variants(rows: QuerySet[ContentMetadata]) -> list[dict[str, Any]]:
    """Return each row of a key with its price and enrol-by date, and the catalogs that hold it."""
    found = rows.order_by("variant").values("pk", "variant", "price_cents", "enroll_by", "gone_at")[
        :MAX_NAMED
    ]
    variants: list[dict[str, Any]] = [{**one} for one in found]
    held = CatalogMembership.objects.filter(content__in=[one["pk"] for one in variants])
    catalogs: dict[int, list[UUID]] = defaultdict(list)
    for content, catalog in held.order_by("catalog_uuid").values_list("content", "catalog_uuid")[:MAX_NAMED]:
        catalogs[content].append(catalog)
    return [one | {"catalogs": catalogs[one.pop("pk")]} for one in variants]


def _values(content: ContentMetadata, course: ContentMetadata | None) -> list[dict[str, Any]]:
    columns = {
        "content_type": content.content_type,
        "parent": content.parent_key or None,
        **{name: getattr(content, name) for name in merge.COLUMNS},
    }
    if content.content_type != ContentType.COURSERUN:
        columns |= dict.fromkeys(_OF_RUNS)
    # A run is cut from its course's record, unless it has one of its own.
    owner = course if course and "content_type" not in content.payload else content
    paths = parser.paths(owner.payload, content.content_key)
    return [
        {"field": name, "value": value, "read_from": paths.get(name, "")} for name, value in columns.items()
    ]


def _next_refresh(
    content: ContentMetadata,
    course: ContentMetadata | None,
    catalogs: Sequence[Mapping[str, Any]],
    runs: Iterable[ContentMetadata],
    *,
    now: datetime,
) -> dict[str, Any]:
    refreshed = course or content
    due_at, missing = refreshed.due_at, any(one["missing_since"] for one in catalogs)
    applies = {
        RefreshReason.WITH_COURSE: course,
        RefreshReason.WHEN_ASKED_FOR: due_at is None,
        RefreshReason.QUARANTINED: content.quarantined_digest,
        RefreshReason.FAILED: content.failures and due_at != content.fresh_until,
        RefreshReason.AWAITED: content.change_announced_at,
        RefreshReason.GONE: content.gone_at,
        RefreshReason.MISSING: missing,
        RefreshReason.DUE: due_at and due_at <= now,
    }
    reason = next((reason for reason, holds in applies.items() if holds), None)
    if reason is None:
        dates = [date for one in (content, *runs) for date in (one.start_date, one.enroll_by)]
        kind = schedule.freshness_kind(content.completeness, content.active, dates, now=content.checked_at)
        reason = RefreshReason(kind)
    interval = schedule.fresh_for(reason) if reason in _BY_FRESHNESS else None
    failed = reason is RefreshReason.FAILED
    longest_wait = schedule.retry_delay_ceiling(content.failures) if failed else None
    sooner = None  # the rule of `refresh_runs.bring_forward`
    if due_at and catalogs and not (missing or refreshed.failures or refreshed.gone_at):
        sooner = max(one["seen_at"] for one in catalogs) + schedule.fresh_for("depended_on")
    return {
        "at": due_at,
        "why": reason,
        "good_for_seconds": int(interval.total_seconds()) if interval else None,
        "longest_pause_seconds": int(longest_wait.total_seconds()) if longest_wait else None,
        "brought_forward_at": sooner if sooner and due_at and sooner < due_at else None,
    }
