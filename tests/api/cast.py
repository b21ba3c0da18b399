"""Four assignments of one budget, each with other content, and one of them with none that is known."""

from datetime import UTC, datetime
from typing import Any

from bursary.access.models import Role
from bursary.assignments.choices import LearnerState, State
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.lib.moments import FAR_FUTURE
from bursary.replica.models import ContentMetadata
from tests.api.door import Answer
from tests.world import NOW, allocate, given_content, given_user

ANCHORS, BOATS, CRANES, DRIFT = "anchors", "boats", "cranes", "drift"
"""Anchors and Boats are known in full, Cranes by its title alone, Drift is from before the replica."""

CONTENTS: dict[str, dict[str, Any]] = {
    ANCHORS: {
        "title": "Anchors & Moorings",
        "start_date": datetime(2026, 4, 1, tzinfo=UTC),
        "end_date": datetime(2026, 5, 1, tzinfo=UTC),
        "enroll_by": datetime(2026, 3, 20, tzinfo=UTC),
        "price_cents": 10_000,
        "course_type": "verified-audit",
        "partner_names": "Alpine School",
    },
    BOATS: {
        "title": "Boats, Small",
        "start_date": datetime(2026, 4, 2, tzinfo=UTC),
        "end_date": datetime(2026, 4, 30, tzinfo=UTC),
        "enroll_by": datetime(2026, 3, 19, tzinfo=UTC),
        "price_cents": 20_000,
        "course_type": "executive-education",
        "partner_names": "Zebra University, Alpine School",
    },
    CRANES: {"title": "Cranes 100%_safe", "price_cents": 15_000},
    DRIFT: {"title": "Drift Nets", "price_cents": 5_000},
}
ADDRESSES = {ANCHORS: "dora@", BOATS: "carl@", CRANES: "bela@", DRIFT: "abel@"}
STATES = {
    ANCHORS: (State.ALLOCATED, LearnerState.WAITING),
    BOATS: (State.ALLOCATED, LearnerState.FAILED),
    CRANES: (State.EXPIRED, LearnerState.EXPIRED),
    DRIFT: (State.CANCELLED, LearnerState.NONE),
}


def given_cast(budget: Budget) -> None:
    """Make the four, in alphabetical order."""
    for number, (name, columns) in enumerate(CONTENTS.items()):
        given_user(Role.LEARNER, customer=budget.customer, lms_user_id=number + 1)
        content = given_content(f"RiversideX+{name}", **columns)
        allocate(budget, content, f"{ADDRESSES[name]}learners.example", price_cents=columns["price_cents"])
        state, learner_state = STATES[name]
        LearnerContentAssignment.objects.filter(content=content).update(
            state=state, learner_state=learner_state, lms_user_id=number + 1
        )
    # What never knew a price still has a row; what was brought from before the replica has no content.
    ContentMetadata.objects.filter(content_key=f"RiversideX+{CRANES}").update(price_cents=None)
    LearnerContentAssignment.objects.filter(content_key=f"RiversideX+{DRIFT}").update(
        content=None,
        content_title="",
        content_start=FAR_FUTURE,
        content_enroll_by=FAR_FUTURE,
        recent_action_at=NOW.replace(hour=10),
    )


def names(answer: Answer) -> list[str]:
    """Return the learners of the list, in its order."""
    assert answer.status_code == 200, answer.content
    return [row["content_key"].removeprefix("RiversideX+") for row in answer.json()["results"]]
