"""The stand-in serves each catalog its own record of a course, as a running enterprise-catalog did."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from bursary.catalog.http_source import HttpCatalog
from bursary.upstream.errors import UpstreamRefused
from tests.enterprise_catalog.database import CatalogDatabase, Record
from tests.enterprise_catalog.without_sockets import WithoutSockets
from tests.replica.listing import CATALOG, COURSE, OTHER_CATALOG, RUNS, a_course, a_run

CASES = Path(__file__).parent.parent / "data" / "cases"
PUBLIC, PRIVATE, ONLY = "course-v1:PrivX+1+PUB", "course-v1:PrivX+1+PRIV", "course-v1:OnlyX+1+PRIV"
SYNCED = "2026-11-20T00:00:00Z"
ORDINARY, ALLOWING = CATALOG, OTHER_CATALOG


def case(name: str) -> list[Record]:
    return [json.loads(line) for line in (CASES / f"restricted-{name}.jsonl").read_text("utf-8").splitlines()]


class Upstream:
    """The questions that are asked of the stand-in, each with its answer."""

    def __init__(self, database: CatalogDatabase) -> None:
        self.database = database
        self.client = WithoutSockets(database)

    def records(self, catalog: UUID, *keys: str, version: int = 2) -> list[Record]:
        path = f"/api/v{version}/enterprise-catalogs/{catalog}/get_content_metadata/"
        params = [*(("content_keys", key) for key in keys), ("traverse_pagination", "1")]
        answer: Any = self.client.get(path, params=params)
        return sorted(answer["results"], key=lambda record: str(record["key"]))

    def keys(self, catalog: UUID, *keys: str) -> list[str]:
        return [record["key"] for record in self.records(catalog, *keys)]

    def difference(self, catalog: UUID, *keys: str) -> Any:
        return self.client.post(
            f"/api/v1/enterprise-catalogs/{catalog}/generate_diff", json={"content_keys": keys}
        )

    def contains(self, catalog: UUID, key: str) -> bool:
        path = f"/api/v1/enterprise-catalogs/{catalog}/contains_content_items/"
        answer: Any = self.client.get(path, params=[("course_run_ids", key)])
        return bool(answer["contains_content_items"])

    def one(self, key: str) -> Any:
        return self.client.get(f"/api/v1/content-metadata/{key}/")


@pytest.fixture
def upstream() -> Upstream:
    """The courses of the cases, with two restricted runs, that one of two catalogs allows."""
    database = CatalogDatabase(case("allowed"), [str(ORDINARY), str(ALLOWING)])
    database.allow_restricted(ALLOWING, PRIVATE)
    database.allow_restricted(ALLOWING, ONLY)
    return Upstream(database)


@pytest.mark.parametrize("key", ["PrivX+1", "OnlyX+1", "MoveX+1"])
def test_each_catalog_is_served_the_record_that_the_real_one_served_it(upstream: Upstream, key: str) -> None:
    for catalog, name in ((ORDINARY, "ordinary"), (ALLOWING, "allowed")):
        [expected] = [record for record in case(name) if record["key"] == key]
        assert upstream.records(catalog, key) == [expected]
        listed = [record for record in upstream.records(catalog) if record["key"] == key]
        assert listed == ([expected] if expected["active"] else [])


def test_the_first_version_hides_restricted_runs_whatever_is_allowed(upstream: Upstream) -> None:
    for catalog in (ORDINARY, ALLOWING):
        served = upstream.records(catalog, "PrivX+1", "OnlyX+1", "MoveX+1", version=1)
        assert served == sorted(case("ordinary"), key=lambda record: str(record["key"]))


def test_restricted_runs_are_never_listed(upstream: Upstream) -> None:
    run = a_run(key=PRIVATE, parent_content_key="PrivX+1", restriction_type="custom-b2b-enterprise")
    upstream.database.put(run, catalogs=[str(ALLOWING)])

    listed = upstream.difference(ALLOWING)["items_not_included"]
    assert {item["content_key"] for item in listed} == {"PrivX+1", "OnlyX+1", "MoveX+1"}
    asked = upstream.difference(ALLOWING, PRIVATE, "PrivX+1")
    assert asked["items_not_found"] == [{"content_key": PRIVATE}]
    assert [item["content_key"] for item in asked["items_found"]] == ["PrivX+1"]


def test_whether_a_restricted_run_is_contained_depends_on_the_catalog(upstream: Upstream) -> None:
    assert [upstream.contains(catalog, PRIVATE) for catalog in (ORDINARY, ALLOWING)] == [False, True]
    assert upstream.keys(ALLOWING, PRIVATE) == ["PrivX+1"]
    assert upstream.keys(ORDINARY, PRIVATE) == []


def test_a_restricted_run_that_is_withdrawn_is_out_of_the_record_and_still_contained(
    upstream: Upstream,
) -> None:
    upstream.database.withdraw_restricted(ALLOWING, PRIVATE)

    assert upstream.contains(ALLOWING, PRIVATE)
    [record] = upstream.records(ALLOWING, "PrivX+1")
    assert record == next(one for one in case("ordinary") if one["key"] == "PrivX+1")
    upstream.database.remove("PrivX+1", catalog=str(ALLOWING))
    assert not upstream.contains(ALLOWING, PRIVATE)


def test_any_caller_is_answered_for_a_restricted_run_outside_of_catalogs(upstream: Upstream) -> None:
    run = upstream.one(PRIVATE)
    assert (run["key"], run["content_type"]) == (PRIVATE, "courserun")
    assert (run["parent_content_key"], run["aggregation_key"]) == ("PrivX+1", "courserun:PrivX+1")
    assert (run["restriction_type"], run["enrollment_end"]) == (
        "custom-b2b-enterprise",
        "2027-12-05T00:00:00Z",
    )
    ordinary = next(one for one in case("ordinary") if one["key"] == "PrivX+1")
    assert upstream.one("PrivX+1") == ordinary
    with pytest.raises(UpstreamRefused):
        upstream.one("course-v1:PrivX+1+NONE")


def test_a_catalog_is_served_the_very_records_that_a_test_gives_it() -> None:
    new = UUID(int=7)
    upstream = Upstream(CatalogDatabase([], [str(ORDINARY)]))
    upstream.database.serve(ORDINARY, case("ordinary"))
    upstream.database.serve(new, case("allowed"))

    for catalog, name in ((ORDINARY, "ordinary"), (new, "allowed")):
        expected = sorted(case(name), key=lambda record: str(record["key"]))
        assert upstream.records(catalog, *(record["key"] for record in expected)) == expected
        assert {item["content_key"] for item in upstream.difference(catalog)["items_not_included"]} == {
            record["key"] for record in expected
        }
    assert [upstream.contains(catalog, ONLY) for catalog in (ORDINARY, new)] == [False, True]
    assert upstream.one(ONLY)["parent_content_key"] == "OnlyX+1"
    upstream.database.edit("MoveX+1", title="Edited")
    upstream.database.sync()
    for catalog in (ORDINARY, new):
        [record] = upstream.records(catalog, "MoveX+1")
        assert (record["title"], record["content_last_modified"] > SYNCED) == ("Edited", True)


def test_all_other_records_are_served_as_they_are() -> None:
    odd = a_course(course_runs=[None, "none", {"title": "No key"}, *a_course()["course_runs"]])
    upstream = Upstream(CatalogDatabase([odd], [str(ORDINARY)]))
    assert upstream.records(ORDINARY, COURSE) == [odd]


def test_a_catalog_may_hold_a_run_without_its_course() -> None:
    upstream = Upstream(CatalogDatabase([a_course(), a_run()], [str(ORDINARY), str(ALLOWING)]))
    upstream.database.remove(COURSE, catalog=str(ORDINARY))
    run = RUNS[2]

    assert upstream.records(ORDINARY, run) == [a_run()]
    assert a_run()["aggregation_key"] == f"courserun:{COURSE}"
    assert upstream.contains(ORDINARY, run)
    assert [item["content_key"] for item in upstream.difference(ORDINARY)["items_not_included"]] == [run]
    assert upstream.keys(ALLOWING, run) == [COURSE, run]


def test_a_course_may_get_another_key_and_keeps_its_uuid_and_its_runs(upstream: Upstream) -> None:
    before = a_course()
    upstream.database.put(before, catalogs=[str(ORDINARY)])
    upstream.database.put(a_run(), catalogs=[str(ORDINARY)])
    upstream.database.rename_key(COURSE, "GlobeX+NEW")

    assert upstream.keys(ORDINARY, COURSE) == []
    assert upstream.keys(ORDINARY, RUNS[2]) == ["GlobeX+NEW", RUNS[2]]
    course, run = upstream.records(ORDINARY, RUNS[2])
    assert (course["uuid"], course["aggregation_key"]) == (before["uuid"], "course:GlobeX+NEW")
    assert [run["key"] for run in course["course_runs"]] == RUNS
    assert (run["parent_content_key"], run["aggregation_key"]) == ("GlobeX+NEW", "courserun:GlobeX+NEW")
    listed = [item["content_key"] for item in upstream.difference(ORDINARY)["items_not_included"]]
    assert "GlobeX+NEW" in listed
    assert COURSE not in listed
    assert upstream.one(COURSE) == {name: before[name] for name in upstream.one(COURSE)}
    assert upstream.one(before["uuid"])["key"] == "GlobeX+NEW"


def test_restricted_runs_stay_allowed_when_their_course_gets_another_key(upstream: Upstream) -> None:
    upstream.database.rename_key("PrivX+1", "PrivX+2")
    assert upstream.keys(ALLOWING, PRIVATE) == ["PrivX+2"]
    assert len(upstream.records(ALLOWING, "PrivX+2")[0]["course_runs"]) == 2
    assert len(upstream.records(ORDINARY, "PrivX+2")[0]["course_runs"]) == 1


def test_a_force_included_course_has_no_type_and_nothing_normalized() -> None:
    upstream = Upstream(CatalogDatabase([], [str(ORDINARY)]))
    upstream.database.force_include(a_course(), catalogs=[str(ORDINARY)])

    [record] = upstream.records(ORDINARY, COURSE)
    assert (record["content_type"], record["aggregation_key"]) == (None, None)
    assert record["enterprise_force_included"] is True
    assert not [name for name in record if name.startswith("normalized_metadata")]
    assert {run["status"] for run in record["course_runs"]} == {"published"}


def test_a_catalog_without_a_query_lists_nothing_and_finds_a_list_missing(upstream: Upstream) -> None:
    upstream.database.drop_query(str(ORDINARY))
    assert upstream.difference(ORDINARY) == {
        "items_not_found": [[]],
        "items_not_included": [],
        "items_found": [],
    }
    assert list(HttpCatalog(upstream.client).pages(ORDINARY, size=10)) == []
