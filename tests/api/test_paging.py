"""The page envelope, and the one way to ask for a page."""

from typing import Any

import pytest
from django.db import transaction

from bursary.budgets.models import Budget
from bursary.replica.models import ContentMetadata
from tests.api.door import Answer, Door, refusal_of
from tests.world import addresses, allocate, given_budget, given_content

pytestmark = pytest.mark.django_db

LISTS = ["assignments", "policies", "content"]


@pytest.fixture(params=LISTS)
def five(request: pytest.FixtureRequest, door: Door, budget: Budget, content: ContentMetadata) -> Any:
    """Return how to ask for a list that has five rows."""
    if request.param == "assignments":
        allocate(budget, content, *addresses(5))
        return lambda **query: door.assignments(budget, **query)
    if request.param == "policies":
        for _more in range(4):
            given_budget(customer=budget.customer)
        return door.policies
    for with_run in (True, False):  # a run is a row as well
        given_content(with_run=with_run)
    return door.content


def figures(answer: Answer) -> dict[str, Any]:
    assert answer.status_code == 200, answer.content
    body: dict[str, Any] = answer.json()
    return {name: body[name] for name in ("count", "num_pages", "current_page", "start")}


def test_a_page_says_where_it_stands(five: Any) -> None:
    answer = five(page=2, page_size=2)
    assert figures(answer) == {"count": 5, "num_pages": 3, "current_page": 2, "start": 2}
    assert len(answer.json()["results"]) == 2


@pytest.mark.on_every_engine
def test_links_lead_through_all_pages_and_keep_what_was_asked(door: Door, five: Any) -> None:
    first = five(page_size=2).json()
    assert first["previous"] is None
    assert first["next"].startswith("http://testserver/api/v1/")
    second = door.client.get(first["next"]).json()
    third = door.client.get(second["next"]).json()
    assert [len(page["results"]) for page in (first, second, third)] == [2, 2, 1]
    assert third["next"] is None
    assert door.client.get(third["previous"]).json() == second


def test_without_being_asked_a_page_has_a_hundred_rows(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    Budget.objects.update(limit_cents=None)
    allocate(budget, content, *addresses(101))
    assert figures(door.assignments(budget)) == {
        "count": 101,
        "num_pages": 2,
        "current_page": 1,
        "start": 0,
    }


def test_a_page_or_a_size_that_can_be_none_is_refused_with_its_name(
    five: Any, subtests: pytest.Subtests
) -> None:
    for name in ("page", "page_size"):
        for value in ("0", "-1", "x", "1.5", "\0", "1" + "0" * 20, "9" * 5000, "1e9"):
            with subtests.test(f"{name}={value[:9]!a}"), transaction.atomic():
                answer = five(**{name: value})
                assert refusal_of(answer) == (400, "invalid_request")
                assert name in answer.json()


def test_a_page_has_at_most_five_hundred_rows(five: Any) -> None:
    assert refusal_of(five(page_size=501)) == (400, "invalid_request")
    assert figures(five(page_size=500)) == {"count": 5, "num_pages": 1, "current_page": 1, "start": 0}


def test_an_empty_page_or_size_is_as_if_it_was_left_out(five: Any) -> None:
    whole = {"count": 5, "num_pages": 1, "current_page": 1, "start": 0}
    assert figures(five(page="", page_size="")) == whole


def test_a_page_beyond_the_last_is_404(five: Any) -> None:
    for page in ("2", "999999999"):
        assert refusal_of(five(page=page)) == (404, "not_found")


def test_the_first_page_of_nothing_is_there(door: Door, budget: Budget) -> None:
    answer = door.assignments(budget)
    assert figures(answer) == {"count": 0, "num_pages": 1, "current_page": 1, "start": 0}
    assert answer.json() | {"results": [], "learner_state_counts": []} == answer.json()
    assert refusal_of(door.assignments(budget, page=2)) == (404, "not_found")


def test_only_assignments_are_counted_by_learner_state(door: Door, budget: Budget) -> None:
    assert set(door.assignments(budget).json()) == {
        "next",
        "previous",
        "count",
        "num_pages",
        "current_page",
        "start",
        "results",
        "learner_state_counts",
    }
    assert "learner_state_counts" not in door.policies().json()


def test_pages_by_cursor_are_the_list_without_counts_in_any_order(
    door: Door, budget: Budget, content: ContentMetadata, subtests: pytest.Subtests
) -> None:
    """Also while rows come in before the page that is read."""
    allocate(budget, content, *addresses(7))
    for ordering in ("-recent_action_time", "learner_email", "-content_quantity", "content_enroll_by"):
        with subtests.test(ordering=ordering):
            whole = [row["uuid"] for row in door.assignments(budget, ordering=ordering).json()["results"]]
            seen: list[str] = []
            answer = door.assignments(budget, ordering=ordering, page_size=3, cursor="").json()
            assert answer["previous"] is None
            while True:
                assert answer.keys() == {"next", "previous", "results"}
                seen += [row["uuid"] for row in answer["results"]]
                if not answer["next"]:
                    break
                earlier, answer = answer, door.client.get(answer["next"]).json()
                assert door.client.get(answer["previous"]).json()["results"] == earlier["results"]
            assert seen == whole
    for query in (
        {"cursor": "nothing"},
        {"cursor": "", "ordering": "content_end"},
        {"cursor": "", "ordering": "state,learner_email"},
        {"cursor": "", "page": 2},
    ):
        with subtests.test("refused", query=query):
            assert door.assignments(budget, **query).status_code == 400
    both = door.assignments(budget, cursor="", page=1)
    assert refusal_of(both) == (400, "page_beside_cursor")
    assert both.json()["parameters"] == ["cursor", "page"]
    assert door.assignments(budget, cursor="", page="").status_code == 200
