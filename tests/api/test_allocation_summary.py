"""The answer to a large allocation: counts and uuids, where that is asked for."""

import pytest

from bursary.assignments import cancellation
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.replica.models import ContentMetadata
from tests.api.door import Door, allocating, body_of
from tests.world import ALICE, BOB, CAROL, NOW, given_assignment

pytestmark = pytest.mark.django_db


def test_a_summary_has_counts_and_uuids_in_place_of_assignments(
    door: Door, budget: Budget, content: ContentMetadata, subtests: pytest.Subtests
) -> None:
    ended, known = (given_assignment(budget, content, address=one) for one in (BOB, CAROL))
    cancellation.cancel(budget, uuids=[ended.uuid], now=NOW)
    path, asked = (
        f"{allocating(budget)}?summary=true",
        body_of(content, ALICE, BOB, CAROL, ALICE),
    )
    answer = door.post(path, asked)
    body = answer.json()
    new = LearnerContentAssignment.objects.get(learner_email=ALICE)
    assert answer.status_code == 202
    assert body.pop("allocation_batch_uuid") == str(new.allocation_batch_uuid)
    assert body.pop("duplicates")[0]["position"] == 3
    assert body.pop("joining")
    assert body == {
        "counts": {"created": 1, "updated": 1, "no_change": 1},
        "uuids": {"created": [str(new.uuid)], "updated": [str(ended.uuid)], "no_change": [str(known.uuid)]},
        "verdicts": {str(known.uuid): "already_assigned"},
        "recognised": [],
        "dropped": [],
    }
    for wrong in ("?summary=perhaps", "?summary=2"):
        with subtests.test(wrong):
            assert door.post(f"{allocating(budget)}{wrong}", asked).status_code == 400
    with subtests.test("not unless it is asked for"):
        assert "counts" not in door.post(f"{allocating(budget)}?summary=false", asked).json()
