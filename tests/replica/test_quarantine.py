"""A record that cannot be used: the last good one stays, and it is not tried again until it changes."""

from typing import Any

import pytest

from bursary.catalog import parser
from bursary.catalog.parser import Content
from bursary.catalog.records import UnreadableElement
from bursary.replica import merge
from bursary.replica.models import ContentMetadata
from tests.replica.listing import COURSE, LATER, NOW, SYNCED, Record, a_course
from tests.replica.replicated import HOUR, bring_in, row
from tests.replica.upstream import Upstream, courses, listing_of, refresh_rows_due

pytestmark = pytest.mark.django_db

STALE = NOW + 7 * HOUR


def poisoned(*, synced: str = SYNCED, title: str = "Poisoned") -> Record:
    return a_course(synced=synced, content_type="video", title=title)


@pytest.mark.on_every_engine
def test_a_poisoned_record_is_named_once_and_passed_over_while_it_stays_the_same() -> None:
    bring_in(a_course())

    first = bring_in(poisoned(), now=NOW + HOUR)
    again = bring_in(poisoned(synced=LATER), now=NOW + 2 * HOUR)

    assert (first.unparsable_total, first.quarantined) == (1, 0)
    assert (again.unparsable_total, again.quarantined, again.records) == (0, 1, 1)
    assert (row().title, row().failures, row().checked_at) == (a_course()["title"], 1, NOW)
    assert row().quarantined_digest == parser.fingerprint(poisoned())
    assert row().last_error.startswith("unknown_content_type: ")


def test_two_poisoned_records_under_one_key_are_one_failure_however_often_they_are_met() -> None:
    bring_in(a_course())
    pair = [poisoned(), poisoned(title="Another")]

    first = bring_in(*pair, *courses(60, start=20), *pair, now=NOW + HOUR)
    again = bring_in(*reversed(pair), now=NOW + 2 * HOUR)

    assert [one.key for one in (*first.unparsable, *again.unparsable)] == [COURSE]
    assert (first.unparsable_total, again.unparsable_total, row().failures) == (1, 0, 1)


def test_records_without_a_key_are_counted_one_by_one() -> None:
    assert bring_in({"content_type": "course"}, {"content_type": "program"}).unparsable_total == 2


def test_a_poisoned_record_is_not_even_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    bring_in(a_course())
    bring_in(poisoned(), now=NOW + HOUR)
    parsed: list[Any] = []
    parse = parser.parse

    def counted(raw: object) -> Content:
        parsed.append(raw)
        return parse(raw)

    monkeypatch.setattr(parser, "parse", counted)

    bring_in(poisoned(), *courses(2, start=20), now=NOW + 2 * HOUR)

    assert len(parsed) == 2


def test_it_is_tried_again_when_it_changes() -> None:
    bring_in(a_course())
    bring_in(poisoned(), now=NOW + HOUR)

    other = bring_in(poisoned(title="Still poisoned"), now=NOW + 2 * HOUR)
    mended = bring_in(a_course(title="Mended", synced=LATER), now=NOW + 3 * HOUR)

    assert other.unparsable_total == 1
    assert (mended.unparsable_total, mended.quarantined) == (0, 0)
    assert (row().title, row().quarantined_digest, row().failures, row().last_error) == ("Mended", "", 0, "")


@pytest.mark.on_every_engine
def test_what_the_database_refuses_is_quarantined_with_its_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    bring_in(a_course())
    column_values = merge.column_values
    tried: list[str] = []

    def with_one_bad_price(content: Content) -> dict[str, Any]:
        tried.append(content.content_key)
        return column_values(content) | ({"price_cents": -1} if content.content_key == COURSE else {})

    monkeypatch.setattr(merge, "column_values", with_one_bad_price)
    neighbours = courses(30, start=40)
    first = bring_in(*neighbours, a_course(title="Bad"), now=NOW + HOUR)
    tried.clear()
    again = bring_in(*neighbours, a_course(title="Bad"), now=NOW + 2 * HOUR)

    assert ([one.reason for one in first.unparsable], again.quarantined) == (["not_storable"], 1)
    assert COURSE not in tried
    assert (row().title, row().price_cents) == (a_course()["title"], 14900)


def test_one_poisoned_record_among_what_is_due_stops_no_other() -> None:
    upstream = Upstream([a_course(), *courses(20, start=40)])
    listing_of(upstream)
    upstream.records[0] = poisoned()

    report = refresh_rows_due(upstream, now=STALE + 24 * HOUR)
    again = refresh_rows_due(upstream, now=STALE + 50 * HOUR)

    assert (report.unparsable_total, report.missing, again.unparsable_total, again.quarantined) == (
        1,
        0,
        0,
        1,
    )
    late = ContentMetadata.objects.filter(parent_key="", checked_at__lt=STALE)
    assert [content.content_key for content in late] == [COURSE]
    # It is due at its ordinary pace, neither at once nor never.
    assert row().due_at == STALE + 56 * HOUR


def test_what_cannot_be_read_at_all_is_still_there_where_its_key_is_known() -> None:
    upstream = Upstream([a_course()])
    listing_of(upstream)

    def unreadable(*_question: object, **_how: object) -> list[object]:
        return [UnreadableElement(1, "not_json", COURSE)]

    upstream.fetch = unreadable  # type: ignore[method-assign]  # an upstream that talks nonsense

    report = refresh_rows_due(upstream, now=STALE)

    assert (report.unparsable_total, report.missing) == (1, 0)
    assert row().last_error.startswith("not_json: ")
    assert not row().memberships.exclude(missing_since=None).exists()


@pytest.mark.parametrize(
    "value",
    [
        {"deep": [[[[[]]]]] * 3, "name": "\ud800", "number": 10**5000, "wide": float("nan")},
        {"a": "b", "not": {"json": object()}},
        {"bytes": b"x"},
    ],
)
@pytest.mark.on_every_engine
def test_hostile_values_have_a_fingerprint_too(value: dict[str, Any]) -> None:
    nested: Any = "bottom"
    for _ in range(5000):
        nested = [nested]

    assert len(parser.fingerprint(value)) == 64
    assert parser.fingerprint(value | {"nested": nested}) == parser.fingerprint(value | {"nested": nested})
    assert parser.fingerprint(value | {"nested": nested}) != parser.fingerprint(
        value | {"nested": nested, "title": "other"}
    )
