"""The demonstration: two invented organisations with users, budgets, courses and a year of history.

The history is made by the service's own functions, with the `now` of those days. Loading the demonstration
again makes only what is missing.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.contrib.auth import authenticate
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from bursary.access.models import ApiKey, Role, User
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets import terms
from bursary.budgets.models import Budget, Customer
from bursary.lib.batches import ProgressCallback
from bursary.ops import accounts, demo_history, demo_year, serving
from bursary.ops.accounts import Credentials, Person
from bursary.ops.demo_year import DemoYear
from bursary.ops.setup import SetupPlan, set_up
from bursary.replica import refresh
from bursary.replica.models import RefreshTrigger

CUSTOMER, SLUG, TIME_ZONE = "Larkspur Logistics", "larkspur-logistics", "Europe/Madrid"
ACCOUNT_LIMIT_CENTS = 120_000_000
BUDGETS: Mapping[str, int] = {demo_history.COMFORTABLE: 1_400_000, demo_history.TIGHT: 15_000}
"""Budgets with their limits in cents: one has plenty of money, the other enough for one assignment."""
ENDING, ENDING_CENTS = "Leadership", 950_000
PLANNED_END, ENDS_IN = timedelta(days=120), timedelta(days=24)
"""A budget of the same organisation. Finally its end is moved forward, and deadlines with it."""
OTHER_CUSTOMER, OTHER_SLUG, OTHER_TIME_ZONE = "Brightwater Health", "brightwater-health", "America/Chicago"
SLUGS = (SLUG, OTHER_SLUG)
OTHER_BUDGETS: Mapping[str, int] = {"Clinical skills": 800_000, "First ninety days": 1_100_000}
FEW_REMINDERS: Mapping[str, object] = {"remind_days_after": "14", "remind_days_before": "3"}
OTHER_TERMS: Mapping[str, Mapping[str, object]] = {
    "Clinical skills": FEW_REMINDERS,
    "First ninety days": {**FEW_REMINDERS, "allocation_age_days": 30},
}
"""Both budgets send few reminders, and one leaves learners little time to accept."""

ADMINISTRATOR = Person("ada.admin@larkspur.example", "ada", "Ada", "Admin", 7000)
OTHER_ADMINISTRATOR = Person("grace.admin@brightwater.example", "grace", "Grace", "Admin", 7100)
OPERATOR = Person("olga.operator@larkspur.example", "olga", "Olga", "Operator", 7009, operates=True)
LEARNERS = (
    Person(demo_history.LENA, "lena", "Lena", "Learner", 7001),
    Person(demo_history.LIAM, "liam", "Liam", "Learner", 7002),
    Person(demo_history.LUCY, "lucy", "Lucy", "Learner", 7003),
)
VISIBLE_TO: Mapping[str, str] = {
    "administrator": f"the budgets and all assignments of {CUSTOMER}",
    "learner": f"what is assigned to her at {CUSTOMER}",
    "operator": "both organisations, and every record in the Django admin",
    "other administrator": f"the budgets and all assignments of {OTHER_CUSTOMER}",
}
"""What each user may see, by the name of the role in the file."""
KEY_NAME = "demonstration"


@dataclass(frozen=True)
class Demo:
    """The loaded demonstration, and how to sign in."""

    file: Path
    record: Mapping[str, Any]
    """The file's content."""
    contents: int
    assignments: int


class NotADemonstration(Exception):
    """The database belongs to a real organisation, and was not changed; the message names the next step."""


def demo_file() -> Path:
    """Return the file with the demonstration's credentials."""
    return Path(settings.VAR_DIR) / "demo.json"


def refuse_real_database() -> None:
    """Raise NotADemonstration if the database has customers, and not the demonstration's. Change nothing."""
    if Customer._meta.db_table not in connection.introspection.table_names():
        return
    if Customer.objects.exists() and not Customer.objects.filter(slug=SLUG).exists():
        raise NotADemonstration(
            "This database belongs to a real organisation, and the demonstration's operator would see it. "
            "Give the demonstration a folder of its own: BURSARY_VAR_DIR=…"
        )


def load(
    *,
    now: datetime,
    on_progress: ProgressCallback,
    weeks: int = 0,
    on_week: ProgressCallback = lambda _done: None,
    serves: bool = False,
) -> Demo:
    """Make missing parts of the demonstration, with `weeks` of its year, and write its file.

    The file names the address that this process `serves` or that the environment gives, else keeps its own.
    Raises NotADemonstration, and ContentUnavailable if the configured catalog does not answer.
    """
    refuse_real_database()
    call_command("migrate", verbosity=0, interactive=False)
    administrator, _created = accounts.ensure_user(ADMINISTRATOR)
    budgets = _budgets(now=now)
    customer = budgets[0].customer
    users = {"administrator": administrator, **_other_users(customer)}
    _load_content(budgets[0], now=now, on_progress=on_progress)
    if weeks:  # each organisation has a catalog of its own, with its own links
        years = _years(budgets, administrator=administrator, now=now)
        if demo_year.load(years, began=customer.created, weeks=weeks, on_progress=on_week):
            terms.change(years[0].budgets[1], now=now, terms={"ends_at": now + ENDS_IN})
    demo_history.load(budgets, administrator=administrator)
    if other := User.objects.filter(username=OTHER_ADMINISTRATOR.username).first():
        users["other administrator"] = other
    record = _record(customer, budgets[0].catalog_uuid, users, serves=serves)
    return Demo(
        demo_file(),
        record,
        contents=demo_history.courses_of(budgets[0]).count(),
        assignments=LearnerContentAssignment.objects.filter(budget__customer__slug__in=SLUGS).count(),
    )


def _budgets(*, now: datetime) -> list[Budget]:
    catalog_uuid = uuid4()  # unused where the budgets exist
    return [
        set_up(
            SetupPlan(
                customer=CUSTOMER,
                slug=SLUG,
                time_zone=TIME_ZONE,
                administrator=ADMINISTRATOR,
                budget=name,
                limit_cents=limit_cents,
                catalog_uuid=catalog_uuid,
                account_limit_cents=ACCOUNT_LIMIT_CENTS,
            ),
            now=now,
        ).budget
        for name, limit_cents in BUDGETS.items()
    ]


def _years(budgets: list[Budget], *, administrator: User, now: datetime) -> list[DemoYear]:
    """Return the two organisations, each with the budgets that it assigned from in the past year."""
    comfortable = budgets[0]
    ending = SetupPlan(
        customer=CUSTOMER,
        slug=SLUG,
        time_zone=TIME_ZONE,
        administrator=ADMINISTRATOR,
        budget=ENDING,
        limit_cents=ENDING_CENTS,
        catalog_uuid=comfortable.catalog_uuid,
        ends=(now + PLANNED_END).date().isoformat(),
    )
    catalog_uuid = uuid4()  # unused where the budgets exist
    others = [
        set_up(
            SetupPlan(
                customer=OTHER_CUSTOMER,
                slug=OTHER_SLUG,
                time_zone=OTHER_TIME_ZONE,
                administrator=OTHER_ADMINISTRATOR,
                budget=name,
                limit_cents=limit_cents,
                catalog_uuid=catalog_uuid,
            ),
            now=now,
        )
        for name, limit_cents in OTHER_BUDGETS.items()
    ]
    _load_content(others[0].budget, now=now)
    other_budgets = [
        terms.change(one.budget, now=now, terms=OTHER_TERMS[one.budget.name])
        if "budget" in one.made
        else one.budget
        for one in others
    ]
    return [
        DemoYear((comfortable, set_up(ending, now=now).budget), administrator, "larkspur.example"),
        DemoYear(other_budgets, others[0].administrator, "brightwater.example"),
    ]


def _other_users(customer: Customer) -> dict[str, User]:
    operator, _created = accounts.ensure_user(OPERATOR)
    accounts.ensure_role(operator, Role.OPERATOR, None)
    learners = []
    for person in LEARNERS:
        learner, _created = accounts.ensure_user(person)
        accounts.ensure_role(learner, Role.LEARNER, customer)
        learners.append(learner)
    return {"learner": learners[0], "operator": operator}


def _load_content(
    budget: Budget, *, now: datetime, on_progress: ProgressCallback = lambda _done: None
) -> None:
    """Load the catalog of the budget's organisation; write its file first if it is missing."""
    folder = Path(settings.VAR_DIR) / "catalog"
    slug = budget.customer.slug
    refresh.write_sample_catalog(folder / f"{budget.catalog_uuid}.jsonl", now=now, slug=slug)
    refresh.refresh_catalog(
        budget.catalog_uuid,
        source=refresh.configured_source(),
        now=now,
        trigger=RefreshTrigger.CRON,
        on_progress=on_progress,
    )


def _record(
    customer: Customer, catalog_uuid: UUID, users: Mapping[str, User], *, serves: bool
) -> dict[str, Any]:
    """Write the file, with the earlier file's credentials if they still work; return its content."""
    file = demo_file()
    before = _earlier_record(file)
    known = before.get("users", {})
    renews_address = serves or serving.is_address_given() or "base_url" not in before
    budgets = Budget.objects.filter(customer__slug__in=SLUGS).select_related("customer").order_by("pk")
    record = {
        "base_url": settings.BASE_URL if renews_address else before["base_url"],
        "customer_uuid": str(customer.uuid),
        "catalog_uuid": str(catalog_uuid),
        "budgets": [
            {
                "uuid": str(budget.uuid),
                "assignment_configuration_uuid": str(budget.assignment_configuration_uuid),
                "name": budget.name,
                "organisation": budget.customer.name,
            }
            for budget in budgets
        ],
        "users": {
            role: {**_credentials(user, known.get(role, {})), "sees": VISIBLE_TO[role]}
            for role, user in users.items()
        },
    }
    # The file is replaced as a whole, and only its owner can read it at any moment.
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    draft.replace(file)
    return record


def _earlier_record(file: Path) -> dict[str, Any]:
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return before if isinstance(before, dict) else {}


def _credentials(user: User, known: Mapping[str, str]) -> dict[str, Any]:
    """Return the user's credentials: those in the file if they still work, else new ones."""
    credentials = Credentials(known.get("password", ""), known.get("api_key", ""))
    digest = ApiKey.digest_of(credentials.api_key)
    key_works = ApiKey.objects.filter(user=user, digest=digest, revoked_at=None).exists()
    if not key_works or authenticate(username=user.username, password=credentials.password) != user:
        ApiKey.objects.filter(user=user, name=KEY_NAME, revoked_at=None).update(revoked_at=timezone.now())
        credentials = accounts.issue_credentials(user, key_name=KEY_NAME)
    return {
        "username": user.username,
        "password": credentials.password,
        "email": user.email,
        "lms_user_id": user.lms_user_id,
        "api_key": credentials.api_key,
    }
