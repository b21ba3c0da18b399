"""Content over HTTP where catalogs are served it differently: each caller sees what their catalogs hold."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, DjangoDbBlocker, Settings

from bursary.access.models import Role, RoleGrant, User
from bursary.budgets.models import Budget
from bursary.replica.models import ContentChange, ContentMetadata, FormerContentKey
from tests.api.door import Answer, Door, refusal_of
from tests.once import made_once
from tests.replica.serving import (
    ALLOWED,
    HOUR,
    MOVE,
    NOW,
    ONLY,
    ORDINARY,
    PRIV,
    PRIVATE_RUN,
    PUBLIC_RUN,
    Catalogs,
    row_of,
)
from tests.world import ALICE, BOB, allocate, given_api_key, given_budget, given_content, given_user

pytestmark = pytest.mark.django_db

ONLY_RUN, MOVE_RUN = f"course-v1:{ONLY}+PRIV", f"course-v1:{MOVE}+R1"


@pytest.fixture(scope="module", autouse=True)
def _held(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """The rows of both catalogs."""
    with made_once(django_db_blocker):
        Catalogs(tmp_path_factory.mktemp("catalogs")).sync_both()
        yield


@pytest.fixture
def catalogs(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Catalogs:
    """Serve what is held, in a folder that the test may edit."""
    monkeypatch.setattr(timezone, "now", lambda: NOW + 24 * HOUR)
    return Catalogs.configured(tmp_path / "catalogs", settings)


@pytest.fixture
def ordinary(catalogs: Catalogs) -> Budget:
    return given_budget(catalog_uuid=ORDINARY, allocation_age_days=3650)


@pytest.fixture
def allowed(catalogs: Catalogs) -> Budget:
    return given_budget(catalog_uuid=ALLOWED, allocation_age_days=3650)


def door_to(*budgets: Budget, role: Role = Role.ADMINISTRATOR) -> Door:
    """Return the door of a user with the role in the organisations of these budgets."""
    user = given_user(role, customer=budgets[0].customer)
    for budget in budgets[1:]:
        RoleGrant.objects.create(user=user, role=role, customer=budget.customer)
    return Door(key=given_api_key(user))


@pytest.fixture
def operator() -> Door:
    user: User = given_user(Role.OPERATOR)
    return Door(key=given_api_key(user))


def listed(door: Door, **query: object) -> list[tuple[str, int | None]]:
    answer = door.content(**query)
    assert answer.status_code == 200, answer.content
    return sorted(((row["content_key"], row["price_cents"]) for row in answer.json()["results"]), key=str)


def shown(door: Door, key: str, below: str = "", **query: object) -> Any:
    answer = door.get(f"content-metadata/{key}/{below}", **query)
    assert answer.status_code == 200, answer.content
    return answer.json()


def status(door: Door, key: str, below: str = "", **query: object) -> tuple[int, str]:
    return refusal_of(door.get(f"content-metadata/{key}/{below}", **query))


def runs(answer: Answer) -> list[str]:
    return [run["key"] for run in answer["payload"]["course_runs"]]


SHARED = [(PUBLIC_RUN, 5000), (MOVE, 2000), (MOVE_RUN, 2000)]
OF_ORDINARY = sorted([*SHARED, (PRIV, 5000), (ONLY, None)], key=str)
OF_ALLOWED = sorted(
    [*SHARED, (PRIV, 7500), (PRIVATE_RUN, 7500), (ONLY, 9000), (ONLY_RUN, 9000)],
    key=str,
)


@pytest.mark.on_every_engine
@pytest.mark.parametrize("role", [Role.ADMINISTRATOR, Role.LEARNER])
def test_a_caller_sees_of_each_key_the_row_of_their_catalog(
    ordinary: Budget, allowed: Budget, role: Role
) -> None:
    ours, theirs = door_to(ordinary, role=role), door_to(allowed, role=role)

    assert (listed(ours), listed(theirs)) == (OF_ORDINARY, OF_ALLOWED)
    assert (shown(ours, PRIV)["price_cents"], shown(theirs, PRIV)["price_cents"]) == (5000, 7500)
    assert runs(shown(ours, PRIV)) == [PUBLIC_RUN]
    assert runs(shown(theirs, PRIV)) == [PUBLIC_RUN, PRIVATE_RUN]
    assert shown(theirs, PRIVATE_RUN)["price_cents"] == 7500
    for below in ("", "changes/"):
        assert status(ours, PRIVATE_RUN, below) == (404, "not_found")


@pytest.mark.parametrize("below", ["", "changes/", "impact/"])
def test_another_organisations_catalog_shows_nothing_whatever_is_asked(
    ordinary: Budget, allowed: Budget, below: str
) -> None:
    ours = door_to(ordinary)

    for key in (PRIV, MOVE, PRIVATE_RUN, PUBLIC_RUN):
        assert status(ours, key, below, catalog=ALLOWED) == (404, "not_found")
    assert status(ours, PRIVATE_RUN, below, catalog=ORDINARY) == (404, "not_found")
    assert status(ours, PRIV, below, catalog="x") == (400, "invalid_request")
    assert listed(ours, catalog=ALLOWED) == listed(ours, parent=ONLY) == []
    assert listed(ours, catalog=ORDINARY) == OF_ORDINARY
    assert listed(ours, parent=PRIV) == [(PUBLIC_RUN, 5000)]


def test_a_caller_of_both_catalogs_says_which_where_they_differ(ordinary: Budget, allowed: Budget) -> None:
    both = door_to(ordinary, allowed)

    assert listed(both) == sorted({*OF_ORDINARY, *OF_ALLOWED}, key=str)
    for below in ("", "changes/", "impact/"):
        answer = both.get(f"content-metadata/{PRIV}/{below}")
        assert refusal_of(answer) == (400, "catalog_needed")
        assert answer.json()["catalogs"] == [str(ORDINARY), str(ALLOWED)]
    for catalog, price, keys in (
        (ORDINARY, 5000, [PUBLIC_RUN]),
        (ALLOWED, 7500, [PUBLIC_RUN, PRIVATE_RUN]),
    ):
        answer = shown(both, PRIV, catalog=catalog)
        assert (answer["price_cents"], runs(answer)) == (price, keys)
        assert listed(both, catalog=catalog) == (OF_ORDINARY if catalog == ORDINARY else OF_ALLOWED)
    for key in (MOVE, PUBLIC_RUN, PRIVATE_RUN):
        assert shown(both, key)["content_key"] == key


def test_only_the_callers_catalogs_are_named(ordinary: Budget, allowed: Budget, catalogs: Catalogs) -> None:
    third = given_budget(catalog_uuid="33333333-3333-4333-8333-333333333333").catalog_uuid
    catalogs.records[third] = catalogs.records[ALLOWED]
    catalogs.write()
    catalogs.sync(third)

    answer = door_to(ordinary, allowed).get(f"content-metadata/{PRIV}/")

    assert answer.json()["catalogs"] == [str(ORDINARY), str(ALLOWED)]


@pytest.mark.on_every_engine
def test_operators_see_all_rows_and_name_a_catalog_likewise(catalogs: Catalogs, operator: Door) -> None:
    given_content("GoneX+1", catalog=None, gone_at=NOW, with_run=False)

    assert len(listed(operator)) == ContentMetadata.objects.count() == 10
    assert status(operator, PRIV) == (400, "catalog_needed")
    assert shown(operator, PRIV, catalog=ALLOWED)["price_cents"] == 7500
    assert shown(operator, PRIVATE_RUN)["price_cents"] == 7500
    assert shown(operator, "GoneX+1")["gone_at"] == "2026-11-27T12:00:00Z"


def test_a_variant_that_no_catalog_holds_any_more_needs_no_choice(catalogs: Catalogs, operator: Door) -> None:
    catalogs.serve(ALLOWED, catalogs.records[ORDINARY][PRIV])
    catalogs.sync(ALLOWED, hours=1)

    assert shown(operator, PRIV)["price_cents"] == 5000
    assert ContentMetadata.objects.filter(content_key=PRIV).count() == 2


def test_a_former_key_finds_the_row_of_the_callers_catalog(ordinary: Budget, allowed: Budget) -> None:
    FormerContentKey.objects.create(former_key="OldX+1", content_key=PRIV)
    for budget, price in ((ordinary, 5000), (allowed, 7500)):
        assert shown(door_to(budget), "OldX+1")["price_cents"] == price
        assert shown(door_to(budget), "OldX+1", "changes/")["count"] == 0


def raise_price(catalogs: Catalogs, *, to: float, hours: int) -> None:
    """Raise the price of the restricted run, which is the course's in the one catalog that has it."""
    record = catalogs.records[ALLOWED][PRIV]
    private = next(run for run in record["course_runs"] if run["key"] == PRIVATE_RUN)
    private["fixed_price_usd"] = str(to)
    for terms in (record["normalized_metadata"], record["normalized_metadata_by_run"][PRIVATE_RUN]):
        terms["content_price"] = to
    catalogs.edit(PRIV, content_last_modified=f"2026-11-27T{12 + hours}:00:00Z")
    catalogs.sync_both(hours=hours)


def changed(answer: Any) -> list[tuple[str, str, object]]:
    changes = answer["results"] if "results" in answer and "since" not in answer else answer["changes"]
    return [(one["content_key"], one["field"], one["new"]) for one in changes]


def test_changes_and_impact_are_those_of_the_callers_rows(
    catalogs: Catalogs, ordinary: Budget, allowed: Budget
) -> None:
    allocate(ordinary, row_of(ORDINARY, PRIV), ALICE, now=NOW, price_cents=5000)
    allocate(allowed, row_of(ALLOWED, PRIV), BOB, now=NOW, price_cents=7500)
    raise_price(catalogs, to=80.0, hours=1)
    ours, theirs = door_to(ordinary), door_to(allowed)

    assert changed(shown(ours, PRIV, "changes/")) == changed(shown(ours, PRIV, "impact/")) == []
    assert shown(ours, PRIV, "impact/")["results"] == []
    assert changed(shown(theirs, PRIV, "changes/")) == [(PRIV, "price_cents", 8000)]
    impact = shown(theirs, PRIV, "impact/")
    assert sorted(changed(impact)) == [(PRIV, "price_cents", 8000), (PRIVATE_RUN, "price_cents", 8000)]
    assert [row["learner_email"] for row in impact["results"]] == [BOB]


def test_the_impact_for_a_catalog_is_on_the_budgets_of_that_catalog(
    catalogs: Catalogs, ordinary: Budget, allowed: Budget
) -> None:
    for budget, address in ((ordinary, ALICE), (allowed, BOB)):
        allocate(budget, row_of(ORDINARY, MOVE), address, now=NOW, price_cents=2000)
    ContentChange.objects.create(
        content=row_of(ORDINARY, MOVE),
        field="price_cents",
        old=1900,
        new=2000,
        trigger="cron",
        created=NOW + HOUR,
    )
    both = door_to(ordinary, allowed)

    def touched(**query: object) -> set[str]:
        return {row["learner_email"] for row in shown(both, MOVE, "impact/", **query)["results"]}

    assert touched() == {ALICE, BOB}
    assert (touched(catalog=ORDINARY), touched(catalog=ALLOWED)) == ({ALICE}, {BOB})


def test_a_catalog_that_moves_to_another_variant_has_that_change_alone(
    catalogs: Catalogs, ordinary: Budget, allowed: Budget
) -> None:
    catalogs.serve(ALLOWED, catalogs.records[ORDINARY][PRIV])
    catalogs.sync(ALLOWED, hours=1)
    ours, theirs = door_to(ordinary), door_to(allowed)

    assert changed(shown(ours, PRIV, "changes/")) == []
    assert (PRIV, "price_cents", 5000) in changed(shown(theirs, PRIV, "changes/"))
    # The run has left their catalog. Until then its changes were theirs.
    assert status(theirs, PRIVATE_RUN) == (404, "not_found")
    assert (PRIVATE_RUN, "membership", None) in changed(shown(theirs, PRIVATE_RUN, "changes/"))
    assert (PRIVATE_RUN, "membership", None) in changed(shown(theirs, PRIV, "impact/"))
    assert status(ours, PRIVATE_RUN, "changes/") == status(ours, PRIVATE_RUN, "impact/") == (404, "not_found")


def test_memberships_of_other_catalogs_are_not_among_the_changes(
    catalogs: Catalogs, ordinary: Budget, allowed: Budget, operator: Door
) -> None:
    catalogs.drop(ALLOWED, MOVE)
    for hours in (1, 3):
        catalogs.sync_both(hours=hours)

    assert changed(shown(door_to(ordinary), MOVE, "changes/")) == []
    assert changed(shown(operator, MOVE, "changes/")) == [(MOVE, "membership", None)]
    assert changed(shown(operator, MOVE, "changes/", catalog=ORDINARY)) == []
    left = shown(door_to(allowed), MOVE, "changes/")["results"]
    assert [(one["field"], one["old"], one["new"]) for one in left] == [("membership", str(ALLOWED), None)]


@pytest.mark.on_every_engine
def test_what_left_a_catalog_shows_it_the_changes_until_then(
    catalogs: Catalogs, ordinary: Budget, allowed: Budget
) -> None:
    def retitle(title: str, *, hours: int) -> None:
        catalogs.edit(MOVE, title=title, content_last_modified=f"2026-11-27T{12 + hours}:00:00Z")
        catalogs.sync_both(hours=hours)

    retitle("Before", hours=1)
    catalogs.drop(ALLOWED, MOVE)
    for hours in (2, 4):
        catalogs.sync_both(hours=hours)
    retitle("After", hours=5)

    assert changed(shown(door_to(allowed), MOVE, "changes/")) == [
        (MOVE, "membership", None),
        (MOVE, "title", "Before"),
    ]
    titles = [(MOVE, "title", "After"), (MOVE, "title", "Before")]
    assert changed(shown(door_to(ordinary), MOVE, "changes/")) == titles
    assert status(door_to(allowed), MOVE) == (404, "not_found")


def test_the_queries_do_not_grow_with_the_variants_catalogs_and_changes(
    catalogs: Catalogs,
    ordinary: Budget,
    allowed: Budget,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    both = door_to(ordinary, allowed)
    for hours in range(1, 4):
        raise_price(catalogs, to=75.0 + hours, hours=hours)
    for below in ("", "changes/", "impact/"):
        with django_assert_max_num_queries(7):
            shown(both, PRIV, below, catalog=ALLOWED)
