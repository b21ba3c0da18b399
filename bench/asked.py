"""What `bench/against.py` asks of the code that is first on the path: a dashboard, and an allocation."""

import itertools
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial

from django.test import Client

from bursary.access.models import Role, User
from bursary.budgets.models import Budget
from bursary.ops import serving
from bursary.replica.models import ContentMetadata
from tests import world

LEARNERS = 1_000


def requests() -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield each request by its name, ready to be made, as in the processes that serve."""
    getattr(serving, "load", bool)()  # the older code has none
    now, budget = datetime.now(UTC), world.given_budget()
    courses = [world.given_content(title=f"Course {number}") for number in range(200)]
    for count in (1, 50, 200):
        address = f"learner-{count}@learners.example"
        user = world.given_user(Role.LEARNER, customer=budget.customer, username=address, email=address)
        for course in courses[:count]:
            world.allocate(budget, course, address, now=now)
        yield f"credits, {count}", partial(credits_of, count, client=signed_in(user), budget=budget)
    desk = signed_in(world.given_user(Role.ADMINISTRATOR, customer=budget.customer))
    work = partial(allocate, client=desk, budget=budget, course=courses[0], numbers=itertools.count())
    yield "allocate, a request", work


def signed_in(user: User) -> Client:
    """Return a client of the user."""
    client = Client()
    client.force_login(user)
    return client


def credits_of(count: int, *, client: Client, budget: Budget) -> None:
    """Ask for a learner's assignments, of which there are so many."""
    url = "/api/v1/policy-redemption/credits_available/"
    [policy] = client.get(url, {"enterprise_customer_uuid": str(budget.customer.uuid)}).json()
    if len(policy["learner_content_assignments"]) != count:
        raise RuntimeError(f"There are not {count} assignments.")


def allocate(*, client: Client, budget: Budget, course: ContentMetadata, numbers: Iterator[int]) -> None:
    """Allocate a course to `LEARNERS` new learners."""
    batch = next(numbers)
    body = {
        "content_key": course.content_key,
        "content_price_cents": course.price_cents,
        "learner_emails": [f"learner-{number}.of-{batch}@many.example" for number in range(LEARNERS)],
    }
    url = f"/api/v1/policy-allocation/{budget.uuid}/allocate/"
    answer = client.post(url, json.dumps(body), content_type="application/json")
    if answer.status_code != 202:
        raise RuntimeError(answer.content[:300])
