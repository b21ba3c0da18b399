"""The list of assignments as CSV over HTTP: as filtered, for administrators of the budget, and logged."""

import pytest
from django.contrib.admin.models import LogEntry

from bursary.access.models import Role
from bursary.budgets.models import Budget
from bursary.replica.models import ContentMetadata
from tests.api.door import Door, door_of, listing, refusal_of
from tests.world import ALICE, BOB, NOW, allocate, given_customer

pytestmark = pytest.mark.django_db


def test_what_the_filter_finds_is_a_file_to_save(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    allocate(budget, content, ALICE, BOB)

    answer = door.client.get(
        f"{door.ROOT}/{listing(budget)}export/", {"search": "alice"}, headers={"accept": "text/csv"}
    )

    assert answer.status_code == 200
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert answer["Content-Disposition"] == f'attachment; filename="assignments-{NOW:%Y-%m-%d}.csv"'
    lines = b"".join(answer.streaming_content).decode("utf-8-sig").splitlines()
    assert len(lines) == 2
    assert lines[1].startswith(f"{ALICE},")
    assert LogEntry.objects.get().change_message == "Assignments exported as CSV: 1; filter: search=alice"


def test_a_filter_that_is_not_known_is_refused_as_it_would_show_too_much(door: Door, budget: Budget) -> None:
    answer = door.get(f"{listing(budget)}export/", learnerstate="waiting")
    assert answer.status_code == 400
    assert not LogEntry.objects.exists()


def test_learners_and_other_organisations_find_nothing(budget: Budget) -> None:
    for stranger in (
        door_of(Role.LEARNER, customer=budget.customer),
        door_of(Role.ADMINISTRATOR, customer=given_customer()),
    ):
        assert refusal_of(stranger.get(f"{listing(budget)}export/"))[0] == 404
