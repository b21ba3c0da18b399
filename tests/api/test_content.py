"""The content replica over HTTP."""

from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from pytest_django import DjangoAssertNumQueries

from bursary.access.models import Role
from bursary.replica.models import ContentMetadata, ContentType
from tests import world
from tests.api.door import Answer, Door, door_of, refusal_of
from tests.world import CATALOG, NOW, NOW_ISO, PRICE, given_budget, given_customer, given_membership

pytestmark = pytest.mark.django_db

UUID = uuid4()
TIDES = {
    "content_key": "RiversideX+Tides",
    "content_type": "course",
    "uuid": str(UUID),
    "parent": None,
    "title": "Tidal Engines",
    "course_type": "verified-audit",
    "product_source": "edx",
    "partners": [{"name": "Riverside School", "key": "RiversideX"}],
    "image_url": "https://images.example/tides.png",
    "start_date": NOW_ISO,
    "end_date": None,
    "enroll_start": None,
    "enroll_by": "2026-03-03T09:00:00Z",
    "price_cents": PRICE,
    "pacing": "self_paced",
    "weeks_to_complete": 6,
    "advertised_run": "course-v1:RiversideX+Tides+2026",
    "active": True,
    "completeness": "full",
    "source": "cron",
    "upstream_modified": None,
    "fetched_at": NOW_ISO,
    "checked_at": "2026-03-02T09:05:00Z",
    "changed_at": NOW_ISO,
    "fresh_until": "2036-02-28T09:00:00Z",
    "gone_at": None,
    "as_of": "2026-03-02T09:05:00Z",
}


given_content = partial(world.given_content, with_run=False)  # what is listed is what a test makes


@pytest.fixture
def content() -> ContentMetadata:
    """Return a course in the budget's catalog, without a run."""
    return given_content()


def keys(answer: Answer) -> list[str]:
    assert answer.status_code == 200, answer.content
    return [row["content_key"] for row in answer.json()["results"]]


def test_content_has_its_columns_names_and_the_time_as_of_which_it_is_true(door: Door) -> None:
    content = given_content(
        "RiversideX+Tides",
        uuid=UUID,
        course_type="verified-audit",
        product_source="edx",
        partners=[{"name": "Riverside School", "key": "RiversideX"}],
        image_url="https://images.example/tides.png",
        start_date=NOW,
        enroll_by=NOW + timedelta(days=1),
        pacing="self_paced",
        weeks_to_complete=6,
        advertised_run="course-v1:RiversideX+Tides+2026",
        payload={"key": "RiversideX+Tides", "anything": ["upstream", "says"]},
        checked_at=NOW + timedelta(minutes=5),
    )
    columns = {field.column for field in ContentMetadata._meta.concrete_fields}
    assert set(TIDES) - columns == {"as_of", "parent"}
    assert door.content().json()["results"] == [TIDES]
    one = door.get(f"content-metadata/{content.content_key}/")
    assert one.json() == TIDES | {"payload": content.payload}


OTHER_CATALOG = uuid4()
OURS: dict[str, object] = {"enrollment_url": "https://ours.example"}
THEIRS: dict[str, object] = {"enrollment_url": "https://theirs.example"}


def links_shown(door: Door, content: ContentMetadata, **query: Any) -> str:
    answer = door.get(f"content-metadata/{content.content_key}/", **query)
    assert answer.status_code == 200, answer.content
    return str(answer.json()["payload"].get("enrollment_url", ""))


@pytest.fixture
def shared() -> ContentMetadata:
    """Content that two catalogs hold, each with a link of its own."""
    content = given_content(links=OURS, payload={"enrollment_url": "https://left-behind.example"})
    given_membership(content, catalog=OTHER_CATALOG, links=THEIRS)
    return content


def test_a_record_has_the_links_of_the_one_catalog_of_the_callers_budgets(shared: ContentMetadata) -> None:
    ours, theirs = given_budget(catalog_uuid=CATALOG), given_budget(catalog_uuid=OTHER_CATALOG)

    for budget, links in ((ours, OURS), (theirs, THEIRS)):
        door = door_of(Role.ADMINISTRATOR, customer=budget.customer)
        assert links_shown(door, shared) == links["enrollment_url"]
    unrelated = door_of(Role.ADMINISTRATOR, customer=given_customer())
    assert refusal_of(unrelated.get(f"content-metadata/{shared.content_key}/")) == (404, "not_found")


def test_of_several_visible_catalogs_the_request_names_one_for_the_links(shared: ContentMetadata) -> None:
    given_budget(catalog_uuid=CATALOG)
    given_budget(catalog_uuid=OTHER_CATALOG)
    door = door_of(Role.OPERATOR)

    assert links_shown(door, shared) == ""
    assert links_shown(door, shared, catalog=CATALOG) == OURS["enrollment_url"]
    assert links_shown(door, shared, catalog=OTHER_CATALOG) == THEIRS["enrollment_url"]
    nowhere = door.get(f"content-metadata/{shared.content_key}/", catalog=uuid4())
    assert refusal_of(nowhere) == (404, "not_found")


def test_a_catalog_that_is_not_the_callers_shows_nothing(shared: ContentMetadata) -> None:
    given_budget(catalog_uuid=OTHER_CATALOG)
    door = door_of(Role.ADMINISTRATOR, customer=given_budget(catalog_uuid=CATALOG).customer)

    theirs = door.get(f"content-metadata/{shared.content_key}/", catalog=OTHER_CATALOG)
    assert refusal_of(theirs) == (404, "not_found")
    assert keys(door.content(catalog=OTHER_CATALOG)) == []
    assert keys(door.content(catalog=CATALOG)) == [shared.content_key]
    refused = door.get(f"content-metadata/{shared.content_key}/", catalog="no-uuid")
    assert refusal_of(refused) == (400, "invalid_request")


def test_an_unknown_price_is_null_and_a_free_one_is_zero(door: Door) -> None:
    given_content(price_cents=None)
    given_content(price_cents=0)
    assert [row["price_cents"] for row in door.content().json()["results"]] == [None, 0]


def test_a_run_names_its_course(door: Door, content: ContentMetadata) -> None:
    given_content("course-v1:A+B+C", content_type=ContentType.COURSERUN, parent=content)
    answer = door.content(parent=content.content_key)
    assert [(row["content_key"], row["parent"]) for row in answer.json()["results"]] == [
        ("course-v1:A+B+C", content.content_key)
    ]


def test_content_is_filtered_by_type(door: Door, content: ContentMetadata) -> None:
    program = given_content(content_type=ContentType.PROGRAM)
    assert keys(door.content(content_type="program")) == [program.content_key]
    assert keys(door.content(content_type="course")) == [content.content_key]
    assert keys(door.content(content_type="courserun")) == []


@pytest.mark.on_every_engine
def test_content_is_filtered_by_catalog_and_runs_belong_where_their_course_does(
    door: Door, content: ContentMetadata
) -> None:
    run = given_content(content_type=ContentType.COURSERUN, parent=content, catalog=None)
    elsewhere = given_content(catalog=OTHER_CATALOG)
    operator = door_of(Role.OPERATOR)
    for one in (door, operator):
        assert keys(one.content(catalog=CATALOG)) == [content.content_key, run.content_key]
        assert keys(one.content(catalog=uuid4())) == []
    assert keys(door.content()) == [content.content_key, run.content_key]
    assert keys(operator.content()) == [content.content_key, run.content_key, elsewhere.content_key]


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("tidal", 1),
        ("engines TIDAL", 1),
        ("tidal boats", 0),
        ("al En", 1),
        ('"tidal engines"', 1),
        ("100%", 1),
        ("%", 1),
        ("_", 1),
        ("o'clock", 0),
        ("\\", 0),
        ("", 2),
        ("x" * 255, 0),
        ("q " * 127, 0),
    ],
)
@pytest.mark.on_every_engine
def test_content_is_searched_by_every_word_of_its_title(door: Door, search: str, found: int) -> None:
    given_content(title="Tidal Engines")
    given_content(title="Boats: 100% _safe_")
    assert len(keys(door.content(search=search))) == found


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("content_type", "film"),
        ("content_type", "\0"),
        ("catalog", "x"),
        ("catalog", "\0"),
        ("parent", "\0"),
        ("search", "\0"),
        ("search", "a\0b"),
        ("search", "a " * 3000),
        ("search", "x" * 60_000),
    ],
    ids=lambda value: value[:12].strip(),
)
def test_a_value_that_cannot_be_read_is_refused(door: Door, name: str, value: str) -> None:
    assert refusal_of(door.content(**{name: value})) == (400, "invalid_request")


@pytest.mark.parametrize(
    "key", ["Nobody+Knows", "%00", "a%00b", "%ED%A0%80", "..", "%0A", "k" * 5000, "a/b", "'"]
)
@pytest.mark.on_every_engine
def test_an_unknown_key_is_404(door: Door, content: ContentMetadata, key: str) -> None:
    assert refusal_of(door.get(f"content-metadata/{key}/")) == (404, "not_found")


@pytest.mark.parametrize(
    "key",
    ["course-v1:RiversideX+Tides+2026", "RiversideX/Tides/2026", "Río+Mareas", "a%b", "a?b", "a#b", "a&b=c"],
)
@pytest.mark.on_every_engine
def test_any_key_can_be_asked_for(door: Door, key: str) -> None:
    """Also those with slashes, which runs had before they had a colon."""
    given_content(key)
    path = "".join(f"%{byte:02X}" for byte in key.encode())
    answer = door.get(f"content-metadata/{path}/")
    assert answer.status_code == 200
    assert answer.json()["content_key"] == key


@pytest.mark.parametrize("role", [Role.LEARNER, Role.ADMINISTRATOR, Role.OPERATOR])
def test_every_role_sees_its_organisations_content(content: ContentMetadata, role: Role) -> None:
    door = door_of(role, customer=None if role is Role.OPERATOR else given_budget().customer)
    assert keys(door.content()) == [content.content_key]
    assert door.get(f"content-metadata/{content.content_key}/").status_code == 200


def test_a_user_without_a_role_does_not(content: ContentMetadata) -> None:
    door = door_of(None)
    assert refusal_of(door.content()) == (403, "not_permitted")
    assert refusal_of(door.get(f"content-metadata/{content.content_key}/")) == (403, "not_permitted")


@pytest.mark.parametrize("count", [1, 50])
def test_the_list_takes_five_queries_however_long_it_is(
    door: Door, content: ContentMetadata, count: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """The key with its user, whether they have a role, whether they operate, the count, the rows."""
    for _number in range(count):
        given_content(content_type=ContentType.COURSERUN, parent=content)
    with django_assert_num_queries(5):
        answer = door.content(catalog=CATALOG)
    assert len(keys(answer)) == count + 1
