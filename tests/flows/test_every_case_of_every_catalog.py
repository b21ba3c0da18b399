"""Every line of the recorded cases, through files and over HTTP: each catalog has what upstream serves it.

What is expected is written down from the cases and their README, at the day for which those are written.
"""

import contextlib
import html
import itertools
import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from django.db import transaction
from django.db.models import F
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from bursary.access.models import Role
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.replica import reads, refresh
from bursary.replica.models import CatalogMembership, ContentMetadata, RefreshTrigger
from tests.api.door import Door, allocating, refusal_of
from tests.enterprise_catalog.server import CLIENT_ID, CLIENT_SECRET, enterprise_catalog
from tests.once import made_once
from tests.world import ALICE, given_api_key, given_budget, given_user

pytestmark = [pytest.mark.django_db, pytest.mark.takes_long]

CASES = Path(__file__).parents[1] / "data" / "cases"
NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
AGE = NOW + timedelta(days=90)
"""When the allocations end, where nothing ends them before."""

ORDINARY, ALLOWED, JOINABLE = (UUID(int=number) for number in (1, 2, 3))
FILES = {ORDINARY: "restricted-ordinary", ALLOWED: "restricted-allowed", JOINABLE: "joinable"}
Record = dict[str, Any]


def records(catalog: UUID) -> list[Record]:
    lines = (CASES / f"{FILES[catalog]}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def run(name: str) -> str:
    return f"course-v1:{name}"


CAN_BE_JOINED = [  # the price in cents; the run that gives it; until when one of its runs can be joined
    (ORDINARY, "PrivX+1", 5000, run("PrivX+1+PUB"), "2028-04-14T23:59:59Z"),
    (ORDINARY, run("PrivX+1+PUB"), 5000, run("PrivX+1+PUB"), "2028-04-14T23:59:59Z"),
    (ORDINARY, "MoveX+1", 2000, run("MoveX+1+R1"), "2028-05-01T00:00:00Z"),
    (ORDINARY, run("MoveX+1+R1"), 2000, run("MoveX+1+R1"), "2028-05-01T00:00:00Z"),
    (ALLOWED, "PrivX+1", 7500, run("PrivX+1+PRIV"), "2028-04-14T23:59:59Z"),
    (ALLOWED, run("PrivX+1+PUB"), 5000, run("PrivX+1+PUB"), "2028-04-14T23:59:59Z"),
    (ALLOWED, run("PrivX+1+PRIV"), 7500, run("PrivX+1+PRIV"), "2027-12-05T00:00:00Z"),
    (ALLOWED, "OnlyX+1", 9000, run("OnlyX+1+PRIV"), "2028-01-01T00:00:00Z"),
    (ALLOWED, run("OnlyX+1+PRIV"), 9000, run("OnlyX+1+PRIV"), "2028-01-01T00:00:00Z"),
    (ALLOWED, "MoveX+1", 2000, run("MoveX+1+R1"), "2028-05-01T00:00:00Z"),
    (ALLOWED, run("MoveX+1+R1"), 2000, run("MoveX+1+R1"), "2028-05-01T00:00:00Z"),
    (JOINABLE, "SoonX+1", 7000, run("SoonX+1+R1"), "2027-05-01T00:00:00Z"),
    (JOINABLE, run("SoonX+1+R1"), 7000, run("SoonX+1+R1"), "2027-05-01T00:00:00Z"),
    (JOINABLE, "RevX+1", 6200, run("RevX+1+R1"), "2028-05-01T00:00:00Z"),
    (JOINABLE, run("RevX+1+R1"), 6200, run("RevX+1+R1"), "2028-05-01T00:00:00Z"),
    (JOINABLE, "LateX+1", 5500, run("LateX+1+R1"), "2027-01-10T00:00:00Z"),
    (JOINABLE, run("LateX+1+R1"), 5500, run("LateX+1+R1"), "2027-01-10T00:00:00Z"),
    (JOINABLE, "OtherX+1", 3500, run("OtherX+1+NEW"), "2027-03-01T00:00:00Z"),
    (JOINABLE, run("OtherX+1+NEW"), 3500, run("OtherX+1+NEW"), "2027-03-01T00:00:00Z"),
]
CANNOT_BE_JOINED = [
    (ORDINARY, run("PrivX+1+PRIV"), 7500, "content_not_in_catalog"),
    (ORDINARY, "OnlyX+1", 9000, "content_not_active"),
    (ORDINARY, run("OnlyX+1+PRIV"), 9000, "content_not_in_catalog"),
    (JOINABLE, "EndX+1", 10_000, "content_ended"),
    (JOINABLE, run("EndX+1+R1"), 10_000, "content_ended"),
    (JOINABLE, "UnpX+1", 8000, "content_not_active"),
    (JOINABLE, run("UnpX+1+R1"), 8000, "content_not_active"),
    (JOINABLE, "EarlyX+1", 8000, "enrollment_not_open_in_time"),
    (JOINABLE, run("EarlyX+1+R1"), 8000, "enrollment_not_open_in_time"),
    (JOINABLE, run("OtherX+1+OLD"), 3000, "content_ended"),
]
EVERY = [(catalog, key) for catalog, key, *_rest in (*CAN_BE_JOINED, *CANNOT_BE_JOINED)]
ELSEWHERE = [(catalog, key) for catalog, key, _cents, why in CANNOT_BE_JOINED if why.endswith("in_catalog")]
SERVED = [one for one in EVERY if one not in ELSEWHERE]


def named(value: object) -> str | None:
    return FILES[value] if isinstance(value, UUID) else value if isinstance(value, str) else ""


def test_no_course_or_run_of_the_cases_is_left_out() -> None:
    of_cases = {
        (catalog, key)
        for catalog in FILES
        for one in records(catalog)
        for key in (one["key"], *(each["key"] for each in one["course_runs"]))
    }
    assert of_cases == set(SERVED)
    assert len(EVERY) == len(set(EVERY)) == len(of_cases) + len(ELSEWHERE)


# -- Bringing them in ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def files(folder: Path) -> Iterator[dict[str, str]]:
    """Yield the settings that read the cases from a folder of files."""
    for catalog, name in FILES.items():
        shutil.copy(CASES / f"{name}.jsonl", folder / f"{catalog}.jsonl")
    yield {"CATALOG_URL": f"{folder.as_uri()}/"}


@contextlib.contextmanager
def http(_folder: Path) -> Iterator[dict[str, str]]:
    """Yield the settings that read them from an enterprise-catalog, which serves each catalog its own."""
    with enterprise_catalog() as upstream:
        for catalog in FILES:
            upstream.serve(catalog, records(catalog))
        access = {"OAUTH_CLIENT_ID": CLIENT_ID, "OAUTH_CLIENT_SECRET": CLIENT_SECRET}
        yield {"CATALOG_URL": upstream.url, "OAUTH_URL": upstream.url} | access


def bring_in() -> None:
    """Refresh the catalogs in turns."""
    for hours, catalog in enumerate([*FILES, *FILES]):
        refresh.refresh_catalog(
            catalog,
            source=refresh.configured_source(),
            now=NOW - timedelta(hours=12 - hours),
            trigger=RefreshTrigger.CRON,
        )


def stored() -> list[list[dict[str, Any]]]:
    """Return what the replica has, without what names the source, the row or a moment drawn at random."""
    drawn = {"id", "content_id", "fetched_from", "due_at", "early", "fence"}
    rows = ContentMetadata.objects.order_by("content_key", "variant").values()
    memberships = CatalogMembership.objects.order_by("catalog_uuid", "content__content_key")
    held = memberships.annotate(key=F("content__content_key"), variant=F("content__variant")).values()
    return [
        [{name: value for name, value in one.items() if name not in drawn} for one in table]
        for table in (rows, held)
    ]


@pytest.fixture(scope="module", autouse=True)
def from_files(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[list[dict[str, Any]]]]:
    """Bring the cases in over HTTP, once for a module; what a test adds is undone.

    Yield what files brought in before, which was undone as well.
    """
    folder = tmp_path_factory.mktemp("catalogs")
    with made_once(django_db_blocker) as until_then:
        until_then.setattr(timezone, "now", lambda: NOW)
        before = transaction.savepoint()
        with files(folder) as access, override_settings(**access):
            bring_in()
        found = stored()
        transaction.savepoint_rollback(before)
        with http(folder) as access, override_settings(**access):
            bring_in()
            yield found


# -- What is there ------------------------------------------------------------------------------------------


def as_served(catalog: UUID, key: str) -> dict[str, object]:
    """Return the fields of a course or run in the words of the API, from the record of the case."""
    for record in records(catalog):
        runs = {one["key"]: one for one in record["course_runs"]}
        if key == record["key"]:
            of_uuid = {one["uuid"]: one["key"] for one in runs.values()}
            advertised = of_uuid.get(record["advertised_course_run_uuid"], "")
            own = {"content_type": "course", "parent": None, "active": record["active"]}
            terms = record["normalized_metadata"] | ({} if advertised else {"content_price": None})
            return own | _fields(record, terms) | {"advertised_run": advertised}
        if key in runs:
            one = runs[key]
            published = one["status"] == "published" and one["is_marketable"]
            active = one["is_enrollable"] and (published or one.get("is_marketable_external", False))
            own = {"content_type": "courserun", "parent": record["key"], "active": active}
            terms = record["normalized_metadata_by_run"][key]
            return own | _fields(one, terms) | {"advertised_run": ""}
    raise LookupError(key)


def _fields(record: Record, terms: Record) -> dict[str, object]:
    price = terms["content_price"]
    return {
        "content_key": record["key"],
        "uuid": record["uuid"],
        "title": record["title"],
        "start_date": terms["start_date"],
        "end_date": terms["end_date"],
        "enroll_start": terms["enroll_start_date"],
        "enroll_by": terms["enroll_by_date"],
        "price_cents": None if price is None else round(price * 100),
        "completeness": "full",
        "gone_at": None,
    }


def test_files_bring_in_what_comes_over_http(from_files: list[list[dict[str, Any]]]) -> None:
    """So the tests below ask about what came over HTTP, and hold for both."""
    over_http = stored()
    assert [len(table) for table in over_http] == [len(table) for table in from_files]
    for of_files, of_http in zip(itertools.chain(*from_files), itertools.chain(*over_http), strict=True):
        assert of_files == of_http
    assert {row["content_key"] for row in from_files[0]} == {key for _catalog, key in SERVED}


@pytest.mark.parametrize("catalog", FILES, ids=named)
def test_a_catalog_holds_the_courses_and_runs_that_it_is_served_and_no_others(catalog: UUID) -> None:
    held = sorted(reads.held_by(catalog).values_list("content_key", flat=True))
    assert held == sorted(key for where, key in SERVED if where == catalog)
    runs = reads.held_by(catalog).filter(content_type="courserun").values_list("content_key", "parent_key")
    assert dict(runs) == {
        one["key"]: course["key"] for course in records(catalog) for one in course["course_runs"]
    }


class Organisation(NamedTuple):
    """A catalog's only one: its budget, of which nothing is spent, and its administrator."""

    budget: Budget
    door: Door
    """The administrator's."""
    offers: str
    """The page on which the administrator assigns."""

    @classmethod
    def of(cls, catalog: UUID) -> "Organisation":
        budget, browser = given_budget(catalog_uuid=catalog), Client()
        administrator = given_user(Role.ADMINISTRATOR, customer=budget.customer)
        browser.force_login(administrator)
        page = browser.get(reverse("assign", args=[budget.uuid])).content.decode()
        return cls(budget, Door(key=given_api_key(administrator)), html.unescape(page))


@pytest.fixture(scope="module")
def organisations(from_files: object) -> dict[UUID, Organisation]:
    """Return the organisation of each catalog; what a test does with its money is undone."""
    return {catalog: Organisation.of(catalog) for catalog in FILES}


@pytest.fixture
def budget(catalog: UUID, organisations: dict[UUID, Organisation]) -> Budget:
    """Return the budget of the catalog that the test is about."""
    return Budget.objects.select_related("customer").get(pk=organisations[catalog].budget.pk)


@pytest.fixture
def door(catalog: UUID, organisations: dict[UUID, Organisation]) -> Door:
    return organisations[catalog].door


@pytest.fixture
def offers(catalog: UUID, organisations: dict[UUID, Organisation]) -> str:
    return organisations[catalog].offers


@pytest.mark.parametrize(("catalog", "key"), SERVED, ids=named)
def test_each_field_is_shown_as_the_catalog_is_served_it(catalog: UUID, key: str, door: Door) -> None:
    expected = as_served(catalog, key)
    answer = door.get(f"content-metadata/{key}/")

    assert answer.status_code == 200, answer.content
    shown = answer.json()
    assert {name: shown[name] for name in expected} == expected
    [record] = [one for one in records(catalog) if one["key"] in (key, expected["parent"])]
    raw = next((one for one in record["course_runs"] if one["key"] == key), record)
    assert raw.items() <= shown["payload"].items()


@pytest.mark.parametrize(("catalog", "key"), ELSEWHERE, ids=named)
def test_what_another_catalog_is_served_is_not_shown(catalog: UUID, key: str, door: Door) -> None:
    assert refusal_of(door.get(f"content-metadata/{key}/")) == (404, "not_found")
    assert key not in door.content().content.decode()


@pytest.mark.parametrize("catalog", FILES, ids=named)
def test_the_list_of_content_is_what_the_catalog_is_served(catalog: UUID, door: Door) -> None:
    rows = {row["content_key"]: row for row in door.content(page_size=100).json()["results"]}
    assert rows.keys() == {key for where, key in SERVED if where == catalog}
    for key, row in rows.items():
        expected = as_served(catalog, key)
        assert {name: row[name] for name in expected} == expected


# -- What can be allocated and redeemed ---------------------------------------------------------------------


def asking(key: str, cents: int) -> Record:
    return {"content_key": key, "content_price_cents": cents, "learner_emails": [ALICE]}


def learner_of(budget: Budget) -> Door:
    user = given_user(Role.LEARNER, customer=budget.customer, email=ALICE, lms_user_id=7)
    return Door(key=given_api_key(user))


def verdict_on(key: str, *, learner: Door, budget: Budget) -> Record:
    address = f"policy-redemption/enterprise-customer/{budget.customer.uuid}/can-redeem/"
    [verdict] = learner.get(address, content_key=key).json()
    assert verdict["content_key"] == key
    return dict(verdict)


def redeem(key: str, *, learner: Door, budget: Budget) -> Any:
    return learner.post(f"policy-redemption/{budget.uuid}/redeem/", {"content_key": key})


def at(moment: str) -> datetime:
    return datetime.fromisoformat(moment)


@pytest.mark.parametrize(("catalog", "key", "cents", "joined", "until"), CAN_BE_JOINED, ids=named)
def test_what_can_be_joined_is_previewed_offered_allocated_and_redeemed(
    catalog: UUID, key: str, cents: int, joined: str, until: str, budget: Budget, door: Door, offers: str
) -> None:
    terms = {"content_run_key": joined, "content_price_cents": cents, "join_by": until}
    ends = min(AGE, at(until))

    seen = door.post(allocating(budget, dry=True), asking(key, cents)).json()
    assert (seen["can_allocate"], seen["refusals"], seen["joining"]) == (True, [], terms)
    assert at(seen["deadline"]["date"]) == ends
    assert f'value="{cents} {key}"' in offers

    allocated = door.post(allocating(budget), asking(key, cents))
    assert (allocated.status_code, allocated.json()["joining"]) == (202, terms)
    stored = LearnerContentAssignment.objects.get()
    assert (stored.content_key, stored.price_cents, stored.expires_at) == (key, cents, ends)
    assert stored.content_enroll_by == at(until)
    assert stored.content is not None
    assert reads.held_by(catalog).get(content_key=key) == stored.content

    learner = learner_of(budget)
    verdict = verdict_on(joined, learner=learner, budget=budget)
    assert (verdict["can_redeem"], verdict["reasons"]) == (True, [])
    assert verdict["list_price"]["usd_cents"] == cents
    assert redeem(joined, learner=learner, budget=budget).json()["state"] == "committed"
    budget.refresh_from_db()
    assert (budget.spent_cents, budget.reserved_cents) == (cents, 0)


def given_from_before(budget: Budget, key: str, *, door: Door) -> LearnerContentAssignment:
    """Return an open assignment of the key, as from before the rule of what can be joined."""
    other = CAN_BE_JOINED[[catalog for catalog, *_rest in CAN_BE_JOINED].index(budget.catalog_uuid)]
    answer = door.post(allocating(budget), asking(other[1], other[2]))
    assert answer.status_code == 202, answer.content
    held = reads.held_by(budget.catalog_uuid).filter(content_key=key).first()
    row = held or ContentMetadata.objects.get(content_key=key)
    LearnerContentAssignment.objects.update(
        content=row, content_key=key, parent_content_key=row.parent_key, content_title=row.title
    )
    return LearnerContentAssignment.objects.get()


@pytest.mark.parametrize(("catalog", "key", "cents", "reason"), CANNOT_BE_JOINED, ids=named)
def test_what_cannot_be_joined_is_refused_everywhere_with_its_reason(
    catalog: UUID, key: str, cents: int, reason: str, budget: Budget, door: Door, offers: str
) -> None:
    seen = door.post(allocating(budget, dry=True), asking(key, cents)).json()
    assert (seen["can_allocate"], seen["joining"]) == (False, None)
    assert [one["reason"] for one in seen["refusals"]] == [reason]
    assert f' {key}"' not in offers
    assert refusal_of(door.post(allocating(budget), asking(key, cents))) == (422, reason)
    budget.refresh_from_db()
    assert (budget.reserved_cents, LearnerContentAssignment.objects.count()) == (0, 0)

    stored = given_from_before(budget, key, door=door)
    learner = learner_of(budget)
    verdict = verdict_on(key, learner=learner, budget=budget)
    assert (verdict["can_redeem"], [one["reason"] for one in verdict["reasons"]]) == (False, [reason])
    assert refusal_of(redeem(key, learner=learner, budget=budget)) == (422, reason)
    budget.refresh_from_db()
    assert (budget.spent_cents, budget.reserved_cents) == (0, stored.price_cents)


@pytest.mark.parametrize(("catalog", "key"), ELSEWHERE, ids=named)
def test_a_run_of_another_catalog_is_not_redeemed_through_its_course(
    catalog: UUID, key: str, budget: Budget, door: Door
) -> None:
    course = key.removeprefix("course-v1:").rpartition("+")[0]
    given_from_before(budget, course, door=door)
    learner = learner_of(budget)

    assert refusal_of(redeem(key, learner=learner, budget=budget)) == (422, "content_not_in_catalog")
    budget.refresh_from_db()
    assert budget.spent_cents == 0
