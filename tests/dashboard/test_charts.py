"""Periods of charts and sums, as each database finds them."""

from datetime import UTC, datetime, timedelta

import pytest

from bursary.assignments.models import LearnerContentAssignment
from bursary.dashboard.charts import PeriodOf
from tests import world

pytestmark = [pytest.mark.django_db, pytest.mark.on_every_engine]


@pytest.mark.parametrize("periods", [1, 2, 36])
def test_an_instant_belongs_to_the_last_period_that_has_begun(periods: int) -> None:
    world.given_assignment(world.given_budget(), world.given_content())
    starts = [datetime(2026, 3, 1, tzinfo=UTC) + timedelta(days=30 * number) for number in range(periods)]

    def period(instant: datetime | None) -> int:
        LearnerContentAssignment.objects.update(accepted_at=instant)
        found = LearnerContentAssignment.objects.annotate(number=PeriodOf("accepted_at", starts))
        return found.values_list("number", flat=True).get()

    moment = timedelta(microseconds=1)
    for number, start in enumerate(starts):
        assert [period(start - moment), period(start), period(start + moment)] == [number - 1, number, number]
    assert period(starts[-1] + timedelta(days=9_000)) == periods - 1
    assert period(starts[0] - timedelta(days=9_000)) == -1
    assert period(None) == -1
