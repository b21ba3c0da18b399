"""The body that names pairs of addresses."""

import pytest

from bursary.budgets.models import Budget
from tests.api.door import Door, listing, refusal_of
from tests.world import ALICE, BOB

pytestmark = pytest.mark.django_db


def test_one_pair_alone_is_refused_as_no_list(door: Door, budget: Budget) -> None:
    pair = {"old_address": ALICE, "new_address": BOB}
    answer = door.post(f"{listing(budget)}correct-addresses/", {"corrections": pair})

    assert refusal_of(answer) == (400, "invalid_request")
    assert answer.json()["detail"] == "corrections: This is not a list."


@pytest.mark.parametrize("pair", [[ALICE, BOB], ALICE, 3])
def test_a_pair_that_is_no_object_is_refused_with_the_names_of_its_two_fields(
    door: Door, budget: Budget, pair: object
) -> None:
    answer = door.post(f"{listing(budget)}correct-addresses/", {"corrections": [pair]})

    assert refusal_of(answer) == (400, "invalid_request")
    said = "A pair is a JSON object with old_address and new_address."
    assert answer.json()["detail"] == f"corrections.0: {said}"
