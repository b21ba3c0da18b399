"""Query parameters that no honest client sends: refused at once, and never an internal error."""

import pytest

from bursary.budgets.models import Budget
from bursary.replica.models import ContentMetadata
from tests.api.door import Door, refusal_of
from tests.elapsed import AT_ONCE, taking_at_most
from tests.world import given_assignment

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _one_row(budget: Budget, content: ContentMetadata) -> None:
    given_assignment(budget, content)


def check_refused_at_once(door: Door, budget: Budget, **query: str) -> None:
    with taking_at_most(AT_ONCE):
        answer = door.assignments(budget, **query)
    assert refusal_of(answer) == (400, "invalid_request")
    assert next(iter(query)) in answer.json()


@pytest.mark.parametrize(
    "number", ["-1e9999999", "1e49", "1" * 5000, "9223372036854775808", f"-{'9' * 20}", "1.5"], ids=len
)
@pytest.mark.parametrize("name", ["lms_user_id__in", "content_price_cents__in"])
def test_a_number_in_a_list_is_a_whole_one_that_could_be_stored(
    door: Door, budget: Budget, name: str, number: str
) -> None:
    check_refused_at_once(door, budget, **{name: f"1,{number}"})


@pytest.mark.parametrize("name", ["lms_user_id", "content_price_cents__gte", "content_price_cents__lte"])
def test_an_exponent_is_not_written_out(door: Door, budget: Budget, name: str) -> None:
    check_refused_at_once(door, budget, **{name: "-1e9999999"})


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00"])
@pytest.mark.parametrize("name", ["content_start", "content_end__gte", "content_enroll_by__lte"])
def test_a_moment_outside_the_calendar_is_no_date(door: Door, budget: Budget, name: str, moment: str) -> None:
    check_refused_at_once(door, budget, **{name: moment})


@pytest.mark.parametrize("words", ["a " * 3000, "x" * 60_000], ids=["3,000 words", "a word of 60,000"])
@pytest.mark.parametrize("name", ["search", "content_title__icontains", "content_partner__icontains"])
def test_a_search_is_bounded(door: Door, budget: Budget, name: str, words: str) -> None:
    check_refused_at_once(door, budget, **{name: words})
