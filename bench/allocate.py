"""What an allocation costs: the verb against SQL by hand, and the whole request.

Usage: `python bench/allocate.py [--learners 10000]`. One JSON line a case, in milliseconds of processor time.
"""

import argparse
import hashlib
import itertools
import json
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

from stage import Figure, main, side_by_side, vacuum

VERB_TO_FLOOR = 3.0
FEW, FEW_MS = 1_000, 250.0
SUMMARY_MS, AGAIN_MS, FULL_MS = 2_500.0, 600.0, 5_000.0  # of 10,000 learners
MANY = 10_000

_numbers = itertools.count(1)

RAW = (
    "SELECT id FROM {assignments} WHERE budget_id = %(budget)s AND content_key = %(key)s"
    " AND mailbox_key = ANY(%(keys)s) FOR NO KEY UPDATE",
    "INSERT INTO {links} (customer_id, learner_key, mailbox_key, learner_email, created)"
    " SELECT %(customer)s, k, k, a, %(now)s FROM unnest(%(keys)s::text[], %(addresses)s::text[]) AS new(k, a)"
    " ON CONFLICT (customer_id, learner_key) DO NOTHING",
    "INSERT INTO {assignments} ({columns}) SELECT {values}"
    " FROM unnest(%(keys)s::text[], %(addresses)s::text[], %(uuids)s::uuid[]) AS new(k, a, u),"
    " {assignments} t WHERE t.id = %(template)s",
    "WITH t AS MATERIALIZED (SELECT * FROM {actions} WHERE assignment_id = %(template)s)"
    " INSERT INTO {actions} ({action_columns}) SELECT {action_values} FROM {assignments} a, t"
    " WHERE a.allocation_batch_uuid = %(batch)s",
)


OWN = {
    "uuid": "u",
    "learner_email": "a",
    "learner_key": "k",
    "mailbox_key": "k",
    "allocation_batch_uuid": "%(batch)s",
    "allocated_at": "%(now)s",
}
OF_ACTION = {"uuid": "gen_random_uuid()", "assignment_id": "a.id", "created": "%(now)s"}
"""What differs from the template: of an assignment, and of an action."""


def fresh(count: int) -> list[str]:
    """Return addresses that no learner has yet."""
    request = next(_numbers)
    return [f"learner-{number}.of-{request}@many.example" for number in range(count)]


def columns(model: Any, changed: dict[str, str]) -> tuple[str, str]:
    """Return the names of a model's columns, and what is selected for them."""
    names = [str(one.column) for one in model._meta.concrete_fields if not one.primary_key]
    return ", ".join(names), ", ".join(changed.get(name, f"t.{name}") for name in names)


class Stage:
    """A budget, its content, one assignment as a template, and an administrator's client."""

    def __init__(self) -> None:
        from django.test import Client  # noqa: PLC0415  # needs the settings

        from bursary.access.models import Role  # noqa: PLC0415  # needs the settings
        from tests import many, world  # noqa: PLC0415  # needs the settings

        self.budget = world.given_budget()
        self.content = world.given_content()
        ada = world.given_user(Role.ADMINISTRATOR, customer=self.budget.customer, username="ada")
        world.allocate(self.budget, self.content, "first@many.example")
        self.template = self.budget.assignments.get()
        many.fill(world.given_budget(customer=self.budget.customer), MANY)
        self.client = Client()
        self.client.force_login(ada)
        vacuum()

    def raw(self, count: int) -> None:
        """Insert so many assignments, with links and actions, by statements written by hand."""
        from django.db import connection, transaction  # noqa: PLC0415  # needs the settings

        from bursary.access.models import LearnerLink  # noqa: PLC0415  # needs the settings
        from bursary.assignments.models import LearnerContentAssignment as Assignment  # noqa: PLC0415  # the same
        from bursary.assignments.models import LearnerContentAssignmentAction as Action  # noqa: PLC0415  # the same

        addresses = fresh(count)
        names, values = columns(Assignment, OWN)
        action_names, action_values = columns(Action, OF_ACTION)
        tables = {
            "assignments": Assignment._meta.db_table,
            "actions": Action._meta.db_table,
            "links": LearnerLink._meta.db_table,
            "columns": names,
            "values": values,
            "action_columns": action_names,
            "action_values": action_values,
        }
        asked = {
            "budget": self.budget.pk,
            "customer": self.budget.customer_id,
            "key": self.content.content_key,
            "template": self.template.pk,
            "batch": uuid.uuid4(),
            "now": datetime.now(UTC),
            "addresses": addresses,
            "keys": [hashlib.sha256(address.encode()).hexdigest() for address in addresses],
            "uuids": [uuid.uuid4() for _address in addresses],
        }
        with transaction.atomic(), connection.cursor() as cursor:
            for statement in RAW:
                cursor.execute(statement.format(**tables), asked)

    def verb(self, count: int) -> None:
        """Allocate to so many new learners."""
        from bursary.assignments import allocation  # noqa: PLC0415  # needs the settings

        done = allocation.allocate(
            self.budget,
            content_key=self.content.content_key,
            price_cents=self.content.price_cents or 0,
            entries=fresh(count),
            now=datetime.now(UTC),
        )
        if len(done.outcomes) != count:
            raise RuntimeError("Not everybody is new.")

    def request(self, addresses: list[str], *, query: str = "") -> None:
        """Ask for an allocation to these addresses over the API."""
        body = {
            "content_key": self.content.content_key,
            "content_price_cents": self.content.price_cents,
            "learner_emails": addresses,
        }
        url = f"/api/v1/policy-allocation/{self.budget.uuid}/allocate/{query}"
        answer = self.client.post(url, json.dumps(body), content_type="application/json")
        if answer.status_code != 202:
            raise RuntimeError(answer.content[:300])


def cases(chosen: argparse.Namespace) -> Iterator[Figure]:
    """Yield each case's figure."""
    stage, count = Stage(), int(chosen.learners)
    share = count / MANY
    found = side_by_side({"floor": partial(stage.raw, count), "ours": partial(stage.verb, count)})
    yield Figure("allocate: the verb", found["floor"], found["ours"], found["floor"] * VERB_TO_FLOOR)
    again = fresh(count)
    stage.request(again, query="?summary=true")
    ways = {
        "few": lambda: stage.request(fresh(FEW)),
        "summary": lambda: stage.request(fresh(count), query="?summary=true"),
        "summary again": lambda: stage.request(again, query="?summary=true"),
        "full": lambda: stage.request(fresh(count)),
        "full again": lambda: stage.request(again),
    }
    targets = {
        "few": FEW_MS,
        "summary": SUMMARY_MS * share,
        "summary again": AGAIN_MS * share,
        "full": FULL_MS * share,
        "full again": FULL_MS * share,
    }
    for name, took in side_by_side(ways).items():
        size = FEW if name == "few" else count
        yield Figure(f"allocate: request of {size}, {name}", None, took, targets[name])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--learners", type=int, default=MANY)
    sys.exit(main(cases, parser))
