"""What a learner's dashboard costs: `credits_available` for 1, 50 and 200 assignments."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial

from django.test import Client

from bench.scales import Scale
from bench.stage import Case, Way, let_the_database_settle
from bursary.access.models import Role
from bursary.replica.models import ContentMetadata
from tests import many, world

COUNTS = (1, 50, 200)


class Stage:
    """Learners of one organisation, each with so many assignments of as many courses."""

    def __init__(self, counts: Sequence[int] = COUNTS, *, courses: Sequence[ContentMetadata] = ()) -> None:
        self.budget, now = world.given_budget(), datetime.now(UTC)
        courses = courses or [world.given_content(title=f"Course {number}") for number in range(max(counts))]
        self.clients = {}
        for count in counts:
            address = f"learner-{count}@learners.example"
            learner = world.given_user(
                Role.LEARNER, customer=self.budget.customer, username=address, email=address
            )
            world.allocate(self.budget, courses[0], address, now=now)
            many.deliver(self.budget, now=now)
            if count > 1:
                many.copy_for_courses(self.budget.assignments.latest("pk"), courses[1:count])
            self.clients[count] = Client()
            self.clients[count].force_login(learner)

    def ask(self, count: int, _given: object) -> None:
        """Ask for the assignments of the learner with so many."""
        url = "/api/v1/policy-redemption/credits_available/"
        answer = self.clients[count].get(url, {"enterprise_customer_uuid": str(self.budget.customer.uuid)})
        [policy] = answer.json()
        if len(policy["learner_content_assignments"]) != count:
            raise RuntimeError(f"There are not {count} assignments.")


def cases(_scale: Scale) -> Iterator[Case]:
    """Yield the cases of a learner's dashboard."""
    stage = Stage()
    let_the_database_settle()
    limits = (
        "Eight statements, which PostgreSQL takes longer to plan than to run, and what Django and its driver"
        " do for each; then 60 columns of each assignment with three actions. Reading the answer, too."
        " With one assignment that is some 6.3 ms, of which PostgreSQL takes 2.6; each of 200 adds 71"
        " microseconds, of which it takes 19 and Python 52, for four rows read and one written."
    )
    for count in COUNTS:
        yield Case(f"credits, {count}", Way(partial(stage.ask, count)), size=count, limits=limits, rounds=9)
