"""A small cast for tests: one organisation, its money, its content and its people. All of it is made up."""

import itertools
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import transaction

from bursary.access.models import ApiKey, LearnerLink, Role, RoleGrant, User
from bursary.assignments import allocation
from bursary.assignments.choices import ActionType, Status
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.budgets.models import Account, Budget, Customer
from bursary.delivery import runner
from bursary.lib.leases import NOT_BEFORE
from bursary.replica.models import (
    CatalogMembership,
    Completeness,
    ContentMetadata,
    ContentType,
    RefreshTrigger,
)
from bursary.replica.refresh import content_changed

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
NOW_ISO = "2026-03-02T09:00:00Z"
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


AS_FETCHED: dict[str, Any] = {
    "content_type": ContentType.COURSE,
    "title": "Tidal Engines",
    "price_cents": PRICE,
    "completeness": Completeness.FULL,
    "active": True,
    "digest": "0" * 64,
    "trigger": RefreshTrigger.CRON,
    "fetched_at": NOW,
    "checked_at": NOW,
    "changed_at": NOW,
    "fresh_until": NOW + timedelta(days=3650),
}
"""A fresh course."""


def given_content(
    key: str = "",
    *,
    catalog: uuid.UUID | None = CATALOG,
    links: dict[str, object] | None = None,
    parent: ContentMetadata | None = None,
    with_run: bool = True,
    **columns: Any,
) -> ContentMetadata:
    """Return a course that the catalog holds, fresh, at PRICE, with no date that ends anything.

    `links` are the catalog's own, of the course. A run of `parent` is named by it in its catalogs.
    A course has one run, which learners can join on the course's own terms, unless not `with_run`.
    """
    key = key or f"RiversideX+T{next(_numbers)}"
    is_run = columns.get("content_type") == ContentType.COURSERUN
    can_be_joined = {"offered": is_run, "enrollable": is_run}
    columns = AS_FETCHED | can_be_joined | {"fetched_from": f"folder:{catalog}"} | columns
    with_run = with_run and columns["content_type"] == ContentType.COURSE
    if with_run:
        columns["advertised_run"] = first_run(key)
    if columns.get("due_at"):
        columns.setdefault("early", NOT_BEFORE)
    if parent:
        columns["parent_key"] = parent.content_key
    content = ContentMetadata.objects.create(content_key=key, **columns)
    catalogs = {catalog} if catalog else set()
    if parent:
        catalogs |= set(parent.memberships.values_list("catalog_uuid", flat=True))
    for uuid_ in catalogs:
        given_membership(content, catalog=uuid_, links=links, via_course=content.parent_key)
    if with_run:
        given_run(content)
    return content


TERMS = ("start_date", "end_date", "enroll_start", "enroll_by", "price_cents")
"""What a course has of its advertised run."""


def first_run(course_key: str) -> str:
    return f"course-v1:{course_key}+R1"


def given_run(course: ContentMetadata, key: str = "", **columns: Any) -> ContentMetadata:
    """Return the course's advertised run, on its terms, in its catalogs: learners can join it."""
    key = key or first_run(course.content_key)
    copied = {name: getattr(course, name) for name in (*TERMS, "gone_at")}
    columns = (
        {"content_type": ContentType.COURSERUN, "catalog": None, "title": "First run"} | copied | columns
    )
    run = given_content(key, parent=course, **columns)
    if course.advertised_run != key:
        ContentMetadata.objects.filter(pk=course.pk).update(advertised_run=key)
        course.advertised_run = key
    return run


def change_content(content: ContentMetadata, *, now: datetime = NOW, **columns: Any) -> None:
    """Change content and, on what it has of it, its advertised run; announce both as the refresher does."""
    terms = {name: value for name, value in columns.items() if name in TERMS}
    run = ContentMetadata.objects.filter(content_key=content.advertised_run)
    with transaction.atomic():
        ContentMetadata.objects.filter(pk=content.pk).update(**columns)
        if terms:
            run.update(**terms)
        pks = [content.pk, *run.values_list("pk", flat=True)]
        content_changed.send(sender=ContentMetadata, pks=pks, now=now)


def given_membership(
    content: ContentMetadata,
    *,
    catalog: uuid.UUID,
    links: dict[str, object] | None = None,
    via_course: str = "",
) -> CatalogMembership:
    """Let a catalog hold the content, with links of its own."""
    return CatalogMembership.objects.create(
        catalog_uuid=catalog,
        content=content,
        via_course=via_course,
        created=NOW,
        seen_at=NOW,
        links=links or {},
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
    """Return a key that signs in as the user. Its use is noted already, in the one write of an hour."""
    row, key = ApiKey.issue(user, name="tests")
    ApiKey.objects.filter(pk=row.pk).update(last_used_at=datetime.max.replace(tzinfo=UTC))
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


def deliver(*, now: datetime = NOW, limit: int = 1000) -> int:
    """Do what is due at `now`, as the runner does it; return how many actions were tried."""
    return runner.drain(clock=lambda: now, limit=limit)


def timeline(assignment: LearnerContentAssignment) -> list[tuple[str, str]]:
    """Return the assignment's actions in order, as (type, status)."""
    rows = LearnerContentAssignmentAction.objects.filter(assignment=assignment).timeline()
    return [(row.action_type, row.status) for row in rows]


def words_of(assignment: LearnerContentAssignment) -> str:
    """Return every word that its row and its actions hold."""
    row = LearnerContentAssignment.objects.filter(pk=assignment.pk).values()
    return str([*row, *assignment.actions.values()]).lower()


def state_of(assignment: LearnerContentAssignment) -> str:
    """Return the state as stored."""
    return LearnerContentAssignment.objects.get(pk=assignment.pk).state


def action_of(
    assignment: LearnerContentAssignment, kind: ActionType, **which: Any
) -> LearnerContentAssignmentAction:
    """Return the assignment's newest action of a type."""
    return assignment.actions.filter(action_type=kind, **which).latest("pk")


def link_as_work(assignment: LearnerContentAssignment) -> LearnerContentAssignmentAction:
    """Let the assignment's link wait for a runner, as an earlier release requested it; return its action."""
    link = action_of(assignment, ActionType.LEARNER_LINKED)
    LearnerLink.objects.filter(learner_email=link.recipient).delete()
    assignment.actions.filter(pk=link.pk).update(
        status=Status.PENDING, completed_at=None, provider_ref="", due_at=link.created, early=NOT_BEFORE
    )
    link.refresh_from_db()
    return link


def addresses(count: int, *, start: int = 0) -> Sequence[str]:
    """Return that many made-up addresses."""
    return [f"learner-{number}@learners.example" for number in range(start, start + count)]
