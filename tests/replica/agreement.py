"""Whether what we hold agrees with upstream's records, and with itself."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import Count

from bursary.assignments.choices import ExpiryReason, State
from bursary.assignments.models import LearnerContentAssignment
from bursary.catalog import parser
from bursary.catalog.records import Completeness, Content, ContentType
from bursary.lib.moments import FAR_FUTURE
from bursary.replica import merge
from bursary.replica.models import CatalogMembership, ContentChange, ContentMetadata
from tests.replica.expected_content import CATALOGS, ExpectedContent


class Version(NamedTuple):
    """Where a row came from, and how new it is."""

    fetched_from: str
    completeness: str
    upstream_modified: datetime | None
    checked_at: datetime
    fetched_at: datetime


Versions = dict[int, Version]


def versions_after(before: Versions) -> Versions:
    """Return every row's version; none may have gone backwards since `before`.

    Only a run that a catalog lists itself may be known by its own thin record, once no course names it.
    """
    rows = ContentMetadata.objects.order_by().only(*Version._fields)
    after = {row.pk: Version(*(getattr(row, name) for name in Version._fields)) for row in rows}
    members = CatalogMembership.objects.filter(via_course="", content__content_type=ContentType.COURSERUN)
    listed_runs = set(members.values_list("content", flat=True))
    for pk, was in before.items():
        now = after[pk]  # rows are never deleted
        lost = (was.completeness, now.completeness) == (Completeness.FULL, Completeness.THIN)
        assert not lost or pk in listed_runs, pk
        assert now.checked_at >= was.checked_at, pk
        assert now.fetched_at >= was.fetched_at, pk
        # An instant from the future freezes nothing: of such the later fetch wins.
        if now[:2] == was[:2] and was.upstream_modified and was.upstream_modified <= was.checked_at:
            assert now.upstream_modified, pk
            assert now.upstream_modified >= was.upstream_modified, pk
    return after


def check_memberships() -> None:
    """A catalog holds one row of a key, and what no catalog holds is gone."""
    held = CatalogMembership.objects.order_by().values("catalog_uuid", "content__content_key")
    assert not held.annotate(rows=Count("pk")).filter(rows__gt=1).exists()
    there = set(ContentMetadata.objects.filter(gone_at=None).values_list("pk", flat=True))
    assert there == set(CatalogMembership.objects.values_list("content", flat=True))


def check_assignments(expected: ExpectedContent, *, now: datetime) -> None:
    """Open assignments refer to what their catalog holds, and end and sort by it, and by nothing else.

    They end at the least of four dates. The date of the content is one that the catalog was served.
    """
    rows = LearnerContentAssignment.objects.filter(state=State.ALLOCATED).select_related("content", "budget")
    held = _held()
    for one in rows.defer("content__payload"):
        catalog_uuid = one.budget.catalog_uuid
        assert one.content is not None
        assert held[catalog_uuid].get(one.content.content_key, one.content) == one.content
        assert one.content_key == one.content.content_key or _has_twin(one)
        age_ends_at = one.allocated_at + timedelta(days=one.budget.allocation_age_days)
        before = min(filter(None, [age_ends_at, one.due_date, one.budget.ends_at]))
        in_catalog = one.content.content_key in held[catalog_uuid]
        join_by = (
            _joined_by(one, held[catalog_uuid].values(), now=now, before=before)
            if in_catalog  # what has left keeps what it had
            else one.content_enroll_by
        )
        dates = {
            ExpiryReason.ENROLL_BY: join_by,
            ExpiryReason.BUDGET_END: one.budget.ends_at or FAR_FUTURE,
            ExpiryReason.DUE_DATE: one.due_date or FAR_FUTURE,
            ExpiryReason.ALLOCATION_AGE: age_ends_at,
        }
        assert one.expires_at == min(dates.values())
        assert dates[ExpiryReason(one.expires_reason)] == one.expires_at
        assert one.age_ends_at == age_ends_at
        assert one.content_enroll_by == join_by
        if in_catalog:
            assert one.content_start == (one.content.start_date or FAR_FUTURE)
            assert one.content_title == one.content.title.casefold()
        assert join_by in expected.closings(one.content.content_key, catalog_uuid) | {FAR_FUTURE}


def check_expired(expected: ExpectedContent) -> None:
    """What has expired by a date of its content has expired by one that its catalog was served."""
    rows = LearnerContentAssignment.objects.filter(
        state=State.EXPIRED, expires_reason=ExpiryReason.ENROLL_BY
    ).select_related("content", "budget")
    for one in rows.defer("content__payload"):
        assert one.content is not None
        assert one.expires_at in expected.closings(one.content.content_key, one.budget.catalog_uuid)


def check_content(expected: ExpectedContent, *, now: datetime) -> None:
    """Each catalog's view says what it is served, in every column; nothing waits or is troubled any more."""
    views = {catalog_uuid: _view(expected, catalog_uuid) for catalog_uuid in CATALOGS.values()}
    named = {
        key: content
        for view in views.values()
        for key, content in view.items()
        if content.completeness is Completeness.FULL
    }
    for catalog_uuid, view in views.items():
        held = CatalogMembership.objects.filter(catalog_uuid=catalog_uuid).select_related("content")
        rows = {one.content.content_key: one for one in held}
        assert rows.keys() == view.keys(), (catalog_uuid, rows.keys() ^ view.keys())
        for key, content in view.items():
            assert rows[key].via_course in ("", content.parent_key)
            is_summary = content.completeness is Completeness.THIN
            _check_row(rows[key].content, named.get(key, content) if is_summary else content)
            if content.content_type is ContentType.COURSE:
                due_at = rows[key].content.due_at
                assert due_at is not None
                assert now < due_at <= now + timedelta(days=1)


def check_history() -> None:
    """Each change of a row begins where the last one of the field ended, and the last one holds."""
    changes: dict[tuple[int, str], list[ContentChange]] = defaultdict(list)
    for one in ContentChange.objects.filter(catalog_uuid=None, field__in=merge.COLUMNS):
        changes[one.content_id, one.field].append(one)
        assert one.old != one.new
    rows = ContentMetadata.objects.defer("payload").in_bulk({pk for pk, _field in changes})
    for (pk, name), history in changes.items():
        assert all(before.new == after.old for before, after in pairwise(history)), (pk, name)
        value = getattr(rows[pk], name)
        assert history[-1].new == (value.isoformat() if isinstance(value, datetime) else value)


def most_changes_of_a_field(*, since: int, but_for: Collection[int] = ()) -> int:
    """Return how often one field of a row, `but_for` some, has changed at most after a change's key."""
    counts = Counter(
        (one.content_id, one.field, one.catalog_uuid, (one.field == "membership") and (one.old or one.new))
        for one in ContentChange.objects.filter(pk__gt=since).exclude(content__in=but_for)
    )
    return max(counts.values(), default=0)


def what_lasts() -> dict[str, list[dict[str, Any]]]:
    """Return all that a sync without changes leaves as it is: when rows were looked at is not among it."""
    looked_at = {
        *("trigger", "upstream_modified", "checked_at", "fresh_until", "due_at", "early"),
        *("seen_at", "fence", "lease_until", "served_digest_at"),
    }
    models = (ContentMetadata, CatalogMembership, ContentChange, LearnerContentAssignment)
    return {
        model.__name__: [
            {name: value for name, value in row.items() if name not in looked_at}
            for row in model._default_manager.order_by("pk").values()
        ]
        for model in models
    }


def _view(expected: ExpectedContent, catalog_uuid: UUID) -> dict[str, Content]:
    """Return what the catalog is served, by key; a run that its course names is as the course has it."""
    records = [parser.parse(record) for record in expected.records(catalog_uuid)]
    view = {content.content_key: content for content in records}
    return view | {run.content_key: run for content in records for run in content.runs}


def _has_twin(assignment: LearnerContentAssignment) -> bool:
    assert assignment.content is not None
    rows = LearnerContentAssignment.objects.filter(
        budget=assignment.budget, learner_key=assignment.learner_key, content=assignment.content
    )
    return rows.filter(content_key=assignment.content.content_key).exists()


def _held() -> dict[UUID, dict[str, ContentMetadata]]:
    """Return the rows that each catalog holds, by key."""
    held: dict[UUID, dict[str, ContentMetadata]] = defaultdict(dict)
    for one in CatalogMembership.objects.select_related("content").defer("content__payload"):
        held[one.catalog_uuid][one.content.content_key] = one.content
    return held


def _joined_by(
    assignment: LearnerContentAssignment, held: Iterable[ContentMetadata], *, now: datetime, before: datetime
) -> datetime:
    """Return when the last run closes that can be joined and opens `before`, in a catalog that holds these.

    Without one, the last of all that it holds. A date that has passed is that of a run that could be joined.
    """
    content = assignment.content
    assert content is not None
    runs = [run for run in held if run.parent_key == content.content_key]
    since = min(now, assignment.content_enroll_by - timedelta(microseconds=1))
    joinable = [
        run
        for run in runs
        if run.offered
        and _closes(run) > max(assignment.allocated_at, since)
        and (run.enroll_start < before if run.enroll_start else run.enrollable or run.enroll_by)
    ]
    if not runs and content.content_type == ContentType.COURSE and _closes(content) <= since:
        return FAR_FUTURE
    return max(_closes(one) for one in joinable or runs or [content])


def _closes(content: ContentMetadata) -> datetime:
    return min(content.enroll_by or FAR_FUTURE, content.end_date or FAR_FUTURE)


def _check_row(row: ContentMetadata, content: Content) -> None:
    said = {name: getattr(row, name) for name in merge.COLUMNS}
    differs = {
        name: (said[name], value)
        for name, value in merge.column_values(content).items()
        if said[name] != value
    }
    assert not differs, (row.content_key, differs)
    assert (row.digest, row.variant) == (content.digest, content.variant), row.content_key
    assert row.parent_key == (content.parent_key or "")
    assert row.gone_at is None
    assert (row.failures, row.last_error, row.quarantined_digest) == (0, "", ""), row.content_key
    assert row.change_announced_at is None
