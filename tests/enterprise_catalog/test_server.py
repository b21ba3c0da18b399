"""The stand-in answers as a running enterprise-catalog was seen to answer."""

import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest

from tests.enterprise_catalog import faults
from tests.enterprise_catalog.server import (
    CATALOG,
    CLIENT_ID,
    CLIENT_SECRET,
    Upstream,
    enterprise_catalog,
)
from tests.replica.listing import COURSE, RUNS, a_course, a_run, recorded

COURSES_ONLY = UUID("aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa")
EVERYTHING = UUID("bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb")
LIVE_RUN, EXPIRED_RUN = RUNS[2], RUNS[1]

Ask = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="module")
def courses() -> list[dict[str, Any]]:
    return recorded("courses")


@pytest.fixture
def upstream(courses: list[dict[str, Any]]) -> Iterator[Upstream]:
    with enterprise_catalog(courses) as running:
        yield running


@pytest.fixture
def ask() -> Ask:
    def asked(running: Upstream, path: str, query: Any = None, *, body: object = None, **more: str) -> Any:
        scheme, token = more.get("scheme", "JWT"), more.get("token") or token_of(running)
        url = running.url + path + (f"?{urlencode(query, doseq=True)}" if query else "")
        headers = {"Authorization": f"{scheme} {token}"}
        data = None if body is None else json.dumps(body).encode()
        return opened(urllib.request.Request(url, data=data, headers=headers))

    return asked


def opened(request: urllib.request.Request) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as refused:
        with refused:
            text = refused.read()
            return refused.code, text if refused.headers["Content-Type"] == "text/html" else json.loads(text)


def token_of(running: Upstream, **changes: str) -> str:
    form = {
        "grant_type": "client_credentials",
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "token_type": "jwt",
    } | changes
    request = urllib.request.Request(running.url + "/oauth2/access_token", data=urlencode(form).encode())
    _status, answer = opened(request)
    return str(answer.get("access_token") or answer["error"])


def content(catalog: object = CATALOG, version: int = 2) -> str:
    return f"/api/v{version}/enterprise-catalogs/{catalog}/get_content_metadata/"


def keys(answer: tuple[int, Any]) -> set[str]:
    assert answer[0] == 200
    return {record.get("key") or record["uuid"] for record in answer[1]["results"]}


def test_a_listing_is_paged_by_ten_and_leaves_inactive_courses_out(upstream: Upstream, ask: Ask) -> None:
    status, first = ask(upstream, content())

    assert status == 200
    assert set(first) == {
        *("count", "num_pages", "current_page", "start", "next", "previous"),
        *("results", "uuid", "title", "enterprise_customer"),
    }
    assert (first["count"], first["num_pages"], len(first["results"])) == (183, 19, 10)
    assert re.search(r"page=2\b", first["next"])
    assert ask(upstream, content(), {"page": 20}) == (404, {"detail": "Invalid page."})
    assert len(ask(upstream, content(), {"page_size": 500})[1]["results"]) == 100


def test_the_order_is_never_the_same(upstream: Upstream, ask: Ask) -> None:
    orders = [
        [record["key"] for record in ask(upstream, content(), {"page_size": 100})[1]["results"]]
        for _ in range(2)
    ]

    assert orders[0] != orders[1]


@pytest.mark.parametrize(("traverse", "count"), [("1", 183), ("False", 183), ("0", 183), ("", 10)])
def test_any_word_traverses(upstream: Upstream, ask: Ask, traverse: str, count: int) -> None:
    _status, answer = ask(upstream, content(), {"traverse_pagination": traverse})

    assert len(answer["results"]) == count
    assert ("num_pages" in answer) is (traverse == "")


def test_a_hundred_keys_are_answered_and_one_more_is_not(
    upstream: Upstream, ask: Ask, courses: list[dict[str, Any]]
) -> None:
    some = [course["key"] for course in courses]
    hundred = {"content_keys": [*some[:100], some[0]]}
    assert len(ask(upstream, content(), hundred)[1]["results"]) == 10
    assert keys(ask(upstream, content(), hundred | {"traverse_pagination": "1"})) == set(some[:100])

    status, sentence = ask(upstream, content(), {"content_keys": some[:101]})

    assert status == 400
    assert isinstance(sentence, str)
    assert "POST" in sentence
    assert ask(upstream, content(), body={})[0] == 405


@pytest.mark.parametrize("asked", ["content_keys=GlobeX%2BC109,GlobeX%2BB114", "content_keys=GlobeX+C109"])
def test_keys_written_wrongly_bring_nothing(upstream: Upstream, ask: Ask, asked: str) -> None:
    assert keys(ask(upstream, f"{content()}?{asked}")) == set()


def test_a_uuid_is_no_content_key_of_a_course_but_names_it_elsewhere(upstream: Upstream, ask: Ask) -> None:
    uuid = a_course()["uuid"]

    assert keys(ask(upstream, content(), {"content_keys": uuid})) == set()
    assert ask(upstream, f"/api/v1/content-metadata/{uuid}")[1]["key"] == COURSE


def test_a_caller_without_access_is_refused(upstream: Upstream, ask: Ask) -> None:
    assert ask(upstream, content(), token="made-up")[0] == 401
    assert ask(upstream, content(), scheme="Bearer")[0] == 401
    assert ask(upstream, content(UUID(int=0)))[0] == 404
    assert ask(upstream, content("no-uuid")) == (500, faults.HTML)
    assert ask(upstream, f"/api/v2/content-metadata/{COURSE}/")[0] == 404
    upstream.has_role = False
    assert ask(upstream, content()) == (403, {"detail": "MISSING: catalog.has_learner_access"})
    assert token_of(upstream, client_secret="wrong") == "invalid_client"
    assert ask(upstream, content(), token=token_of(upstream, token_type="bearer"))[0] == 401


def test_a_token_ends(upstream: Upstream, ask: Ask) -> None:
    upstream.token_lifetime = 0.0
    assert ask(upstream, content())[0] == 401
    upstream.token_lifetime = 60.0
    token = token_of(upstream)
    upstream.revoke_tokens()
    assert ask(upstream, content(), token=token)[0] == 401


def test_the_difference_from_nothing_is_everything(upstream: Upstream, ask: Ask) -> None:
    diff = f"/api/v1/enterprise-catalogs/{CATALOG}/generate_diff"
    _status, whole = ask(upstream, diff, body={"content_keys": []})
    _status, asked = ask(upstream, diff, body={"content_keys": [COURSE, "X+1"]})

    assert len(whole["items_not_included"]) == 200
    assert {"content_key": COURSE} in whole["items_not_included"]
    assert asked["items_not_found"] == [{"content_key": "X+1"}]
    [found] = asked["items_found"]
    assert found == {"content_key": COURSE, "date_updated": a_course()["content_last_modified"]}


def test_one_good_key_among_bad_ones_is_contained(upstream: Upstream, ask: Ask) -> None:
    path = f"/api/v1/enterprise-catalogs/{CATALOG}/contains_content_items/"

    assert ask(upstream, path, {"course_run_ids": [COURSE, "X+1"]})[1] == {"contains_content_items": True}
    assert ask(upstream, path, {"course_run_ids": ["X+1"]})[1] == {"contains_content_items": False}


@pytest.mark.parametrize(
    ("asked", "courses_only", "everything"),
    [
        (COURSE, {COURSE}, {COURSE, LIVE_RUN}),
        (LIVE_RUN, {COURSE}, {COURSE, LIVE_RUN}),
        (EXPIRED_RUN, set(), set()),
        ("X+1", set(), set()),
    ],
)
def test_which_key_brings_what(ask: Ask, asked: str, courses_only: set[str], everything: set[str]) -> None:
    held = {COURSES_ONLY: [COURSE], EVERYTHING: [COURSE, LIVE_RUN]}
    with enterprise_catalog([a_course(), a_run()], catalogs=held) as running:
        for catalog, brought in ((COURSES_ONLY, courses_only), (EVERYTHING, everything)):
            assert keys(ask(running, content(catalog), {"content_keys": asked})) == brought


def test_a_program_is_asked_for_by_its_uuid(ask: Ask) -> None:
    programs = [record for record in recorded("other-types") if record["content_type"] == "program"]
    with enterprise_catalog(programs) as running:
        wanted = programs[0]["uuid"]
        assert keys(ask(running, content(), {"content_keys": wanted})) == {wanted}


def test_what_is_over_is_still_there_by_key(upstream: Upstream, ask: Ask) -> None:
    upstream.deactivate(COURSE)
    everything = {"traverse_pagination": 1}

    assert COURSE not in keys(ask(upstream, content(), everything))
    assert keys(ask(upstream, content(), {"content_keys": COURSE})) == {COURSE}


def test_what_left_the_catalog_is_nowhere_but_among_all_content(upstream: Upstream, ask: Ask) -> None:
    upstream.remove(COURSE)
    diff = f"/api/v1/enterprise-catalogs/{CATALOG}/generate_diff"

    assert keys(ask(upstream, content(), {"content_keys": COURSE})) == set()
    assert ask(upstream, diff, body={"content_keys": [COURSE]})[1]["items_not_found"] != []
    status, frozen = ask(upstream, f"/api/v1/content-metadata/{COURSE}/")
    assert (status, frozen["key"]) == (200, COURSE)
    assert "enrollment_url" not in frozen


def test_a_sync_stamps_everything_and_changes_nothing(upstream: Upstream, ask: Ask) -> None:
    path = f"/api/v1/content-metadata/{COURSE}/"
    _status, before = ask(upstream, path)
    upstream.sync()
    _status, after = ask(upstream, path)

    assert {name for name in before if before[name] != after[name]} == {"content_last_modified"}


def test_upstreams_own_guards_hold_back_what_looks_wrong(
    upstream: Upstream, courses: list[dict[str, Any]]
) -> None:
    every = [course["key"] for course in courses]
    outcomes = [
        upstream.database.query_finds(str(CATALOG), found)
        for found in ([], every[:39], every[:100], every, every[:60])
    ]

    assert outcomes == [False, False, True, False, True]
    assert upstream.database.members(str(CATALOG)) == set(every[:60])


def test_many_are_asked_for_without_a_cap_by_keys_and_uuids_mixed(
    upstream: Upstream, ask: Ask, courses: list[dict[str, Any]]
) -> None:
    mixed = [courses[0]["uuid"], *(course["key"] for course in courses[1:])]
    query = {"content_identifiers": mixed, "page_size": 500}

    assert len(keys(ask(upstream, "/api/v1/content-metadata/", {"content_identifiers": mixed[:20]}))) == 10
    # Its address is longer than web servers take.
    assert ask(upstream, "/api/v1/content-metadata/", query)[0] == 400


def test_a_fault_concerns_its_own_requests_and_passes(upstream: Upstream, ask: Ask) -> None:
    upstream.fails_with(faults.status(503), times=1, key=COURSE)

    assert ask(upstream, content(), {"content_keys": "GlobeX+B114"})[0] == 200
    assert ask(upstream, content(), {"content_keys": COURSE})[0] == 503
    assert ask(upstream, content(), {"content_keys": COURSE})[0] == 200
    assert upstream.requests[-1].keys == [COURSE]
