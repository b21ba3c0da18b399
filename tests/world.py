"""A small cast for tests: one organisation, its money, its content and its people. All of it is made up."""

import itertools
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from bursary.access.models import ApiKey, Role, RoleGrant, User
from bursary.assignments import allocation
from bursary.assignments.choices import ActionType
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.budgets.models import Account, Budget, Customer
from bursary.delivery import runner
from bursary.lib.leases import NOT_BEFORE
from bursary.replica.models import (
    CatalogMembership,
    Completeness,
    ContentMetadata,
    ContentType,
    RefreshSource,
)

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
CATALOG = uuid.UUID("00000000-0000-4000-8000-00000000ca7a")
PRICE = 19_900  # cents

ALICE, BOB, CAROL = "alice@learners.example", "bob@learners.example", "carol@learners.example"

_numbers = itertools.count(1)


def given_customer(**fields: Any) -> Customer:
    """Return an organisation in Madrid."""
    number = next(_numbers)
    fields = {"name": "Larkspur Logistics", "time_zone": "Europe/Madrid"} | fields
    return Customer.objects.create(slug=f"larkspur-{number}", **fields)


def given_budget(*, seats: int | None = None, customer: Customer | None = None, **fields: Any) -> Budget:
    """Return a budget that pays for `seats` seats at PRICE; for any number, if not given."""
    customer = customer or given_customer()
    if "account" not in fields:
        fields["account"] = Account.objects.create(customer=customer, name="Learning 2026")
    limit = None if seats is None else seats * PRICE
    fields = {"name": "Skills", "catalog_uuid": CATALOG, "limit_cents": limit} | fields
    return Budget.objects.create(customer=customer, **fields)


def given_content(
    key: str = "",
    *,
    catalog: uuid.UUID | None = CATALOG,
    links: dict[str, object] | None = None,
    **columns: Any,
) -> ContentMetadata:
    """Return a course that the catalog holds, fresh, at PRICE, with no date that ends anything.

    `links` are the catalog's own, of the course.
    """
    key = key or f"RiversideX+T{next(_numbers)}"
    columns = {
        "content_type": ContentType.COURSE,
        "title": "Tidal Engines",
        "price_cents": PRICE,
        "completeness": Completeness.FULL,
        "active": True,
        "digest": "0" * 64,
        "source": RefreshSource.CRON,
        "fetched_from": f"folder:{catalog}",
        "fetched_at": NOW,
        "checked_at": NOW,
        "changed_at": NOW,
        "fresh_until": NOW + timedelta(days=3650),
    } | columns
    if columns.get("due_at"):
        columns.setdefault("early", NOT_BEFORE)
    content = ContentMetadata.objects.create(content_key=key, **columns)
    if catalog:
        given_membership(content, catalog=catalog, links=links)
    return content


def given_membership(
    content: ContentMetadata, *, catalog: uuid.UUID, links: dict[str, object] | None = None
) -> CatalogMembership:
    """Let a catalog hold the content, with links of its own."""
    own = {content.content_key: links} if links else {}
    return CatalogMembership.objects.create(
        catalog_uuid=catalog, content=content, created=NOW, seen_at=NOW, links=own
    )


def given_user(role: Role | None = None, *, customer: Customer | None = None, **fields: Any) -> User:
    """Return a user, with a role if one is given."""
    number = next(_numbers)
    fields = {"username": f"user-{number}", "email": f"user-{number}@people.example"} | fields
    user = User.objects.create_user(**fields)
    if role:
        RoleGrant.objects.create(user=user, role=role, customer=customer)
    return user


def given_api_key(user: User) -> str:
    """Return a key that signs in as the user."""
    _row, key = ApiKey.issue(user, name="tests")
    return key


def allocate(
    budget: Budget,
    content: ContentMetadata,
    *addresses: str,
    now: datetime = NOW,
    price_cents: int = PRICE,
    **more: Any,
) -> allocation.Allocation:
    """Allocate content to addresses."""
    return allocation.allocate(
        budget,
        content_key=content.content_key,
        price_cents=price_cents,
        entries=list(addresses),
        now=now,
        **more,
    )


def given_assignment(
    budget: Budget | None = None,
    content: ContentMetadata | None = None,
    *,
    address: str = ALICE,
    now: datetime = NOW,
) -> LearnerContentAssignment:
    """Return an open assignment; its learner has not been notified yet."""
    allocate(budget or given_budget(), content or given_content(), address, now=now)
    return LearnerContentAssignment.objects.latest("pk")


def deliver(*, now: datetime = NOW, most: int = 1000) -> int:
    """Do what is due at `now`, as the runner does it; return how many actions were tried."""
    return runner.drain(clock=lambda: now, most=most)


def timeline(assignment: LearnerContentAssignment) -> list[tuple[str, str]]:
    """Return the assignment's actions in order, as (type, status)."""
    rows = LearnerContentAssignmentAction.objects.filter(assignment=assignment).timeline()
    return [(row.action_type, row.status) for row in rows]


def action_of(
    assignment: LearnerContentAssignment, kind: ActionType, **which: Any
) -> LearnerContentAssignmentAction:
    """Return the assignment's newest action of a type."""
    return assignment.actions.filter(action_type=kind, **which).latest("pk")


def addresses(count: int, *, start: int = 0) -> Sequence[str]:
    """Return that many made-up addresses."""
    return [f"learner-{number}@learners.example" for number in range(start, start + count)]
