"""The audit: rows beside upstream's records, column by column, without writing."""

from copy import deepcopy
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from bursary.catalog import parser
from bursary.catalog.http_source import HttpCatalog
from bursary.catalog.source import CatalogSource
from bursary.replica import audit
from bursary.replica.audit import ContentAudit, FieldDifference, Finding
from bursary.replica.models import CatalogMembership, ContentChange, ContentMetadata
from tests.enterprise_catalog.database import CatalogDatabase
from tests.enterprise_catalog.without_sockets import WithoutSockets
from tests.replica.listing import (
    BEFORE,
    CATALOG,
    COURSE,
    LATER,
    NOW,
    OTHER_CATALOG,
    RUNS,
    a_course,
    a_thin_course,
    enrolling_by,
)
from tests.replica.replicated import bring_in, row
from tests.replica.upstream import Upstream, courses, keys_of

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


def audited(source: CatalogSource, **more: Any) -> ContentAudit:
    return audit.audit(source=source, clock=lambda: NOW + HOUR, **more)


def found(one: ContentAudit) -> list[tuple[str, str]]:
    return sorted((each.content_key, each.finding.value) for each in one.found)


def test_what_was_just_brought_in_agrees_runs_included() -> None:
    bring_in(*courses(20))

    one = audited(Upstream(courses(20)))

    assert (one.found, one.drifted_percent, one.unavailable) == ([], 0.0, {})
    assert one.looked_at == ContentMetadata.objects.count() > 20


def test_each_field_that_differs_has_both_values_and_when_both_last_agreed() -> None:
    bring_in(a_course())
    ContentMetadata.objects.filter(content_key=COURSE).update(title="Ours", price_cents=1)

    one = audited(Upstream([a_course()]))

    [drift] = one.found
    assert (drift.finding, drift.content_key, drift.checked_at) == (Finding.DRIFTED, COURSE, NOW)
    theirs = a_course()
    assert drift.differences == (
        FieldDifference("title", "Ours", theirs["title"]),
        FieldDifference("price_cents", 1, round(theirs["normalized_metadata"]["content_price"] * 100)),
    )


def test_a_change_upstream_shows_in_the_course_its_run_and_the_digests_and_is_not_brought_in() -> None:
    bring_in(a_course())
    before = row().digest

    one = audited(Upstream([enrolling_by("2027-01-05T00:00:00Z", synced=LATER)]))

    fields = {each.content_key: {difference.field for difference in each.differences} for each in one.found}
    assert fields == {COURSE: {"enroll_by", "digest"}, RUNS[2]: {"enroll_by", "digest"}}
    assert (row().digest, ContentChange.objects.count()) == (before, 0)


def test_an_older_record_upstream_is_drift_although_a_refresh_would_refuse_it() -> None:
    bring_in(a_course())

    assert audited(Upstream([a_course(synced=BEFORE, title="Older")])).counts[Finding.DRIFTED] >= 1


def test_what_upstream_does_not_have_is_missing_and_counts_as_drift() -> None:
    bring_in(*courses(4))
    gone = keys_of(courses(4))[0]

    one = audited(Upstream(courses(3, start=1)))

    assert found(one) == [(gone, "missing")]
    assert one.drifted_percent == pytest.approx(100 / one.looked_at)


def test_what_is_marked_as_gone_is_not_asked_for_and_drift_where_it_comes_back_with_its_course() -> None:
    bring_in(a_course())
    ContentMetadata.objects.filter(content_key=RUNS[0]).update(gone_at=NOW)
    upstream = Upstream([a_course()])
    [back] = audited(upstream).found
    assert (back.content_key, back.differences) == (
        RUNS[0],
        (FieldDifference("gone_at", NOW.isoformat(), None),),
    )

    ContentMetadata.objects.update(gone_at=NOW)
    upstream.questions.clear()
    assert audited(upstream).looked_at == 0
    assert upstream.questions == []


def test_a_run_that_its_course_does_not_list_any_more_is_unlisted_and_no_drift() -> None:
    bring_in(a_course())
    shorter = deepcopy(a_course())
    shorter["course_runs"] = shorter["course_runs"][1:]
    ContentMetadata.objects.filter(content_key=COURSE).update(digest=parser.parse(shorter).digest)

    one = audited(Upstream([shorter]))

    assert (RUNS[0], "unlisted") in found(one)
    assert one.drifted_percent == 0


def test_a_thin_record_says_nothing_of_a_full_row() -> None:
    bring_in(a_course())

    one = audited(Upstream([a_thin_course()]))

    assert one.thin >= 1
    assert one.found == []


def test_a_record_that_cannot_be_used_is_named_and_compared_with_nothing() -> None:
    bring_in(a_course())

    one = audited(Upstream([a_course() | {"content_type": "film"}]))

    [bad] = one.found
    assert (bad.finding, bad.content_key) == (Finding.UNPARSABLE, COURSE)
    assert bad.detail.startswith("unknown_content_type: ")
    assert one.looked_at == 0


def test_a_record_that_is_not_handed_over_is_not_missing() -> None:
    bring_in(a_course())
    upstream = Upstream([a_course()])
    upstream.withheld = {COURSE}

    assert found(audited(upstream)) == [(COURSE, "unparsable")]


def test_what_only_upstream_has_is_found_in_a_course_and_in_the_listing() -> None:
    bring_in(a_course())
    CatalogMembership.objects.filter(content__content_key=RUNS[0]).delete()
    ContentMetadata.objects.filter(content_key=RUNS[0]).delete()
    new = courses(1)[0]

    upstream = Upstream([a_course(), new])
    assert found(audited(upstream)) == [(RUNS[0], "unknown")]
    assert sorted([(RUNS[0], "unknown"), (new["key"], "unknown")]) == found(
        audited(upstream, listed=[CATALOG])
    )


def test_a_refresh_during_the_question_is_no_drift() -> None:
    bring_in(a_course())
    upstream = Upstream([a_course()])
    newer = a_course(synced=LATER, title="Newer")
    upstream.meanwhile = lambda: bring_in(newer, now=NOW + 2 * HOUR)
    instants = iter([NOW + HOUR, NOW + 3 * HOUR])

    one = audit.audit(source=upstream, clock=lambda: next(instants))

    assert one.found == []
    assert row().title == "Newer"


def test_what_a_clock_that_was_ahead_has_written_is_compared_like_the_rest() -> None:
    bring_in(a_course(), now=NOW + 48 * HOUR)

    one = audited(Upstream([a_course(synced=LATER, title="Newer")]))

    assert (COURSE, "drifted") in found(one)
    assert one.looked_at == ContentMetadata.objects.count()


def test_what_is_found_by_key_and_in_listings_is_counted_and_named_once_a_catalog() -> None:
    bring_in(a_course())
    new = courses(1)[0]

    one = audited(Upstream([a_course() | {"content_type": "film"}, new]), listed=[CATALOG, OTHER_CATALOG])

    assert found(one) == sorted([(COURSE, "unparsable"), (new["key"], "unknown")] * 2)
    assert (one.counts[Finding.UNPARSABLE], one.counts[Finding.UNKNOWN]) == (2, 2)


def test_questions_are_for_at_most_fifty_keys_each_to_the_catalog_that_it_came_from() -> None:
    bring_in(*courses(60))
    bring_in(*courses(10, start=60), catalog_uuid=OTHER_CATALOG)
    upstream = Upstream(courses(70))

    assert audited(upstream).found == []
    assert sorted(map(len, upstream.questions)) == [10, 10, 50]

    upstream.questions.clear()
    audited(upstream, catalog_uuid=OTHER_CATALOG)
    assert [sorted(keys) for keys in upstream.questions] == [sorted(keys_of(courses(10, start=60)))]


def test_all_of_many_catalogs_takes_as_many_questions_as_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(audit, "WINDOW", 20)
    for start in range(0, 60, 10):  # as courses come into catalogs over the years: by turns
        for catalog in (CATALOG, OTHER_CATALOG):
            bring_in(*courses(10, start=start), catalog_uuid=catalog)
    upstream = Upstream(courses(60))

    assert audited(upstream).found == []
    assert [len(keys) for keys in upstream.questions] == [20] * 6


def test_of_what_is_listed_only_unknown_records_are_fetched_and_of_a_sample_no_more_than_that() -> None:
    bring_in(*courses(20))
    client = WithoutSockets(CatalogDatabase(courses(180), [str(CATALOG)]))
    upstream = HttpCatalog(client)

    one = audit.audit(source=upstream, clock=lambda: NOW + HOUR, listed=[CATALOG])
    assert one.counts[Finding.UNKNOWN] == 160
    assert client.questions == 1 + 1 + 4  # by key; the keys that are listed; 160 records

    client.questions = 0
    one = audit.audit(source=upstream, clock=lambda: NOW + HOUR, listed=[CATALOG], sample=60)
    assert one.counts[Finding.UNKNOWN] == 100
    assert client.questions == 1 + 1 + 2


def test_a_sample_asks_for_that_many() -> None:
    bring_in(*courses(30))
    upstream = Upstream(courses(30))

    audited(upstream, sample=7)

    assert sum(map(len, upstream.questions)) == 7


def test_a_catalog_that_is_silent_is_asked_once_and_the_others_go_on() -> None:
    bring_in(*courses(60))
    bring_in(*courses(5, start=60), catalog_uuid=OTHER_CATALOG)
    upstream = Upstream(courses(65))
    upstream.down = {CATALOG}

    one = audited(upstream, listed=[CATALOG, OTHER_CATALOG])

    assert one.unavailable == {CATALOG: "The catalog does not answer."}
    assert len(upstream.questions) == 2
    assert one.looked_at >= 5


def test_progress_counts_what_was_asked_for() -> None:
    bring_in(*courses(3))
    calls: list[int] = []

    audited(Upstream(courses(3)), on_progress=calls.append)

    assert calls == [3]


def test_findings_are_all_counted_and_the_first_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "NAMED", 2)
    bring_in(*courses(5))

    one = audited(Upstream())

    assert (len(one.found), one.counts[Finding.MISSING]) == (2, 5)
    assert isinstance(one.found[0].catalog_uuid, UUID)
