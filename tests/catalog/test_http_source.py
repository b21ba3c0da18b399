"""enterprise-catalog over HTTP, against a server that answers as the real one."""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from bursary.catalog import http_source, parser
from bursary.catalog.http_source import HttpCatalog
from bursary.catalog.records import CatalogUnavailable, Unfetched
from bursary.catalog.source import CatalogCredentials, open_source
from bursary.lib.breaker import Breaker
from bursary.upstream.client import Client
from bursary.upstream.token import ClientCredentials
from tests.elapsed import AT_ONCE, taking_at_most
from tests.enterprise_catalog import faults
from tests.enterprise_catalog.faults import Fault
from tests.enterprise_catalog.server import CATALOG, CLIENT_ID, CLIENT_SECRET, Upstream, enterprise_catalog

pytestmark = pytest.mark.takes_long

Record = dict[str, Any]

BY_KEY = "get_content_metadata"
HURRIED = timedelta(seconds=2)  # in which a busy machine answers what it can


@pytest.fixture
def upstream(courses: list[Record]) -> Iterator[Upstream]:
    with enterprise_catalog(courses[:60]) as running:  # more than one request asks for
        yield running


def catalog_of(upstream: Upstream, **more: Any) -> HttpCatalog:
    known = ClientCredentials(upstream.url, CLIENT_ID, CLIENT_SECRET)
    options = {"credentials": known, "deadline": timedelta(minutes=1), "attempts": 1, **more}
    return HttpCatalog(Client(upstream.url, **options))


def listed(catalog: HttpCatalog, *, size: int = 50) -> list[object]:
    return [element for page in catalog.pages(CATALOG, size=size) for element in page]


def keys(elements: Sequence[object]) -> set[str]:
    return {parser.content_keys(element)[0] for element in elements if isinstance(element, dict)}


def left_out(elements: Sequence[object]) -> dict[str, str]:
    return {one.content_key: one.reason for one in elements if isinstance(one, Unfetched)}


def test_everything_is_listed_inactive_courses_too_by_one_question_and_fifty_keys_each(
    upstream: Upstream, courses: list[Record]
) -> None:
    pages = list(catalog_of(upstream).pages(CATALOG, size=50))

    assert [len(page) for page in pages] == [50, 10]
    elements = [element for page in pages for element in page]
    by_key = {course["key"]: course for course in courses[:60]}
    assert not all(course["active"] for course in courses[:60])
    assert keys(elements) == set(by_key)
    assert all(element == by_key[element["key"]] for element in elements if isinstance(element, dict))
    assert len(upstream.asked("generate_diff")) == 1
    assert [len(asked.keys) for asked in upstream.asked(BY_KEY)] == [50, 10]
    assert all(asked.query["traverse_pagination"] == ["1"] for asked in upstream.asked(BY_KEY))


@pytest.mark.parametrize("size", [1, 3, 200])
def test_a_page_holds_no_more_than_asked(courses: list[Record], size: int) -> None:
    with enterprise_catalog(courses[:8]) as upstream:
        pages = list(catalog_of(upstream).pages(CATALOG, size=size))

    assert max(map(len, pages)) <= size
    assert sum(map(len, pages)) == 8


def test_a_page_holds_at_least_one_record(upstream: Upstream) -> None:
    with pytest.raises(ValueError, match="at least one"):
        catalog_of(upstream).pages(CATALOG, size=0)


def test_other_types_are_listed_and_fetched_by_the_key_that_they_have(other_types: list[Record]) -> None:
    with enterprise_catalog(other_types) as upstream:
        elements = listed(catalog_of(upstream))

    assert keys(elements) == {record.get("key") or record["uuid"] for record in other_types}
    assert left_out(elements) == {}


def test_a_run_brings_its_course_and_neither_order_nor_number_matters(upstream: Upstream) -> None:
    run = "course-v1:GlobeX+C109+2T2027c"

    answer = catalog_of(upstream).fetch(
        CATALOG, keys=[run, "GlobeX+B114", run, "NobodyX+N1", "two words", ""]
    )

    assert keys(answer) == {"GlobeX+C109", "GlobeX+B114"}
    assert upstream.requests[-1].keys == [run, "GlobeX+B114", "NobodyX+N1"]
    assert catalog_of(upstream).fetch(CATALOG, keys=[]) == []


def test_long_keys_make_more_requests_not_longer_ones(courses: list[Record]) -> None:
    long = [f"{'Ü' * 100}+{number}" for number in range(20)]
    with enterprise_catalog([courses[0] | {"key": key} for key in long]) as upstream:
        elements = listed(catalog_of(upstream))
        assert len(upstream.asked(BY_KEY)) == 5

    assert keys(elements) == set(long)


def test_a_key_that_is_listed_and_brings_nothing_is_named(upstream: Upstream, courses: list[Record]) -> None:
    pages = catalog_of(upstream).pages(CATALOG, size=50)
    seen = keys(next(pages))
    lost = [course["key"] for course in courses[:60] if course["key"] not in seen][3:5]
    for key in lost:
        upstream.remove(key)  # between the list of keys and the last request

    [rest] = pages
    assert left_out(rest) == dict.fromkeys(lost, "not_served")
    assert len(rest) == 10


def test_an_empty_catalog_has_no_pages(upstream: Upstream) -> None:
    upstream.database.drop_query(str(CATALOG))

    assert listed(catalog_of(upstream)) == []


# -- One bad record -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "reason", "at"),
    [
        *((faults.status(500), "upstream_error", at) for at in (0, 31, 49)),
        (faults.status(504), "upstream_error", 0),
        (faults.status(400), "upstream_error", 31),
        *((faults.reset, "upstream_error", at) for at in (0, 31, 49)),
        *((faults.text(body), "upstream_error", 31) for body in (b'{"results": "none"}', b"{")),
        (faults.text(b'{"results": [], "next": "http://localhost/?page=2"}'), "upstream_error", 31),
        *((faults.bomb, "too_large", at) for at in (0, 31, 49)),
    ],
)
def test_one_record_that_upstream_fails_on_is_left_out_alone(
    courses: list[Record], fault: Fault, reason: str, at: int
) -> None:
    with enterprise_catalog(courses[:50]) as upstream:
        catalog = catalog_of(upstream, max_bytes=2 * faults.MEGABYTE)
        order = [course["key"] for course in courses[:50]]
        upstream.fails_with(fault, key=order[at])

        answer = catalog.fetch(CATALOG, keys=order)

        assert left_out(answer) == {order[at]: reason}
        assert keys(answer) == set(order) - {order[at]}
        assert len(upstream.asked(BY_KEY)) <= 13


def test_a_record_too_slow_for_the_others_is_left_out(courses: list[Record]) -> None:
    order = [course["key"] for course in courses[:4]]
    with enterprise_catalog(courses[:4]) as upstream:
        upstream.fails_with(faults.hang, key=order[2])

        answer = catalog_of(upstream, deadline=HURRIED).fetch(CATALOG, keys=order)

    assert left_out(answer) == {order[2]: "upstream_error"}


def test_a_record_that_upstream_is_silent_on_takes_no_time_from_the_others(courses: list[Record]) -> None:
    order = [course["key"] for course in courses[:4]]
    with enterprise_catalog(courses[:4]) as upstream:
        upstream.fails_with(faults.hang, key=order[2])
        catalog = catalog_of(upstream, deadline=HURRIED)

        answer = catalog.fetch(CATALOG, keys=order, timeout=timedelta(minutes=1))

    assert left_out(answer) == {order[2]: "upstream_error"}
    assert keys(answer) == set(order) - {order[2]}


@pytest.mark.parametrize("then", [faults.hang, faults.status(429)])
def test_what_was_answered_is_kept_when_the_rest_cannot_be_cleared_up(
    courses: list[Record], then: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = [course["key"] for course in courses[:16]]
    with enterprise_catalog(courses[:16]) as upstream:
        # By the clock by which time is shared, each question takes as long as one that hangs.
        monkeypatch.setattr(http_source, "monotonic", lambda: 2.0 * len(upstream.asked(BY_KEY)))
        for key in order[:8]:
            upstream.fails_with(faults.hang, key=key, times=2)
            upstream.fails_with(then, key=key)
        catalog = catalog_of(upstream, deadline=HURRIED)

        with taking_at_most(AT_ONCE):
            answer = catalog.fetch(CATALOG, keys=order, timeout=5 * HURRIED)

    assert keys(answer) == set(order[8:])
    assert left_out(answer) == dict.fromkeys(order[:8], "upstream_error")


def test_many_bad_records_cost_a_bounded_number_of_requests(courses: list[Record]) -> None:
    order = [course["key"] for course in courses[:50]]
    with enterprise_catalog(courses[:50]) as upstream:
        for key in order[20::2]:
            upstream.fails_with(faults.status(500), key=key)

        answer = catalog_of(upstream).fetch(CATALOG, keys=order)

        assert len(upstream.asked(BY_KEY)) == 1 + http_source.MAX_PARTS
    assert set(order[:20]) <= keys(answer)
    assert keys(answer) | left_out(answer).keys() == set(order)
    assert set(order[20::2]) <= left_out(answer).keys()


@pytest.mark.parametrize("fault", [faults.status(500), faults.status(504)])
def test_the_last_record_alone_in_its_request_is_no_outage(courses: list[Record], fault: Fault) -> None:
    with enterprise_catalog(courses[:51]) as upstream:
        pages = catalog_of(upstream).pages(CATALOG, size=50)
        first = next(pages)
        last = next(course["key"] for course in courses[:51] if course["key"] not in keys(first))
        upstream.fails_with(fault, key=last)

        [second] = pages

    assert left_out(second) == {last: "upstream_error"}


def test_several_bad_records_among_fifty_are_each_left_out(courses: list[Record]) -> None:
    order = [course["key"] for course in courses[:50]]
    bad = {order[at] for at in (3, 17, 30, 46)}
    with enterprise_catalog(courses[:50]) as upstream:
        for key in bad:
            upstream.fails_with(faults.status(500), key=key)

        answer = catalog_of(upstream).fetch(CATALOG, keys=order)

    assert left_out(answer) == dict.fromkeys(bad, "upstream_error")
    assert keys(answer) == set(order) - bad


def test_a_record_that_is_too_large_is_an_answer(upstream: Upstream) -> None:
    upstream.fails_with(faults.bomb, key="GlobeX+C109")

    [left] = catalog_of(upstream).fetch(CATALOG, keys=["GlobeX+C109"])
    assert left_out([left]) == {"GlobeX+C109": "too_large"}


# -- Outages -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "most"),
    [
        (faults.status(503), 3),
        (faults.status(429), 1),
        (faults.status(401), 2),
        (faults.status(403), 1),
        (faults.reset, 3),
        (faults.hang, 3),
        (faults.drip, 3),
        (faults.status(500), 15),
        (faults.text(b"<html>"), 15),
    ],
)
def test_an_outage_is_no_bad_record(upstream: Upstream, fault: Fault, most: int) -> None:
    known = ClientCredentials(upstream.url, CLIENT_ID, CLIENT_SECRET)
    catalog_of(upstream, credentials=known).fetch(CATALOG, keys=["X+1"])
    catalog = catalog_of(upstream, credentials=known, deadline=timedelta(seconds=0.5))
    before = len(upstream.asked(BY_KEY))
    upstream.fails_with(fault, path=BY_KEY)

    with pytest.raises(CatalogUnavailable):
        listed(catalog)

    assert len(upstream.asked(BY_KEY)) - before <= most


@pytest.mark.parametrize(
    ("fault", "number"),
    [
        *((faults.status(500), number) for number in (1, 3, 7)),
        (faults.status(400), 3),
        (faults.text(b"{"), 3),
    ],
)
def test_however_few_are_asked_for_an_answer_for_none_of_them_is_an_outage(
    upstream: Upstream, courses: list[Record], number: int, fault: Fault
) -> None:
    upstream.fails_with(fault, path=BY_KEY)

    with pytest.raises(CatalogUnavailable):
        catalog_of(upstream).fetch(CATALOG, keys=[course["key"] for course in courses[:number]])


def test_a_listing_that_breaks_off_says_so(upstream: Upstream) -> None:
    pages = catalog_of(upstream).pages(CATALOG, size=50)
    next(pages)
    upstream.fails_with(faults.status(503))

    with pytest.raises(CatalogUnavailable, match="It answered with 503"):
        list(pages)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"<html>", "not JSON"),
        (b"[]", "is this its address"),
        (b'{"items_found": []}', "is this its address"),
        (b"", "is this its address"),
    ],
)
def test_a_list_of_keys_that_cannot_be_read_is_no_empty_catalog(
    upstream: Upstream, answer: bytes, expected: str
) -> None:
    upstream.fails_with(faults.text(answer), path="generate_diff")

    with pytest.raises(CatalogUnavailable, match=expected):
        listed(catalog_of(upstream))


def test_an_entry_of_the_list_without_a_usable_key_is_counted(upstream: Upstream) -> None:
    entries = b'[{"content_key": "GlobeX+C109"}, {"content_key": " "}, {}, 7, "GlobeX+B114"]'
    upstream.fails_with(faults.text(b'{"items_not_included": %s}' % entries), path="generate_diff")

    elements = listed(catalog_of(upstream), size=2)

    assert keys(elements) == {"GlobeX+C109", "GlobeX+B114"}
    unusable = [one for one in elements if isinstance(one, Unfetched)]
    assert [(one.content_key, one.reason) for one in unusable] == [("", "key_unusable")] * 3
    assert "Entry 2 " in unusable[0].detail


@pytest.mark.parametrize(
    ("fault", "advice"),
    [
        (faults.status(401), "check that it trusts the token endpoint"),
        (faults.status(403), "give our user there the operator's role"),
        (faults.status(404), "check the budget's catalog"),
        (faults.status(302), "check the address"),
        (faults.status(400), "refuses the question"),
    ],
)
def test_a_refusal_says_what_to_check(upstream: Upstream, fault: Fault, advice: str) -> None:
    upstream.fails_with(fault)

    with pytest.raises(CatalogUnavailable, match=advice):
        listed(catalog_of(upstream))


def test_an_unknown_catalog_and_an_unknown_client_say_what_to_check(upstream: Upstream) -> None:
    with pytest.raises(CatalogUnavailable, match="does not know this catalog"):
        list(catalog_of(upstream).pages(UUID(int=0), size=50))
    unknown = ClientCredentials(upstream.url, CLIENT_ID, "wrong-secret")
    with pytest.raises(CatalogUnavailable, match="check the client id") as refused:
        listed(catalog_of(upstream, credentials=unknown))
    assert "wrong-secret" not in str(refused.value)


def test_a_whole_fetch_ends_within_what_it_is_given(courses: list[Record]) -> None:
    order = [course["key"] for course in courses[:101]]  # which three requests ask for
    with enterprise_catalog(courses[:101]) as upstream:
        upstream.fails_with(faults.slow(0), path=BY_KEY, times=1)
        upstream.fails_with(faults.hang, path=BY_KEY)

        with taking_at_most(AT_ONCE):
            answer = catalog_of(upstream).fetch(CATALOG, keys=order, timeout=2 * HURRIED)

    assert keys(answer) == set(order[:50])
    assert left_out(answer).keys() == set(order[50:])


def test_while_the_breaker_is_open_nothing_is_asked(upstream: Upstream) -> None:
    catalog = catalog_of(upstream, breaker=Breaker(failures=1))
    upstream.fails_with(faults.status(503), times=1)
    for _ in range(3):
        with pytest.raises(CatalogUnavailable):
            listed(catalog)

    assert len(upstream.asked("generate_diff")) == 1


# -- By its address -----------------------------------------------------------------------------------------


def test_an_address_of_the_web_is_asked_with_credentials(
    upstream: Upstream, a_course: Callable[..., Record]
) -> None:
    credentials = CatalogCredentials(upstream.url, CLIENT_ID, CLIENT_SECRET, deadline=timedelta(minutes=1))
    source = open_source(f"{upstream.url}/", credentials=credentials)
    assert source.name == "enterprise-catalog"
    assert source.fetch(CATALOG, keys=["GlobeX+C109"]) == [a_course()]
    assert CLIENT_SECRET not in repr(credentials)


def test_an_address_of_the_web_needs_credentials() -> None:
    with pytest.raises(ValueError, match="credentials"):
        open_source("https://catalog.example.org/")
