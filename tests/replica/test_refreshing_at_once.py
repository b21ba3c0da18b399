"""Refreshers meet over what is due: each row is claimed once."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest

from bursary.replica import reads, refresh, schedule
from bursary.replica.models import CatalogMembership, ContentMetadata
from bursary.replica.refresh import RefreshReport
from tests.replica.listing import CATALOG, COURSE, NOW, a_course
from tests.replica.replicated import HOUR, due
from tests.replica.upstream import Upstream, courses, keys_of, listing_of, refresh_rows_due
from tests.together import Arrivals, together

pytestmark = pytest.mark.django_db(transaction=True)

STALE = NOW + 7 * HOUR


def test_two_refreshers_and_a_reader_of_one_stale_key_are_one_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    upstream = Upstream([a_course()])
    listing_of(upstream)
    monkeypatch.setattr(refresh, "configured_source", lambda: upstream)
    others = Arrivals()
    upstream.meanwhile = lambda: others.wait_for(2)
    reader = partial(reads.content_for, COURSE, catalog_uuid=CATALOG, now=STALE)

    refresher = partial(refresh_rows_due, upstream, now=STALE)
    calls: list[Callable[[], object]] = [refresher, refresher, reader]

    answers = together([others.after(call) for call in calls])

    assert upstream.questions == [(COURSE,)]
    assert not [answer for answer in answers if isinstance(answer, Exception)]
    assert ContentMetadata.objects.get(content_key=COURSE).checked_at == STALE


def test_refreshers_never_ask_for_the_same() -> None:
    upstream = Upstream(courses(160))
    listing_of(upstream)
    later = STALE + timedelta(days=1)

    reports = together([partial(refresh_rows_due, upstream, now=later)] * 4)

    asked = [key for question in upstream.questions for key in question]
    assert sorted(asked) == sorted(keys_of(upstream.records))
    assert all(isinstance(report, RefreshReport) and report.postponed == 0 for report in reports)
    assert not due(later).exists()


@pytest.mark.needs_row_locks
def test_a_claim_passes_over_what_another_has_locked() -> None:
    upstream = Upstream(courses(40))
    listing_of(upstream)
    later = STALE + timedelta(days=1)

    claims = together([partial(schedule.claim, started=later, now=later, limit=10)] * 4)

    taken = [one.pk for claim in claims if isinstance(claim, list) for one in claim]
    assert len(taken) == len(set(taken)) == 40


def test_listings_and_refreshers_of_changed_content_meet_and_none_fails() -> None:
    upstream = Upstream(courses(100))
    listing_of(upstream)
    later = STALE + timedelta(days=1)
    upstream.records = [record | {"title": "New"} for record in courses(100)]

    outcomes = together(
        [partial(listing_of, upstream, now=later)] * 2 + [partial(refresh_rows_due, upstream, now=later)] * 2
    )

    assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert ContentMetadata.objects.filter(parent_key="", title="New").count() == 100
    assert CatalogMembership.objects.filter(via_course="").count() == 100
