"""Each rule of an open assignment says of a row what its SQL says of the table, at any instant."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from itertools import product

import pytest
from django.db.models import Q

from bursary.assignments import open_assignments
from bursary.assignments.choices import State
from bursary.assignments.models import LearnerContentAssignment
from tests.world import NOW, addresses, allocate, given_budget, given_content

pytestmark = pytest.mark.django_db

Case = tuple[State, bool, int]
"""A state, whether it is being redeemed, and the seconds until its deadline."""
CASES = [
    (state, redeemed, seconds)
    for state, redeemed, seconds in product(State, (False, True), (-1, 0, 1))
    if state == State.ALLOCATED or not redeemed
]
ROWS = LearnerContentAssignment.objects.all()


@pytest.fixture
def of_case() -> dict[Case, LearnerContentAssignment]:
    """One assignment of each case, by case."""
    allocate(given_budget(), given_content(), *addresses(len(CASES)))
    rows = dict(zip(CASES, ROWS.order_by("pk"), strict=True))
    for (state, redeemed, seconds), row in rows.items():
        row.state, row.redeeming_since = state, NOW if redeemed else None
        row.expires_at = NOW + timedelta(seconds=seconds)
        row.save()
    return rows


Rule = Callable[[LearnerContentAssignment], bool]
HOLDS: dict[str, Callable[[Case], bool]] = {
    "awaits_answer": lambda case: case[:2] == (State.ALLOCATED, False),
    "can_be_answered": lambda case: case == (State.ALLOCATED, False, 1),
    "is_overdue": lambda case: case in {(State.ALLOCATED, False, -1), (State.ALLOCATED, False, 0)},
    "still_open": lambda case: case[0] == State.ALLOCATED and (case[1] or case[2] > 0),
}


def rules() -> dict[str, tuple[Rule, Q]]:
    """Return each rule and its SQL."""
    return {
        "awaits_answer": (open_assignments.awaits_answer, open_assignments.AWAITS_ANSWER),
        "can_be_answered": (
            partial(open_assignments.can_be_answered, now=NOW),
            open_assignments.can_be_answered_sql(now=NOW),
        ),
        "is_overdue": (
            partial(open_assignments.is_overdue, now=NOW),
            open_assignments.is_overdue_sql(now=NOW),
        ),
        "still_open": (
            partial(open_assignments.still_open, now=NOW),
            open_assignments.still_open_sql(now=NOW),
        ),
    }


def test_a_rule_and_its_sql_hold_of_the_same_assignments(
    of_case: dict[Case, LearnerContentAssignment], subtests: pytest.Subtests
) -> None:
    for name, (rule, sql) in rules().items():
        with subtests.test(name):
            holds = {case for case in CASES if HOLDS[name](case)}
            assert {case for case, row in of_case.items() if rule(row)} == holds
            found = set(ROWS.filter(sql).values_list("pk", flat=True))
            assert {case for case, row in of_case.items() if row.pk in found} == holds
