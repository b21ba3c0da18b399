"""What a learner's dashboard costs: `credits_available` for 1, 50 and 200 assignments.

Usage: `python bench/credits.py`. One JSON line a case, in milliseconds of processor time.
"""

import argparse
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

from stage import Figure, main, side_by_side, vacuum

TARGETS = {1: 6.0, 50: 10.0, 200: 24.0}
ROUNDS = 15


class Stage:
    """Learners of one organisation, each with so many assignments of as many courses."""

    def __init__(self) -> None:
        from django.test import Client  # noqa: PLC0415  # needs the settings

        from bursary.access.models import Role  # noqa: PLC0415  # needs the settings
        from tests import world  # noqa: PLC0415  # needs the settings

        self.budget = world.given_budget()
        courses = [world.given_content(title=f"Course {number}") for number in range(max(TARGETS))]
        self.clients = {}
        for count in TARGETS:
            address = f"learner-{count}@learners.example"
            learner = world.given_user(
                Role.LEARNER, customer=self.budget.customer, username=address, email=address
            )
            for content in courses[:count]:
                world.allocate(self.budget, content, address, now=datetime.now(UTC))
            self.clients[count] = Client()
            self.clients[count].force_login(learner)
        world.deliver()
        vacuum()

    def ask(self, count: int) -> None:
        """Ask for the assignments of the learner who has so many."""
        url = "/api/v1/policy-redemption/credits_available/"
        answer = self.clients[count].get(url, {"enterprise_customer_uuid": self.budget.customer.uuid})
        [policy] = answer.json()
        if len(policy["learner_content_assignments"]) != count:
            raise RuntimeError(f"There are not {count} assignments.")


def cases(_chosen: argparse.Namespace) -> Iterator[Figure]:
    """Yield each case's figure."""
    stage = Stage()
    for count, target in TARGETS.items():
        took = side_by_side({"ours": lambda count=count: stage.ask(count)}, rounds=ROUNDS)["ours"]
        yield Figure(f"credits_available: {count} assignments", None, took, target)


if __name__ == "__main__":
    sys.exit(main(cases, argparse.ArgumentParser()))
