"""The list, credits and allocation, read upstream or beside the replica."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from bursary.access.models import Role
from bursary.assignments import derived
from bursary.assignments.choices import ExpiryReason
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.lib.moments import FAR_FUTURE
from bursary.replica import reads, refresh
from bursary.replica.models import (
    CatalogMembership,
    ColdRead,
    ContentMetadata,
    ContentType,
    RefreshTrigger,
    ShadowDifference,
    ShadowTally,
)
from tests.api.door import Answer, Door, allocating, refusal_of
from tests.enterprise_catalog import faults
from tests.enterprise_catalog.server import Upstream
from tests.replica.reading import CLOSES, DAY, STARTS, a_course, keys_asked, read_over_http, run_of
from tests.world import ALICE, BOB, CATALOG, NOW, PRICE, given_api_key, given_content, given_user

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.takes_long]

COURSES = [f"RiversideX+C{number}" for number in range(52)]
TIDES = COURSES[0]


@pytest.fixture(params=["upstream", "shadow"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def courses() -> list[str]:
    return COURSES[:5]


@pytest.fixture
def upstream(settings: Settings, mode: str, courses: list[str]) -> Iterator[Upstream]:
    with read_over_http(settings, *map(a_course, courses), mode=mode) as running:
        yield running


def filled() -> None:
    """Bring the replica up to date."""
    refresh.refresh_catalog(CATALOG, source=refresh.configured_source(), now=NOW, trigger=RefreshTrigger.CRON)


def allocate(door: Door, budget: Budget, key: str, *addresses: str, price_cents: int = PRICE) -> Answer:
    body = {"content_key": key, "content_price_cents": price_cents, "learner_emails": list(addresses)}
    return door.post(allocating(budget), body)


def given_many(budget: Budget, mode: str, *, courses: list[str]) -> None:
    """Give one learner an assignment of each course, as the mode makes it."""
    columns = {
        "budget": budget,
        "learner_email": ALICE,
        "learner_key": "a",
        "price_cents": 0,
        "state": "allocated",
    }
    dates = dict.fromkeys(("allocated_at", "created", "modified", "recent_action_at"), NOW)
    dates |= {"age_ends_at": NOW + 90 * DAY, "expires_at": CLOSES}
    rows = ContentMetadata.objects.defer("payload") if mode == "shadow" else ()
    contents = {row.content_key: row for row in rows}
    LearnerContentAssignment.objects.bulk_create(
        LearnerContentAssignment(
            content_key=key,
            content=contents.get(key),
            content_title=derived.title_key(contents[key].title) if contents else "",
            expires_reason=ExpiryReason.ENROLL_BY,
            learner_state=1,
            **columns,
            **dates,
        )
        for key in courses
    )


@pytest.mark.parametrize("courses", [COURSES], ids=["all"])
def test_the_list_shows_what_upstream_says_with_one_question_for_fifty(
    upstream: Upstream, budget: Budget, door: Door, mode: str, courses: list[str]
) -> None:
    filled()
    given_many(budget, mode, courses=courses)
    ContentMetadata.objects.update(title="Ours")
    asked = len(keys_asked(upstream))

    rows = door.assignments(budget, page_size=100).json()["results"]

    assert {row["content_title"] for row in rows} == {f"About {key}" for key in COURSES}
    shown = rows[0]["content_metadata"]
    assert shown == {
        "title": rows[0]["content_title"],
        "start_date": STARTS.isoformat().replace("+00:00", "Z"),
        "end_date": None,
        "enroll_by": CLOSES.isoformat().replace("+00:00", "Z"),
        "price_cents": PRICE,
        "course_type": "verified-audit",
        "partners": shown["partners"],
        "as_of": NOW.isoformat().replace("+00:00", "Z"),
    }
    assert shown["partners"][0]["name"] == "Riverside School"
    assert [len(keys) for keys in keys_asked(upstream)[asked:]] == [50, 2]
    door.assignments(budget, page_size=100)
    assert len(keys_asked(upstream)) == asked + 2


def test_the_list_takes_as_many_queries_for_five_as_for_one(
    upstream: Upstream, budget: Budget, door: Door, mode: str, courses: list[str]
) -> None:
    filled()
    given_many(budget, mode, courses=courses)
    door.assignments(budget, page_size=100)  # upstream has answered

    counts = []
    for size in (1, 100):
        with CaptureQueriesContext(connection) as queries:
            door.assignments(budget, page_size=size)
        counts.append(len(queries))

    assert counts[0] == counts[1]


def test_credits_show_what_upstream_says(
    upstream: Upstream, budget: Budget, mode: str, courses: list[str]
) -> None:
    filled()
    given_many(budget, mode, courses=courses)
    learner = given_user(Role.LEARNER, customer=budget.customer, lms_user_id=7)
    LearnerContentAssignment.objects.filter(content_key__in=courses[:3]).update(lms_user_id=7)
    ContentMetadata.objects.update(title="Ours")

    answer = Door(key=given_api_key(learner)).get(
        "policy-redemption/credits_available/", enterprise_customer_uuid=str(budget.customer.uuid)
    )

    [policy] = answer.json()
    titles = {row["content_metadata"]["title"] for row in policy["learner_content_assignments"]}
    assert titles == {f"About {key}" for key in courses[:3]}


@pytest.mark.parametrize("fault", [faults.status(503), faults.hang])
def test_while_upstream_is_away_the_list_answers_with_null_for_what_is_unknown(
    upstream: Upstream,
    budget: Budget,
    door: Door,
    mode: str,
    fault: faults.Fault,
    settings: Settings,
    courses: list[str],
) -> None:
    """Fault 2 of the peer."""
    allocate(door, budget, TIDES, ALICE)
    given_many(budget, "upstream", courses=courses)
    upstream.fails_with(fault)
    settings.CONTENT_READ_DEADLINE = timedelta(seconds=0.3)

    answer = door.assignments(budget, page_size=100)

    assert answer.status_code == 200
    shown = {row["content_key"]: row["content_metadata"] for row in answer.json()["results"]}
    assert shown[TIDES]["title"] == f"About {TIDES}"
    assert shown.keys() == {*courses}
    assert [key for key, content in shown.items() if content] == [TIDES]


@pytest.mark.usefixtures("upstream")
def test_what_only_the_replica_can_find_is_refused(budget: Budget, door: Door) -> None:
    queries = [
        ({"content_title": "About"}, "content_title"),
        ({"content_start__gte": "2026-01-01"}, "content_start__gte"),
        ({"content_price_cents__in": "1,2"}, "content_price_cents__in"),
        ({"search": "about"}, "search"),
        ({"ordering": "-content_partner,state"}, "ordering=content_partner"),
    ]
    for query, parameter in queries:
        answers = [
            door.assignments(budget, **query),
            door.to_all(budget, "cancel", **query),
            door.to_all(budget, "remind", **query),
        ]

        assert {refusal_of(answer) for answer in answers} == {(400, "content_filters_unavailable")}
        assert answers[0].json()["parameters"] == [parameter]


@pytest.mark.usefixtures("upstream")
def test_everything_else_filters_and_sorts_as_ever(
    budget: Budget, door: Door, mode: str, courses: list[str]
) -> None:
    filled()
    given_many(budget, mode, courses=courses)
    allocate(door, budget, TIDES, BOB)

    for ordering in ("content_title", "-content_start", "content_enroll_by", "expires_at", "content_key"):
        assert door.assignments(budget, ordering=ordering).json()["count"] == len(courses) + 1
    assert door.assignments(budget, content_key=TIDES).json()["count"] == 2
    assert door.assignments(budget, learner_email=BOB, search="").json()["count"] == 1


@pytest.mark.usefixtures("upstream")
def test_an_allocation_takes_its_dates_from_upstream(budget: Budget, door: Door, mode: str) -> None:
    answer = allocate(door, budget, run_of(TIDES), ALICE)

    assert answer.status_code == 202
    [created] = answer.json()["created"]
    assert (created["content_title"], created["parent_content_key"]) == (f"About {TIDES}", TIDES)
    made = LearnerContentAssignment.objects.get()
    assert (made.content_start, made.content_enroll_by, made.expires_at) == (STARTS, CLOSES, CLOSES)
    assert made.content_title == f"about {TIDES}".casefold()
    linked = made.content and made.content.content_key
    assert linked == (run_of(TIDES) if mode == "shadow" else None)


@pytest.mark.usefixtures("upstream")
def test_the_price_is_upstreams_whatever_the_row_says(budget: Budget, door: Door) -> None:
    filled()
    ContentMetadata.objects.update(price_cents=1)

    assert refusal_of(allocate(door, budget, TIDES, ALICE, price_cents=1)) == (422, "price_out_of_band")
    assert allocate(door, budget, TIDES, ALICE).status_code == 202


def test_what_upstream_does_not_have_is_refused_and_silence_is_not_taken_for_that(
    upstream: Upstream, budget: Budget, door: Door
) -> None:
    assert refusal_of(allocate(door, budget, "NobodyX+N1", ALICE)) == (422, "content_not_in_catalog")
    upstream.fails_with(faults.status(503))
    assert refusal_of(allocate(door, budget, TIDES, ALICE)) == (503, "catalog_unavailable")

    budget.refresh_from_db()
    assert budget.reserved_cents == 0
    assert not LearnerContentAssignment.objects.exists()


@pytest.mark.usefixtures("upstream")
@pytest.mark.parametrize("mode", ["shadow"])
def test_a_row_that_differs_from_upstream_is_not_referred_to(budget: Budget, door: Door) -> None:
    filled()
    ContentMetadata.objects.filter(content_key__in=[TIDES, run_of(TIDES)]).update(enroll_by=NOW + DAY)

    assert allocate(door, budget, TIDES, ALICE).status_code == 202

    made = LearnerContentAssignment.objects.get()
    assert (made.content, made.expires_at) == (None, CLOSES)
    assert [row.field for row in ShadowDifference.objects.all()] == ["enroll_by"]


@pytest.mark.usefixtures("upstream")
@pytest.mark.parametrize("mode", ["shadow"])
def test_a_run_of_ours_that_opens_after_the_due_date_is_no_difference(budget: Budget, door: Door) -> None:
    filled()
    tides = ContentMetadata.objects.get(content_key=TIDES)
    given_content(
        f"course-v1:{TIDES}+2T2026",
        parent=tides,
        content_type=ContentType.COURSERUN,
        enroll_start=NOW + 20 * DAY,
        enroll_by=CLOSES + DAY,
    )

    for address, due in ((ALICE, NOW + 10 * DAY), (BOB, NOW + 30 * DAY)):
        assert door.can_allocate(budget, tides, address, due_date=due.isoformat()).json()["can_allocate"]
        assert door.allocate(budget, tides, address, due_date=due.isoformat()).status_code == 202

    referred = {one.learner_email: one.content for one in LearnerContentAssignment.objects.all()}
    assert referred == {ALICE: tides, BOB: None}


@pytest.mark.parametrize("mode", ["shadow"])
def test_a_replica_that_cannot_be_filled_stops_no_allocation(
    upstream: Upstream, budget: Budget, door: Door
) -> None:
    reads.one_from_upstream(TIDES, catalog_uuid=CATALOG, now=NOW)  # remembered from now on
    upstream.fails_with(faults.status(503))

    assert allocate(door, budget, TIDES, ALICE).status_code == 202

    assert LearnerContentAssignment.objects.get().content is None


@pytest.mark.usefixtures("upstream")
def test_a_course_is_accepted_by_its_run_though_our_rows_know_neither(
    budget: Budget, door: Door, settings: Settings
) -> None:
    settings.CONTENT_READS = "upstream"
    allocate(door, budget, TIDES, ALICE)
    alice = Door(key=given_api_key(given_user(Role.LEARNER, customer=budget.customer, email=ALICE)))

    can = alice.get(
        f"policy-redemption/enterprise-customer/{budget.customer.uuid}/can-redeem/", content_key=run_of(TIDES)
    )
    assert [one["can_redeem"] for one in can.json()] == [True]
    done = alice.post(f"policy-redemption/{budget.uuid}/redeem/", {"content_key": run_of(TIDES)})
    assert done.json()["state"] == "committed"
    assert not ContentMetadata.objects.exists()


def test_upstream_is_not_asked_for_keys_that_a_learner_makes_up(
    upstream: Upstream, budget: Budget, door: Door
) -> None:
    filled()
    allocate(door, budget, TIDES, ALICE)
    CatalogMembership.objects.filter(content__content_key=run_of(TIDES)).delete()
    ContentMetadata.objects.filter(content_key=run_of(TIDES)).delete()
    alice = Door(key=given_api_key(given_user(Role.LEARNER, customer=budget.customer, email=ALICE)))
    asked, tallies = len(keys_asked(upstream)), list(ShadowTally.objects.values())
    made_up = [f"NobodyX+N{number}" for number in range(99)]

    can = alice.get(
        f"policy-redemption/enterprise-customer/{budget.customer.uuid}/can-redeem/",
        content_key=[*made_up, run_of(TIDES)],
    )
    assert [one["content_key"] for one in can.json() if one["can_redeem"]] == [run_of(TIDES)]
    for key in made_up[:3]:
        refused = alice.post(f"policy-redemption/{budget.uuid}/redeem/", {"content_key": key})
        assert refusal_of(refused) == (422, "reason_learner_not_assigned_content")

    assert keys_asked(upstream)[asked:] in ([], [[TIDES]])
    assert list(ShadowTally.objects.values()) == tallies
    assert not ColdRead.objects.exists()


@pytest.mark.usefixtures("upstream")
def test_content_without_dates_sorts_last_as_ever(upstream: Upstream, budget: Budget, door: Door) -> None:
    undated = {"content_price": PRICE / 100}
    upstream.edit(TIDES, normalized_metadata=undated, normalized_metadata_by_run={run_of(TIDES): undated})

    assert allocate(door, budget, TIDES, ALICE).status_code == 202

    made = LearnerContentAssignment.objects.get()
    assert (made.content_start, made.content_enroll_by) == (FAR_FUTURE, FAR_FUTURE)


def test_mode_replica_sends_no_request(
    upstream: Upstream, budget: Budget, door: Door, settings: Settings, courses: list[str]
) -> None:
    filled()
    settings.CONTENT_READS = "replica"
    given_many(budget, "shadow", courses=courses)
    asked = len(upstream.requests)

    found = door.assignments(budget, search="about", ordering="content_partner").json()
    assert found["count"] == len(courses)
    assert len(upstream.requests) == asked
