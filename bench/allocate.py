"""What an allocation costs: the verb against SQL by hand, and the whole request."""

import hashlib
import itertools
import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

from django.db import connection, transaction
from django.db.models import Model
from django.test import Client

from bench.dialects import HERE
from bench.scales import Scale
from bench.stage import Case, Way
from bursary.access.models import LearnerLink, Role
from bursary.assignments import allocation
from bursary.assignments.models import AllocationBatch
from bursary.assignments.models import LearnerContentAssignment as Assignment
from bursary.assignments.models import LearnerContentAssignmentAction as Action
from bursary.budgets.models import Account, Budget
from bursary.replica.models import ContentMetadata
from tests import many, world

FEW, MANY = 1_000, 10_000
"""Learners: for how many the targets in milliseconds are meant."""

_numbers = itertools.count(1)


def raw_statements() -> tuple[str, ...]:
    """Return the statements of an allocation by hand: lock, reserve, link, insert, and what is to be done."""
    names, values = columns(
        Assignment,
        {
            "uuid": "new.u",
            "learner_email": "new.a",
            "learner_key": "new.k",
            "mailbox_key": "new.k",
            "allocation_batch_uuid": "%(batch)s",
            **dict.fromkeys(("allocated_at", "created", "modified", "recent_action_at"), "%(now)s"),
        },
    )
    action_names, action_values = columns(Action, _of_action())
    links, assignments, actions = (one._meta.db_table for one in (LearnerLink, Assignment, Action))
    reserved = "held_cents = held_cents + %(cents)s WHERE id = %(budget)s"
    return (
        f"UPDATE {Account._meta.db_table} SET {reserved.replace('budget', 'account')}",
        f"UPDATE {Budget._meta.db_table} SET {reserved}",
        # CROSS JOIN: SQLite would read the whole budget first, and look each row up in the list.
        f"SELECT a.id FROM {HERE.learners} CROSS JOIN {assignments} a WHERE a.mailbox_key = new.k"
        f" AND a.budget_id = %(budget)s AND a.content_key = %(key)s {_locking('a')}",
        f"{HERE.ignoring} {links} (customer_id, learner_key, mailbox_key, learner_email, created)"
        f" SELECT %(customer)s, new.k, new.k, new.a, %(now)s FROM {HERE.learners} WHERE true {HERE.ignored}",
        f"INSERT INTO {assignments} ({names}) SELECT {values} FROM {HERE.learners}"
        f" CROSS JOIN {assignments} t WHERE t.id = %(template)s",
        # By what was sent: a planner takes a batch that is not in its statistics yet for a single row.
        f"INSERT INTO {actions} ({action_names}) SELECT {action_values} FROM {HERE.learners}"
        f" CROSS JOIN {assignments} a CROSS JOIN {links} l CROSS JOIN {actions} t WHERE a.uuid = new.u"
        f" AND l.customer_id = %(customer)s AND l.learner_key = new.k AND t.assignment_id = %(template)s"
        " ORDER BY a.id, t.id",
    )


def _of_action() -> dict[str, str]:
    """Return what is selected for an action's columns, where it is not the template's."""
    place = "row_number() OVER (PARTITION BY t.id ORDER BY a.id) - 1"
    return {
        "uuid": HERE.uuid,
        "assignment_id": "a.id",
        "created": "%(now)s",
        "modified": "%(now)s",
        "provider_ref": f"CASE WHEN t.provider_ref = '' THEN '' ELSE {HERE.joined.format('l.id')} END",
        "recipient": "CASE WHEN t.recipient = '' THEN '' ELSE a.learner_email END",
        "completed_at": "CASE WHEN t.completed_at IS NULL THEN NULL ELSE %(now)s END",
        "due_at": f"CASE WHEN t.due_at IS NULL THEN NULL ELSE {HERE.later.format(place)} END",
        "early": f"CASE WHEN t.early IS NULL THEN NULL WHEN {place} = 0 THEN 0 ELSE 1 END",
    }


def _locking(table: str) -> str:
    return f"{HERE.locks} OF {table}" if connection.vendor == "postgresql" else HERE.locks


def columns(model: type[Model], changed: dict[str, str]) -> tuple[str, str]:
    """Return the names of a model's columns, and what is selected for them: of `t`, but for the changed."""
    names = [str(one.column) for one in model._meta.concrete_fields if not one.primary_key]
    return ", ".join(names), ", ".join(changed.get(name, f"t.{name}") for name in names)


def fresh(count: int) -> list[str]:
    """Return addresses that no learner has yet."""
    request = next(_numbers)
    return [f"learner-{number}.of-{request}@many.example" for number in range(count)]


class Stage:
    """A budget, its content, one assignment as a template, and an administrator's client."""

    def __init__(
        self, *, others: int = 0, now: datetime | None = None, content: ContentMetadata | None = None
    ) -> None:
        self.budget = world.given_budget()
        self.content = content or world.given_content()
        ada = world.given_user(Role.ADMINISTRATOR, customer=self.budget.customer)
        self.now = now or datetime.now(UTC)
        world.allocate(self.budget, self.content, "first@many.example", now=self.now)
        self.template = self.budget.assignments.get()
        if others:
            many.fill(world.given_budget(customer=self.budget.customer), others)
        self.client = Client()
        self.client.force_login(ada)
        self.statements = raw_statements()

    def raw(self, addresses: list[str], *, budget: Budget | None = None) -> None:
        """Insert assignments, with links and actions, by statements written by hand."""
        budget = budget or self.budget
        keys = [hashlib.sha256(address.encode()).hexdigest() for address in addresses]
        uuids = [uuid.uuid4() for _address in addresses]
        asked: dict[str, Any] = {
            "budget": budget.pk,
            "account": budget.account_id,
            "cents": self.template.price_cents * len(addresses),
            "customer": budget.customer_id,
            "key": self.content.content_key,
            "template": self.template.pk,
            "now": self.now,
        }
        if HERE.takes_json:
            in_hex = connection.features.has_native_uuid_field
            texts = [str(one) if in_hex else one.hex for one in uuids]
            asked["json"] = json.dumps(list(zip(keys, addresses, texts, strict=True)))
        else:
            asked |= {"keys": keys, "addresses": addresses, "uuids": uuids}
        with transaction.atomic(), connection.cursor() as cursor:
            batch = AllocationBatch.objects.create(
                budget=budget,
                content_key=self.content.content_key,
                price_cents=self.template.price_cents,
                counts={"new": len(addresses)},
                created=self.now,
            )
            native = connection.features.has_native_uuid_field
            asked["batch"] = batch.uuid if native else batch.uuid.hex
            for statement in self.statements:
                cursor.execute(statement, asked)

    def verb(self, addresses: list[str]) -> None:
        """Allocate to new learners."""
        done = allocation.allocate(
            self.budget,
            content_key=self.content.content_key,
            price_cents=self.content.price_cents or 0,
            entries=addresses,
            now=self.now,
        )
        if len(done.matches) != len(addresses):
            raise RuntimeError("Not every learner is new.")

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


def cases(scale: Scale) -> Iterator[Case]:
    """Yield the cases of allocation."""
    stage, count = Stage(others=scale.others), scale.learners
    new = partial(fresh, count)
    inserts = (
        "Inserting: an assignment has twenty-two indexes, on PostgreSQL also one of trigrams, and brings "
        "three actions."
    )
    yield Case("allocate, the verb", Way(stage.verb, new), Way(stage.raw, new), size=count, limits=inserts)
    share, summary = count / MANY, partial(stage.request, query="?summary=true")
    again = fresh(count)
    summary(again)
    few = Way(stage.request, partial(fresh, FEW))
    read = (
        f"{inserts} To store 1,000, PostgreSQL takes some 150 ms of processor time, as it does by hand: 55"
        " for the assignments' indexes, 40 at the commit to check 10,000 foreign keys, 36 for the actions;"
        " with matching and the answer, 200. A goal of 250 leaves 50 for Python, which takes some 125: three"
        " tenths each to make 5,000 rows, and to read and write the answer, which a summary saves, a fifth to"
        " prepare and send the rows, and a tenth to read 1,000 addresses and match them: 125 microseconds a"
        " learner, of whom each has five rows. At the scale of a million, beside some 276,000 assignments,"
        " PostgreSQL takes longer, 436 of 568 ms: their indexes have some 600 MB, and its buffers 128."
    )
    yield Case("allocate, a request", few, size=FEW, limits=read)
    yield Case("allocate, a request, summary", Way(summary, new), size=count, share=share, limits=read)
    yield Case(
        "allocate, a request again, summary",
        Way(lambda _none: summary(again)),
        size=count,
        share=share,
        limits=(
            "Of some 51 ms for 1,000, PostgreSQL takes 27, half of it to read all of the budget's 25,000 rows"
            " once, which it takes to be cheaper than to look 2,000 keys up. Python takes 24: half to match"
            " them with what is there, a third to read the list and to check each address, a twenty-fifth"
            " for the answer. That is 24 microseconds an address; only the request is written."
        ),
    )
    full = Way(lambda _none: stage.request(again))
    yield Case("allocate, a request again, in full", full, size=count, limits="Writing the answer.")
