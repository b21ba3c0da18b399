"""Whether what we hold agrees with upstream's truth, and with itself."""

from datetime import datetime, timedelta
from typing import NamedTuple

from bursary.assignments.choices import ExpiryReason, State
from bursary.assignments.models import FAR_FUTURE, LearnerContentAssignment
from bursary.catalog import parser
from bursary.catalog.records import Content
from bursary.replica import merge
from bursary.replica.models import CatalogMembership, Completeness, ContentMetadata
from tests.replica.truth import CATALOGS, Truth


class Version(NamedTuple):
    """Where a row came from, and how new it is."""

    fetched_from: str
    completeness: str
    upstream_modified: datetime | None
    checked_at: datetime
    fetched_at: datetime


Versions = dict[str, Version]


def versions_after(before: Versions) -> Versions:
    """Return every row's version; none may have gone backwards since `before`."""
    rows = ContentMetadata.objects.order_by().only("content_key", *Version._fields)
    after = {row.content_key: Version(*(getattr(row, name) for name in Version._fields)) for row in rows}
    for key, was in before.items():
        now = after[key]  # rows are never deleted
        assert (was.completeness, now.completeness) != (Completeness.FULL, Completeness.THIN), key
        assert now.checked_at >= was.checked_at, key
        assert now.fetched_at >= was.fetched_at, key
        if now[:2] == was[:2] and now.upstream_modified and was.upstream_modified:
            assert now.upstream_modified >= was.upstream_modified, key
    return after


def check_assignments() -> None:
    """Open assignments end at the least of four dates, and sort by what their content says."""
    rows = LearnerContentAssignment.objects.filter(state=State.ALLOCATED).select_related("content", "budget")
    for one in rows.defer("content__payload"):
        assert one.content is not None
        age_ends_at = one.allocated_at + timedelta(days=one.budget.allocation_age_days)
        enroll_by = _joined_by(one, before=min(filter(None, [age_ends_at, one.due_date, one.budget.ends_at])))
        dates = {
            ExpiryReason.ENROLL_BY: enroll_by,
            ExpiryReason.BUDGET_END: one.budget.ends_at or FAR_FUTURE,
            ExpiryReason.DUE_DATE: one.due_date or FAR_FUTURE,
            ExpiryReason.ALLOCATION_AGE: age_ends_at,
        }
        assert one.expires_at == min(dates.values())
        assert dates[ExpiryReason(one.expires_reason)] == one.expires_at
        assert one.age_ends_at == age_ends_at
        assert one.content_enroll_by == enroll_by
        assert one.content_start == (one.content.start_date or FAR_FUTURE)
        assert one.content_title == one.content.title.casefold()


def _joined_by(assignment: LearnerContentAssignment, *, before: datetime) -> datetime:
    """Return when the last run of the content closes that opens `before`, in the catalog of the budget."""
    content, catalog_uuid = assignment.content, assignment.budget.catalog_uuid
    assert content is not None
    runs = ContentMetadata.objects.filter(
        parent_key=content.content_key, memberships__catalog_uuid=catalog_uuid, offered=True
    )
    opening = [
        run
        for run in runs
        if (run.enroll_start < before if run.enroll_start else run.enrollable or run.enroll_by)
    ]
    return max(_closes(one) for one in opening or [content])


def _closes(content: ContentMetadata) -> datetime:
    return min(content.enroll_by or FAR_FUTURE, content.end_date or FAR_FUTURE)


def check_content(truth: Truth, *, now: datetime) -> None:
    """Our rows say what upstream says, in every column, and nothing waits, or is troubled, any more."""
    for catalog_uuid in CATALOGS.values():
        held = CatalogMembership.objects.filter(catalog_uuid=catalog_uuid)
        runs = {run for key in truth.members(catalog_uuid) for run in truth.courses[key].run_keys}
        listed = set(held.filter(named_by="").values_list("content__content_key", flat=True))
        named = set(held.exclude(named_by="").values_list("content__content_key", flat=True))
        assert (listed, named) == (truth.members(catalog_uuid), runs)
    rows = {row.content_key: row for row in ContentMetadata.objects.all()}
    there = set().union(*(truth.members(catalog_uuid) for catalog_uuid in CATALOGS.values()))
    for key in sorted(there):
        course = parser.parse(_served(truth, key))
        _check_row(rows[key], course)
        for run in course.runs:
            _check_row(rows[run.content_key], run)
            assert rows[run.content_key].parent_key == key
        due_at = rows[key].due_at
        assert due_at is not None
        assert now < due_at <= now + timedelta(days=1)
    expected = there | {run for key in there for run in truth.courses[key].run_keys}
    there_now = {key for key, row in rows.items() if row.gone_at is None}
    assert there_now == expected, there_now ^ expected


def _served(truth: Truth, key: str) -> object:
    holder = next(uuid for uuid in CATALOGS.values() if key in truth.members(uuid))
    [record] = truth.shelf.by_keys(str(holder), [key])
    return record


def _check_row(row: ContentMetadata, content: Content) -> None:
    said = {name: getattr(row, name) for name in merge.COLUMNS}
    assert said == merge.columns(content), row.content_key
    assert row.digest == content.digest
    assert row.gone_at is None
    assert (row.failures, row.last_error, row.quarantined_digest) == (0, "", ""), row.content_key
    assert row.expected_since is None
